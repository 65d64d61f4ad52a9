"""Encoding, encryption and decryption by SEAL through TenSEAL's `sealapi`: the only module that imports tenseal.

SEAL objects are loaded and saved through an anonymous memory file: nothing of a key gets a name, a disk or another
process's attention. TenSEAL holds the interpreter's lock during every call; `worker` runs all this in a process of
its own.
"""

import os
from typing import Any, Final, Protocol

import numpy as np

from secagg.crypto.secret import Secret
from secagg.errors import LocalError, MissingExtraError
from secagg.lattice import seal_objects, slots
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Profile, Scheme
from secagg.lattice.rlwe import SecretKey, rebase
from secagg.lattice.streams import SeededPolynomials, reference_polynomial


class Encryptor(Protocol):
    """Turns values into ciphertext residues."""

    def encrypt(self, values: U64, first_block: int) -> U64:
        """Encrypt the values of consecutive blocks.

        Args:
            values: uint64, each below 2**value_bits; a short last block is filled up with zeros.
            first_block: the vector's block where they start.

        Returns:
            uint64[blocks, polynomials, primes, N], as `summation.upload_layout` has it.
        """
        ...


class SymmetricEncryptor:
    """Custody `participants`: c0 alone leaves, c1 is the stream of a public seed.

    SEAL makes a fresh (c0', c1'); c0 = c0' + (c1' - a) s moves it onto the seed's a with the very same error.
    A seed serves one vector, once: the same a under the same key with other values or errors would show their
    difference.
    """

    def __init__(self, profile: Profile, key_seed: Secret, *, context: bytes, seed: bytes, participant: str) -> None:
        self._profile = profile
        self._key = SecretKey(profile, key_seed, context)
        self._stream = SeededPolynomials(profile, seed, context=context, participant=participant)
        self._seal = _Seal(profile)
        self._encryptor = self._seal.api.Encryptor(self._seal.context, self._seal.secret_key(self._key.residues()))

    def encrypt(self, values: U64, first_block: int) -> U64:
        """Encryption under the secret key: uint64[blocks, 1, primes, N], for c1 comes from a seed that is known."""
        fresh = self.fresh(values)
        stream = self._stream.blocks(range(first_block, first_block + len(fresh)))
        return rebase(self._profile, self._key, fresh[:, 0], fresh[:, 1], stream)[:, None]

    def fresh(self, values: U64) -> U64:
        """SEAL's own ciphertexts (c0', c1'), which never leave: uint64[blocks, 2, primes, N]."""
        return self._seal.encrypt_blocks(self._encryptor.encrypt_symmetric, values)


class PublicKeyEncryptor:
    """Custody `threshold`: encryption under the joint key, c0 and c1 both leave."""

    def __init__(self, profile: Profile, joint_key: U64, *, context: bytes) -> None:
        """Args: joint_key: uint64[key primes, N], the sum of all key shares."""
        self._seal = _Seal(profile)
        public = self._seal.public_key(np.stack([joint_key, reference_polynomial(profile, context)]))
        self._encryptor = self._seal.api.Encryptor(self._seal.context, public)

    def encrypt(self, values: U64, first_block: int) -> U64:
        """Encryption under the public key: uint64[blocks, 2, primes, N]. c1 is fresh, so the position plays no part."""
        return self._seal.encrypt_blocks(self._encryptor.encrypt, values)


class Decryptor:
    """Opens an aggregate with the dealt key."""

    def __init__(self, profile: Profile, key_seed: Secret, *, context: bytes) -> None:
        self._profile = profile
        self._seal = _Seal(profile)
        key = self._seal.secret_key(SecretKey(profile, key_seed, context).residues())
        self._decryptor = self._seal.api.Decryptor(self._seal.context, key)

    def decrypt(self, c0: U64, c1: U64, count: int, summands: int) -> U64:
        """The first `count` summed values of checked residues, each uint64[blocks, primes, N].

        Unrounded CKKS values stay in here: they would give the key away.

        Raises:
            ProtocolViolation: it is not a sum of `summands` honest encryptions.
        """
        blocks = [self._decrypt_block(np.stack(pair)) for pair in zip(c0, c1, strict=True)]
        return slots.take(self._profile, np.stack(blocks), count, summands)

    def _decrypt_block(self, words: U64) -> U64:
        plain = self._seal.api.Plaintext()
        self._decryptor.decrypt(self._seal.ciphertext(words), plain)
        return self._seal.decode(plain)


