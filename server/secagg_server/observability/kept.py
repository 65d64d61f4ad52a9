"""Answers that are given again for a while: whoever asks the status port without end must not cost more."""

from collections.abc import Callable, Hashable

from secagg_server.observability.http import Answer


class KeptAnswers:
    """The latest answers, by what was asked for."""

    def __init__(self, fresh_s: float, clock: Callable[[], float]) -> None:
        """Args:
        fresh_s: seconds for which an answer is given again.
        clock: seconds.
        """
        self._fresh_s = fresh_s
        self._clock = clock
        self._made: dict[Hashable, tuple[float, Answer]] = {}  # when, by what was asked for

    def get(self, asked: Hashable, make: Callable[[], Answer]) -> Answer:
        """The answer to `asked`, made anew if there is none that is fresh."""
        known, now = self._made.get(asked), self._clock()
        if known is None or now - known[0] >= self._fresh_s:  # check: status-answers-kept
            known = self._made[asked] = (now, make())
        return known[1]
