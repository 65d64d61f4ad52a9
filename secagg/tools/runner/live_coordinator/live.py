"""A round on a live coordinator, and its participants over real gRPC, each with a certificate of its own."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from threading import Thread
from typing import Any, Final

import grpc
import numpy as np
from secagg_client import ControlClient

from secagg.config import RoundConfig, ThreatModel
from secagg.context import Round, RoundId, bind
from secagg.crypto.authority import IssuedCertificate
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.errors import SecAggError
from secagg.events import MessageAccepted
from secagg.masked import scheme as masked
from secagg.messages import Leave, LeaveReason, ParticipantId, Phase
from secagg.policy import Policy
from secagg.rounds.membership import Credentials, Membership
from secagg.tools.runner.cases import Unlike
from secagg.tools.runner.over_grpc.cohort import UPDATE
from secagg.tools.runner.over_grpc.site import Site
from secagg.wire.agreement import encode_leave
from secagg.wire.calls import CALL_OF, FIND_ROUND, LEAVE_ROUND, ROUND_METADATA, Call, Transfer
from secagg.wire.configuration import decode_config
from secagg.wire.failures import TRAILER, decode_failure
from secagg.wire.progress import WatchedEvent
from secagg.wire.receipts import SignedDigest
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg.wire.v1 import errors_pb2

PATIENCE_S: Final = 30.0
"""No answer is waited for longer, beside the time limits of a round."""

LETTERS: Final = "abcdefgh"
"""Of the participants, in order."""

_GUEST: Final = "z"
_PAUSE_S: Final = 0.01
_SERIAL: Final = count(1)


@dataclass(frozen=True, slots=True)
class Failed:
    """A call that failed.

    Attributes:
        status: of gRPC.
        error: what the trailer names; None without a trailer.
    """

    status: grpc.StatusCode
    error: SecAggError | None


Outcome = list[bytes] | Failed
"""The parts of an answer, or a failure."""


class Running:
    """A call that was made, and whose answer is not there yet."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def outcome(self) -> Outcome:
        """Wait for the answer."""
        try:
            return list(self._call)
        except grpc.RpcError as error:
            failure: Any = error
            trailers = dict(failure.trailing_metadata() or ())
            detail = trailers.get(TRAILER)
            told = None if detail is None else decode_failure(errors_pb2.ErrorDetail.FromString(detail))
            return Failed(failure.code(), told)

    def cancel(self) -> None:
        """Hang up."""
        self._call.cancel()


@dataclass(frozen=True)
class Deployment:
    """A coordinator that is under test.

    Attributes:
        address: HOST:PORT of its data plane.
        control: its control plane.
        ca: the CA whose certificates it believes, with its key.
        server_name: the name in the coordinator's certificate, if it is not the one in the address.
    """

    address: str
    control: ControlClient
    ca: IssuedCertificate
    server_name: str | None = None

    def channel(self, trust_pem: bytes, credentials: tuple[bytes, bytes] | None) -> grpc.Channel:
        """A connection.

        Args:
            trust_pem: the CA.
            credentials: key and certificate of the participant; None for none.
        """
        key, chain = credentials or (None, None)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        if self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))  # type: ignore[arg-type]
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(trust_pem, key, chain), options)


@dataclass
class Member:
    """One participant.

    Attributes:
        name: of the certificate.
        next: what it sends next.
        gone: whether it is out of the round.
        vector: its input.
        sent: what it sent in each phase, in bytes.
        answers: what it was answered in each phase.
        receipt: what the coordinator signed.
    """

    name: ParticipantId
    channel: grpc.Channel
    round: Round
    session: masked.Participant
    vector: Any
    next: Any
    gone: bool = False
    sent: dict[Phase, list[bytes]] = field(default_factory=dict)
    answers: dict[Phase, Any] = field(default_factory=dict)
    receipt: SignedDigest | None = None

    @property
    def letter(self) -> str:
        """By which the cases know it."""
        return self.name[-1]

    def call(self, row: Call[Any], requests: Iterable[bytes], *, round_id: bytes | None = None) -> Running:
        """Make a call. `round_id`: in the metadata, if it is not the round's; empty for none."""
        metadata = ()
        named = self.round.round_id if round_id is None else round_id
        if row.transfer is not Transfer.ONE and named:
            metadata = ((ROUND_METADATA, named),)  # type: ignore[assignment]
        return make(self.channel, row, requests, metadata)


def make(channel: grpc.Channel, row: Call[Any], requests: Iterable[bytes], metadata: Any = ()) -> Running:
    """Make a call: its requests go up at once, and its answer is waited for later."""
    stream: Any = channel.stream_stream(row.path)
    return Running(stream(iter(list(requests)), timeout=2 * PATIENCE_S, metadata=metadata))


