"""The masked input of a participant, computed chunk by chunk. A chunk is the same whenever it is asked for."""

from collections.abc import Iterator
from typing import ClassVar

from secagg.config import RoundConfig
from secagg.crypto.checksum import checksum
from secagg.encoding.packing import chunk_values, pack
from secagg.encoding.vector import IntegerVector
from secagg.errors import InputError
from secagg.masked.masks import Mask, add_masks
from secagg.messages import MaskedInputChunk, Phase


class MaskedVector:
    """y_u = x_u + PRG(b_u) + Σ ±PRG(s_uv) mod 2^b. Holds mask keys; needs memory for one chunk."""

    __slots__ = ("_config", "_digests", "_masks", "_vector", "chunks")

    phase: ClassVar = Phase.MASKED_INPUT

    def __init__(self, vector: IntegerVector, config: RoundConfig, masks: tuple[Mask, ...]) -> None:
        self._vector = vector
        self._config = config
        self._masks = masks
        self._digests: dict[int, bytes] = {}  # of the chunks that were made
        self.chunks = -(-vector.vector_len // chunk_values(config.ring_bits))

    def chunk(self, number: int) -> MaskedInputChunk:
        """Chunk `number`, 0 to `chunks` − 1. Asking again gives the same bytes: a retry shows nothing new.

        Raises:
            InputError: asked again, and the vector has changed; under the same mask the coordinator would see how. An
                update of arrays does not get there, since its blocks are held against what they were at first; this
                guards every other vector.
        """
        config = self._config
        size = chunk_values(config.ring_bits)
        start, stop = number * size, min((number + 1) * size, self._vector.vector_len)
        values = self._vector.read(start, stop, config.ring_dtype)
        add_masks(values, start, self._masks, config.suite)
        payload = pack(values, config.ring_bits)
        digest = checksum(payload)
        if self._digests.setdefault(number, digest) != digest:  # check: same-chunk-again
            raise InputError("the update was changed while it was being sent; hand in one that stays as it is")
        return MaskedInputChunk(number, payload)

    def __iter__(self) -> Iterator[MaskedInputChunk]:
        """All chunks in order."""
        return (self.chunk(number) for number in range(self.chunks))
