"""What follows from the figures, in sentences that are made of them: a defence that fails in a run is said to fail."""

from collections.abc import Sequence
from typing import Final

from secagg.tools.redteam.measured import NoisePoint, RoundsPoint, Tried
from secagg.tools.redteam.results import CurvePoint, DefenceRow, RedTeamFindings

_ENOUGH: Final = 0.05
"""Re-identification that is certainly below this is called enough."""


def cohorts(points: Sequence[CurvePoint]) -> list[str]:
    """How large a cohort must be, as far as was measured, against the strongest attack at each size."""
    first, last = points[0], points[-1]
    below = next((p for p in points if p.strongest.identified <= 0.5), None)
    half = (
        f" It falls to a half by n = {below.participants}." if below else " It falls to a half in no measured cohort."
    )
    ends = [f"n = {p.participants}: {p.strongest.attack} names {p.strongest.told}" for p in (first, last)]
    enough = max(t.interval[1] for t in last.tried) <= _ENOUGH
    advice = (
        f"Guidance: ask for {last.participants} honest participants or more."
        if enough
        else f"Guidance: with one record a participant, no cohort up to {last.participants} is enough by itself. Ask "
        f"for {last.participants} honest participants or more, let each update average over many records, and add "
        "noise where a single record must not show."
    )
    return [f"{'; '.join(ends)}.{half}", advice]


def compression(rows: Sequence[DefenceRow]) -> list[str]:
    """What each compression stops, of the naive attacker and of the strongest of those that were tried."""
    real = [r for r in rows if r.name not in ("none", "16-bit")]
    fooled = [r for r in real if not r.naive.beyond_chance and r.beyond_chance]
    passed = [r for r in real if r.beyond_chance]
    held = [r for r in real if not r.beyond_chance]
    said = []
    if fooled:
        said.append(f"Only the naive attacker is stopped by {', '.join(r.title for r in fooled)}.")
    if passed:
        most = "; ".join(f"{r.title}: {r.strongest.attack} {_short(r.strongest)}" for r in passed)
        said.append(f"The strongest attack that was tried names victims through {most}.")
    if held:
        most = "; ".join(f"{r.title} (fewer than {_most(r.tried):.0%} with 95 %)" for r in held)
        said.append(f"No attack that was tried got beyond chance through {most}.")
    else:
        said.append("No compression that was tried stops the strongest attack.")
    return [" ".join(said)]


def noise(points: Sequence[NoisePoint]) -> list[str]:
    """Up to which z each attack names victims; and where none of them does any more."""
    said = []
    for line in dict.fromkeys(p.line for p in points):
        own = sorted((p for p in points if p.line == line), key=lambda p: p.z)
        alive = [p for p in own if p.found.beyond_chance]
        if not alive:
            most = max(p.found.interval[1] for p in own)
            said.append(f"{line}: not beyond chance at z = {own[0].z:g} or more (fewer than {most:.0%} with 95 %)")
            continue
        dead = next((p for p in own if p.z > alive[-1].z), None)
        until = f"{_short(alive[-1].found)} at z = {alive[-1].z:g}"
        after = f"not beyond chance at z = {dead.z:g}" if dead else "more noise was not tried"
        said.append(f"{line}: {until}, {after}")
    alive = [p for p in points if p.found.beyond_chance]
    most_noise = max(p.z for p in points)
    least = [p.found for p in points if p.z == most_noise]
    if any(t.beyond_chance for t in least):
        worst = max(least, key=lambda t: t.identified)
        end = f"Even at z = {most_noise:g}, ε = 2.5, {worst.attack} names {worst.told}: this noise does not suffice."
    else:
        until = f"The last attack still succeeds at z = {max(p.z for p in alive):g}; a" if alive else "A"
        end = (
            f"{until}t z = {most_noise:g}, ε = 2.5, no attack that was tried there ({len(least)}) got beyond "
            f"chance (fewer than {_most(least):.0%} with 95 %). That no attack succeeds does not show ε: accounting "
            "does."
        )
    return [f"{'; '.join(said)}. {end}"]


def rounds(points: Sequence[RoundsPoint], findings: RedTeamFindings) -> list[str]:
    """What more sums give, and what refuses them."""
    said = []
    for line in dict.fromkeys(p.line for p in points):
        own = sorted((p for p in points if p.line == line), key=lambda p: p.rounds)
        one, many = own[0], own[-1]
        said.append(f"{line}: {_short(one.strongest)} from one sum, {_short(many.strongest)} from {many.rounds}")
    refused = any(p.game.name == "differencing" and p.as_claimed for p in findings.games)
    rule = "The product refuses such sums of one and the same model, and was attacked there; " if refused else ""
    advice = (
        f"Guidance: {rule}of a model that moves between rounds it cannot know how far. Keep cohorts the same or draw "
        "them far apart, let nobody's data be in every round, and budget noise over all rounds with the ledger."
    )
    return [f"{'; '.join(said)}.", advice]


def _short(tried: Tried) -> str:
    low, high = tried.interval
    return f"{tried.identified:.0%} ({low:.0%} to {high:.0%})"


def _most(tried: Sequence[Tried]) -> float:
    """The largest share that any of the attacks may have, with 95 %."""
    return max(t.interval[1] for t in tried)


def everything(findings: RedTeamFindings) -> dict[str, list[str]]:
    """By what it is about."""
    measured = findings.measured
    return {
        "cohorts": cohorts(findings.curve) if findings.curve else [],
        "compression": compression(findings.defences) if findings.defences else [],
        "noise": noise(measured.noise) if measured.noise else [],
        "rounds": rounds(measured.rounds, findings) if measured.rounds else [],
    }
