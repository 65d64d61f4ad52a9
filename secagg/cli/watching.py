"""What `secagg round watch` shows: lines of text, JSON, or in a terminal a table that follows the round."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import typer

from secagg.cli.names import parse_phase
from secagg.errors import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from secagg.programs.standing import PhaseStanding, Standing
    from secagg.wire.progress import CohortEvent, WatchedEvent

Watched = Iterable[tuple[float, "WatchedEvent"]]
"""Events with their times, in seconds since 1970."""

NAMES_SHOWN: Final = 12
_DROPS_SHOWN: Final = 6


def show_lines(events: Watched) -> None:
    """A line for each event. Raise `RoundAborted` at the end of a round without a sum."""
    for at, event in events:
        typer.echo(f"{clock(at)}  {describe(event)}")
        _raise_failure(event)


def show_json(events: Watched) -> None:
    """A line of JSON for each event. Errors as of `show_lines`."""
    for at, event in events:
        typer.echo(json.dumps(event_as_json(at, event)))
        _raise_failure(event)


def show_table(events: Watched, console: "Console", now: Callable[[], float] = time.time) -> None:
    """A table that follows the round; its last state stays in the terminal. Errors as of `show_lines`.

    Args:
        events: of the round.
        console: the terminal.
        now: seconds since 1970.
    """
    from rich.live import Live

    table = Table(now)
    with Live(get_renderable=table.render, console=console, refresh_per_second=2) as live:
        for at, event in events:
            table.take(at, event)
            live.refresh()
            _raise_failure(event)


def _raise_failure(event: "WatchedEvent") -> None:
    from secagg.events import RoundFailed

    if isinstance(event, RoundFailed):
        raise event.error


class Table:
    """Where a round stands, drawn: its phases, who is missing, who dropped out, who is to blame. A round in groups has
    one such table for each group.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Args: now: seconds since 1970."""
        self._now = now
        self._cohorts: dict[int, Standing] = {}  # by the number of the group; 0 for a round that is in none
        self._said: list[str] = []  # of the whole round
        self._lock = Lock()  # the terminal is drawn in a thread of its own, so that the time runs

    def take(self, at: float, event: "WatchedEvent") -> None:
        """The next event, and its time in seconds since 1970."""
        with self._lock:
            self._take(at, event)

    def _take(self, at: float, event: "WatchedEvent") -> None:
        from secagg.events import RoundFailed
        from secagg.programs.standing import Standing
        from secagg.robust.combining import Anomaly
        from secagg.wire.progress import InGroup, ResultReady

        number, inner = (event.group, event.event) if isinstance(event, InGroup) else (0, event)
        if isinstance(inner, RoundFailed | ResultReady) and not number:
            self._said.append(describe(event))
        if isinstance(inner, Anomaly):
            self._said.append(describe(inner))
        elif number or not self._grouped:
            self._cohorts.setdefault(number, Standing()).take(at, inner)

    @property
    def _grouped(self) -> bool:
        return any(self._cohorts)

    def render(self) -> "RenderableType":
        """What the terminal shows now."""
        with self._lock:
            return self._drawn()

    def _drawn(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = []
        for number, standing in sorted(self._cohorts.items()):
            title = f"Group {number}" if number else None
            parts += [self._phases(standing, title), *(Text(line) for line in _below(standing, grouped=number > 0))]
        return Group(*parts, *(Text(line, style="bold") for line in self._said))

    def _phases(self, standing: "Standing", title: str | None) -> "RenderableType":
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("Phase", "Delivered", "Missing", "Time"):
            table.add_column(heading, justify="left" if heading == "Phase" else "right")
        for phase in standing.phases:
            open_ = phase is standing.open
            missing = str(standing.missing_count()) if open_ else ""
            time_ = self._time(phase, open_)
            row = (str(phase.phase), f"{phase.delivered} of {phase.expected}", missing, time_)
            table.add_row(*map(Text, row), style="bold" if open_ else "")
        return table

    def _time(self, phase: "PhaseStanding", open_: bool) -> str:
        if open_:
            left = phase.deadline - self._now()
            return f"{left:.0f} s left" if left > 0 else "deadline passed"
        return f"{(phase.until or phase.since) - phase.since:.1f} s"


def _below(standing: "Standing", *, grouped: bool) -> Iterator[str]:
    """The lines under the phases of a cohort."""
    from secagg.errors import RoundAborted
    from secagg.programs.standing import told_drop

    missing = standing.missing()
    if missing:
        yield f"Missing: {_some([_name(name) for name in missing], NAMES_SHOWN)}"
    if standing.dropped:
        told = [
            f"{_name(drop.participant)} ({drop.phase}, {told_drop(drop.reason)})" for drop in standing.dropped.values()
        ]
        yield f"Dropped out: {_some(told, _DROPS_SHOWN)}"
    if standing.removed is not None and standing.outcome is None:
        yield describe(standing.removed)
    for blame in standing.blame[-_DROPS_SHOWN:]:
        yield f"Blame, {'proven' if blame.proven else 'hearsay'}: {_name(blame.participant)} {blame.told}"
    if grouped and standing.outcome is not None:
        outcome = standing.outcome
        yield (
            f"Over without a sum: {outcome}"
            if isinstance(outcome, RoundAborted)
            else (f"Over: {outcome.survivors} updates in its sum")
        )


def _some(told: list[str], most: int) -> str:
    more = len(told) - most
    return ", ".join(told[:most]) + (f" and {more} more" if more > 0 else "")


def _name(name: str) -> str:
    return printable(name, 64)


def clock(at: float) -> str:
    """A time of the day in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def describe(event: "WatchedEvent") -> str:
    """An event as one line of text."""
    from secagg.robust.combining import Anomaly
    from secagg.wire.progress import InGroup

    match event:
        case InGroup(group, inner):
            return f"group {group}: {_describe_cohort(inner)}"
        case Anomaly(group, norm, typical):
            return f"group {group} is out of line: its mean has norm {norm:.4g}, typical is {typical:.4g}"
        case _:
            return _describe_cohort(event)


