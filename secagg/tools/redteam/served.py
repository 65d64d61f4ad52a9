"""What the status port of a real coordinator serves while a round runs, asked for all the time and all of it kept, and
what goes to a collector of traces.

This module also knows the forms in which a secret could stand in text: as it is, in hexadecimal, base64 or decimal
digits.
"""

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final
from unittest import mock

from secagg.crypto.authority import load_private_key
from secagg.crypto.secret import Secret

OPENMETRICS: Final = "application/openmetrics-text"
ASKED: Final = (("/", ""), ("/paused", ""), ("/status.json", ""), ("/metrics", ""), ("/metrics", OPENMETRICS))
"""Paths, each with what the request says that it accepts."""

PAUSE_S: Final = 0.1
_AGAIN_S: Final = 1.2  # the page and its JSON are given again for a second
_PIECE: Final = 16
"""Bytes of a secret that are looked for together."""

_PIECES: Final = 4  # of one secret
_VARIED: Final = 9  # different bytes in a piece of a secret; else it may be a constant
_TIMES: Final = frozenset(
    "at started opened closed ended deadline first last round_id uses addresses audit_head".split()  # noqa: SIM905
)
"""Fields of the status that differ between two rounds anyway."""


class Served:
    """Every different answer, with its headers.

    Attributes:
        answers: by path.
    """

    def __init__(self, address: str) -> None:
        """Args: address: HOST:PORT of the status port."""
        self.answers: dict[str, set[bytes]] = {}
        self._host, _, port = address.rpartition(":")
        self._port = int(port)

    async def ask(self) -> None:
        """Ask for everything once."""
        for path, accept in ASKED:
            self.answers.setdefault(path, set()).add(await self._answer(path, accept))

    async def _answer(self, path: str, accept: str) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode())
            return await reader.read()
        finally:
            writer.close()

    @asynccontextmanager
    async def always(self) -> Any:
        """Ask again and again inside, and once more after it, when answers are made anew."""

        async def again() -> None:
            while True:
                await self.ask()
                await asyncio.sleep(PAUSE_S)

        asking = asyncio.create_task(again())
        try:
            yield
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
        await asyncio.sleep(_AGAIN_S)
        await self.ask()

    @property
    def contents(self) -> dict[str, bytes]:
        """All that was served, by path."""
        return {path: b"\n".join(found) for path, found in self.answers.items()}

    @property
    def ended(self) -> object:
        """The last status, without times and ids: two rounds of other data have the same."""
        found = [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in self.answers["/status.json"]]
        return _timeless(max(found, key=lambda status: status["at"]))


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {name: _timeless(one) for name, one in value.items() if name not in _TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


@contextmanager
def traced() -> Iterator[list[str]]:
    """Every span that a coordinator makes inside, as JSON, once it has stopped; none where the extra `otel` is not."""
    spans: list[str] = []
    if find_spec("opentelemetry") is None:
        yield spans
        return
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415, an extra

    exporter = InMemorySpanExporter()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    traces = import_module("secagg_server.observability.traces")
    with (
        mock.patch.object(traces, "exporter", return_value=exporter),
        mock.patch.dict(os.environ, environment, clear=True),
    ):
        yield spans
    spans += [span.to_json() for span in exporter.get_finished_spans()]


@contextmanager
def secrets_made() -> Iterator[set[bytes]]:
    """Every secret that this process makes inside: keys, seeds and shares of all sides."""
    made: set[bytes] = set()
    begin = Secret.__init__

    def keeping(self: Secret, value: bytes) -> None:
        made.add(bytes(value))
        begin(self, value)

    with mock.patch.object(Secret, "__init__", keeping):
        yield made


def forms(secret: bytes) -> Iterator[bytes]:
    """How some pieces of a secret could stand somewhere. Constants and short secrets have none."""
    if secret.startswith(b"-----BEGIN"):
        # The public half stands behind the private one in such a file, and anybody may see it.
        yield from forms(load_private_key(secret).private_numbers().private_value.to_bytes(32, "big"))
        return
    pieces = [secret[at : at + _PIECE] for at in range(0, len(secret) - _PIECE + 1, _PIECE)]
    for piece in [piece for piece in pieces if len(set(piece)) >= _VARIED][:_PIECES]:
        yield from (piece, piece.hex().encode(), piece.hex().upper().encode(), *_base64(piece))
    if len(secret) <= 2 * _PIECE and pieces and len(set(secret)) >= _VARIED:
        yield from (str(int.from_bytes(secret, order)).encode() for order in ("big", "little"))


def _base64(piece: bytes) -> Iterator[bytes]:
    """The middle of its base64, wherever it stands in what is encoded, in both alphabets."""
    for before in range(3):
        text = b64encode(bytes(before) + piece)[4 if before else 0 : -4]
        yield from {text, text.translate(bytes.maketrans(b"+/", b"-_"))}


def secrets_in(places: Mapping[str, bytes], secrets: Iterable[bytes]) -> Iterator[str]:
    """A sentence for each place that holds a piece of a secret."""
    needles = {needle for secret in secrets for needle in forms(secret)}
    for place, content in places.items():
        hits = sum(needle in content for needle in needles)
        if hits:
            yield f"{hits} pieces of keys, seeds or shares are in {place}"
