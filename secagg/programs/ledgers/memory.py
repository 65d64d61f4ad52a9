"""Privacy ledgers in memory."""

from collections.abc import Sequence

from secagg.privacy.ledger import Head


class MemoryLedgers:
    """Ledgers that live as long as the process."""

    durable = False

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[bytes, ...], Head | None]] = {}

    def tasks(self) -> Sequence[str]:
        """Those that something was appended for."""
        return list(self._kept)

    def read(self, task: str) -> tuple[Sequence[bytes], Head | None]:
        """The entries and the head that were appended last; nothing and None at first."""
        return self._kept.get(task, ((), None))

    def append(self, task: str, entry: bytes, head: Head) -> None:
        """Keep the entry behind the earlier ones."""
        self._kept[task] = ((*self.read(task)[0], entry), head)
