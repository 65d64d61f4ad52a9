"""What a participant does otherwise than an honest one, and a round in which some do."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import grpc

from secagg.config import Deadlines
from secagg.errors import RoundAborted, SecAggError
from secagg.events import DropReason, ParticipantDropped, RoundFailed
from secagg.messages import Leave, Phase
from secagg.phases import phases
from secagg.receipts import Receipt, Statement
from secagg.rounds.certification import Result
from secagg.tools.runner.cases import Unlike
from secagg.tools.runner.live_coordinator.live import Deployment, Failed, LiveRound, Member, Outcome, Running, read
from secagg.tools.runner.over_grpc.cohort import configuration
from secagg.wire.agreement import decode_proof
from secagg.wire.calls import CALL_OF, CERTIFY, FETCH_AGGREGATE, INPUT_PROGRESS, Call
from secagg.wire.progress import ResultReady
from secagg.wire.results import decode_aggregate
from secagg.wire.v1 import data_plane_pb2 as pb

SELF: Final = "self"
"""As a culprit: who sent the message."""

SHORT_S: Final = 2.0
"""The time limit of a phase in which somebody is silent."""

_NO_SIGNATURE: Final = b"\x30\x06\x02\x01\x01\x02\x01\x01"
"""In the form of a signature, and none."""

LONG_S: Final = 60.0
ALL: Final = "abcde"

STATUS: Final = {
    "ConfigError": grpc.StatusCode.INVALID_ARGUMENT,
    "DecodeError": grpc.StatusCode.INVALID_ARGUMENT,
    "AuthenticationError": grpc.StatusCode.UNAUTHENTICATED,
    "ProtocolViolation": grpc.StatusCode.FAILED_PRECONDITION,
    "NotInRoundError": grpc.StatusCode.PERMISSION_DENIED,
    "RoundAborted": grpc.StatusCode.ABORTED,
    "UnknownRoundError": grpc.StatusCode.NOT_FOUND,
    "LimitError": grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""The gRPC status of each class (PROTOCOL section 15, Errors)."""

Edit = Callable[[LiveRound, Member, list[bytes]], Sequence[bytes]]
"""Makes requests of the honest ones."""


def same(_: LiveRound, __: Member, honest: list[bytes]) -> list[bytes]:
    """The honest requests."""
    return honest


