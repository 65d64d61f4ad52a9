"""What stands in for the outside world in the product's modules while histories are played.

The product takes its randomness, clocks and stores as arguments wherever they decide what it does. These are the few
names that it looks up by itself: gRPC's channels, the clocks of retries, jitter, what a log costs, and how long a
chunk is.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from logging import CRITICAL
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import structlog

from secagg.crypto.identity import Identity
from secagg.tools.faults.network import Network, VirtualChannel
from secagg.tools.faults.processes import RUNNING, Process


@dataclass(slots=True, eq=False)
class Online(Process):
    """A process that can reach a network.

    Attributes:
        caller: whose certificate it has; empty for that of the FL server and of the coordinator.
    """

    network: Network | None = None
    caller: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client shows when it connects, instead of TLS credentials."""

    certificate: bytes


def _network() -> Network:
    process = RUNNING.get()
    if not isinstance(process, Online) or process.network is None:
        raise AssertionError("a process without a network opens a channel")
    return process.network


def _secure(target: str, credentials: Shown, **_: object) -> VirtualChannel:
    return VirtualChannel(_network(), target, credentials.certificate)


def _insecure(target: str, **_: object) -> VirtualChannel:
    return VirtualChannel(_network(), target, None)


class _Jitter:
    """Instead of `random.SystemRandom`."""

    @staticmethod
    def random() -> float:
        """Of the process whose code runs."""
        return RUNNING.get().rng.random()


class _OwnRng:
    """Instead of `SystemRng`."""

    @staticmethod
    def token(size: int) -> bytes:
        """Of the process whose code runs."""
        return RUNNING.get().rng.randbytes(size)


CHUNK_BYTES: Final = 256
"""Longest chunk of a packed vector, so that small vectors have several, which are lost and sent again one by one."""

SUBSTITUTES: Final[tuple[tuple[str, Any], ...]] = (
    ("secagg_client.transport.aio.aio", SimpleNamespace(secure_channel=_secure, insecure_channel=_insecure)),
    ("secagg_client.aio.client.client_credentials", lambda identity, _trust: _shown(identity)),
    ("secagg_client.aio.client.time", lambda: RUNNING.get().wall()),
    ("secagg_client.aio.connection.monotonic", lambda: RUNNING.get().monotonic()),
    ("secagg_client.aio.control.monotonic", lambda: RUNNING.get().monotonic()),
    ("secagg_client.retry.SystemRandom", _Jitter),
    ("secagg_client.participation.state_folder.SystemRng", _OwnRng),
    ("secagg_server.rounds.registry.give_back", lambda: None),
    ("secagg_server.audit.coordinator.monotonic", lambda: RUNNING.get().monotonic()),
    ("secagg_server.storage.sqlite.folder.ROOM_BYTES", 1 << 12),
    ("secagg.encoding.packing.CHUNK_BYTES", CHUNK_BYTES),
    ("secagg.tools.faults.checker.sums._CHUNK_BITS", 8 * CHUNK_BYTES),
)
"""Where a name is looked up, and what is found there."""


def _shown(identity: Identity) -> Shown:
    return Shown(identity.certificate_pem)


@contextmanager
def substituted() -> Iterator[None]:
    """Play histories inside. One thread may do so at a time."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL), cache_logger_on_first_use=False)
    try:
        with ExitStack() as stack:
            for name, substitute in SUBSTITUTES:
                stack.enter_context(patch(name, substitute))
            yield
    finally:
        structlog.configure(**before)
