"""Pages that need no other file: the templates `*.html.j2` of the tools, filled in by Jinja2, which escapes values.

Only what a template, a drawing of this package or an explicit `Markup` made is HTML. All other text is escaped, whoever
wrote it: the name of a participant, an array, a task.
"""

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


def card(heading: str, note: str, content: str) -> Markup:
    """A box with a heading, a sentence that says what to look at, and a drawing or a table."""
    made: Markup = parts().card(heading, note, content)
    return made


def parts() -> Any:
    """What pages are put together from: the macros of `charts/parts.html.j2`, by name."""
    return _environment().get_template("charts/parts.html.j2").module
