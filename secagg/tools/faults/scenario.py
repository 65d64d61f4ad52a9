"""What a history is about, drawn from its seed: who takes part in which rounds, and what goes wrong."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from random import Random
from typing import Final

from secagg.config import Deadlines, RoundConfig, ThreatModel
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.integers import Integers
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.lattice.parameters import Custody, Profile, Scheme, find_profile
from secagg.messages import ParticipantId
from secagg.robust.grouping import Combine, Groups
from secagg.sparse.ring import Ring
from secagg.tools.faults.aims import Aim
from secagg.tools.faults.deployment import NAMES
from secagg.tools.faults.history import Fault
from secagg.tools.faults.weather import Rates

ARRAY: Final = "values"
LARGEST: Final = 1000
"""Integers of updates are from 0 to this."""

NOISY: Final = "clip(l2=1.0) | rotate | quantise(bits=12) | noise(law=skellam, z=1.0, by=coordinator)"


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """The rounds of one task, one after the other.

    Attributes:
        name: of the task.
        config: of each of its rounds, but for the model.
        models: the digest of the model of each round.
        expects: whether the FL server says who will come.
        excludes: whether it says once that one is gone.
    """

    name: str
    config: RoundConfig
    models: tuple[bytes, ...]
    expects: bool
    excludes: bool

    def configs(self) -> tuple[RoundConfig, ...]:
        """The configuration of each round."""
        return tuple(replace(self.config, model_digest=model) for model in self.models)


@dataclass(frozen=True, slots=True)
class Kill:
    """A program ends at an instant of its own, and starts again.

    Attributes:
        whose: name of its machine.
        step: how much it has done by then since its start.
        down_s: until it starts again; None for never.
        power: whether the power of its machine is cut, so that what its disk did not flush may be lost.
    """

    whose: str
    step: int
    down_s: float | None
    power: bool = False


@dataclass(frozen=True, slots=True)
class ShutDown:
    """Somebody stops the coordinator in order, and starts it again."""

    at_s: float
    down_s: float


@dataclass(frozen=True, slots=True)
class DiskAccident:
    """Something happens to the disk of a machine in place of one of its operations.

    Attributes:
        whose: name of the machine.
        change: number of the operation among those that change something, from 1 on.
        fault: COORDINATOR_KILLED, PARTICIPANT_KILLED, POWER_CUT of the coordinator, DISK_FULL or DISK_ERROR.
        for_s: until its program starts again, or until there is room again.
        power: whether a program that is killed loses what its disk did not flush.
    """

    whose: str
    change: int
    fault: Fault
    for_s: float
    power: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlan:
    """How the disk of a machine fails.

    Attributes:
        accidents: in the order of their operations.
        lies: share of the flushes that make nothing safe.
        rots: whether bytes of a file change when its program ends first.
        rots_in: end of the name of that file; empty for any file.
    """

    accidents: tuple[DiskAccident, ...] = ()
    lies: float = 0.0
    rots: bool = False
    rots_in: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """A program gets no time for a while, as between SIGSTOP and SIGCONT."""

    whose: str
    step: int
    for_s: float


@dataclass(frozen=True, slots=True)
class Jump:
    """Somebody sets the wall clock of a machine."""

    whose: str
    at_s: float
    by_s: float


@dataclass(frozen=True, slots=True)
class Partition:
    """Nothing reaches a machine for a while, and nothing leaves it."""

    whose: str
    at_s: float
    for_s: float


Accident = Kill | ShutDown | Stop | Jump | Partition

COORDINATOR: Final = "coordinator"
FL_SERVER: Final = "fl-server"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is played.

    Attributes:
        seed: everything follows from it.
        people: who takes part.
        tasks: at the same time.
        rates: of the network's faults.
        disks: how the disks fail of those that keep anything. A coordinator without one never ends.
        accidents: what else goes wrong, in any order.
        patience_s: longest time that a participant gives to one round.
    """

    seed: int
    people: tuple[ParticipantId, ...]
    tasks: tuple[TaskPlan, ...]
    rates: Rates
    disks: Mapping[str, DiskPlan]
    accidents: tuple[Accident, ...]
    patience_s: float


def stream(seed: int, *names: str) -> Random:
    """The randomness of one part of a history."""
    return Random("/".join((str(seed), *names)))  # noqa: S311, to be replayed


