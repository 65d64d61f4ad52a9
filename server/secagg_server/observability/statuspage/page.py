"""The status page as HTML: one document without scripts and without anything from elsewhere."""

from base64 import b64encode
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final

from markupsafe import Markup

from secagg.programs import pages
from secagg_server.observability.statuspage.attention import attention
from secagg_server.observability.statuspage.values import Status

REFRESH_S: Final = 5
"""Seconds from one look to the next, unless the reader pauses the page."""

PAUSED: Final = "paused"
"""The path of the page that stays as it is."""

_PACKAGE: Final = __package__ or ""
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@lru_cache
def _style() -> Markup:
    return pages.style((_PACKAGE, "status.css"))


@lru_cache
def style_source() -> str:
    """What the content security policy says of the page's own style sheet; browsers load and run nothing else."""
    sheet = sha256(f"\n{_style()}".encode()).digest()  # a line break follows the tag
    return f"'sha256-{b64encode(sheet).decode()}'"


def page(status: Status, *, paused: bool = False) -> str:
    """The document.

    Args:
        status: what it shows.
        paused: whether it stays as it is. Otherwise the browser asks for it again every few seconds.
    """
    environment = pages.templates(_PACKAGE)
    environment.filters.update(clock=clock, day=day, ago=lambda at: span(status.at - at), span=span, amount=amount)
    return environment.get_template("status.html.j2").render(
        title=_title(status),
        style=_style(),
        status=status,
        attention=attention(status),
        paused=paused,
        refresh_s=REFRESH_S,
        PAUSED=PAUSED,
    )


def _title(status: Status) -> str:
    """Of the window, so that a tab in the background says whether to look."""
    if status.state != "serving":
        return f"{status.state} · secagg coordinator"
    missing = sum(one.missing_count for one in status.live)
    live = f"{len(status.live)} under way, {missing} missing" if status.live else "no round"
    return f"{live} · secagg coordinator"


def clock(at: float) -> str:
    """A time of the day, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def day(at: float) -> str:
    """A date and a time, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """How long that is, in at most two units: `2 h 5 min`, `18 s`, `0.4 s`."""
    if abs(seconds) < 10:
        return f"{max(0.0, seconds):.1f} s"
    left, told = int(seconds), list[str]()
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or told:
            told.append(f"{count} {unit}" if count else "")
        if len(told) == 2:
            break
    return " ".join(filter(None, told))


def amount(number: float, unit: str = "") -> str:
    """A number of things with its thousands apart, or of bytes in mebibytes."""
    return f"{number / (1 << 20):,.0f} MiB" if unit == "bytes" else f"{number:,}"
