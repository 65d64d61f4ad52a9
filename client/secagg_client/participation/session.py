"""One participation, from the offer to the result: which call comes next. No input or output, and no protocol either:
that is `secagg.schemes`. `Client` and `AsyncClient` both drive it.
"""

from collections import deque
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Final

from secagg.aggregates import Aggregate, GroupedAggregate, decoded_into, plan_of
from secagg.config import MAX_GRINDING_S, RoundConfig, ThreatModel
from secagg.context import Round, RoundId
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding.fixedpoint import WeightedMean
from secagg.encoding.integers import Integers, IntegerSums
from secagg.errors import (
    AuthenticationError,
    LimitError,
    LocalError,
    MemoryFileError,
    NotInRoundError,
    ParticipationCancelled,
    ProtocolViolation,
    RemoteError,
    RoundAborted,
    RoundTimeoutError,
    SavedStateError,
    TransportError,
    UnknownRoundError,
)
from secagg.homomorphic.vectors import Backend
from secagg.messages import (
    EncryptedSum,
    Leave,
    LeaveReason,
    ParticipantId,
    ParticipantMessage,
    Roster,
    SurvivorSet,
)
from secagg.receipts import Receipt, Statement
from secagg.roster import COORDINATOR, names_of, refusal
from secagg.rounds.certification import Result
from secagg.rounds.membership import Membership
from secagg.schemes import Participant, Upload, contents, rebuild, take_part
from secagg.wire.calls import ADVERTISE, CALL_OF, PHASE_CALLS
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.kept_states import UnderWay
from secagg.wire.limits import MAX_SEEN
from secagg.wire.receipts import RECEIPT, SignedDigest
from secagg.wire.results import sums_digest
from secagg_client.calls.arrivals import Arrival
from secagg_client.calls.call import Flow, Parts, PreparedCall, ask, decoded
from secagg_client.calls.data_plane import (
    AwaitReceipt,
    Certify,
    FetchAggregate,
    FetchGroups,
    FindRound,
    KeepAggregate,
    LeaveRound,
    SendMessage,
    UploadCall,
)
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.going_on import (
    StepRng,
    UploadLost,
    check_meant,
    check_same_input,
    digest_input,
    offer_of,
    repeatable,
    repeated,
)
from secagg_client.participation.inputs import Input
from secagg_client.participation.outputs import Output, copied_to, in_place_of
from secagg_client.participation.results import Offer, RoundResult, with_arrays
from secagg_client.participation.state_folder import StateFolder
from secagg_client.participation.terms import ClosableBackend, Contribution, Terms

_AFTER_KEYS_S: Final = 60.0
"""After the phase of keys the list is made and sent."""

LEAVE_TIMEOUT_S: Final = 10.0
"""How long it may take to tell the coordinator that we leave, retries included. Where hundreds leave at the same time,
some are not heard at once."""


