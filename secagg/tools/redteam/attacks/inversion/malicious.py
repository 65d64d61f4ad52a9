"""Two more malicious models: trap weights, which fire rarely, and models that differ from participant to participant.

Both leave the analytic inversion of the first layer to do the rest.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from secagg.tools.redteam.attacks.inversion.base import Attack, Generator, Need
from secagg.tools.redteam.attacks.inversion.first_layer import FIRST_LAYER, Exact, names_of
from secagg.tools.redteam.metrics import COHORT
from secagg.tools.redteam.observation import Parameters
from secagg.tools.redteam.target import Target

_BISECTIONS: Final = 30
_SILENCE: Final = -1e3


def _traps(target: Target, participants: int, victim: int, rng: Generator) -> Sequence[Parameters]:
    """Half of every unit's weights negative, half positive but weaker: just so weak that one record in n fires it."""
    public = target.records.vectors()
    weight, bias = names_of(target)
    made = {name: array.copy() for name, array in target.parameters.items()}
    units, inputs = made[weight].shape
    magnitudes = np.abs(rng.normal(0, 1 / np.sqrt(inputs), (units, inputs)))
    positive = np.argsort(rng.random((units, inputs)), axis=1) < inputs // 2
    share = 1 / max(2, participants)
    for unit in range(units):
        up, down = public @ (magnitudes[unit] * positive[unit]), public @ (magnitudes[unit] * ~positive[unit])
        made[weight][unit] = np.where(positive[unit], _scale(up, down, share), -1.0) * magnitudes[unit]
    made[bias][:] = 0
    return [made] * participants


def _scale(up: Exact, down: Exact, share: float) -> float:
    """Factor of the positive half at which the unit fires for that share of the public records."""
    low, high = 0.0, 4.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if np.mean(middle * up > down) < share else (low, middle)
    return high


def _silenced(target: Target, participants: int, victim: int, rng: Generator) -> Sequence[Parameters]:
    """The model for the victim, and for everyone else one whose first layer never fires."""
    _, bias = names_of(target)
    dead = {name: array.copy() for name, array in target.parameters.items()}
    dead[bias][:] = _SILENCE
    return [target.parameters if place == victim else dead for place in range(participants)]


TRAP_WEIGHTS: Final = Attack(
    "trap-weights",
    "a malicious layer whose units fire for few records",
    "Boenisch et al. 2021, arXiv 2112.02918",
    "mlp-digits",
    FIRST_LAYER.run,
    needs=frozenset({Need.MODEL, Need.PUBLIC}),
    models=_traps,
    participants=32,
    bar=COHORT,
)
INCONSISTENT: Final = Attack(
    "inconsistent-models",
    "a model that works for the victim and is dead for everyone else",
    "Pasquini, Francati & Ateniese 2022, arXiv 2111.07380",
    "mlp-digits",
    FIRST_LAYER.run,
    needs=frozenset({Need.MODELS}),
    models=_silenced,
    participants=16,
)
