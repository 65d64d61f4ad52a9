"""Strikes: what counts as one, when a participant is kept out, and what an operator forgives."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from secagg_server.observability.facts import RoundEvent, RoundName, RoundResumed
from secagg_server.rounds.quarantine import Quarantine, proven
from secagg_server.storage.memory import MemoryStore
from secagg_server.storage.store import Store
from structlog.testing import capture_logs

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.errors import AbortReason, DecodeError, NotInRoundError, RoundAborted, StoreError
from secagg.events import Accused, DropReason, Event, ParticipantDropped, RoundFailed, Verdict, WrongShares
from secagg.messages import ParticipantId, Phase
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.strikes import MAX_STRIKES, Record, Strike, decode_record, encode_record
from tests.rounds import make_config
from tests.stores import kept_in

A, B = ParticipantId("a"), ParticipantId("b")
CONFIG: RoundConfig = make_config(5)


def name_of(number: int) -> RoundName:
    return RoundName(RoundId(number.to_bytes(16, "big")), "digits", CONFIG.scheme, None)


def told(quarantine: Quarantine, number: int, event: Event) -> None:
    quarantine(RoundEvent(name_of(number), float(number), event))


WRONG = WrongShares(A, ((A, B),))


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    with kept_in(tmp_path / "state") as made:
        yield made


@pytest.mark.parametrize(
    ("event", "culprits"),
    [
        (WRONG, [A]),
        (Accused(B, A, Verdict.PROVEN), [A]),
        (Accused(B, A, Verdict.HEARSAY), []),
        (Accused(B, A, Verdict.UNFOUNDED), []),
        (RoundFailed(RoundAborted(AbortReason.WRONG_SHARES, "no", culprits=("a", "b"))), [A, B]),
        (RoundFailed(RoundAborted(AbortReason.BELOW_THRESHOLD, "no").accusing(("a",))), []),
        (ParticipantDropped(Phase.UNMASK, A, DropReason.DEADLINE), []),
    ],
)
def test_what_proves_a_fault(event: Event, culprits: list[ParticipantId]) -> None:
    event = Accused(A, B, event.verdict) if isinstance(event, Accused) else event  # accused first
    assert [name for name, _ in proven(event)] == culprits


def test_as_many_rounds_as_the_setting_says_keep_a_participant_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine = Quarantine(store, 2)
    told(quarantine, 1, WRONG)
    told(quarantine, 1, RoundFailed(RoundAborted(AbortReason.WRONG_SHARES, "no", culprits=("a",))))  # the same round
    quarantine.check(A)
    with capture_logs() as logs:
        told(quarantine, 2, WRONG)
        told(quarantine, 3, WRONG)
    assert [line["event"] for line in logs] == ["quarantined"]
    with pytest.raises(NotInRoundError, match="a is kept out of rounds: its fault was proven in 3 of them"):
        quarantine.check(A)
    quarantine.check(B)
    without_check(monkeypatch, Quarantine, "check", "quarantined")
    quarantine.check(A)


def test_nobody_is_kept_out_where_the_setting_is_0(store: Store) -> None:
    quarantine = Quarantine(store, 0)
    for number in range(5):
        told(quarantine, number, WRONG)
    quarantine.check(A)
    assert [(each.participant, each.quarantined, len(each.strikes)) for each in quarantine.records] == [(A, False, 5)]


def test_a_strike_outlives_the_process_and_is_not_counted_twice(tmp_path: Path) -> None:
    with kept_in(tmp_path / "state") as first:
        told(Quarantine(first, 2), 1, WRONG)
    with kept_in(tmp_path / "state") as second:
        quarantine = Quarantine(second, 2)
        resumed = RoundResumed(name_of(1), 9.0, CONFIG, 0.0, ((1.0, WRONG),))
        quarantine(resumed)  # what it had proved before
        quarantine.check(A)
        told(quarantine, 2, WRONG)
    with kept_in(tmp_path / "state") as third, pytest.raises(NotInRoundError):
        Quarantine(third, 2).check(A)


def test_what_a_round_proved_before_the_coordinator_died_counts_when_it_is_taken_up(store: Store) -> None:
    quarantine = Quarantine(store, 1)
    quarantine(RoundResumed(name_of(1), 9.0, CONFIG, 0.0, ((1.0, WRONG),)))
    assert quarantine.holds(A)


def test_who_is_forgiven_may_take_part_also_after_a_restart(tmp_path: Path) -> None:
    with kept_in(tmp_path / "state") as store:
        quarantine = Quarantine(store, 1)
        told(quarantine, 1, WRONG)
        told(quarantine, 2, WrongShares(B, ()))
        assert quarantine.forgive(A) == 1
        quarantine.check(A)
    with kept_in(tmp_path / "state") as store:
        assert [record.participant for record in Quarantine(store, 1).records] == [B]


def test_a_strike_that_was_changed_on_the_disk_keeps_the_coordinator_from_starting(tmp_path: Path) -> None:
    import sqlite3

    with kept_in(tmp_path / "state") as store:
        told(Quarantine(store, 1), 1, WRONG)
    database = sqlite3.connect(tmp_path / "state" / "state.sqlite")
    database.execute("UPDATE strikes SET participant = 'b'")
    database.commit()
    database.close()
    with pytest.raises(StoreError, match="a row of the strikes was changed on the disk"), kept_in(tmp_path / "state"):
        pass


def test_strikes_are_bounded(store: Store) -> None:
    quarantine = Quarantine(store, 1)
    for number in range(MAX_STRIKES + 5):
        told(quarantine, number, WRONG)
    assert len(quarantine.records[0].strikes) == MAX_STRIKES


# --- on the wire ------------------------------------------------------------------------------------------------------

STRIKE = Strike(A, RoundId(bytes(16)), 12.5, "why")


def test_a_record_comes_back() -> None:
    record = Record(A, True, (STRIKE, STRIKE))
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize(
    "spoil",
    [
        lambda message: message.ClearField("strikes"),
        lambda message: message.strikes.extend([message.strikes[0]] * MAX_STRIKES),
        lambda message: setattr(message.strikes[0], "why", "é" * 101),
        lambda message: setattr(message.strikes[0], "round_id", b"short"),
        lambda message: setattr(message, "participant_id", "a b"),
    ],
)
def test_a_record_that_is_none(spoil: Callable[[object], object]) -> None:
    message = encode_record(Record(A, True, (STRIKE,)))
    spoil(message)
    with pytest.raises(DecodeError):
        decode_record(message)