class Participation:
    """One participation. `advance` until it returns None; then `result` is there."""

    def __init__(
        self,
        terms: Terms,
        contribution: Contribution,
        find: FindRound | Offer,
        state: StateFolder | str | Path | None = None,
    ) -> None:
        """Args:
        terms: of the client.
        contribution: what the caller brings.
        find: the round.
        state: by which the participation outlives this process; None for one that does not.
        """
        self._steps = StepRng(terms.rng)
        # What earlier rounds lost is kept in the folder, if there is one.
        self._terms = terms if state is None else replace(terms, rng=self._steps, feedback=Feedback())
        self._carried_elsewhere = terms.feedback
        self._contribution = contribution
        self._find = find
        self._offer: Offer | None = None
        self._participant: Participant | None = None
        self._backend: ClosableBackend | None = None
        self._input: Input | None = None
        self._folder = state
        self._state: StateFolder | None = None  # while we hold it
        self._held = ExitStack()
        self._input_seed = Secret(b"")
        self._input_digest = b""
        self._untouched = False  # while a state was found and nothing of it was used
        self._lost = False  # no process can go on
        self._parked = False  # another process may go on
        self._begun = False  # another process may have sent what we send next, or some of it
        self._alone = Lock()  # who was cancelled ends us while a thread still computes
        self._advertising = False  # until the coordinator has answered it
        self._roster: Roster | None = None
        self._sets: SurvivorSet | None = None
        self._counted = False
        self._group: GroupedRoundId | None = None
        self._refused = False
        self._over = False
        self._result: RoundResult | None = None
        self._flow = self._calls()

    @property
    def result(self) -> RoundResult:
        """The result, once `advance` has returned None."""
        if self._result is None:
            raise LocalError("the participation is not over")
        return self._result

    def advance(self, answer: Parts | None) -> PreparedCall[Any] | None:
        """The next call to make; None at the end.

        Args:
            answer: the parts that answered the last call; None at the beginning.

        Raises:
            RemoteError: the coordinator's answer is refused. Only `leave_call` may follow.
            LocalError: the contribution does not fit the round.
        """
        with self._alone:
            try:
                return next(self._flow) if answer is None else self._flow.send(answer)
            except StopIteration as done:
                self._result = done.value
                return None
            except RemoteError:
                self._refused = True
                raise

    def leave_call(self, error: BaseException) -> LeaveRound | None:
        """End our part after `error`: forget our secrets, and give the call that tells the coordinator, or None if it
        need not be told.

        A caller's mistake that is found before our keys were advertised is not told: we never joined. Nor is it told
        when the coordinator refused our keys: another process with our certificate may have joined, and the coordinator
        would take the call for a call of that process. Nor if another process may go on with our state.
        """
        with self._alone:
            return self._leave_call(error)

    def _leave_call(self, error: BaseException) -> LeaveRound | None:
        if self._participant is not None:
            self._participant.abort()
        self._parked = self._state is not None and self._may_go_on(error)
        if self._parked:
            return None
        if self._input is not None and self._surely_not_summed(error):
            self._input.not_in_sum()
        known = isinstance(error, RoundAborted | NotInRoundError | UnknownRoundError)
        known |= self._advertising and not self._refused and isinstance(error, RemoteError)
        if self._offer is None or self._over or known or (self._participant is None and not self._refused):
            return None
        leave = refusal(error) if self._refused else Leave(self._reason(error))
        return LeaveRound(self._offer.round_id, self._offer.config, leave)

    def _may_go_on(self, error: BaseException) -> bool:
        """Whether a process that is started later can go on in the round: when the coordinator is back, the disk works
        again, or the caller has what this round is about.
        """
        if isinstance(error, RoundTimeoutError | UploadLost):  # our caller, or nobody, goes on
            return False
        if self._lost and isinstance(error, SavedStateError):
            return False
        kinds = TransportError | LimitError | SavedStateError | MemoryFileError
        return isinstance(error, kinds) or (self._untouched and isinstance(error, LocalError))

    def _surely_not_summed(self, error: BaseException) -> bool:
        """Whether `error` says that our input is in no sum, even if we handed in all of it."""
        return isinstance(error, RoundAborted) or (isinstance(error, NotInRoundError) and not self._counted)

    def _reason(self, error: BaseException) -> LeaveReason:
        failed = isinstance(error, RemoteError | TransportError | LocalError)
        given_up = isinstance(error, RoundTimeoutError | ParticipationCancelled)
        return LeaveReason.FAILED if failed and not given_up else LeaveReason.CANCELLED

    def _calls(self) -> Flow[RoundResult]:
        if self._folder is not None and (kept := self._open_state(self._folder).under_way) is not None:
            return (yield from self._take_part(*self._go_on(kept)))
        self._terms.memory.check((self._contribution.model_digest, self._contribution.purpose), self._terms.policy)
        self._offer = self._find if isinstance(self._find, Offer) else (yield from ask(self._unseen(self._find)))
        participant = self._join(self._offer)
        return (yield from self._take_part(self._offer, participant, participant.advertisement))

    def _take_part(
        self, offer: Offer, participant: Participant, reply: ParticipantMessage | Upload | None
    ) -> Flow[RoundResult]:
        """From `reply` on. Every check of our own side came before; the protocol's own are in `Participant`."""
        while (call := self._call(offer, reply)).row.answers is not RECEIPT:
            self._advertising, asked_s = call.row is ADVERTISE, self._terms.clock()
            parts = yield call
            came = tuple(parts)
            answer = call.read(parts)
            if self._advertising:
                _check_waited(offer.config, self._terms.clock() - asked_s)
            self._advertising = False
            self._learn(answer)
            self._keep(offer, participant, came)  # check: kept-before-it-is-answered
            reply = participant.receive(answer, self._terms.clock())
        told = yield from ask(call)
        self._over = True
        if self._roster is None:
            raise AssertionError("a round ends after its roster came")
        survivors = _names(self._roster, self._sets)
        receipt = self._believed(participant.membership.round, self._roster, survivors, told)
        if self._input is not None:
            self._input.into_sum()
        self._terms.memory.receive(offer.round_id)
        if participant.aggregate is not None:  # check: sum-kept-from-coordinator  # we decrypted it ourselves
            own = participant.aggregate
            _check_aggregate(own.survivors, sums_digest(own, offer.config), survivors, receipt)
        membership, roster = participant.membership, self._roster
        certified = offer.config.certify and (yield from self._certify(offer, membership, roster, receipt))
        return (yield from self._conclude(offer, survivors, receipt, certified))

    def _learn(self, answer: object) -> None:
        """What of an answer is needed at the end."""
        if isinstance(answer, Roster):
            self._roster = answer
        elif isinstance(answer, SurvivorSet | EncryptedSum):
            self._counted = True
            self._sets = answer if isinstance(answer, SurvivorSet) else answer.sets

    # --- going on in another process ----------------------------------------------------------------------------------

    def _open_state(self, folder: StateFolder | str | Path) -> StateFolder:
        """Hold the folder. One that we open ourselves forgets the round when we close it."""
        state = folder if isinstance(folder, StateFolder) else self._held.enter_context(StateFolder(folder))
        self._held.enter_context(state.turn(ParticipantId(self._terms.identity.participant_id)))
        self._state = state
        return state

    def _unseen(self, find: FindRound) -> FindRound:
        """Rounds that other processes of ours joined are not to be offered again."""
        if self._state is None or find.task is None:
            return find
        return replace(find, seen=tuple(dict.fromkeys([*find.seen, *self._state.joined]))[-MAX_SEEN:])

    def _keep(self, offer: Offer, participant: Participant, answer: tuple[bytes, ...], *joined: RoundId) -> None:
        """Keep where we stand: before our keys leave, and before anything that follows from an answer does."""
        if self._state is None:
            return
        under_way = UnderWay(
            config_bytes=offer.config_bytes,
            step=participant.step,
            state=contents(participant),
            answer=answer,
            step_seed=self._steps.fresh(),
            input_seed=self._input_seed,
            input_digest=self._input_digest,
            roster=self._roster,
            sets=self._sets,
        )
        self._state.keep(under_way, *joined)

    def _keep_result(self, sums_digest: bytes) -> None:
        """Keep which result we sign, before the signature leaves.

        Raises:
            ProtocolViolation: a process of ours before this one was given another, and may have signed it.
        """
        if self._state is None or (kept := self._state.under_way) is None:
            return
        if kept.sums_digest not in {b"", sums_digest}:  # check: one-result-signed
            raise ProtocolViolation(
                "after this participant was started again, the receipt is of another sum than before",
                culprit=COORDINATOR,
            )
        self._state.keep(replace(kept, sums_digest=sums_digest))  # check: result-kept-before-it-is-signed

    def _go_on(self, kept: UnderWay) -> tuple[Offer, Participant, ParticipantMessage | Upload | None]:
        """The round that is under way, we in it, and what we sent last, or were about to send.

        Raises:
            SavedStateError: this is another round or update than the caller speaks of; or nobody can go on in it.
        """
        self._untouched = True
        offer, mine = offer_of(kept), self._contribution
        check_meant(kept, offer, self._find, mine)
        mine.check_output(offer.config)  # check: place-for-the-sum-again
        self._input_seed, self._roster, self._sets = kept.input_seed, kept.roster, kept.sets
        self._counted = kept.sets is not None
        membership = self._terms.membership(offer, mine.model_digest)
        own = self._encode(membership.round)
        check_same_input(kept, self._input_digest)
        if offer.config.groups is not None:
            self._group = GroupedRoundId.of(offer.round_id, offer.config_bytes, offer.config.groups)
        self._offer, self._lost = offer, True
        participant = rebuild(kept.state, kept.step, lambda _: membership, self._open_backend)
        self._participant, self._untouched, self._lost = participant, False, False
        for round_id in self._ids(offer):
            self._terms.seen.add(round_id)
        participant.provide(own.encoded, mine.model_digest)
        if not kept.answer:
            return offer, participant, participant.advertisement
        self._steps.again(kept.step_seed)
        row = CALL_OF[participant.state.awaits]
        reply = participant.receive(decoded(row, row.answers, deque(kept.answer)), self._terms.clock())
        self._begun = True
        if self._counted or not isinstance(reply, ParticipantMessage):  # the first upload is our input
            own.sent_before()
        return offer, participant, reply

    def _encode(self, round_: Round) -> Input:
        """Our input to the round. With a state, its rounding and noise follow from the seed that is kept."""
        config, terms = round_.config, self._terms
        if self._state is None:
            self._input = Input.of(round_, self._contribution, terms.feedback, terms.rng)
            return self._input
        if config.code.feedback:
            if self._carried_elsewhere.arrays(config.task):  # check: carried-in-one-place
                raise LocalError(
                    f"the client carries something of task {config.task!r}, and the folder of the state keeps that "
                    "itself; forget it with client.feedback.forget, or take part without a state"
                )
            terms.feedback.restore(config.task, self._state.carried(config.task))
        self._input = Input.of(round_, self._contribution, terms.feedback, SeededRng(self._input_seed.expose()))
        self._input_digest = digest_input(self._input.encoded, config)
        return self._input

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, offer: Offer, reply: ParticipantMessage | Upload | None) -> PreparedCall[Any]:
        """The call that carries `reply`; its answer closes the phase, or the round."""
        begun, self._begun = self._begun, False
        if reply is None:
            return AwaitReceipt(offer.round_id, offer.config)
        if isinstance(reply, ParticipantMessage):
            return SendMessage(offer.round_id, offer.config, _CALL_OF_MESSAGE[type(reply)], reply)
        noted = reply if self._input is None else self._input.noting(reply)
        if self._state is not None:
            noted = repeated(noted) if begun else repeatable(noted)
        return UploadCall(offer.round_id, offer.config, CALL_OF[reply.phase], noted, begun=begun)

    def _join(self, offer: Offer) -> Participant:
        config, mine = offer.config, self._contribution
        if config.model_later:  # check: model-later-offered
            raise ProtocolViolation(
                "the model of this round is named later, and no coordinator of this kind can do that: such rounds are "
                "for a framework's own channel",
                culprit=COORDINATOR,
            )
        membership = self._terms.membership(offer, mine.model_digest)
        mine.check_asked(membership.round)
        self._terms.policy.check(config)  # check: C3
        mine.check_output(config)
        if config.groups is not None:
            self._group = GroupedRoundId.of(offer.round_id, offer.config_bytes, config.groups)
        if self._state is not None:
            self._input_seed = self._steps.fresh()
            self._steps.fresh()  # for our keys
        own = self._encode(membership.round)
        ids = self._ids(offer)
        for round_id in ids:
            self._terms.seen.claim(round_id)
        participant = self._participant = take_part(membership, own.encoded, self._open_backend)
        self._keep(offer, participant, (), *ids)  # check: kept-before-the-keys-leave
        return participant

    def _ids(self, offer: Offer) -> tuple[RoundId, ...]:
        """What we are in: with a group goes its parent, so that we are not in two groups."""
        return (offer.round_id,) if self._group is None else (self._group.parent, offer.round_id)

    def _open_backend(self) -> Backend:
        self._backend = self._terms.backend()
        return self._backend

    def close(self) -> None:
        """Stop the process that encrypts, and put back what earlier rounds lost if that is in no sum. A state stays as
        it is if another process may go on with it.

        Raises:
            SavedStateError: it cannot be kept that the round is over; what happens then is that it is gone on with.
        """
        with self._alone, self._held:
            if self._input is not None:
                self._input.end()
            if self._backend is not None:
                self._backend.close()
            if self._state is not None and self._offer is not None and not self._parked:
                self._settle(self._state, self._offer.config)

    def _settle(self, state: StateFolder, config: RoundConfig) -> None:
        """The round is over for us: nothing more is sent in it."""
        carried = self._terms.feedback.arrays(config.task) if config.code.feedback else None
        if self._result is not None:
            state.finish(config.task, carried)
        elif state.under_way is not None:
            with suppress(SavedStateError):  # another process finds out that the round is over for us
                state.give_up(config.task, carried)

    def _believed(self, round_: Round, roster: Roster, survivors: tuple[str, ...], told: SignedDigest) -> Receipt:
        """The receipt, of which only the digest of the sum is the coordinator's to say.

        Raises:
            ProtocolViolation: it speaks of more or fewer survivors than we agreed on.
            AuthenticationError: the coordinator did not sign it, or signed something else.
        """
        if told.survivors != len(survivors):  # check: survivor-count
            raise ProtocolViolation(
                f"the receipt speaks of {told.survivors} survivors, we agreed on {len(survivors)}",
                culprit=COORDINATOR,
            )
        receipt = Receipt(Statement.of(round_, roster, survivors, told.sums_digest), told.signed)
        receipt.verify(self._terms.trust, datetime.fromtimestamp(self._terms.clock(), UTC))  # check: C89
        return receipt

    def _certify(self, offer: Offer, membership: Membership, roster: Roster, receipt: Receipt) -> Flow[bool]:
        """Sign the result that we were given, once; whether t survivors signed the same."""
        self._keep_result(receipt.sums_digest)
        result = Result.of(membership.round, roster, receipt.statement.survivors, receipt.sums_digest)
        proof = yield from ask(
            Certify(offer.round_id, offer.config, result.signature(membership.participant_id, membership.sign))
        )
        return result.is_certified(proof)

    def _conclude(
        self, offer: Offer, survivors: tuple[str, ...], receipt: Receipt, certified: bool
    ) -> Flow[RoundResult]:
        """Hold the result against what we saw of the round."""
        config, out = offer.config, self._contribution.output
        result = RoundResult(
            round_id=offer.round_id, config=config, receipt=receipt, survivors=survivors, certified=certified
        )
        if not (config.release_to_participants and self._contribution.fetch_aggregate):
            return result
        context = self._terms.membership(offer, self._contribution.model_digest).round.context
        decrypted = self._participant.aggregate if self._participant else None
        if out is not None and decrypted is None and self._group is None:
            return with_arrays(result, (yield from self._written(offer, out, survivors, receipt, context)))
        groups = None if self._group is None else (yield from self._groups(offer, self._group))
        aggregate = decrypted
        if groups is not None:
            aggregate = _own_sum(groups, config)
        elif aggregate is None:
            aggregate = yield from ask(FetchAggregate(offer.round_id, config))
        if aggregate is not decrypted:
            _check_aggregate(aggregate.survivors, sums_digest(aggregate, config), survivors, receipt)
        found: WeightedMean | IntegerSums
        if isinstance(config.encoding, Integers):
            found = aggregate.totals(config) if groups is None else groups.totals(config)
        else:
            found = aggregate.mean(config, context) if groups is None else groups.mean(config)
        if out is not None:
            found = in_place_of(found, copied_to(out, found.arrays))
        return replace(with_arrays(result, found), aggregate=aggregate, groups=groups)

    def _written(
        self, offer: Offer, out: Output, survivors: tuple[str, ...], receipt: Receipt, context: bytes
    ) -> Flow[WeightedMean | IntegerSums]:
        """The mean or the totals, written to `out` once the sum is whole and the one that our receipt certifies."""
        with closing(Arrival(offer.config)) as arrival:
            packed = yield from ask(KeepAggregate(offer.round_id, offer.config, arrival))
            _check_aggregate(packed.survivors, packed.digest, survivors, receipt)
            with out.sink() as sink:
                return decoded_into(packed.sums(offer.config), len(survivors), offer.config, context, sink)

    def _groups(self, offer: Offer, group: GroupedRoundId) -> Flow[GroupedAggregate]:
        """Of the other groups we have the coordinator's word; our own sum is held against what we saw."""
        sums = yield from ask(FetchGroups(offer.round_id, offer.config))
        return group.aggregate(sums, self._contribution.model_digest)


