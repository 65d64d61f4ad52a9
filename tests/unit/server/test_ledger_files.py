"""Ledgers in a folder: whatever a crash leaves is put right, whatever anyone changes is found."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.cli.main import main as secagg
from secagg.errors import ConfigError, LedgerError
from secagg.privacy.ledger import Budget, Head, Ledger, LedgerBook
from secagg.programs import disk as disk_calls
from secagg.programs.disk import Disk
from secagg.programs.ledgers import files as ledger_files
from secagg.programs.ledgers.files import MARKER, LedgerFolder, check_format, is_locked, locked
from secagg.tools.faults.disk import Kind, NoMischief, VirtualDisk
from secagg.tools.redteam.self_test.patches import without_check
from tests.nobody import as_nobody, place
from tests.unit.privacy.test_ledger import CONFIG, TASK, filled, round_id

BUDGET = Budget()
WHOLE = filled(1).plan(round_id(5), CONFIG)


class PowerCutError(Exception):
    """Nothing after this happens."""


def kept(folder: Path, ledger: Ledger) -> tuple[Path, Path]:
    """The files of a ledger that was written entry by entry."""
    store = LedgerFolder(folder)
    for line, head in zip(ledger.lines, heads(ledger), strict=True):
        store.append(TASK, line, head)
    (entries,) = folder.glob("*.jsonl")
    return entries, entries.with_suffix(".head")


def heads(ledger: Ledger) -> list[Head]:
    store, found = LedgerBook(Collected()), []
    replayed = store.open(TASK, BUDGET)
    for line in ledger.lines[1:]:
        found.append(replayed.head)
        replayed = replayed._replayed(line)
    return [*found, replayed.head]


class Collected:
    def read(self, task: str) -> tuple[list[bytes], None]:
        return [], None

    def append(self, task: str, entry: bytes, head: Head) -> None: ...


def test_what_was_appended_is_there(tmp_path: Path) -> None:
    entries, head = kept(tmp_path, WHOLE)
    assert LedgerBook(LedgerFolder(tmp_path)).find(TASK) == WHOLE
    assert head.read_text() == WHOLE.head.text + "\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (entries, head)} == {0o600}
    assert LedgerBook(LedgerFolder(tmp_path)).find("another") is None


def test_tasks_do_not_share_files(tmp_path: Path) -> None:
    store = LedgerFolder(tmp_path)
    tasks = ["a/b", "a_b", "A_b", "../x", "ü" * 60]
    for task in tasks:
        LedgerBook(store).open(task, BUDGET)
    assert len(list(tmp_path.glob("*.jsonl"))) == len(tasks) == len({p.name.lower() for p in tmp_path.glob("*.jsonl")})
    assert all(LedgerBook(store).open(task, BUDGET).task == task for task in tasks)


@pytest.mark.parametrize("after", range(1, 12))
def test_both_or_neither_wherever_the_power_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Every call to the system may be the last; what was acknowledged stays, what was not counts or is gone."""
    kept(tmp_path, filled(1))
    calls = 0

    def cut(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == after:
                raise PowerCutError
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("open", "pwrite", "fsync", "ftruncate"):
            patch.setattr(os, name, cut(getattr(os, name)))
        patch.setattr(Path, "replace", cut(Path.replace))
        acknowledged = False
        try:
            LedgerFolder(tmp_path).append(TASK, WHOLE.lines[-1], WHOLE.head)
            acknowledged = True
        except PowerCutError:
            pass
    found = LedgerBook(LedgerFolder(tmp_path)).find(TASK)
    assert found == WHOLE if acknowledged else found in (filled(1), WHOLE)
    again = LedgerBook(LedgerFolder(tmp_path)).find(TASK)
    assert again == found


@given(st.data())
@settings(max_examples=30)
def test_a_torn_line_is_cut_off(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("torn")
    entries, _ = kept(folder, filled(1))
    torn = WHOLE.lines[-1][: data.draw(st.integers(1, len(WHOLE.lines[-1])))]
    entries.write_bytes(entries.read_bytes() + torn)
    book = LedgerBook(LedgerFolder(folder))
    assert book.find(TASK) == filled(1)
    book.keep(filled(1).plan(round_id(5), CONFIG))
    assert book.find(TASK) == WHOLE


def test_a_crash_at_the_first_entry(tmp_path: Path) -> None:
    entries, head = kept(tmp_path, Ledger.open(TASK, BUDGET))
    line = entries.read_bytes()
    head.unlink()
    assert LedgerBook(LedgerFolder(tmp_path)).find(TASK) == Ledger.open(TASK, BUDGET)
    head.unlink()
    entries.write_bytes(line[:7])
    assert LedgerBook(LedgerFolder(tmp_path)).find(TASK) is None
    assert entries.read_bytes() == b""


def damages(entries: Path, head: Path) -> dict[str, Callable[[], object]]:
    lines = entries.read_bytes().splitlines(keepends=True)
    return {
        "truncated": lambda: entries.write_bytes(b"".join(lines[:-1])),
        "cut within a line that counts": lambda: entries.write_bytes(b"".join(lines)[:-5]),
        "edited": lambda: entries.write_bytes(b"".join(lines).replace(b'"survivors":18', b'"survivors":19')),
        "without entries": entries.unlink,
        "without its head": head.unlink,
        "head of long ago": lambda: head.write_text(heads(WHOLE)[1].text + "\n"),
        "head of nonsense": lambda: head.write_text("4"),
        "foreign line": lambda: entries.write_bytes(b"".join(lines) + b"{}\n"),
        "torn after a line too many": lambda: entries.write_bytes(b"".join([*lines, lines[-1], lines[-1]])[:-5]),
    }


@pytest.mark.parametrize("damage", damages(Path("/dev/null"), Path("/dev/null")))
def test_damage_is_found_and_left_as_it_is(tmp_path: Path, damage: str) -> None:
    entries, head = kept(tmp_path, WHOLE)
    damages(entries, head)[damage]()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for _ in range(2):
        with pytest.raises(LedgerError):
            LedgerBook(LedgerFolder(tmp_path)).open(TASK, BUDGET)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, filled(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("append", "exchange"):
        with monkeypatch.context() as patch:
            patch.setattr(ledger_files, name, full)
            with pytest.raises(OSError, match="No space"):
                LedgerFolder(tmp_path).append(TASK, WHOLE.lines[-1], WHOLE.head)
        assert LedgerBook(LedgerFolder(tmp_path)).find(TASK) == filled(1)


SYSTEM_CALLS = ("open", "pwrite", "fsync", "ftruncate")


def failing_disk(patch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> list[str]:
    """Whatever changes a file fails with EIO, if `fails` says so of its number; the names of all calls made."""
    made: list[str] = []

    def ailing(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            made.append(name)
            if fails(len(made)):
                raise OSError(5, "Input/output error")
            return real(*arguments, **named)

        return call

    for name in SYSTEM_CALLS:
        patch.setattr(os, name, ailing(name, getattr(os, name)))
    for name in ("replace", "unlink"):
        patch.setattr(Path, name, ailing(name, getattr(Path, name)))
    return made


LEDGERS = {"first entry": (None, Ledger.open(TASK, BUDGET)), "later entry": (filled(1), WHOLE)}


def append_on_failing_disk(
    folder: Path, patch: pytest.MonkeyPatch, which: str, fails: Callable[[int], bool]
) -> tuple[Ledger | None, bool]:
    """What the ledger is afterwards, on a disk that is well; whether the entry was acknowledged."""
    before, after = LEDGERS[which]
    if before is not None:
        kept(folder, before)
    book = LedgerBook(LedgerFolder(folder))
    assert book.find(TASK) == before
    with patch.context() as ailing:
        failing_disk(ailing, fails)
        try:
            LedgerFolder(folder).append(TASK, after.lines[-1], after.head)
            acknowledged = True
        except OSError:
            acknowledged = False
    found = book.find(TASK)
    assert found in (before, after)
    assert LedgerBook(LedgerFolder(folder)).find(TASK) == found
    return found, acknowledged


@pytest.mark.parametrize("which", LEDGERS)
@pytest.mark.parametrize("lasts", ["once", "on"])
@pytest.mark.parametrize("call", range(1, 14))
def test_a_disk_that_fails_leaves_a_whole_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, lasts: str, call: int
) -> None:
    """Each call to the system fails in its turn, alone or with all after it; then the same process reads again."""
    fails = {"once": lambda number: number == call, "on": lambda number: number >= call}[lasts]
    found, acknowledged = append_on_failing_disk(tmp_path, monkeypatch, which, fails)
    before, after = LEDGERS[which]
    if acknowledged:
        assert found == after
    elif lasts == "once":
        assert found == before
    following = after.plan(round_id(9), CONFIG) if found == after else after  # and it can be written again
    book = LedgerBook(LedgerFolder(tmp_path))
    book.keep(following)
    assert book.find(TASK) == following


def test_every_system_call_of_an_append_is_made_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The range above reaches behind the last of them."""
    for which, (before, after) in LEDGERS.items():
        folder = tmp_path / which
        folder.mkdir()
        if before is not None:
            kept(folder, before)
        with monkeypatch.context() as patch:
            made = failing_disk(patch, lambda _: False)
            LedgerFolder(folder).append(TASK, after.lines[-1], after.head)
        assert len(made) < 13
        assert {"open", "pwrite", "fsync", "replace"} <= set(made)


def test_a_ledger_whose_head_stays_is_damaged_by_a_failing_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: where the entry alone is taken back, one fsync that fails makes the ledger unreadable."""
    monkeypatch.setattr(ledger_files, "_take_back", lambda disk, entries, size, _: disk_calls.cut(disk, entries, size))
    damaged = 0
    for call in range(1, 14):
        folder = tmp_path / str(call)
        folder.mkdir()
        try:
            append_on_failing_disk(folder, monkeypatch, "later entry", call.__eq__)
        except LedgerError:
            damaged += 1
    assert damaged > 0


def test_an_entry_is_flushed_before_it_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries, head = kept(tmp_path, WHOLE)
    head.write_text(heads(WHOLE)[-2].text + "\n")
    with monkeypatch.context() as patch:
        patch.setattr(ledger_files, "_write_again", lambda _, path, end: (_ for _ in ()).throw(OSError(5, path.name)))
        with pytest.raises(OSError, match=entries.name):
            LedgerFolder(tmp_path).read(TASK)
    assert head.read_text() == heads(WHOLE)[-2].text + "\n"
    assert LedgerBook(LedgerFolder(tmp_path)).find(TASK) == WHOLE


def whole_after_a_flush_that_failed() -> bool:
    """An entry's flush fails, and so does taking it back; another process takes the entry over; the power goes."""
    for seed in range(30):
        disk = VirtualDisk(Random(seed))  # noqa: S311 - a seed replays
        folder = Path("/ledgers")
        disk.mount().make_folder(folder)
        first = LedgerFolder(folder, disk.mount())
        for line, head in zip(filled(1).lines, heads(filled(1)), strict=True):
            first.append(TASK, line, head)
        disk.mischief = Unflushing()
        with pytest.raises(OSError, match="fails"):
            first.append(TASK, WHOLE.lines[-1], WHOLE.head)
        disk.mischief = NoMischief()
        disk.kill()
        assert LedgerBook(LedgerFolder(folder, disk.mount())).find(TASK) == WHOLE
        disk.cut_power()
        try:
            if LedgerBook(LedgerFolder(folder, disk.mount())).find(TASK) != WHOLE:
                return False
        except LedgerError:
            return False
    return True


class Unflushing(NoMischief):
    """A disk that takes writes, and cannot flush them nor take them back."""

    def befalls(self, number: int, kind: Kind, path: Path) -> None:
        if kind in {Kind.FLUSH, Kind.TRUNCATE}:
            raise OSError(errno.EIO, "fails")


def test_an_entry_that_is_taken_over_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: after a flush that failed, another one makes nothing safe (as on Linux)."""
    assert whole_after_a_flush_that_failed()

    def flush(disk: Disk, path: Path, _: bytes) -> None:
        with disk.open(path) as file:
            file.flush()

    monkeypatch.setattr(ledger_files, "_write_again", flush)
    assert not whole_after_a_flush_that_failed()


def test_a_folder_has_one_coordinator(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "ledger"
    with locked(folder) as store:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        LedgerBook(store).open(TASK, BUDGET)
        with pytest.raises(ConfigError, match="belongs to a coordinator or job that is running"), locked(folder):
            pass
    with locked(folder) as store:
        assert LedgerBook(store).find(TASK) is not None
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="can be written by others; run: chmod 700"), locked(folder):
        pass
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match=r"the ledger folder .*file: File exists"), locked(file):
        pass


# --- what a folder must be --------------------------------------------------------------------------------------------


def test_a_folder_is_marked_with_its_format_once(tmp_path: Path) -> None:
    """An earlier release marked none, and its folders are of format 1."""
    with locked(tmp_path) as store:
        assert (tmp_path / MARKER).read_text() == "1\n"
        LedgerBook(store).open(TASK, BUDGET)
    (tmp_path / MARKER).unlink()
    with locked(tmp_path) as store:
        assert LedgerBook(store).find(TASK) is not None
    before = (tmp_path / MARKER).stat()
    with locked(tmp_path):
        pass
    assert (tmp_path / MARKER).stat().st_ino == before.st_ino


@pytest.mark.parametrize("text", ["2", "10", "1000000", "0", "-1", "", "one", "1\n1", "\u0661"])
def test_a_folder_of_another_format_is_refused_and_stays_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / MARKER).write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=f"the ledger folder {tmp_path}"), locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]
    assert (tmp_path / MARKER).read_text("utf-8") == text


def test_a_format_that_may_not_be_read_is_not_taken_for_a_damaged_one() -> None:
    with place() as folder:
        with locked(folder):
            pass
        (folder / MARKER).chmod(0)
        with as_nobody(), pytest.raises(ConfigError, match=r"its file format: Permission denied$"):
            check_format(folder)


def test_without_the_check_a_later_format_would_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / MARKER).write_text("2\n")
    without_check(monkeypatch, ledger_files, "check_format", "ledger-format")
    with locked(tmp_path) as store:
        LedgerBook(store).open(TASK, BUDGET)
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


def test_reading_refuses_a_later_format_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(tmp_path) as store:
        LedgerBook(store).open(TASK, BUDGET)
    (tmp_path / MARKER).write_text("2\n")
    (ledger,) = tmp_path.glob("*.jsonl")
    for where in (tmp_path, ledger):
        with pytest.raises(SystemExit) as caught:
            secagg(["ledger", "verify", str(where)])
        assert caught.value.code == 1
        assert "has format 2, and this release of secagg knows format 1 alone" in capsys.readouterr().err


def test_a_clock_that_the_folder_proves_wrong_is_refused(tmp_path: Path) -> None:
    """An hour is let pass: the file's time may be that of another machine."""
    with locked(tmp_path) as store:
        LedgerBook(store).open(TASK, BUDGET)
    written = max(path.stat().st_mtime for path in tmp_path.iterdir())
    with locked(tmp_path, lambda: written - 3599):
        pass
    with pytest.raises(ConfigError, match="this machine's clock says"), locked(tmp_path, lambda: written - 3700):
        pass


def test_without_the_check_a_wrong_clock_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(tmp_path):
        pass
    without_check(monkeypatch, ledger_files, "check_clock", "ledger-of-the-future")
    with locked(tmp_path, lambda: 0.0):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_a_disk_that_takes_nothing_is_refused_before_anything_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("secagg.programs.disk.os.pwrite", refused)
    with pytest.raises(ConfigError, match=f"cannot be written: {os.strerror(number)}") as caught, locked(tmp_path):
        pass
    assert caught.value.mend == f"df -h {tmp_path}; ls -ld {tmp_path}"
    assert list(tmp_path.iterdir()) == []


def test_who_has_a_folder_is_found_without_taking_it(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        pass


class FullAtTheFormat(NoMischief):
    """There is room for all but the file that says the format."""

    def befalls(self, number: int, kind: Kind, path: Path) -> None:
        if kind is Kind.WRITE and path.name.startswith(MARKER):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_disk_that_fills_while_the_folder_is_made_is_named() -> None:
    disk = VirtualDisk(Random(1))  # noqa: S311 - of what a power cut loses
    disk.mischief = FullAtTheFormat()
    message = "the ledger folder /ledgers: No space left on device"
    with pytest.raises(ConfigError, match=message), locked(Path("/ledgers"), lambda: 0.0, disk.mount()):
        pass
