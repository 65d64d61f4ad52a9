"""Measurements of the real code on real sizes, beside the limits of the machine they ran on.

Some of the modules import grpc before a package of ours that needs TLS 1.3 alone, so the choice is made here.
"""

from secagg.transport.tls import prefer_tls13

prefer_tls13()
