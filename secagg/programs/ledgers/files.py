"""Privacy ledgers in a folder: what was appended is there after a crash, and nothing that was cut off is.

A task has two files: `NAME.jsonl` with one entry a line, and `NAME.head` with the number and the digest of the last.
An entry is appended and flushed to the disk; then the head is exchanged as a whole. A crash in between leaves a line
that nobody was told of: cut off if it is torn, taken over if it is whole, so that what may have been acted on counts.
Every other difference between the two files is damage, and is left as it is for people to look at.

When the disk refuses, both are taken back in the opposite order, the head first. Should that fail too, what is left
looks like one of the crashes above, and the next reading settles it.

No grpc and no server: `secagg ledger` reads such folders on any machine.
"""

import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from secagg.crypto import labels
from secagg.crypto.transcript import digest
from secagg.errors import ConfigError, LedgerError
from secagg.privacy.ledger import MAX_ENTRY_BYTES, Head, Ledger, follow, task_of
from secagg.programs.disk import REAL_DISK, Disk, append, check_fits, cut, exchange

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


def read_files(entries: Path, disk: Disk = REAL_DISK) -> Stored:
    """What is in a ledger's file and in the head beside it. Changes nothing.

    Raises:
        LedgerError: the head is none.
        OSError: cannot be read.
    """
    *lines, torn = (_content(disk, entries) or b"").split(b"\n")
    beside = entries.with_suffix(HEAD)
    head = _content(disk, beside)
    if head is None:
        return Stored(tuple(lines), torn, None)
    try:
        return Stored(tuple(lines), torn, Head.parse(head.decode("ascii").removesuffix("\n")))
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

    def __init__(self, folder: Path, disk: Disk = REAL_DISK) -> None:
        """Args:
        folder: exists; `locked` keeps others out.
        disk: where it is.
        """
        self._folder = folder
        self._disk = disk

    def tasks(self) -> Sequence[str]:
        """Tasks whose ledgers lie in the folder. What cannot be read is left out: reading it by name says why."""
        found = []
        for name in self._disk.names(self._folder):
            if name.endswith(ENTRIES):
                with suppress(LedgerError, OSError), self._disk.open(self._folder / name) as file:
                    found.append(task_of([file.read_at(0, MAX_ENTRY_BYTES + 1).partition(b"\n")[0]]))
        return found

    def read(self, task: str) -> tuple[Sequence[bytes], Head | None]:
        """The entries and the head of a task, after putting right what a crash may have left.

        Raises:
            LedgerError: the head's file is damaged.
            OSError: cannot be read.
        """
        path = self._path(task)
        stored = read_files(path, self._disk)
        lines, head = stored.settled(task)
        if stored.torn and len(lines) == len(stored.lines):
            cut(self._disk, path, sum(len(line) + 1 for line in lines))
        if head is not None and head != stored.head:
            _write_again(self._disk, path, lines[-1] + b"\n")
            exchange(self._disk, path.with_suffix(HEAD), head.text.encode() + b"\n")
        return lines, head

    def append(self, task: str, entry: bytes, head: Head) -> None:
        """Write the entry, then the head, each safely; if either fails, take both back.

        Raises:
            OSError: cannot be written.
        """
        path, disk = self._path(task), self._disk
        beside = path.with_suffix(HEAD)
        there, known = disk.facts(path), _content(disk, beside)
        try:
            append(disk, path, entry + b"\n")
            exchange(disk, beside, head.text.encode() + b"\n")
        except OSError:
            _take_back(disk, path, 0 if there is None else there.size, known)
            raise

    def _path(self, task: str) -> Path:
        """Readable, and different for different tasks whatever the file system makes of letters."""
        readable = re.sub("[^A-Za-z0-9_-]", "_", task)[:64]
        return self._folder / f"{readable}-{digest(labels.LEDGER_FILE, task.encode())[:8].hex()}{ENTRIES}"


