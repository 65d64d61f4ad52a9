"""The red team's report: one self-contained HTML page that convinces in a minute and hides nothing."""

from secagg.tools.charts.page import page
from secagg.tools.redteam import figures, guidance
from secagg.tools.redteam.claims import CLAIMS, COLUMNS
from secagg.tools.redteam.results import BROKEN, LEAK, RedTeamFindings, pooled, strongest_eyes, worst_of
from secagg.tools.redteam.risks import RISKS
from secagg.tools.redteam.risks import figures as figures_of
from secagg.tools.redteam.statistics import FAMILY_ERROR, RUN_ERROR


def render(findings: RedTeamFindings) -> str:
    """The page: the verdict and what it rests on first, every row of every table below."""
    heading, colour, badge = _verdict(findings)
    return page(
        "redteam/report.html.j2",
        title="secagg red team",
        heading=heading,
        lead=_lead(findings),
        sheet="redteam/report.css",
        findings=findings,
        colour=colour,
        badge=badge,
        tiles=_tiles(findings),
        drawn=figures,
        guidance=guidance,
        CLAIMS=CLAIMS,
        COLUMNS=COLUMNS,
        RISKS=RISKS,
        figures=figures_of,
        pooled=pooled,
        strongest_eyes=strongest_eyes,
        worst_of=worst_of,
        FAMILY_ERROR=FAMILY_ERROR,
        RUN_ERROR=RUN_ERROR,
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
    hidden = [a for column in COLUMNS for mode in column.modes for a in strongest_eyes(findings.attempts, mode)]
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
        tiles.append((f"{sum(p.as_claimed for p in must)} of {len(must)}", told))
    if findings.self_test is not None:
        tested = findings.self_test
        tiles.append((f"{tested.caught} of {len(tested.verdicts)}", "planted flaws caught"))
    tiles.append((f"{findings.seconds:.0f} s", f"profile {findings.profile}, seed {findings.seed}"))
    return tiles
