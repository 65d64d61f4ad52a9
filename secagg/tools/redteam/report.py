"""The red team's report: one self-contained HTML page that convinces in a minute and hides nothing."""

from secagg.tools.charts.page import card, drawing, page, style, takes
from secagg.tools.redteam import figures, guidance, tables
from secagg.tools.redteam.claims import COLUMNS
from secagg.tools.redteam.results import BROKEN, LEAK, RedTeamFindings, pooled, strongest_eyes


def render(findings: RedTeamFindings) -> str:
    """The page: the verdict and what it rests on first, every row of every table below."""
    heading, colour, badge = _verdict(findings)
    return page(
        "redteam/report.html.j2",
        title="secagg red team",
        heading=heading,
        lead=_lead(findings),
        more_style=style("redteam/report.css"),
        findings=findings,
        colour=colour,
        badge=badge,
        tiles=_tiles(findings),
        tables=tables,
        alone={"faces": _faces(findings), "rounds": _rounds(findings)},
        side_by_side=((_identification(findings), _quality(findings)), (_compression(findings), _noise(findings))),
    )


def _verdict(findings: RedTeamFindings) -> tuple[str, str, str]:
    if findings.exit_code == LEAK:
        return "Something came out that should not", "bad", "LEAK"
    if findings.exit_code == BROKEN:
        return "This run proves nothing", "bad", "NO PROOF: a control failed"
    return _heading(findings), "good", "controls worked, nothing leaked beyond the claims"


def _heading(findings: RedTeamFindings) -> str:
    """What came out of views that must show nothing, and of what is released."""
    hidden = [a for a in findings.attempts if a.hidden]
    if not hidden:
        return "Every check held"
    shown = bool(findings.curve) and findings.curve[0].beyond_chance
    through = ", and released sums of few still show people" if shown else ""
    return f"Attacks learned nothing from hidden updates{through}"


def _lead(findings: RedTeamFindings) -> str:
    said = (
        "The same attacks, through the same code and on the same seeds: first on what a server without secure "
        "aggregation would see, then on what each adversary really holds of rounds of the real code. "
        "An attack that fails proves something only because it succeeds on the control."
    )
    return said if findings.attempts else f"{said} Attacks were left out of this run: they need secagg[redteam]."


def _tiles(findings: RedTeamFindings) -> list[tuple[str, str]]:
    controls = [a for a in findings.attempts if a.control]
    hidden = [a for mode in _modes() for a in strongest_eyes(findings.attempts, mode)]
    tiles = []
    if controls and hidden:
        passed = sum(a.as_claimed for a in controls)
        tiles.append((f"{passed} of {len(controls)}", "attacks succeed on what an unprotected server sees"))
        hits, trials, (_, high) = pooled(hidden)
        widest = max(a.interval[1] for a in hidden)
        told = (
            f"victims named from hidden views: fewer than {high:.1%} with 95 % over {len(hidden)} rows of attacks, and "
            f"up to {widest:.0%} for the attack with the fewest trials; a guess names "
            f"{max(a.chance for a in hidden):.1%}"
        )
        tiles.append((f"{hits} of {trials}", told))
    must, gaps = ([p for p in findings.games if p.game.stops is claimed] for claimed in (True, False))
    if must:
        told = f"protocol attacks stopped of those that must be; {len(gaps)} more are not claimed, and are shown below"
        tiles.append((f"{sum(p.outcome.stopped for p in must)} of {len(must)}", told))
    if findings.self_test is not None:
        tested = findings.self_test
        tiles.append((f"{tested.caught} of {len(tested.verdicts)}", "planted flaws caught"))
    tiles.append((f"{findings.seconds:.0f} s", f"profile {findings.profile}, seed {findings.seed}"))
    return tiles


def _modes() -> list[str]:
    return [mode for column in COLUMNS for mode in column.modes]


def _faces(findings: RedTeamFindings) -> str:
    if findings.faces is None:
        return ""
    note = (
        "Analytic inversion of the first layer of a small network. What the coordinator receives must show nothing. "
        "Released means are sums of people, and no secure aggregation hides what a sum of few shows. The attacker's "
        "best guess is shown, chosen with the record at hand."
    )
    return card(
        "The same faces, from plain updates, hidden ones and released means",
        note,
        figures.face_rows(findings.faces.rows),
    )


def _identification(findings: RedTeamFindings) -> str:
    if not findings.curve:
        return ""
    note = (
        "Victims re-identified (id@1: of all non-participants and the victim, the victim's record is the nearest) from "
        "the released mean of one-record updates, with 95 % intervals: by inversion of the first layer, and "
        "from a list of 300 candidates with the victim among them. Dashed: a guess. Count the honest: n less those who "
        "collude."
    )
    chart = figures.identification_chart(findings.curve)
    return card("What released sums of few show", note, chart + takes(guidance.cohorts(findings.curve)))


def _quality(findings: RedTeamFindings) -> str:
    known = [point for point in findings.curve if point.quality is not None]
    if not known:
        return ""
    note = (
        "PSNR of the same reconstructions with 95 % intervals, and that of the mean record, which a blind guess gets. "
        " A blurred mean scores well, too: the verdict rests on re-identification, not on decibels."
    )
    return card("How good the pictures are", note, figures.quality_chart(known) + tables.quality(known))


def _compression(findings: RedTeamFindings) -> str:
    if not findings.defences:
        return ""
    note = (
        "Single updates without secure aggregation: id@1 of an attacker that takes them as they come (naive), and of "
        "the strongest that was tried of those that know how they were compressed: inversion, rank-one completion, a "
        "list of 300 candidates, a prior learned from public records (slow, and only where the others fall short)."
    )
    chart = figures.defence_chart(findings.defences) + tables.compression(findings.defences)
    return card(
        "What compression stops, and what it does not", note, chart + takes(guidance.compression(findings.defences))
    )


def _noise(findings: RedTeamFindings) -> str:
    points = findings.measured.noise
    if not points:
        return ""
    note = (
        "Clipping and distributed noise on the sum, against attackers that know both; z is the noise's deviation over "
        "the clip. One update stands for a cohort whose other members all collude. Where z is below 2⁻¹⁰, "
        "which the product refuses, floats stand in."
    )
    return card(
        "What noise stops", note, figures.noise_chart(points) + tables.noise(points) + takes(guidance.noise(points))
    )


def _rounds(findings: RedTeamFindings) -> str:
    points = findings.measured.rounds
    if not points:
        return ""
    note = (
        "The adversary has the sums of many rounds and knows who was in which: linear equations, solved once there are "
        "as many as people, and nearly so long before. First-layer inversion of the least-squares estimate of the "
        "victim's update, and a list of candidates; the stronger counts. Everyone holds one record of the digits."
    )
    content = drawing(figures.rounds_chart(points)) + tables.rounds(points)
    return card("Many rounds, put together", note, content + takes(guidance.rounds(points, findings)))
