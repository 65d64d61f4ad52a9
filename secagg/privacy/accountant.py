"""From divergences to (ε, δ), by `dp_accounting` (extra `dp`)."""

from importlib import import_module
from importlib.util import find_spec
from math import inf, isinf
from typing import Any

from secagg.encoding.calibration import Calibration
from secagg.errors import ConfigError, MissingExtraError
from secagg.noise.table import noise_table
from secagg.privacy.divergence import ORDERS, SAMPLER_SHARE, Curve, samplers_fit


def epsilon_of(curve: Curve, delta: float, distance: float = 0.0) -> float:
    """The smallest ε known for a curve at δ.

    Args:
        curve: of all releases together.
        delta: δ in (0, 1).
        distance: total-variation distance of all noise from its law; (ε, δ′) then is (ε, δ′ + (1 + e^ε)·distance).

    Raises:
        ConfigError: δ is not in (0, 1), or too small for the distance.
        MissingExtraError: dp_accounting is not installed.
    """
    if not 0 < delta < 1:
        raise ConfigError(f"δ must be between 0 and 1, not {delta}")
    if all(map(isinf, curve)):
        return inf
    known = [(alpha, cost) for alpha, cost in zip(ORDERS, curve, strict=True) if not isinf(cost)]
    orders, costs = zip(*known, strict=True)
    epsilon = float(_accountant().compute_epsilon(orders, costs, delta * (1 - SAMPLER_SHARE))[0])
    if not samplers_fit(epsilon, delta, distance):
        raise ConfigError(f"δ = {delta} is too small for the samplers' distance {distance:.3g} from their law; raise δ")
    return epsilon


def sampler_distance(calibration: Calibration, summands: int) -> float:
    """Distance of all noise in one sum from its law: each of d·n samples is within the table's own distance."""
    return float(noise_table(calibration.law, calibration.variance).distance) * calibration.dimension * summands


def check_installed() -> None:
    """Without loading it.

    Raises:
        MissingExtraError: dp_accounting is not installed.
    """
    if find_spec("dp_accounting") is None:
        raise _missing()


def _accountant() -> Any:
    try:
        return import_module("dp_accounting.rdp.rdp_privacy_accountant")
    except ImportError:
        raise _missing() from None


def _missing() -> MissingExtraError:
    return MissingExtraError("privacy accounting", "dp")
