"""What the status page remembers: rounds under way, rounds that ended, and what went wrong. All of it is bounded.

It is a listener of the observer. Rounds are forgotten by the coordinator some minutes after their end; here the latest
stay, with what an operator asks about them in the morning.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, assert_never

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.errors import RoundAborted
from secagg.events import Event, RoundFailed
from secagg.messages import ParticipantId
from secagg.phases import phases
from secagg.programs.standing import Standing, told_drop
from secagg.wire.progress import ResultReady, watched
from secagg_server.observability.facts import (
    CallEnded,
    CallOutcome,
    ConnectionCause,
    ConnectionClosed,
    Fact,
    GroupAnomaly,
    GroupsCombined,
    GroupsOpened,
    GroupsResumed,
    RoundBroken,
    RoundEvent,
    RoundLost,
    RoundName,
    RoundOpened,
    RoundResumed,
)
from secagg_server.observability.statuspage.values import (
    BLAME_SHOWN,
    DROPS_SHOWN,
    BlameFacts,
    Drop,
    FinishedRound,
    LiveRound,
    Names,
    PhaseFacts,
    RoundFacts,
    Trouble,
    name,
    words,
)

FINISHED_KEPT: Final = 50
TROUBLES_KEPT: Final = 40
_SEVERITIES: Final = ("refusal", "warning", "error")

_CONNECTIONS: Final = {
    ConnectionCause.NOT_ACCEPTED: ("error", "a connection could not be accepted"),
    ConnectionCause.SILENT: ("refusal", "a connection that made no call was closed"),
    ConnectionCause.FOR_ANOTHER: ("warning", "all connections are in use; one was closed for a newer one"),
    ConnectionCause.TOO_MANY: ("refusal", "a participant opened too many connections; its oldest was closed"),
    ConnectionCause.WITHOUT_CALL: ("refusal", "a connection ended before its first call"),
    ConnectionCause.TLS_REFUSED: ("refusal", "a TLS handshake failed"),
    ConnectionCause.ANSWER_NOT_TAKEN: ("refusal", "a participant did not take its answer in time"),
    ConnectionCause.REFUSED: ("refusal", "a participant that is revoked or denied was disconnected"),
}


@dataclass(slots=True)
class _Watched:
    """A round under way, or a group of one."""

    config: RoundConfig
    about: RoundFacts
    standing: Standing = field(default_factory=Standing)


class Memory:
    """Hears of everything and keeps what the status page shows. May be told from several threads.

    Attributes:
        finished: rounds that are over, the latest first.
        sums: how many rounds ended with a sum. The groups of a round count as one round.
        failures: how many ended without one.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Args: clock: seconds since 1970."""
        self.finished: deque[FinishedRound] = deque(maxlen=FINISHED_KEPT)
        self.sums = self.failures = 0
        self._clock = clock
        self._live: dict[RoundId, _Watched] = {}
        self._whole: dict[RoundId, _Watched] = {}  # rounds in groups, of which the groups are live
        self._troubles: dict[tuple[str, str], Trouble] = {}
        self._lock = Lock()  # of the troubles: connections are told of in another thread than rounds

    def __call__(self, fact: Fact) -> None:  # noqa: PLR0912, one for each kind
        """Keep what is shown of the fact."""
        match fact:
            case RoundOpened(round_, at, config):
                self._live[round_.round_id] = _Watched(config, _about(round_, at, config))
            case GroupsOpened(round_, at, _, groups):
                config = self._live[groups[0]].config
                self._whole[round_.round_id] = _Watched(config, _about(round_, at, config))
            case RoundEvent(round_, at, event):
                self._take(round_, at, event)
            case RoundResumed(round_, _, config, opened_s, events):
                live = self._live[round_.round_id] = _Watched(config, _about(round_, opened_s, config))
                for at, event in events:
                    live.standing.take(at, watched(event, b""))
            case GroupsResumed(round_, opened_s, config):
                self._whole[round_.round_id] = _Watched(config, _about(round_, opened_s, config))
            case RoundLost(round_id, detail):
                self._note("round_lost", "error", f"round {round_id.hex()} is lost: {detail}")
            case GroupsCombined(round_, at, _, survivors):
                self._end_whole(round_, at, ResultReady(survivors, b""))
            case GroupAnomaly(round_, anomaly):
                told = f"group {anomaly.group} of a round of {round_.task} is out of line: its mean is far too long"
                self._note("group_anomaly", "warning", told)
            case RoundBroken(round_):
                self._note("round_broken", "error", f"a round of {round_.task} broke; the log says more")
            case CallEnded():
                self._take_call(fact)
            case ConnectionClosed():
                self._take_connection(fact)
            case _:
                assert_never(fact)

    # --- rounds -------------------------------------------------------------------------------------------------------

    def _take(self, round_: RoundName, at: float, event: Event) -> None:
        told = watched(event, b"")
        live = self._live.get(round_.round_id)
        if live is None:  # a round in groups, whose one event is that it failed
            if isinstance(told, RoundFailed):
                self._end_whole(round_, at, told.error)
            return
        live.standing.take(at, told)
        if live.standing.outcome is not None:
            del self._live[round_.round_id]
            self._finish(live)
            if round_.parent is None:
                self._count(live.standing.outcome)

    def _end_whole(self, round_: RoundName, at: float, outcome: ResultReady | RoundAborted) -> None:
        whole = self._whole.pop(round_.round_id, None)
        if whole is None:
            return  # it was lost before this process began
        whole.standing.outcome, whole.standing.ended = outcome, at
        self._finish(whole)
        self._count(outcome)

    def _finish(self, ended: _Watched) -> None:
        self.finished.appendleft(_finished(ended))

    def _count(self, outcome: ResultReady | RoundAborted) -> None:
        if isinstance(outcome, RoundAborted):
            self.failures += 1
        else:
            self.sums += 1

    def live(self, expected: Callable[[RoundId], frozenset[ParticipantId]]) -> tuple[LiveRound, ...]:
        """Rounds under way, the newest first. Args: expected: whom the FL server said to expect in a round."""
        begun = [(round_id, one) for round_id, one in reversed(self._live.items()) if one.standing.phases]
        return tuple(_live(one, expected(round_id)) for round_id, one in begun)

    # --- what went wrong ----------------------------------------------------------------------------------------------

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What went wrong, each kind once, the latest first."""
        with self._lock:
            return tuple(sorted(self._troubles.values(), key=lambda trouble: -trouble.last))

    def _take_call(self, call: CallEnded) -> None:
        if call.outcome is CallOutcome.BROKEN:
            self._note("internal_error", "error", f"{call.method} broke; the log says more")
        elif call.error is not None and not isinstance(call.error, RoundAborted):  # that a round failed is told once
            kind = type(call.error).__name__
            who = call.caller or call.address
            self._note(f"call_refused {call.method} {kind}", "refusal", f"{call.method} of {who}: {call.error}")

    def _take_connection(self, closed: ConnectionClosed) -> None:
        severity, told = _CONNECTIONS[closed.cause]
        more = (closed.reason, closed.participant, closed.address, closed.detail)
        self._note(
            " ".join(filter(None, ("connection", closed.cause.name.lower(), closed.reason))),
            severity,
            "; ".join([told, *filter(None, more)]),
        )

    def _note(self, event: str, severity: str, told: str) -> None:
        """Keep the latest of each kind, and how often. When there are too many kinds, the oldest of the least severe
        goes: peers choose how often they are refused, and must not push out what is the coordinator's own trouble.
        """
        now = self._clock()
        with self._lock:
            before = self._troubles.get((event, severity))
            first, count = (before.first, before.count) if before else (now, 0)
            self._troubles[event, severity] = Trouble(event, severity, words(told), count + 1, first, now)
            if len(self._troubles) > TROUBLES_KEPT:
                known = self._troubles
                del known[min(known, key=lambda kind: (_SEVERITIES.index(kind[1]), known[kind].last))]


