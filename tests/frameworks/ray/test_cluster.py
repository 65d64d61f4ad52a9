"""A round on a Ray cluster of several nodes, all on this machine, while workers and nodes are killed: the exact sum."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import ray as the_ray
from ray.cluster_utils import Cluster
from secagg_server.app import running_server
from secagg_server.placing import RESOURCE, joined, placed
from secagg_server.settings import Settings

from secagg.errors import ConfigError
from secagg.masked.vector import MaskedVector
from secagg.messages import CoordinatorMessage, Phase
from tests import stubs
from tests.frameworks.ray.settings import NOTICED_SOON
from tests.serving import Director, Player, channel, make_config, make_settings, phase_of, site

PEOPLE = 5
WORKERS = 2
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN}
LIMIT_S = 300.0


@dataclass
class Machines:
    """A cluster whose head node takes no participants, and one node for each ingress worker."""

    cluster: Cluster
    nodes: list[Any] = field(default_factory=list)

    def add(self) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=1, resources={RESOURCE: 1}))

    def kill(self, actor: Any) -> None:
        """The node on which the actor runs."""
        at = the_ray._private.state.actors(actor._actor_id.hex())["Address"]["NodeID"]
        (node,) = [each for each in self.nodes if each.node_id == at]
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    given = {"num_cpus": 1, "include_dashboard": False, "_system_config": NOTICED_SOON}
    cluster = Cluster(initialize_head=True, head_node_args=given)
    made = Machines(cluster)
    for _ in range(WORKERS):
        made.add()
    yield made
    cluster.shutdown()


@dataclass
class Site:
    """A coordinator on the cluster, and participants that go to whatever worker is there."""

    server: Any
    director: Director
    actors: list[Any]
    people: list[Player] = field(default_factory=list)
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    async def doors(self) -> list[str]:
        """Where workers listen now."""
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            found = []
            for actor in self.actors:
                with suppress(the_ray.exceptions.RayError):
                    found.append(await asyncio.to_thread(the_ray.get, actor.listens.remote(), timeout=2.0))
            if found:
                return found
        raise AssertionError("no worker is there")

    async def lead(self, player: Player) -> None:
        """To a worker that is there: to each another one, as a load balancer would."""
        doors = await self.doors()
        number = list(site().people).index(player.name)
        made = channel(doors[number % len(doors)], site().people[player.name])
        self.channels.append(made)
        player.stub = stubs.data_plane(made)

    async def persist(self, player: Player, work: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call, and make it again at another worker as long as none is there that answers."""
        until = time.monotonic() + LIMIT_S
        while True:
            try:
                return await work()
            except grpc.aio.AioRpcError as error:
                if error.code() not in AWAY or time.monotonic() > until:
                    raise
            await asyncio.sleep(0.2)
            await self.lead(player)

    async def say(self, player: Player) -> None:
        """One phase."""
        sent = player.next

        async def upload() -> CoordinatorMessage:
            assert isinstance(sent, MaskedVector)
            begun = await player.progress()
            return await player.upload(sent.chunk(number) for number in range(begun, sent.chunks))

        send = upload if isinstance(sent, MaskedVector) else lambda: player.send(sent)
        answer = await self.persist(player, send)
        if answer is not None:
            player.next = player.participant.receive(answer, time.time())

    async def play(self, player: Player, *, before: Phase | None = None) -> None:
        """Everything to the receipt, or up to a phase."""
        while player.receipt is None and (before is None or phase_of(player.next) is not before):
            await self.say(player)


@asynccontextmanager
async def on_ray(ray: Any, settings: Settings) -> AsyncIterator[Site]:
    async with running_server(settings) as server, placed(ray, settings, server.link_address or "") as actors:
        control = grpc.aio.insecure_channel(server.control_address)
        made = Site(server, Director(stubs.control_plane(control)), actors)
        try:
            yield made
        finally:
            for one in (*made.channels, control):
                await one.close()


def settings_for(folder: Path, machines: Machines, **changes: Any) -> Settings:
    given = {"engine": "ray", "ray_address": machines.cluster.address, "ingress_workers": WORKERS}
    return make_settings(folder, **{**given, "link": "127.0.0.1:0", "log_level": "warning", **changes})


async def begin(on: Site) -> None:
    config = make_config(PEOPLE, deadline_s=LIMIT_S)
    round_id = await on.director.open(config)
    on.people = [Player(name, None, 0.1 * (i + 1)) for i, name in enumerate(list(site().people)[:PEOPLE])]
    for player in on.people:
        await on.lead(player)
        await on.persist(player, partial(player.join, round_id))


async def check(on: Site) -> None:
    config = on.people[0].round.config
    aggregate = await on.director.aggregate(on.people[0].round.round_id, config)
    assert list(aggregate.survivors) == [player.name for player in on.people]
    values = [player.vector.read(0, config.vector_len, config.ring_dtype) for player in on.people]
    ring = np.asarray((1 << config.ring_bits) - 1, config.ring_dtype)
    np.testing.assert_array_equal(aggregate.sums, np.sum(values, axis=0, dtype=config.ring_dtype) & ring)


def kill_worker(on: Site, machines: Machines) -> None:
    the_ray.kill(on.actors[0], no_restart=False)


def kill_node(on: Site, machines: Machines) -> None:
    """That of a worker. Another one is there by now, to which Ray takes the worker."""
    machines.kill(on.actors[0])


KILLS = {"worker": kill_worker, "node": kill_node}
PHASES = [Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK, Phase.UNMASK]


async def killed_in_each_phase(folder: Path, machines: Machines, kill: Callable[[Site, Machines], None]) -> None:
    settings = settings_for(folder, machines)
    with joined(settings) as ray:
        async with on_ray(ray, settings) as on:
            for phase in PHASES:
                if kill is kill_node:
                    machines.add()  # which sets signal handlers: not in a thread
                await begin(on)
                first, *others = on.people
                await asyncio.gather(*(on.play(player, before=phase) for player in on.people))
                waiting = [asyncio.create_task(on.say(player)) for player in others]
                hosted = on.server.rounds.find(first.round.round_id)
                while not all(hosted.delivered(player.name, phase) for player in others):
                    await asyncio.sleep(0.02)
                await asyncio.to_thread(kill, on, machines)  # when all but one have delivered
                await asyncio.gather(*waiting, on.say(first))
                await asyncio.gather(*(on.play(player) for player in on.people))
                await check(on)
        while sum(node["Alive"] for node in ray.nodes()) > 1 + len(machines.nodes):
            await asyncio.sleep(0.1)  # else the next test could join at a node that is not there


@pytest.mark.parametrize("what", KILLS)
async def test_the_sum_is_exact_whatever_is_killed_in_whatever_phase(
    tmp_path: Path, machines: Machines, what: str
) -> None:
    await killed_in_each_phase(tmp_path, machines, KILLS[what])


async def test_a_cluster_has_one_head(tmp_path: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg_server.placing._TAKEN_S", 0.0)
    settings = settings_for(tmp_path, machines)
    with joined(settings) as ray:
        async with placed(ray, settings, "127.0.0.1:1"):
            with pytest.raises(ConfigError, match="another coordinator"):
                async with placed(ray, settings, "127.0.0.1:2"):
                    pass


def test_a_cluster_without_room_is_refused(tmp_path: Path, machines: Machines) -> None:
    settings = settings_for(tmp_path, machines, ingress_workers=100)
    with pytest.raises(ConfigError, match="--resources"), joined(settings):
        pass
