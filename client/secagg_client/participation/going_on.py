"""What a participation keeps in a folder to go on in another process, and what it does there.

Before anything that follows from a message of the coordinator leaves us, the state that took it is kept together with
the message, and with a seed for what is drawn then. Another process takes the same message in the same state with the
same seed, and so sends the same bytes; a coordinator that meanwhile would rather have answered otherwise is not asked.
The update is not kept: it is handed in again, and must be the one that was masked.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from secagg.config import RoundConfig
from secagg.context import bind
from secagg.crypto import labels
from secagg.crypto.rng import Rng, SeededRng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.vector import IntegerVector
from secagg.errors import RemoteError, SavedStateError
from secagg.messages import Phase
from secagg.schemes import Chunk, Upload
from secagg.wire.configuration import decode_config
from secagg.wire.kept_states import SEED_SIZE, UnderWay
from secagg_client.calls.data_plane import FindRound
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Contribution
from secagg_client.participation.uploads import PassedOn

READ_AT_ONCE: Final = 1 << 18
"""Coordinates of the encoded update that are digested at once; a multiple of 64."""


class StepRng:
    """Randomness of which each step can be made again: a stream of a fresh seed for each."""

    def __init__(self, source: Rng) -> None:
        """Args: source: gives the seeds."""
        self._source = source
        self._stream: Rng = source

    def fresh(self) -> Secret:
        """Begin a step; gives its seed."""
        seed = Secret(self._source.token(SEED_SIZE))
        self.again(seed)
        return seed

    def again(self, seed: Secret) -> None:
        """Begin the step that had this seed."""
        self._stream = SeededRng(seed.expose())

    def token(self, size: int) -> bytes:
        """The next `size` bytes of the step."""
        return self._stream.token(size)


class UploadLost(SavedStateError):
    """An upload was under way in a process that is gone, and what is missing of it cannot be made again."""


@dataclass(slots=True)
class InOrder(PassedOn):
    """An upload of which no chunk is made before those in front of it. So each is made of the same draws in every
    process, wherever the upload goes on there.
    """

    upload: Upload
    made: int = 0

    def chunk(self, number: int) -> Chunk:
        """Chunk `number`, after those before it."""
        while self.made < number:
            self.upload.chunk(self.made)
            self.made += 1
        return self.upload.chunk(number)


@dataclass(frozen=True, slots=True)
class Encrypted(PassedOn):
    """An encrypted update that an earlier process sent, in part or whole. The encryption draws in a process of its own,
    so no chunk of it can be made again.
    """

    upload: Upload

    def chunk(self, number: int) -> Chunk:
        """Raises:
        UploadLost: always.
        """
        raise UploadLost(
            f"the process ended while the encrypted update was under way: chunk {number} of {self.chunks} is missing, "
            "and encrypting it again would show something of the update. The participant sits out this round, and "
            "takes part in the next one"
        )


def repeatable(upload: Upload) -> Upload:
    """The upload, for a process that another one may have to follow: its chunks are the same there."""
    return InOrder(upload) if upload.phase is Phase.PARTIAL_DECRYPTION else upload


def repeated(upload: Upload) -> Upload:
    """The upload that an earlier process began."""
    return Encrypted(upload) if upload.phase is Phase.ENCRYPTED_INPUT else repeatable(upload)


def digest_input(encoded: IntegerVector, config: RoundConfig) -> bytes:
    """Names what is masked or encrypted in the round: SHA-256 over the encoded update, 32 bytes."""
    found = sha256(frame(labels.KEPT_INPUT))
    for start in range(0, config.vector_len, READ_AT_ONCE):
        stop = min(start + READ_AT_ONCE, config.vector_len)
        found.update(encoded.read(start, stop, config.ring_dtype).tobytes())
    return found.digest()


def offer_of(kept: UnderWay) -> Offer:
    """The round that is under way."""
    try:
        return Offer(kept.state.round_id, decode_config(kept.config_bytes), kept.config_bytes)
    except RemoteError as error:
        raise SavedStateError(f"the state is of a round that this version of secagg does not know: {error}") from None


def check_meant(kept: UnderWay, offer: Offer, meant: FindRound | Offer, mine: Contribution) -> None:
    """Refuse to go on in a round for a caller who speaks of another.

    Raises:
        SavedStateError: the caller names another round, task, purpose or model. Nothing has changed.
    """
    config, parent = offer.config, offer.config.groups.parent if offer.config.groups else b""
    if isinstance(meant, Offer):
        named = meant.round_id == offer.round_id
    else:
        named = meant.task in {None, config.task} and meant.round_id in {None, offer.round_id, parent}
    if not named or mine.purpose != config.purpose:  # check: state-of-another-round
        raise SavedStateError(
            f"the state is of round {offer.round_id.hex()} of task {config.task!r}, to {config.purpose}, which is "
            "under way. Go on with that one, or move the folder away to sit it out"
        )
    if bind(offer.round_id, offer.config_bytes, mine.model_digest) != kept.state.context:  # check: same-model-again
        raise SavedStateError(
            f"round {offer.round_id.hex()}, which is under way, was joined with another model. Go on with that one, or "
            "move the folder away to sit the round out"
        )


def check_same_input(kept: UnderWay, digest: bytes) -> None:
    """Refuse another update than the one that was, or may have been, masked: under the same mask the coordinator would
    see how they differ.

    Raises:
        SavedStateError: it is another one. Nothing has changed.
    """
    if digest != kept.input_digest:  # check: same-input-again
        raise SavedStateError(
            f"round {kept.state.round_id.hex()} is under way with another update or weight: under the same mask the "
            "coordinator would see how the two differ. Hand in the same one again, or move the folder away to sit the "
            "round out"
        )
