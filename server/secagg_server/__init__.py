"""The secagg coordinator as a gRPC service."""
