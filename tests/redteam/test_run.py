"""A run's findings, exit codes and reports. Each exit code is provoked by breaking the product or the harness."""

import json
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import escape
from typer.testing import CliRunner

from secagg.cli.main import build
from secagg.masked.masked_input import AwaitingShares
from secagg.tools.redteam import runner
from secagg.tools.redteam.attacks.protocol import GAMES
from secagg.tools.redteam.attacks.protocol.game import Outcome
from secagg.tools.redteam.audit import CHECKS
from secagg.tools.redteam.claims import CLAIMS, COLUMNS, Holds
from secagg.tools.redteam.formats import as_document, to_json, to_junit, to_sarif
from secagg.tools.redteam.measured import (
    AuditedClaim,
    Detected,
    Exposure,
    Measured,
    NoisePoint,
    Power,
    RoundsPoint,
    Tried,
)
from secagg.tools.redteam.metrics import COHORT, MEMBER, RECORD
from secagg.tools.redteam.report import render
from secagg.tools.redteam.results import (
    BROKEN,
    LEAK,
    OK,
    Attempt,
    Checked,
    CurvePoint,
    DefenceRow,
    FaceRow,
    Quality,
    RedTeamFindings,
)
from secagg.tools.redteam.self_test import run as self_test
from secagg.tools.redteam.self_test.mutants import MUTANTS
from secagg.tools.redteam.statistics import proportion_interval


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def healthy() -> RedTeamFindings:
    """Everything but the attacks, which need torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "attacking", lambda *_: lambda findings: findings)
        return runner.run("quick", 1, tell=quiet, clock=lambda: 0.0)


def attempt(**changes: object) -> Attempt:
    made = Attempt(
        name="inversion", attack="inversion", paper="P", target="digits", mode="masked-active", sight="all traffic",
        participants=4, control=False, exposed_by_design=False, bar=RECORD, trials=5, identified=0.0,
        interval=(0.0, 0.52), chance=0.001, binomial_p=1.0, rank_p=0.4, worst_gain_db=-5.0, best_gain_db=-3.0,
        best_excess_db=-3.0, exact=0.0, least_exact=0.0, labels=None, label_p=1.0,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_healthy_product_gives_0(healthy: RedTeamFindings) -> None:
    assert (healthy.exit_code, healthy.leaks, healthy.broken) == (OK, [], [])
    assert {c.shown(healthy) for claim in CLAIMS for c in claim.cells} == {True, None}


def test_a_leak_gives_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """A participant without a self mask: the late message is open, and the audit's game says so."""
    made = AwaitingShares._masks
    monkeypatch.setattr(AwaitingShares, "_masks", lambda self, delivery: made(self, delivery)[1:])
    found = runner.single("late-message", 0)
    assert found.exit_code == LEAK
    assert "the victim's exact update" in found.leaks[0]
    result = CliRunner().invoke(build(["redteam"]), ["redteam", "attack", "late-message"])
    assert result.exit_code == LEAK


def test_an_alarm_of_the_audit_gives_1(healthy: RedTeamFindings) -> None:
    found = replace(healthy, checks=(Checked("masks", "masks are uniform", ("bit 31 (p = 1e-40)",)),))
    assert found.exit_code == LEAK
    assert found.leaks == ["masks are uniform: bit 31 (p = 1e-40)"]


def test_a_mutant_that_nobody_notices_gives_2(monkeypatch: pytest.MonkeyPatch) -> None:
    blind = {name: replace(check, run=lambda _: []) for name, check in CHECKS.items()}
    monkeypatch.setattr(self_test, "CHECKS", blind)
    monkeypatch.setattr(runner, "self_test", lambda **kw: self_test.self_test(**kw, mutants=MUTANTS[2:3]))
    found = runner.only_self_test(0, tell=quiet)
    assert found.exit_code == BROKEN
    assert "0 of 1 caught; missed: mask keys of 16 bits" in found.broken[0]
    assert CliRunner().invoke(build(["redteam"]), ["redteam", "self-test"]).exit_code == BROKEN


def test_a_gap_that_cannot_be_shown_gives_2(monkeypatch: pytest.MonkeyPatch) -> None:
    gap = replace(GAMES["sybils"], play=lambda: Outcome(True, "somehow"))
    monkeypatch.setitem(GAMES, "sybils", gap)
    assert runner.single("sybils", 0).exit_code == BROKEN


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, OK),
        ({"identified": 0.4, "binomial_p": 1e-6}, LEAK),
        ({"rank_p": 1e-5}, LEAK),
        ({"best_excess_db": 3.1}, LEAK),
        ({"control": True}, BROKEN),
        ({"control": True, "identified": 1.0, "worst_gain_db": 9.0}, BROKEN),
        ({"control": True, "identified": 0.9, "worst_gain_db": 10.0}, OK),
        ({"control": True, "identified": 1.0, "worst_gain_db": 60.0, "labels": 0.8}, BROKEN),
        ({"control": True, "bar": MEMBER, "identified": 1.0, "worst_gain_db": -9.0, "labels": 1.0}, OK),
        ({"control": True, "bar": COHORT, "least_exact": 0.5}, OK),
        ({"control": True, "bar": COHORT, "exact": 0.5, "least_exact": 0.3}, BROKEN),
        ({"labels": 1.0, "label_p": 1e-5}, LEAK),
        ({"exposed_by_design": True}, BROKEN),
        ({"exposed_by_design": True, "identified": 1.0, "worst_gain_db": 60.0}, OK),
    ],
)
def test_attacks_decide_by_their_gates(healthy: RedTeamFindings, changes: dict[str, object], code: int) -> None:
    assert replace(healthy, attempts=(attempt(**changes),)).exit_code == code


