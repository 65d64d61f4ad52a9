"""What operators did with a state while no coordinator ran: the next one tells its log of it, once."""

from dataclasses import dataclass
from sqlite3 import Connection
from typing import Final

from secagg_server.storage.sqlite.database import Database

RESTORED: Final = "restored"
"""The detail is when the backup was made, in milliseconds since 1970."""

MIGRATED: Final = "migrated"
"""The detail is the release that did it."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that was done with the state.

    Attributes:
        at_s: when, in seconds since 1970.
        what: `RESTORED` or `MIGRATED`.
        detail: of it.
    """

    at_s: float
    what: str
    detail: str


def write_history(connection: Connection, happening: Happening) -> None:
    """Keep it until it is told."""
    values = happening.at_s, happening.what, happening.detail
    connection.execute("INSERT INTO history (at_s, what, detail, told) VALUES (?, ?, ?, 0)", values)


def untold(database: Database) -> list[Happening]:
    """What was not told yet, oldest first."""
    rows = database.rows("SELECT at_s, what, detail FROM history WHERE told = 0 ORDER BY number")
    return [Happening(float(str(at_s)), str(what), str(detail)) for at_s, what, detail in rows]


def write_told(connection: Connection) -> None:
    """Everything was told."""
    connection.execute("UPDATE history SET told = 1")
