"""What programs that keep things need of a file system, and the real one.

Whoever keeps something durable works through a `Disk`, so that the fault simulator can put one in its place that loses,
tears and refuses writes as a machine does that is switched off. What a program may rely on is what POSIX says:

- What was written to a file is safe after `File.flush`, and not before. After a power cut, a file that was not flushed
  may have any part of what was written since, in any order.
- A name that was made, exchanged or removed is safe after `flush_folder` of its folder, and not before.
- `rename` exchanges a name in one step: whoever looks finds the old file or the new one.
- After a flush that failed nothing is known of what was written since the flush before. To flush again proves nothing.

Each call raises `OSError` as the system does: `FileNotFoundError` where a name is missing, `ENOSPC` for a full disk,
`EIO` for a disk that fails.
"""

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self
from urllib.parse import quote

from secagg.errors import ConfigError
from secagg.programs.folders import flush_folder

_NEW: Final = ".new"
_PROBE: Final = f"room{_NEW}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file system says of a file or folder.

    Attributes:
        size: bytes.
        mode: permissions, such as 0o600.
        written_s: when it was written last, in seconds since 1970.
    """

    size: int
    mode: int
    written_s: float


class File(Protocol):
    """An open file. One thread at a time."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on; fewer only where the file ends."""
        ...

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data`. When this fails, any part of it may stand there."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file off, or fill it up with zeros, to `size` bytes."""
        ...

    def size(self) -> int:
        """In bytes."""
        ...

    def flush(self) -> None:
        """Return when the content is safe. The file's name is safe once its folder is flushed, too."""
        ...

    def close(self) -> None:
        """Let go of the file. Makes nothing safe."""
        ...

    def __enter__(self) -> Self:
        """The file itself."""
        ...

    def __exit__(self, *_: object) -> None:
        """Close it."""
        ...


class Disk(Protocol):
    """A file system. Called from several threads."""

    def open(self, path: Path, *, make: bool = False) -> File:
        """Open a file for reading and writing. With `make`, one that is missing is made, for its owner alone (0600)."""
        ...

    def read(self, path: Path) -> bytes:
        """All that is in a file, which may be one that we cannot write."""
        ...

    def facts(self, path: Path) -> Facts | None:
        """What is known of a file or folder; None if there is none of this name."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Names of the files and folders in a folder, sorted."""
        ...

    def make_folder(self, path: Path) -> None:
        """Make a folder for its owner alone (0700), and those above it; nothing if it is there. Its name is flushed."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in the same file system, in place of the file that has it."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        ...

    def flush_folder(self, path: Path) -> None:
        """Return when the names in a folder are safe."""
        ...

    def locked(self, path: Path) -> AbstractContextManager[None]:
        """Hold a file, made if there is none, as long as the context or the process lasts.

        Raises:
            BlockingIOError: another process has it, or another context of this one.
        """
        ...

    def database(self, path: Path) -> str:
        """Where SQLite finds a database: for `sqlite3.connect(…, uri=True)`."""
        ...


class RealFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        """Args: descriptor: open; closed by `close`."""
        self._descriptor = descriptor

    def read_at(self, offset: int, size: int) -> bytes:
        """One `pread`, or as many as it takes."""
        parts = []
        while size and (part := os.pread(self._descriptor, size, offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """One `pwrite`, or as many as it takes."""
        rest = memoryview(data).cast("B")
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            offset, rest = offset + written, rest[written:]

    def truncate(self, size: int) -> None:
        """By `ftruncate`."""
        os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        """By `fstat`."""
        return os.fstat(self._descriptor).st_size

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def flush(self) -> None:
        """By `fsync`."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """By `close`."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        """The file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class RealDisk:
    """The file system of this machine. A `Disk`."""

    def open(self, path: Path, *, make: bool = False) -> RealFile:
        """A symbolic link is followed if it was there before."""
        return RealFile(os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600))

    def read(self, path: Path) -> bytes:
        """The whole file at once."""
        return path.read_bytes()

    def facts(self, path: Path) -> Facts | None:
        """Of the file that a symbolic link leads to."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        return Facts(found.st_size, stat.S_IMODE(found.st_mode), found.st_mtime)

    def names(self, folder: Path) -> list[str]:
        """Without `.` and `..`."""
        return sorted(entry.name for entry in folder.iterdir())

    def make_folder(self, path: Path) -> None:
        """Each folder that is missing, from the highest on."""
        if path.is_dir():
            return
        self.make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        flush_folder(path.parent)

    def rename(self, old: Path, new: Path) -> None:
        """By `rename`."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """By `unlink`."""
        path.unlink()

    def flush_folder(self, path: Path) -> None:
        """Where folders can be opened."""
        flush_folder(path)

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """By `flock`, which ends with the process, however that ends."""
        import fcntl  # noqa: PLC0415 - not on every system that only reads files

        with self.open(path, make=True) as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

    def database(self, path: Path) -> str:
        """A URI with the path."""
        return f"file:{quote(str(path))}"


REAL_DISK: Final = RealDisk()


def exchange(disk: Disk, path: Path, content: bytes) -> None:
    """Write a whole file in place of another, or of none; safe on return. Whoever looks finds the old one or the new.

    Raises:
        OSError: the new one is not known to be safe; the old one is there, or the new one.
    """
    new = path.with_name(path.name + _NEW)
    with disk.open(new, make=True) as file:
        file.truncate(0)
        file.write_at(0, content)
        file.flush()
    disk.rename(new, path)
    disk.flush_folder(path.parent)


def append(disk: Disk, path: Path, data: bytes) -> None:
    """Write behind the end of a file, which is made if there is none; safe on return.

    Raises:
        OSError: what was written is not known to be safe, and any part of it may stand there.
    """
    fresh = disk.facts(path) is None
    with disk.open(path, make=True) as file:
        file.write_at(file.size(), data)
        file.flush()
    if fresh:
        disk.flush_folder(path.parent)


def cut(disk: Disk, path: Path, size: int) -> None:
    """Cut a file off at `size` bytes; safe on return."""
    with disk.open(path) as file:
        file.truncate(size)
        file.flush()


def check_fits(disk: Disk, folder: Path, size: int, what: str) -> None:
    """Check that something fits into a folder: write as much, and remove it again.

    Args:
        disk: where the folder is.
        folder: is there.
        size: in bytes.
        what: names the folder, for errors.

    Raises:
        ConfigError: it does not, or we may not write there.
    """
    probe = folder / _PROBE
    try:
        try:
            with disk.open(probe, make=True) as file:
                file.write_at(0, bytes(size))
                file.flush()
        finally:
            with suppress(FileNotFoundError):  # it was not made, or another process that looks removed it
                disk.unlink(probe)
    except OSError as error:
        raise ConfigError(
            f"the {what} {folder} cannot be written: {error.strerror}; give this user a folder of its own on a "
            "disk with room"
        ).mended_by(f"df -h {shlex.quote(str(folder))}; ls -ld {shlex.quote(str(folder))}") from error
