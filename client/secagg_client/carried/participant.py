"""A participant at a framework's client: it answers the steps that the framework's messages bring."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from secagg.context import Round, RoundId, bind
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import Rng, SystemRng
from secagg.errors import (
    DecodeError,
    LocalError,
    ProtocolViolation,
    RemoteError,
    SecAggError,
)
from secagg.messages import (
    SENT_IN,
    EncryptedSum,
    Leave,
    LeaveReason,
    ParticipantId,
    ParticipantMessage,
    SurvivorSet,
)
from secagg.policy import Policy
from secagg.roster import COORDINATOR, refusal
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.releases import Release
from secagg.sandbox.worker import Worker
from secagg.schemes import Participant, Upload, take_part
from secagg.wire.calls import CALL_OF
from secagg.wire.configuration import decode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.limits import MAX_OFFER_BYTES
from secagg.wire.receipts import RECEIPT
from secagg.wire.rounds import decode_offer
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg_client.carried.steps import (
    OPEN,
    OVER,
    PHASE_NAMED,
    Step,
    check_size,
    every,
    leave_step,
    read_over,
    serialised,
    whole,
)
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.inputs import Input
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Clock, ClosableBackend, Contribution, SeenRounds
from secagg_client.released_sums.memory import Memory

MAX_STEPS: Final = 64
"""Steps in one message of a coordinator; what is behind them is not looked at."""

MAX_ROUNDS: Final = 16
"""Rounds that are under way at the same time; the oldest is given up for a new one."""

Contribute = Callable[[Sequence[Offer]], Mapping[RoundId, Contribution]]
"""Gives the input of the rounds that ask for it now. A round that is missing in what it returns is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedTerms:
    """What stays the same for a participant over all rounds.

    Attributes:
        name: what the framework calls us, and so the coordinator where nothing is signed.
        clock: seconds since 1970; certificates are checked by it.
        policy: our own terms.
        identity: our certificate and key; needed where messages are signed, and gives our name there.
        trust: the deployment's CA; needed with `identity`.
        rng: where our randomness comes from.
        memory: sums that may hold an update of ours.
        feedback: what rounds lost of our updates.
        seen: rounds that we took part in.
        backend: encrypts and decrypts, in homomorphic rounds.
    """

    name: str
    clock: Clock
    policy: Policy = field(default_factory=Policy)
    identity: Identity | None = None
    trust: TrustAnchors | None = None
    rng: Rng = field(default_factory=SystemRng)
    memory: Memory = field(default_factory=Memory)
    feedback: Feedback = field(default_factory=Feedback)
    seen: SeenRounds = field(default_factory=SeenRounds)
    backend: Callable[[], ClosableBackend] = Worker

    def membership(self, offer: Offer) -> Membership:
        """Our place in the offered round, bound to the model that its configuration names."""
        config = offer.config
        round_ = Round(offer.round_id, config, bind(offer.round_id, offer.config_bytes, config.model_digest))
        credentials, name = None, self.name
        if config.signed and self.identity is not None and self.trust is not None:
            credentials, name = Credentials(self.identity, self.trust), self.identity.participant_id

        def claim(release: Release) -> frozenset[ParticipantId]:
            return self.memory.claim(offer.round_id, release, self.policy)

        return Membership(round_, ParticipantId(name), self.policy, self.rng, credentials, claim, self.memory.durable)


