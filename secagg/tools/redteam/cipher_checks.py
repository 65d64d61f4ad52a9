"""Ciphertexts of real rounds: uniform residues, fresh noise, and a released sum that holds none of it."""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np

from secagg.encoding.schema import Update
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.session import HomomorphicParticipant
from secagg.lattice.layout import layout_of
from secagg.lattice.ntt import ntt
from secagg.lattice.parameters import Custody, Profile
from secagg.lattice.residues import unpack_chunk
from secagg.lattice.rlwe import SecretKey, add, sub
from secagg.messages import EncryptedInputChunk, EncryptedSum, PartialChunk, ParticipantId
from secagg.tools.redteam.adversary import Integers, true_sum
from secagg.tools.redteam.arena import deployment, random_updates, rng_of, small_config, zero_updates
from secagg.tools.redteam.modes import Mode
from secagg.tools.redteam.statistics import Battery, birthday_p, pair_tests, prime_tests, ring_tests
from secagg.tools.redteam.views import Recording, record
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up

NOISE_VARIANCE: Final = 21
"""Of the difference of two fresh encryptions of the same numbers."""

SIGMAS: Final = 8


def recorded(
    mode: Mode, seed: int, *, updates: Mapping[ParticipantId, Update] | None = None, **changes: Any
) -> Recording:
    """A round of four in this mode, of random updates if none are given."""
    config, names = small_config(4, mode), participant_names(4)
    brought = updates or random_updates(config.schema, names, seed)
    return record(config, brought, rng=rng_of(seed, mode.name), deployment=deployment(), **changes)


def ciphertexts(mode: Mode, seed: int = 0) -> list[str]:
    """Residues of every upload are uniform modulo each prime, and independent between participants; seeds differ."""
    return ciphertext_battery(mode, seed).said()


def ciphertext_battery(mode: Mode, seed: int) -> Battery:
    """The statistical tests that `ciphertexts` judges, over the residues of one round."""
    recording = recorded(mode, seed)
    profile = recording.config.homomorphic
    battery, uploads = Battery(), {name: recording.ciphertext(name) for name in recording.run.participants}
    for j, prime in enumerate(profile.primes if profile else ()):
        flat = {n: [np.ascontiguousarray(c[:, j]).reshape(-1) for c in pair] for n, pair in uploads.items()}
        names = list(flat)
        for name, polynomials in flat.items():
            for k, residues in enumerate(polynomials):
                battery.add(f"c{k} of {name} mod {prime}", prime_tests(residues, prime))
        for one, other in pairwise(names):
            for k in (0, 1):
                battery.add(f"c{k} of {one} and {other} mod {prime}", pair_tests(flat[one][k], flat[other][k]))
    sent = [
        e.message.seed for e in recording.envelopes if isinstance(e.message, EncryptedInputChunk) and e.message.seed
    ]
    battery.add("seeds of c1", [("birthday", birthday_p(sent) if sent else 1.0)])
    return battery


