"""Lines about what strangers do: one a second of a kind, ten a second of an event, and the rest is counted."""

import pytest
from secagg_server.observability.logs import MOST_OF_EVENT, Throttle, ThrottledLog
from structlog.testing import capture_logs

from secagg.tools.redteam.self_test.patches import without_check


def flood(throttled: ThrottledLog, kinds: int, times: int = 1) -> int:
    """How many lines come of it."""
    with capture_logs() as lines:
        for number in range(kinds * times):
            throttled.info("refused", number % kinds, address=str(number))
    return len(lines)


def test_one_kind_is_one_line_and_the_next_says_how_many_there_were() -> None:
    now = [0.0]
    throttled = ThrottledLog(clock=lambda: now[0])
    assert flood(throttled, kinds=1, times=500) == 1
    now[0] = 1.0
    with capture_logs() as lines:
        throttled.error("refused", 0)
    assert [(line["log_level"], line["unlogged"]) for line in lines] == [("error", 499)]


def test_many_strangers_together_fill_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    throttled = ThrottledLog(clock=lambda: now[0])
    assert flood(throttled, kinds=20_000) == MOST_OF_EVENT
    now[0] = 0.5
    assert flood(throttled, kinds=20_000) == 0
    now[0] = 1.0
    assert flood(throttled, kinds=20_000) == MOST_OF_EVENT
    without_check(monkeypatch, Throttle, "_unlogged", "log-lines-of-strangers")
    assert flood(throttled, kinds=20_000) == 20_000  # the twin


def test_threads_take_turns() -> None:
    held = []

    def clock() -> float:
        held.append(throttled._throttle._lock.locked())
        return 0.0

    throttled = ThrottledLog(clock)
    flood(throttled, kinds=2)
    assert held == [True, True]


def test_another_event_has_its_own_lines() -> None:
    throttled = ThrottledLog(clock=lambda: 0.0)
    flood(throttled, kinds=100)
    with capture_logs() as lines:
        throttled.warning("something else", 0)
    assert len(lines) == 1


def test_memory_of_kinds_is_bounded() -> None:
    throttled = ThrottledLog(clock=lambda: 0.0)
    flood(throttled, kinds=20_000)
    assert len(throttled._throttle._logged) <= 4096
