"""Rounds that travel on a framework's own channel: what the plug-ins for Flower, NVIDIA FLARE and others share.

A framework carries messages between a server and its clients, knows who of them is gone, and starts training. So a
round needs no port, no connection and no time limit of its own there: its messages are bytes that the plug-in puts into
the framework's messages. `steps` has the form of these messages. `coordinator` is what runs at the framework's server,
`participant` what runs at each of its clients.

Nothing here opens a socket, reads a clock of its own, or knows a framework.
"""
