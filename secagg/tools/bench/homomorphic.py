"""Homomorphic summation, timed on one core beside TenSEAL as its own tutorials use it, in the same run.

Times are the best of the repetitions, in seconds; bytes are what one participant sends, per value. Everything runs in
this process; a worker process, as participants use it, is timed apart. Pin the process to a core (`taskset -c 1`) for
figures that repeat.
"""

import contextlib
import io
import math
import time
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np

from secagg.crypto.rng import Rng, SystemRng
from secagg.crypto.secret import Secret
from secagg.errors import LocalError, MissingExtraError
from secagg.lattice.decoding import decode
from secagg.lattice.jobs import (
    Decrypt,
    Desk,
    Encrypt,
    Job,
    OpenDecryption,
    OpenPublicKey,
    OpenSymmetric,
    values_of,
)
from secagg.lattice.keyshares import joint_key, key_share, partial_decryption
from secagg.lattice.layout import Layout, layout_of
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Custody, Profile, Scheme, find_profile
from secagg.lattice.residues import Accumulator, pack_residues
from secagg.lattice.rlwe import KEY_SEED_SIZE, SecretKey
from secagg.lattice.streams import SEED_SIZE, SeededPolynomials
from secagg.lattice.summation import Aggregate, PublicKeySum, SeededSum, sum_streams, upload_layout
from secagg.lattice.uploads import upload_chunks, value_range
from secagg.sandbox.worker import Worker

VALUE_BITS: Final = 16
SUMMANDS: Final = 100
"""n_max of the profiles."""

_PARTICIPANTS: Final = ("a", "b", "c")
_EXPANDED_TOGETHER: Final = 10
"""Seeds expanded in one go: the reduction at the end is theirs together."""

_TUTORIAL_DEGREE: Final = 8192
_TUTORIAL_PRIME_BITS: Final = [60, 40, 40]
_TUTORIAL_SCALE: Final = 2.0**40

Figures = dict[str, Any]
_P = ParamSpec("_P")
_T = TypeVar("_T")


def run(values: int = 1_000_000, repeat: int = 3) -> Figures:
    """Time every scheme and custody on random values, check that every sum is exact, and compare with TenSEAL.

    Raises:
        MissingExtraError: TenSEAL is not installed.
        LocalError: a sum is not exact.
    """
    rng = SystemRng()
    vectors = [np.frombuffer(rng.token(2 * values), "<u2").astype(np.uint64) for _ in _PARTICIPANTS]
    reference = _tenseal(vectors, repeat)
    figures: Figures = {
        "values": values,
        "value_bits": VALUE_BITS,
        "n_max": SUMMANDS,
        "repeat": repeat,
        "tenseal": reference,
        "float32_bytes_per_value": 4.0,
    }
    for scheme in Scheme:
        seeded = _participants_custody(scheme, vectors, repeat, rng)
        figures[scheme.value] = {
            Custody.PARTICIPANTS.value: seeded | {"against_tenseal": _against(reference, seeded)},
            Custody.THRESHOLD.value: _threshold_custody(scheme, vectors, repeat, rng),
        }
    return figures


