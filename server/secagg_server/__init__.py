"""The secagg coordinator as a gRPC service."""

from secagg_server.ciphers import offer_tls13_only
from secagg_server.core_log import keep_errors_alone

# Before any module of this package can import grpc.
offer_tls13_only()
keep_errors_alone()
