"""Calls of the data plane that the gateway holds open in a participant's place, between two of its requests.

A held call is a task that runs what answers the call of gRPC, too. It reads what requests bring, and keeps what they
have not fetched yet: at most about a megabyte, then it waits. If its participant says nothing for a while the call
ends, as one over gRPC ends with its connection, and the participant makes it again. So nothing here has to outlive a
restart.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from ssl import DER_cert_to_PEM_cert
from typing import Final, cast

from secagg.context import ROUND_ID_SIZE
from secagg.crypto.certificates import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH
from secagg.errors import AuthenticationError, DecodeError, ProtocolViolation
from secagg.wire.calls import ROUND_METADATA
from secagg.wire.v1 import gateway_pb2 as pb
from secagg_server.calls.carrier import Carrier
from secagg_server.calls.handlers import Answer
from secagg_server.calls.incoming import MAX_PARTS, IncomingCall
from secagg_server.calls.statuses import CallProgress, Told, observed, told_of
from secagg_server.limits.call_limiter import CallLimiter, Slot
from secagg_server.notifier import Notifier
from secagg_server.observability.observer import Observer
from secagg_server.rounds.suspension import Suspended

CALL_ID_SIZE: Final = 16

MAX_WAIT_S: Final = 25.0
"""Within so many seconds a request is answered, whether there is something to say or not: proxies and phones cut off
what takes a minute."""

KEPT_BYTES: Final = 1 << 20
"""Of an answer: when so much waits to be fetched, no more is made."""

UNKNOWN: Final = "the gateway does not hold this call, or no longer: make it again"


class CallFailed(Exception):
    """A held call has failed; `told` is what its participant is told."""

    def __init__(self, told: Told) -> None:
        super().__init__(told.message)
        self.told = told


class HeldCall:
    """One call: what requests brought and was not read yet, and what was answered and not fetched yet.

    It is what brings the call to the data plane, too (`Carrier`).

    Attributes:
        attended_s: when a request about it last ended, in seconds of the monotonic clock.
        requests: about it that are under way.
    """

    def __init__(self, metadata: Sequence[tuple[str, bytes]], shown: bytes) -> None:
        """Args:
        metadata: of the call.
        shown: the certificates that its participant showed, PEM.
        """
        self.attended_s = time.monotonic()
        self.requests = 0
        self._metadata = metadata
        self._shown = shown
        self._messages: deque[bytes] = deque()
        self._taken = 0
        self._last = False
        self._parts: deque[bytes] = deque()
        self._first = 0  # number of the first part that is kept
        self._answered = False
        self._over = False
        self._failed: Told | None = None
        self._polls = 0
        self._turn = asyncio.Lock()
        self._changed = Notifier()

    # --- what the data plane sees -------------------------------------------------------------------------------------

    def invocation_metadata(self) -> Sequence[tuple[str, bytes]]:
        """The round, where the call is of one."""
        return self._metadata

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """The certificates, by the name that gRPC has for them."""
        return {"x509_pem_cert": [self._shown]}

    async def read(self) -> bytes | None:
        """The next message; None behind the last."""
        while not self._messages:
            if self._last:
                return None
            await self._changed.wait()
        self._taken += 1
        message = self._messages.popleft()
        self._changed.notify()
        return message

    async def run(self, answer: AsyncGenerator[bytes, None], call: CallProgress, slot: Slot) -> None:
        """Make the answer, and keep what is not fetched yet, until the task is cancelled."""
        try:
            async with aclosing(answer) as parts:
                async for part in parts:
                    self._answered = True
                    self._parts.append(part)
                    call.bytes_out += len(part)
                    self._count(slot)
                    while self._kept >= KEPT_BYTES:
                        self._changed.notify()
                        await self._changed.wait()
                        self._count(slot)
        except asyncio.CancelledError:
            self._fail(Suspended(UNKNOWN))
            raise
        except Exception as error:  # the outermost frame; the observer was told
            self._fail(error)
            raise
        finally:
            self._answered = self._over = True
            self._changed.notify()

    def _check_failed(self) -> None:
        if self._failed is not None:
            raise CallFailed(self._failed)

    def _fail(self, error: BaseException) -> None:
        """Nobody gets the parts of an answer that failed."""
        self._failed = told_of(error)
        self._parts.clear()  # check: failed-answer-kept

    @property
    def _kept(self) -> int:
        return sum(map(len, self._parts))

    def _count(self, slot: Slot) -> None:
        slot.let_go()
        slot.hold(self._kept)

    # --- what requests do ---------------------------------------------------------------------------------------------

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Inside, a request is about this call, so nobody has left it."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
            self.attended_s = time.monotonic()

    async def bring(self, request: pb.SubmitRequest) -> pb.SubmitReply:
        """Let the data plane take messages. What it does not take in time has to be brought again.

        Raises:
            DecodeError: there are more than `MAX_PARTS` messages.
            ProtocolViolation: messages before these are missing, or more come behind the last one.
            CallFailed: the call has failed.
        """
        if len(request.messages) > MAX_PARTS:  # check: messages-of-one-request
            raise DecodeError(f"a request brings at most {MAX_PARTS} messages")
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_WAIT_S), self._turn:
                await self._bring(request)
        self._check_failed()
        return pb.SubmitReply(next=self._taken, answered=self._answered)

    async def _bring(self, request: pb.SubmitRequest) -> None:
        if request.number > self._taken:  # check: messages-in-order
            raise ProtocolViolation(f"message {request.number} came, and the next one is {self._taken}")
        fresh = request.messages[self._taken - request.number :]
        if self._last and fresh:
            raise ProtocolViolation("a message came behind the last one")
        self._messages.extend(fresh)
        self._changed.notify()
        try:
            while self._messages and not self._over:
                await self._changed.wait()
            self._last = self._last or request.last
            self._changed.notify()
        finally:
            self._messages.clear()

    async def poll(self, request: pb.PollRequest) -> pb.PollReply:
        """Wait for the answer: for all of it, or for as much as is made before some is fetched. A newer poll takes the
        place of an older one.

        Raises:
            ProtocolViolation: the part that is asked for is gone, or there are others before it.
            CallFailed: the call has failed.
        """
        self._check_failed()
        if not 0 <= request.number - self._first <= len(self._parts):  # check: parts-in-order
            raise ProtocolViolation(
                f"part {request.number} is asked for, and parts {self._first} to {self._first + len(self._parts)} are "
                "here"
            )
        while self._first < request.number:
            self._parts.popleft()
            self._first += 1
        self._polls = mine = self._polls + 1
        self._changed.notify()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(request.wait_ms / 1000, MAX_WAIT_S)):
                while not self._over and self._kept < KEPT_BYTES:
                    if self._polls != mine:  # check: one-poll-of-a-call
                        return pb.PollReply()
                    await self._changed.wait()
        self._check_failed()
        return pb.PollReply(parts=self._parts, end=self._over)


class HeldCalls:
    """The calls that are held, by whose they are and by their ids."""

    def __init__(
        self,
        answers: Mapping[str, Answer],
        who: Callable[[Carrier], str],
        limiter: CallLimiter,
        observer: Observer,
        *,
        read_timeout_s: float,
        idle_s: float,
    ) -> None:
        """Args:
        answers: of the data plane, by the names of its calls.
        who: whose certificates a call shows, or `AuthenticationError`.
        limiter: counts the calls of participants, here and over gRPC.
        observer: hears how each call ended.
        read_timeout_s: as of `IncomingCall`.
        idle_s: how long a call may be without a request, in seconds.
        """
        self._answers = answers
        self._who = who
        self._limiter = limiter
        self._observer = observer
        self._read_timeout_s = read_timeout_s
        self._idle_s = idle_s
        self._calls: dict[tuple[str, bytes], HeldCall] = {}
        self._tasks: dict[HeldCall, asyncio.Task[None]] = {}
        self._forgot = Notifier()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._calls)

    async def submit(self, caller: str, address: str, request: pb.SubmitRequest) -> pb.SubmitReply:
        """Begin a call, or bring more of what goes up in it.

        Raises:
            ProtocolViolation, CallFailed: as `HeldCall.bring`.
            AuthenticationError: the certificates are not the caller's.
            DecodeError: the request is none of this protocol.
            LimitError: the caller has too many calls.
            Suspended: the call is not held.
        """
        key = (caller, request.call_id)
        call = self._calls.get(key)
        if call is None:
            call = self._begin(key, address, request)
        with call.attended():
            return await call.bring(request)

    async def poll(self, caller: str, request: pb.PollRequest) -> pb.PollReply:
        """Wait for the answer of a call. Raises as `HeldCall.poll`, and `Suspended` where the call is not held."""
        call = self._calls.get((caller, request.call_id))
        if call is None:
            raise Suspended(UNKNOWN)
        with call.attended():
            return await call.poll(request)

    def forget(self, caller: str, call_id: bytes) -> None:
        """End the call, if it is held: its answer was fetched, or is not wanted."""
        call = self._calls.pop((caller, call_id), None)
        if call is not None:
            self._tasks.pop(call).cancel()
            self._forgot.notify()

    def shut_out(self, caller: str) -> None:
        """End every call of `caller`, who may not take part any more."""
        for key in [key for key in self._calls if key[0] == caller]:
            self.forget(*key)

    async def stop(self, grace_s: float) -> None:
        """Begin no more calls, give participants so many seconds to fetch answers, and end all calls."""
        self._stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._calls:
                    await self._forgot.wait()
        tasks = list(self._tasks.values())
        for key in list(self._calls):
            self.forget(*key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: tuple[str, bytes], address: str, request: pb.SubmitRequest) -> HeldCall:
        caller, call_id = key
        if self._stopping:
            raise Suspended
        if not request.method or request.number:
            raise Suspended(UNKNOWN)
        answer = self._answers.get(request.method)
        if answer is None or len(call_id) != CALL_ID_SIZE or len(request.round_id) not in {0, ROUND_ID_SIZE}:
            raise DecodeError("a call has an id of 16 bytes, a method of the data plane, and at most one round")
        metadata = [(ROUND_METADATA, request.round_id)] if request.round_id else []
        slot = self._limiter.admit(caller)
        try:
            call = HeldCall(metadata, _pem(request.certificates))
            if self._who(call) != caller:  # check: token-names-certificate
                raise AuthenticationError("token and certificate name different participants")
        except BaseException:
            slot.end()
            raise
        progress = CallProgress("gateway", request.method, address, caller=caller)
        self._calls[key] = call
        self._tasks[call] = task = asyncio.create_task(self._run(call, answer, progress, slot))
        task.add_done_callback(lambda _: slot.end())
        self._look_after(key, call)
        return call

    async def _run(self, call: HeldCall, answer: Answer, progress: CallProgress, slot: Slot) -> None:
        incoming = IncomingCall(call, progress, slot, self._read_timeout_s)
        with suppress(Exception):  # the caller is told by its polls, and the observer was
            async with observed(progress, self._observer):
                await call.run(cast("AsyncGenerator[bytes, None]", answer(incoming)), progress, slot)
        await asyncio.Event().wait()  # counted until it is forgotten

    def _look_after(self, key: tuple[str, bytes], call: HeldCall) -> None:
        """End the call when nobody has asked for it for too long."""
        if self._calls.get(key) is not call:
            return
        left_s = self._idle_s if call.requests else call.attended_s + self._idle_s - time.monotonic()
        if left_s <= 0:  # check: calls-left
            self.forget(*key)
        else:
            asyncio.get_running_loop().call_later(left_s, self._look_after, key, call)


def _pem(certificates: Sequence[bytes]) -> bytes:
    """A chain as TLS would have it."""
    too_long = any(len(one) > MAX_CERTIFICATE_BYTES for one in certificates)
    if len(certificates) > MAX_CHAIN_LENGTH or too_long:  # check: chain-bounded
        raise DecodeError(f"a chain has at most {MAX_CHAIN_LENGTH} certificates of {MAX_CERTIFICATE_BYTES} bytes")
    return "".join(map(DER_cert_to_PEM_cert, certificates)).encode()
