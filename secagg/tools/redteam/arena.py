"""Small rounds for the red team to play in: identities that are made once, random updates, seeds that repeat."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

import numpy as np

from secagg.config import RoundConfig
from secagg.crypto.rng import Rng, SeededRng
from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.rounds.releases import Claim, nothing_before
from secagg.tools.redteam.modes import MASKED_ACTIVE, Mode
from secagg.tools.simulation.cohort import START, Contribution, Deployment, participant_names, set_up
from secagg.tools.simulation.network import Run

MOST_PEOPLE: Final = 12  # of most games
WIDE: Final = FixedPoint(1.0, 30)
"""Four summands of 30 bits fill a ring of 32 bits: every bit of a mask word shows."""

SMALL: Final = Schema((ArraySpec("layer.weight", (6, 10)), ArraySpec("layer.bias", (4,))))

SEVEN: Final = participant_names(7)
VICTIM: Final = SEVEN[3]
OTHERS: Final = [name for name in SEVEN if name != VICTIM]
COLLUDERS: Final = SEVEN[:2]
EXACT: Final = "the victim's exact update"


@cache
def deployment(people: int = MOST_PEOPLE) -> Deployment:
    """A CA and identities: the first half of one organisation, the second half of another."""
    names = participant_names(people)
    return Deployment.create({name: ("north", "south")[2 * i // people] for i, name in enumerate(names)}, START)


def _enrolled(people: int) -> Deployment:
    """The deployment of most games, or a larger one."""
    return deployment() if people <= MOST_PEOPLE else deployment(people)


def rng_of(seed: int, purpose: str = "") -> Rng:
    """A stream of its own for each purpose."""
    return SeededRng((purpose.encode()[:24]).ljust(24, b"\0") + seed.to_bytes(8, "big"))


def random_updates(
    schema: Schema, names: Iterable[ParticipantId], seed: int = 0
) -> dict[ParticipantId, dict[str, FloatArray]]:
    """A different update for everyone, uniform in [−1, 1]."""
    rng = np.random.default_rng(seed)
    return {name: {a.name: rng.uniform(-1, 1, a.shape).astype(a.dtype) for a in schema.arrays} for name in names}


def small_config(
    people: int, mode: Mode = MASKED_ACTIVE, *, threshold: int = 0, max_colluding: int = -1
) -> RoundConfig:
    """A round of a few values."""
    return mode.config(SMALL, people, threshold=threshold, max_colluding=max_colluding)


def start(
    config: RoundConfig,
    *,
    seed: int = 0,
    policy: Policy | None = None,
    rng: Rng | None = None,
    claim: Claim = nothing_before,
    recall: Callable[[ParticipantId], Claim] = lambda _: nothing_before,
) -> Run:
    """A round of `config.max_participants`, ready to play or to be played with; see `set_up`."""
    names = participant_names(config.max_participants)
    brought = {name: Contribution(update) for name, update in random_updates(config.schema, names, seed).items()}
    made = _enrolled(config.max_participants) if config.signed else None
    rng = rng or rng_of(seed, "arena")
    return set_up(config, brought, rng=rng, deployment=made, policy=policy, claim=claim, recall=recall)


def layers(values: int) -> Schema:
    """A large layer, a small one, and one that stands alone at the end."""
    return Schema(
        (
            ArraySpec("first", (values - values // 4 - 64,)),
            ArraySpec("second", (values // 4,)),
            ArraySpec("last", (64,)),
        )
    )


def zero_updates(config: RoundConfig, names: list[ParticipantId]) -> dict[ParticipantId, dict[str, FloatArray]]:
    """An update of zeros for everyone, as the round's schema has it."""
    return {name: {a.name: np.zeros(a.shape, a.dtype) for a in config.schema.arrays} for name in names}
