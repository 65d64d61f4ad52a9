"""Rounds of one size over real gRPC and TLS 1.3 on loopback.

Participants are real clients, each with a connection and keys of its own. One of them has a process for itself, so that
its processor time is known and nothing that others checked is remembered for it; the others share a few processes.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from secagg_client import AsyncControlClient

from secagg.config import Deadlines, RoundConfig, ThreatModel
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import SecAggError
from secagg.tools.bench.lines import Point
from secagg.tools.bench.memory import memory_of
from secagg.tools.bench.processor import cpu_seconds
from secagg.tools.bench.round import heard
from secagg.tools.bench.round_figures import phase_seconds
from secagg.tools.bench.scale.bare import Bare, Calls, measure
from secagg.tools.bench.scale.graphs import Cohort, GraphKind
from secagg.tools.bench.scale.worker import model_of, name_of, task_of
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.identities import Identities, create_identities
from secagg.tools.deployment.sidecar import Sidecar
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.grid import CODE, VALUE_BITS

MIB: Final = 1 << 20
SAMPLES: Final = 20
"""How often the coordinator's memory is looked at over all rounds."""

ALONE: Final = "client"
"""The process of the participant whose processor time is told."""

PATIENCE_S: Final = 3600.0
"""How long a client waits for its rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsSetting:
    """What is played.

    Attributes:
        participants: of each round, n ≥ 3.
        values: length of each update, float32.
        rounds: of each task.
        in_flight: tasks, whose rounds are open at once.
        workers: processes that share all participants but one.
        threat_model: ACTIVE or SEMI_HONEST.
        graph: complete or sparse.
        durable: whether the coordinator has a folder for its state.
        limit_s: of each phase, in seconds; None takes the defaults of a task.
    """

    participants: int = 10
    values: int = 10_000
    rounds: int = 1
    in_flight: int = 1
    workers: int = 2
    threat_model: ThreatModel = ThreatModel.ACTIVE
    graph: GraphKind = GraphKind.COMPLETE
    durable: bool = True
    limit_s: float | None = None

    @property
    def cohort(self) -> Cohort:
        """Who takes part."""
        return Cohort(participants=self.participants, threat_model=self.threat_model, kind=self.graph)

    def config(self) -> RoundConfig:
        """The configuration of a round, but for task and model.

        Raises:
            ConfigError: sizes that a round cannot have.
        """
        limit = self.limit_s
        cohort = self.cohort
        return RoundConfig(
            task=task_of(0),
            schema=Schema((ArraySpec("values", (self.values,)),)),
            encoding=CODE,
            max_participants=self.participants,
            model_digest=model_of(0, 0),
            threat_model=self.threat_model,
            threshold=cohort.threshold,
            max_colluding=cohort.max_colluding,
            graph=cohort.graph,
            deadlines=(
                Deadlines.for_cohort(self.participants)
                if limit is None
                else Deadlines(limit, limit, limit, limit, limit, 0.0)
            ),
        )


@dataclass(slots=True)
class Heard:
    """What came of the rounds: seconds of each and of its phases, names of errors, samples of memory in bytes."""

    seconds: list[float] = field(default_factory=list)
    phases: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)

    def growth_mib(self) -> float | None:
        """From the second quarter of the samples to the last."""
        kept = self.memory
        if len(kept) < 4:
            return None
        first, second = kept[len(kept) // 4 : len(kept) // 2], kept[3 * len(kept) // 4 :]
        return (median(second) - median(first)) / MIB


@dataclass(frozen=True, slots=True)
class Took:
    """What all rounds took of the coordinator: processor seconds, and bytes of memory when everybody was connected and
    at most.
    """

    cpu_s: float
    rest_bytes: int
    peak_bytes: int


def play(setting: RoundsSetting, progress: Callable[[float], None] = lambda _: None) -> Point:
    """Play all rounds. Args: progress: is told which share of them is over.

    Raises:
        ConfigError: sizes that a round cannot have.
        LocalError: a process failed.
    """
    config, heard_of, count = setting.config(), Heard(), setting.rounds * setting.in_flight
    names = [str(name) for name in participant_names(setting.participants)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="secagg-bench-")))
        identities = create_identities(folder, names)
        state = folder / "state" if setting.durable else None
        sidecar = stack.enter_context(Sidecar(identities.server, folder, state=state))
        commands = commands_of(setting, identities, sidecar)
        crew = stack.enter_context(Crew(commands, folder / "participants.log"))
        heard(crew, commands, "connected")
        rest = memory_of(sidecar.pid)
        for worker in commands:
            crew.order(worker, "begin")
        cpu = cpu_seconds(sidecar.pid)
        asyncio.run(drive(setting, config, sidecar, heard_of, progress))
        cpu = cpu_seconds(sidecar.pid) - cpu
        told = heard(crew, commands, "finished")
        took = Took(cpu, rest.now_bytes, memory_of(sidecar.pid).peak_bytes)
        for said in told.values():
            heard_of.errors.update(said["errors"])
        crew.kill(commands)
        sidecar.stop()
        calls = None if heard_of.errors else _calls(heard_of, told[ALONE], count)
        bare = None if calls is None else measure(calls, identities, folder, setting.workers)
    return _point(setting, heard_of, told[ALONE], took, bare)


def _calls(heard_of: Heard, alone: dict[str, Any], count: int) -> Calls:
    """What a participant did in one of the rounds: a call for each phase, and one before that finds the round."""
    phases, up, down = len(heard_of.phases), alone["bytes_up"], alone["bytes_down"]
    return Calls(count=phases + 1, bytes_up=up // count, bytes_down=down // count)


def commands_of(setting: RoundsSetting, identities: Identities, sidecar: Sidecar) -> dict[str, tuple[str, ...]]:
    """How each process of participants is started, by its name."""
    folders = [str(folder) for folder in identities.participants.values()]
    shared = ["secagg.tools.bench.scale.worker", "--target", sidecar.data_plane, "--tasks", str(setting.in_flight)]
    shared += ["--rounds", str(setting.rounds), "--values", str(setting.values), "--timeout-s", str(PATIENCE_S)]
    alone, *others = folders
    dealt = {f"worker-{i}": others[i :: setting.workers] for i in range(setting.workers)}
    return {name: (*shared, *some) for name, some in {ALONE: [alone], **dealt}.items() if some}


async def drive(
    setting: RoundsSetting, config: RoundConfig, sidecar: Sidecar, heard_of: Heard, progress: Callable[[float], None]
) -> None:
    """Open all rounds as the FL server, and note what comes of them. Args: progress: as of `play`."""
    count = setting.rounds * setting.in_flight
    done, every = 0, max(1, count // SAMPLES)

    async def task(control: AsyncControlClient, number: int) -> None:
        nonlocal done
        for each in range(setting.rounds):
            about = replace(config, task=task_of(number), model_digest=model_of(number, each))
            await _round(control, about, heard_of)
            done += 1
            progress(done / count)
            if done % every == 0:
                heard_of.memory.append(memory_of(sidecar.pid).now_bytes)

    async with AsyncControlClient(sidecar.control_plane) as control:
        await asyncio.gather(*(task(control, number) for number in range(setting.in_flight)))


async def _round(control: AsyncControlClient, config: RoundConfig, heard_of: Heard) -> None:
    begin = time.perf_counter()
    try:
        round_id = await control.open_round(config)
        timeline = [(at, event) async for at, event in control.watch(round_id)]
        aggregate = await control.fetch(round_id)
    except SecAggError as error:
        heard_of.errors[name_of(error)] += 1
        return
    heard_of.seconds.append(time.perf_counter() - begin)
    for phase, seconds in phase_seconds(timeline).items():
        heard_of.phases.setdefault(phase.name.lower(), []).append(seconds)
    if len(aggregate.survivors) != config.max_participants:
        heard_of.errors[f"a sum of {len(aggregate.survivors)} of {config.max_participants}"] += 1
    elif not (abs(aggregate.mean(config).arrays["values"] - 0.5) < 1e-4).all():
        heard_of.errors["a sum that is not what was put in"] += 1


def _point(
    setting: RoundsSetting,
    heard_of: Heard,
    alone: dict[str, Any],
    took: Took,
    bare: Bare | None = None,
) -> Point:
    count = setting.rounds * setting.in_flight
    return Point(
        way="grpc",
        participants=setting.participants,
        values=setting.values,
        threat_model=setting.threat_model.name.lower(),
        graph=setting.graph.value,
        neighbours=setting.cohort.neighbours,
        in_flight=setting.in_flight,
        durable=setting.durable,
        rounds=count,
        exact=not heard_of.errors,
        errors=dict(heard_of.errors),
        participant_cpu_s=alone["cpu_s"] / count,
        coordinator_cpu_s=took.cpu_s / count,
        round_s=median(heard_of.seconds) if heard_of.seconds else None,
        phase_s={phase: median(taken) for phase, taken in heard_of.phases.items()} or None,
        rest_mib=took.rest_bytes / MIB,
        peak_mib=took.peak_bytes / MIB,
        bare_cpu_s=None if bare is None else bare.cpu_s,
        bare_mib=None if bare is None else bare.peak_bytes / MIB,
        growth_mib=heard_of.growth_mib(),
        bytes_up=alone["bytes_up"] / count,
        bytes_down=alone["bytes_down"] / count,
        expansion=alone["bytes_up"] / count / (setting.values * VALUE_BITS / 8),
    )
