"""Rounds that a framework's plug-in holds at a coordinator beside it: clients train first and join afterwards."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import ControlClient
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Contribution
from secagg_client.sidecar.participants import Participations, TakenPart
from secagg_client.sidecar.rounds import SidecarRound, joining_within

from secagg.config import Deadlines, RoundConfig
from secagg.context import RoundId
from secagg.errors import (
    AbortReason,
    ConfigError,
    InputError,
    LocalError,
    ModelMismatch,
    NotInRoundError,
    RoundAborted,
    UnknownRoundError,
)
from secagg.events import MessageAccepted
from secagg.messages import ParticipantId
from tests.serving import NAMES, PATIENCE_S, make_config, stage
from tests.taking_part import DIGEST, QUICK, client, in_thread, lenient, update_of

PEERS = {f"node-{number}": str(name) for number, name in enumerate(NAMES)}


def few(count: int) -> dict[str, str]:
    return dict(list(PEERS.items())[:count])


def part(
    address: str, name: ParticipantId, config: RoundConfig, round_ids: Sequence[RoundId], trained: threading.Event
) -> TakenPart:
    """Train until `trained` is set, then take part."""

    def contribute(offers: Sequence[Offer]) -> Mapping[RoundId, Contribution]:
        trained.wait(PATIENCE_S)
        return {
            offer.round_id: Contribution(
                update=update_of(config, name), weight=1, model_digest=DIGEST, purpose=offer.config.purpose
            )
            for offer in offers
        }

    with client(address, name, policy=lenient(config)) as one:
        return Participations(one, round_ids, contribute).take_part(PATIENCE_S)


def started(*arguments: Any) -> asyncio.Task[TakenPart]:
    """A part that is under way at once."""
    return asyncio.ensure_future(in_thread(part, *arguments))


async def test_clients_join_when_they_have_trained_however_short_the_time_limit_for_joining_is(tmp_path: Path) -> None:
    short = make_config(3, deadlines={"advertise_keys_s": 0.001})
    trained = threading.Event()
    async with stage(tmp_path) as s:
        with ControlClient(s.server.control_address, retry=QUICK) as control:
            opened = await in_thread(SidecarRound, control, short, few(3), patience_s=PATIENCE_S)
            assert opened.config.deadlines == Deadlines(
                **{**vars_of(short.deadlines), "advertise_keys_s": PATIENCE_S, "join_s": PATIENCE_S}
            )
            parts = [started(s.server.data_address, n, short, [opened.round_id], trained) for n in NAMES[:3]]
            assert not opened.over
            trained.set()
            sums = await in_thread(opened.result, PATIENCE_S)
            assert sums.survivors == tuple(NAMES[:3])
            for taken in [await one for one in parts]:
                assert not taken.failed
                assert taken.results[opened.round_id].survivors == tuple(NAMES[:3])


async def test_nobody_waits_for_a_client_that_the_framework_has_given_up(tmp_path: Path) -> None:
    """Before it joins, while the others wait for it: the round goes on at once, and has the sum of the rest."""
    config, trained = make_config(5, threshold=4), threading.Event()
    trained.set()
    over = threading.Event()
    async with stage(tmp_path) as s:
        with ControlClient(s.server.control_address, retry=QUICK) as control:
            opened = await in_thread(SidecarRound, control, config, few(5), patience_s=3600.0, when_over=over.set)
            parts = [started(s.server.data_address, n, config, [opened.round_id], trained) for n in NAMES[:4]]
            await in_thread(opened.lost, "node-4", "its app raised an error")
            await in_thread(opened.lost, "node-4", "told twice")
            await in_thread(opened.lost, "a node of another job", "nobody here")
            sums = await in_thread(opened.result, PATIENCE_S)
            assert sums.survivors == tuple(NAMES[:4])
            assert opened.dropped == {"node-4": "its app raised an error"}
            assert await in_thread(over.wait, PATIENCE_S)
            assert opened.over
            await asyncio.gather(*parts)


async def test_too_many_lost_clients_end_the_round_at_once(tmp_path: Path) -> None:
    config, trained = make_config(4), threading.Event()
    async with stage(tmp_path) as s:
        with ControlClient(s.server.control_address, retry=QUICK) as control:
            opened = await in_thread(SidecarRound, control, config, few(4), patience_s=3600.0)
            waiting = started(s.server.data_address, NAMES[0], config, [opened.round_id], trained)
            for node in ("node-1", "node-2"):
                await in_thread(opened.lost, node, "died")
            with pytest.raises(RoundAborted) as failed:
                await in_thread(opened.result, PATIENCE_S)
            assert failed.value.reason is AbortReason.BELOW_THRESHOLD
            await in_thread(opened.lost, "node-3", "died later")  # over: no error
            trained.set()
            late = await waiting
            assert isinstance(late.failed[opened.round_id], RoundAborted)


async def test_one_who_comes_back_after_it_was_given_up_is_told_so(tmp_path: Path) -> None:
    config, trained = make_config(4), threading.Event()
    trained.set()
    async with stage(tmp_path) as s:
        with ControlClient(s.server.control_address, retry=QUICK) as control:
            opened = await in_thread(SidecarRound, control, config, few(4), patience_s=3600.0)
            await in_thread(opened.lost, "node-3", "no heartbeat")
            late = await started(s.server.data_address, NAMES[3], config, [opened.round_id], trained)
            assert isinstance(late.failed[opened.round_id], NotInRoundError)
            await in_thread(opened.abort, "the test is over")


async def test_several_rounds_side_by_side_ask_for_one_training(tmp_path: Path) -> None:
    config, trained = make_config(3), threading.Event()
    trained.set()
    purposes = ("train", "metrics")
    async with stage(tmp_path) as s:
        with ControlClient(s.server.control_address, retry=QUICK) as control:
            opened = [
                await in_thread(SidecarRound, control, replace(config, purpose=purpose), few(3), patience_s=PATIENCE_S)
                for purpose in purposes
            ]
            ids = [one.round_id for one in opened]
            parts = [started(s.server.data_address, n, config, ids, trained) for n in NAMES[:3]]
            for one in opened:
                assert (await in_thread(one.result, PATIENCE_S)).survivors == tuple(NAMES[:3])
            for taken in [await one for one in parts]:
                assert set(taken.results) == set(ids)


async def test_one_round_that_fails_leaves_the_other_alone(tmp_path: Path) -> None:
    config, trained = make_config(3), threading.Event()
    trained.set()
    another = replace(config, model_digest=b"\1" * 32, purpose="metrics")
    async with stage(tmp_path) as s:
        with ControlClient(s.server.control_address, retry=QUICK) as control:
            good, bad = [
                await in_thread(SidecarRound, control, one, few(3), patience_s=PATIENCE_S) for one in (config, another)
            ]
            ids = [bad.round_id, good.round_id]
            parts = [started(s.server.data_address, n, config, ids, trained) for n in NAMES[:3]]
            assert (await in_thread(good.result, PATIENCE_S)).survivors == tuple(NAMES[:3])
            for taken in [await one for one in parts]:
                assert isinstance(taken.failed[bad.round_id], ModelMismatch)
                assert set(taken.results) == {good.round_id}
            await in_thread(bad.abort, "nobody came")


async def test_what_does_not_fit_a_round_never_joins_it(tmp_path: Path) -> None:
    config = make_config(3)
    async with stage(tmp_path) as s:
        with ControlClient(s.server.control_address, retry=QUICK) as control:
            opened = await in_thread(SidecarRound, control, config, few(3), patience_s=PATIENCE_S)

            def hold(brought: Mapping[RoundId, Contribution]) -> None:
                with client(s.server.data_address, NAMES[0]) as one:
                    Participations(one, [opened.round_id], lambda offers: brought)

            wrong = Contribution(update={"another": np.zeros(3, np.float32)}, weight=1, model_digest=DIGEST)
            with pytest.raises(InputError, match="another"):
                await in_thread(hold, {opened.round_id: wrong})
            with pytest.raises(LocalError, match="nothing was contributed"):
                await in_thread(hold, {})
            await in_thread(opened.abort, "the test is over")
            assert not [e for e in await s.director.watch(opened.round_id) if isinstance(e, MessageAccepted)]


async def test_a_round_whose_participants_cannot_be_expected_is_ended(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with ControlClient(s.server.control_address, retry=QUICK) as control:
            with pytest.raises(ConfigError, match="2 participants are expected"):
                await in_thread(SidecarRound, control, make_config(4), few(2), patience_s=PATIENCE_S)
            (summary,) = await in_thread(control.list_rounds)
            assert summary.state.name == "FAILED"


async def test_a_server_that_has_waited_long_enough_ends_the_round(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with ControlClient(s.server.control_address, retry=QUICK) as control:
            opened = await in_thread(SidecarRound, control, make_config(3), few(3), patience_s=3600.0)
            with pytest.raises(RoundAborted, match="did not come"):
                await in_thread(opened.result, 0.0)
            with pytest.raises(RoundAborted):
                await in_thread(opened.result, PATIENCE_S)
            (summary,) = await in_thread(control.list_rounds)
            assert summary.state.name == "FAILED"


async def test_a_round_that_a_restart_has_forgotten_is_no_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as s:
        control, watched = ControlClient(s.server.control_address, retry=QUICK), threading.Event()
        watch = control.watch

        def watching(*of: Any, **until: Any) -> Iterator[Any]:
            for event in watch(*of, **until):
                watched.set()
                yield event

        monkeypatch.setattr(control, "watch", watching)
        opened = await in_thread(SidecarRound, control, make_config(3), few(3), patience_s=3600.0)
        address = s.server.control_address
        assert await in_thread(watched.wait, PATIENCE_S)  # it hears of the end
    with pytest.raises(RoundAborted, match="shutting down"):
        await in_thread(opened.result, PATIENCE_S)
    async with stage(tmp_path) as again:
        assert again.server.control_address == address
        await in_thread(opened.lost, "node-0", "its app raised an error")  # nobody knows the round: no error
        with pytest.raises(UnknownRoundError):
            await in_thread(control.result, opened.round_id)
        await in_thread(control.close)


@pytest.mark.parametrize(("patience_s", "join_s"), [(float("inf"), 604_800.0), (-1.0, 0.001), (90.0, 90.0)])
def test_patience_is_a_time_limit_that_a_round_may_have(patience_s: float, join_s: float) -> None:
    made = joining_within(Deadlines(advertise_keys_s=60.0), patience_s, on_ring=False)
    assert (made.join_s, made.advertise_keys_s) == (join_s, max(60.0, join_s))
    made = joining_within(Deadlines(advertise_keys_s=60.0), patience_s, on_ring=True)
    assert (made.join_s, made.advertise_keys_s) == (join_s, min(max(60.0, join_s), 600.0))


def test_a_round_on_a_ring_waits_long_for_the_first_client_and_ten_minutes_for_the_others() -> None:
    class Control:
        def __init__(self) -> None:
            self.opened: list[RoundConfig] = []

        def open_round(self, config: RoundConfig) -> RoundId:
            self.opened.append(config)
            return RoundId(bytes(16))

        def expect(self, *_: object) -> None:
            pass

        def result(self, _: RoundId) -> None:
            raise UnknownRoundError("over")

    control = Control()
    config = replace(make_config(400), graph="auto", max_colluding=4, deadlines=Deadlines())
    assert config.ring is not None
    over = threading.Event()
    SidecarRound(control, config, {}, patience_s=3600.0, when_over=over.set)  # type: ignore[arg-type]
    assert over.wait(10.0)
    (opened,) = control.opened
    assert (opened.ring, opened.deadlines.join_s, opened.deadlines.advertise_keys_s) == (config.ring, 3600.0, 600.0)


def vars_of(deadlines: Deadlines) -> dict[str, float]:
    return {name: getattr(deadlines, name) for name in Deadlines.__slots__}
