"""`secagg round watch`: a table in a terminal, lines elsewhere, JSON where asked for."""

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from secagg.cli import round as commands
from secagg.cli import watching
from secagg.cli.main import main
from secagg.errors import AbortReason, RoundAborted
from secagg.events import (
    Accused,
    DropReason,
    MasksRemoved,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    Verdict,
)
from secagg.messages import ParticipantId, Phase
from secagg.robust.combining import Anomaly
from secagg.wire.progress import CohortEvent, InGroup, ResultReady, WatchedEvent

NAMES = [ParticipantId(f"clinic-{i}") for i in range(20)]
KEYS, SHARES = Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS
ROUND = "3ea1ec2623643f993a2e6456c4117470"


def playing() -> list[CohortEvent]:
    """A round in its second phase: one dropped out, three delivered, sixteen are missing."""
    return [
        PhaseStarted(KEYS, 60.0, 20),
        *(MessageAccepted(KEYS, name) for name in NAMES),
        PhaseStarted(SHARES, 100.0, 20),
        *(MessageAccepted(SHARES, name) for name in NAMES[:3]),
        ParticipantDropped(SHARES, NAMES[19], DropReason.EXCLUDED),
        Accused(NAMES[4], NAMES[5], Verdict.HEARSAY),
    ]


def drawn(events: Sequence[WatchedEvent], now: float = 82.0, width: int = 80) -> str:
    table = watching.Table(lambda: now)
    for at, event in enumerate(events):
        table.take(float(at), event)
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(table.render())
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_table_says_where_the_round_stands() -> None:
    shown = drawn(playing())
    rows = [line.split() for line in shown.splitlines()]
    assert ["AdvertiseKeys", "20", "of", "20", "21.0", "s"] in rows
    assert ["ShareKeys", "3", "of", "20", "16", "18", "s", "left"] in rows
    said = " ".join(shown.split())
    assert f"Missing: {NAMES[10]}, {NAMES[11]}, " in said
    assert f"{NAMES[3]}, " in said
    assert "and 4 more" in said
    assert "Dropped out: clinic-19 (ShareKeys, the FL server excluded it)" in said
    assert "Blame, hearsay: clinic-4 accused by clinic-5: its word alone, no proof" in said


def test_a_long_unmasking_is_shown_as_it_goes_on() -> None:
    advanced = MasksRemoved(7, 20)
    assert watching.describe(advanced) == "Unmask: 35 % of the masks are out of the sum"
    assert "35 % of the masks" in drawn([*playing(), MasksRemoved(6, 20), advanced])
    assert "%" not in drawn([*playing(), advanced, ResultReady(3, bytes(32))])
    assert watching.event_as_json(1.0, advanced)["masks_removed"] == {"done": "7", "total": "20"}


def test_a_deadline_that_has_passed_is_not_negative() -> None:
    assert "deadline passed" in drawn(playing(), now=101.0)


def test_each_group_has_a_table_and_the_round_its_end() -> None:
    events: list[WatchedEvent] = [InGroup(n, event) for event in playing() for n in (1, 2)]
    failed = RoundAborted(AbortReason.BELOW_THRESHOLD, "too few")
    shown = drawn([*events, InGroup(2, RoundFailed(failed)), InGroup(1, ResultReady(19, b"")), Anomaly(1, 9.0, 1.0)])
    assert shown.count("ShareKeys  ") == 2
    assert drawn([*events, ResultReady(19, b"")]).count("Delivered") == 2
    for wanted in ("Group 1", "Group 2", "Over without a sum: too few", "Over: 19 updates in its sum", "out of line"):
        assert wanted in shown
    assert "over: 19 updates in the sum" in drawn([*events, ResultReady(19, b"")])


def test_what_a_peer_chose_stays_one_line_without_escapes() -> None:
    """A coordinator that lies can name anybody anything."""
    name = ParticipantId("\x1b[31mred\u202e" + "n" * 100)
    opened, shares = PhaseStarted(KEYS, 60.0, 3), PhaseStarted(SHARES, 9.0, 1)
    events: list[WatchedEvent] = [opened, MessageAccepted(KEYS, name), shares]
    shown = drawn([*events, ParticipantDropped(SHARES, name, DropReason.FAILED)], width=300)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "n" * 60 not in shown
    assert "[bold]" in drawn([opened, MessageAccepted(KEYS, ParticipantId("[bold]")), shares])


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `secagg round watch` on a round with these events."""

    def run(events: Sequence[WatchedEvent], *options: str, code: int = 0) -> None:
        def told(_: bytes) -> Iterator[tuple[float, WatchedEvent]]:
            yield from ((1_800_000_000.25 + at, event) for at, event in enumerate(events))

        sidecar = nullcontext(SimpleNamespace(watch=told))
        monkeypatch.setattr(commands, "_client", lambda _: sidecar)
        with pytest.raises(SystemExit) as caught:
            main(["round", "watch", ROUND, *options])
        assert caught.value.code == code

    return run


def test_without_a_terminal_each_event_is_a_line(
    watch: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as some build machines do: that makes no terminal of a file
    watch([*playing(), ResultReady(19, bytes(32))])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(playing()) + 1
    assert lines[0] == "08:00:00.250  AdvertiseKeys: up to 20 participants, until 00:01:00.000"
    assert lines[-3].endswith("ShareKeys: clinic-19 dropped out (the FL server excluded it)")
    assert "\x1b" not in "".join(lines)


def test_json_is_one_line_for_each_change(watch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    watch([*playing(), ResultReady(19, bytes(32))], "--json")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(told) == len(playing()) + 1
    assert told[1]["message_accepted"] == {"phase": "AdvertiseKeys", "participant_id": "clinic-0"}


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_round_without_a_sum_ends_with_an_error(
    watch: Any, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    watch([*playing(), RoundFailed(RoundAborted(AbortReason.BELOW_THRESHOLD, "too few are left"))], *options, code=1)
    assert "too few are left" in capsys.readouterr().err


def test_in_a_terminal_the_table_follows_and_its_end_stays(
    watch: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    watch([*playing(), ResultReady(19, bytes(32))])
    shown = capsys.readouterr().out
    assert "\x1b[" in shown
    assert "over: 19 updates in the sum" in shown
    assert "clinic-0 delivered" not in shown


def test_the_table_is_not_drawn_while_it_changes() -> None:
    """The terminal is drawn in a thread of its own. A dictionary that grows meanwhile would end it."""
    entered = []

    class Noting:
        def __enter__(self) -> None:
            entered.append(True)

        def __exit__(self, *_: object) -> None: ...

    table = watching.Table(lambda: 0.0)
    table._lock = Noting()  # type: ignore[assignment]
    table.take(0.0, PhaseStarted(KEYS, 60.0, 3))
    table.render()
    assert len(entered) == 2
