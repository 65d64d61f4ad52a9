"""Vectors of ring arithmetic: primes and roots, transforms, packed residues, seeded streams, small polynomials."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.lattice.layout import Layout
from secagg.lattice.modular import U64
from secagg.lattice.ntt import ntt
from secagg.lattice.primes import ntt_primes, primitive_root
from secagg.lattice.residues import pack_residues
from secagg.lattice.rlwe import centred_binomial, ternary
from secagg.lattice.streams import UniformResidues
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document
from secagg.tools.conformance.fixtures import ALICE, CONTEXT

DEGREES = (4096, 8192, 16384, 32768)
WIDTHS = ((30, 3), (38, 1), (48, 3), (54, 2), (60, 3))


def words_digest(words: U64) -> bytes:
    """SHA-256 over 64-bit little-endian words."""
    return hashlib.sha256(np.ascontiguousarray(words, "<u8").tobytes()).digest()


def _primes() -> Iterator[Document]:
    for degree in DEGREES:
        for bits, count in WIDTHS:
            primes = ntt_primes(degree, bits, count)
            roots = [primitive_root(degree, prime) for prime in primes] if degree < 16384 else []
            yield {"ring_degree": degree, "bits": bits, "primes": primes, "roots": roots}


def _transform() -> Iterator[Document]:
    for degree, bits in ((8, 30), (16, 30), (16, 60), (4096, 54), (8192, 60)):
        [prime] = ntt_primes(degree, bits, 1)
        for title, coefficients in (("X", _monomial(degree)), ("pseudo-random", _residues(degree, prime, "transform"))):
            values = ntt(degree, prime).forward(coefficients)
            yield {
                "title": title,
                "ring_degree": degree,
                "prime": prime,
                "root": primitive_root(degree, prime),
                "coefficients": coefficients[:16],
                "values": values[:16],
                "coefficients_sha256": words_digest(coefficients),
                "values_sha256": words_digest(values),
            }


def _monomial(degree: int) -> U64:
    out = np.zeros(degree, np.uint64)
    out[1] = 1
    return out


def _stream_key(name: str) -> bytes:
    return fixtures.seed(f"residues of {name}")


def _residues(count: int, prime: int, name: str) -> U64:
    """Elements 0, 1, … of the uniform stream of a fixed key."""
    return UniformResidues(Secret(_stream_key(name)), prime).elements(0, count)


def _packing() -> Document:
    cases, (prime, other) = [], ntt_primes(4096, 54, 2)
    for degree, primes, polynomials, blocks in (
        (64, (1073741441,), 1, 3),
        (4096, (prime, other), 1, 40),
        (4096, (prime, other), 2, 40),
        (8192, ntt_primes(8192, 60, 2), 1, 17),
        (32768, ntt_primes(32768, 60, 4), 2, 3),
    ):
        layout = Layout(degree, primes, polynomials, blocks)
        cases.append(
            {
                "ring_degree": degree,
                "primes": primes,
                "polynomials": polynomials,
                "blocks": blocks,
                "residue_bits": layout.prime_bits,
                "block_bytes": layout.block_bytes,
                "blocks_per_chunk": layout.blocks_per_chunk,
                "chunk_bytes": [layout.chunk_bytes(i) for i in range(layout.chunks)],
            }
            | (_packed(layout) if layout.total_bytes < 1 << 18 else {})
        )
    refused = [
        {"change": "a byte too few", "packed": pack_residues(np.arange(64, dtype=np.uint64), 30)[:-1]},
        {"change": "a byte too many", "packed": pack_residues(np.arange(64, dtype=np.uint64), 30) + b"\0"},
        {"change": "the last residue is the prime", "packed": _last(1073741441)},
        {"change": "the last residue has all bits set", "packed": _last(2**30 - 1)},
    ]
    return {
        "key": _stream_key("packing"),
        "cases": cases,
        "refused": {"ring_degree": 64, "prime": 1073741441, "packed": refused},
    }


def _last(value: int) -> bytes:
    residues = np.arange(64, dtype=np.uint64)
    residues[-1] = value
    return pack_residues(residues, 30)


def _packed(layout: Layout) -> dict[str, Any]:
    """Polynomial p of block k under prime j is the stream's elements from ((k P + p) N) on, P polynomials."""
    streams = [UniformResidues(Secret(_stream_key("packing")), prime) for prime in layout.primes]
    blocks = np.stack(
        [
            np.stack(
                [s.elements((k * layout.polynomials + p) * layout.ring_degree, layout.ring_degree) for s in streams]
            )
            for k in range(layout.blocks)
            for p in range(layout.polynomials)
        ]
    )
    packed = pack_residues(blocks, layout.prime_bits)
    told: dict[str, Any] = {"packed_sha256": hashlib.sha256(packed).digest(), "begins": packed[:64]}
    return told | ({"residues": blocks.reshape(-1), "packed": packed} if layout.ring_degree == 64 else {})


