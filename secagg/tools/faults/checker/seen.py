"""A history put in order: of each round, what was opened, sent, shown and told. Nothing is judged here."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, assert_never

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

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

_DIGEST_BYTES: Final = 32

PROOFS: Final = ("Check", "ConfirmKey", "CheckRecovery", "Certify")
"""Calls that everyone gets the same signatures from."""

ONCE: Final = ("Share", "Check", "Reveal", "ConfirmKey", "ReportSum", "CheckRecovery", "RecoverSeeds", "Certify")
"""Calls whose message a participant makes once in a round."""

UPLOADS: Final = ("SendInput", "SendEncrypted", "SendPartial", "SendSum")

LATER: Final = frozenset({"Check", "Reveal", "ReportSum", "SendSum", "SendPartial", "CheckRecovery", "RecoverSeeds"})
"""Calls of phases after the input's."""

_TYPES: Final = {
    (service is control_plane_pb2.DESCRIPTOR.services_by_name["ControlPlane"], method.name): (
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
    )
    for service in (
        data_plane_pb2.DESCRIPTOR.services_by_name["DataPlane"],
        control_plane_pb2.DESCRIPTOR.services_by_name["ControlPlane"],
    )
    for method in service.methods
}


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that left the coordinator.

    Attributes:
        at: when the last of it did, in seconds.
        call: number of the call that it answers.
        value: what it says.
        whole: whether the coordinator had said all of it; else `value` is a beginning.
    """

    at: float
    call: int
    value: Any
    whole: bool = True


@dataclass(frozen=True, slots=True)
class End:
    """How somebody was told that a round ended.

    Attributes:
        at: seconds.
        call: which call said so.
        failed: the abort reason's name; None if there is a sum.
        digest: of the sum; empty where it was not said.
    """

    at: float
    call: int
    failed: str | None
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Said:
    """What a participant sent in one call."""

    at: float
    call: int
    process: int
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to a call, complete or not."""

    asked_at: float
    at: float
    call: int
    name: str
    caller: str
    ok: bool
    kind: str
    """Of the error; empty where there is none."""


@dataclass(slots=True)
class Round:
    """What was seen of one round. Groups are rounds of their own.

    Attributes:
        round_id: 16 bytes.
        opened: when the FL server was given its id; None if it never was.
        asked_open: configurations that the FL server asked to be opened under this id.
        offers: configurations as participants were offered them.
        parent: the grouped round that it is a group of; empty if none.
        number: of the group; 0 if none.
        rosters: of (index, id, keys); with a sparse graph of (index, id, digest), as everyone is listed there.
        entries: of the rosters of a sparse graph, (id, keys) by index: each member is shown some of them.
        deliveries: by participant.
        survivor_sets: of (survivors, dropped), by index.
        fallen: sets of those who did not decrypt.
        proofs: by call.
        receipts: as they were on the wire.
        sums: of (survivors' ids, digest, payloads).
        ends: in the order in which they were told.
        watched: events, and when each left the coordinator.
        progress: chunks that were acknowledged, by participant: (when it was asked, the answer).
        left: when the participant's leave was acknowledged first.
        refusals: who left and blamed the coordinator.
        excluded: when it was acknowledged first that the participant is excluded.
        aborted: when the FL server was told that it has ended the round; None if it was not.
        unknown: when calls were asked that were told that there is no such round, and their numbers.
        replies: to every call about it.
        said: what participants sent, by participant and call.
        contributed: the update that each was to put in.
        groups: offers of groups of this round to each participant.
    """

    round_id: bytes
    opened: Shown | None = None
    asked_open: list[bytes] = field(default_factory=list)
    offers: list[Shown] = field(default_factory=list)
    parent: bytes = b""
    number: int = 0
    rosters: list[Shown] = field(default_factory=list)
    entries: dict[int, list[Shown]] = field(default_factory=lambda: defaultdict(list))
    deliveries: dict[str, list[Shown]] = field(default_factory=lambda: defaultdict(list))
    survivor_sets: list[Shown] = field(default_factory=list)
    fallen: list[Shown] = field(default_factory=list)
    proofs: dict[str, list[Shown]] = field(default_factory=lambda: defaultdict(list))
    receipts: list[Shown] = field(default_factory=list)
    sums: list[Shown] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    watched: list[Shown] = field(default_factory=list)
    progress: dict[str, list[tuple[float, Shown]]] = field(default_factory=lambda: defaultdict(list))
    left: dict[str, Shown] = field(default_factory=dict)
    refusals: list[Reply] = field(default_factory=list)
    excluded: dict[str, Shown] = field(default_factory=dict)
    aborted: Shown | None = None
    unknown: list[Reply] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    said: dict[tuple[str, str], list[Said]] = field(default_factory=lambda: defaultdict(list))
    contributed: dict[str, Contributed] = field(default_factory=dict)
    groups: dict[str, list[Shown]] = field(default_factory=lambda: defaultdict(list))
    _config: config_pb2.RoundConfig | None = None

    @property
    def config(self) -> config_pb2.RoundConfig | None:
        """As it was opened or offered first; None if nobody saw it."""
        if self._config is None:
            seen = self.asked_open or [shown.value for shown in self.offers if shown.whole]
            if seen:
                self._config = config_pb2.RoundConfig.FromString(seen[0])
        return self._config

    @property
    def purpose(self) -> str:
        """What the sum is for."""
        return "train" if self.config is None else self.config.purpose or "train"

    @property
    def threshold(self) -> int:
        """Of the sum; 0 if nobody saw the configuration."""
        return 0 if self.config is None else self.config.threshold

    @property
    def model(self) -> bytes:
        """Its digest, which may have been named with the shares."""
        named = next((shown.value[2] for every in self.deliveries.values() for shown in every if shown.whole), b"")
        return named or (b"" if self.config is None else self.config.model_digest)

    @property
    def survivors(self) -> frozenset[str] | None:
        """Whose updates are in the sum; None if nobody was told."""
        whole = next((shown.value for shown in self.sums if shown.whole), None)
        if whole is not None:
            return frozenset(whole[0])
        return self.names(self.survivor_sets[0].value[0]) if self.survivor_sets else None

    def names(self, indices: Sequence[int]) -> frozenset[str] | None:
        """The ids of members of the roster; None if nobody was shown the roster."""
        whole = next((roster.value for roster in self.rosters if roster.whole), None)
        if whole is None:
            return None
        known = {index: name for index, name, _ in whole}
        return frozenset(known.get(index, f"nobody with the index {index}") for index in indices)


