"""Ingress workers: more doors to the rounds of one coordinator, in processes of their own, on this machine or others.

The coordinator itself is the *head*: it has the rounds, their journal and the only state. A *worker* terminates TLS for
the participants that are connected to it. Light calls go through to the head as they are (`forwarding`). Masked inputs
stay: the worker checks their chunks, asks the head whether a whole vector counts, adds it up (`door`), and hands the
head one partial sum when the phase closes. `secagg.rounds.doors` says why no sum can come out wrong, whatever dies.

Between them is the *link*, a gRPC service of the head for its workers (`link.proto`). Whoever speaks on it has shown
that it has the coordinator's private key (`credentials`), and everything on it is encrypted. `attendance` is the head's
side of it, `worker` the other one. Nothing here knows who starts workers: that is `secagg_server.placing`.
"""
