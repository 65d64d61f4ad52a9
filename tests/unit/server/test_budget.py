"""Rounds and their ledger: planned before anyone hears of a round, charged before anyone hears of a sum."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from secagg_server.observability.observer import Observer
from secagg_server.rounds.grouped import GroupedRound
from secagg_server.rounds.registry import Rounds
from secagg_server.storage.memory import MemoryStore
from secagg_server.storage.records import Outcome, Released, Withheld
from structlog.testing import capture_logs

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.rng import SystemRng
from secagg.encoding.fixedpoint import FixedPoint
from secagg.errors import AbortReason, BudgetExceeded, ConfigError, LedgerError, RoundAborted, UnknownRoundError
from secagg.masked.ranges import one_after_the_other
from secagg.messages import Phase
from secagg.privacy.charges import epsilon_spent
from secagg.privacy.ledger import Budget, Head, Ledger
from secagg.programs.ledgers.budgets import OPENED_IN, Budgets, Charge
from secagg.programs.ledgers.files import locked
from secagg.programs.ledgers.memory import MemoryLedgers
from secagg.robust.grouping import Groups
from secagg.wire.configuration import encode_config
from tests.rounds import deployment
from tests.serving import NAMES, PATIENCE_S, ROOMY, make_settings, site
from tests.unit.privacy.test_ledger import CONFIG, TASK, config_of, round_id

PLAIN = replace(CONFIG, encoding=FixedPoint(1.0))
ABORTED = RoundAborted(AbortReason.CANCELLED, "x")
SURVIVORS = tuple(f"p{i:02}" for i in range(18))


class FullDisk(MemoryLedgers):
    """Ledgers on a disk that can fill up."""

    full = False

    def append(self, task: str, entry: bytes, head: Head) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().append(task, entry, head)


def number(value: int) -> RoundId:
    return RoundId(round_id(value))


def plan(budgets: Budgets, value: int, config: RoundConfig = CONFIG) -> Charge:
    charge = budgets.plan(number(value), config)
    assert charge is not None
    return charge


def budgets_of(store: MemoryLedgers, **own: Budget) -> Budgets:
    return Budgets(store, Budget(), own, structlog.get_logger())


def affordable() -> int:
    """Rounds of `CONFIG` that the default budget pays for."""
    ledger, count = Ledger.open(TASK, Budget()), 0
    while True:
        try:
            ledger, count = ledger.plan(number(count), CONFIG), count + 1
        except BudgetExceeded:
            return count


def test_a_round_beyond_the_budget_is_refused_with_what_would_fit() -> None:
    budgets = budgets_of(MemoryLedgers())
    count = affordable()
    for value in range(count):
        plan(budgets, value).settle(Released(SURVIVORS, (), b""), Phase.UNMASK)
    with pytest.raises(BudgetExceeded, match=r"left: 0\.\d+; noise of z = ([\d.]+) would fit") as refusal:
        plan(budgets, count)
    z = float(str(refusal.value).split("z = ")[1].split()[0])
    assert z > 4
    with pytest.raises(BudgetExceeded):
        plan(budgets, count, config_of(z * 0.98))
    plan(budgets, count, config_of(z))
    with pytest.raises(BudgetExceeded, match="no noise in a ring of its bits would fit"):
        plan(budgets_of(MemoryLedgers(), digits=Budget(1e-4)), 0)


def test_a_charge_is_never_less_than_planned_and_more_where_fewer_noises_are_in_the_sum() -> None:
    for survivors, dearer in ((20, False), (18, False), (14, False), (13, True), (8, True)):
        budgets = budgets_of(MemoryLedgers())
        charge = plan(budgets, 0)
        planned = budgets.read(TASK)
        charge.settle(Released(SURVIVORS[:1] * survivors, (), b""), Phase.UNMASK)
        charged = budgets.read(TASK).charges[number(0).hex()]
        assert (charged.survivors, charged.honest) == (survivors, min(10, survivors - 4))
        assert (epsilon_spent([charged], 1e-5) > planned.epsilon) is dearer
        assert dearer or epsilon_spent([charged], 1e-5) == planned.epsilon


@pytest.mark.parametrize("phase", Phase)
def test_what_somebody_may_know_stays_charged(phase: Phase) -> None:
    budgets = budgets_of(MemoryLedgers())
    charge = plan(budgets, 0)
    spent = budgets.read(TASK).epsilon
    charge.settle(ABORTED, phase)
    asked_to_open = {Phase.UNMASK, Phase.PARTIAL_DECRYPTION, Phase.RECOVERY_CHECK, Phase.RECOVER_SEEDS}
    have_it = {Phase.REPORT_SUM, Phase.RELEASE_SUM}  # every participant holds the key, and now the sum
    assert budgets.read(TASK).epsilon == (spent if phase in asked_to_open | have_it else 0)


def test_an_opened_sum_is_free_without_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: with every aborted round withdrawn, sums that participants decrypted cost nothing, without end."""
    monkeypatch.setattr("secagg.programs.ledgers.budgets.OPENED_IN", frozenset[Phase]())
    budgets = budgets_of(MemoryLedgers())
    for value in range(2 * affordable()):
        plan(budgets, value).settle(ABORTED, Phase.REPORT_SUM)
    assert budgets.read(TASK).epsilon == 0
    assert OPENED_IN


