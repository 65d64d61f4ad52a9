"""An ingress worker as a whole: a port for participants, and a connection to the head, as long as a `with` block lasts.

It has no rounds, no store and no control plane. It needs the coordinator's certificate, key and CA, which also show the
head who it is.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog

from secagg.context import RoundId
from secagg.crypto.prg import Words
from secagg.errors import RemoteError, SecAggError, StoreError
from secagg.masked.ranges import MaskRange
from secagg.rounds.doors import DOOR_SIZE, Door
from secagg.transport.addresses import TcpAddress, parse_tcp
from secagg.wire.calls import DATA_PLANE
from secagg.wire.parsing import parse
from secagg.wire.v1 import link_pb2 as pb
from secagg_server.calls import health
from secagg_server.calls.handlers import Plane, ServiceHandler
from secagg_server.calls.health import Health
from secagg_server.calls.tasks import ended, started
from secagg_server.certificates.callers import Callers
from secagg_server.certificates.files import Loaded, load
from secagg_server.certificates.renewal import Renewal
from secagg_server.ingress.attendance import unpack_members
from secagg_server.ingress.head import Head, only
from secagg_server.ingress.life import Life
from secagg_server.ingress.worker_plane import WorkerPlane
from secagg_server.limits import open_files
from secagg_server.limits.call_limiter import LAST_RESORT, CallLimiter
from secagg_server.limits.capacity import Capacity
from secagg_server.network.listening import listen_tcp
from secagg_server.network.options import OPTIONS
from secagg_server.network.proxy import ConnectionProxy
from secagg_server.observability.http import MAX_CONNECTIONS, Answer, StatusPort
from secagg_server.observability.logs import LogListener
from secagg_server.observability.metric_table import OF_WORKERS
from secagg_server.observability.metrics import Metrics
from secagg_server.observability.observer import Observer
from secagg_server.observability.state import State
from secagg_server.observability.status import alive
from secagg_server.rounds.hosted import Clock
from secagg_server.rounds.suspension import Suspended
from secagg_server.settings import Settings

PART_BYTES: Final = 1 << 20
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 5.0


class Worker:
    """The worker's side of the link: it attends the head, in one life after another, and does what is asked of it.

    Attributes:
        life: the present one; None while the head is not there.
    """

    def __init__(self, head: Head, listens: str, capacity: Capacity) -> None:
        """Args:
        head: whom it attends.
        listens: HOST:PORT for participants, for the head's log.
        capacity: memory and disk for the vectors of rounds.
        """
        self.life: Life | None = None
        self._head = head
        self._listens = listens
        self._capacity = capacity
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    def ready(self, _: str) -> Answer:
        """Of the status port: 200 while the head knows this worker, and participants can use it."""
        return Answer(b"the coordinator is not there\n", status=503) if self.life is None else Answer(b"serving\n")

    async def run(self) -> None:
        """Attend for ever.

        Raises:
            AuthenticationError: the head does not know our key.
        """
        delay_s = FIRST_DELAY_S
        while True:
            try:
                await self._live(Door(os.urandom(DOOR_SIZE)))
                delay_s = FIRST_DELAY_S
            except Suspended:
                delay_s = min(2 * delay_s, LONGEST_DELAY_S)
            await asyncio.sleep(delay_s)

    async def _live(self, door: Door) -> None:
        life = Life(door, self._capacity)
        request = pb.AttendRequest(door=door, listens=self._listens).SerializeToString()
        try:
            async with aclosing(self._head.call("Attend", [request])) as orders:
                async for raw in orders:
                    if self.life is None:
                        self.life = life
                        self._log.info("head_attended", door=door.hex())
                    self._obey(life, parse(pb.Order, raw))
        finally:
            if self.life is life:
                self._log.warning("head_lost", door=door.hex())
            self.life = None
            life.end()

    def _obey(self, life: Life, order: pb.Order) -> None:
        match order.WhichOneof("order"):
            case "give":
                self._start(self._give(life, order))
            case "piece":
                self._start(self._make(life, order))
            case "forget":
                life.forget(RoundId(order.forget))
            case _:
                pass  # it says that we are there

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = started(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give(self, life: Life, order: pb.Order) -> None:
        here = life.find(RoundId(order.give.round_id))
        try:
            if here is None:
                raise StoreError("nothing of this round is here")
            words = await here.give(unpack_members(order.give.members))
        except (RemoteError, StoreError, OSError) as error:
            failure = pb.HandPart(door=life.door, number=order.number, failure=str(error))
            await self._hand(life, iter([failure]))
            return
        await self._hand(life, _parts(life, order.number, order.give.members, words))

    async def _make(self, life: Life, order: pb.Order) -> None:
        try:
            words = await asyncio.to_thread(MaskRange.decode(order.piece).sum)
        except SecAggError as error:  # as without what makes the masks of the round's suite
            failure = pb.HandPart(door=life.door, number=order.number, failure=str(error))
            await self._hand(life, iter([failure]))
            return
        await self._hand(life, _parts(life, order.number, b"", words))

    async def _hand(self, life: Life, parts: Iterator[pb.HandPart]) -> None:
        """Hand in what was asked for. If it does not arrive, the head counts this door as lost, and ends its life."""
        if not life.over:
            with suppress(SecAggError, Suspended):
                await only(pb.HandReply, self._head.call("Hand", (part.SerializeToString() for part in parts)))


def _parts(life: Life, number: int, members: bytes, words: Words) -> Iterator[pb.HandPart]:
    """A sum in parts, of which the first names whose it is."""
    step = PART_BYTES // words.dtype.itemsize
    for start in range(0, len(words), step):
        piece = words[start : start + step].astype(words.dtype.newbyteorder("<"), copy=False).tobytes()
        yield pb.HandPart(door=life.door, number=number, members=b"" if start else members, words=piece)


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """A worker that takes calls, and where.

    Attributes:
        data_address: HOST:PORT for participants, with the port that it got.
        worker: its side of the link.
        status_address: HOST:PORT of its status port, with the port that it got; None without one.
        ended: waits until the worker cannot go on, and raises why.
    """

    data_address: str
    status_address: str | None
    worker: Worker
    ended: "asyncio.Task[None]"


@asynccontextmanager
async def running_worker(
    settings: Settings, head: str, *, capacity: Capacity, clock: Clock = time.time
) -> AsyncIterator[RunningWorker]:
    """Serve participants for the coordinator whose link is at `head` until the block ends.

    Args:
        settings: of the coordinator; `ingress_listen` is where to listen, and `ingress_status` where metrics are.
        head: HOST:PORT of the link.
        capacity: memory and disk for the vectors of rounds.
        clock: seconds since 1970.

    Raises:
        ConfigError: the address is not allowed, or taken; or too few files may be opened.
        IdentityError: certificates or keys do not fit.
    """
    loaded = load(settings, clock())

    async def renewed(fresh: Loaded) -> None:
        for participant in await asyncio.to_thread(callers.trust(fresh.trust, fresh.denied)):
            proxy.shut_out(participant)

    renewal = Renewal(settings, loaded, clock, renewed)
    callers = Callers(loaded.trust, loaded.denied, clock)
    limiter = CallLimiter(settings.max_calls_per_participant, settings.max_calls)
    connections = open_files.places(0 if settings.ingress_status is None else MAX_CONNECTIONS)
    state = State(
        ready=lambda: worker.life is not None,
        max_open_rounds=settings.max_open_rounds,
        max_calls=settings.max_calls,
        max_connections=connections,
        max_gateway_connections=0,
        connections=lambda: proxy.connections,
        gateway_connections=lambda: (0, 0),
        calls={"data": lambda: limiter.under_way},
        expiries=lambda: renewal.loaded.expiries,
        spent=list,
        faults=lambda: [*filter(None, [renewal.fault])],
    )
    metrics = Metrics(state, shown=OF_WORKERS)
    observer = Observer(LogListener(), metrics)
    proxy = ConnectionProxy(
        parse_tcp(settings.ingress_listen),
        places=connections,
        most_of_one=settings.max_connections_per_participant,
        observer=observer,
    )
    link = Head(head, loaded)
    worker = Worker(link, str(proxy.listens), capacity)
    data = _data_server(
        settings, WorkerPlane(link, lambda: worker.life), callers, proxy, limiter=limiter, observer=observer
    )
    status = None if settings.ingress_status is None else StatusPort(parse_tcp(settings.ingress_status))
    behind = listen_tcp(
        TcpAddress("127.0.0.1", 0), lambda at: data.add_secure_port(at, renewal.credentials()), "listen"
    )
    await data.start()
    proxy.start(behind.port)
    renewing, attending = started(renewal.run()), started(worker.run())
    if status is not None:
        status.start({"/metrics": metrics.answer, "/healthz": alive, "/readyz": worker.ready})
    try:
        yield RunningWorker(str(proxy.listens), None if status is None else str(status.listens), worker, attending)
    finally:
        if status is not None:
            status.stop()
        await ended(renewing, attending)
        proxy.stop()
        await data.stop(settings.shutdown_grace_s)
        await link.close()


def _data_server(
    settings: Settings,
    calls: WorkerPlane,
    callers: Callers,
    proxy: ConnectionProxy,
    *,
    limiter: CallLimiter,
    observer: Observer,
) -> grpc.aio.Server:
    server = grpc.aio.server(
        options=(*OPTIONS, ("grpc.max_concurrent_streams", max(64, 2 * settings.max_open_rounds))),
        maximum_concurrent_rpcs=LAST_RESORT * settings.max_calls,
    )
    plane = Plane(
        name="data",
        who=lambda context: callers.of(context)[0].participant,
        limiter=limiter,
        peers=proxy,
        observer=observer,
        read_timeout_s=settings.read_timeout_s,
        write_timeout_s=settings.write_timeout_s,
    )
    for service, answers in ((DATA_PLANE, calls.answers), (health.SERVICE, Health(DATA_PLANE).answers)):
        server.add_generic_rpc_handlers((ServiceHandler(service, answers, plane),))
    return server
