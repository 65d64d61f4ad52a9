"""SQLite on virtual disks: a VFS in the very library that Python's `sqlite3` uses.

SQLite asks its operating system for everything by a table of functions (https://sqlite.org/vfs.html). Here the
functions are Python's: they pass what is asked to the mount whose key begins the path. Everything that they hand to C
is kept in this module as long as the process lives. Locks and shared memory are plain memory: all connections are in
this process.
"""

import atexit
import ctypes
import errno
import importlib
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_int, c_int64, c_void_p
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

NAME: Final = "secagg-virtual-disk"

_OK, _BUSY, _FULL, _CANTOPEN, _NOTFOUND = 0, 5, 13, 14, 12
_IOERR_READ, _IOERR_SHORT_READ, _IOERR_WRITE, _IOERR_FSYNC = 266, 522, 778, 1034
_IOERR_TRUNCATE, _IOERR_FSTAT, _IOERR_DELETE, _IOERR_DELETE_NOENT = 1546, 1802, 2570, 5898
_IOERR_ACCESS, _IOERR_LOCK, _IOERR_SHMMAP, _IOERR_DIR_FSYNC = 3338, 3850, 5386, 1290
_OPEN_CREATE, _OPEN_DELETEONCLOSE = 0x4, 0x8
_OPEN_JOURNALS: Final = 0x800 | 0x4000 | 0x80000  # main journal, super journal, WAL
_POWERSAFE_OVERWRITE: Final = 0x1000
_NONE, _SHARED, _RESERVED, _PENDING, _EXCLUSIVE = range(5)
_SHM_UNLOCK, _SHM_SHARED = 1, 4
_MAX_PATH: Final = 1024


class File(Protocol):
    """An open file of a virtual disk."""

    @property
    def node(self) -> Any:
        """Whose `state` is `Shared`."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """As `Disk` says."""
        ...

    def write_at(self, offset: int, data: bytes) -> None:
        """As `Disk` says."""
        ...

    def truncate(self, size: int) -> None:
        """As `Disk` says."""
        ...

    def size(self) -> int:
        """As `Disk` says."""
        ...

    def flush(self) -> None:
        """As `Disk` says."""
        ...


class Mounted(Protocol):
    """What SQLite needs of a mount."""

    def open(self, path: Path, *, make: bool = False) -> File:
        """As `Disk` says."""
        ...

    def facts(self, path: Path) -> Any:
        """As `Disk` says."""
        ...

    def unlink(self, path: Path) -> None:
        """As `Disk` says."""
        ...

    def flush_folder(self, path: Path) -> None:
        """As `Disk` says."""
        ...


@dataclass(slots=True, eq=False)
class Shared:
    """What the connections to one database share.

    Attributes:
        levels: the lock of each connection that has one.
        regions: shared memory.
        slots: of each lock of shared memory, who holds it, and whether alone.
    """

    levels: dict[int, int] = field(default_factory=dict)
    regions: list[Any] = field(default_factory=list)
    slots: list[dict[int, bool]] = field(default_factory=lambda: [{} for _ in range(8)])


@dataclass(slots=True, eq=False)
class _Open:
    """A file that SQLite has open.

    Attributes:
        folder_due: whether its name is new, and must be flushed with its content: SQLite leaves that to its VFS.
        passing: whether it is removed when it is closed.
        held: what SQLite has of it.
    """

    mount: Mounted
    path: Path
    file: File
    state: Shared
    folder_due: bool
    passing: bool
    held: Any


_mounts: dict[str, Mounted] = {}
_open: dict[int, _Open] = {}
_numbers = count(1)


def know(mount: Mounted) -> str:
    """A key for a mount."""
    key = str(next(_numbers))
    _mounts[key] = mount
    return key


def forget(key: str) -> None:
    """The mount's process is gone."""
    _mounts.pop(key, None)


def uri(key: str, path: Path) -> str:
    """Where SQLite finds a database of a mount."""
    _register()
    return f"file:/{key}{quote(str(path))}?vfs={NAME}"


# --- SQLite's structures ----------------------------------------------------------------------------------------------


class _Methods(Structure):
    """`sqlite3_io_methods`, version 2."""


class _File(Structure):
    """`sqlite3_file`, and the number of what it is."""

    _fields_ = [("methods", POINTER(_Methods)), ("number", c_int64)]


class _Vfs(Structure):
    """`sqlite3_vfs`, version 2."""


