"""How often detection speaks on malicious models, and on honest ones, trained and not."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.tools.redteam.attacks.inversion.imprint import IMPRINT
from secagg.tools.redteam.attacks.inversion.malicious import INCONSISTENT, TRAP_WEIGHTS
from secagg.tools.redteam.detection import inspect_model
from secagg.tools.redteam.fidelity import CANARIES, SUSPICIOUS, model_fidelity
from secagg.tools.redteam.measured import Detected
from secagg.tools.redteam.records import Indices
from secagg.tools.redteam.statistics import proportion_interval
from secagg.tools.redteam.target import Target
from secagg.tools.redteam.targets import target_named

HONEST: Final = ("mlp-digits", "mlp-breast-cancer", "mlp-genotypes", "mlp-faces", "conv-digits", "text-sentences")
ATTACKED: Final = "mlp-digits"
_OWN: Final = 48  # records that a participant looks at a model with
_EPOCHS: Final = (0, 20, 200)
_RATE: Final = 0.3
_BATCH: Final = 200
_JITTER: Final = 0.05  # of a length: no unit has a twin any more, and the attack still works

Model = dict[str, FloatArray]


def trained(target: Target, steps: int, rng: np.random.Generator) -> Model:
    """The target's model after honest training by gradient descent on batches of 200 records."""
    model = dict(target.parameters)
    for _ in range(steps):
        slope = target.update(model, rng.integers(0, len(target.records), _BATCH))
        model = {name: (array - np.float32(_RATE) * slope[name]).astype(np.float32) for name, array in model.items()}
    return model


def disguised_imprint(target: Target, rng: np.random.Generator) -> Model:
    """An imprint layer in random order, with noise on every unit's weights."""
    model = dict(IMPRINT.models(target, CANARIES, 0, rng)[0])
    weight, bias = target.first_layer or ("", "")
    order = rng.permutation(len(model[bias]))
    length = float(np.linalg.norm(model[weight][0]))
    noise = rng.normal(0, _JITTER * length / np.sqrt(model[weight].shape[1]), model[weight].shape)
    model[weight] = (model[weight] + noise).astype(np.float32)[order]
    # Levels follow the noisy units: each still fires for its share of public records.
    heights = target.records.vectors() @ model[weight].T
    levels = (order + 0.5) / len(order)
    model[bias] = np.array([-np.quantile(heights[:, i], levels[i]) for i in range(len(order))], np.float32)
    return model


MALICIOUS: Final[dict[str, Callable[[Target, np.random.Generator], Model]]] = {
    "imprint": lambda target, rng: dict(IMPRINT.models(target, CANARIES, 0, rng)[0]),
    "imprint, disguised": disguised_imprint,
    "trap weights": lambda target, rng: dict(TRAP_WEIGHTS.models(target, CANARIES, 0, rng)[0]),
    "silenced": lambda target, rng: dict(INCONSISTENT.models(target, CANARIES, 0, rng)[1]),
}


def rates(seeds: int, epochs: Sequence[int] = _EPOCHS) -> list[Detected]:
    """Measure both checks: on every malicious model, and on honest ones, fresh and trained, `seeds` of each.

    Args:
        seeds: of models.
        epochs: steps of honest training, by how many models are measured.
    """
    found = []
    for name, make in MALICIOUS.items():
        cases = [(target, make(target, rng), rng) for target, rng in _seeded(ATTACKED, seeds)]
        found += _both(name, cases)
    for steps in epochs:
        cases = [(target, trained(target, steps, rng), rng) for name in HONEST for target, rng in _seeded(name, seeds)]
        found += _both(f"honest, {steps} steps of training", cases)
    return found


def _seeded(name: str, seeds: int) -> Iterator[tuple[Target, np.random.Generator]]:
    for seed in range(seeds):
        yield target_named(name, seed), np.random.default_rng([seed, 17])


def _both(models: str, cases: list[tuple[Target, Model, np.random.Generator]]) -> list[Detected]:
    inspected = [bool(inspect_model(model, records=_own(target, rng))) for target, model, rng in cases]
    dense = [case for case in cases if case[0].first_layer is not None]
    leaking = [model_fidelity(t, model, _drawn(t, CANARIES, rng)) > SUSPICIOUS for t, model, rng in dense]
    return [
        Detected(
            check, models, models in MALICIOUS, sum(spoke), len(spoke), proportion_interval(sum(spoke), len(spoke))
        )
        for check, spoke in (("inspection", inspected), ("fidelity", leaking))
    ]


def _own(target: Target, rng: np.random.Generator) -> FloatArray:
    return target.records.features[_drawn(target, _OWN, rng)]


def _drawn(target: Target, count: int, rng: np.random.Generator) -> Indices:
    chosen: Indices = rng.permutation(len(target.records))[:count]
    return chosen
