"""The coordinator's side of one phase, as a unit: what it takes, what it concludes at the close, what it answers.

The engine (`secagg.rounds.engine`) decides who may speak, when a phase opens and closes, and who dropped out.
Everything that is particular to a phase is in its unit: a subclass of one of the four classes here, in the file that is
named as the phase. A unit never sees a message of somebody who may not speak, or of another phase.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Generic, Protocol, TypeVar

from secagg.aggregates import Aggregate
from secagg.crypto import signing
from secagg.errors import ProtocolViolation, RoundAborted
from secagg.events import Event, SumDelivered
from secagg.messages import (
    ConsistencyProof,
    CoordinatorMessage,
    Index,
    ParticipantId,
    Phase,
    ShareKeys,
    SurvivorSet,
)
from secagg.rounds.dealing import Kind
from secagg.rounds.doors import HeldVectors
from secagg.rounds.shared_state import SharedState
from secagg.rounds.uploads import Uploads


class Signed(Protocol):
    """A message with a signature."""

    @property
    def signature(self) -> bytes:
        """What the sender signed the message with; the phase knows what the signature covers."""
        ...


class Chunk(Protocol):
    """A message that is one chunk of a vector."""

    @property
    def number(self) -> int:
        """Which chunk of the vector this is; the first is 0."""
        ...

    @property
    def payload(self) -> bytes:
        """What is added up."""
        ...


SignedT = TypeVar("SignedT", bound=Signed)
ChunkT = TypeVar("ChunkT", bound=Chunk)
MessageT = TypeVar("MessageT")


class CoordinatorPhase(ABC, Generic[MessageT]):
    """One phase after the first, in which each member sends one message or one vector.

    Attributes:
        phase: which one.
        one_is_enough: one delivery closes the phase. Members are asked in turn, and the next one only after the one
            before has failed; see `ask` and `nobody_left`.
        opens_the_sum: whoever is asked in this phase was given the sum when it opened.
        answer_is_large: the message that closes the phase is dropped with the round's other large messages, since
            nobody can do anything with it once the round is over.
    """

    phase: ClassVar[Phase]
    one_is_enough: ClassVar[bool] = False
    opens_the_sum: ClassVar[bool] = False
    answer_is_large: ClassVar[bool] = False

    @abstractmethod
    def take(self, index: Index, message: MessageT) -> bool:
        """Keep the message, or raise a `RemoteError` that names its sender; a refused message leaves no trace.

        Returns:
            True once the sender has sent the whole of what the phase asks for.
        """

    @abstractmethod
    def delivered(self, index: Index) -> bool:
        """Whether the member delivered what the phase asks for; also after `forget`."""

    def is_repeated(self, index: Index, message: MessageT) -> bool:
        """Whether this very message was kept before. Chunks are not looked at: an upload knows which comes next."""
        return False

    def received_chunks(self, index: Index) -> int:
        """Chunks of the member's vector that arrived: a broken upload goes on there."""
        return 0

    def gather(self) -> set[Index]:
        """Bring in what is held at other doors, before the phase closes; whose deliveries were lost there."""
        return set()

    def close(self, alive: set[Index]) -> list[Event]:
        """Draw the conclusions of the phase, in which `alive` delivered.

        Raises:
            RoundAborted: nothing good can come of the round any more.
        """
        return []

    def isolated(self, alive: set[Index]) -> set[Index]:
        """Who of those that delivered cannot take part any further, because too few of their neighbours did. The phase
        forgets what they delivered.
        """
        return set()

    def going_on(self, alive: set[Index]) -> set[Index]:
        """Who of those that delivered may be asked in a phase where one is enough, and waits for the result."""
        return alive

    @property
    def ends_the_round(self) -> bool:
        """Whether the phases that would follow are not needed. Asked again once the phase is closed."""
        return False

    def answer(self, index: Index) -> CoordinatorMessage:
        """The message that closed the phase, for a member that delivered in it. The same whenever it is asked for."""
        raise ValueError("the last phase is not closed by a message; fetch the aggregate")

    @property
    def is_answered(self) -> bool:
        """Whether a message closes the phase. The last phase of a round may have none."""
        return type(self).answer is not CoordinatorPhase.answer

    def finish(self) -> tuple[list[Event], Aggregate | SumDelivered]:
        """The round's last phase is closed: the sum, or what is known of it, and the events before.

        Raises:
            RoundAborted: it cannot be brought out.
        """
        raise ValueError(f"a round does not end with {self.phase}")

    def forget(self) -> None:
        """The round is over: drop every vector and every large message. Who delivered what stays known."""

    # --- where one delivery is enough ---------------------------------------------------------------------------------

    def ask(self, index: Index) -> None:
        """It is this member's turn; the one before has failed."""
        raise ValueError(f"all members deliver in {self.phase}, not one after the other")

    def nobody_left(self) -> RoundAborted:
        """Why the round fails when everyone who could be asked has failed."""
        raise ValueError(f"all members deliver in {self.phase}, not one after the other")


