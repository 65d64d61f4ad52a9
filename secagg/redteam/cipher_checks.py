"""Ciphertexts of real rounds: uniform residues, fresh noise, and a released sum that holds none of it."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from secagg.homomorphic.session import HomomorphicParticipant
from secagg.lattice.ntt import ntt
from secagg.lattice.parameters import Custody
from secagg.lattice.rlwe import SecretKey, add, sub
from secagg.messages import (
    EncryptedInputChunk,
)
from secagg.redteam.adversary import true_sum
from secagg.redteam.arena import deployment, random_updates, rng_of, small_config
from secagg.redteam.modes import Mode
from secagg.redteam.statistics import Battery, birthday_p, pair_tests, prime_tests
from secagg.redteam.views import Recording, record
from secagg.simulation.cohort import Contribution, participant_names, set_up


def recorded(mode: Mode, seed: int, **changes: Any) -> Recording:
    """A round of four in this mode."""
    config, names = small_config(4, mode), participant_names(4)
    updates = random_updates(config.schema, names, seed)
    return record(config, updates, rng=rng_of(seed, mode.name), deployment=deployment(), **changes)


def ciphertexts(mode: Mode, seed: int = 0) -> list[str]:
    """Residues of every upload are uniform modulo each prime, and independent between participants; seeds differ."""
    return ciphertext_battery(mode, seed).said()


def ciphertext_battery(mode: Mode, seed: int) -> Battery:
    """The tests of `ciphertexts`."""
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
    # Two centred binomials of variance 21/2 each.
    z = (float((signed**2).mean()) / 21 - 1) * math.sqrt(len(signed) / 2)
    if abs(z) < 8:
        return []
    return [f"noise of two encryptions differs with variance {float((signed**2).mean()):.3g} where 21 is expected"]


def exact_release(mode: Mode, seed: int = 0) -> list[str]:
    """The released sum is the sum, integer for integer: nothing of the encryption's noise is in it."""
    recording = recorded(mode, seed)
    aggregate = recording.run.coordinator.aggregate
    if aggregate is None:
        return [f"no sum was released: {recording.run.coordinator.failure}"]
    wrong = int((aggregate.sums.astype(np.uint64) != true_sum(recording.run, recording.run.participants)).sum())
    return [f"{wrong} of {len(aggregate.sums)} released numbers are not the sum"] if wrong else []
