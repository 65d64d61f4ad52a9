"""Calls over a coordinator's gateway, as a channel that the synchronous `Client` takes in place of gRPC's.

Participants in Python have gRPC. This is what measures the gateway, and what tests it.
"""

import base64
import http.client
import json
import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any, Final, Self
from urllib.parse import quote

import grpc
from google.protobuf.message import Message
from secagg_client import Client, RetryPolicy
from secagg_client.participation.terms import load
from secagg_client.sync.connection import Connection
from secagg_client.transport import channels
from secagg_server.gateway.tokens import issue, read_keys

from secagg.errors import ParticipationCancelled
from secagg.messages import ParticipantId
from secagg.programs.keyfiles import read_private
from secagg.wire.calls import ROUND_METADATA
from secagg.wire.failures import TRAILER
from secagg.wire.v1 import gateway_pb2 as pb

SERVICE: Final = "/secagg.wire.v1.Gateway"

WAIT_MS: Final = 10_000

TOKEN_LIFE_S: Final = 3600.0

BATCH_BYTES: Final = 1 << 20
"""Messages of a request, but for the last of them."""


class Post:
    """One HTTPS connection to a gateway: a request at a time."""

    def __init__(self, address: str, tls: ssl.SSLContext) -> None:
        """Args:
        address: HOST:PORT of the gateway.
        tls: whom to believe.
        """
        self._address = address
        self._tls = tls
        self._http = self._opened()

    def _opened(self) -> http.client.HTTPSConnection:
        host, _, port = self._address.rpartition(":")
        return http.client.HTTPSConnection(host, int(port), context=self._tls, timeout=60)

    def renew(self) -> None:
        """Connect anew."""
        self._http.close()
        self._http = self._opened()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __call__(self, path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> tuple[int, bytes, Any]:
        """Status, body and headers of the answer."""
        self._http.request(method, quote(path), body, headers)
        answer = self._http.getresponse()
        return answer.status, answer.read(), answer.headers

    def rpc(self, name: str, token: str, request: Message) -> bytes:
        """The body of a good answer; `channels.CallFailed` for any other."""
        headers = {"authorization": f"Bearer {token}", "content-type": "application/proto"}
        status, body, _ = self(f"{SERVICE}/{name}", request.SerializeToString(), headers)
        if status == 200:
            return body
        raise channels.CallFailed(Failed(status, json.loads(body)))


class Failed:
    """An error of the Connect protocol, in gRPC's words."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        """Args:
        status: of HTTP.
        error: the JSON of the body.
        """
        self.status, self.error = status, error

    def code(self) -> grpc.StatusCode:
        """The status."""
        return grpc.StatusCode[self.error["code"].upper()]

    def details(self) -> str:
        """For people."""
        return str(self.error["message"])

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The named error, where there is one."""
        given = [one["value"] for one in self.error.get("details", ())]
        return tuple((TRAILER, base64.b64decode(value + "=" * (-len(value) % 4))) for value in given)


class Broken:
    """The connection broke."""

    def code(self) -> grpc.StatusCode:
        """The status."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """For people."""
        return "the connection to the gateway broke"

    def trailing_metadata(self) -> tuple[()]:
        """The named error, where there is one."""
        return ()


class GatewayChannel:
    """Has what `secagg_client.transport.sync.Channel` has.

    Attributes:
        target: HOST:PORT of the gateway.
        sends: told of each Submit before it is sent, with the call's method; it may cancel the call.
    """

    def __init__(self, target: str, token: str, chain: Sequence[bytes], tls: ssl.SSLContext) -> None:
        """Args:
        target: HOST:PORT of the gateway.
        token: of the participant.
        chain: its certificates, DER, leaf first.
        tls: whom to believe.
        """
        self.target = target
        self.sends: Callable[[str, pb.SubmitRequest], None] = lambda method, request: None
        self._token = token
        self._chain = chain
        self._post = Post(target, tls)

    @classmethod
    def from_files(cls, target: str, identity: Path, token_keys: Path) -> Self:
        """The channel of who has the keys of tokens.

        Args:
            target: HOST:PORT of the gateway.
            identity: folder with the participant's cert.pem, key.pem and ca.pem.
            token_keys: file with the keys of tokens.
        """
        own, _ = load(identity / "cert.pem", identity / "key.pem", identity / "ca.pem")
        first, *_ = read_keys(read_private(token_keys))
        token = issue(first, ParticipantId(own.participant_id), time() + TOKEN_LIFE_S)
        return cls(target, token, own.chain, ssl.create_default_context(cafile=identity / "ca.pem"))

    def call(
        self, path: str, requests: Iterator[bytes], timeout_s: float | None, metadata: channels.Metadata
    ) -> "GatewayCall":
        """Make a call; nothing is sent before its answer is read."""
        del timeout_s
        return GatewayCall(self, path.rpartition("/")[2], requests, dict(metadata).get(ROUND_METADATA, b""))

    def begin(self, method: str, round_id: Any) -> dict[str, Any]:
        """What the request that begins a call says of it."""
        return {"method": method, "round_id": round_id, "certificates": self._chain}

    def renew(self) -> None:
        """Connect anew."""
        self._post.renew()

    def close(self) -> None:
        """Close the connection."""
        self._post.close()

    def rpc(self, name: str, request: Message) -> bytes:
        """The body of a good answer; `channels.CallFailed` for any other, or for none."""
        try:
            return self._post.rpc(name, self._token, request)
        except (OSError, http.client.HTTPException):
            self._post.renew()
            raise channels.CallFailed(Broken()) from None


class GatewayCall:
    """Has what `secagg_client.transport.sync.RunningCall` has."""

    def __init__(self, channel: GatewayChannel, method: str, requests: Iterator[bytes], round_id: Any) -> None:
        """Args:
        channel: that carries it.
        method: name of the RPC.
        requests: what goes up.
        round_id: of the round that it is of; empty if of none.
        """
        self._channel = channel
        self._id = os.urandom(16)
        self._method = method
        self._begin = channel.begin(method, round_id)
        self._requests: Iterator[bytes] | None = requests
        self._parts: list[bytes] = []
        self._next = 0
        self._end = False
        self._cancelled = False

    def read(self) -> bytes | None:
        """The next message; None behind the last."""
        if self._requests is not None:
            requests, self._requests = self._requests, None
            self._submit(requests)
        if self._cancelled:
            raise ParticipationCancelled("the call was cancelled")
        while not self._parts and not self._end:
            request = pb.PollRequest(call_id=self._id, number=self._next, wait_ms=WAIT_MS)
            reply = pb.PollReply.FromString(self._channel.rpc("Poll", request))
            self._parts, self._end = list(reply.parts), reply.end
            self._next += len(reply.parts)
            if self._cancelled:
                raise ParticipationCancelled("the call was cancelled")
        return self._parts.pop(0) if self._parts else None

    def cancel(self) -> None:
        """End the call."""
        if not self._end:
            self._cancelled = self._end = True
            with suppress(channels.CallFailed):
                self._channel.rpc("End", pb.EndRequest(call_id=self._id))

    def _submit(self, requests: Iterator[bytes]) -> None:
        number, following = 0, next(requests, None)
        while True:
            messages: list[bytes] = []
            while following is not None and sum(map(len, messages)) < BATCH_BYTES:
                messages.append(following)
                following = next(requests, None)
            while True:
                request = pb.SubmitRequest(
                    call_id=self._id, number=number, messages=messages, last=following is None, **self._begin
                )
                self._channel.sends(self._method, request)
                if self._cancelled:
                    return
                reply = pb.SubmitReply.FromString(self._channel.rpc("Submit", request))
                self._begin = {}
                taken = reply.next - number
                number, messages = reply.next, messages[taken:]
                if reply.answered or not messages:
                    break
            if reply.answered or following is None:
                return


def over_gateway(client: Client, channel: GatewayChannel, retry: RetryPolicy | None = None) -> Client:
    """The client, whose calls go over the gateway from now on."""
    client._connection.close()
    client._connection = Connection(channel, retry or RetryPolicy())  # type: ignore[arg-type]
    return client
