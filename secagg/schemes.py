"""The state machines of a round's scheme, masked or homomorphic, behind one interface for each side."""

from collections.abc import Callable, Iterator
from typing import Protocol

from secagg.context import Round
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.secret import Secret
from secagg.encoding.vector import IntegerVector
from secagg.errors import ConfigError
from secagg.homomorphic.dealt_key.scheme import DealtKeyParticipant
from secagg.homomorphic.dealt_key.scheme import coordinator as dealt_key_coordinator
from secagg.homomorphic.joint_key.scheme import JointKeyParticipant
from secagg.homomorphic.joint_key.scheme import coordinator as joint_key_coordinator
from secagg.homomorphic.vectors import Backend
from secagg.lattice.parameters import Custody
from secagg.masked.accumulator import Parallel, one_after_the_other
from secagg.masked.scheme import Participant as MaskedParticipant
from secagg.masked.scheme import coordinator as masked_coordinator
from secagg.messages import (
    EncryptedInputChunk,
    MaskedInputChunk,
    PartialChunk,
    ParticipantMessage,
    Phase,
    SumChunk,
)
from secagg.rounds.engine import Engine
from secagg.rounds.membership import Membership
from secagg.rounds.releases import Claim, nothing_before
from secagg.rounds.session import Session
from secagg.rounds.uploads import MemorySpool, Spool

Chunk = MaskedInputChunk | EncryptedInputChunk | PartialChunk | SumChunk


class Upload(Protocol):
    """A vector on its way to the coordinator. Asking for a chunk again gives the same bytes."""

    @property
    def phase(self) -> Phase:
        """The phase in which the vector is sent."""
        ...

    @property
    def chunks(self) -> int:
        """How many chunks the vector has."""
        ...

    def chunk(self, number: int) -> Chunk:
        """Chunk `number`, 0 to `chunks` − 1."""
        ...

    def __iter__(self) -> Iterator[Chunk]:
        """All chunks in order."""
        ...


Participant = Session[ParticipantMessage | Upload | None]
"""One participant through one round, whatever the scheme."""


def take_part(membership: Membership, vector: IntegerVector | None, backend: Callable[[], Backend]) -> Participant:
    """A participant of the round's scheme.

    Args:
        membership: round, identity and policy.
        vector: the encoded update; None if it comes later, by `Participant.provide`.
        backend: gives what encrypts and decrypts; called in homomorphic rounds only.

    Raises:
        PolicyViolation: the round is below our policy.
        MissingExtraError: the round is homomorphic and TenSEAL is not installed.
    """
    profile = membership.round.config.homomorphic
    if profile is None:
        return MaskedParticipant(membership, vector)
    session = JointKeyParticipant if profile.custody is Custody.THRESHOLD else DealtKeyParticipant
    return session(membership, vector, backend())


def coordinate(
    round_: Round,
    *,
    now: float,
    trust: TrustAnchors | None = None,
    spool: Spool | None = None,
    parallel: Parallel = one_after_the_other,
    claim: Claim = nothing_before,
    noise_seed: Secret | None = None,
) -> Engine:
    """A coordinator of the round's scheme, in its first phase.

    Args:
        round_: id, configuration and context.
        now: seconds since 1970.
        trust: the deployment's CA; needed wherever messages are signed.
        spool: where incomplete vectors wait; in memory if None.
        parallel: runs the unmasking of long vectors.
        claim: the memory of what other rounds released.
        noise_seed: 32 fresh bytes of the operating system's CSPRNG; needed where the coordinator adds the noise.

    Raises:
        ConfigError: messages are signed and `trust` is missing; or the noise's seed is.
    """
    profile = round_.config.homomorphic
    if profile is None:
        return masked_coordinator(
            round_, now=now, trust=trust, spool=spool, parallel=parallel, claim=claim, noise_seed=noise_seed
        )
    if trust is None:
        raise ConfigError("homomorphic rounds need the CA's certificate at the coordinator")
    made = joint_key_coordinator if profile.custody is Custody.THRESHOLD else dealt_key_coordinator
    return made(round_, now=now, trust=trust, spool=spool or MemorySpool(), claim=claim)
