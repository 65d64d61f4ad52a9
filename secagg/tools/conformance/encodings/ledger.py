"""Vectors of a task's privacy ledger: what rounds cost, the entries that say so, and ledgers that are damaged."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from secagg.config import RoundConfig
from secagg.crypto import labels
from secagg.crypto.transcript import digest
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.privacy.charges import charge_of
from secagg.privacy.ledger import MAX_ENTRY_BYTES, Budget, Head, Ledger
from secagg.robust.grouping import Groups
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document
from secagg.wire.configuration import encode_config

TASK: Final = "ledger"
BUDGET: Final = Budget(epsilon=6.0, delta=1e-4)
_CLIPPED: Final = "clip(l2=1.0) | rotate | quantise"
_WITH_NOISE: Final = f"{_CLIPPED}(bits=12) | noise(law=skellam, z=6.0)"


def _config(
    text: str, *, task: str = TASK, groups: int = 0, people: int = 10, colluding: int = 2, receipt_only: bool = False
) -> RoundConfig:
    return RoundConfig(
        task=task,
        schema=Schema((ArraySpec("w", (10, 30)), ArraySpec("b", (10,), "float64"))),
        encoding=Pipeline.parse(text) if "|" in text else FixedPoint(1.0),
        max_participants=people,
        threshold=7,
        max_colluding=colluding,
        release_to_participants=not receipt_only,
        model_digest=fixtures.seed("model"),
        groups=Groups.parse(groups, "median") if groups else None,
    )


_CONFIGS: Final = {
    "skellam": _config(f"{_CLIPPED}(bits=12) | noise(law=skellam, z=6.0)"),
    "gaussian": _config(f"{_CLIPPED}(bits=12) | noise(law=gaussian, z=5.0)"),
    "coordinator": _config(f"{_CLIPPED}(bits=12) | noise(law=skellam, z=4.0, by=coordinator)"),
    "groups": _config(f"{_CLIPPED}(bits=12) | noise(law=skellam, z=8.0)", groups=5),
}
_STEPS: Final = (
    ("planned", "skellam", 0),
    ("released", "skellam", 10),
    ("planned", "gaussian", 0),
    ("planned", "coordinator", 0),
    ("released", "gaussian", 6),
    ("withdrawn", "coordinator", 0),
    ("planned", "groups", 0),
)
"""What happens: kind, round, survivors. With 6 survivors noise of 4 counts where that of 5 was planned."""

_CHARGED: Final = (
    ("skellam", f"{_CLIPPED}(bits=12) | noise(law=skellam, z=6.0)", 0),
    ("skellam in a narrow ring", f"{_CLIPPED}(bits=6) | noise(law=skellam, z=1.0)", 0),
    ("gaussian", f"{_CLIPPED}(bits=12) | noise(law=gaussian, z=5.0)", 8),
    ("gaussian, of little noise", f"{_CLIPPED}(bits=5) | noise(law=gaussian, z=0.4)", 0),
    ("gaussian, fewer survivors", f"{_CLIPPED}(bits=5) | noise(law=gaussian, z=0.3)", 5),
    ("by the coordinator", f"{_CLIPPED}(bits=12) | noise(law=gaussian, z=2.0, by=coordinator)", 3),
    ("nobody honest", f"{_CLIPPED}(bits=12) | noise(law=skellam, z=6.0)", 2),
)
"""Charges of their own: what is shown, pipeline, survivors."""

_FELLOWS: Final[tuple[tuple[str, int, dict[str, Any]], ...]] = (
    ("nobody colludes, and participants get the sum", 0, {"colluding": 0}),
    ("nobody colludes, and participants get the sum: fewer survivors", 5, {"colluding": 0}),
    ("nobody colludes, and participants get a receipt only", 0, {"colluding": 0, "receipt_only": True}),
    ("one colludes, and participants get the sum", 0, {"colluding": 1}),
    ("nobody colludes in groups, whose sums participants get", 0, {"colluding": 0, "groups": 5}),
)
"""Whose view it is: what is shown, survivors, the round's own."""

