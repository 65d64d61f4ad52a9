"""Handlers of calls, without a network: a caller is known and counted before a byte is read; all reading is bounded."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from secagg_server.calls import handlers, incoming
from secagg_server.calls.control_plane import ControlPlane
from secagg_server.calls.data_plane import DataPlane
from secagg_server.calls.handlers import Answer, Plane, ServiceHandler
from secagg_server.calls.incoming import IncomingCall
from secagg_server.certificates.callers import Callers
from secagg_server.certificates.denied import DenyList
from secagg_server.limits.call_limiter import CallLimiter
from secagg_server.network.peers import LocalPeers
from secagg_server.observability.logs import LogListener, ThrottledLog
from secagg_server.observability.observer import Observer
from secagg_server.storage.memory import MemoryStore
from structlog.testing import capture_logs

from secagg.crypto.identity import TrustAnchors
from secagg.errors import AuthenticationError, DecodeError, LimitError, NotInRoundError, SecAggError
from secagg.wire.calls import CONTROL_CALLS, DATA_CALLS
from secagg.wire.counting import MAX_FIELDS
from secagg.wire.failures import TRAILER, decode_failure
from secagg.wire.parsing import parse
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg.wire.v1 import errors_pb2
from tests.serving import NAMES, PATIENCE_S, site

METHOD = "/service/Method"
SHARES = pb.ShareKeysPart


class Ended(Exception):
    """What grpc raises where a call is aborted."""


@dataclass
class Wire:
    """A call as a handler sees it. A read of nothing waits for ever; so does a write to a peer that takes nothing."""

    arriving: list[bytes] = field(default_factory=list)
    whole: bool = True
    taking: bool = True
    pem: bytes = b""
    reads: int = 0
    written: list[bytes] = field(default_factory=list)
    error: SecAggError | None = None

    async def read(self) -> object:
        self.reads += 1
        if self.arriving:
            return self.arriving.pop(0)
        if not self.whole:
            await asyncio.Event().wait()
        return grpc.aio.EOF

    async def write(self, part: bytes) -> None:
        if not self.taking:
            await asyncio.Event().wait()
        self.written.append(part)

    async def abort(self, code: grpc.StatusCode, details: str, trailer: Any) -> None:
        self.error = decode_failure(parse(errors_pb2.ErrorDetail, dict(trailer)[TRAILER]))
        raise Ended

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self.pem]} if self.pem else {}

    def invocation_metadata(self) -> tuple[()]:
        return ()


class Dropping(LocalPeers):
    def __init__(self) -> None:
        self.dropped: list[str] = []

    def drop(self, peer: str) -> None:
        self.dropped.append(peer)


def plane_of(limiter: CallLimiter | None = None, **changes: Any) -> Plane:
    given: dict[str, Any] = {"who": lambda _: "clinic", "peers": LocalPeers(), "read_timeout_s": PATIENCE_S}
    given |= {"name": "data", "observer": Observer(LogListener())}
    return Plane(**{**given, "limiter": limiter or CallLimiter(2, 100), "write_timeout_s": None, **changes})


async def made(wire: Wire, answer: Answer, plane: Plane) -> Wire:
    handler = ServiceHandler("service", {"Method": answer}, plane)._handlers[METHOD]
    try:
        await handler.stream_stream(None, wire)
    except Ended:
        assert wire.error is not None
    return wire


async def echo(call: IncomingCall) -> AsyncIterator[bytes]:
    yield (await call.one(pb.InputProgressRequest)).SerializeToString()


async def collect(call: IncomingCall) -> AsyncIterator[bytes]:
    parts = await call.all(SHARES, 1 << 20)
    yield bytes(len(parts))


REQUEST = pb.InputProgressRequest(round_id=bytes(16)).SerializeToString()


async def test_a_call_is_answered() -> None:
    wire = await made(Wire([REQUEST]), echo, plane_of())
    assert wire.written == [REQUEST]
    wire = await made(Wire([SHARES().SerializeToString()] * 3), collect, plane_of())
    assert wire.written == [bytes(3)]


async def test_a_caller_without_room_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = CallLimiter(2, 100)
    plane = plane_of(limiter)
    hanging = [asyncio.ensure_future(made(Wire(whole=False), echo, plane)) for _ in range(2)]
    await asyncio.sleep(0)
    with capture_logs() as log:
        refused = await made(Wire([REQUEST]), echo, plane)
    assert isinstance(refused.error, LimitError)
    assert refused.reads == 0
    assert [(line["event"], line["participant"], line["error"]) for line in log] == [
        ("call_refused", "clinic", "LimitError")
    ]
    for task in hanging:
        task.cancel()
    await asyncio.wait(hanging)
    assert (await made(Wire([REQUEST]), echo, plane)).written == [REQUEST]  # what was cancelled counts no longer
    monkeypatch.setattr(CallLimiter, "_enter", lambda *_: None)  # the twin: it takes as many as it likes
    monkeypatch.setattr(CallLimiter, "_leave", lambda *_: None)
    more = [asyncio.ensure_future(made(Wire(whole=False), echo, plane_of(limiter))) for _ in range(50)]
    await asyncio.sleep(0)
    assert limiter._in_all == 50
    for task in more:
        task.cancel()
    await asyncio.wait(more)


async def test_an_unknown_caller_is_refused_before_anything_is_read() -> None:
    def who(_: object) -> str:
        raise AuthenticationError("nobody")

    wire = await made(Wire([REQUEST]), echo, plane_of(who=who))
    assert isinstance(wire.error, AuthenticationError)
    assert wire.reads == 0


async def test_refusals_of_one_unknown_caller_do_not_hide_those_of_another() -> None:
    def who(_: object) -> str:
        raise AuthenticationError("nobody")

    at = iter(["10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "[2001:db8::1]:1", "[2001:db8::2]:1"])

    class Addresses(LocalPeers):
        def address(self, peer: str) -> str:
            return next(at)

    handler = ServiceHandler("service", {"Method": echo}, plane_of(who=who, peers=Addresses()))._handlers[METHOD]
    with capture_logs() as log:
        for _ in range(5):
            with pytest.raises(Ended):
                await handler.stream_stream(None, Wire([REQUEST]))
    assert [line["address"] for line in log] == ["10.0.0.1:1", "10.0.0.2:1", "[2001:db8::1]:1"]


async def test_a_message_that_does_not_arrive_is_a_matter_of_limits() -> None:
    for answer in (echo, collect):
        wire = await made(Wire(whole=False), answer, plane_of(read_timeout_s=0.02))
        assert isinstance(wire.error, LimitError)
        assert "within 0.02 seconds" in str(wire.error)


async def test_a_message_of_a_phase_has_until_its_end() -> None:
    """Slow is not malformed, however long it takes; and what nobody needs any more is not waited for."""
    over, slow = asyncio.Event(), asyncio.Event()

    class Slow(Wire):
        async def read(self) -> object:
            await slow.wait()
            return await super().read()

    async def phase(call: IncomingCall) -> AsyncIterator[bytes]:
        yield bytes(len(await call.all(SHARES, 1 << 20, over.wait)))  # type: ignore[arg-type]

    plane = plane_of(read_timeout_s=0.01)
    playing = asyncio.ensure_future(made(Slow([SHARES().SerializeToString()]), phase, plane))
    await asyncio.sleep(0.05)
    assert not playing.done()
    slow.set()
    assert (await playing).written == [bytes(1)]
    over.set()
    late = await made(Wire(whole=False), phase, plane)
    assert isinstance(late.error, NotInRoundError)


async def test_long_and_malformed_messages_are_refused_by_name() -> None:
    empty = bytes([SHARES.DESCRIPTOR.fields_by_name["entries"].number << 3 | 2, 0])
    for arriving, answer in (
        ([pb.InputProgressRequest(round_id=bytes(2000)).SerializeToString()], echo),
        ([b"\xff"], echo),
        ([], echo),
        ([SHARES(commitment=bytes(1 << 19)).SerializeToString()] * 3, collect),
        ([b""] * (incoming.MAX_PARTS + 1), collect),
        ([empty * (MAX_FIELDS // 2), empty * (MAX_FIELDS // 2 + 1)], collect),  # one budget for the whole message
    ):
        assert isinstance((await made(Wire(list(arriving)), answer, plane_of())).error, DecodeError)


async def test_bytes_of_one_caller_are_bounded_over_all_of_its_calls() -> None:
    limiter = CallLimiter(9, 99, most_bytes=2500)
    part = SHARES(commitment=bytes(1000)).SerializeToString()
    first = asyncio.ensure_future(made(Wire([part] * 2, whole=False), collect, plane_of(limiter)))
    await asyncio.sleep(0.01)
    second = await made(Wire([part]), collect, plane_of(limiter))
    assert isinstance(second.error, LimitError)
    first.cancel()
    await asyncio.wait([first])
    assert (await made(Wire([part]), collect, plane_of(limiter))).written


async def test_an_answer_that_nobody_takes_ends_the_connection() -> None:
    peers, limiter = Dropping(), CallLimiter(2, 100)
    wire = await made(Wire([REQUEST], taking=False), echo, plane_of(limiter, peers=peers, write_timeout_s=0.02))
    assert peers.dropped == [wire.peer()]
    assert isinstance(wire.error, LimitError)
    assert not limiter._calls
    assert not limiter._bytes
    patient = asyncio.ensure_future(made(Wire([REQUEST], taking=False), echo, plane_of(limiter, peers=peers)))
    await asyncio.sleep(0.05)  # without a limit, the call and its count wait
    assert limiter._in_all == 1
    patient.cancel()


class Hanging(Wire):
    """The peer hangs up while a part of the answer is on its way."""

    async def write(self, part: bytes) -> None:
        await asyncio.sleep(0.01)
        raise OSError("hung up")


@pytest.mark.parametrize("quiet", [True, False])
async def test_who_hangs_up_on_an_answer_prints_nothing(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    if not quiet:  # the twin
        monkeypatch.setattr(handlers, "started", asyncio.ensure_future)
    call = asyncio.ensure_future(made(Hanging([REQUEST]), echo, plane_of()))
    await asyncio.sleep(0.005)
    call.cancel()  # as grpc does
    await asyncio.wait([call])
    del call
    await asyncio.sleep(0.02)
    gc.collect()
    assert told == ([] if quiet else ["Task exception was never retrieved"])


async def test_a_certificate_is_checked_once_and_its_times_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now, checks = time.time(), 0
    genuine = TrustAnchors.verify_participant

    def counted(self: TrustAnchors, *given: Any) -> Any:
        nonlocal checks
        checks += 1
        return genuine(self, *given)

    monkeypatch.setattr(TrustAnchors, "verify_participant", counted)
    callers = Callers(site().trust, DenyList(), lambda: now)
    context: Any = Wire(pem=site().people[NAMES[0]].certificate_pem)
    assert [callers.of(context)[1] for _ in range(3)] == [True, False, False]
    assert checks == 1
    now += 400 * 86_400
    with pytest.raises(AuthenticationError, match="expired"):
        callers.of(context)
    now -= 800 * 86_400
    with pytest.raises(AuthenticationError, match="not valid before"):
        callers.of(context)
    now += 400 * 86_400
    callers.of(context)
    callers.trust(TrustAnchors.from_pem(site().ca_pem), DenyList())
    assert callers.of(context)[1]  # a new CA: checked anew
    monkeypatch.setattr("secagg_server.certificates.callers.MAX_KNOWN", 1)
    other: Any = Wire(pem=site().people[NAMES[1]].certificate_pem)
    assert callers.of(other)[1]
    assert callers.of(context)[1]  # remembered for one alone
    with pytest.raises(AuthenticationError, match="no client certificate"):
        callers.of(Wire())
    assert [len(key) for key in callers._known] == [32]  # whatever a caller shows beside its certificate


def test_every_call_of_the_table_has_an_answer() -> None:
    assert set(DataPlane.__new__(DataPlane).answers) == {call.name for call in DATA_CALLS}
    assert set(ControlPlane.__new__(ControlPlane).answers) == {call.name for call in CONTROL_CALLS}
    assert MemoryStore().see_identity(NAMES[0], "f")


def test_refusals_do_not_fill_the_log() -> None:
    now = 0.0
    throttled = ThrottledLog(lambda: now)
    with capture_logs() as log:
        for _ in range(1000):
            throttled.info("refused", "a")
        throttled.info("refused", "b")
        now = 1.5
        throttled.info("refused", "a")
    assert log == [
        {"event": "refused", "log_level": "info"},
        {"event": "refused", "log_level": "info"},
        {"event": "refused", "log_level": "info", "unlogged": 999},
    ]