def draw(seed: int, aim: Aim | None = None) -> Scenario:
    """The scenario of a seed, and of what it is aimed at."""
    scenario = _draw(seed, "", 0) if aim is None else _draw(seed, aim.kind, aim.values)
    if aim is None:
        return scenario
    rng, (first, *others) = stream(seed, "aim"), scenario.tasks
    if aim.rounds:
        first = replace(first, models=first.models[:1] * aim.rounds)
    first = replace(first, excludes=first.excludes or aim.excludes)
    drawn = rng.choices(aim.faults, k=rng.randint(1, 2))
    accidents = _disk_accidents(rng, COORDINATOR, drawn, aim.within, since=aim.since)
    disk = DiskPlan(accidents=accidents, rots=bool(aim.rots_in), rots_in=aim.rots_in)
    return replace(scenario, tasks=(first, *others), disks={**scenario.disks, COORDINATOR: disk})


def _draw(seed: int, kind: str, values: int) -> Scenario:
    """The scenario of a seed, with this kind of first task unless it is empty, and so many values unless it is 0."""
    rng = stream(seed, "scenario")
    drawn = rng.choices(*zip(*_KINDS.items(), strict=True))[0]
    kind = kind or drawn
    people = NAMES[: _people(rng, kind)]
    count = rng.choices((1, 2, 3), (80, 15, 5))[0] if kind not in _COSTLY else 1
    tasks = [_task(rng, "task-1", kind, len(people), count, values=values)]
    if kind not in _COSTLY and rng.random() < 0.1:
        tasks.append(_task(rng, "task-2", rng.choice(("active", "semi-honest")), len(people), 1))
    rates, patience_s = _rates(rng), rng.choice((150.0, 400.0, 1000.0))
    disks: dict[str, DiskPlan] = {name: _participants_disk(rng, name) for name in people if rng.random() < 0.25}
    accidents = _accidents(rng, people)
    if rng.random() >= 0.1:
        disks[COORDINATOR] = _coordinators_disk(rng)
        accidents = (*accidents, *_ends(rng))
    return Scenario(seed, people, tuple(tasks), rates, disks, accidents, patience_s)


def _people(rng: Random, kind: str) -> int:
    match kind:
        case "groups":
            return 9 + rng.randrange(3)
        case "ring":
            return _ON_RING.min_participants + rng.randrange(3)
        case _:
            return rng.choice((3, 3, 3, 4, 4, 4, 5, 6))


_KINDS: Final = {
    "active": 54,
    "ring": 4,
    "semi-honest": 14,
    "certified": 8,
    "fixed-point": 6,
    "noisy": 6,
    "groups": 4,
    "bfv-participants": 1,
    "ckks-participants": 1,
    "bfv-threshold": 1,
    "ckks-threshold": 1,
}
"""Kinds of rounds, and how many of a hundred histories have each."""

_ON_RING: Final = Ring(degree=4, neighbour_threshold=4, committee=3, committee_threshold=2, min_participants=6)
"""The smallest that an active round may have. It bears one dropout of each neighbourhood, and one of the committee."""

_GROUPS: Final = Groups(count=3, combine=Combine.MEAN)
_COSTLY: Final = frozenset({"groups", "bfv-participants", "ckks-participants", "bfv-threshold", "ckks-threshold"})


def _task(rng: Random, name: str, kind: str, people: int, count: int, *, values: int = 0) -> TaskPlan:
    same = rng.random() < 0.4
    models = [sha256(b"model of %s in round %d" % (name.encode(), 0 if same else i)).digest() for i in range(count)]
    limit = rng.choice((15.0, 30.0, 60.0))
    deadlines = Deadlines(limit, limit, limit, limit, limit, rng.choice((0.0, 0.0, 60.0)))
    drawn = rng.choice((8, 16, 40, 300))
    config = _config(kind, people, values or drawn, rng.random() < 0.5)
    config = replace(config, task=name, deadlines=deadlines)
    return TaskPlan(name, config, tuple(models), rng.random() < 0.6, rng.random() < 0.05)


