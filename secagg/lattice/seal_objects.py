"""The bytes of SEAL 4 objects, for objects of our own: SEAL loads what was built here and saves what is read here.

No byte of a peer passes through: bodies are made of residues that were unpacked and checked, headers are made here.

An object is a header of 16 bytes (magic 5e a1, header size 10, version major 04, minor, compression, two zero bytes,
total size as u64) and a body. The body of a ciphertext or public key: parms_id[32], NTT form u8, polynomials u64, N
u64, primes u64, scale f64, correction u64, then a nested object whose body is a count u64 and the words. Of a secret
key: parms_id[32], count u64, scale f64, and the same nested object. All little-endian.
"""

import struct
import zlib
from typing import Final

import numpy as np

from secagg.errors import LocalError
from secagg.lattice.modular import U64

VERSION_PREFIX_SIZE: Final = 5
_HEADER_SIZE: Final = 16
_COUNT_SIZE: Final = 8
_MAGIC: Final = b"\x5e\xa1\x10\x04"
_CIPHERTEXT: Final = struct.Struct("<32sBQQQdQ")
_SECRET_KEY: Final = struct.Struct("<32sQd")


def version_prefix(saved: bytes) -> bytes:
    """Magic and version of the library at hand, from any object that it saved.

    Raises:
        LocalError: not SEAL 4.
    """
    if not saved.startswith(_MAGIC):
        raise LocalError("this TenSEAL is built on another SEAL than 4; install tenseal 0.3.16 or a later 0.3")
    return saved[:VERSION_PREFIX_SIZE]


def ciphertext(prefix: bytes, parms_id: bytes, words: U64, *, ntt_form: bool, scale: float) -> bytes:
    """A ciphertext (or public key) of uint64[polynomials, primes, N]."""
    polynomials, primes, degree = words.shape
    fields = _CIPHERTEXT.pack(parms_id, ntt_form, polynomials, degree, primes, scale, 1)
    return _object(prefix, fields + _words(prefix, words))


def secret_key(prefix: bytes, parms_id: bytes, words: U64) -> bytes:
    """A secret key of uint64[key primes, N] NTT values."""
    return _object(prefix, _SECRET_KEY.pack(parms_id, words.size, 1.0) + _words(prefix, words))


def ciphertext_words(saved: bytes, shape: tuple[int, int, int]) -> U64:
    """uint64[polynomials, primes, N] of a ciphertext that our own SEAL has just saved.

    Raises:
        LocalError: its layout is not the expected one.
    """
    size = int(np.prod(shape))
    offset = _CIPHERTEXT.size + _HEADER_SIZE + _COUNT_SIZE
    body = _decompressed(saved, offset + 8 * size)
    _, _, polynomials, degree, primes, _, _ = _CIPHERTEXT.unpack_from(body)
    (count,) = struct.unpack_from("<Q", body, offset - _COUNT_SIZE)
    if (polynomials, primes, degree) != shape or count != size or len(body) != offset + 8 * size:
        raise LocalError("SEAL saved a ciphertext of an unexpected layout; install another tenseal 0.3")
    return np.frombuffer(body, "<u8", size, offset).reshape(shape)


def _object(prefix: bytes, body: bytes) -> bytes:
    return prefix + bytes(3) + struct.pack("<Q", _HEADER_SIZE + len(body)) + body


def _words(prefix: bytes, words: U64) -> bytes:
    return _object(prefix, struct.pack("<Q", words.size) + np.ascontiguousarray(words, "<u8").tobytes())


def _decompressed(saved: bytes, size: int) -> bytes:
    """SEAL's `save` compresses whenever it was built to, without a way to ask it not to."""
    compression, body = saved[VERSION_PREFIX_SIZE], memoryview(saved)[_HEADER_SIZE:]
    if compression == 0:
        return bytes(body)
    if compression == 1:
        return zlib.decompress(body)
    import zstandard  # noqa: PLC0415  (of the extra `ckks`, checked by the backend)

    return zstandard.ZstdDecompressor().decompress(body, max_output_size=size)
