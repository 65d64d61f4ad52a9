"""The judge of histories: a history that breaks a law is found, and the one without that flaw is not."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import numpy as np
import pytest
from google.protobuf.message import Message

from secagg.tools.faults.checker import Ending, Judgement, judge
from secagg.tools.faults.checker import laws as checker_laws
from secagg.tools.faults.checker.laws import BY_PARTICIPANTS, LOSSES, Law
from secagg.tools.faults.checker.seen import framed_digest, group_id
from secagg.tools.faults.checker.sums import pack, shape, unpack
from secagg.tools.faults.history import (
    FL_SERVER,
    Answered,
    Asked,
    Began,
    Closed,
    Contributed,
    Crashed,
    Died,
    Fault,
    History,
    Injected,
    Refused,
    Sent,
    Told,
)
from secagg.wire.v1 import config_pb2, control_plane_pb2, data_plane_pb2, errors_pb2

ROUND: Final = b"r" * 16
PEOPLE: Final = ("a", "b", "c", "d")
UPDATES: Final = {name: np.array([number, 10 * number, 1000 - number]) for number, name in enumerate(PEOPLE, 1)}
INTEGERS: Final = config_pb2.RoundConfig(
    task="task",
    arrays=[config_pb2.ArraySpec(name="x", shape=[3], dtype=config_pb2.DTYPE_INT64)],
    integers=config_pb2.Integers(min=0, max=1000),
    max_participants=4,
    threshold=3,
    threat_model=config_pb2.THREAT_MODEL_ACTIVE,
    model_digest=b"m" * 32,
    release_to_coordinator=True,
    release_to_participants=True,
)
NOISY: Final = config_pb2.RoundConfig()
NOISY.CopyFrom(INTEGERS)
NOISY.ClearField("integers")
NOISY.pipeline = "clip(l2=1.0) | rotate | quantise(bits=12) | noise(law=skellam, z=1.0)"


def packed(config: config_pb2.RoundConfig, sums: Iterable[Any]) -> list[bytes]:
    form = shape(config)
    assert form is not None
    return pack(np.array(list(sums), np.uint64), form)


@dataclass
class Written:
    """A history that is written down by hand."""

    history: History = field(default_factory=History)
    at: float = 0.0
    calls: int = 0

    def note(self, fact: Any) -> None:
        self.history.facts.append(fact)

    def call(
        self,
        caller: str,
        name: str,
        *sent: Message,
        answers: Iterable[Message] = (),
        error: errors_pb2.ErrorDetail | None = None,
        status: str = "OK",
        broken_off: bool = False,
        process: int = 1,
        named: bytes = b"",
    ) -> None:
        self.calls += 1
        self.at += 1.0
        self.note(Asked(self.at, self.calls, caller, process, name, named))
        for message in sent:
            self.note(Sent(self.at, self.calls, message.SerializeToString()))
        self.at += 1.0
        for message in answers:
            self.note(Answered(self.at, self.calls, message.SerializeToString()))
        if not broken_off:
            detail = None if error is None else error.SerializeToString()
            self.note(Closed(self.at, self.calls, status if error is None else "ABORTED", detail))

    # --- calls of a round ---------------------------------------------------------------------------------------------

    def open(self, config: config_pb2.RoundConfig = INTEGERS, round_id: bytes = ROUND) -> None:
        reply = control_plane_pb2.OpenRoundReply(round_id=round_id)
        part = control_plane_pb2.OpenRoundPart(config=config.SerializeToString(), round_id=round_id)
        self.call(FL_SERVER, "OpenRound", part, answers=[reply])

    def offer(self, name: str, config: config_pb2.RoundConfig = INTEGERS, round_id: bytes = ROUND) -> None:
        part = data_plane_pb2.RoundOfferPart(round_id=round_id, config=config.SerializeToString())
        self.call(name, "FindRound", data_plane_pb2.FindRoundRequest(task="task"), answers=[part])

    def contribute(self, name: str, update: Any, round_id: bytes = ROUND, weight: int = 1) -> None:
        self.note(Contributed(self.at, name, round_id, {"x": update}, weight))

    def advertise(
        self, name: str, roster: Iterable[str] = PEOPLE, round_id: bytes = ROUND, key: bytes = b"k", **more: Any
    ) -> None:
        keys = data_plane_pb2.AdvertiseKeys(channel_public_key=key)
        members = [data_plane_pb2.Member(index=i, participant_id=who) for i, who in enumerate(roster, 1)]
        request = data_plane_pb2.AdvertiseRequest(round_id=round_id, keys=keys)
        self.call(name, "Advertise", request, answers=[data_plane_pb2.RosterPart(members=members)], **more)

    def advertise_on_a_ring(self, name: str, shown: str, listed: str = "abcd", theirs: bytes = b"k") -> None:
        """All are listed with a digest each, and whoever is `shown` stands there with a key."""
        keys = data_plane_pb2.AdvertiseKeys(channel_public_key=theirs)
        digests = b"".join(sha256(who.encode()).digest() for who in listed)
        list_part = data_plane_pb2.RosterPart(listed=list(listed), entry_digests=digests)
        members = [data_plane_pb2.Member(index="abcd".index(who) + 1, participant_id=who, keys=keys) for who in shown]
        own = data_plane_pb2.AdvertiseKeys(channel_public_key=b"k")
        request = data_plane_pb2.AdvertiseRequest(round_id=ROUND, keys=own)
        self.call(name, "Advertise", request, answers=[list_part, data_plane_pb2.RosterPart(members=members)])

    def share(self, name: str, sealed: bytes = b"s", sent: bytes = b"own", **more: Any) -> None:
        part = data_plane_pb2.ShareKeysPart(commitment=sent)
        answer = data_plane_pb2.ShareDeliveryPart(peers=[1], entries=sealed)
        self.call(name, "Share", part, answers=[answer], named=ROUND, **more)

    def upload(
        self,
        name: str,
        survivors: Iterable[int] = (1, 2, 3),
        dropped: Iterable[int] = (4,),
        payload: bytes = b"masked",
        round_id: bytes = ROUND,
        **more: Any,
    ) -> None:
        chunk = data_plane_pb2.MaskedInputChunk(number=0, payload=payload + name.encode())
        sets = data_plane_pb2.SurvivorSet(survivors=survivors, dropped=dropped)
        self.call(name, "SendInput", chunk, answers=[sets], named=round_id, **more)

    def check(self, name: str, signature: bytes = b"all", round_id: bytes = ROUND, **more: Any) -> None:
        request = data_plane_pb2.CheckRequest(round_id=round_id)
        proof = data_plane_pb2.ConsistencyProofPart(signatures=[data_plane_pb2.SignedBy(signer=1, signature=signature)])
        self.call(name, "Check", request, answers=[proof], **more)

    def reveal(self, name: str, digest: bytes, signed_ms: int = 5, round_id: bytes = ROUND, **more: Any) -> None:
        receipt = data_plane_pb2.Receipt(survivors=3, sums_digest=digest, signed_ms=signed_ms)
        self.call(name, "Reveal", data_plane_pb2.UnmaskPart(), answers=[receipt], named=round_id, **more)

    def progress(self, name: str, chunks: int) -> None:
        request = data_plane_pb2.InputProgressRequest(round_id=ROUND)
        self.call(name, "InputProgress", request, answers=[data_plane_pb2.InputProgressReply(next_chunk=chunks)])

    def leave(self, name: str, reason: int = data_plane_pb2.LEAVE_REASON_CANCELLED, accused: str = "") -> None:
        leave = data_plane_pb2.Leave(reason=reason, accused=accused)  # type: ignore[arg-type]
        request = data_plane_pb2.LeaveRequest(round_id=ROUND, leave=leave)
        self.call(name, "LeaveRound", request, answers=[data_plane_pb2.LeaveReply()])

    def exclude(self, name: str) -> None:
        request = control_plane_pb2.ParticipantsPart(round_id=ROUND, participant_ids=[name])
        self.call(FL_SERVER, "Exclude", request, answers=[control_plane_pb2.ParticipantsReply()])

    def fetch(
        self,
        sums: Iterable[bytes],
        survivors: Iterable[str] = ("a", "b", "c"),
        digest: bytes | None = None,
        round_id: bytes = ROUND,
        **more: Any,
    ) -> None:
        payloads = list(sums)
        digest = digest or sha256(b"".join(payloads)).digest()
        head = data_plane_pb2.AggregatePart(survivors=survivors, sums_digest=digest)
        parts = [data_plane_pb2.AggregatePart(number=i, payload=one) for i, one in enumerate(payloads)]
        self.call(
            FL_SERVER,
            "FetchAggregate",
            control_plane_pb2.FetchRequest(round_id=round_id),
            answers=[head, *parts],
            **more,
        )

    def refused(self, kind: int, reason: int = 0, name: str = "FetchAggregate", round_id: bytes = ROUND) -> None:
        error = errors_pb2.ErrorDetail(kind=kind, abort_reason=reason)  # type: ignore[arg-type]
        self.call(FL_SERVER, name, control_plane_pb2.FetchRequest(round_id=round_id), error=error)

    def failed(self, reason: int = errors_pb2.ABORT_REASON_BELOW_THRESHOLD, round_id: bytes = ROUND) -> None:
        self.refused(errors_pb2.ERROR_KIND_ABORTED, reason, round_id=round_id)

    def watch(self, *events: control_plane_pb2.RoundEvent, **more: Any) -> None:
        request = control_plane_pb2.WatchRoundRequest(round_id=ROUND)
        self.call(FL_SERVER, "WatchRound", request, answers=[control_plane_pb2.RoundEvents(events=events)], **more)

    def list_rounds(self, *states: tuple[bytes, int]) -> None:
        summaries = [control_plane_pb2.RoundSummary(round_id=one, state=state) for one, state in states]  # type: ignore[arg-type]
        self.call(FL_SERVER, "ListRounds", control_plane_pb2.ListRoundsRequest(task="task"), answers=summaries)

    def ledger(self, *kinds: tuple[str, bytes], previous: bytes | None = None) -> None:
        lines, head = [], previous or bytes(32)
        for kind, round_id in (("opened", b""), *kinds):
            entry = {"kind": kind, "previous": head.hex()} | ({"round": round_id.hex()} if round_id else {})
            lines.append(json.dumps(entry).encode())
            head = framed_digest(b"secagg/v1/privacy-ledger", lines[-1])
        request = control_plane_pb2.GetLedgerRequest(task="task")
        self.call(FL_SERVER, "GetLedger", request, answers=[control_plane_pb2.LedgerPart(entries=lines)])

    # --- whole rounds -------------------------------------------------------------------------------------------------

    def begin(self, config: config_pb2.RoundConfig = INTEGERS) -> "Written":
        """Up to the shares, which d does not get."""
        self.note(Began(self.at))
        self.open(config)
        for name in PEOPLE:
            self.offer(name, config)
            self.contribute(name, UPDATES[name])
        for name in PEOPLE:
            self.advertise(name)
        for name in PEOPLE[:3]:
            self.share(name, sealed=b"for " + name.encode())
        return self

    def finish(self, sums: Iterable[bytes] | None = None) -> "Written":
        """From the inputs to the sum of a, b and c."""
        payloads = list(sums or SUMS)
        for name in PEOPLE[:3]:
            self.progress(name, 1)
        for name in PEOPLE[:3]:
            self.upload(name)
        for name in PEOPLE[:3]:
            self.check(name)
        digest = sha256(b"".join(payloads)).digest()
        for name in PEOPLE[:3]:
            self.reveal(name, digest)
        self.watch(started(), ready(digest))
        self.fetch(payloads)
        return self


def total(names: Iterable[str]) -> np.ndarray[Any, np.dtype[Any]]:
    found: np.ndarray[Any, np.dtype[Any]] = np.array([UPDATES[name] for name in names]).sum(axis=0)
    return found


SUMS: Final = packed(INTEGERS, total("abc"))
DIGEST: Final = sha256(b"".join(SUMS)).digest()
OTHER: Final = packed(INTEGERS, total("abc") + np.array([0, 1, 0]))


def started(time_ms: int = 3000) -> control_plane_pb2.RoundEvent:
    phase = control_plane_pb2.PhaseStarted(phase=data_plane_pb2.PHASE_ADVERTISE_KEYS)
    return control_plane_pb2.RoundEvent(time_ms=time_ms, phase_started=phase)


def ready(digest: bytes = DIGEST) -> control_plane_pb2.RoundEvent:
    return control_plane_pb2.RoundEvent(time_ms=9000, sum_ready=control_plane_pb2.SumReady(sums_digest=digest))


def waited_for(name: str, time_ms: int) -> control_plane_pb2.RoundEvent:
    dropped = control_plane_pb2.ParticipantDropped(
        phase=data_plane_pb2.PHASE_SHARE_KEYS, participant_id=name, reason=control_plane_pb2.DROP_REASON_DEADLINE
    )
    return control_plane_pb2.RoundEvent(time_ms=time_ms, participant_dropped=dropped)


def whole(config: config_pb2.RoundConfig = INTEGERS, sums: Iterable[bytes] | None = None) -> Written:
    written = Written().begin(config).finish(sums)
    written.list_rounds((ROUND, control_plane_pb2.ROUND_STATE_DONE))
    return written


def on_a_ring(*more: Callable[[Written], None]) -> Callable[[], Written]:
    """Everybody is shown the same list, and two neighbours."""

    def play() -> Written:
        written = Written()
        written.note(Began(written.at))
        written.open()
        for name, shown in zip(PEOPLE, ("abd", "abc", "bcd", "acd"), strict=True):
            written.offer(name)
            written.advertise_on_a_ring(name, shown)
        for one in more:
            one(written)
        written.failed()
        return written

    return play


def noisy() -> Written:
    written = Written().begin(NOISY)
    written.ledger(("planned", ROUND))
    written.finish([b"any noise"])
    return written


def short() -> Written:
    """A round that failed before anybody was shown survivors."""
    written = Written().begin()
    written.failed()
    return written


def of_one_model(*cohorts: str, purposes: Mapping[int, str] | None = None) -> Written:
    """A round for each cohort, its members' names one letter each."""
    written = Written()
    for number, cohort in enumerate(cohorts):
        config = config_pb2.RoundConfig()
        config.CopyFrom(INTEGERS)
        config.max_participants = 9
        config.purpose = (purposes or {}).get(number, "")
        round_id = bytes([number + 1]) * 16
        written.open(config, round_id)
        for name in cohort:
            written.contribute(name, np.array([1, 2, 3]), round_id)
            written.advertise(name, cohort, round_id)
        for name in cohort:
            written.upload(name, range(1, len(cohort) + 1), (), round_id=round_id)
        written.fetch(packed(config, np.array([1, 2, 3]) * len(cohort)), cohort, round_id=round_id)
    return written


