"""The red team's report: one self-contained HTML page that convinces in a minute and hides nothing."""

from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from secagg.demo.charts import Box, line, svg, text
from secagg.demo.png import Rgb, data_uri
from secagg.redteam.claims import CLAIMS, COLUMNS, Cell, Holds
from secagg.redteam.games import Played
from secagg.redteam.results import BROKEN, LEAK, Attempt, CurvePoint, DefenceRow, Faces, Findings, Picture
from secagg.redteam.self_test import SelfTest

_STYLE = {Holds.YES: "good", Holds.NO: "bad", Holds.IF: "mid"}
_GAP = 2
_SCALE = 3


def render(findings: Findings) -> str:
    """The page."""
    template = Template(files("secagg.redteam").joinpath("report.html").read_text())
    verdict, style, headline = _verdict(findings)
    return template.substitute(
        verdict=verdict,
        verdict_style=style,
        headline=headline,
        lead=escape(_lead(findings)),
        alarms=_alarms(findings),
        tiles="".join(_tile(number, label) for number, label in _tiles(findings)),
        faces=_faces(findings.faces) if findings.faces else "",
        charts=_charts(findings),
        columns="".join(f"<th>{escape(column)}</th>" for column in COLUMNS),
        claims="".join(
            f"<tr><td>{escape(c.threat)}</td>{''.join(_cell(cell, findings) for cell in c.cells)}</tr>" for c in CLAIMS
        ),
        attacks=_attacks(findings.attempts),
        games="".join(map(_game, findings.games)),
        mutants=_mutants(findings.self_test) if findings.self_test else "<p>Not run.</p>",
        checks="".join(_check(check.title, check.said) for check in findings.checks),
        footer=_footer(findings),
    )


def _verdict(findings: Findings) -> tuple[str, str, str]:
    if findings.exit_code == LEAK:
        return "LEAK", "bad", "Something came out that should not"
    if findings.exit_code == BROKEN:
        return "NO PROOF: a control failed", "bad", "This run proves nothing"
    return (
        "controls worked, nothing leaked beyond the claims",
        "good",
        "Attacks that work on plain updates see nothing here",
    )


def _lead(findings: Findings) -> str:
    said = (
        "The same attacks, through the same code and on the same seeds: first on what a server without secure "
        "aggregation would see, then on what each adversary really holds of rounds of the real code. "
        "An attack that fails proves something only because it succeeds on the control."
    )
    return said if findings.attempts else f"{said} Attacks were left out of this run: they need secagg[redteam]."


def _alarms(findings: Findings) -> str:
    found = [("leak", said) for said in findings.leaks] + [("control", said) for said in findings.broken]
    if not found:
        return ""
    items = "".join(f"<li><b>{kind}</b> {escape(said)}</li>" for kind, said in found)
    return f'<section class="card"><h2>What went wrong</h2><ul>{items}</ul></section>'


def _tile(number: str, label: str) -> str:
    return f'<div class="tile"><b>{escape(number)}</b><span>{escape(label)}</span></div>'


def _tiles(findings: Findings) -> list[tuple[str, str]]:
    controls = [a for a in findings.attempts if a.control]
    hidden = [a for a in findings.attempts if not (a.control or a.exposed_by_design)]
    stopped = sum(p.outcome.stopped for p in findings.games)
    tiles = []
    if controls and hidden:
        worst = max(hidden, key=lambda a: a.identified)
        tiles.append((f"{min(a.identified for a in controls):.0%}", "of victims re-identified from the plain update"))
        told = f"at most, from {len(hidden)} hidden views; a guess has {worst.chance:.1%}"
        tiles.append((f"{worst.identified:.0%}", told))
    tiles.append((f"{stopped} of {len(findings.games)}", "protocol attacks stopped; the others are in the table"))
    if findings.self_test is not None:
        tested = findings.self_test
        tiles.append((f"{tested.caught} of {len(tested.verdicts)}", "planted flaws caught"))
    tiles.append((f"{findings.seconds:.0f} s", f"profile {findings.profile}, seed {findings.seed}"))
    return tiles


# --- pictures ---------------------------------------------------------------------------------------------------------


def _faces(faces: Faces) -> str:
    rows = []
    for number, (title, pictures) in enumerate(faces.rows):
        style = "" if number == 0 else "cool" if "receives" in title else "hot"
        picture = f'<img alt="{escape(title)}" src="{data_uri(strip(pictures))}">'
        rows.append(f'<span class="{style}">{escape(title)}</span>{picture}')
    return (
        '<section class="card"><h2>The same faces, through every eye</h2><p class="note">Analytic inversion of the '
        "first layer of a small network. What the coordinator receives is noise; what is released is a sum, and a sum "
        "of few still shows people: choose cohorts, or noise, accordingly.</p>"
        f'<div class="faces">{"".join(rows)}</div></section>'
    )


