"""The alerts and the dashboard: what they ask for exists, and each alert fires when it should and only then."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from secagg_server.calls.statuses import STATUS
from secagg_server.observability.facts import CallOutcome, ConnectionCause
from secagg_server.observability.metric_table import METRICS
from secagg_server.observability.metrics import Metrics

from secagg.errors import AbortReason
from secagg.events import DropReason, Verdict
from secagg.messages import Phase
from secagg.privacy.ledger import Budget
from secagg.programs.ledgers.budgets import Spent
from tests.deployment.conftest import ROOT, program
from tests.metering import quiet_state

RULES = ROOT / "deploy/prometheus/secagg.rules.yml"
DASHBOARD = ROOT / "deploy/grafana/secagg.json"
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
OPERATE = (ROOT / "docs/operate.md").read_text()

OF_PROMETHEUS = {"job", "instance", "le"}
"""Labels that Prometheus adds, and that of a histogram's buckets."""

WORDS = {"by", "on", "and", "or", "unless", "without", "ignoring", "offset", "bool", "group_left", "group_right"}
VALUES: dict[str, set[str]] = {
    "cause": {cause.name for cause in ConnectionCause},
    "error": {error.__name__ for error in STATUS},
    "outcome": {"sum", "failed", *(outcome.name for outcome in CallOutcome)},
    "phase": {str(phase) for phase in Phase},
    "plane": {"data", "gateway", "control"},
    "reason": {"NONE", *(reason.name for reason in (*AbortReason, *DropReason))},
    "verdict": {verdict.name for verdict in Verdict},
}
"""What each label can say that a query names a value of."""


