"""The disk of the simulator: it forgets what a real one may forget, and nothing else."""

import errno
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from secagg.programs.disk import append, cut, exchange
from secagg.tools.faults.disk import PAGE, SECTOR, Kind, Mount, VirtualDisk

FOLDER = Path("/state")
FILE = FOLDER / "file"
DATABASE = FOLDER / "state.sqlite"


def made(seed: int = 0) -> tuple[VirtualDisk, Mount]:
    """A disk with a folder."""
    disk = VirtualDisk(Random(seed))  # noqa: S311 - a seed replays
    mount = disk.mount()
    mount.make_folder(FOLDER)
    return disk, mount


class Failing:
    """A disk on which some operations fail, kill, or lie."""

    def __init__(
        self,
        fails: Callable[[int, Kind, Path], int] = lambda *_: 0,
        dies: Callable[[int], bool] = lambda _: False,
        dying: Callable[[], None] = lambda: None,
        lies: Callable[[Path], bool] = lambda _: False,
    ) -> None:
        self._fails, self._dies, self._dying, self._lies = fails, dies, dying, lies

    def befalls(self, number: int, kind: Kind, path: Path) -> None:
        if number and self._dies(number):
            self._dying()
        if error := self._fails(number, kind, path):
            raise OSError(error, "made to fail")

    def lies(self, number: int, kind: Kind, path: Path) -> bool:
        return self._lies(path)


# --- files ------------------------------------------------------------------------------------------------------------


def test_processes_see_what_was_written_whether_it_is_safe_or_not() -> None:
    disk, mount = made()
    append(mount, FILE, b"12")
    with mount.open(FILE) as file:
        file.write_at(4, memoryview(b"56"))
        file.truncate(5)
        assert (file.size(), file.read_at(1, 9)) == (5, b"2\0\x005")
    disk.kill()
    again = disk.mount()
    assert again.read(FILE) == b"12\0\x005"
    assert again.names(FOLDER) == ["file"]
    again.rename(FILE, FOLDER / "other")
    again.unlink(FOLDER / "other")
    assert again.names(FOLDER) == []
    with pytest.raises(FileNotFoundError):
        again.read(FILE)
    with pytest.raises(FileNotFoundError):
        again.open(FOLDER / "none" / "file", make=True)


@pytest.mark.parametrize("seed", range(60))
def test_what_was_flushed_is_safe(seed: int) -> None:
    disk, mount = made(seed)
    append(mount, FILE, b"a" * 3000)
    exchange(mount, FOLDER / "whole", b"old")
    with mount.open(FILE) as file:
        file.write_at(3000, b"b" * 9000)
    exchange(mount, FOLDER / "whole", b"new")
    append(mount, FOLDER / "fresh", b"x")
    disk.cut_power()
    after = disk.mount()
    assert after.read(FILE)[:3000] == b"a" * 3000
    assert after.read(FOLDER / "whole") == b"new"
    assert after.read(FOLDER / "fresh") == b"x"


def left(seed: int, does: Callable[[Mount], None]) -> dict[str, bytes]:
    disk, mount = made(seed)
    append(mount, FILE, b"a" * (3 * PAGE))
    does(mount)
    disk.cut_power()
    return {path.name: content for path, content in disk.files().items()}


def test_what_was_not_flushed_may_be_lost_torn_or_out_of_order() -> None:
    def written(mount: Mount) -> None:
        with mount.open(FILE) as file:
            file.write_at(0, b"b" * PAGE)
            file.write_at(PAGE, b"c" * PAGE)

    found = [left(seed, written)["file"] for seed in range(300)]
    old, first, second = b"a" * PAGE, b"b" * PAGE, b"c" * PAGE
    assert all(content[2 * PAGE :] == old for content in found)
    for wanted in (old + old, first + old, old + second, first + second):
        assert any(content[: 2 * PAGE] == wanted for content in found)
    torn = [content for content in found if content[:PAGE] not in (old, first)]
    assert torn
    sectors = {content[at : at + SECTOR] for content in found for at in range(0, PAGE, SECTOR)}
    assert sectors == {b"a" * SECTOR, b"b" * SECTOR}


