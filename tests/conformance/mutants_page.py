"""Writes docs/mutants.md: which wrong participants and coordinators are noticed by what.

python -m tests.conformance.mutants_page
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests import coordinator_mutants
from tests.conformance import participant_mutants

PAGE: Final = Path(__file__).parents[2] / "docs" / "mutants.md"

_HEAD: Final = """\
# Wrong programs that are noticed

A test of conformance is worth what it notices. So right programs are spoilt, one change at a time, and each wrong one
must be noticed. This page is made from the tables of these changes, which the tests try again.
"""
_PARTICIPANTS: Final = """\
## Participants

The tests hold a second participant, written from the [protocol](../proto/PROTOCOL.md) alone, to the
[vectors](vectors.md). Its syntax tree says what can be changed: each check is taken away, each bound is moved by one,
each part of a derivation is left out, each sign is turned.
**{noticed} of {wrong} wrong participants are noticed by a vector.**

| Changed in | Wrong participants | Vectors that notice them |
|---|---|---|
{rows}

`python -m tests.conformance.participant_mutants` tries all of them, and `tests/conformance/participant_mutants.json`
names the vector of each.
"""
_EQUIVALENT: Final = """\
### Changes that make no wrong participant

{count} more changes are no faults. After each reason stands how many there are.

{rows}
"""
_COORDINATORS: Final = """\
## Coordinators

Flaws are planted in our own coordinator, and a case of [`secagg conformance coordinator`](conformance.md#a-coordinator)
must fail then. There are {flaws} of them. `python -m tests.coordinator_mutants` plants each, and says whether its case
noticed; the tests plant some.

| Flaw | Planted in | Case that must fail |
|---|---|---|
{rows}
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, _participants(), _equivalent(), _coordinators()])


def _participants() -> str:
    known = participant_mutants.table()
    by_place: dict[str, list[str]] = {}
    for name, vector in known["noticed"].items():
        by_place.setdefault(_place(name), []).append(vector)
    rows = [f"| `{place}` | {len(found)} | {_listed(found)} |" for place, found in by_place.items()]
    noticed = len(known["noticed"])
    return _PARTICIPANTS.format(noticed=noticed, wrong=noticed + len(known["open"]), rows="\n".join(rows))


def _place(name: str) -> str:
    file, function, _ = name.split(": ", 2)
    return f"{file}.{function}"


def _listed(found: list[str]) -> str:
    """Each vector once, those that notice most first."""
    return ", ".join(f"`{name}`" for name in sorted(dict.fromkeys(found), key=lambda name: (-found.count(name), name)))


def _equivalent() -> str:
    reasons: Mapping[str, list[Any]] = participant_mutants.table()["equivalent"]
    rows = [f"- {reason[0].upper()}{reason[1:]}: {len(listed)}." for reason, listed in reasons.items()]
    return _EQUIVALENT.format(count=sum(map(len, reasons.values())), rows="\n".join(rows))


def _coordinators() -> str:
    return _COORDINATORS.format(flaws=len(coordinator_mutants.FLAWS), rows="\n".join(_flaws()))


def _flaws() -> Iterator[str]:
    for flaw in coordinator_mutants.FLAWS:
        yield f"| {flaw.name} | `{flaw.path}` | {flaw.case} |"


if __name__ == "__main__":
    PAGE.write_text(page())
