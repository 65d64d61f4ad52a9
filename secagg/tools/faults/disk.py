"""A disk in memory that forgets what a real one may forget, and fails as a real one may fail.

`VirtualDisk` is the disk of one machine. `mount` gives what a process works with: a `Disk`, whose databases SQLite
opens through `vfs`. Processes see at once what any of them wrote. What a power cut leaves is another matter:

- A file has what it had at its last flush, and any part of what was written since: all, nothing, the first writes, or
  some of the sectors in any order.
- A folder has the names it had at its last flush, and any of the changes since. Each change is whole: a rename is never
  half done.

A killed process loses nothing that was written: the cache is the machine's.

Which guarantees remain with which fault is a property of disks, not of ours:

- Power cuts, kills, a full disk and writes that fail: everything that was flushed without an error is safe. So a
  program can keep all of its promises, and is held to them.
- A flush that lies: nothing is safe. A program can find out where parts of its state do not fit each other, and cannot
  where the disk went back as a whole. So what was acknowledged may be lost, and what depends on memory with it. What
  is left are the promises that participants keep by themselves.
- Bit rot: what is read may be wrong. A program with checksums finds out, and can say what it lost. So it may lose, but
  by name, and never gives a wrong answer.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from random import Random
from threading import RLock
from typing import Final, Protocol, Self

from secagg.programs.disk import Facts
from secagg.tools.faults import vfs

SECTOR: Final = 512
"""Bytes that a disk writes whole or not at all."""
PAGE: Final = 4096


class Kind(Enum):
    """What a process asks of the disk."""

    OPEN = "open"
    READ = "read"
    WRITE = "write"
    TRUNCATE = "truncate"
    FLUSH = "flush"
    FLUSH_FOLDER = "flush folder"
    RENAME = "rename"
    UNLINK = "unlink"
    MAKE_FOLDER = "make folder"
    LOCK = "lock"


CHANGES: Final = frozenset(Kind) - {Kind.READ, Kind.LOCK}
"""What may change something that a power cut leaves; to open may make a file."""


class Mischief(Protocol):
    """Decides how the disk fails. Called under the lock of the disk, before it does what is asked."""

    def befalls(self, number: int, kind: Kind, path: Path) -> None:
        """Let it happen; or raise the `OSError` that it fails with; or kill the process, or cut the power.

        Args:
            number: of the operation among those in `CHANGES` since the disk was made, from 1 on; 0 for the others.
            kind: what is asked.
            path: of what.
        """
        ...

    def lies(self, number: int, kind: Kind, path: Path) -> bool:
        """Whether this flush says that all is safe, and makes nothing so."""
        ...


class NoMischief:
    """A disk that works."""

    def befalls(self, number: int, kind: Kind, path: Path) -> None:
        """Let it happen."""

    def lies(self, number: int, kind: Kind, path: Path) -> bool:
        """Never."""
        return False


@dataclass(frozen=True, slots=True)
class _Write:
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Truncate:
    size: int


@dataclass(slots=True, eq=False)
class Inode:
    """A file.

    Attributes:
        seen: its content as processes see it.
        safe: its content at the last flush.
        unsafe: what was done since, in order.
        written_s: when it was written last, in seconds since 1970.
        state: locks of SQLite and its shared memory.
    """

    seen: bytearray = field(default_factory=bytearray)
    safe: bytearray = field(default_factory=bytearray)
    unsafe: list[_Write | _Truncate] = field(default_factory=list)
    written_s: float = 0.0
    state: vfs.Shared = field(default_factory=vfs.Shared)


class _Folder:
    """A folder's name leads to this."""


_Node = Inode | _Folder


@dataclass(frozen=True, slots=True)
class _Renaming:
    """A change of names in one folder: what each leads to from now on."""

    folder: Path
    leads: tuple[tuple[Path, _Node | None], ...]


