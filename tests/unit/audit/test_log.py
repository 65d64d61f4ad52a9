"""What the audit log took is safe; what a crash or a full disk leaves is put right, and damage is not."""

import errno
from contextlib import suppress
from pathlib import Path

import pytest

from secagg.audit import checkpoints, entries
from secagg.errors import AuditError, ConfigError
from secagg.programs.audit import log as logs
from secagg.programs.audit import reading
from secagg.programs.audit.log import MOST_LOOSE, AuditLog, Draft
from secagg.programs.audit.reading import HEAD
from secagg.programs.audit.verifying import verify_files
from secagg.programs.disk import File, RealDisk, RealFile
from secagg.tools.redteam.self_test.patches import without_check
from tests.auditing import Deployment

SEGMENT = reading.segment_name(1)


def _kinds(folder: Path) -> list[str]:
    return [entries.read(line.text).kind for line in reading.lines(folder) if line.whole]


def _whole(folder: Path, deployment: Deployment) -> bool:
    verdict = verify_files(folder, deployment.trust)
    assert verdict.whole, verdict.damages
    return True


class _Failing(RealDisk):
    """Fails in the n-th call of one kind."""

    def __init__(self, call: str = "", after: int = 0) -> None:
        self.call = call
        self.left = after

    def count(self, call: str) -> None:
        """Fail if it is time."""
        if call == self.call:
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

    def open(self, path: Path, *, make: bool = False) -> RealFile:
        """A file that fails, too."""
        return _FailingFile(super().open(path, make=make), self)  # type: ignore[return-value]

    def flush_folder(self, path: Path) -> None:
        """May fail."""
        self.count("flush_folder")
        super().flush_folder(path)