def encryption_noise(mode: Mode, seed: int = 0) -> list[str]:
    """Two participants that encrypt the same numbers: the phases of their ciphertexts differ by fresh noise."""
    config, names = small_config(4, mode), participant_names(4)
    updates = random_updates(config.schema, names, seed)
    run = set_up(
        config, {n: Contribution(u) for n, u in updates.items()}, rng=rng_of(seed, "noise"), deployment=deployment()
    )
    recording = Recording(run, (names[0],))
    one, other = names[1], names[2]
    twin = run.participants[other]
    if isinstance(twin, HomomorphicParticipant):
        twin._vector = run.vectors[one]
    run.hook = recording._note
    run.play()
    profile = config.homomorphic
    if profile is None or profile.custody is not Custody.PARTICIPANTS:
        return []
    key = SecretKey(profile, recording._key_seeds[names[0]], run.coordinator.round.context)
    phases = [add(profile.primes, c0, key.times(c1)) for c0, c1 in (recording.ciphertext(n) for n in (one, other))]
    difference = sub(profile.primes, *phases)[:, 0]
    prime = profile.primes[0]
    if profile.ntt_form:
        difference = ntt(profile.ring_degree, prime).inverse(difference)
    signed = difference.astype(np.int64).reshape(-1)
    signed = np.where(signed > prime // 2, signed - prime, signed).astype(np.float64)
    if not wrong_noise(signed):
        return []
    variance = float((signed**2).mean())
    return [f"noise of two encryptions differs with variance {variance:.3g} where {NOISE_VARIANCE} is expected"]


def wrong_noise(difference: np.ndarray[Any, np.dtype[Any]]) -> bool:
    """Whether values are no difference of two centred binomials of variance 21/2 each."""
    z = (float((difference**2).mean()) / NOISE_VARIANCE - 1) * math.sqrt(len(difference) / 2)
    return abs(z) >= SIGMAS


def exact_release(mode: Mode, seed: int = 0) -> list[str]:
    """The released sum is the sum, integer for integer: nothing of the encryption's noise is in it."""
    recording = recorded(mode, seed)
    aggregate = recording.run.coordinator.aggregate
    if aggregate is None:
        return [f"no sum was released: {recording.run.coordinator.failure}"]
    wrong = int((aggregate.sums.astype(np.uint64) != true_sum(recording.run, recording.run.participants)).sum())
    return [f"{wrong} of {len(aggregate.sums)} released numbers are not the sum"] if wrong else []


def smudging(mode: Mode, seed: int = 0) -> list[str]:
    """Partial decryptions are residues without a pattern. Their smudging noise is uniform over its range, fresh for
    everyone, and has nothing to do with the data: with other data and the same randomness it is the same bit for bit.
    """
    names = participant_names(4)
    first = recorded(mode, seed, colluders=names)
    second = recorded(mode, seed, colluders=names, updates=zero_updates(first.config, names))
    floods, others = smudging_noise(first), smudging_noise(second)
    battery, bits = Battery(), profile_of(first.config).flood_bits + 1
    for name, flood in floods.items():
        battery.add(f"smudging noise of {name}", ring_tests(flood, bits))
    for one, other in pairwise(floods):
        battery.add(f"smudging noise of {one} and {other}", pair_tests(floods[one], floods[other]))
    for prime, residues in _partial_residues(first):
        battery.add(f"partial decryption mod {prime}", prime_tests(residues, prime))
    same = all(np.array_equal(floods[name], others[name]) for name in names)
    return battery.said() + ([] if same else ["smudging noise depends on the data"])


def smudging_noise(recording: Recording) -> dict[ParticipantId, Integers]:
    """uint64[blocks · N] by participant: what lies over its key's part of the sum, moved to [0, 2^(f+1)).

    The recording's colluders hand in their keys; what no key explains of a partial decryption is its noise.
    """
    profile, context = profile_of(recording.config), recording.run.coordinator.round.context
    layout, found = layout_of(profile, recording.config.vector_len, 1), {}
    c1 = np.concatenate([
        unpack_chunk(layout, number, chunk)[:, 0]
        for message in _first_sum(recording) for number, chunk in enumerate(message.c1)
    ])  # fmt: skip
    for name, key_seed in recording._key_seeds.items():
        partial = _partial_of(recording, name)
        over = sub(profile.primes, partial, SecretKey(profile, key_seed, context).times(c1))
        found[name] = _lifted(profile, over, 1 << profile.flood_bits)
    return found


def _lifted(profile: Profile, residues: Integers, shift: int) -> Integers:
    """uint64[blocks · N]: coefficients from their residues modulo the first two primes, plus `shift`; what does not fit
    into 64 bits then is cut off, which shows.
    """
    parts = [np.ascontiguousarray(residues[:, j]) for j in (0, 1)]
    p, q = profile.primes[:2]
    if profile.ntt_form:
        parts = [ntt(profile.ring_degree, prime).inverse(part) for prime, part in zip((p, q), parts, strict=True)]
    one, other = (part.reshape(-1).astype(object) for part in parts)
    whole = one + p * ((other - one) * pow(p, -1, q) % q) + shift
    lifted: Integers = (whole % (p * q) % (1 << 64)).astype(np.uint64)
    return lifted


def _first_sum(recording: Recording) -> list[EncryptedSum]:
    return [e.message for e in recording.envelopes if isinstance(e.message, EncryptedSum)][:1]


def _partial_of(recording: Recording, name: ParticipantId) -> Integers:
    """What `name` sent as its partial decryption: uint64[blocks, primes, N]."""
    profile = profile_of(recording.config)
    layout = layout_of(profile, recording.config.vector_len, 1)
    chunks = [e.message for e in recording.sent(name) if isinstance(e.message, PartialChunk)]
    return np.concatenate([unpack_chunk(layout, chunk.number, chunk.payload)[:, 0] for chunk in chunks])


def _partial_residues(recording: Recording) -> Iterator[tuple[int, Integers]]:
    for name in list(recording.run.participants)[:1]:
        partial = _partial_of(recording, name)
        for j, prime in enumerate(profile_of(recording.config).primes):
            yield prime, np.ascontiguousarray(partial[:, j]).reshape(-1)
