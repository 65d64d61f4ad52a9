"""Privacy ledgers in a folder: what was appended is there after a crash, and nothing that was cut off is.

A task has two files: `NAME.jsonl` with one entry a line, and `NAME.head` with the number and the digest of the last.
An entry is appended and flushed to the disk; then the head is exchanged as a whole. A crash in between leaves a line
that nobody was told of: cut off if it is torn, taken over if it is whole, so that what may have been acted on counts.
Every other difference between the two files is damage, and is left as it is for people to look at.

When the disk refuses, both are taken back in the opposite order, the head first. Should that fail too, what is left
looks like one of the crashes above, and the next reading settles it.

No grpc and no server: `secagg ledger` reads such folders on any machine.
"""

import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from secagg.crypto import labels
from secagg.crypto.transcript import digest
from secagg.errors import ConfigError, LedgerError
from secagg.privacy.ledger import MAX_ENTRY_BYTES, Head, Ledger, follow, task_of
from secagg.programs.folders import flush_folder

ENTRIES: Final = ".jsonl"
HEAD: Final = ".head"
LOCK: Final = "lock"
MARKER: Final = "format"
FORMAT: Final = 1
"""What this release writes: the files that are described above. The file `MARKER` of a folder has the number. A folder
without that file is of format 1: earlier releases wrote none.
"""

MAX_AHEAD_S: Final = 3600.0
"""A file of the folder that is newer than the clock by more than this proves that the clock is wrong, or was."""

ROOM_BYTES: Final = 1 << 16
"""What must fit on the disk when a coordinator starts: a few entries, which have 16 KiB at most."""

_NEW: Final = ".new"


@dataclass(frozen=True, slots=True)
class Stored:
    """What is in the two files of a task.

    Attributes:
        lines: whole lines.
        torn: what stands behind the last line end.
        head: None if there is no such file.
    """

    lines: tuple[bytes, ...]
    torn: bytes
    head: Head | None

    def settled(self, task: str) -> tuple[tuple[bytes, ...], Head | None]:
        """Entries and head after what a crash may leave is put right; damage stays."""
        known = 0 if self.head is None else self.head.entries
        if self.torn:
            return self.lines if len(self.lines) == known else (*self.lines, self.torn), self.head
        if len(self.lines) == known + 1:
            try:
                return self.lines, follow(self.lines[-1], self.head, task)
            except LedgerError:
                return self.lines, self.head
        return self.lines, self.head


def read_files(entries: Path) -> Stored:
    """What is in a ledger's file and in the head beside it. Changes nothing.

    Raises:
        LedgerError: the head is none.
        OSError: cannot be read.
    """
    *lines, torn = entries.read_bytes().split(b"\n") if entries.exists() else [b""]
    beside = entries.with_suffix(HEAD)
    if not beside.exists():
        return Stored(tuple(lines), torn, None)
    try:
        return Stored(tuple(lines), torn, Head.parse(beside.read_text("ascii").removesuffix("\n")))
    except (ConfigError, ValueError):
        raise LedgerError(f"{beside.name} holds no head of a privacy ledger") from None


def entries_files(folder: Path) -> list[Path]:
    """Where the entries of each ledger in a folder are, or were: a head is left when its entries are lost."""
    return sorted({path.with_suffix(ENTRIES) for kind in (ENTRIES, HEAD) for path in folder.glob(f"*{kind}")})


def read_ledger(entries: Path) -> Ledger:
    """The ledger in a file and the head beside it, checked from its first entry to its last. Changes nothing.

    Raises:
        LedgerError: it is damaged.
        OSError: cannot be read.
    """
    stored = read_files(entries)
    task = task_of(stored.lines)
    return Ledger.load(task, *stored.settled(task))


class LedgerFolder:
    """The ledgers of one coordinator, or of one job, in a folder. A `LedgerStore`."""

    durable = True

    def __init__(self, folder: Path) -> None:
        """Args: folder: exists; `locked` keeps others out."""
        self._folder = folder

    def tasks(self) -> Sequence[str]:
        """Tasks whose ledgers lie in the folder. What cannot be read is left out: reading it by name says why."""
        found = []
        for path in sorted(self._folder.glob(f"*{ENTRIES}")):
            with suppress(LedgerError, OSError), path.open("rb") as file:
                found.append(task_of([file.readline(MAX_ENTRY_BYTES + 1)]))
        return found

    def read(self, task: str) -> tuple[Sequence[bytes], Head | None]:
        """The entries and the head of a task, after putting right what a crash may have left.

        Raises:
            LedgerError: the head's file is damaged.
            OSError: cannot be read.
        """
        path = self._path(task)
        stored = read_files(path)
        lines, head = stored.settled(task)
        if stored.torn and len(lines) == len(stored.lines):
            _cut(path, sum(len(line) + 1 for line in lines))
        if head is not None and head != stored.head:
            _flush(path)  # the entry may stand there because flushing it failed
            _exchange(path.with_suffix(HEAD), head.text.encode() + b"\n")
        return lines, head

    def append(self, task: str, entry: bytes, head: Head) -> None:
        """Write the entry, then the head, each safely; if either fails, take both back.

        Raises:
            OSError: cannot be written.
        """
        path = self._path(task)
        beside = path.with_suffix(HEAD)
        size, known = path.stat().st_size if path.exists() else 0, _content(beside)
        try:
            _append(path, entry + b"\n")
            _exchange(beside, head.text.encode() + b"\n")
        except OSError:
            _take_back(path, size, known)
            raise

    def _path(self, task: str) -> Path:
        """Readable, and different for different tasks whatever the file system makes of letters."""
        readable = re.sub("[^A-Za-z0-9_-]", "_", task)[:64]
        return self._folder / f"{readable}-{digest(labels.LEDGER_FILE, task.encode())[:8].hex()}{ENTRIES}"


