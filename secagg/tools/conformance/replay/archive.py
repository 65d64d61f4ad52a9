"""Long messages of the vectors: left out of a round's file, where playing it makes them anew, and pieced together in
failure vectors from the messages of the round that they depart from.

A part of a message is hex; or, in a round, `{"size", "sha256"}` of what its sender makes; or, in a failure vector,
`{"pieces": [...]}`: one after the other hex, `{"message", "part", "from", "to"}` (bytes of a message of the round) and
`{"byte", "times"}`.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from secagg.tools.conformance import vectors, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.replay.round import Replay

Messages = Mapping[str, Document]

_WINDOW: Final = 32
_RUN: Final = re.compile(rb"(.)\1{63,}", re.DOTALL)


@lru_cache(maxsize=4)
def messages(name: str) -> dict[str, Document]:
    """All messages of a round in full, by name."""
    vector = vectors.load(name)
    known: dict[str, Document] = dict(vector["messages"])
    if all(isinstance(part, str) for message in known.values() for part in message["parts"]):
        return known
    replay = Replay(vector)
    for step in vector["steps"]:
        outcome, _ = replay.play(step, known)
        known |= told(step["expect"], outcome, known)
    return known


def told(expect: Document, outcome: Document, known: Messages) -> dict[str, Document]:
    """The messages that came out of a step, in full, under the names that its vector gives them."""
    slugs = expect.get("replies", []) + ([expect["answer"]] if "answer" in expect else [])
    made = outcome.get("replies", []) + ([outcome["answer"]] if "answer" in outcome else [])
    return {slug: known[slug] | {"parts": parts} for slug, parts in zip(slugs, made, strict=False)}


def shortened(vector: Document, keep: frozenset[str] = frozenset()) -> Document:
    """A round with its long parts by size and digest, but for the messages to `keep`."""
    short = {slug: message if slug in keep else _short(message) for slug, message in vector["messages"].items()}
    return vector | {"messages": short}


def _short(message: Document) -> Document:
    return message | {"parts": [wire.shortened(part) for part in message["parts"]]}


def without_long_fields(vector: Document) -> Document:
    """A shortened round that also leaves out the fields of messages with a long part, where they repeat it."""
    messages = {
        slug: {key: value for key, value in message.items() if key != "fields"}
        if any(not isinstance(part, str) for part in message["parts"])
        else message
        for slug, message in vector["messages"].items()
    }
    return vector | {"messages": messages}


def abridged(outcome: Document) -> Document:
    """What came out of a step, with long parts by size and digest."""
    if "replies" in outcome:
        return {"replies": [[wire.shortened(part) for part in parts] for parts in outcome["replies"]]}
    if "answer" in outcome:
        return {"answer": [wire.shortened(part) for part in outcome["answer"]]}
    return outcome


class Pieces:
    """Expresses long parts by pieces of a round's messages."""

    def __init__(self, known: Messages) -> None:
        self._sources: dict[tuple[str, int], bytes] = {}
        self._index: dict[bytes, tuple[str, int, int]] = {}
        for slug, message in known.items():
            for number, part in enumerate(message["parts"]):
                if len(part) > 2 * wire.LONG and not slug.endswith("/share-delivery"):
                    self._add(slug, number, bytes.fromhex(part))

    def _add(self, slug: str, number: int, data: bytes) -> None:
        self._sources[slug, number] = data
        for at in range(0, len(data) - _WINDOW + 1, _WINDOW):
            self._index.setdefault(data[at : at + _WINDOW], (slug, number, at))

    def express(self, part: str) -> str | Document:
        """A part as a failure vector holds it."""
        if len(part) <= 2 * wire.LONG:
            return part
        pieces: list[str | Document] = []
        literal = bytearray()
        data, at = bytes.fromhex(part), 0
        while at < len(data):
            found = self._run(data, at) or self._copy(data, at)
            if found is None:
                literal.append(data[at])
                at += 1
                continue
            piece, length = found
            pieces += ([literal.hex()] if literal else []) + [piece]
            literal, at = bytearray(), at + length
        return {"pieces": pieces + ([literal.hex()] if literal else [])}

    @staticmethod
    def _run(data: bytes, at: int) -> tuple[Document, int] | None:
        run = _RUN.match(data, at)
        return run and ({"byte": data[at : at + 1].hex(), "times": len(run[0])}, len(run[0]))

    def _copy(self, data: bytes, at: int) -> tuple[Document, int] | None:
        found = self._index.get(data[at : at + _WINDOW])
        if found is None:
            return None
        slug, number, start = found
        source, length = self._sources[slug, number], _WINDOW
        while at + length < len(data) and start + length < len(source) and data[at + length] == source[start + length]:
            length += 1
        return {"message": slug, "part": number, "from": start, "to": start + length}, length


def pieced(part: str | Document, known: Messages) -> str:
    """A part of a failure vector in hex."""
    return part if isinstance(part, str) else b"".join(_bytes(piece, known) for piece in part["pieces"]).hex()


def _bytes(piece: str | Document, known: Messages) -> bytes:
    if isinstance(piece, str):
        return bytes.fromhex(piece)
    if "byte" in piece:
        return bytes.fromhex(piece["byte"]) * int(piece["times"])
    source: str = known[piece["message"]]["parts"][piece["part"]]
    return bytes.fromhex(source[2 * piece["from"] : 2 * piece["to"]])


def completed(altered: Messages, known: Messages) -> Iterator[tuple[str, Document]]:
    """The messages of a failure vector in full, by name."""
    for slug, message in altered.items():
        yield slug, message | {"parts": [pieced(part, known) for part in message["parts"]]}
