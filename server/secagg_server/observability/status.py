"""What the status port answers, by path."""

from collections.abc import Mapping
from typing import Final

from secagg_server.observability.http import Answer, Route

STARTING: Final = "starting"
SERVING: Final = "serving"
STOPPING: Final = "shutting down"


class Readiness:
    """Whether participants and FL server can use the coordinator now.

    Attributes:
        state: one of the words above.
    """

    def __init__(self) -> None:
        self.state = STARTING

    def answer(self, _: str) -> Answer:
        """200 while both planes serve; else 503 with the reason."""
        return Answer(f"{self.state}\n".encode(), status=200 if self.state == SERVING else 503)


def alive(_: str) -> Answer:
    """200: the event loop turns."""
    return Answer(b"alive\n")


def routes(readiness: Readiness, metrics: Route, page: Mapping[str, Route]) -> Mapping[str, Route]:
    """The table of the status port. Args: page: the status page, and the same for programs, by path."""
    return {**page, "/metrics": metrics, "/healthz": alive, "/readyz": readiness.answer}
