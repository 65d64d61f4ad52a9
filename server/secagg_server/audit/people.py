"""Who called with which certificate: where participants sign nothing, it is known from their connections alone."""

from threading import Lock
from typing import Final

from secagg.messages import ParticipantId

MOST: Final = 10_000


class People:
    """The latest certificate of each participant that called. May be used by several threads."""

    def __init__(self) -> None:
        self._known: dict[ParticipantId, tuple[str, str]] = {}
        self._lock = Lock()

    def see(self, participant: ParticipantId, organisation: str, fingerprint: str) -> None:
        """The participant called."""
        with self._lock:
            self._known.pop(participant, None)
            if len(self._known) >= MOST:
                del self._known[next(iter(self._known))]
            self._known[participant] = organisation, fingerprint

    def organisation_of(self, participant: ParticipantId) -> str | None:
        """None if it has not called since the start."""
        with self._lock:
            known = self._known.get(participant)
        return None if known is None else known[0]

    def of(self, participant: ParticipantId) -> dict[str, str]:
        """Organisation and fingerprint; empty texts if it has not called since the start."""
        with self._lock:
            organisation, fingerprint = self._known.get(participant, ("", ""))
        return {"organisation": organisation, "fingerprint": fingerprint}
