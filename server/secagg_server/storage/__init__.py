"""What is remembered of rounds, of released sums and of privacy budgets.

Another backend is another `store.Store`; `memory` is one in memory, and `ledger_files` keeps ledgers in files.
"""
