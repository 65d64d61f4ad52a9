"""The test of the red team itself: the product is broken on purpose, and its checks and games must notice.

This package alone changes live functions. Nothing but the red team's runner and tests imports it.
"""
