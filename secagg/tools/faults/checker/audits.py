"""What the coordinator's audit log must say of a history, from section 23 of PROTOCOL alone.

Signatures are not checked here: a machine that fails forges none.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from secagg.tools.faults.checker.seen import Round, Seen, framed_digest
from secagg.tools.faults.history import Fault

_LABEL: Final = b"secagg/v1/audit-entry"
_ONCE: Final = ("round_opened", "groups_opened", "sum_released", "groups_combined")
"""Kinds that a round has once."""

Entry = dict[str, Any]


def broken(log: bytes, seen: Seen) -> Iterator[tuple[bytes, str]]:
    """What is wrong with a log: the round that it is about, or nothing, and a sentence.

    Args:
        log: its files, one behind the other, once nothing was written any more.
        seen: what was seen from outside.
    """
    entries: list[Entry] = []
    previous = bytes(32)
    *lines, rest = log.split(b"\n")
    if rest:
        yield b"", f"the audit log ends with {len(rest)} bytes that are no line"
    for number, line in enumerate(lines, start=1):
        entry = _read(line)
        if (entry.get("number"), entry.get("previous")) != (number, previous.hex()):
            if Fault.BIT_ROT not in seen.faults:  # else the disk changed it, and whoever verifies the log is told so
                yield b"", f"line {number} of the audit log does not follow from the one before"
            return
        previous = framed_digest(_LABEL, line)
        entries.append(entry)
    of_round: dict[str, list[Entry]] = {}
    for entry in entries:
        if "round" in entry:
            of_round.setdefault(entry["round"], []).append(entry)
    for known in seen.rounds.values():
        for facts in _of_a_round(known, of_round.get(known.round_id.hex(), [])):
            yield known.round_id, facts


def _read(line: bytes) -> Entry:
    """The entry; an empty one if the line is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _of_a_round(known: Round, entries: Sequence[Entry]) -> Iterator[str]:
    kinds = Counter(entry["kind"] for entry in entries)
    if known.opened is not None and not kinds["round_opened"] + kinds["groups_opened"]:
        yield "it was opened, and the audit log does not say so"
    yield from (f"{kinds[kind]} entries of the audit log say {kind}" for kind in _ONCE if kinds[kind] > 1)
    same = Counter(json.dumps(_plain(entry), sort_keys=True) for entry in entries if "step" in entry)
    yield from (f"an entry is in the audit log {count} times: {text}" for text, count in same.items() if count > 1)
    steps = [entry["step"] for entry in entries if "step" in entry]
    if steps != sorted(steps):
        yield f"its entries are not in order: {steps}"
    fetched = [shown for shown in known.sums if shown.value]
    if not fetched or known.parent:
        return
    if not kinds["sum_released"] + kinds["groups_combined"]:
        yield "its sum was given away, and the audit log does not say that it was released"
    if not kinds["sum_given"]:
        yield "its sum was given away, and the audit log does not say to whom"
    released = [entry for entry in entries if entry["kind"] == "sum_released"]
    if released and known.survivors is not None and set(released[0]["survivors"]) != known.survivors:
        yield f"its sum is of {sorted(known.survivors)}, and the audit log says {released[0]['survivors']}"


def _plain(entry: Entry) -> Entry:
    return {name: value for name, value in entry.items() if name not in {"number", "previous"}}
