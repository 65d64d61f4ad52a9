"""A round that is built again from its journal writes what is missing in the audit log, and nothing twice."""

from pathlib import Path
from typing import Any

import pytest
from secagg_server.audit.configurations import readable
from secagg_server.audit.people import MOST, People
from secagg_server.audit.rounds import MOST_OF_ONE, RoundAudit
from secagg_server.storage.records import DeadlinePassed, Ended, Entry, Received, RoundRecord, Withheld

from secagg.audit import entries
from secagg.audit.entries import Entry as Written
from secagg.context import RoundId
from secagg.errors import AbortReason, RoundAborted
from secagg.events import (
    Accused,
    DropReason,
    Event,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    Verdict,
    WrongShares,
)
from secagg.messages import AdvertiseKeys, Leave, LeaveReason, ParticipantId, Phase
from secagg.programs.audit import reading
from secagg.programs.audit.log import AuditLog
from secagg.rounds.releases import Release
from secagg.sparse.ring import Ring
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.configuration import encode_config
from tests.auditing import NOW, Deployment
from tests.rounds import SEMI_HONEST, make_config

ROUND = RoundId(b"r" * 16)
ANNA, BERT = ParticipantId("anna"), ParticipantId("bert")
CONFIG = make_config(4, SEMI_HONEST)
RECORD = RoundRecord(ROUND, encode_config(CONFIG), NOW)

STEPS: list[tuple[Entry, list[Event]]] = [
    (
        Received(NOW + 1, ANNA, AdvertiseKeys(b"k" * 32, b"m" * 32)),
        [MessageAccepted(Phase.ADVERTISE_KEYS, ANNA), PhaseStarted(Phase.SHARE_KEYS, NOW + 60, 4)],
    ),
    (
        DeadlinePassed(NOW + 2),
        [
            ParticipantDropped(Phase.SHARE_KEYS, BERT, DropReason.DEADLINE),
            ParticipantDropped(Phase.SHARE_KEYS, ANNA, DropReason.DEADLINE),
            PhaseStarted(Phase.MASKED_INPUT, NOW + 90, 4),
        ],
    ),
    (
        Received(NOW + 3, ANNA, Leave(LeaveReason.REFUSED, BERT, b"e" * 32)),
        [Accused(BERT, ANNA, Verdict.PROVEN), WrongShares(BERT, ((BERT, ANNA),)), WrongShares(ANNA, ((BERT, ANNA),))],
    ),
]
END = Ended(NOW + 4, Withheld(("anna", "bert", "carl"), b"d" * 32))


def _audit(log: AuditLog) -> RoundAudit:
    log.recall([ROUND.hex()])
    return RoundAudit(log, RECORD, CONFIG, people=People())


def _play(audit: RoundAudit, end: Any = END) -> None:
    audit.write()
    for entry, events in STEPS:
        audit.took(entry, events)
        audit.write()
    audit.ended(end, known=False)
    audit.write()


def _written(folder: Path) -> list[Written]:
    return [e for line in reading.lines(folder) if (e := entries.read(line.text)).round_id == ROUND.hex()]


def test_what_is_written_of_a_round(tmp_path: Path) -> None:
    _play(_audit(Deployment().log(tmp_path)))
    said = [(entry.kind, entry.facts["step"]) for entry in _written(tmp_path)]
    assert said == [
        ("round_opened", 0),
        ("joined", 1),
        ("phase_opened", 1),
        ("dropped", 2),
        ("dropped", 2),
        ("phase_opened", 2),
        ("accused", 3),
        ("blamed", 3),
        ("blamed", 3),
        ("sum_released", 3),
    ]
    accused, dealt, revealed, released = (entry.facts for entry in _written(tmp_path)[-4:])
    assert (accused["evidence"], accused["check"], accused["verdict"]) == ((b"e" * 32).hex(), "C94", "PROVEN")
    assert (dealt["culprit"], dealt["dealt"], dealt["check"]) == ("bert", True, "C48")
    assert (revealed["culprit"], revealed["dealt"], revealed["check"]) == ("anna", False, "C91")
    assert revealed["conflicts"] == [["bert", "anna"]]
    assert released["survivors"] == ["anna", "bert", "carl"]


