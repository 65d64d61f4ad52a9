"""The pages of the reference that are written from the code: settings, command line, errors, log events,
metrics, alerts and the status as JSON.

Each is a generator of lines. `assemble.py` puts them into the site.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from itertools import pairwise
from os.path import relpath
from pathlib import Path
from typing import Any, Final, get_type_hints

import typer
import yaml
from secagg_server.calls.statuses import STATUS
from secagg_server.cli import build as server_program
from secagg_server.observability.log_events import COMMON, FIELDS, OF_ROUND, SECTIONS, UNLOGGED, LogEvent
from secagg_server.observability.logs import MOST_OF_EVENT
from secagg_server.observability.metric_table import LABELS
from secagg_server.observability.metric_table import SECTIONS as METRIC_SECTIONS
from secagg_server.observability.statuspage import values
from secagg_server.observability.statuspage.document import VERSION
from secagg_server.observability.statuspage.values import Status
from secagg_server.settings import ENV_PREFIX, Settings

import secagg
from secagg.audit.entries import OF_EVERY_ENTRY
from secagg.cli.main import build as program
from secagg.errors import AbortReason, LocalError, RemoteError, SecAggError, TransportError
from secagg.events import DropReason, Verdict
from secagg.programs.audit.kinds import FACTS
from secagg.programs.audit.kinds import OF_ROUND as AUDIT_OF_ROUND
from secagg.programs.audit.kinds import SECTIONS as AUDIT_SECTIONS
from secagg.receipts import Agreement

ROOT: Final = Path(__file__).parents[1]
ALERTS: Final = "deploy/prometheus/secagg.rules.yml"

_TEMPLATE: Final = re.compile(r"\{\{ \$labels\.(\w+) \}\}")  # Prometheus puts the value of the label there
_EXAMPLE: Final = re.compile(r"Examples?: (.*)|(secagg(?:-server)? .*)", re.DOTALL)
_ATTRIBUTE: Final = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", re.MULTILINE)
_JSON: Final = {"str": "text", "int": "number", "float": "number", "bool": "true or false"}
_MARKUP: Final = re.compile(r"\[/?(bold|italic|dim)\]")


def settings() -> Iterator[str]:
    """The page on the coordinator's settings."""
    yield "# Settings of the coordinator\n"
    yield (
        "A setting is a flag of `secagg-server serve`, a variable of the environment or a line of a TOML file. A flag "
        "goes before the environment, the environment before the file, and the file before the default. An unknown "
        "setting, or a value out of range, keeps the sidecar from starting, and the error names it.\n"
    )
    for name, about in Settings.model_json_schema()["properties"].items():
        required = Settings.model_fields[name].is_required()
        default = "required" if required else f"default `{_plain(about.get('default'))}`"
        yield f"## `{name}`\n"
        yield f"{_cell(about['description'])}\n"
        yield f"- Value: {_values(about)}; {default}"
        yield f"- Flag: `--{name.replace('_', '-')}`"
        yield f"- Environment: `{ENV_PREFIX}{name.upper()}`"
        if "reached" in about:
            yield f"- At the limit: {about['reached']}"
        yield ""
    yield "## A settings file\n"
    yield "`deploy/secagg-server.toml` has every setting:\n"
    yield f"```toml\n{(ROOT / 'deploy/secagg-server.toml').read_text()}```"


def _values(about: dict[str, Any]) -> str:
    """What a setting may be, with its unit."""
    if "enum" in about:
        return "one of " + ", ".join(f"`{choice}`" for choice in about["enum"])
    if about.get("type") not in {"integer", "number"}:
        return f"a table ({about['unit']})" if about.get("type") == "object" or "$ref" in about else "text"
    kind = "a whole number" if about["type"] == "integer" else "a number"
    low = about.get("minimum", about.get("exclusiveMinimum"))
    span = f"{'above' if 'exclusiveMinimum' in about else 'from'} {low} to {about['maximum']:,}"
    return f"{kind} {span} ({about['unit']})"


