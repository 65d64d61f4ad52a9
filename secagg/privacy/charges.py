"""What one round costs, and in whose eyes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any

from secagg.config import RoundConfig
from secagg.encoding.calibration import Calibration
from secagg.encoding.pipeline import Pipeline
from secagg.errors import ConfigError
from secagg.privacy.accountant import epsilon_of, sampler_distance
from secagg.privacy.divergence import ORDERS, Curve, composed, epsilon_bound, release_curve
from secagg.sparse.tails import PRIVACY_BITS


class View(Enum):
    """Who sees the least noise of all that the cost is to hold against. It is smaller in everybody else's eyes."""

    COORDINATOR = "coordinator"
    """The coordinator, with the n_C participants that collude with it: it does not see their noise, but they tell."""
    PARTICIPANT = "participant"
    """A fellow participant that gets the sum and knows its own noise, where n_C = 0."""
    RECIPIENT = "recipient"
    """Whoever sees no more than the released sum, where the coordinator adds the noise. Not the coordinator."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What one round costs.

    Attributes:
        pipeline: its text: mechanism, z, clip and bits.
        view: whose view the cost is about.
        honest: participants whose noise is counted; 1 where the coordinator adds it.
        colluding: n_C; where it is 0 and the view is a participant's, that one's own noise is not counted.
        survivors: participants in the released sum; 0 while it is only planned.
        curve: ε(α) at `ORDERS`.
        distance: of the samplers from their law; on a ring also the probability of its failure.
    """

    pipeline: str
    view: View
    honest: int
    colluding: int
    survivors: int
    curve: Curve
    distance: float


def charge_of(config: RoundConfig, survivors: int = 0) -> Charge:
    """What a round costs: planned, or with `survivors` in its sum.

    Raises:
        ConfigError: the round's updates carry no noise, so no budget is ever enough.
    """
    calibration, encoding = config.code.calibration, config.encoding
    if calibration is None or not isinstance(encoding, Pipeline):
        raise ConfigError(f"task {config.task!r} has a privacy budget; give its rounds a pipeline with noise")
    return Charge(
        encoding.text,
        view_of(config),
        _honest(config, survivors),
        0 if calibration.central else config.max_colluding,
        survivors,
        curve_of(config, survivors),
        _distance(config, calibration),
    )


def _distance(config: RoundConfig, calibration: Calibration) -> float:
    """How far the view of a sum is from what the curve is about: the samplers' distance from their law and, on a ring,
    the probability with which somebody sees more than the sum. Whoever sees the released sum alone sees no more.
    """
    if calibration.central:
        return sampler_distance(calibration, 1)
    exception = 0.0 if config.ring is None else 2.0**-PRIVACY_BITS
    return sampler_distance(calibration, config.max_participants) + exception


def view_of(config: RoundConfig) -> View:
    """Whose view the cost of a round is about."""
    if config.central_noise:
        return View.RECIPIENT
    return View.COORDINATOR if config.known_noises == config.max_colluding else View.PARTICIPANT


def cost_of(config: RoundConfig, delta: float) -> float:
    """ε of one planned round at δ, in plain arithmetic (without dp_accounting); infinite without noise, or where δ is
    too small for the samplers.
    """
    calibration = config.code.calibration
    if calibration is None:
        return inf
    return epsilon_bound(curve_of(config), delta, _distance(config, calibration))


def curve_of(config: RoundConfig, survivors: int = 0) -> Curve:
    """ε(α) of a round: planned, or with `survivors` in its sum. Infinite without noise."""
    calibration = config.code.calibration
    return (inf,) * len(ORDERS) if calibration is None else release_curve(calibration, _honest(config, survivors))


def _honest(config: RoundConfig, survivors: int) -> int:
    """Participants whose noise is counted: never more than planned, for t of them are all that is certain before. The
    coordinator's own noise is that of one who is honest.
    """
    if config.central_noise:
        return 1
    planned = config.threshold - config.known_noises
    return max(0, min(planned, survivors - config.known_noises)) if survivors else planned


def epsilon_spent(charges: Iterable[Charge], delta: float) -> float:
    """ε of all charges together at δ; 0 of none."""
    charges = list(charges)
    curve = composed(*(charge.curve for charge in charges))
    return epsilon_of(curve, delta, sum(charge.distance for charge in charges)) if charges else 0.0


def to_json(charge: Charge) -> dict[str, Any]:
    """A charge as an entry of the ledger has it. Floats are in hexadecimal: what is read is what was written."""
    return {
        "pipeline": charge.pipeline,
        "view": charge.view.value,
        "honest": charge.honest,
        "colluding": charge.colluding,
        "survivors": charge.survivors,
        "curve": [cost.hex() for cost in charge.curve],
        "distance": charge.distance.hex(),
    }


def from_json(body: Mapping[str, Any]) -> Charge:
    """The charge of an entry.

    Raises:
        ConfigError: the entry holds none.
    """
    try:
        charge = Charge(
            pipeline=Pipeline.parse(body["pipeline"]).text,
            view=View(body["view"]),
            honest=_count(body["honest"]),
            colluding=_count(body["colluding"]),
            survivors=_count(body["survivors"]),
            curve=tuple(float.fromhex(cost) for cost in body["curve"]),
            distance=float.fromhex(body["distance"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise ConfigError("an entry without a charge") from None
    whole = len(charge.curve) == len(ORDERS) and all(0 <= cost <= inf for cost in charge.curve)
    if not whole or not 0 <= charge.distance < 1:  # check: no-charge
        raise ConfigError("a charge that is none")
    return charge


def _count(value: object) -> int:
    if type(value) is not int or value < 0:  # True is an int, too
        raise TypeError("not a number of participants")
    return value
