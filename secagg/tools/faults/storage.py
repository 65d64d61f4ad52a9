"""Where a simulated coordinator keeps what must outlive it."""

from typing import Protocol

from secagg_server.storage.memory import MemoryStore
from secagg_server.storage.store import Store


class Storage(Protocol):
    """The state folder of a coordinator's machine.

    Attributes:
        durable: whether anything outlives the process.
    """

    @property
    def durable(self) -> bool:
        """Whether anything outlives the process."""
        ...

    def open(self) -> Store:
        """The store of a process that begins."""
        ...


class InMemory:
    """A coordinator without a state folder: every process begins anew."""

    durable = False

    def open(self) -> Store:
        """An empty store."""
        return MemoryStore()