@dataclass(frozen=True, slots=True)
class LedgerRead:
    """A privacy ledger as the FL server was given it: its entries."""

    asked_at: float
    shown: Shown


@dataclass(frozen=True, slots=True)
class Nameless:
    """A call that failed, and nobody said of what."""

    at: float
    call: int
    name: str
    status: str


@dataclass(slots=True)
class Seen:
    """A whole history in order.

    Attributes:
        rounds: by id.
        ledgers: readings by task.
        lists: of rounds and their states, as the FL server was given them: (asked at, shown).
        nameless: calls that failed without an error of the protocol.
        faults: what was done to the deployment.
        damages: calls that were told that the coordinator's state or a ledger is damaged.
        malformed: answers that are no messages.
        crashes: errors that nobody named, for people.
        refusals: why the coordinator did not start, for people.
        died: whether a process of the coordinator ended.
        running: whether one answers at the end.
    """

    rounds: dict[bytes, Round] = field(default_factory=dict)
    ledgers: dict[str, list[LedgerRead]] = field(default_factory=lambda: defaultdict(list))
    lists: list[tuple[float, Shown]] = field(default_factory=list)
    nameless: list[Nameless] = field(default_factory=list)
    faults: set[Fault] = field(default_factory=set)
    damages: list[Reply] = field(default_factory=list)
    malformed: list[Shown] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    died: bool = False
    running: bool = False

    def round(self, round_id: bytes) -> Round:
        """What was seen of this round; nothing yet, if it is new."""
        if round_id not in self.rounds:
            self.rounds[round_id] = Round(round_id)
        return self.rounds[round_id]


