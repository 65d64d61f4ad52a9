"""The same rounds at one coordinator alone, and at one with ingress workers; processor seconds of both.

A small call of a participant passes two processes where there are workers. What plain gRPC takes for as many calls
between two processes is measured in the same run: workers cannot cost less as long as they hand on each call by itself.
A round before those that count is played each way, since a process that does something for the first time takes longer.
"""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from secagg.config import ThreatModel
from secagg.tools.bench.processor import cpu_seconds
from secagg.tools.bench.round import heard
from secagg.tools.bench.scale.rounds import Heard, RoundsSetting, commands_of, drive
from secagg.tools.bench.status import APART_S, scrape
from secagg.tools.bench.transport import call_cpu_seconds
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.identities import Identities, create_identities
from secagg.tools.deployment.sidecar import Sidecar
from secagg.tools.simulation.cohort import participant_names

CALLS: Final = 2000
REPEATS: Final = 3
"""Calls of plain gRPC in a turn, and turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorsSetting:
    """What is played.

    Attributes:
        participants: of each round, n ≥ 3.
        values: length of each update, float32.
        rounds: that count, of each way, one after the other.
        doors: ingress workers.
        threat_model: ACTIVE or SEMI_HONEST.
    """

    participants: int = 20
    values: int = 1_000_000
    rounds: int = 3
    doors: int = 4
    threat_model: ThreatModel = ThreatModel.ACTIVE


@dataclass(frozen=True, slots=True)
class DoorsFigures:
    """What a round took.

    Attributes:
        alone_cpu_s: processor seconds of the coordinator that does all of it.
        head_cpu_s: those of the coordinator that has workers.
        doors_cpu_s: those of all its workers together.
        calls: that workers made at the head.
        call_cpu_s: processor seconds of both ends for one such call by plain gRPC.
        exact: whether every round had the sum of everybody.
        errors: what went wrong, and how often.
    """

    alone_cpu_s: float
    head_cpu_s: float
    doors_cpu_s: float
    calls: float
    call_cpu_s: float
    exact: bool
    errors: dict[str, int]

    @property
    def overhead(self) -> float:
        """What workers cost more, as a share of the coordinator alone."""
        return (self.head_cpu_s + self.doors_cpu_s) / self.alone_cpu_s - 1

    @property
    def floor(self) -> float:
        """What as many calls of plain gRPC take, as a share of the coordinator alone."""
        return self.calls * self.call_cpu_s / self.alone_cpu_s


def play(setting: DoorsSetting) -> DoorsFigures:
    """Play the rounds both ways.

    Raises:
        ConfigError: sizes that a round cannot have.
        LocalError: a process failed.
    """
    heard_of = Heard()
    with TemporaryDirectory(prefix="secagg-bench-") as folder:
        names = [str(name) for name in participant_names(setting.participants)]
        identities = create_identities(Path(folder), names)
        alone = _way(setting, 0, identities, Path(folder), heard_of)
        spread = _way(setting, setting.doors, identities, Path(folder), heard_of)
        call_cpu_s = call_cpu_seconds(identities, CALLS, REPEATS)
    errors = dict(heard_of.errors)
    return DoorsFigures(alone.head, spread.head, spread.doors, spread.calls, call_cpu_s, not errors, errors)


@dataclass(frozen=True, slots=True)
class _Used:
    """Until some moment, or in a round: processor seconds of the coordinator and of its workers, and calls at it."""

    head: float
    doors: float
    calls: float

    def since(self, before: "_Used", rounds: int) -> "_Used":
        """Of each of so many rounds."""
        pairs = (self.head, before.head), (self.doors, before.doors), (self.calls, before.calls)
        return _Used(*((after - ago) / rounds for after, ago in pairs))


def _way(setting: DoorsSetting, doors: int, identities: Identities, folder: Path, heard_of: Heard) -> _Used:
    """What a round takes."""
    played = RoundsSetting(
        participants=setting.participants,
        values=setting.values,
        rounds=setting.rounds + 1,
        workers=max(1, setting.doors),
        threat_model=setting.threat_model,
        durable=False,
    )
    with ExitStack() as stack:
        sidecar = stack.enter_context(Sidecar(identities.server, folder, link=doors > 0, status=True))
        workers = [f"door-{number}" for number in range(doors)]
        own = ("secagg.tools.bench.doors.worker", "--head", str(sidecar.link), "--identity", str(identities.server))
        serving = heard(
            stack.enter_context(Crew(dict.fromkeys(workers, own), folder / "doors.log")), workers, "serving"
        )
        addresses = [said["address"] for said in serving.values()] or [sidecar.data_plane]
        commands = {
            name: tuple(addresses[number % len(addresses)] if word == sidecar.data_plane else word for word in command)
            for number, (name, command) in enumerate(commands_of(played, identities, sidecar).items())
        }
        crew = stack.enter_context(Crew(commands, folder / "participants.log"))
        heard(crew, commands, "connected")
        used: list[_Used] = []  # after each round

        def note(_: float) -> None:
            cpu_s = cpu_seconds(sidecar.pid), sum(cpu_seconds(said["pid"]) for said in serving.values())
            time.sleep(APART_S)
            used.append(_Used(*cpu_s, calls_of_participants(scrape(sidecar))))

        for name in commands:
            crew.order(name, "begin")
        asyncio.run(drive(played, played.config(), sidecar, heard_of, note))
        for said in heard(crew, commands, "finished").values():
            heard_of.errors.update(said["errors"])
    return used[-1].since(used[0], setting.rounds)


def calls_of_participants(metrics: bytes) -> float:
    """How many calls ended at a coordinator that were not those of the FL server. Args: metrics: as it shows them."""
    counted = (line for line in metrics.decode().splitlines() if line.startswith("secagg_calls_total{"))
    return sum(float(line.split("} ")[1].split()[0]) for line in counted if 'plane="control"' not in line)
