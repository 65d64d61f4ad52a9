"""What our programs share: errors in one line, options that are read alike, key files, durable folders, and ledgers of
what tasks spent of their privacy budgets.
"""
