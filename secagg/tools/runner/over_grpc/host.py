"""The coordinator's gRPC server: it records what arrives, and answers honestly, or as a lie says."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock
from types import TracebackType
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from secagg.errors import ProtocolViolation, SecAggError
from secagg.tools.runner.over_grpc.cohort import ME, Cohort
from secagg.wire.agreement import encode_proof
from secagg.wire.calls import DATA_CALLS, SEND_INPUT, Call, PhaseCall
from secagg.wire.failures import TRAILER, encode_failure
from secagg.wire.receipts import encode_receipt
from secagg.wire.v1 import data_plane_pb2 as pb

_ROWS: Final[Mapping[str, Call[Any]]] = {row.path: row for row in DATA_CALLS}
_CONFIG_PIECE: Final = 1 << 20
_HOLDS_S: Final = 60.0

HARMLESS: Final = frozenset({"LeaveRound", "Describe"})
"""Calls that show nothing of an update."""

Told = Sequence[Message | bytes]
"""The parts of an answer."""


class Fault(Exception):
    """The answer is a failure, in place of an answer or in the middle of it.

    Attributes:
        status: of gRPC.
        trailer: content of the trailer `secagg-error-bin`; None for a failure without one.
        after: parts that are sent before it.
    """

    def __init__(self, status: grpc.StatusCode, trailer: bytes | None = None, after: Told = ()) -> None:
        super().__init__(status)
        self.status, self.trailer, self.after = status, trailer, after


class Silence(Exception):
    """No answer comes."""


Change = Callable[[Cohort, list[Any]], Told]
"""Makes what is told of the honest parts of an answer. May raise `Fault` and `Silence`."""


Entries = dict[int, bytes]


def delivered(parts: list[Any]) -> Entries:
    """The entries of a delivery, by sender. They have one size."""
    found: Entries = {}
    for part in parts:
        size = len(part.entries) // max(len(part.peers), 1)
        found |= {peer: part.entries[at * size : (at + 1) * size] for at, peer in enumerate(part.peers)}
    return found


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call that came.

    Attributes:
        name: of the call.
        after: whether it came after the lie.
        requests: what it brought, in bytes.
    """

    name: str
    after: bool
    requests: list[bytes] = field(default_factory=list)


