"""Gathers the pages of the documentation in build/docs, from where `make docs` builds the site.

Pages of the repository are copied, and their links turned to where the site has the page. The page on the coordinator's
settings and the one on the command line are written from the code.
"""

import re
import shutil
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import Any, Final

import typer
from secagg_server.cli import build as server_program
from secagg_server.settings import ENV_PREFIX, Settings

from secagg.cli.main import build as program

ROOT: Final = Path(__file__).parents[1]
SETTINGS: Final = "reference/settings.md"
COMMANDS: Final = "reference/command-line.md"
ELSEWHERE: Final = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "proto/PROTOCOL.md": "protocol.md",
    "deploy/secagg-server.toml": SETTINGS,
}
"""Where the site has files that are not in docs/."""

WRITTEN: Final = {f"docs/{page}": page for page in (SETTINGS, COMMANDS)}

_LINK: Final = re.compile(r"(!?)\[([^\]]+)\]\(([^)\s]+)\)")
_MARKUP: Final = re.compile(r"\[/?(bold|italic|dim)\]")


def main(folder: Path = ROOT / "build/docs") -> None:
    """Write every page anew into `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    for page, text in pages():
        path = folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def pages() -> Iterator[tuple[str, str]]:
    """Every page of the site with its text."""
    inside = {
        str(path.relative_to(ROOT)): str(path.relative_to(ROOT / "docs"))
        for path in sorted((ROOT / "docs").rglob("*"))
        if path.suffix in {".md", ".svg"}
    }
    places = ELSEWHERE | inside
    for source, page in places.items():
        text = (ROOT / source).read_text()
        if source.endswith(".md"):
            yield page, turned(text, source, places)
        elif source.endswith(".svg"):
            yield page, text
    yield SETTINGS, "\n".join(settings())
    yield COMMANDS, "\n".join(command_line())


def turned(text: str, source: str, places: dict[str, str]) -> str:
    """The page with links that lead to pages of the site. Of a link to any other file of the repository only its text
    stays: the site is read where there is no repository.

    Raises:
        ValueError: a link leads nowhere.
    """

    def link(match: re.Match[str]) -> str:
        image, words, target = match.groups()
        if "://" in target or target.startswith("#"):
            return match[0]
        path, hash_, anchor = target.partition("#")
        place = (ROOT / source).parent.joinpath(path).resolve()
        name = str(place.relative_to(ROOT))
        page = WRITTEN.get(name) or places.get(name)
        if not (place.exists() or page):
            raise ValueError(f"{source}: the link to {target} leads nowhere")
        if page is None:
            return words
        return f"{image}[{words}]({relpath(page, Path(places[source]).parent)}{hash_}{anchor})"

    return _LINK.sub(link, text)


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


if __name__ == "__main__":
    main()
