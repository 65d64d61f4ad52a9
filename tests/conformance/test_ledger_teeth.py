"""The ledger's vector, spoiled, and checks of ledgers removed one at a time: both are noticed."""

from collections.abc import Callable
from typing import Any

import pytest

from secagg.errors import ConfigError, LedgerError
from secagg.privacy import ledger
from secagg.privacy.ledger import Ledger
from secagg.tools.conformance import vectors
from secagg.tools.redteam.self_test.patches import without_check
from tests.conformance.ledger_code import privacy_ledger as by_code
from tests.conformance.ledger_reference import Damaged
from tests.conformance.ledger_specification import privacy_ledger as by_specification

Vector = dict[str, Any]
NOTICED = (
    AssertionError,
    LedgerError,
    ConfigError,
    Damaged,
    ValueError,
    KeyError,
    AttributeError,
    pytest.fail.Exception,
)

# Values by their paths: keys, and numbers in lists.
SPOILED: list[tuple[Any, ...]] = [
    ("task",),
    ("epsilon",),
    ("rounds", "gaussian", "round_id"),
    ("entries", 1, "line"),
    ("entries", 6, "line"),
    ("entries", 7, "head", "digest"),
    ("entries", 7, "head", "entries"),
    ("entries", 5, "survivors"),
    ("entries", 5, "epsilon"),
    ("charges", 0, "honest"),
    ("charges", 2, "colluding"),
    ("charges", 1, "curve", 93),
    ("charges", 3, "curve", 0),
    ("charges", 4, "distance"),
    ("charges", 4, "survivors"),
]


@pytest.mark.parametrize("path", SPOILED, ids=lambda path: "/".join(map(str, path)))
@pytest.mark.parametrize("reader", [by_code, by_specification])
def test_a_spoiled_value_is_noticed(reader: Callable[[Vector], None], path: tuple[Any, ...]) -> None:
    vector = vectors.load("privacy-ledger")
    *way, last = path
    holder: Any = vector
    for key in way:
        holder = holder[key]
    holder[last] = spoiled(holder[last])
    with pytest.raises(NOTICED):
        reader(vector)


def spoiled(value: Any) -> Any:
    """The eighth character changed, or one more."""
    if not isinstance(value, str):
        return value + 1
    at = min(7, len(value) - 1)
    return value[:at] + ("1" if value[at] != "1" else "2") + value[at + 1 :]


@pytest.mark.parametrize("reader", [by_code, by_specification])
def test_a_whole_ledger_among_the_damaged_is_noticed(reader: Callable[[Vector], None]) -> None:
    vector = vectors.load("privacy-ledger")
    whole = list(range(1, len(vector["entries"]) + 1))
    told = {"change": "none", "task": vector["task"], "lines": whole, "head": vector["entries"][-1]["head"]}
    vector["refused"].append(told)
    with pytest.raises(NOTICED):
        reader(vector)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("reader", [by_code, by_specification])
def test_a_plan_that_fits_among_the_refused_is_noticed(reader: Callable[[Vector], None], number: int) -> None:
    vector = vectors.load("privacy-ledger")
    vector["plans_refused"][number]["config"] = vector["rounds"]["groups"]["config"]
    with pytest.raises(NOTICED):
        reader(vector)


# Owner, function and the name that marks the check there.
CHECKS: list[tuple[Any, str, str]] = [
    (Ledger, "load", "ledger-gone"),
    (Ledger, "load", "beyond-the-head"),
    (Ledger, "check_head", "rolled-back"),
    (Ledger, "check_head", "another-head"),
    (Ledger, "plan", "epsilon"),
    (Ledger, "plan", "delta"),
    (Ledger, "plan", "another-task"),
    (Ledger, "_replayed", "round-name"),
    (Ledger, "_replayed", "kind"),
    (Ledger, "_replayed", "order-of-entries"),
    (ledger, "_read", "version"),
    (ledger, "_read", "hash-chain"),
    (ledger, "_opened", "opened-for-task"),
    (ledger, "from_json", "no-charge"),
]


@pytest.mark.parametrize(("owner", "function", "check"), CHECKS, ids=[case[2] for case in CHECKS])
def test_the_vector_notices_that_a_check_is_gone(
    owner: Any, function: str, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_check(monkeypatch, owner, function, check)
    with pytest.raises((*NOTICED, TypeError, IndexError)):
        by_code(vectors.load("privacy-ledger"))
    monkeypatch.undo()
    by_code(vectors.load("privacy-ledger"))
