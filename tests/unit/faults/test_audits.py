"""The judge of histories notices what is missing in an audit log, what is there twice, and what is said of others."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest

from secagg.audit import entries
from secagg.audit.entries import BEGINNING, Entry
from secagg.tools.faults import world
from secagg.tools.faults.checker import audits
from secagg.tools.faults.checker.seen import Seen, read
from secagg.tools.faults.history import Fault

Change = Callable[[list[Entry]], list[Entry]]


@cache
def _played() -> tuple[bytes, Seen]:
    """A history with an audit log, and a sum of one cohort that somebody fetched."""
    with world.playing():
        for seed in range(60):
            _, history = world.play(seed)
            if history.audit is None:
                continue
            seen = read(history)
            if any(
                known.sums and not known.parent and _released(history.audit, known.round_id)
                for known in seen.rounds.values()
            ):
                return history.audit, seen
    raise AssertionError("no history has a sum")


def _released(log: bytes, round_id: bytes) -> bool:
    return any(e.kind == "sum_released" and e.round_id == round_id.hex() for e in _entries(log))


def _entries(log: bytes) -> Iterator[Entry]:
    return (entries.read(line) for line in log.removesuffix(b"\n").split(b"\n"))


def _changed(log: bytes, change: Change) -> bytes:
    """The log as a coordinator would have written it, had it written something else."""
    lines, last = [], BEGINNING
    for entry in change(list(_entries(log))):
        line, last = entries.write(entry.kind, entry.at_ms, entry.facts, last)
        lines.append(line + b"\n")
    return b"".join(lines)


def _without(kind: str) -> Change:
    return lambda log: [entry for entry in log if entry.kind != kind]


def _twice(kind: str) -> Change:
    def change(log: list[Entry]) -> list[Entry]:
        at = next(at for at, entry in enumerate(log) if entry.kind == kind)
        return [*log[: at + 1], *log[at:]]

    return change


def _of_others(log: list[Entry]) -> list[Entry]:
    return [replace(e, facts={**e.facts, "survivors": ["x"]}) if e.kind == "sum_released" else e for e in log]


def test_the_log_of_a_history_is_as_it_must_be() -> None:
    log, seen = _played()
    assert list(audits.broken(log, seen)) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_without("round_opened"), "was opened, and the audit log does not say so"),
        (_without("sum_released"), "does not say that it was released"),
        (_without("sum_given"), "does not say to whom"),
        (_twice("sum_released"), "2 entries of the audit log say sum_released"),
        (_twice("joined"), "is in the audit log 2 times"),
        (_of_others, "and the audit log says ['x']"),
        (lambda log: log[::-1], "are not in order"),
    ],
)
def test_what_is_wrong_with_a_log_is_found(change: Change, what: str) -> None:
    log, seen = _played()
    assert any(what in facts for _, facts in audits.broken(_changed(log, change), seen))


def test_a_broken_chain_is_found() -> None:
    log, seen = _played()
    assert any("does not follow" in facts for _, facts in audits.broken(log.replace(b"joined", b"jailed", 1), seen))
    assert any("no line" in facts for _, facts in audits.broken(log[:-1], seen))


def test_a_line_that_the_disk_changed_is_no_fault_of_the_coordinator() -> None:
    log, seen = _played()
    torn = log.replace(b'"joined"', b'"joined\0', 1)
    assert any("does not follow" in facts for _, facts in audits.broken(torn, seen))
    assert not list(audits.broken(torn, replace(seen, faults={Fault.BIT_ROT})))
