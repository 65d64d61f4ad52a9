"""What every page of ours is made from: one document, one style sheet, templates that escape whatever they are told.

The reports of the tools and the coordinator's status page look alike, light and dark, and need nothing from outside.
jinja2 comes with the extras that make pages (`server`, `demo`, `dp`, `redteam`).
"""

from functools import lru_cache
from importlib.resources import files
from typing import Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_HERE: Final = __name__


@lru_cache
def templates(package: str) -> Environment:
    """The templates below a package, which may extend `page.html.j2`. All text is escaped, whoever wrote it.

    Args:
        package: dotted name.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, ""), PackageLoader(_HERE, "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style(*sheets: tuple[str, str]) -> Markup:
    """The style sheet of every page, and further ones behind it. Args: sheets: package and path of each."""
    every = ((_HERE, "page.css"), *sheets)
    return Markup("".join(files(home).joinpath(name).read_text(encoding="utf-8") for home, name in every))  # noqa: S704 - our own files
