"""Attacks on what adversaries see of real rounds. Needs the extra `redteam`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

import numpy as np

from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import Schema
from secagg.errors import ConfigError
from secagg.messages import ParticipantId
from secagg.redteam import attacks as attack_package
from secagg.redteam.arena import deployment, rng_of
from secagg.redteam.attacks.base import Attack
from secagg.redteam.defences import DEFENCES, informed
from secagg.redteam.modes import EVERY_MODE, MASKED_ACTIVE, Mode, available
from secagg.redteam.observation import Observation
from secagg.redteam.results import Attempt, CurvePoint, DefenceRow, Faces, Findings, Picture
from secagg.redteam.target import Target
from secagg.redteam.targets import target_named
from secagg.redteam.trials import Case, Outcome, Score
from secagg.redteam.views import Recording, Sight, record
from secagg.simulation.cohort import participant_names

PEOPLE: Final = 4
COHORTS: Final = (2, 4, 8, 16, 32, 64)
VICTIM: Final = ParticipantId("participant-00001")


def attacks() -> dict[str, Attack]:
    """Every attack of `secagg.redteam.attacks`, by name."""
    found: dict[str, Attack] = {}
    for module in iter_modules(attack_package.__path__):
        loaded = import_module(f"{attack_package.__name__}.{module.name}")
        found |= {a.name: a for a in vars(loaded).values() if isinstance(a, Attack)}
    return found


@dataclass(frozen=True, slots=True)
class Scene:
    """One trial in a real round: a case, and the recording of the round that its updates went through."""

    case: Case
    recording: Recording

    @classmethod
    def play(cls, target: Target, attack: Attack, mode: Mode, seed: int) -> "Scene":
        """Args: seed: of the case and of the round."""
        case = Case.draw(target, attack, PEOPLE, seed)
        names = participant_names(PEOPLE)
        updates = dict(zip(names, case.updates(), strict=True))
        peak = max(float(np.abs(a).max()) for update in updates.values() for a in update.values())
        config = mode.config(Schema.of(updates[VICTIM]), PEOPLE, encoding=FixedPoint(max(peak, 1e-6), 16))
        made = deployment() if config.signed else None
        return cls(case, record(config, updates, rng=rng_of(seed, "campaign"), colluders=names[-1:], deployment=made))

    @property
    def record(self) -> Picture:
        """The victim's record: float32[d]."""
        record: Picture = self.case.target.records.vectors(self.case.members[0][:1])[0]
        return record

    def seen(self, sight: Sight) -> Observation:
        """What the adversary has of the victim, with what it knows of the encoding."""
        arrays = self.recording.observation(VICTIM, sight)
        count = PEOPLE if sight is Sight.RELEASED else 1
        code, context = self.recording.config.code, self.recording.run.coordinator.round.context
        return informed(Observation(arrays, count), code, context)

    def attacked(self, sight: Sight) -> Outcome:
        """What the attack makes of it."""
        seen = self.seen(sight)
        return self.case.play(seen, seen.summands)


HIDDEN: Final = (Sight.TRAFFIC, Sight.COORDINATOR, Sight.COLLUDERS)


def attempts(attack: Attack, target: Target, modes: Sequence[Mode], trials: int, seed: int) -> list[Attempt]:
    """The attack on the control once, and on every hidden view of every mode."""
    made: list[Attempt] = []
    for mode in available(tuple(modes)):
        scenes = [Scene.play(target, attack, mode, seed * 1000 + i) for i in range(trials)]
        sights = HIDDEN if made else (Sight.PLAIN, *HIDDEN)
        made += [_attempt(attack, target, mode, sight, [scene.attacked(sight) for scene in scenes]) for sight in sights]
    return made


def _attempt(attack: Attack, target: Target, mode: Mode, sight: Sight, outcomes: list[Outcome]) -> Attempt:
    score = Score.of(outcomes)
    return Attempt(
        attack=attack.title,
        paper=attack.paper,
        target=target.name,
        mode="none" if sight is Sight.PLAIN else mode.name,
        sight=sight.value,
        control=sight is Sight.PLAIN,
        exposed_by_design=sight is Sight.COLLUDERS and mode.encrypted and not mode.variant.experimental,
        trials=score.trials,
        identified=score.identified,
        interval=score.interval,
        chance=score.chance,
        binomial_p=score.binomial_p,
        rank_p=score.rank_p,
        worst_gain_db=score.worst_gain_db,
        best_gain_db=score.best_gain_db,
    )


