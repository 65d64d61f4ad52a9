"""Entries of an audit log as people read them, and the choice of some of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from secagg.audit import entries
from secagg.audit.entries import Entry
from secagg.errors import AuditError, ConfigError, printable
from secagg.programs.audit.kinds import KINDS
from secagg.programs.audit.reading import Line

_NAMES_PEOPLE: Final = ("participant", "culprit", "accuser", "accused", "culprits", "participants", "survivors", "who")
_NOT_SHOWN: Final = frozenset({"round", "step", "certificates", "signature"})
_HEX_SHOWN: Final = 12
_ITEMS_SHOWN: Final = 6
_CHARS_SHOWN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which entries are wanted; what is empty excludes nothing.

    Attributes:
        round_id: the first digits of the id of a round.
        participant: id of somebody whom the entry names.
        kinds: of `kinds`.
        since_ms: milliseconds since 1970.
    """

    round_id: str = ""
    participant: str = ""
    kinds: frozenset[str] = frozenset()
    since_ms: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(self.kinds - KINDS.keys())
        if unknown:
            raise ConfigError(f"{unknown[0]} is no kind of entry; there are {', '.join(KINDS)}")

    def takes(self, entry: Entry) -> bool:
        """Whether it is wanted."""
        return (
            entry.at_ms >= self.since_ms
            and (not self.kinds or entry.kind in self.kinds)
            and (not self.round_id or (entry.round_id or "").startswith(self.round_id.lower()))
            and (not self.participant or names(entry.facts, self.participant))
        )


def names(facts: Mapping[str, Any], participant: str) -> bool:
    """Whether an entry is about the participant, alone or among others."""
    for name in _NAMES_PEOPLE:
        value = facts.get(name)
        if value == participant or (isinstance(value, list) and participant in value):
            return True
    return False


def chosen(lines: Iterable[Line], choice: Choice) -> Iterator[Entry]:
    """The entries that are wanted. What is no entry is passed over: `verify` tells of it."""
    for line in lines:
        try:
            entry = entries.read(line.text)
        except AuditError:
            continue
        if choice.takes(entry):
            yield entry


def since(text: str) -> int:
    """A date or a date with a time as milliseconds since 1970; UTC where it names no zone.

    Raises:
        ConfigError: it is neither.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no date; write 2026-11-28 or 2026-11-28T06:30") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def moment(at_ms: int) -> str:
    """A time in UTC, to the second."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def text(entry: Entry) -> str:
    """The entry in one line; long values are shortened."""
    about = f"  round {printable(entry.round_id, _HEX_SHOWN)}" if entry.round_id else ""
    kind = printable(entry.kind, _CHARS_SHOWN)
    return f"{entry.number:>6}  {moment(entry.at_ms)}  {kind:<20}{about}  {'  '.join(facts(entry))}".rstrip()


def facts(entry: Entry) -> list[str]:
    """What an entry says besides time, kind and round, as `name: value`."""
    said = {name: value for name, value in entry.facts.items() if name not in _NOT_SHOWN}
    shown = {
        name: value for name, value in said.items() if value not in ("", [], {}) and (name, value) != ("again", False)
    }
    order = KINDS[entry.kind].facts if entry.kind in KINDS else ()
    ranked = sorted(shown, key=lambda name: order.index(name) if name in order else len(order))
    return [f"{_short(name)}: {_short(shown[name])}" for name in ranked]


def _short(value: object) -> str:
    if isinstance(value, list):
        first = ", ".join(_short(item) for item in value[:_ITEMS_SHOWN])
        return f"{first} and {len(value) - _ITEMS_SHOWN} more" if len(value) > _ITEMS_SHOWN else first
    if isinstance(value, dict):
        return ", ".join(f"{_short(name)} {_short(inner)}" for name, inner in value.items() if inner is not None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    word = str(value)
    if len(word) in {32, 64} and all(digit in "0123456789abcdef" for digit in word):
        return f"{word[:_HEX_SHOWN]}…"
    return printable(word, _CHARS_SHOWN)