_REFUSED_PLANS: Final = (
    ("more than is left", "BudgetExceeded", _config(f"{_CLIPPED}(bits=12) | noise(law=skellam, z=0.5)")),
    ("no noise", "ConfigError", _config("")),
    ("another task's", "ConfigError", _config(f"{_CLIPPED}(bits=12) | noise(law=skellam, z=6.0)", task="another")),
    ("δ is not below 1/n", "ConfigError", _config(f"{_CLIPPED}(bits=24) | noise(law=skellam, z=64.0)", groups=1000)),
)


def _round_id(name: str) -> bytes:
    """Of a round of the vector: 16 bytes."""
    return fixtures.seed(f"round of a ledger, {name}")[:16]


def _ledger() -> Document:
    ledgers = [Ledger.open(TASK, BUDGET)]
    for kind, name, survivors in _STEPS:
        ledgers.append(_after(ledgers[-1], kind, name, survivors))
    happened: list[dict[str, Any]] = [{"kind": "opened"}]
    happened += [{"kind": kind, "round": name, "survivors": survivors} for kind, name, survivors in _STEPS]
    entries = [
        step | {"line": ledger.lines[-1].decode(), "head": _head(ledger.head), "epsilon": _rounded(ledger.epsilon)}
        for step, ledger in zip(happened, ledgers, strict=True)
    ]
    rounds = {name: {"round_id": _round_id(name), "config": encode_config(config)} for name, config in _CONFIGS.items()}
    return {
        "task": TASK,
        "epsilon": BUDGET.epsilon,
        "delta": BUDGET.delta,
        "rounds": rounds,
        "entries": entries,
        "charges": [_charge(shows, _config(text), survivors) for shows, text, survivors in _CHARGED]
        + [_charge(shows, _config(_WITH_NOISE, **changes), survivors) for shows, survivors, changes in _FELLOWS],
        "plans_refused": [
            {"why": why, "expect": expect, "config": encode_config(config)} for why, expect, config in _REFUSED_PLANS
        ],
        "refused": list(_refused(ledgers[-1])),
    }


def _after(ledger: Ledger, kind: str, name: str, survivors: int) -> Ledger:
    match kind:
        case "planned":
            return ledger.plan(_round_id(name), _CONFIGS[name])
        case "released":
            return ledger.release(_round_id(name), _CONFIGS[name], survivors)
    return ledger.withdraw(_round_id(name))


def _head(head: Head) -> dict[str, Any]:
    return {"entries": head.entries, "digest": head.digest}


def _rounded(value: float) -> str:
    """Logarithms and exponentials differ from machine to machine in their last digits; these do not."""
    return f"{value:.10e}"


def _charge(shows: str, config: RoundConfig, survivors: int) -> dict[str, Any]:
    made = charge_of(config, survivors)
    return {
        "shows": shows,
        "config": encode_config(config),
        "survivors": survivors,
        "view": made.view.value,
        "honest": made.honest,
        "colluding": made.colluding,
        "curve": [_rounded(cost) for cost in made.curve],
        "distance": _rounded(made.distance),
    }


def _refused(ledger: Ledger) -> Iterator[dict[str, Any]]:
    yield from _cut_and_changed(ledger)
    yield from _rolled_back(ledger)
    yield from _forged(ledger)


def _case(
    change: str, lines: list[int | str], head: Head | None, *, task: str = TASK, seen: Head | None = None
) -> dict[str, Any]:
    """A ledger that is refused.

    Args:
        change: what is wrong.
        lines: numbers of entries of the whole ledger, or an entry that it does not have.
        head: kept beside them.
        task: whose ledger is asked for.
        seen: an older head that somebody kept, if only that shows it.
    """
    made = {"change": change, "task": task, "lines": lines, "head": None if head is None else _head(head)}
    return made | ({} if seen is None else {"seen": _head(seen)})