def promtool(*arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    command = [program("promtool"), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def queries() -> Iterator[tuple[str, str]]:
    """Every query with where it stands; Grafana's variables are filled in."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
            assert "$" not in text
            yield f"{panel['title']} {target['refId']}", text


QUERIES = dict(queries())


def metric_of(name: str) -> str:
    for end in ("_bucket", "_sum", "_count"):
        if METRICS.get(name.removesuffix(end)) and METRICS[name.removesuffix(end)].kind == "histogram":
            return name.removesuffix(end)
    return name


def check_names(query: str) -> None:
    """Metrics, labels and values of labels that the query names are those that there are."""
    allowed: set[str] = set(OF_PROMETHEUS)
    plain = re.sub(r'"[^"]*"', '""', query)
    outside = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|without|ignoring)\s*\([^)]*\)", " ", plain)
    names = {n for n in re.findall(r"\b[a-z_:][a-zA-Z0-9_:]*\b(?!\s*\()", outside) if n not in WORDS}
    assert names, "no metric"
    for name in names:
        if name != "up":
            assert metric_of(name) in METRICS, name
            allowed |= set(METRICS[metric_of(name)].labels)
    grouped = re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", plain)
    assert {label.strip() for group in grouped for label in group.split(",")} <= allowed
    for label, operator, value in re.findall(r'([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"', query):
        assert label in allowed, label
        if label not in OF_PROMETHEUS:
            assert set(value.split("|") if "~" in operator else [value]) <= VALUES[label], value


@pytest.mark.parametrize("where", QUERIES)
def test_what_a_query_names_exists(where: str) -> None:
    check_names(QUERIES[where])


@pytest.mark.parametrize(
    "query",
    [
        "secagg_round_total",
        "sum by (participant) (secagg_rounds_total)",
        'secagg_rounds_total{phase="x"}',
        'secagg_refusals_total{error="NoError"}',
        'secagg_rounds_total{outcome=~"sum|success"}',
        "secagg_open_rounds_count",
    ],
)
def test_what_does_not_exist_is_found(query: str) -> None:
    with pytest.raises(AssertionError):
        check_names(query)


def test_every_query_is_one(tmp_path: Path) -> None:
    """promtool reads the rules as they are, and the dashboard's queries as rules."""
    made = {"groups": [{"name": "all", "rules": [{"record": "x:y", "expr": query} for query in QUERIES.values()]}]}
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump(made))
    for file in (RULES, path):
        done = promtool("check", "rules", "--lint=none", str(file))
        assert done.returncode == 0, done.stdout + done.stderr
    path.write_text(path.read_text().replace("secagg_ready", "secagg_ready{"))
    assert promtool("check", "rules", str(path)).returncode


def test_the_metrics_follow_the_conventions() -> None:
    """promtool also reads help texts, kinds and units."""
    metrics = Metrics(quiet_state(spent=[Spent("digits", 1.0, Budget())]))
    done = promtool("check", "metrics", text=metrics.answer("").body.decode())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert promtool("check", "metrics", text="# TYPE x_total gauge\nx_total 1\n").stderr, "it finds what is wrong"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_happened_and_what_to_do(alert: dict[str, Any]) -> None:
    said = alert["annotations"]
    assert set(said) == {"summary", "description", "action", "runbook"}
    assert all(said[name].endswith(".") for name in ("summary", "description", "action"))
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in {"page", "ticket"}
    page, _, anchor = said["runbook"].partition("#")
    assert page == "docs/operate.md"
    headings = re.findall(r"^#+ (.+)$", OPERATE, re.MULTILINE)
    assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- when they fire ---------------------------------------------------------------------------------------------------

J = 'job="secagg", instance="a"'
DAY, HOUR = 24 * 60, 60


def ended(outcome: str, reason: str, values: str) -> dict[str, str]:
    return {f'secagg_rounds_total{{{J}, scheme="masked", outcome="{outcome}", reason="{reason}"}}': values}


def without_sum(values: str) -> dict[str, str]:
    return one("secagg_round_duration_seconds_count", values, 'outcome="sum"')


def one(name: str, values: str, labels: str = "") -> dict[str, str]:
    return {f"{name}{{{J}{labels and ', ' + labels}}}": values}


def expiry(seconds: int) -> dict[str, str]:
    return one("secagg_certificate_expiry_timestamp_seconds", f"{seconds}x9", 'certificate="ca"')


def budget(spent: str, task: str) -> dict[str, str]:
    """Of the task t, ten may be spent."""
    allowed = one("secagg_ledger_epsilon_budget", "10x9", 'task="t"')
    return allowed | one("secagg_ledger_epsilon", f"{spent}x9", f'task="{task}"')


CASES: dict[str, tuple[list[tuple[int, dict[str, str]]], list[tuple[int, dict[str, str]]]]] = {
    "SecaggDown": ([(3, one("up", "0x9"))], [(1, one("up", "0x9")), (3, one("up", "1x9"))]),
    "SecaggNotReady": (
        [(6, one("secagg_ready", "0x9"))],
        [(4, one("secagg_ready", "0x9")), (6, one("secagg_ready", "1x9"))],
    ),
    "SecaggBroken": (
        [(10, one("secagg_broken_total", "0x4 1x20", 'place="round"'))],
        [(10, one("secagg_broken_total", "1x20", 'place="round"')), (30, one("secagg_broken_total", "0x4 1x40"))],
    ),
    "SecaggRoundsFail": (
        [(HOUR, ended("failed", "BELOW_THRESHOLD", "0x9 3x60") | ended("sum", "NONE", "0x9 2x60"))],
        [
            (HOUR, ended("failed", "BELOW_THRESHOLD", "0x9 2x60") | ended("sum", "NONE", "0x9 3x60")),
            (HOUR, ended("failed", "CANCELLED", "0x9 3x60") | ended("sum", "NONE", "0x9 1x60")),
            (HOUR, ended("failed", "BELOW_THRESHOLD", "0x9 1x60") | ended("sum", "NONE", "0x60")),
        ],
    ),
    "SecaggNoSums": (
        [(DAY + 9, without_sum("5x2000") | ended("failed", "BELOW_THRESHOLD", "5x99 6x2000"))],
        [
            (DAY + 9, without_sum("5x2000") | ended("failed", "BELOW_THRESHOLD", "5x2000")),
            (DAY + 9, without_sum("5x99 6x2000") | ended("failed", "BELOW_THRESHOLD", "5x99 6x2000")),
            (DAY + 9, without_sum("5x2000") | ended("failed", "CANCELLED", "5x99 6x2000")),
            (DAY + 9, without_sum("5x2000") | one("secagg_rounds_opened_total", "5x99 6x2000", 'scheme="masked"')),
            (DAY + 9, without_sum("5x2000") | ended("failed", "BELOW_THRESHOLD", f"5x{DAY - 20} 6x99")),
        ],
    ),
    "SecaggDropouts": (
        [
            (
                HOUR,
                one("secagg_dropouts_total", "0x9 3x60", 'phase="MaskedInput", reason="DEADLINE"')
                | one("secagg_participants_joined_total", "0x9 10x60"),
            )
        ],
        [
            (
                HOUR,
                one("secagg_dropouts_total", "0x9 2x60", 'phase="MaskedInput", reason="DEADLINE"')
                | one("secagg_participants_joined_total", "0x9 10x60"),
            ),
            (
                HOUR,
                one("secagg_dropouts_total", "0x9 9x60", 'phase="AdvertiseKeys", reason="DEADLINE"')
                | one("secagg_participants_joined_total", "0x9 10x60"),
            ),
            (
                15,
                one("secagg_dropouts_total", "0x9 9x60", 'phase="MaskedInput", reason="DEADLINE"')
                | one("secagg_participants_joined_total", "0x9 10x60"),
            ),
        ],
    ),
    "SecaggWrongShares": (
        [(10, one("secagg_wrong_shares_total", "0x4 1x20", 'kind="dealt"'))],
        [(10, one("secagg_wrong_shares_total", "1x20", 'kind="dealt"'))],
    ),
    "SecaggAccusation": (
        [
            (10, one("secagg_accusations_total", "0x4 1x20", f'verdict="{verdict}"'))
            for verdict in ("PROVEN", "UNFOUNDED")
        ],
        [(10, one("secagg_accusations_total", "0x4 1x20", 'verdict="HEARSAY"'))],
    ),
    "SecaggGroupAnomaly": (
        [(10, one("secagg_group_anomalies_total", "0x4 1x20"))],
        [(10, one("secagg_group_anomalies_total", "1x20"))],
    ),
    "SecaggStrangers": (
        [
            (15, one("secagg_refusals_total", "0+2x20", 'plane="data", error="AuthenticationError"')),
            (15, one("secagg_connections_closed_total", "0+10x20", 'cause="TLS_REFUSED"')),
        ],
        [
            (15, one("secagg_refusals_total", "0x4 5x20", 'plane="data", error="AuthenticationError"')),
            (15, one("secagg_refusals_total", "0+2x20", 'plane="control", error="AuthenticationError"')),
            (15, one("secagg_connections_closed_total", "0+10x20", 'cause="SILENT"')),
        ],
    ),
    "SecaggLimits": (
        [(10, one("secagg_refusals_total", "0x4 1x20", 'plane="control", error="LimitError"'))],
        [(10, one("secagg_refusals_total", "0x4 1x20", 'plane="control", error="ConfigError"'))],
    ),
    "SecaggRoundsFull": (
        [(11, one("secagg_open_rounds", "4x20") | one("secagg_max_open_rounds", "4x20"))],
        [
            (9, one("secagg_open_rounds", "4x20") | one("secagg_max_open_rounds", "4x20")),
            (11, one("secagg_open_rounds", "3x20") | one("secagg_max_open_rounds", "4x20")),
        ],
    ),
    "SecaggConnectionsFull": (
        [
            (
                6,
                one("secagg_connections", "50x9", 'state="silent"')
                | one("secagg_connections", "45x9", 'state="speaking"')
                | one("secagg_max_connections", "100x9"),
            )
        ],
        [(6, one("secagg_connections", "50x9", 'state="silent"') | one("secagg_max_connections", "100x9"))],
    ),
    "SecaggOpenFiles": (
        [(6, one("process_open_fds", "95x9") | one("process_max_fds", "100x9"))],
        [(6, one("process_open_fds", "85x9") | one("process_max_fds", "100x9"))],
    ),
    "SecaggCertificateExpires": ([(1, expiry(13 * 86_400))], [(1, expiry(15 * 86_400))]),
    "SecaggCertificateExpired": ([(1, expiry(0)), (1, expiry(86_000))], [(1, expiry(2 * 86_400))]),
    "SecaggBudgetRunsOut": ([(1, budget("9.5", "t"))], [(1, budget("8", "t")), (1, budget("9.5", "u"))]),
    "SecaggLedgerTrouble": (
        [(10, one("secagg_refusals_total", "0x4 1x20", 'plane="control", error="LedgerError"'))],
        [(10, one("secagg_refusals_total", "0x4 1x20", 'plane="control", error="BudgetExceeded"'))],
    ),
}
"""Of each alert: minutes and series at which it fires, and those at which it does not."""


def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    assert [alert["alert"] for alert in ALERTS] == list(CASES)
    tests = []
    for name, cases in CASES.items():
        for fires, listed in zip((True, False), cases, strict=True):
            for minutes, series in listed:
                given = [{"series": name, "values": values} for name, values in series.items()]
                query: dict[str, Any] = {
                    "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)'
                }
                query |= {"eval_time": f"{minutes}m", "exp_samples": [{"labels": "{}", "value": int(fires)}]}
                tests.append({"interval": "1m", "input_series": given, "promql_expr_test": [query], "name": name})
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_whole() -> None:
    board = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    shown = [panel for panel in board["panels"] if panel["type"] != "row"]
    for panel in shown:
        assert panel["description"].endswith(".")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for target in panel["targets"]:
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = {g.strip() for g in ",".join(re.findall(r"by \(([^)]*)\)", target["expr"])).split(",")}
            kept = "by (" not in target["expr"] and not target["expr"].startswith("sum")
            assert labels <= grouped or kept, target
    taken = [(p["gridPos"]["y"], p["gridPos"]["x"]) for p in shown]
    assert len(taken) == len(set(taken))
    asked = {metric_of(n) for q in QUERIES.values() for n in re.findall(r"\b(?:secagg|process)_[a-z_]+\b", q)}
    unasked = {
        "secagg_rounds_opened_total",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "secagg_ledger_tasks",
    }
    assert set(METRICS) - asked == unasked, "metrics that neither alerts nor dashboard look at"
