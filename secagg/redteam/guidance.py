"""What follows from the figures, in sentences that are made of them."""

from collections.abc import Sequence
from typing import Final

from secagg.redteam.measured import NoisePoint, RoundsPoint
from secagg.redteam.results import CurvePoint, DefenceRow, Findings

_ENOUGH: Final = 0.05
"""Re-identification that is certainly below this is called enough."""


def cohorts(points: Sequence[CurvePoint]) -> list[str]:
    """How large a cohort must be, as far as was measured."""
    last = points[-1]
    below = next((p for p in points if p.identified <= 0.5), None)
    said = [f"At n = {p.participants} {p.identified:.0%}" for p in (points[0], last)]
    half = (
        f" It falls to a half by n = {below.participants}." if below else " It falls to a half in no measured cohort."
    )
    low, high = last.interval
    advice = (
        f"Guidance: with one record a participant, no cohort up to {last.participants} is enough by itself. Ask for "
        f"{last.participants} honest participants or more, let each update average over many records, and add noise "
        "where a single record must not show."
    )
    if high <= _ENOUGH:
        advice = f"Guidance: ask for {last.participants} honest participants or more."
    return [
        f"{said[0]}, {said[1].lower()} (95 %: {low:.0%} to {high:.0%}; a guess has {last.chance:.2%}).{half}",
        advice,
    ]


def compression(rows: Sequence[DefenceRow]) -> list[str]:
    """The common claim, set right by this run's rows."""
    fooled = [r for r in rows if r.naive <= 0.5 < r.adaptive]
    left = [r for r in rows if r.adaptive <= 0.5]
    said = "That compression “cuts inversion success by half” holds for the naive attacker only" + (
        f": {', '.join(r.title for r in fooled)} stop that one, and not the other." if fooled else "."
    )
    rest = f" What stops both here: {', '.join(r.title for r in left)}." if left else " Nothing here stops both."
    return [said + rest]


def noise(points: Sequence[NoisePoint]) -> list[str]:
    """Where each attack dies: the smallest z from which on it identifies nobody."""
    said = []
    for line in dict.fromkeys(p.line for p in points):
        own = sorted((p for p in points if p.line == line), key=lambda p: p.z)
        alive = [p for p in own if p.identified > 0]
        if not alive:
            said.append(f"{line}: nobody at z = {own[0].z:g} or more")
            continue
        dead = next((p for p in own if p.z > alive[-1].z), None)
        until = f"{alive[-1].identified:.0%} at z = {alive[-1].z:g}"
        said.append(f"{line}: {until}, " + (f"nobody from z = {dead.z:g} on" if dead else "more noise was not tried"))
    return ["; ".join(said) + ". ε = 2.5 needs far more than any attack does: attacks cannot verify ε."]


def rounds(points: Sequence[RoundsPoint], findings: Findings) -> list[str]:
    """What more sums give, and what refuses them."""
    said = []
    for line in dict.fromkeys(p.line for p in points):
        own = sorted((p for p in points if p.line == line), key=lambda p: p.rounds)
        said.append(f"{line}: {own[0].identified:.0%} from one sum, {own[-1].identified:.0%} from {own[-1].rounds}")
    refused = any(p.game.name == "differencing" and p.outcome.stopped for p in findings.games)
    rule = "The product refuses such sums of one and the same model, and was attacked there; " if refused else ""
    advice = (
        f"Guidance: {rule}of a model that moves between rounds it cannot know how far. Keep cohorts the same or draw "
        "them far apart, let nobody's data be in every round, and budget noise over all rounds with the ledger."
    )
    return ["; ".join(said) + ".", advice]


def everything(findings: Findings) -> dict[str, list[str]]:
    """By what it is about."""
    measured = findings.measured
    return {
        "cohorts": cohorts(findings.curve) if findings.curve else [],
        "compression": compression(findings.defences) if findings.defences else [],
        "noise": noise(measured.noise) if measured.noise else [],
        "rounds": rounds(measured.rounds, findings) if measured.rounds else [],
    }
