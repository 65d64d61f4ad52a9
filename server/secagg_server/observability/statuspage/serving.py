"""The paths of the status page on the status port."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from secagg_server.observability.http import Answer, Route
from secagg_server.observability.kept import KeptAnswers
from secagg_server.observability.statuspage.document import document
from secagg_server.observability.statuspage.page import PAUSED, page, style_source
from secagg_server.observability.statuspage.values import Status

FRESH_S: Final = 1.0
"""How long an answer is given again."""


class StatusPage:
    """Answers with the page and with its JSON."""

    def __init__(self, picture: Callable[[], Status], clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        picture: takes a picture of the coordinator.
        clock: seconds, for how long an answer is fresh.
        """
        self._picture = picture
        self._kept = KeptAnswers(FRESH_S, clock)

    @property
    def routes(self) -> Mapping[str, Route]:
        """What the status port answers, by path."""
        return {
            "/": lambda _: self._answer("/", _page),
            f"/{PAUSED}": lambda _: self._answer(f"/{PAUSED}", _paused),
            "/status.json": lambda _: self._answer("/status.json", _json),
        }

    def _answer(self, path: str, made_of: Callable[[Status], Answer]) -> Answer:
        return self._kept.get(path, lambda: made_of(self._picture()))


def _page(status: Status) -> Answer:
    return Answer(page(status).encode(), "text/html; charset=utf-8", style=style_source())


def _paused(status: Status) -> Answer:
    return Answer(page(status, paused=True).encode(), "text/html; charset=utf-8", style=style_source())


def _json(status: Status) -> Answer:
    return Answer(document(status).encode(), "application/json")
