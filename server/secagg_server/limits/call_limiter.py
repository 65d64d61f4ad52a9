"""How many calls and bytes each caller may have under way. They are counted before anything is read or kept."""

from collections import Counter
from typing import Final

from secagg.context import ROUND_ID_SIZE
from secagg.errors import LimitError

MAX_HELD_BYTES: Final = 32 << 20
"""Of one participant: messages that are being read, and parts of answers that it has not taken yet."""

MAX_CONTROL_CALLS: Final = 1000
MAX_CONTROL_BYTES: Final = 256 << 20
"""The control plane may hold so many bytes of configurations that are being read, each of at most 64 MiB."""

LAST_RESORT: Final = 4
"""At so many times the limit of calls grpc itself refuses more, without an error that says why."""


class CallLimiter:
    """Counts the calls and bytes of each caller, and all calls, and refuses what is too much."""

    def __init__(self, most: int, most_in_all: int, most_bytes: int = MAX_HELD_BYTES) -> None:
        """Args:
        most: calls of one caller in one round; also those of one caller that are being read, and those that wait
            for a round.
        most_in_all: calls of all callers.
        most_bytes: bytes of one caller.
        """
        self._most = most
        self._most_in_all = most_in_all
        self._most_bytes = most_bytes
        self._calls: Counter[tuple[str, bytes]] = Counter()
        self._bytes: Counter[str] = Counter()
        self._in_all = 0

    @property
    def under_way(self) -> int:
        """Calls of all callers."""
        return self._in_all

    def admit(self, caller: str, place: bytes = b"") -> "Slot":
        """Count one more call.

        Args:
            caller: whose.
            place: the round that it waits in, or what it does; empty while it is being read.

        Raises:
            LimitError: the caller has too many, or there are too many in all.
        """
        if self._in_all >= self._most_in_all:  # check: calls-in-all
            raise LimitError(f"{self._in_all} calls are under way, as many as max_calls allows; try again later")
        self._enter(caller, place)
        self._in_all += 1
        return Slot(self, caller, place)

    def _enter(self, caller: str, place: bytes) -> None:
        if self._calls[caller, place] >= self._most:  # check: calls-of-one
            where = f"in round {place.hex()}" if len(place) == ROUND_ID_SIZE else place.decode() or "being read"
            raise LimitError(f"{caller} has {self._most} calls under way {where}; end one first")
        self._calls[caller, place] += 1

    def _leave(self, caller: str, place: bytes) -> None:
        self._calls[caller, place] -= 1
        if not self._calls[caller, place]:
            del self._calls[caller, place]

    def _hold(self, caller: str, size: int) -> None:
        if self._bytes[caller] + size > self._most_bytes:  # check: bytes-of-one
            raise LimitError(f"{caller} has {self._most_bytes} bytes under way; end a call first")
        self._bytes[caller] += size

    def _let_go(self, caller: str, size: int) -> None:
        self._bytes[caller] -= size
        if not self._bytes[caller]:
            del self._bytes[caller]


class Slot:
    """One call that is under way, with the bytes that it holds. Its handler calls `end` once."""

    def __init__(self, limiter: CallLimiter, caller: str, place: bytes) -> None:
        self._limiter = limiter
        self._caller = caller
        self._place = place
        self._held = 0

    def move(self, place: bytes) -> None:
        """Count the call in the round that it turned out to be of.

        Raises:
            LimitError: the caller has too many calls there.
        """
        if place != self._place:
            self._limiter._enter(self._caller, place)
            self._limiter._leave(self._caller, self._place)
            self._place = place

    def hold(self, size: int) -> None:
        """Count so many bytes more for the call. Raise `LimitError` if its caller has too many."""
        self._limiter._hold(self._caller, size)
        self._held += size

    def let_go(self) -> None:
        """Count no bytes for the call: what it held is gone, or belongs to a round now."""
        if self._held:
            self._limiter._let_go(self._caller, self._held)
            self._held = 0

    def end(self) -> None:
        """Count the call no longer: it is over."""
        self.let_go()
        self._limiter._leave(self._caller, self._place)
        self._limiter._in_all -= 1