def laws(judgement: Judgement) -> set[Law]:
    return {found.law for found in judgement.broken}


GOOD: Final[dict[str, Callable[[], Written]]] = {
    "a sum": whole,
    "no sum": short,
    "noise": noisy,
    "disjoint cohorts": lambda: of_one_model("abc", "def"),
    "the same cohort again": lambda: of_one_model("abcd", "abcd"),
    "large cells": lambda: of_one_model("abcdef", "abc"),
}


@pytest.mark.parametrize("history", GOOD)
def test_a_history_that_keeps_every_law_is_let_pass(history: str) -> None:
    judgement = judge(GOOD[history]().history)
    assert judgement.findings == ()
    assert set(judgement.rounds.values()) == {Ending.FAILED if history == "no sum" else Ending.EXACT}


def then(good: Callable[[], Written], *more: Callable[[Written], Any]) -> Callable[[], Written]:
    def made() -> Written:
        written = good()
        for one in more:
            one(written)
        return written

    return made


def begin() -> Written:
    return Written().begin()


def begun(*more: Callable[[Written], Any]) -> Callable[[], Written]:
    """A round under way, and it ends by failing."""
    return then(begin, *more, Written.failed)


def died(written: Written) -> None:
    written.note(Died(written.at))
    written.note(Began(written.at))


