"""From a budget to parameters and back."""

from dataclasses import dataclass, replace
from math import ceil, floor, inf, isinf, log10, sqrt
from sys import float_info
from typing import Final

from secagg.encoding.calibration import Calibration, Cohort, calibrate
from secagg.encoding.pipeline import MAX_RING_BITS, MIN_RING_BITS, MIN_Z, Noise, Pipeline
from secagg.encoding.steps.clip import Clip
from secagg.encoding.steps.rotate import block_size, padded_size
from secagg.errors import ConfigError
from secagg.noise.laws import Law
from secagg.privacy.accountant import epsilon_of, sampler_distance
from secagg.privacy.charges import View
from secagg.privacy.divergence import release_curve
from secagg.scalars import settle

DEFAULT_EPSILON: Final = 2.5
DEFAULT_DELTA: Final = 1e-5
_GRID: Final = tuple(MIN_Z * 2 ** (i / 2) for i in range(41))
"""Where the search for z begins, up to `MAX_Z`; then it is narrowed down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is wanted.

    Attributes:
        values: m, values of an update.
        cohort: n, and the survivors that are certainly honest.
        unseen: of their noises, how many nobody knows who sees the sum: all, unless n_C = 0 and participants get it (a
            fellow participant knows its own). 0 stands for all.
        rounds: released sums.
        clip: L2 norm of an update.
        bits: of the ring.
        law: of the noise.
        epsilon: ε of all rounds together.
        delta: δ of all rounds together; below 1/n.
    """

    values: int
    cohort: Cohort
    unseen: int = 0
    rounds: int = 1
    clip: float = 1.0
    bits: int = 16
    law: Law = Law.SKELLAM
    epsilon: float = DEFAULT_EPSILON
    delta: float = DEFAULT_DELTA

    def __post_init__(self) -> None:
        settle(self, integers=("values", "unseen", "rounds", "bits"), numbers=("clip", "epsilon", "delta"))
        check_budget(self.epsilon, self.delta)
        if self.delta * self.cohort.summands >= 1:
            raise ConfigError(
                f"δ = {self.delta} is no protection for one of {self.cohort.summands} participants; "
                f"it must be below 1/n = {1 / self.cohort.summands:.3g}"
            )
        if not 0 <= self.unseen <= max(0, self.cohort.honest):
            raise ConfigError(f"unseen must be at most the {self.cohort.honest} honest, not {self.unseen}")
        if self.values < 1 or self.rounds < 1:
            raise ConfigError("an update has at least one value, and a task at least one round")
        if not MIN_RING_BITS <= self.bits <= MAX_RING_BITS:
            raise ConfigError(f"bits must be {MIN_RING_BITS} to {MAX_RING_BITS}, not {self.bits}")

    @property
    def counted(self) -> int:
        """How many participants' noises count for ε: those of the honest, less what a viewer knows."""
        return self.unseen or self.cohort.honest

    @property
    def view(self) -> View:
        """Whose view ε is about."""
        return View.COORDINATOR if self.counted == self.cohort.honest else View.PARTICIPANT

    @property
    def central(self) -> "Task":
        """The same, with noise that the coordinator adds."""
        return replace(self, cohort=Cohort(self.cohort.summands, 1, central=True), unseen=0)

    def calibration(self, z: float) -> Calibration:
        """The grid for a noise multiplier."""
        block, dimension = block_size(self.values), padded_size(self.values)
        return calibrate(self.law, self.cohort, z=z, clip=self.clip, bits=self.bits, block=block, dimension=dimension)


@dataclass(frozen=True, slots=True)
class Plan:
    """Parameters and what they give.

    Attributes:
        z: noise multiplier.
        epsilon: ε of all rounds, at the task's δ.
        calibration: scale, local variance and norm bound.
        pipeline: what to put into the round's configuration.
        error: standard deviation of one value of a mean of n updates, in the values' own unit.
        gaussian_error: the same for continuous Gaussian noise of the same z, of as many participants.
        rounded_z: what is left of z in the sum once updates are rounded, in the eyes of whoever sees least noise
            (`Calibration.multiplier`); what a policy's `min_noise_multiplier` is held against.
        central_z: the multiplier with which the coordinator's own noise (`by=coordinator`) keeps the same (ε, δ), by
            the same accounting; infinite where none does.
        upload_bytes: of one update on the wire in a masked round, without the key shares and signatures.
    """

    z: float
    epsilon: float
    calibration: Calibration
    pipeline: Pipeline
    error: float
    gaussian_error: float
    rounded_z: float
    central_z: float
    upload_bytes: int