class _FailingFile:
    def __init__(self, file: File, disk: _Failing) -> None:
        self._file, self._disk = file, disk

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> "_FailingFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write_at(self, offset: int, data: bytes) -> None:
        """Writes a part before it fails."""
        try:
            self._disk.count("write")
        except OSError:
            self._file.write_at(offset, data[: len(data) // 2])
            raise
        self._file.write_at(offset, data)

    def flush(self) -> None:
        self._disk.count("flush")
        self._file.flush()


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    deployment = Deployment()
    deployment.log(tmp_path).write([deployment.joined("anna")])
    log = deployment.log(tmp_path)
    assert log.cut is None
    assert log.entries == 3
    log.write([deployment.joined("bert", 2)], sign=True)
    assert _kinds(tmp_path) == ["log_began", "checkpoint", "joined", "joined", "checkpoint"]
    assert _whole(tmp_path, deployment)
    assert log.signed == reading.head_of(tmp_path)


def test_a_torn_line_is_cut_off_and_told_of(tmp_path: Path) -> None:
    deployment = Deployment()
    deployment.log(tmp_path).write([deployment.joined("anna"), deployment.joined("bert", 2)])
    content = (tmp_path / SEGMENT).read_bytes()
    signed = sum(len(line) + 1 for line in content.split(b"\n")[:2])
    for end in range(signed, len(content)):
        (tmp_path / SEGMENT).write_bytes(content[:end])
        log = deployment.log(tmp_path)
        whole = content[:end].count(b"\n")
        assert log.entries == whole
        assert (log.cut is None) == content[:end].endswith(b"\n")
        assert (tmp_path / SEGMENT).read_bytes() == content[: content.rfind(b"\n", 0, end) + 1]


def test_writes_that_reached_the_disk_in_another_order_are_cut_off(tmp_path: Path) -> None:
    deployment = Deployment()
    deployment.log(tmp_path).write([deployment.joined("anna"), deployment.joined("bert", 2)])
    content = (tmp_path / SEGMENT).read_bytes()
    first, second = content.split(b"\n")[2:4]
    (tmp_path / SEGMENT).write_bytes(content.replace(first, bytes(len(first))))
    log = deployment.log(tmp_path)
    assert log.entries == 2
    assert log.cut is not None
    assert log.cut[0] == len(first) + len(second) + 2


def test_damage_before_the_last_checkpoint_is_left_as_it_is(tmp_path: Path) -> None:
    deployment = Deployment()
    deployment.log(tmp_path).write([deployment.joined("anna")], sign=True)
    content = (tmp_path / SEGMENT).read_bytes()
    for spoilt in (content.replace(b"anna", b"emil"), content[:-1], content[: len(content) // 2], b""):
        (tmp_path / SEGMENT).write_bytes(spoilt)
        with pytest.raises(AuditError, match="damaged before entry 4, which was signed; run: secagg audit verify"):
            deployment.log(tmp_path)
        assert (tmp_path / SEGMENT).read_bytes() == spoilt


def test_without_its_check_a_start_would_cut_off_what_was_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment()
    deployment.log(tmp_path).write([deployment.joined("anna")], sign=True)
    content = (tmp_path / SEGMENT).read_bytes()
    (tmp_path / SEGMENT).write_bytes(content.replace(b"anna", b"emil"))
    without_check(monkeypatch, AuditLog, "_check_head", "audit-head-at-start")
    assert deployment.log(tmp_path).entries == 3


def test_a_head_or_entries_that_are_gone_are_damage(tmp_path: Path) -> None:
    deployment = Deployment()
    deployment.log(tmp_path).write([deployment.joined("anna")], sign=True)
    (tmp_path / HEAD).rename(tmp_path / "aside")
    with pytest.raises(AuditError, match="has no file head"):
        deployment.log(tmp_path)
    (tmp_path / "aside").rename(tmp_path / HEAD)
    (tmp_path / SEGMENT).unlink()
    with pytest.raises(AuditError, match="are gone"):
        deployment.log(tmp_path)
    (tmp_path / SEGMENT).write_bytes(b"")
    (tmp_path / HEAD).write_text("nonsense")
    with pytest.raises(AuditError, match="holds no head"):
        deployment.log(tmp_path)


@pytest.mark.parametrize("call", ["write", "flush", "flush_folder"])
@pytest.mark.parametrize("after", range(6))
def test_a_first_start_that_fails_anywhere_can_be_repeated(tmp_path: Path, call: str, after: int) -> None:
    deployment, folder = Deployment(), tmp_path / "audit"
    with suppress(AuditError):
        deployment.log(folder, _Failing(call, after))
    deployment.log(folder).write([deployment.joined("anna")], sign=True)
    assert _kinds(folder).count("joined") == 1
    assert _whole(folder, deployment)


@pytest.mark.parametrize("call", ["write", "flush"])
def test_what_a_full_disk_refused_is_not_in_the_log(tmp_path: Path, call: str) -> None:
    deployment, disk = Deployment(), _Failing()
    log = deployment.log(tmp_path, disk)
    disk.call, disk.left = call, 0
    for _ in range(3):
        with pytest.raises(AuditError, match="out of reach: No space left on device"):
            log.write([deployment.joined("anna"), deployment.joined("bert", 2)])
    disk.call = ""
    log.write([deployment.joined("carl", 3)])  # shorter than what was refused: nothing of that may stand behind it
    assert _kinds(tmp_path) == ["log_began", "checkpoint", "joined"]
    assert (tmp_path / SEGMENT).read_bytes().endswith(b"}\n")
    assert not {b"anna", b"bert"} & {*(tmp_path / SEGMENT).read_bytes().split(b'"')}
    log.write([], sign=True)
    assert _whole(tmp_path, deployment)


def test_a_head_that_cannot_be_exchanged_is_made_up_for(tmp_path: Path) -> None:
    deployment, disk = Deployment(), _Failing()
    log = deployment.log(tmp_path, disk)
    disk.call, disk.left = "flush_folder", 0
    log.write([deployment.joined("anna")], sign=True)
    disk.call = ""
    log.write([deployment.joined("bert", 2)])
    assert reading.head_of(tmp_path) == log.signed
    assert _whole(tmp_path, deployment)


def test_a_checkpoint_comes_after_so_many_entries(tmp_path: Path) -> None:
    deployment = Deployment()
    log = deployment.log(tmp_path)
    log.write([deployment.joined("anna", step) for step in range(2 * checkpoints.EVERY_ENTRIES + 1)])
    kinds = _kinds(tmp_path)
    assert [at + 1 for at, kind in enumerate(kinds) if kind == "checkpoint"] == [2, 259, 516]
    for _ in range(checkpoints.EVERY_ENTRIES):
        log = deployment.log(tmp_path)  # whoever takes the log up goes on counting
        log.write([deployment.joined("bert")])
    assert _whole(tmp_path, deployment)


def test_a_checkpoint_comes_after_so_much_time(tmp_path: Path) -> None:
    deployment = Deployment()
    log = deployment.log(tmp_path)
    assert not log.sign_if_due()
    log.write([deployment.joined("anna")])
    deployment.now += checkpoints.EVERY_S - 1
    assert not log.sign_if_due()
    log.write([deployment.joined("bert", 2)])
    deployment.now += 1
    assert log.sign_if_due()
    assert not log.sign_if_due()
    assert _kinds(tmp_path)[-3:] == ["joined", "joined", "checkpoint"]
    log.write([deployment.joined("carl", 3)])
    deployment.now -= 10 * checkpoints.EVERY_S  # a clock that is set back must not put it off
    log.write([deployment.joined("dora", 4)])
    assert _kinds(tmp_path)[-3:] == ["joined", "joined", "checkpoint"]
    log.write([deployment.joined("emil", 5)])
    deployment.now -= 10 * checkpoints.EVERY_S
    assert log.sign_if_due()  # also where nothing else is written


def test_what_is_noted_is_written_with_the_next_and_bounded(tmp_path: Path) -> None:
    deployment = Deployment()
    log = deployment.log(tmp_path)
    for number in range(MOST_LOOSE + 7):
        log.note(Draft("call_refused", deployment.now, {"participant": str(number)}))
    assert _kinds(tmp_path) == ["log_began", "checkpoint"]
    log.write([deployment.joined("anna")])
    kinds = _kinds(tmp_path)
    assert kinds.count("call_refused") == MOST_LOOSE
    assert kinds[-2:] == ["left_out", "joined"]
    [left_out] = [line.text for line in reading.lines(tmp_path) if b"left_out" in line.text]
    assert entries.read(left_out).facts == {"unlogged": 7}
    log.note(Draft("call_refused", deployment.now, {}))
    log.sign_if_due()
    assert _kinds(tmp_path)[-1] == "call_refused"


def test_noted_entries_without_their_bound_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = Deployment()
    log = deployment.log(tmp_path)
    without_check(monkeypatch, AuditLog, "note", "audit-noted-entries")
    for _ in range(MOST_LOOSE + 7):
        log.note(Draft("call_refused", deployment.now, {}))
    assert len(log._loose) == MOST_LOOSE + 7


def test_a_full_segment_ends_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SEGMENT_BYTES", 3000)
    deployment = Deployment()
    for number in range(30):
        log = deployment.log(tmp_path)  # as after a restart
        log.write([deployment.joined(f"p{number}", number + 1)])
    names = [path.name for path in reading.segments(tmp_path)]
    assert len(names) > 2
    for path in reading.segments(tmp_path)[:-1]:
        assert entries.read(path.read_bytes().split(b"\n")[-2]).kind == "checkpoint"
    assert _whole(tmp_path, deployment)
    log.recall(["ab" * 16, "cd" * 16])
    assert log.steps("ab" * 16) == (30, 1)
    assert log.steps("cd" * 16) == (0, 0)


def test_older_segments_may_be_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SEGMENT_BYTES", 3000)
    deployment, folder = Deployment(), tmp_path / "audit"
    log = deployment.log(folder)
    for number in range(30):
        log.write([deployment.joined(f"p{number}", number + 1)])
    *older, _ = reading.segments(folder)
    after = entries.read(older[-1].read_bytes().split(b"\n")[-2]).head
    for path in older:
        path.rename(tmp_path / path.name)
    log = deployment.log(folder)
    log.write([deployment.joined("late", 99)], sign=True)
    assert verify_files(folder, deployment.trust, after=after).whole
    assert verify_files(tmp_path / older[0].name, deployment.trust).whole


def test_a_crash_before_the_first_entry_of_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SEGMENT_BYTES", 1000)
    deployment = Deployment()
    log = deployment.log(tmp_path)
    log.write([Draft("joined", deployment.now, {"text": "x" * 1000})])
    last = log.entries
    (tmp_path / reading.segment_name(last + 1)).write_bytes(b"")
    log = deployment.log(tmp_path)
    log.write([deployment.joined("anna")], sign=True)
    assert _whole(tmp_path, deployment)


def test_others_must_not_write_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, folder = Deployment(), tmp_path / "audit"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="can be written by others; run: chmod 700"):
        deployment.log(folder)
    without_check(monkeypatch, AuditLog, "_begin", "audit-folder-private")
    assert deployment.log(folder).entries == 2


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    deployment, folder = Deployment(), tmp_path / "audit"
    deployment.log(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "facts", [{"epsilon": 0.5}, {"inner": [{"epsilon": 0.5}]}, {"number": 3}, {"key": b"x"}, {"text": "x" * (1 << 20)}]
)
def test_facts_that_cannot_be_written_alike_everywhere_are_a_bug(facts: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        entries.write("joined", 1, facts, entries.BEGINNING)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"nonsense",
        b"[" * 100_000,
        b'{"version":2}',
        b'{"at":1.5,"kind":"k","number":1,"previous":"00","version":1}',
        b'{"at":1,"kind":"k","number":true,"previous":"%s","version":1}' % (b"0" * 64),
        b'{"at":-1,"kind":"k","number":1,"previous":"%s","version":1}' % (b"0" * 64),
        b'{"at":1,"kind":7,"number":1,"previous":"%s","version":1}' % (b"0" * 64),
        b'{"at":1,"kind":"k","number":1,"previous":"%s","version":1}' % (b"A" * 64),
        b'{"at":1,"kind":"k","kind":"k","number":1,"previous":"%s","version":1}' % (b"0" * 64),
        b'{"at":%s,"kind":"k","number":1,"previous":"%s","version":1}' % (b"9" * 5000, b"0" * 64),
    ],
)
def test_what_is_no_entry_is_refused_by_name(line: bytes) -> None:
    with pytest.raises(AuditError):
        entries.read(line)


def test_lines_that_an_earlier_process_could_not_flush_are_written_again(tmp_path: Path) -> None:
    """A disk takes no page again whose flush failed, unless it is written again."""
    deployment = Deployment()
    deployment.log(tmp_path).write([deployment.joined("anna"), deployment.joined("bert", 2)])
    content = (tmp_path / SEGMENT).read_bytes()
    written: dict[int, bytes] = {}

    class Watched(_Failing):
        def count(self, call: str) -> None:
            if call == "flush":
                written.setdefault(-1, b"flushed")

        def open(self, path: Path, *, make: bool = False) -> RealFile:
            file = super().open(path, make=make)
            write = file.write_at

            def watch(offset: int, data: bytes | memoryview) -> None:
                written[offset] = bytes(data)
                write(offset, data)

            file.write_at = watch  # type: ignore[method-assign]
            return file

    deployment.log(tmp_path, Watched())
    [(start, again)] = [(at, data) for at, data in written.items() if at >= 0]
    assert content[start:] == again
    assert again.count(b"\n") == 2
    assert -1 in written
