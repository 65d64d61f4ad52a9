"""Which trace a call belongs to, in its caller's words: the metadata `traceparent` of W3C Trace Context."""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

METADATA: Final = "traceparent"

MAX_CHARS: Final = 128
"""Version 00 has 55. What is longer is passed over, as what comes twice."""

CARRIED: ContextVar[str] = ContextVar("traceparent", default="")
"""What the call that is being answered carried; empty if nothing."""


def carried_by(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """What a call's metadata has, unread: a peer chose it. Empty if there is nothing of the kind."""
    found = [value for key, value in metadata or () if key == METADATA]
    if len(found) != 1 or not isinstance(found[0], str) or len(found[0]) > MAX_CHARS:  # check: traceparent-bounded
        return ""
    return found[0]