def grouped(*groups: int) -> Callable[[], Written]:
    """A participant is offered these groups of one round, one after the other."""

    def made() -> Written:
        written = Written()
        config = config_pb2.RoundConfig()
        config.CopyFrom(INTEGERS)
        config.groups.count = 3
        written.open(config)
        for number in groups:
            one = config_pb2.RoundConfig()
            one.CopyFrom(config)
            one.groups.parent, one.groups.number = ROUND, number
            written.offer("a", one, group_id(ROUND, number))
        written.failed()
        return written

    return made


def charged(*kinds: str, good: Callable[[], Written] = noisy) -> Callable[[], Written]:
    return then(good, lambda w: w.ledger(*((kind, ROUND) for kind in kinds)))


def failed_with_noise() -> Written:
    written = Written().begin(NOISY)
    written.failed()
    return written


def asked_to_open() -> Written:
    written = Written().begin(NOISY)
    for name in PEOPLE[:3]:
        written.upload(name)
        written.check(name)
    written.failed()
    return written


def opened_at_the_second_try(*kinds: str) -> Callable[[], Written]:
    """The FL server asked for the round twice; the kinds are what the ledger says of it after a sum."""
    return charged(*kinds, good=then(noisy, lambda w: w.open(NOISY)))


def _put_in(written: Written, name: str) -> Any:
    return next(fact for fact in written.history.facts if isinstance(fact, Contributed) and fact.participant == name)


