"""One entry of the audit log: a line of JSON that holds the digest of the line before it.

A line is written in one way only: keys sorted, no spaces, ASCII, whole numbers and no floats. So an entry that was read
gives the same bytes again, and everything that somebody changes in a line changes its digest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from secagg.crypto import labels
from secagg.crypto.transcript import digest
from secagg.errors import AuditError
from secagg.privacy.ledger import Head

VERSION: Final = 1

MAX_LINE_BYTES: Final = 1 << 20
"""10,000 names of 64 characters take fewer."""

MAX_AT_MS: Final = 253_402_300_799_999
"""The last millisecond that a date can show."""

BEGINNING: Final = Head(0, bytes(32))
"""The head of a log without entries."""

OF_EVERY_ENTRY: Final = ("version", "number", "previous", "at", "kind")

Value = str | int | bool | None | list["Value"] | dict[str, "Value"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    Attributes:
        number: 1, 2, …
        previous: digest of the line before, 32 bytes; 32 zero bytes for the first.
        at_ms: when it was decided, by the coordinator's clock: milliseconds since 1970.
        kind: what was decided, of `kinds`.
        facts: what else the entry says. Of an entry about a round, `round` is its id in hexadecimal and `step` the
            number of the entry among those of this round, from 0 on.
        head: number and digest of this entry.
        size: of its line, in bytes, without the line end.
    """

    number: int
    previous: bytes
    at_ms: int
    kind: str
    facts: Mapping[str, Any]
    head: Head
    size: int

    @property
    def round_id(self) -> str | None:
        """Id of the round that it is about, 32 hexadecimal digits; None if it is about none."""
        named = self.facts.get("round")
        return named if isinstance(named, str) else None

    @property
    def body(self) -> dict[str, Any]:
        """All that the line says."""
        return _body(self.facts, self.number, self.previous, self.at_ms, self.kind)


def write(kind: str, at_ms: int, facts: Mapping[str, Any], after: Head) -> tuple[bytes, Head]:
    """The line of a new entry, without its end, and the head after it.

    Args:
        kind: of `kinds`.
        at_ms: milliseconds since 1970.
        facts: what the entry says; names that every entry has anyway are not allowed.
        after: of the entry before.

    Raises:
        ValueError: the facts hold a float, or a name that every entry has, or are too long. That is a bug.
    """
    if not facts.keys().isdisjoint(OF_EVERY_ENTRY):
        raise ValueError(f"facts must not be called {sorted(facts.keys() & set(OF_EVERY_ENTRY))}")
    _refuse_floats(facts)
    line = as_line(_body(facts, after.entries + 1, after.digest, at_ms, kind))
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"an entry has at most {MAX_LINE_BYTES} bytes, this {kind} {len(line)}")
    return line, Head(after.entries + 1, digest_of(line))


def read(line: bytes) -> Entry:
    """The entry of a line. Nothing is compared with the lines around it.

    Raises:
        AuditError: it is no entry, or is written in another way than entries are; the text goes on after "entry N".
    """
    if len(line) > MAX_LINE_BYTES:
        raise AuditError(f"is longer than {MAX_LINE_BYTES} bytes")
    try:
        body = json.loads(line, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError):
        raise AuditError("is no JSON of an entry") from None
    if not isinstance(body, dict) or body.get("version") != VERSION:
        raise AuditError(f"is no entry of version {VERSION}")
    number, previous, at_ms, kind = (body.get(name) for name in OF_EVERY_ENTRY[1:])
    if type(number) is not int or not 1 <= number < 1 << 50:
        raise AuditError("has no number")
    if not isinstance(previous, str) or not isinstance(kind, str):
        raise AuditError("does not say its kind and the entry before it")
    if type(at_ms) is not int or not 0 <= at_ms <= MAX_AT_MS:
        raise AuditError("has no time")
    if as_line(body) != line:  # check: audit-one-way-to-write
        raise AuditError("is not written as entries are: keys sorted, no spaces, ASCII")
    facts = {name: value for name, value in body.items() if name not in OF_EVERY_ENTRY}
    return Entry(number, _digest(previous), at_ms, kind, facts, Head(number, digest_of(line)), len(line))


def digest_of(line: bytes) -> bytes:
    """32 bytes over a line without its end."""
    return digest(labels.AUDIT_ENTRY, line)


def as_line(body: Mapping[str, Any]) -> bytes:
    """The one way in which a body is written."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _body(facts: Mapping[str, Any], number: int, previous: bytes, at_ms: int, kind: str) -> dict[str, Any]:
    always = {"version": VERSION, "number": number, "previous": previous.hex(), "at": at_ms, "kind": kind}
    return {**facts, **always}


def _digest(text: str) -> bytes:
    try:
        previous = bytes.fromhex(text)
    except ValueError:
        previous = b""
    if len(previous) != len(BEGINNING.digest) or previous.hex() != text:
        raise AuditError("does not hold the digest of the entry before it")
    return previous


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"{text} is no whole number")


def _refuse_floats(value: object) -> None:
    if isinstance(value, float | bytes):
        raise ValueError("an entry holds texts and whole numbers, because floats are not written alike everywhere")
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        _refuse_floats(inner)
