"""What a run of the red team found, and what that means for the exit code."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from secagg.tools.charts.origin import Origin
from secagg.tools.redteam.attacks.protocol.game import Played
from secagg.tools.redteam.measured import Attacked, Measured, Tried
from secagg.tools.redteam.metrics import Bar, Score, smallest_leak
from secagg.tools.redteam.self_test.run import SelfTest
from secagg.tools.redteam.statistics import proportion_interval

Picture = np.ndarray[Any, np.dtype[np.floating[Any]]]
"""float[height, width] or float[height, width, 3], in [0, 1]."""

OK: Final = 0
LEAK: Final = 1
BROKEN: Final = 2


@dataclass(frozen=True, slots=True)
class Checked:
    """A check of the audit, what it said of the product (nothing if all is well), and whose rounds it looked at."""

    name: str
    title: str
    said: tuple[str, ...]
    mode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Score):
    """Trials of one attack on one kind of view.

    Attributes:
        name: of the attack, for the command line; `attack` is for people.
        participants: of the round.
        control: whether the view is unprotected, so that the attack must succeed.
        exposed_by_design: whether the product itself says that this adversary sees everything.
        bar: what the attack must reach where it must succeed.
    """

    name: str
    attack: str
    paper: str
    target: str
    mode: str
    sight: str
    participants: int
    control: bool
    exposed_by_design: bool
    bar: Bar

    @property
    def least_p(self) -> float:
        """The smaller p-value of those of id@1 and of the rank."""
        return min(self.binomial_p, self.rank_p)

    @property
    def hidden(self) -> bool:
        """Whether this view must show nothing."""
        return not (self.control or self.exposed_by_design)

    @property
    def smallest(self) -> float:
        """The smallest share of named victims that these trials would find with 95 %: 0 to 1; inf if none."""
        return smallest_leak(self.trials, self.chance)

    @property
    def succeeded(self) -> bool:
        """Whether it worked as a control must."""
        return self.reaches(self.bar)

    @property
    def achieved(self) -> str:
        """How far it got, in the terms that it is judged by, for people."""
        said = f"{self.exact:.0%} of the records exact" if self.bar.exact else f"id@1 {self.identified:.0%}"
        return said if self.labels is None else f"{said}, labels {self.labels:.0%}"

    @property
    def as_claimed(self) -> bool:
        """Controls succeed; what is said to be hidden is at chance; what is said to be exposed is."""
        return self.succeeded if self.control or self.exposed_by_design else self.at_chance


def strongest_eyes(attempts: Sequence[Attempt], mode: str) -> list[Attempt]:
    """Of each attack on a mode, the last of the views that must show nothing: who has it has the others, too."""
    last = {a.name: a for a in attempts if a.hidden and a.mode == mode}
    return list(last.values())


def worst_of(attempts: Sequence[Attempt]) -> Attempt:
    """The one that named the largest share of victims; of several, the one whose interval reaches furthest."""
    return max(attempts, key=lambda a: (a.identified, a.interval[1]))


def pooled(attempts: Sequence[Attempt]) -> tuple[int, int, tuple[float, float]]:
    """Named victims, trials, and the 95 % interval of their share."""
    hits, trials = sum(a.hits for a in attempts), sum(a.trials for a in attempts)
    return hits, trials, proportion_interval(hits, trials)


@dataclass(frozen=True, slots=True)
class Quality:
    """How good reconstructions look: means over trials, with 95 % intervals (bootstrap).

    Attributes:
        psnr: of the attack's best guess, dB; `blind_psnr` is that of the mean record, which needs no attack.
        ssim: the same, −1 to 1.
    """

    psnr: float
    psnr_interval: tuple[float, float]
    ssim: float
    ssim_interval: tuple[float, float]
    blind_psnr: float
    blind_ssim: float


@dataclass(frozen=True, slots=True)
class CurvePoint(Attacked):
    """Re-identification from the released mean of a cohort; quality is None where records are no pictures.

    Gain and quality are those of the first attack.
    """

    participants: int
    gain_db: float
    quality: Quality | None = None


@dataclass(frozen=True, slots=True)
class DefenceRow(Attacked):
    """One defence without secure aggregation, against attackers that know it, and one that does not.

    Attributes:
        naive: id@1 of the attacker that takes updates as they come.
    """

    name: str
    title: str
    naive: Tried


@dataclass(frozen=True, slots=True)
class FaceRow:
    """Pictures of the same records, as one pair of eyes sees them.

    Attributes:
        title: whose eyes.
        pictures: one for each record.
        psnr: mean over the pictures, dB.
        ssim: the same, −1 to 1.
        hidden: whether this view must show nothing.
    """

    title: str
    pictures: tuple[Picture, ...]
    psnr: float
    ssim: float
    hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacks:
    """What attacks found, or one piece of them. Attributes: left_out: what could not be run, and why."""

    attempts: tuple[Attempt, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    defences: tuple[DefenceRow, ...] = ()
    faces: tuple[FaceRow, ...] = ()
    measured: Measured = field(default_factory=Measured)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RedTeamFindings(Attacks):
    """What one run found: checks, games, attacks, and the test of the red team itself.

    Attributes:
        command: that repeats the run.
        origin: date, commit and versions.
    """

    profile: str
    seed: int
    command: str
    origin: Origin
    seconds: float = 0.0
    checks: tuple[Checked, ...] = ()
    games: tuple[Played, ...] = ()
    self_test: SelfTest | None = None

    @property
    def leaks(self) -> list[str]:
        """What came out that the product claims to keep in."""
        said = [f"{check.title}: {line}" for check in self.checks for line in check.said]
        said += [f"{p.game.title}: {p.outcome.by}" for p in self.games if p.game.stops and not p.outcome.stopped]
        false = [c for c in self.measured.claims if c.true and not c.as_claimed]
        said += [f"audit of noise, {c.title}: {c.told}" for c in false]
        hidden = [a for a in self.attempts if a.hidden and not a.at_chance]
        return said + [f"{a.attack} on {a.sight} ({a.mode}): {a.achieved}" for a in hidden]

    @property
    def astray(self) -> list[Played]:
        """Games whose adversary was stopped before its attack was tried, or by another check than is claimed."""
        return [played for played in self.games if played.astray]

    @property
    def broken(self) -> list[str]:
        """Controls that failed, gaps that could not be shown, and games that were stopped by something else than they
        name: this part of the run means nothing.
        """
        gaps = [p for p in self.games if not p.game.stops and p.outcome.stopped]
        said = [f"{p.game.title}: could not be shown, {p.outcome.by}" for p in gaps]
        said += [f"{p.game.title}: stopped by something else than what it names, {p.outcome.by}" for p in self.astray]
        wanted = [a for a in self.attempts if (a.control or a.exposed_by_design) and not a.succeeded]
        said += [f"control of {a.attack} on {a.sight} ({a.mode}): {a.achieved}" for a in wanted]
        unnoticed = [c for c in self.measured.claims if not (c.true or c.as_claimed)]
        said += [f"audit of noise, {c.title}: not disproved ({c.told})" for c in unnoticed]
        blind = [p for p in self.measured.power if not p.as_claimed]
        said += [
            f"power of {p.check}: {p.found} of {p.controls} faults noticed ({p.fault} {p.smallest})" for p in blind
        ]
        if self.self_test is not None and not self.self_test.passed:
            missed = [v.mutant.title for v in self.self_test.verdicts if not v.caught]
            said.append(f"self-test: {self.self_test.score}; missed: {', '.join(missed) or 'nothing'}")
            said += [f"self-test, false alarm: {alarm}" for alarm in self.self_test.false_alarms]
        return said

    @property
    def exit_code(self) -> int:
        """1 if something leaked, else 2 if a control failed, else 0. A leak that was found stays one."""
        return LEAK if self.leaks else BROKEN if self.broken else OK