def curve(attack: Attack, target: Target, trials: int, seed: int, cohorts: Sequence[int] = COHORTS) -> list[CurvePoint]:
    """The attack on means of growing cohorts, through the real encoder and decoder."""
    points = []
    for people in cohorts:
        outcomes = []
        for i in range(trials):
            case = Case.draw(target, attack, people, seed * 1000 + i)
            outcomes.append(case.play(DEFENCES["16-bit"].release(target, case.updates(), i).adaptive, people))
        score = Score.of(outcomes)
        gain = float(np.mean([outcome.gain_db for outcome in outcomes]))
        points.append(CurvePoint(people, score.identified, score.interval, score.chance, gain))
    return points


def defences(target: Target, trials: int, seed: int) -> list[DefenceRow]:
    """Every defence on single updates: against an attacker that takes them as they come, and against the better of two
    that know the defence.
    """
    plain, *adaptive = attacks()["first-layer"], attacks()["first-layer"], attacks()["low-rank"]
    rows = []
    for name, defence in DEFENCES.items():
        cases = [(i, Case.draw(target, plain, 1, seed * 1000 + i)) for i in range(trials)]
        releases = [(case, defence.release(target, case.updates(), i)) for i, case in cases]
        naive = Score.of([case.play(release.naive) for case, release in releases]).identified
        best = max(
            Score.of([replace(case, attack=one).play(release.adaptive) for case, release in releases]).identified
            for one in adaptive
        )
        rows.append(DefenceRow(name, defence.title, naive, best))
    return rows


def faces(attack: Attack, target: Target, people: int, seed: int) -> Faces:
    """The same faces through every eye: the record, the control, what the coordinator holds, growing aggregates."""
    scenes = [Scene.play(target, attack, MASKED_ACTIVE, seed * 1000 + i) for i in range(people)]
    rows = [("the record", tuple(_picture(target, scene.record) for scene in scenes))]
    for title, sight in (
        ("from the plain update", Sight.PLAIN),
        ("from what the coordinator receives", Sight.COORDINATOR),
        ("from the released mean of 4", Sight.RELEASED),
    ):
        rows.append((title, tuple(_best(target, scene.attacked(sight)) for scene in scenes)))
    for cohort in (16, 64):
        found = []
        for i in range(people):
            case = Case.draw(target, attack, cohort, seed * 1000 + i)
            mean = DEFENCES["16-bit"].release(target, case.updates(), i).adaptive
            found.append(_best(target, case.play(mean, cohort)))
        rows.append((f"from the released mean of {cohort}", tuple(found)))
    return Faces(tuple(rows))


def _best(target: Target, outcome: Outcome) -> Picture:
    blank = np.full(len(outcome.victim), 0.5, np.float32)
    return _picture(target, blank if outcome.best is None else outcome.best)


def _picture(target: Target, vector: Picture) -> Picture:
    low, high = target.records.bounds
    picture = target.records.as_picture(vector)
    levels: Picture = ((picture if picture is not None else vector[None]) - low) / (high - low)
    return np.clip(levels, 0, 1)


QUICK: Final = ("low-rank", "unmix", "text", "trap-weights", "inconsistent-models", "idlg", "membership")
FULL: Final = (*QUICK, "attribute", "prior", "inverting-gradients", "multimodal")
"""Attacks against the masked mode beside `first-layer`, which is tried against every mode."""


def conduct(findings: Findings) -> Findings:
    """The findings with everything that attacks add to them: five times as many trials in the full profile."""
    seed, more = findings.seed, 5 if findings.profile == "full" else 1
    attack, digits, pictured = (
        attacks()["first-layer"],
        target_named("mlp-digits", seed),
        target_named("mlp-faces", seed),
    )
    return replace(
        findings,
        attempts=tuple(attempts(attack, digits, EVERY_MODE, 5 * more, seed) + _others(findings)),
        curve=tuple(curve(attack, digits, 12 * more, seed)),
        defences=tuple(defences(digits, 8 * more, seed)),
        faces=faces(attack, pictured, 8, seed),
    )


def _others(findings: Findings) -> list[Attempt]:
    known, made = attacks(), list[Attempt]()
    for name in FULL if findings.profile == "full" else QUICK:
        target = target_named(known[name].target, findings.seed)
        made += attempts(known[name], target, (MASKED_ACTIVE,), 5, findings.seed)
    return made


def conduct_one(findings: Findings, name: str) -> Findings:
    """One attack on its own target, against the control and the views of the masked mode.

    Raises:
        ConfigError: no attack of that name.
    """
    known = attacks()
    if name not in known:
        raise ConfigError(f"no attack, game or check {name!r}; attacks are {', '.join(sorted(known))}")
    attack = known[name]
    target = target_named(attack.target, findings.seed)
    return replace(findings, attempts=tuple(attempts(attack, target, (MASKED_ACTIVE,), attack.trials, findings.seed)))
