"""The store in a folder as a whole.

What is safe when: `open_rounds`, `claim_release`, a journal's `flush` and its `finish` return after a commit, which is
an `fsync` of the database's log and one of the count of commits. Identities, sums that were fetched, claims that are
settled and rounds that are forgotten wait for the next commit of anybody.

An earlier process may have left files that no row names: it died between a file and the commit, or between the commit
and the removal. They are removed at the start.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from sqlite3 import Connection
from threading import RLock

from secagg.context import RoundId
from secagg.crypto import labels
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError, ConfigError, StoreError
from secagg.messages import ParticipantId
from secagg.programs.disk import Disk
from secagg.programs.ledgers.budgets import LedgerStore
from secagg.programs.ledgers.memory import MemoryLedgers
from secagg.rounds.releases import Release
from secagg.wire.configuration import decode_config
from secagg.wire.strikes import Strike
from secagg_server.storage.records import Ended, Entry, RoundRecord
from secagg_server.storage.sqlite.closed import read_closed
from secagg_server.storage.sqlite.counting import CommitCount
from secagg_server.storage.sqlite.database import Database, named
from secagg_server.storage.sqlite.ends import decode_end
from secagg_server.storage.sqlite.folder import StateFolder
from secagg_server.storage.sqlite.history import Happening, untold, write_told
from secagg_server.storage.sqlite.journal import (
    Place,
    SqliteJournal,
    read_end,
    read_entries,
    read_progress,
    remove,
    write_progress,
)
from secagg_server.storage.sqlite.remembered import KeptStrikes, RememberedReleases, SeenIdentities
from secagg_server.storage.sqlite.rows import SqlValue, checksum
from secagg_server.storage.sqlite.schema import check_version, check_whole, migrate, version_of
from secagg_server.storage.sqlite.seals import Envelope, KeyFolder, PlainEnvelope, RoundSeal
from secagg_server.storage.sqlite.spool import FileSpool
from secagg_server.storage.sqlite.sums import open_sum
from secagg_server.storage.store import Journal, KeptRound, LostRound

BROKEN_OFF = "the coordinator could not keep what happened in it, so it was broken off"
KEYLESS = "the key that seals its journal is gone, as it is after a restore from a backup"


class SqliteStore:
    """A `Store` in a folder."""

    durable = True

    def __init__(
        self,
        folder: StateFolder,
        disk: Disk,
        rng: Rng,
        *,
        remember_releases: int = 200,
        ledgers: LedgerStore | None = None,
    ) -> None:
        """Open what an earlier process left, or begin anew.

        Args:
            folder: ours alone (`folder.held`).
            disk: where it is.
            rng: keys of rounds come from it.
            remember_releases: how many; the oldest is forgotten first.
            ledgers: in memory if None.

        Raises:
            StoreError: the database is damaged, gone, of another release, or cannot be written.
        """
        self.ledgers: LedgerStore = ledgers or MemoryLedgers()
        self._order = RLock()  # one transaction after the other, and what is known of them in the same order
        self._releases = RememberedReleases(remember_releases)
        self._identities = SeenIdentities()
        self._strikes = KeptStrikes()
        self._fetched: dict[RoundId, None] = {}
        self._forgotten: dict[RoundId, None] = {}
        self._disk = disk
        self._folder = folder
        self._database = _opened(folder, disk)
        self._count = _counted(folder, disk, self._database)
        self._keys = KeyFolder(disk, folder.keys, rng)
        self._place = Place(disk, folder, self._keys, self._database, self._writing)
        self._releases.load(self._database)
        self._identities.load(self._database)
        self._closed = read_closed(self._database)
        self._strikes.load(self._database)
        self._clear_away()

    def close(self) -> None:
        """Write what waits, if the disk lets us, and let go of the database."""
        with suppress(StoreError), self._writing():
            pass
        self._count.close()
        self._database.close()

    # --- rounds -------------------------------------------------------------------------------------------------------

    def open_rounds(self, records: Sequence[RoundRecord]) -> Sequence[Journal]:
        """A key for each, then all rows in one commit.

        Raises:
            ConfigError: a round is about a model that a restore has closed, or a sum under its id is on record.
            StoreError: the disk refuses.
        """
        for record in records:
            self._check_model(record)
        self._releases.check_new(record.round_id for record in records)
        if any(record.round_id in self._forgotten for record in records):
            with self._writing():  # else the files of the old round would go after those of the new one were made
                pass
        with ExitStack() as undo:
            seals = [self._make_key(record.round_id, undo) for record in records]
            try:
                with self._writing() as connection:
                    numbers = [_insert(connection, *pair) for pair in zip(records, seals, strict=True)]
            except StoreError:
                # It may be on the disk although it failed. Nobody was told, so whoever opens it again opens it anew.
                self._forgotten.update(dict.fromkeys(record.round_id for record in records))
                raise
            undo.pop_all()
        return [
            SqliteJournal(self._place, number, seal.round_id, envelope=seal, spool=self._new_spool(seal.round_id))
            for number, seal in zip(numbers, seals, strict=True)
        ]

    def kept(self) -> Iterator[KeptRound | LostRound]:
        """Each round by itself: one that is damaged is lost, and no other."""
        for number, round_id in self._database.rows("SELECT number, round_id FROM rounds ORDER BY number"):
            if isinstance(number, int) and isinstance(round_id, bytes):
                yield self._kept(number, RoundId(round_id))

    def fetched(self, round_id: RoundId) -> None:
        """Written with the next commit."""
        self._fetched[round_id] = None

    def forget_rounds(self, round_ids: Iterable[RoundId]) -> None:
        """At once if the disk lets us, else with the next commit. Files go after the rows that name them."""
        self._forgotten.update(dict.fromkeys(round_ids))
        with suppress(StoreError), self._writing():
            pass

    def news(self) -> list[Happening]:
        """What operators did with the state since a coordinator had it last. It is told once."""
        happenings = untold(self._database)
        if happenings:
            with self._writing() as connection:
                write_told(connection)
        return happenings

    # --- what is remembered beyond a round ----------------------------------------------------------------------------

    def claim_release(self, round_id: RoundId, release: Release) -> frozenset[ParticipantId]:
        """Checked in memory, and granted after the commit. Should that fail, the claim counts all the same."""
        exposed = self._releases.claim(round_id, release)
        if not exposed:
            with self._writing():
                pass
        return exposed

    def settle_release(self, round_id: RoundId, *, released: bool, may_be_open: bool) -> None:
        """Written with the next commit."""
        self._releases.settle(round_id, released=released, may_be_open=may_be_open)

    def admits(self, question: tuple[bytes, str], participant: ParticipantId) -> bool:
        """Ask the memory of releases."""
        return self._releases.admits(question, participant)

    def see_identity(self, participant: ParticipantId, fingerprint: str) -> bool:
        """Written with the next commit."""
        return self._identities.see(participant, fingerprint)

    def strikes(self) -> Sequence[Strike]:
        """Those of all processes."""
        return self._strikes.all()

    def strike(self, strike: Strike) -> None:
        """At once if the disk lets us, else with the next commit."""
        self._strikes.strike(strike)
        with suppress(StoreError), self._writing():
            pass

    def forgive(self, participant: ParticipantId) -> None:
        """Safe after a commit."""
        self._strikes.forgive(participant)
        with self._writing():
            pass

    # --- inside -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that also writes what waits."""
        with self._order:
            with self._database.writing() as connection:
                forgotten, fetched = list(self._forgotten), list(self._fetched)
                connection.executemany("DELETE FROM rounds WHERE round_id = ?", [(each,) for each in forgotten])
                connection.executemany(
                    "INSERT OR IGNORE INTO fetched SELECT number FROM rounds WHERE round_id = ?",
                    [(each,) for each in fetched],
                )
                known, new = self._releases.write(connection), self._identities.write(connection)
                struck = self._strikes.write(connection)
                yield connection
                self._count.count(connection)
            self._count.committed()
            self._releases.written(known)
            self._identities.written(new)
            self._strikes.written(struck)
            for round_id in forgotten:  # before they count as forgotten: the id may be used again then
                self._remove_files(round_id)
            for done, waiting in ((forgotten, self._forgotten), (fetched, self._fetched)):
                for round_id in done:
                    waiting.pop(round_id, None)

    def _new_spool(self, round_id: RoundId) -> FileSpool:
        return FileSpool(self._disk, self._place.spool(round_id))

    def _check_model(self, record: RoundRecord) -> None:
        if self._closed and decode_config(record.config_bytes).model_digest in self._closed:  # check: closed-model
            raise ConfigError(
                "the coordinator was restored from a backup, and sums of this model may be out that the backup does "
                "not know of; open the round about another model, for example after one more step of training"
            )

    def _make_key(self, round_id: RoundId, undo: ExitStack) -> RoundSeal:
        undo.callback(self._remove_files, round_id)
        try:
            return self._keys.make(round_id)
        except OSError as error:
            raise named(error) from error

    def _kept(self, number: int, round_id: RoundId) -> KeptRound | LostRound:
        record: RoundRecord | None = None
        try:
            end = read_end(self._database, number)
            seal = None if end is not None else self._keys.read(round_id)
            record = self._record(number, seal)
            if self._keys.broken_off(round_id):  # check: broken-off
                raise StoreError(BROKEN_OFF)
            if end is None and seal is None:  # check: key-of-the-round
                raise StoreError(KEYLESS)
            ended = None if end is None else decode_end(end, partial(open_sum, self._disk, self._place.sum(round_id)))
            return self._whole(number, record, ended, PlainEnvelope(round_id) if seal is None else seal)
        except OSError as error:
            return LostRound(round_id, str(named(error)), record)
        except StoreError as error:
            return LostRound(round_id, str(error), record)

    def _whole(self, number: int, record: RoundRecord, ended: Ended | None, envelope: Envelope) -> KeptRound:
        entries, spooled = read_progress(self._database, number)
        spool = FileSpool.reopened(self._disk, self._place.spool(record.round_id), spooled)
        journal = SqliteJournal(self._place, number, record.round_id, envelope=envelope, spool=spool, entries=entries)

        def read() -> Iterator[Entry]:
            return read_entries(self._database, number, entries, envelope)

        fetched = bool(self._database.rows("SELECT round FROM fetched WHERE round = ?", (number,)))
        return KeptRound(record, journal, read, ended, fetched)

    def _record(self, number: int, seal: RoundSeal | None) -> RoundRecord:
        """The opening of a round. The seed of noise is left out where the key is gone."""
        match self._database.rows("SELECT * FROM rounds WHERE number = ?", (number,)):
            case [row] if row[-1] == checksum("rounds", row[:-1]):
                return _read_record(row, seal)
        raise StoreError("how the round was opened was changed on the disk")

    def _clear_away(self) -> None:
        """Remove files that no row needs: those of forgotten rounds, and keys and vectors of rounds that are over."""
        rounds = {round_id for (round_id,) in self._database.rows("SELECT round_id FROM rounds")}
        over = {
            round_id for (round_id,) in self._database.rows("SELECT round_id FROM rounds JOIN ends ON round = number")
        }
        with suppress(OSError):
            for round_id in self._keys.rounds():
                if round_id not in rounds:
                    self._keys.forget(round_id)
                elif round_id in over:
                    self._keys.destroy(round_id)
            spools = {self._place.spool(RoundId(each)).name for each in rounds - over if isinstance(each, bytes)}
            sums = {self._place.sum(RoundId(each)).name for each in over if isinstance(each, bytes)}
            for folder, needed in ((self._folder.spool, spools), (self._folder.sums, sums)):
                for name in self._disk.names(folder):
                    if name not in needed:
                        self._disk.unlink(folder / name)

    def _remove_files(self, round_id: RoundId) -> None:
        with suppress(OSError):
            self._keys.forget(round_id)
            remove(self._disk, self._place.spool(round_id))
            remove(self._disk, self._place.sum(round_id))