_FILE = POINTER(_File)
_VFS = POINTER(_Vfs)

_CLOSE = CFUNCTYPE(c_int, _FILE)
_TRANSFER = CFUNCTYPE(c_int, _FILE, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, _FILE, c_int64)
_NUMBER = CFUNCTYPE(c_int, _FILE, c_int)
_SIZE = CFUNCTYPE(c_int, _FILE, POINTER(c_int64))
_RESERVED_LOCK = CFUNCTYPE(c_int, _FILE, POINTER(c_int))
_CONTROL = CFUNCTYPE(c_int, _FILE, c_int, c_void_p)
_MAP = CFUNCTYPE(c_int, _FILE, c_int, c_int, c_int, POINTER(c_void_p))
_SHM_LOCK = CFUNCTYPE(c_int, _FILE, c_int, c_int, c_int)
_BARRIER = CFUNCTYPE(None, _FILE)

_Methods._fields_ = [
    ("version", c_int),
    ("close", _CLOSE),
    ("read", _TRANSFER),
    ("write", _TRANSFER),
    ("truncate", _TRUNCATE),
    ("sync", _NUMBER),
    ("file_size", _SIZE),
    ("lock", _NUMBER),
    ("unlock", _NUMBER),
    ("check_reserved_lock", _RESERVED_LOCK),
    ("file_control", _CONTROL),
    ("sector_size", _CLOSE),
    ("device_characteristics", _CLOSE),
    ("shm_map", _MAP),
    ("shm_lock", _SHM_LOCK),
    ("shm_barrier", _BARRIER),
    ("shm_unmap", _NUMBER),
]

_OPEN = CFUNCTYPE(c_int, _VFS, c_char_p, _FILE, c_int, POINTER(c_int))
_DELETE = CFUNCTYPE(c_int, _VFS, c_char_p, c_int)
_ACCESS = CFUNCTYPE(c_int, _VFS, c_char_p, c_int, POINTER(c_int))
_FULL_PATH = CFUNCTYPE(c_int, _VFS, c_char_p, c_int, POINTER(c_char))
_RANDOMNESS = CFUNCTYPE(c_int, _VFS, c_int, POINTER(c_char))
_SLEEP = CFUNCTYPE(c_int, _VFS, c_int)
_TIME = CFUNCTYPE(c_int, _VFS, POINTER(c_double))
_LAST_ERROR = CFUNCTYPE(c_int, _VFS, c_int, c_char_p)
_TIME_64 = CFUNCTYPE(c_int, _VFS, POINTER(c_int64))

_Vfs._fields_ = [
    ("version", c_int),
    ("file_bytes", c_int),
    ("max_path", c_int),
    ("next", c_void_p),
    ("name", c_char_p),
    ("data", c_void_p),
    ("open", _OPEN),
    ("delete", _DELETE),
    ("access", _ACCESS),
    ("full_path", _FULL_PATH),
    ("dl_open", c_void_p),
    ("dl_error", c_void_p),
    ("dl_sym", c_void_p),
    ("dl_close", c_void_p),
    ("randomness", _RANDOMNESS),
    ("sleep", _SLEEP),
    ("time", _TIME),
    ("last_error", _LAST_ERROR),
    ("time_64", _TIME_64),
]

# --- files ------------------------------------------------------------------------------------------------------------


def _of(file: Any) -> _Open:
    return _open[file.contents.number]


def _failed(error: OSError, otherwise: int) -> int:
    return _FULL if error.errno == errno.ENOSPC else otherwise


def _close(file: Any) -> int:
    number = file.contents.number
    known = _open.pop(number)
    known.state.levels.pop(number, None)
    for slot in known.state.slots:
        slot.pop(number, None)
    if known.passing:
        try:
            known.mount.unlink(known.path)
        except OSError as error:
            return _failed(error, _IOERR_DELETE)
    return _OK


def _read(file: Any, into: int, size: int, offset: int) -> int:
    try:
        data = _of(file).file.read_at(offset, size)
    except OSError as error:
        return _failed(error, _IOERR_READ)
    ctypes.memmove(into, data.ljust(size, b"\0"), size)
    return _OK if len(data) == size else _IOERR_SHORT_READ


def _write(file: Any, data: int, size: int, offset: int) -> int:
    try:
        _of(file).file.write_at(offset, ctypes.string_at(data, size))
    except OSError as error:
        return _failed(error, _IOERR_WRITE)
    return _OK


