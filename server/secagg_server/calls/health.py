"""The standard health check of gRPC, which is counted and bounded like every other call of its plane.

There is no `Watch`, because it would wait for ever.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from grpc_health.v1 import health_pb2

from secagg_server.calls.handlers import Answer
from secagg_server.calls.incoming import IncomingCall

SERVICE: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Health:
    """Says whether one plane serves."""

    def __init__(self, service: str) -> None:
        """Args: service: full name of the one that is asked for; an empty name stands for all."""
        self._known = {"", service}
        self._status = health_pb2.HealthCheckResponse.SERVING

    @property
    def answers(self) -> Mapping[str, Answer]:
        """The method that answers, by the name of its RPC."""
        return {"Check": self._check}

    def shut_down(self) -> None:
        """Answer from now on that the plane does not serve."""
        self._status = health_pb2.HealthCheckResponse.NOT_SERVING

    async def _check(self, call: IncomingCall) -> AsyncIterator[bytes]:
        request = await call.one(health_pb2.HealthCheckRequest)
        known = request.service in self._known
        status = self._status if known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        yield health_pb2.HealthCheckResponse(status=status).SerializeToString()
