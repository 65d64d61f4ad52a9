"""Who drops out where: every phase of the protocol has its turn, and every round loses someone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from secagg.config import RoundConfig
from secagg.errors import ConfigError
from secagg.phases import Phase, phases

UPLOADS: Final = frozenset({Phase.MASKED_INPUT})
"""Phases in which a vector goes up, so that one can drop out half-way through."""


class Moment(Enum):
    """When within its phase a participant dies."""

    BEFORE_SENDING = "before sending"
    HALF_SENT = "half-way through the upload"


@dataclass(frozen=True, slots=True)
class Dropout:
    """One planned death."""

    phase: Phase
    moment: Moment


RoundPlan = Mapping[str, Dropout]
"""Who drops out in one round, by participant."""


def plan_dropouts(config: RoundConfig, names: Sequence[str], rounds: int, seed: int) -> list[RoundPlan]:
    """One plan for each round; together they cover every phase, and uploads are broken off in turn.

    Raises:
        ConfigError: too few rounds or participants for a dropout in each phase.
    """
    order = phases(config)
    spare = len(names) - config.threshold
    each = min(spare, max(2, -(-len(order) // rounds)))
    if each < 1 or each * rounds < len(order):
        raise ConfigError(
            f"{rounds} rounds of {len(names)} participants that need {config.threshold} cannot lose one in each of "
            f"{len(order)} phases: play more rounds, or with more participants"
        )
    rng = np.random.default_rng([seed, 3])
    unlucky = [str(name) for _ in range(rounds) for name in rng.permutation(list(names))]  # everyone has a turn
    turn = iter(range(rounds * each))
    plans: list[RoundPlan] = []
    for _ in range(rounds):
        victims = list(dict.fromkeys(unlucky))[:each]
        for name in victims:
            unlucky.remove(name)
        plans.append({name: _dropout(order, next(turn)) for name in victims})
    return plans


def _dropout(order: tuple[Phase, ...], turn: int) -> Dropout:
    """The phases in order, again and again; every other time an upload is broken off instead of never begun."""
    again, position = divmod(turn, len(order))
    phase = order[position]
    half = phase in UPLOADS and again % 2 == 0
    return Dropout(phase, Moment.HALF_SENT if half else Moment.BEFORE_SENDING)
