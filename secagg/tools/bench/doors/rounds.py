"""The same rounds at one coordinator alone, and at one with ingress workers; processor seconds of both."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from secagg.config import ThreatModel
from secagg.tools.bench.processor import cpu_seconds
from secagg.tools.bench.round import heard
from secagg.tools.bench.scale.rounds import Heard, RoundsSetting, commands_of, drive
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.identities import Identities, create_identities
from secagg.tools.deployment.sidecar import Sidecar
from secagg.tools.simulation.cohort import participant_names


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorsSetting:
    """What is played.

    Attributes:
        participants: of each round, n ≥ 3.
        values: length of each update, float32.
        rounds: of each way, one after the other.
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
        exact: whether every round had the sum of everybody.
        errors: what went wrong, and how often.
    """

    alone_cpu_s: float
    head_cpu_s: float
    doors_cpu_s: float
    exact: bool
    errors: dict[str, int]

    @property
    def overhead(self) -> float:
        """What workers cost more, as a share of the coordinator alone."""
        return (self.head_cpu_s + self.doors_cpu_s) / self.alone_cpu_s - 1


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
        alone, _ = _way(setting, 0, identities, Path(folder), heard_of)
        head, doors = _way(setting, setting.doors, identities, Path(folder), heard_of)
    return DoorsFigures(alone, head, doors, not heard_of.errors, dict(heard_of.errors))


def _way(
    setting: DoorsSetting, doors: int, identities: Identities, folder: Path, heard_of: Heard
) -> tuple[float, float]:
    """Processor seconds of a round: of the coordinator, and of its workers."""
    played = RoundsSetting(
        participants=setting.participants,
        values=setting.values,
        rounds=setting.rounds,
        workers=max(1, setting.doors),
        threat_model=setting.threat_model,
        durable=False,
    )
    with ExitStack() as stack:
        sidecar = stack.enter_context(Sidecar(identities.server, folder, link=doors > 0))
        workers = [f"door-{number}" for number in range(doors)]
        own = ("secagg.tools.bench.doors.worker", "--head", str(sidecar.link), "--identity", str(identities.server))
        serving = heard(
            stack.enter_context(Crew(dict.fromkeys(workers, own), folder / "doors.log")), workers, "serving"
        )
        addresses = [said["address"] for said in serving.values()] or [sidecar.data_plane]
        pids = [said["pid"] for said in serving.values()]
        commands = {
            name: tuple(addresses[number % len(addresses)] if word == sidecar.data_plane else word for word in command)
            for number, (name, command) in enumerate(commands_of(played, identities, sidecar).items())
        }
        crew = stack.enter_context(Crew(commands, folder / "participants.log"))
        heard(crew, commands, "connected")
        before = cpu_seconds(sidecar.pid), sum(map(cpu_seconds, pids))
        for name in commands:
            crew.order(name, "begin")
        asyncio.run(drive(played, played.config(), sidecar, heard_of, lambda _: None))
        after = cpu_seconds(sidecar.pid), sum(map(cpu_seconds, pids))
        for said in heard(crew, commands, "finished").values():
            heard_of.errors.update(said["errors"])
    return (after[0] - before[0]) / setting.rounds, (after[1] - before[1]) / setting.rounds
