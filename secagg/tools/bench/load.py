"""`secagg bench load`: a coordinator with many participants, many rounds at once, or rounds without end.

Participants are real clients over TLS, each with a connection and keys of its own, but many of them share a process:
what is measured is the coordinator. With `durable` it keeps its state in a folder, so that both ways can be compared.
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
from secagg.tools.bench.load_worker import model_of, name_of, task_of
from secagg.tools.bench.machine import describe
from secagg.tools.bench.memory import memory_of
from secagg.tools.bench.processor import cpu_seconds
from secagg.tools.bench.report import Figure, Report, Section
from secagg.tools.bench.round import heard
from secagg.tools.bench.round_figures import phase_seconds
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.identities import create_identities
from secagg.tools.deployment.sidecar import Sidecar
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.grid import CODE

MIB: Final = 1 << 20
SAMPLES: Final = 20
"""How often the coordinator's memory is looked at over all rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSetting:
    """What is played.

    Attributes:
        participants: of each round, n ≥ 3.
        values: length of each update, float32.
        rounds: in all.
        in_flight: rounds at once.
        workers: processes that participants share.
        threat_model: ACTIVE or SEMI_HONEST.
        durable: whether the coordinator has a folder for its state.
        limit_s: of each phase, in seconds.
    """

    participants: int = 10
    values: int = 10_000
    rounds: int = 20
    in_flight: int = 1
    workers: int = 2
    threat_model: ThreatModel = ThreatModel.ACTIVE
    durable: bool = True
    limit_s: float = 600.0

    def config(self) -> RoundConfig:
        """The configuration of a round, but for task and model."""
        limit = self.limit_s
        return RoundConfig(
            task=task_of(0),
            schema=Schema((ArraySpec("values", (self.values,)),)),
            encoding=CODE,
            max_participants=self.participants,
            model_digest=model_of(0, 0),
            threat_model=self.threat_model,
            deadlines=Deadlines(limit, limit, limit, limit, limit, 0.0),
        )


@dataclass(slots=True)
class _Heard:
    """What came of the rounds: seconds of each and of its phases, and names of errors."""

    seconds: list[float] = field(default_factory=list)
    phases: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    inexact: int = 0
    memory: list[int] = field(default_factory=list)


def measure(setting: LoadSetting, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Play all rounds.

    Raises:
        LocalError: a worker failed.
    """
    machine, heard_of = describe(), _Heard()
    names = [str(name) for name in participant_names(setting.participants)]
    each = -(-setting.rounds // setting.in_flight)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="secagg-bench-")))
        identities = create_identities(folder, names)
        state = folder / "state" if setting.durable else None
        sidecar = stack.enter_context(Sidecar(identities.server, folder, state=state))
        shared = ["secagg.tools.bench.load_worker", "--target", sidecar.data_plane, "--tasks", str(setting.in_flight)]
        shared += ["--rounds", str(each), "--values", str(setting.values), "--timeout-s", str(10 * setting.limit_s)]
        folders = [str(identities.participants[name]) for name in names]
        commands = {f"worker-{i}": (*shared, *folders[i :: setting.workers]) for i in range(setting.workers)}
        progress(f"the start of {len(names)} participants")
        crew = stack.enter_context(Crew(commands, folder / "participants.log"))
        heard(crew, commands, "connected")
        rest = memory_of(sidecar.pid)
        for worker in commands:
            crew.order(worker, "begin")
        cpu, begin = cpu_seconds(sidecar.pid), time.perf_counter()
        asyncio.run(_drive(setting, each, sidecar, heard_of, progress))
        seconds, cpu = time.perf_counter() - begin, cpu_seconds(sidecar.pid) - cpu
        told = heard(crew, commands, "finished")
        peak = memory_of(sidecar.pid)
    for said in told.values():
        heard_of.errors.update(said["errors"])
    played = each * setting.in_flight
    sections = _sections(played, seconds, cpu, (rest.now_bytes, peak.peak_bytes), heard_of)
    exact = not heard_of.errors and not heard_of.inexact
    return Report("load", machine, _described(setting, played, heard_of), sections, exact=exact)


async def _drive(
    setting: LoadSetting, each: int, sidecar: Sidecar, heard_of: _Heard, progress: Callable[[str], None]
) -> None:
    done, every = 0, max(1, each * setting.in_flight // SAMPLES)

    async def task(control: AsyncControlClient, number: int) -> None:
        nonlocal done
        for count in range(each):
            config = replace(setting.config(), task=task_of(number), model_digest=model_of(number, count))
            await _round(control, config, heard_of)
            done += 1
            if done % every == 0:
                heard_of.memory.append(memory_of(sidecar.pid).now_bytes)
                progress(f"round {done} of {each * setting.in_flight}")

    async with AsyncControlClient(sidecar.control_plane) as control:
        await asyncio.gather(*(task(control, number) for number in range(setting.in_flight)))


async def _round(control: AsyncControlClient, config: RoundConfig, heard_of: _Heard) -> None:
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
        heard_of.phases.setdefault(str(phase), []).append(seconds)
    mean = aggregate.mean(config).arrays["values"]
    whole = len(aggregate.survivors) == config.max_participants
    heard_of.inexact += not (whole and bool((abs(mean - 0.5) < 1e-4).all()))


def _described(setting: LoadSetting, played: int, heard_of: _Heard) -> dict[str, Any]:
    return {
        "participants": setting.participants,
        "values": setting.values,
        "rounds": played,
        "in_flight": setting.in_flight,
        "threat_model": setting.threat_model.name.lower(),
        "state": "folder" if setting.durable else "memory",
        "errors": dict(heard_of.errors),
    }


def _sections(
    played: int, seconds: float, cpu: float, memory: tuple[int, int], heard_of: _Heard
) -> tuple[Section, ...]:
    rest, peak = memory
    failures = heard_of.errors.total() + heard_of.inexact
    rounds = [
        Figure("per_s", played / seconds, note="all of them, from the first opening to the last sum"),
        Figure("failures", failures, note="errors of anybody, and sums that are not what was put in"),
        Figure("coordinator_cpu_per_round_s", cpu / played),
    ]
    if heard_of.seconds:
        rounds += [
            Figure("round_median_s", median(heard_of.seconds)),
            Figure("round_slowest_s", max(heard_of.seconds)),
        ]
    phases = []
    for phase, taken in heard_of.phases.items():
        name = phase.lower()
        phases += [Figure(f"{name}_median_s", median(taken)), Figure(f"{name}_slowest_s", max(taken))]
    kept = heard_of.memory
    found = [
        Figure("at_rest_mib", rest / MIB, note="everybody is connected, no round was opened"),
        Figure("peak_mib", peak / MIB),
    ]
    if len(kept) >= 4:
        first, second = kept[len(kept) // 4 : len(kept) // 2], kept[3 * len(kept) // 4 :]
        growth = (median(second) - median(first)) / MIB
        found.append(Figure("growth_mib", growth, note="from the second quarter of the rounds to the last"))
    return (
        Section("rounds", "Rounds", tuple(rounds)),
        Section("phases", "Each phase, from its opening to that of the next", tuple(phases)),
        Section("memory", "The coordinator's memory", tuple(found)),
    )
