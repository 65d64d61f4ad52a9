"""The messages of masked rounds alone: MaskedInputChunk, SurvivorSet (also a part of EncryptedSum) and Unmask."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from secagg.crypto.secret import Secret
from secagg.encoding.packing import CHUNK_BYTES
from secagg.errors import DecodeError
from secagg.messages import Index, MaskedInputChunk, MaskKeyShare, RevealedShare, SelfMaskShare, SurvivorSet, Unmask
from secagg.wire.codecs import Codec, flat
from secagg.wire.counting import varint
from secagg.wire.fields import SHARE_BYTES, ascending, at_most, bounded, exactly, fresh_index, limited, split
from secagg.wire.v1 import data_plane_pb2 as pb


def encode_unmask(message: Unmask) -> Iterator[pb.UnmaskPart]:
    """The message in parts of at most 1 MiB."""
    items = (_encode_revealed(owner, share) for owner, share in message.shares.items())
    return split(items, lambda some: pb.UnmaskPart(shares=some))


def decode_unmask(parts: Iterable[pb.UnmaskPart]) -> Unmask:
    """Owners and kinds are checked by the protocol."""
    shares: dict[Index, RevealedShare] = {}
    for item in limited(item for part in bounded(parts) for item in part.shares):
        owner = fresh_index(item.owner, shares, "owner")
        match item.WhichOneof("share"):
            case "mask_key_share":
                shares[owner] = MaskKeyShare(Secret(exactly(item.mask_key_share, SHARE_BYTES, "share")))
            case "self_mask_share":
                shares[owner] = SelfMaskShare(Secret(exactly(item.self_mask_share, SHARE_BYTES, "share")))
            case _:
                raise DecodeError(f"no share of owner {item.owner}")
    return Unmask(shares)


def _encode_revealed(owner: Index, share: RevealedShare) -> pb.RevealedShare:
    match share:
        case MaskKeyShare(secret):
            return pb.RevealedShare(owner=owner, mask_key_share=secret.expose())
        case SelfMaskShare(secret):
            return pb.RevealedShare(owner=owner, self_mask_share=secret.expose())


_NUMBER: Final = b"\x08"
"""The tag of field 1, a number."""
_PAYLOAD: Final = b"\x12"
"""The tag of field 2, bytes."""
_LONG: Final = 0x80
"""A byte of a length from here on has another one behind it."""
_LENGTH_BYTES: Final = 5
"""No length on the wire has more."""
_NUMBERS: Final = 1 << 32
"""No number of a chunk is as large."""


def write_chunk(chunk: MaskedInputChunk) -> bytes:
    """What protobuf makes of a chunk that has a payload, with one copy of the payload instead of three."""
    number, size = pb.MaskedInputChunk(number=chunk.number).SerializeToString(), len(chunk.payload)
    length = bytearray()
    while size >= _LONG:
        length.append(size % _LONG | _LONG)
        size //= _LONG
    length.append(size)
    return b"".join((number, _PAYLOAD, length, chunk.payload))


def read_chunk(data: bytes) -> MaskedInputChunk | None:
    """The chunk in bytes that hold its two fields in order and nothing else, as every writer makes them; its payload is
    copied once. None for other bytes.

    Raises:
        DecodeError: the payload is longer than 1 MiB.
    """
    try:
        number, at = varint(data, 1) if data.startswith(_NUMBER) else (0, 0)
        if not data.startswith(_PAYLOAD, at):
            return None
        size, begin = varint(data, at + 1)
    except IndexError:  # cut off
        return None
    if begin + size != len(data) or begin - at - 1 > _LENGTH_BYTES or number >= _NUMBERS:
        return None
    return MaskedInputChunk(number, at_most(data[begin:], CHUNK_BYTES, "payload"))


MASKED_INPUT_CHUNK: Final = replace(
    flat(MaskedInputChunk, pb.MaskedInputChunk, payload=partial(at_most, size=CHUNK_BYTES)),
    writes=write_chunk,
    reads=read_chunk,
)
SURVIVOR_SET: Final = flat(SurvivorSet, pb.SurvivorSet, survivors=ascending, dropped=ascending)
UNMASK: Final = Codec(Unmask, pb.UnmaskPart, encode_unmask, decode_unmask, in_parts=True)