@dataclass(frozen=True, slots=True)
class Silent:
    """Sends nothing in this phase, and so drops out at its end."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """Says goodbye in this phase. `leave` makes the message, if it is no plain one."""

    leave: Callable[[LiveRound, Member], Leave] | None = None


@dataclass(frozen=True, slots=True)
class Wrong:
    """Sends something that must be refused, and leaves no trace. What comes next is another deviation, or the honest
    message.

    Attributes:
        edit: makes it of the honest requests.
        error: the class of the refusal.
        culprit: whom it names; `SELF` for the sender, None for nobody.
        row: the call, if it is not that of the phase.
        round_id: in the metadata, if it is not the round's; empty for none.
    """

    edit: Edit
    error: str
    culprit: str | None = SELF
    row: Call[Any] | None = None
    round_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class Twice:
    """Makes the honest call again while the first waits, or hangs up first; both times the answer is the same."""

    hangs_up: bool = False


@dataclass(frozen=True, slots=True)
class Excluded:
    """The FL server does without this participant from now on."""


@dataclass(frozen=True, slots=True)
class Aborts:
    """The FL server aborts the round."""


Deviation = Silent | Leaves | Wrong | Twice | Excluded | Aborts


def nothing(_: LiveRound) -> None:
    """Nothing more is looked at."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A round of five, in which some deviate.

    Attributes:
        number: of the case.
        check: number in PROTOCOL.md.
        title: what happens, in words.
        at: by letter and phase, what participants do before their honest message, or in its place. They come after
            those who are not named.
        config: what is otherwise in the configuration.
        people: how many come.
        survivors: letters of those whose inputs are in the sum.
        ends: the name of the reason for which the round ends without a sum; empty if it has one.
        culprits: letters of those whom the end names.
        drops: for which reason somebody counts as dropped, by letter.
        then: what else is looked at when the round is over.
    """

    number: str
    check: str
    title: str
    at: Mapping[tuple[str, Phase], Sequence[Deviation]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    people: int = 5
    survivors: str = ALL
    ends: str = ""
    culprits: str = ""
    drops: Mapping[str, DropReason] = field(default_factory=dict)
    then: Callable[[LiveRound], None] = nothing

    def play(self, deployment: Deployment) -> None:
        """Play it.

        Raises:
            Unlike: the coordinator does something else than the specification says.
        """
        silent = {phase for (_, phase), found in self.at.items() if any(isinstance(one, Silent) for one in found)}
        limits = {f"{phase.name.lower()}_s": SHORT_S if phase in silent else LONG_S for phase in _MASKED}
        config = configuration(**{"deadlines": Deadlines(join_s=LONG_S, **limits), **self.config})
        live = LiveRound.begin(deployment, config, self.people)
        try:
            self.run(live)
        finally:
            live.close()

    def run(self, live: LiveRound) -> None:
        """Play it in a round that is open; raises as `play`."""
        for phase in phases(live.config):
            if all(member.gone for member in live.members):
                break
            _Turn(self, live, phase).play()
        _hold_end(self, live)
        self.then(live)


_MASKED: Final = (
    Phase.ADVERTISE_KEYS,
    Phase.SHARE_KEYS,
    Phase.MASKED_INPUT,
    Phase.CONSISTENCY_CHECK,
    Phase.UNMASK,
)


class _Turn:
    """One phase of a scene."""

    def __init__(self, scene: Scene, live: LiveRound, phase: Phase) -> None:
        self._scene, self._live, self._phase = scene, live, phase
        self._row = CALL_OF[phase]
        self._running: list[tuple[Member, Running]] = []

    def play(self) -> None:
        """Everybody sends, first those who are honest; then all wait for the answers."""
        live, at = self._live, self._scene.at
        honest = [m for m in live.members if not m.gone and (m.letter, self._phase) not in at]
        for member in honest:
            self._send(member)
        live.wait_accepted(self._phase, honest)
        for member in live.members:
            if (member.letter, self._phase) not in at:
                continue
            was_gone = member.gone
            for deviation in at[member.letter, self._phase]:
                self._deviate(member, deviation)
            if not was_gone and not member.gone:
                self._send(member)
        for member, running in self._running:
            outcome = running.outcome()
            if not member.gone:
                self._answered(member, outcome)

    def _send(self, member: Member) -> None:
        requests = self._live.requests(member, self._phase)
        member.sent[self._phase] = requests
        if self._phase is Phase.MASKED_INPUT:
            requests = requests[self._progress(member) :]
        self._running.append((member, member.call(self._row, requests)))

    def _progress(self, member: Member) -> int:
        """Chunks that the coordinator has."""
        request = pb.InputProgressRequest(round_id=self._live.round_id).SerializeToString()
        outcome = member.call(INPUT_PROGRESS, [request]).outcome()
        if isinstance(outcome, Failed):
            if self._scene.ends:  # the round may be over
                return 0
            raise Unlike(f"InputProgress failed: {outcome.status.name} {outcome.error}")
        return pb.InputProgressReply.FromString(outcome[0]).next_chunk

    def _deviate(self, member: Member, deviation: Deviation) -> None:
        live = self._live
        match deviation:
            case Silent():
                member.gone = True
            case Leaves(leave):
                live.leave(member, None if leave is None else leave(live, member))
            case Excluded():
                live.deployment.control.exclude(live.round_id, [member.name], timeout_s=LONG_S)
                member.gone = True
            case Aborts():
                live.deployment.control.abort(live.round_id, "the case says so", timeout_s=LONG_S)
            case Twice(hangs_up):
                self._send(member)
                if hangs_up:
                    live.wait_accepted(self._phase, [member])
                    self._running.pop()[1].cancel()
            case Wrong(edit, _, _, row, round_id):
                requests = edit(live, member, list(member.sent.get(self._phase, ())) or self._honest(member))
                outcome = member.call(row or self._row, requests, round_id=round_id).outcome()
                hold_refused(outcome, deviation, member)

    def _honest(self, member: Member) -> list[bytes]:
        """Of whoever is gone already: what it would have sent next."""
        try:
            return self._live.requests(member, self._phase)
        except (TypeError, AttributeError):
            return []

    def _answered(self, member: Member, outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            self._held_failure(member, outcome)
            return
        answer = read(self._row, outcome)
        if self._phase in member.answers:
            if member.answers[self._phase] != answer:
                raise Unlike(f"the same {self._row.name} was answered twice, and otherwise")
            return
        member.answers[self._phase] = answer
        if self._phase is Phase.UNMASK:
            member.receipt = answer
            return
        try:
            member.next = member.session.receive(answer, time.time())
        except SecAggError as error:
            raise Unlike(f"an honest participant refuses the answer of {self._row.name}: {error}") from error

    def _held_failure(self, member: Member, failed: Failed) -> None:
        if not self._scene.ends:
            raise Unlike(f"the honest {self._row.name} of {member.letter} failed: {failed.status.name} {failed.error}")
        error = failed.error
        if not isinstance(error, RoundAborted) or error.reason.name != self._scene.ends:
            raise Unlike(f"{member.letter} hears {failed.status.name} {error!r}, and the round was to end")
        if failed.status is not STATUS["RoundAborted"]:
            raise Unlike(f"the round ends with the status {failed.status.name}")
        member.gone = True


def hold_refused(outcome: Outcome, wrong: Wrong, member: Member) -> None:
    """Hold that a call was refused as it must be.

    Raises:
        Unlike: it was not.
    """
    if not isinstance(outcome, Failed):
        raise Unlike(f"it was taken; the specification says: refused with {wrong.error}")
    error = outcome.error
    if error is None:
        raise Unlike(f"it failed with {outcome.status.name} and without a trailer, not with {wrong.error}")
    if type(error).__name__ != wrong.error:
        raise Unlike(f"it was refused with {type(error).__name__} ({error}), not with {wrong.error}")
    if outcome.status is not STATUS[wrong.error]:
        raise Unlike(f"{wrong.error} came with the status {outcome.status.name}")
    named = getattr(error, "culprit", None)
    if named != (wanted := member.name if wrong.culprit == SELF else wrong.culprit):
        raise Unlike(f"{wrong.error} names {named or 'nobody'}, not {wanted or 'nobody'}: {error}")


def _hold_end(scene: Scene, live: LiveRound) -> None:
    last = live.end()
    reasons = {e.participant[-1]: e.reason for e in live.events if isinstance(e, ParticipantDropped)}
    if wrong := {letter: reasons.get(letter) for letter, why in scene.drops.items() if reasons.get(letter) != why}:
        raise Unlike(f"WatchRound gives other reasons why somebody dropped out: {wrong}")
    if scene.ends:
        _hold_failure(scene, live, last)
    elif isinstance(last, ResultReady):
        _hold_sum(scene, live)
    else:
        raise Unlike(f"the round has no sum: {last}")


def _hold_failure(scene: Scene, live: LiveRound, last: object) -> None:
    """Why, whose fault, and no sum."""
    if not isinstance(last, RoundFailed) or last.error.reason.name != scene.ends:
        raise Unlike(f"the round was to end with {scene.ends}: {last}")
    if (named := sorted(name[-1] for name in last.error.culprits)) != sorted(scene.culprits):
        raise Unlike(f"the end of the round names {''.join(named) or 'nobody'}, not {scene.culprits or 'nobody'}")
    try:
        live.deployment.control.fetch(live.round_id, timeout_s=LONG_S)
    except RoundAborted:
        return
    raise Unlike("the round ended without a sum, and a sum can be fetched")


def _hold_sum(scene: Scene, live: LiveRound) -> None:
    """The sum is exact, and everyone who heard of it heard of the same."""
    alive = [live.member(letter) for letter in scene.survivors]
    names, sums = tuple(member.name for member in alive), live.true_sum(alive)
    aggregate = live.deployment.control.fetch(live.round_id, timeout_s=LONG_S)
    if aggregate.survivors != names:
        raise Unlike(f"the sum is of {', '.join(name[-1] for name in aggregate.survivors)}, not of {scene.survivors}")
    if aggregate.sums.tolist() != sums:
        raise Unlike("the sum is not that of the inputs")
    for member in live.members:
        if member.receipt is not None:
            _hold_receipt(live, member, names)
    certifying = [member for member in live.members if member.receipt is not None]
    if live.config.certify:
        _hold_certified(live, certifying, names)
    for member in certifying if live.config.release_to_participants else ():
        request = pb.FetchAggregateRequest(round_id=live.round_id).SerializeToString()
        outcome = member.call(FETCH_AGGREGATE, [request]).outcome()
        if isinstance(outcome, Failed):
            raise Unlike(f"FetchAggregate failed: {outcome.status.name} {outcome.error}")
        parts = [pb.AggregatePart.FromString(part) for part in outcome]
        try:
            theirs = decode_aggregate(parts, live.config)
        except SecAggError as error:
            raise Unlike(f"the answer of FetchAggregate is none: {error}") from error
        if (theirs.survivors, theirs.sums.tolist()) != (names, sums):
            raise Unlike("participants are told another sum than the FL server")


def _hold_receipt(live: LiveRound, member: Member, names: tuple[str, ...]) -> None:
    told = member.receipt
    roster = member.answers[Phase.ADVERTISE_KEYS]
    if told is None or told.survivors != len(names):
        raise Unlike("the receipt is of another number of survivors")
    receipt = Receipt(Statement.of(member.round, roster, names, told.sums_digest), told.signed)
    try:
        receipt.verify(live.site.trust, datetime.now(UTC))
    except SecAggError as error:
        raise Unlike(f"the receipt does not verify: {error}") from error


def _hold_certified(live: LiveRound, members: Sequence[Member], names: tuple[str, ...]) -> None:
    """A wrong signature is refused. Then all sign the result that they were given, and all hear so."""
    liar = members[0]
    request = pb.CertifyRequest(round_id=live.round_id, signature=_NO_SIGNATURE).SerializeToString()
    hold_refused(liar.call(CERTIFY, [request]).outcome(), Wrong(same, "AuthenticationError"), liar)
    running = []
    for member in members:
        if member.receipt is None:
            continue
        result = Result.of(member.round, member.answers[Phase.ADVERTISE_KEYS], names, member.receipt.sums_digest)
        signature = result.signature(member.name, live.site.identities[member.name].sign)
        request = pb.CertifyRequest(round_id=live.round_id, signature=signature).SerializeToString()
        running.append((result, member.call(CERTIFY, [request])))
    for result, one in running:
        outcome = one.outcome()
        if isinstance(outcome, Failed):
            raise Unlike(f"Certify failed: {outcome.status.name} {outcome.error}")
        proof = decode_proof([pb.ConsistencyProofPart.FromString(part) for part in outcome])
        if not result.is_certified(proof):
            raise Unlike("the result is not certified, though all signed it")
