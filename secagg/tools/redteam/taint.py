"""Taint: with the same randomness and other data, nothing that travels may differ but what is declared to carry data.

Two rounds are played with the same keys, shares and rounding seeds and different updates. Number, order, sender, kind
and phase of messages, every event, and every field must be the same; the fields in `CARRIES` may hold other bytes, as
many of them. Timing is not looked at here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

from secagg.config import RoundConfig
from secagg.crypto.secret import Secret
from secagg.encoding.schema import Update
from secagg.events import SumDelivered
from secagg.messages import (
    ConsistencyCheck,
    ConsistencyProof,
    EncryptedInputChunk,
    EncryptedSum,
    MaskedInputChunk,
    PartialChunk,
    ParticipantId,
    SumChunk,
    SumReport,
)
from secagg.tools.redteam.arena import deployment, rng_of
from secagg.tools.redteam.views import Recording, record
from secagg.tools.simulation.network import Envelope, Up

CARRIES: Final = {
    (MaskedInputChunk, "payload"): "the masked update",
    (EncryptedInputChunk, "payload"): "the encrypted update",
    (EncryptedInputChunk, "binding"): "a digest of that ciphertext",
    (EncryptedSum, "c0"): "the encrypted sum",
    (EncryptedSum, "c1"): "the encrypted sum",
    (PartialChunk, "payload"): "a partial decryption of the sum",
    (SumChunk, "payload"): "the sum",
    (SumReport, "digest"): "a digest of the sum",
}
"""Fields that follow from the data. Their lengths may not."""

SIGNS: Final = {(SumReport, "signature"), (ConsistencyCheck, "signature"), (ConsistencyProof, "signatures")}
"""Signatures over such digests, where a round is encrypted. Their DER form is a byte or two longer or shorter by
chance.
"""


@dataclass(frozen=True, slots=True)
class Leak:
    """A place where two rounds that differ only in their data differ.

    Attributes:
        where: message and field.
        what: what differs.
    """

    where: str
    what: str


def compare(
    config: RoundConfig, one: Mapping[ParticipantId, Update], other: Mapping[ParticipantId, Update], seed: int = 0
) -> list[Leak]:
    """Play two rounds with the same randomness and different updates; where they differ and must not."""
    first, second = (
        record(config, updates, rng=rng_of(seed, "taint"), deployment=deployment() if config.signed else None)
        for updates in (one, other)
    )
    return list(_differences(first, second))


def _differences(first: Recording, second: Recording) -> Iterator[Leak]:
    encrypted = first.config.homomorphic is not None
    told = [[_told(event) for event in recording.run.events] for recording in (first, second)]
    if told[0] != told[1]:
        yield Leak("events", f"{len(told[0])} and {len(told[1])}, or of another kind")
    if len(first.disk) != len(second.disk):
        yield Leak("disk", f"{len(first.disk)} and {len(second.disk)} bytes were spooled")
    if len(first.envelopes) != len(second.envelopes):
        yield Leak("traffic", f"{len(first.envelopes)} and {len(second.envelopes)} messages")
    for a, b in zip(first.envelopes, second.envelopes, strict=False):  # as far as both go
        if _outside(a) != _outside(b):
            yield Leak("order of messages", f"{_outside(a)} where the other round has {_outside(b)}")
            return
        yield from _fields(a, b, encrypted=encrypted)


def _outside(envelope: Envelope) -> tuple[object, ...]:
    direction = "up" if isinstance(envelope, Up) else "down"
    return direction, envelope.participant, envelope.phase.name, type(envelope.message).__name__


def _told(event: object) -> tuple[object, ...]:
    """An event without the digest of a sum in it."""
    if isinstance(event, SumDelivered):
        return "SumDelivered", event.survivors
    return (repr(event),)


def _fields(a: Envelope, b: Envelope, *, encrypted: bool) -> Iterator[Leak]:
    kind = type(a.message)
    for field in fields(a.message):
        mine, theirs = getattr(a.message, field.name), getattr(b.message, field.name)
        where = f"{kind.__name__}.{field.name} of {a.participant}"
        if (kind, field.name) in CARRIES:
            if _shape(mine) != _shape(theirs):
                yield Leak(where, f"its size is {_shape(mine)} and {_shape(theirs)}")
        elif encrypted and (kind, field.name) in SIGNS:
            continue
        elif _plain(mine) != _plain(theirs):
            yield Leak(where, "its value differs")


def _shape(value: Any) -> object:
    """What may be compared of a value that depends on the data: its lengths."""
    return [len(part) for part in value] if isinstance(value, tuple) else len(value)


def _plain(value: Any) -> object:
    """A value that compares by content, secrets opened."""
    if isinstance(value, Secret):
        return value.expose()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return type(value).__name__, [_plain(getattr(value, field.name)) for field in fields(value)]
    return value
