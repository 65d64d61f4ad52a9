"""The keys of rounds: each in a file of its own, and gone for good when its round is over."""

from pathlib import Path

import pytest
from secagg_server.storage.sqlite.seals import KeyFolder

from secagg.context import RoundId
from secagg.crypto import labels
from secagg.crypto.rng import SeededRng
from secagg.errors import StoreError
from secagg.programs.disk import REAL_DISK

ONE, TWO = RoundId(b"1" * 16), RoundId(b"2" * 16)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return KeyFolder(REAL_DISK, tmp_path, SeededRng(bytes(32)))


def test_a_key_is_there_until_it_is_destroyed(keys: KeyFolder, tmp_path: Path) -> None:
    sealed = keys.make(ONE).seal(labels.NOISE_SEED, b"seed")
    found = keys.read(ONE)
    assert found is not None
    assert found.unseal(labels.NOISE_SEED, sealed) == b"seed"
    assert keys.rounds() == {ONE}
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    keys.destroy(ONE)
    keys.destroy(ONE)
    assert keys.read(ONE) is None
    assert list(tmp_path.iterdir()) == []


def test_a_round_that_is_broken_off_has_a_mark_and_no_key(keys: KeyFolder, tmp_path: Path) -> None:
    key = keys.make(ONE).key.expose()
    keys.break_off(ONE)
    keys.break_off(ONE)
    keys.break_off(TWO)  # its key was gone already
    assert keys.read(ONE) is None
    assert [keys.broken_off(each) for each in (ONE, TWO, RoundId(bytes(16)))] == [True, True, False]
    assert all(path.read_bytes() == b"" for path in tmp_path.iterdir())
    assert len(key) == 32
    assert keys.rounds() == {ONE, TWO}
    keys.forget(ONE)
    keys.forget(TWO)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_was_cut_off_is_named(keys: KeyFolder, tmp_path: Path) -> None:
    keys.make(ONE)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"\.key has 31 bytes and not 32"):
        keys.read(ONE)


def test_keys_of_two_rounds_differ_and_other_files_are_let_alone(keys: KeyFolder, tmp_path: Path) -> None:
    assert keys.make(ONE).key != keys.make(TWO).key
    for name in ("notes.key", f"{'0' * 31}g.key", "lost+found"):
        (tmp_path / name).touch()
    assert keys.rounds() == {ONE, TWO}
