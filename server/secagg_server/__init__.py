"""The secagg coordinator as a gRPC service."""

from secagg_server.ciphers import offer_tls13_only

# Before any module of this package can import grpc.
offer_tls13_only()