def test_a_sum_that_participants_decrypted_is_charged() -> None:
    budgets = budgets_of(MemoryLedgers())
    plan(budgets, 0).settle(Withheld(SURVIVORS, b""), Phase.REPORT_SUM)
    assert budgets.read(TASK).released == {number(0).hex()}


def test_a_task_with_a_budget_has_no_rounds_without_noise() -> None:
    budgets = budgets_of(MemoryLedgers(), other=Budget())
    assert budgets.plan(number(0), PLAIN) is None
    with pytest.raises(ConfigError, match=r"task 'other' has a privacy budget.*give its rounds a pipeline with noise"):
        budgets.plan(number(0), replace(PLAIN, task="other"))
    plan(budgets, 0)
    with pytest.raises(ConfigError, match="task 'digits' has a privacy budget"):
        budgets.plan(number(1), PLAIN)


def test_budgets_are_per_task_and_do_not_change() -> None:
    store = MemoryLedgers()
    with pytest.raises(BudgetExceeded, match=r"of 0\.1"):
        plan(budgets_of(store, digits=Budget(0.1)), 0)
    with pytest.raises(LedgerError, match=r"has the budget ε = 0\.1.*the settings say ε = 2\.5.*cannot change"):
        plan(budgets_of(store), 0)
    with pytest.raises(ConfigError, match="must be below 1/n"):
        plan(budgets_of(MemoryLedgers(), digits=Budget(2.5, 0.05)), 0)
    with pytest.raises(ConfigError, match="no privacy ledger"):
        budgets_of(store).read("unknown")


def test_a_full_disk_stops_the_task_and_no_other() -> None:
    store = FullDisk()
    budgets = budgets_of(store)
    charge, lost = plan(budgets, 0), plan(budgets, 1)
    spent = budgets.read(TASK).epsilon
    store.full = True
    with pytest.raises(LedgerError, match="task 'digits' is out of reach: No space left on device"):
        plan(budgets, 2)
    with pytest.raises(LedgerError, match="out of reach"):
        charge.settle(Released(SURVIVORS, (), b""), Phase.UNMASK)
    lost.settle(ABORTED, Phase.SHARE_KEYS)
    assert budgets.plan(number(3), replace(PLAIN, task="other")) is None
    store.full = False
    assert budgets.read(TASK).epsilon == spent
    charge.settle(Released(SURVIVORS, (), b""), Phase.UNMASK)


def test_a_ledger_that_was_exchanged_as_a_whole_is_noticed_by_who_saw_it() -> None:
    store = MemoryLedgers()
    budgets = budgets_of(store)
    plan(budgets, 0)
    old = store._kept[TASK]
    charge = plan(budgets, 1)
    store._kept[TASK] = old
    for attempt in (lambda: plan(budgets, 2), lambda: budgets.read(TASK), lambda: budgets.plan(number(2), PLAIN)):
        with pytest.raises(LedgerError, match="rolled back: 2 entries where there were 3"):
            attempt()
    with pytest.raises(LedgerError, match="rolled back"):
        charge.settle(Released(SURVIVORS, (), b""), Phase.UNMASK)
    del store._kept[TASK]
    with pytest.raises(LedgerError, match="is gone"):
        plan(budgets, 2)


def test_after_a_restart_what_was_planned_counts() -> None:
    store = MemoryLedgers()
    plan(budgets_of(store), 0)
    again = budgets_of(store)
    assert again.read(TASK).epsilon > 0
    with pytest.raises(LedgerError, match="cannot be planned now"):
        plan(again, 0)


def test_accounting_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr("secagg.privacy.accountant.import_module", missing)
    with pytest.raises(ConfigError, match=r"the coordinator cannot account.*pip install '\.\[dp\]'"):
        plan(budgets_of(MemoryLedgers()), 0)


