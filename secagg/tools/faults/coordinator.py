"""The coordinator's program: the real one from its handlers down, without gRPC's server and without files."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from secagg_server.audit.coordinator import CoordinatorAudit
from secagg_server.calls.control_plane import ControlPlane
from secagg_server.calls.data_plane import DataPlane
from secagg_server.calls.handlers import Plane, ServiceHandler
from secagg_server.certificates.callers import Callers
from secagg_server.certificates.denied import DenyList
from secagg_server.limits.call_limiter import MAX_CONTROL_BYTES, MAX_CONTROL_CALLS, CallLimiter
from secagg_server.limits.capacity import Capacity
from secagg_server.network.peers import LocalPeers
from secagg_server.observability.facts import CallEnded, CallOutcome, Fact, RoundBroken
from secagg_server.observability.observer import Observer
from secagg_server.rounds.registry import Rounds
from secagg_server.settings import Settings

from secagg.crypto.rng import Rng
from secagg.masked.ranges import one_after_the_other
from secagg.tools.faults.deployment import Deployment
from secagg.tools.faults.network import Network, Server
from secagg.tools.faults.processes import Process
from secagg.tools.faults.storage import Kept
from secagg.wire.calls import CONTROL_PLANE, DATA_PLANE

ADDRESS: Final = "coordinator.simulated:7443"
CONTROL: Final = "unix:control.sock"
_ROOM_BYTES: Final = 1 << 40


class Broken:
    """Listens for what must never happen: an error without a name."""

    def __init__(self, crashed: Callable[[str, str], None]) -> None:
        """Args: crashed: told who had it, and the traceback."""
        self._crashed = crashed

    def __call__(self, fact: Fact) -> None:
        """Take a fact."""
        match fact:
            case RoundBroken() if not _has_a_name(fact.traceback):
                self._crashed("coordinator", fact.traceback)
            case CallEnded() if fact.outcome is CallOutcome.BROKEN:
                self._crashed("coordinator", fact.traceback)


class _Peers:
    """Connections of participants."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def spoke(self, peer: str, caller: str) -> None:
        """Nothing is counted here."""

    def drop(self, peer: str) -> None:
        """Close the connection."""
        self._network.drop(peer)

    def address(self, peer: str) -> str:
        """The name that the network has."""
        return peer


def _has_a_name(traceback: str) -> bool:
    """Whether a round ended with an error of secagg: what the disk refuses has one, and is told to everybody."""
    return traceback.strip().rpartition("\n")[2].startswith("secagg.errors.")


@dataclass(frozen=True, slots=True)
class Running:
    """A coordinator that takes calls."""

    settings: Settings
    rounds: Rounds
    audit: CoordinatorAudit
    close: Callable[[], None]

    async def stop(self) -> None:
        """End in order, as `secagg_server.app` does."""
        await self.rounds.shut_down()
        await asyncio.sleep(self.settings.shutdown_grace_s)
        opened = self.rounds.newest_first()
        await self.audit.stop([each.record.round_id for each in opened if each.outcome is None])
        await asyncio.to_thread(self.close)


async def start(
    process: Process,
    network: Network,
    *,
    deployment: Deployment,
    settings: Settings,
    opens: Callable[[], Kept],
    rng: Rng,
    listener: Callable[[Fact], None],
) -> Running:
    """Go on where an earlier process stopped, and take calls from then on. To be awaited by the process.

    Raises:
        SecAggError: it cannot start.
    """
    kept = await asyncio.to_thread(opens)
    store, audit = kept.store, CoordinatorAudit(kept.audit, process.wall)
    observer = Observer(listener, audit)
    rounds = Rounds(
        settings,
        deployment.trust,
        store,
        lambda: deployment.coordinator,
        workers=one_after_the_other,
        clock=process.wall,
        rng=rng,
        observer=observer,
        capacity=Capacity(lambda: _ROOM_BYTES, lambda: _ROOM_BYTES, "the virtual disk"),
        audit=audit,
    )
    data = DataPlane(rounds, Callers(deployment.trust, DenyList(), process.wall), store, process.wall)
    control = ControlPlane(rounds, process.wall)
    limiter = CallLimiter(settings.max_calls_per_participant, settings.max_calls)
    local = CallLimiter(MAX_CONTROL_CALLS, MAX_CONTROL_CALLS, MAX_CONTROL_BYTES)
    made = partial(
        Plane, observer=observer, read_timeout_s=settings.read_timeout_s, write_timeout_s=settings.write_timeout_s
    )
    for_data = made(name="data", who=data.who, limiter=limiter, peers=_Peers(network))
    for_control = made(name="control", who=lambda _: "the FL server", limiter=local, peers=LocalPeers())
    await audit.start(settings, deployment.coordinator, deployment.trust)
    await asyncio.to_thread(rounds.opener.budgets.look)
    await rounds.recover()
    network.listen(ADDRESS, Server(process, (ServiceHandler(DATA_PLANE, data.answers, for_data),)))
    network.listen(CONTROL, Server(process, (ServiceHandler(CONTROL_PLANE, control.answers, for_control),)))
    return Running(settings, rounds, audit, kept.close)
