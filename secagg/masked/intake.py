"""What the coordinator has received since the roster was fixed, and the checks that a message must pass to be kept."""

from collections.abc import Callable
from dataclasses import dataclass, field

from secagg import roster as rosters
from secagg.context import Round
from secagg.crypto import shamir, signing
from secagg.errors import DecodeError, ProtocolViolation, RemoteError
from secagg.masked.graph import CompleteGraph, Neighbourhoods, neighbourhoods
from secagg.masked.shares import fits_digest
from secagg.messages import (
    ConsistencyCheck,
    Index,
    MaskKeyShare,
    ParticipantId,
    ParticipantMessage,
    RevealedShare,
    SelfMaskShare,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.phases import Phase
from secagg.rounds import dealing
from secagg.rounds.advertise_keys import AdvertiseKeysPhase

COMMITMENT_SIZE = 32

Refusal = Callable[[ParticipantId, ParticipantId], RemoteError]
"""The error for a share that is not the one that the first dealt to the second."""


@dataclass(slots=True)
class Intake:
    """Accepted messages by sender, and the survivor set once it is fixed.

    Each `take_*` keeps the message or raises a `RemoteError` that names the sender; a refused message leaves no trace.
    """

    round: Round
    joining: AdvertiseKeysPhase
    wrong_share: Refusal
    graph: Neighbourhoods = field(default_factory=lambda: CompleteGraph(0))
    shared: dict[Index, ShareKeys] = field(default_factory=dict)
    sets: SurvivorSet = field(default_factory=lambda: SurvivorSet((), ()))
    signed: dict[Index, ConsistencyCheck] = field(default_factory=dict)
    answers: dict[Index, Unmask] = field(default_factory=dict)

    def fix_graph(self) -> None:
        """The roster is fixed: so is who neighbours whom."""
        self.graph = neighbourhoods(self.round.config.graph, len(self.joining.members))

    def delivered(self, index: Index, phase: Phase) -> bool:
        """Whether the message of `phase` was accepted. The accumulator knows about masked inputs."""
        match phase:
            case Phase.SHARE_KEYS:
                return index in self.shared
            case Phase.CONSISTENCY_CHECK:
                return index in self.signed
            case Phase.UNMASK:
                return index in self.answers
            case _:
                raise ValueError(f"{phase} leaves nothing here")

    def forget(self) -> None:
        """Drop sealed and revealed shares; who delivered stays known."""
        self.shared = {index: ShareKeys(message.commitment, {}) for index, message in self.shared.items()}
        self.answers = {index: Unmask({}) for index in self.answers}

    def take(self, index: Index, message: ParticipantMessage) -> None:
        """Keep a message, by its kind."""
        match message:
            case ShareKeys():
                self.take_shares(index, message)
            case ConsistencyCheck():
                self.take_signature(index, message)
            case Unmask():
                self.take_revealed(index, message)
            case _:
                raise ValueError(f"{type(message).__name__} is not taken here")

    def take_shares(self, index: Index, message: ShareKeys) -> None:
        """Round 1: a commitment, and one sealed pair for each neighbour."""
        name = self.joining.name(index)
        if index in self.shared:  # check: C35
            raise ProtocolViolation(f"{name} shared other keys before", culprit=name)
        if len(message.commitment) != COMMITMENT_SIZE or message.key_share:  # check: commitment-size
            raise DecodeError(f"{name}: a commitment is {COMMITMENT_SIZE} bytes, without a key share", culprit=name)
        if set(message.sealed) != set(self.graph.of(index)):  # check: C40
            raise ProtocolViolation(f"{name} must seal shares to its neighbours, no more and no fewer", culprit=name)
        for entry in message.sealed.values():
            dealing.MASKED.check_size(entry, signed=bool(self.joining.identities), sender=name)  # check: C93
        self.shared[index] = message

    def take_signature(self, index: Index, message: ConsistencyCheck) -> None:
        """Round 3: a valid signature on our survivor set."""
        name = self.joining.name(index)
        if index in self.signed:  # check: C35  # whoever holds the key can make valid signatures without end
            raise ProtocolViolation(f"{name} signed before", culprit=name)
        signed = rosters.survivors_to_sign(self.round.context, self.joining.roster, self.sets)
        signing.verify(self.joining.identities[name].public_key, signed, message.signature, culprit=name)  # check: C43
        self.signed[index] = message

    def take_revealed(self, index: Index, message: Unmask) -> None:
        """Round 4: for each neighbour that shared keys one share, of the kind that the survivor set asks for."""
        name = self.joining.name(index)
        if index in self.answers:  # check: C35
            raise ProtocolViolation(f"{name} revealed other shares before", culprit=name)
        if set(message.shares) != {index, *self.graph.of(index)} & set(self.shared):  # check: C44
            raise ProtocolViolation(f"{name} must reveal one share for each neighbour that shared keys", culprit=name)
        for owner, revealed in message.shares.items():
            wanted = MaskKeyShare if owner in self.sets.dropped else SelfMaskShare
            if not isinstance(revealed, wanted):  # check: C45
                raise ProtocolViolation(f"{name} revealed the wrong kind of share", culprit=name)
            try:
                shamir.decode_share(revealed.share.expose())
            except DecodeError as error:
                raise DecodeError(f"{name}: {error}", culprit=name) from None
            self._check_dealt(index, owner, revealed)  # check: C91
        self.answers[index] = message

    def _check_dealt(self, holder: Index, owner: Index, revealed: RevealedShare) -> None:
        """Refuse another share than the owner dealt, by the owner's digest. What it dealt to itself only it knows."""
        if owner == holder:
            return
        name, member = self.joining.name(owner), self.joining.members[holder]
        if not fits_digest(self.round.context, name, member, revealed, self.shared[owner].sealed[holder]):
            raise self.wrong_share(name, member.participant_id)