def _offered_another() -> Written:
    written = Written()
    written.open()
    written.offer("a", NOISY)
    written.failed()
    return written


def _waited_for(written: Written, gone: Callable[[Written, str], None]) -> None:
    gone(written, "d")
    late = int((written.at + 60) * 1000)
    written.watch(started(int((written.at + 2) * 1000)), waited_for("d", late), broken_off=True)
    written.failed()


def _garbled(written: Written) -> None:
    written.call("a", "Describe")
    written.history.facts.insert(-1, Answered(written.at, written.calls, b"\xff\xff\xff"))


BROKEN: Final[dict[str, tuple[Law, Callable[[], Written]]]] = {
    "a sum that is off by one": (Law.SUM, lambda: whole(sums=OTHER)),
    "a sum with another digest": (Law.SUM, then(begin, lambda w: w.fetch(SUMS, digest=b"?" * 32))),
    "a sum that is too short": (Law.SUM, lambda: whole(sums=[SUMS[0][:-1]])),
    "a sum of somebody who put nothing in": (Law.SUM, then(whole, lambda w: w.history.facts.remove(_put_in(w, "b")))),
    "a receipt for another sum": (
        Law.SUM,
        then(
            begin,
            lambda w: w.upload("a"),
            lambda w: w.reveal("a", b"?" * 32),
        ),
    ),
    "two sums": (Law.ONE_SUM, then(noisy, lambda w: w.fetch([b"other noise"]))),
    "two digests": (
        Law.ONE_SUM,
        then(lambda: Written().begin(NOISY), lambda w: w.fetch([b"noise"]), lambda w: w.watch(ready())),
    ),
    "another sum, cut off": (Law.ONE_SUM, then(noisy, lambda w: w.fetch([b"other noise"], broken_off=True))),
    "two configurations": (Law.ONE_OFFER, then(short, lambda w: w.offer("a", NOISY))),
    "a configuration that nobody opened": (Law.ONE_OFFER, _offered_another),
    "two groups": (Law.ONE_GROUP, grouped(1, 2)),
    "two rosters": (Law.ONE_ROSTER, begun(lambda w: w.advertise("a", PEOPLE[:3]))),
    "another roster, cut off": (Law.ONE_ROSTER, begun(lambda w: w.advertise("a", "ac", broken_off=True))),
    "two lists on a ring": (Law.ONE_ROSTER, on_a_ring(lambda w: w.advertise_on_a_ring("a", "abd", listed="abce"))),
    "two entries on a ring": (Law.ONE_ROSTER, on_a_ring(lambda w: w.advertise_on_a_ring("a", "abd", theirs=b"other"))),
    "two deliveries": (Law.ONE_DELIVERY, begun(lambda w: w.share("a", sealed=b"others"))),
    "two survivor sets": (Law.ONE_SURVIVOR_SET, begun(lambda w: w.upload("a"), lambda w: w.upload("b", (1, 2, 4)))),
    "a sum of others": (
        Law.ONE_SURVIVOR_SET,
        then(begin, lambda w: w.upload("a"), lambda w: w.fetch(packed(INTEGERS, total(PEOPLE)), PEOPLE)),
    ),
    "two proofs": (Law.ONE_PROOF, then(whole, lambda w: w.check("a", b"others"))),
    "two receipts": (Law.ONE_RECEIPT, then(whole, lambda w: w.reveal("a", DIGEST, signed_ms=6))),
    "a sum after the failure": (Law.ONE_END, then(short, Written.finish)),
    "another message": (Law.ONE_MESSAGE, begun(lambda w: w.share("a", b"for a", b"other"))),
    "another chunk": (Law.ONE_MESSAGE, then(whole, lambda w: w.upload("a", payload=b"again"))),
    "other keys of the same process": (Law.ONE_MESSAGE, begun(lambda w: w.advertise("a", key=b"other"))),
    "a cohort less one": (Law.NOBODY_SHOWN, lambda: of_one_model("abcd", "abc")),
    "three sums that show one together": (Law.NOBODY_SHOWN, lambda: of_one_model("abcdefg", "abcghi", "defghi")),
    "a metric of a part": (Law.NOBODY_SHOWN, lambda: of_one_model("abcd", "abc", purposes={1: "metrics"})),
    "a charge that is lost": (Law.BUDGET, charged("planned")),
    "a charge twice": (Law.BUDGET, charged("planned", "released", "released")),
    "a charge given back": (Law.BUDGET, charged("planned", "withdrawn")),
    "a charge for nothing": (Law.BUDGET, charged("planned", "released", good=failed_with_noise)),
    "a plan twice, for one try": (Law.BUDGET, charged("planned", "withdrawn", "planned", "released")),
    "three plans for two tries": (
        Law.BUDGET,
        opened_at_the_second_try("planned", "withdrawn", "planned", "withdrawn", "planned", "released"),
    ),
    "a plan that was given back and charged": (
        Law.BUDGET,
        opened_at_the_second_try("planned", "withdrawn", "released"),
    ),
    "a second plan that is given back too late": (
        Law.BUDGET,
        charged("planned", "withdrawn", "planned", "withdrawn", good=then(asked_to_open, lambda w: w.open(NOISY))),
    ),
    "a plan that is not given back": (Law.BUDGET, charged("planned", good=failed_with_noise)),
    "a plan given back too late": (Law.BUDGET, charged("planned", "withdrawn", good=asked_to_open)),
    "a round that the ledger does not know": (Law.BUDGET, charged(good=failed_with_noise)),
    "a ledger that went back": (
        Law.BUDGET,
        then(charged("planned", "released"), lambda w: w.ledger(("planned", b"q" * 16), ("planned", ROUND))),
    ),
    "a ledger that is no chain": (
        Law.BUDGET,
        then(noisy, lambda w: w.ledger(("planned", ROUND), ("released", ROUND), previous=b"?" * 32)),
    ),
    "a sum that is gone": (Law.SUM_KEPT, then(whole, Written.failed)),
    "two reasons": (Law.REASON_KEPT, then(short, lambda w: w.failed(errors_pb2.ABORT_REASON_CANCELLED))),
    "a round that is gone": (
        Law.ROUND_KNOWN,
        then(short, lambda w: w.refused(errors_pb2.ERROR_KIND_UNKNOWN_ROUND)),
    ),
    "a round that is not in the list": (Law.ROUND_KNOWN, then(whole, lambda w: w.list_rounds())),
    "other events": (Law.EVENTS_KEPT, then(whole, lambda w: w.watch(started(3001), ready()))),
    "fewer events": (Law.EVENTS_KEPT, then(whole, lambda w: w.watch(started()))),
    "fewer chunks": (Law.PROGRESS_KEPT, begun(lambda w: w.progress("a", 1), lambda w: w.progress("a", 0))),
    "an input that was forgotten": (
        Law.INPUT_COUNTS,
        begun(lambda w: w.progress("d", 1), lambda w: w.upload("a"), lambda w: w.upload("b")),
    ),
    "somebody who left is waited for": (
        Law.GONE_STAYS_GONE,
        then(begin, lambda w: _waited_for(w, Written.leave)),
    ),
    "somebody who was excluded is waited for": (
        Law.GONE_STAYS_GONE,
        then(begin, lambda w: _waited_for(w, Written.exclude)),
    ),
    "somebody who was excluded is heard": (
        Law.GONE_STAYS_GONE,
        begun(lambda w: w.exclude("a"), lambda w: w.upload("a")),
    ),
    "a round that does not end": (Law.ENDS, begin),
    "an error without a name": (Law.NAMED, then(short, lambda w: w.call("a", "Describe", status="UNKNOWN"))),
    "a client's error without a name": (Law.NAMED, then(short, lambda w: w.note(Told(1, "a", "KeyError", False)))),
    "a program that broke": (Law.NAMED, then(short, lambda w: w.note(Crashed(1, "coordinator", "traceback")))),
    "an internal error without a cause": (
        Law.UNDAMAGED,
        then(begin, lambda w: w.failed(errors_pb2.ABORT_REASON_INTERNAL)),
    ),
    "a start that is refused without a cause": (
        Law.UNDAMAGED,
        then(short, lambda w: w.note(Refused(1, "StoreError", True, "damaged"))),
    ),
    "a damage without a cause": (
        Law.UNDAMAGED,
        then(short, lambda w: w.refused(errors_pb2.ERROR_KIND_STORE, name="ListRounds")),
    ),
    "somebody who refuses": (
        Law.HONEST,
        begun(lambda w: w.leave("d", data_plane_pb2.LEAVE_REASON_REFUSED)),
    ),
    "a start that is refused without a name": (Law.NAMED, then(short, lambda w: w.note(Refused(1, "E", False)))),
    "an answer that is no message": (Law.NAMED, then(short, _garbled)),
}


