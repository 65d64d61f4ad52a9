"""Calls over a coordinator's gateway, as a channel that the synchronous `Client` takes in place of gRPC's."""

import base64
import http.client
import json
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import grpc
from google.protobuf.message import Message
from secagg_client.retry import RetryPolicy
from secagg_client.sync.client import Client
from secagg_client.sync.connection import Connection
from secagg_client.transport import channels
from secagg_server.gateway.tokens import issue

from secagg.crypto.secret import Secret
from secagg.errors import ParticipationCancelled
from secagg.messages import ParticipantId
from secagg.wire.calls import ROUND_METADATA
from secagg.wire.failures import TRAILER
from secagg.wire.v1 import gateway_pb2 as pb
from tests.serving import Stage, site

KEY: Final = Secret(bytes(range(32)))
"""Of the tokens of tests."""

SERVICE: Final = "/secagg.wire.v1.Gateway"

WAIT_MS: Final = 10_000

BATCH_BYTES: Final = 1 << 20


def token_of(name: str, life_s: float = 600.0, key: Secret = KEY) -> str:
    return issue(key, ParticipantId(name), time.time() + life_s)


def with_gateway(folder: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a coordinator with a gateway."""
    keys = folder / "token.keys"
    keys.touch(mode=0o600)
    keys.write_text(KEY.expose().hex() + "\n")
    return {"gateway": "127.0.0.1:0", "gateway_token_key": keys, **changes}


def address_of(s: Stage) -> str:
    """HOST:PORT of the gateway of a coordinator that has one."""
    assert s.server.gateway is not None
    return str(s.server.gateway.listens)


def believing() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=site().ca_pem.decode())


class Post:
    """One HTTPS connection to a gateway: a request at a time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._http = self._opened()

    def _opened(self) -> http.client.HTTPSConnection:
        host, _, port = self._address.rpartition(":")
        return http.client.HTTPSConnection(host, int(port), context=believing(), timeout=60)

    def renew(self) -> None:
        self._http.close()
        self._http = self._opened()

    def close(self) -> None:
        self._http.close()

    def __call__(self, path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> tuple[int, bytes, Any]:
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
        self.status, self.error = status, error

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode[self.error["code"].upper()]

    def details(self) -> str:
        return str(self.error["message"])

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        given = [one["value"] for one in self.error.get("details", ())]
        return tuple((TRAILER, base64.b64decode(value + "=" * (-len(value) % 4))) for value in given)


class Broken:
    """The connection broke."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "the connection to the gateway broke"

    def trailing_metadata(self) -> tuple[()]:
        return ()


class GatewayChannel:
    """Has what `secagg_client.transport.sync.Channel` has."""

    def __init__(self, target: str, name: ParticipantId) -> None:
        self.target = target
        self.token = token_of(name)
        self.chain = site().identity(name).chain
        self.post = Post(target)
        self.sends: Callable[[str, pb.SubmitRequest], None] = lambda method, request: None
        """Told of each Submit before it is sent."""

    def call(
        self, path: str, requests: Iterator[bytes], timeout_s: float | None, metadata: channels.Metadata
    ) -> "GatewayCall":
        del timeout_s
        return GatewayCall(self, path.rpartition("/")[2], requests, dict(metadata).get(ROUND_METADATA, b""))

    def renew(self) -> None:
        self.post.renew()

    def close(self) -> None:
        self.post.close()

    def rpc(self, name: str, request: Message) -> bytes:
        try:
            return self.post.rpc(name, self.token, request)
        except (OSError, http.client.HTTPException):
            self.post.renew()
            raise channels.CallFailed(Broken()) from None


class GatewayCall:
    """Has what `secagg_client.transport.sync.RunningCall` has."""

    def __init__(self, channel: GatewayChannel, method: str, requests: Iterator[bytes], round_id: Any) -> None:
        self._channel = channel
        self._id = os.urandom(16)
        self._method = method
        self._begin = {"method": method, "round_id": round_id, "certificates": channel.chain}
        self._requests: Iterator[bytes] | None = requests
        self._parts: list[bytes] = []
        self._next = 0
        self._end = False
        self._cancelled = False

    def read(self) -> bytes | None:
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


def client_over(address: str, name: ParticipantId, **options: Any) -> tuple[Client, GatewayChannel]:
    """A client whose calls go over the gateway, and its channel."""
    client = Client(address, identity=site().identity(name), trust=site().trust, **options)
    client._connection.close()
    channel = GatewayChannel(address, name)
    client._connection = Connection(channel, options.get("retry") or RetryPolicy())  # type: ignore[arg-type]
    return client, channel
