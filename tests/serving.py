"""A running coordinator and participants that speak to it through bare gRPC stubs."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from secagg_server.app import RunningServer, running_server
from secagg_server.limits.capacity import Capacity
from secagg_server.rounds.hosted import Clock
from secagg_server.settings import Settings

from secagg.aggregates import Aggregate
from secagg.config import Deadlines, RoundConfig, ThreatModel, default_threshold
from secagg.context import Round, RoundId, bind
from secagg.crypto.authority import Authority, IssuedCertificate, create_authority, issue_participant, issue_server
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import SecAggError
from secagg.masked.scheme import Participant, Reply
from secagg.masked.vector import MaskedVector
from secagg.messages import (
    SENT_IN,
    AdvertiseKeys,
    ConsistencyCheck,
    CoordinatorMessage,
    Leave,
    LeaveReason,
    MaskedInputChunk,
    ParticipantId,
    Phase,
    ShareKeys,
    Unmask,
)
from secagg.policy import Policy
from secagg.rounds.membership import Credentials, Membership
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.agreement import CONSISTENCY_CHECK, decode_proof, encode_leave
from secagg.wire.calls import ROUND_METADATA
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.failures import TRAILER, decode_failure
from secagg.wire.keys import decode_roster, decode_share_delivery, encode_advertise, encode_share_keys
from secagg.wire.masked import MASKED_INPUT_CHUNK, SURVIVOR_SET, encode_unmask
from secagg.wire.progress import WatchedEvent, decode_event
from secagg.wire.results import decode_aggregate
from secagg.wire.v1 import control_plane_pb2 as control_pb
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg.wire.v1 import errors_pb2
from tests import stubs

ACTIVE, SEMI_HONEST = ThreatModel.ACTIVE, ThreatModel.SEMI_HONEST
NAMES = participant_names(6)
CROWD = participant_names(12)
"""Everyone with a certificate, for tests that need more than six."""
TASK = "digits"
PATIENCE_S = 20.0
"""No test waits longer than this for anything."""
ROOMY = Capacity(lambda: 1 << 40, lambda: 1 << 40, "nowhere")
"""Room for every round, whatever the machine has."""


@dataclass(frozen=True)
class Site:
    """A deployment: CA, server certificate and the crowd, and another CA that nobody trusts."""

    ca_pem: bytes
    authority: Authority
    server: IssuedCertificate
    people: dict[ParticipantId, IssuedCertificate]
    strangers: dict[ParticipantId, IssuedCertificate]

    def identity(self, name: ParticipantId) -> Identity:
        made = self.people[name]
        return Identity.from_pem(made.certificate_pem, made.key_pem.expose())

    def another_server(self) -> IssuedCertificate:
        return issue_server(self.authority, hosts=["localhost", "127.0.0.1"], now=datetime.now(UTC))

    @property
    def trust(self) -> TrustAnchors:
        return TrustAnchors.from_pem(self.ca_pem)


@cache
def site() -> Site:
    now = datetime.fromtimestamp(time.time(), UTC)

    def deployment(name: str) -> tuple[bytes, Authority, dict[ParticipantId, IssuedCertificate]]:
        ca = create_authority(name=name, now=now)
        authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
        people = {p: issue_participant(authority, participant_id=p, organisation="north", now=now) for p in CROWD}
        return ca.certificate_pem, authority, people

    ca_pem, authority, people = deployment("the deployment")
    server = issue_server(authority, hosts=["localhost", "127.0.0.1"], now=now)
    return Site(ca_pem, authority, server, people, deployment("a foreign CA")[2])


def write_site(folder: Path) -> dict[str, Path]:
    """Certificate files, by the names of their settings."""
    files = {"certificate": folder / "cert.pem", "key": folder / "key.pem", "participant_ca": folder / "ca.pem"}
    files["certificate"].write_bytes(site().server.certificate_pem)
    files["key"].touch(mode=0o600)
    files["key"].write_bytes(site().server.key_pem.expose())
    files["participant_ca"].write_bytes(site().ca_pem)
    return files


def make_settings(folder: Path, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "control": f"unix:{folder}/control.sock",
        "shutdown_grace_s": 1.0,
        **write_site(folder),
        **changes,
    }
    return Settings(**given)


def make_config(
    participants: int = 5,
    threat_model: ThreatModel = ACTIVE,
    *,
    size: int = 50,
    value_bits: int = 16,
    deadline_s: float = PATIENCE_S,
    threshold: int = 0,
    task: str = TASK,
    release: bool = True,
    deadlines: Mapping[str, float] | None = None,
) -> RoundConfig:
    names = ("advertise_keys_s", "share_keys_s", "masked_input_s", "consistency_check_s", "unmask_s")
    return RoundConfig(
        task=task,
        schema=Schema((ArraySpec("values", (size,)),)),
        encoding=FixedPoint(1.0, value_bits, 100),
        max_participants=participants,
        model_digest=bytes(32),
        threshold=threshold or max(3, default_threshold(participants, threat_model)),
        max_colluding=0,
        threat_model=threat_model,
        release_to_participants=release,
        deadlines=Deadlines(**{**dict.fromkeys(names, deadline_s), **(deadlines or {})}),
    )


def failure_of(error: grpc.aio.AioRpcError) -> SecAggError:
    """The named error that a failed call carries."""
    trailers = dict(error.trailing_metadata() or ())
    return decode_failure(errors_pb2.ErrorDetail.FromString(bytes(trailers[TRAILER])))


def opening_parts(config: RoundConfig | bytes, round_id: bytes) -> list[control_pb.OpenRoundPart]:
    data = config if isinstance(config, bytes) else encode_config(config)
    pieces = [control_pb.OpenRoundPart(config=data[i : i + 100]) for i in range(0, len(data), 100)]
    pieces[0].round_id = round_id
    return pieces


class Director:
    """The FL server's side, on the bare control-plane stub."""

    def __init__(self, stub: Any) -> None:
        self.stub = stub

    async def open(self, config: RoundConfig | bytes, round_id: bytes | None = None) -> RoundId:
        parts = opening_parts(config, os.urandom(16) if round_id is None else round_id)
        return RoundId((await self.stub.OpenRound(iter(parts), timeout=PATIENCE_S)).round_id)

    async def watch(self, round_id: RoundId) -> list[WatchedEvent]:
        """Every event until the end."""
        request = control_pb.WatchRoundRequest(round_id=round_id)
        return [
            decode_event(event)[1]
            async for together in self.stub.WatchRound(request, timeout=PATIENCE_S)
            for event in together.events
        ]

    async def aggregate(self, round_id: RoundId, config: RoundConfig) -> Aggregate:
        call = self.stub.FetchAggregate(control_pb.FetchRequest(round_id=round_id), timeout=PATIENCE_S)
        return decode_aggregate([part async for part in call], config)

    async def abort(self, round_id: RoundId, reason: str = "") -> None:
        await self.stub.AbortRound(control_pb.AbortRoundRequest(round_id=round_id, reason=reason), timeout=PATIENCE_S)

    async def list(self, task: str = "") -> list[control_pb.RoundSummary]:
        return [s async for s in self.stub.ListRounds(control_pb.ListRoundsRequest(task=task), timeout=PATIENCE_S)]