def _opened(folder: StateFolder, disk: Disk) -> Database:
    """The database of a folder, with all tables, and the folders beside it."""
    try:
        used = disk.facts(folder.keys) is not None
        if used and disk.facts(folder.database) is None:  # check: database-gone
            raise StoreError(
                f"{folder.database} is gone, so nobody knows which sums are out; restore a backup into another folder, "
                "or name a new folder in state_dir if nothing was released from this one"
            )
        database = Database(disk, folder.database)
        if version_of(database) == 0:
            migrate(database)
        check_version(database, folder.path)
        check_whole(database)
        for path in (folder.spool, folder.sums, folder.keys):
            disk.make_folder(path)
    except OSError as error:
        raise named(error) from error
    return database


def _counted(folder: StateFolder, disk: Disk, database: Database) -> CommitCount:
    try:
        return CommitCount(disk, folder.commits, database)
    except OSError as error:
        raise named(error) from error


def _insert(connection: Connection, record: RoundRecord, seal: RoundSeal) -> int:
    """The number of the round's row."""
    seed = None if record.noise_seed is None else seal.seal(labels.NOISE_SEED, record.noise_seed.expose())
    (number,) = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM rounds").fetchone()
    values: tuple[SqlValue, ...] = (
        number,
        record.round_id,
        record.config_bytes,
        record.opened_s,
        record.trust_pem,
        seed,
    )
    connection.execute("INSERT INTO rounds VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, checksum("rounds", values)))
    write_progress(connection, number, 0, 0)
    return int(number)


def _read_record(row: tuple[SqlValue, ...], seal: RoundSeal | None) -> RoundRecord:
    match row:
        case (int(), bytes(round_id), bytes(config), float(opened_s), bytes(trust), seed, _):
            try:
                noise = Secret(seal.unseal(labels.NOISE_SEED, seed)) if seal and isinstance(seed, bytes) else None
            except AuthenticationError:
                raise StoreError("the seed of the round's noise was changed on the disk, or its key was") from None
            return RoundRecord(RoundId(round_id), config, opened_s, trust, noise)
    raise StoreError("how the round was opened was changed on the disk")
