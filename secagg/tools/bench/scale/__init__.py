"""`secagg bench scale`: what a round costs as participants, values and rounds at once grow.

`curves` says which sizes are played. `rounds` plays one of them over gRPC and TLS with a coordinator and clients in
processes of their own (`worker`), and `memory` plays one in memory, in a process of its own that `simulated` runs.
"""