class Host:
    """Serves one round on loopback while it is entered.

    Attributes:
        address: HOST:PORT.
        arrivals: every call, in order.
        told: the parts of the last lie.
        unanswered: the call whose answer this side failed to make, a fault of the case; empty if there is none.
        wrong: what the program said otherwise than before, each in words.
    """

    def __init__(
        self, cohort: Cohort, at: str, change: Change, *, times: int, breaks_after: int, tls: tuple[bytes, bytes]
    ) -> None:
        """Args:
        cohort: plays the honest round.
        at: the call whose answer is changed; empty for none.
        change: how.
        times: how many answers of that call are changed.
        breaks_after: the first upload breaks after so many chunks; 0 for none.
        tls: certificate and key of the server, each PEM.
        """
        self.arrivals: list[Arrival] = []
        self.wrong: list[str] = []
        self.told: Told = ()
        self.unanswered = ""
        self._cohort, self._at, self._change, self._times = cohort, at, change, times
        self._breaks_after = breaks_after
        self._lied = False
        self._lock, self._over = Lock(), Event()
        self._heard: dict[str, list[bytes]] = {}
        self._known: dict[str, list[Message]] = {}
        self._chunks: list[bytes] = []
        self._threads = ThreadPoolExecutor(8, "conformance")
        self._server = grpc.server(self._threads, handlers=[_Calls(self.serve)])
        certificate, key = tls
        credentials = grpc.ssl_server_credentials([(key, certificate)], cohort.site.ca_pem, require_client_auth=True)
        port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"

    def __enter__(self) -> "Host":
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self._over.set()
        self._server.stop(None).wait()
        self._threads.shutdown()

    def serve(self, row: Call[Any], requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """One call."""
        arrival = Arrival(row.name, self._lied)
        self.arrivals.append(arrival)
        for request in requests:
            arrival.requests.append(request)
            if row is SEND_INPUT and self._breaks(arrival):
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection breaks")
        try:
            for part in self._answer(row, arrival.requests):
                yield part if isinstance(part, bytes) else part.SerializeToString()
        except Fault as fault:
            for part in fault.after:
                yield part if isinstance(part, bytes) else part.SerializeToString()
            if fault.trailer is not None:
                context.set_trailing_metadata(((TRAILER, fault.trailer),))
            context.abort(fault.status, "as the case says")
        except Silence:
            self._over.wait(_HOLDS_S)
        except SecAggError as error:
            context.set_trailing_metadata(((TRAILER, encode_failure(error).SerializeToString()),))
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, type(error).__name__)

    def _breaks(self, arrival: Arrival) -> bool:
        if not self._breaks_after or len(arrival.requests) < self._breaks_after:
            return False
        self._breaks_after = 0
        self._add(arrival.requests)
        return True

    def _answer(self, row: Call[Any], data: list[bytes]) -> Told:
        """What is told, honest or not. While it is made nothing else happens."""
        with self._lock:
            self.unanswered = row.name
            try:
                honest = self._honest(row, data)
                told: Told = honest
                if row.name == self._at and self._times > 0:
                    self._times -= 1
                    self._lied = True
                    told = self.told = self._change(self._cohort, [_copy(part) for part in honest])
            except (Fault, Silence, SecAggError):
                self.unanswered = ""
                raise
            self.unanswered = ""
            return told

    def _honest(self, row: Call[Any], data: list[bytes]) -> list[Message]:
        match row.name:
            case "FindRound":
                return self._offer()
            case "InputProgress":
                return [pb.InputProgressReply(next_chunk=len(self._chunks))]
            case "LeaveRound":
                return [pb.LeaveReply()]
        if row is SEND_INPUT:
            self._add(data)
            data = self._chunks
        elif row.name in self._heard and self._heard[row.name] != data:
            self._object(f"{row.name} brought other bytes when the call was made again")
        if row.name not in self._known:
            self._known[row.name] = list(self._made(row, data))
            self._heard[row.name] = list(data)
        return self._known[row.name]

    def _made(self, row: Call[Any], data: list[bytes]) -> Iterable[Message]:
        if isinstance(row, PhaseCall):
            self._cohort.take(row.phase, _brought(row, data))
            if row.ends_round:
                packed = self._cohort.packed
                return [encode_receipt(self._cohort.receipt(packed.survivors, packed.digest))]
            answers: Iterable[Message] = row.answers.parts(self._cohort.engine.answer(ME, row.phase))
            return answers
        if row.name == "Certify":
            signature = pb.CertifyRequest.FromString(data[0]).signature
            return encode_proof(self._cohort.certification(signature).proof())
        if row.name == "FetchAggregate":
            return self._cohort.packed.parts()
        raise ProtocolViolation(f"{row.name} is no call of this round", culprit=ME)

    def _offer(self) -> list[Message]:
        data, round_id = self._cohort.config_bytes, self._cohort.round.round_id
        pieces = [data[i : i + _CONFIG_PIECE] for i in range(0, len(data), _CONFIG_PIECE)]
        parts: list[Message] = [pb.RoundOfferPart(config=piece) for piece in pieces[1:]]
        return [pb.RoundOfferPart(round_id=round_id, config=pieces[0]), *parts]

    def _add(self, data: Iterable[bytes]) -> None:
        """Chunks of the vector: each is the next one."""
        for request in data:
            number = pb.MaskedInputChunk.FromString(request).number
            if number != len(self._chunks):
                self._object(f"chunk {number} came where chunk {len(self._chunks)} was to come")
            self._chunks.append(request)

    def _object(self, text: str) -> None:
        self.wrong.append(text)
        raise ProtocolViolation(text, culprit=ME)


class _Calls(grpc.GenericRpcHandler):
    """Every call is a stream of bytes, up and down."""

    def __init__(self, serve: Callable[..., Iterator[bytes]]) -> None:
        self._serve = serve

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        row = _ROWS.get(handler_call_details.method)
        return None if row is None else grpc.stream_stream_rpc_method_handler(partial(self._serve, row))


def _copy(part: Message) -> Message:
    made = type(part)()
    made.CopyFrom(part)
    return made


def _brought(row: PhaseCall[Any], data: Sequence[bytes]) -> list[Any]:
    """The messages that a call brought: one, or all chunks of a vector; errors as of the row's codec."""
    try:
        parts: list[Any] = [row.request.FromString(request) for request in data]
    except Exception as error:  # protobuf's own
        raise ProtocolViolation(f"{row.name} brought what is no message", culprit=ME) from error
    if row is SEND_INPUT:
        return [row.brings.decode(part) for part in parts]
    if row.brings.in_parts:
        return [row.brings.decode(parts)]
    [part] = parts
    return [row.brings.decode(getattr(part, row.field) if row.field else part)]
