"""The messages of masked rounds alone: MaskedInputChunk, SurvivorSet (also a part of EncryptedSum) and Unmask."""

from collections.abc import Iterable, Iterator

from secagg.crypto.secret import Secret
from secagg.encoding.packing import CHUNK_BYTES
from secagg.errors import DecodeError
from secagg.messages import Index, MaskedInputChunk, MaskKeyShare, RevealedShare, SelfMaskShare, SurvivorSet, Unmask
from secagg.wire.fields import SHARE_BYTES, ascending, at_most, bounded, exactly, fresh_index, limited, split
from secagg.wire.v1 import messages_pb2 as pb


def encode_chunk(message: MaskedInputChunk) -> pb.MaskedInputChunk:
    """The message, which is never split."""
    return pb.MaskedInputChunk(number=message.number, payload=message.payload)


def decode_chunk(message: pb.MaskedInputChunk) -> MaskedInputChunk:
    """The exact length depends on the configuration and is checked by the protocol."""
    return MaskedInputChunk(message.number, at_most(message.payload, CHUNK_BYTES, "payload"))


def encode_survivors(message: SurvivorSet) -> pb.SurvivorSet:
    """The message, which is never split."""
    return pb.SurvivorSet(survivors=message.survivors, dropped=message.dropped)


def decode_survivors(message: pb.SurvivorSet) -> SurvivorSet:
    """Both lists ascending; whether they fit together is checked by the protocol."""
    return SurvivorSet(ascending(message.survivors, "survivors"), ascending(message.dropped, "dropped"))


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
