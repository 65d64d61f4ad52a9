"""What a doctor finds: one line for each thing looked at, as a table for people or as JSON for programs."""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from secagg.errors import LocalError, SecAggError, printable

SOON: Final = timedelta(days=14)
"""A certificate that expires within this time is worth a warning. The coordinator's log warns as early."""

SET_CLOCK: Final = "sudo timedatectl set-ntp true"

_MOST_CHARS: Final = 2000
_CHECK_WIDTH: Final = 13
_LEVEL_WIDTH: Final = 9
_INDENT: Final = " " * (_LEVEL_WIDTH + _CHECK_WIDTH)


class Level(Enum):
    """How bad a finding is. The value is the word in the table and in JSON."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what was found.

    Attributes:
        check: what was looked at, in a word.
        level: how bad it is.
        text: what was found, in one line.
        mend: a command for a shell that mends it, or that says more; empty if there is none.
    """

    check: str
    level: Level
    text: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate is valid.

    Attributes:
        name: whose it is.
        begin: first moment, timezone-aware.
        end: last moment, timezone-aware.
    """

    name: str
    begin: datetime
    end: datetime


def fine(check: str, text: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, Level.OK, text)


def refused(check: str, error: SecAggError | OSError) -> Finding:
    """The finding that an error is."""
    if isinstance(error, LocalError):
        return Finding(check, Level.ERROR, error.wrong, error.mend)
    if isinstance(error, OSError) and error.strerror:
        return Finding(check, Level.ERROR, f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return Finding(check, Level.ERROR, str(error))


def or_else(found: Finding, mend: str) -> Finding:
    """The finding, with a command if it is an error that has none."""
    return found if found.mend or found.level is Level.OK else replace(found, mend=mend)


def tried(check: str, work: Callable[[], str]) -> Finding:
    """What `work` returns is fine; what it raises is not."""
    try:
        return fine(check, work())
    except (SecAggError, OSError) as error:
        return refused(check, error)


def expiry(check: str, known: Validity, now: datetime, renew: str, *, also: str = "") -> Finding:
    """Whether a certificate that is valid stays so for a while.

    Args:
        check: see `Finding`.
        known: the certificate.
        now: timezone-aware.
        renew: the command that renews it.
        also: what else to say of it.
    """
    left = known.end - now
    text = f"{known.name}{also}: expires on {known.end:%Y-%m-%d}, in {left.days} day{'' if left.days == 1 else 's'}"
    return Finding(check, Level.WARNING, text, renew) if left <= SOON else fine(check, text)


def clock(known: Sequence[Validity], now: datetime) -> Finding:
    """Whether certificates prove the clock of this machine wrong.

    A certificate is not used before it was made. One that has expired proves nothing alone, because it may be old; but
    if all have, those of the CA and of both ends, the clock is far ahead more probably.
    """
    said = f"this machine's clock says {now:%Y-%m-%d %H:%M:%S} UTC"
    ahead = [one for one in known if one.begin > now]
    if ahead:
        last = max(ahead, key=lambda one: one.begin)
        text = f"{said}, {length(last.begin - now)} before {last.name} begins to be valid: the clock is behind"
        return Finding("clock", Level.ERROR, text, SET_CLOCK)
    if len(known) > 1 and all(one.end < now for one in known):
        last = max(known, key=lambda one: one.end)
        text = f"{said}, {length(now - last.end)} after the last certificate expired: perhaps the clock is ahead"
        return Finding("clock", Level.ERROR, text, SET_CLOCK)
    return fine(
        "clock", f"{said}; " + ("no certificate contradicts it" if known else "no certificate to compare it with")
    )


def length(time: timedelta) -> str:
    """A length of time in a unit that people can read."""
    hours = time / timedelta(hours=1)
    if hours < 1:
        return f"{time / timedelta(seconds=1):.1f} s"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def worst(findings: Sequence[Finding]) -> Level:
    """The worst level that occurs."""
    return max((finding.level for finding in findings), key=list(Level).index, default=Level.OK)


def table(title: str, findings: Sequence[Finding], width: int) -> Iterator[str]:
    """Lines of at most `width` signs. Commands are never broken, so that they can be copied."""
    yield title
    for finding in findings:
        lines = textwrap.wrap(_plain(finding.text), max(width - len(_INDENT), 16), break_on_hyphens=False)
        mark = finding.level.value if finding.level is Level.OK else finding.level.value.upper()
        yield f"{mark:{_LEVEL_WIDTH}}{finding.check:{_CHECK_WIDTH}}{lines[0] if lines else ''}".rstrip()
        yield from (_INDENT + line for line in lines[1:])
        if finding.mend:
            yield f"{'':{_LEVEL_WIDTH}}run: {_plain(finding.mend)}"


def as_json(side: str, finding: Finding) -> dict[str, str | None]:
    """A finding for programs; `mend` is null if there is no command."""
    return {
        "side": side,
        "check": finding.check,
        "level": finding.level.value,
        "text": _plain(finding.text),
        "mend": _plain(finding.mend) or None,
    }


def _plain(text: str) -> str:
    """One line without control characters and of a bounded length: some of it is in the words of a peer."""
    return printable(" ".join(text.split()), _MOST_CHARS)


def moment(now: float) -> datetime:
    """A time in seconds since 1970, timezone-aware."""
    return datetime.fromtimestamp(now, UTC)