def test_a_replay_after_a_crash_anywhere_neither_loses_nor_doubles(tmp_path: Path) -> None:
    """The log ends after any of its bytes; the journal has the steps, and gives them again."""
    deployment = Deployment()
    whole, folder = tmp_path / "whole", tmp_path / "audit"
    _play(_audit(deployment.log(whole)))
    wanted = [(e.kind, e.at_ms, e.facts) for e in _written(whole)]
    content = (whole / reading.segment_name(1)).read_bytes()
    folder.mkdir(mode=0o700)
    (folder / reading.HEAD).write_bytes((whole / reading.HEAD).read_bytes())
    began = content.index(b"\n", content.index(b'"kind":"checkpoint"')) + 1
    for end in (*range(began, len(content), 37), len(content)):
        (folder / reading.segment_name(1)).write_bytes(content[:end])
        _play(_audit(deployment.log(folder)))
        assert [(e.kind, e.at_ms, e.facts) for e in _written(folder)] == wanted, end


def test_without_its_check_a_replay_writes_everything_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Deployment()
    _play(_audit(deployment.log(tmp_path)))
    without_check(monkeypatch, RoundAudit, "_add", "audit-not-twice")
    _play(_audit(deployment.log(tmp_path)))
    assert len(_written(tmp_path)) == 20


def test_one_participant_has_a_few_entries_about_coming_and_going(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(folder: Path) -> int:
        audit = _audit(Deployment().log(folder))
        for _ in range(50):
            audit.took(STEPS[0][0], [MessageAccepted(Phase.ADVERTISE_KEYS, ANNA)])
            audit.took(STEPS[0][0], [ParticipantDropped(Phase.ADVERTISE_KEYS, ANNA, DropReason.CANCELLED)])
        audit.write()
        return len(_written(folder)) - 1

    assert moved(tmp_path / "one") == MOST_OF_ONE
    without_check(monkeypatch, RoundAudit, "_add_move", "audit-coming-and-going")
    assert moved(tmp_path / "two") == 100


def test_a_failed_round_says_whose_sum_may_be_known(tmp_path: Path) -> None:
    failure = RoundAborted(AbortReason.BELOW_THRESHOLD, "too\nfew", culprits=("bert",))
    for folder, known, claims in (("a", True, True), ("b", False, True), ("c", True, False)):
        audit = _audit(Deployment().log(tmp_path / folder))
        if claims:
            audit.claiming(lambda _: frozenset())(Release(bytes(32), frozenset({"carl", "anna"}), 3))  # type: ignore[arg-type]
        audit.ended(Ended(NOW, failure), known=known)
        audit.write()
        failed = _written(tmp_path / folder)[-1].facts
        assert (failed["reason"], failed["detail"], failed["culprits"]) == ("BELOW_THRESHOLD", "too few", ["bert"])
        assert failed["known"] == (known and claims)
        assert failed.get("survivors") == (["anna", "carl"] if known and claims else None)


def test_a_claim_that_is_refused_is_nobodys_sum(tmp_path: Path) -> None:
    audit = _audit(Deployment().log(tmp_path))
    exposed = frozenset({ANNA})
    assert audit.claiming(lambda _: exposed)(Release(bytes(32), frozenset({ANNA}), 3)) == exposed
    audit.ended(Ended(NOW, RoundAborted(AbortReason.DIFFERENCING, "no")), known=True)
    audit.write()
    assert not _written(tmp_path)[-1].facts["known"]


def test_what_was_about_to_be_written_is_dropped_when_a_round_breaks(tmp_path: Path) -> None:
    audit = _audit(Deployment().log(tmp_path))
    audit.write()
    audit.ended(END, known=False)
    audit.broke(NOW + 9, RoundAborted(AbortReason.INTERNAL, "a full disk"), known=False)
    assert [entry.kind for entry in _written(tmp_path)] == ["round_opened", "round_failed"]


def test_people_are_bounded() -> None:
    people = People()
    for number in range(MOST + 5):
        people.see(ParticipantId(f"p{number}"), "north", "f")
    assert people.of(ParticipantId("p0")) == {"organisation": "", "fingerprint": ""}
    assert people.of(ParticipantId(f"p{MOST}"))["organisation"] == "north"
    assert len(people._known) == MOST


def test_the_log_says_on_which_graph_a_round_was() -> None:
    ring = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)
    sparse = readable(make_config(10, threshold=7, max_colluding=0, graph=ring))
    assert sparse["graph"] == {
        "degree": 6,
        "neighbour_threshold": 6,
        "committee": 5,
        "committee_threshold": 4,
        "min_participants": 8,
    }
    assert readable(CONFIG)["graph"] == "complete"
    assert readable(CONFIG)["suite"] == "X25519_SHA256_AES128"