class CarriedParticipant:
    """One participant at a framework's client.

    Attributes:
        failed: why rounds of the latest exchange were left, for the log of this side. What was told to the coordinator
            is no more than the reason, and the text where we refused what it sent.
    """

    def __init__(self, terms: CarriedTerms, states: MutableMapping[str, bytes]) -> None:
        """Args:
        terms: what stays the same over all rounds.
        states: sealed states by round id in hexadecimal, which the framework keeps between two messages.
        """
        self.failed: dict[RoundId, SecAggError] = {}
        self._terms = terms
        self._states = states
        self._seats: dict[RoundId, _Seat] = {}

    def answer(self, steps: Sequence[Step], contribute: Contribute) -> list[Step]:
        """Answer the steps that one message of the framework brought, at most one a round.

        Never raises for what the coordinator sent: a round that fails is left with a step that says so, and the others
        go on.

        Args:
            steps: of different rounds.
            contribute: called once at most, with the rounds that ask for our input now, before anything of the input is
                sent. What it raises goes through; then all rounds that ask are given up.
        """
        self.failed = {}
        replies: list[Step] = []
        asking: list[Step] = []
        heard: set[RoundId] = set()
        for step in steps[:MAX_STEPS]:
            if step.round_id in heard:  # check: one-step-a-round
                replies += self._leave(step.round_id, ProtocolViolation("two steps of a round", culprit=COORDINATOR))
            elif self._asks(step):
                asking.append(step)
            else:
                replies += self._guarded(step, partial(self._answer, step))
            heard.add(step.round_id)
        return replies + (self._contribute(asking, contribute) if asking else []) + self._make_room()

    def _make_room(self) -> list[Step]:
        """Leave the oldest rounds, if there are too many: a coordinator can open any number."""
        replies: list[Step] = []
        if len(self._seats) > MAX_ROUNDS:  # check: rounds-under-way
            why = LocalError(f"more than {MAX_ROUNDS} rounds are under way; this was the oldest")
            for round_id in list(self._seats)[:-MAX_ROUNDS]:
                replies += self._leave(round_id, why)
        return replies

    def _asks(self, step: Step) -> bool:
        """Whether the answer to this step is our input."""
        seat = self._seats.get(step.round_id)
        return seat is not None and seat.participant.needs_vector and step.kind == str(seat.participant.awaits)

    def _contribute(self, asking: list[Step], contribute: Contribute) -> list[Step]:
        offers = [self._seats[step.round_id].offer for step in asking if step.round_id in self._seats]
        try:
            brought = contribute(offers)
        except BaseException:
            for step in asking:
                self._give_up(step.round_id)
            raise
        replies: list[Step] = []
        for step in asking:
            mine = brought.get(step.round_id)
            replies += self._guarded(step, partial(self._send_input, step, mine))
        return replies

    def _guarded(self, step: Step, answer: Callable[[], Step | None]) -> list[Step]:
        try:
            reply = answer()
        except (RemoteError, LocalError) as error:
            return self._leave(step.round_id, error)
        return [] if reply is None else [reply]

    # --- steps --------------------------------------------------------------------------------------------------------

    def _answer(self, step: Step) -> Step | None:
        if step.kind == OPEN:
            return self._join(step)
        if step.kind == OVER:
            self._hear_end(step)
            return None
        seat = self._seats.get(step.round_id)
        if seat is None:  # check: not-our-round
            raise ProtocolViolation("we take no part in this round, or no longer", culprit=COORDINATOR)
        return self._reply(seat, self._receive(seat, step))

    def _join(self, step: Step) -> Step:
        check_size(step, MAX_OFFER_BYTES)
        round_id, config_bytes = decode_offer(every(pb.RoundOfferPart, step.parts))
        if round_id != step.round_id:  # check: one-round-in-a-step
            raise DecodeError("a step names another round than the offer in it", culprit=COORDINATOR)
        offer = Offer(round_id, decode_config(config_bytes), config_bytes)
        config = offer.config
        self._terms.policy.check(config)
        self._terms.memory.check((config.model_digest, config.purpose), self._terms.policy)
        if config.groups is not None:
            self._terms.seen.claim(GroupedRoundId.of(round_id, config_bytes, config.groups).parent)  # one group each
        self._terms.seen.claim(round_id)
        backend: list[ClosableBackend] = []

        def opened() -> ClosableBackend:
            backend.append(self._terms.backend())
            return backend[0]

        participant = take_part(self._terms.membership(offer), None, opened)
        self._seats[round_id] = _Seat(offer, participant, backend[0] if backend else None)
        return self._step(round_id, participant.advertisement)

    def _send_input(self, step: Step, mine: Contribution | None) -> Step | None:
        seat = self._seats[step.round_id]
        if mine is None:
            raise LocalError("nothing was contributed to this round")
        round_ = seat.participant.membership.round
        mine.check_asked(round_)
        seat.input = Input.of(round_, mine, self._terms.feedback, self._terms.rng)
        seat.participant.provide(seat.input.encoded, mine.model_digest)
        return self._reply(seat, self._receive(seat, step))

    def _hear_end(self, step: Step) -> None:
        seat = self._seats.get(step.round_id)
        failure = read_over(step)
        if seat is None:
            return
        if failure is not None:
            if seat.input is not None:
                seat.input.not_in_sum()
        elif seat.input is not None and seat.counted:
            seat.input.into_sum()
            self._terms.memory.receive(step.round_id)
        self._give_up(step.round_id)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _receive(self, seat: "_Seat", step: Step) -> ParticipantMessage | Upload | None:
        phase = PHASE_NAMED.get(step.kind)
        if phase is None or phase is not seat.participant.awaits:
            raise ProtocolViolation(
                f"{step.kind[:40]!r} came where {seat.participant.awaits} was awaited", culprit=COORDINATOR
            )
        call = CALL_OF[phase]
        if call.answers is RECEIPT:
            raise ProtocolViolation(f"no step closes {phase}", culprit=COORDINATOR)
        check_size(step, call.longest_answer(seat.offer.config))
        message = whole(call.answers, step.parts)
        if isinstance(message, SurvivorSet | EncryptedSum):
            seat.counted = True
        return seat.participant.receive(message, self._terms.clock())

    def _reply(self, seat: "_Seat", reply: ParticipantMessage | Upload | None) -> Step | None:
        round_id = seat.offer.round_id
        if reply is None:
            return None
        if isinstance(reply, ParticipantMessage):
            return self._step(round_id, reply)
        noted = reply if seat.input is None else seat.input.noting(reply)
        brings = CALL_OF[reply.phase].brings
        return Step(round_id, str(reply.phase), serialised(part for chunk in noted for part in brings.parts(chunk)))

    @staticmethod
    def _step(round_id: RoundId, message: ParticipantMessage) -> Step:
        phase = SENT_IN[type(message)]
        return Step(round_id, str(phase), serialised(CALL_OF[phase].brings.parts(message)))

    # --- leaving ------------------------------------------------------------------------------------------------------

    def _leave(self, round_id: RoundId, error: SecAggError) -> list[Step]:
        self.failed[round_id] = error
        self._give_up(round_id)
        if isinstance(error, RemoteError):
            return [leave_step(round_id, refusal(error), error)]
        return [leave_step(round_id, Leave(LeaveReason.FAILED), None)]  # a text of our own may tell what is in our data

    def _give_up(self, round_id: RoundId) -> None:
        seat = self._seats.pop(round_id, None)
        if seat is not None:
            seat.end()


@dataclass(slots=True)
class _Seat:
    """Our part in one round while it is under way."""

    offer: Offer
    participant: Participant
    backend: ClosableBackend | None
    input: Input | None = None
    counted: bool = False

    def end(self) -> None:
        self.participant.abort()
        if self.input is not None:
            self.input.end()
        if self.backend is not None:
            self.backend.close()
