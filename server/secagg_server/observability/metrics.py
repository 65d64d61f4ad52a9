"""The coordinator's metrics, in the text formats of Prometheus and OpenMetrics."""

import time
from typing import Final

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from secagg import __version__
from secagg_server.observability.facts import Fact
from secagg_server.observability.http import Answer

FRESH_S: Final = 0.2
"""An answer is given again for so long: whoever asks without end must not cost more."""


class Metrics:
    """Counts facts, and answers with what was counted."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        build = Gauge("secagg_build_info", "Always 1.", ["version"], registry=self._registry)
        build.labels(__version__).set(1)
        self._made: dict[bool, tuple[float, Answer]] = {}  # when, by whether it is OpenMetrics

    def __call__(self, fact: Fact) -> None:
        """Count the fact."""

    def answer(self, accept: str) -> Answer:
        """All metrics: OpenMetrics for who accepts it, else the older format."""
        wanted = "application/openmetrics-text" in accept
        made_at, made = self._made.get(wanted, (0.0, None))
        now = time.monotonic()
        if made is None or now - made_at >= FRESH_S:
            made = self._openmetrics() if wanted else self._plain()
            self._made[wanted] = (now, made)
        return made

    def _openmetrics(self) -> Answer:
        body: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return Answer(body, openmetrics.CONTENT_TYPE_LATEST)

    def _plain(self) -> Answer:
        return Answer(generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4)
