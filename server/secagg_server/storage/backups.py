"""Backups of a state folder: made while its coordinator runs, and restored into a folder that is new.

A backup is a folder with copies of the database, finished sums, privacy ledgers and the audit log, and with a list of
these files and their digests, which is written last: without it the backup is not whole. It holds no key, no vector and
no journal, so it shows no secret. Rounds that are open while it is made are in it by name alone, and fail by name after
a restore: another set of survivors could have been shown since.

A restored coordinator does not know what was released and spent since the backup was made. So `restore` closes every
model that the backup knows, since more sums of it may be out, and leaves each privacy ledger as one that was rolled
back, unless its head is named and proves that nothing is missing. Whoever knows that no coordinator ran since then can
say so.
"""

import hashlib
import json
import re
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from secagg import __version__
from secagg.context import RoundId
from secagg.errors import ConfigError, LedgerError, RemoteError, StoreError
from secagg.privacy.ledger import Head, Ledger
from secagg.programs.disk import REAL_DISK, exchange
from secagg.programs.ledgers.files import ENTRIES, HEAD, MARKER, entries_files, read_ledger
from secagg.wire.configuration import decode_config
from secagg_server.storage.records import Released
from secagg_server.storage.sqlite.closed import close_models
from secagg_server.storage.sqlite.database import Database, named
from secagg_server.storage.sqlite.folder import StateFolder
from secagg_server.storage.sqlite.history import RESTORED, Happening, write_history
from secagg_server.storage.sqlite.journal import write_progress
from secagg_server.storage.sqlite.schema import check_newer, check_whole, migrate, version_of

MANIFEST: Final = "backup.json"
KIND: Final = "secagg-server backup"
VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 16 << 20
TRIES: Final = 5
"""Times that a ledger is copied while entries come in between."""