class VirtualDisk:
    """The disk of one machine.

    Attributes:
        mischief: decides how it fails.
        room: bytes that all files together may have; None for no limit.
        changes: operations of `CHANGES` so far.
        flushes: of files and folders so far.
    """

    def __init__(self, rng: Random, clock: Callable[[], float] = lambda: 0.0) -> None:
        """Args:
        rng: decides what a power cut leaves.
        clock: of the machine, seconds since 1970.
        """
        self.mischief: Mischief = NoMischief()
        self.room: int | None = None
        self.changes = 0
        self.flushes = 0
        self._rng = rng
        self._clock = clock
        self._lock = RLock()
        self._root = _Folder()
        self._seen: dict[Path, _Node] = {Path("/"): self._root}
        self._safe: dict[Path, _Node] = dict(self._seen)
        self._unsafe: list[_Renaming] = []
        self._mounts: list[Mount] = []
        self._held: dict[Path, Mount] = {}

    def mount(self) -> "Mount":
        """The disk as a new process has it."""
        mount = Mount(self)
        self._mounts.append(mount)
        return mount

    def kill(self) -> None:
        """End the processes of the machine: no call of theirs does anything from now on."""
        with self._lock:
            for mount in self._mounts:
                mount.alive = False
                vfs.forget(mount.key)
            self._mounts.clear()
            self._held.clear()
            for node in self._seen.values():
                if isinstance(node, Inode):
                    node.state = vfs.Shared()

    def cut_power(self) -> None:
        """End the processes, and lose what a power cut loses."""
        with self._lock:
            self.kill()
            self._lose_names()
            for node in self._safe.values():
                if isinstance(node, Inode):
                    self._lose(node)
            self._seen = dict(self._safe)

    def rot(self, among: Callable[[Path], bool] = lambda _: True) -> tuple[Path, int] | None:
        """Change bytes of a file, which nobody notices before they are read. Where they are; None if there is no file.

        Args:
            among: which files it may be.
        """
        with self._lock:
            nodes = {path: node for path, node in self._seen.items() if isinstance(node, Inode) and among(path)}
            files = sorted(path for path, node in nodes.items() if node.seen)
            if not files:
                return None
            path = self._rng.choice(files)
            node = nodes[path]
            at = self._rng.randrange(len(node.seen))
            if self._rng.random() < 0.7:
                changed = bytes([node.seen[at] ^ (1 << self._rng.randrange(8))])
            else:
                at -= at % SECTOR
                changed = bytes(min(SECTOR, len(node.seen) - at))
            for content in (node.seen, node.safe):
                if at < len(content):
                    content[at : at + len(changed)] = changed[: len(content) - at]
            return path, at

    def files(self) -> dict[Path, bytes]:
        """All files as processes see them."""
        with self._lock:
            return {path: bytes(node.seen) for path, node in self._seen.items() if isinstance(node, Inode)}

    # --- what a power cut loses ---------------------------------------------------------------------------------------

    def _lose_names(self) -> None:
        changes = self._unsafe
        if self._rng.random() < 0.5:
            kept = changes[: self._rng.randint(0, len(changes))]
        else:
            kept = [change for change in changes if self._rng.random() < 0.5]
        for change in kept:
            _rename(self._safe, change)
        self._unsafe = []
        for path in sorted(self._safe):  # what is in a folder whose name is lost is lost with it
            if path != path.parent and not isinstance(self._safe.get(path.parent), _Folder):
                del self._safe[path]

    def _lose(self, node: Inode) -> None:
        for change in self._survivors(node.unsafe):
            _apply(node.safe, change)
        node.unsafe = []
        node.seen = bytearray(node.safe)

    def _survivors(self, changes: list[_Write | _Truncate]) -> Iterator[_Write | _Truncate]:
        """What of the changes since a flush reaches the disk all the same."""
        way = self._rng.random()
        if way < 0.2 or not changes:
            return
        if way < 0.3:
            yield from changes
            return
        size = self._rng.choice((SECTOR, PAGE))
        if way < 0.6:  # in order, and the last one torn
            last = self._rng.randrange(len(changes))
            yield from changes[:last]
            pieces = list(_pieces(changes[last], size))
            yield from pieces[: self._rng.randint(0, len(pieces))]
            return
        share = self._rng.random()
        for change in changes:
            for piece in _pieces(change, size):
                if self._rng.random() < share:
                    yield piece

    # --- what mounts ask ----------------------------------------------------------------------------------------------

    @contextmanager
    def _asked(self, mount: "Mount", kind: Kind, path: Path) -> Iterator[int]:
        """Do something for a process that is alive, one at a time; its number."""
        with self._lock:
            number = 0
            if kind in CHANGES:
                self.changes += 1
                number = self.changes
            mount.check_alive()
            self.mischief.befalls(number, kind, path)
            mount.check_alive()
            yield number

    def _inode(self, path: Path) -> Inode:
        node = self._seen.get(path)
        if node is None:
            raise _error(errno.ENOENT, path)
        if isinstance(node, _Folder):
            raise _error(errno.EISDIR, path)
        return node

    def _rename(self, folder: Path, *leads: tuple[Path, _Node | None]) -> None:
        change = _Renaming(folder, leads)
        _rename(self._seen, change)
        self._unsafe.append(change)

    def _make(self, path: Path, node: _Node) -> None:
        if not isinstance(self._seen.get(path.parent), _Folder):
            raise _error(errno.ENOENT, path)
        self._rename(path.parent, (path, node))

    def _write(self, node: Inode, path: Path, offset: int, data: bytes) -> None:
        fits = data
        if self.room is not None:
            taken = sum(len(known.seen) for known in set(self._seen.values()) if isinstance(known, Inode))
            more = max(0, offset + len(data) - len(node.seen))
            if taken + more > self.room:
                fits = data[: max(0, len(data) - (taken + more - self.room))]
        if fits:
            self._change(node, _Write(offset, fits))
        if len(fits) < len(data):
            raise _error(errno.ENOSPC, path)

    def _change(self, node: Inode, change: _Write | _Truncate) -> None:
        _apply(node.seen, change)
        node.unsafe.append(change)
        node.written_s = self._clock()

    def _flush(self, mount: "Mount", node: Inode, path: Path) -> None:
        try:
            with self._asked(mount, Kind.FLUSH, path) as number:
                self.flushes += 1
                if self.mischief.lies(number, Kind.FLUSH, path):
                    return
                for change in node.unsafe:
                    _apply(node.safe, change)
                node.unsafe = []
        except OSError:
            with self._lock:
                if mount.alive:  # what did not reach the disk now counts as written, and never will
                    for change in self._survivors(node.unsafe):
                        _apply(node.safe, change)
                    node.unsafe = []
            raise

    def _flush_folder(self, mount: "Mount", path: Path) -> None:
        with self._asked(mount, Kind.FLUSH_FOLDER, path) as number:
            if not isinstance(self._seen.get(path), _Folder):
                raise _error(errno.ENOENT, path)
            self.flushes += 1
            if self.mischief.lies(number, Kind.FLUSH_FOLDER, path):
                return
            for change in self._unsafe:
                if change.folder == path:
                    _rename(self._safe, change)
            self._unsafe = [change for change in self._unsafe if change.folder != path]


