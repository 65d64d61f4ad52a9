"""The document around drawings: one file that needs nothing else, light or dark as its reader likes."""

from html import escape
from importlib.resources import files
from string import Template


def style() -> str:
    """The style sheet that every class of this package's drawings is in."""
    return files("secagg.tools.charts").joinpath("page.css").read_text(encoding="utf-8")


def page(title: str, heading: str, lead: str, body: str, *, more_style: str = "") -> str:
    """A document.

    Args:
        title: of the window.
        heading: what is to be learned, in one line.
        lead: in two or three.
        body: HTML.
        more_style: of what this page alone has.
    """
    template = Template(files("secagg.tools.charts").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title), style=style() + more_style, heading=escape(heading), lead=escape(lead), body=body
    )


def card(heading: str, note: str, content: str) -> str:
    """A drawing or a table with what is to be seen in it. Args: note, content: HTML."""
    return f'<section class="card"><h2>{escape(heading)}</h2><p class="note">{note}</p>{content}</section>'


def tile(number: str, label: str) -> str:
    """A figure that stands for itself."""
    return f'<div class="tile"><b>{escape(number)}</b><span>{escape(label)}</span></div>'
