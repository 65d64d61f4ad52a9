"""The reader that holds the ledger's vector to the real code."""

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

import pytest

from secagg.config import RoundConfig
from secagg.errors import LedgerError, SecAggError
from secagg.privacy.charges import charge_of
from secagg.privacy.ledger import Budget, Head, Ledger
from secagg.wire.configuration import decode_config

Vector = dict[str, Any]
unhex = bytes.fromhex

ROUNDED = 1e-9
"""How far numbers that are stated in decimals may be from what is computed, relatively."""


def privacy_ledger(vector: Vector) -> None:
    ledger = _entries(vector)
    lines, head = _lines(vector, range(1, len(vector["entries"]) + 1)), _head(vector["entries"][-1]["head"])
    assert Ledger.load(vector["task"], lines, head) == ledger
    for case in vector["charges"]:
        _check_charge(case)
    for case in vector["plans_refused"]:
        with pytest.raises(SecAggError) as caught:
            ledger.plan(bytes(16), decode_config(unhex(case["config"])))
        assert type(caught.value).__name__ == case["expect"], case["why"]
    for case in vector["refused"]:
        with pytest.raises(LedgerError):
            _read(vector, case)


def _entries(vector: Vector) -> Ledger:
    """The ledger made anew, byte for byte."""
    ledger = Ledger.open(vector["task"], Budget(vector["epsilon"], vector["delta"]))
    for entry in vector["entries"]:
        if entry["kind"] != "opened":
            stated = vector["rounds"][entry["round"]]
            config = decode_config(unhex(stated["config"]))
            ledger = _after(ledger, entry, unhex(stated["round_id"]), config)
        assert ledger.lines[-1] == entry["line"].encode()
        assert ledger.head == _head(entry["head"])
        assert ledger.epsilon == pytest.approx(float(entry["epsilon"]), rel=ROUNDED, abs=0)
    return ledger


def _after(ledger: Ledger, entry: Vector, round_id: bytes, config: RoundConfig) -> Ledger:
    match entry["kind"]:
        case "planned":
            return ledger.plan(round_id, config)
        case "released":
            return ledger.release(round_id, config, entry["survivors"])
    return ledger.withdraw(round_id)


def _check_charge(case: Vector) -> None:
    made = charge_of(decode_config(unhex(case["config"])), case["survivors"])
    assert (made.honest, made.colluding, made.survivors) == (case["honest"], case["colluding"], case["survivors"])
    assert made.view.value == case["view"]
    assert made.curve == pytest.approx([float(cost) for cost in case["curve"]], rel=ROUNDED, abs=0)
    assert made.distance == pytest.approx(float(case["distance"]), rel=ROUNDED, abs=0)
    assert (made.curve[0] == inf) == (made.honest == 0)


def _read(vector: Vector, case: Vector) -> None:
    head = None if case["head"] is None else _head(case["head"])
    ledger = Ledger.load(case["task"], _lines(vector, case["lines"]), head)
    if "seen" in case:
        ledger.check_head(_head(case["seen"]))


def _lines(vector: Vector, stated: Iterable[int | str]) -> list[bytes]:
    """Entries by their numbers, or as they stand."""
    entries = vector["entries"]
    return [(line if isinstance(line, str) else entries[line - 1]["line"]).encode() for line in stated]


def _head(stated: Vector) -> Head:
    return Head(stated["entries"], unhex(stated["digest"]))


READERS: dict[str, Callable[[Vector], None]] = {"privacy-ledger": privacy_ledger}
