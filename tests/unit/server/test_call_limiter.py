"""Calls and bytes are counted by caller, by round and in all; what is over is counted no longer."""

import pytest
from secagg_server.limits.call_limiter import CallLimiter

from secagg.errors import LimitError

ROUNDS = [bytes([i]) * 16 for i in range(4)]


def test_one_caller_takes_no_place_of_another() -> None:
    limiter = CallLimiter(2, 100)
    held = [limiter.admit("a"), limiter.admit("a")]
    with pytest.raises(LimitError, match="a has 2 calls under way being read"):
        limiter.admit("a")
    limiter.admit("b")
    held[0].end()
    limiter.admit("a")


def test_calls_that_wait_in_one_round_do_not_count_in_another() -> None:
    """Else a participant whose calls all wait in rounds that others cannot join waits with them for ever."""
    limiter = CallLimiter(2, 1000)
    for round_id in ROUNDS:
        for _ in range(2):
            limiter.admit("a").move(round_id)
        late = limiter.admit("a")
        with pytest.raises(LimitError, match=f"in round {round_id.hex()}"):
            late.move(round_id)
        late.end()
    assert limiter.admit("a") is not None


def test_a_refused_move_leaves_the_counts_as_they_were() -> None:
    limiter = CallLimiter(1, 100)
    limiter.admit("a").move(ROUNDS[0])
    late = limiter.admit("a")
    with pytest.raises(LimitError):
        late.move(ROUNDS[0])
    with pytest.raises(LimitError):
        limiter.admit("a")  # the late one is still being read
    late.end()
    limiter.admit("a").end()
    assert limiter._calls == {("a", ROUNDS[0]): 1}
    assert limiter._in_all == 1


def test_all_callers_together() -> None:
    limiter = CallLimiter(2, 3)
    held = [limiter.admit(name) for name in "abc"]
    with pytest.raises(LimitError, match="as many as max_calls allows"):
        limiter.admit("d")
    held[1].end()
    limiter.admit("d")


def test_bytes_are_held_by_caller_until_they_are_let_go() -> None:
    limiter = CallLimiter(9, 9, most_bytes=10)
    one, two = limiter.admit("a"), limiter.admit("a")
    one.hold(6)
    with pytest.raises(LimitError, match="10 bytes under way"):
        two.hold(5)
    limiter.admit("b").hold(10)
    one.let_go()
    two.hold(5)
    two.hold(5)
    two.end()
    one.hold(10)
    one.end()
    assert limiter._bytes == {"b": 10}
