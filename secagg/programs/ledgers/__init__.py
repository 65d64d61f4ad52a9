"""What tasks spent of their privacy budgets, kept by whoever runs rounds: a coordinator, or a framework's server.

`budgets` plans and charges rounds; `files` and `memory` keep the ledgers.
"""
