"""A round of one size in memory, in a process of its own: `python -m secagg.tools.bench.scale.simulated`.

It reads one line with sizes as JSON, plays the round with the real state machines and without a network, and answers
with what it found. So its memory is that of the round, and goes when it ends.
"""

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from secagg.config import ThreatModel
from secagg.crypto.rng import SeededRng
from secagg.errors import LocalError, SecAggError
from secagg.messages import MaskedInputChunk, Phase
from secagg.phases import phases
from secagg.tools.bench.cohort import SEED
from secagg.tools.bench.lines import Point
from secagg.tools.bench.measure import cpu_clock
from secagg.tools.bench.memory import memory_of
from secagg.tools.bench.scale.graphs import Cohort, GraphKind
from secagg.tools.deployment.crew import Crew, tell
from secagg.tools.simulation.network import Envelope, Up
from secagg.tools.simulation.scenario import Scenario, ScenarioResult, play
from secagg.tools.simulation.stopwatch import Side

MIB: Final = 1 << 20
LIMIT_S: Final = 3600.0
"""Between two words of the process."""

_STEPS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSetting:
    """What is played.

    Attributes:
        participants: n ≥ 3.
        values: length of each update.
        dropped: participants that drop out before their masked input.
        threat_model: ACTIVE or SEMI_HONEST.
        graph: complete or sparse.
    """

    participants: int
    values: int
    dropped: int = 0
    threat_model: ThreatModel = ThreatModel.ACTIVE
    graph: GraphKind = GraphKind.COMPLETE

    @property
    def cohort(self) -> Cohort:
        """Who takes part."""
        return Cohort(
            participants=self.participants,
            threat_model=self.threat_model,
            kind=self.graph,
            dropouts=self.dropped / self.participants,
        )

    def scenario(self) -> Scenario:
        """What the simulator plays.

        Raises:
            ConfigError: no ring is safe for so few.
        """
        cohort = self.cohort
        return Scenario(
            participants=self.participants,
            values=self.values,
            threat_model=self.threat_model,
            threshold=cohort.threshold,
            max_colluding=cohort.max_colluding,
            graph=cohort.graph,
            dropouts={Phase.MASKED_INPUT: self.dropped},
        )


def simulate(setting: SimulatedSetting, progress: Callable[[float], None] = lambda _: None) -> Point:
    """Play the round in a process of its own. Args: progress: is told which share of the messages has been sent.

    Raises:
        ConfigError: sizes that a round cannot have.
        LocalError: the process failed.
    """
    setting.scenario().config()
    name, told = (
        "the simulation",
        {
            "participants": setting.participants,
            "values": setting.values,
            "dropped": setting.dropped,
            "threat_model": setting.threat_model.name,
            "graph": setting.graph.name,
        },
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="secagg-bench-")))
        crew = stack.enter_context(Crew({name: ("secagg.tools.bench.scale.simulated",)}, folder / "log"))
        crew.order(name, json.dumps(told))
        while True:
            said = crew.wait({name: ("progress", "finished", "failed")}, LIMIT_S)[name]
            match said["event"]:
                case "progress":
                    progress(said["share"])
                case "failed":
                    raise LocalError(f"a simulated round of {setting.participants} failed: {said['message']}")
                case _:
                    return _point(setting, said)


def _point(setting: SimulatedSetting, said: dict[str, Any]) -> Point:
    return Point(
        way="memory",
        participants=setting.participants,
        values=setting.values,
        threat_model=setting.threat_model.name.lower(),
        graph=setting.graph.value,
        neighbours=setting.cohort.neighbours,
        dropped=setting.dropped,
        exact=said["exact"],
        errors={said["aborted"]: 1} if said["aborted"] else {},
        participant_cpu_s=said["participant_cpu_s"],
        coordinator_cpu_s=said["coordinator_cpu_s"],
        unmask_cpu_s=said["unmask_cpu_s"],
        peak_mib=said["peak_mib"],
        bytes_up=said["bytes_up"],
        bytes_down=said["bytes_down"],
        expansion=said["bytes_up"] / (setting.values * setting.scenario().value_bits / 8),
    )


@dataclass(slots=True)
class _Watch:
    """Counts the messages of participants, and tells a hundred times how far the round is."""

    total: int
    seen: int = 0
    told: int = field(default=0)

    def see(self, envelope: Envelope) -> Iterable[Envelope]:
        """Notice what passes, and change nothing."""
        later = isinstance(envelope, Up) and isinstance(envelope.message, MaskedInputChunk) and envelope.message.number
        if isinstance(envelope, Up) and not later:
            self.seen += 1
            if (step := _STEPS * self.seen // self.total) > self.told:
                self.told = step
                tell("progress", share=min(1.0, self.seen / self.total))
        return (envelope,)


def _described(setting: SimulatedSetting, found: ScenarioResult) -> dict[str, Any]:
    stayed = setting.participants - setting.dropped
    spent = {side: sum(s for (whose, _), s in found.seconds.items() if whose is side) for side in Side}
    return {
        "exact": bool(found.exact),
        "aborted": str(found.aborted) if found.aborted else "",
        "participant_cpu_s": spent[Side.PARTICIPANT] / stayed,
        "coordinator_cpu_s": spent[Side.COORDINATOR],
        "unmask_cpu_s": found.seconds.get((Side.COORDINATOR, Phase.UNMASK), 0.0),
        "peak_mib": memory_of().peak_bytes / MIB,
        "bytes_up": found.bytes_up,
        "bytes_down": found.bytes_down,
    }


def main() -> None:
    """Play what one line of standard input says."""
    given = json.loads(sys.stdin.readline())
    given |= {"threat_model": ThreatModel[given["threat_model"]], "graph": GraphKind[given["graph"]]}
    setting = SimulatedSetting(**given)
    try:
        scenario = setting.scenario()
        watch = _Watch(len(phases(scenario.config())) * setting.participants)
        found = play(scenario, rng=SeededRng(SEED), clock=cpu_clock, observe=watch.see)
    except SecAggError as error:
        tell("failed", message=f"{type(error).__name__}: {error}")
        return
    tell("finished", **_described(setting, found))


if __name__ == "__main__":
    main()
