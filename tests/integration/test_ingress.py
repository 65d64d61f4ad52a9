"""Ingress workers in this process, each with a port and a link of its own, and what is lost with one."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from secagg_server.ingress.credentials import CALLER, LINK, LinkGuard
from secagg_server.ingress.head import only
from secagg_server.ingress.link_calls import SERVICE
from secagg_server.ingress.worker import RunningWorker, running_worker
from secagg_server.observability import metrics
from secagg_server.observability.metric_table import OF_WORKERS
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.opening import RoundOpener

from secagg.config import RoundConfig
from secagg.crypto.prg import Words
from secagg.errors import AuthenticationError, NotInRoundError, RoundAborted, UnknownRoundError
from secagg.masked.ranges import MaskRange
from secagg.masked.vector import MaskedVector
from secagg.messages import CoordinatorMessage, Phase
from secagg.rounds.doors import Door
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.v1 import link_pb2 as pb
from tests import stubs
from tests.scraping import ask, scrape
from tests.serving import (
    NAMES,
    ROOMY,
    Player,
    Stage,
    channel,
    failure_of,
    make_config,
    make_settings,
    phase_of,
    site,
    stage,
)

SIZE = 400_000
"""More than one chunk."""


@dataclass
class Crew:
    """A coordinator with workers, and participants of which each is connected to one."""

    stage: Stage
    folder: Path
    workers: list[RunningWorker] = field(default_factory=list)
    stacks: list[AsyncExitStack] = field(default_factory=list)
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    async def hire(self, **changes: Any) -> RunningWorker:
        """Another worker."""
        settings = make_settings(self.folder, **changes)
        stack = AsyncExitStack()
        assert self.stage.server.link_address
        worker = await stack.enter_async_context(
            running_worker(settings, self.stage.server.link_address, capacity=ROOMY)
        )
        self.workers.append(worker)
        self.stacks.append(stack)
        while worker.worker.life is None:
            await asyncio.sleep(0.01)
        return worker

    async def lose(self, number: int) -> None:
        """End a worker at once, with all of its connections."""
        await self.stacks[number].aclose()

    def lead(self, player: Player, number: int) -> None:
        """Let the participant connect to this worker from now on."""
        made = channel(self.workers[number].data_address, site().people[player.name])
        self.channels.append(made)
        player.stub = stubs.data_plane(made)

    async def open(self, config: RoundConfig) -> list[Player]:
        round_id = await self.stage.director.open(config)
        people = self.stage.some(config.max_participants)
        for number, player in enumerate(people):
            self.lead(player, number % len(self.workers))
        await asyncio.gather(*(p.join(round_id) for p in people))
        return people

    async def upload_at(self, number: int, *people: Player) -> list["asyncio.Task[None]"]:
        """These bring their inputs to a worker, and wait there."""
        for player in people:
            self.lead(player, number)
        tasks = [asyncio.create_task(player.say()) for player in people]
        hosted = self.stage.server.rounds.find(people[0].round.round_id)
        while not all(hosted.delivered(player.name, Phase.MASKED_INPUT) for player in people):
            await asyncio.sleep(0.01)
        return tasks


@asynccontextmanager
async def crew(folder: Path, workers: int = 2, **changes: Any) -> AsyncIterator[Crew]:
    async with stage(folder, link="127.0.0.1:0", **changes) as on_stage:
        made = Crew(on_stage, folder)
        for _ in range(workers):
            await made.hire(shutdown_grace_s=0.1)
        try:
            yield made
        finally:
            for one in made.channels:
                await one.close()
            for stack in made.stacks:
                await stack.aclose()


async def check_sum(crew: Crew, people: list[Player], survivors: list[Player]) -> None:
    config = people[0].round.config
    aggregate = await crew.stage.director.aggregate(people[0].round.round_id, config)
    assert list(aggregate.survivors) == [p.name for p in survivors]
    values = [p.vector.read(0, config.vector_len, config.ring_dtype) for p in survivors]
    ring = np.asarray((1 << config.ring_bits) - 1, config.ring_dtype)
    np.testing.assert_array_equal(aggregate.sums, np.sum(values, axis=0, dtype=config.ring_dtype) & ring)


async def up_to(phase: Phase, people: list[Player]) -> None:
    """Everybody sends all that comes before this phase."""
    while phase_of(people[0].next) is not phase:
        await asyncio.gather(*(p.say() for p in people))


async def test_participants_at_two_workers_and_at_the_head_get_one_sum(tmp_path: Path) -> None:
    async with crew(tmp_path) as two:
        people = await two.open(make_config(5, size=SIZE))
        last = people[4]
        at_head = channel(two.stage.server.data_address, site().people[last.name])
        two.channels.append(at_head)
        last.stub = stubs.data_plane(at_head)
        await asyncio.gather(*(p.play() for p in people))
        await check_sum(two, people, people)
        assert len({p.receipt.SerializeToString() for p in people if p.receipt is not None}) == 1
        assert list((await people[0].aggregate()).survivors) == [p.name for p in people]


@pytest.mark.parametrize(
    "phase", [Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK, Phase.UNMASK], ids=str
)
async def test_a_worker_that_is_lost_before_a_phase_costs_nothing(tmp_path: Path, phase: Phase) -> None:
    async with crew(tmp_path) as two:
        people = await two.open(make_config(5))
        await up_to(phase, people)
        await two.lose(0)
        for player in people:
            two.lead(player, 1)
        await asyncio.gather(*(p.play() for p in people))
        await check_sum(two, people, people)


async def test_inputs_of_a_lost_worker_come_again_at_another_one(tmp_path: Path) -> None:
    async with crew(tmp_path) as two:
        people = await two.open(make_config(5, size=SIZE))
        await up_to(Phase.MASKED_INPUT, people)
        lost = await two.upload_at(0, *people[:2])
        await two.lose(0)
        for error in await asyncio.gather(*lost, return_exceptions=True):
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        for player in people:
            two.lead(player, 1)
        assert await people[0].progress() == 0
        await asyncio.gather(*(p.play() for p in people))
        await check_sum(two, people, people)


async def test_inputs_of_a_lost_worker_that_do_not_come_again_are_not_in_the_sum(tmp_path: Path) -> None:
    async with crew(tmp_path) as two:
        people = await two.open(make_config(5, deadlines={"masked_input_s": 4.0}, threshold=3))
        await up_to(Phase.MASKED_INPUT, people)
        lost = await two.upload_at(0, people[0])
        await two.lose(0)
        await asyncio.gather(*lost, return_exceptions=True)
        others = people[1:]
        for player in others:
            two.lead(player, 1)
        await asyncio.gather(*(p.play() for p in others))
        await check_sum(two, people, others)


async def test_a_worker_goes_on_in_another_life_when_its_link_breaks(tmp_path: Path) -> None:
    async with crew(tmp_path, 1) as one:
        people = await one.open(make_config(5))
        await up_to(Phase.MASKED_INPUT, people)
        waiting = await one.upload_at(0, people[0])
        worker = one.workers[0].worker
        before = worker.life
        assert before is not None
        doors = one.stage.server.rounds.opener._doors
        doors.lose(before.door)  # type: ignore[attr-defined]
        with pytest.raises(grpc.aio.AioRpcError) as broken:
            await waiting[0]
        assert broken.value.code() is grpc.StatusCode.UNAVAILABLE
        while worker.life is None or worker.life is before:
            await asyncio.sleep(0.01)
        assert await people[0].progress() == 0  # the sum of the life before counts for nobody
        await asyncio.gather(*(p.play() for p in people))
        await check_sum(one, people, people)


async def test_an_upload_goes_on_at_its_worker(tmp_path: Path) -> None:
    async with crew(tmp_path, 1) as one:
        people = await one.open(make_config(5, size=SIZE))
        await up_to(Phase.MASKED_INPUT, people)
        first = people[0]
        assert isinstance(first.next, MaskedVector)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await first.upload([first.next.chunk(0)])
        assert "InputProgress" in str(failure_of(refused.value))
        assert await first.progress() == 1
        sent = asyncio.create_task(first.upload([first.next.chunk(1)]))
        await asyncio.gather(*(p.play() for p in people[1:]), _go_on(first, sent))
        await check_sum(one, people, people)


async def _go_on(player: Player, sent: "asyncio.Task[CoordinatorMessage]") -> None:
    player.next = player.participant.receive(await sent, time.time())
    await player.play()


async def test_chunks_that_follow_others_which_are_elsewhere_are_to_be_sent_again(tmp_path: Path) -> None:
    async with crew(tmp_path) as two:
        people = await two.open(make_config(5, size=SIZE))
        await up_to(Phase.MASKED_INPUT, people)
        first = people[0]
        assert isinstance(first.next, MaskedVector)
        with pytest.raises(grpc.aio.AioRpcError):
            await first.upload([first.next.chunk(0)])
        two.lead(first, 1)
        with pytest.raises(grpc.aio.AioRpcError) as elsewhere:
            await first.upload([first.next.chunk(1)])
        assert elsewhere.value.code() is grpc.StatusCode.UNAVAILABLE  # a client asks where to go on


async def test_unmasking_is_done_by_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = MaskRange.sum

    def counted(piece: MaskRange) -> Words:
        made.append(threading.current_thread().name)
        return real(piece)

    monkeypatch.setattr(MaskRange, "sum", counted)
    async with crew(tmp_path) as two:
        people = await two.open(make_config(5))
        await asyncio.gather(*(p.play() for p in people))
        await check_sum(two, people, people)
    assert made
    assert not any(name.startswith("unmask") for name in made)


async def test_errors_of_the_head_come_through_as_they_are(tmp_path: Path) -> None:
    async with crew(tmp_path, 1) as one:
        people = await one.open(make_config(5))
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await people[0].find(round_id=bytes(16))
        assert isinstance(failure_of(unknown.value), UnknownRoundError)


async def test_an_answer_comes_through_before_the_participant_ends_its_requests(tmp_path: Path) -> None:
    async with crew(tmp_path, 1) as one:
        made = channel(one.workers[0].data_address, site().people[NAMES[0]])
        one.channels.append(made)
        answered = asyncio.Event()

        async def requests() -> AsyncIterator[bytes]:
            yield b""
            await answered.wait()

        describe: Any = made.stream_stream("/secagg.wire.v1.DataPlane/Describe")
        call = describe(requests())
        assert await call.read()
        assert await call.code() is grpc.StatusCode.OK
        answered.set()


# --- what is shown of them --------------------------------------------------------------------------------------------


async def test_a_worker_shows_its_own_metrics_and_the_head_how_many_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "FRESH_S", 0.0)
    async with crew(tmp_path, 1, status="127.0.0.1:0") as made:
        second = await made.hire(ingress_status="127.0.0.1:0", shutdown_grace_s=0.1)
        at_worker, head = second.status_address, made.stage.server
        assert at_worker is not None
        people = await made.open(make_config(5))
        await asyncio.gather(*(p.play() for p in people))
        found, of_head = await scrape(second), await scrape(head)
        assert {name for name, *_ in found} <= {*OF_WORKERS, "secagg_build_info"}
        sent = "method=SendInput", "outcome=ANSWERED", "plane=data"
        assert found["secagg_calls_total", *sent] == 2  # the second and the fourth
        assert found["secagg_connections", "state=speaking"] == 2
        assert found["secagg_ready",] == 1
        assert found["secagg_max_calls",] == of_head["secagg_max_calls",]
        assert found["secagg_certificate_expiry_timestamp_seconds", "certificate=ca"] > time.time()
        assert found["process_resident_memory_bytes",] > 0
        assert of_head["secagg_ingress_workers",] == 2
        second.worker.life, life = None, second.worker.life
        assert (await ask(at_worker, "/readyz"))[0] == 503
        assert (await scrape(second))["secagg_ready",] == 0
        second.worker.life = life
        assert (await ask(at_worker, "/readyz"))[0] == 200
        assert (await ask(at_worker, "/healthz"))[0] == 200
        await made.lose(0)
        while (await scrape(head))["secagg_ingress_workers",] != 1:
            await asyncio.sleep(0.01)


async def test_a_worker_has_no_status_port_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with crew(tmp_path, 1) as one:
        assert one.workers[0].status_address is None


# --- who is let in ----------------------------------------------------------------------------------------------------


async def call_link(two: Crew, metadata: Any) -> bytes:
    assert two.stage.server.link_address
    async with grpc.aio.secure_channel(
        two.stage.server.link_address, grpc.ssl_channel_credentials(site().ca_pem)
    ) as link:
        request = pb.AttendRequest(door=b"d" * 16).SerializeToString()
        attend: Any = link.stream_stream(f"/{SERVICE}/Attend")
        async for part in attend(iter([request]), metadata=metadata):
            return bytes(part)
    raise AssertionError


@pytest.mark.parametrize("metadata", [(), ((LINK, bytes(32)),)], ids=["nothing", "another-secret"])
async def test_nobody_without_the_key_attends(tmp_path: Path, metadata: Any) -> None:
    async with crew(tmp_path, 0) as none:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call_link(none, metadata)
        assert isinstance(failure_of(refused.value), AuthenticationError)


async def test_without_the_check_anybody_is_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, LinkGuard, "check", "link-token")
    async with crew(tmp_path, 0) as none:
        assert await call_link(none, ()) == b""


async def test_a_worker_cannot_speak_for_somebody_without_a_certificate(tmp_path: Path) -> None:
    async with crew(tmp_path, 1) as one:
        stranger = site().strangers[NAMES[0]].certificate_pem
        link = one.workers[0].worker._head
        metadata = (*link._own, (CALLER, stranger))
        with pytest.raises(AuthenticationError):
            await only(pb.HoldReply, link.call("Hold", [pb.HoldRequest().SerializeToString()], metadata))


# --- the head is started again ----------------------------------------------------------------------------------------


async def test_inputs_that_workers_held_come_again_after_a_restart_of_the_head(tmp_path: Path) -> None:
    (state := tmp_path / "state").mkdir(mode=0o700)
    async with crew(tmp_path, 1, state_dir=state) as before:
        people = await before.open(make_config(5))
        await up_to(Phase.MASKED_INPUT, people)
        waiting = await before.upload_at(0, *people[:3])
    await asyncio.gather(*waiting, return_exceptions=True)
    async with crew(tmp_path, 1, state_dir=state) as after:
        for player in people:
            after.lead(player, 0)
        assert await people[0].progress() == 0
        await asyncio.gather(*(p.play() for p in people))
        await check_sum(after, people, people)


async def test_a_round_whose_partial_sums_ended_with_the_head_is_lost_by_name(tmp_path: Path) -> None:
    (state := tmp_path / "state").mkdir(mode=0o700)
    async with crew(tmp_path, 1, state_dir=state) as before:
        people = await before.open(make_config(5))
        await up_to(Phase.CONSISTENCY_CHECK, people)
    async with crew(tmp_path, 1, state_dir=state) as after:
        after.lead(people[0], 0)
        with pytest.raises(grpc.aio.AioRpcError) as lost:
            await people[0].say()
        failure = failure_of(lost.value)
        assert isinstance(failure, RoundAborted)
        assert "ingress workers" in str(failure)


async def test_without_the_check_survivors_would_change_that_participants_were_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The phase of inputs is open again, after everybody was told who survived."""
    without_check(monkeypatch, RoundOpener, "again", "sums-of-another-life")
    (state := tmp_path / "state").mkdir(mode=0o700)
    async with crew(tmp_path, 1, state_dir=state) as before:
        people = await before.open(make_config(5))
        await up_to(Phase.CONSISTENCY_CHECK, people)
    async with crew(tmp_path, 1, state_dir=state) as after:
        assert after.stage.server.rounds.find(people[0].round.round_id).phase is Phase.MASKED_INPUT


async def test_a_lost_door_confirms_nothing(tmp_path: Path) -> None:
    async with crew(tmp_path, 1) as one:
        people = await one.open(make_config(5))
        await up_to(Phase.MASKED_INPUT, people)
        hosted = one.stage.server.rounds.find(people[0].round.round_id)
        _, claim, _ = await hosted.terms_at_door(people[0].name)
        with pytest.raises(NotInRoundError, match="lost"):
            await hosted.hold(people[0].name, claim, Door(b"x" * 16))


async def test_without_the_check_a_lost_door_confirms_what_nobody_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_check(monkeypatch, HostedRound, "_hold", "attending-door")
    async with crew(tmp_path, 1) as one:
        people = await one.open(make_config(5))
        await up_to(Phase.MASKED_INPUT, people)
        hosted = one.stage.server.rounds.find(people[0].round.round_id)
        _, claim, _ = await hosted.terms_at_door(people[0].name)
        await hosted.hold(people[0].name, claim, Door(b"x" * 16))
        assert hosted.delivered(people[0].name, Phase.MASKED_INPUT)  # and nothing will ever say that it is lost
