"""The clients for asyncio.

This folder is written by hand, and `secagg_client.sync` is made of it by `make sync`. What differs beyond the words of
asyncio is in `secagg_client.transport`.
"""
