"""What is remembered beyond a round, in memory and in tables: sums that are out, identities that were seen, strikes.

A claim is safe before it is granted. Everything else is written with the next commit of anybody, and costs no flush of
its own. Should it be lost, that is on the safe side: a claim counts longer than it must, or the log names an identity
as new a second time.
"""

from collections.abc import Iterable
from sqlite3 import Connection
from threading import Lock
from typing import Final

from secagg.context import RoundId
from secagg.errors import StoreError
from secagg.messages import ParticipantId
from secagg.rounds.releases import Release, ReleaseMemory
from secagg.wire.strikes import Strike
from secagg_server.storage.sqlite.database import Database
from secagg_server.storage.sqlite.entries import join, split
from secagg_server.storage.sqlite.rows import SqlValue, checksum

Known = dict[RoundId, tuple[Release, bool]]
"""Sums by round, oldest first, each with whether its round failed after somebody may have opened it."""

_SELECT: Final = (
    "SELECT round_id, model_digest, purpose, threshold, survivors, failed, checksum FROM releases ORDER BY number"
)
_UPSERT: Final = (
    "INSERT INTO releases (round_id, model_digest, purpose, threshold, survivors, failed, checksum) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (round_id) DO UPDATE SET "
    "model_digest = excluded.model_digest, purpose = excluded.purpose, threshold = excluded.threshold, "
    "survivors = excluded.survivors, failed = excluded.failed, checksum = excluded.checksum"
)
_STRIKE: Final = "INSERT OR IGNORE INTO strikes (participant, round_id, time_s, why, checksum) VALUES (?, ?, ?, ?, ?)"


class RememberedReleases:
    """`ReleaseMemory`, and its table. Called from several threads; `write` by one at a time."""

    def __init__(self, limit: int) -> None:
        """Args: limit: as of `ReleaseMemory`."""
        self._memory = ReleaseMemory(limit)
        self._lock = Lock()  # of the memory; nobody waits for the disk under it
        self._written: Known = {}
        self._changes = 0  # since the start,
        self._kept = 0  # and those that the table has

    def load(self, database: Database) -> None:
        """Read what an earlier process left.

        Raises:
            StoreError: a row was changed on the disk, so nobody knows what may be released.
        """
        for row in database.rows(_SELECT):
            round_id, release, failed = _read(row)
            self._written[round_id] = release, failed
            self._memory.record(round_id, release)
            if failed:
                self._memory.settle(round_id, released=False, may_be_open=True)

    def claim(self, round_id: RoundId, release: Release) -> frozenset[ParticipantId]:
        """As `ReleaseMemory.claim`. What is granted counts from now on; `write` makes it safe."""
        with self._lock:
            self._changes += 1
            return self._memory.claim(round_id, release)

    def check_new(self, round_ids: Iterable[RoundId]) -> None:
        """As `ReleaseMemory.check_new`."""
        with self._lock:
            self._memory.check_new(round_ids)

    def settle(self, round_id: RoundId, *, released: bool, may_be_open: bool) -> None:
        """As `ReleaseMemory.settle`."""
        with self._lock:
            self._changes += 1
            self._memory.settle(round_id, released=released, may_be_open=may_be_open)

    def admits(self, question: tuple[bytes, str], participant: ParticipantId) -> bool:
        """As `ReleaseMemory.admits`."""
        with self._lock:
            return self._memory.admits(question, participant)

    def write(self, connection: Connection) -> tuple[Known, int]:
        """Make the table say what the memory does. Hand what is returned to `written` after the commit."""
        with self._lock:
            changes = self._changes
            if changes == self._kept:
                return self._written, changes
            failed = self._memory.failed
            known = {of: (release, of in failed) for of, release in self._memory.rounds.items()}
        for gone in self._written.keys() - known.keys():
            connection.execute("DELETE FROM releases WHERE round_id = ?", (gone,))
        for round_id, (release, open_) in known.items():
            if self._written.get(round_id) != (release, open_):
                connection.execute(_UPSERT, _columns(round_id, release, open_))
        return known, changes

    def written(self, known: tuple[Known, int]) -> None:
        """The commit succeeded."""
        self._written, self._kept = known


