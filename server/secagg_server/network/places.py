"""Who may have a connection where there are few: strangers make way for newer ones, and nobody has more than a few."""

from collections.abc import Callable, Iterator
from typing import Final, Generic, Protocol, TypeVar

from secagg_server.observability.facts import ConnectionCause


class Placed(Protocol):
    """A connection that has a place."""

    caller: str
    """Whose it is; empty until it is known."""


C = TypeVar("C", bound=Placed)


class Places(Generic[C]):
    """The connections of a port. Only the thread of the port's event loop changes them."""

    def __init__(
        self, *, most: int, most_silent: int, most_of_one: int, close: Callable[[C, ConnectionCause], None]
    ) -> None:
        """Args:
        most: connections at once, at least 1.
        most_silent: of them whose caller is not known, at least 1.
        most_of_one: connections of one caller, at least 1; the oldest goes for a newer one.
        close: closes a connection, tells why, and lets it `leave`.
        """
        self._most: Final = most
        self._most_silent: Final = most_silent
        self._most_of_one: Final = most_of_one
        self._close: Final = close
        self._silent: dict[C, None] = {}  # the oldest first
        self._speaking: dict[str, dict[C, None]] = {}  # by caller, the oldest first
        self._known = 0  # connections in `_speaking`: other threads may ask while it changes

    @property
    def counts(self) -> tuple[int, int]:
        """How many connections have no caller yet, and how many have one. Any thread may ask."""
        return len(self._silent), self._known

    def __iter__(self) -> Iterator[C]:
        return iter([*self._silent, *(one for known in self._speaking.values() for one in known)])

    def __contains__(self, connection: C) -> bool:
        return connection in self._silent or connection in self._speaking.get(connection.caller, ())

    def enter(self, connection: C) -> None:
        """Give a new connection a place. Another one loses its own if there is none."""
        self._make_room()  # check: connections-in-all
        self._silent[connection] = None

    def spoke(self, connection: C, caller: str) -> None:
        """Something of `caller` came on the connection. A connection has one caller, the latest."""
        if connection.caller == caller:
            return
        self.leave(connection)
        connection.caller = caller
        known = self._speaking.setdefault(caller, {})
        known[connection] = None
        self._known += 1
        if len(known) > self._most_of_one:  # check: connections-of-one
            self._close(next(iter(known)), ConnectionCause.TOO_MANY)

    def leave(self, connection: C) -> None:
        """Count the connection no longer. One that left before may leave again."""
        self._silent.pop(connection, None)
        known = self._speaking.get(connection.caller, {})
        if connection in known:
            del known[connection]
            self._known -= 1
            if not known:
                del self._speaking[connection.caller]

    def shut_out(self, caller: str) -> None:
        """Close every connection of `caller`, who may not take part any more."""
        for connection in list(self._speaking.get(caller, ())):
            self._close(connection, ConnectionCause.REFUSED)

    def _make_room(self) -> None:
        """Close the oldest connections without a caller; else the oldest of who has most."""
        while sum(self.counts) >= self._most or len(self._silent) >= self._most_silent:
            if self._silent:
                self._close(next(iter(self._silent)), ConnectionCause.SILENT)
            else:
                most = max(self._speaking.values(), key=len)
                self._close(next(iter(most)), ConnectionCause.FOR_ANOTHER)
