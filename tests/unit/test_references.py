"""The pages of the reference that are written from the code have all that the code has."""

import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path

import pytest
import yaml
from secagg_server.calls.statuses import STATUS
from secagg_server.observability.log_events import FIELDS, SECTIONS
from secagg_server.observability.metric_table import LABELS, METRICS
from secagg_server.observability.statuspage import values
from secagg_server.settings import Settings

import secagg
from docs import references
from secagg.errors import PrecisionWarning, SecAggError
from secagg.programs.audit.kinds import FACTS, KINDS

ROOT = Path(__file__).parents[2]


def rows(lines: Iterable[str]) -> set[tuple[str, ...]]:
    """The cells of each row of the tables of a page; the first without marks."""
    found = [line.strip("| ").split(" | ") for line in lines if line.startswith(("| `", "| [`"))]
    return {(first.split("`")[1], *(cell.strip() for cell in rest)) for first, *rest in found}


def test_the_page_on_log_events_has_every_event_and_field() -> None:
    found = rows(references.log_events())
    for events in SECTIONS.values():
        for name, event in events.items():
            told = [row for row in found if row[:2] == (name, event.level)]
            assert any(event.meaning in row for row in told), name
    assert set(FIELDS.items()) <= found


ERRORS = [
    kind
    for name in secagg.__all__
    if isinstance(kind := getattr(secagg, name), type) and issubclass(kind, SecAggError | Warning)
]


def test_the_page_on_the_audit_log_has_every_kind_and_fact() -> None:
    found = rows(references.audit_entries())
    for name, kind in KINDS.items():
        assert any(row[0] == name and kind.meaning in row for row in found), name
    assert set(FACTS.items()) <= found


def test_every_error_has_a_cause_and_a_cure_on_its_page() -> None:
    found = {row[0]: row[1:] for row in rows(references.errors())}
    assert {PrecisionWarning, *STATUS} < set(ERRORS)
    for kind in set(ERRORS) - references.NO_CASE:
        status, cause, cure = found[kind.__name__]
        assert status == (f"`{STATUS[kind].name}`" if kind in STATUS else ""), kind
        assert cause.endswith("."), kind
        assert cure.endswith("."), kind


def test_what_has_no_cause_of_its_own_is_raised_nowhere() -> None:
    product = [path for place in ("secagg", "server", "client") for path in (ROOT / place).rglob("*.py")]
    source = "\n".join(path.read_text() for path in product if "/tools/" not in path.as_posix())
    assert "raise NotInRoundError(" in source
    assert not re.search(r"\braise (SecAggError|RemoteError)\b", source)
    assert {kind.__name__ for kind in references.NO_CASE} == {"SecAggError", "RemoteError"}


def test_every_reason_has_a_cure_on_its_page() -> None:
    found = rows(references.errors())
    offered = [kind for name in secagg.__all__ if isinstance(kind := getattr(secagg, name), type)]
    reasons = {
        kind for kind in offered if issubclass(kind, Enum) and "Cure:" in "".join(references.member_docs(kind).values())
    }
    assert reasons == set(references.REASONS)
    for kind in reasons:
        for member in kind:
            [(meaning, cure)] = [
                row[1:] for row in found if row[0] == member.name and len(row) == 3 and row[1] in docs_of(kind)
            ]
            assert meaning.endswith("."), member
            assert cure.endswith("."), member


def docs_of(kind: type[Enum]) -> set[str]:
    return {references.advice(doc)[""] for doc in references.member_docs(kind).values()}


def test_the_page_on_settings_says_what_is_needed_to_choose_one() -> None:
    page = "\n".join(references.settings())
    properties = Settings.model_json_schema()["properties"]
    for name in Settings.model_fields:
        part = page.split(f"## `{name}`\n")[1].split("\n## ")[0]
        assert f"- Flag: `--{name.replace('_', '-')}`" in part
        assert f"- Environment: `SECAGG_SERVER_{name.upper()}`" in part
        assert ("At the limit: " in part) == ("reached" in properties[name])
        if properties[name].get("type") in {"integer", "number"}:
            assert properties[name]["reached"] in part
            assert f"to {properties[name]['maximum']:,} ({properties[name]['unit']}); default `" in part


@pytest.mark.parametrize(
    ("doc", "told"),
    [
        ("A.", {"": "A."}),
        ("A\nb.\n\nCause:\n    C\n    d.\nCure:\n    E.\n", {"": "A b.", "Cause": "C d.", "Cure": "E."}),
    ],
)
def test_sections_of_a_docstring(doc: str, told: dict[str, str]) -> None:
    assert references.advice(doc) == told


def test_the_page_on_metrics_has_every_metric_and_label() -> None:
    found = rows(references.metrics())
    for name, metric in METRICS.items():
        assert (name, metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help) in found
    assert set(LABELS.items()) <= found


def test_the_page_on_the_status_has_every_field() -> None:
    found = rows(references.status())
    kinds = [kind for kind in vars(values).values() if is_dataclass(kind)]
    assert len(kinds) > 10
    for kind in kinds:
        assert {field.name for field in fields(kind)} <= {row[0] for row in found}
    assert ("missing", "[`Names`](#names)") in {row[:2] for row in found}
    assert ("closed", "number or null") in {row[:2] for row in found}
    assert ("live", "list of [`LiveRound`](#liveround)") in {row[:2] for row in found}


def test_the_page_on_alerts_has_every_alert_with_a_place_to_read_more() -> None:
    page = "\n".join(references.alerts())
    rules = [
        rule for group in yaml.safe_load((ROOT / references.ALERTS).read_text())["groups"] for rule in group["rules"]
    ]
    sections = re.findall(
        r"^## (\w+)\n\nSeverity: `(\w+)`\n\nWhat happened: .+\n\nWhat to do: .+ \[More\]\(\.\./operate\.md#[\w-]+\)$",
        page,
        re.MULTILINE,
    )
    assert sections == [(rule["alert"], rule["labels"]["severity"]) for rule in rules]
    assert "{{" not in page


def test_every_example_of_a_command_is_code() -> None:
    lines = "\n".join(references.command_line()).splitlines()
    assert not [line for line in lines if line.startswith("Example")]
    commands = [at for at, line in enumerate(lines) if line.startswith(("secagg ", "secagg-server "))]
    assert len(commands) > 20
    assert [lines[at] for at in commands if lines[at - 1] != "```sh"] == []
