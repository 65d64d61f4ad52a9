"""Rounds in groups over gRPC: one group each, one result for all, and what a poisoned or a fallen group does to it."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import AsyncControlClient, RoundResult, RoundState
from secagg_server.rounds import grouped

from secagg.config import RoundConfig, ThreatModel
from secagg.context import RoundId
from secagg.crypto.prg import Words
from secagg.encoding.fixedpoint import FixedPointUpdate
from secagg.encoding.pipeline import Pipeline
from secagg.errors import (
    AbortReason,
    ConfigError,
    LimitError,
    NotInRoundError,
    PolicyViolation,
    RoundAborted,
    UnknownRoundError,
)
from secagg.events import RoundFailed
from secagg.lattice.jobs import Desk
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.robust.combining import Anomaly
from secagg.robust.grouping import Groups
from secagg.wire.progress import InGroup, ResultReady, WatchedEvent
from tests.serving import CROWD, NAMES, PATIENCE_S, SEMI_HONEST, TASK, Stage, make_config, stage
from tests.taking_part import DIGEST, QUICK, async_client

PEOPLE = CROWD[:9]
POLICY = Policy(min_colluding_share=0.0)
SIZE = 20
Values = np.ndarray[Any, np.dtype[np.float32]]


class InProcess(Desk):
    """Encrypts in this process."""

    def close(self) -> None:
        return


def in_groups(count: int = 3, combine: str = "median", each: int = 3, **changes: Any) -> RoundConfig:
    return replace(make_config(each, size=SIZE, **changes), groups=Groups.parse(count, combine))


def honest(name: ParticipantId) -> Values:
    return np.full(SIZE, 0.02 + 0.001 * CROWD.index(name), np.float32)


async def take_part(
    s: Stage, name: ParticipantId, update: Values, *, policy: Policy = POLICY, **options: Any
) -> RoundResult | RoundAborted:
    async with async_client(s.server.data_address, name, policy=policy, **options) as one:
        try:
            return await one.participate(
                {"values": update}, task=TASK, weight=1, model_digest=DIGEST, timeout_s=PATIENCE_S
            )
        except RoundAborted as failure:
            return failure


async def all_take_part(s: Stage, updates: Mapping[ParticipantId, Values]) -> list[RoundResult | RoundAborted]:
    return list(await asyncio.gather(*(take_part(s, name, update) for name, update in updates.items())))


def results_of(outcomes: Iterable[RoundResult | RoundAborted]) -> list[RoundResult]:
    return [outcome for outcome in outcomes if isinstance(outcome, RoundResult)]


def group_means(results: Sequence[RoundResult], updates: Mapping[ParticipantId, Values]) -> list[Values]:
    cohorts = {result.survivors for result in results}
    return [np.mean([updates[ParticipantId(n)] for n in cohort], axis=0) for cohort in sorted(cohorts)]


async def watched(control: AsyncControlClient, round_id: RoundId) -> list[WatchedEvent]:
    return [event async for _, event in control.watch(round_id)]


async def test_nine_in_three_groups(tmp_path: Path) -> None:
    updates = {name: honest(name) for name in PEOPLE}
    config = replace(in_groups(), certify=True)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        (running,) = await control.list_rounds(TASK)
        assert (running.round_id, running.state) == (round_id, RoundState.RUNNING)
        released, outcomes = await asyncio.gather(control.result_groups(round_id), all_take_part(s, updates))
        results = results_of(outcomes)
        assert len(results) == 9
        assert released.survivors == tuple(PEOPLE)
        assert [len(group.aggregate.survivors) for group in released.groups.values()] == [3, 3, 3]
        mean = released.mean(config)
        truth = np.median(group_means(results, updates), axis=0)
        np.testing.assert_allclose(mean.arrays["values"], truth, atol=mean.error_bound)
        for result in results:
            assert result.certified, "our own group's sum"
            assert result.receipt.statement.round_id == result.round_id
            assert result.config.groups is not None
            assert result.config.groups.parent == round_id != result.round_id
            assert result.mean is not None
            assert result.aggregate is not None
            assert result.groups is not None
            np.testing.assert_array_equal(result.mean.arrays["values"], mean.arrays["values"])
            own = released.groups[result.config.groups.number].aggregate
            assert result.survivors == own.survivors
            np.testing.assert_array_equal(result.aggregate.sums, own.sums)
        events = await watched(control, round_id)
        assert events[-1] == ResultReady(9, s.server.rounds.find_opened(round_id).outcome.digest)  # type: ignore[union-attr]
        assert {e.group for e in events if isinstance(e, InGroup)} == {1, 2, 3}
        assert not any(isinstance(e, Anomaly) for e in events)
        (done,) = await control.list_rounds()
        assert (done.round_id, done.state) == (round_id, RoundState.DONE)
        with pytest.raises(UnknownRoundError):  # a group's sum alone is not given out
            await control.fetch_groups(results[0].round_id, config)


@pytest.mark.parametrize("combine", ["median", "trimmed:1", "mean"])
async def test_one_poisoned_update(tmp_path: Path, combine: str) -> None:
    """The clip bounds it, and it still spoils the plain mean; the others leave it out. Its group is reported."""
    culprit = PEOPLE[4]
    updates = {name: honest(name) for name in PEOPLE} | {culprit: np.full(SIZE, -1.0, np.float32)}
    config = in_groups(combine=combine)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        released, outcomes = await asyncio.gather(control.result_groups(round_id), all_take_part(s, updates))
        assert len(results_of(outcomes)) == 9
        off = float(np.abs(released.mean(config).arrays["values"] - 0.024).max())
        assert off > 0.1 if combine == "mean" else off < 0.01
        (poisoned,) = [n for n, group in released.groups.items() if culprit in group.aggregate.survivors]
        found = [event for event in await watched(control, round_id) if isinstance(event, Anomaly)]
        assert [anomaly.group for anomaly in found] == [poisoned]
        assert found[0].norm > 10 * found[0].typical


@pytest.mark.parametrize("count", [3, 4])
async def test_an_input_of_garbage(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can decode its group's sum: that group counts as fallen, and three others have their result."""
    people = CROWD[: 3 * count]
    updates = {name: honest(name) for name in people} | {people[0]: np.full(SIZE, -1.0, np.float32)}
    encoded = FixedPointUpdate.read

    def read(self: FixedPointUpdate, start: int, stop: int, dtype: Any = None) -> Words:
        values = encoded(self, start, stop, dtype)
        return np.full_like(values, np.iinfo(values.dtype).max) if self._source.read(0, 1)[0] == -1 else values

    monkeypatch.setattr(FixedPointUpdate, "read", read)
    config = in_groups(count)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        outcomes = await all_take_part(s, updates)
        events = await watched(control, round_id)
        found = [event for event in events if isinstance(event, Anomaly)]
        if count == 3:
            with pytest.raises(RoundAborted, match="its sum cannot be decoded"):
                await control.fetch_groups(round_id)
            assert not results_of(outcomes)
            assert not found
            return
        released = await control.fetch_groups(round_id)
        assert released.mean(config).weight == 9
        results = results_of(outcomes)
        assert len(results) == 12
        (spoilt,) = [n for n, group in released.groups.items() if people[0] in group.aggregate.survivors]
        assert [(anomaly.group, anomaly.norm) for anomaly in found] == [(spoilt, np.inf)]
        np.testing.assert_allclose(released.mean(config).arrays["values"], 0.0255, atol=0.006)
        for result in results:
            assert result.mean is not None
            np.testing.assert_array_equal(result.mean.arrays["values"], released.mean(config).arrays["values"])