class _BestTimes:
    """The best time of each operation, over all repeats."""

    def __init__(self) -> None:
        self.best: dict[str, float] = {}

    def time(self, name: str, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run `work`; keep its time if it is the best so far."""
        start = time.perf_counter()
        result = work(*args, **kwargs)
        self.best[name] = min(self.best.get(name, math.inf), time.perf_counter() - start)
        return result

    def figures(self) -> Figures:
        """The best times in seconds, by names that end in `_s`."""
        return {f"{name}_s": round(seconds, 5) for name, seconds in self.best.items()}


def _participants_custody(scheme: Scheme, vectors: list[U64], repeat: int, rng: Rng) -> Figures:
    profile = find_profile(scheme, Custody.PARTICIPANTS, SUMMANDS, VALUE_BITS)
    count, times = len(vectors[0]), _BestTimes()
    for _ in range(repeat):
        _seeded_round(profile, vectors, times, rng)
    with Worker() as worker:
        seed, key_seed, context = rng.token(SEED_SIZE), rng.token(KEY_SEED_SIZE), rng.token(32)
        worker.do(OpenSymmetric(profile, key_seed, context, seed, _PARTICIPANTS[0]))
        times.time("encrypt_and_pack_in_worker", _encrypt, worker.do, profile, vectors[0])
    figures = times.figures()
    figures["expand_c1_per_participant_s"] = round(figures.pop("expand_all_c1_s") / _EXPANDED_TOGETHER, 5)
    return _described(profile) | figures | {"bytes_per_value_up": _per_value(upload_layout(profile, count), count)}


def _seeded_round(profile: Profile, vectors: list[U64], times: _BestTimes, rng: Rng) -> None:
    context, key_seed, count, desk = rng.token(32), rng.token(KEY_SEED_SIZE), len(vectors[0]), Desk()
    total, streams = SeededSum(profile, count), []
    for participant, vector in zip(_PARTICIPANTS, vectors, strict=True):
        seed = rng.token(SEED_SIZE)
        desk.do(OpenSymmetric(profile, key_seed, context, seed, participant))
        chunks = times.time("encrypt_and_pack", _encrypt, desk.do, profile, vector)
        times.time("unpack_check_fold", fold, total, chunks)
        streams.append(SeededPolynomials(profile, seed, context=context, participant=participant))
    times.time("expand_all_c1", sum_streams, total.upload, (streams * _EXPANDED_TOGETHER)[:_EXPANDED_TOGETHER])
    aggregate = total.finish(streams)
    desk.do(OpenDecryption(profile, key_seed, context))
    _check(times.time("decrypt_and_decode", decrypted, desk.do, profile, aggregate, count), vectors)


def _threshold_custody(scheme: Scheme, vectors: list[U64], repeat: int, rng: Rng) -> Figures:
    profile = find_profile(scheme, Custody.THRESHOLD, SUMMANDS, VALUE_BITS)
    count, times = len(vectors[0]), _BestTimes()
    for _ in range(repeat):
        _threshold_round(profile, vectors, times, rng)
    ciphertext, part = (_per_value(layout_of(profile, count, polynomials), count) for polynomials in (2, 1))
    sizes = {
        "flood_bits": profile.flood_bits,
        "ciphertext_bytes_per_value": ciphertext,
        "partial_bytes_per_value": part,
        "bytes_per_value_up": round(ciphertext + part, 3),
        "c1_bytes_per_value_down": part,
        "key_share_bytes": len(profile.key_primes) * profile.ring_degree * profile.prime_bits // 8,
    }
    return _described(profile) | times.figures() | sizes


def _threshold_round(profile: Profile, vectors: list[U64], times: _BestTimes, rng: Rng) -> None:
    context, count, desk = rng.token(32), len(vectors[0]), Desk()
    seeds = [Secret(rng.token(KEY_SEED_SIZE)) for _ in vectors]
    shares = [times.time("key_share", key_share, profile, seed, context) for seed in seeds]
    desk.do(OpenPublicKey(profile, joint_key(profile, shares), context))
    total = PublicKeySum(profile, count)
    for vector in vectors:
        chunks = times.time("encrypt_and_pack", _encrypt, desk.do, profile, vector)
        times.time("unpack_check_fold", fold, total, chunks)
    aggregate = total.finish()
    phase = Accumulator(aggregate.c0.layout)
    fold(phase, aggregate.c0.all_chunks())
    for seed in seeds:
        key = SecretKey(profile, seed, context)
        times.time("combine", fold, phase, times.time("partial", _partial, profile, key, aggregate, rng))
    opened = times.time("decode", decode, profile, phase.finish().residues[:, 0], count, len(vectors))
    _check(opened, vectors)


def _tenseal(vectors: list[U64], repeat: int) -> Figures:
    """TenSEAL's first tutorial: CKKS vectors under the public key, serialized, parsed and added, decrypted."""
    try:
        import tenseal  # noqa: PLC0415
    except ImportError as absent:
        raise MissingExtraError("the homomorphic benchmark", "ckks") from absent
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, _TUTORIAL_DEGREE, coeff_mod_bit_sizes=_TUTORIAL_PRIME_BITS)
    context.global_scale = _TUTORIAL_SCALE

    def encrypt_and_serialize(plain: list[float]) -> bytes:
        with contextlib.redirect_stdout(io.StringIO()):  # it warns that the vector needs several ciphertexts
            return bytes(tenseal.ckks_vector(context, plain).serialize())

    times, size = _BestTimes(), 0
    for _ in range(repeat):
        sent = [
            times.time("encrypt_and_serialize", encrypt_and_serialize, v.astype(np.float64).tolist()) for v in vectors
        ]
        size = len(sent[0])
        total = tenseal.ckks_vector_from(context, sent[0])
        for data in sent[1:]:
            times.time("parse_and_add", _parse_and_add, tenseal, context, total, data)
        times.time("decrypt", total.decrypt)
    described = {"ring_degree": _TUTORIAL_DEGREE, "prime_bits": _TUTORIAL_PRIME_BITS}
    return described | times.figures() | {"bytes_per_value_up": round(size / len(vectors[0]), 3)}


