"""Calls and bytes are counted by caller, by round and in all; what is over is counted no longer."""

import pytest
from secagg_server.limits.call_limiter import Tally

from secagg.errors import LimitError

ROUNDS = [bytes([i]) * 16 for i in range(4)]


def test_one_caller_takes_no_place_of_another() -> None:
    tally = Tally(2, 100)
    held = [tally.admit("a"), tally.admit("a")]
    with pytest.raises(LimitError, match="a has 2 calls under way being read"):
        tally.admit("a")
    tally.admit("b")
    held[0].end()
    tally.admit("a")


def test_calls_that_wait_in_one_round_do_not_count_in_another() -> None:
    """Else a participant whose calls all wait in rounds that others cannot join waits with them for ever."""
    tally = Tally(2, 1000)
    for round_id in ROUNDS:
        for _ in range(2):
            tally.admit("a").move(round_id)
        late = tally.admit("a")
        with pytest.raises(LimitError, match=f"in round {round_id.hex()}"):
            late.move(round_id)
        late.end()
    assert tally.admit("a") is not None


def test_a_refused_move_leaves_the_counts_as_they_were() -> None:
    tally = Tally(1, 100)
    tally.admit("a").move(ROUNDS[0])
    late = tally.admit("a")
    with pytest.raises(LimitError):
        late.move(ROUNDS[0])
    with pytest.raises(LimitError):
        tally.admit("a")  # the late one is still being read
    late.end()
    tally.admit("a").end()
    assert tally._calls == {("a", ROUNDS[0]): 1}
    assert tally._in_all == 1


def test_all_callers_together() -> None:
    tally = Tally(2, 3)
    held = [tally.admit(name) for name in "abc"]
    with pytest.raises(LimitError, match="as many as max_calls allows"):
        tally.admit("d")
    held[1].end()
    tally.admit("d")


def test_bytes_are_held_by_caller_until_they_are_let_go() -> None:
    tally = Tally(9, 9, most_bytes=10)
    one, two = tally.admit("a"), tally.admit("a")
    one.hold(6)
    with pytest.raises(LimitError, match="10 bytes under way"):
        two.hold(5)
    tally.admit("b").hold(10)
    one.let_go()
    two.hold(5)
    two.hold(5)
    two.end()
    one.hold(10)
    one.end()
    assert tally._bytes == {"b": 10}