def _truncate(file: Any, size: int) -> int:
    try:
        _of(file).file.truncate(size)
    except OSError as error:
        return _failed(error, _IOERR_TRUNCATE)
    return _OK


def _sync(file: Any, _flags: int) -> int:
    known = _of(file)
    try:
        known.file.flush()
    except OSError as error:
        return _failed(error, _IOERR_FSYNC)
    if known.folder_due:
        try:
            known.mount.flush_folder(known.path.parent)
        except OSError as error:
            return _failed(error, _IOERR_DIR_FSYNC)
        known.folder_due = False
    return _OK


def _file_size(file: Any, size: Any) -> int:
    try:
        size[0] = _of(file).file.size()
    except OSError as error:
        return _failed(error, _IOERR_FSTAT)
    return _OK


def _lock(file: Any, level: int) -> int:
    """SHARED beside others; RESERVED beside SHARED ones; PENDING lets nobody new in; EXCLUSIVE alone."""
    number = file.contents.number
    levels = _open[number].state.levels
    own, others = levels.get(number, _NONE), [other for who, other in levels.items() if who != number]
    if own >= level:
        return _OK
    highest = max(others, default=_NONE)
    if level == _SHARED and highest >= _PENDING:
        return _BUSY
    if level >= _RESERVED and highest >= _RESERVED:
        return _BUSY
    if level == _EXCLUSIVE and highest >= _SHARED:
        levels[number] = _PENDING
        return _BUSY
    levels[number] = level
    return _OK


def _unlock(file: Any, level: int) -> int:
    number = file.contents.number
    levels = _open[number].state.levels
    if level == _NONE:
        levels.pop(number, None)
    elif levels.get(number, _NONE) > level:
        levels[number] = level
    return _OK


def _check_reserved_lock(file: Any, found: Any) -> int:
    found[0] = int(any(level >= _RESERVED for level in _of(file).state.levels.values()))
    return _OK


def _file_control(_file: Any, _operation: int, _argument: int) -> int:
    return _NOTFOUND


def _sector_size(_file: Any) -> int:
    return 4096


def _device_characteristics(_file: Any) -> int:
    """What SQLite takes for granted on Linux: a write that is torn changes nothing beside it."""
    return _POWERSAFE_OVERWRITE


def _shm_map(file: Any, region: int, size: int, extend: int, into: Any) -> int:
    regions = _of(file).state.regions
    if region >= len(regions) and not extend:
        into[0] = None
        return _OK
    while len(regions) <= region:
        regions.append(ctypes.create_string_buffer(size))
    into[0] = ctypes.addressof(regions[region])
    return _OK


def _shm_lock(file: Any, offset: int, number: int, flags: int) -> int:
    me = file.contents.number
    slots = _open[me].state.slots[offset : offset + number]
    if flags & _SHM_UNLOCK:
        for slot in slots:
            slot.pop(me, None)
        return _OK
    alone = not flags & _SHM_SHARED
    if any(who != me and (alone or held_alone) for slot in slots for who, held_alone in slot.items()):
        return _BUSY
    for slot in slots:
        slot[me] = alone
    return _OK


def _shm_barrier(_file: Any) -> None:
    return None


def _shm_unmap(file: Any, delete: int) -> int:
    known = _of(file)
    if delete and not any(other.state is known.state for other in _open.values() if other is not known):
        known.state.regions.clear()
    return _OK


# --- the file system --------------------------------------------------------------------------------------------------


def _found(name: bytes) -> tuple[Mounted, Path]:
    key, _, path = name.decode().removeprefix("/").partition("/")
    if key not in _mounts:
        raise OSError(errno.EIO, "the process is gone")
    return _mounts[key], Path("/" + path)


def _open_file(_vfs: Any, name: bytes | None, file: Any, flags: int, out: Any) -> int:
    file.contents.methods = POINTER(_Methods)()
    if name is None:  # a database that is too large for memory: ours are not
        return _CANTOPEN
    try:
        mount, path = _found(name)
        fresh = mount.facts(path) is None
        opened = mount.open(path, make=bool(flags & _OPEN_CREATE))
    except OSError as error:
        return _failed(error, _CANTOPEN)
    number = next(_numbers)
    due = fresh and bool(flags & _OPEN_JOURNALS)
    passing = bool(flags & _OPEN_DELETEONCLOSE)
    _open[number] = _Open(mount, path, opened, opened.node.state, due, passing, file.contents)
    file.contents.number = number
    file.contents.methods = ctypes.pointer(_register().methods)
    if out:
        out[0] = flags
    return _OK