def _streams() -> Document:
    cases, seed = [], fixtures.seed("stream seed")[:16]
    for degree, bits in ((4096, 30), (4096, 54), (8192, 60)):
        for purpose in ("input", "reference"):
            [prime] = ntt_primes(degree, bits, 1)
            given = (seed, CONTEXT) if purpose == "input" else (CONTEXT, b"")
            label = (labels.RESIDUE_STREAM, ALICE.encode()) if purpose == "input" else (labels.REFERENCE_STRING,)
            info = frame(*label) + prime.to_bytes(8, "big")
            key = derive(Secret(given[0]), salt=given[1], info=info, size=32).expose()
            cases.append({"purpose": purpose, "prime": prime, "info": info, "key": key} | _elements(key, prime, degree))
    return {"seed": seed, "context": CONTEXT, "participant_id": ALICE, "cases": cases, "redraws": _redraws()}


def _elements(key: bytes, prime: int, degree: int) -> dict[str, Any]:
    stream = UniformResidues(Secret(key), prime)
    block = stream.elements(0, degree)
    return {
        "first": block[:8],
        "count": degree,
        "sha256": words_digest(block),
        "later": {"start": 3 * degree, "elements": stream.elements(3 * degree, 8)},
    }


def _redraws() -> Iterator[Document]:
    """Places where the first draw is refused: a prime far below its power of two makes them frequent."""
    key = fixtures.seed("redraw")
    for prime in (536903681, 33832961):
        stream, draw = UniformResidues(Secret(key), prime), UniformResidues(Secret(key), (1 << prime.bit_length()) - 1)
        found, first = stream.elements(0, 64), draw.elements(0, 64)
        at = np.flatnonzero(first >= np.uint64(prime))
        yield {
            "key": key,
            "prime": prime,
            "elements": found,
            "drawn_again": at,
            "refused": first[at],
            "instead": found[at],
        }


def _small() -> Iterator[Document]:
    for degree in (16, 4096, 8192):
        seed = fixtures.seed(f"small polynomial {degree}")
        key, error = ternary(Secret(seed), CONTEXT, degree), centred_binomial(Secret(seed), CONTEXT, degree)
        yield {
            "ring_degree": degree,
            "seed": seed,
            "ternary": key[:32],
            "ternary_sha256": hashlib.sha256(key.astype(np.int8).tobytes()).digest(),
            "centred_binomial": error[:32],
            "centred_binomial_sha256": hashlib.sha256(error.astype(np.int8).tobytes()).digest(),
        }


# fmt: off
VECTORS: Contents = {
    "ring-primes": ("Primes in the order in which they are used, and their roots", "Primes and roots", _primes),
    "ring-transform": (
        "Coefficients and their transform; the first 16, and digests of all as 64-bit little-endian words", "Transform",
        lambda: {"key": _stream_key("transform"), "cases": _transform()}),
    "residue-packing": ("Where residues lie, and how they are packed", "Residues", _packing),
    "residue-stream": ("Uniform residues from a seed, and the common reference string", "Seeded streams", _streams),
    "small-polynomials": (
        "Secrets and errors from a seed; the first 32 coefficients, and digests of all as signed bytes",
        "Small polynomials", lambda: {"context": CONTEXT, "cases": _small()}),
}
# fmt: on