def test_a_leak_counts_even_where_a_control_failed(healthy: RedTeamFindings) -> None:
    both = (attempt(control=True), attempt(rank_p=1e-9))
    assert replace(healthy, attempts=both).exit_code == LEAK


def test_the_page_hides_nothing(healthy: RedTeamFindings, rich: RedTeamFindings) -> None:
    page = render(rich)
    cells = [c for claim in CLAIMS for c in claim.cells if c.holds is Holds.NO and c.shown(rich)]
    assert page.count(">does not hold<") == len(cells) > 5
    assert page.count(">not stopped<") == sum(not p.game.stops for p in healthy.games)
    for wanted in (
        "something",
        "--profile quick --seed 1",
        f"{len(MUTANTS)} of {len(MUTANTS)} caught",
        "controls worked",
        "exit code 0",
        "PSNR 4.5 dB",
    ):
        assert wanted in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert 'src="http' not in page
    broken = render(replace(rich, checks=(Checked("x", "no secret", ("found <one>",)),)))
    assert "LEAK" in broken
    assert "found &lt;one&gt;" in broken


def test_names_and_titles_are_no_html(rich: RedTeamFindings) -> None:
    evil = "<script>alert(1)</script>"
    attempts = tuple(replace(one, attack=evil, target=evil, sight=evil) for one in rich.attempts)
    checks = (Checked("x", evil, (evil,)),)
    curve = tuple(replace(p, tried=tuple(replace(t, attack=evil) for t in p.tried)) for p in rich.curve)
    page = render(replace(rich, attempts=attempts, checks=checks, curve=curve, left_out=(evil,), command=evil))
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)") > 10


def tried(attack: str, hits: int, trials: int = 8, chance: float = 0.003) -> Tried:
    return Tried(attack, trials, hits / trials, proportion_interval(hits, trials), chance)


MEASURED = Measured(
    noise=(
        NoisePoint("low-rank, n = 1", 0.001, tried("low-rank on x", 5, 5), 0.4, real=True),
        NoisePoint("low-rank, n = 1", 1.634, tried("low-rank on x", 0, 5), 0.0, real=True),
    ),
    rounds=(
        RoundsPoint((tried("first-layer on x", 1),), "cohorts vary", 1, 0.0),
        RoundsPoint((tried("first-layer on x", 8), tried("membership on x", 2)), "cohorts vary", 48, 1.0),
    ),
    exposures=(Exposure((tried("first-layer on mlp-genotypes", 4, 5),), "first-layer", "mlp-genotypes", 8, 0.0),),
    claims=(
        AuditedClaim("the product's", 2.5, 0.76, 1.9, 1000, true=True),
        AuditedClaim("control: too little", 2.5, 1.8, 3.4, 1000, true=False),
    ),
    power=(Power("masks", "a bit is 1 too often", "by 2.1%", 19, 20), Power("mask-chunks", "repeats", "one", 0, 0)),
    detected=(Detected("fidelity", "imprint", True, 2, 2, (0.16, 1.0)),),
)
NAIVE = tried("first-layer on x", 0)
LOOKS = Quality(31.4, (28.0, 34.0), 0.87, (0.8, 0.9), 12.3, 0.34)


@pytest.fixture(scope="module")
def rich(healthy: RedTeamFindings) -> RedTeamFindings:
    """With something of everything."""
    grey = np.full((4, 4), 0.5)
    return replace(
        healthy,
        attempts=(attempt(), attempt(control=True, identified=1.0, worst_gain_db=60.0)),
        curve=(
            CurvePoint((tried("first-layer on x", 12, 12), tried("membership on y", 4, 4)), 2, 60.0, LOOKS),
            CurvePoint((tried("first-layer on x", 1, 12), tried("membership on y", 0, 4)), 64, 9.0, LOOKS),
        ),
        defences=(DefenceRow((tried("prior on x", 5), tried("low-rank on x", 0)), "2-bit", "2-bit values", NAIVE),),
        faces=(FaceRow("the record", (grey,), 60.0, 1.0), FaceRow("hidden", (grey,), 4.5, 0.01, True)),
        measured=MEASURED,
        left_out=("something",),
    )


