# Made of secagg_client/aio/client.py by `make sync`: change that file, not this one.
"""Taking part from plain code."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import time
from types import TracebackType
from typing import Any, Self

import numpy as np

from secagg.config import TRAIN
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import Rng, SystemRng
from secagg.encoding.schema import GivenUpdate
from secagg.errors import ConfigError, RemoteError, SecAggError
from secagg.messages import Dealt, ParticipantId
from secagg.policy import Policy
from secagg.rounds.dealing import judge
from secagg.sandbox.worker import Worker
from secagg.transport.addresses import checked_target
from secagg.transport.tls import client_credentials
from secagg.wire.describing import Description
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.calls.data_plane import Describe, LeaveRound
from secagg_client.calls.health import CheckHealth
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.outputs import Out
from secagg_client.participation.results import Offer, RoundResult
from secagg_client.participation.session import LEAVE_TIMEOUT_S, Participation
from secagg_client.participation.state_folder import StateFolder
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
from secagg_client.tracing import span
from secagg_client.transport import channels
from secagg_client.transport.sync import Channel, Interceptor, compute


class Client:
    """One participant's connection to the coordinator. Safe to use from several threads.

    Each call of `participate` is one participation in one round. Several may run side by side.

    Attributes:
        feedback: what earlier rounds lost of our updates, by task.

    Examples:
        >>> files = {"certificate": "cert.pem", "key": "key.pem", "ca": "ca.pem"}
        >>> with Client.from_files("host:8443", **files) as client:
        ...     result = client.participate(update, weight=120, task="digits", model=model, timeout_s=300)
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
        """The connection is made when it is first needed.

        Args:
            target: address of the coordinator's data plane, "host:port".
            identity: our certificate and key.
            trust: the deployment's CA. It vouches for the coordinator and for the other participants.
            policy: what we demand of a round. The default is a cohort of three and the active threat model.
            retry: when a call that broke is made again.
            server_name: the name in the server's certificate, if it is not the one in `target`.
            rng: source of randomness. The default is the operating system's.
            backend: makes what encrypts in a homomorphic round. The default is a `Worker` process with its usual
                limits.
            feedback: what earlier rounds lost, for tasks whose pipeline says `feedback`. The default is nothing yet.
                The client updates it from round to round.
            memory: what we remember of sums that may hold an update of ours. Give the path of a file, which is made
                when there is none, so that the memory outlasts the process; or a `Memory` that several clients share.
                With None it lasts as long as this client, so give one if you make a client for each round.
            interceptors: gRPC interceptors, for tracing and the like. Every call is a stream of bytes both ways.
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
        self._connection = Connection(Channel(target, settings, credentials, interceptors), retry)

    @classmethod
    def from_files(
        cls, target: str, *, certificate: str | Path, key: str | Path, ca: str | Path, **options: Any
    ) -> Self:
        """A client whose certificate, key and CA are read from files.

        Args:
            target: address of the coordinator's data plane, "host:port".
            certificate: our certificate chain, PEM.
            key: our private key, PEM; nobody but its owner may be able to read the file.
            ca: the deployment's CA, PEM.
            options: every other argument of the constructor.

        Raises:
            IdentityError: a file is missing or unreadable, does not fit the others, or others may read the key.
        """
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
        """Wait for a round without joining it, to look at its configuration first. Then call `participate(offer=…)`.

        Args:
            task: wait for the next round of this task.
            round_id: or look up this round.
            purpose: what the round must be for.
            timeout_s: longest time; no limit if None.
        """
        self._terms.check_own_validity()
        call = find(self._terms, task, round_id, purpose)
        with self._connection.scope(timeout_s) as scope:
            return call.read(self._connection.perform(call, scope))

    def participate(
        self,
        update: GivenUpdate,
        *,
        weight: int = 1,
        task: str | None = None,
        round_id: bytes | None = None,
        offer: Offer | None = None,
        model: Mapping[str, np.ndarray[Any, np.dtype[Any]]] | None = None,
        model_digest: bytes | None = None,
        purpose: str = TRAIN,
        fetch_aggregate: bool = True,
        state: StateFolder | str | Path | None = None,
        out: Out | None = None,
        timeout_s: float | None = None,
    ) -> RoundResult:
        """Take part in one round, from joining it to its result. When this is cancelled or interrupted, the coordinator
        is told that we have left before it ends.

        With `state`, the participation outlives its process. If that is killed, or the coordinator cannot be reached,
        call this again with the same arguments: it goes on in the same round, and sends what it sent before. After any
        other error the round is over for us, and the next call takes part in the next one.

        Say which round with one of `task`, `round_id` and `offer`, and say which model with one of `model` and
        `model_digest`.

        Args:
            update: arrays by name, as the round's schema wants them. A lone array stands for one array called
                "values". An array may be in memory, in a mapped file (`numpy.load(…, mmap_mode="r")`), or come in
                `Pieces`. It is read several times, range by range, and never copied whole. So leave it as it is until
                this returns: a change is noticed before it is sent.
            weight: integer from 1 to the task's max_weight. An update counts in proportion to it.
            task: wait for the next round of this task.
            round_id: take part in this round.
            offer: take part in this round, which `find_round` gave.
            model: the model that the update belongs to, as we hold it. The round must be about the same one.
            model_digest: the digest of that model, from `digest_model`.
            purpose: what the update was computed for; a round for another purpose is refused. Memory is kept apart by
                purpose, so an evaluation of a model does not stand in the way of its training.
            fetch_aggregate: whether to get the aggregate, where the round gives it to participants.
            state: a folder of our own, which is made if there is none. It keeps, sealed, what is needed to go on; not
                the update, which must be handed in again as it was. It also keeps what `feedback` carries. The client
                must remember released sums in a file (`memory`). A `StateFolder` keeps the round until its block ends,
                for callers who must not lose the result.
            out: where the aggregate goes: arrays of the round's shapes and dtypes (int64 for sums of integers), in
                memory or mapped, or the path of an .npz file, or of a .npy file for one array. It is never whole in
                memory then: the sum waits in a temporary file until all of it is checked. `RoundResult.mean` or
                `totals` has these arrays, mapped if it is a file. What is in arrays after an error means nothing; a
                file is what it was. A round in groups, and a sum that we decrypt, are in memory first.
            timeout_s: longest time for everything, waiting included; no limit if None.

        Raises:
            InputError: the update cannot be encoded, or the model cannot be digested; the message names the array and
                says what to do. Nothing of it, and no key, has left the machine. Or the update was changed while it
                was being sent; then we have left the round.
            ConfigError: the aggregate has no place in `out`, or the round gives participants none.
            IdentityError: our certificate has expired.
            RemoteError: the coordinator, or the participant named as culprit, broke the protocol, or the round is
                below our policy or about another model. We have left the round.
            SavedStateError: another process uses `state`; what is in it is damaged, or of another round, update, model
                or participant than this call; or its disk fails.
            RoundAborted: the round ended without a sum, for everyone.
            NotInRoundError: we came too late for a phase.
            RoundTimeoutError: `timeout_s` is over.
            TransportError: the coordinator could not be reached.
            ParticipationCancelled: `cancel` was called.
        """
        self._terms.check_own_validity()
        if state is not None and not self._terms.memory.durable:  # check: state-with-durable-memory
            raise ConfigError(
                "the state outlives this process, and the memory of released sums does not: a sum that this process "
                "helped to open would be forgotten; give the client a file for it (memory=PATH)"
            )
        contribution = compute(
            lambda: Contribution(
                update=update,
                weight=weight,
                model_digest=digest_of(model, model_digest),
                fetch_aggregate=fetch_aggregate,
                purpose=purpose,
                out=out,
            )
        )
        chosen = choose(self._terms, task, round_id, offer, purpose, goes_on=state is not None)
        participation = Participation(self._terms, contribution, chosen, state)
        with self._connection.scope(timeout_s) as scope, span("secagg.participate"):
            return self._drive(participation, scope)

    def describe(self, *, timeout_s: float | None = None) -> Description:
        """The coordinator's release of secagg, the versions of the protocol that it speaks, and its clock.

        Args:
            timeout_s: longest time; no limit if None.

        Raises:
            ProtocolViolation: the coordinator is of a release before this call.
            TransportError: the coordinator could not be reached, or does not take our certificate.
        """
        with self._connection.scope(timeout_s) as scope:
            call = Describe()
            return call.read(self._connection.perform(call, scope))

    def serves(self, *, timeout_s: float | None = None) -> bool:
        """Whether the coordinator serves: not while it shuts down. Arguments and errors are those of `describe`."""
        with self._connection.scope(timeout_s) as scope:
            call = CheckHealth()
            return call.read(self._connection.perform(call, scope))

    def cancel(self) -> None:
        """From another thread: end every participation that is under way, and tell the coordinator that we left."""
        self._connection.cancel()

    def close(self) -> None:
        """End what is under way as `cancel` does, wait until the coordinator is told, and close the connection."""
        self._connection.close(patience_s=2 * LEAVE_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drive(self, participation: Participation, scope: Scope) -> RoundResult:
        try:
            call = self._advance(participation, None)
            while call is not None:
                answer = self._connection.perform(call, scope)
                call = self._advance(participation, answer)
        except BaseException as error:  # who is cancelled or interrupted leaves the round, too
            shown = self._leave(compute(participation.leave_call, error))
            if isinstance(error, RemoteError):
                judge(error, shown)
            raise
        finally:
            compute(participation.close)
        return replace(participation.result, bytes_sent=scope.bytes_sent, bytes_received=scope.bytes_received)

    def _advance(self, participation: Participation, answer: Parts | None) -> PreparedCall[Any] | None:
        """Our own work of a phase: check what came, and make what goes out next."""
        with span("secagg.work"):
            return compute(participation.advance, answer)

    def _leave(self, call: LeaveRound | None) -> Dealt | None:
        """Try for a short time: the round goes on without us anyway when its deadline passes. Returns what the
        coordinator shows of an entry that we refused.
        """
        if call is None:
            return None
        with suppress(SecAggError):
            return call.read(self._connection.perform(call, Scope(LEAVE_TIMEOUT_S)))
        return None
