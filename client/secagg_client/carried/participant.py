"""A participant at a framework's client: it answers the steps that the framework's messages bring."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Final

from secagg.context import Round, RoundId, bind
from secagg.errors import (
    ConfigError,
    DecodeError,
    LocalError,
    ProtocolViolation,
    RemoteError,
    RoundAborted,
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
from secagg.roster import COORDINATOR, refusal
from secagg.schemes import Participant, Upload, take_part
from secagg.wire.calls import CALL_OF
from secagg.wire.configuration import decode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.limits import MAX_ANSWER_FIELDS, MAX_OFFER_BYTES
from secagg.wire.receipts import RECEIPT
from secagg.wire.rounds import decode_offer
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg_client.carried.sealed import SealedSeats
from secagg_client.carried.seats import LazyBackend, Pending, Seat, Seats, SeatsInMemory
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
from secagg_client.carried.terms import CarriedTerms
from secagg_client.participation.inputs import Input
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Contribution

MAX_STEPS: Final = 64
"""Steps in one message of a coordinator; what is behind them is not looked at."""

MAX_ROUNDS: Final = 16
"""Rounds that are under way at the same time; the oldest is given up for a new one."""

Contribute = Callable[[Sequence[Offer]], Mapping[RoundId, Contribution]]
"""Gives the input of the rounds that ask for it now. A round that is missing in what it returns is left."""


class CarriedParticipant:
    """One participant at a framework's client. For one thread at a time.

    Attributes:
        failed: why rounds of the latest exchange were left, for the log of this side. What was told to the coordinator
            is no more than the reason, and the text where we refused what it sent.
    """

    def __init__(self, terms: CarriedTerms, states: MutableMapping[str, bytes] | None) -> None:
        """Args:
        terms: what stays the same over all rounds.
        states: kept by the framework between two messages, each of which may be answered by another process. What is
            put there is sealed. None for a process that answers all messages: then everything stays in this object.

        Raises:
            ConfigError: the memory of released sums belongs to another participant; or the policy asks for one that
                outlives the process, and it does not.
        """
        if states is not None and terms.policy.once_per_model and not terms.memory.durable:  # check: kept-memory
            raise ConfigError(
                "the policy allows one sum of a model (once_per_model), and which sums there were is forgotten with "
                "each process: keep the memory of released sums in a file"
            )
        if terms.identity is not None:
            terms.memory.belong_to(ParticipantId(terms.identity.participant_id))
        self.failed: dict[RoundId, SecAggError] = {}
        self._terms = terms
        self._seats: Seats = SeatsInMemory(terms) if states is None else SealedSeats(terms, states)

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
        exchange = _Exchange(self._terms, self._seats, self.failed)
        try:
            for step in steps[:MAX_STEPS]:
                exchange.hear(step)
            exchange.contribute(contribute)
        finally:
            self._seats.close()
        return exchange.replies


class _Exchange:
    """The answers to the steps of one message."""

    def __init__(self, terms: CarriedTerms, seats: Seats, failed: dict[RoundId, SecAggError]) -> None:
        self.replies: list[Step] = []
        self._terms = terms
        self._seats = seats
        self._failed = failed
        self._heard: set[RoundId] = set()
        self._asking: list[tuple[Seat, Step]] = []

    def hear(self, step: Step) -> None:
        """Answer a step, or note that its answer is our input."""
        round_id = step.round_id
        if round_id in self._heard:  # check: one-step-a-round
            asking = next((seat for seat, _ in self._asking if seat.offer.round_id == round_id), None)
            self._asking = [each for each in self._asking if each[0] is not asking]
            self._leave(round_id, asking, ProtocolViolation("two steps of a round", culprit=COORDINATOR))
            return
        self._heard.add(round_id)
        seat = None
        try:
            seat = self._seats.take(round_id)
            if seat is not None and seat.participant is not None and _asks(seat.participant, step):
                self._asking.append((seat, step))
            elif step.kind == OPEN:
                self._reply(*self._join(step))
                self._make_room()
            elif step.kind == OVER:
                self._hear_end(seat, read_over(step))
            elif seat is None:  # check: not-our-round
                raise ProtocolViolation("we take no part in this round, or no longer", culprit=COORDINATOR)
            else:
                self._reply(seat, self._receive(seat, step))
        except (RemoteError, LocalError) as error:
            self._leave(round_id, seat, error)

    def contribute(self, contribute: Contribute) -> None:
        """Ask for our input to the rounds that want it, and send it."""
        if not self._asking:
            return
        try:
            brought = contribute([seat.offer for seat, _ in self._asking])
        except BaseException:
            for seat, _ in self._asking:
                seat.end()
            raise
        for seat, step in self._asking:
            try:
                self._send_input(seat, step, brought.get(step.round_id))
            except (RemoteError, LocalError) as error:
                self._leave(step.round_id, seat, error)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _join(self, step: Step) -> tuple[Seat, ParticipantMessage]:
        check_size(step, MAX_OFFER_BYTES)
        round_id, config_bytes = decode_offer(every(pb.RoundOfferPart, step.parts, MAX_ANSWER_FIELDS))
        if round_id != step.round_id:  # check: one-round-in-a-step
            raise DecodeError("a step names another round than the offer in it", culprit=COORDINATOR)
        offer = Offer(round_id, decode_config(config_bytes), config_bytes)
        config, own = offer.config, self._terms.name_in(offer.config)
        self._terms.policy.check(config)
        if not config.model_later:
            self._terms.memory.check((config.model_digest, config.purpose), self._terms.policy)
        if config.groups is not None:
            self._seats.join(GroupedRoundId.of(round_id, config_bytes, config.groups).parent, own)  # one group each
        self._seats.join(round_id, own)
        backend = LazyBackend(self._terms, None if config.homomorphic is None else self._terms.backend())
        membership = self._terms.membership(Round(round_id, config, bind(round_id, config_bytes, config.model_digest)))
        try:
            participant = take_part(membership, None, lambda: backend)
        except BaseException:
            backend.close()
            raise
        return Seat(offer, participant, backend), participant.advertisement

    def _make_room(self) -> None:
        """Leave the oldest rounds, if there are too many: a coordinator can open any number."""
        rounds = self._seats.oldest_first()
        if len(rounds) > MAX_ROUNDS:  # check: rounds-under-way
            why = LocalError(f"more than {MAX_ROUNDS} rounds are under way; this was the oldest")
            for round_id in rounds[:-MAX_ROUNDS]:
                self._leave(round_id, None, why)

    def _send_input(self, seat: Seat, step: Step, mine: Contribution | None) -> None:
        if seat.participant is None or mine is None:
            raise LocalError("nothing was contributed to this round")
        round_ = seat.participant.membership.round
        mine.check_asked(round_)
        self._terms.memory.check((mine.model_digest, mine.purpose), self._terms.policy)
        feedback = self._seats.feedback(seat.offer) if round_.config.code.feedback else self._terms.feedback
        own = Input.of(round_, mine, feedback, self._terms.rng)
        try:
            seat.participant.provide(own.encoded, mine.model_digest)
            reply = self._receive(seat, step)
            if own.residual is not None:
                seat.pending = Pending(own.residual, own.encoded.lost())
            self._reply(seat, reply)
        except BaseException:
            own.end()
            raise

    def _hear_end(self, seat: Seat | None, failure: SecAggError | None) -> None:
        if seat is None:
            return
        if seat.pending is not None and failure is None:
            seat.pending.residual.into_sum(seat.pending.lost)
        elif seat.pending is not None and (isinstance(failure, RoundAborted) or not seat.counted):
            seat.pending.residual.not_in_sum()
        if failure is None and seat.counted:
            self._terms.memory.receive(seat.offer.round_id)
        seat.end()

    # --- messages -----------------------------------------------------------------------------------------------------

    def _receive(self, seat: Seat, step: Step) -> ParticipantMessage | Upload | None:
        participant, phase = seat.participant, PHASE_NAMED.get(step.kind)
        if participant is None or participant.awaits is None:  # check: answered-once
            raise ProtocolViolation("all of this round was answered: nothing is answered twice", culprit=COORDINATOR)
        if phase is None or phase is not participant.awaits:
            raise ProtocolViolation(
                f"{step.kind[:40]!r} came where {participant.awaits} was awaited", culprit=COORDINATOR
            )
        call = CALL_OF[phase]
        if call.answers is RECEIPT:
            raise ProtocolViolation(f"no step closes {phase}", culprit=COORDINATOR)
        check_size(step, call.longest_answer(seat.offer.config))
        message = whole(call.answers, step.parts, MAX_ANSWER_FIELDS)
        if isinstance(message, SurvivorSet | EncryptedSum):
            seat.counted = True
        return participant.receive(message, self._terms.clock())

    def _reply(self, seat: Seat, reply: ParticipantMessage | Upload | None) -> None:
        """Send a reply, once what we know then is kept."""
        step = None if reply is None else _step(seat.offer.round_id, reply)
        self._seats.keep(seat)
        if step is not None:
            self.replies.append(step)

    # --- leaving ------------------------------------------------------------------------------------------------------

    def _leave(self, round_id: RoundId, seat: Seat | None, error: SecAggError) -> None:
        """Give up a round, and say so."""
        self._failed[round_id] = error
        try:
            seat = seat or self._seats.take(round_id)
        except (LocalError, RemoteError):
            seat = None  # nothing of it can be used, so nothing has to be given up
        if seat is not None:
            seat.end()
        if isinstance(error, RemoteError):
            self.replies.append(leave_step(round_id, refusal(error), error))
        else:  # a text of our own may tell what is in our data
            self.replies.append(leave_step(round_id, Leave(LeaveReason.FAILED), None))


def _asks(participant: Participant, step: Step) -> bool:
    """Whether the answer to this step is our input."""
    return participant.needs_vector and step.kind == str(participant.awaits)


def _step(round_id: RoundId, reply: ParticipantMessage | Upload) -> Step:
    """What is sent in a phase, as a step: one message, or a vector whose chunks are its parts."""
    if isinstance(reply, ParticipantMessage):
        phase = SENT_IN[type(reply)]
        return Step(round_id, str(phase), serialised(CALL_OF[phase].brings.parts(reply)))
    brings = CALL_OF[reply.phase].brings
    return Step(round_id, str(reply.phase), serialised(part for chunk in reply for part in brings.parts(chunk)))
