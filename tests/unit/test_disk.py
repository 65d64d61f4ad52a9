"""The file system of this machine, as programs that keep things use it."""

import errno
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from secagg.programs.disk import REAL_DISK, append, cut, exchange


def test_a_file_takes_what_is_written_where_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        REAL_DISK.open(path)
    with REAL_DISK.open(path, make=True) as file:
        file.write_at(2, memoryview(b"cdef"))
        file.write_at(0, b"ab")
        file.truncate(5)
        file.flush()
        assert (file.size(), file.read_at(1, 3), file.read_at(3, 9), file.read_at(9, 1)) == (5, b"bcd", b"de", b"")
    assert REAL_DISK.read(path) == b"abcde"
    with REAL_DISK.open(path, make=True) as file:
        assert file.size() == 5


def test_a_write_that_the_system_cuts_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, read = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[:3], at))
    monkeypatch.setattr(os, "pread", lambda file, size, at: read(file, min(size, 3), at))
    with REAL_DISK.open(tmp_path / "file", make=True) as file:
        file.write_at(0, b"0123456789")
        assert file.read_at(1, 20) == b"123456789"


def test_files_and_folders_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert REAL_DISK.facts(folder) is None
    REAL_DISK.make_folder(folder)
    REAL_DISK.make_folder(folder)
    append(REAL_DISK, folder / "file", b"12")
    append(REAL_DISK, folder / "file", b"345")
    cut(REAL_DISK, folder / "file", 4)
    exchange(REAL_DISK, folder / "other", b"long")
    exchange(REAL_DISK, folder / "other", b"new")
    assert REAL_DISK.names(folder) == ["file", "other"]
    facts = [REAL_DISK.facts(folder / name) for name in ("file", "other", ".")]
    assert [(known.mode, known.size) for known in facts[:2] if known] == [(0o600, 4), (0o600, 3)]
    assert [known.mode for known in facts[2:] if known] == [0o700] == [stat.S_IMODE((tmp_path / "a").stat().st_mode)]
    REAL_DISK.rename(folder / "other", folder / "file")
    assert REAL_DISK.read(folder / "file") == b"new"
    REAL_DISK.unlink(folder / "file")
    assert REAL_DISK.names(folder) == []


def appended_twice(path: Path) -> None:
    append(REAL_DISK, path, b"1")
    append(REAL_DISK, path, b"1")


def cut_again(path: Path) -> None:
    append(REAL_DISK, path, b"1")
    cut(REAL_DISK, path, 0)


@pytest.mark.parametrize(
    ("does", "flushed"),
    [
        (lambda path: append(REAL_DISK, path, b"1"), ["file", "folder"]),
        (lambda path: exchange(REAL_DISK, path, b"1"), ["file", "folder"]),
        (appended_twice, ["file", "folder", "file"]),
        (cut_again, ["file", "folder", "file"]),
        (lambda path: REAL_DISK.make_folder(path / "deeper"), ["folder", "folder"]),
        (lambda path: REAL_DISK.flush_folder(path.parent), ["folder"]),
    ],
)
def test_what_is_said_to_be_safe_was_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: Callable[[Path], None], flushed: list[str]
) -> None:
    """A file before its name: a name that leads to nothing would be worse than none."""
    seen: list[str] = []

    def fsync(descriptor: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    monkeypatch.setattr(os, "fsync", fsync)
    does(tmp_path / "name")
    assert seen == flushed


def test_a_disk_that_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    exchange(REAL_DISK, tmp_path / "file", b"old")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        exchange(REAL_DISK, tmp_path / "file", b"new")
    assert REAL_DISK.read(tmp_path / "file") == b"old"


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    with REAL_DISK.locked(tmp_path / "lock"), pytest.raises(BlockingIOError), REAL_DISK.locked(tmp_path / "lock"):
        pass
    with REAL_DISK.locked(tmp_path / "lock"):
        pass


def test_sqlite_finds_a_database_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "it's 100% of a?name#.sqlite"
    with sqlite3.connect(REAL_DISK.database(path), uri=True) as database:
        database.execute("CREATE TABLE kept (value)")
    assert path.exists()
    assert REAL_DISK.names(tmp_path) == [path.name]