_CALL_OF_MESSAGE: Final = {call.brings.value: call for call in PHASE_CALLS}
"""The call that brings each message of a participant."""


def _names(roster: Roster, survivors: SurvivorSet | None) -> tuple[ParticipantId, ...]:
    names = names_of(roster)
    return tuple(names[index - 1] for index in survivors.survivors) if survivors else ()


def _own_sum(groups: GroupedAggregate, config: RoundConfig) -> Aggregate:
    own = groups.groups.get(plan_of(config).number)
    if own is None:  # check: own-group
        raise ProtocolViolation("the result lacks our own group, which has a sum", culprit=COORDINATOR)
    return own.aggregate


def _check_aggregate(named: tuple[str, ...], digest: bytes, survivors: tuple[str, ...], receipt: Receipt) -> None:
    if named != survivors:  # check: aggregate-survivors
        raise ProtocolViolation("the aggregate names other survivors than we agreed on", culprit=COORDINATOR)
    if digest != receipt.sums_digest:  # check: C31
        raise AuthenticationError("the aggregate is not the one that our receipt certifies", culprit=COORDINATOR)


def _check_waited(config: RoundConfig, waited_s: float) -> None:
    """Refuse a list of members that took too long: a coordinator that lies could have tried so many of them that one
    gives a ring that it likes.

    Args:
        config: of the round.
        waited_s: seconds from our keys to the list.

    Raises:
        ProtocolViolation: longer than any round on a ring collects keys, with a minute for what comes after.
    """
    on_ring = config.ring is not None and config.threat_model is ThreatModel.ACTIVE
    if on_ring and waited_s > MAX_GRINDING_S + _AFTER_KEYS_S:  # check: waited-for-the-ring
        raise ProtocolViolation(
            f"the list of members came {waited_s:.0f} s after our keys; on a ring keys are collected for "
            f"{MAX_GRINDING_S:.0f} s at most",
            culprit=COORDINATOR,
        )