def test_names_that_were_not_flushed_may_be_lost() -> None:
    def named(mount: Mount) -> None:
        with mount.open(FOLDER / "fresh", make=True) as file:
            file.write_at(0, b"1")
            file.flush()
        mount.rename(FOLDER / "fresh", FOLDER / "final")
        mount.unlink(FILE)

    found = [frozenset(left(seed, named)) for seed in range(200)]
    assert {frozenset({"file"}), frozenset({"fresh", "file"}), frozenset({"final"})} <= set(found)
    assert frozenset({"fresh", "final"}) not in found  # a rename is done as a whole, or not


def test_a_file_whose_name_alone_was_flushed_may_be_empty() -> None:
    def named(mount: Mount) -> None:
        with mount.open(FOLDER / "fresh", make=True) as file:
            file.write_at(0, b"1")
        mount.flush_folder(FOLDER)

    assert {left(seed, named)["fresh"] for seed in range(50)} == {b"", b"1"}


def test_what_is_in_a_folder_whose_name_is_lost_is_lost() -> None:
    for seed in range(20):
        disk, mount = made(seed)
        disk.mischief = Failing(lies=lambda path: path == FOLDER)
        mount.make_folder(FOLDER / "deep")
        append(mount, FOLDER / "deep" / "file", b"1")
        disk.cut_power()
        assert (FOLDER / "deep" / "file" in disk.files()) == (disk.mount().facts(FOLDER / "deep") is not None)


def test_the_same_seed_loses_the_same() -> None:
    def written(mount: Mount) -> None:
        with mount.open(FILE) as file:
            file.write_at(100, bytes(range(256)) * 99)

    assert [left(seed, written) for seed in range(30)] == [left(seed, written) for seed in range(30)]


def test_a_flush_that_lies_is_what_it_takes_to_lose_an_append() -> None:
    lost = 0
    for seed in range(60):
        disk, mount = made(seed)
        append(mount, FILE, b"1")
        disk.mischief = Failing(lies=lambda path: path == FILE)
        append(mount, FILE, b"2")
        disk.cut_power()
        lost += disk.mount().read(FILE) != b"12"
    assert lost


def test_after_a_flush_that_failed_another_one_saves_nothing() -> None:
    """As on Linux: the failed one counts as done, so what it left behind is never written."""
    lost = 0
    for seed in range(60):
        disk, mount = made(seed)
        append(mount, FILE, b"1")
        disk.mischief = Failing(lambda _, kind, path: errno.EIO if kind is Kind.FLUSH else 0)
        with mount.open(FILE) as file:
            file.write_at(1, b"2")
            with pytest.raises(OSError, match="made to fail"):
                file.flush()
            disk.mischief = Failing()
            file.flush()
            assert file.read_at(0, 9) == b"12"
        disk.cut_power()
        lost += disk.mount().read(FILE) != b"12"
    assert lost


def test_a_full_disk_takes_what_fits() -> None:
    disk, mount = made()
    append(mount, FILE, b"1234")
    disk.room = 6
    with mount.open(FILE) as file, pytest.raises(OSError, match="No space left") as caught:
        file.write_at(4, b"5678")
    assert caught.value.errno == errno.ENOSPC
    assert mount.read(FILE) == b"123456"
    cut(mount, FILE, 2)
    append(mount, FILE, b"3456")
    assert mount.read(FILE) == b"123456"


def test_bit_rot_stays() -> None:
    disk, mount = made()
    content = bytes(range(1, 256)) * 20
    append(mount, FILE, content)
    append(mount, FOLDER / "other", content)
    found = disk.rot(lambda path: path == FILE)
    assert found is not None
    assert found[0] == FILE
    rotten = mount.read(FILE)
    assert rotten != content
    assert rotten[: found[1]] == content[: found[1]]
    assert mount.read(FOLDER / "other") == content
    disk.cut_power()
    assert disk.mount().read(FILE) == rotten
    assert disk.rot(lambda _: False) is None


