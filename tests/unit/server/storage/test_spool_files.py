"""Chunks in a file: what was flushed is there or is missed by name, and what was not is as if it never came."""

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secagg_server.storage.sqlite import spool as spool_files
from secagg_server.storage.sqlite.framed import HEAD_SIZE
from secagg_server.storage.sqlite.spool import FileSpool
from secagg_server.storage.sqlite.sums import open_sum, write_sum

from secagg.errors import StoreError
from secagg.messages import Index, Phase
from secagg.programs.disk import REAL_DISK, RealFile
from secagg.tools.redteam.self_test.patches import without_check

MASKED = Phase.MASKED_INPUT
ONE, TWO = Index(1), Index(2)
CHUNKS = [(ONE, b"a" * 100), (TWO, b"b" * 64), (ONE, b"c" * 7), (TWO, b"")]


def spooled(folder: Path) -> FileSpool:
    spool = FileSpool(REAL_DISK, folder / "chunks")
    for owner, payload in CHUNKS:
        spool.append(MASKED, owner, payload)
    spool.flush()
    return spool


def reopened(folder: Path, flushed: int) -> FileSpool:
    return FileSpool.reopened(REAL_DISK, folder / "chunks", flushed)


def taken(spool: FileSpool) -> dict[Index, list[bytes]]:
    return {owner: list(spool.take(MASKED, owner)) for owner in (ONE, TWO)}


WHOLE = {ONE: [b"a" * 100, b"c" * 7], TWO: [b"b" * 64, b""]}


def test_chunks_come_back_in_order_also_in_another_process_and_as_often_as_they_are_asked_for(tmp_path: Path) -> None:
    first = spooled(tmp_path)
    assert taken(first) == taken(first) == WHOLE
    second = reopened(tmp_path, first.flushed)
    assert taken(second) == taken(second) == WHOLE
    assert list(second.take(Phase.PARTIAL_DECRYPTION, ONE)) == []


def test_a_vector_is_cut_and_goes_on_from_there(tmp_path: Path) -> None:
    spool = spooled(tmp_path)
    spool.cut(MASKED, ONE, 1)
    spool.append(MASKED, ONE, b"again")
    assert taken(spool) == {**WHOLE, ONE: [b"a" * 100, b"again"]}
    spool.flush()
    assert taken(reopened(tmp_path, spool.flushed)) == taken(spool)


def test_what_was_not_flushed_is_cut_off_wherever_it_tore(tmp_path: Path) -> None:
    spool = spooled(tmp_path)
    spool.append(MASKED, TWO, b"late" * 20)
    whole = (tmp_path / "chunks").read_bytes()
    for end in range(spool.flushed, len(whole) + 1, 17):
        (tmp_path / "chunks").write_bytes(whole[:end])
        again = reopened(tmp_path, spool.flushed)
        assert taken(again) == WHOLE
        assert (tmp_path / "chunks").stat().st_size == spool.flushed
        again.append(MASKED, ONE, b"next")
        again.flush()
        assert taken(reopened(tmp_path, again.flushed))[ONE] == [*WHOLE[ONE], b"next"]


