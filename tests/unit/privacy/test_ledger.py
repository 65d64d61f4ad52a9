"""The privacy ledger: budgets are kept, and whatever happens to it is found and named."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.config import RoundConfig, ThreatModel
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.errors import BudgetExceeded, ConfigError, LedgerError
from secagg.privacy.ledger import Budget, Head, Ledger, LedgerBook
from tests.rounds import flat_schema

TASK = "digits"


def config_of(z: float = 4.0, **changes: object) -> RoundConfig:
    config = RoundConfig(
        task=TASK,
        schema=flat_schema(650),
        encoding=Pipeline.parse(f"clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z={z!r})"),
        max_participants=20,
        threshold=14,
        max_colluding=4,
        model_digest=bytes(32),
        threat_model=ThreatModel.ACTIVE,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


CONFIG = config_of()


def round_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def filled(rounds: int = 3) -> Ledger:
    ledger = Ledger.open(TASK, Budget())
    for number in range(rounds):
        ledger = ledger.plan(round_id(number), CONFIG).release(round_id(number), CONFIG, 18)
    return ledger


@dataclass
class Kept:
    """A store in memory."""

    lines: dict[str, list[bytes]] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)

    def read(self, task: str) -> tuple[Sequence[bytes], Head | None]:
        return self.lines.get(task, []), self.heads.get(task)

    def append(self, task: str, entry: bytes, head: Head) -> None:
        self.lines.setdefault(task, []).append(entry)
        self.heads[task] = head


def test_rounds_add_up_and_the_one_too_many_is_refused_before_it_starts() -> None:
    ledger, spent = Ledger.open(TASK, Budget()), [0.0]
    assert ledger.epsilon == 0
    affordable = 5
    for number in range(affordable):
        ledger = ledger.plan(round_id(number), CONFIG)
        spent.append(ledger.epsilon)
        ledger = ledger.release(round_id(number), CONFIG, 20)
    with pytest.raises(BudgetExceeded, match=r"would bring task 'digits' to ε = 2\.\d+ of 2\.5") as refusal:
        ledger.plan(round_id(affordable), CONFIG)
    assert spent == sorted(spent)
    assert spent[-1] <= 2.5
    assert f"spent so far: {spent[-1]:.4g}" in str(refusal.value)
    # Composition is below the sum of the parts, and the same as that of one longer round.
    assert spent[-1] < (len(spent) - 1) * spent[1]


def test_a_planned_round_counts_until_it_is_withdrawn() -> None:
    ledger = filled()
    planned = ledger.plan(round_id(9), CONFIG)
    assert planned.epsilon > ledger.epsilon
    assert planned.withdraw(round_id(9)).epsilon == ledger.epsilon
    reloaded = Ledger.load(TASK, planned.lines, planned.head)
    assert reloaded.epsilon == planned.epsilon


def test_fewer_survivors_than_guaranteed_cost_more_and_more_cost_the_same() -> None:
    planned = filled().plan(round_id(9), CONFIG)
    costs = {survivors: planned.release(round_id(9), CONFIG, survivors).epsilon for survivors in (20, 14, 13, 9, 5)}
    assert costs[20] == costs[14] == planned.epsilon
    assert costs[14] < costs[13] < costs[9] < costs[5]
    charge = planned.release(round_id(9), CONFIG, 9).charges[round_id(9).hex()]
    assert (charge.honest, charge.survivors) == (5, 9)


def test_a_sum_without_honest_noise_spends_everything() -> None:
    ledger = filled().plan(round_id(9), CONFIG).release(round_id(9), CONFIG, 4)
    assert ledger.epsilon == math.inf
    with pytest.raises(BudgetExceeded):
        ledger.plan(round_id(10), CONFIG)
    assert Ledger.load(TASK, ledger.lines, ledger.head).epsilon == math.inf


def test_rounds_without_noise_or_of_another_task_have_no_place() -> None:
    ledger = Ledger.open(TASK, Budget())
    with pytest.raises(ConfigError, match="give its rounds a pipeline with noise"):
        ledger.plan(round_id(0), replace(CONFIG, encoding=FixedPoint(1.0)))
    with pytest.raises(ConfigError, match="does not belong"):
        ledger.plan(round_id(0), replace(CONFIG, task="other"))
    with pytest.raises(ConfigError, match="below 1/n"):
        Ledger.open(TASK, Budget(2.5, 0.05)).plan(round_id(0), CONFIG)


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0, 1e-5), (-1, 1e-5), (math.nan, 1e-5), (math.inf, 1e-5), (1, 0), (1, 1)]
)
def test_budgets_that_mean_nothing(epsilon: float, delta: float) -> None:
    with pytest.raises(ConfigError, match="must be"):
        Budget(epsilon, delta)


def test_a_round_goes_through_the_ledger_once() -> None:
    ledger = filled(1)
    attempts: list[Callable[[], Ledger]] = [
        lambda: ledger.plan(round_id(0), CONFIG),
        lambda: ledger.release(round_id(0), CONFIG, 14),
        lambda: ledger.withdraw(round_id(0)),
        lambda: ledger.release(round_id(5), CONFIG, 14),
        lambda: ledger.withdraw(round_id(5)),
        lambda: ledger.plan(round_id(5), CONFIG).plan(round_id(5), CONFIG),
    ]
    for attempt in attempts:
        with pytest.raises(LedgerError, match="cannot be"):
            attempt()


def test_what_is_read_is_what_was_written() -> None:
    ledger = filled().plan(round_id(9), CONFIG)
    again = Ledger.load(TASK, ledger.lines, ledger.head)
    assert again == ledger
    assert [json.loads(line)["number"] for line in ledger.lines] == list(range(1, 9))


@given(st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    ledger = FILLED
    lines = list(ledger.lines)
    which = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[which]) - 1))
    changed = bytearray(lines[which])
    changed[at] ^= data.draw(st.integers(1, 255))
    lines[which] = bytes(changed)
    with pytest.raises(LedgerError, match=TASK):
        Ledger.load(TASK, lines, ledger.head)


FILLED = filled()


@given(st.lists(st.one_of(st.binary(max_size=200), st.sampled_from(FILLED.lines)), max_size=6))
def test_any_entries_are_a_ledger_or_refused(lines: list[bytes]) -> None:
    try:
        ledger = Ledger.load(TASK, lines, FILLED.head)
    except LedgerError:
        return
    assert ledger.lines == FILLED.lines


@pytest.mark.parametrize("keep", range(1, 7))
def test_a_shortened_ledger_was_rolled_back(keep: int) -> None:
    with pytest.raises(LedgerError, match=f"rolled back: {keep} entries where there were 7"):
        Ledger.load(TASK, FILLED.lines[:keep], FILLED.head)


def test_reordered_missing_and_foreign_entries() -> None:
    lines = FILLED.lines
    for wrong in ((lines[0], *lines[3:]), (lines[0], lines[3], lines[4], *lines[1:3], *lines[5:]), lines[1:]):
        with pytest.raises(LedgerError, match="corrupt"):
            Ledger.load(TASK, wrong, FILLED.head)
    with pytest.raises(LedgerError, match="does not open this task"):
        Ledger.load("other", lines, FILLED.head)
    for gone in ((), lines):
        with pytest.raises(LedgerError, match="is gone"):
            Ledger.load(TASK, gone, None if gone else FILLED.head)


def spelt(**changes: object) -> bytes:
    """The first planned entry with other values."""
    body = json.loads(FILLED.lines[1]) | changes
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (FILLED.lines[1].replace(b",", b", ", 1), "keys sorted, no spaces"),
        (json.dumps(dict(reversed(json.loads(FILLED.lines[1]).items()))).encode(), "keys sorted, no spaces"),
        (spelt(honest="10"), "holds no charge"),
        (spelt(survivors=-1), "holds no charge"),
        (spelt(colluding=True), "holds no charge"),
        (spelt(honest=10.0), "holds no charge"),
    ],
)
def test_an_entry_has_one_spelling(line: bytes, said: str) -> None:
    with pytest.raises(LedgerError, match=said):
        Ledger.load(TASK, [FILLED.lines[0], line], FILLED.head)


def test_a_ledger_rewritten_together_with_its_head_is_told_by_whoever_saw_the_old_one() -> None:
    """A store that is rolled back as a whole is consistent in itself: only a head kept elsewhere shows it."""
    seen = FILLED.head
    restored = filled(1)
    Ledger.load(TASK, restored.lines, restored.head)
    with pytest.raises(LedgerError, match="rolled back"):
        restored.check_head(seen)
    other = filled(1)
    for number in (7, 8, 9):
        other = other.plan(round_id(number), CONFIG).withdraw(round_id(number))
    with pytest.raises(LedgerError, match="not the one that was seen"):
        other.check_head(seen)
    FILLED.plan(round_id(9), CONFIG).check_head(seen)


def test_a_changed_digest_goes_unnoticed_without_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: with digests that never differ, a cheaper charge slips in."""
    lines = list(FILLED.lines)
    body = json.loads(lines[1])
    body["curve"] = [(0.0).hex()] * len(body["curve"])
    lines[1] = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    lines[2] = lines[2].replace(b'"kind":"released"', b'"kind":"withdrawn"')
    with pytest.raises(LedgerError):
        Ledger.load(TASK, lines, FILLED.head)
    monkeypatch.setattr("secagg.privacy.ledger._digest", lambda _line: bytes(32))
    same = [line.replace(json.loads(line)["previous"].encode(), b"0" * 64) for line in lines]
    forged = Ledger.load(TASK, same, Head(7, bytes(32)))
    assert forged.epsilon < FILLED.epsilon


def test_a_book_keeps_what_was_planned_before_anyone_acts() -> None:
    store = Kept()
    book = LedgerBook(store)
    ledger = book.open(TASK, Budget()).plan(round_id(0), CONFIG)
    book.keep(ledger)
    assert LedgerBook(store).open(TASK, Budget()) == ledger
    with pytest.raises(LedgerError, match="has the budget"):
        book.open(TASK, Budget(5.0))


def test_a_corrupt_or_rolled_back_ledger_stops_the_task_by_name() -> None:
    store = Kept()
    book = LedgerBook(store)
    book.keep(book.open(TASK, Budget()).plan(round_id(0), CONFIG))
    store.lines[TASK].pop()
    with pytest.raises(LedgerError, match="ledger of task 'digits' was rolled back"):
        book.open(TASK, Budget())
    store.lines[TASK] = [b"{}"]
    with pytest.raises(LedgerError, match="ledger of task 'digits' is corrupt"):
        book.open(TASK, Budget())
    store.lines[TASK] = []
    with pytest.raises(LedgerError, match="is gone"):
        book.open(TASK, Budget())