def check_budget(epsilon: float, delta: float) -> None:
    """Refuse budgets that mean nothing.

    Raises:
        ConfigError: ε ≤ 0 or not finite, δ not in (0, 1).
    """
    if not 0 < epsilon < inf:
        raise ConfigError(f"ε must be above 0 and finite, not {epsilon}")
    if not 0 < delta < 1:
        raise ConfigError(f"δ must be between 0 and 1, not {delta}")


def epsilon_for(task: Task, z: float) -> float:
    """Back: ε of the task's rounds with noise z; its own ε is not looked at. Infinite where the ring has no room."""
    try:
        calibration = task.calibration(z)
    except ConfigError:
        return inf
    curve = release_curve(calibration, task.counted)
    return epsilon_of(tuple(task.rounds * cost for cost in curve), task.delta)


def find(task: Task) -> Plan:
    """The plan with the least noise.

    Raises:
        ConfigError: there is none; says why, and what the nearest possible is.
        MissingExtraError: dp_accounting is not installed.
    """
    if task.cohort.honest < 1:
        task.calibration(1.0)  # refuses a cohort that cannot be protected in its own words
    z = _least_z(task)
    if z == inf:
        raise _impossible(task, _least_epsilon(task))
    return describe(task, z)


def _least_z(task: Task) -> float:
    """The smallest multiplier that keeps the task's ε; infinite where none does."""
    enough = next((i for i, z in enumerate(_GRID) if epsilon_for(task, z) <= task.epsilon), None)
    if enough is None:
        return inf
    low, high = (_GRID[enough - 1], _GRID[enough]) if enough else (_GRID[0], _GRID[0])
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_for(task, middle) > task.epsilon else (low, middle)
    return _rounded_up(high)  # in one ring more noise never costs more


def describe(task: Task, z: float) -> Plan:
    """The plan of a given noise multiplier.

    Raises:
        ConfigError: the ring is too narrow, or δ too small for the samplers.
    """
    calibration, n = task.calibration(z), task.cohort.summands
    curve = tuple(task.rounds * cost for cost in release_curve(calibration, task.counted))
    epsilon = epsilon_of(curve, task.delta, task.rounds * sampler_distance(calibration, n))
    noise = n * float(calibration.variance)
    unit = calibration.scale * n
    return Plan(
        z=z,
        epsilon=epsilon,
        calibration=calibration,
        pipeline=Pipeline(bits=task.bits, clips=(Clip(l2=task.clip),), rotate=True, noise=Noise(task.law, z)),
        error=sqrt(noise + n / 4) / unit,
        gaussian_error=sqrt(noise) / unit,
        rounded_z=calibration.multiplier(task.counted),
        central_z=_least_z(replace(task.central, epsilon=max(epsilon, float_info.min))),
        upload_bytes=-(-calibration.dimension * task.bits // 8),
    )


def _rounded_up(z: float) -> float:
    """A noise multiplier, rounded up to four decimals, so that a configuration stays readable."""
    return ceil(z * 1e4) / 1e4


def _impossible(task: Task, least: float) -> ConfigError:
    """Why, and what is nearest: another ε, more bits, fewer rounds."""
    rounds = f"{task.rounds} round{'s' if task.rounds > 1 else ''}"
    if isinf(least):
        reason = f"a ring of {task.bits} bits is too narrow for the noise of {task.cohort.summands} participants"
    else:
        reason = (
            f"no noise in a ring of {task.bits} bits gives ε = {task.epsilon:g} over {rounds}: rounding to so few "
            "levels makes updates longer than the noise can hide"
        )
    nearest = [] if isinf(least) else [f"ε = {_three_digits_up(least)}"]
    wider = range(task.bits + 1, MAX_RING_BITS + 1)
    if bits := next((bits for bits in wider if _least_epsilon(replace(task, bits=bits)) <= task.epsilon), 0):
        nearest.append(f"{bits} bits")
    if fewer := _most_rounds(task):
        nearest.append(f"{fewer} round{'s' if fewer > 1 else ''}")
    if not nearest:
        return ConfigError(f"{reason}; no ring is wide enough: raise ε")
    return ConfigError(f"{reason}; the nearest possible is {', or '.join(nearest)}")


def _least_epsilon(task: Task) -> float:
    """What the most fitting noise gives in the task's ring."""
    return min(epsilon_for(task, z) for z in _GRID)


def _most_rounds(task: Task) -> int:
    """The most rounds below the task's that keep its ε; 0 where a single one does not."""
    low, high = 0, task.rounds
    while high - low > 1:
        middle = (low + high) // 2
        possible = _least_epsilon(replace(task, rounds=middle)) <= task.epsilon
        low, high = (middle, high) if possible else (low, middle)
    return low


def _three_digits_up(epsilon: float) -> str:
    """Never below: what is named as possible is."""
    unit = 10.0 ** (floor(log10(epsilon)) - 2)
    return f"{ceil(epsilon / unit) * unit:.3g}"