class LiveRound:
    """A round, and who takes part.

    Attributes:
        members: in the order of their names.
        events: what the control plane told so far.
    """

    def __init__(self, deployment: Deployment, config: RoundConfig, site: Site, names: Sequence[ParticipantId]) -> None:
        """Open the round, and let everyone look it up.

        Args:
            deployment: where.
            config: of the round.
            site: certificates of everyone, and of somebody who is no member.
            names: who comes.
        """
        self.deployment, self.config, self.site = deployment, config, site
        self.events: list[WatchedEvent] = []
        self.round_id = deployment.control.open_round(config, timeout_s=PATIENCE_S)
        self._watching = Thread(target=self._watch, daemon=True)
        self._watching.start()
        self.members = [self._join(name) for name in names]

    @classmethod
    def begin(cls, deployment: Deployment, config: RoundConfig, people: int) -> "LiveRound":
        """A round about a model that no other round has, with participants whose names no other round has."""
        serial = f"{time.time_ns():x}-{next(_SERIAL)}"
        names = [ParticipantId(f"conformance-{serial}-{letter}") for letter in (*LETTERS[:people], _GUEST)]
        site = Site({name: f"organisation {name[-1]}" for name in names}, deployment.ca)
        return cls(deployment, replace(config, model_digest=SystemRng().token(32)), site, names[:-1])

    def guest(self) -> Member:
        """Somebody with a good certificate who is no member."""
        name = ParticipantId(f"{self.members[0].name[:-1]}{_GUEST}")
        return self._join(name)

    def close(self) -> None:
        """End everything."""
        for member in self.members:
            member.channel.close()
        with suppress(SecAggError):
            self.deployment.control.abort(self.round_id, "the case is over", timeout_s=PATIENCE_S)
        self._watching.join(PATIENCE_S)

    def _watch(self) -> None:
        with suppress(SecAggError):
            for _, event in self.deployment.control.watch(self.round_id, timeout_s=4 * PATIENCE_S):
                self.events.append(event)

    def _join(self, name: ParticipantId) -> Member:
        channel = self.deployment.channel(self.site.ca_pem, self.site.credentials(name))
        outcome = make(channel, FIND_ROUND, [pb.FindRoundRequest(round_id=self.round_id).SerializeToString()]).outcome()
        if isinstance(outcome, Failed):
            raise Unlike(f"FindRound of {name} failed: {outcome.status.name} {outcome.error}")
        parts = [pb.RoundOfferPart.FromString(part) for part in outcome]
        data = b"".join(part.config for part in parts)
        if parts[0].round_id != self.round_id:
            raise Unlike("FindRound offers another round than was asked for")
        if decode_config(data) != self.config:
            raise Unlike("FindRound offers another configuration than the round was opened with")
        round_ = Round(RoundId(self.round_id), self.config, bind(self.round_id, data, self.config.model_digest))
        credentials = Credentials(self.site.identities[name], self.site.trust) if self.config.signed else None
        policy = Policy(threat_models=frozenset(ThreatModel), min_colluding_share=0.0)
        membership = Membership(round_, name, policy, SystemRng(), credentials)
        update = {"values": np.full(self.config.schema.arrays[0].shape, UPDATE, np.float32)}
        vector = self.config.code.encode(
            self.config.schema.check(update), 1, Secret(SystemRng().token(32)), round_.context
        )
        session = masked.Participant(membership, vector)
        return Member(name, channel, round_, session, vector, session.advertisement)

    def requests(self, member: Member, phase: Phase) -> list[bytes]:
        """What the member sends next, in bytes."""
        row, message = CALL_OF[phase], member.next
        each = message if phase is Phase.MASKED_INPUT else [message]
        return [part.SerializeToString() for one in each for part in row.requests(one, self.round_id)]

    def member(self, letter: str) -> Member:
        """By its letter."""
        return self.members[LETTERS.index(letter)]

    def wait_for(self, told: Callable[[Sequence[WatchedEvent]], bool], what: str) -> None:
        """Wait until the events say so."""
        until = time.monotonic() + PATIENCE_S
        while not told(self.events):
            if time.monotonic() > until:
                raise Unlike(f"WatchRound does not tell that {what}")
            time.sleep(_PAUSE_S)

    def wait_accepted(self, phase: Phase, members: Iterable[Member]) -> None:
        """Wait until the coordinator has taken what these sent in the phase."""
        names = {member.name for member in members}

        def taken(events: Sequence[WatchedEvent]) -> bool:
            found = {e.participant for e in events if isinstance(e, MessageAccepted) and e.phase is phase}
            return names <= found

        self.wait_for(taken, f"{phase.name} of {len(names)} members was accepted")

    def leave(self, member: Member, leave: Leave | None = None) -> None:
        """The member says goodbye."""
        message = encode_leave(leave or Leave(LeaveReason.CANCELLED))
        request = pb.LeaveRequest(round_id=self.round_id, leave=message).SerializeToString()
        outcome = member.call(LEAVE_ROUND, [request]).outcome()
        if isinstance(outcome, Failed):
            raise Unlike(f"LeaveRound failed: {outcome.status.name} {outcome.error}")
        member.gone = True

    def true_sum(self, members: Iterable[Member]) -> list[int]:
        """Of the members' inputs."""
        config = self.config
        inputs = [m.vector.read(0, config.vector_len, config.ring_dtype).astype(np.uint64) for m in members]
        total: Any = np.sum(inputs, axis=0, dtype=np.uint64) % np.uint64(1 << config.ring_bits)
        numbers: list[int] = total.tolist()
        return numbers

    def end(self) -> WatchedEvent:
        """The last event, once the round is over."""
        self._watching.join(PATIENCE_S)
        if self._watching.is_alive() or not self.events:
            raise Unlike("WatchRound does not tell that the round is over")
        return self.events[-1]


def read(row: Any, outcome: list[bytes]) -> Any:
    """The message that an answer says."""
    parts = [row.reply.FromString(part) for part in outcome]
    try:
        return row.answers.decode(parts if row.answers.in_parts else parts[0])
    except (SecAggError, IndexError) as error:
        raise Unlike(f"the answer of {row.name} is none: {error}") from error
