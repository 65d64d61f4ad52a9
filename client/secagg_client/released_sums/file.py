"""The file behind a `Memory`: lines that are only ever appended, each safe on the disk before anything follows from it.

The first line says what the file is and whose; each other line is one `Entry`: its CRC-32 and a JSON object, as
`encode` writes it. A line without an end is what a crash left of an entry that nobody acted upon: it does not count.
Any other line that is not as it was written is damage, and is left as it is for people to look at.

Who reads or writes holds a lock on the file. When it has grown, whoever holds the lock exchanges it for one with the
sums that are still remembered.
"""

import json
import os
import re
import stat
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from secagg.config import DIGEST_SIZE, check_purpose
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.errors import ConfigError, MemoryFileError
from secagg.messages import ParticipantId
from secagg.programs.folders import flush_folder
from secagg.rounds.releases import Release

FORMAT: Final = "secagg-memory"
VERSION: Final = 1
MAX_BYTES: Final = 256 << 20
GROWN_BYTES: Final = 4 << 20
"""From here on a file is exchanged for a shorter one, when it is twice as long as that would be."""

_LOCKED_BYTE: Final = 1 << 40  # on Windows a lock covers bytes; this one is never written
_HEXADECIMAL: Final = re.compile("(?:[0-9a-f]{2})*")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A sum that holds our update may have been opened from here on."""

    round_id: RoundId
    release: Release


@dataclass(frozen=True, slots=True)
class Received:
    """The coordinator said that this round's sum came out."""

    round_id: RoundId


Entry = Claimed | Received


def encode(entry: Entry) -> bytes:
    """The line of an entry, with its end."""
    told: dict[str, Any]
    match entry:
        case Claimed(round_id, release):
            told = {
                "kind": "claimed",
                "model": release.model_digest.hex(),
                "purpose": release.purpose,
                "round": round_id.hex(),
                "survivors": sorted(release.survivors),
                "threshold": release.threshold,
            }
        case Received(round_id):
            told = {"kind": "received", "round": round_id.hex()}
    return _line(told)


def decode(line: bytes) -> Entry:
    """The entry of a line, without its end.

    Raises:
        ValueError: it is not as `encode` writes it.
    """
    told = json.loads(line[9:])
    round_id = RoundId(_bytes(told["round"], ROUND_ID_SIZE))
    entry: Entry
    if told["kind"] == "received":
        entry = Received(round_id)
    else:
        check_purpose(told["purpose"])
        survivors = frozenset(map(ParticipantId, told["survivors"]))
        entry = Claimed(
            round_id, Release(_bytes(told["model"], DIGEST_SIZE), survivors, int(told["threshold"]), told["purpose"])
        )
    if encode(entry) != line + b"\n":  # check: as-written
        raise ValueError("not as it was written")
    return entry


