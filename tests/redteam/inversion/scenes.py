"""Trials for the tests."""

from secagg.tools.redteam.attacks.inversion import Attack
from secagg.tools.redteam.defences import DEFENCES
from secagg.tools.redteam.metrics import Outcome, Score
from secagg.tools.redteam.targets import target_named
from secagg.tools.redteam.trials import Case


def outcomes(
    attack: Attack, *, participants: int = 0, defence: str = "none", trials: int = 2, adaptive: bool = True
) -> list[Outcome]:
    found = []
    for seed in range(trials):
        target = target_named(attack.target, seed)
        case = Case.draw(target, attack, participants or attack.participants, seed)
        release = DEFENCES[defence].release(target, case.updates(), seed)
        found.append(case.play(release.adaptive if adaptive else release.naive))
    return found


def score(attack: Attack, **scene: object) -> Score:
    return Score.of(outcomes(attack, **scene))  # type: ignore[arg-type]
