"""The harness tested by its mutants: N of N must be caught, and on the healthy product every check must be silent."""

from collections.abc import Callable
from dataclasses import dataclass

from secagg.tools.redteam.arena import deployment
from secagg.tools.redteam.attacks.protocol import GAMES
from secagg.tools.redteam.attacks.protocol.game import Game, play
from secagg.tools.redteam.audit import CHECKS, Check, missing_extra
from secagg.tools.redteam.self_test.mutants import MUTANTS, Mutant
from secagg.tools.redteam.self_test.patches import Patch, take_away


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant.

    Attributes:
        caught: whether its check spoke.
        said: what the check said; empty if it missed the flaw.
    """

    mutant: Mutant
    caught: bool
    said: str


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The outcome.

    Attributes:
        verdicts: of every mutant that could be run.
        false_alarms: what checks said of the healthy product.
        left_out: mutants whose libraries are missing.
    """

    verdicts: tuple[Verdict, ...]
    false_alarms: tuple[str, ...]
    left_out: tuple[Mutant, ...]

    @property
    def caught(self) -> int:
        """How many of the mutants that were run some check noticed."""
        return sum(verdict.caught for verdict in self.verdicts)

    @property
    def passed(self) -> bool:
        """Whether the harness can be believed."""
        return self.caught == len(self.verdicts) and not self.false_alarms

    @property
    def score(self) -> str:
        """A sentence for the report: how many were caught, and which extras are missing for the rest."""
        said = f"{self.caught} of {len(self.verdicts)} caught"
        if not self.left_out:
            return said
        extras = {missing_extra(judge(m)) for m in self.left_out}
        return f"{said}; {len(self.left_out)} not run: they need the extras {', '.join(sorted(extras))}"


def self_test(
    *, seed: int = 0, mutants: tuple[Mutant, ...] = MUTANTS, told: Callable[[Verdict], None] = lambda _: None
) -> SelfTest:
    """Run every mutant, and every check that they need on the healthy product.

    Args:
        seed: of every round.
        mutants: which.
        told: hears of each verdict.
    """
    deployment()  # made by the healthy product
    running = [mutant for mutant in mutants if not missing_extra(judge(mutant))]
    false_alarms = [f"{name}: {said}" for name in sorted({m.check for m in running}) for said in complaints(name, seed)]
    verdicts = []
    for mutant in running:
        with Patch() as patch:
            take_away(patch, mutant.flaws)
            said = complaints(mutant.check, seed, flawed=True)
        verdicts.append(Verdict(mutant, bool(said), said[0] if said else ""))
        told(verdicts[-1])
    left_out = tuple(mutant for mutant in mutants if mutant not in running)
    return SelfTest(tuple(verdicts), tuple(false_alarms), left_out)


def judge(mutant: Mutant) -> Check | Game:
    """The check or game that must notice a mutant."""
    return CHECKS.get(mutant.check) or GAMES[mutant.check]


def complaints(name: str, seed: int, *, flawed: bool = False) -> list[str]:
    """What a check, or a game that does not go as claimed, says. Empty if all is well.

    Args:
        name: of the check or game.
        seed: of every round.
        flawed: whether the product has a flaw on purpose. Then a game must be won to notice it: one that is stopped by
            something else noticed nothing.
    """
    if name in CHECKS:
        return CHECKS[name].run(seed)
    played = play(GAMES[name])
    noticed = not played.outcome.stopped if flawed else not played.as_claimed
    return [f"{played.game.title}: {'' if played.outcome.stopped else 'not '}stopped, {played.outcome.by}"] * noticed
