"""One more round in each scheme, on the very same updates: what comes out is the same, what it costs is not.

The updates are what the sites trained, moved onto the grid of the fixed-point code. Such numbers are encoded without
rounding, so nothing but the scheme differs between the rounds, and the sums must be the same bit for bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, Final

import numpy as np
from secagg_client import ControlClient

from secagg import Aggregate, Deadlines, RoundConfig, Schema, ThreatModel, digest_model
from secagg.tools.demo import job
from secagg.tools.demo.participant import Command, load_arrays, save_arrays
from secagg.tools.demo.results import SchemeRound
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.sidecar import START_S
from secagg.tools.simulation.grid import CODE
from secagg.variants import MASKED, WITH_PARTICIPANTS, Variant

SIDE_BY_SIDE: Final = (MASKED, *WITH_PARTICIPANTS)

_TASK: Final = "side-by-side"
_DEADLINE_S: Final = 60.0  # nobody drops out here: nothing waits for it


@dataclass(frozen=True, slots=True)
class Bench:
    """Plays rounds of the same updates in each scheme.

    Attributes:
        crew: every participant's process, alive.
        seeds: of the local training, by participant.
        model: what is trained once more.
        folder: for files; what lies in it is never sent.
    """

    crew: Crew
    control: ControlClient
    seeds: Mapping[str, list[int]]
    model: job.Model
    folder: Path

    def play(self, number: int, variant: Variant, threat_model: ThreatModel) -> SchemeRound:
        """One round in one scheme, everyone staying to its end.

        Raises:
            RoundAborted: it ended without a sum.
            ProcessError: a participant failed.
        """
        config = self.config(variant, threat_model)
        folder = self.folder / f"{_TASK}-{variant.name}"
        folder.mkdir()
        save_arrays(folder / "model.npz", self.model)
        for name, seed in self.seeds.items():
            limit_s = START_S + 4 * _DEADLINE_S
            self.crew.order(
                name, Command(number, _TASK, folder / "model.npz", folder, seed, None, limit_s, variant.name).as_json()
            )
        self.crew.wait(dict.fromkeys(self.seeds, ("trained",)), START_S)
        begin = monotonic()
        round_id = self.control.open_round(config)
        aggregate = self.control.result(round_id, config)
        seconds = monotonic() - begin
        outcomes = self.crew.wait(dict.fromkeys(self.seeds, ("finished",)), START_S)
        updates = [load_arrays(folder / f"{name}.update.npz") for name in aggregate.survivors]
        return SchemeRound(
            scheme=variant.name,
            threat_model=config.threat_model.name.lower(),
            seconds=seconds,
            survivors=len(aggregate.survivors),
            sums_sha256=sha256(aggregate.sums.astype("<u8").tobytes()).hexdigest(),
            exact=is_exact(aggregate, config, updates),
            up=_typical(outcomes, "bytes_sent"),
            down=_typical(outcomes, "bytes_received"),
        )

    def config(self, variant: Variant, threat_model: ThreatModel) -> RoundConfig:
        """Args: threat_model: where the scheme has it."""
        return RoundConfig(
            task=_TASK,
            schema=Schema.of(self.model),
            encoding=CODE,
            max_participants=len(self.seeds),
            threat_model=variant.threat_model(threat_model),
            homomorphic=variant.profile(len(self.seeds), CODE.value_bits),
            release_to_coordinator=True,
            model_digest=digest_model(self.model),
            deadlines=Deadlines(*[_DEADLINE_S] * len(Deadlines.__slots__)),
        )


def is_exact(aggregate: Aggregate, config: RoundConfig, updates: list[job.Model]) -> bool:
    """Whether the sum is that of the updates, integer by integer; they lie on the grid."""
    size = config.schema.size
    flat = [config.schema.check(update).read(0, size) for update in updates]
    levels = [np.rint((values + CODE.clip) / CODE.step).astype(np.uint64) for values in flat]
    return np.array_equal(aggregate.sums[:size], np.sum(levels, axis=0, dtype=np.uint64))


def _typical(outcomes: Mapping[str, Mapping[str, Any]], what: str) -> int:
    """The median: one participant of a homomorphic round sends more than the others, the sum."""
    return round(median(int(outcome[what]) for outcome in outcomes.values()))