class _Seal:
    """A SEAL context of a checked profile, and the passage of objects into and out of it."""

    def __init__(self, profile: Profile) -> None:
        profile.check()
        self.api: Final = _sealapi()
        self.profile: Final = profile
        self._file: Final = _MemoryFile()
        parameters = self._parameters()
        self._prefix: Final = seal_objects.version_prefix(self._file.save(parameters))
        self.context: Final = self.api.SEALContext(parameters, True, self.api.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise LocalError(f"SEAL refuses the profile: {self.context.parameters_error_message()}")
        bfv = profile.scheme is Scheme.BFV
        self._encoder: Final = self.api.BatchEncoder(self.context) if bfv else self.api.CKKSEncoder(self.context)

    def encrypt_blocks(self, encrypt: Any, values: U64) -> U64:
        """Encode and encrypt with one of SEAL's two-argument methods: uint64[blocks, 2, primes, N]."""
        rows = slots.fill(self.profile, values)
        shape = (2, len(self.profile.primes), self.profile.ring_degree)
        out = np.empty((len(rows), *shape), np.uint64)
        plain, cipher = self.api.Plaintext(), self.api.Ciphertext()
        for i, row in enumerate(rows):
            self._encode(row, plain)
            encrypt(plain, cipher)
            out[i] = seal_objects.ciphertext_words(self._file.save(cipher), shape)
        return out

    def decode(self, plain: Any) -> U64:
        """The values of a plaintext, rounded to integers: uint64[values_per_block]."""
        if self.profile.scheme is Scheme.BFV:
            return slots.bfv_values(self.profile, np.array(self._encoder.decode_uint64(plain), np.uint64))
        return slots.ckks_values(np.array(self._encoder.decode_complex(plain), np.complex128))

    def ciphertext(self, words: U64) -> Any:
        """A ciphertext of uint64[2, primes, N]."""
        scale = float(self.profile.scale) if self.profile.scheme is Scheme.CKKS else 1.0
        parms_id = self._parms_id(self.context.first_parms_id())
        data = seal_objects.ciphertext(self._prefix, parms_id, words, ntt_form=self.profile.ntt_form, scale=scale)
        return self._load(self.api.Ciphertext(), data)

    def public_key(self, words: U64) -> Any:
        """A public key of uint64[2, key primes, N] NTT values."""
        parms_id = self._parms_id(self.context.key_parms_id())
        data = seal_objects.ciphertext(self._prefix, parms_id, words, ntt_form=True, scale=1.0)
        return self._load(self.api.PublicKey(), data)

    def secret_key(self, words: U64) -> Any:
        """A secret key of uint64[key primes, N] NTT values."""
        data = seal_objects.secret_key(self._prefix, self._parms_id(self.context.key_parms_id()), words)
        return self._load(self.api.SecretKey(), data)

    def _parameters(self) -> Any:
        api, profile = self.api, self.profile
        bfv = profile.scheme is Scheme.BFV
        parameters = api.EncryptionParameters(api.SCHEME_TYPE.BFV if bfv else api.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(profile.ring_degree)
        parameters.set_coeff_modulus([api.Modulus(prime) for prime in profile.key_primes])
        if bfv:
            parameters.set_plain_modulus(profile.plain_modulus)
        return parameters

    def _encode(self, block: U64, plain: Any) -> None:
        if self.profile.scheme is Scheme.BFV:
            self._encoder.encode(slots.bfv_slots(self.profile, block).tolist(), plain)
        else:
            self._encoder.encode(slots.ckks_slots(block).tolist(), float(self.profile.scale), plain)

    def _load(self, target: Any, data: bytes) -> Any:
        self._file.load(target, self.context, data)
        return target

    @staticmethod
    def _parms_id(words: list[int]) -> bytes:
        return np.array(words, "<u8").tobytes()


class _MemoryFile:
    """An anonymous file in memory, which SEAL's path-only `save` and `load` reach through /proc."""

    def __init__(self) -> None:
        self._fd: Final = os.memfd_create("secagg", os.MFD_CLOEXEC)
        self._path: Final = f"/proc/self/fd/{self._fd}"

    def save(self, source: Any) -> bytes:
        """The bytes of a SEAL object."""
        source.save(self._path)
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0)

    def load(self, target: Any, context: Any, data: bytes) -> None:
        """Fill a SEAL object from bytes of our own making, then forget them."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, data, 0)
        target.load(context, self._path)
        os.ftruncate(self._fd, 0)

    def __del__(self) -> None:
        os.close(self._fd)


def preload() -> None:
    """Load the library now, so that what follows is limited without it.

    Raises:
        MissingExtraError: the extra `ckks` is not installed.
    """
    _sealapi()


def _sealapi() -> Any:
    """TenSEAL's binding of SEAL.

    Raises:
        MissingExtraError: the extra `ckks` is not installed.
    """
    try:
        import tenseal.sealapi as api  # noqa: PLC0415
        import zstandard  # noqa: F401, PLC0415  (SEAL's saved objects are read with it)
    except ImportError as absent:
        raise MissingExtraError("homomorphic encryption", "ckks") from absent
    return api