def _columns(round_id: RoundId, release: Release, failed: bool) -> tuple[SqlValue, ...]:
    survivors = join(name.encode() for name in sorted(release.survivors))
    values = round_id, release.model_digest, release.purpose, release.threshold, survivors, int(failed)
    return *values, checksum("releases", values)


def _read(row: tuple[SqlValue, ...]) -> tuple[RoundId, Release, bool]:
    if row[-1] != checksum("releases", row[:-1]):  # check: release-checksum
        raise StoreError(
            "a row of the sums that are out was changed on the disk, so nobody knows which sums may still be released; "
            "restore a backup into another folder, and see what it says of sums since then"
        )
    match row:
        case (bytes(round_id), bytes(digest), str(purpose), int(threshold), bytes(survivors), int(failed), _):
            names = frozenset(ParticipantId(name.decode()) for name in split(survivors))
            return RoundId(round_id), Release(digest, names, threshold, purpose), bool(failed)
    raise TypeError("the table is STRICT")


class KeptStrikes:
    """Proven faults of participants. Called from several threads; `write` by one at a time."""

    def __init__(self) -> None:
        self._known: dict[tuple[ParticipantId, RoundId], Strike] = {}
        self._waiting: list[Strike | ParticipantId] = []  # what the table lacks, or whom it must forget, in order
        self._lock = Lock()

    def load(self, database: Database) -> None:
        """Read what an earlier process left.

        Raises:
            StoreError: a row was changed on the disk, so somebody could be let in who is kept out.
        """
        for row in database.rows("SELECT participant, round_id, time_s, why, checksum FROM strikes ORDER BY number"):
            if row[-1] != checksum("strikes", row[:-1]):  # check: strike-checksum
                raise StoreError(
                    "a row of the strikes was changed on the disk, so nobody knows who is kept out; restore a backup "
                    "into another folder"
                )
            match row:
                case (str(participant), bytes(round_id), float(time_s), str(why), _):
                    strike = Strike(ParticipantId(participant), RoundId(round_id), time_s, why)
                    self._known[strike.participant, strike.round_id] = strike

    def all(self) -> list[Strike]:
        """Every strike, oldest first."""
        with self._lock:
            return list(self._known.values())

    def strike(self, strike: Strike) -> None:
        """Keep a strike; the first of a participant in a round counts."""
        with self._lock:
            if (strike.participant, strike.round_id) not in self._known:
                self._known[strike.participant, strike.round_id] = strike
                self._waiting.append(strike)

    def forgive(self, participant: ParticipantId) -> None:
        """Forget the strikes of a participant."""
        with self._lock:
            self._known = {key: each for key, each in self._known.items() if each.participant != participant}
            self._waiting.append(participant)

    def write(self, connection: Connection) -> int:
        """Write what waits. Hand what is returned to `written` after the commit."""
        with self._lock:
            waiting = list(self._waiting)
        for each in waiting:
            if isinstance(each, Strike):
                values = each.participant, each.round_id, each.time_s, each.why
                connection.execute(_STRIKE, (*values, checksum("strikes", values)))
            else:
                connection.execute("DELETE FROM strikes WHERE participant = ?", (each,))
        return len(waiting)

    def written(self, count: int) -> None:
        """The commit succeeded."""
        with self._lock:
            del self._waiting[:count]


class SeenIdentities:
    """Certificates that participants connected with. Called from several threads; `write` by one at a time."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()
        self._new: dict[tuple[str, str], None] = {}

    def load(self, database: Database) -> None:
        """Read what an earlier process left."""
        for row in database.rows("SELECT participant, fingerprint FROM identities"):
            match row:
                case (str(participant), str(fingerprint)):
                    self._seen.add((participant, fingerprint))

    def see(self, participant: ParticipantId, fingerprint: str) -> bool:
        """Remember the certificate; whether it is the first time."""
        identity = participant, fingerprint
        if identity in self._seen:
            return False
        self._seen.add(identity)
        self._new[identity] = None
        return True

    def write(self, connection: Connection) -> list[tuple[str, str]]:
        """Write those that are new. Hand what is returned to `written` after the commit."""
        new = list(self._new)
        connection.executemany("INSERT OR IGNORE INTO identities VALUES (?, ?)", new)
        return new

    def written(self, new: Iterable[tuple[str, str]]) -> None:
        """The commit succeeded."""
        for identity in new:
            self._new.pop(identity, None)