class Watched(MemoryLedgers):
    """Ledgers that tell, at each entry, whether somebody could see a round."""

    rounds: Rounds | None = None

    def __init__(self) -> None:
        super().__init__()
        self.visible: list[int] = []

    def append(self, task: str, entry: bytes, head: Head) -> None:
        assert self.rounds is not None
        self.visible.append(len(list(self.rounds.newest_first())))
        super().append(task, entry, head)


def registry(folder: Path, store: MemoryStore) -> Rounds:
    settings = make_settings(folder)
    coordinator = deployment().coordinator
    return Rounds(
        settings,
        site().trust,
        store,
        lambda: coordinator,
        workers=one_after_the_other,
        clock=lambda: 1_700_000_000.0,
        rng=SystemRng(),
        observer=Observer(),
        capacity=ROOMY,
    )


async def opened(rounds: Rounds, count: int) -> Sequence[RoundId]:
    return [(await rounds.open(os.urandom(16), encode_config(CONFIG))).record.round_id for _ in range(count)]


async def test_a_round_is_planned_before_anyone_can_find_it(tmp_path: Path) -> None:
    ledgers = Watched()
    rounds = ledgers.rounds = registry(tmp_path, MemoryStore(ledgers=ledgers))
    await opened(rounds, 2)
    assert ledgers.visible == [0, 0, 1]
    with pytest.raises(BudgetExceeded):
        await opened(rounds, 20)
    planned = rounds.opener.budgets.read(TASK).charges
    assert set(planned) == {hosted.record.round_id.hex() for hosted in rounds.newest_first()}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await rounds.next_offer(TASK, NAMES[0], [h.record.round_id for h in rounds.newest_first()])
    with pytest.raises(UnknownRoundError):
        rounds.find(number(77))
    await rounds.shut_down()
    assert rounds.opener.budgets.read(TASK).epsilon == 0