def _parse_and_add(tenseal: Any, context: Any, total: Any, data: bytes) -> None:
    total.add_(tenseal.ckks_vector_from(context, data))


def _against(reference: Figures, ours: Figures) -> Figures:
    """How many times faster, or fewer. The coordinator's time includes the expansion of c1."""
    coordinator = ours["unpack_check_fold_s"] + ours["expand_c1_per_participant_s"]
    return {
        "participant": round(reference["encrypt_and_serialize_s"] / ours["encrypt_and_pack_s"], 1),
        "coordinator": round(reference["parse_and_add_s"] / coordinator, 1),
        "bytes": round(reference["bytes_per_value_up"] / ours["bytes_per_value_up"], 1),
    }


def _described(profile: Profile) -> Figures:
    return {
        "ring_degree": profile.ring_degree,
        "prime_bits": [prime.bit_length() for prime in profile.key_primes],
        "plain_modulus_bits": profile.plain_modulus.bit_length(),
        "scale_bits": max(0, profile.scale.bit_length() - 1),
        "values_per_slot": profile.values_per_slot,
    }


def _encrypt(do: Callable[[Job], bytes], profile: Profile, vector: U64) -> list[bytes]:
    chunks = upload_chunks(profile, len(vector), lambda a, b: vector[a:b], lambda v, block: do(Encrypt(v, block)))
    return list(chunks)


def decrypted(
    do: Callable[[Job], bytes], profile: Profile, aggregate: Aggregate, count: int, summands: int = len(_PARTICIPANTS)
) -> U64:
    """The integers of a sum. Args: do: of the desk. count: of the values. summands: updates in the sum."""
    layout = aggregate.c0.layout
    parts = []
    for chunk in range(layout.chunks):
        start, stop = value_range(profile, layout, chunk, count)
        c0, c1 = aggregate.c0.chunk(chunk), aggregate.c1.chunk(chunk)
        parts.append(values_of(do(Decrypt(layout, chunk, c0, c1, stop - start, summands))))
    return np.concatenate(parts)


def fold(total: SeededSum | PublicKeySum | Accumulator, chunks: list[bytes]) -> None:
    """Add the chunks of one upload."""
    for i, chunk in enumerate(chunks):
        total.add(i, chunk)


def _partial(profile: Profile, key: SecretKey, aggregate: Aggregate, rng: Rng) -> list[bytes]:
    layout = aggregate.c1.layout
    parts = (partial_decryption(profile, key, aggregate.c1.block_slice(i)[:, 0], rng) for i in range(layout.chunks))
    return [pack_residues(part, layout.prime_bits) for part in parts]


def _check(opened: U64, vectors: list[U64]) -> None:
    if not np.array_equal(opened, np.sum(vectors, axis=0, dtype=np.uint64)):
        raise LocalError("a decrypted sum is not exact")


def _per_value(layout: Layout, count: int) -> float:
    return round(layout.total_bytes / count, 3)
