"""The audit log and the participation report as pages to look at. Needs jinja2, which the extras bring."""

from collections.abc import Sequence
from typing import Final

from secagg.audit.entries import Entry
from secagg.errors import MissingExtraError
from secagg.programs.audit import showing
from secagg.programs.audit.kinds import KINDS
from secagg.programs.audit.taking_part import CAVEATS, Report
from secagg.programs.audit.verifying import Verdict

try:
    from secagg.programs import pages
except ModuleNotFoundError:
    raise MissingExtraError("drawing a page", "server") from None

MOST_ENTRIES: Final = 5000
"""Entries on a page; of more, the latest."""

_PACKAGE: Final = __package__ or ""


def log_page(log: Sequence[Entry], verdict: Verdict | None, *, about: str) -> str:
    """The entries as one page.

    Args:
        log: those that are shown.
        verdict: what came of verifying the whole log; None if it was not verified.
        about: which entries these are, as a sentence.
    """
    return _render("log.html.j2", log=log[-MOST_ENTRIES:], left_out=max(0, len(log) - MOST_ENTRIES),
                   verdict=verdict, about=about, kinds=KINDS)  # fmt: skip


def report_page(found: Report, verdict: Verdict | None) -> str:
    """The participation report as one page. Arguments as of `log_page`."""
    return _render("taking_part.html.j2", report=found, verdict=verdict, caveats=CAVEATS)


def _render(template: str, **values: object) -> str:
    environment = pages.templates(_PACKAGE)
    environment.filters.update(moment=showing.moment, told=showing.facts)
    return environment.get_template(template).render(style=pages.style((_PACKAGE, "audit.css")), **values)
