"""How much of held-out canaries comes back from an aggregate: what a model does to records, whatever it looks like.

A participant computes, before it trains on anything of value, the updates of a few dozen records that it can spare,
and inverts their mean. A coordinator does the same with a released aggregate that contains canaries of its own. An
honest model gives a tenth of 64 records away; one made for it, half or more.
"""

from typing import Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.errors import LocalError
from secagg.tools.redteam import metrics
from secagg.tools.redteam.attacks.inversion.base import Attack
from secagg.tools.redteam.attacks.inversion.first_layer import FIRST_LAYER
from secagg.tools.redteam.attacks.inversion.imprint import IMPRINT
from secagg.tools.redteam.observation import Observation, Parameters
from secagg.tools.redteam.records import Indices
from secagg.tools.redteam.target import Target

CANARIES: Final = 64
"""Records in the aggregate for which `SUSPICIOUS` was measured; of fewer, honest models give more away."""

SUSPICIOUS: Final = 0.35
"""Share of canaries that come back exactly, beyond which a model is not trained on."""

_ANALYTIC: Final[tuple[Attack, ...]] = (FIRST_LAYER, IMPRINT)


def model_fidelity(target: Target, parameters: Parameters, canaries: Indices) -> float:
    """Share of `canaries` that come back exactly from the mean of their updates, one record each.

    Args:
        target: architecture and records.
        parameters: the model that was received.
        canaries: numbers of records, 64 for comparison with `SUSPICIOUS`.
    """
    updates = [target.update(parameters, canaries[i : i + 1]) for i in range(len(canaries))]
    mean = {name: np.mean([update[name] for update in updates], axis=0) for name in parameters}
    return aggregate_fidelity(target, Observation(mean, len(canaries), parameters), canaries)


def aggregate_fidelity(target: Target, aggregate: Observation, canaries: Indices) -> float:
    """Share of `canaries` that an analytic inversion finds in an aggregate, exactly: 0 to 1.

    Raises:
        LocalError: there are no canaries.
    """
    if not len(canaries):
        raise LocalError("fidelity is measured on canaries; set some records aside")
    if target.first_layer is None:
        return 0.0  # analytic inversion needs a linear first layer
    rng = np.random.default_rng(0)  # analytic inversion draws nothing
    guesses = np.concatenate([attack.run(target, aggregate, rng).records for attack in _ANALYTIC])
    blind: FloatArray = target.records.vectors().mean(axis=0)
    records = target.records.vectors(canaries)
    gains = [metrics.gain_db(guesses, record, blind) for record in records]
    return float(np.mean(np.array(gains) >= metrics.EXACT_DECIBEL))
