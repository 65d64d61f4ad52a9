"""A count of commits beside the database, which finds out whether the database went back.

SQLite takes the first frame of its log that does not fit for the end of the log. After a crash that is right. But a
disk that changes a byte of the log, or somebody who puts an older copy in its place, makes the database what it was
some commits ago, and nothing in it shows that. So each commit is counted in the database and, once it is safe, in a
file of 16 bytes, which is safe before anybody hears of the commit. A database that is behind its file went back.
"""

from pathlib import Path
from sqlite3 import Connection
from typing import Final

from secagg.crypto import labels
from secagg.crypto.transcript import digest
from secagg.errors import StoreError
from secagg.programs.disk import Disk
from secagg_server.storage.sqlite.database import Database, named

_NUMBER_SIZE: Final = 8
_SIZE: Final = 2 * _NUMBER_SIZE


class CommitCount:
    """The number of commits of a database, there and in a file. One thread at a time."""

    def __init__(self, disk: Disk, path: Path, database: Database) -> None:
        """Compare the two, and make the file where there is none.

        Args:
            disk: where the file is.
            path: of the file.
            database: with all tables.

        Raises:
            StoreError: the database is behind the file.
            OSError: the file cannot be read or written.
        """
        (number,) = database.rows("SELECT coalesce(max(number), 0) FROM commits")[0]
        self._number = number if isinstance(number, int) else 0
        known = 0 if disk.facts(path) is None else _read(disk.read(path))
        if known > self._number:  # check: database-went-back
            raise StoreError(
                f"state.sqlite has {self._number} commits and had {known}: the disk changed it, or an older copy was "
                "put in its place, so nobody knows which sums are out; restore a backup into another folder"
            )
        self._file = disk.open(path, make=True)
        self._write()
        disk.flush_folder(path.parent)

    def count(self, connection: Connection) -> None:
        """Count the transaction that is open."""
        connection.execute("INSERT OR REPLACE INTO commits VALUES (1, ?)", (self._number + 1,))

    def committed(self) -> None:
        """Count the commit in the file; it is safe there on return.

        Raises:
            StoreError: the disk refuses.
        """
        self._number += 1
        try:
            self._write()
        except OSError as error:
            raise named(error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _write(self) -> None:
        number = self._number.to_bytes(_NUMBER_SIZE, "big")
        self._file.write_at(0, number + _checksum(number))  # less than a sector: all of it or nothing
        self._file.flush()


def _read(content: bytes) -> int:
    """The number in a file; 0 if the disk changed the file, which then shows nothing."""
    number, kept = content[:_NUMBER_SIZE], content[_NUMBER_SIZE:_SIZE]
    return int.from_bytes(number, "big") if kept == _checksum(number) else 0


def _checksum(number: bytes) -> bytes:
    return digest(labels.STORE_ROW, b"count", number)[:_NUMBER_SIZE]
