"""A task's privacy ledger on the wire: where it ends and what it comes to, then its entries."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from secagg.errors import DecodeError, LedgerError
from secagg.privacy.ledger import MAX_ENTRY_BYTES, Head, Ledger
from secagg.roster import COORDINATOR
from secagg.wire.v1 import control_plane_pb2 as pb

_ENTRIES_PER_PART = (1 << 20) // MAX_ENTRY_BYTES - 1


@dataclass(frozen=True, slots=True)
class TaskLedger:
    """What a task has spent of its privacy budget, as the coordinator tells it.

    Attributes:
        ledger: the entries. Their chain was checked when they were received.
        epsilon: ε that is spent at the budget's δ, as the coordinator counts.
    """

    ledger: Ledger
    epsilon: float


def encode_ledger(ledger: Ledger, epsilon: float) -> Iterator[pb.LedgerPart]:
    """First the head, then the entries."""
    head = pb.LedgerHead(
        budget_epsilon=ledger.budget.epsilon,
        budget_delta=ledger.budget.delta,
        spent_epsilon=epsilon,
        entries=ledger.head.entries,
        digest=ledger.head.digest,
    )
    yield pb.LedgerPart(head=head)
    for start in range(0, len(ledger.lines), _ENTRIES_PER_PART):
        yield pb.LedgerPart(entries=ledger.lines[start : start + _ENTRIES_PER_PART])


def decode_ledger(parts: Iterable[pb.LedgerPart], task: str) -> TaskLedger:
    """The ledger of `task` from its parts, checked entry by entry.

    Raises:
        DecodeError: parts are missing, or do not say what the entries say.
        LedgerError: the entries are no ledger of this task, or do not end at the head.
    """
    head: pb.LedgerHead | None = None
    lines: list[bytes] = []
    for part in parts:
        if part.HasField("head") == (head is not None):
            raise DecodeError("a ledger has one head, in its first part", culprit=COORDINATOR)
        head = head or part.head
        lines += part.entries
    if head is None or len(head.digest) != 32 or not head.entries:
        raise DecodeError("a ledger without a head", culprit=COORDINATOR)
    ledger = Ledger.load(task, lines, Head(head.entries, head.digest))
    if (ledger.budget.epsilon, ledger.budget.delta) != (head.budget_epsilon, head.budget_delta):
        raise LedgerError(f"the privacy ledger of task {task!r} has another budget than its head")
    if not head.spent_epsilon >= 0:
        raise DecodeError("ε spent is negative, or no number", culprit=COORDINATOR)
    return TaskLedger(ledger, head.spent_epsilon)