def _delete(_vfs: Any, name: bytes, flush: int) -> int:
    try:
        mount, path = _found(name)
        mount.unlink(path)
    except FileNotFoundError:
        return _IOERR_DELETE_NOENT
    except OSError as error:
        return _failed(error, _IOERR_DELETE)
    if flush:
        try:
            mount.flush_folder(path.parent)
        except OSError as error:
            return _failed(error, _IOERR_DIR_FSYNC)
    return _OK


def _access(_vfs: Any, name: bytes, _flags: int, found: Any) -> int:
    """An empty file is none, as on Unix."""
    try:
        mount, path = _found(name)
        known = mount.facts(path)
    except OSError as error:
        return _failed(error, _IOERR_ACCESS)
    found[0] = int(known is not None and known.size > 0)
    return _OK


def _full_path(_vfs: Any, name: bytes, size: int, into: Any) -> int:
    if len(name) >= size:
        return _CANTOPEN
    ctypes.memmove(into, name + b"\0", len(name) + 1)
    return _OK


def _randomness(_vfs: Any, size: int, into: Any) -> int:
    ctypes.memset(into, 7, size)
    return size


def _sleep(_vfs: Any, microseconds: int) -> int:
    """Whoever holds a lock is in this process: to wait would help nobody."""
    return microseconds


def _time(_vfs: Any, into: Any) -> int:
    into[0] = 2440587.5
    return _OK


def _time_64(_vfs: Any, into: Any) -> int:
    into[0] = 210866760000000
    return _OK


def _last_error(_vfs: Any, _size: int, _into: Any) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class _Registered:
    methods: _Methods
    vfs: _Vfs
    library: ctypes.CDLL


@cache
def _register() -> _Registered:
    """Tell SQLite, once. The module's own library is searched, and what it is linked to: there is no second SQLite."""
    methods = _Methods(
        2,
        _CLOSE(_close),
        _TRANSFER(_read),
        _TRANSFER(_write),
        _TRUNCATE(_truncate),
        _NUMBER(_sync),
        _SIZE(_file_size),
        _NUMBER(_lock),
        _NUMBER(_unlock),
        _RESERVED_LOCK(_check_reserved_lock),
        _CONTROL(_file_control),
        _CLOSE(_sector_size),
        _CLOSE(_device_characteristics),
        _MAP(_shm_map),
        _SHM_LOCK(_shm_lock),
        _BARRIER(_shm_barrier),
        _NUMBER(_shm_unmap),
    )
    table = _Vfs(version=2, file_bytes=ctypes.sizeof(_File), max_path=_MAX_PATH, name=NAME.encode())
    functions: dict[str, Callable[..., Any]] = {
        "open": _OPEN(_open_file),
        "delete": _DELETE(_delete),
        "access": _ACCESS(_access),
        "full_path": _FULL_PATH(_full_path),
        "randomness": _RANDOMNESS(_randomness),
        "sleep": _SLEEP(_sleep),
        "time": _TIME(_time),
        "last_error": _LAST_ERROR(_last_error),
        "time_64": _TIME_64(_time_64),
    }
    for name, function in functions.items():
        setattr(table, name, function)
    library = ctypes.CDLL(getattr(importlib.import_module("_sqlite3"), "__file__", None))
    if library.sqlite3_vfs_register(ctypes.byref(table), 0) != _OK:
        raise OSError(errno.EIO, "SQLite takes no VFS")
    atexit.register(_let_go, library)
    return _Registered(methods, table, library)


def _let_go(library: ctypes.CDLL) -> None:
    """Let databases that are still open when Python ends be closed without Python. A function that takes nothing and
    returns 1, which is an error to SQLite, answers whatever they ask.
    """
    registered = _register()
    deaf = ctypes.cast(library.sqlite3_threadsafe, c_void_p).value or 0
    tables: tuple[Structure, ...] = (registered.methods, registered.vfs)
    for table in tables:
        for name, kind, *_ in table._fields_:
            if hasattr(kind, "_restype_"):  # a function
                setattr(table, name, kind(deaf))
    for known in _open.values():
        known.held.methods = ctypes.pointer(registered.methods)
