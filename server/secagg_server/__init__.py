"""The secagg coordinator as a gRPC service."""

from secagg.transport.tls import demand_tls13
from secagg_server.observability.grpc_verbosity import keep_errors_alone

# Before any module of this package can import grpc.
demand_tls13("secagg_server")
keep_errors_alone()