def _cut_and_changed(ledger: Ledger) -> Iterator[dict[str, Any]]:
    whole: list[int | str] = list(range(1, len(ledger.lines) + 1))
    changed = [line.decode().replace('"colluding":2', '"colluding":1') for line in ledger.lines]
    yield _case("a byte of an entry was changed", [*whole[:2], changed[2], *whole[3:]], ledger.head)
    yield _case("a byte of the last entry was changed", [*whole[:-1], changed[-1]], ledger.head)
    yield _case("an entry is missing", [*whole[:4], *whole[5:]], ledger.head)
    yield _case("two entries changed places", [1, 2, 4, 3, *whole[4:]], ledger.head)
    yield _case("the first entry is missing", whole[1:], ledger.head)
    yield _case("no entries are left", [], ledger.head)
    yield _case("the head is gone", whole, None)
    yield _case("it is asked for another task's", whole, ledger.head, task="another")


def _rolled_back(ledger: Ledger) -> Iterator[dict[str, Any]]:
    whole: list[int | str] = list(range(1, len(ledger.lines) + 1))
    earlier = Head(4, _digest(ledger.lines[3]))
    yield _case("the last entry is missing", whole[:-1], ledger.head)
    yield _case("it goes on behind its head", whole, earlier)
    yield _case("rolled back with its head", whole[:4], earlier, seen=ledger.head)
    other = _after(Ledger.load(TASK, ledger.lines[:4], earlier), "withdrawn", "gaussian", 0)
    branch = other.lines[-1].decode()
    seen = Head(5, _digest(ledger.lines[4]))
    yield _case("it took another way since", [*whole[:4], branch], other.head, seen=seen)


def _forged(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Entries that follow in number and digest and are none all the same."""
    opened, planned, released = (json.loads(line) for line in (ledger.lines[0], ledger.lines[1], ledger.lines[2]))
    costs = planned["curve"]
    first: dict[str, Mapping[str, Any]] = {
        "the version of the first entry is unknown": {"version": 2},
        "the first entry opens nothing": {"kind": "planned"},
        "a budget of ε = 0": {"epsilon": (0.0).hex()},
        "a budget of δ = 1": {"delta": (1.0).hex()},
        "a budget that is no number": {"epsilon": ""},
    }
    for change, instead in first.items():
        yield _faulty(change, [], opened | instead)
    second: dict[str, Mapping[str, Any]] = {
        "the version is unknown": {"version": 2},
        "the number is not the next": {"number": 3},
        "the ledger is opened again": {"kind": "opened"},
        "it names no round": {"round": "00"},
        "a cost below 0": {"curve": [*costs[:-1], (-1.0).hex()]},
        "a cost that is no number": {"curve": [*costs[:-1], "nan"]},
        "a cost is missing": {"curve": costs[:-1]},
        "a distance of 1": {"distance": (1.0).hex()},
        "no pipeline": {"pipeline": "noise"},
        "no charge": {"honest": None},
        "a view that nobody has": {"view": "everybody"},
        "released, but not planned": {"kind": "released"},
        "withdrawn, but not planned": {"kind": "withdrawn"},
        "too long": {"comment": "x" * (MAX_ENTRY_BYTES + 1 - len(ledger.lines[1]) - len('"comment":"",'))},
    }
    for change, instead in second.items():
        yield _faulty(change, [1], planned | instead)
    yield _faulty("the kind is unknown", [1, 2], released | {"kind": "charged"})
    yield _faulty("planned twice", [1, 2], released | {"kind": "planned"})
    yield _faulty("released twice", [1, 2, 3], released | _link(ledger, 3))
    withdrawn = {"kind": "withdrawn", "round": released["round"], "version": 1}
    yield _faulty("withdrawn after it was released", [1, 2, 3], withdrawn | _link(ledger, 3))


def _link(ledger: Ledger, entries: int) -> dict[str, Any]:
    return {"number": entries + 1, "previous": _digest(ledger.lines[entries - 1]).hex()}


def _faulty(change: str, before: list[int | str], body: Mapping[str, Any]) -> dict[str, Any]:
    line = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return _case(change, [*before, line], Head(len(before) + 1, _digest(line.encode())))


def _digest(line: bytes) -> bytes:
    return digest(labels.LEDGER_ENTRY, line)


VECTORS: Contents = {
    "privacy-ledger": ("A task's ledger, what its rounds cost, and ledgers that are damaged", "Ledger", _ledger)
}
