"""TenSEAL encrypts and decrypts what the wire carries; sums are exact, its own, and no noisier than the bounds say."""

import builtins
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import tenseal.sealapi as seal

from secagg.errors import ConfigError, InputError, LocalError, MissingExtraError, ProtocolViolation
from secagg.lattice import seal_objects, slots, tenseal_backend
from secagg.lattice.decoding import bfv_decode, ckks_decode, decode
from secagg.lattice.jobs import Decrypt, Desk, Encrypt
from secagg.lattice.keyshares import joint_key, key_share
from secagg.lattice.layout import layout_of
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Custody, Profile, Scheme, find_profile
from secagg.lattice.residues import Accumulator, ResidueVector, pack_residues
from secagg.lattice.rlwe import SecretKey, add
from secagg.lattice.summation import Aggregate, SeededSum, upload_layout
from secagg.lattice.tenseal_backend import PublicKeyEncryptor, _Seal
from secagg.lattice.uploads import upload_chunks
from tests.encrypted import (
    CASES,
    CONTEXT,
    SUMMANDS,
    Joint,
    dealt_sum,
    encrypted,
    key_seed,
    numbers,
    opened,
    profile_of,
    round_of,
    stream_of,
    symmetric_encryptor,
)

DEALT, JOINT = Custody.PARTICIPANTS, Custody.THRESHOLD


def sizes_of(profile: Profile) -> list[int]:
    degree, block = profile.ring_degree, profile.values_per_block
    return [1, degree - 1, degree, degree + 1, block - 1, block, block + 1, 2 * block + degree]


@pytest.mark.parametrize(("scheme", "custody"), CASES)
@pytest.mark.parametrize("size", range(8))
def test_sums_are_exact_at_every_edge_of_a_block(scheme: Scheme, custody: Custody, size: int) -> None:
    count = sizes_of(profile_of(scheme, custody))[size]
    vectors = [numbers(i, count) for i in range(3)]
    assert (round_of(scheme, custody, vectors) == sum(vectors)).all()


@pytest.mark.parametrize(("scheme", "custody"), CASES)
def test_the_largest_and_the_smallest_sum_are_exact(scheme: Scheme, custody: Custody) -> None:
    """n_max summands, all full or all zero: nothing carries into a neighbour, nothing wraps."""
    full = np.tile(np.array([2**16 - 1, 0, 0, 2**16 - 1, 2**16 - 1], np.uint64), 2000)
    assert (round_of(scheme, custody, [full] * SUMMANDS) == SUMMANDS * full).all()
    zero = np.zeros(100, np.uint64)
    assert (round_of(scheme, custody, [zero] * 2) == zero).all()


@pytest.mark.parametrize(("summands", "bits"), [(1, 1), (256, 16), (1000, 16), (100, 32), (3, 48)])
def test_bfv_is_exact_with_one_field_or_prime_or_several(summands: int, bits: int) -> None:
    profile = find_profile(Scheme.BFV, DEALT, summands, bits)
    vectors = [numbers(i, 5000, bits) for i in range(min(summands, 3))]
    aggregate = dealt_sum(profile, vectors)
    assert (opened(profile, aggregate, 5000, len(vectors)) == sum(vectors)).all()
    assert (by_numpy(profile, aggregate, 5000, len(vectors)) == sum(vectors)).all()


def by_numpy(profile: Profile, aggregate: Aggregate, count: int, summands: int) -> U64:
    return decode(profile, phase_of(profile, aggregate), count, summands)


def phase_of(profile: Profile, aggregate: Aggregate) -> U64:
    key = SecretKey(profile, key_seed(), CONTEXT)
    return add(profile.primes, aggregate.c0.residues[:, 0], key.times(aggregate.c1.residues[:, 0]))


@pytest.mark.parametrize("scheme", Scheme)
def test_decoding_without_seal_agrees_with_seal(scheme: Scheme) -> None:
    profile, count = profile_of(scheme, DEALT), 10_000
    aggregate = dealt_sum(profile, [numbers(i, count) for i in range(2)])
    assert (by_numpy(profile, aggregate, count, 2) == opened(profile, aggregate, count, 2)).all()


