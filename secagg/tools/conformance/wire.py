"""Protocol messages as vectors hold them: type, protobuf bytes of every part, and fields for people."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from google.protobuf.message import Message

from secagg import messages
from secagg.tools.conformance.document import Document
from secagg.wire import codec, homomorphic
from secagg.wire.v1 import messages_pb2 as pb

_Encode = Callable[[Any], Message | Iterable[Message]]
_Decode = Callable[[list[Any]], Any]


def _one(decode: Callable[[Any], Any]) -> _Decode:
    """A decoder of a message that is never split."""
    return lambda parts: decode(parts[0])


_WIRE: Final[Mapping[str, tuple[type[Message], _Encode, _Decode]]] = {
    "AdvertiseKeys": (pb.AdvertiseKeys, codec.encode_advertise, _one(codec.decode_advertise)),
    "Roster": (pb.RosterPart, codec.encode_roster, codec.decode_roster),
    "ShareKeys": (pb.ShareKeysPart, codec.encode_share_keys, codec.decode_share_keys),
    "ShareDelivery": (pb.ShareDeliveryPart, codec.encode_share_delivery, codec.decode_share_delivery),
    "MaskedInputChunk": (pb.MaskedInputChunk, codec.encode_chunk, _one(codec.decode_chunk)),
    "SurvivorSet": (pb.SurvivorSet, codec.encode_survivors, _one(codec.decode_survivors)),
    "ConsistencyCheck": (pb.ConsistencyCheck, codec.encode_check, _one(codec.decode_check)),
    "ConsistencyProof": (pb.ConsistencyProofPart, codec.encode_proof, codec.decode_proof),
    "Unmask": (pb.UnmaskPart, codec.encode_unmask, codec.decode_unmask),
    "KeyConfirmation": (
        pb.KeyConfirmation,
        homomorphic.encode_confirmation,
        _one(homomorphic.decode_confirmation),
    ),
    "EncryptedInputChunk": (
        pb.EncryptedInputChunk,
        homomorphic.encode_encrypted_chunk,
        _one(homomorphic.decode_encrypted_chunk),
    ),
    "EncryptedSum": (pb.EncryptedSumPart, homomorphic.encode_encrypted_sum, homomorphic.decode_encrypted_sum),
    "SumReport": (pb.SumReport, homomorphic.encode_report, _one(homomorphic.decode_report)),
    "ReleaseOrder": (pb.ReleaseOrder, homomorphic.encode_order, _one(homomorphic.decode_order)),
    "SumChunk": (pb.SumChunk, homomorphic.encode_sum_chunk, _one(homomorphic.decode_sum_chunk)),
    "PartialChunk": (pb.PartialChunk, homomorphic.encode_partial_chunk, _one(homomorphic.decode_partial_chunk)),
    "FallenSet": (pb.FallenSet, homomorphic.encode_fallen, _one(homomorphic.decode_fallen)),
    "RecoveryCheck": (pb.RecoveryCheck, homomorphic.encode_recovery_check, _one(homomorphic.decode_recovery_check)),
    "RecoverSeeds": (pb.RecoverSeedsPart, homomorphic.encode_recover_seeds, homomorphic.decode_recover_seeds),
    "Leave": (pb.Leave, codec.encode_leave, _one(codec.decode_leave)),
}

LONG: Final = 4096
"""Bytes of a field or part that vectors state by size and digest."""

Protocol = messages.ParticipantMessage | messages.CoordinatorMessage


def encode(message: Protocol) -> Document:
    """A message with its bytes and fields."""
    name = type(message).__name__
    kind, to_wire, _ = _WIRE[name]
    made = to_wire(message)
    parts = [made] if isinstance(made, kind) else list(made)  # type: ignore[arg-type]
    return {
        "type": name,
        "parts": [part.SerializeToString(deterministic=True).hex() for part in parts],
        "fields": [fields(part) for part in parts],
    }


def altered(name: str, *parts: Message) -> Document:
    """A message of type `name` from parts that the encoder would not make."""
    return {"type": name, "parts": [part.SerializeToString(deterministic=True).hex() for part in parts]}


def parts(message: Document) -> list[Any]:
    """The protobuf messages of a vector's message, to be altered.

    Raises:
        DecodeError: the bytes are none.
    """
    kind = _WIRE[message["type"]][0]
    return [codec.parse(kind, bytes.fromhex(part)) for part in message["parts"]]


def decode(message: Document) -> Any:
    """The message behind the bytes of a vector; a `Protocol`.

    Raises:
        DecodeError: the bytes are not a well-formed message.
    """
    return _WIRE[message["type"]][2](parts(message))


def fields(message: Message) -> Document:
    """The fields that are set, by name; bytes as hex, numbers of enums."""
    return {descriptor.name: _field(value) for descriptor, value in message.ListFields()}


def by_digest(data: bytes) -> Document:
    """Bytes that a reader makes anew, and recognises by this."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def shortened(part: str | Document) -> str | Document:
    """A part in hex, or what stands for it where it is long."""
    return by_digest(bytes.fromhex(part)) if isinstance(part, str) and len(part) > 2 * LONG else part


def _field(value: Any) -> Any:
    if isinstance(value, Message):
        return fields(value)
    if isinstance(value, bytes):
        return value.hex() if len(value) <= LONG else by_digest(value) | {"begins": value[:32].hex()}
    if isinstance(value, bool | int | float | str):
        return value
    return [_field(item) for item in _items(value)]


def _items(repeated: Iterable[Any]) -> Iterator[Any]:
    yield from repeated