def strip(pictures: tuple[Picture, ...]) -> Rgb:
    """Pictures of one size side by side, enlarged."""
    tiles = [np.repeat(np.repeat(_rgb(picture), _SCALE, axis=0), _SCALE, axis=1) for picture in pictures]
    height, width, _ = tiles[0].shape
    step = width + _GAP * _SCALE
    out = np.full((height, step * len(tiles) - _GAP * _SCALE, 3), 255, np.uint8)
    for at, tile in enumerate(tiles):
        out[:, at * step : at * step + width] = tile
    return out


def _rgb(picture: Picture) -> Rgb:
    levels: Rgb = np.round(np.clip(np.nan_to_num(picture), 0, 1) * 255).astype(np.uint8)
    return levels if levels.ndim == 3 else np.repeat(levels[:, :, None], 3, axis=2)


# --- charts -----------------------------------------------------------------------------------------------------------


def _charts(findings: Findings) -> str:
    cards = []
    if findings.curve:
        cards.append(
            '<div class="card"><h2>Small sums are invertible, too</h2><p class="note">Victims re-identified (id@1) '
            "from the <b>released mean</b> of one-record updates, by size of the cohort, with 95 % intervals. The "
            f"dashed line is a guess.</p>{curve_chart(findings.curve)}</div>"
        )
    if findings.defences:
        cards.append(
            '<div class="card"><h2>Compression is no defence</h2><p class="note">Single updates without secure '
            "aggregation: id@1 of an attacker that takes them as they come (grey) and of one that knows the "
            "defence (red).</p>"
            f"{defence_chart(findings.defences)}</div>"
        )
    return f'<section class="two">{"".join(cards)}</section>' if cards else ""


def curve_chart(points: tuple[CurvePoint, ...]) -> str:
    """id@1 against the cohort."""
    width, height, left, bottom = 520.0, 300.0, 44.0, 34.0

    def across(at: int) -> float:
        return left + 24 + at * (width - left - 60) / max(1, len(points) - 1)

    def up(share: float) -> float:
        return height - bottom - share * (height - bottom - 20)

    body = [line(left, up(y / 4), width - 12, up(y / 4), "rule") for y in range(5)]
    body += [text(left - 8, up(y / 4) + 4, f"{25 * y}%", "tick", "end") for y in range(5)]
    body.append(line(left, up(points[0].chance), width - 12, up(points[0].chance), "floor"))
    path = " ".join(f"{across(i):.1f},{up(p.identified):.1f}" for i, p in enumerate(points))
    body.append(f'<polyline points="{path}" class="curve"/>')
    for i, point in enumerate(points):
        low, high = point.interval
        body += [line(across(i), up(low), across(i), up(high), "whisker")]
        body += [f'<circle cx="{across(i):.1f}" cy="{up(point.identified):.1f}" r="4" class="dot"/>']
        body += [text(across(i), height - 12, f"n = {point.participants}", "tick", "middle")]
        body += [text(across(i) + 7, up(point.identified) - 8, f"{point.identified:.0%}", "")]
    return svg(width, height, body, "Re-identification from the released mean by size of the cohort")


def defence_chart(rows: tuple[DefenceRow, ...]) -> str:
    """Naive and adaptive side by side."""
    width, row, left = 560.0, 23.0, 230.0
    span = width - left - 92
    body = []
    for i, defence in enumerate(rows):
        y = 4 + i * row
        body += [
            text(left - 8, y + 13, escape(defence.title[:38]), "tick", "end"),
            Box(left, y, span * defence.naive + 1, 8).drawn("naive", f"naive {defence.naive:.0%}"),
            Box(left, y + 9, span * defence.adaptive + 1, 8).drawn("adaptive", f"adaptive {defence.adaptive:.0%}"),
            text(left + span + 8, y + 13, f"{defence.naive:.0%} / {defence.adaptive:.0%}", "tick"),
        ]
    return svg(width, 10 + len(rows) * row, body, "Defences against a naive and an adaptive attacker")


# --- tables -----------------------------------------------------------------------------------------------------------


def _mark(style: str, said: str) -> str:
    return f'<span class="mark {style}">{escape(said)}</span>'


