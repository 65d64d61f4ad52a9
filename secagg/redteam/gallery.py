"""What aggregates and compression give away, and pictures of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from secagg.redteam.attacks import ATTACKS
from secagg.redteam.attacks.base import Attack
from secagg.redteam.defences import DEFENCES
from secagg.redteam.modes import MASKED_ACTIVE
from secagg.redteam.results import CurvePoint, DefenceRow, Faces, Picture
from secagg.redteam.scenes import PEOPLE, Scene
from secagg.redteam.target import Target
from secagg.redteam.trials import Case, Outcome, Score
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
        points.append(CurvePoint(people, score.identified, score.interval, score.chance, gain))
    return points


def defences(target: Target, trials: int, seed: int) -> list[DefenceRow]:
    """Every defence on single updates: against an attacker that takes them as they come, and against the better of two
    that know the defence.
    """
    plain, *adaptive = ATTACKS["first-layer"], ATTACKS["first-layer"], ATTACKS["low-rank"]
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
        (f"from the released mean of {PEOPLE}", Sight.RELEASED),
    ):
        rows.append((title, tuple(_best(target, scene.attacked(scene.seen(sight))) for scene in scenes)))
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
