"""The pages of the reference that are written from the code: settings, command line and log events.

Each is a generator of lines. `assemble.py` puts them into the site.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import typer
from secagg_server.cli import build as server_program
from secagg_server.observability.log_events import COMMON, FIELDS, OF_ROUND, SECTIONS, UNLOGGED, LogEvent
from secagg_server.settings import ENV_PREFIX, Settings

from secagg.cli.main import build as program

ROOT: Final = Path(__file__).parents[1]

_MARKUP: Final = re.compile(r"\[/?(bold|italic|dim)\]")


def settings() -> Iterator[str]:
    """The page on the coordinator's settings."""
    yield "# Settings of the coordinator\n"
    yield (
        f"A setting is a flag of `secagg-server serve`, a variable of the environment (`{ENV_PREFIX}LISTEN`) or a line "
        "of a TOML file. A flag goes before the environment, the environment before the file, and the file before the "
        "default.\n"
    )
    yield "| Setting | Meaning |"
    yield "|---|---|"
    for name, about in Settings.model_json_schema()["properties"].items():
        required = Settings.model_fields[name].is_required()
        default = "required" if required else f"default `{_plain(about.get('default'))}`"
        yield f"| `{name}` | {_cell(about['description'])} {_values(about)}; {default}. |"
    yield "\n## A settings file\n"
    yield "`deploy/secagg-server.toml` has every setting:\n"
    yield f"```toml\n{(ROOT / 'deploy/secagg-server.toml').read_text()}```"


def _values(about: dict[str, Any]) -> str:
    """What a setting may be."""
    if "enum" in about:
        return "One of " + ", ".join(f"`{choice}`" for choice in about["enum"])
    if about.get("type") not in {"integer", "number"}:
        return "A table" if about.get("type") == "object" or "$ref" in about else "Text"
    low = about.get("minimum", about.get("exclusiveMinimum"))
    return f"{'Above' if 'exclusiveMinimum' in about else 'From'} {low} to {about['maximum']:,}"


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
        begin, colon, example = paragraph.partition("Example: ")
        if colon and not begin:
            yield f"```sh\n{example.strip()}\n```\n"
        else:
            yield paragraph.strip() + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def log_events() -> Iterator[str]:
    """The page on the lines of the coordinator's log."""
    yield "# Log events\n"
    yield (
        'The sidecar writes one line for each event to standard output: JSON (`log_format = "json"`), or text for '
        "people (`console`). Lines below `log_level` are left out. No line holds a key, a share, an update or a sum.\n"
    )
    yield (
        f"Every line has {_listed(COMMON)}. A line about a round also has {_listed(OF_ROUND)}. What peers choose to do "
        "is logged at most once a second of a kind (an event, and a participant or network). These events are marked "
        f"with ¹, and `{UNLOGGED}` counts the lines that were left out.\n"
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


def _fields(event: LogEvent) -> str:
    return _listed((*(OF_ROUND if event.of_round else ()), *event.fields))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
