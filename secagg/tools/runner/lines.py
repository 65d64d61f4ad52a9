"""What the runner asks a program, and what the program may answer: one JSON object on one line, each way.

docs/conformance.md describes every field. Bytes are in hex, times in milliseconds since 1970.
"""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from secagg.errors import DecodeError
from secagg.tools.conformance.document import Document

VERSION: Final = 1
"""Of these lines; a program says which it speaks."""

FAILED: Final = "InternalError"
"""What a program says that failed by itself: it refused nothing."""

MAX_LINE: Final = 64 * 1024 * 1024
"""Bytes of an answer, its newline included."""


class Feature(Enum):
    """Something that a program need not have. The cases that need it are left out for a program that has it not."""

    REPLAY = "replay"
    """It takes its random values from the runner, and its signatures are those of RFC 6979."""
    SIGNED = "signed"
    """It takes part in rounds of the active threat model."""
    MODEL_LATER = "model-later"
    RING = "ring"
    AEGIS = "aegis"
    HYBRID = "hybrid"
    """It takes part in rounds whose keys are X-Wing."""
    PIPELINE = "pipeline"
    """Steps of an encoding before the fixed point: clipping, sampling, rotation, noise."""
    INTEGERS = "integers"
    GROUPS = "groups"
    """It takes part in one group of a round in groups."""
    STATES = "states"
    """It saves its state between two messages, and another process restores it."""
    HOMOMORPHIC = "homomorphic"
    RESULTS = "results"
    """It checks receipts, certifications and aggregates."""
    GRPC = "grpc"
    """It takes part in a whole round by itself, over gRPC."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a program says of itself.

    Attributes:
        name: of the implementation, at most 100 characters.
        release: of it, at most 100 characters.
        features: what it has.
    """

    name: str
    release: str
    features: frozenset[Feature]


@dataclass(frozen=True, slots=True)
class Sends:
    """The program takes the message, and sends these in turn: each with its `type` and its `parts` in hex."""

    messages: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Refuses:
    """The program refuses the message.

    Attributes:
        error: class of the error, as PROTOCOL.md names it.
        culprit: who is to blame; None if nobody is named.
    """

    error: str
    culprit: str | None


@dataclass(frozen=True, slots=True)
class Believes:
    """The program believes a receipt or an aggregate.

    Attributes:
        sums: of an aggregate; None for a receipt.
        certified: whether enough survivors signed the result; None where no signatures were handed over.
    """

    sums: tuple[int, ...] | None
    certified: bool | None = None


@dataclass(frozen=True, slots=True)
class Signs:
    """The program signs the result of its round. `signature` in hex; empty where others sign for it."""

    signature: str


@dataclass(frozen=True, slots=True)
class Saves:
    """The program gives its state away, sealed, in hex. Another process goes on with it, or nobody does."""

    state: str


Answer = Sends | Refuses | Believes | Signs | Saves


def read(line: bytes) -> Document:
    """The object on a line of the program.

    Raises:
        DecodeError: it is none.
    """
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the program's answer is no JSON: {shown(line)}") from error
    if not isinstance(told, dict):
        raise DecodeError(f"the program's answer is no JSON object: {shown(line)}")
    return told


def read_description(told: Document) -> Description:
    """What a program says of itself.

    Raises:
        DecodeError: it is incomplete, of another version, or names an unknown feature.
    """
    if told.get("version") != VERSION:
        raise DecodeError(f"the program speaks version {told.get('version')!r} of the lines, the runner {VERSION}")
    known = {feature.value: feature for feature in Feature}
    features = _texts(told.get("features"), "features")
    if unknown := sorted(set(features) - known.keys()):
        raise DecodeError(f"the program names an unknown feature {unknown[0]!r}; there are {', '.join(sorted(known))}")
    name, release = (_short(told.get(key), key) for key in ("name", "release"))
    return Description(name, release, frozenset(known[feature] for feature in features))


def read_answer(told: Document) -> Answer:
    """An answer to anything but `describe`.

    Raises:
        DecodeError: it is none of the five, or says that the program failed by itself.
    """
    match told:
        case {"sends": list(messages), **rest} if not rest:
            return Sends(tuple(_message(message) for message in messages))
        case {"refuses": str(error), **rest} if rest.keys() <= {"culprit", "text"}:
            if error == FAILED:
                raise DecodeError(f"the program says that it failed by itself: {shown(str(rest.get('text')).encode())}")
            culprit = rest.get("culprit")
            return Refuses(error, None if culprit is None else _short(culprit, "culprit"))
        case {"believes": True, **rest} if rest.keys() <= {"sums", "certified"}:
            if not isinstance(rest.get("certified", True), bool):
                raise DecodeError("the program's certified is neither true nor false")
            return Believes(_numbers(rest["sums"]) if "sums" in rest else None, rest.get("certified"))
        case {"signs": str(signature), **rest} if not rest:
            return Signs(_hex(signature))
        case {"saves": str(state), **rest} if not rest:
            return Saves(_hex(state))
    raise DecodeError(
        f"the program answered neither sends, refuses, believes, signs nor saves: {shown(json.dumps(told).encode())}"
    )


def shown(line: bytes) -> str:
    """The beginning of a line, for an error: no control characters."""
    text = line[:100].decode(errors="replace")
    return repr(text) + ("…" if len(line) > 100 else "")


def _message(told: Any) -> Document:
    match told:
        case {"type": str(kind), "parts": list(parts), **rest} if not rest:
            return {"type": _short(kind, "type"), "parts": [_hex(part) for part in parts]}
    raise DecodeError("a message of the program is no object with type and parts alone")


def _hex(told: Any) -> str:
    try:
        return bytes.fromhex(told).hex()
    except (TypeError, ValueError) as error:
        raise DecodeError("a part, signature or state of the program is no hex") from error


def _short(told: Any, what: str) -> str:
    if not isinstance(told, str) or not 0 < len(told) <= 100 or not told.isprintable():
        raise DecodeError(f"the program's {what} is not 1 to 100 printable characters")
    return told


def _texts(told: Any, what: str) -> list[str]:
    if not isinstance(told, list) or not all(isinstance(text, str) for text in told):
        raise DecodeError(f"the program's {what} is no list of texts")
    return told


def _numbers(told: Any) -> tuple[int, ...]:
    if not isinstance(told, list) or not all(isinstance(text, str) and text.isdecimal() for text in told):
        raise DecodeError("the program's sums is no list of whole numbers, each as a text of digits")
    if any(len(text) > 20 for text in told):
        raise DecodeError("a number in the program's sums has more than 20 digits")
    return tuple(map(int, told))