@given(where=st.integers(0, 4 * HEAD_SIZE + 170), bit=st.integers(0, 7))
def test_any_bit_that_the_disk_changes_is_found_and_named(
    tmp_path_factory: pytest.TempPathFactory, where: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("rot")
    spool = spooled(folder)
    content = bytearray((folder / "chunks").read_bytes())
    content[where] ^= 1 << bit
    (folder / "chunks").write_bytes(content)
    with pytest.raises(StoreError, match="was changed on the disk"):
        taken(reopened(folder, spool.flushed))
    with pytest.raises(StoreError, match="was changed on the disk"):
        taken(spool)  # also where it was written a moment ago


def test_chunks_that_change_places_are_found(tmp_path: Path) -> None:
    """Two of equal length, each whole in itself: a write that went to the wrong place."""
    spool = FileSpool(REAL_DISK, tmp_path / "chunks")
    for payload in (b"first", b"later"):
        spool.append(MASKED, ONE, payload)
    spool.flush()
    one, two = (tmp_path / "chunks").read_bytes()[: HEAD_SIZE + 5], (tmp_path / "chunks").read_bytes()[HEAD_SIZE + 5 :]
    (tmp_path / "chunks").write_bytes(two + one)
    for read in (lambda: reopened(tmp_path, spool.flushed), lambda: list(spool.take(MASKED, ONE))):
        with pytest.raises(StoreError, match="was changed on the disk"):
            read()


def test_the_vectors_of_another_round_are_no_vectors_of_this_one(tmp_path: Path) -> None:
    """Each whole in itself, and of the same shape: two files that somebody exchanged."""
    spool = spooled(tmp_path)
    (tmp_path / "chunks").rename(tmp_path / "other")
    with pytest.raises(StoreError, match="piece 0 was changed on the disk"):
        FileSpool.reopened(REAL_DISK, tmp_path / "other", spool.flushed)


def test_the_sum_of_another_round_is_no_sum_of_this_one(tmp_path: Path) -> None:
    written = write_sum(REAL_DISK, tmp_path / "sum", CHUNKED)
    (tmp_path / "sum").rename(tmp_path / "other")
    with pytest.raises(StoreError, match="piece 0 was changed on the disk"):
        open_sum(REAL_DISK, tmp_path / "other", written.size)


def test_the_twin_sums_what_the_disk_made_of_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spooled(tmp_path)
    content = bytearray((tmp_path / "chunks").read_bytes())
    content[HEAD_SIZE] ^= 1
    (tmp_path / "chunks").write_bytes(content)
    without_check(monkeypatch, spool_files, "read_piece", "piece")
    assert taken(reopened(tmp_path, spool.flushed))[ONE][0] == b"`" + b"a" * 99


def test_a_file_that_lost_what_was_safe_is_missed(tmp_path: Path) -> None:
    spool = spooled(tmp_path)
    path, whole = tmp_path / "chunks", (tmp_path / "chunks").read_bytes()
    path.write_bytes(whole[: -HEAD_SIZE - 1])
    with pytest.raises(StoreError, match="piece 3 was changed on the disk"):
        reopened(tmp_path, spool.flushed)
    path.write_bytes(whole)
    with pytest.raises(StoreError, match="ends within piece 3"):
        reopened(tmp_path, spool.flushed - 1)
    path.unlink()
    with pytest.raises(StoreError, match="is gone"):
        reopened(tmp_path, spool.flushed)
    assert taken(reopened(tmp_path, 0)) == {ONE: [], TWO: []}  # nothing was ever flushed


def test_a_full_disk_is_named_and_what_is_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spooled(tmp_path)
    write = RealFile.write_at

    def torn(file: RealFile, offset: int, data: bytes | memoryview) -> None:
        write(file, offset, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(RealFile, "write_at", torn)
        with pytest.raises(StoreError, match="cannot be written: No space left on device"):
            spool.append(MASKED, ONE, b"x" * 50)
    assert taken(spool) == WHOLE
    spool.append(MASKED, ONE, b"y")  # there is room again
    spool.flush()
    assert taken(reopened(tmp_path, spool.flushed))[ONE] == [*WHOLE[ONE], b"y"]


def test_a_flush_that_fails_is_named_and_promises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spooled(tmp_path)
    before = spool.flushed
    spool.append(MASKED, ONE, b"z")

    def failing(_: RealFile) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(RealFile, "flush", failing)
    with pytest.raises(StoreError, match="cannot be written: Input/output error"):
        spool.flush()
    assert spool.flushed == before


CHUNKED = (b"s" * 300, b"u" * 300, b"m")


def test_a_finished_sum_is_read_chunk_by_chunk_also_in_another_process(tmp_path: Path) -> None:
    written = write_sum(REAL_DISK, tmp_path / "sum", CHUNKED)
    for chunks in (written, open_sum(REAL_DISK, tmp_path / "sum", written.size)):
        assert (tuple(chunks), len(chunks), chunks[2]) == (CHUNKED, 3, b"m")
        with pytest.raises(IndexError):
            chunks[3]
    assert tuple(write_sum(REAL_DISK, tmp_path / "sum", CHUNKED[1:])) == CHUNKED[1:]  # over one that a crash left


def test_a_finished_sum_that_is_gone_or_changed_is_named(tmp_path: Path) -> None:
    written = write_sum(REAL_DISK, tmp_path / "sum", CHUNKED)
    with pytest.raises(StoreError, match="piece 3 was changed on the disk"):
        open_sum(REAL_DISK, tmp_path / "sum", written.size + 1)
    with (tmp_path / "sum").open("r+b") as file:
        file.seek(HEAD_SIZE)
        file.write(b"x")
    with pytest.raises(StoreError, match="sum: piece 0 was changed on the disk"):
        tuple(open_sum(REAL_DISK, tmp_path / "sum", written.size))  # found when it is read
    (tmp_path / "sum").unlink()
    for read in (lambda: open_sum(REAL_DISK, tmp_path / "sum", written.size), lambda: written[0]):
        with pytest.raises(StoreError, match="a finished sum, cannot be read: No such file"):
            read()