@pytest.mark.parametrize(("scheme", "custody"), CASES)
def test_the_fold_is_seals_own_addition_bit_for_bit(scheme: Scheme, custody: Custody) -> None:
    profile = profile_of(scheme, custody)
    library = _Seal(profile)
    key = library.secret_key(SecretKey(profile, key_seed(), CONTEXT).residues())
    encryptor, shape = seal.Encryptor(library.context, key), (2, len(profile.primes), profile.ring_degree)
    blocks = [library.encrypt_blocks(encryptor.encrypt_symmetric, numbers(i, 100)) for i in range(SUMMANDS)]
    theirs = library.ciphertext(blocks[0][0])
    for block in blocks[1:]:
        seal.Evaluator(library.context).add_inplace(theirs, library.ciphertext(block[0]))
    saved = library._file.save(theirs)
    ours = Accumulator(layout_of(profile, 100, 2))
    for block in blocks:
        ours.add(0, pack_residues(block, profile.prime_bits))
    assert (ours.finish().residues[0] == seal_objects.ciphertext_words(saved, shape)).all()


def lifted(profile: Profile, residues: U64) -> list[int]:
    """uint64[primes, N] to integers in [0, Q)."""
    total = [0] * profile.ring_degree
    for j, prime in enumerate(profile.primes):
        rest = profile.modulus // prime
        weight = rest * pow(rest, -1, prime)
        total = [x + weight * int(r) for x, r in zip(total, residues[j], strict=True)]
    return [x % profile.modulus for x in total]


def bfv_noise(profile: Profile, phase: U64) -> float:
    """Largest distance of a coefficient of one block from a multiple of Q/t."""
    scaled = [x * profile.plain_modulus % profile.modulus for x in lifted(profile, phase)]
    return max(min(x, profile.modulus - x) for x in scaled) / profile.plain_modulus


@pytest.mark.parametrize("flooded", [False, True])
@pytest.mark.parametrize("custody", Custody)
def test_bfv_noise_stays_within_its_bound(custody: Custody, flooded: bool) -> None:
    profile = profile_of(Scheme.BFV, custody)
    vectors = [numbers(i, 2 * profile.ring_degree) for i in range(SUMMANDS)]
    if custody is DEALT:
        measured = bfv_noise(profile, phase_of(profile, dealt_sum(profile, vectors))[0])
        bound = profile.noise_bound()
    else:
        joint, everyone = Joint(profile, SUMMANDS), range(SUMMANDS)
        aggregate = joint.sum(vectors)
        alive, fallen = (everyone, ()) if flooded else ((), everyone)
        measured = bfv_noise(profile, joint.phase(aggregate, alive, fallen)[0])
        bound = profile.noise_bound() if flooded else profile.encryption_noise() + SUMMANDS / 2
    assert bound / 20 < measured < bound


@pytest.mark.parametrize("custody", Custody)
def test_ckks_error_stays_within_its_bound(custody: Custody) -> None:
    profile = profile_of(Scheme.CKKS, custody)
    vectors = [numbers(i, profile.values_per_block) for i in range(SUMMANDS)]
    if custody is DEALT:
        phase = phase_of(profile, dealt_sum(profile, vectors))
    else:
        joint = Joint(profile, SUMMANDS)
        phase = joint.phase(joint.sum(vectors), range(SUMMANDS))
    values = ckks_decode(profile, phase)
    error = np.abs(np.concatenate([values.real, values.imag], axis=-1)[0] - sum(vectors)).max()
    assert profile.noise_bound() / 200 < error < profile.noise_bound()


@pytest.mark.parametrize("scheme", Scheme)
def test_what_is_not_a_sum_of_honest_encryptions_is_not_released(scheme: Scheme) -> None:
    profile, count = profile_of(scheme, DEALT), 100
    aggregate = dealt_sum(profile, [numbers(0, count)])
    strange = aggregate.c0.residues.copy()
    strange[0, 0, 0] = numbers(5, profile.ring_degree, profile.prime_bits - 1)
    tampered = Aggregate(ResidueVector(aggregate.c0.layout, strange), aggregate.c1)
    for decrypt in (opened, by_numpy):
        with pytest.raises(ProtocolViolation):
            decrypt(profile, tampered, count, 1)


def test_a_rounding_that_is_not_certain_is_refused() -> None:
    sure = np.array([3 + 0.24j, 0.24 - 0.24j + 5])
    assert slots.ckks_values(sure).tolist() == [3, 5, 0, 0]
    for part in (0.26, -0.26, -1.0, float("nan"), float("inf"), 2.0**60):
        for value in (complex(part, 0), complex(0, part)):
            with pytest.raises(ProtocolViolation):
                slots.ckks_values(np.array([1 + 1j, value]))


def test_sums_beyond_what_the_summands_can_reach_are_refused() -> None:
    profile = profile_of(Scheme.BFV, DEALT)
    full = np.full(10, 2**16 - 1, np.uint64)
    aggregate = dealt_sum(profile, [full, full])
    assert (opened(profile, aggregate, 10, 2) == 2 * full).all()
    with pytest.raises(ProtocolViolation, match="largest sum"):
        opened(profile, aggregate, 10, 1)
    with pytest.raises(ProtocolViolation, match="filling"):
        opened(profile, aggregate, 9, 2)


