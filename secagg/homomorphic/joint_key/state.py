"""What the coordinator's phases of a round with a joint key know together."""

from dataclasses import dataclass

from secagg.lattice.summation import Aggregate as EncryptedAggregate
from secagg.messages import Index
from secagg.rounds.shared_state import SharedState


@dataclass(slots=True)
class JointKeyState(SharedState):
    """Adds what the phases of this custody conclude.

    Attributes:
        key_digest: of the joint key, once SHARE_KEYS is closed.
        total: the encrypted sum, from the close of ENCRYPTED_INPUT until the round is over.
        to_sign: what ConsistencyCheck has to cover: who is in the sum, and what is decrypted.
        fallen: who shared keys and sent no partial decryption, ascending.
    """

    key_digest: bytes = b""
    total: EncryptedAggregate | None = None
    to_sign: bytes = b""
    fallen: tuple[Index, ...] = ()
