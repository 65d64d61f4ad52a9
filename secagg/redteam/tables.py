"""The report's tables. Rows that do not hold stand among the others, tinted."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from secagg.charts.page import card
from secagg.redteam.claims import CLAIMS, COLUMNS, Cell, Holds
from secagg.redteam.fears import FEARS, Answer, Fear, Figures, figures
from secagg.redteam.games import Played
from secagg.redteam.measured import AuditedClaim, Detected, NoisePoint, RoundsPoint
from secagg.redteam.results import Attempt, Checked, CurvePoint, DefenceRow, Findings
from secagg.redteam.statistics import FAMILY_ERROR, RUN_ERROR

_STYLE: Final = {Holds.YES: "good", Holds.NO: "bad", Holds.IF: "mid"}
_ANSWER: Final = {Answer.ENCRYPTION: "good", Answer.CHECKS: "good", Answer.NOISE: "mid", Answer.NOTHING: "bad"}


def table(head: Sequence[str], rows: Iterable[str], *, numbers: int = 0) -> str:
    """Args: head: escaped. numbers: how many of the last columns are numbers."""
    first = len(head) - numbers
    cells = "".join(f"<th{' class=n' if i >= first else ''}>{title}</th>" for i, title in enumerate(head))
    return f'<div class="scroll"><table><tr>{cells}</tr>{"".join(rows)}</table></div>'


def row(*cells: str, numbers: Sequence[str] = (), gap: bool = False) -> str:
    """Args: cells, numbers: HTML. gap: whether it is tinted."""
    made = "".join(f"<td>{cell}</td>" for cell in cells) + "".join(f'<td class="n">{cell}</td>' for cell in numbers)
    return f"<tr{' class=gap' if gap else ''}>{made}</tr>"


def mark(style: str, said: str) -> str:
    """A word with a colour."""
    return f'<span class="mark {style}">{escape(said)}</span>'


def why(said: str) -> str:
    """A line below."""
    return f'<span class="why">{escape(said)}</span>' if said else ""


def share(value: float, interval: tuple[float, float], trials: int) -> str:
    """A proportion with its interval."""
    low, high = interval
    return f'{value:.0%}<span class="why">{low:.0%} to {high:.0%}, {trials} trials</span>'


def fold(summary: str, content: str, *, shown: bool = False) -> str:
    """What is read on demand; printed in any case."""
    return f"<details{' open' if shown else ''}><summary>{escape(summary)}</summary>{content}</details>"


# --- claims -----------------------------------------------------------------------------------------------------------


def claims(findings: Findings) -> str:
    """Threat × mode."""
    rows = [row(escape(c.threat), *(_cell(cell, findings) for cell in c.cells)) for c in CLAIMS]
    note = (
        "Every cell rests on attacks and checks of this run, which it names. A cell marked “does not hold” was "
        "attacked, and the attack succeeded. Not claimed anywhere: that it stays hidden who takes part, when, and how "
        "large the model is; that a participant cannot poison the sum."
    )
    return card("What holds, and what does not", note, table(["Adversary or threat", *map(escape, COLUMNS)], rows))


def _cell(cell: Cell, findings: Findings) -> str:
    shown = cell.shown(findings)
    proof = {True: "shown by ", False: "NOT SHOWN by ", None: "not run: "}[shown] + ", ".join(cell.evidence)
    style, said = ("bad", "NOT SHOWN") if shown is False else (_STYLE[cell.holds], cell.holds.value)
    pale = why("not run in this profile") if shown is None else ""
    return f'<span title="{escape(proof)}">{mark(style, said)}</span>{why(cell.condition)}{pale}'


def fears(findings: Findings) -> str:
    """One by one, with figures."""
    rows = [_fear(fear, figures(fear, findings)) for fear in FEARS]
    head = [
        "Fear",
        "On plain updates",
        "What the coordinator holds",
        "Released sum",
        "With noise, ε = 2.5",
        "Answered by",
    ]
    note = (
        "The measured figure stands next to each answer: id@1, or what the attack itself aims at. Noise is clipping "
        "and z = 1.634. An empty cell was not measured in this profile."
    )
    return card("What practitioners fear, one by one", note, table(head, rows))


def _fear(fear: Fear, found: Figures) -> str:
    answers = " ".join(mark(_ANSWER[answer], answer.value) for answer in fear.answers)
    columns = [_lines(found.plain), _lines(found.held), _lines(found.released), _lines(found.noised)]
    return row(
        escape(fear.title) + why(found.games), *columns, answers + why(fear.said), gap=Answer.NOTHING in fear.answers
    )


def _lines(said: Sequence[str]) -> str:
    return "".join(f'<span class="why">{escape(line)}</span>' for line in said)


# --- attacks, games, mutants ------------------------------------------------------------------------------------------


def attacks(findings: Findings) -> str:
    """In short by attack, and every row on demand."""
    if not findings.attempts:
        return ""
    names = dict.fromkeys((a.name, a.target) for a in findings.attempts)
    short = [_attack([a for a in findings.attempts if (a.name, a.target) == key]) for key in names]
    note = (
        "Controls must reach what their attack aims at, such as id@1 ≥ 90 % and 10 dB over a blind guess in every "
        "trial; hidden views must stay at chance: p ≥ 10<sup>−4</sup>, and at most 3 dB beyond luck (what the same "
        "guesses gain on non-participants) in every trial. The worst view decides."
    )
    head = ["Attack", "Verdict", "Control", "Hidden views", "worst id@1", "least p", "gain beyond luck"]
    every = table(
        ["Attack", "What the adversary holds", "Mode", "Verdict", "id@1", "p against chance", "gain, dB"],
        map(_attempt, findings.attempts),
        numbers=3,
    )
    wrong = not all(a.as_claimed for a in findings.attempts)
    folded = fold(f"All {len(findings.attempts)} rows, and the papers", every + _papers(findings), shown=wrong)
    return card("Attacks on what each adversary holds", note, table(head, short, numbers=4) + folded)


def _papers(findings: Findings) -> str:
    papers = dict.fromkeys(f"{a.attack}: {a.paper}" for a in findings.attempts)
    return f"<ul>{''.join(f'<li>{escape(paper)}</li>' for paper in papers)}</ul>"


def _attack(tried: Sequence[Attempt]) -> str:
    hidden = [a for a in tried if not (a.control or a.exposed_by_design)]
    control = next((a for a in tried if a.control), None)
    verdict = mark("good", "as claimed") if all(a.as_claimed for a in tried) else mark("bad", "NOT AS CLAIMED")
    exposed = [a for a in tried if a.exposed_by_design and not a.control]
    open_ = "".join(why(f"exposed, as stated: {a.sight} ({a.mode}), {a.achieved}") for a in exposed)
    numbers = (
        f"{len(hidden)}",
        f"{max((a.identified for a in hidden), default=0):.0%}",
        f"{min((min(a.binomial_p, a.rank_p) for a in hidden), default=1):.1g}",
        f"{max((a.best_excess_db for a in hidden), default=0):.1f} dB",
    )
    achieved = escape(control.achieved) if control else "not run"
    return row(escape(tried[0].attack) + why(tried[0].target) + open_, verdict, achieved, numbers=numbers)


def _attempt(a: Attempt) -> str:
    kind = "control" if a.control else "exposed, as stated" if a.exposed_by_design else "hidden"
    style = ("mid" if a.control else "bad" if a.exposed_by_design else "good") if a.as_claimed else "bad"
    verdict = kind if a.as_claimed else "CONTROL FAILED" if a.control or a.exposed_by_design else "LEAK"
    numbers = (
        share(a.identified, a.interval, a.trials),
        f"{min(a.binomial_p, a.rank_p):.1g}",
        f"{a.worst_gain_db:.1f} to {a.best_gain_db:.1f}",
    )
    tried = escape(a.name) + why(a.target)
    return row(
        tried, escape(a.sight), escape(a.mode), mark(style, verdict) + why(a.achieved), numbers=numbers,
        gap=a.exposed_by_design,
    )  # fmt: skip


def games(findings: Findings) -> str:
    """Each with the check that stopped it."""
    if not findings.games:
        return ""
    note = (
        "Malicious coordinators and colluding participants against the real participants. An adversary wins if it "
        "holds the victim's exact numbers at the end. Tinted rows are attacks that nothing in the protocol stops."
    )
    head = ["Attack", "Adversary", "Verdict, and which check stopped it", "Answer"]
    return card("Protocol games", note, table(head, map(_game, findings.games)))


def _game(played: Played) -> str:
    game, outcome = played.game, played.outcome
    verdict = "stopped" if outcome.stopped else "not stopped"
    said = mark("good" if outcome.stopped else "bad", verdict if played.as_claimed else verdict.upper())
    return row(
        escape(game.title) + why(game.source), escape(game.adversary), said + why(outcome.by), escape(game.answer),
        gap=not game.stops,
    )  # fmt: skip


def mutants(findings: Findings) -> str:
    """N of N."""
    title, tested = "Mutants: is this harness worth believing?", findings.self_test
    note = (
        "The product is broken on purpose, one flaw at a time, and the same checks run again. A flaw that no check "
        "notices fails the run, and so does a check that speaks of the healthy product."
    )
    if tested is None:
        return card(title, note, "<p>Not run.</p>")
    rows = (
        row(
            escape(v.mutant.title),
            mark("good", "caught") if v.caught else mark("bad", "MISSED"),
            f"<code>{escape(v.mutant.check)}</code>{why(v.said)}",
        )
        for v in tested.verdicts
    )
    every = fold("Every flaw, and what noticed it", table(["Flaw", "", "Noticed by"], rows), shown=not tested.passed)
    score = mark("good" if tested.passed else "bad", tested.score)
    return card(title, note, f"<p>{score} {len(tested.false_alarms)} false alarms.</p>{every}")


# --- measurements -----------------------------------------------------------------------------------------------------


def quality(points: Sequence[CurvePoint]) -> str:
    """PSNR and SSIM in figures."""
    rows = (
        row(
            f"{p.participants}",
            numbers=(
                f"{p.identified:.0%}", f"{q.psnr:.1f} dB", f"{q.blind_psnr:.1f} dB", f"{q.ssim:.2f}",
                f"{q.blind_ssim:.2f}",
            ),
        )
        for p in points if (q := p.quality) is not None
    )  # fmt: skip
    head = ["n", "id@1", "PSNR", "blind", "SSIM", "blind"]
    return fold("In figures", table(head, rows, numbers=5))


def compression(rows: Sequence[DefenceRow]) -> str:
    """With intervals, and which attack it was."""
    made = (
        row(
            escape(r.title),
            escape(r.by),
            numbers=(f"{r.naive:.0%}", share(r.adaptive, r.interval, r.trials)),
        )
        for r in rows
    )
    return fold("In figures", table(["Compression", "best informed attack", "naive", "adaptive"], made, numbers=2))


def noise(points: Sequence[NoisePoint]) -> str:
    """With the share of exact records."""
    made = (
        row(
            escape(p.line) + ("" if p.real else why("in floats")),
            numbers=(f"{p.z:g}", share(p.identified, p.interval, p.trials), f"{p.exact:.1%}"),
        )
        for p in points
    )
    return fold("In figures", table(["Attack", "z", "id@1", "records exact"], made, numbers=3))


def rounds(points: Sequence[RoundsPoint]) -> str:
    """With how many people the equations determine."""
    made = (
        row(
            escape(p.line),
            numbers=(f"{p.rounds}", f"{p.determined:.0%}", share(p.identified, p.interval, p.trials)),
        )
        for p in points
    )
    return fold("In figures", table(["Rounds", "sums", "people determined", "id@1"], made, numbers=3))


def noise_audit(findings: Findings) -> str:
    """The DP audit."""
    found = findings.measured.claims
    if not found:
        return ""
    note = (
        "Thousands of releases with and without a canary through the real encoder; from how well they are told apart "
        "follows a lower bound on ε (95 %). It can disprove a claim, and proves none: the claim rests on accounting."
    )
    head = ["Noise", "Verdict", "claimed ε", "ε is at least", "releases"]
    return card("Audit of the noise", note, table(head, map(_audited, found), numbers=3))


def _audited(c: AuditedClaim) -> str:
    said = "not disproved" if c.bound <= c.claim else "disproved"
    verdict = mark("good" if c.as_claimed else "bad", said if c.as_claimed else said.upper())
    return row(escape(c.title), verdict, numbers=(f"{c.claim:g}", f"{c.bound:.2f}", f"2 × {c.trials:,}"))


def detection(findings: Findings) -> str:
    """True and false positives."""
    found = findings.measured.detected
    if not found:
        return ""
    note = (
        "How often the two checks of a received model speak: <code>inspection</code> looks at its weights, "
        "<code>fidelity</code> at what it gives away of canaries. A silenced model (the others' in “another model for "
        "the victim”) leaks nothing of its own, so fidelity is silent on it. Who knows them can stay below them."
    )
    return card(
        "Detection of malicious models", note, table(["Model", "Check", "Kind", "spoke"], map(_spoke, found), numbers=1)
    )


def _spoke(d: Detected) -> str:
    kind = mark("bad", "malicious") if d.malicious else mark("good", "honest")
    low, high = d.interval
    figure = f'{d.spoke} of {d.shown}<span class="why">{low:.0%} to {high:.0%}</span>'
    return row(escape(d.models), f"<code>{escape(d.check)}</code>", kind, numbers=(figure,))


# --- audit ------------------------------------------------------------------------------------------------------------


def audit(findings: Findings) -> str:
    """Every check, and how often a healthy product would be accused."""
    if not findings.checks:
        return ""
    hidden = sum(not (a.control or a.exposed_by_design) for a in findings.attempts)
    silent = sum(not check.said for check in findings.checks)
    note = (
        f"Statistics of masks, ciphertexts and smudging noise: χ², bits, serial pairs, correlations at lags 1 to 3, "
        f"repeats, linear complexity; residues modulo 2<sup>b</sup> and modulo each prime. Each battery has an error "
        f"rate of {FAMILY_ERROR:g} (Bonferroni over its tests), and all of a run together one below {RUN_ERROR:g}. "
        f"200 healthy rounds of each of masks and the four encrypted custodies were tested when this version was made: "
        f"no alarm, least p 6·10<sup>−6</sup> among 99,200 of ciphertexts. Attacks have gates of their own, "
        f"10<sup>−4</sup> for each of {hidden} hidden views, so a new seed accuses a healthy product in less than "
        f"{min(1.0, 3 * hidden * 1e-4):.1%} of runs."
    )
    rows = map(_check, findings.checks)
    every = fold("Every check", table(["Check", "Verdict"], rows), shown=silent < len(findings.checks))
    score = mark(
        "good" if silent == len(findings.checks) else "bad", f"{silent} of {len(findings.checks)} checks silent"
    )
    return card("Audit and statistics", note, f"<p>{score}</p>{every}")


def _check(check: Checked) -> str:
    verdict = mark("bad", "ALARM") + "".join(map(why, check.said)) if check.said else mark("good", "silent")
    return row(escape(check.title), verdict)
