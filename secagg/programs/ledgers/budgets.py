"""What rounds cost of the privacy budget of their task.

The cost is planned before anybody hears of a round, and settled before anybody hears of its end.

What a round may have shown counts as spent. A round without noise has no ledger, and a task with a ledger has no such
rounds.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Final, Protocol

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.errors import ConfigError, LedgerError, MissingExtraError, RoundAborted
from secagg.messages import PHASES, Phase
from secagg.privacy import ledger
from secagg.privacy.ledger import Budget, Ledger, LedgerBook

OPENED_IN: Final = frozenset(phase for phase, row in PHASES.items() if row.opens)
"""A round that fails in one of these is charged all the same."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a task has spent of its budget.

    Attributes:
        task: name of the task.
        epsilon: ε at the δ of the budget; planned rounds count in full.
        budget: the most that it may spend.
    """

    task: str
    epsilon: float
    budget: Budget


class LedgerStore(ledger.LedgerStore, Protocol):
    """Where privacy ledgers are kept. Called from several threads, never from two at once."""

    @property
    def durable(self) -> bool:
        """Whether ledgers outlive the process."""
        ...

    def tasks(self) -> Sequence[str]:
        """Names of the tasks that have a ledger, as far as their ledgers can be read."""
        ...


class Log(Protocol):
    """Takes log lines: the name of an event, and facts by name."""

    def info(self, event: str, **facts: str) -> object:
        """What an operator may want to keep."""
        ...

    def warning(self, event: str, **facts: str) -> object:
        """What an operator should look at."""
        ...


class Summed(Protocol):
    """The end of a round that has a sum, whoever knows it."""

    @property
    def survivors(self) -> Sequence[str]:
        """Whose updates are in it."""
        ...


class Budgets:
    """The ledgers of all tasks. May be called from several threads."""

    def __init__(self, store: LedgerStore, default: Budget, own: Mapping[str, Budget], log: Log) -> None:
        """Args:
        store: where ledgers are.
        default: of a task with noise that has no budget of its own.
        own: of tasks by name; these have noise in all their rounds.
        log: is told the head of a ledger whenever it changes, and what goes wrong.
        """
        self._store = store
        self._book = LedgerBook(store)
        self._default = default
        self._own = own
        self._lock = Lock()
        self._seen: dict[str, Ledger] = {}  # so that a ledger that is exchanged under our feet is found out
        self._damaged: dict[str, str] = {}
        self._spent: dict[str, tuple[Ledger, Spent]] = {}
        self._log = log

    def plan(self, round_id: RoundId, config: RoundConfig) -> "Charge | None":
        """Set aside what a round will cost, durably; None for a round without noise. A round in groups is one round.

        Raises:
            BudgetExceeded: more than is left.
            ConfigError: no noise in a task with a budget; δ that is no protection; accounting is not installed.
            LedgerError: the ledger is damaged, or cannot be written.
        """
        task = config.task
        with self._alone(task):
            if config.noise is None:
                self._refuse_plain(task)
                return None
            self._find(task)
            ledger = self._book.open(task, self._own.get(task, self._default))
            try:
                self._keep(ledger.plan(round_id, config))
            except MissingExtraError as error:
                raise ConfigError(f"the coordinator cannot account for noise: {error}") from error
        if not self._store.durable:
            self._log.warning("ledger_in_memory", task=task, detail="set state_dir: a restart forgets what was spent")
        if config.groups is not None:
            return GroupsCharge(self, round_id, config, config.groups.count)
        return Charge(self, round_id, config)

    def resume(self, round_id: RoundId, config: RoundConfig) -> "Charge | None":
        """What `plan` set aside for a round that an earlier process opened; None for a round without noise."""
        if config.noise is None:
            return None
        if config.groups is not None:
            return GroupsCharge(self, round_id, config, config.groups.count)
        return Charge(self, round_id, config)

    def knows(self, round_id: RoundId, config: RoundConfig) -> bool:
        """Whether the cost of a round with noise is planned or charged.

        Raises:
            LedgerError: the ledger is damaged.
        """
        with self._alone(config.task):
            ledger = self._find(config.task)
        return ledger is not None and round_id.hex() in ledger.charges

    def read(self, task: str) -> Ledger:
        """The ledger of a task, checked.

        Raises:
            ConfigError: it has none.
            LedgerError: it is damaged.
        """
        with self._alone(task):
            ledger = self._find(task)
        if ledger is None:
            raise ConfigError(f"task {task!r} has no privacy ledger: no round with noise was opened")
        return ledger

    def look(self) -> None:
        """Read the ledgers that earlier processes left, so that `spent` knows them. Damage is logged, and found again
        when a round of the task is opened.
        """
        for task in self._store.tasks():
            try:
                ledger = self.read(task)
            except LedgerError as error:
                self._log.warning("ledger_damaged", task=task, detail=str(error))
                self._damaged[task] = str(error)
            else:
                self._seen.setdefault(task, ledger)

    def damaged(self) -> list[str]:
        """What is wrong with ledgers that cannot be used, as `look` found it; those that were used since are whole."""
        return [told for task, told in self._damaged.items() if task not in self._seen]

    def spent(self) -> list[Spent]:
        """What each task has spent, as this process saw its ledger last. Reads no file, and waits for nobody."""
        for task, seen in self._seen.copy().items():
            known = self._spent.get(task)
            if known is None or known[0] is not seen:
                self._spent[task] = seen, Spent(task, seen.epsilon, seen.budget)
        return [spent for _, spent in self._spent.values()]

    def seen(self, task: str) -> Ledger | None:
        """The ledger of a task as this process saw it last; None if it saw none. Reads no file."""
        return self._seen.get(task)

    def release(self, round_id: RoundId, config: RoundConfig, survivors: int) -> None:
        """Charge a sum before it is released. A round is charged once: a process that ends it again, since the one
        before it crashed, charges nothing.

        Raises:
            LedgerError: the charge cannot be kept; the sum must not be released.
        """
        with self._alone(config.task):
            ledger = self._planned(config.task)
            if round_id.hex() not in ledger.released:  # check: charged-once
                self._keep(ledger.release(round_id, config, survivors))

    def withdraw(self, round_id: RoundId, config: RoundConfig) -> None:
        """Give back what a round would have cost that released nothing; it stays planned if that cannot be kept."""
        try:
            with self._alone(config.task):
                ledger = self._planned(config.task)
                if round_id.hex() in ledger.charges:  # else an earlier process gave it back
                    self._keep(ledger.withdraw(round_id))
        except LedgerError as error:
            self._log.warning("ledger_not_withdrawn", task=config.task, round_id=round_id.hex(), detail=str(error))

    @contextmanager
    def _alone(self, task: str) -> Iterator[None]:
        """Do one thing at a time with the ledgers. A store that fails becomes a `LedgerError` that names the task."""
        with self._lock:
            try:
                yield
            except OSError as error:
                trouble = error.strerror or error
                raise LedgerError(f"the privacy ledger of task {task!r} is out of reach: {trouble}") from error

    def _refuse_plain(self, task: str) -> None:
        if task in self._own or self._find(task) is not None:  # check: no-sum-without-noise
            raise ConfigError(
                f"task {task!r} has a privacy budget, and a sum without noise would spend all of it: "
                "give its rounds a pipeline with noise, or name another task"
            )

    def _find(self, task: str) -> Ledger | None:
        """The ledger, if there is one; what this process saw of it before must be in it."""
        ledger, seen = self._book.find(task), self._seen.get(task)
        if ledger is not None and seen is not None:
            ledger.check_head(seen.head)
        if ledger is None and seen is not None:
            raise LedgerError(f"the privacy ledger of task {task!r} is gone")
        return ledger

    def _planned(self, task: str) -> Ledger:
        ledger = self._find(task)
        if ledger is None:
            raise LedgerError(f"the privacy ledger of task {task!r} is gone")
        return ledger

    def _keep(self, ledger: Ledger) -> None:
        self._book.keep(ledger)
        self._seen[ledger.task] = ledger
        self._log.info("ledger_head", task=ledger.task, head=ledger.head.text)


class Charge:
    """The cost that is set aside for one round."""

    def __init__(self, budgets: Budgets, round_id: RoundId, config: RoundConfig) -> None:
        self._budgets = budgets
        self._round_id = round_id
        self._config = config

    @property
    def ledger(self) -> Ledger | None:
        """The task's ledger as this process saw it last."""
        return self._budgets.seen(self._config.task)

    def settle(self, outcome: Summed | RoundAborted, phase: Phase | None) -> None:
        """Charge the round, or give back its cost if nobody can know a sum of it.

        Args:
            outcome: how it ended; nobody was told yet.
            phase: the phase that was open when it did; participants knew of no later one.

        Raises:
            LedgerError: the charge cannot be kept; the sum must not be released.
        """
        if not isinstance(outcome, RoundAborted):
            self._budgets.release(self._round_id, self._config, len(outcome.survivors))
        elif phase not in OPENED_IN:
            self.withdraw()

    def withdraw(self) -> None:
        """Give the cost back: the round released nothing."""
        self._budgets.withdraw(self._round_id, self._config)


class GroupsCharge(Charge):
    """What the groups of one round have set aside together: what one of them costs. Nobody is in two groups, and who is
    in which does not depend on updates, so an update is in one of their sums at most (parallel composition; McSherry
    2009, theorem 4). Each has as many honest survivors as were planned for, or it has no sum.
    """

    def __init__(self, budgets: Budgets, round_id: RoundId, config: RoundConfig, groups: int) -> None:
        super().__init__(budgets, round_id, config)
        self._under_way = groups
        self._known = False  # whether somebody may know a sum of one of them
        self._charged = False
        self._lock = Lock()  # groups end in threads of their own

    def settle(self, outcome: Summed | RoundAborted, phase: Phase | None) -> None:
        """Charge the first sum of a group, or give the cost back when the last group ended without a sum."""
        with self._lock:
            self._under_way -= 1
            self._known = self._known or not isinstance(outcome, RoundAborted) or phase in OPENED_IN
            if not isinstance(outcome, RoundAborted) and not self._charged:
                super().settle(outcome, phase)
                self._charged = True
            if not self._under_way and not self._known:
                self.withdraw()