@dataclass
class Player:
    """One participant on the bare data-plane stub: `say` sends what comes next and takes the answer."""

    name: ParticipantId
    stub: Any
    value: float = 0.5
    participant: Participant = field(init=False)
    round: Round = field(init=False)
    next: AdvertiseKeys | Reply = field(init=False)
    receipt: pb.Receipt | None = None

    async def find(self, *, round_id: bytes = b"", task: str = "", seen: Sequence[bytes] = ()) -> Round:
        request = pb.FindRoundRequest(seen=seen)
        if round_id:
            request.round_id = round_id
        else:
            request.task = task
        parts = [part async for part in self.stub.FindRound(request, timeout=PATIENCE_S)]
        config_bytes = b"".join(part.config for part in parts)
        config = decode_config(config_bytes)
        found = RoundId(parts[0].round_id)
        self.round = Round(found, config, bind(found, config_bytes, config.model_digest))
        return self.round

    async def join(self, round_id: bytes) -> None:
        await self.find(round_id=round_id)
        config = self.round.config
        credentials = None
        if config.threat_model is ACTIVE:
            credentials = Credentials(site().identity(self.name), site().trust)
        update = {"values": np.full(config.schema.arrays[0].shape, self.value, np.float32)}
        encoder = config.code.encode(config.schema.check(update), 1, Secret(bytes(32)), self.round.context)
        policy = Policy(threat_models=frozenset(ThreatModel), min_colluding_share=0.0)
        self.vector = encoder
        self.participant = Participant(Membership(self.round, self.name, policy, SystemRng(), credentials), encoder)
        self.next = self.participant.advertisement

    async def say(self) -> None:
        """One phase."""
        answer = await self.send(self.next)
        if answer is not None:
            self.next = self.participant.receive(answer, time.time())

    async def send(self, message: AdvertiseKeys | Reply) -> CoordinatorMessage | None:
        """Send a message; the answer that closes its phase. None after the last."""
        match message:
            case AdvertiseKeys():
                return await self.advertise(message)
            case ShareKeys():
                call = self.stub.Share(encode_share_keys(message), **self.options)
                return decode_share_delivery([part async for part in call])
            case MaskedVector():
                return await self.upload(message)
            case ConsistencyCheck():
                request = pb.CheckRequest(round_id=self.round.round_id, check=CONSISTENCY_CHECK.encode(message))
                return decode_proof([p async for p in self.stub.Check(request, timeout=PATIENCE_S)])
            case Unmask():
                self.receipt = await self.stub.Reveal(encode_unmask(message), **self.options)
                return None

    async def advertise(self, keys: AdvertiseKeys) -> CoordinatorMessage:
        request = pb.AdvertiseRequest(round_id=self.round.round_id, keys=encode_advertise(keys))
        return decode_roster([part async for part in self.stub.Advertise(request, timeout=PATIENCE_S)])

    async def upload(self, chunks: Iterable[MaskedInputChunk]) -> CoordinatorMessage:
        sent = (MASKED_INPUT_CHUNK.encode(chunk) for chunk in chunks)
        return SURVIVOR_SET.decode(await self.stub.SendInput(sent, **self.options))

    async def progress(self) -> int:
        request = pb.InputProgressRequest(round_id=self.round.round_id)
        reply: pb.InputProgressReply = await self.stub.InputProgress(request, timeout=PATIENCE_S)
        return reply.next_chunk

    async def leave(self, reason: LeaveReason = LeaveReason.CANCELLED) -> None:
        request = pb.LeaveRequest(round_id=self.round.round_id, leave=encode_leave(Leave(reason)))
        await self.stub.LeaveRound(request, timeout=PATIENCE_S)

    async def aggregate(self) -> Aggregate:
        request = pb.FetchAggregateRequest(round_id=self.round.round_id)
        call = self.stub.FetchAggregate(request, timeout=PATIENCE_S)
        return decode_aggregate([part async for part in call], self.round.config)

    async def play(self, *, leave_before: Phase | None = None) -> None:
        """Everything to the receipt, or up to a phase that it leaves the round before sending in."""
        while self.receipt is None:
            if leave_before is not None and phase_of(self.next) is leave_before:
                return await self.leave()
            await self.say()
        return None

    @property
    def options(self) -> dict[str, Any]:
        return {"metadata": ((ROUND_METADATA, self.round.round_id),), "timeout": PATIENCE_S}


