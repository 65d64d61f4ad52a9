"""Uniform residues from seeds: the specification word by word, seeking, redraws, separation."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg.crypto.secret import Secret
from secagg.lattice.parameters import Custody, Scheme
from secagg.lattice.primes import ntt_primes
from secagg.lattice.streams import (
    SeededPolynomials,
    UniformResidues,
    reference_polynomial,
)
from secagg.lattice.summation import sum_streams, upload_layout
from tests.encrypted import CONTEXT, profile_of, stream_of

KEY = bytes(range(32))
LOW_PRIME = 193  # eight bits, three quarters of them in use: one word in four is drawn again


def word(key: bytes, counter: bytes, index: int) -> int:
    stream = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(8 * index + 8))
    return int.from_bytes(stream[-8:], "little")


@pytest.mark.parametrize("prime", [LOW_PRIME, ntt_primes(64, 45, 1)[0]])
def test_elements_follow_the_specification(prime: int) -> None:
    mask = (1 << prime.bit_length()) - 1

    def element(p: int) -> int:
        value = word(KEY[:16], bytes(16), p) & mask
        attempt = 0
        while value >= prime:
            value = word(KEY[16:], p.to_bytes(8, "big") + bytes(8), attempt) & mask
            attempt += 1
        return value

    assert UniformResidues(Secret(KEY), prime).elements(0, 300).tolist() == [element(p) for p in range(300)]


def test_any_range_can_be_computed_alone() -> None:
    stream = UniformResidues(Secret(KEY), LOW_PRIME)
    whole = stream.elements(0, 100_000)
    for start in (2, 64, 32_768, 99_998):
        assert (stream.elements(start, 100_000 - start) == whole[start:]).all()


def test_elements_are_uniform_after_redraws() -> None:
    counts = np.bincount(UniformResidues(Secret(KEY), LOW_PRIME).elements(0, 193_000).astype(np.int64), minlength=193)
    assert len(counts) == LOW_PRIME
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_squared < 192 + 6 * np.sqrt(2 * 192)  # six standard deviations


def test_blocks_are_the_elements_in_order() -> None:
    profile = profile_of(Scheme.BFV, Custody.PARTICIPANTS)
    stream = stream_of(profile, "p")
    whole = stream.blocks(range(5))
    assert whole.shape == (5, len(profile.primes), profile.ring_degree)
    assert (stream.blocks(range(2, 4)) == whole[2:4]).all()
    assert (whole < np.array(profile.primes, np.uint64)[:, None]).all()


def test_seed_context_and_participant_each_give_another_stream() -> None:
    profile = profile_of(Scheme.CKKS, Custody.PARTICIPANTS)
    choices = [
        (bytes(16), CONTEXT, "p"),
        (b"1" * 16, CONTEXT, "p"),
        (bytes(16), bytes(32), "p"),
        (bytes(16), CONTEXT, "q"),
    ]
    streams = [SeededPolynomials(profile, seed, context=c, participant=p).blocks(range(1)) for seed, c, p in choices]
    for i, one in enumerate(streams):
        assert all((one == other).mean() < 0.01 for other in streams[:i])


def test_the_reference_follows_from_the_context() -> None:
    profile = profile_of(Scheme.BFV, Custody.THRESHOLD)
    a = reference_polynomial(profile, CONTEXT)
    assert a.shape == (len(profile.key_primes), profile.ring_degree)
    assert (a == reference_polynomial(profile, CONTEXT)).all()
    assert (a != reference_polynomial(profile, bytes(32))).mean() > 0.99


def test_summed_streams_are_the_sum_of_the_streams() -> None:
    profile = profile_of(Scheme.CKKS, Custody.PARTICIPANTS)
    layout = upload_layout(profile, 10 * profile.values_per_block)
    streams = [stream_of(profile, f"p{i}") for i in range(3)]
    expected = sum(s.blocks(range(layout.blocks)).astype(object) for s in streams) % profile.primes[0]
    assert (sum_streams(layout, streams).residues[:, 0] == expected).all()
