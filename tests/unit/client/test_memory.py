"""What a participant remembers of sums: recorded before anything follows from it, shared by processes, never lost
silently.
"""

import gc
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any
from zlib import crc32

import pytest
from secagg_client.released_sums import file as memory_file
from secagg_client.released_sums.file import Claimed, MemoryFile, Received, decode, encode
from secagg_client.released_sums.memory import Memory, memory_of

from secagg.context import RoundId
from secagg.errors import ConfigError, MemoryFileError, PolicyViolation
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.rounds.releases import Release

SIX = frozenset(ParticipantId(f"p{i}") for i in range(6))
FIVE = SIX - {ParticipantId("p5")}
EVERYONE, FEWER = Release(bytes(32), SIX, 3), Release(bytes(32), FIVE, 3)
ONE, TWO, THREE = (RoundId(bytes([i]) * 16) for i in range(3))
OWNER = ParticipantId("p0")
LAX, ONCE = Policy(), Policy(once_per_model=True)


def opened(path: Path | None = None) -> Memory:
    return memory_of(path, OWNER)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def test_it_outlasts_the_process_and_is_ours_alone(path: Path) -> None:
    assert not opened(path).claim(ONE, EVERYONE, LAX)
    assert path.stat().st_mode & 0o777 == 0o600
    again = opened(path)
    assert again.claim(TWO, FEWER, LAX) == {"p5"}  # refused, and not recorded
    assert not again.claim(TWO, EVERYONE, LAX)
    assert not again.claim(THREE, replace(FEWER, purpose="evaluate"), LAX)
    assert [path.name] == [each.name for each in path.parent.iterdir()]  # one file, and nothing beside it


def test_without_a_file_a_new_memory_knows_nothing() -> None:
    """The twin, and what SECURITY.md says of clients that are made anew for each round."""
    assert not opened().claim(ONE, EVERYONE, LAX)
    assert not opened().claim(TWO, FEWER, LAX)


def test_processes_that_share_a_file_know_what_the_others_recorded(path: Path) -> None:
    first, second = opened(path), opened(path)
    assert not first.claim(ONE, EVERYONE, LAX)
    assert second.claim(TWO, FEWER, LAX) == {"p5"}
    second.receive(ONE)
    with pytest.raises(PolicyViolation, match="in a released sum already"):
        first.check(EVERYONE.question, ONCE)


@pytest.mark.parametrize("locked", [True, False])
def test_one_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool) -> None:
    """Twin: without the file's lock another process records between a check and its record."""
    if not locked:
        monkeypatch.setattr(memory_file, "_lock", lambda _: None)
    first, second = opened(path), opened(path)
    exposed: list[Any] = []
    other = Thread(target=lambda: exposed.append(second.claim(TWO, FEWER, LAX)))
    with first._turn():
        other.start()
        other.join(0.3 if locked else 10)
        assert other.is_alive() is locked
        first._append(Claimed(ONE, EVERYONE))
    other.join(30)
    assert exposed == [{"p5"} if locked else frozenset()]


def test_threads_of_one_client_take_turns() -> None:
    memory, exposed = opened(), list[Any]()
    other = Thread(target=lambda: exposed.append(memory.claim(TWO, FEWER, LAX)))
    with memory._turn():
        other.start()
        other.join(0.2)
        memory._append(Claimed(ONE, EVERYONE))
    other.join(30)
    assert exposed == [{"p5"}]


def test_once_per_model() -> None:
    memory = opened()
    assert not memory.claim(ONE, EVERYONE, ONCE)
    assert not memory.claim(TWO, EVERYONE, ONCE)  # no receipt came: the same cohort may be asked again
    with pytest.raises(PolicyViolation, match="a sum of other participants"):
        memory.claim(THREE, Release(bytes(32), SIX | {ParticipantId(f"q{i}") for i in range(6)}, 3), ONCE)
    memory.receive(TWO)
    for ask in (lambda: memory.claim(THREE, EVERYONE, ONCE), lambda: memory.check(EVERYONE.question, ONCE)):
        with pytest.raises(PolicyViolation, match="in a released sum already"):
            ask()
    memory.check((bytes(32), "evaluate"), ONCE)
    memory.check(EVERYONE.question, LAX)


