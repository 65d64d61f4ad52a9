"""Findings for programs: JSON, JUnit XML for test runners, SARIF 2.1.0 for code scanners."""

import json
from dataclasses import asdict
from math import isfinite
from typing import Any
from xml.etree import ElementTree

from secagg.tools.redteam import guidance
from secagg.tools.redteam.claims import CLAIMS
from secagg.tools.redteam.results import RedTeamFindings
from secagg.tools.redteam.risks import RISKS, figures


def to_json(findings: RedTeamFindings) -> str:
    """The document that `--json` prints and `report.json` keeps. It has no pictures."""
    return json.dumps(as_document(findings), indent=2, ensure_ascii=False)


def as_document(findings: RedTeamFindings) -> dict[str, Any]:
    """The same document as dictionaries, lists and plain values."""
    tested = findings.self_test
    return {
        "exit_code": findings.exit_code,
        "leaks": findings.leaks,
        "broken_controls": findings.broken,
        "profile": findings.profile,
        "seed": findings.seed,
        "command": findings.command,
        "origin": asdict(findings.origin),
        "seconds": round(findings.seconds, 1),
        "left_out": list(findings.left_out),
        "claims": [
            {"threat": claim.threat, "mode": cell.column.title, "holds": cell.holds.value, "condition": cell.condition,
             "evidence": [one.name for one in cell.found(findings)], "shown": cell.shown(findings),
             "verdict": cell.verdict(findings)}
            for claim in CLAIMS for cell in claim.cells
        ],
        "audit": [
            {"name": c.name, "title": c.title, "mode": c.mode, "said": list(c.said)} for c in findings.checks
        ],
        "games": [
            {"name": p.game.name, "mode": p.game.mode, "kind": p.game.kind.value,
             "title": p.game.title, "adversary": p.game.adversary, "source": p.game.source,
             "claimed_stopped": p.game.stops, "stopped": p.outcome.stopped, "as_claimed": p.as_claimed,
             "by": p.outcome.by, "answer": p.game.answer}
            for p in findings.games
        ],
        "attacks": [
            _finite(asdict(a) | {"as_claimed": a.as_claimed, "smallest_leak_found": a.smallest})
            for a in findings.attempts
        ],
        "curve": [asdict(p) for p in findings.curve],
        "defences": [asdict(d) for d in findings.defences],
        "faces": [
            {"title": r.title, "psnr": r.psnr, "ssim": r.ssim, "hidden": r.hidden, "pictures": len(r.pictures)}
            for r in findings.faces
        ],
        "measured": asdict(findings.measured),
        "risks": [
            {"title": risk.title, "answers": [answer.value for answer in risk.answers], "said": risk.said}
            | asdict(figures(risk, findings))
            for risk in RISKS
        ],
        "guidance": guidance.everything(findings),
        "self_test": tested and {
            "score": tested.score,
            "false_alarms": list(tested.false_alarms),
            "mutants": [
                {"name": v.mutant.name, "title": v.mutant.title, "check": v.mutant.check, "caught": v.caught,
                 "said": v.said}
                for v in tested.verdicts
            ],
        },
    }  # fmt: skip


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """With null for ±∞, which JSON does not have."""
    return {
        name: _finite(value) if isinstance(value, dict) else None if _endless(value) else value
        for name, value in values.items()
    }


def _endless(value: object) -> bool:
    return isinstance(value, float) and not isfinite(value)


def to_junit(findings: RedTeamFindings) -> str:
    """One test case for each check, game, attack, audited claim of ε, and mutant."""
    cases = [("audit", c.title, "; ".join(c.said)) for c in findings.checks]
    cases += [("game", p.game.title, "" if p.as_claimed else p.outcome.by) for p in findings.games]
    cases += [
        ("attack", f"{a.attack}: {a.sight} ({a.mode})", "" if a.as_claimed else a.achieved) for a in findings.attempts
    ]
    cases += [("noise", c.title, "" if c.as_claimed else c.told) for c in findings.measured.claims]
    if findings.self_test is not None:
        verdicts = findings.self_test.verdicts
        cases += [("mutant", v.mutant.title, "" if v.caught else "not caught") for v in verdicts]
    failures = sum(bool(failure) for _, _, failure in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "time": f"{findings.seconds:.1f}"}
    suite = ElementTree.Element("testsuite", {"name": "secagg redteam", **counts})
    for kind, title, failure in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=f"redteam.{kind}", name=title)
        if failure:
            ElementTree.SubElement(case, "failure", message=failure)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def to_sarif(findings: RedTeamFindings) -> str:
    """A result for each leak and each broken control."""
    rules = {"leak": "Something came out that secagg claims to keep in.", "control": "A control failed: no proof."}
    found = [("leak", text) for text in findings.leaks] + [("control", text) for text in findings.broken]
    driver = {
        "name": "secagg redteam",
        "version": findings.origin.versions["secagg"],
        "rules": [{"id": key, "shortDescription": {"text": text}} for key, text in rules.items()],
    }
    results = [{"ruleId": rule, "level": "error", "message": {"text": text}} for rule, text in found]
    return json.dumps(
        {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "results": results}],
        },
        indent=2,
        ensure_ascii=False,
    )
