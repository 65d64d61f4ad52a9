"""Who drops out where: every phase of the protocol has its turn, and every round loses someone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from secagg import ConfigError, Phase, RoundConfig
from secagg.messages import INPUT_PHASES
from secagg.phases import phases


class Moment(Enum):
    """When within its phase a participant dies."""

    BEFORE_SENDING = "before sending"
    HALF_SENT = "half-way through the upload"


@dataclass(frozen=True, slots=True)
class Dropout:
    """When one participant drops out of a round."""

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
    turns = _turns(order)
    dropouts = [_possible([next(turns) for _ in range(each)]) for _ in range(rounds)]
    if each < 1 or each * rounds < len(order) or max(map(len, dropouts)) > spare:
        raise ConfigError(
            f"{rounds} rounds of {len(names)} participants that need {config.threshold} cannot lose one in each of "
            f"{len(order)} phases: play more rounds, or with more participants"
        )
    rng = np.random.default_rng([seed, 3])
    unlucky = [str(name) for _ in range(rounds) for name in rng.permutation(list(names))]  # everyone has a turn
    return [dict(_victims(planned, names, unlucky)) for planned in dropouts]


_AFTER_A_FALL = frozenset({Phase.RECOVERY_CHECK, Phase.RECOVER_SEEDS})
_FALLS = frozenset({Phase.ENCRYPTED_INPUT, Phase.CONSISTENCY_CHECK, Phase.PARTIAL_DECRYPTION})


def _possible(dropouts: list[Dropout]) -> list[Dropout]:
    """Seeds are recovered only if somebody fell before: one more does, where it takes that."""
    missing = {d.phase for d in dropouts} & _AFTER_A_FALL and not {d.phase for d in dropouts} & _FALLS
    return [*dropouts, Dropout(Phase.PARTIAL_DECRYPTION, Moment.BEFORE_SENDING)] if missing else dropouts


def _turns(order: tuple[Phase, ...]) -> Iterator[Dropout]:
    """The phases in order, again and again; every other time an upload is broken off instead of never begun."""
    half = True
    while True:
        for phase in order:
            broken_off = half and phase in INPUT_PHASES
            yield Dropout(phase, Moment.HALF_SENT if broken_off else Moment.BEFORE_SENDING)
        half = not half


def _victims(dropouts: list[Dropout], names: Sequence[str], unlucky: list[str]) -> Iterator[tuple[str, Dropout]]:
    """Someone for each dropout of a round; `unlucky` loses whoever had a turn."""
    taken: set[str] = set()
    # Of those that hold the sum, only the first is asked to hand it in: nobody else can drop out there.
    for dropout in sorted(dropouts, key=lambda dropout: dropout.phase is not Phase.RELEASE_SUM):
        released = dropout.phase is Phase.RELEASE_SUM
        name = min(names) if released else next(name for name in unlucky if name not in taken)
        if name in unlucky:
            unlucky.remove(name)
        taken.add(name)
        yield name, dropout
