"""Sweeps: distributed noise from nothing to ε = 2.5, sums of many rounds, every data kind's released means.

Everything goes through the product's own encoder, sum and decoder, and every attacker knows the configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.tools.redteam.attacks.inversion import ATTACKS
from secagg.tools.redteam.attacks.inversion.base import Attack
from secagg.tools.redteam.attacks.inversion.first_layer import FIRST_LAYER, LOW_RANK
from secagg.tools.redteam.attacks.inversion.imprint import IMPRINT
from secagg.tools.redteam.attacks.inversion.membership import MEMBERSHIP
from secagg.tools.redteam.attacks.inversion.prior import PRIOR
from secagg.tools.redteam.defences import DEFENCES, Defence, clip_and_gauss, flatten, piped
from secagg.tools.redteam.measured import Exposure, NoisePoint, RoundsPoint
from secagg.tools.redteam.metrics import Outcome, Score
from secagg.tools.redteam.observation import Observation, Parameters
from secagg.tools.redteam.participation import Rounds, combination, determined
from secagg.tools.redteam.records import Indices
from secagg.tools.redteam.target import Target
from secagg.tools.redteam.targets import target_named
from secagg.tools.redteam.trials import Case, tried

Z: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.634)
"""The last is ε = 2.5 at δ = 1e-5 for one release; dp_accounting's PLD says so (docs: `secagg plan`)."""

_LEAST_Z: Final = 2.0**-10
_NOISE: Final = "clip(l2={{norm}}) | rotate | quantise(bits=28) | noise(law=skellam, z={z!r})"


@dataclass(frozen=True, slots=True)
class _Line:
    """An attack against growing noise.

    Attributes:
        people: whose updates are summed; 1 is what is left of a cohort whose other members all collude.
        quick: the z that the quick profile tries where the attack is slow; all of them if empty.
    """

    attack: Attack
    people: int
    title: str
    quick: tuple[float, ...] = ()


_LINES: Final = (
    _Line(LOW_RANK, 1, "low-rank, n = 1"),
    _Line(MEMBERSHIP, 1, "membership, n = 1", quick=(0.1, 1.634)),
    _Line(PRIOR, 1, "prior, n = 1", quick=(0.1,)),
    _Line(IMPRINT, 64, "imprint, n = 64"),
)


def noisy(z: float) -> Defence:
    """Clipping and distributed noise, by the product where it takes the z, else in floating point."""
    return piped(f"z-{z:g}", f"noise of z = {z:g}", _NOISE.format(z=z)) if z >= _LEAST_Z else clip_and_gauss(z)


