"""The coordinator as a whole: both planes, running for as long as a `with` block."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import grpc
import structlog
from grpc_reflection.v1alpha import reflection

from secagg.crypto.identity import CoordinatorIdentity
from secagg.crypto.rng import SystemRng
from secagg.privacy.accountant import check_installed
from secagg.programs.audit.log import AuditLog
from secagg.programs.disk import REAL_DISK
from secagg.programs.ledgers.files import LedgerFolder, locked
from secagg.transport.addresses import TcpAddress, parse_tcp
from secagg.wire.calls import CONTROL_PLANE, DATA_PLANE
from secagg_server.audit.coordinator import CoordinatorAudit
from secagg_server.calls import health
from secagg_server.calls.control_plane import ControlPlane
from secagg_server.calls.data_plane import DataPlane
from secagg_server.calls.handlers import Plane, ServiceHandler
from secagg_server.calls.health import Health
from secagg_server.certificates.callers import Callers
from secagg_server.certificates.files import Loaded, load
from secagg_server.certificates.renewal import Renewal
from secagg_server.gateway.serving import Gateway
from secagg_server.ingress.attendance import Doors
from secagg_server.ingress.link_server import link_server
from secagg_server.ingress.unmasking import SpreadOut
from secagg_server.limits import open_files
from secagg_server.limits.call_limiter import LAST_RESORT, MAX_CONTROL_BYTES, MAX_CONTROL_CALLS, CallLimiter
from secagg_server.limits.capacity import Capacity, free_disk, free_memory
from secagg_server.limits.quota import Quota
from secagg_server.network.listening import control_place, listen_control, listen_tcp
from secagg_server.network.options import OPTIONS
from secagg_server.network.peers import LocalPeers, Peers
from secagg_server.network.proxy import ConnectionProxy
from secagg_server.observability.http import MAX_CONNECTIONS, StatusPort
from secagg_server.observability.logs import LogListener
from secagg_server.observability.metrics import Metrics
from secagg_server.observability.news import tell_news
from secagg_server.observability.observer import Observer
from secagg_server.observability.state import State
from secagg_server.observability.status import SERVING, STOPPING, Readiness, routes
from secagg_server.observability.statuspage.memory import Memory
from secagg_server.observability.statuspage.reading import Reader
from secagg_server.observability.statuspage.serving import StatusPage
from secagg_server.observability.traces import traces
from secagg_server.rounds.hosted import Clock
from secagg_server.rounds.quarantine import Quarantine
from secagg_server.rounds.recovering import check_suites
from secagg_server.rounds.registry import Rounds
from secagg_server.rounds.unmasking import Threads
from secagg_server.settings import Settings
from secagg_server.storage.memory import MemoryStore
from secagg_server.storage.sqlite.folder import StateFolder, check_ledgers, held
from secagg_server.storage.sqlite.store import SqliteStore
from secagg_server.storage.store import Store
from secagg_server.storage.temporary import MEMORY_BYTES

FL_SERVER: Final = "the FL server"
"""The name of the one caller of the control plane, who is whoever reaches its socket."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A coordinator that takes calls, and where.

    Attributes:
        data_address: HOST:PORT of the data plane, with the port that it got.
        control_address: HOST:PORT or unix:PATH of the control plane; grpc takes either as a target.
        status_address: HOST:PORT of the status port, with the port that it got; None without one.
        link_address: HOST:PORT for ingress workers, with the port that it got; None without one.
        gateway: for browsers and phones; None without one.
        connections: how many connections of participants fit under the limit of open files.
        proxy: those connections.
        rounds: what it coordinates.
        renewal: reads certificate, key and CA again.
    """

    data_address: str
    control_address: str
    status_address: str | None
    link_address: str | None
    gateway: Gateway | None
    connections: int
    proxy: ConnectionProxy
    rounds: Rounds
    renewal: Renewal


@asynccontextmanager
async def running_server(  # noqa: PLR0915, all that a coordinator is made of, in order
    settings: Settings, *, store: Store | None = None, clock: Clock = time.time, trial: bool = False
) -> AsyncIterator[RunningServer]:
    """Go on with the rounds that an earlier process left, and serve until the block ends. Then suspend open rounds, or
    abort them where the store ends with the process; tell whoever waits, and stop.

    Args:
        settings: what the operator chose.
        store: where the settings say if None: in `state_dir`, or in memory.
        clock: seconds since 1970.
        trial: do all that may keep a coordinator from starting, but go on with no round, tell no news and serve nobody.

    Raises:
        ConfigError: an address is not allowed, or taken; or `state_dir` or `ledger_dir` is; or too few files may be
            opened.
        AuditError: the audit log in `state_dir` is damaged.
        IdentityError: certificates or keys do not fit.
        MissingExtraError: there are privacy budgets, and nothing to account for them with; or traces are asked for,
            and nothing to make them with; or a round that is open has masks that nothing here can make. That round
            stays as it was, and goes on when the extra is installed.
        StoreError: what is in `state_dir` is damaged, or of another release.
    """
    check_accounting(settings)
    loaded = load(settings, clock())
    threads = settings.unmask_threads or os.cpu_count() or 1
    others = 0 if settings.status is None else MAX_CONNECTIONS
    gateway_connections = 0 if settings.gateway is None else settings.gateway_connections
    connections = open_files.places(others + gateway_connections)
    limiters = {
        "data": CallLimiter(settings.max_calls_per_participant, settings.max_calls),
        "control": CallLimiter(MAX_CONTROL_CALLS, MAX_CONTROL_CALLS, MAX_CONTROL_BYTES),
    }
    readiness = Readiness()
    state = State(
        ready=lambda: readiness.state == SERVING,
        max_open_rounds=settings.max_open_rounds,
        max_calls=settings.max_calls,
        max_connections=connections,
        connections=lambda: proxy.connections,
        max_gateway_connections=gateway_connections,
        gateway_connections=lambda: (0, 0) if gateway is None else gateway.connections,
        calls={plane: partial(getattr, limiter, "under_way") for plane, limiter in limiters.items()},
        expiries=lambda: renewal.loaded.expiries,
        spent=lambda: rounds.opener.budgets.spent(),  # noqa: PLW0108, there are no rounds yet
        faults=lambda: [*filter(None, [renewal.fault]), *rounds.opener.budgets.damaged()],
        audit_head=lambda: audit.head,
        ingress_workers=lambda: 0 if doors is None else len(doors.there),
    )

    async def renewed(fresh: Loaded) -> None:
        rounds.opener.trust = fresh.trust
        refused = await asyncio.to_thread(callers.trust(fresh.trust, fresh.denied))
        audit.renewed(fresh.identity, fresh.trust, refused)
        for participant in refused:  # before a round is waited for that is in the middle of a long step
            proxy.shut_out(participant)
        if gateway is not None:
            gateway.shut_out(sorted(refused))
        await rounds.expel(refused)

    renewal = Renewal(settings, loaded, clock, renewed)
    metrics, memory = Metrics(state), Memory(clock)
    shown = () if settings.status is None else (metrics, memory)  # without the port nobody reads them
    with (
        traces() as tracing,
        ThreadPoolExecutor(threads, "unmask") as pool,
        control_place(settings) as place,
        _state(settings) as folder,
        _ledgers(settings, clock) as ledgers,
        _store(settings, folder, ledgers) if store is None else nullcontext(store) as keeper,
        _proxy(
            settings,
            connections,
            observer := Observer(
                LogListener(),
                *shown,
                *tracing,
                audit := CoordinatorAudit(_audit_log(folder, lambda: renewal.loaded.identity, clock), clock),
                quarantine := Quarantine(keeper, settings.quarantine_after, audit),
            ),
        ) as proxy,
        _status(settings) as status,
        _gateway(settings, observer) as gateway,
    ):
        callers = Callers(loaded.trust, loaded.denied, clock)
        doors = None if settings.link is None else Doors(lambda round_id: rounds.find(round_id).config)
        rounds = Rounds(
            settings,
            loaded.trust,
            keeper,
            lambda: renewal.loaded.identity,
            workers=Threads(pool, threads) if doors is None else SpreadOut(doors, Threads(pool, threads)),
            clock=clock,
            rng=SystemRng(),
            observer=observer,
            capacity=capacity_of(folder),
            audit=audit,
            quarantine=quarantine,
            quota=Quota(settings.max_per_organisation, audit.people.organisation_of),
            doors=doors,
        )
        data_plane = DataPlane(rounds, callers, keeper, clock)

        checks = Health(DATA_PLANE), Health(CONTROL_PLANE)
        data = _data_server(settings, data_plane, checks[0], peers=proxy, limiter=limiters["data"], observer=observer)
        control = _control_server(
            settings, ControlPlane(rounds, clock), checks[1], limiter=limiters["control"], observer=observer
        )
        link = None
        if doors is not None:
            link = link_server(
                settings, data_plane, rounds, doors=doors, renewal=renewal, limiter=limiters["data"], observer=observer
            )
        behind = listen_tcp(
            TcpAddress("127.0.0.1", 0), lambda at: data.add_secure_port(at, renewal.credentials()), "listen"
        )
        control_address = listen_control(place, control, settings.control_access)
        if status is not None:
            where = {"data plane": proxy.listens, "control plane": control_address, "status port": status.listens}
            picture = Reader(state, memory, rounds, where, clock=clock, why=lambda: readiness.state).picture
            status.start(routes(readiness, metrics.answer, StatusPage(picture).routes))
        running = RunningServer(
            str(proxy.listens),
            str(control_address),
            None if status is None else str(status.listens),
            None if link is None else str(link.listens),
            gateway,
            connections,
            proxy,
            rounds,
            renewal,
        )
        servers = [data, control, *([] if link is None else [link.server])]
        if trial:
            await asyncio.to_thread(check_suites, keeper.kept())
            yield running
            await asyncio.gather(*(server.stop(None) for server in servers))
            return
        tell_news(keeper, audit)  # written with the start
        await audit.start(settings, loaded.identity, loaded.trust)
        await asyncio.to_thread(rounds.opener.budgets.look)
        await rounds.recover()
        await asyncio.gather(*(server.start() for server in servers))
        proxy.start(behind.port)
        if gateway is not None:
            gateway.start(data_plane, limiters["data"], lambda: renewal.loaded.gateway, clock)
        renewing = asyncio.create_task(renewal.run())
        readiness.state = SERVING
        try:
            yield running
        finally:
            readiness.state = STOPPING
            renewing.cancel()
            for check in checks:
                check.shut_down()
            await _shut_down(rounds, audit, settings.shutdown_grace_s, gateway, *servers)


async def _shut_down(
    rounds: Rounds, audit: CoordinatorAudit, grace_s: float, gateway: Gateway | None, *planes: grpc.aio.Server
) -> None:
    await rounds.shut_down()
    stopping = [] if gateway is None else [gateway.stop(grace_s)]
    await asyncio.gather(*stopping, *(plane.stop(grace_s) for plane in planes))
    await audit.stop([opened.record.round_id for opened in rounds.newest_first() if opened.outcome is None])
    structlog.get_logger().info("stopped")


def _data_server(
    settings: Settings, calls: DataPlane, check: Health, *, peers: Peers, limiter: CallLimiter, observer: Observer
) -> grpc.aio.Server:
    streams = max(64, 2 * settings.max_open_rounds)  # well above one client's calls
    server = grpc.aio.server(
        options=(*OPTIONS, ("grpc.max_concurrent_streams", streams)),
        maximum_concurrent_rpcs=LAST_RESORT * settings.max_calls,
    )
    plane = Plane(
        name="data",
        who=calls.who,
        limiter=limiter,
        peers=peers,
        observer=observer,
        read_timeout_s=settings.read_timeout_s,
        write_timeout_s=settings.write_timeout_s,
    )
    for service, answers in ((DATA_PLANE, calls.answers), (health.SERVICE, check.answers)):
        server.add_generic_rpc_handlers((ServiceHandler(service, answers, plane),))
    return server


def _control_server(
    settings: Settings, calls: ControlPlane, check: Health, *, limiter: CallLimiter, observer: Observer
) -> grpc.aio.Server:
    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=LAST_RESORT * MAX_CONTROL_CALLS)
    plane = Plane(
        name="control",
        who=lambda _: FL_SERVER,
        limiter=limiter,
        peers=LocalPeers(),
        observer=observer,
        read_timeout_s=settings.read_timeout_s,
        write_timeout_s=None,
    )
    for service, answers in ((CONTROL_PLANE, calls.answers), (health.SERVICE, check.answers)):
        server.add_generic_rpc_handlers((ServiceHandler(service, answers, plane),))
    # Participants have the protos: reflection is for whoever runs the coordinator.
    reflection.enable_server_reflection([CONTROL_PLANE, health.SERVICE, reflection.SERVICE_NAME], server)
    return server


@contextmanager
def _proxy(settings: Settings, connections: int, observer: Observer) -> Iterator[ConnectionProxy]:
    most = settings.max_connections_per_participant
    proxy = ConnectionProxy(parse_tcp(settings.listen), places=connections, most_of_one=most, observer=observer)
    try:
        yield proxy
    finally:
        proxy.stop()


@contextmanager
def _status(settings: Settings) -> Iterator[StatusPort | None]:
    """The status port, if there is one. It answers until the planes have stopped."""
    if settings.status is None:
        yield None
        return
    port = StatusPort(parse_tcp(settings.status))
    try:
        yield port
    finally:
        port.stop()


@contextmanager
def _gateway(settings: Settings, observer: Observer) -> Iterator[Gateway | None]:
    """The gateway, if there is one."""
    if settings.gateway is None:
        yield None
        return
    gateway = Gateway(settings, observer)
    try:
        yield gateway
    finally:
        gateway.close()


def capacity_of(state: StateFolder | None) -> Capacity:
    """What is free for rounds. Vectors wait in the state folder, or else in memory and in temporary files."""
    if state is not None:
        return Capacity(free_memory, free_disk(state.path), str(state.path))
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:  # nobody may write to any of the usual ones
        folder = Path("a folder for temporary files, which TMPDIR names")
    return Capacity(free_memory, free_disk(folder), str(folder), spared_bytes=MEMORY_BYTES)


def check_accounting(settings: Settings) -> None:
    """Find out at the start and not when the first round with noise is opened.

    Raises:
        MissingExtraError: there are privacy budgets, and nothing to account for them with.
    """
    if settings.budgets or settings.ledger_dir is not None:
        check_installed()


@contextmanager
def _state(settings: Settings) -> Iterator[StateFolder | None]:
    if settings.state_dir is None:
        yield None
        return
    folder = StateFolder(settings.state_dir)
    check_ledgers(folder, settings.ledgers or folder.ledgers, REAL_DISK)
    with held(folder.path, REAL_DISK):
        yield folder


def _audit_log(
    folder: StateFolder | None, identity: Callable[[], CoordinatorIdentity], clock: Clock
) -> AuditLog | None:
    return None if folder is None else AuditLog.open(folder.audit, identity, clock)


def _ledgers(settings: Settings, clock: Clock) -> AbstractContextManager[LedgerFolder | None]:
    return nullcontext() if settings.ledgers is None else locked(settings.ledgers, clock)


@contextmanager
def _store(settings: Settings, folder: StateFolder | None, ledgers: LedgerFolder | None) -> Iterator[Store]:
    """What must not be forgotten: in the state folder if there is one, else in memory."""
    if folder is None:
        yield MemoryStore(settings.remember_releases, ledgers)
        return
    durable = SqliteStore(folder, REAL_DISK, SystemRng(), remember_releases=settings.remember_releases, ledgers=ledgers)
    with closing(durable):
        yield durable