async def test_one_group_below_its_threshold(tmp_path: Path) -> None:
    """Eleven in four groups leave one with two: it falls by itself, and the others have their result."""
    people = CROWD[:11]
    updates = {name: honest(name) for name in people}
    config = in_groups(4, deadlines={"advertise_keys_s": 1.5})
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        released, outcomes = await asyncio.gather(control.result_groups(round_id), all_take_part(s, updates))
        results = results_of(outcomes)
        assert len(released.groups) == 3
        assert len(results) == len(released.survivors) == 9
        assert [o.reason for o in outcomes if isinstance(o, RoundAborted)] == [AbortReason.BELOW_THRESHOLD] * 2
        truth = np.median(group_means(results, updates), axis=0)
        mean = released.mean(config)
        np.testing.assert_allclose(mean.arrays["values"], truth, atol=mean.error_bound)
        events = await watched(control, round_id)
        fallen = [e.group for e in events if isinstance(e, InGroup) and isinstance(e.event, RoundFailed)]
        assert fallen == list({1, 2, 3, 4} - set(released.groups))


async def test_too_few_groups_are_left(tmp_path: Path) -> None:
    """Nothing is released, by name, as soon as that is certain; groups that could go on are ended."""
    updates = {name: honest(name) for name in PEOPLE[:8]}
    config = in_groups(3, deadlines={"advertise_keys_s": 1.5})
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        outcomes = await all_take_part(s, updates)
        assert all(isinstance(outcome, RoundAborted) for outcome in outcomes)
        with pytest.raises(RoundAborted, match=r"2 of 3 groups can have a sum, median needs 3 \(group \d: ") as caught:
            await control.result_groups(round_id)
        assert caught.value.reason is AbortReason.BELOW_THRESHOLD
        with pytest.raises(RoundAborted, match="median needs 3"):
            await control.fetch_groups(round_id)
        (failed,) = await control.list_rounds()
        assert failed.state is RoundState.FAILED


