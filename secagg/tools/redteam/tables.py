"""The report's tables. Rows that do not hold stand among the others, tinted."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from secagg.tools.charts.page import Row, card, code, fold, items, mark, paragraph, table, why
from secagg.tools.redteam.attacks.protocol.game import Played
from secagg.tools.redteam.claims import CLAIMS, COLUMNS, Cell, Holds
from secagg.tools.redteam.measured import AuditedClaim, Detected, NoisePoint, Power, RoundsPoint, Tried
from secagg.tools.redteam.results import (
    Attempt,
    Checked,
    CurvePoint,
    DefenceRow,
    RedTeamFindings,
    pooled,
    strongest_eyes,
)
from secagg.tools.redteam.risks import RISKS, Answer, Figures, Risk, State, figures
from secagg.tools.redteam.statistics import FAMILY_ERROR, RUN_ERROR

_STYLE: Final = {Holds.YES: "good", Holds.NO: "bad", Holds.IF: "mid"}
_ANSWER: Final = {Answer.ENCRYPTION: "good", Answer.CHECKS: "good", Answer.NOISE: "mid", Answer.NOTHING: "bad"}


def row(*cells: str, gap: bool = False) -> Row:
    """A row of a table; `gap` tints it."""
    return Row(cells, gap)


def share(value: float, interval: tuple[float, float], trials: int) -> Markup:
    """A cell of a table: a proportion and the interval in which it lies with 95 % certainty."""
    low, high = interval
    return f"{value:.0%}" + why(f"{low:.0%} to {high:.0%}, {trials} trials")


def tried(one: Tried) -> Markup:
    """A proportion with its interval, and what a guess has."""
    low, high = one.interval
    told = f"{low:.0%} to {high:.0%}, {one.trials} trials, a guess {one.chance:.1%}"
    return f"{one.identified:.0%}" + why(told)


# --- claims -----------------------------------------------------------------------------------------------------------


def claims(findings: RedTeamFindings) -> str:
    """What is claimed of each threat in each way to sum, with what it rests on."""
    rows = [row(c.threat, *(_cell(cell, findings) for cell in c.cells)) for c in CLAIMS]
    note = (
        "Every cell names the attacks and checks of this run that it rests on, all of them played against its own "
        "modes. “Does not hold” means that it was attacked, and that the attack succeeded; “not attacked” that this "
        "run shows nothing of it. Not claimed anywhere: that it stays hidden who takes part, when, and how large the "
        "model is; that a participant cannot poison the sum."
    )
    head = ["Adversary or threat", *(column.title for column in COLUMNS)]
    return card("What holds, and what does not", note, table(head, rows))


def _cell(cell: Cell, findings: RedTeamFindings) -> str:
    shown, verdict = cell.shown(findings), cell.verdict(findings)
    style = "none" if shown is None else _STYLE[cell.holds] if shown else "bad"
    if shown is None:
        return mark(style, verdict) + why(f"claimed: {cell.holds.value} {cell.condition}".strip())
    failed = [one.name for one in cell.found(findings) if not one.as_claimed]
    named = [one.name for one in cell.found(findings) if one.as_claimed or not shown]
    evidence = fold(f"{len(named)} shown by" if shown else "not shown by", why(", ".join(failed or named)), shown=True)
    return mark(style, verdict) + why(cell.condition) + evidence


def risks(findings: RedTeamFindings) -> str:
    """What practitioners fear, one row each, with the figures of this run and what answers it."""
    rows = [_risk(risk, figures(risk, findings)) for risk in RISKS]
    head = [
        "Risk",
        "On plain updates",
        "What the coordinator holds",
        "Released sum",
        "With noise, ε = 2.5",
        "Answered by",
    ]
    note = (
        "The measured figure stands next to each answer: id@1 of the strongest attack of its kind with its 95 % "
        "interval and what a guess has, or what the attack itself aims at. Noise is clipping and z = 1.634. What was "
        "not measured in this profile says so."
    )
    return card("What practitioners fear, one by one", note, table(head, rows))


def _risk(risk: Risk, found: Figures) -> Row:
    answers = Markup(" ").join(_answered(answer, state) for answer, state in found.answered)
    columns = [_lines(found.plain), _lines(found.held), _lines(found.released), _lines(found.noised)]
    title = risk.title + Markup().join(map(why, found.games))
    return row(title, *columns, answers + why(risk.said), gap=Answer.NOTHING in risk.answers)


def _answered(answer: str, state: str) -> str:
    style = _ANSWER[Answer(answer)] if state == State.SHOWN.value else "bad" if state == State.FAILED.value else "none"
    return mark(style, answer) + why(f"{state}")


def _lines(said: Sequence[str]) -> str:
    return Markup().join(map(why, said)) or why("not attacked")


# --- attacks, games, mutants ------------------------------------------------------------------------------------------


def attacks(findings: RedTeamFindings) -> str:
    """A card with one row for each attack, and with every trial on demand."""
    if not findings.attempts:
        return ""
    names = dict.fromkeys((a.name, a.target) for a in findings.attempts)
    short = [_attack([a for a in findings.attempts if (a.name, a.target) == key]) for key in names]
    note = (
        "Controls must reach what their attack aims at, such as id@1 ≥ 90 % and 10 dB over a blind guess in every "
        "trial; hidden views must stay at chance: p ≥ 10⁻⁴, and at most 3 dB beyond luck (what the same "
        "guesses gain on non-participants) in every trial. The worst view decides. With few trials, only a large leak "
        "is sure to be found: its size stands beside."
    )
    head = [
        "Attack", "Verdict", "Control", "Hidden views", "victims named, worst view", "smallest leak found with 95 %",
        "least p", "gain beyond luck",
    ]  # fmt: skip
    every = table(
        ["Attack", "What the adversary holds", "Mode", "Verdict", "id@1", "p against chance", "gain, dB"],
        map(_attempt, findings.attempts),
        numbers=3,
    )
    wrong = not all(a.as_claimed for a in findings.attempts)
    folded = fold(f"All {len(findings.attempts)} rows, and the papers", every + _papers(findings), shown=wrong)
    return card("Attacks on what each adversary holds", note, table(head, short, numbers=5) + folded)


def _papers(findings: RedTeamFindings) -> str:
    papers = dict.fromkeys(f"{a.attack}: {a.paper}" for a in findings.attempts)
    return items(papers)


def _attack(tried: Sequence[Attempt]) -> Row:
    hidden = [a for a in tried if a.hidden]
    control = next((a for a in tried if a.control), None)
    verdict = mark("good", "as claimed") if all(a.as_claimed for a in tried) else mark("bad", "NOT AS CLAIMED")
    exposed = [a for a in tried if a.exposed_by_design and not a.control]
    open_ = Markup().join(why(f"exposed, as stated: {a.sight} ({a.mode}), {a.achieved}") for a in exposed)
    if hidden:
        worst = max(hidden, key=lambda a: (a.identified, a.interval[1]))
        low, high = worst.interval
        named = f"{worst.hits} of {worst.trials}" + why(f"{low:.0%} to {high:.0%}; a guess {worst.chance:.1%}")
        numbers: tuple[str, ...] = (
            f"{len(hidden)}",
            named,
            _smallest(hidden),
            f"{min(min(a.binomial_p, a.rank_p) for a in hidden):.1g}",
            f"{max(a.best_excess_db for a in hidden):.1f} dB",
        )
    else:
        numbers = ("0", "not attacked", "", "", "")
    achieved = control.achieved if control else "not run"
    return row(tried[0].attack + why(tried[0].target) + open_, verdict, achieved, *numbers)


def _smallest(hidden: Sequence[Attempt]) -> str:
    """What the view with the fewest trials would find."""
    worst = max(a.smallest for a in hidden)
    return f"{worst:.0%}" if worst <= 1 else "none by id@1 alone"


def modes(findings: RedTeamFindings) -> str:
    """What this run did against each mode, counted from it."""
    names = [mode for column in COLUMNS for mode in column.modes]
    note = (
        "Counted from this run, each mode for itself. Victims are counted through the strongest eyes that must see "
        "nothing, over all attacks on them together; the widest interval of a single attack stands below."
    )
    head = ["Mode", "games that must be stopped", "games not claimed, won", "checks silent", "victims named"]
    return card("Mode by mode", note, table(head, [_mode(name, findings) for name in names]))


def _mode(name: str, findings: RedTeamFindings) -> Row:
    games = [p for p in findings.games if p.game.mode == name]
    must, gaps = [p for p in games if p.game.stops], [p for p in games if not p.game.stops]
    checks = [c for c in findings.checks if c.mode == name]
    stopped = f"{sum(p.outcome.stopped for p in must)} of {len(must)} stopped" if must else "not attacked"
    won = f"{sum(not p.outcome.stopped for p in gaps)} of {len(gaps)}" if gaps else "none played"
    silent = f"{sum(not c.said for c in checks)} of {len(checks)}" if checks else "not run"
    return row(name, stopped, won, silent, _named(strongest_eyes(findings.attempts, name)))


def _named(attempts: Sequence[Attempt]) -> str:
    if not attempts:
        return "not attacked"
    hits, trials, (low, high) = pooled(attempts)
    widest = max(a.interval[1] for a in attempts)
    count = "one attack" if len(attempts) == 1 else f"{len(attempts)} attacks; of one alone up to {widest:.0%}"
    told = f"{low:.1%} to {high:.1%}, {count}"
    return f"{hits} of {trials}" + why(told)


def _attempt(a: Attempt) -> Row:
    kind = "control" if a.control else "exposed, as stated" if a.exposed_by_design else "hidden"
    style = ("mid" if a.control else "bad" if a.exposed_by_design else "good") if a.as_claimed else "bad"
    verdict = kind if a.as_claimed else "CONTROL FAILED" if a.control or a.exposed_by_design else "LEAK"
    numbers = (
        share(a.identified, a.interval, a.trials),
        f"{min(a.binomial_p, a.rank_p):.1g}",
        f"{a.worst_gain_db:.1f} to {a.best_gain_db:.1f}",
    )
    tried = a.name + why(a.target)
    return row(
        tried, a.sight, a.mode, mark(style, verdict) + why(a.achieved), *numbers,
        gap=a.exposed_by_design,
    )  # fmt: skip


def games(findings: RedTeamFindings) -> str:
    """Each with the check that stopped it."""
    if not findings.games:
        return ""
    note = (
        "Malicious coordinators and colluding participants against the real participants. An adversary wins if it "
        "holds the victim's exact numbers at the end. Tinted rows are attacks that nothing in the protocol stops."
    )
    head = ["Attack", "Adversary", "Verdict, and which check stopped it", "Answer"]
    return card("Protocol games", note, table(head, map(_game, findings.games)))


def _game(played: Played) -> Row:
    game, outcome = played.game, played.outcome
    verdict = "stopped" if outcome.stopped else "not stopped"
    said = mark("good" if outcome.stopped else "bad", verdict if played.as_claimed else verdict.upper())
    return row(
        game.title + why(f"{game.name}; {game.mode}; {game.source}"), game.adversary,
        said + why(outcome.by), game.answer,
        gap=not game.stops,
    )  # fmt: skip


def mutants(findings: RedTeamFindings) -> str:
    """Every mutant of the self-test, and what noticed it."""
    title, tested = "Mutants: is this harness worth believing?", findings.self_test
    note = (
        "The product is broken on purpose, one flaw at a time, and the same checks run again. A flaw that no check "
        "notices fails the run, and so does a check that speaks of the healthy product."
    )
    if tested is None:
        return card(title, note, paragraph("Not run."))
    rows = (
        row(
            v.mutant.title,
            mark("good", "caught") if v.caught else mark("bad", "MISSED"),
            code(v.mutant.check) + why(v.said),
        )
        for v in tested.verdicts
    )
    every = fold("Every flaw, and what noticed it", table(["Flaw", "", "Noticed by"], rows), shown=not tested.passed)
    score = mark("good" if tested.passed else "bad", tested.score)
    return card(title, note, paragraph(score + f" {len(tested.false_alarms)} false alarms.") + every)


# --- measurements -----------------------------------------------------------------------------------------------------


def quality(points: Sequence[CurvePoint]) -> str:
    """PSNR and SSIM in figures, and what each attack names."""
    rows = (
        row(
            f"{p.participants}",
            Markup().join(why(f"{one.attack}: {one.told}, {one.trials} trials") for one in p.tried),
            f"{q.psnr:.1f} dB", f"{q.blind_psnr:.1f} dB", f"{q.ssim:.2f}", f"{q.blind_ssim:.2f}",
        )
        for p in points if (q := p.quality) is not None
    )  # fmt: skip
    head = ["n", "id@1", "PSNR", "blind", "SSIM", "blind"]
    return fold("In figures", table(head, rows, numbers=4))


def compression(rows: Sequence[DefenceRow]) -> str:
    """Every attack that was tried, with its interval."""
    made = (
        row(
            r.title,
            Markup().join(why(f"{one.attack}: {one.told}, {one.trials} trials") for one in r.tried),
            tried(r.naive),
            tried(r.strongest),
        )
        for r in rows
    )
    head = ["Compression", "attackers that know it", "naive", "strongest"]
    return fold("In figures", table(head, made, numbers=2))


def noise(points: Sequence[NoisePoint]) -> str:
    """A table of what noise leaves of each attack, with the share of records that come back exactly."""
    made = (
        row(
            p.line + ("" if p.real else why("in floats")),
            f"{p.z:g}",
            tried(p.found),
            f"{p.exact:.1%}",
        )
        for p in points
    )
    return fold("In figures", table(["Attack", "z", "id@1", "records exact"], made, numbers=3))


def rounds(points: Sequence[RoundsPoint]) -> str:
    """A table of many rounds: how many people the equations determine, and which attack was the strongest."""
    made = (
        row(
            p.line,
            p.strongest.attack,
            f"{p.rounds}",
            f"{p.determined:.0%}",
            tried(p.strongest),
        )
        for p in points
    )
    return fold(
        "In figures", table(["Rounds", "strongest attack", "sums", "people determined", "id@1"], made, numbers=3)
    )


def noise_audit(findings: RedTeamFindings) -> str:
    """What the audit of differential privacy found, beside what was claimed; nothing if none was made."""
    found = findings.measured.claims
    if not found:
        return ""
    note = (
        "Thousands of releases with and without a canary through the real encoder; from how well they are told apart "
        "follows a lower bound on ε: one that holds whatever the noise is (95 %), and one that holds if it is Gaussian "
        "(99.998 %). They can disprove a claim, and prove none: the claim rests on accounting."
    )
    head = ["Noise", "Verdict", "claimed ε", "ε is at least", "if Gaussian", "releases"]
    return card("Audit of the noise", note, table(head, map(_audited, found), numbers=4))


def _audited(c: AuditedClaim) -> Row:
    said = "disproved" if c.disproved else "not disproved"
    verdict = mark("good" if c.as_claimed else "bad", said if c.as_claimed else said.upper())
    numbers = (f"{c.claim:g}", f"{c.bound:.2f}", f"{c.gaussian:.2f}", f"2 × {c.trials:,}")
    return row(c.title, verdict, *numbers)


def power(findings: RedTeamFindings) -> str:
    """How small a fault of the masks or noise the statistics would have noticed."""
    found = findings.measured.power
    if not found:
        return ""
    note = (
        "Of each statistical check, the smallest fault that it finds with 95 %, computed from the number of values and "
        "its limit. Controls are synthetic values with a fault of just that size, put through the same test. Smaller "
        "faults can go unnoticed."
    )
    head = ["Check", "Fault", "smallest that is found", "controls noticed"]
    return card("What the statistics can see", note, table(head, map(_power, found), numbers=1))


def _power(p: Power) -> Row:
    counted = f"{p.found} of {p.controls}" if p.controls else "always found"
    noticed = counted if p.as_claimed else mark("bad", counted)
    return row(code(p.check), p.fault, p.smallest, noticed)


def detection(findings: RedTeamFindings) -> str:
    """How often inspection of models finds a malicious one, and how often it is wrong."""
    found = findings.measured.detected
    if not found:
        return ""
    note = (
        "How often the two checks of a received model speak: “inspection” looks at its weights, "
        "“fidelity” at what it gives away of canaries. A silenced model (the others' in “another model for "
        "the victim”) leaks nothing of its own, so fidelity is silent on it. Who knows them can stay below them."
    )
    return card(
        "Detection of malicious models", note, table(["Model", "Check", "Kind", "spoke"], map(_spoke, found), numbers=1)
    )


def _spoke(d: Detected) -> Row:
    kind = mark("bad", "malicious") if d.malicious else mark("good", "honest")
    low, high = d.interval
    figure = f"{d.spoke} of {d.shown}" + why(f"{low:.0%} to {high:.0%}")
    return row(d.models, code(d.check), kind, figure)


# --- audit ------------------------------------------------------------------------------------------------------------


def audit(findings: RedTeamFindings) -> str:
    """Every check, and how often a healthy product would be accused."""
    if not findings.checks:
        return ""
    hidden = sum(a.hidden for a in findings.attempts)
    silent = sum(not check.said for check in findings.checks)
    note = (
        f"Statistics of masks, ciphertexts and smudging noise: χ², bits, serial pairs, correlations at lags 1 to 3, "
        f"repeats, linear complexity; residues modulo 2ᵇ and modulo each prime. Each battery has an error "
        f"rate of {FAMILY_ERROR:g} (Bonferroni over its tests), and all of a run together one below {RUN_ERROR:g}. "
        f"Attacks have gates of their own, "
        f"10⁻⁴ for each of {hidden} hidden views, so a new seed accuses a healthy product in less than "
        f"{min(1.0, 3 * hidden * 1e-4):.1%} of runs."
    )
    rows = map(_check, findings.checks)
    every = fold("Every check", table(["Check", "Verdict"], rows), shown=silent < len(findings.checks))
    score = mark(
        "good" if silent == len(findings.checks) else "bad", f"{silent} of {len(findings.checks)} checks silent"
    )
    return card("Audit and statistics", note, paragraph(score) + every)


def _check(check: Checked) -> Row:
    verdict = mark("bad", "ALARM") + Markup().join(map(why, check.said)) if check.said else mark("good", "silent")
    return row(check.title + why(f"{check.name}; {check.mode}"), verdict)