def phase_of(message: AdvertiseKeys | Reply) -> Phase:
    return Phase.MASKED_INPUT if isinstance(message, MaskedVector) else SENT_IN[type(message)]


@dataclass
class Stage:
    """A coordinator in this process, its FL server and its participants, each on a connection of its own."""

    server: RunningServer
    director: Director
    players: dict[ParticipantId, Player]

    def some(self, count: int) -> list[Player]:
        return list(self.players.values())[:count]

    async def open(self, config: RoundConfig) -> tuple[RoundId, list[Player]]:
        """A round that its participants know of."""
        round_id = await self.director.open(config)
        people = self.some(config.max_participants)
        await asyncio.gather(*(p.join(round_id) for p in people))
        return round_id, people


def channel(address: str, certificate: IssuedCertificate | None) -> grpc.aio.Channel:
    """To the data plane, with this identity."""
    key, chain = (certificate.key_pem.expose(), certificate.certificate_pem) if certificate else (None, None)
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(site().ca_pem, key, chain))


@asynccontextmanager
async def stage(folder: Path, *, clock: Clock = time.time, **changes: Any) -> AsyncIterator[Stage]:
    async with running_server(make_settings(folder, **changes), clock=clock) as server:
        channels = {name: channel(server.data_address, site().people[name]) for name in NAMES}
        control = grpc.aio.insecure_channel(server.control_address)
        try:
            players = {
                name: Player(name, stubs.data_plane(c), value=0.1 * (i + 1))
                for i, (name, c) in enumerate(channels.items())
            }
            yield Stage(server, Director(stubs.control_plane(control)), players)
        finally:
            await asyncio.gather(control.close(), *(c.close() for c in channels.values()))


async def refused(work: Awaitable[object], status: grpc.StatusCode) -> SecAggError:
    """The named error with which the call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await work
    assert caught.value.code() is status
    return failure_of(caught.value)


def true_sum(people: Iterable[Player]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Σ of what the players put in."""
    total: np.ndarray[Any, np.dtype[np.uint64]] = np.uint64(0)  # type: ignore[assignment]
    for player in people:
        config = player.round.config
        total = total + player.vector.read(0, config.vector_len, config.ring_dtype).astype(np.uint64)
    return total
