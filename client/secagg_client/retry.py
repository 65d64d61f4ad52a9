"""When a call that broke is made again: exponential backoff with jitter, bounded in attempts and in time."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom

from secagg.errors import ConfigError, LimitError, RoundTimeoutError, SecAggError, TransportError
from secagg.scalars import settle

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
        attempts: most failures in a row. An attempt that held for `max_delay_s`, or that brought an upload forward,
            begins a new row. With 1 nothing is tried again.
        first_delay_s: wait after the first failure, in seconds. It doubles with every further failure.
        max_delay_s: longest wait, in seconds.
        give_up_after_s: longest time from the first failure in a row to the last attempt, in seconds.
    """

    attempts: int = 8
    first_delay_s: float = 0.2
    max_delay_s: float = 10.0
    give_up_after_s: float = 60.0

    @classmethod
    def lasting(cls, seconds: float) -> "RetryPolicy":
        """Try again for so many seconds, however often that is."""
        return cls(attempts=sys.maxsize, give_up_after_s=seconds)

    def __post_init__(self) -> None:
        settle(self, integers=("attempts",), numbers=("first_delay_s", "max_delay_s", "give_up_after_s"))
        if self.attempts < 1:
            raise ConfigError(f"attempts must be 1 or more, not {self.attempts}")
        if not 0 < self.first_delay_s <= self.max_delay_s:
            raise ConfigError("first_delay_s must be above 0 and at most max_delay_s")
        if self.give_up_after_s < 0:
            raise ConfigError("give_up_after_s must be 0 or more")


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
        idempotent: bool = True,
        insists: bool = True,
        jitter: Jitter = system_jitter,
    ) -> None:
        """Args:
        policy: how often, and how long.
        idempotent: whether an attempt that may have reached the peer can be made again.
        insists: whether one that cannot have reached it is made again.
        jitter: see there.
        """
        self._policy = policy
        self._idempotent = idempotent
        self._insists = insists
        self._jitter = jitter
        self._failures = 0  # in a row
        self._since = 0.0
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
        if self._failures == 0 or now - self._began >= self._policy.max_delay_s:
            self._failures, self._since = 0, now
        self._failures += 1
        self._last = error
        self.retrying = True
        unsent = isinstance(error, ConnectionBroken) and error.unsent
        if not self._idempotent and not unsent:
            raise self._final(error, "whether it took effect is not known")
        if unsent and not self._insists:
            raise self._final(error, "not tried again")
        exponent = min(self._failures - 1, 60)
        delay = min(self._policy.first_delay_s * 2.0**exponent, self._policy.max_delay_s) * (1 + self._jitter()) / 2
        if self._failures >= self._policy.attempts or now + delay - self._since > self._policy.give_up_after_s:
            raise self._final(error, "tried once" if self._failures == 1 else f"tried {self._failures} times")
        return delay

    def explained(self, over: RoundTimeoutError) -> RoundTimeoutError:
        """The end of the time allowed, with what the last attempt ran into."""
        return over if self._last is None else RoundTimeoutError(f"{over}; the last attempt failed: {self._last}")

    @staticmethod
    def _final(error: Retryable, remark: str) -> SecAggError:
        return error if isinstance(error, LimitError) else TransportError(f"{error} ({remark})")
