"""The coordinator's certificate and the deployment's CA: how they are read and renewed, and what they are used for.

The settings of TLS itself are in `secagg.transport.tls`.
"""