def test_a_memory_serves_one_participant(path: Path) -> None:
    opened(path).claim(ONE, EVERYONE, LAX)
    with pytest.raises(MemoryFileError, match="not the memory of p1"):
        memory_of(path, ParticipantId("p1")).check(EVERYONE.question, LAX)
    shared = Memory()
    assert memory_of(shared, OWNER) is memory_of(shared, OWNER) is shared
    with pytest.raises(ConfigError, match="is that of p0"):
        memory_of(shared, ParticipantId("p1"))


def test_what_a_crash_left_of_a_line_does_not_count(path: Path) -> None:
    opened(path).claim(ONE, EVERYONE, LAX)
    whole = path.read_bytes()
    torn = encode(Claimed(TWO, FEWER))[:-7]
    path.write_bytes(whole + torn)
    memory = opened(path)
    assert memory.claim(TWO, FEWER, LAX) == {"p5"}
    memory.receive(ONE)
    assert path.read_bytes() == whole + encode(Received(ONE))
    path.write_bytes(whole[:10])  # of the first line
    assert not opened(path).claim(TWO, FEWER, LAX)


def test_damage_is_never_taken_for_an_empty_memory(path: Path) -> None:
    opened(path).claim(ONE, EVERYONE, LAX)
    opened(path).receive(ONE)
    whole = path.read_bytes()
    for at in range(0, len(whole) - 1, 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(MemoryFileError, match="memory of sums"):
            opened(path).check(EVERYONE.question, LAX)
    for line in (
        b'{"kind":"claimed","model":"%s","purpose":"train","round":"%s","survivors":[],"threshold":Infinity}'
        % (b"00" * 32, b"00" * 16),
        b"[" * 100_000,
    ):  # damage that a reader of JSON may stumble over
        path.write_bytes(whole + b"%08x " % crc32(line) + line + b"\n")
        with pytest.raises(MemoryFileError, match="a line is not as it was written"):
            opened(path).check(EVERYONE.question, LAX)
    path.write_bytes(b"junk")
    with pytest.raises(MemoryFileError, match="it is no memory of sums"):
        opened(path).check(EVERYONE.question, LAX)
    path.write_bytes(whole)
    memory = opened(path)
    memory.check(EVERYONE.question, LAX)
    path.write_bytes(whole.split(b"\n")[0] + b"\n")
    with pytest.raises(MemoryFileError, match="become shorter"):
        memory.check(EVERYONE.question, LAX)


def test_lines_are_read_only_as_they_are_written() -> None:
    for entry in (Claimed(ONE, EVERYONE), Claimed(TWO, replace(FEWER, purpose="evaluate")), Received(ONE)):
        assert decode(encode(entry).removesuffix(b"\n")) == entry
    line = encode(Received(ONE)).removesuffix(b"\n")
    for other in (line + b" ", line[:9] + line[9:].replace(b":", b": "), b"00000000" + line[8:]):
        with pytest.raises(ValueError, match=r".*"):
            decode(other)


@pytest.mark.parametrize("why", ["folder", "gone", "others write"])
def test_an_unusable_file_is_named(path: Path, why: str) -> None:
    match why:
        case "folder":
            path.mkdir()
        case "gone":
            path = path / "nowhere" / "memory"
        case _:
            opened(path).check(EVERYONE.question, LAX)
            path.chmod(0o620)
    with pytest.raises(MemoryFileError, match=str(path)):
        opened(path).check(EVERYONE.question, LAX)


def test_what_cannot_be_flushed_does_not_count(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = opened(path)
    memory.claim(ONE, EVERYONE, LAX)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(MemoryFileError, match="No space left"):
            memory.claim(TWO, EVERYONE, LAX)
    assert path.read_bytes() == before
    assert not memory.claim(TWO, EVERYONE, LAX)
    assert path.read_bytes() == before + encode(Claimed(TWO, EVERYONE))


def test_a_record_is_on_the_disk_before_the_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bytes] = []
    memory = opened(path)
    memory.check(EVERYONE.question, LAX)
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(path.read_bytes()))
    memory.claim(ONE, EVERYONE, LAX)
    assert flushed[-1].endswith(encode(Claimed(ONE, EVERYONE)))