def test_a_sum_of_fewer_than_the_threshold_is_found() -> None:
    assert laws(judge(of_one_model("ab").history)) == {Law.SUM, Law.NOBODY_SHOWN}


@pytest.mark.parametrize("history", BROKEN)
def test_a_history_that_breaks_a_law_is_found(history: str) -> None:
    law, made = BROKEN[history]
    judgement = judge(made().history)
    assert laws(judgement) == {law}, judgement.findings
    bad = {Ending.LOST} if law in LOSSES else {Ending.WRONG}
    if judgement.broken[0].round_id:
        assert bad <= set(judgement.rounds.values())
    assert all(len(sentence) > 20 for sentence in judgement.findings)


def test_every_law_has_a_history_that_breaks_it() -> None:
    assert {law for law, _ in BROKEN.values()} == set(Law) - {Law.AUDIT}  # those of audit logs: test_audits.py


@pytest.mark.parametrize("law", checker_laws._OF_A_ROUND, ids=lambda law: law.name)
def test_without_the_law_its_history_passes(law: Law, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: it is this law that finds what breaks it, and no other."""
    found = [judge(made().history).broken for broken, made in BROKEN.values() if broken is law]
    monkeypatch.setitem(checker_laws._OF_A_ROUND, law, lambda *_: iter(()))
    without = [judge(made().history).broken for broken, made in BROKEN.values() if broken is law]
    assert [bool(broken) for broken in without] == [not broken[0].round_id for broken in found]


# --- what is not held against anybody ---------------------------------------------------------------------------------

FINE: Final[dict[str, Callable[[], Written]]] = {
    "the same answer again": then(whole, lambda w: w.upload("a"), lambda w: w.fetch(SUMS), lambda w: w.check("b")),
    "an answer that broke off": begun(lambda w: w.advertise("a", PEOPLE[:2], broken_off=True)),
    "a sum that broke off": then(whole, lambda w: w.fetch(SUMS[:0], digest=DIGEST, broken_off=True)),
    "other neighbours on a ring": on_a_ring(),
    "keys of a new process": begun(lambda w: w.advertise("a", key=b"other", process=2)),
    "the same upload in two calls": then(whole, lambda w: w.upload("a", process=2)),
    "a plan that was standing when the coordinator died": charged(
        "planned", good=then(lambda: Written().begin(NOISY), died, Written.failed)
    ),
    "a charge that counts though the round failed": charged("planned", "released", good=asked_to_open),
    "a plan that stands though the round failed": charged("planned", good=asked_to_open),
    "a plan that is given back": charged("planned", "withdrawn", good=failed_with_noise),
    "a round that could not be opened at the first try": opened_at_the_second_try(
        "planned", "withdrawn", "planned", "released"
    ),
    "events so far": then(whole, lambda w: w.watch(started(), broken_off=True)),
    "a connection that went away": then(short, lambda w: w.call("a", "Describe", status="UNAVAILABLE")),
    "more chunks": begun(lambda w: w.progress("a", 0), lambda w: w.progress("a", 1)),
    "somebody who left": begun(lambda w: w.leave("d")),
    "somebody who accuses another": begun(lambda w: w.leave("d", data_plane_pb2.LEAVE_REASON_REFUSED, "a")),
    "an error that the caller is told": then(short, lambda w: w.note(Told(1, "a", "RoundAborted"))),
    "metrics of the same cohort": lambda: of_one_model("abc", "abc", purposes={1: "metrics"}),
    "another question about the model": lambda: of_one_model("abcd", "abc", purposes={1: "evaluation"}),
    "the same group again": grouped(1, 1),
    "an internal error of a full disk": then(
        begin,
        lambda w: w.note(Injected(1, Fault.DISK_FULL)),
        lambda w: w.failed(errors_pb2.ABORT_REASON_INTERNAL),
    ),
    "a start that is refused for bit rot": then(
        short, lambda w: w.note(Injected(1, Fault.BIT_ROT)), lambda w: w.note(Refused(1, "StoreError", True))
    ),
}


@pytest.mark.parametrize("history", FINE)
def test_what_may_happen_is_let_pass(history: str) -> None:
    assert judge(FINE[history]().history).findings == ()


def test_an_ended_round_may_be_forgotten_when_its_time_is_over() -> None:
    written = short()
    written.history.keep_finished_s = 100.0
    written.at += 50
    written.refused(errors_pb2.ERROR_KIND_UNKNOWN_ROUND)
    assert laws(judge(written.history)) == {Law.ROUND_KNOWN}
    written = short()
    written.history.keep_finished_s = 100.0
    written.at += 101
    written.refused(errors_pb2.ERROR_KIND_UNKNOWN_ROUND)
    assert judge(written.history).findings == ()


@pytest.mark.parametrize("fault", Fault)
def test_what_a_fault_excuses(fault: Fault) -> None:
    """A disk that lies leaves what participants see to. One that rots may lose, and does nothing wrong."""
    excused = set()
    for law, made in BROKEN.values():
        written = made()
        written.note(Injected(written.at, fault))
        judgement = judge(written.history)
        if laws(judgement) == set() and judgement.excused:
            assert {found.law for found in judgement.excused} == {law}
            excused.add(law)
    expected = {Fault.FLUSH_LIED: set(Law) - BY_PARTICIPANTS, Fault.BIT_ROT: LOSSES - {Law.ENDS}}
    silent = {Law.AUDIT, Law.UNDAMAGED}  # no audit log is read here; nothing is undamaged on a disk that damages
    assert excused == expected.get(fault, set()) - silent


def test_a_coordinator_without_a_disk_may_forget_when_it_dies() -> None:
    written = then(short, died, lambda w: w.refused(errors_pb2.ERROR_KIND_UNKNOWN_ROUND))()
    assert laws(judge(written.history)) == {Law.ROUND_KNOWN}
    written.history.durable = False
    assert judge(written.history).findings == ()
    written = then(short, lambda w: w.refused(errors_pb2.ERROR_KIND_UNKNOWN_ROUND))()
    written.history.durable = False
    assert laws(judge(written.history)) == {Law.ROUND_KNOWN}


# --- sums -------------------------------------------------------------------------------------------------------------


def fixed(bits: int, clip: float, max_weight: int) -> config_pb2.RoundConfig:
    config = config_pb2.RoundConfig()
    config.CopyFrom(INTEGERS)
    config.ClearField("integers")
    config.encoding.clip, config.encoding.value_bits, config.encoding.max_weight = clip, bits, max_weight
    return config


@pytest.mark.parametrize("off", [0, 1, -1])
def test_a_sum_of_floats_is_exact_where_nothing_is_rounded(off: int) -> None:
    """With a step of 1, values of whole numbers and a half are whole levels."""
    config = fixed(8, 127.5, 4)
    written = Written()
    written.open(config)
    for name in "abc":
        written.contribute(name, np.array([-127.5, 0.5, 900.0]), weight=4)
    written.fetch(packed(config, [0, 3 * 128 + off, 3 * 255, 12]), "abc")
    assert laws(judge(written.history)) == ({Law.SUM} if off else set())


@pytest.mark.parametrize(("total", "right"), [(300, True), (301, True), (303, True), (304, False), (299, False)])
def test_a_sum_of_floats_is_within_what_rounding_can_give(total: int, right: bool) -> None:
    config = fixed(8, 127.5, 1)
    written = Written()
    written.open(config)
    for name in "abc":
        written.contribute(name, np.array([100.25 - 127.5] * 3))
    written.fetch(packed(config, [total, 300, 303, 3]), "abc")
    assert laws(judge(written.history)) == (set() if right else {Law.SUM})


def test_the_packing_is_that_of_the_specification() -> None:
    config = config_pb2.RoundConfig(max_participants=2)
    config.arrays.add(name="x", shape=[5])
    config.integers.min, config.integers.max = 0, 3
    form = shape(config)
    assert form is not None
    assert (form.count, form.bits) == (5, 3)
    assert pack(np.arange(1, 6, dtype=np.uint64), form) == [bytes.fromhex("d158")]
    assert unpack([bytes.fromhex("d158")], form) is not None
    assert unpack([bytes.fromhex("d1d8")], form) is None  # a bit behind the last value
