"""One participation, from the offer to the result: which call comes next. No input or output, and no protocol either:
that is `secagg.schemes`. `Client` and `AsyncClient` both drive it.
"""

from datetime import UTC, datetime
from typing import Any, Final

from secagg.aggregates import Aggregate, GroupedAggregate, plan_of
from secagg.config import RoundConfig
from secagg.context import Round
from secagg.encoding.integers import Integers
from secagg.errors import (
    AuthenticationError,
    LocalError,
    NotInRoundError,
    ParticipationCancelled,
    ProtocolViolation,
    RemoteError,
    RoundAborted,
    RoundTimeoutError,
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
from secagg.roster import COORDINATOR, refusal
from secagg.rounds.certification import Result
from secagg.rounds.membership import Membership
from secagg.schemes import Participant, Upload, take_part
from secagg.wire.calls import ADVERTISE, CALL_OF, PHASE_CALLS
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.receipts import RECEIPT, SignedDigest
from secagg.wire.results import sums_digest
from secagg_client.calls.call import Flow, Parts, PreparedCall, ask
from secagg_client.calls.data_plane import (
    AwaitReceipt,
    Certify,
    FetchAggregate,
    FetchGroups,
    FindRound,
    LeaveRound,
    SendMessage,
    UploadCall,
)
from secagg_client.participation.inputs import Input
from secagg_client.participation.results import Offer, RoundResult
from secagg_client.participation.terms import ClosableBackend, Contribution, Terms

LEAVE_TIMEOUT_S: Final = 10.0
"""How long it may take to tell the coordinator that we leave, retries included. Where hundreds leave at the same time,
some are not heard at once."""


class Participation:
    """One participation. `advance` until it returns None; then `result` is there."""

    def __init__(self, terms: Terms, contribution: Contribution, find: FindRound | Offer) -> None:
        self._terms = terms
        self._contribution = contribution
        self._offer = find if isinstance(find, Offer) else None
        self._find = find if isinstance(find, FindRound) else None
        self._participant: Participant | None = None
        self._backend: ClosableBackend | None = None
        self._input: Input | None = None
        self._advertising = False  # until the coordinator has answered it
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
        would take the call for a call of that process.
        """
        if self._participant is not None:
            self._participant.abort()
        if self._input is not None and self._surely_not_summed(error):
            self._input.not_in_sum()
        known = isinstance(error, RoundAborted | NotInRoundError | UnknownRoundError)
        known |= self._advertising and not self._refused and isinstance(error, RemoteError)
        if self._offer is None or self._over or known or (self._participant is None and not self._refused):
            return None
        leave = refusal(error) if self._refused else Leave(self._reason(error))
        return LeaveRound(self._offer.round_id, self._offer.config, leave)

    def _surely_not_summed(self, error: BaseException) -> bool:
        """Whether `error` says that our input is in no sum, even if we handed in all of it."""
        return isinstance(error, RoundAborted) or (isinstance(error, NotInRoundError) and not self._counted)

    def _reason(self, error: BaseException) -> LeaveReason:
        failed = isinstance(error, RemoteError | TransportError | LocalError)
        given_up = isinstance(error, RoundTimeoutError | ParticipationCancelled)
        return LeaveReason.FAILED if failed and not given_up else LeaveReason.CANCELLED

    def _calls(self) -> Flow[RoundResult]:
        self._terms.memory.check((self._contribution.model_digest, self._contribution.purpose), self._terms.policy)
        if self._find is not None:
            self._offer = yield from ask(self._find)
        if self._offer is None:
            raise LocalError("no round to take part in")
        return (yield from self._take_part(self._offer))

    def _take_part(self, offer: Offer) -> Flow[RoundResult]:
        """Every check of our own side comes before the first message; the protocol's own are in `Participant`."""
        participant = self._join(offer)
        self._advertising = True
        roster = yield from ask(SendMessage(offer.round_id, offer.config, ADVERTISE, participant.advertisement))
        self._advertising = False
        sets: SurvivorSet | None = None
        reply = participant.receive(roster, self._terms.clock())
        while (call := self._call(offer, reply)).row.answers is not RECEIPT:
            answer = yield from ask(call)
            if isinstance(answer, SurvivorSet | EncryptedSum):
                self._counted = True
                sets = answer if isinstance(answer, SurvivorSet) else answer.sets
            reply = participant.receive(answer, self._terms.clock())
        told = yield from ask(call)
        self._over = True
        survivors = _names(roster, sets)
        receipt = self._believed(participant.membership.round, roster, survivors, told)
        if self._input is not None:
            self._input.into_sum()
        self._terms.memory.receive(offer.round_id)
        if participant.aggregate is not None:  # check: sum-kept-from-coordinator  # we decrypted it ourselves
            own = participant.aggregate
            _check_aggregate(own, sums_digest(own, offer.config), survivors, receipt)
        certified = offer.config.certify and (yield from self._certify(offer, participant.membership, roster, receipt))
        return (yield from self._conclude(offer, survivors, receipt, certified))

    def _call(self, offer: Offer, reply: ParticipantMessage | Upload | None) -> PreparedCall[Any]:
        """The call that carries `reply`; its answer closes the phase, or the round."""
        if reply is None:
            return AwaitReceipt(offer.round_id, offer.config)
        if isinstance(reply, ParticipantMessage):
            return SendMessage(offer.round_id, offer.config, _CALL_OF_MESSAGE[type(reply)], reply)
        noted = reply if self._input is None else self._input.noting(reply)
        return UploadCall(offer.round_id, offer.config, CALL_OF[reply.phase], noted)

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
        if config.groups is not None:
            self._group = GroupedRoundId.of(offer.round_id, offer.config_bytes, config.groups)
        self._input = Input.of(membership.round, mine, self._terms.feedback, self._terms.rng)
        if self._group is not None:
            self._terms.seen.claim(self._group.parent)  # nobody is in two groups
        self._terms.seen.claim(offer.round_id)
        self._participant = take_part(membership, self._input.encoded, self._open_backend)
        return self._participant

    def _open_backend(self) -> Backend:
        self._backend = self._terms.backend()
        return self._backend

    def close(self) -> None:
        """Stop the process that encrypts, and put back what earlier rounds lost if that is in no sum."""
        if self._input is not None:
            self._input.end()
        if self._backend is not None:
            self._backend.close()

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
        result = Result.of(membership.round, roster, receipt.statement.survivors, receipt.sums_digest)
        proof = yield from ask(Certify(offer.round_id, offer.config, membership.sign(result.to_sign)))
        return result.is_certified(proof)

    def _conclude(
        self, offer: Offer, survivors: tuple[str, ...], receipt: Receipt, certified: bool
    ) -> Flow[RoundResult]:
        """Hold the result against what we saw of the round."""
        config = offer.config
        if not (config.release_to_participants and self._contribution.fetch_aggregate):
            return RoundResult(
                round_id=offer.round_id, config=config, receipt=receipt, survivors=survivors, certified=certified
            )
        groups = None if self._group is None else (yield from self._groups(offer, self._group))
        aggregate = decrypted = self._participant.aggregate if self._participant else None
        if groups is not None:
            aggregate = _own_sum(groups, config)
        elif aggregate is None:
            aggregate = yield from ask(FetchAggregate(offer.round_id, config))
        if aggregate is not decrypted:
            _check_aggregate(aggregate, sums_digest(aggregate, config), survivors, receipt)
        context = self._terms.membership(offer, self._contribution.model_digest).round.context
        whole = isinstance(config.encoding, Integers)
        return RoundResult(
            round_id=offer.round_id,
            config=config,
            receipt=receipt,
            survivors=survivors,
            certified=certified,
            aggregate=aggregate,
            mean=None if whole else aggregate.mean(config, context) if groups is None else groups.mean(config),
            totals=None if not whole else aggregate.totals(config) if groups is None else groups.totals(config),
            groups=groups,
        )

    def _groups(self, offer: Offer, group: GroupedRoundId) -> Flow[GroupedAggregate]:
        """Of the other groups we have the coordinator's word; our own sum is held against what we saw."""
        sums = yield from ask(FetchGroups(offer.round_id, offer.config))
        return group.aggregate(sums, self._contribution.model_digest)


_CALL_OF_MESSAGE: Final = {call.brings.value: call for call in PHASE_CALLS}
"""The call that brings each message of a participant."""


def _names(roster: Roster, survivors: SurvivorSet | None) -> tuple[ParticipantId, ...]:
    indices = set(survivors.survivors) if survivors else set()
    return tuple(m.participant_id for m in roster.members if m.index in indices)


def _own_sum(groups: GroupedAggregate, config: RoundConfig) -> Aggregate:
    own = groups.groups.get(plan_of(config).number)
    if own is None:  # check: own-group
        raise ProtocolViolation("the result lacks our own group, which has a sum", culprit=COORDINATOR)
    return own.aggregate


def _check_aggregate(aggregate: Aggregate, digest: bytes, survivors: tuple[str, ...], receipt: Receipt) -> None:
    if aggregate.survivors != survivors:  # check: aggregate-survivors
        raise ProtocolViolation("the aggregate names other survivors than we agreed on", culprit=COORDINATOR)
    if digest != receipt.sums_digest:  # check: C31
        raise AuthenticationError("the aggregate is not the one that our receipt certifies", culprit=COORDINATOR)
