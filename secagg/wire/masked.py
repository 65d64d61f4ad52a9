"""The messages of masked rounds alone: MaskedInputChunk, SurvivorSet (also a part of EncryptedSum) and Unmask."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from secagg.crypto.secret import Secret
from secagg.encoding.packing import CHUNK_BYTES
from secagg.errors import DecodeError
from secagg.messages import Index, MaskedInputChunk, MaskKeyShare, RevealedShare, SelfMaskShare, SurvivorSet, Unmask
from secagg.wire.codecs import Codec, flat
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


MASKED_INPUT_CHUNK: Final = flat(MaskedInputChunk, pb.MaskedInputChunk, payload=partial(at_most, size=CHUNK_BYTES))
SURVIVOR_SET: Final = flat(SurvivorSet, pb.SurvivorSet, survivors=ascending, dropped=ascending)
UNMASK: Final = Codec(Unmask, pb.UnmaskPart, encode_unmask, decode_unmask, in_parts=True)
