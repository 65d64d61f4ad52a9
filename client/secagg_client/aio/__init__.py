"""The asynchronous clients, written by hand; `secagg_client.sync` is derived from them."""
