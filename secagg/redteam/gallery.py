"""What aggregates and compression give away, and pictures of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from secagg.redteam import metrics, pictures
from secagg.redteam.attacks import ATTACKS
from secagg.redteam.attacks.base import Attack
from secagg.redteam.defences import DEFENCES
from secagg.redteam.modes import MASKED_ACTIVE
from secagg.redteam.results import CurvePoint, DefenceRow, FaceRow, Faces
from secagg.redteam.scenes import PEOPLE, Scene
from secagg.redteam.target import Target
from secagg.redteam.trials import Case, Score
from secagg.redteam.views import Sight

COHORTS: Final = (2, 4, 8, 16, 32, 64)


def curve(attack: Attack, target: Target, trials: int, seed: int, cohorts: Sequence[int] = COHORTS) -> list[CurvePoint]:
    """The attack on means of growing cohorts, as far as there are records, through the real encoder and decoder."""
    points = []
    for people in cohorts:
        if (people + 1) * target.batch >= len(target.records):
            break
        outcomes = []
        for i in range(trials):
            case = Case.draw(target, attack, people, seed * 1000 + i)
            outcomes.append(case.play(DEFENCES["16-bit"].release(target, case.updates(), i).adaptive, people))
        score = Score.of(outcomes)
        gain = float(np.mean([outcome.gain_db for outcome in outcomes]))
        looks = pictures.quality(target, outcomes)
        points.append(CurvePoint(people, score.identified, score.interval, score.chance, gain, looks))
    return points


COMPRESSION: Final = ("none", "16-bit", "8-bit", "4-bit", "2-bit", "1-bit", "sample-.5", "sample-.1", "sample-.01")
_ENOUGH: Final = 0.9
_FEW: Final = 3  # trials of what is slow, at least


def defences(target: Target, trials: int, seed: int) -> list[DefenceRow]:
    """Compression of single updates: against an attacker that takes them as they come, and against the best of those
    that know how they were compressed. For noise see `secagg.redteam.sweeps`.
    """
    return [_defence(target, name, trials, seed) for name in COMPRESSION]


def _defence(target: Target, name: str, trials: int, seed: int) -> DefenceRow:
    """A prior learned from public records is slow, and is tried only where the others fall short."""
    plain, defence = ATTACKS["first-layer"], DEFENCES[name]
    cases = [(i, Case.draw(target, plain, 1, seed * 1000 + i)) for i in range(trials)]
    releases = [(case, defence.release(target, case.updates(), i)) for i, case in cases]
    naive = Score.of([case.play(release.naive) for case, release in releases]).identified
    best, by = Score.of([case.play(release.adaptive) for case, release in releases]), plain
    for one, count in ((ATTACKS["low-rank"], trials), (ATTACKS["prior"], max(_FEW, trials // 4))):
        if best.identified < _ENOUGH:
            played = [replace(case, attack=one).play(release.adaptive) for case, release in releases[:count]]
            score = Score.of(played)
            best, by = (score, one) if score.identified > best.identified else (best, by)
    return DefenceRow(name, defence.title, naive, best.identified, best.interval, by.name, best.trials)


def faces(attack: Attack, target: Target, people: int, seed: int) -> Faces:
    """The same faces through every eye: the record, the control, what the coordinator holds, growing aggregates."""
    scenes = [Scene.play(target, attack, MASKED_ACTIVE, seed * 1000 + i) for i in range(people)]
    records = tuple(pictures.picture(target, scene.record) for scene in scenes)
    rows = [FaceRow("the record", records, metrics.MAX_DECIBEL, 1.0)]
    for title, sight in (
        ("from the plain update", Sight.PLAIN),
        ("from what the coordinator receives", Sight.COORDINATOR),
        (f"from the released mean of {PEOPLE}", Sight.RELEASED),
    ):
        outcomes = [scene.attacked(scene.seen(sight)) for scene in scenes]
        rows.append(pictures.row(title, target, outcomes, hidden=sight is Sight.COORDINATOR))
    for cohort in (16, 64):
        outcomes = []
        for i in range(people):
            case = Case.draw(target, attack, cohort, seed * 1000 + i)
            outcomes.append(case.play(DEFENCES["16-bit"].release(target, case.updates(), i).adaptive, cohort))
        rows.append(pictures.row(f"from the released mean of {cohort}", target, outcomes))
    return Faces(tuple(rows))