class MemoryFile:
    """One file. For one thread at a time; other processes may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()  # an exchange must not replace a link, nor change with the working directory
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None  # of the file that was read so far
        self._end = 0  # of its last whole line
        self._give_back: Callable[[], object] = lambda: None  # closes the file that was read so far

    @contextmanager
    def turn(self, owner: str, known: Callable[[], Sequence[Entry]]) -> Iterator[list[Entry]]:
        """Hold the lock. Gives what is new in the file.

        Args:
            owner: whose memory it is.
            known: gives all entries that count, for a file that must be written anew.

        Raises:
            MemoryFileError: it cannot be read or written, is damaged, or is another participant's.
        """
        with self._telling():
            self._descriptor = self._locked()
        try:
            with self._telling():
                news = self._read(owner, known)
            yield news
            with suppress(OSError):  # what was recorded stands; the next turn tries again
                self._shorten(owner, known)
        finally:
            os.close(self._descriptor)

    def append(self, entry: Entry) -> None:
        """Within a turn: write an entry. Returns when it is safe.

        Raises:
            MemoryFileError: it cannot be written; it does not count.
        """
        with self._telling():
            self._write(encode(entry))

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MemoryFileError(
                f"memory of sums {self._path}: {error.strerror or error}; make it readable and writable, or name "
                "another file"
            ) from error

    def _locked(self) -> int:
        """The open file with its lock: of the file that has the name now, not of one that was exchanged meanwhile."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        while True:
            descriptor = os.open(self._path, flags, 0o600)
            try:
                _lock(descriptor)
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    return descriptor
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _read(self, owner: str, known: Callable[[], Sequence[Entry]]) -> list[Entry]:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise self._damaged("it is no file")
        if sys.platform != "win32" and status.st_mode & 0o022:  # check: written-by-others
            raise MemoryFileError(f"memory of sums {self._path} can be written by others: chmod 600 {self._path}")
        if status.st_size > MAX_BYTES:
            raise self._damaged(f"it has {status.st_size} bytes, more than {MAX_BYTES}")
        identity = status.st_dev, status.st_ino
        if identity != self._identity or not status.st_size:  # another file, or a new one that got the old number
            self._end = 0
        if status.st_size < self._end:
            raise self._damaged("it has become shorter")
        data = self._bytes(status.st_size)
        *lines, torn = data.split(b"\n")
        header = _line({"format": FORMAT, "participant": owner, "version": VERSION})
        if not self._end and not lines:
            if not header.startswith(torn):
                raise self._damaged("it is no memory of sums")
            self._write(b"".join([header, *map(encode, known())]))  # ours were in a file that is gone
            flush_folder(self._path.parent)
            lines = []
        elif not self._end and lines.pop(0) + b"\n" != header:
            raise self._damaged(f"it is not the memory of {owner} in version {VERSION}, or its first line was changed")
        else:
            self._end += len(data) - len(torn)
        if identity != self._identity:
            self._keep_open()
        self._identity = identity
        return [self._entry(line) for line in lines]

    def _keep_open(self) -> None:
        """Between turns, so that no file that takes its place gets its number: it would be taken for this one."""
        if sys.platform == "win32":  # there no file is exchanged
            return
        self._give_back()
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._give_back = weakref.finalize(self, os.close, descriptor)

    def _bytes(self, size: int) -> bytes:
        """From the last whole line that was read to the end."""
        os.lseek(self._descriptor, self._end, os.SEEK_SET)
        data = bytearray()
        while part := os.read(self._descriptor, size - self._end - len(data)):
            data += part
        return bytes(data)

    def _entry(self, line: bytes) -> Entry:
        try:
            return decode(line)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, ConfigError):
            self._identity = None  # read all of it again, should it be mended
            raise self._damaged("a line is not as it was written") from None

    def _write(self, data: bytes) -> None:
        """Behind the last whole line. What a crash left there goes; what cannot be written whole is taken back."""
        try:
            os.ftruncate(self._descriptor, self._end)
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(data)

    def _shorten(self, owner: str, known: Callable[[], Sequence[Entry]]) -> None:
        """Exchange a file that has grown. Not on Windows, where an open file keeps its name: there it grows."""
        if self._end < GROWN_BYTES or sys.platform == "win32":
            return
        header = _line({"format": FORMAT, "participant": owner, "version": VERSION})
        data = b"".join([header, *map(encode, known())])
        if self._end < 2 * len(data):
            return
        new = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        new.replace(self._path)
        flush_folder(self._path.parent)

    def _damaged(self, why: str) -> MemoryFileError:
        return MemoryFileError(
            f"memory of sums {self._path}: {why}. Without it nobody knows which sums may hold our update: restore it "
            "from a copy, or move it away once no coordinator will ask about a model again that it asked about before"
        )


def _line(told: dict[str, Any]) -> bytes:
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    return f"{crc32(text):08x} ".encode() + text + b"\n"


def _bytes(text: str, size: int) -> bytes:
    if len(text) != 2 * size or not _HEXADECIMAL.fullmatch(text):
        raise ValueError(f"not {size} bytes in hexadecimal")
    return bytes.fromhex(text)


def _lock(descriptor: int) -> None:
    """Wait for the lock; closing the descriptor gives it back."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
    else:
        import fcntl  # noqa: PLC0415 - Windows has none

        fcntl.flock(descriptor, fcntl.LOCK_EX)
