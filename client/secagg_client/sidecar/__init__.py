"""Rounds at a coordinator beside a framework's server: what the plug-ins for Flower, NVIDIA FLARE and others share.

The framework's server opens rounds over the control plane and says who is expected and who is gone. Its clients train
when the framework tells them to, and then take part in the rounds that the framework's message names. `rounds` is what
runs at the framework's server, `participants` what runs at each of its clients.

Nothing here knows a framework.
"""
