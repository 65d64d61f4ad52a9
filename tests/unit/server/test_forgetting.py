"""Which finished rounds the coordinator remembers: by when they ended, and no sum is lost before it is fetched."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from threading import Event, get_ident

import pytest
from secagg_server.observability.observer import Observer
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.registry import Rounds
from secagg_server.settings import Settings, load_settings
from secagg_server.storage.memory import MemoryStore
from secagg_server.storage.records import Released

from secagg.context import RoundId
from secagg.crypto.rng import SystemRng
from secagg.errors import AbortReason, ConfigError, RoundAborted, UnknownRoundError
from secagg.masked.ranges import one_after_the_other
from secagg.wire.configuration import encode_config
from tests.rounds import deployment
from tests.serving import ROOMY, SEMI_HONEST, make_config, make_settings, site

CONFIG = encode_config(make_config(3, SEMI_HONEST))
KEPT = 4
NOW = 1_700_000_000.0
SUM = Released(("a", "b", "c"), (), bytes(32))


def registry(folder: Path) -> Rounds:
    settings = make_settings(folder, max_open_rounds=KEPT, keep_finished_rounds=KEPT)
    coordinator = deployment().coordinator
    return Rounds(
        settings,
        site().trust,
        MemoryStore(),
        lambda: coordinator,
        workers=one_after_the_other,
        clock=lambda: NOW,
        rng=SystemRng(),
        observer=Observer(),
        capacity=ROOMY,
    )


async def opened(rounds: Rounds) -> HostedRound:
    hosted = await rounds.open(os.urandom(16), CONFIG)
    assert isinstance(hosted, HostedRound)
    return hosted


def end(hosted: HostedRound, outcome: Released | RoundAborted = SUM) -> RoundId:
    hosted.outcome = outcome
    hosted._on_end()
    return hosted.record.round_id


async def later_rounds(rounds: Rounds, count: int, *, fetch: bool = True) -> list[RoundId]:
    ids = []
    for _ in range(count):
        hosted = await opened(rounds)
        ids.append(end(hosted))
        if fetch:
            rounds.fetched(hosted)
    return ids


async def test_a_round_slower_than_many_later_ones_is_remembered(tmp_path: Path) -> None:
    rounds = registry(tmp_path)
    slow = await opened(rounds)
    quick = await later_rounds(rounds, KEPT + 3)
    assert end(slow) == rounds.find_opened(slow.record.round_id).record.round_id
    rounds.fetched(slow)
    await later_rounds(rounds, KEPT - 1)
    rounds.find_opened(slow.record.round_id)  # as long as fewer than KEPT have ended since
    with pytest.raises(UnknownRoundError):
        rounds.find_opened(quick[-1])
    await later_rounds(rounds, 1)
    with pytest.raises(UnknownRoundError):
        rounds.find_opened(slow.record.round_id)


async def test_counted_by_opening_the_slow_one_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: the order of opening forgets the round at the moment in which it ends."""

    def round_ended(self: Rounds, round_id: RoundId) -> None:
        over = [r.record.round_id for r in self._known.values() if r.outcome is not None]
        for oldest in over[: max(0, len(over) - self._settings.keep_finished_rounds)]:
            self._forget(oldest)

    monkeypatch.setattr(Rounds, "_round_ended", round_ended)
    rounds = registry(tmp_path)
    slow = await opened(rounds)
    await later_rounds(rounds, KEPT)
    with pytest.raises(UnknownRoundError):
        rounds.find_opened(end(slow))


async def test_a_sum_that_nobody_fetched_is_kept(tmp_path: Path) -> None:
    rounds = registry(tmp_path)
    (waiting,) = await later_rounds(rounds, 1, fetch=False)
    await later_rounds(rounds, 3 * KEPT)
    rounds.fetched(rounds.find_opened(waiting))
    await later_rounds(rounds, 1)
    with pytest.raises(UnknownRoundError):
        rounds.find_opened(waiting)


async def test_rounds_without_a_sum_are_forgotten_before_those_with_one(tmp_path: Path) -> None:
    rounds = registry(tmp_path)
    unfetched = await later_rounds(rounds, KEPT, fetch=False)
    failed = end(await opened(rounds), RoundAborted(AbortReason.CANCELLED, "enough"))
    with pytest.raises(UnknownRoundError):
        rounds.find_opened(failed)
    assert {r.record.round_id for r in rounds.newest_first()} == set(unfetched)


def test_the_defaults_keep_every_round_that_may_be_open() -> None:
    fields = Settings.model_fields
    assert fields["keep_finished_rounds"].default >= fields["max_open_rounds"].default


def test_settings_that_would_lose_a_sum_are_refused(tmp_path: Path) -> None:
    files = {"certificate": "a", "key": "b", "participant_ca": "c"}
    with pytest.raises(ConfigError) as refused:
        load_settings(None, {**files, "max_open_rounds": 33})
    assert str(refused.value) == (
        "settings: keep_finished_rounds (32) must be at least max_open_rounds (33): raise the one or lower the other"
    )
    assert load_settings(None, {**files, "max_open_rounds": 33, "keep_finished_rounds": 33}).keep_finished_rounds == 33


async def test_a_slow_disk_that_forgets_a_round_holds_up_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the id can be used again only when nothing of the old round is left to go."""
    rounds, slow, threads = registry(tmp_path), Event(), list[int]()
    forget = MemoryStore.forget_rounds

    def late(store: MemoryStore, round_ids: Iterable[RoundId]) -> None:
        threads.append(get_ident())
        slow.wait(30)
        forget(store, round_ids)

    monkeypatch.setattr(MemoryStore, "forget_rounds", late)
    oldest, *_ = await later_rounds(rounds, KEPT + 1)
    again = asyncio.create_task(rounds.open(oldest, CONFIG))
    await asyncio.sleep(0)
    assert not rounds._openings
    slow.set()
    assert (await again).record.round_id == oldest
    assert get_ident() not in threads


async def test_whoever_opens_a_lost_round_again_hears_that_it_is_lost(tmp_path: Path) -> None:
    rounds, lost = registry(tmp_path), RoundId(b"l" * 16)
    rounds._lose(lost, "nothing of it is there")
    with pytest.raises(RoundAborted, match="the round is lost: nothing of it is there"):
        await rounds.open(lost, CONFIG)
