"""`secagg bench doors`: what ingress workers cost, beside one process that does all of it.

`rounds` plays the same rounds both ways, and `worker` is an ingress worker in a process of its own. Nothing here needs
Ray, which starts workers and does nothing while they work.
"""
