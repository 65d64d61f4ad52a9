"""Where a round stands follows from its events: real engines' events in, phases, counts and names out."""

from typing import Any

import pytest

from secagg.errors import AbortReason, RoundAborted
from secagg.events import (
    Accused,
    DropReason,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    Verdict,
    WrongShares,
)
from secagg.messages import ParticipantId, Phase
from secagg.programs.standing import Blame, Standing, told_drop
from secagg.wire.progress import CohortEvent, ResultReady

A, B, C, D = (ParticipantId(name) for name in ("anna", "bea", "carl", "dora"))
KEYS, SHARES, INPUT = Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT


def after(*events: CohortEvent) -> Standing:
    """The standing after these events, one a second."""
    standing = Standing()
    for at, event in enumerate(events):
        standing.take(float(at), event)
    return standing


def joined(*names: ParticipantId) -> list[CohortEvent]:
    return [PhaseStarted(KEYS, 60.0, 10), *(MessageAccepted(KEYS, name) for name in names)]


def test_before_the_first_event_nothing_is_open() -> None:
    standing = Standing()
    assert standing.open is None
    assert (standing.missing(), standing.missing_count()) == ([], 0)


def test_names_of_the_first_phase_are_those_that_the_fl_server_expects() -> None:
    standing = after(*joined(B, A))
    assert (standing.missing(), standing.missing_count()) == ([], 8)
    assert (standing.missing({A, B, D, C}), standing.missing_count({A, B, D, C})) == ([C, D], 2)
    standing.take(9, ParticipantDropped(KEYS, C, DropReason.EXCLUDED))
    assert standing.missing({A, B, D, C}) == [D]


def test_later_phases_wait_for_who_delivered_before() -> None:
    standing = after(*joined(C, B, A), PhaseStarted(SHARES, 99.0, 3), MessageAccepted(SHARES, B))
    assert (standing.missing(), standing.missing_count()) == ([A, C], 2)
    assert standing.open is not None
    assert (standing.open.phase, standing.open.delivered, standing.open.expected) == (SHARES, 1, 3)
    first = standing.phases[0]
    assert (first.since, first.until, first.delivered, first.expected) == (0, 4, 3, 10)


def test_who_dropped_out_is_not_waited_for() -> None:
    """One misses the deadline of a phase; one had delivered in it, left, and is told of when the next one opens."""
    events = [*joined(C, B, A), PhaseStarted(SHARES, 99.0, 3), MessageAccepted(SHARES, A), MessageAccepted(SHARES, B)]
    late = ParticipantDropped(SHARES, C, DropReason.DEADLINE)
    gone = ParticipantDropped(INPUT, B, DropReason.CANCELLED)
    standing = after(*events, late, PhaseStarted(INPUT, 199.0, 1), gone)
    assert standing.missing() == [A]
    assert standing.dropped == {C: late, B: gone}
    assert standing.joined == {A, B, C}
    assert standing.phases[1].delivered == 2


def test_who_comes_again_has_not_dropped_out() -> None:
    left = ParticipantDropped(KEYS, A, DropReason.FAILED)
    standing = after(*joined(A, B), left)
    assert standing.joined == {B}
    assert standing.open is not None
    assert standing.open.delivered == 1
    standing.take(9, MessageAccepted(KEYS, A))
    assert (standing.dropped, standing.joined, standing.open.delivered) == ({}, {A, B}, 2)


def test_the_first_phase_told_again_keeps_who_came() -> None:
    standing = after(*joined(A), PhaseStarted(KEYS, 77.0, 4))
    assert len(standing.phases) == 1
    assert standing.open is not None
    assert (standing.open.deadline, standing.open.expected, standing.open.delivered) == (77.0, 4, 1)
    assert standing.missing_count() == 3


def test_where_one_delivery_is_enough_one_is_missing() -> None:
    events = [*joined(C, B, A), PhaseStarted(Phase.RELEASE_SUM, 99.0, 1)]
    standing = after(*events)
    assert (standing.missing(), standing.missing_count()) == ([A, B, C], 1)
    standing.take(9, ParticipantDropped(Phase.RELEASE_SUM, A, DropReason.DEADLINE))
    standing.take(9, PhaseStarted(Phase.RELEASE_SUM, 199.0, 1))
    assert (standing.missing(), standing.missing_count(), len(standing.phases)) == ([B, C], 1, 2)


@pytest.mark.parametrize("outcome", [ResultReady(3, b""), RoundAborted(AbortReason.CANCELLED, "stop")])
def test_the_end_closes_the_last_phase(outcome: ResultReady | RoundAborted) -> None:
    end = RoundFailed(outcome) if isinstance(outcome, RoundAborted) else outcome
    standing = after(*joined(A, B, C), end)
    assert (standing.open, standing.outcome, standing.ended) == (None, outcome, 4)
    assert standing.phases[-1].until == 4
    assert (standing.missing({D}), standing.missing_count({D})) == ([], 0)


@pytest.mark.parametrize(
    ("event", "blame"),
    [
        (WrongShares(A, ((A, B),)), Blame(A, True, "dealt wrong shares")),
        (WrongShares(A, ((B, A),)), Blame(A, True, "revealed wrong shares")),
        (Accused(A, B, Verdict.PROVEN), Blame(A, True, "accused by bea: proven, it did not sign what it sent")),
        (Accused(A, B, Verdict.HEARSAY), Blame(A, False, "accused by bea: its word alone, no proof")),
        (Accused(A, B, Verdict.UNFOUNDED), Blame(A, False, "accused by bea: unfounded, it sent something else")),
    ],
)
def test_blame_says_what_is_proven(event: Any, blame: Blame) -> None:
    assert after(event).blame == [blame]


def test_every_reason_of_a_dropout_has_words() -> None:
    told = [told_drop(reason) for reason in DropReason]
    assert len(set(told)) == len(told)