def _cell(cell: Cell, findings: Findings) -> str:
    shown = cell.shown(findings)
    proof = {True: "shown by ", False: "NOT SHOWN by ", None: "not run: "}[shown] + ", ".join(cell.evidence)
    condition = f'<span class="why">{escape(cell.condition)}</span>' if cell.condition else ""
    style, said = ("bad", "NOT SHOWN") if shown is False else (_STYLE[cell.holds], cell.holds.value)
    return f'<td title="{escape(proof)}">{_mark(style, said)}{condition}</td>'


def _attacks(attempts: tuple[Attempt, ...]) -> str:
    if not attempts:
        return ""
    papers = dict.fromkeys(f"{a.attack} on {a.target} ({a.paper})" for a in attempts)
    rows = "".join(map(_attempt, attempts))
    return (
        '<section class="card"><h2>Attacks on what each adversary holds</h2><p class="note">'
        f"{escape('; '.join(papers))}. "
        "id@1: the reconstruction's nearest record among all non-participants and the victim is the victim. Gain: "
        "below the squared error of a blind guess. Controls must reach 90 % and 10 dB in every trial; hidden views "
        "must stay at chance (p ≥ 10<sup>−4</sup>, gain ≤ 3 dB in every trial).</p>"
        "<table><tr><th>Attack</th><th>What the adversary holds</th>"
        '<th>Mode</th><th class="n">id@1</th><th class="n">95 % interval</th><th class="n">p against chance</th>'
        f'<th class="n">gain</th><th>Verdict</th></tr>{rows}</table></section>'
    )


def _attempt(a: Attempt) -> str:
    kind = "control" if a.control else "exposed, as stated" if a.exposed_by_design else "hidden"
    style = ("mid" if a.control else "bad" if a.exposed_by_design else "good") if a.as_claimed else "bad"
    verdict = kind if a.as_claimed else "CONTROL FAILED" if a.control or a.exposed_by_design else "LEAK"
    numbers = (
        f"{a.identified:.0%}",
        f"{a.interval[0]:.0%} to {a.interval[1]:.0%} ({a.trials} trials)",
        f"{min(a.binomial_p, a.rank_p):.1g}",
        f"{a.worst_gain_db:.1f} to {a.best_gain_db:.1f} dB",
    )
    cells = "".join(f'<td class="n">{number}</td>' for number in numbers)
    gap = ' class="gap"' if a.exposed_by_design else ""
    mark = _mark(style, verdict)
    tried = f'{escape(a.attack)}<span class="why">{escape(a.target)}</span>'
    return f"<tr{gap}><td>{tried}</td><td>{escape(a.sight)}</td><td>{escape(a.mode)}</td>{cells}<td>{mark}</td></tr>"


def _game(played: Played) -> str:
    game, outcome = played.game, played.outcome
    gap = "" if game.stops else ' class="gap"'
    style = "good" if outcome.stopped else "bad"
    verdict = "stopped" if outcome.stopped else "not stopped"
    return (
        f'<tr{gap}><td>{escape(game.title)}<span class="why">{escape(game.source)}</span></td>'
        f"<td>{escape(game.adversary)}</td><td>{_mark(style, verdict if played.as_claimed else verdict.upper())}"
        f'<span class="why">{escape(outcome.by)}</span></td><td>{escape(game.answer)}</td></tr>'
    )


def _mutants(tested: SelfTest) -> str:
    rows = "".join(
        f"<tr><td>{escape(v.mutant.title)}</td><td>{_caught(v.caught)}</td>"
        f'<td><code>{escape(v.mutant.check)}</code><span class="why">{escape(v.said)}</span></td></tr>'
        for v in tested.verdicts
    )
    table = f"<table><tr><th>Flaw</th><th></th><th>Noticed by</th></tr>{rows}</table>"
    score = _mark("good" if tested.passed else "bad", tested.score)
    state = "" if tested.passed else " open"
    return f"<p>{score}</p><details{state}><summary>Every flaw, and what noticed it</summary>{table}</details>"


def _caught(caught: bool) -> str:
    return _mark("good", "caught") if caught else _mark("bad", "MISSED")


def _check(title: str, said: tuple[str, ...]) -> str:
    alarms = "".join(f'<span class="why">{escape(line)}</span>' for line in said)
    verdict = _mark("bad", "ALARM") + alarms if said else _mark("good", "silent")
    return f"<tr><td>{escape(title)}</td><td>{verdict}</td></tr>"


def _footer(findings: Findings) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in findings.versions.items())
    left = "".join(f"<li>{escape(reason)}</li>" for reason in findings.left_out)
    return f"<p>Again with: <code>{escape(findings.command)}</code></p><p>{escape(versions)}.</p>" + (
        f"<p>Left out of this run:</p><ul>{left}</ul>" if left else "<p>Nothing was left out.</p>"
    )
