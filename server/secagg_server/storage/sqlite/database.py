"""The connection to SQLite, and what its errors are called.

The log of writes (WAL) is flushed at each commit (`synchronous=FULL`), so what was committed is safe. One connection
serves all threads of the coordinator, one at a time; a backup has a connection of its own.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from secagg.errors import StoreError
from secagg.programs.disk import Disk
from secagg_server.storage.sqlite.rows import SqlValue

BUSY_S: Final = 10.0
"""How long a writer waits for a backup that reads."""

_PRAGMAS: Final = (
    "page_size = 16384",  # of a new database: entries of large rounds have tens of kilobytes
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "temp_store = MEMORY",
)
"""What is deleted is not overwritten: whatever is secret in it is sealed under keys that are destroyed."""


class Database:
    """A database that is open. Each method may be called from any thread."""

    def __init__(self, disk: Disk, path: Path) -> None:
        """Open the database of this path, which is made if there is none.

        Raises:
            StoreError: it is none, or cannot be opened.
        """
        self._lock = Lock()
        try:
            if disk.facts(path) is None:
                disk.open(path, make=True).close()  # for its owner alone, as SQLite would not make it
                disk.flush_folder(path.parent)
            self._connection = sqlite3.connect(
                disk.database(path), uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_S
            )
        except (sqlite3.Error, OSError) as error:
            raise named(error) from error
        with self.reading():
            for pragma in _PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read, one thread at a time.

        Raises:
            StoreError: the database is damaged or cannot be read.
        """
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise named(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Do all that the block does, safely, or nothing of it.

        Raises:
            StoreError: the disk is full, or fails, or the database is damaged.
        """
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk ends some by itself
                    connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[SqlValue] = ()) -> list[tuple[SqlValue, ...]]:
        """All rows of a query."""
        with self.reading() as connection:
            return connection.execute(query, values).fetchall()

    def pack(self) -> None:
        """Leave nothing of what was deleted, and everything in one file."""
        with self.reading() as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        """Let go of the database. What was committed stays."""
        with self.reading() as connection:
            connection.close()


def named(error: sqlite3.Error | OSError) -> StoreError:
    """What we call an error of SQLite or of the disk."""
    match error:
        case OSError():
            return StoreError(f"the state cannot be kept: {error.strerror}")
        case _ if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return StoreError("the state cannot be kept: the disk is full")
        case _ if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return StoreError(f"state.sqlite is damaged: {error}")
        case _:
            return StoreError(f"state.sqlite cannot be used: {error}")
