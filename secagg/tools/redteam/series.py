"""Many real rounds of overlapping cohorts about one model: what each adversary has of all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import Schema
from secagg.messages import ParticipantId
from secagg.tools.redteam.arena import deployment, rng_of
from secagg.tools.redteam.attacks.inversion.base import Attack
from secagg.tools.redteam.defences import flatten
from secagg.tools.redteam.modes import Mode
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.target import Target
from secagg.tools.redteam.trials import Case
from secagg.tools.redteam.views import Arrays, Recording, Sight, record
from secagg.tools.simulation.cohort import participant_names

COHORT: Final = 4
VICTIM: Final = participant_names(1)[0]


@dataclass(frozen=True, slots=True)
class Series:
    """One trial over many rounds: a case of everybody, and the recordings of rounds of some of them.

    The victim is in the first round. Who else is in which is drawn, and no adversary is told.
    """

    case: Case
    recordings: tuple[Recording, ...]

    @classmethod
    def play(cls, target: Target, attack: Attack, mode: Mode, seed: int) -> "Series":
        """`attack.rounds` rounds, each of `COHORT` of `attack.participants` people.

        Args: seed: of the case and the rounds.
        """
        case = Case.draw(target, attack, attack.participants, seed)
        names = participant_names(attack.participants)
        updates = dict(zip(names, case.updates(), strict=True))
        peak = max(float(np.abs(a).max()) for update in updates.values() for a in update.values())
        schema = Schema.of(updates[names[0]])
        # Each round is about another model, as where training hardly moves it: the sums are allowed one by one.
        config = mode.config(schema, COHORT, encoding=FixedPoint(max(peak, 1e-6), 16))
        made = deployment(max(COHORT, attack.participants)) if config.signed else None
        rounds = []
        for number, cohort in enumerate(_cohorts(names, attack.rounds, seed)):
            about = replace(config, model_digest=number.to_bytes(32, "big"))
            brought = {name: updates[name] for name in cohort}
            rng = rng_of(seed * 1000 + number, "series")
            rounds.append(record(about, brought, rng=rng, colluders=cohort[-1:], deployment=made))
        return cls(case, tuple(rounds))

    def seen(self, sight: Sight) -> Observation:
        """What the adversary has in each round: the released sum, or every single vector that it sees of members."""
        if sight is Sight.RELEASED:
            return self._of([self._scaled(recording.released()) for recording in self.recordings])
        return self._of([flatten(r.observation(name, sight)) for r in self.recordings for name in _open_to(r, sight)])

    def control(self) -> Observation:
        """What a server without secure aggregation would release: the plain sum of each round."""
        sums = []
        for recording in self.recordings:
            members = tuple(recording.run.participants)
            sums.append(np.sum([flatten(recording.observation(name, Sight.PLAIN)) for name in members], axis=0))
        return self._of(sums)

    def _scaled(self, mean: Arrays) -> FloatArray:
        return flatten(mean) * COHORT

    def _of(self, sums: Sequence[FloatArray]) -> Observation:
        stacked = np.array(sums, np.float64)
        first = self.case.target.schema.split(stacked[0] / COHORT)
        return Observation(first, self.case.attack.participants, sums=stacked)


def _open_to(recording: Recording, sight: Sight) -> tuple[ParticipantId, ...]:
    """Whose vectors count: of one participant's traffic the victim's, else everybody's but the colluders'."""
    members = tuple(recording.run.participants)
    seen = (VICTIM,) if sight is Sight.TRAFFIC else members
    return tuple(name for name in seen if name in members and name not in recording.colluders)


def _cohorts(names: list[ParticipantId], rounds: int, seed: int) -> list[list[ParticipantId]]:
    rng, found = np.random.default_rng([seed, 29]), []
    for number in range(rounds):
        drawn = sorted(int(place) for place in rng.permutation(len(names))[:COHORT])
        if number == 0 and 0 not in drawn:
            drawn[0] = 0
        found.append([names[place] for place in drawn])
    return found
