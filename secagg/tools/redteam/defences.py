"""What can be done to updates besides hiding them, by the product's own encoding, and what attackers know about it.

A defence is a `Defence`; to compare one of yours, write a function and name it as module:function (docs/redteam.md):

    def top_tenth(target: Target, updates: Sequence[Update], seed: int) -> Release:
        flat = np.mean([flatten(u) for u in updates], axis=0)
        flat[np.abs(flat) < np.quantile(np.abs(flat), 0.9)] = 0
        arrays = target.schema.split(flat)
        kept = {name: array != 0 for name, array in arrays.items()}
        return Release(Observation(arrays, len(updates)), Observation(arrays, len(updates), kept=kept))
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np

from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding.arrays import FloatArray
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import BoundedCode, Code, code_for
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import Flat, Update
from secagg.encoding.steps.chain import Steps
from secagg.encoding.steps.sample import Selection, Spread
from secagg.errors import ConfigError, LocalError
from secagg.tools.redteam.observation import Bits, Observation
from secagg.tools.redteam.target import Target, load

_SEED_SIZE: Final = 32
_NOISE: Final = "clip(l2={{norm}}) | rotate | quantise(bits=28) | noise(law=skellam, z={z})"


@dataclass(frozen=True, slots=True)
class Release:
    """A released mean through the eyes of two attackers.

    Attributes:
        naive: takes the arrays as they come.
        adaptive: knows which coordinates were sent and how coarse or noisy they are.
    """

    naive: Observation
    adaptive: Observation


@dataclass(frozen=True, slots=True)
class Defence:
    """What becomes of updates on their way to the released mean.

    Attributes:
        name: for the command line.
        title: for people.
        release: from the target, the updates of the cohort and a seed.
    """

    name: str
    title: str
    release: Callable[[Target, Sequence[Update], int], Release]


def flatten(update: Update) -> FloatArray:
    """float64[m], arrays one after the other."""
    return np.concatenate([np.asarray(array, np.float64).reshape(-1) for array in update.values()])


def piped(name: str, title: str, text: str) -> Defence:
    """A defence that is a pipeline of the product.

    Args:
        name: for the command line.
        title: for people.
        text: of the pipeline; `{norm}` stands for the median L2 norm of public updates, `{peak}` for the median of
            their largest magnitude.
    """

    def release(target: Target, updates: Sequence[Update], seed: int) -> Release:
        norm, peak = target.sizes
        pipeline = Pipeline.parse(text.format(norm=repr(norm), peak=repr(peak)))
        return encode(target, updates, pipeline, seed)

    return Defence(name, title, release)


def encode(target: Target, updates: Sequence[Update], pipeline: Pipeline, seed: int) -> Release:
    """Every update through the real encoder, the exact sum, and the real decoder."""
    schema, count = target.schema, len(updates)
    code = code_for(pipeline, schema, Cohort(count, count), wraps=True)
    rng = SeededRng(seed.to_bytes(_SEED_SIZE, "big"))
    context, mask = rng.token(_SEED_SIZE), np.uint64((1 << code.ring_bits) - 1)
    total = np.zeros(code.vector_len, np.uint64)
    for update in updates:
        encoder = code.encode(schema.check(update), 1, Secret(rng.token(_SEED_SIZE)), context)
        total += encoder.read(0, code.vector_len, np.dtype(np.uint64))
    mean = code.decode_mean(total & mask, count, context)
    naive = Observation(mean.arrays, count)
    return Release(naive, informed(naive, code, context))


def informed(naive: Observation, code: Code, context: bytes) -> Observation:
    """What an attacker makes of decoded arrays that knows the round's context and configuration.

    Raises:
        LocalError: the encoding has no steps to know about.
    """
    steps = getattr(code, "steps", None)
    if not isinstance(steps, Steps):
        raise LocalError("this encoding cannot be read in parts")
    arrays, kept = dict(naive.arrays), None
    if steps.rate < 1:
        flags, scale = _sampled(steps, context)
        split = steps.schema.split(flatten(naive.arrays) / scale)
        arrays, kept = dict(split), _split_flags(steps, flags)
    return Observation(arrays, naive.summands, kept=kept, deviation=_deviation(code, naive.summands))


def _sampled(steps: Steps, context: bytes) -> tuple[Bits, FloatArray]:
    """Which coordinates are sent, and by what decoding multiplied each."""
    selection = Selection(steps.schema.size, steps.rate, context)
    ones = Flat(np.ones(selection.kept))
    spread = Spread(ones, selection, unbiased=not steps.feedback).read(0, selection.size)
    return spread != 0, np.where(spread == 0, 1.0, spread)


def _split_flags(steps: Steps, flags: Bits) -> dict[str, Bits]:
    return {name: array != 0 for name, array in steps.schema.split(flags.astype(np.float64)).items()}


def _deviation(code: Code, count: int) -> float:
    """Of one coordinate of the mean: stochastic rounding, and noise where there is any."""
    if isinstance(code, BoundedCode):
        return code.code.step / sqrt(6 * count)
    calibration = code.calibration
    if calibration is None:
        raise LocalError("this encoding neither bounds values nor carries noise")
    return sqrt((float(calibration.variance) + 1 / 6) * count) / (calibration.scale * count)


def clip_and_gauss(z: float) -> Defence:
    """Clipping and Gaussian noise in floating point: below z = 2^-10, which is the least that a pipeline takes.

    Only for finding where attacks die. Floating-point noise protects nobody (Mironov 2012).
    """

    def release(target: Target, updates: Sequence[Update], seed: int) -> Release:
        norm, _ = target.sizes
        flat = [flatten(update) for update in updates]
        mean = np.mean([v * min(1.0, norm / float(np.linalg.norm(v))) for v in flat], axis=0)
        deviation = z * norm / len(flat)
        mean += np.random.default_rng(seed).normal(0, deviation, len(mean))
        arrays = target.schema.split(mean)
        return Release(Observation(arrays, len(flat)), Observation(arrays, len(flat), deviation=deviation))

    return Defence(f"gauss-{z:g}", f"clipping and noise of z = {z:g} in floating point", release)


def _nothing(target: Target, updates: Sequence[Update], seed: int) -> Release:
    flat = np.mean([flatten(update) for update in updates], axis=0)
    seen = Observation(target.schema.split(flat), len(updates))
    return Release(seen, seen)


DEFENCES: Final = {
    defence.name: defence
    for defence in (
        Defence("none", "the mean itself", _nothing),
        piped("16-bit", "16-bit values", "quantise(bits=16, range={peak})"),
        piped("8-bit", "8-bit values", "quantise(bits=8, range={peak})"),
        piped("4-bit", "4-bit values", "quantise(bits=4, range={peak})"),
        piped("2-bit", "2-bit values", "quantise(bits=2, range={peak})"),
        piped("1-bit", "1-bit values", "quantise(bits=1, range={peak})"),
        piped("sample-.5", "half of the coordinates", "sample(rate=0.5) | quantise(bits=16, range={peak})"),
        piped("sample-.1", "a tenth of the coordinates", "sample(rate=0.1) | quantise(bits=16, range={peak})"),
        piped("sample-.01", "a hundredth of the coordinates", "sample(rate=0.01) | quantise(bits=16, range={peak})"),
        clip_and_gauss(1e-4),
        piped("z-.001", "noise of z = 0.001", _NOISE.format(z=0.001)),
        piped("z-.01", "noise of z = 0.01", _NOISE.format(z=0.01)),
        piped("z-.1", "noise of z = 0.1", _NOISE.format(z=0.1)),
        piped("z-1.634", "noise for epsilon = 2.5, delta = 1e-5, one release", _NOISE.format(z=1.634)),
    )
}
"""By name."""


def defence_named(name: str) -> Defence:
    """A defence: one of `DEFENCES`, or the user's own as module:function with the signature of `Defence.release`.

    Raises:
        ConfigError: there is none of that name.
        LocalError: the function cannot be imported.
    """
    if ":" in name:
        return Defence(name, name, load(name))
    if name not in DEFENCES:
        raise ConfigError(f"no defence {name!r}; one of: {', '.join(DEFENCES)}")
    return DEFENCES[name]