@cache
def _config(kind: str, people: int, values: int, lax: bool) -> RoundConfig:
    """A configuration of this kind. With `lax`, the threshold is the least that is allowed."""
    whole = Schema((ArraySpec(ARRAY, (values,), "int64"),))
    real = Schema((ArraySpec(ARRAY, (values,), "float64"),))
    base = RoundConfig(
        task="task",
        schema=whole,
        encoding=Integers(LARGEST),
        max_participants=people,
        model_digest=bytes(32),
        threshold=0 if not lax else people // 2 + 1 if people > 4 else 3,
        max_colluding=-1 if not lax else 0,
    )
    semi = replace(base, threat_model=ThreatModel.SEMI_HONEST, max_colluding=0)
    kinds: dict[str, Callable[[], RoundConfig]] = {
        "active": lambda: base,
        "semi-honest": lambda: semi,
        "ring": lambda: replace(base, graph=_ON_RING, threshold=_ON_RING.min_participants - 1, max_colluding=0),
        "certified": lambda: replace(base, certify=True),
        "fixed-point": lambda: replace(base, schema=real, encoding=FixedPoint(1.0, 16, 100)),
        "noisy": lambda: replace(semi, schema=real, encoding=Pipeline.parse(NOISY)),
        "groups": lambda: replace(base, max_participants=people // 3, threshold=3, max_colluding=0, groups=_GROUPS),
    }
    for scheme in Scheme:
        for custody in Custody:
            profile = partial(_profile, scheme, custody, people)
            kinds[f"{scheme.value}-{custody.value}"] = partial(_encrypted, semi, profile)
    return kinds[kind]()


def _encrypted(semi: RoundConfig, profile: Callable[[], Profile]) -> RoundConfig:
    return replace(semi, threshold=0, homomorphic=profile())


@cache
def _profile(scheme: Scheme, custody: Custody, people: int) -> Profile:
    return find_profile(scheme, custody, people, LARGEST.bit_length())


def _rates(rng: Random) -> Rates:
    def rate(most: float) -> float:
        return 0.0 if rng.random() < 0.5 else most * rng.random() ** 2

    return Rates(
        request_lost=rate(0.01),
        reply_lost=rate(0.02),
        cut=rate(0.01),
        late=rate(0.01),
        repeated=rate(0.1),
        unnoticed=rate(0.5),
    )


def _accidents(rng: Random, people: tuple[ParticipantId, ...]) -> tuple[Accident, ...]:
    found: list[Accident] = [
        Kill(rng.choice(people), _step(rng, 400), rng.choice((None, 0.1, 5.0, 60.0)), power=rng.random() < 0.5)
        for _ in range(rng.choices((0, 1, 2), (50, 35, 15))[0])
    ]
    if rng.random() < 0.05:
        found.append(Kill(FL_SERVER, _step(rng, 100), rng.choice((0.1, 10.0))))
    if rng.random() < 0.1:
        found.append(Stop(rng.choice((COORDINATOR, *people)), _step(rng, 400), rng.choice((5.0, 40.0, 200.0))))
    if rng.random() < 0.15:
        by = rng.choice((-1, 1)) * rng.choice((0.5, 30.0, 3600.0))
        found.append(Jump(rng.choice((COORDINATOR, COORDINATOR, *people)), _moment(rng), by))
    if rng.random() < 0.1:
        found.append(Partition(rng.choice((COORDINATOR, *people)), _moment(rng), rng.choice((1.0, 15.0, 90.0))))
    return tuple(found)


def _ends(rng: Random) -> Iterator[Accident]:
    """How the coordinator ends, to start again."""
    for _ in range(rng.choices((0, 1, 2), (60, 30, 10))[0]):
        yield Kill(COORDINATOR, _step(rng, 1500), rng.choice((0.1, 3.0, 20.0)), power=rng.random() < 0.5)
    if rng.random() < 0.08:
        yield ShutDown(_moment(rng), rng.choice((0.1, 20.0)))


def _coordinators_disk(rng: Random) -> DiskPlan:
    weights = {Fault.COORDINATOR_KILLED: 4, Fault.POWER_CUT: 4, Fault.DISK_FULL: 1, Fault.DISK_ERROR: 1}
    count = rng.choices((0, 1, 2), (60, 30, 10))[0]
    accidents = _disk_accidents(rng, COORDINATOR, _faults(rng, weights, count), 500)
    lies, rots = rng.random() < 0.04, rng.random() < 0.04
    return DiskPlan(accidents=accidents, lies=0.3 if lies else 0.0, rots=rots)


def _participants_disk(rng: Random, name: str) -> DiskPlan:
    weights = {Fault.PARTICIPANT_KILLED: 6, Fault.DISK_FULL: 1, Fault.DISK_ERROR: 1}
    return DiskPlan(accidents=_disk_accidents(rng, name, _faults(rng, weights, int(rng.random() < 0.2)), 60))


def _faults(rng: Random, weights: Mapping[Fault, int], count: int) -> list[Fault]:
    return rng.choices(*zip(*weights.items(), strict=True), k=count)


def _disk_accidents(
    rng: Random, whose: str, faults: Sequence[Fault], most: int, *, since: int = 0
) -> tuple[DiskAccident, ...]:
    found = []
    for fault in faults:
        power = fault is Fault.POWER_CUT or (fault is Fault.PARTICIPANT_KILLED and rng.random() < 0.5)
        found.append(DiskAccident(whose, since + _step(rng, most), fault, rng.choice((0.1, 3.0, 20.0)), power))
    return tuple(sorted(found, key=lambda accident: accident.change))


def _step(rng: Random, most: int) -> int:
    """Early instants as often as late ones: half of them are drawn evenly, half by their logarithm."""
    return rng.randrange(1, most) if rng.random() < 0.5 else round(most ** rng.random())


def _moment(rng: Random) -> float:
    return rng.choice((0.3, 2.0, 60.0)) * rng.random()
