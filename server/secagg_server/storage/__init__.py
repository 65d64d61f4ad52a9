"""What is remembered of rounds, of released sums and of privacy budgets.

Another backend is another `store.Store`; `memory` is one in memory. Ledgers are kept by `secagg.programs.ledgers`.
"""