@contextmanager
def locked(folder: Path, clock: Callable[[], float] = time.time, disk: Disk = REAL_DISK) -> Iterator[LedgerFolder]:
    """The ledgers in a folder, made if there is none, for this process alone.

    Args:
        folder: where they are.
        clock: seconds since 1970.
        disk: where the folder is.

    Raises:
        ConfigError: another coordinator or job has it, or it cannot be made, or see `check_folder`.
    """
    with ExitStack() as held:
        try:
            disk.make_folder(folder)
            check_folder(folder, clock(), disk)
            held.enter_context(disk.locked(folder / LOCK))
            if disk.facts(folder / MARKER) is None:
                exchange(disk, folder / MARKER, b"%d\n" % FORMAT)
        except BlockingIOError:
            raise ConfigError(f"the ledger folder {folder} belongs to a coordinator or job that is running") from None
        except OSError as error:
            raise ConfigError(f"the ledger folder {folder}: {error.strerror}") from error
        yield LedgerFolder(folder, disk)


def is_locked(folder: Path) -> bool:
    """Whether a coordinator or job that is running has the folder."""
    lock = folder / LOCK
    try:
        if lock.exists():
            with REAL_DISK.locked(lock):
                pass
    except BlockingIOError:
        return True
    except OSError:  # whoever may not open it has not got it
        return False
    return False


def check_folder(folder: Path, now: float, disk: Disk = REAL_DISK) -> None:
    """Check that ledgers can be kept in a folder.

    Args:
        folder: is there.
        now: seconds since 1970.
        disk: where the folder is.

    Raises:
        ConfigError: others can write there, or we cannot, or the disk is full; or another release of secagg uses it in
            a way that we do not know; or the clock is wrong.
    """
    check_privacy(folder, disk)
    check_format(folder, disk)
    check_clock(folder, now, disk)
    check_room(folder, disk)


def check_privacy(folder: Path, disk: Disk = REAL_DISK) -> None:
    """Check that nobody but its owner can write in a folder.

    Raises:
        ConfigError: others can.
    """
    known = disk.facts(folder)
    if known is not None and known.mode & 0o022:
        raise ConfigError(f"the ledger folder {folder} can be written by others").mended_by(
            f"chmod 700 {shlex.quote(str(folder))}"
        )


def check_format(folder: Path, disk: Disk = REAL_DISK) -> None:
    """Check that a folder's ledgers are written as this release reads them.

    Raises:
        ConfigError: they are of another format, and the message says what to do.
    """
    try:
        text = disk.read(folder / MARKER).decode("ascii").strip()
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


def check_clock(folder: Path, now: float, disk: Disk = REAL_DISK) -> None:
    """Check that no file of a folder was written in the future. Every folder that was used has a lock and a marker.

    Args:
        folder: is there.
        now: seconds since 1970.
        disk: where the folder is.

    Raises:
        ConfigError: one was, so the clock of this machine is behind, or was ahead when the file was written.
    """
    for name in disk.names(folder):
        known = disk.facts(folder / name)
        if known is None:  # exchanged by a coordinator that runs
            continue
        if known.written_s > now + MAX_AHEAD_S:  # check: ledger-of-the-future
            raise ConfigError(
                f"this machine's clock says {_shown(now)}, and {folder / name} was written at "
                f"{_shown(known.written_s)}: set the clock; "
                "if it is right now and was wrong before, mark the files as written now (touch "
                f"{shlex.quote(str(folder))}/*)"
            ).mended_by("sudo timedatectl set-ntp true")


def check_room(folder: Path, disk: Disk = REAL_DISK) -> None:
    """Check that some entries fit: write as much as they take, and remove it again.

    Raises:
        ConfigError: they do not, or we may not write there.
    """
    check_fits(disk, folder, ROOM_BYTES, "ledger folder")


def _shown(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _content(disk: Disk, path: Path) -> bytes | None:
    return None if disk.facts(path) is None else disk.read(path)


def _take_back(disk: Disk, entries: Path, size: int, known: bytes | None) -> None:
    """Undo an `append` that failed. A head that is in place without its entry would be damage: it goes first."""
    head = entries.with_suffix(HEAD)
    if _content(disk, head) != known:
        if known is None:
            disk.unlink(head)
            disk.flush_folder(head.parent)
        else:
            exchange(disk, head, known)
    if disk.facts(entries) is not None:
        cut(disk, entries, size)


def _write_again(disk: Disk, path: Path, end: bytes) -> None:
    """Make the end of a file safe, which may stand there because flushing it failed. The system does not try that a
    second time, unless the same is written again.
    """
    with disk.open(path) as file:
        file.write_at(file.size() - len(end), end)
        file.flush()
