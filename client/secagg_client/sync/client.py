# Made of secagg_client/aio/client.py by `make sync`: change that file, not this one.
"""Taking part from plain code."""

from collections.abc import Callable, Mapping, Sequence
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
from secagg_client.calls.data_plane import LeaveRound
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.results import Offer, RoundResult
from secagg_client.participation.session import LEAVE_TIMEOUT_S, Participation
from secagg_client.participation.terms import (
    ClosableBackend,
    Contribution,
    Terms,
    choose,
    digest_of,
    find,
    load,
)
from secagg_client.released_sums.memory import Memory, memory_of
from secagg_client.retry import RetryPolicy
from secagg_client.sync.connection import Connection, Scope
from secagg_client.transport import channels
from secagg_client.transport.sync import Channel, Interceptor, aside, compute, usable_after


class Client:
    """One participant. Safe to use from several threads; each call of `participate` is one
    participation, and several may run side by side.

    Attributes:
        feedback: what rounds lost of our updates, by task.

    >>> with Client.from_files("host:8443", certificate="cert.pem", key="key.pem", ca="ca.pem") as client:
    ...     result = client.participate(update, weight=120, task="digits", model=global_weights, timeout_s=300)
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
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        """Connects when it is first needed.

        Args:
            target: "host:port" of the coordinator's data plane.
            identity: our certificate and key.
            trust: the deployment's CA, for the server's certificate and for the other participants'.
            policy: our own terms; a cohort of three and the active threat model at least, if None.
            retry: how stubborn to be.
            server_name: the name in the server's certificate, if it is not the one in `target`.
            rng: the operating system's, if None.
            backend: opens what encrypts in a homomorphic round; a `Worker` process with its usual limits, unless told.
            feedback: what earlier rounds lost, where a task's pipeline says `feedback`; nothing yet, if None. The
                client keeps it up from round to round, as `client.feedback`.
            memory: what is remembered of sums that may hold an update of ours: the path of a file, made when there is
                none, so that it outlasts the process; or a `Memory` that several clients of ours share. If None, it
                lasts as long as this client: whoever makes a client for each round must give one.
            interceptors: of gRPC, for tracing and the like; every call is a stream of bytes both ways.
        """
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
        credentials = client_credentials(identity, trust)
        checked_target(target)

        def connect() -> Connection:
            return Connection(Channel(target, settings, credentials, interceptors), retry)

        self._connect = connect
        self._connection = connect()

    @classmethod
    def from_files(
        cls, target: str, *, certificate: str | Path, key: str | Path, ca: str | Path, **options: Any
    ) -> Self:
        """As the constructor, with PEM files. Raise `IdentityError` if one is missing, or the key is not private."""
        identity, trust = load(certificate, key, ca)
        return cls(target, identity=identity, trust=trust, **options)

    def find_round(
        self,
        *,
        task: str | None = None,
        round_id: bytes | None = None,
        purpose: str = TRAIN,
        timeout_s: float | None = None,
    ) -> Offer:
        """Wait for the next round of `task` for `purpose`, or look up `round_id`; for `participate(offer=…)`, once its
        configuration was looked at. Finding is not joining.
        """
        self._terms.check_own_validity()
        call = find(self._terms, task, round_id, purpose)
        with self._connection.scope(timeout_s) as scope:
            return call.read(self._connection.perform(call, scope))

    def participate(
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
        """Take part in one round, from joining it to its result. When this is cancelled or interrupted, the coordinator
        is told that we have left before it ends.

        Args:
            update: float32 or float64 arrays by name, as the round's schema wants them; a lone array is the special
                case of one array called "values". It is copied when this begins, before anything of it is checked: what
                happens to the caller's arrays afterwards does not matter. Memory: one update more until this returns.
            weight: integer from 1 to the task's max_weight; an update counts in proportion.
            task: wait for the next round of this task,
            round_id: or take part in this round,
            offer: or in this one, from `find_round`.
            model: the model that the update belongs to, as we hold it; the round must be about the same one.
            model_digest: its digest, instead (`secagg.digest_model`).
            purpose: what the update was computed for; a round for another purpose is refused. What is remembered of
                sums is kept apart by it, so an evaluation of a model does not stand in the way of its training.
            fetch_aggregate: whether to get the aggregate, where the round gives it to participants.
            timeout_s: longest time for everything, waiting included; no limit if None.

        Raises:
            InputError: the update cannot be encoded, or the model cannot be digested; the message names the array and
                says what to do. Nothing of it, and no key, has left the machine.
            IdentityError: our certificate has expired.
            RemoteError: the coordinator, or the participant named as culprit, broke the protocol, or the round is
                below our policy or about another model. We have left the round.
            RoundAborted: the round ended without a sum, for everyone.
            NotInRoundError: we came too late for a phase.
            TransportError: the coordinator could not be reached; `RoundTimeoutError`: not in time.
            ParticipationCancelled: `cancel` was called.
        """
        self._terms.check_own_validity()
        contribution = compute(
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
            return self._drive(participation, scope)

    def cancel(self) -> None:
        """From another thread: end every participation of this client that is under way, and say good-bye."""
        self._connection.cancel()

    def close(self) -> None:
        """Cancel what is under way, wait for its good-byes, and close the connection."""
        self._connection.close(patience_s=2 * LEAVE_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drive(self, participation: Participation, scope: Scope) -> RoundResult:
        try:
            call = compute(participation.advance, None)
            while call is not None:
                answer = self._connection.perform(call, scope)
                call = compute(participation.advance, answer)
        except BaseException as error:  # who is cancelled or interrupted leaves the round, too
            self._leave(participation.farewell(error), error)
            raise
        finally:
            participation.close()
        return replace(participation.result, bytes_sent=scope.bytes_sent, bytes_received=scope.bytes_received)

    def _leave(self, call: LeaveRound | None, error: BaseException) -> None:
        if call is None:
            return
        if usable_after(error):
            self._say(call, self._connection)
        else:
            aside(lambda: self._say_elsewhere(call), patience_s=2 * LEAVE_TIMEOUT_S)

    def _say_elsewhere(self, call: LeaveRound) -> None:
        connection = self._connect()
        try:
            self._say(call, connection)
        finally:
            connection.close()

    @staticmethod
    def _say(call: LeaveRound, connection: Connection) -> None:
        """For a short time: the round goes on without us anyway when its deadline passes."""
        try:
            connection.perform(call, Scope(LEAVE_TIMEOUT_S))
        except SecAggError:
            return
