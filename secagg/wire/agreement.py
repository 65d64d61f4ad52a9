"""The messages by which participants agree or leave: ConsistencyCheck, ConsistencyProof, signatures and Leave."""

from collections.abc import Iterable, Iterator
from typing import Final

from secagg.config import MAX_PARTICIPANTS
from secagg.errors import DecodeError
from secagg.messages import ConsistencyCheck, ConsistencyProof, Dealt, Index, Leave, LeaveReason
from secagg.wire.codecs import Codec, flat
from secagg.wire.fields import (
    MAX_SIGNATURE_BYTES,
    at_most,
    bounded,
    decode_participant_id,
    exactly,
    fresh_index,
    limited,
    signature,
    split,
)
from secagg.wire.v1 import data_plane_pb2 as pb

ENTRY_DIGEST_BYTES: Final = 32


def encode_proof(message: ConsistencyProof) -> Iterator[pb.ConsistencyProofPart]:
    """The message in parts of at most 1 MiB."""
    items = (pb.SignedBy(signer=i, signature=s) for i, s in message.signatures.items())
    return split(items, lambda some: pb.ConsistencyProofPart(signatures=some))


def decode_proof(parts: Iterable[pb.ConsistencyProofPart]) -> ConsistencyProof:
    """Signatures are checked by the protocol."""
    signatures: dict[Index, bytes] = {}
    for item in limited(item for part in bounded(parts) for item in part.signatures):
        signer = fresh_index(item.signer, signatures, "signer")
        signatures[signer] = at_most(item.signature, MAX_SIGNATURE_BYTES, "signature")
    return ConsistencyProof(signatures)


def encode_leave(message: Leave) -> pb.Leave:
    """The message, which is never split."""
    reason = pb.LeaveReason.Name(message.reason.value)
    return pb.Leave(reason=reason, accused=message.accused or "", refused_entry=message.refused_entry)


def decode_leave(message: pb.Leave) -> Leave:
    """The reason is one of the known; whoever is accused has an id, and an entry only who is accused."""
    accused = decode_participant_id(message.accused) if message.accused else None
    if message.refused_entry:
        exactly(message.refused_entry, ENTRY_DIGEST_BYTES, "refused_entry")
        if accused is None:
            raise DecodeError("an entry was refused, and nobody is accused")
    try:
        return Leave(LeaveReason(message.reason), accused, message.refused_entry)
    except ValueError:
        raise DecodeError(f"unknown reason {message.reason} for leaving") from None


def encode_shown(dealt: Dealt | None) -> pb.LeaveReply:
    """The answer to Leave, with what the sender of a refused entry signed, if it may be shown."""
    if dealt is None:
        return pb.LeaveReply()
    return pb.LeaveReply(dealt=pb.Dealt(digests=dealt.digests, signature=dealt.signature))


def decode_shown(message: pb.LeaveReply) -> Dealt | None:
    """What the sender of a refused entry signed; None if it is not shown. Whether it did is for the accuser to say."""
    if not message.HasField("dealt"):
        return None
    dealt = message.dealt
    at_most(dealt.digests, MAX_PARTICIPANTS * ENTRY_DIGEST_BYTES, "digests")
    return Dealt(dealt.digests, at_most(dealt.signature, MAX_SIGNATURE_BYTES, "signature"))


CONSISTENCY_CHECK: Final = flat(ConsistencyCheck, pb.ConsistencyCheck, signature=signature)
CONSISTENCY_PROOF: Final = Codec(ConsistencyProof, pb.ConsistencyProofPart, encode_proof, decode_proof, in_parts=True)
LEAVE: Final = Codec(Leave, pb.Leave, encode_leave, decode_leave)
SHOWN: Final = Codec(Dealt, pb.LeaveReply, encode_shown, decode_shown)
