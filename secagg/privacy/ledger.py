"""What a task has spent of its privacy budget: a chain of entries that nobody can shorten or change unnoticed.

Each entry holds the digest of the one before it. The digest of the last, with their number, is the *head*; the store
keeps it apart from the entries, and whoever was shown a head can hold the ledger against it later. So a changed entry
breaks the chain, and a ledger that was rolled back does not reach its head.

Before a round starts it is *planned* at its full cost, which counts from then on: a coordinator that crashes cannot
forget what it may have released. A round that released nothing is *withdrawn*; one that did is charged what the noise
of its survivors really comes to, never less than planned.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from secagg.config import MAX_TASK_BYTES, RoundConfig
from secagg.crypto import labels
from secagg.crypto.transcript import digest
from secagg.errors import BudgetExceeded, ConfigError, LedgerError
from secagg.privacy.charges import Charge, charge_of, epsilon_spent, from_json, to_json
from secagg.privacy.finder import DEFAULT_DELTA, DEFAULT_EPSILON, check_budget
from secagg.privacy.remainder import weakest_noise
from secagg.scalars import settle, utf8

VERSION: Final = 1
_KINDS: Final = ("planned", "released", "withdrawn")
MAX_ENTRY_BYTES: Final = 1 << 14
_ROUND: Final = re.compile("[0-9a-f]{32}")
_HEAD: Final = re.compile("([1-9][0-9]{0,14}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that all rounds of a task may cost together, client-level.

    Attributes:
        epsilon: ε, above 0.
        delta: δ, above 0 and below 1; choose it well below one over the number of participants.
    """

    epsilon: float = DEFAULT_EPSILON
    delta: float = DEFAULT_DELTA

    def __post_init__(self) -> None:
        settle(self, numbers=("epsilon", "delta"))
        check_budget(self.epsilon, self.delta)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a ledger ends: how many entries it has, and the digest of the last (32 bytes)."""

    entries: int
    digest: bytes

    @property
    def text(self) -> str:
        """NUMBER:DIGEST, for people and files."""
        return f"{self.entries}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """The head of a text.

        Raises:
            ConfigError: it is none.
        """
        match = _HEAD.fullmatch(text)
        if match is None:
            raise ConfigError(f"a head is NUMBER:DIGEST, the digest of 64 hexadecimal digits, not {text[:80]!r}")
        return cls(int(match[1]), bytes.fromhex(match[2]))


class LedgerStore(Protocol):
    """Where ledgers are kept, durably: what was appended is there after a crash."""

    def read(self, task: str) -> tuple[Sequence[bytes], Head | None]:
        """All entries of a task in order, and its head. Nothing and None for a task without a ledger."""
        ...

    def append(self, task: str, entry: bytes, head: Head) -> None:
        """Add one entry and replace the head, both or neither."""
        ...


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries of one task, checked. A ledger does not change: to add an entry gives another ledger.

    Attributes:
        task: name of the task.
        budget: what its rounds may spend together.
        charges: what counts, by round id in hexadecimal digits: planned or released, not withdrawn.
        released: those of these rounds that released a sum.
        lines: the entries as bytes.
        head: number and digest of the last entry.
    """

    task: str
    budget: Budget
    charges: Mapping[str, Charge]
    released: frozenset[str]
    lines: tuple[bytes, ...] = field(repr=False)
    head: Head

    @classmethod
    def open(cls, task: str, budget: Budget) -> "Ledger":
        """A ledger with nothing spent.

        Raises:
            ConfigError: not a task's name.
        """
        if not 1 <= len(utf8(task, "task")) <= MAX_TASK_BYTES:
            raise ConfigError(f"task must be 1 to {MAX_TASK_BYTES} bytes of UTF-8")
        body = {"kind": "opened", "task": task, "epsilon": budget.epsilon.hex(), "delta": budget.delta.hex()}
        line, head = _entry(body, Head(0, bytes(32)))
        return cls(task, budget, {}, frozenset(), (line,), head)

    @classmethod
    def load(cls, task: str, lines: Sequence[bytes], head: Head | None, checked: "Ledger | None" = None) -> "Ledger":
        """The ledger in a store.

        Args:
            task: whose it is.
            lines: all entries.
            head: of the last.
            checked: an earlier one; entries that it has too are not read again.

        Raises:
            LedgerError: an entry is corrupt, missing or of another task; or the ledger was rolled back.
        """
        if not lines or head is None:  # check: ledger-gone
            raise LedgerError(f"the privacy ledger of task {task!r} is gone")
        same = checked is not None and checked.task == task and tuple(lines[: len(checked.lines)]) == checked.lines
        ledger = checked if checked is not None and same else _opened(task, lines[0])
        for line in lines[len(ledger.lines) :]:
            ledger = ledger._replayed(line)
        if ledger.head.entries == head.entries and ledger.head != head:
            raise _corrupt(task, head.entries, "is not the one that the head names")
        ledger.check_head(head)
        if ledger.head.entries > head.entries:  # check: beyond-the-head
            raise _corrupt(task, head.entries + 1, "is beyond the head")
        return ledger

    def check_head(self, head: Head) -> None:
        """Check that this ledger continues from a head that was seen before.

        Raises:
            LedgerError: it does not continue from there.
        """
        if head.entries > self.head.entries:  # check: rolled-back
            raise LedgerError(
                f"the privacy ledger of task {self.task!r} was rolled back: "
                f"{self.head.entries} entries where there were {head.entries}"
            )
        if head.entries < 1 or _digest(self.lines[head.entries - 1]) != head.digest:  # check: another-head
            raise LedgerError(f"the privacy ledger of task {self.task!r} is not the one that was seen before")

    @property
    def epsilon(self) -> float:
        """ε spent, at the budget's δ: planned rounds count in full.

        Raises:
            MissingExtraError: dp_accounting is not installed.
        """
        return epsilon_spent(self.charges.values(), self.budget.delta)

    def plan(self, round_id: bytes, config: RoundConfig) -> "Ledger":
        """Set a round's cost aside before anyone sends anything.

        Raises:
            BudgetExceeded: it would cost more than is left.
            ConfigError: the round has no noise, belongs to another task, or δ is not below 1/n.
            LedgerError: the round is in the ledger already.
        """
        if config.task != self.task:  # check: another-task
            raise ConfigError(f"a round of task {config.task!r} does not belong into the ledger of {self.task!r}")
        people = config.max_participants * (config.groups.count if config.groups else 1)
        if self.budget.delta * people >= 1:  # check: delta
            raise ConfigError(f"δ = {self.budget.delta} must be below 1/n = {1 / people:.3g}")
        charge = charge_of(config)
        after = epsilon_spent([*self.charges.values(), charge], self.budget.delta)
        if after > self.budget.epsilon:  # check: epsilon
            raise self._exceeded(config, after)
        return self._appended("planned", round_id.hex(), charge)

    def _exceeded(self, config: RoundConfig, after: float) -> BudgetExceeded:
        spent, allowed = self.epsilon, self.budget.epsilon
        z = weakest_noise(config, self.charges.values(), allowed, self.budget.delta) if spent < allowed else None
        fits = f"noise of z = {z:g} would fit" if z else "no noise in a ring of its bits would fit: the task is over"
        return BudgetExceeded(
            f"the round would bring task {self.task!r} to ε = {after:.4g} of {allowed:.4g} "
            f"(δ = {self.budget.delta:g}); spent so far: {spent:.4g}, left: {max(0.0, allowed - spent):.4g}; {fits}"
        )

    def release(self, round_id: bytes, config: RoundConfig, survivors: int) -> "Ledger":
        """Charge a round that released a sum of `survivors` updates. Fewer honest ones than planned cost more, even if
        that is beyond the budget: it has happened.

        Raises:
            LedgerError: the round was not planned, or is over.
        """
        return self._appended("released", round_id.hex(), charge_of(config, survivors))

    def withdraw(self, round_id: bytes) -> "Ledger":
        """Give back what a round would have cost that released nothing.

        Raises:
            LedgerError: the round was not planned, or is over.
        """
        return self._appended("withdrawn", round_id.hex(), None)

    def _appended(self, kind: str, round_id: str, charge: Charge | None) -> "Ledger":
        body: dict[str, Any] = {"kind": kind, "round": round_id}
        line, _ = _entry(body if charge is None else body | to_json(charge), self.head)
        return self._replayed(line)

    def _replayed(self, line: bytes) -> "Ledger":
        body, head = _read(line, self.head, self.task)
        round_id, kind = body.get("round"), body.get("kind")
        if not isinstance(round_id, str) or not _ROUND.fullmatch(round_id):  # check: round-name
            raise _corrupt(self.task, head.entries, "names no round")
        if kind not in _KINDS:  # check: kind
            raise _corrupt(self.task, head.entries, "is of an unknown kind")
        charges, released = dict(self.charges), self.released
        if (kind == "planned") == (round_id in charges) or round_id in released:  # check: order-of-entries
            raise LedgerError(f"round {round_id} of task {self.task!r} cannot be {kind} now (entry {head.entries})")
        if kind == "withdrawn":
            del charges[round_id]
        else:
            try:
                charges[round_id] = from_json(body)
            except ConfigError:
                raise _corrupt(self.task, head.entries, "holds no charge") from None
            released |= {round_id} if kind == "released" else frozenset()
        return Ledger(self.task, self.budget, charges, released, (*self.lines, line), head)


