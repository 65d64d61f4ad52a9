"""The tables, as the steps that made them: a new database takes all of them, an older one those that it lacks.

A step is never changed once it was released; what changes is a new step at the end. The number of steps that a database
took is its version (`user_version`). A newer version than ours is refused, since only the release that made it knows
what its tables promise.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from secagg.errors import StoreError
from secagg_server.storage.sqlite.database import Database
from secagg_server.storage.sqlite.folder import StateFolder

APPLICATION_ID: Final = 0x53454341
"""What SQLite and file(1) are told of whose file it is: "SECA"."""

_NOT_OURS: Final = "state.sqlite is no state of a coordinator; name another folder in state_dir"
_HEAD_SIZE: Final = 100
_VERSION_AT: Final = 60
_APPLICATION_AT: Final = 68
"""Where a file of SQLite has these numbers, 4 bytes big-endian."""

STEPS: Final[Sequence[Sequence[str]]] = (
    (
        # How many commits there were, so that a database that went back is found out.
        "CREATE TABLE commits (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL) STRICT",
        # Rounds that are not forgotten, and the groups of such rounds. `noise_seed` is sealed under the round's key.
        """CREATE TABLE rounds (
            number INTEGER PRIMARY KEY,  -- in the order of opening
            round_id BLOB NOT NULL UNIQUE,
            config BLOB NOT NULL,
            opened_s REAL NOT NULL,  -- since 1970
            trust BLOB NOT NULL,
            noise_seed BLOB,
            checksum BLOB NOT NULL
        ) STRICT""",
        # How much of a round is safe.
        """CREATE TABLE progress (
            round INTEGER PRIMARY KEY REFERENCES rounds ON DELETE CASCADE,
            entries INTEGER NOT NULL,  -- in `entries`
            spooled INTEGER NOT NULL,  -- bytes in the spool
            checksum BLOB NOT NULL
        ) STRICT""",
        # Rounds whose sum somebody has.
        "CREATE TABLE fetched (round INTEGER PRIMARY KEY REFERENCES rounds ON DELETE CASCADE) STRICT",
        # Journals. `body` is sealed under the round's key; of a round that is over it ends with a checksum.
        """CREATE TABLE entries (
            round INTEGER NOT NULL REFERENCES rounds ON DELETE CASCADE,
            number INTEGER NOT NULL,  -- from 0 on
            kind TEXT NOT NULL,
            time_s REAL NOT NULL,
            sender TEXT NOT NULL,
            what TEXT NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (round, number)
        ) STRICT, WITHOUT ROWID""",
        # How rounds ended.
        """CREATE TABLE ends (
            round INTEGER PRIMARY KEY REFERENCES rounds ON DELETE CASCADE,
            time_s REAL NOT NULL,
            kind TEXT NOT NULL,
            outcome BLOB NOT NULL,
            receipt BLOB,
            events BLOB NOT NULL,
            last BLOB,
            opened INTEGER NOT NULL,
            checksum BLOB NOT NULL
        ) STRICT""",
        # Sums that are out or may be. They are remembered longer than their rounds.
        """CREATE TABLE releases (
            number INTEGER PRIMARY KEY,  -- the oldest first
            round_id BLOB NOT NULL UNIQUE,
            model_digest BLOB NOT NULL,
            purpose TEXT NOT NULL,
            threshold INTEGER NOT NULL,
            survivors BLOB NOT NULL,
            failed INTEGER NOT NULL,  -- whether the round failed after somebody may have opened the sum
            checksum BLOB NOT NULL
        ) STRICT""",
        # Certificates that were seen, so that the log says of each once that it is new. Nothing else depends on them.
        """CREATE TABLE identities (
            participant TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            PRIMARY KEY (participant, fingerprint)
        ) STRICT, WITHOUT ROWID""",
        # Proven faults that no operator forgave.
        """CREATE TABLE strikes (
            number INTEGER PRIMARY KEY,  -- the oldest first
            participant TEXT NOT NULL,
            round_id BLOB NOT NULL,
            time_s REAL NOT NULL,
            why TEXT NOT NULL,
            checksum BLOB NOT NULL,
            UNIQUE (participant, round_id)
        ) STRICT""",
    ),
    (
        # What operators did with the state, until the log has it.
        """CREATE TABLE history (
            number INTEGER PRIMARY KEY,
            at_s REAL NOT NULL,  -- since 1970
            what TEXT NOT NULL,
            detail TEXT NOT NULL,
            told INTEGER NOT NULL
        ) STRICT""",
        # Models about which no round is opened after a restore.
        "CREATE TABLE closed (model_digest BLOB PRIMARY KEY, checksum BLOB NOT NULL) STRICT, WITHOUT ROWID",
    ),
)
"""The statements of each step. The first makes version 1."""


def version_of(database: Database) -> int:
    """How many steps the database took; 0 for a new one.

    Raises:
        StoreError: it is not ours, or it is damaged.
    """
    (application,), (version,) = database.rows("PRAGMA application_id") + database.rows("PRAGMA user_version")
    if (application, version) == (0, 0) and not database.rows("SELECT name FROM sqlite_schema"):
        return 0
    if application != APPLICATION_ID or not isinstance(version, int):  # check: our-database
        raise StoreError(_NOT_OURS)
    return version


def check_version(database: Database, folder: Path, steps: Sequence[Sequence[str]] = STEPS) -> None:
    """Check that the database is as this release makes it.

    Raises:
        StoreError: it is older or newer; the message says what to do.
    """
    _check(version_of(database), folder, steps)


def _check(version: int, folder: Path, steps: Sequence[Sequence[str]]) -> None:
    check_newer(version, steps)
    if version < len(steps):
        raise StoreError(
            f"the state in {folder} has version {version}, and this release of secagg has version {len(steps)}: make "
            "a backup, since the older release cannot read it afterwards, and migrate it"
        ).mended_by(f"secagg-server migrate --state-dir {shlex.quote(str(folder))}")


def check_file(folder: StateFolder) -> int:
    """Check the version of a database by the first bytes of its file, without opening it: 0 if there is none.

    Raises:
        StoreError: it is no database of ours, or of an older or newer release.
        OSError: it cannot be read.
    """
    if not folder.database.exists() or not folder.database.stat().st_size:
        return 0
    with folder.database.open("rb") as file:
        head = file.read(_HEAD_SIZE)
    version, application = (int.from_bytes(head[at : at + 4], "big") for at in (_VERSION_AT, _APPLICATION_AT))
    if not head.startswith(b"SQLite format 3\0"):
        raise StoreError("state.sqlite is damaged: file is not a database")
    if (application, version) == (0, 0):  # a process was killed before its first checkpoint
        return 0
    if application != APPLICATION_ID:
        raise StoreError(_NOT_OURS)
    _check(version, folder.path, STEPS)
    return version


def check_newer(version: int, steps: Sequence[Sequence[str]] = STEPS) -> None:
    """Check that a version is none of a later release.

    Raises:
        StoreError: it is.
    """
    if version > len(steps):  # check: newer-schema
        raise StoreError(
            f"the state has version {version}, and this release of secagg knows versions up to {len(steps)}; start the "
            "release that wrote it, or a later one"
        )


def migrate(database: Database, steps: Sequence[Sequence[str]] = STEPS) -> tuple[int, int]:
    """Take all steps that the database lacks: all of them, or none if one fails.

    Returns:
        The version before and after.

    Raises:
        StoreError: it is newer than this release, or not ours, or cannot be written.
    """
    before = version_of(database)
    check_newer(before, steps)
    with database.writing() as connection:
        for step in steps[before:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
    return before, len(steps)


def check_whole(database: Database) -> None:
    """Check that pages and indexes of a database fit together.

    Raises:
        StoreError: they do not.
    """
    found = [str(text) for (text,) in database.rows("PRAGMA integrity_check(1)")]
    if found != ["ok"]:  # check: database-whole
        raise StoreError(f"state.sqlite is damaged: {found[0]}; restore a backup into another folder")