class Mount:
    """The disk as one process has it. A `Disk`.

    Attributes:
        alive: whether its process is.
        key: names it to SQLite.
    """

    def __init__(self, disk: VirtualDisk) -> None:
        self.alive = True
        self.disk = disk
        self.key = vfs.know(self)

    def check_alive(self) -> None:
        """Raise `OSError` if the process is gone: whatever it does now does nothing."""
        if not self.alive:
            raise OSError(errno.EIO, "the process is gone")

    def open(self, path: Path, *, make: bool = False) -> "VirtualFile":
        """As the real one."""
        disk = self.disk
        with disk._asked(self, Kind.OPEN, path):
            if make and path not in disk._seen:
                if disk.room is not None and disk.room <= 0:
                    raise _error(errno.ENOSPC, path)
                disk._make(path, Inode(written_s=disk._clock()))
            return VirtualFile(self, path, disk._inode(path))

    def read(self, path: Path) -> bytes:
        """As the real one."""
        with self.disk._asked(self, Kind.READ, path):
            return bytes(self.disk._inode(path).seen)

    def facts(self, path: Path) -> Facts | None:
        """As the real one. Folders have no size."""
        with self.disk._asked(self, Kind.READ, path):
            node = self.disk._seen.get(path)
            if node is None:
                return None
            return Facts(len(node.seen), 0o600, node.written_s) if isinstance(node, Inode) else Facts(0, 0o700, 0.0)

    def names(self, folder: Path) -> list[str]:
        """As the real one."""
        with self.disk._asked(self, Kind.READ, folder):
            if not isinstance(self.disk._seen.get(folder), _Folder):
                raise _error(errno.ENOENT, folder)
            return sorted(path.name for path in self.disk._seen if path.parent == folder and path != folder)

    def make_folder(self, path: Path) -> None:
        """As the real one."""
        if isinstance(self.disk._seen.get(path), _Folder):
            self.check_alive()
            return
        self.make_folder(path.parent)
        with self.disk._asked(self, Kind.MAKE_FOLDER, path):
            if path in self.disk._seen:
                raise _error(errno.EEXIST, path)
            self.disk._make(path, _Folder())
        self.flush_folder(path.parent)

    def rename(self, old: Path, new: Path) -> None:
        """As the real one, within one folder."""
        with self.disk._asked(self, Kind.RENAME, old):
            if old.parent != new.parent:
                raise _error(errno.EXDEV, new)
            self.disk._rename(old.parent, (old, None), (new, self.disk._inode(old)))

    def unlink(self, path: Path) -> None:
        """As the real one."""
        with self.disk._asked(self, Kind.UNLINK, path):
            self.disk._inode(path)
            self.disk._rename(path.parent, (path, None))

    def flush_folder(self, path: Path) -> None:
        """As the real one."""
        self.disk._flush_folder(self, path)

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """As the real one: a killed process holds nothing."""
        self.open(path, make=True).close()
        with self.disk._asked(self, Kind.LOCK, path):
            if path in self.disk._held:
                raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(path))
            self.disk._held[path] = self
        try:
            yield
        finally:
            if self.alive:
                self.disk._held.pop(path, None)

    def database(self, path: Path) -> str:
        """Through the VFS of the simulator."""
        return vfs.uri(self.key, path)


