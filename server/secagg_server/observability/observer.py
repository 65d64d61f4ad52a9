"""The one place that hears what happens, and passes it on to log, metrics, traces and the status page."""

from collections.abc import Callable

from secagg_server.observability.facts import Fact
from secagg_server.observability.logs import ThrottledLog, plain_traceback

Listener = Callable[[Fact], None]
"""Takes facts at once and without waiting, from several threads."""


class Observer:
    """Tells every listener every fact."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._throttled = ThrottledLog()

    def tell(self, fact: Fact) -> None:
        """Pass the fact on. Whatever is wrong with a listener, the others hear it and the round goes on."""
        for listener in self._listeners:
            try:
                listener(fact)
            except Exception:  # a bug in a metric or a log line is no reason to end a round
                kind = type(fact).__name__
                self._throttled.error("fact_not_observed", kind, fact=kind, exception=plain_traceback())
