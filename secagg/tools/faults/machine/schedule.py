"""What is drawn from the seed of a schedule: the round, and what goes wrong at which moment."""

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any, Final

import numpy as np

from secagg.config import Deadlines, RoundConfig, ThreatModel
from secagg.encoding.integers import Integers
from secagg.encoding.schema import ArraySpec, Schema
from secagg.phases import phases
from secagg.tools.simulation.cohort import participant_names

ARRAY: Final = "values"
LARGEST: Final = 1000
PEOPLE: Final = 5
LIMIT_S: Final = 3.0
"""Of each phase."""


class Kind(StrEnum):
    """What can go wrong."""

    KILL_COORDINATOR = "kill -9 of the coordinator"
    KILL_PARTICIPANT = "kill -9 of a participant"
    KILL_FL_SERVER = "kill -9 of the FL server"
    STOP_COORDINATOR = "SIGSTOP of the coordinator"
    STOP_PARTICIPANT = "SIGSTOP of a participant"
    ORDERLY_STOP = "SIGTERM of the coordinator"
    CUT = "connections cut"
    DELAY = "bytes delayed"
    REPEAT = "bytes repeated"
    REORDER = "bytes reordered"
    FULL = "file system full"


@dataclass(frozen=True, slots=True)
class Accident:
    """Something goes wrong.

    Attributes:
        kind: what.
        event: of the coordinator's log; the accident follows it.
        phase: of that event; empty for any.
        number: which of these events, from 1 on.
        after_s: from the event to the accident.
        for_s: until a killed process starts again, a stopped one goes on, or there is room again.
        whose: number of the participant, from 0 on.
    """

    kind: Kind
    event: str
    phase: str
    number: int
    after_s: float
    for_s: float
    whose: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """One round and its accidents."""

    seed: int
    config: RoundConfig
    accidents: tuple[Accident, ...]


def names() -> list[str]:
    """The participants."""
    return [str(name) for name in participant_names(PEOPLE)]


def draw(seed: int, kinds: tuple[Kind, ...] = tuple(Kind)) -> Schedule:
    """The schedule of a seed."""
    rng = Random(f"schedule/{seed}")  # noqa: S311, to be replayed
    config = RoundConfig(
        task="task",
        schema=Schema((ArraySpec(ARRAY, (rng.choice((8, 3000, 60_000)),), "int64"),)),
        encoding=Integers(LARGEST),
        max_participants=PEOPLE,
        model_digest=rng.randbytes(32),
        threshold=3,
        max_colluding=0,
        deadlines=Deadlines(LIMIT_S, LIMIT_S, LIMIT_S, LIMIT_S, LIMIT_S, 0.0),
        certify=rng.random() < 0.2,
    )
    if rng.random() < 0.3:
        config = replace(config, threat_model=ThreatModel.SEMI_HONEST, certify=False)
    count = rng.choices((1, 2, 3), (60, 30, 10))[0]
    return Schedule(seed, config, tuple(_accident(rng, config, kinds) for _ in range(count)))


def _accident(rng: Random, config: RoundConfig, kinds: tuple[Kind, ...]) -> Accident:
    weights = [_WEIGHTS.get(kind, 1) for kind in kinds]
    kind = rng.choices(kinds, weights)[0]
    event = rng.choices(("phase_started", "message_accepted", "sum_ready"), (40, 50, 10))[0]
    phase = "" if event == "sum_ready" else str(rng.choice(phases(config)))
    number = rng.randrange(1, PEOPLE + 1) if event == "message_accepted" else 1
    stopped = kind in {Kind.STOP_COORDINATOR, Kind.STOP_PARTICIPANT}
    for_s = rng.choice((0.3, 1.0, 2 * LIMIT_S) if stopped else (0.0, 0.2, 1.0))
    return Accident(kind, event, phase, number, rng.choice((0.0, 0.0, 0.002, 0.02)), for_s, rng.randrange(PEOPLE))


_WEIGHTS: Final = {Kind.KILL_COORDINATOR: 6, Kind.KILL_PARTICIPANT: 4, Kind.CUT: 2, Kind.FULL: 2}


def round_id_of(schedule: Schedule) -> bytes:
    """The round's id, which the FL server names."""
    return Random(f"round/{schedule.seed}").randbytes(16)  # noqa: S311, to be replayed


def update_of(schedule: Schedule, name: str) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """What a participant puts in."""
    rng = np.random.default_rng([schedule.seed, names().index(name)])
    return rng.integers(0, LARGEST, schedule.config.schema.arrays[0].shape, np.int64, endpoint=True)
