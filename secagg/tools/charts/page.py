"""Pages that need no other file: the templates `*.html.j2` of the tools, filled in by Jinja2, which escapes values.

Only what a template, a drawing of this package or an explicit `Markup` made is HTML. All other text is escaped, whoever
wrote it: the name of a participant, an array, a task.
"""

from functools import partial
from typing import Any, Final

from secagg.errors import MissingExtraError

try:
    from markupsafe import Markup

    from secagg.programs import pages
except ImportError:
    raise MissingExtraError("drawing a page", "demo") from None

_TOOLS: Final = "secagg.tools"
_environment = partial(pages.templates, _TOOLS)


def fill(template: str, **values: object) -> Markup:
    """What a template makes of the values. Args: template: `FOLDER/NAME.html.j2`, below `secagg/tools`."""
    return Markup(_environment().get_template(template).render(values))  # noqa: S704 - the template escapes


def style(*sheets: str) -> Markup:
    """The style sheet of pages with drawings, and more of `FOLDER/NAME.css` below `secagg/tools`."""
    return pages.style(*((_TOOLS, sheet) for sheet in ("charts/drawings.css", *sheets)))


def page(template: str, *, title: str, heading: str, lead: str, sheet: str | None = None, **values: object) -> str:
    """A whole document, light or dark as its reader likes.

    Args:
        template: of its body; it extends `page.html.j2`.
        title: of the window.
        heading: what is to be learned, in one line.
        lead: in two or three.
        sheet: what this page alone has in its style sheet, `FOLDER/NAME.css` below `secagg/tools`.
        values: what the body needs.
    """
    return fill(template, title=title, heading=heading, lead=lead, style=style(*filter(None, [sheet])), **values)


def card(heading: str, note: str, content: str) -> Markup:
    """A box with a heading, a sentence that says what to look at, and a drawing or a table."""
    made: Markup = parts().card(heading, note, content)
    return made


def parts() -> Any:
    """What pages are put together from: the macros of `charts/parts.html.j2`, by name."""
    return _environment().get_template("charts/parts.html.j2").module
