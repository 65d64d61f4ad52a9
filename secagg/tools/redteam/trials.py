"""One trial: a victim, its companions, the non-participants, and what an attack makes of a view of their round."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.errors import LocalError
from secagg.tools.redteam import metrics
from secagg.tools.redteam.attacks.inversion.base import Attack, Need, Reconstruction
from secagg.tools.redteam.attacks.inversion.membership import Suspects
from secagg.tools.redteam.measured import Tried
from secagg.tools.redteam.metrics import Outcome, Score
from secagg.tools.redteam.observation import Bits, Observation, Parameters
from secagg.tools.redteam.records import Features, Indices, Labels
from secagg.tools.redteam.target import Target

_CANDIDATES: Final = 300


@dataclass(frozen=True, slots=True)
class Case:
    """A drawn cohort under one attack.

    Attributes:
        target: what is attacked.
        attack: by what.
        seed: everything was drawn from it.
        members: records of each participant; the victim comes first, and its first record is the one that is sought.
        others: records of non-participants.
        models: what each participant was given.
    """

    target: Target
    attack: Attack
    seed: int
    members: tuple[Indices, ...]
    others: Indices
    models: tuple[Parameters, ...]

    @classmethod
    def draw(cls, target: Target, attack: Attack, participants: int, seed: int) -> "Case":
        """Args: participants: of the cohort. seed: victim, companions and malicious models come from it.

        Raises:
            LocalError: the data set is too small for the cohort.
        """
        rng, records = np.random.default_rng([seed, 1]), target.records
        eligible = records.victims if len(records.victims) else np.arange(len(records))
        victim = int(rng.choice(eligible))
        rest = rng.permutation(np.setdiff1d(np.arange(len(records)), [victim]))
        needed = participants * target.batch
        order = np.concatenate([[victim], rest])
        others = np.intersect1d(order[needed:], eligible)
        if len(others) < 2:
            raise LocalError(f"{len(records)} records are too few for {participants} participants of {target.batch}")
        members = tuple(order[:needed].reshape(participants, target.batch))
        models = tuple(attack.models(target, participants, 0, np.random.default_rng([seed, 2])))
        return cls(target, attack, seed, members, others, models)

    @property
    def victim(self) -> int:
        """Number of the record that is sought."""
        return int(self.members[0][0])

    def updates(self) -> list[dict[str, FloatArray]]:
        """What each participant hands in; the victim's first."""
        return [self.target.update(model, which) for model, which in zip(self.models, self.members, strict=True)]

    def observe(self, seen: Observation | Parameters) -> Observation:
        """`seen` with the side knowledge that the attack needs; arrays alone are one update of exact values."""
        view = seen if isinstance(seen, Observation) else Observation(dict(seen))
        records, needs = self.target.records, self.attack.needs
        active = self.models[0] if self.attack.active else None
        return replace(
            view,
            parameters=active,
            labels=records.labels[[self.victim]] if Need.LABELS in needs else None,
            partial=self._partial() if Need.PARTIAL in needs else None,
            candidates=self._candidates() if Need.CANDIDATES in needs else None,
        )

    def rivals(self) -> Indices:
        """Non-participants that the victim is told apart from: the other candidates, where there are candidates."""
        if Need.CANDIDATES not in self.attack.needs:
            return self.others
        return np.random.default_rng([self.seed, 3]).permutation(self.others)[: _CANDIDATES - 1]

    def _partial(self) -> Features:
        """The victim's record with a third of its attributes unknown, the same third for everyone."""
        record: Features = self.target.records.vectors(self.members[0][:1])[0].copy()
        record[2::3] = np.nan
        return record

    def _candidates(self) -> tuple[Features, Labels]:
        records = self.target.records
        chosen = np.random.default_rng([self.seed, 5]).permutation(np.append(self.rivals(), self.victim))
        return records.features[chosen], records.labels[chosen]

    def play(self, seen: Observation | Parameters) -> Outcome:
        """Run the attack on a view of this case and judge what it finds."""
        return self.judge(self.attack.run(self.target, self.observe(seen), self.luck()))

    def all_of(self, attack: Attack, seen: Sequence[Observation]) -> list[Outcome]:
        """Another attack on several views of this case; what a list of candidates costs is paid once."""
        asked = replace(self, attack=attack)
        if Need.CANDIDATES not in attack.needs:
            return [asked.play(one) for one in seen]
        suspects, outcomes = None, []
        for one in seen:
            view = asked.observe(one)
            if suspects is None or view.kept is not None:
                suspects = Suspects.of(self.target, view)
            outcomes.append(asked.judge(suspects.named(self.target, view)))
            suspects = None if view.kept is not None else suspects
        return outcomes

    def luck(self) -> np.random.Generator:
        """The generator that the attack draws from, apart from that of the case."""
        return np.random.default_rng([self.seed, 4])

    def judge(self, found: Reconstruction) -> Outcome:
        """How near the reconstruction came to the true record."""
        records = self.target.records
        pool, victim = records.vectors(self.rivals()), records.vectors(self.members[0][:1])[0]
        judged = np.ones(len(victim), np.bool_) if found.judged is None else found.judged
        guesses = found.records
        blind = pool.mean(axis=0)
        label = None if found.labels is None else bool(np.isin(records.labels[self.victim], found.labels))
        return Outcome(
            metrics.identify(guesses[:, judged], victim[judged], pool[:, judged]),
            metrics.gain_db(guesses[:, judged], victim[judged], blind[judged]),
            metrics.luck_db(guesses[:, judged], pool[:, judged], blind[judged]),
            self._exact(guesses, judged, blind),
            label,
            float(np.bincount(records.labels).max() / len(records)),
            victim,
            guesses[np.argmin(np.mean((guesses - victim)[:, judged] ** 2, axis=1))] if len(guesses) else None,
        )

    def _exact(self, guesses: Features, judged: Bits, blind: Features) -> float:
        everyone = self.target.records.vectors(np.concatenate(self.members))
        gains = [metrics.gain_db(guesses[:, judged], record[judged], blind[judged]) for record in everyone]
        return float(np.mean(np.array(gains) >= metrics.EXACT_DECIBEL))


def tried(outcomes: Sequence[Outcome], attack: Attack, target: Target) -> Tried:
    """How often an attack named the victim in these trials."""
    score = Score.of(outcomes)
    return Tried(f"{attack.name} on {target.name}", score.trials, score.identified, score.interval, score.chance)
