"""What a worker process is asked to do, and how it does it with the TenSEAL backend.

Jobs go to the worker pickled, from its own parent; answers come back as plain bytes, since a process that decodes
what peers sent must not be able to make its parent unpickle anything.
"""

from dataclasses import dataclass, field

import numpy as np

from secagg.crypto.secret import Secret
from secagg.errors import LocalError
from secagg.lattice.layout import Layout
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Profile
from secagg.lattice.residues import pack_residues, unpack_chunk
from secagg.lattice.tenseal_backend import Decryptor, Encryptor, PublicKeyEncryptor, SymmetricEncryptor


@dataclass(frozen=True, slots=True)
class OpenSymmetric:
    """Prepare to encrypt with the dealt key. `key_seed` is bare bytes: it is on its way into another process."""

    profile: Profile
    key_seed: bytes = field(repr=False)
    context: bytes
    seed: bytes
    participant: str


@dataclass(frozen=True, slots=True)
class OpenPublicKey:
    """Prepare to encrypt under the joint key, uint64[key primes, N]."""

    profile: Profile
    joint_key: U64 = field(repr=False)
    context: bytes


@dataclass(frozen=True, slots=True)
class OpenDecryption:
    """Prepare to decrypt with the dealt key."""

    profile: Profile
    key_seed: bytes = field(repr=False)
    context: bytes


@dataclass(frozen=True, slots=True)
class Encrypt:
    """Encrypt whole blocks of values, from `first_block` on."""

    values: U64 = field(repr=False)
    first_block: int


@dataclass(frozen=True, slots=True)
class Decrypt:
    """Decrypt one chunk, `count` values, of an aggregate of `summands`. The bytes may come from a peer."""

    layout: Layout
    chunk: int
    c0: bytes = field(repr=False)
    c1: bytes = field(repr=False)
    count: int
    summands: int


Job = OpenSymmetric | OpenPublicKey | OpenDecryption | Encrypt | Decrypt


class Desk:
    """Does jobs one after another; an `Open` job decides what the next ones work with."""

    def __init__(self) -> None:
        self._encryptor: Encryptor | None = None
        self._decryptor: Decryptor | None = None
        self._profile: Profile | None = None

    def do(self, job: Job) -> bytes:
        """The answer: empty for an `Open`, a chunk for `Encrypt`, little-endian uint64 values for `Decrypt`.

        Raises:
            LocalError: nothing fitting was opened before.
            DecodeError: a chunk of the aggregate is malformed.
            ProtocolViolation: the aggregate does not decrypt to a possible sum.
        """
        match job:
            case Encrypt():
                return self._encrypt(job)
            case Decrypt():
                return self._decrypt(job)
            case OpenSymmetric(profile=profile, context=context):
                self._encryptor = SymmetricEncryptor(
                    profile, Secret(job.key_seed), context=context, seed=job.seed, participant=job.participant
                )
            case OpenPublicKey(profile=profile, context=context):
                self._encryptor = PublicKeyEncryptor(profile, job.joint_key, context=context)
            case OpenDecryption(profile=profile, context=context):
                self._decryptor = Decryptor(profile, Secret(job.key_seed), context=context)
        self._profile = profile
        return b""

    def _encrypt(self, job: Encrypt) -> bytes:
        if self._encryptor is None or self._profile is None:
            raise LocalError("no encryption is open")
        return pack_residues(self._encryptor.encrypt(job.values, job.first_block), self._profile.prime_bits)

    def _decrypt(self, job: Decrypt) -> bytes:
        if self._decryptor is None:
            raise LocalError("no decryption is open")
        c0, c1 = (unpack_chunk(job.layout, job.chunk, data)[:, 0] for data in (job.c0, job.c1))
        values = self._decryptor.decrypt(c0, c1, job.count, job.summands)
        return values.astype("<u8", copy=False).tobytes()


def values_of(answer: bytes) -> U64:
    """The values in the answer to a `Decrypt`."""
    return np.frombuffer(answer, "<u8").astype(np.uint64, copy=False)
