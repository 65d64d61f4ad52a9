"""The connections of participants before gRPC sees them, and the addresses at which the coordinator listens.

`proxy` decides who may have a connection, and `copying` moves its bytes; `options` are the settings of gRPC itself.
"""
