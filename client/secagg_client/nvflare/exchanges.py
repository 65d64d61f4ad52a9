"""Asking sites over FLARE's aux messages: all at the same time, each until it answers or its time is over.

A site's process is up some time after the server's. Until then FLARE answers for it, with `COMMUNICATION_ERROR` and
then with `TOPIC_UNKNOWN`. Neither has reached the site, so the same message is sent again, up to a limit.
`multicast_aux_requests` of FLARE 2.9.0 raises an exception, so each site gets a request of its own.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from time import monotonic, sleep
from typing import Any, Final

from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable

from secagg.errors import TransportError
from secagg_client.nvflare.channel import TOPIC, packed, return_code

_NOT_UP: Final = frozenset({ReturnCode.COMMUNICATION_ERROR, ReturnCode.TOPIC_UNKNOWN})
_AGAIN_S: Final = 0.25
_LONGEST_S: Final = 1.0
"""The first and the longest pause before a site that is not up is asked again."""
_LOOK_S: Final = 2.0
"""Longest wait for the answer of a site that may be busy with its training."""

_THREADS: Final = 64


class Unreachable(TransportError):
    """FLARE says that a site's process, or its part of the plug-in, is not there."""


class Exchanges:
    """The server's end of the aux messages of one job."""

    def __init__(self, engine: Any, *, phase_s: float, start_s: float) -> None:
        """Args:
        engine: FLARE's server engine.
        phase_s: longest wait for an answer, in seconds.
        start_s: how long sites may take to come up, in seconds from the first message of the job. Who comes later is
            asked once in each exchange.
        """
        self._engine = engine
        self._phase_s, self._start_s = phase_s, start_s
        self._known: set[str] = set()
        self._up_by: float | None = None

    def ask(self, messages: Mapping[str, Shareable], timeout_s: float | None = None) -> dict[str, Any]:
        """Send each site its message. Gives by name what it answers, or a `TransportError` that says why nothing."""
        if not messages:
            return {}
        if self._up_by is None:
            self._up_by = monotonic() + self._start_s
        with ThreadPoolExecutor(min(len(messages), _THREADS), "secagg-ask") as pool:
            limits = repeat(self._phase_s if timeout_s is None else timeout_s)
            answers = dict(zip(messages, pool.map(self._ask, messages, messages.values(), limits), strict=True))
        self._known |= {site for site, answer in answers.items() if not isinstance(answer, TransportError)}
        return answers

    def unreachable(self, sites: Iterable[str]) -> set[str]:
        """Those of `sites` that FLARE cannot reach now. One that is too busy to answer is not among them."""
        asked = {site: packed() for site in sites}  # each its own: FLARE writes into a message that it sends
        return {site for site, answer in self.ask(asked, _LOOK_S).items() if isinstance(answer, Unreachable)}

    def _ask(self, site: str, message: Shareable, timeout_s: float) -> Any:
        end, pause = 0.0 if site in self._known or self._up_by is None else self._up_by, _AGAIN_S
        while True:
            with self._engine.new_context() as fl_ctx:
                replies = self._engine.send_aux_request(
                    targets=[site], topic=TOPIC, request=message, timeout=timeout_s, fl_ctx=fl_ctx, optional=True
                )
            reply = (replies or {}).get(site)
            code = ReturnCode.COMMUNICATION_ERROR if reply is None else return_code(reply)
            if reply is not None and code == ReturnCode.OK:
                return reply
            if code not in _NOT_UP or monotonic() >= end:
                raised = Unreachable if code in _NOT_UP else TransportError
                return raised(_why(code))
            sleep(pause)
            pause = min(2 * pause, _LONGEST_S)


def _why(code: str) -> str:
    if code == ReturnCode.TOPIC_UNKNOWN:
        return "its app lacks the secagg plug-in: export the job again after secure(recipe, …)"
    if code == ReturnCode.TIMEOUT:
        return "it did not answer in time"
    return f"it could not be asked: {code}"
