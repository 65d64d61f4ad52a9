"""The port of the head for its workers."""

from dataclasses import dataclass

import grpc

from secagg.transport.addresses import TcpAddress, parse_tcp
from secagg.wire.calls import DATA_PLANE
from secagg_server.calls.data_plane import DataPlane
from secagg_server.calls.handlers import Plane, ServiceHandler
from secagg_server.calls.statuses import Context
from secagg_server.certificates.renewal import Renewal
from secagg_server.ingress.attendance import MAX_DOORS, Doors
from secagg_server.ingress.credentials import LINK_OPTIONS, LinkGuard
from secagg_server.ingress.link_calls import SERVICE, LinkCalls
from secagg_server.limits.call_limiter import LAST_RESORT, MAX_CONTROL_BYTES, CallLimiter
from secagg_server.network.listening import listen_tcp
from secagg_server.network.options import OPTIONS
from secagg_server.network.peers import LocalPeers
from secagg_server.observability.observer import Observer
from secagg_server.rounds.registry import Rounds
from secagg_server.settings import Settings

CALLS_OF_A_WORKER = 64
"""That it makes for itself at once: it attends, and hands in what it was asked for."""


@dataclass(frozen=True, slots=True)
class LinkServer:
    """The gRPC server of the link, and where it listens."""

    server: grpc.aio.Server
    listens: TcpAddress


def options() -> tuple[tuple[str, int], ...]:
    """Of gRPC at the head, each name once: of two with one name gRPC takes the first. The data plane's would win, and
    the head would break with a worker that has nothing to do, because it asks more often than a participant may.
    """
    return tuple({**dict(OPTIONS), **dict(LINK_OPTIONS)}.items())


def link_server(
    settings: Settings,
    data_plane: DataPlane,
    rounds: Rounds,
    *,
    doors: Doors,
    renewal: Renewal,
    limiter: CallLimiter,
    observer: Observer,
) -> LinkServer:
    """A server, not started yet, for the workers of this coordinator.

    Args:
        settings: say where it listens.
        data_plane: answers the calls that workers pass on.
        rounds: of the coordinator.
        doors: the workers that are there.
        renewal: has the coordinator's certificate and key.
        limiter: counts the calls of participants, at whichever door they come in.
        observer: hears how each call ended.

    Raises:
        ConfigError: the address is not allowed, or taken.
    """
    guard, calls = LinkGuard(renewal), LinkCalls(rounds, doors)
    doors.on_loss = rounds.lose_door

    def participant(context: Context) -> str:
        guard.check(context)
        return data_plane.who_showed(guard.shown(context))

    def worker(context: Context) -> str:
        guard.check(context)
        return f"an ingress worker at {context.peer()}"

    of_participants = Plane(
        name="data",
        who=participant,
        limiter=limiter,
        peers=LocalPeers(),
        observer=observer,
        read_timeout_s=settings.read_timeout_s,
        write_timeout_s=settings.write_timeout_s,
    )
    of_workers = Plane(
        name="link",
        who=worker,
        limiter=CallLimiter(CALLS_OF_A_WORKER, CALLS_OF_A_WORKER * MAX_DOORS, MAX_CONTROL_BYTES),
        peers=LocalPeers(),
        observer=observer,
        read_timeout_s=settings.read_timeout_s,
        write_timeout_s=None,
    )
    server = grpc.aio.server(
        options=(*options(), ("grpc.max_concurrent_streams", LAST_RESORT * settings.max_calls)),
        maximum_concurrent_rpcs=LAST_RESORT * settings.max_calls,
    )
    for service, answers, plane in (
        (DATA_PLANE, data_plane.answers, of_participants),
        (SERVICE, calls.of_participants, of_participants),
        (SERVICE, calls.of_workers, of_workers),
    ):
        server.add_generic_rpc_handlers((ServiceHandler(service, answers, plane),))
    listens = listen_tcp(
        parse_tcp(settings.link or ""), lambda at: server.add_secure_port(at, guard.credentials()), "link"
    )
    return LinkServer(server, listens)
