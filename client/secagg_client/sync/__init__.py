# Made of secagg_client/aio/__init__.py by `make sync`: change that file, not this one.
"""The clients for plain code."""
