"""When a call is made again: delays, limits in number and in time, and what is never repeated."""

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secagg_client.aio.connection import Scope
from secagg_client.retry import Attempts, ConnectionBroken, RetryPolicy, limit_of

from secagg.errors import ConfigError, LimitError, RoundTimeoutError, TransportError

BROKEN = ConnectionBroken("the connection to host broke", unsent=False)
REFUSED = ConnectionBroken("cannot reach host", unsent=True)
POLICY = RetryPolicy(attempts=4, first_delay_s=1.0, max_delay_s=3.0, give_up_after_s=100.0)


def most() -> float:
    return 1.0


def test_delays_double_up_to_the_longest_and_attempts_end() -> None:
    attempts = Attempts(POLICY, jitter=most)
    assert not attempts.retrying
    delays = []
    for _ in range(3):
        attempts.begin(0.0)
        delays.append(attempts.delay_after(BROKEN, 0.0))
    assert delays == [1.0, 2.0, 3.0]
    assert attempts.retrying
    with pytest.raises(TransportError, match=r"the connection to host broke \(tried 4 times\)"):
        attempts.delay_after(BROKEN, 0.0)


def test_a_policy_of_one_attempt_does_not_retry() -> None:
    with pytest.raises(TransportError, match="tried once"):
        Attempts(RetryPolicy(attempts=1)).delay_after(REFUSED, 0.0)


def test_time_runs_out() -> None:
    attempts = Attempts(RetryPolicy(attempts=100, first_delay_s=1.0, max_delay_s=1.0, give_up_after_s=2.5), jitter=most)
    for now in (0.0, 1.0):
        attempts.begin(now)
        assert attempts.delay_after(BROKEN, now) == 1.0
    attempts.begin(2.0)
    with pytest.raises(TransportError, match="tried 3 times"):
        attempts.delay_after(BROKEN, 2.0)


def test_a_connection_that_held_begins_a_new_row() -> None:
    attempts = Attempts(POLICY, jitter=most)
    for hour in range(50):
        attempts.begin(hour * 3600.0)
        assert attempts.delay_after(BROKEN, hour * 3600.0 + 3599) == 1.0


def test_progress_begins_a_new_row() -> None:
    attempts = Attempts(POLICY, jitter=most)
    for _ in range(50):
        attempts.begin(0.0)
        attempts.progressed()
        assert attempts.delay_after(BROKEN, 0.0) == 1.0
        assert attempts.retrying


def test_a_connection_that_is_not_made_begins_no_new_row_however_long_that_takes() -> None:
    """A coordinator that hangs is noticed after `max_delay_s` each time."""
    attempts = Attempts(POLICY, jitter=most)
    for minute in range(3):
        attempts.begin(minute * 20.0)
        attempts.delay_after(REFUSED, minute * 20.0 + 15)
    attempts.begin(60.0)
    with pytest.raises(TransportError, match="tried 4 times"):
        attempts.delay_after(REFUSED, 75.0)


def test_by_default_a_coordinator_may_be_away_for_a_minute_and_for_five() -> None:
    for away_s, lasts_s in ((60.0, 0.0), (299.0, inf)):
        attempts, now = Attempts(RetryPolicy(), lasts_s=lasts_s, jitter=lambda: 0.0), 0.0
        while now < away_s - RetryPolicy().max_delay_s:
            attempts.begin(now)
            now += attempts.delay_after(REFUSED, now)
    attempts.begin(301.0)
    with pytest.raises(TransportError):
        attempts.delay_after(REFUSED, 301.0)


def test_nobody_tries_longer_than_the_round_can_last_even_if_each_attempt_held_for_long() -> None:
    attempts = Attempts(RetryPolicy(), lasts_s=30.0, jitter=most)
    for now in (0.0, 40.0, 80.0):
        attempts.begin(now)
        attempts.delay_after(BROKEN, now + 9)
    attempts.begin(90.0)
    with pytest.raises(TransportError, match="all time limits of the round are over"):
        attempts.delay_after(BROKEN, 99.5)


def test_a_server_without_room_is_asked_again_only_by_calls_that_wait_for_room() -> None:
    with pytest.raises(LimitError, match="full"):
        Attempts(POLICY, waits_for_room=False).delay_after(LimitError("full"), 0.0)
    assert Attempts(POLICY, waits_for_room=False).delay_after(BROKEN, 0.0) > 0


def test_a_full_server_is_asked_again_and_named_in_the_end() -> None:
    attempts = Attempts(POLICY, jitter=most)
    for _ in range(3):
        attempts.delay_after(LimitError("too many calls"), 0.0)
    with pytest.raises(LimitError, match="too many calls"):
        attempts.delay_after(LimitError("too many calls"), 0.0)


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 200))
def test_jitter_keeps_half_of_the_delay(jitter: float, failures: int) -> None:
    policy = RetryPolicy(attempts=1000, first_delay_s=0.5, max_delay_s=8.0, give_up_after_s=1e9)
    attempts = Attempts(policy, jitter=lambda: jitter)
    for count in range(failures):
        full = min(0.5 * 2.0 ** min(count, 60), 8.0)
        assert full / 2 <= attempts.delay_after(BROKEN, 0.0) <= full


@pytest.mark.parametrize(
    "bad",
    [
        {"attempts": 0},
        {"first_delay_s": 0.0},
        {"first_delay_s": 2.0, "max_delay_s": 1.0},
        {"give_up_after_s": -1.0},
        {"give_up_after_s": nan},
        {"max_delay_s": inf},
    ],
)
def test_senseless_policies_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        RetryPolicy(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "limit"), [(None, None), (inf, None), (1e300, None), (3, 3.0), (0.5, 0.5), (-1, -1.0)]
)
def test_an_endless_limit_of_time_is_none(asked: float | None, limit: float | None) -> None:
    assert limit_of(asked) == limit
    assert (Scope(asked)._end is None) is (limit is None)


@pytest.mark.parametrize("bad", [nan, "3", True])
def test_a_limit_that_is_no_number_is_refused(bad: Any) -> None:
    with pytest.raises(ConfigError, match="timeout_s must be a number"):
        Scope(bad)


def test_the_end_of_the_time_tells_what_the_last_attempt_ran_into() -> None:
    attempts, over = Attempts(POLICY), RoundTimeoutError("the time allowed is over")
    assert str(attempts.explained(over)) == "the time allowed is over"
    attempts.begin(0.0)
    attempts.delay_after(REFUSED, 0.0)
    assert str(attempts.explained(over)) == ("the time allowed is over; the last attempt failed: cannot reach host")


def test_as_long_as_the_time_says() -> None:
    attempts = Attempts(RetryPolicy.lasting(1e6))
    for second in range(1000):
        attempts.begin(float(second))
        attempts.delay_after(BROKEN, float(second))
    attempts.begin(1e6 + 1)
    with pytest.raises(TransportError, match="tried 1001 times"):
        attempts.delay_after(BROKEN, 1e6 + 1)


def test_a_good_bye_is_said_again_unless_nobody_is_there() -> None:
    attempts = Attempts(POLICY, insists=False, jitter=most)
    assert attempts.delay_after(ConnectionBroken("broke", unsent=False), 0.0) > 0
    assert attempts.delay_after(LimitError("full"), 0.0) > 0
    with pytest.raises(TransportError, match="not tried again"):
        attempts.delay_after(ConnectionBroken("refused", unsent=True), 0.0)
