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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.crypto import labels
from secagg.crypto.transcript import digest
from secagg.errors import ConfigError, LedgerError
from secagg.privacy.ledger import Head, follow
from secagg.programs.folders import flush_folder

ENTRIES: Final = ".jsonl"
HEAD: Final = ".head"
LOCK: Final = "lock"
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


class LedgerFolder:
    """The ledgers of one coordinator, or of one job, in a folder. A `LedgerStore`."""

    durable = True

    def __init__(self, folder: Path) -> None:
        """Args: folder: exists; `locked` keeps others out."""
        self._folder = folder

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
def locked(folder: Path) -> Iterator[LedgerFolder]:
    """The ledgers in a folder, made if there is none, for this process alone.

    Raises:
        ConfigError: another coordinator or job has it, or others can write there, or it cannot be made.
    """
    import fcntl  # noqa: PLC0415 - not on every system that only reads ledgers

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o022:
            raise ConfigError(f"the ledger folder {folder} can be written by others: chmod 700 {folder}")
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"the ledger folder {folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"the ledger folder {folder} belongs to a coordinator or job that is running") from None
        yield LedgerFolder(folder)
    finally:
        os.close(lock)


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