class VirtualFile:
    """An open file. A `File`."""

    def __init__(self, mount: Mount, path: Path, node: Inode) -> None:
        self.node = node
        self._mount = mount
        self._disk = mount.disk
        self._path = path
        self._open = True

    def read_at(self, offset: int, size: int) -> bytes:
        """As the real one."""
        with self._asked(Kind.READ):
            return bytes(self.node.seen[offset : offset + size])

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """As the real one."""
        with self._asked(Kind.WRITE):
            self._disk._write(self.node, self._path, offset, bytes(data))

    def truncate(self, size: int) -> None:
        """As the real one."""
        with self._asked(Kind.TRUNCATE):
            self._disk._change(self.node, _Truncate(size))

    def size(self) -> int:
        """As the real one."""
        with self._asked(Kind.READ):
            return len(self.node.seen)

    def flush(self) -> None:
        """As the real one."""
        self._check_open()
        self._disk._flush(self._mount, self.node, self._path)

    def close(self) -> None:
        """As the real one, but twice does no harm."""
        self._open = False

    def __enter__(self) -> Self:
        """The file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @contextmanager
    def _asked(self, kind: Kind) -> Iterator[None]:
        self._check_open()
        with self._disk._asked(self._mount, kind, self._path):
            yield

    def _check_open(self) -> None:
        if not self._open:
            raise _error(errno.EBADF, self._path)


def _rename(names: dict[Path, _Node], change: _Renaming) -> None:
    for path, node in change.leads:
        if node is None:
            names.pop(path, None)
        else:
            names[path] = node


def _apply(content: bytearray, change: _Write | _Truncate) -> None:
    match change:
        case _Write(offset, data):
            if len(content) < offset:
                content.extend(bytes(offset - len(content)))
            content[offset : offset + len(data)] = data
        case _Truncate(size):
            if size < len(content):
                del content[size:]
            else:
                content.extend(bytes(size - len(content)))


def _pieces(change: _Write | _Truncate, size: int) -> Iterator[_Write | _Truncate]:
    """A change cut at the borders of sectors or pages, each of which a disk writes by itself."""
    if isinstance(change, _Truncate):
        yield change
        return
    start, end = change.offset, change.offset + len(change.data)
    while start < end:
        border = min(end, start - start % size + size)
        yield _Write(start, change.data[start - change.offset : border - change.offset])
        start = border


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
