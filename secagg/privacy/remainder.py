"""What still fits into what is left of a budget."""

from collections.abc import Iterable
from dataclasses import replace
from math import ceil, inf
from typing import Final

from secagg.config import RoundConfig
from secagg.encoding.pipeline import MAX_Z, Pipeline
from secagg.errors import ConfigError
from secagg.privacy.accountant import epsilon_of
from secagg.privacy.charges import Charge, curve_of
from secagg.privacy.divergence import composed

_PRECISION: Final = 1e-3


def weakest_noise(config: RoundConfig, spent: Iterable[Charge], epsilon: float, delta: float) -> float | None:
    """The smallest multiplier, to three digits, with which a round would keep within a budget.

    Args:
        config: of the round, whose own noise is too weak.
        spent: what counts already.
        epsilon: ε of all together.
        delta: δ of all together.

    Returns:
        z above the round's own; None if there is none in its ring, or its encoding cannot take another.
    """
    pipeline = config.encoding
    if not isinstance(pipeline, Pipeline) or pipeline.noise is None:
        return None
    noise, used = pipeline.noise, composed(*(charge.curve for charge in spent))

    def costs(z: float) -> float:
        try:
            stronger = replace(config, encoding=replace(pipeline, noise=replace(noise, z=z)))
            # Without the samplers' distance: it costs a table for each z, and no ε unless δ is too small anyhow.
            return epsilon_of(composed(used, curve_of(stronger)), delta)
        except ConfigError:
            return inf

    low = high = noise.z
    while costs(high) > epsilon:
        low, high = high, 2 * high
        if high > MAX_Z:
            return None
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if costs(middle) > epsilon else (low, middle)
    return ceil(high * 1e3) / 1e3