def test_a_dead_process_does_nothing() -> None:
    disk, mount = made()
    append(mount, FILE, b"1")
    file, database = mount.open(FILE), opened(mount)
    database.execute("CREATE TABLE kept (value)")
    disk.kill()
    before, changes = disk.files(), disk.changes
    for does in (
        lambda: file.write_at(0, b"2"),
        lambda: file.read_at(0, 1),
        lambda: mount.open(FILE),
        lambda: mount.unlink(FILE),
        lambda: mount.make_folder(FOLDER),
        lambda: mount.flush_folder(FOLDER),
    ):
        with pytest.raises(OSError, match="the process is gone"):
            does()
    with closing(database), pytest.raises(sqlite3.OperationalError):
        database.execute("INSERT INTO kept VALUES (1)")
    assert disk.files() == before
    assert disk.changes > changes


def test_a_lock_ends_with_its_process() -> None:
    disk, mount = made()
    with mount.locked(FILE), pytest.raises(BlockingIOError), mount.locked(FILE):
        pass
    held = mount.locked(FILE)
    held.__enter__()
    with pytest.raises(BlockingIOError), disk.mount().locked(FILE):
        pass
    disk.kill()
    with disk.mount().locked(FILE):
        with pytest.raises(BlockingIOError), disk.mount().locked(FILE):
            pass
        held.__exit__(None, None, None)
        with pytest.raises(BlockingIOError), disk.mount().locked(FILE):
            pass


# --- SQLite -----------------------------------------------------------------------------------------------------------

MODES = ("WAL", "DELETE")


def opened(mount: Mount, mode: str = "WAL", synchronous: str = "FULL") -> sqlite3.Connection:
    database = sqlite3.connect(mount.database(DATABASE), uri=True, isolation_level=None)
    database.execute(f"PRAGMA synchronous={synchronous}")
    database.execute(f"PRAGMA journal_mode={mode}")
    database.execute("PRAGMA wal_autocheckpoint=20")
    return database