@contextmanager
def locked(folder: Path, clock: Callable[[], float] = time.time) -> Iterator[LedgerFolder]:
    """The ledgers in a folder, made if there is none, for this process alone.

    Args:
        folder: where they are.
        clock: seconds since 1970.

    Raises:
        ConfigError: another coordinator or job has it, or it cannot be made, or see `check_folder`.
    """
    import fcntl  # noqa: PLC0415 - not on every system that only reads ledgers

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(folder, clock())
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"the ledger folder {folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"the ledger folder {folder} belongs to a coordinator or job that is running") from None
        if not (folder / MARKER).exists():
            _exchange(folder / MARKER, b"%d\n" % FORMAT)
        yield LedgerFolder(folder)
    finally:
        os.close(lock)


def is_locked(folder: Path) -> bool:
    """Whether a coordinator or job that is running has the folder."""
    import fcntl  # noqa: PLC0415 - not on every system that only reads ledgers

    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def check_folder(folder: Path, now: float) -> None:
    """Check that ledgers can be kept in a folder.

    Args:
        folder: is there.
        now: seconds since 1970.

    Raises:
        ConfigError: others can write there, or we cannot, or the disk is full; or another release of secagg uses it in
            a way that we do not know; or the clock is wrong.
    """
    check_privacy(folder)
    check_format(folder)
    check_clock(folder, now)
    check_room(folder)


def check_privacy(folder: Path) -> None:
    """Check that nobody but its owner can write in a folder.

    Raises:
        ConfigError: others can.
    """
    if folder.stat().st_mode & 0o022:
        raise ConfigError(f"the ledger folder {folder} can be written by others").mended_by(
            f"chmod 700 {shlex.quote(str(folder))}"
        )


def check_format(folder: Path) -> None:
    """Check that a folder's ledgers are written as this release reads them.

    Raises:
        ConfigError: they are of another format, and the message says what to do.
    """
    try:
        text = (folder / MARKER).read_text("ascii").strip()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"the ledger folder {folder}: its file {MARKER}: {error.strerror}") from error
    except ValueError:
        text = ""
    if not re.fullmatch(r"[1-9]\d{0,5}", text, re.ASCII):
        raise ConfigError(f"the ledger folder {folder}: its file {MARKER} holds no number; restore it from a backup")
    if int(text) != FORMAT:  # check: ledger-format
        raise ConfigError(
            f"the ledger folder {folder} has format {text}, and this release of secagg knows format {FORMAT} alone; "
            "start the release that wrote it, or a later one"
        )


def check_clock(folder: Path, now: float) -> None:
    """Check that no file of a folder was written in the future. Every folder that was used has a lock and a marker.

    Args:
        folder: is there.
        now: seconds since 1970.

    Raises:
        ConfigError: one was, so the clock of this machine is behind, or was ahead when the file was written.
    """
    for path in folder.iterdir():
        try:
            written = path.lstat().st_mtime
        except FileNotFoundError:  # exchanged by a coordinator that runs
            continue
        if written > now + MAX_AHEAD_S:  # check: ledger-of-the-future
            raise ConfigError(
                f"this machine's clock says {_shown(now)}, and {path} was written at {_shown(written)}: set the clock; "
                "if it is right now and was wrong before, mark the files as written now (touch "
                f"{shlex.quote(str(folder))}/*)"
            ).mended_by("sudo timedatectl set-ntp true")


def check_room(folder: Path) -> None:
    """Check that some entries fit: write as much as they take, and remove it again.

    Raises:
        ConfigError: they do not, or we may not write there.
    """
    probe = folder / f"room-{os.getpid()}{_NEW}"
    try:
        try:
            file = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                _write(file, bytes(ROOM_BYTES))
            finally:
                os.close(file)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the ledger folder {folder} cannot be written: {error.strerror}; give this user a folder of its own on a "
            "disk with room"
        ).mended_by(f"df -h {shlex.quote(str(folder))}; ls -ld {shlex.quote(str(folder))}") from error


def _shown(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _append(path: Path, data: bytes) -> None:
    fresh = not path.exists()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _write(file, data)
    finally:
        os.close(file)
    if fresh:
        flush_folder(path.parent)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _take_back(entries: Path, size: int, known: bytes | None) -> None:
    """Undo an `append` that failed. A head that is in place without its entry would be damage: it goes first."""
    head = entries.with_suffix(HEAD)
    if _content(head) != known:
        if known is None:
            head.unlink()
            flush_folder(head.parent)
        else:
            _exchange(head, known)
    _cut(entries, size)


def _exchange(path: Path, content: bytes) -> None:
    new = path.with_suffix(path.suffix + _NEW)
    file = os.open(new, os.O_WRONLY | os.O_TRUNC | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _write(file, content)
    finally:
        os.close(file)
    new.replace(path)
    flush_folder(path.parent)


def _cut(path: Path, size: int) -> None:
    if not path.exists():
        return
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(file, size)
        os.fsync(file)
    finally:
        os.close(file)


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
    os.fsync(file)


def _flush(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