def test_a_file_that_is_gone_is_written_again(path: Path) -> None:
    memory = opened(path)
    memory.claim(ONE, EVERYONE, LAX)
    path.unlink()
    memory.check(EVERYONE.question, LAX)
    assert opened(path).claim(TWO, FEWER, LAX) == {"p5"}


def test_a_file_that_has_grown_is_exchanged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_file, "GROWN_BYTES", 2000)
    memory, other = opened(path), opened(path)
    other.check(EVERYONE.question, LAX)
    for _ in range(40):
        assert not memory.claim(ONE, EVERYONE, LAX)
    memory.receive(ONE)
    assert path.stat().st_size < 2500
    assert path.stat().st_mode & 0o777 == 0o600
    assert [path.name] == [each.name for each in path.parent.iterdir()]
    for each in (memory, other, opened(path)):
        assert each.claim(TWO, FEWER, LAX) == {"p5"}
        with pytest.raises(PolicyViolation):
            each.check(EVERYONE.question, ONCE)


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_that_was_exchanged_twice_is_not_taken_for_the_first(
    path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Many file systems give the number of a file that is gone to the next. Twin: then what was written meanwhile to
    the file's beginning is never read.
    """
    if not kept:
        monkeypatch.setattr(MemoryFile, "_keep_open", lambda _: None)
    idle, elsewhere = opened(path), replace(EVERYONE, model_digest=bytes([1]) * 32)
    idle.claim(ONE, elsewhere, LAX)
    number, lines = path.stat().st_ino, path.read_bytes()
    for one in (elsewhere, EVERYONE):  # of equal length
        new = path.with_name("new")
        new.touch(0o600)
        new.write_bytes(lines.replace(encode(Claimed(ONE, elsewhere)), encode(Claimed(ONE, one))))
        new.replace(path)
    if kept:
        assert path.stat().st_ino != number
    elif path.stat().st_ino != number:
        pytest.skip("this file system gives no number to two files")
    assert idle.claim(TWO, FEWER, LAX) == ({"p5"} if kept else set())


def test_the_files_that_are_kept_open_are_as_many_as_memories(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_file, "GROWN_BYTES", 2000)

    def kept() -> int:
        """Open files of this folder, those that have lost their name included."""
        names = []
        for fd in list(Path("/proc/self/fd").iterdir()):
            with suppress(FileNotFoundError):  # closed meanwhile
                names.append(str(fd.readlink()))
        return sum(name.startswith(str(path.parent)) for name in names)

    memory = opened(path)
    for _ in range(60):  # exchanged several times
        memory.claim(ONE, EVERYONE, LAX)
    assert kept() == 1
    del memory
    gc.collect()
    assert kept() == 0


@pytest.mark.parametrize("how", ["link", "working directory"])
def test_one_file_has_one_name(path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A link stays one when the file is exchanged, and a relative path is taken when the memory is made."""
    monkeypatch.setattr(memory_file, "GROWN_BYTES", 2000)
    monkeypatch.chdir(path.parent)
    given = Path("link") if how == "link" else Path(path.name)
    if how == "link":
        given.symlink_to(path)
    memory, other = opened(given), opened(path)
    (path.parent / "elsewhere").mkdir()
    monkeypatch.chdir(path.parent / "elsewhere")
    for _ in range(40):
        assert not memory.claim(ONE, EVERYONE, LAX)
    assert other.claim(TWO, FEWER, LAX) == {"p5"}
    assert list(Path.cwd().iterdir()) == []


def test_locks_are_imported_where_they_are_used() -> None:
    """Windows has no fcntl, and the client is imported there all the same. In a process of its own, since a module that
    is loaded twice has every class twice.
    """
    program = f"import sys; sys.modules['fcntl'] = None; import {memory_file.__name__}"
    subprocess.run([sys.executable, "-c", program], check=True)