async def test_a_budget_is_overrun_without_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: rounds that are not planned are opened as long as anybody asks."""
    monkeypatch.setattr(Budgets, "plan", lambda *_: None)
    rounds = registry(tmp_path, MemoryStore())
    assert len(await opened(rounds, affordable() + 1)) == affordable() + 1
    await rounds.shut_down()


async def test_a_round_that_cannot_begin_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = registry(tmp_path, MemoryStore())

    def no_room(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("secagg_server.rounds.opening.coordinate", no_room)
    with pytest.raises(Exception, match="no memory"):
        await opened(rounds, 1)
    assert rounds.opener.budgets.read(TASK).epsilon == 0


async def test_an_open_that_is_given_up_leaves_a_round_that_can_be_aborted(tmp_path: Path) -> None:
    rounds = registry(tmp_path, MemoryStore())
    opening = asyncio.create_task(rounds.open(os.urandom(16), encode_config(CONFIG)))
    while not rounds._opening:
        await asyncio.sleep(0)
    opening.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await rounds.next_offer(TASK, NAMES[0], [])
    await rounds.shut_down()
    assert rounds.opener.budgets.read(TASK).epsilon == 0


async def open_until_refused(rounds: Rounds, config: RoundConfig) -> int:
    """Rounds that were opened."""
    count = 0
    while True:
        try:
            await rounds.open(os.urandom(16), encode_config(config))
            count += 1
        except BudgetExceeded:
            return count


GROUPED = replace(CONFIG, max_colluding=-1, groups=Groups.parse(3, "mean"))


async def test_a_round_in_groups_is_planned_once(tmp_path: Path) -> None:
    """At what one of its groups costs: each update is in one of their sums at most."""
    rounds = registry(tmp_path, MemoryStore())
    opened = await rounds.open(os.urandom(16), encode_config(GROUPED))
    assert isinstance(opened, GroupedRound)
    planned = rounds.opener.budgets.read(TASK)
    assert set(planned.charges) == {opened.record.round_id.hex()}
    alone = Ledger.open(TASK, Budget()).plan(number(0), replace(GROUPED, groups=None))
    assert planned.epsilon == alone.epsilon
    count = 1 + await open_until_refused(rounds, GROUPED)
    assert len(rounds.opener.budgets.read(TASK).charges) == count
    await rounds.shut_down()
    assert rounds.opener.budgets.read(TASK).epsilon == 0


SUM = Released(SURVIVORS, (), b"")


@pytest.mark.parametrize(
    ("ends", "counts"),
    [
        ([(SUM, Phase.UNMASK)] * 3, True),
        ([(ABORTED, Phase.SHARE_KEYS), (SUM, Phase.UNMASK), (ABORTED, Phase.SHARE_KEYS)], True),
        ([(ABORTED, Phase.SHARE_KEYS), (ABORTED, Phase.UNMASK), (ABORTED, Phase.SHARE_KEYS)], True),
        ([(ABORTED, Phase.SHARE_KEYS)] * 2, True),
        ([(ABORTED, Phase.SHARE_KEYS)] * 3, False),
    ],
)
def test_groups_count_as_soon_as_one_sum_may_be_known(ends: Sequence[tuple[Outcome, Phase]], counts: bool) -> None:
    budgets = budgets_of(MemoryLedgers())
    charge = plan(budgets, 0, GROUPED)
    spent = budgets.read(TASK).epsilon
    for outcome, phase in ends:
        charge.settle(outcome, phase)
    assert budgets.read(TASK).epsilon == (spent if counts else 0)
    assert bool(budgets.read(TASK).released) is any(outcome is SUM for outcome, _ in ends)


def test_a_group_whose_sum_cannot_be_charged_is_not_forgotten() -> None:
    """The disk is full when the first group has its sum; the next one is charged, and nothing is given back."""
    store = FullDisk()
    budgets = budgets_of(store)
    charge = plan(budgets, 0, GROUPED)
    store.full = True
    with pytest.raises(LedgerError):
        charge.settle(SUM, Phase.UNMASK)
    store.full = False
    charge.settle(ABORTED, Phase.SHARE_KEYS)
    charge.settle(ABORTED, Phase.SHARE_KEYS)
    assert set(budgets.read(TASK).charges) == {number(0).hex()}


def test_delta_is_below_one_over_all_groups() -> None:
    with pytest.raises(ConfigError, match=r"must be below 1/n"):
        plan(Budgets(MemoryLedgers(), Budget(delta=1 / 50), {}, structlog.get_logger()), 0, GROUPED)


def left_behind(folder: Path, *tasks: str) -> None:
    """The ledgers of an earlier coordinator, each with one round."""
    with locked(folder) as store:
        budgets = Budgets(store, Budget(), {}, structlog.get_logger())
        for task in tasks:
            plan(budgets, 0, replace(CONFIG, task=task))


def test_what_was_spent_is_known_from_the_start(tmp_path: Path) -> None:
    tasks = ("digits", "words / β", "cut off")
    left_behind(tmp_path / "ledger", *tasks)
    (tmp_path / "ledger" / "notes.jsonl").write_text("no ledger\n")
    with locked(tmp_path / "ledger") as store:
        assert set(store.tasks()) == set(tasks)
        budgets = Budgets(store, Budget(), {}, structlog.get_logger())
        assert budgets.spent() == []
        budgets.look()
        once = Ledger.open("digits", Budget()).plan(round_id(0), replace(CONFIG, task="digits")).epsilon
        assert {(spent.task, spent.epsilon, spent.budget) for spent in budgets.spent()} == {
            (task, once, Budget()) for task in tasks
        }


def test_a_ledger_that_is_damaged_is_told_at_the_start_and_hides_no_other(tmp_path: Path) -> None:
    left_behind(tmp_path / "ledger", "digits", "words")
    [entries] = (tmp_path / "ledger").glob("words*.jsonl")
    entries.write_bytes(entries.read_bytes().replace(b'"planned"', b'"plannex"'))
    with locked(tmp_path / "ledger") as store:
        budgets = Budgets(store, Budget(), {}, structlog.get_logger())
        with capture_logs() as log:
            budgets.look()
        assert [(line["event"], line["task"]) for line in log] == [("ledger_damaged", "words")]
        assert [spent.task for spent in budgets.spent()] == ["digits"]
        assert len(budgets.damaged()) == 1
        with pytest.raises(LedgerError):
            plan(budgets, 1, replace(CONFIG, task="words"))
        plan(budgets, 1, replace(CONFIG, task="digits"))


def test_what_was_spent_is_read_from_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(tmp_path / "ledger") as store:
        budgets = Budgets(store, Budget(), {}, structlog.get_logger())
        charge = plan(budgets, 0)
        monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file was opened"))
        monkeypatch.setattr("os.open", lambda *_: pytest.fail("a file was opened"))
        [spent] = budgets.spent()
        assert spent.epsilon > 0
        monkeypatch.undo()
        charge.withdraw()
        assert [spent.epsilon for spent in budgets.spent()] == [0.0]
