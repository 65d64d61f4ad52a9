"""A coordinator with a state folder: what it says is safe is in the folder, and another process finds it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from secagg_server.settings import Settings
from secagg_server.storage.records import Released
from secagg_server.storage.sqlite.counting import CommitCount

from secagg.errors import ConfigError, StoreError
from secagg.programs.disk import RealDisk, RealFile
from secagg.wire.results import decode_aggregate
from tests.serving import make_config, make_settings, stage, true_sum
from tests.stores import found, kept_in


async def test_a_finished_sum_is_in_the_folder_with_its_receipt(tmp_path: Path) -> None:
    config, state = make_config(5), tmp_path / "state"
    async with stage(tmp_path, state_dir=state) as s:
        round_id, people = await s.open(config)
        await asyncio.gather(*(p.play() for p in people))
        told = await s.director.aggregate(round_id, config)
        receipts = {p.receipt.sums_digest for p in people if p.receipt}
    with kept_in(state) as store:
        (kept,) = found(store)
    assert kept.ended is not None
    assert isinstance(kept.ended.outcome, Released)
    np.testing.assert_array_equal(told.sums.astype(np.uint64), true_sum(people))
    np.testing.assert_array_equal(decode_aggregate(kept.ended.outcome.parts(), config).sums, told.sums)
    assert kept.ended.receipt is not None
    assert {kept.ended.receipt.sums_digest} == receipts
    assert [path.name for folder in ("keys", "spool") for path in (state / folder).iterdir()] == []


async def test_a_round_flushes_as_docs_operate_says_whoever_takes_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = Counter[int]()
    counted: dict[str, tuple[type, Callable[..., None]]] = {
        "flush": (RealFile, RealFile.flush),
        "flush_folder": (RealDisk, RealDisk.flush_folder),
    }
    commit = CommitCount.committed

    def committed(count: CommitCount) -> None:
        flushes[number] += 1  # the log of SQLite; the file of the count is flushed by itself
        commit(count)

    def counting(real: Callable[..., None]) -> Callable[..., None]:
        def flush(*arguments: object) -> None:
            flushes[number] += 1
            real(*arguments)

        return flush

    for number in (4, 8):
        (folder := tmp_path / str(number)).mkdir()
        async with stage(folder, state_dir=folder / "state") as s:
            with monkeypatch.context() as patched:
                for name, (kind, real) in counted.items():
                    patched.setattr(kind, name, counting(real))
                patched.setattr(CommitCount, "committed", committed)
                _, people = await s.open(make_config(number))
                await asyncio.gather(*(p.play() for p in people))
    assert 20 < flushes[4] <= 35
    assert abs(flushes[4] - flushes[8]) <= 4  # who comes while a phase closes may add one


async def test_keys_of_two_coordinators_differ(tmp_path: Path) -> None:
    keys = []
    for name in ("one", "two"):
        (folder := tmp_path / name).mkdir()
        async with stage(folder, state_dir=folder / "state") as s:
            await s.director.open(make_config(3))
            keys += [path.read_bytes() for path in (folder / "state" / "keys").iterdir()]
    assert len(set(keys)) == len(keys) == 2


async def test_ledgers_are_in_the_folder_unless_they_have_one_of_their_own(tmp_path: Path) -> None:
    async with stage(tmp_path, state_dir=tmp_path / "state"):
        assert (tmp_path / "state" / "ledgers" / "lock").exists()
    async with stage(tmp_path, state_dir=tmp_path / "other", ledger_dir=tmp_path / "ledger"):
        assert (tmp_path / "ledger" / "lock").exists()
        assert not (tmp_path / "other" / "ledgers").exists()
    assert make_settings(tmp_path).ledgers is None


async def test_two_coordinators_never_have_one_folder(tmp_path: Path) -> None:
    async with stage(tmp_path, state_dir=tmp_path / "state"):
        other = tmp_path / "other"
        other.mkdir()
        with pytest.raises(ConfigError, match="belongs to a coordinator that is running"):
            async with stage(other, state_dir=tmp_path / "state"):
                pass


async def test_a_damaged_state_keeps_a_coordinator_from_starting(tmp_path: Path) -> None:
    async with stage(tmp_path, state_dir=tmp_path / "state"):
        pass
    (tmp_path / "state" / "state.sqlite").write_bytes(b"no database at all " * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        async with stage(tmp_path, state_dir=tmp_path / "state"):
            pass
    assert Settings.model_fields["state_dir"].default is None