def noise_sweep(trials: int, seed: int, *, full: bool) -> list[NoisePoint]:
    """Every line at every z; of slow ones fewer trials, and in the quick profile less."""
    points = []
    for line in _LINES:
        count = max(3, trials // 4) if line.quick else trials
        points += [_noise_point(line, z, count, seed) for z in (Z if full else line.quick or Z)]
    return points


def _noise_point(line: _Line, z: float, trials: int, seed: int) -> NoisePoint:
    target, defence = target_named(line.attack.target, seed), noisy(z)
    cases = range(seed * 1000, seed * 1000 + trials)
    outcomes = [_released(target, line.attack, line.people, defence, case) for case in cases]
    exact = Score.of(outcomes).exact
    return NoisePoint(line.title, z, tried(outcomes, line.attack, target), exact, real=z >= _LEAST_Z)


def _released(target: Target, attack: Attack, people: int, defence: Defence, seed: int) -> Outcome:
    case = Case.draw(target, attack, people, seed)
    return case.play(defence.release(target, case.updates(), seed).adaptive)


# --- releases of every kind of data -----------------------------------------------------------------------------------

KINDS: Final = (
    ("first-layer", "mlp-faces"),
    ("first-layer", "mlp-genotypes"),
    ("first-layer", "mlp-breast-cancer"),
    ("text", "text-sentences"),
    ("membership", "mlp-genotypes"),
)
SLOW_KINDS: Final = (
    ("attribute", "smooth-breast-cancer"),
    ("prior", "mlp-digits"),
    ("multimodal", "multimodal-patients"),
)


def exposures(kind: tuple[str, str], trials: int, seed: int) -> list[Exposure]:
    """Attacks of a kind on a plain update, and on the released mean of eight, without noise and with that of ε = 2.5.

    Where the first layer is inverted, its rank-one completion is tried too: it stands more noise.
    """
    name, data = kind
    target, found = target_named(data, seed), []
    attacks = (FIRST_LAYER, LOW_RANK) if name == FIRST_LAYER.name else (ATTACKS[name],)
    for people, z in ((1, 0.0), (8, 0.0), (8, Z[-1])):
        defence = noisy(z) if z else DEFENCES["16-bit" if people > 1 else "none"]
        cases = range(seed * 1000, seed * 1000 + trials)
        each = [
            tried([_released(target, attack, people, defence, case) for case in cases], attack, target)
            for attack in attacks
        ]
        found.append(Exposure(tuple(each), name, data, people, z))
    return found


# --- many rounds ------------------------------------------------------------------------------------------------------

_PEOPLE: Final = 36
_COHORT: Final = 32
_ROUNDS: Final = (1, 6, 12, 24, 48)
_SLOW: Final = 0.002
_FAST: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Setting:
    """How rounds follow each other. Attributes: rate: of learning, of the model between rounds."""

    line: str
    varying: bool
    rate: float
    z: float = 0.0


_SETTINGS: Final = (
    _Setting("always the same 32", varying=False, rate=_SLOW),
    _Setting("32 of 36, model hardly moves", varying=True, rate=_SLOW),
    _Setting("32 of 36, model trains", varying=True, rate=_FAST),
    _Setting("32 of 36, noise for ε = 2.5", varying=True, rate=_SLOW, z=Z[-1]),
)


def many_rounds(trials: int, seed: int) -> list[RoundsPoint]:
    """36 people with one record each, cohorts of 32: after more and more released sums, first-layer inversion of the
    least-squares estimate of the victim's update, and membership inference on it from a list of candidates.

    Where the model trains, updates of one record change from round to round, and the equations fit the worse.
    """
    target, points = target_named(FIRST_LAYER.target, seed), []
    for setting in _SETTINGS:
        played = [_series(target, setting, seed * 1000 + i) for i in range(trials)]
        for number, rounds in enumerate(_ROUNDS):
            each = [
                tried([outcomes[which][number] for _, outcomes in played], attack, target)
                for which, attack in enumerate((FIRST_LAYER, MEMBERSHIP))
            ]
            share = float(np.mean([determined(cohorts[:rounds]).mean() for cohorts, _ in played]))
            points.append(RoundsPoint(tuple(each), setting.line, rounds, share))
    return points


def _series(target: Target, setting: _Setting, seed: int) -> tuple[Rounds, list[list[Outcome]]]:
    """Cohorts bool[rounds, people], the victim first, and what each attack makes of each number of `_ROUNDS`."""
    rng, case = np.random.default_rng([seed, 31]), Case.draw(target, FIRST_LAYER, _PEOPLE, seed)
    model, cohorts, sums, spread = dict(target.parameters), np.zeros((_ROUNDS[-1], _PEOPLE), np.bool_), [], 0.0
    for number, cohort in enumerate(cohorts):
        cohort[rng.permutation(_PEOPLE)[:_COHORT] if setting.varying else np.arange(_COHORT)] = True
        members = [case.members[place] for place in np.flatnonzero(cohort)]
        released = _mean(target, model, members, setting.z, seed * 100 + number)
        sums.append(flatten(released.arrays) * _COHORT)
        spread = released.deviation * _COHORT
        model = {n: (a - setting.rate * released.arrays[n]).astype(np.float32) for n, a in model.items()}
    seen = [_estimated(case, cohorts[:r], np.array(sums[:r]), spread) for r in _ROUNDS]
    return cohorts, [case.all_of(attack, seen) for attack in (FIRST_LAYER, MEMBERSHIP)]


def _mean(target: Target, model: Parameters, members: Sequence[Indices], z: float, seed: int) -> Observation:
    """A released mean. Without noise, the gradient of all records at once is the mean of theirs, and is encoded as one
    update: no finer than what a cohort gives. With noise, each is clipped for itself, and the noise is in floats.
    """
    if z:
        return clip_and_gauss(z).release(target, [target.update(model, which) for which in members], seed).adaptive
    return DEFENCES["16-bit"].release(target, [target.update(model, np.concatenate(members))], seed).adaptive


def _estimated(case: Case, cohorts: Rounds, sums: FloatArray, spread: float) -> Observation:
    factors = combination(cohorts, 0)
    arrays = case.target.schema.split(factors @ sums)
    others = int(cohorts.any(axis=0).sum())
    return Observation(arrays, others, deviation=spread * float(np.linalg.norm(factors)))