async def test_nobody_picks_a_group(tmp_path: Path) -> None:
    """Asking again, by task or by id, gives the same one; the ids of the others give none."""
    config = in_groups()
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        opened = s.server.rounds.find_opened(round_id)
        assert isinstance(opened, grouped.GroupedRound)
        for player in s.players.values():
            own = (await player.find(task=TASK)).round_id
            assert (await player.find(task=TASK)).round_id == own
            assert (await player.find(round_id=round_id)).round_id == own
            assert (await player.find(round_id=own)).round_id == own
            for hosted in opened.groups.values():
                if hosted.record.round_id != own:
                    with pytest.raises(NotInRoundError, match="has no place in round"):
                        await s.server.rounds.find_for(player.name, hosted.record.round_id)
        assert sorted(opened._sizes.values()) == [2, 2, 2]


async def test_who_could_pick_would_sit_with_its_friends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check that the test above is about, three that work together fill a group."""
    monkeypatch.setattr("secagg_server.rounds.registry.Rounds._admits", lambda *_: True)
    async with stage(tmp_path) as s:
        opened = s.server.rounds.find_opened(await s.director.open(in_groups()))
        assert isinstance(opened, grouped.GroupedRound)
        wanted = opened.groups[2].record.round_id
        friends = s.some(3)
        await asyncio.gather(*(friend.join(wanted) for friend in friends))
        await asyncio.gather(*(friend.say() for friend in friends))
        assert opened.groups[2].phase is not opened.groups[1].phase


async def test_an_aborted_round_ends_in_all_groups(tmp_path: Path) -> None:
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(in_groups())
        player = s.players[NAMES[0]]
        await player.find(task=TASK)
        await control.abort(round_id, "wrong model")
        with pytest.raises(RoundAborted, match="wrong model") as caught:
            await control.result_groups(round_id)
        assert caught.value.reason is AbortReason.CANCELLED
        opened = s.server.rounds.find_opened(round_id)
        assert isinstance(opened, grouped.GroupedRound)
        assert all(isinstance(hosted.outcome, RoundAborted) for hosted in opened.groups.values())


async def test_a_forgotten_round_takes_its_groups_along(tmp_path: Path) -> None:
    async with stage(tmp_path, keep_finished_rounds=3, max_open_rounds=3) as s:
        ids = [await s.director.open(in_groups())]
        with pytest.raises(LimitError, match="3 of 3 rounds are under way and this takes 3"):
            await s.server.rounds.open(os.urandom(16), s.server.rounds.find_opened(ids[0]).record.config_bytes)
        await s.director.abort(ids[0])
        for _ in range(3):
            ids.append(await s.director.open(in_groups()))
            await s.director.abort(ids[-1])
        assert list(s.server.rounds._known) == ids[1:]
        assert len(s.server.rounds._rounds) == 9


async def test_groups_are_named_by_the_coordinator(tmp_path: Path) -> None:
    named = replace(in_groups(), groups=Groups(count=3, parent=bytes(16), number=1))
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        with pytest.raises(ConfigError, match="leave parent and number out"):
            await control.open_round(named)


async def test_a_participant_that_wants_no_groups(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        await s.director.open(in_groups())
        with pytest.raises(PolicyViolation, match="split into groups"):
            await take_part(s, NAMES[0], honest(NAMES[0]), policy=replace(POLICY, allow_groups=False))


@pytest.mark.parametrize("custody", list(Custody))
async def test_encrypted_groups(tmp_path: Path, custody: Custody) -> None:
    """Every scheme and custody works in groups: a group is a round like any other."""
    updates = {name: honest(name) for name in PEOPLE}
    config = replace(
        in_groups(threat_model=SEMI_HONEST),
        homomorphic=find_profile(Scheme.BFV, custody, 3, 16),
    )
    policy = Policy(min_colluding_share=0.0, threat_models=frozenset(ThreatModel), allow_experimental=True)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        people = [take_part(s, n, update, policy=policy, backend=InProcess) for n, update in updates.items()]
        released, outcomes = await asyncio.gather(control.result_groups(round_id), asyncio.gather(*people))
        mean = released.mean(config)
        truth = np.median(group_means(results_of(outcomes), updates), axis=0)
        np.testing.assert_allclose(mean.arrays["values"], truth, atol=mean.error_bound)
        for result in results_of(outcomes):
            assert result.mean is not None
            np.testing.assert_array_equal(result.mean.arrays["values"], mean.arrays["values"])


@pytest.mark.parametrize("text", ["clip(l2=9.0) | rotate | quantise(bits=16, range=4.0)"])
async def test_groups_rotate_by_contexts_of_their_own(tmp_path: Path, text: str) -> None:
    updates = {name: honest(name) for name in PEOPLE}
    config = replace(in_groups(combine="mean"), encoding=Pipeline.parse(text))
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        released, outcomes = await asyncio.gather(control.result_groups(round_id), all_take_part(s, updates))
        assert len(results_of(outcomes)) == 9
        truth = np.mean(list(updates.values()), axis=0)
        np.testing.assert_allclose(released.mean(config).arrays["values"], truth, atol=1e-3)
