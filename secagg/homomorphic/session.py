"""One participant through one homomorphic round: the only holder of the current state."""

from enum import Enum

from secagg.aggregates import Aggregate
from secagg.encoding.vector import IntegerVector
from secagg.errors import ProtocolViolation
from secagg.homomorphic import dealt_participant as dealt
from secagg.homomorphic import joint_participant as joint
from secagg.homomorphic.dealt_participant import profile_of
from secagg.homomorphic.vectors import Backend, OnceVector
from secagg.lattice.parameters import Custody
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    CoordinatorMessage,
    EncryptedInputChunk,
    EncryptedSum,
    FallenSet,
    KeyConfirmation,
    PartialChunk,
    RecoverSeeds,
    RecoveryCheck,
    ReleaseOrder,
    Roster,
    ShareDelivery,
    ShareKeys,
    SumChunk,
    SumReport,
)
from secagg.phases import Phase
from secagg.roster import COORDINATOR
from secagg.rounds.membership import Membership


class Ended(Enum):
    """States without secrets."""

    DONE = "everything asked for was delivered"
    ABORTED = "the participant aborted"


DealtState = (
    dealt.AwaitingRoster | dealt.AwaitingKey | dealt.AwaitingConfirmations | dealt.AwaitingSum | dealt.AwaitingOrder
)
JointState = (
    joint.AwaitingRoster
    | joint.AwaitingShares
    | joint.AwaitingSum
    | joint.AwaitingProof
    | joint.AwaitingFallen
    | joint.AwaitingRecoveryProof
)
State = DealtState | JointState | Ended
Upload = OnceVector[EncryptedInputChunk] | OnceVector[PartialChunk] | OnceVector[SumChunk]
Reply = ShareKeys | KeyConfirmation | ConsistencyCheck | SumReport | RecoveryCheck | RecoverSeeds | Upload

_AWAITS: dict[type, Phase] = {
    dealt.AwaitingRoster: Phase.ADVERTISE_KEYS,
    dealt.AwaitingKey: Phase.SHARE_KEYS,
    dealt.AwaitingConfirmations: Phase.CONFIRM_KEY,
    dealt.AwaitingSum: Phase.ENCRYPTED_INPUT,
    dealt.AwaitingOrder: Phase.REPORT_SUM,
    joint.AwaitingRoster: Phase.ADVERTISE_KEYS,
    joint.AwaitingShares: Phase.SHARE_KEYS,
    joint.AwaitingSum: Phase.ENCRYPTED_INPUT,
    joint.AwaitingProof: Phase.CONSISTENCY_CHECK,
    joint.AwaitingFallen: Phase.PARTIAL_DECRYPTION,
    joint.AwaitingRecoveryProof: Phase.RECOVERY_CHECK,
}


class HomomorphicParticipant:
    """Feeds the coordinator's messages to the current state; the same handle as `masked.session.Participant`.

    After any error the secrets are gone and nothing more ever leaves. A partial decryption leaves once: its state is
    given up before it is made.

    Attributes:
        aggregate: the sum, where participants decrypt it themselves; None before, and in custody `threshold`.
    """

    def __init__(self, membership: Membership, vector: IntegerVector, backend: Backend) -> None:
        """Args:
        membership: ours in the round.
        vector: the encoded update; `membership.round.config.vector_len` coordinates.
        backend: does the encryption.

        Raises:
            PolicyViolation: the round is below our policy.
        """
        self.membership = membership
        self.aggregate: Aggregate | None = None
        self._vector = vector
        self._upload: Upload | None = None  # under way, or arrived
        self._backend = backend
        self._state: State
        if profile_of(membership.round.config).custody is Custody.PARTICIPANTS:
            self._state, self.advertisement = dealt.join(membership)
        else:
            self._state, self.advertisement = joint.join(membership)

    advertisement: AdvertiseKeys

    @property
    def awaits(self) -> Phase | None:
        """The phase whose closing message comes next; None after the end."""
        return _AWAITS.get(type(self._state))

    def abort(self) -> None:
        """Give up the round and its secrets."""
        self._state = Ended.ABORTED
        self._forget_upload()

    def receive(self, message: CoordinatorMessage, now: float) -> Reply | None:
        """Our reply to the coordinator's `message`; None if nothing is left to do.

        Args:
            message: closes the phase that `awaits` names.
            now: seconds since 1970, UTC; certificates are checked against it.

        Raises:
            RemoteError: the message is not allowed here; the round is over for us.
        """
        state, self._state = self._state, Ended.ABORTED
        self._forget_upload()
        match state:
            case Ended():
                self._state = state
                raise _violation("the round is over for us: nothing is answered twice")
            case joint.AwaitingRoster() | joint.AwaitingShares() | joint.AwaitingSum() | joint.AwaitingProof():
                reply = self._joint(state, message, now)
            case joint.AwaitingFallen() | joint.AwaitingRecoveryProof():
                reply = self._recovery(state, message)
            case _:
                reply = self._dealt(state, message, now)
        if isinstance(reply, OnceVector):
            self._upload = reply
        return reply

    def _forget_upload(self) -> None:
        """What closes a phase says that its vector arrived."""
        if self._upload is not None:
            self._upload.forget()
            self._upload = None

    def _dealt(self, state: DealtState, message: CoordinatorMessage, now: float) -> Reply | None:
        reply: Reply | None
        match state, message:
            case dealt.AwaitingRoster(), Roster():
                self._state, reply = state.on_roster(message, now)
            case dealt.AwaitingKey(), ShareDelivery():
                self._state, reply = state.on_delivery(message)
            case dealt.AwaitingConfirmations(), ConsistencyProof():
                self._state, reply = state.on_proof(message, self._vector, self._backend)
            case dealt.AwaitingSum(), EncryptedSum():
                following, reply = state.on_sum(message, self._backend)
                self._state, self.aggregate = following, following.aggregate
            case dealt.AwaitingOrder(), ReleaseOrder():
                reply = state.on_order(message)
                self._state = Ended.DONE
            case _:
                raise _unexpected(message)
        return reply

    def _joint(self, state: JointState, message: CoordinatorMessage, now: float) -> Reply | None:
        reply: Reply
        match state, message:
            case joint.AwaitingRoster(), Roster():
                self._state, reply = state.on_roster(message, now)
            case joint.AwaitingShares(), ShareDelivery():
                self._state, reply = state.on_delivery(message, self._vector, self._backend)
            case joint.AwaitingSum(), EncryptedSum():
                self._state, reply = state.on_sum(message)
            case joint.AwaitingProof(), ConsistencyProof():
                self._state, reply = state.on_proof(message)
            case _:
                raise _unexpected(message)
        return reply

    def _recovery(
        self, state: joint.AwaitingFallen | joint.AwaitingRecoveryProof, message: CoordinatorMessage
    ) -> Reply | None:
        match state, message:
            case joint.AwaitingFallen(), FallenSet():
                step = state.on_fallen(message)
                if step is None:
                    self._state = Ended.DONE
                    return None
                self._state, reply = step
                return reply
            case joint.AwaitingRecoveryProof(), ConsistencyProof():
                shares = state.on_proof(message)
                self._state = Ended.DONE
                return shares
            case _:
                raise _unexpected(message)


def _unexpected(message: CoordinatorMessage) -> ProtocolViolation:
    return _violation(f"{type(message).__name__} was not expected now")


def _violation(message: str) -> ProtocolViolation:
    return ProtocolViolation(message, culprit=COORDINATOR)