def _describe_cohort(event: "CohortEvent") -> str:  # noqa: PLR0911, one for each kind
    from secagg.events import (
        Accused,
        MasksRemoved,
        MessageAccepted,
        ParticipantDropped,
        PhaseStarted,
        RoundFailed,
        WrongShares,
    )
    from secagg.messages import Phase
    from secagg.programs.standing import Blame, told_drop

    match event:
        case PhaseStarted(phase, deadline, expected):
            return f"{phase}: up to {expected} participants, until {clock(deadline)}"
        case MessageAccepted(phase, participant):
            return f"{phase}: {participant} delivered"
        case ParticipantDropped(phase, participant, reason):
            return f"{phase}: {participant} dropped out ({told_drop(reason)})"
        case WrongShares() | Accused():
            blame = Blame.of(event)
            return f"{blame.participant} {blame.told} ({'proven' if blame.proven else 'hearsay'})"
        case MasksRemoved():
            return f"{Phase.UNMASK}: {event.percent} % of the masks are out of the sum"
        case RoundFailed(error):
            proven = f"; proven to be at fault: {', '.join(error.culprits)}" if error.culprits else ""
            heard = f"; accused by many, not proven: {', '.join(error.accused)}" if error.accused else ""
            return f"over without a sum: {error}{proven}{heard}"
        case ready:
            return f"over: {ready.survivors} updates in the sum, digest {ready.sums_digest.hex()[:16]}"


def event_as_json(at: float, event: "WatchedEvent") -> dict[str, Any]:
    """The event as its protobuf message says it, phases spelled as everywhere else."""
    from google.protobuf.json_format import MessageToDict

    from secagg.wire.progress import encode_event

    told = MessageToDict(encode_event(event, at), preserving_proto_field_name=True)
    for detail in told.values():
        if isinstance(detail, dict) and "phase" in detail:
            detail["phase"] = str(parse_phase(detail["phase"].removeprefix("PHASE_")))
    return told