def _plain(value: Any) -> str:
    """A default as a settings file has it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_plain(item)}" for name, item in value.items()) + " }" if value else "{}"
    return "none" if value is None else str(value)


def command_line() -> Iterator[str]:
    """The page on every command and its options."""
    yield "# Command line\n"
    yield "Every command explains itself with `--help`; this page has the same words.\n"
    for name, app in (("secagg", program([])), ("secagg-server", server_program())):
        yield f"## {name}\n"
        yield from _described(typer.main.get_command(app), None, name)


def _described(command: Any, parent: typer.Context | None, name: str) -> Iterator[str]:
    context = typer.Context(command, parent=parent, info_name=name)
    if parent is not None:
        yield f"### {context.command_path}\n"
    yield from _help(command.help or "")
    if below := getattr(command, "commands", None):
        for each in below:
            yield from _described(below[each], context, each)
        return
    records = [record for option in command.params if (record := option.get_help_record(context))]
    if records:
        yield "| Option | Meaning |"
        yield "|---|---|"
        yield from (f"| `{option}` | {_cell(meaning)} |" for option, meaning in records)  # code needs no escapes
        yield ""


def _help(text: str) -> Iterator[str]:
    """The paragraphs of a help text; examples as code."""
    for paragraph in _MARKUP.sub("`", text).split("\n\n"):
        example = _EXAMPLE.fullmatch(paragraph.strip())
        yield f"```sh\n{example[1] or example[2]}\n```\n" if example else paragraph.strip() + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def errors() -> Iterator[str]:
    """The page on causes and cures: of every error that a program can meet, and of every reason that one gives."""
    yield "# Causes and cures\n"
    yield (
        "Every error that secagg raises on purpose: where it comes from, and what helps. The *status* is that of the "
        "gRPC call in which the coordinator tells the error to a client or an FL server. There is none for errors that "
        "only one's own machine raises. [Errors](errors.md) has the attributes of each class.\n"
    )
    for heading, kinds in _by_fault().items():
        yield f"## {heading}\n"
        yield "| Error | Status | Cause | Cure |"
        yield "|---|---|---|---|"
        for kind in kinds:
            told = advice(inspect.getdoc(kind) or "")
            name = f"[`{kind.__name__}`](errors.md#secagg.{kind.__name__})"
            status = f"`{STATUS[kind].name}`" if issubclass(kind, SecAggError) and kind in STATUS else ""
            yield f"| {name} | {status} | {told['Cause']} | {told['Cure']} |"
        yield ""
    for reasons, heading in REASONS.items():
        yield f"## {heading} (`{reasons.__name__}`)\n"
        yield "| Name | Meaning | Cure |"
        yield "|---|---|---|"
        for name, doc in member_docs(reasons).items():
            told = advice(doc)
            yield f"| `{name}` | {told['']} | {told['Cure']} |"
        yield ""


REASONS: Final[dict[type[Enum], str]] = {
    AbortReason: "Why a round ended without a sum",
    DropReason: "Why a participant dropped out",
    Verdict: "What the coordinator can tell about an accusation",
    Agreement: "What two receipts say together",
}
"""Enumerations whose members say what went wrong."""

NO_CASE: Final = frozenset({SecAggError, RemoteError})
"""Families of errors, of which nothing is raised but their members."""


def _by_fault() -> dict[str, list[type[Exception]]]:
    """Every error that `secagg` offers, below the heading of its family."""
    offered = [getattr(secagg, name) for name in secagg.__all__]
    kinds = [kind for kind in offered if isinstance(kind, type) and issubclass(kind, SecAggError | Warning)]
    families = {
        "Our own side": LocalError, "A peer": RemoteError, "The connection": TransportError,
        "The round": SecAggError, "Warnings": Warning,
    }  # fmt: skip
    found: dict[str, list[type[Exception]]] = {heading: [] for heading in families}
    for kind in sorted(set(kinds) - NO_CASE, key=lambda kind: kind.__name__):
        heading = next(name for name, family in families.items() if issubclass(kind, family))
        found[heading].append(kind)
    return found


def advice(doc: str) -> dict[str, str]:
    """What a docstring says before its sections (under the empty name), and in the sections `Cause` and `Cure`."""
    text, *sections = re.split(r"^(\w+):\n", inspect.cleandoc(doc), flags=re.MULTILINE)
    named = dict(zip(sections[::2], sections[1::2], strict=True))
    return {"": _cell(text)} | {name: _cell(named[name]) for name in ("Cause", "Cure") if name in named}


def member_docs(kind: type[Enum]) -> dict[str, str]:
    """The docstring that stands behind each member of an enumeration."""
    found = {}
    for member, doc in pairwise(ast.walk(ast.parse(inspect.getsource(kind)))):
        match member, doc:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
    return found


def log_events() -> Iterator[str]:
    """The page on the lines of the coordinator's log."""
    yield "# Log events\n"
    yield (
        'The sidecar writes one line for each event to standard output: JSON (`log_format = "json"`), or text for '
        "people (`console`). Lines below `log_level` are left out. No line holds a key, a share, an update or a sum.\n"
    )
    yield (
        f"Every line has {_listed(COMMON)}. A line about a round also has {_listed(OF_ROUND)}. Events that others can "
        "cause as often as they like are marked with ¹. They are logged at most once a second of a kind (an event, and "
        f"a participant or network), and {MOST_OF_EVENT} times a second in all. `{UNLOGGED}` counts those of a kind "
        "that were left out.\n"
    )
    for heading, events in SECTIONS.items():
        yield f"## {heading}\n"
        yield "| Event | Level | Fields | Meaning | What to do |"
        yield "|---|---|---|---|---|"
        for name, event in events.items():
            mark = "¹" if event.throttled else ""
            yield f"| `{name}`{mark} | {event.level} | {_fields(event)} | {event.meaning} | {event.to_do} |"
        yield ""
    yield "## Fields\n"
    yield "A field means the same in every event, unless its row says otherwise.\n"
    yield "| Field | Meaning |"
    yield "|---|---|"
    yield from (f"| `{name}` | {meaning} |" for name, meaning in sorted({**COMMON, **FIELDS}.items()))


