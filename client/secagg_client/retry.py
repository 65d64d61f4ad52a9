"""When a call that broke is made again: exponential backoff with jitter, bounded in time and in attempts.

A coordinator that is started anew is away for some seconds or minutes, and its rounds go on. So by default a client
tries for five minutes. In a round it does not try longer than the round could last, plus the minute that a restart may
take: later nobody else would be there any more.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isnan
from random import SystemRandom
from typing import Final

from secagg.errors import ConfigError, LimitError, RoundTimeoutError, SecAggError, TransportError
from secagg.scalars import as_number, settle

RESTART_S: Final = 60.0
"""How long a coordinator may be away while it is started anew, beside the time limits of a round."""

MAX_DELAY_S: Final = 86_400.0
"""Longest wait between two attempts, in seconds."""

FOR_EVER_S: Final = 1e9
"""A limit of time that is no limit: gRPC takes none that is much longer."""

Jitter = Callable[[], float]
"""A number in [0, 1), different for every client, so that those who broke together do not come back together."""


def system_jitter() -> float:
    """From the operating system."""
    return SystemRandom().random()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how long a client tries again. A call that broke, or that found the server full, is made again with
    the same bytes.

    Attributes:
        attempts: most failures in a row. An attempt that reached the server and held for `max_delay_s`, or that brought
            an upload forward, begins a new row. With 1 nothing is tried again. The default sets no limit.
        first_delay_s: wait after the first failure, in seconds. It doubles with every further failure.
        max_delay_s: longest wait, in seconds; at most `MAX_DELAY_S`.
        give_up_after_s: longest time from the first failure in a row to the last attempt, in seconds. A call of a round
            is besides not made again when `RESTART_S` and all time limits of the round are over since its first
            failure.
    """

    attempts: int = sys.maxsize
    first_delay_s: float = 0.2
    max_delay_s: float = 10.0
    give_up_after_s: float = 300.0

    @classmethod
    def lasting(cls, seconds: float) -> "RetryPolicy":
        """Try again for so many seconds."""
        return cls(give_up_after_s=seconds)

    def __post_init__(self) -> None:
        settle(self, integers=("attempts",), numbers=("first_delay_s", "max_delay_s", "give_up_after_s"))
        if self.attempts < 1:
            raise ConfigError(f"attempts must be 1 or more, not {self.attempts}")
        if not 0 < self.first_delay_s <= self.max_delay_s:
            raise ConfigError("first_delay_s must be above 0 and at most max_delay_s")
        if self.max_delay_s > MAX_DELAY_S:
            raise ConfigError(f"max_delay_s must be at most {MAX_DELAY_S:,.0f}, not {self.max_delay_s}")
        if not self.give_up_after_s >= 0:  # NaN is not
            raise ConfigError("give_up_after_s must be 0 or more")


def limit_of(timeout_s: float | None) -> float | None:
    """A caller's limit of time in seconds; None for no limit, which infinity is, too.

    Raises:
        ConfigError: it is no number.
    """
    limit = FOR_EVER_S if timeout_s is None else as_number(timeout_s, "timeout_s")
    if isnan(limit):
        raise ConfigError("timeout_s must be a number of seconds, not nan")
    return limit if limit < FOR_EVER_S else None


class ConnectionBroken(TransportError):
    """A broken call that may be made again.

    Attributes:
        unsent: nothing of the call can have reached the peer.
    """

    def __init__(self, message: str, *, unsent: bool) -> None:
        super().__init__(message)
        self.unsent = unsent


Retryable = ConnectionBroken | LimitError
RETRYABLE = (ConnectionBroken, LimitError)


class Attempts:
    """The failures in a row of one call. Times are in seconds, of any clock that does not jump."""

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        insists: bool = True,
        waits_for_room: bool = True,
        lasts_s: float = inf,
        jitter: Jitter = system_jitter,
    ) -> None:
        """Args:
        policy: how often, and how long.
        insists: whether an attempt that cannot have reached the peer is made again.
        waits_for_room: whether one that found the peer full is made again.
        lasts_s: how long what the call belongs to could last, in seconds.
        jitter: see there.
        """
        self._policy = policy
        self._insists = insists
        self._waits_for_room = waits_for_room
        self._lasts_s = lasts_s
        self._jitter = jitter
        self._failures = 0  # in a row
        self._since = 0.0
        self._first: float | None = None  # when it failed for the first time
        self._began = 0.0
        self._last: Retryable | None = None
        self.retrying = False  # whether the next attempt is not the first

    def begin(self, now: float) -> None:
        """An attempt begins."""
        self._began = now

    def progressed(self) -> None:
        """The upload got further than the last time."""
        self._failures = 0

    def delay_after(self, error: Retryable, now: float) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            TransportError: no more attempts.
            LimitError: no more attempts, and the server still has no room.
        """
        unsent = isinstance(error, ConnectionBroken) and error.unsent
        if self._failures == 0 or (not unsent and now - self._began >= self._policy.max_delay_s):
            self._failures, self._since = 0, now
        self._first = now if self._first is None else self._first
        self._failures += 1
        self._last = error
        self.retrying = True
        if isinstance(error, LimitError) and not self._waits_for_room:
            raise error
        if unsent and not self._insists:
            raise self._final(error, "not tried again")
        exponent = min(self._failures - 1, 60)
        delay = min(self._policy.first_delay_s * 2.0**exponent, self._policy.max_delay_s) * (1 + self._jitter()) / 2
        tried = "tried once" if self._failures == 1 else f"tried {self._failures} times"
        if self._failures >= self._policy.attempts or now + delay - self._since > self._policy.give_up_after_s:
            raise self._final(error, tried)
        if now + delay - self._first > RESTART_S + self._lasts_s:
            raise self._final(error, f"{tried}; all time limits of the round are over")
        return delay

    def explained(self, over: RoundTimeoutError) -> RoundTimeoutError:
        """The end of the time allowed, with what the last attempt ran into."""
        return over if self._last is None else RoundTimeoutError(f"{over}; the last attempt failed: {self._last}")

    @staticmethod
    def _final(error: Retryable, remark: str) -> SecAggError:
        return error if isinstance(error, LimitError) else TransportError(f"{error} ({remark})")