_OPEN: Final = "SELECT number FROM rounds WHERE number NOT IN (SELECT round FROM ends)"
_NAME: Final = re.compile(r"(?:(?:sums|ledgers|audit)/)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a backup holds.

    Attributes:
        made_ms: when it was begun, in milliseconds since 1970.
        release: of secagg, that made it.
        schema: version of the database.
        open_rounds: how many rounds were open then; each group counts, and so does what it is a group of.
        finished_rounds: how many were over, and not forgotten.
        heads: of the privacy ledgers, by task.
        files: SHA-256 of each, hexadecimal, by name.
    """

    made_ms: int
    release: str
    schema: int
    open_rounds: int
    finished_rounds: int
    heads: Mapping[str, str]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did.

    Attributes:
        contents: of the backup.
        closed_models: digests of models, hexadecimal, about which no round is opened any more.
        locked_tasks: tasks whose ledgers count as rolled back.
        kept_ledgers: whether `ledger_dir` had ledgers already, which were left as they are.
    """

    contents: Contents
    closed_models: tuple[str, ...]
    locked_tasks: tuple[str, ...]
    kept_ledgers: bool


# --- making one -------------------------------------------------------------------------------------------------------


def back_up(state: StateFolder, ledgers: Path, destination: Path, now: float) -> Contents:
    """Make a backup. The database is copied first, so ledgers and audit log are never older than it.

    Args:
        state: the folder of a coordinator, which may be running.
        ledgers: its privacy ledgers.
        destination: a folder that is not there, or is empty.
        now: seconds since 1970.

    Raises:
        ConfigError: there is no state, or the destination is not empty.
        LedgerError: a ledger is damaged.
        StoreError: the database is damaged or of a newer release, or the disk refuses.
    """
    if not state.database.is_file():
        raise ConfigError(f"{state.path} holds no state of a coordinator: there is no {state.database.name}")
    try:
        _begin(destination)
        schema, open_rounds, finished = _copy_database(state, destination)
        heads = _copy_ledgers(ledgers, destination / "ledgers")
        _copy_audit(state.audit, destination / "audit")
        files = {str(path.relative_to(destination)): _digest(path) for path in _files(destination)}
        contents = Contents(
            made_ms=round(now * 1000),
            release=__version__,
            schema=schema,
            open_rounds=open_rounds,
            finished_rounds=finished,
            heads=heads,
            files=files,
        )
        text = json.dumps({"kind": KIND, "version": VERSION, **asdict(contents)}, indent=2)
        exchange(REAL_DISK, destination / MANIFEST, text.encode() + b"\n")
    except OSError as error:
        raise named(error) from error
    return contents


def _begin(folder: Path) -> None:
    """Make the folder, for its owner alone."""
    if not _is_free(folder):
        raise ConfigError(f"{folder} is not empty; name a folder that is not there yet")
    REAL_DISK.make_folder(folder)
    folder.chmod(0o700)


def _copy_database(state: StateFolder, destination: Path) -> tuple[int, int, int]:
    """Version of the schema, and how many rounds are open and over."""
    path = destination / state.database.name
    REAL_DISK.open(path, make=True).close()
    try:
        with (
            closing(sqlite3.connect(f"{REAL_DISK.database(state.database)}?mode=rw", uri=True)) as source,
            closing(sqlite3.connect(path)) as copy,
        ):
            source.backup(copy)
    except sqlite3.Error as error:
        raise named(error) from error
    with closing(Database(REAL_DISK, path)) as database:
        schema = version_of(database)
        check_newer(schema)
        check_whole(database)
        open_rounds = [number for (number,) in database.rows(_OPEN)]
        with database.writing() as connection:
            for number in open_rounds:
                connection.execute("DELETE FROM entries WHERE round = ?", (number,))
                write_progress(connection, int(str(number)), 0, 0)
        _copy_sums(database, state.sums, destination / "sums")
        ((finished,),) = database.rows("SELECT count(*) FROM ends")
        database.pack()
    return schema, len(open_rounds), int(str(finished))


def _copy_sums(database: Database, sums: Path, destination: Path) -> None:
    """Copy each finished sum. One that was forgotten meanwhile is forgotten in the copy, too."""
    query = "SELECT number, round_id FROM rounds JOIN ends ON round = number WHERE kind = ?"
    for number, round_id in database.rows(query, (Released.__name__,)):
        name = f"{RoundId(bytes(round_id)).hex()}.sum" if isinstance(round_id, bytes) else ""
        try:
            _copy(sums / name, destination / name)
        except FileNotFoundError:
            with database.writing() as connection:
                connection.execute("DELETE FROM rounds WHERE number = ?", (number,))


def _copy_ledgers(ledgers: Path, destination: Path) -> dict[str, str]:
    """The heads of the copies, by task."""
    heads: dict[str, str] = {}
    if not ledgers.is_dir():
        return heads
    for path in entries_files(ledgers):
        ledger = _copy_ledger(path, destination)
        heads[ledger.task] = ledger.head.text
    if (ledgers / MARKER).exists():
        _copy(ledgers / MARKER, destination / MARKER)
    return heads


def _copy_ledger(path: Path, destination: Path) -> Ledger:
    """Copy both files of a task. While an entry comes in between, they do not fit each other."""
    for left in reversed(range(TRIES)):
        for each in (path.with_suffix(HEAD), path):
            _copy(each, destination / each.name)
        try:
            return read_ledger(destination / path.name)
        except LedgerError:
            if not left:
                raise
    raise AssertionError


def _copy_audit(audit: Path, destination: Path) -> None:
    """Copy the log. What is written while it is copied is in the copy or not; a torn line is cut off at the start."""
    if audit.is_dir():
        names = sorted(path.name for path in audit.iterdir() if path.is_file() and not path.name.endswith(".new"))
        for name in sorted(names, key=lambda name: name.endswith(".jsonl")):  # the head first: it may be behind the log
            _copy(audit / name, destination / name)


# --- restoring one ----------------------------------------------------------------------------------------------------


def restore(
    source: Path, state: StateFolder, ledgers: Path, *, heads: Mapping[str, Head], nothing_since: bool, now: float
) -> Restored:
    """Put a backup into a state folder. Nothing is written before everything was checked.

    Args:
        source: the backup.
        state: a folder that is not there, or is empty.
        ledgers: where privacy ledgers are to be. If there are some already, they must go on from those of the backup,
            and stay.
        heads: of ledgers, by task: the last ones that anybody saw.
        nothing_since: whether no coordinator ran with the state since the backup was made.
        now: seconds since 1970.

    Raises:
        ConfigError: the folder is not empty, or `source` is no backup, or one that is not whole; or some of the
            backup's ledgers are in `ledgers` and others are not, as a restore leaves them that was broken off.
        LedgerError: a ledger of the backup is behind its head, or one that is there already is behind the backup.
        StoreError: the backup is damaged or of a newer release, or the disk refuses.
    """
    contents = read_backup(source)
    if not _is_free(state.path):
        raise ConfigError(f"{state.path} is not empty: restore into another folder, and name that one in state_dir")
    kept_ledgers = ledgers.is_dir() and bool(entries_files(ledgers))
    copies = {path.name: read_ledger(path) for path in entries_files(source / "ledgers")}
    used = _kept(ledgers, copies) if kept_ledgers else copies.values()
    known = {ledger.task: ledger for ledger in used}
    for task, head in heads.items():
        if task not in known:
            have, whose = ", ".join(sorted(known)) or "none", str(ledgers) if kept_ledgers else "the backup"
            raise ConfigError(f"{whose} has no privacy ledger of task {task!r}; it has those of: {have}")
        known[task].check_head(head)
    models = () if nothing_since else tuple(sorted(_models(source / state.database.name)))
    locked = () if nothing_since or kept_ledgers else tuple(sorted(known.keys() - heads.keys()))
    try:
        _begin(state.path)
        REAL_DISK.make_folder(state.keys)  # from here on a folder without a database is not taken for a new one
        for folder, target in (("sums", state.sums), ("audit", state.audit)):
            _copy_all(source / folder, target)
        if not kept_ledgers:
            _put_ledgers(source / "ledgers", ledgers, copies, locked)
        _restore_database(source, state, models, Happening(now, RESTORED, str(contents.made_ms)))
    except OSError as error:
        raise named(error) from error
    closed = tuple(model.hex() for model in models)
    return Restored(contents=contents, closed_models=closed, locked_tasks=locked, kept_ledgers=kept_ledgers)


def read_backup(source: Path) -> Contents:
    """What a backup holds, after each of its files was compared with its digest.

    Raises:
        ConfigError: it is none, or it is not whole.
        StoreError: a file was changed, or it is of a newer release.
    """
    try:
        contents = _parsed((source / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{source} is no backup, or one that was not finished: it has no {MANIFEST}") from None
    except OSError as error:
        raise ConfigError(f"the backup {source}: {error.strerror}") from error
    check_newer(contents.schema)
    for name, digest in contents.files.items():
        try:
            found = _digest(source / name)
        except OSError as error:
            raise StoreError(f"the backup {source} lacks {name}: {error.strerror}") from None
        if found != digest:  # check: backup-digest
            raise StoreError(f"the backup {source} is damaged: {name} was changed")
    return contents


def _parsed(text: bytes) -> Contents:
    try:
        found: Any = json.loads(text) if len(text) <= MAX_MANIFEST_BYTES else None
        if (found.pop("kind"), found.pop("version")) != (KIND, VERSION):
            raise ConfigError(f"this release of secagg cannot read {MANIFEST}; use the release that made the backup")
        contents = Contents(**found)
        names = all(_NAME.fullmatch(name) and _DIGEST.fullmatch(digest) for name, digest in contents.files.items())
        if not names or not isinstance(contents.schema, int) or StateFolder(Path()).database.name not in contents.files:
            raise ValueError(MANIFEST)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise ConfigError(f"{MANIFEST} is not well-formed, so this is no backup") from None
    return contents


def _restore_database(source: Path, state: StateFolder, models: Sequence[bytes], happening: Happening) -> None:
    new = state.path / f"{state.database.name}.new"
    _copy(source / state.database.name, new)
    with closing(Database(REAL_DISK, new)) as database:
        migrate(database)
        check_whole(database)
        with database.writing() as connection:
            close_models(connection, models)
            write_history(connection, happening)
        database.pack()
    REAL_DISK.rename(new, state.database)
    REAL_DISK.flush_folder(state.path)


def _models(path: Path) -> set[bytes]:
    """Digests of the models that a database knows: sums of them were released, or may have been since."""
    try:
        with closing(sqlite3.connect(f"{REAL_DISK.database(path)}?mode=ro&immutable=1", uri=True)) as connection:
            found = {bytes(digest) for (digest,) in connection.execute("SELECT model_digest FROM releases")}
            configs = [bytes(config) for (config,) in connection.execute("SELECT config FROM rounds")]
    except sqlite3.Error as error:
        raise named(error) from error
    try:
        return found | {decode_config(config).model_digest for config in configs}
    except RemoteError as error:
        raise StoreError(f"the backup is damaged: the configuration of a round cannot be read: {error}") from None


def _kept(ledgers: Path, copies: Mapping[str, Ledger]) -> list[Ledger]:
    """The ledgers that are there already, after each of the backup was found in them. One that cannot be read stays,
    and refuses rounds with noise by itself.
    """
    there, found = {path.name: path for path in entries_files(ledgers)}, list[Ledger]()
    for name, copy in copies.items():
        if name not in there:  # check: ledgers-all-there
            raise ConfigError(
                f"{ledgers} has privacy ledgers, and none of task {copy.task!r}, as a restore leaves it that was "
                "broken off: empty that folder if so, or restore the ledgers into another one"
            )
        with suppress(LedgerError):
            found.append(read_ledger(there[name]))
    for ledger in found:
        ledger.check_head(next(copy for copy in copies.values() if copy.task == ledger.task).head)
    return found


def _put_ledgers(source: Path, ledgers: Path, copies: Mapping[str, Ledger], locked: Collection[str]) -> None:
    """Copy the ledgers, those of the tasks in `locked` so that they count as rolled back: with a head that is ahead of
    them. Heads come first, so that a ledger which came without its head is never there.
    """
    for path in sorted(_files(source), key=lambda path: path.suffix != HEAD) if source.is_dir() else ():
        of = copies.get(path.with_suffix(ENTRIES).name)
        if path.suffix == HEAD and of is not None and of.task in locked:
            REAL_DISK.make_folder(ledgers)
            ahead = Head(of.head.entries + 1, bytes(32))
            exchange(REAL_DISK, ledgers / path.name, ahead.text.encode() + b"\n")
        else:
            _copy(path, ledgers / path.name)


# --- files ------------------------------------------------------------------------------------------------------------


def _copy_all(source: Path, destination: Path) -> None:
    for path in _files(source) if source.is_dir() else ():
        _copy(path, destination / path.name)


def _copy(source: Path, destination: Path) -> None:
    """Copy a file; the copy is safe on return, and its owner's alone."""
    with source.open("rb") as content:
        REAL_DISK.make_folder(destination.parent)
        with suppress(FileNotFoundError):
            destination.unlink()
        with REAL_DISK.open(destination, make=True) as copy:
            offset = 0
            while piece := content.read(1 << 20):
                copy.write_at(offset, piece)
                offset += len(piece)
            copy.flush()
    REAL_DISK.flush_folder(destination.parent)


def _is_free(folder: Path) -> bool:
    """Whether nothing is there yet, or an empty folder."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
