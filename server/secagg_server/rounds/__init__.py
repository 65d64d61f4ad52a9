"""The rounds that are open or over: `registry` opens and finds them, `hosted` is one of them while it runs, `grouped`
is a round in groups, and `budgets` decides whether a task may still spend privacy.
"""