def _about(round_: RoundName, at: float, config: RoundConfig) -> RoundFacts:
    groups = config.groups
    return RoundFacts(
        round_id=round_.round_id.hex(),
        group_of=round_.parent.hex() if round_.parent else None,
        group=groups.number if groups is not None and round_.parent else None,
        groups=groups.count if groups is not None else None,
        task=words(config.task),
        purpose=words(config.purpose),
        scheme=config.scheme,
        threat_model=config.threat_model.name.lower(),
        threshold=config.threshold,
        max_participants=config.max_participants,
        opened=at,
    )


def _live(watched_: _Watched, expected: frozenset[ParticipantId]) -> LiveRound:
    standing, open_ = watched_.standing, watched_.standing.phases[-1]
    order = phases(watched_.config)
    to_come = order[order.index(open_.phase) + 1 :]
    return LiveRound(
        about=watched_.about,
        phases=_phases(standing),
        to_come=tuple(map(str, to_come)),
        deadline=open_.deadline,
        missing=Names.of(standing.missing(expected)),
        missing_count=standing.missing_count(expected),
        removed_percent=None if standing.removed is None else standing.removed.percent,
        dropped=_drops(standing),
        dropped_count=len(standing.dropped),
        blame=_blame(standing),
    )


def _finished(ended: _Watched) -> FinishedRound:
    standing, outcome = ended.standing, ended.standing.outcome
    failure = outcome if isinstance(outcome, RoundAborted) else None
    return FinishedRound(
        about=ended.about,
        ended=standing.ended or 0.0,
        survivors=outcome.survivors if isinstance(outcome, ResultReady) else None,
        reason=failure.reason.name.lower() if failure else None,
        told=words(str(failure)) if failure else "",
        joined=len(standing.joined),
        dropped=_drops(standing),
        dropped_count=len(standing.dropped),
        blame=_blame(standing),
        phases=_phases(standing),
    )


def _phases(standing: Standing) -> tuple[PhaseFacts, ...]:
    return tuple(PhaseFacts(str(p.phase), p.since, p.until, p.expected, p.delivered) for p in standing.phases)


def _drops(standing: Standing) -> tuple[Drop, ...]:
    latest = list(reversed(standing.dropped.values()))[:DROPS_SHOWN]
    return tuple(
        Drop(name(drop.participant), str(drop.phase), drop.reason.name.lower(), told_drop(drop.reason))
        for drop in latest
    )


def _blame(standing: Standing) -> tuple[BlameFacts, ...]:
    latest = list(reversed(standing.blame))[:BLAME_SHOWN]
    return tuple(BlameFacts(name(one.participant), one.proven, words(one.told)) for one in latest)