def _entry(body: Mapping[str, Any], previous: Head) -> tuple[bytes, Head]:
    """One line of JSON, keys sorted, and the head after it."""
    line = _line({**body, "version": VERSION, "number": previous.entries + 1, "previous": previous.digest.hex()})
    return line, Head(previous.entries + 1, _digest(line))


def _line(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _read(line: bytes, previous: Head, task: str) -> tuple[dict[str, Any], Head]:
    number = previous.entries + 1
    try:
        body = json.loads(line) if len(line) <= MAX_ENTRY_BYTES else None
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or body.get("version") != VERSION:  # check: version
        raise _corrupt(task, number, f"is no entry of version {VERSION}")
    if body.get("number") != number or body.get("previous") != previous.digest.hex():  # check: hash-chain
        raise _corrupt(task, number, "does not follow from the one before it")
    if _line(body) != line:
        raise _corrupt(task, number, "is not written as entries are: keys sorted, no spaces")
    return body, Head(number, _digest(line))


def _opened(task: str, line: bytes) -> Ledger:
    body, head = _read(line, Head(0, bytes(32)), task)
    if body.get("kind") != "opened" or body.get("task") != task:  # check: opened-for-task
        raise _corrupt(task, 1, "does not open this task's ledger")
    try:
        budget = Budget(float.fromhex(body["epsilon"]), float.fromhex(body["delta"]))
    except (KeyError, TypeError, ValueError, OverflowError, ConfigError):
        raise _corrupt(task, 1, "holds no budget") from None
    return Ledger(task, budget, {}, frozenset(), (line,), head)


def _digest(line: bytes) -> bytes:
    return digest(labels.LEDGER_ENTRY, line)


def _corrupt(task: str, number: int, what: str) -> LedgerError:
    return LedgerError(f"the privacy ledger of task {task!r} is corrupt: entry {number} {what}")


def follow(line: bytes, previous: Head | None, task: str) -> Head:
    """The head after an entry.

    Raises:
        LedgerError: it does not follow from `previous`.
    """
    return _read(line, previous or Head(0, bytes(32)), task)[1]


def task_of(lines: Sequence[bytes]) -> str:
    """Whose ledger these entries say they are; nothing else about them is checked.

    Raises:
        LedgerError: they do not say.
    """
    try:
        task = json.loads(lines[0])["task"]
    except (ValueError, RecursionError, LookupError, TypeError):
        task = None
    if not isinstance(task, str):
        raise LedgerError("this is no privacy ledger: its first entry names no task")
    return task


class LedgerBook:
    """Ledgers of a store: read and checked each time, written before anyone acts on them."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._checked: dict[str, Ledger] = {}

    def find(self, task: str) -> Ledger | None:
        """The task's ledger; None if it has none.

        Raises:
            LedgerError: it is corrupt or was rolled back.
        """
        lines, head = self._store.read(task)
        if not lines and head is None:
            return None
        self._checked[task] = Ledger.load(task, lines, head, self._checked.get(task))
        return self._checked[task]

    def open(self, task: str, budget: Budget) -> Ledger:
        """The task's ledger, made if there is none.

        Raises:
            LedgerError: it is corrupt or was rolled back, or has another budget.
        """
        ledger = self.find(task)
        if ledger is None:
            ledger = Ledger.open(task, budget)
            self.keep(ledger)
        if ledger.budget != budget:
            raise LedgerError(
                f"the privacy ledger of task {task!r} has the budget ε = {ledger.budget.epsilon}, "
                f"δ = {ledger.budget.delta}, the settings say ε = {budget.epsilon}, δ = {budget.delta}; "
                "a budget cannot change: set the old one, or name another task"
            )
        return ledger

    def keep(self, ledger: Ledger) -> None:
        """Make the last entry of `ledger` durable."""
        self._store.append(ledger.task, ledger.lines[-1], ledger.head)
