"""The reader that holds the ledger's vector to `ledger_reference.py`, which knows nothing of secagg."""

import json
import math
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import pytest

from secagg.wire.v1 import config_pb2
from tests.conformance import ledger_reference as ref
from tests.conformance.ledger_reference import Charge, Damaged, Head, Ledger, Plan, Unaffordable, Unfit

Vector = dict[str, Any]
unhex = bytes.fromhex

ROUNDED, HEXADECIMAL = 1e-9, 1e-12
"""How far numbers that are stated in decimals, and those in entries, may be from one's own, relatively."""


def privacy_ledger(vector: Vector) -> None:
    _check_entries(vector)
    for case in vector["charges"]:
        _check_charge(case)
    ledger = ref.load(
        vector["task"], _lines(vector, range(1, len(vector["entries"]) + 1)), _head(vector["entries"][-1])
    )
    for case in vector["plans_refused"]:
        with pytest.raises(Unaffordable if case["expect"] == "BudgetExceeded" else Unfit):
            ledger.planned(_plan(unhex(case["config"]), vector["task"]))
    for case in vector["refused"]:
        with pytest.raises(Damaged):
            _read(vector, case)


def _plan(config_bytes: bytes, task: str) -> Plan:
    config = config_pb2.RoundConfig.FromString(config_bytes)
    if config.task != task or "noise(" not in config.pipeline:
        raise Unfit
    sizes = [math.prod(array.shape) for array in config.arrays]
    people, groups = config.max_participants, config.groups.count or 1
    return Plan(
        config.pipeline, sizes, people, config.threshold, config.max_colluding, groups, config.release_to_participants
    )


def _check_entries(vector: Vector) -> None:
    ledger: Ledger | None = None
    for entry in vector["entries"]:
        [line] = _lines(vector, [len(ledger.lines) + 1 if ledger else 1])
        assert line.decode() == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"))
        assert json.loads(line)["kind"] == entry["kind"]
        if ledger is None:
            ledger = ref.load(vector["task"], [line], _head(entry))
            assert (ledger.epsilon, ledger.delta) == (vector["epsilon"], vector["delta"])
        else:
            _check_round(vector, ledger, entry, line)
        assert ledger.head == _head(entry)
        assert math.isclose(ledger.spent, float(entry["epsilon"]), rel_tol=ROUNDED)


def _check_round(vector: Vector, ledger: Ledger, entry: Vector, line: bytes) -> None:
    stated = vector["rounds"][entry["round"]]
    plan = _plan(unhex(stated["config"]), vector["task"])
    if entry["kind"] == "planned":
        assert math.isclose(ledger.planned(plan), float(entry["epsilon"]), rel_tol=ROUNDED)
    ledger.take(line)
    assert json.loads(line)["round"] == stated["round_id"]
    if entry["kind"] == "withdrawn":
        assert stated["round_id"] not in ledger.charges
    else:
        _check_same(ledger.charges[stated["round_id"]], plan.charge(entry["survivors"]), HEXADECIMAL)


def _check_same(stated: Charge, made: Charge, tolerance: float) -> None:
    assert astuple(stated)[:5] == astuple(made)[:5]
    assert stated.curve == pytest.approx(made.curve, rel=tolerance, abs=0)
    assert stated.distance == pytest.approx(made.distance, rel=tolerance, abs=0)


def _check_charge(case: Vector) -> None:
    config = config_pb2.RoundConfig.FromString(unhex(case["config"]))
    curve, distance = [float(cost) for cost in case["curve"]], float(case["distance"])
    whose = (case["view"], case["honest"], case["colluding"], case["survivors"])
    stated = Charge(config.pipeline, *whose, curve, distance)
    _check_same(stated, _plan(unhex(case["config"]), config.task).charge(case["survivors"]), ROUNDED)


def _read(vector: Vector, case: Vector) -> None:
    head = None if case["head"] is None else _head(case)
    ledger = ref.load(case["task"], _lines(vector, case["lines"]), head)
    if "seen" in case:
        ledger.continues(_head({"head": case["seen"]}))


def _lines(vector: Vector, stated: Any) -> list[bytes]:
    """Entries by their numbers, or as they stand."""
    entries = vector["entries"]
    return [(line if isinstance(line, str) else entries[line - 1]["line"]).encode() for line in stated]


def _head(holder: Vector) -> Head:
    return holder["head"]["entries"], holder["head"]["digest"]


READERS: dict[str, Callable[[Vector], None]] = {"privacy-ledger": privacy_ledger}
