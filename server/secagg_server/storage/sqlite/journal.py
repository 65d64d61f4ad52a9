"""The journal of one round, in tables, with its spool and its key in files."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from secagg.context import RoundId
from secagg.errors import StoreError
from secagg.programs.disk import Disk
from secagg_server.storage.records import Ended, Entry, Released
from secagg_server.storage.sqlite.database import Database, named
from secagg_server.storage.sqlite.ends import EndColumns, encode_end
from secagg_server.storage.sqlite.entries import Columns, decode_entry, encode_entry
from secagg_server.storage.sqlite.folder import StateFolder
from secagg_server.storage.sqlite.rows import SqlValue, checksum
from secagg_server.storage.sqlite.seals import Envelope, KeyFolder, PlainEnvelope
from secagg_server.storage.sqlite.spool import FileSpool
from secagg_server.storage.sqlite.sums import write_sum

_BATCH: Final = 256
"""Entries that are in memory at once while a journal is read."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a journal is kept.

    Attributes:
        disk: of all files.
        folder: of all files.
        keys: of rounds.
        database: of the tables, to read.
        writing: a transaction of the store.
    """

    disk: Disk
    folder: StateFolder
    keys: KeyFolder
    database: Database
    writing: Callable[[], AbstractContextManager[Connection]]

    def spool(self, round_id: RoundId) -> Path:
        """The file of a round's vectors."""
        return self.folder.spool / f"{round_id.hex()}.chunks"

    def sum(self, round_id: RoundId) -> Path:
        """The file of a round's sum."""
        return self.folder.sums / f"{round_id.hex()}.sum"


class SqliteJournal:
    """A `Journal`. One thread at a time.

    Attributes:
        spool: where chunks wait.
    """

    def __init__(
        self, place: Place, number: int, round_id: RoundId, *, envelope: Envelope, spool: FileSpool, entries: int = 0
    ) -> None:
        """Args:
        place: where it is kept.
        number: of the round in its table.
        round_id: of the round.
        envelope: what bodies are kept in.
        spool: of the round.
        entries: how many the table has.
        """
        self.spool = spool
        self._place = place
        self._round = number
        self._round_id = round_id
        self._envelope = envelope
        self._entries = entries
        self._spooled = spool.flushed
        self._pending: list[Entry] = []

    def append(self, entry: Entry) -> None:
        """Keep the entry in memory until the next flush."""
        self._pending.append(entry)

    def flush(self) -> None:
        """Flush the spool if it has anything new, then commit what was appended and up to where the spool is safe."""
        self.spool.flush()
        if not self._pending and self.spool.flushed == self._spooled:
            return
        entries = self._entries + len(self._pending)
        rows = (
            (self._round, number, *_values(encode_entry(number, entry, self._envelope)))
            for number, entry in enumerate(self._pending, self._entries)
        )
        with self._place.writing() as connection:
            connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            write_progress(connection, self._round, entries, self.spool.flushed)
        self._entries, self._spooled = entries, self.spool.flushed
        self._pending.clear()

    def finish(self, ended: Ended) -> Ended:
        """Write the sum to its file; then, in one commit, put the end in the place of the entries; then destroy key and
        spool. If these are left, the next start removes them.
        """
        place, outcome = self._place, ended.outcome
        if isinstance(outcome, Released):
            try:
                chunks = write_sum(place.disk, place.sum(self._round_id), outcome.payloads)
            except OSError as error:
                raise named(error) from error
            ended = replace(ended, outcome=replace(outcome, payloads=chunks))
        end = encode_end(ended)
        with place.writing() as connection:
            connection.execute("DELETE FROM entries WHERE round = ?", (self._round,))
            connection.execute("INSERT INTO ends VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _end_row(self._round, end))
            write_progress(connection, self._round, 0, 0)
        self._envelope, self._entries, self._spooled = PlainEnvelope(self._round_id), 0, 0
        self._pending.clear()
        with suppress(OSError):
            place.keys.destroy(self._round_id)
        self._drop_spool()
        return ended

    def break_off(self) -> None:
        """Destroy the key and mark the round, which wins over whatever the tables say. Needs no room."""
        self._pending.clear()
        try:
            self._place.keys.break_off(self._round_id)
        except OSError as error:
            raise named(error) from error
        self._drop_spool()

    def _drop_spool(self) -> None:
        path = self._place.spool(self._round_id)
        with suppress(OSError):
            self.spool.close()
            remove(self._place.disk, path)
        self.spool = FileSpool(self._place.disk, path)  # an empty one: what is appended later has no vectors


def write_progress(connection: Connection, number: int, entries: int, spooled: int) -> None:
    """Keep how many entries a round has, and how many bytes of its spool are safe."""
    values = (number, entries, spooled)
    connection.execute("INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?)", (*values, checksum("progress", values)))


def read_progress(database: Database, number: int) -> tuple[int, int]:
    """What `write_progress` kept.

    Raises:
        StoreError: it is gone, or was changed.
    """
    match database.rows("SELECT * FROM progress WHERE round = ?", (number,)):
        case [(int(of), int(entries), int(spooled), kept)] if kept == checksum("progress", (of, entries, spooled)):
            return entries, spooled
    raise StoreError("how far the round was kept was changed on the disk")


def read_entries(database: Database, number: int, entries: int, envelope: Envelope) -> Iterator[Entry]:
    """The entries of a round, in order.

    Raises:
        StoreError: one is missing, or was changed.
    """
    query = "SELECT number, kind, time_s, sender, what, body FROM entries WHERE round = ? AND number >= ?"
    place = 0
    while rows := database.rows(f"{query} ORDER BY number LIMIT {_BATCH}", (number, place)):
        for row in rows:
            match row:
                case (int(at), str(kind), float(time_s), str(sender), str(what), bytes(body)) if at == place:
                    yield decode_entry(place, Columns(kind, time_s, sender, what, body), envelope)
                case _:
                    raise StoreError(f"entry {place} of the journal is missing")
            place += 1
    if place != entries:  # check: entries-counted
        raise StoreError(f"the journal has {place} entries and had {entries}")


def read_end(database: Database, number: int) -> EndColumns | None:
    """How a round ended; None if it is open.

    Raises:
        StoreError: it was changed.
    """
    match database.rows("SELECT * FROM ends WHERE round = ?", (number,)):
        case []:
            return None
        case [row] if row[-1] == checksum("ends", row[:-1]):
            _, *columns, _ = row
            return EndColumns(*columns)  # type: ignore[arg-type]  # the table is STRICT
    raise StoreError("how the round ended was changed on the disk")


def remove(disk: Disk, path: Path) -> None:
    """Remove a file, if it is there. The name may come back after a power cut, and is removed at the next start."""
    if disk.facts(path) is not None:
        disk.unlink(path)


def _values(kept: Columns) -> tuple[SqlValue, ...]:
    return kept.kind, kept.time_s, kept.sender, kept.what, kept.body


def _end_row(number: int, end: EndColumns) -> tuple[SqlValue, ...]:
    values = number, end.time_s, end.kind, end.outcome, end.receipt, end.events, end.last, end.opened
    return *values, checksum("ends", values)
