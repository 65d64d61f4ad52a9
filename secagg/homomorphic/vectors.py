"""The vectors that a participant of a homomorphic round sends, chunk by chunk; each chunk is made once and then kept.

Encrypting or smudging again would be an attack on ourselves (two ciphertexts under one seed, two floods of one c1),
so a chunk that was lost on the way is sent again as the same bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NoReturn, Protocol, TypeVar

import numpy as np

from secagg.encoding.vector import IntegerVector
from secagg.errors import LocalError
from secagg.homomorphic.transcripts import chunk_binding
from secagg.lattice.jobs import Encrypt, Job
from secagg.lattice.parameters import Profile
from secagg.lattice.summation import upload_layout
from secagg.lattice.uploads import value_range
from secagg.messages import EncryptedInputChunk, PartialChunk, Phase, SumChunk

ChunkT = TypeVar("ChunkT", EncryptedInputChunk, PartialChunk, SumChunk)


class Backend(Protocol):
    """Where encryption and decryption run: in this process, or in a worker of its own."""

    def do(self, job: Job) -> bytes:
        """Carry out one job and give its result, as `jobs.Desk.do`."""
        ...


@dataclass(slots=True)
class OnceVector(Generic[ChunkT]):
    """A vector of `chunks` chunks that is sent in `phase`. Each is made when it is first asked for, and kept."""

    phase: Phase
    chunks: int
    make: Callable[[int], ChunkT]
    _made: dict[int, ChunkT] = field(default_factory=dict)

    def chunk(self, number: int) -> ChunkT:
        """Chunk `number`; the same bytes every time."""
        if number not in self._made:
            self._made[number] = self.make(number)
        return self._made[number]

    def forget(self) -> None:
        """The vector arrived: drop its chunks, and never make one again."""
        self._made.clear()
        self.make = _over

    def __iter__(self) -> Iterator[ChunkT]:
        """All chunks in order."""
        return (self.chunk(number) for number in range(self.chunks))


def _over(number: int) -> NoReturn:
    raise LocalError(f"chunk {number} is asked for after its phase; made again it would be another one")


def encrypted_vector(
    profile: Profile, vector: IntegerVector, backend: Backend, *, seed: bytes, binding: bytes
) -> OnceVector[EncryptedInputChunk]:
    """The encrypted update. `backend` has an encryption open.

    `seed` is the 16 bytes that c1 follows from, empty under a public key; `binding` is `transcripts.input_binding`.
    """
    layout = upload_layout(profile, vector.vector_len)

    def make(number: int) -> EncryptedInputChunk:
        start, stop = value_range(profile, layout, number, vector.vector_len)
        values = vector.read(start, stop, np.dtype("<u8")).astype(np.uint64, copy=False)
        payload = backend.do(Encrypt(values, layout.block_range(number).start))
        bound = chunk_binding(binding, number, payload)
        return EncryptedInputChunk(number, payload, bound, seed if number == 0 else b"")

    return OnceVector(Phase.ENCRYPTED_INPUT, layout.chunks, make)
