"""Taking part from asyncio. The same as `secagg_client.sync.client`, but for who waits."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import time
from types import TracebackType
from typing import Any, Self

import numpy as np

from secagg.config import TRAIN
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import Rng, SystemRng
from secagg.encoding.schema import NumberArray, Update
from secagg.errors import SecAggError
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.sandbox.worker import Worker
from secagg.transport.addresses import checked_target
from secagg.transport.tls import client_credentials
from secagg_client import channels
from secagg_client.aio.connection import Connection, Scope
from secagg_client.calls.data_plane import LeaveRound
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.results import Offer, RoundResult
from secagg_client.participation.session import LEAVE_TIMEOUT_S, Participation
from secagg_client.participation.terms import ClosableBackend, Contribution, Terms, choose, digest_of, find, load
from secagg_client.released_sums.memory import Memory, memory_of
from secagg_client.retry import RetryPolicy


class AsyncClient:
    """One participant. Belongs to the event loop that first uses it; several participations may run side by side.

    >>> async with AsyncClient.from_files("host:8443", certificate="cert.pem", key="key.pem", ca="ca.pem") as client:
    ...     result = await client.participate(update, weight=120, task="digits", model=global_weights)
    """

    def __init__(
        self,
        target: str,
        *,
        identity: Identity,
        trust: TrustAnchors,
        policy: Policy | None = None,
        retry: RetryPolicy | None = None,
        server_name: str | None = None,
        rng: Rng | None = None,
        backend: Callable[[], ClosableBackend] = Worker,
        feedback: Feedback | None = None,
        memory: Memory | str | Path | None = None,
    ) -> None:
        """As `Client`."""
        retry = retry or RetryPolicy()
        self.feedback = feedback or Feedback()
        self._terms = Terms(
            identity,
            trust,
            policy or Policy(),
            rng or SystemRng(),
            time,
            memory=memory_of(memory, ParticipantId(identity.participant_id)),
            backend=backend,
            feedback=self.feedback,
        )
        settings = channels.options(retry, server_name)
        self._connection = Connection(checked_target(target), retry, settings, client_credentials(identity, trust))

    @classmethod
    def from_files(
        cls, target: str, *, certificate: str | Path, key: str | Path, ca: str | Path, **options: Any
    ) -> Self:
        """As `Client.from_files`."""
        identity, trust = load(certificate, key, ca)
        return cls(target, identity=identity, trust=trust, **options)

    async def find_round(
        self,
        *,
        task: str | None = None,
        round_id: bytes | None = None,
        purpose: str = TRAIN,
        timeout_s: float | None = None,
    ) -> Offer:
        """As `Client.find_round`."""
        self._terms.check_own_validity()
        call = find(self._terms, task, round_id, purpose)
        with self._connection.scope(timeout_s) as scope:
            return call.read(await self._connection.perform(call, scope))

    async def participate(
        self,
        update: Update | NumberArray,
        *,
        weight: int = 1,
        task: str | None = None,
        round_id: bytes | None = None,
        offer: Offer | None = None,
        model: Mapping[str, np.ndarray[Any, np.dtype[Any]]] | None = None,
        model_digest: bytes | None = None,
        purpose: str = TRAIN,
        fetch_aggregate: bool = True,
        timeout_s: float | None = None,
    ) -> RoundResult:
        """As `Client.participate`; the update is copied in a thread, before the round is looked for. Cancelling the
        task says good-bye to the coordinator before it ends.
        """
        self._terms.check_own_validity()
        contribution = await asyncio.to_thread(
            lambda: Contribution(
                update=update,
                weight=weight,
                model_digest=digest_of(model, model_digest),
                fetch_aggregate=fetch_aggregate,
                purpose=purpose,
            )
        )
        participation = Participation(self._terms, contribution, choose(self._terms, task, round_id, offer, purpose))
        with self._connection.scope(timeout_s) as scope:
            return await self._drive(participation, scope)

    def cancel(self) -> None:
        """From another task: end every participation of this client that is under way, and say good-bye."""
        self._connection.cancel()

    async def close(self) -> None:
        """Cancel what is under way, wait for its good-byes, and close the connection."""
        await self._connection.close(patience_s=2 * LEAVE_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _drive(self, participation: Participation, scope: Scope) -> RoundResult:
        """The protocol's arithmetic runs in threads: it may take long, and the event loop has others to serve."""
        try:
            call = await asyncio.to_thread(participation.advance, None)
            while call is not None:
                answer = await self._connection.perform(call, scope)
                call = await asyncio.to_thread(participation.advance, answer)
        except BaseException as error:  # CancelledError leaves the round, too
            await self._leave(participation.farewell(error))
            raise
        finally:
            participation.close()
        sent, received = scope.traffic.sent, scope.traffic.received
        return replace(participation.result, bytes_sent=sent, bytes_received=received)

    async def _leave(self, call: LeaveRound | None) -> None:
        """For a short time: the round goes on without us anyway when its deadline passes."""
        if call is None:
            return
        try:
            await self._connection.perform(call, Scope(LEAVE_TIMEOUT_S))
        except SecAggError:
            return
