"""A malicious model for everybody: the sum is correct, and tells records one by one. Masking stops none of this."""

from functools import partial
from typing import Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.tools.redteam.arena import deployment, rng_of
from secagg.tools.redteam.attacks.protocol.game import Game, Kind, Outcome, settle
from secagg.tools.redteam.modes import MASKED_ACTIVE, Mode, mode_named
from secagg.tools.redteam.views import record
from secagg.tools.simulation.cohort import participant_names

PEOPLE: Final = 8
IMAGE: Final = 64
BINS: Final = 96


def imprint_update(record_: FloatArray, probe: FloatArray, edges: FloatArray) -> dict[str, FloatArray]:
    """The gradient of one record through a layer whose rows are all `probe` and whose biases are −`edges`.

    ReLU row k is open for records with probe·x > edges[k]; there its weight gradient is the record, its bias gradient 1
    (Fowl et al. 2022, "Robbing the Fed").
    """
    open_rows = (float(probe @ record_) > edges).astype(np.float64)
    return {"imprint.weight": np.outer(open_rows, record_), "imprint.bias": open_rows}


def read_imprint(mean: dict[str, FloatArray], people: int) -> list[FloatArray]:
    """Records that lie alone between two edges: the difference of neighbouring rows, where that of the biases is 1."""
    weights, bias = mean["imprint.weight"] * people, mean["imprint.bias"] * people
    rows, counts = weights[:-1] - weights[1:], bias[:-1] - bias[1:]
    return [row for row, count in zip(rows, counts, strict=True) if abs(count - 1) < 0.1]


def malicious_model(mode: Mode = MASKED_ACTIVE, value_bits: int = 24, error: float = 1e-3) -> Outcome:
    """The same model for everybody, with an imprint layer: the sum is correct, and holds records one by one.

    Args:
        mode: of the round.
        value_bits: of a value.
        error: how near to the record a row must be.
    """

    def attack() -> bool:
        rng, names = np.random.default_rng(11), participant_names(PEOPLE)
        records = {name: rng.uniform(0, 1, IMAGE) for name in names}
        probe, edges = np.full(IMAGE, 1 / IMAGE), np.linspace(0.3, 0.7, BINS)
        schema = Schema(
            (ArraySpec("imprint.weight", (BINS, IMAGE), "float64"), ArraySpec("imprint.bias", (BINS,), "float64"))
        )
        config = mode.config(schema, PEOPLE, encoding=FixedPoint(1.0, value_bits))
        updates = {name: imprint_update(x, probe, edges) for name, x in records.items()}
        made = deployment() if config.signed else None
        found = read_imprint(record(config, updates, rng=rng_of(1, "imprint"), deployment=made).released(), PEOPLE)
        exact = [bool(min(np.abs(row - x).max() for x in records.values()) < error) for row in found]
        return exact.count(True) >= PEOPLE // 2

    return settle(attack, got="most participants' exact records, out of a correct sum")


def _through(name: str) -> Game:
    mode = mode_named(name)
    return Game(
        f"malicious-model-{name}", f"{mode.title}: one malicious model for everybody", "malicious FL server",
        "Fowl et al. 2022; Boenisch et al. 2023", False, "inspect models before training; clipping with noise",
        partial(malicious_model, mode, 16, 1e-2), Kind.MALICIOUS_MODEL, name,
    )  # fmt: skip


MODEL_GAMES: Final = (
    Game(
        "malicious-model", "One malicious model for everybody: an imprint layer", "malicious FL server",
        "Fowl et al. 2022; Boenisch et al. 2023", False,
        "inspect models before training; clipping with noise; sampling per participant", malicious_model,
        Kind.MALICIOUS_MODEL,
    ),
    # One way to sum of each column of the claims: sums are the same in all.
    *map(_through, ("masked-semi-honest", "ckks", "ckks-threshold")),
)  # fmt: skip
