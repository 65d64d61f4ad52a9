"""A gateway as a whole: its port, what answers there, and the calls that it holds."""

import time
from collections.abc import Callable, Sequence

from secagg.errors import ConfigError
from secagg.transport.addresses import TcpAddress, parse_tcp
from secagg_server.calls.data_plane import DataPlane
from secagg_server.certificates.files import GatewayFiles
from secagg_server.gateway.application import Application
from secagg_server.gateway.held import HeldCalls
from secagg_server.gateway.port import GatewayPort
from secagg_server.limits.call_limiter import CallLimiter
from secagg_server.observability.observer import Observer
from secagg_server.rounds.hosted import Clock
from secagg_server.settings import Settings


class Gateway:
    """Serves from `start` to `stop`.

    Attributes:
        listens: the address, with the port that it got.
    """

    def __init__(self, settings: Settings, observer: Observer) -> None:
        """Take the port.

        Args:
            settings: what the operator chose; `gateway` says where to listen.
            observer: hears which connections are closed, and how calls ended.

        Raises:
            ConfigError: the port cannot be taken.
        """
        self._settings = settings
        self._observer = observer
        self._port = GatewayPort(
            parse_tcp(settings.gateway or ""),
            places=settings.gateway_connections,
            most_of_one=settings.max_connections_per_participant,
            write_timeout_s=settings.write_timeout_s,
            observer=observer,
            clock=time.monotonic,
        )
        self._calls: HeldCalls | None = None
        self.listens: TcpAddress = self._port.listens

    def start(
        self, plane: DataPlane, limiter: CallLimiter, files: Callable[[], GatewayFiles | None], clock: Clock
    ) -> None:
        """Answer requests from now on, on the running event loop.

        Args:
            plane: answers the calls.
            limiter: counts those of participants, here and over gRPC.
            files: certificate and keys, as they are in force.
            clock: seconds since 1970.
        """

        def loaded() -> GatewayFiles:
            found = files()
            if found is None:
                raise ConfigError("a gateway needs its files")
            return found

        settings = self._settings
        self._calls = HeldCalls(
            plane.answers,
            plane.who,
            limiter,
            self._observer,
            read_timeout_s=settings.read_timeout_s,
            idle_s=settings.gateway_idle_s,
        )
        application = Application(
            self._calls,
            limiter,
            self._observer,
            lambda: loaded().token_keys,
            origins=settings.gateway_origins,
            most_a_second=settings.gateway_requests_per_s,
            read_timeout_s=settings.read_timeout_s,
            clock=clock,
        )
        self._port.start(application, lambda: loaded().tls)

    @property
    def connections(self) -> tuple[int, int]:
        """How many have shown no token yet, and how many have."""
        return self._port.connections

    def shut_out(self, participants: Sequence[str]) -> None:
        """End the connections and the calls of those who may not take part any more."""
        for participant in participants:
            self._port.shut_out(participant)
            if self._calls is not None:
                self._calls.shut_out(participant)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, give those that are held so many seconds to be fetched, and end them."""
        if self._calls is not None:
            await self._calls.stop(grace_s)

    def close(self) -> None:
        """Close the port and all connections."""
        self._port.stop()