@dataclass(slots=True)
class _Call:
    asked: Asked
    sent: list[tuple[float, bytes]] = field(default_factory=list)
    answers: dict[int, list[tuple[float, bytes]]] = field(default_factory=dict)
    closed: dict[int, Closed] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer to a call: its messages, when each left, and whether they are all."""

    call: _Call
    messages: list[Any]
    times: list[float]
    at: float
    whole: bool

    def shows(self, value: Any) -> Shown:
        """What it says."""
        return Shown(self.at, self.call.asked.call, value, self.whole)


def read(history: History) -> Seen:
    """Put a history in order."""
    seen, calls = Seen(), dict[int, _Call]()
    for fact in history.facts:
        match fact:
            case Asked():
                calls[fact.call] = _Call(fact)
            case Sent():
                calls[fact.call].sent.append((fact.at, fact.message))
            case Answered():
                calls[fact.call].answers.setdefault(fact.arrival, []).append((fact.at, fact.message))
            case Closed():
                calls[fact.call].closed[fact.arrival] = fact
            case Contributed():
                seen.round(fact.round_id).contributed[fact.participant] = fact
            case _:
                _read_other(seen, fact)
    for call in calls.values():
        _read_call(seen, call)
    for known in seen.rounds.values():
        for told in (known.ends, known.sums, known.receipts, known.rosters, known.survivor_sets, known.replies):
            told.sort(key=lambda one: one.at)
    return seen


def _read_other(seen: Seen, fact: Told | Crashed | Began | Died | Refused | Injected) -> None:
    match fact:
        case Told():
            if not fact.named:
                who = fact.participant or "the FL server"
                seen.crashes.append(f"{who} was told {fact.error} at {fact.at:.3f} s: {fact.detail}")
        case Crashed():
            seen.crashes.append(f"{fact.who} broke at {fact.at:.3f} s: {fact.detail}")
        case Began():
            seen.running = True
        case Died():
            seen.died, seen.running = True, False
        case Refused():
            seen.running = False
            text = f"the coordinator did not start at {fact.at:.3f} s ({fact.error}: {fact.detail})"
            (seen.refusals if fact.named else seen.crashes).append(text)
        case Injected():
            seen.faults.add(fact.fault)
        case _:
            assert_never(fact)


def _read_call(seen: Seen, call: _Call) -> None:
    asked = call.asked
    kind, _ = _TYPES[asked.caller == FL_SERVER, asked.name]
    call.requests = [kind.FromString(message) for _, message in call.sent]
    round_id = asked.named or b"".join(getattr(request, "round_id", b"") for request in call.requests[:1])
    known = seen.round(round_id) if round_id else None
    if known is not None:
        _read_said(known, call)
        if asked.name == "OpenRound":
            known.asked_open.append(_config_of(call))
    for arrival in sorted(call.answers.keys() | call.closed.keys()):
        _read_answer(seen, known, call, arrival)


def _config_of(call: _Call) -> bytes:
    return b"".join(request.config for request in call.requests)


def _read_said(known: Round, call: _Call) -> None:
    asked = call.asked
    if asked.caller and call.sent:
        said = Said(call.sent[-1][0], asked.call, asked.process, tuple(message for _, message in call.sent))
        known.said[asked.caller, asked.name].append(said)


def _read_answer(seen: Seen, known: Round | None, call: _Call, arrival: int) -> None:
    asked, closed = call.asked, call.closed.get(arrival)
    answers = call.answers.get(arrival, [])
    ok = closed is not None and closed.status == "OK"
    at = answers[-1][0] if answers else closed.at if closed is not None else asked.at
    if closed is not None and not ok:
        _read_failure(seen, known, call, closed)
    elif known is not None:
        known.replies.append(Reply(asked.at, at, asked.call, asked.name, asked.caller, ok, ""))
    if not answers and not ok:
        return
    _, kind = _TYPES[asked.caller == FL_SERVER, asked.name]
    try:
        messages = [kind.FromString(message) for _, message in answers]
    except DecodeError as error:
        seen.malformed.append(Shown(at, asked.call, str(error)))
        return
    reader = (_CONTROL if asked.caller == FL_SERVER else _DATA).get(asked.name)
    if reader is not None:
        reader(seen, known, _Answer(call, messages, [sent_at for sent_at, _ in answers], at, ok))


def _read_failure(seen: Seen, known: Round | None, call: _Call, closed: Closed) -> None:
    asked = call.asked
    detail = errors_pb2.ErrorDetail() if closed.error is None else errors_pb2.ErrorDetail.FromString(closed.error)
    kind = errors_pb2.ErrorKind.Name(detail.kind).removeprefix("ERROR_KIND_")
    if detail.kind == errors_pb2.ERROR_KIND_UNSPECIFIED:
        if closed.status not in {"UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED"}:
            seen.nameless.append(Nameless(closed.at, asked.call, asked.name, closed.status))
        return
    reason = errors_pb2.AbortReason.Name(detail.abort_reason).removeprefix("ABORT_REASON_")
    reply = Reply(asked.at, closed.at, asked.call, asked.name, asked.caller, False, kind)
    if kind in {"STORE", "LEDGER"}:
        seen.damages.append(reply)
    if known is None:
        return
    known.replies.append(reply)
    if kind == "UNKNOWN_ROUND":
        known.unknown.append(reply)
    if kind == "ABORTED" and asked.name not in {"FindRound", "OpenRound"}:
        whole = asked.name == "FetchAggregate" and known.parent  # a group's members are given the sums of all groups
        (seen.round(known.parent) if whole else known).ends.append(End(closed.at, asked.call, reason))


# --- answers to participants ------------------------------------------------------------------------------------------


def _offer(seen: Seen, known: Round | None, answer: _Answer) -> None:
    round_id = answer.messages[0].round_id if answer.messages else b""
    if not round_id:
        return
    found = seen.round(round_id)
    config_bytes = b"".join(part.config for part in answer.messages)
    found.offers.append(answer.shows(config_bytes))
    if answer.whole:
        groups = config_pb2.RoundConfig.FromString(config_bytes).groups
        if groups.number:
            found.parent, found.number = groups.parent, groups.number
            seen.round(groups.parent).groups[answer.call.asked.caller].append(answer.shows(groups.number))


def _roster(_: Seen, known: Round | None, answer: _Answer) -> None:
    if known is None:
        return
    members = tuple(
        (one.index, one.participant_id, one.keys.SerializeToString())
        for part in answer.messages
        for one in part.members
    )
    listed = [name for part in answer.messages for name in part.listed]
    if not listed:
        known.rosters.append(answer.shows(members))
        return
    digests = b"".join(part.entry_digests for part in answer.messages)
    lines = tuple((i + 1, name, digests[i * _DIGEST_BYTES : (i + 1) * _DIGEST_BYTES]) for i, name in enumerate(listed))
    known.rosters.append(answer.shows(lines))
    for index, name, keys in members:
        known.entries[index].append(answer.shows((name, keys)))


def _delivery(_: Seen, known: Round | None, answer: _Answer) -> None:
    if known is not None:
        shares = [(tuple(part.peers), part.entries) for part in answer.messages]
        keys = [(piece.owner, piece.piece) for part in answer.messages for piece in part.key_shares]
        whole = (shares, keys, b"".join(part.model_digest for part in answer.messages))
        known.deliveries[answer.call.asked.caller].append(answer.shows(whole))


def _survivors(_: Seen, known: Round | None, answer: _Answer) -> None:
    if known is not None and answer.messages:
        sets = answer.messages[0]
        sets = sets.sets if isinstance(sets, data_plane_pb2.EncryptedSumPart) else sets
        value = (tuple(sets.survivors), tuple(sets.dropped))
        known.survivor_sets.append(Shown(answer.at, answer.call.asked.call, value))


def _fallen(_: Seen, known: Round | None, answer: _Answer) -> None:
    if known is not None and answer.messages:
        known.fallen.append(answer.shows(tuple(answer.messages[0].fallen)))


def _proof(_: Seen, known: Round | None, answer: _Answer) -> None:
    if known is not None:
        value = sorted((one.signer, one.signature) for part in answer.messages for one in part.signatures)
        known.proofs[answer.call.asked.name].append(answer.shows(value))


def _receipt(_: Seen, known: Round | None, answer: _Answer) -> None:
    if known is not None and answer.messages:
        (receipt,) = answer.messages
        known.receipts.append(answer.shows(receipt.SerializeToString()))
        known.ends.append(End(answer.at, answer.call.asked.call, None, receipt.sums_digest))


def _progress(_: Seen, known: Round | None, answer: _Answer) -> None:
    if known is not None and answer.messages:
        asked = answer.call.asked
        known.progress[asked.caller].append((asked.at, answer.shows(answer.messages[0].next_chunk)))


def _left(_: Seen, known: Round | None, answer: _Answer) -> None:
    if known is not None:
        asked, leave = answer.call.asked, answer.call.requests[0].leave
        if leave.reason == data_plane_pb2.LEAVE_REASON_REFUSED and not leave.accused:
            known.refusals.append(Reply(asked.at, answer.at, asked.call, asked.name, asked.caller, True, ""))
        known.left.setdefault(answer.call.asked.caller, answer.shows(None))


def _sum(seen: Seen, known: Round | None, answer: _Answer) -> None:
    """In groups one answer has the sums of all, and each is its group's."""
    if known is None or not answer.messages:
        return
    parent = known.parent or known.round_id
    for group in dict.fromkeys(part.group for part in answer.messages):
        parts = [part for part in answer.messages if part.group == group]
        of = seen.round(group_id(parent, group)) if group else known
        value = (
            tuple(name for part in parts for name in part.survivors),
            parts[0].sums_digest,
            tuple(part.payload for part in parts if part.payload),
        )
        of.sums.append(answer.shows(value))
        of.ends.append(End(answer.at, answer.call.asked.call, None, parts[0].sums_digest))
        if group:
            seen.round(parent).ends.append(End(answer.at, answer.call.asked.call, None))