class OneMessagePhase(CoordinatorPhase[MessageT]):
    """A phase in which every member sends one message, which is kept.

    Attributes:
        another: what a member did before, in the error for a second message that differs from the first.
        accepted: the messages, by sender.
    """

    another: ClassVar[str]

    def __init__(self, state: SharedState) -> None:
        self.state = state
        self.accepted: dict[Index, MessageT] = {}

    @abstractmethod
    def check(self, index: Index, message: MessageT, name: ParticipantId) -> None:
        """Refuse a message that the protocol does not allow; `name` is its sender, to be named as the culprit."""

    def take(self, index: Index, message: MessageT) -> bool:
        """Check the message and keep it, unless the member sent another one before."""
        name = self.state.members.name(index)
        if index in self.accepted:  # check: C35
            # Signatures too: whoever holds the key can make valid ones without end.
            raise ProtocolViolation(f"{name} {self.another} before", culprit=name)
        self.check(index, message, name)
        self.accepted[index] = message
        return True

    def delivered(self, index: Index) -> bool:
        """Whether a message of the member was kept."""
        return index in self.accepted

    def is_repeated(self, index: Index, message: MessageT) -> bool:
        """Whether it equals the one that was kept."""
        return self.accepted.get(index) == message


class DealingPhase(OneMessagePhase[ShareKeys]):
    """SHARE_KEYS: every member deals secrets to the others, sealed, through the coordinator, which cannot open them.

    Attributes:
        kind: the form of an entry.
    """

    phase = Phase.SHARE_KEYS
    answer_is_large = True
    kind: Kind

    def __init__(self, state: SharedState) -> None:
        super().__init__(state)
        self.accepted = state.shared

    def dealt(self, owner: Index, holder: Index) -> bytes | None:
        """The entry that the owner dealt to the holder; None if there is none, or no longer."""
        shared = self.accepted.get(owner)
        return None if shared is None else shared.sealed.get(holder)

    def forget(self) -> None:
        """Drop what was sealed, and key shares."""
        for index, message in self.accepted.items():
            self.accepted[index] = ShareKeys(message.commitment, {})


class SignaturePhase(OneMessagePhase[SignedT]):
    """A phase in which every member signs what it was told, and is shown the signatures of the others.

    Whoever was told something else than the others finds that too few signed what it saw.
    """

    another = "signed"

    def __init__(self, state: SharedState) -> None:
        super().__init__(state)
        self._proof: ConsistencyProof | None = None

    @abstractmethod
    def to_sign(self, message: SignedT) -> bytes:
        """What the signature has to cover, as the coordinator sees it."""

    def check(self, index: Index, message: SignedT, name: ParticipantId) -> None:
        """The signature must be the member's, on what the coordinator told everyone."""
        self.check_signed(message, name)
        key = self.state.members.identities[name].public_key
        signing.verify(key, self.to_sign(message), message.signature, culprit=name)  # check: C43, C73

    def check_signed(self, message: SignedT, name: ParticipantId) -> None:
        """Refuse what the message holds beside the signature."""

    def answer(self, index: Index) -> CoordinatorMessage:
        """All signatures, the same for everyone. Where a committee signs, the others' empty ones are left out."""
        if self._proof is None:  # made once: everyone asks for it
            self._proof = ConsistencyProof({i: m.signature for i, m in self.accepted.items() if m.signature})
        return self._proof


class UploadPhase(CoordinatorPhase[ChunkT]):
    """A phase in which a member sends one vector in chunks. A vector counts whole or not at all.

    Attributes:
        uploads: the vectors under way, and what becomes of a whole one.
        held: the vectors that are at other doors; None where all come to the coordinator itself.
    """

    held: HeldVectors | None = None

    def __init__(self, state: SharedState, uploads: Uploads) -> None:
        self.state = state
        self.uploads = uploads

    def take(self, index: Index, message: ChunkT) -> bool:
        """Check the member's next chunk and take it. True once its whole vector is added up."""
        name = self.state.members.name(index)
        if self._is_held(index):  # check: held-then-sent
            raise ProtocolViolation(f"{name} brought its vector to another door before", culprit=name)
        self.check(index, message, name)
        if not self.uploads.add(index, message.number, message.payload, name=name):
            return False
        self.completed(index)
        return True

    @abstractmethod
    def rebuilt(self, index: Index, number: int, payload: bytes, seed: bytes) -> ChunkT:
        """The chunk that this payload came in, which was checked when it came. `seed` is that of chunk 0."""

    def check(self, index: Index, message: ChunkT, name: ParticipantId) -> None:
        """Refuse a chunk for what it holds beside its number and payload, which `uploads` checks."""

    def completed(self, index: Index) -> None:
        """The member's whole vector is added up."""

    def delivered(self, index: Index) -> bool:
        """Whether the member's whole vector is added up, or is held at another door."""
        return self.uploads.complete(index) or self._is_held(index)

    def received_chunks(self, index: Index) -> int:
        """Chunks of the member's vector that arrived, whole or not."""
        return self.uploads.chunks if self._is_held(index) else self.uploads.received(index)

    def _is_held(self, index: Index) -> bool:
        return self.held is not None and index in self.held.doors

    def discard(self, dropped: set[Index]) -> None:
        """Forget the vectors of these that arrived in part."""
        for index in dropped:
            self.uploads.discard(index)

    def fix_survivors(self, takers: Iterable[Index], alive: set[Index]) -> None:
        """Inputs are closed: those who delivered are in the sum, and the rest of `takers` dropped out."""
        dropped = set(takers) - alive
        self.discard(dropped)
        self.state.sets = SurvivorSet(tuple(sorted(alive)), tuple(sorted(dropped)))

    def forget(self) -> None:
        """Drop vectors that are not whole; a subclass drops what the whole ones were added up to."""
        self.uploads.discard_incomplete()
