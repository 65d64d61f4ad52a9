"""Games that need nothing of one scheme, played against every way to sum."""

from collections.abc import Callable
from typing import Final

import numpy as np

from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.tools.redteam.adversary import true_sum, truth
from secagg.tools.redteam.arena import deployment, rng_of, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Game, Kind, Outcome, settle
from secagg.tools.redteam.attacks.protocol.masked import both_shares, different_models
from secagg.tools.redteam.attacks.protocol.releases import BINS, IMAGE, NAMES, imprint_update, read_imprint
from secagg.tools.redteam.modes import EVERY_MODE, MASKED_ACTIVE, MASKED_SEMI_HONEST, Mode
from secagg.tools.redteam.views import record
from secagg.tools.simulation.cohort import participant_names

_SYBILS: Final = 4
_IMPRINTED: Final = ("masked-semi-honest", "ckks", "ckks-threshold")
"""Ways to sum that a malicious model is tried through, one of each column of the claims: sums are the same in all."""


def sybils_of(mode: Mode) -> Outcome:
    """All but one belong to the coordinator, which knows what they put in: the rest of the sum is the victim's."""

    def attack() -> bool:
        run = start(small_config(_SYBILS, mode))
        names = participant_names(_SYBILS)
        aggregate = run.play().aggregate
        if aggregate is None:
            return False
        left = aggregate.sums.astype(np.uint64) - true_sum(run, names[1:])
        return np.array_equal(left, truth(run, names[0]))

    return settle(attack, held="nothing", got="the victim's exact update: the sum less what the Sybils put in")


def malicious_model_of(mode: Mode) -> Outcome:
    """The same model for everybody, with an imprint layer: the sum is correct, and holds records one by one."""

    def attack() -> bool:
        rng = np.random.default_rng(11)
        records = {name: rng.uniform(0, 1, IMAGE) for name in NAMES}
        probe, edges = np.full(IMAGE, 1 / IMAGE), np.linspace(0.3, 0.7, BINS)
        schema = Schema(
            (ArraySpec("imprint.weight", (BINS, IMAGE), "float64"), ArraySpec("imprint.bias", (BINS,), "float64"))
        )
        config = mode.config(schema, len(NAMES), encoding=FixedPoint(1.0, 16))
        updates = {name: imprint_update(x, probe, edges) for name, x in records.items()}
        made = deployment() if config.signed else None
        released = record(config, updates, rng=rng_of(1, "imprint"), deployment=made).released()
        found = read_imprint(released, len(NAMES))
        exact = [bool(min(np.abs(row - x).max() for x in records.values()) < 1e-2) for row in found]
        return exact.count(True) >= len(NAMES) // 2

    return settle(attack, held="nothing", got="most participants' exact records, out of a correct sum")


def _of(play: Callable[[Mode], Outcome], mode: Mode) -> Callable[[], Outcome]:
    return lambda: play(mode)


def _games() -> tuple[Game, ...]:
    games = [
        Game(
            f"both-shares-{MASKED_SEMI_HONEST.name}",
            f"{MASKED_SEMI_HONEST.title}: both kinds of share of one participant, one request after the other",
            "malicious coordinator", "[B17] §6.2", True, "a participant answers once",
            _of(both_shares, MASKED_SEMI_HONEST), Kind.LYING, MASKED_SEMI_HONEST.name,
        ),
        Game(
            f"different-models-{MASKED_ACTIVE.name}",
            f"{MASKED_ACTIVE.title}: another model for the victim than for the others", "malicious coordinator",
            "[P22]", True, "the context is bound to the model that each participant holds",
            _of(different_models, MASKED_ACTIVE), Kind.MODELS, MASKED_ACTIVE.name,
        ),
    ]  # fmt: skip
    for mode in EVERY_MODE:
        if mode is MASKED_ACTIVE:
            continue  # played elsewhere, with every message by the adversary's hand
        games += [
            Game(
                f"sybils-{mode.name}", f"{mode.title}: all others are Sybils", "coordinator and n − 1 participants",
                "Douceur 2002", False, "whom the CA certifies; a policy with min_organisations",
                _of(sybils_of, mode), Kind.SYBILS, mode.name, encrypted=mode.encrypted,
            ),
        ]  # fmt: skip
        if mode.name in _IMPRINTED:
            games.append(Game(
                f"malicious-model-{mode.name}", f"{mode.title}: one malicious model for everybody",
                "malicious FL server", "Fowl et al. 2022; Boenisch et al. 2023", False,
                "inspect models before training; clipping with noise", _of(malicious_model_of, mode),
                Kind.MALICIOUS_MODEL, mode.name, encrypted=mode.encrypted,
            ))  # fmt: skip
    return tuple(games)


MODE_GAMES: Final = _games()
