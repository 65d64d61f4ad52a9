"""What aggregates and compression give away, and pictures of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from secagg.tools.redteam import metrics, pictures
from secagg.tools.redteam.attacks.inversion import ATTACKS
from secagg.tools.redteam.attacks.inversion.base import Attack
from secagg.tools.redteam.defences import DEFENCES, Defence
from secagg.tools.redteam.measured import Tried
from secagg.tools.redteam.metrics import Outcome
from secagg.tools.redteam.modes import MASKED_ACTIVE
from secagg.tools.redteam.results import CurvePoint, DefenceRow, FaceRow
from secagg.tools.redteam.scenes import PEOPLE, Scene
from secagg.tools.redteam.target import Target
from secagg.tools.redteam.trials import Case, tried
from secagg.tools.redteam.views import Sight

COHORTS: Final = (2, 4, 8, 16, 32, 64)
COMPRESSION: Final = ("none", "16-bit", "8-bit", "4-bit", "2-bit", "1-bit", "sample-.5", "sample-.1", "sample-.01")
_ENOUGH: Final = 0.9
_FEW: Final = 3  # trials of what is slow, at least
_LISTED: Final = ATTACKS["membership"]


def curve(
    attack: Attack, targets: tuple[Target, Target], trials: int, seed: int, cohorts: Sequence[int] = COHORTS
) -> list[CurvePoint]:
    """The attack on means of growing cohorts, as far as there are records, through the real encoder and decoder; and
    membership inference from a list of candidates.

    Args:
        attack: on the first target; the list is of the second.
        targets: both.
        trials: of the attack; of the list a quarter.
        seed: of all.
        cohorts: sizes.
    """
    points, (target, listed) = [], targets
    for people in cohorts:
        if (people + 1) * target.batch >= len(target.records):
            break
        outcomes = _outcomes(target, attack, people, DEFENCES["16-bit"], range(seed * 1000, seed * 1000 + trials))
        gain = float(np.mean([outcome.gain_db for outcome in outcomes]))
        found = [tried(outcomes, attack, target)]
        if _fits(listed, people):
            found.append(_listed(listed, people, DEFENCES["16-bit"], max(_FEW, trials // 4), seed))
        points.append(CurvePoint(tuple(found), people, gain, pictures.quality(target, outcomes)))
    return points


def _outcomes(target: Target, attack: Attack, people: int, defence: Defence, seeds: range) -> list[Outcome]:
    """Of an attack that knows the defence on means of `people`."""
    cases = [Case.draw(target, attack, people, seed) for seed in seeds]
    seen = [defence.release(target, case.updates(), i).adaptive for i, case in enumerate(cases)]
    return [case.play(one) for case, one in zip(cases, seen, strict=True)]


def _fits(target: Target, people: int) -> bool:
    """Whether a list of candidates can be drawn: records are values, and there are enough."""
    return not target.records.vocabulary and (people + 1) * target.batch < len(target.records)


def _listed(target: Target, people: int, defence: Defence, trials: int, seed: int) -> Tried:
    """What a list of candidates makes of a mean."""
    seeds = range(seed * 1000, seed * 1000 + trials)
    return tried(_outcomes(target, _LISTED, people, defence, seeds), _LISTED, target)


def defences(target: Target, listed: Target, trials: int, seed: int) -> list[DefenceRow]:
    """Compression of single updates: against an attacker that takes them as they come, and against those that know how
    they were compressed; with a list of candidates, too, on `listed`. For noise see `secagg.tools.redteam.sweeps`.
    """
    named = _named_through(listed, max(_FEW, trials // 2), seed) if _fits(listed, 1) else [[] for _ in COMPRESSION]
    return [_defence(target, name, trials, seed, found) for name, found in zip(COMPRESSION, named, strict=True)]


def _named_through(target: Target, trials: int, seed: int) -> list[list[Tried]]:
    """What a list of candidates makes of single updates, through each compression."""
    outcomes: list[list[Outcome]] = [[] for _ in COMPRESSION]
    for i in range(trials):
        case = Case.draw(target, _LISTED, 1, seed * 1000 + i)
        seen = [DEFENCES[name].release(target, case.updates(), i).adaptive for name in COMPRESSION]
        for own, outcome in zip(outcomes, case.all_of(_LISTED, seen), strict=True):
            own.append(outcome)
    return [[tried(own, _LISTED, target)] for own in outcomes]


def _defence(target: Target, name: str, trials: int, seed: int, listed: list[Tried]) -> DefenceRow:
    """A prior learned from public records is slow, and is tried less often, and only where the others fall short."""
    plain, defence = ATTACKS["first-layer"], DEFENCES[name]
    cases = [Case.draw(target, plain, 1, seed * 1000 + i) for i in range(trials)]
    releases = [defence.release(target, case.updates(), i) for i, case in enumerate(cases)]
    naive = tried([case.play(r.naive) for case, r in zip(cases, releases, strict=True)], plain, target)
    found: list[Tried] = []
    for attack, count in ((plain, trials), (ATTACKS["low-rank"], trials), (ATTACKS["prior"], max(_FEW, trials // 4))):
        known = [*found, *listed] if attack.slow else found
        if not _named(known):
            pairs = zip(cases[:count], releases[:count], strict=True)
            played = [replace(case, attack=attack).play(release.adaptive) for case, release in pairs]
            found.append(tried(played, attack, target))
    return DefenceRow((*found, *listed), name, defence.title, naive)


def _named(found: Sequence[Tried]) -> bool:
    """Whether one of them named so many that nothing stronger is needed."""
    return any(t.identified >= _ENOUGH for t in found)


def faces(attack: Attack, target: Target, people: int, seed: int) -> tuple[FaceRow, ...]:
    """The same faces through every eye: the record, the control, what the coordinator holds, growing aggregates."""
    scenes = [Scene.play(target, attack, MASKED_ACTIVE, seed * 1000 + i) for i in range(people)]
    records = tuple(pictures.picture(target, scene.record) for scene in scenes)
    rows = [FaceRow("the record", records, metrics.MAX_DECIBEL, 1.0)]
    for title, sight in (
        ("from the plain update", Sight.PLAIN),
        ("from what the coordinator receives", Sight.COORDINATOR),
        (f"from the released mean of {PEOPLE}", Sight.RELEASED),
    ):
        outcomes = [scene.case.play(scene.seen(sight)) for scene in scenes]
        rows.append(pictures.row(title, target, outcomes, hidden=sight is Sight.COORDINATOR))
    for cohort in (16, 64):
        outcomes = []
        for i in range(people):
            case = Case.draw(target, attack, cohort, seed * 1000 + i)
            outcomes.append(case.play(DEFENCES["16-bit"].release(target, case.updates(), i).adaptive))
        rows.append(pictures.row(f"from the released mean of {cohort}", target, outcomes))
    return tuple(rows)