def audit_entries() -> Iterator[str]:
    """The page on the entries of the coordinator's audit log."""
    yield "# Entries of the audit log\n"
    yield (
        "What a coordinator with a `state_dir` writes into its audit log. [The audit log](../audit.md) says what it is "
        f"for and how to verify it. Every entry has {_listed(OF_EVERY_ENTRY)}. An entry about a round also has "
        f"{_listed(AUDIT_OF_ROUND)}.\n"
    )
    for heading, kinds in AUDIT_SECTIONS.items():
        yield f"## {heading}\n"
        yield "| Kind | Facts | Meaning | How many at most |"
        yield "|---|---|---|---|"
        for name, kind in kinds.items():
            facts = [f"`{fact}`" for fact in kind.facts] + [f"`{fact}` (not in all)" for fact in kind.optional]
            told = ", ".join(facts)
            yield f"| `{name}` | {told} | {kind.meaning} | {kind.bounded} |"
        yield ""
    yield "## Facts\n"
    yield "A fact means the same in every kind, unless its row says otherwise.\n"
    yield "| Fact | Meaning |"
    yield "|---|---|"
    yield from (f"| `{name}` | {meaning} |" for name, meaning in sorted(FACTS.items()))


def _fields(event: LogEvent) -> str:
    return _listed((*(OF_ROUND if event.of_round else ()), *event.fields))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def metrics() -> Iterator[str]:
    """The page on what the status port counts."""
    yield "# Metrics\n"
    yield (
        "`/metrics` of the [status port](settings.md#status) has these metrics, in the format of Prometheus, or of "
        "OpenMetrics for who accepts that. No label holds an id of a participant or of a round, an address, or a value "
        "of an update.\n"
    )
    for heading, rows in METRIC_SECTIONS.items():
        yield f"## {heading}\n"
        yield "| Metric | Kind | Labels | Meaning |"
        yield "|---|---|---|---|"
        for name, metric in rows.items():
            yield f"| `{name}` | {metric.kind} | {_listed(metric.labels)} | {_cell(metric.help)} |"
        yield ""
    yield "## Labels\n"
    yield "A label means the same in every metric.\n"
    yield "| Label | Meaning |"
    yield "|---|---|"
    yield from (f"| `{name}` | {meaning} |" for name, meaning in sorted(LABELS.items()))


def status() -> Iterator[str]:
    """The page on what the status port tells programs."""
    yield "# The status as JSON\n"
    yield (
        "`/status.json` of the [status port](settings.md#status) has the facts of the status page as one JSON object. "
        f"Its `version` is {VERSION}: a later release may add fields, but no field goes away or changes its meaning "
        "while the version is the same. Times are in seconds since 1970, in UTC. What is not known is `null`. Names "
        "and texts that others chose are one line without control characters, of bounded length; long lists are cut.\n"
    )
    others = [kind for kind in vars(values).values() if isinstance(kind, type) and is_dataclass(kind)]
    for kind in sorted(others, key=lambda kind: kind is not Status):
        doc = inspect.cleandoc(kind.__doc__ or "")
        about, _, attributes = doc.partition("\nAttributes:\n")
        yield f"## `{kind.__name__}`\n"
        yield f"{_cell(about)}\n"
        yield "| Field | Type | Meaning |"
        yield "|---|---|---|"
        for name, meaning in _ATTRIBUTE.findall(attributes):
            yield f"| `{name}` | {_json_type(str(get_type_hints(kind)[name]))} | {_cell(meaning)} |"
        yield ""


def _json_type(annotation: str) -> str:
    """How JSON has a value of this type, with links to the objects of the page."""
    text = re.sub(r"(?:\w+\.)+(\w+)", r"\1", annotation.removeprefix("<class '").removesuffix("'>"))
    if listed := re.fullmatch(r"tuple\[(.*), \.\.\.\]", text):
        return f"list of {_json_type(listed[1])}"
    if text.startswith("dict"):
        return "object of texts"
    if optional := re.fullmatch(r"(.*) \| None", text):
        return f"{_json_type(optional[1])} or null"
    return _JSON.get(text, f"[`{text}`](#{text.lower()})")


def alerts() -> Iterator[str]:
    """The page on the alerts that Prometheus raises."""
    yield "# Alerts\n"
    yield (
        f"Rules for Prometheus on the [metrics](metrics.md) are in `{ALERTS}`. The severity is `page` for what cannot "
        "wait, and `ticket` for what can. Words in italics stand for the labels of the metric.\n"
    )
    for group in yaml.safe_load((ROOT / ALERTS).read_text())["groups"]:
        for rule in group["rules"]:
            notes = rule["annotations"]
            more = f"[More]({relpath(notes['runbook'], 'docs/reference')})"
            happened = _TEMPLATE.sub(r"*\1*", f"{notes['summary']} {notes['description']}")
            yield f"## {rule['alert']}\n"
            yield f"Severity: `{rule['labels']['severity']}`\n"
            yield f"What happened: {happened}\n"
            yield f"What to do: {notes['action']} {more}\n"