def test_documents_hold_everything_that_the_page_shows(rich: RedTeamFindings) -> None:
    """What is named, and what follows from it, stands in both; what is measured, in full in the document."""
    page, document = render(rich), json.loads(to_json(rich))
    shown = [*document["left_out"], document["command"]]
    shown += [text for said in document["guidance"].values() for text in said]
    for part, key in (
        ("audit", "title"), ("games", "title"), ("games", "by"), ("games", "name"), ("games", "mode"),
        ("attacks", "sight"), ("claims", "threat"), ("claims", "condition"), ("claims", "verdict"),
        ("defences", "title"), ("faces", "title"), ("risks", "title"), ("risks", "said"),
    ):  # fmt: skip
        shown += [row[key] for row in document[part]]
    shown += [name for row in document["claims"] for name in row["evidence"]]
    shown += [line for row in document["risks"] for key in ("plain", "held", "released", "noised", "games")
              for line in row[key]]  # fmt: skip
    shown += [attack["attack"] for row in (*document["defences"], *document["curve"]) for attack in row["tried"]]
    shown += [row["smallest"] for row in document["measured"]["power"]]
    shown += [document["origin"]["date"], document["origin"]["commit"], *document["origin"]["versions"].values()]
    shown += [v[key] for v in document["self_test"]["mutants"] for key in ("title", "check", "said")]
    shown += [row["line"] for part in ("noise", "rounds") for row in document["measured"][part]]
    shown += [row["title"] for row in document["measured"]["claims"]]
    assert [text for text in shown if escape(text) not in page] == []
    assert len(document["guidance"]) == 4
    assert all(document["guidance"].values())
    # Every field of the findings has its place, but for pictures' pixels.
    places = {"checks": "audit", "attempts": "attacks"}
    assert {places.get(f.name, f.name) for f in fields(RedTeamFindings)} <= set(document)
    assert document["measured"] == json.loads(json.dumps(asdict(MEASURED)))
    assert document["curve"][0]["quality"] == json.loads(json.dumps(asdict(LOOKS)))


def test_a_claim_of_noise_that_the_audit_disproves_is_a_leak_in_every_format(rich: RedTeamFindings) -> None:
    false = replace(MEASURED.claims[0], gaussian=2.7)
    leaky = replace(rich, attempts=(), measured=replace(MEASURED, claims=(false,)))
    assert leaky.exit_code == LEAK
    assert "ε is at least 2.70" in leaky.leaks[0]
    assert "DISPROVED" in render(leaky)
    assert 'failures="1"' in to_junit(leaky)
    assert len(json.loads(to_sarif(leaky))["runs"][0]["results"]) == 1
    blind = replace(MEASURED.claims[1], gaussian=1.0)
    assert replace(leaky, measured=replace(MEASURED, claims=(blind,))).exit_code == BROKEN


def test_documents_for_programs(healthy: RedTeamFindings) -> None:
    document = json.loads(to_json(healthy))
    assert document["exit_code"] == 0
    assert len(document["claims"]) == len(CLAIMS) * len(COLUMNS)
    assert document == json.loads(json.dumps(as_document(healthy)))
    suite = ElementTree.fromstring(to_junit(healthy))  # noqa: S314, our own
    assert suite.attrib["failures"] == "0"
    assert int(suite.attrib["tests"]) == len(healthy.checks) + len(healthy.games) + len(MUTANTS)
    leaky = replace(healthy, checks=(Checked("x", "no secret", ("found one",)),))
    assert 'message="found one"' in to_junit(leaky)
    [result] = json.loads(to_sarif(leaky))["runs"][0]["results"]
    assert (result["ruleId"], result["message"]["text"]) == ("leak", "no secret: found one")


def test_the_report_is_read_again_with_its_exit_code(tmp_path: Path, healthy: RedTeamFindings) -> None:
    (tmp_path / "report.json").write_text(to_json(replace(healthy, attempts=(attempt(rank_p=1e-9),))))
    result = CliRunner().invoke(build(["redteam"]), ["redteam", "report", "--out", str(tmp_path)])
    assert result.exit_code == LEAK
    assert "LEAK; profile quick, seed 1" in result.stdout


@pytest.mark.parametrize(("z", "code"), [("1.634", 0), ("0.2", 1)])
def test_an_audit_of_epsilon(z: str, code: int) -> None:
    arguments = ["redteam", "audit-dp", "--claim", "2.5", "--z", z, "--trials", "2000", "--json"]
    result = CliRunner().invoke(build(["redteam"]), arguments)
    assert result.exit_code == code
    assert json.loads(result.stdout)["disproved"] is bool(code)


def test_without_torch_everything_else_runs_and_the_report_says_what_is_missing() -> None:
    program = """
import sys
sys.modules["torch"] = None
from secagg.tools.redteam import runner
from secagg.tools.redteam.workers import Workers
played = runner.single("both-shares", 0)
findings = runner.attacking(played, "", Workers(1))(played)
assert findings.exit_code == 0 and findings.games and not findings.attempts
assert "pip install '.[redteam]'" in findings.left_out[0], findings.left_out
assert "torch" not in {name for name, module in sys.modules.items() if module}
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