@pytest.mark.parametrize("wrong", [-1, 1 << 16])
def test_a_value_out_of_range_is_refused_before_anything_is_encrypted(wrong: int) -> None:
    profile = profile_of(Scheme.BFV, DEALT)
    values = np.array([1, wrong])
    with pytest.raises(InputError, match="value 1 ") as caught:
        next(upload_chunks(profile, 2, lambda start, stop: values[start:stop], lambda *_: b""))
    assert caught.value.index == (1,)


def test_an_upload_is_read_and_encrypted_chunk_by_chunk() -> None:
    profile, asked = profile_of(Scheme.CKKS, DEALT), []

    def read(start: int, stop: int) -> U64:
        asked.append((start, stop))
        return numbers(start, stop - start)

    upload = upload_chunks(profile, 500_000, read, lambda _, first_block: first_block.to_bytes(4, "big"))
    assert next(upload) == bytes(4)
    assert len(asked) == 1
    blocks = [int.from_bytes(data, "big") for data in upload]
    assert [start // profile.values_per_block for start, _ in asked[1:]] == blocks
    assert asked[-1][1] == 500_000


def test_streams_must_be_as_many_as_summands() -> None:
    profile = profile_of(Scheme.BFV, DEALT)
    total = SeededSum(profile, 10)
    total.add(0, encrypted(profile, symmetric_encryptor(profile, "p0"), numbers(0, 10))[0])
    with pytest.raises(LocalError, match="streams"):
        total.finish([])
    total.finish([stream_of(profile, "p0")]).refuse_transparent()


def test_seal_refuses_to_leave_an_unchecked_profile_alone() -> None:
    with pytest.raises(ConfigError):
        _Seal(replace(profile_of(Scheme.CKKS, DEALT), scale=1 << 12))


@pytest.mark.parametrize("missing", ["tenseal", "zstandard"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(
        name: str,
        scope: Mapping[str, object] | None = None,
        local: Mapping[str, object] | None = None,
        wanted: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if name.split(".", maxsplit=1)[0] == missing:
            raise ImportError(name)
        return original(name, scope, local, wanted, level)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[ckks\]'"):
        tenseal_backend.preload()


def test_an_unexpected_seal_is_refused() -> None:
    with pytest.raises(LocalError, match="SEAL than 4"):
        seal_objects.version_prefix(b"\x5e\xa1\x10\x03\x06")
    library = _Seal(profile_of(Scheme.BFV, DEALT))
    saved = library._file.save(library.ciphertext(numbers(0, 8192, 30).reshape(2, 1, 4096)))
    seal_objects.ciphertext_words(saved, (2, 1, 4096))
    with pytest.raises(LocalError, match="layout"):
        seal_objects.ciphertext_words(saved, (2, 2, 2048))


def test_nothing_of_a_key_has_a_name_on_any_file_system() -> None:
    """The memory file is unlinked from birth, and emptied after every load."""
    library = _Seal(profile_of(Scheme.BFV, DEALT))
    library.secret_key(SecretKey(library.profile, key_seed(), CONTEXT).residues())

    assert os.fstat(library._file._fd).st_nlink == 0
    assert os.fstat(library._file._fd).st_size == 0


def test_the_desk_does_nothing_before_something_is_open() -> None:
    layout = upload_layout(profile_of(Scheme.BFV, DEALT), 1)
    with pytest.raises(LocalError, match="no encryption"):
        Desk().do(Encrypt(numbers(0, 1), 0))
    with pytest.raises(LocalError, match="no decryption"):
        Desk().do(Decrypt(layout, 0, b"", b"", 1, 1))


def test_two_encryptions_under_the_joint_key_differ() -> None:
    profile = profile_of(Scheme.BFV, JOINT)
    share = key_share(profile, key_seed(), CONTEXT)
    encryptor = PublicKeyEncryptor(profile, joint_key(profile, [share]), context=CONTEXT)
    first, second = (encryptor.encrypt(numbers(0, 10), 0) for _ in range(2))
    assert ((first == second).mean(axis=(0, 2, 3)) < 0.01).all()


def test_bfv_decoding_handles_a_plaintext_modulus_wider_than_the_primes() -> None:
    profile = find_profile(Scheme.BFV, DEALT, 1000, 16)
    assert profile.plain_modulus > max(profile.primes)
    aggregate = dealt_sum(profile, [numbers(0, 100)])
    assert (bfv_decode(profile, phase_of(profile, aggregate)) < np.uint64(profile.plain_modulus)).all()