@contextmanager
def working(mount: Mount, mode: str, synchronous: str) -> Iterator[sqlite3.Connection]:
    with closing(opened(mount, mode, synchronous)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS kept (number INTEGER PRIMARY KEY, content BLOB, twice INTEGER)")
        yield database


def commit(database: sqlite3.Connection, number: int) -> None:
    """Several rows and pages in one transaction; both or none of the two tables' rows."""
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO kept VALUES (?, ?, ?)", (number, content(number), 2 * number))
    database.execute("UPDATE kept SET twice = 2 * number WHERE number % 3 = 0")
    database.execute("COMMIT")


def commit_all(database: sqlite3.Connection, numbers: Iterable[int]) -> None:
    for number in numbers:
        commit(database, number)


def content(number: int) -> bytes:
    return bytes([number % 251]) * (number * 37 % 3000)


def survived(seed: int, mode: str, synchronous: str = "FULL", lies: bool = False, crashes: int = 4) -> tuple[int, int]:
    """Work, and cut the power at any operation, again and again; how many commits were lost, and damages found."""
    rng = Random(seed)  # noqa: S311 - a seed replays
    disk, _ = made(seed)
    promised, lost, damaged = 0, 0, 0
    for _ in range(crashes):
        end = disk.changes + rng.randint(1, 150)
        disk.mischief = Failing(
            dies=lambda number, end=end: number >= end,  # type: ignore[misc]
            dying=disk.cut_power,
            lies=lambda path: lies and rng.random() < 0.3,
        )
        mount = disk.mount()
        kept: list[int] = []
        try:
            with working(mount, mode, synchronous) as database:
                if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                    return lost, damaged + 1
                rows = database.execute("SELECT number, content, twice FROM kept ORDER BY number").fetchall()
                kept = [number for number, *_ in rows]
                damaged += rows != [(number, content(number), 2 * number) for number in range(1, len(rows) + 1)]
                lost += max(0, promised - len(kept))
                promised = len(kept)
                while True:
                    commit(database, promised + 1)
                    promised += 1
        except sqlite3.DatabaseError:
            if mount.alive:
                return lost, damaged + 1
        assert kept == list(range(1, len(kept) + 1))
    return lost, damaged


@pytest.mark.parametrize(("mode", "synchronous"), [("WAL", "FULL"), ("DELETE", "EXTRA")])
def test_a_commit_survives_every_power_cut(mode: str, synchronous: str) -> None:
    assert [survived(seed, mode, synchronous) for seed in range(150)] == [(0, 0)] * 150


def test_a_journal_whose_removal_is_not_flushed_takes_a_commit_back() -> None:
    """Why a rollback journal needs EXTRA: a commit is the removal of a name, and FULL does not flush the folder."""
    found = [survived(seed, "DELETE") for seed in range(60)]
    assert sum(lost for lost, _ in found) > 0
    assert sum(damaged for _, damaged in found) == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_flush_that_lies_loses_commits(mode: str) -> None:
    assert sum(sum(survived(seed, mode, lies=True)) for seed in range(60)) > 0


def test_a_log_that_is_not_flushed_at_commits_loses_some_and_damages_nothing() -> None:
    found = [survived(seed, "WAL", "NORMAL") for seed in range(60)]
    assert sum(lost for lost, _ in found) > 0
    assert sum(damaged for _, damaged in found) == 0


def test_a_database_that_is_never_flushed_is_damaged() -> None:
    assert sum(damaged for _, damaged in (survived(seed, "DELETE", "OFF") for seed in range(60))) > 0


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_process_loses_no_commit(mode: str) -> None:
    disk, mount = made()
    for round_number in range(3):
        with working(mount, mode, "OFF") as database:
            commit(database, round_number + 1)
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO kept VALUES (99, 0, 0)")
            disk.kill()
        mount = disk.mount()
        with working(mount, mode, "OFF") as database:
            assert database.execute("SELECT count(*) FROM kept").fetchone() == (round_number + 1,)


@pytest.mark.parametrize("mode", MODES)
def test_connections_wait_for_each_other(mode: str) -> None:
    _, mount = made()
    with working(mount, mode, "FULL") as one, working(mount, mode, "FULL") as other:
        one.execute("BEGIN IMMEDIATE")
        one.execute("INSERT INTO kept VALUES (1, 0, 0)")
        other.execute("PRAGMA busy_timeout=1")
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        one.execute("COMMIT")
        assert other.execute("SELECT count(*) FROM kept").fetchone() == (1,)
        commit(other, 2)
        assert one.execute("SELECT count(*) FROM kept").fetchone() == (2,)


@pytest.mark.parametrize("mode", MODES)
def test_a_full_disk_is_named_and_leaves_what_was_committed(mode: str) -> None:
    disk, mount = made()
    with working(mount, mode, "FULL") as database:
        commit(database, 1)
        disk.room = sum(map(len, disk.files().values())) + 100
        with pytest.raises(sqlite3.OperationalError, match="database or disk is full"):
            commit_all(database, range(2, 99))
        if database.in_transaction:
            database.execute("ROLLBACK")
        disk.room = None
        (count,) = database.execute("SELECT count(*) FROM kept").fetchone()
        commit(database, count + 1)
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_two_disks_have_nothing_in_common() -> None:
    (_, one), (_, other) = made(), made()
    with working(one, "WAL", "FULL") as first, working(other, "WAL", "FULL") as second:
        commit(first, 1)
        assert second.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_the_library_is_the_one_that_python_uses() -> None:
    """Another one would not know the VFS: a database that cannot be opened says so."""
    _, mount = made()
    mount.database(DATABASE)
    with pytest.raises(sqlite3.OperationalError, match="no such vfs"):
        sqlite3.connect(f"file:{DATABASE}?vfs=none", uri=True)
    with closing(opened(mount)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_python_may_end_while_a_database_is_open() -> None:
    program = """
import sqlite3
from pathlib import Path
from random import Random
from secagg.tools.faults.disk import VirtualDisk
mount = VirtualDisk(Random(0)).mount()
database = sqlite3.connect(mount.database(Path("/state.sqlite")), uri=True, isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("CREATE TABLE kept (value)")
database.execute("BEGIN IMMEDIATE")
database.execute("INSERT INTO kept VALUES (1)")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