# --- answers to the FL server -----------------------------------------------------------------------------------------


def _opened(seen: Seen, known: Round | None, answer: _Answer) -> None:
    if answer.messages:
        found = seen.round(answer.messages[0].round_id)
        if known is None:
            found.asked_open.append(_config_of(answer.call))
        if found.opened is None or answer.at < found.opened.at:
            found.opened = answer.shows(None)


def _events(seen: Seen, known: Round | None, answer: _Answer) -> None:
    if known is None:
        return
    told = zip(answer.times, answer.messages, strict=True)
    happened = tuple((at, event) for at, together in told for event in together.events)
    known.watched.append(answer.shows(happened))
    for at, event in happened:
        of = seen.round(group_id(known.round_id, event.group)) if event.group else known
        which = event.WhichOneof("event")
        if which == "sum_ready":
            of.ends.append(End(at, answer.call.asked.call, None, event.sum_ready.sums_digest))
        elif which == "round_failed":
            reason = errors_pb2.AbortReason.Name(event.round_failed.error.abort_reason)
            of.ends.append(End(at, answer.call.asked.call, reason.removeprefix("ABORT_REASON_")))


def _excluded(_: Seen, known: Round | None, answer: _Answer) -> None:
    if known is not None and answer.messages:
        for name in (name for request in answer.call.requests for name in request.participant_ids):
            known.excluded.setdefault(name, answer.shows(None))


