"""Pages that need no other file: the templates `*.html.j2` of the tools, filled in by Jinja2, which escapes values.

Only what a template, a drawing of this package or an explicit `Markup` made is HTML. All other text is escaped, whoever
wrote it: the name of a participant, an array, a task.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from secagg.errors import MissingExtraError

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
except ImportError:
    raise MissingExtraError("drawing a page", "demo") from None


@lru_cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("secagg.tools", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def fill(template: str, **values: object) -> Markup:
    """What a template makes of the values. Args: template: `FOLDER/NAME.html.j2`, below `secagg/tools`."""
    return Markup(_environment().get_template(template).render(values))  # noqa: S704 - the template escapes


def style(sheet: str = "charts/page.css") -> Markup:
    """A style sheet, `FOLDER/NAME.css` below `secagg/tools`; without a name the one that drawings need."""
    return Markup(files("secagg.tools").joinpath(sheet).read_text(encoding="utf-8"))  # noqa: S704 - our own file


def page(template: str, *, title: str, heading: str, lead: str, more_style: str = "", **values: object) -> str:
    """A whole document, light or dark as its reader likes.

    Args:
        template: of its body; it extends `charts/page.html.j2`.
        title: of the window.
        heading: what is to be learned, in one line.
        lead: in two or three.
        more_style: what this page alone has in its style sheet.
        values: what the body needs.
    """
    return fill(template, title=title, heading=heading, lead=lead, style=style() + more_style, **values)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        cells: as many as the table has columns.
        gap: whether the row is tinted.
    """

    cells: Sequence[str]
    gap: bool = False


def _part(macro: str, *values: Any, **named: Any) -> Markup:
    made: Markup = getattr(_environment().get_template("charts/parts.html.j2").module, macro)(*values, **named)
    return made


def card(heading: str, note: str, content: str) -> Markup:
    """A box with a heading, a sentence that says what to look at, and a drawing or a table."""
    return _part("card", heading, note, content)


def items(lines: Iterable[str], style: str = "") -> Markup:
    """A list with a dot before each line."""
    return _part("items", list(lines), style)


def fold(summary: str, content: str, *, shown: bool = False) -> Markup:
    """Details that open with a click on the summary; `shown` opens them from the start."""
    return _part("fold", summary, content, shown)


def table(head: Sequence[str], rows: Iterable[Row], *, numbers: int = 0) -> Markup:
    """A table. Args: head: the titles of the columns. numbers: how many of the last columns hold numbers."""
    return _part("table", head, list(rows), numbers)


def mark(style: str, said: str) -> Markup:
    """A word on a coloured ground: `good`, `mid`, `bad` or `none`."""
    return _part("mark", style, said)


def why(said: str) -> Markup:
    """A line in small letters below a value; nothing for an empty text."""
    return _part("why", said)


def paragraph(said: str) -> Markup:
    """Sentences that stand for themselves."""
    return _part("paragraph", said)


def code(said: str) -> Markup:
    """Text as a program has it."""
    return _part("code", said)


def takes(sentences: Iterable[str]) -> Markup:
    """What to take away from a figure, in bold."""
    return _part("takes", list(sentences))


def drawing(drawn: str) -> Markup:
    """A drawing that is not to be as wide as the page."""
    return _part("drawing", drawn)
