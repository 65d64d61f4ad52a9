"""The spool of a store in memory: little memory whatever waits, and every chunk comes back as it was."""

import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secagg_server.storage.temporary import TemporarySpool

from secagg.messages import Index, Phase

MiB = 1 << 20
OWNERS = [Index(number) for number in range(1, 5)]
PHASE = Phase.MASKED_INPUT

kinds = st.sampled_from(["append"] * 5 + ["take", "cut"])
steps = st.lists(st.tuples(st.sampled_from(OWNERS), kinds, st.integers(0, 4)), max_size=60)


@given(steps, st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_chunks_come_back_as_they_were(done: list[tuple[Index, str, int]], memory_bytes: int) -> None:
    """Against lists in memory, with places in the file that are used again."""
    spool, lists = TemporarySpool(memory_bytes), dict[Index, list[bytes]]()
    for step, (owner, what, number) in enumerate(done):
        mine = lists.setdefault(owner, [])
        match what:
            case "append":
                chunk = bytes([step % 251]) * (10 - number % 2)
                spool.append(PHASE, owner, chunk)
                mine.append(chunk)
            case "cut":
                spool.cut(PHASE, owner, number)
                del mine[number:]
            case _:
                assert list(spool.take(PHASE, owner)) == lists.pop(owner)
    for owner, left in lists.items():
        assert list(spool.take(PHASE, owner)) == left
        assert list(spool.take(PHASE, owner)) == []


@pytest.mark.parametrize("memory_bytes", [0, 100])
def test_what_is_cut_off_is_forgotten_and_nothing_else(memory_bytes: int) -> None:
    spool = TemporarySpool(memory_bytes)
    for chunk in (b"one", b"two", b"three"):
        spool.append(PHASE, OWNERS[0], chunk)
    spool.cut(PHASE, OWNERS[0], 3)
    spool.cut(PHASE, OWNERS[0], 2)
    spool.append(PHASE, OWNERS[0], b"other")
    assert list(spool.take(PHASE, OWNERS[0])) == [b"one", b"two", b"other"]


def test_vectors_of_many_take_no_memory_and_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    chunk = bytes(range(256)) * 4096
    tracemalloc.start()
    spool = TemporarySpool(2 * MiB)
    for owner in OWNERS:
        for _ in range(8):
            spool.append(PHASE, owner, bytes(memoryview(chunk)))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for owner in OWNERS:
        assert all(taken == chunk for taken in spool.take(PHASE, owner))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 3 * MiB
    assert peak < 6 * MiB
    assert not list(tmp_path.iterdir())
    assert spool._file is not None
    assert spool._file.size() == 0


def test_places_are_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One participant after the other: the file is as long as what waits at once, not as all that ever waited."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = TemporarySpool(0)
    spool.append(PHASE, OWNERS[0], b"stays")
    for number in range(50):
        for part in range(4):
            spool.append(PHASE, OWNERS[1], bytes([number, part]))
        assert list(spool.take(PHASE, OWNERS[1])) == [bytes([number, part]) for part in range(4)]
    assert spool._file is not None
    assert spool._file.size() == len(b"stays") + 8
    assert list(spool.take(PHASE, OWNERS[0])) == [b"stays"]


def test_the_file_goes_with_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = TemporarySpool(0)
    spool.append(PHASE, OWNERS[0], b"chunk")
    assert spool._file is not None
    descriptor = spool._file.fileno()
    del spool
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
