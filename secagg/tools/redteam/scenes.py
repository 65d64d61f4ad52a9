"""One attack through every eye of real rounds: the positive control, what is hidden, and what is not claimed to be."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import Schema
from secagg.messages import ParticipantId
from secagg.tools.redteam.arena import deployment, rng_of
from secagg.tools.redteam.attacks.inversion.base import Attack, Need
from secagg.tools.redteam.defences import informed
from secagg.tools.redteam.metrics import Score
from secagg.tools.redteam.modes import Mode
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.results import Attempt, Picture
from secagg.tools.redteam.series import COHORT, Series
from secagg.tools.redteam.target import Target
from secagg.tools.redteam.trials import Case
from secagg.tools.redteam.views import Arrays, Recording, Sight, record
from secagg.tools.simulation.cohort import participant_names

PEOPLE: Final = 4
VICTIM: Final = ParticipantId("participant-00001")
HIDDEN: Final = (Sight.TRAFFIC, Sight.COORDINATOR, Sight.COLLUDERS)
STRONGEST: Final = (Sight.COLLUDERS,)
"""Holds everything that the other adversaries hold."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One trial in a real round: a case, and the recording of the round that its updates went through."""

    case: Case
    recording: Recording

    @classmethod
    def play(cls, target: Target, attack: Attack, mode: Mode, seed: int) -> "Scene":
        """A round of four, or of as many as the attack is sized for. Args: seed: of the case and of the round."""
        people = max(PEOPLE, attack.participants)
        case = Case.draw(target, attack, people, seed)
        names = participant_names(people)
        updates = dict(zip(names, case.updates(), strict=True))
        peak = max(float(np.abs(a).max()) for update in updates.values() for a in update.values())
        config = mode.config(Schema.of(updates[VICTIM]), people, encoding=FixedPoint(max(peak, 1e-6), 16))
        made = deployment(people) if config.signed else None
        return cls(case, record(config, updates, rng=rng_of(seed, "campaign"), colluders=names[-1:], deployment=made))

    @property
    def record(self) -> Picture:
        """The record of the victim that the attack is after: float32[d]."""
        record: Picture = self.case.target.records.vectors(self.case.members[0][:1])[0]
        return record

    def seen(self, sight: Sight) -> Observation:
        """What the adversary has of the victim, or of the sum, with what it knows of the encoding."""
        arrays = self.recording.observation(VICTIM, sight)
        return self._informed(arrays, len(self.case.members) if sight is Sight.RELEASED else 1)

    def control(self) -> Observation:
        """What a server without secure aggregation has: the victim's vector, or of attacks on sums the sum of all.

        The very vectors that participants encode, with nothing over them.
        """
        if self.case.attack.participants == 1:
            return self.seen(Sight.PLAIN)
        config, context, people = self.recording.config, self.recording.run.coordinator.round.context, self._people
        total = np.zeros(config.vector_len, np.uint64)
        for name in participant_names(people):
            total += self.recording.residues(name, Sight.PLAIN).astype(np.uint64)
        total &= np.uint64((1 << config.ring_bits) - 1)
        return self._informed(config.code.decode_mean(total, people, context).arrays, people)

    @property
    def _people(self) -> int:
        return len(self.case.members)

    def _informed(self, arrays: Arrays, count: int) -> Observation:
        code, context = self.recording.config.code, self.recording.run.coordinator.round.context
        return informed(Observation(arrays, count), code, context)


def attempts(
    attack: Attack, target: Target, mode: Mode, *, trials: int, seed: int, sights: Sequence[Sight] = HIDDEN
) -> list[Attempt]:
    """The control; the victim's vector through every eye; and the released sum, of attacks that get through to it.

    Args:
        attack: which.
        target: of what.
        mode: of the rounds.
        trials: rounds.
        seed: of the rounds.
        sights: whose eyes are tried on the victim's vector.
    """
    kind = Series if attack.rounds > 1 else Scene
    scenes = [kind.play(target, attack, mode, seed * 1000 + i) for i in range(trials)]
    controls = Score.of([scene.case.play(scene.control()) for scene in scenes])
    made = [_attempt(attack, target, mode, None, controls)]
    through = (Sight.RELEASED,) if Need.MODEL in attack.needs or attack.rounds > 1 else ()
    for sight in (*sights, *through):
        outcomes = [scene.case.play(scene.seen(sight)) for scene in scenes]
        made.append(_attempt(attack, target, mode, sight, Score.of(outcomes)))
    return made


def _attempt(attack: Attack, target: Target, mode: Mode, sight: Sight | None, score: Score) -> Attempt:
    """Args: sight: None for the control."""
    people = max(PEOPLE, attack.participants)
    opened = sight is Sight.COLLUDERS and mode.encrypted and not mode.variant.experimental
    return Attempt(
        name=attack.name,
        attack=attack.title,
        paper=attack.paper,
        target=target.name,
        mode="none" if sight is None else mode.name,
        sight=_title(sight, attack),
        participants=people,
        control=sight is None,
        exposed_by_design=opened or sight is Sight.RELEASED,
        bar=attack.bar,
        **asdict(score),
    )


def _title(sight: Sight | None, attack: Attack) -> str:
    if attack.rounds > 1:
        sums = f"of {attack.rounds} rounds, each of {COHORT} of {attack.participants} people"
        return f"{Sight.PLAIN.value}: plain sums {sums}" if sight is None else f"{sight.value} {sums}"
    if sight is None:
        plain = Sight.PLAIN.value
        return plain if attack.participants == 1 else f"{plain}: the plain sum of {attack.participants}"
    return f"{sight.value} of {attack.participants}" if sight is Sight.RELEASED else sight.value
