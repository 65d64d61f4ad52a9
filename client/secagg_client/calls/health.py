"""gRPC's standard health check. Its messages are written out here: the package that has them is the server's."""

from collections.abc import Iterator

from secagg.wire.limits import SLACK_BYTES
from secagg_client.calls.call import Parts, PreparedCall

_SERVING = b"\x08\x01"
"""`HealthCheckResponse` with the status SERVING, the number 1 in field 1."""


class CheckHealth(PreparedCall[bool]):
    """Ask whether the plane serves."""

    method = "Check"
    path = "/grpc.health.v1.Health/Check"
    limit = SLACK_BYTES

    def requests(self) -> Iterator[bytes]:
        """A question about the whole plane, which is an empty message."""
        return iter((b"",))

    def decode(self, parts: Parts) -> bool:
        """Whether it is the one answer that means yes."""
        return list(parts) == [_SERVING]