def _aborted(_: Seen, known: Round | None, answer: _Answer) -> None:
    if known is not None and answer.messages and known.aborted is None:
        known.aborted = answer.shows(None)
        known.ends.append(End(answer.at, answer.call.asked.call, ""))


def _list(seen: Seen, _: Round | None, answer: _Answer) -> None:
    states = {
        one.round_id: control_plane_pb2.RoundState.Name(one.state).removeprefix("ROUND_STATE_")
        for one in answer.messages
    }
    task = answer.call.requests[0].task
    seen.lists.append((answer.call.asked.at, answer.shows((task, states))))


def _ledger(seen: Seen, _: Round | None, answer: _Answer) -> None:
    entries = tuple(entry for part in answer.messages for entry in part.entries)
    seen.ledgers[answer.call.requests[0].task].append(LedgerRead(answer.call.asked.at, answer.shows(entries)))


_Reader = Callable[[Seen, Round | None, _Answer], None]

_DATA: Final[dict[str, _Reader]] = {
    "FindRound": _offer,
    "Advertise": _roster,
    "Share": _delivery,
    "SendInput": _survivors,
    "SendEncrypted": _survivors,
    "SendPartial": _fallen,
    **dict.fromkeys(PROOFS, _proof),
    **dict.fromkeys(("Reveal", "SendSum", "RecoverSeeds", "AwaitReceipt"), _receipt),
    "InputProgress": _progress,
    "LeaveRound": _left,
    "FetchAggregate": _sum,
}

_CONTROL: Final[dict[str, _Reader]] = {
    "OpenRound": _opened,
    "WatchRound": _events,
    "FetchAggregate": _sum,
    "Exclude": _excluded,
    "AbortRound": _aborted,
    "ListRounds": _list,
    "GetLedger": _ledger,
}


def group_id(parent: bytes, number: int) -> bytes:
    """The id of a group (section 5, Groups)."""
    return framed_digest(b"secagg/v1/group-round-id", parent, number.to_bytes(2, "big"))[:16]


def framed_digest(*parts: bytes) -> bytes:
    """Section 3."""
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
