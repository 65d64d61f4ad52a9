"""Messages to protobuf and back. What passes here is well-formed: sizes and counts are checked once, at this edge.

Messages that grow with the cohort are split into parts of at most 1 MiB, so gRPC's message limit never matters.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.message import DecodeError as ProtobufError

from secagg.config import MAX_PARTICIPANTS
from secagg.crypto.certificates import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH
from secagg.crypto.secret import Secret
from secagg.crypto.signing import MAX_SIGNATURE_SIZE
from secagg.encoding.packing import CHUNK_BYTES
from secagg.errors import DecodeError
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    Index,
    Leave,
    LeaveReason,
    MaskedInputChunk,
    MaskKeyShare,
    Member,
    ParticipantId,
    RevealedShare,
    Roster,
    SelfMaskShare,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.wire.counting import Budget
from secagg.wire.fields import (
    PART_BYTES,
    MessageT,
    Pieces,
    ascending,
    at_most,
    bounded,
    exactly,
    fresh_index,
    limited,
    split,
)
from secagg.wire.v1 import messages_pb2 as pb

PUBLIC_KEY_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32
SHARE_BYTES: Final = 33
MAX_KEY_SHARE_BYTES: Final = 4 << 20
MAX_SIGNATURE_BYTES: Final = MAX_SIGNATURE_SIZE
MAX_SEALED_BYTES: Final = 82 + 2 * 32 + MAX_SIGNATURE_BYTES
ENTRY_DIGEST_BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def parse(kind: type[MessageT], data: bytes, budget: Budget | None = None) -> MessageT:
    """A protobuf message from bytes. Its fields are counted before any becomes an object.

    Args:
        kind: of the message.
        data: what a peer sent.
        budget: for all parts of one message; its own if None.

    Raises:
        DecodeError: `data` is none, or has too many fields.
    """
    message = kind()
    try:
        (budget or Budget()).spend(data, kind)
        message.ParseFromString(data)
    except DecodeError as error:
        raise DecodeError(f"not a {kind.__name__}: {error}") from None
    except ProtobufError:
        raise DecodeError(f"not a {kind.__name__}") from None
    return message


def encode_advertise(message: AdvertiseKeys) -> pb.AdvertiseKeys:
    """One message."""
    return pb.AdvertiseKeys(
        channel_public_key=message.channel_public_key,
        mask_public_key=message.mask_public_key,
        signature=message.signature,
        certificates=message.certificates,
        key_share_commitment=message.key_share_commitment,
    )


def decode_advertise(message: pb.AdvertiseKeys) -> AdvertiseKeys:
    """Sizes are checked here, signatures by the protocol."""
    exactly(message.channel_public_key, PUBLIC_KEY_BYTES, "channel_public_key")
    at_most(message.mask_public_key, PUBLIC_KEY_BYTES, "mask_public_key")
    at_most(message.key_share_commitment, COMMITMENT_BYTES, "key_share_commitment")
    at_most(message.signature, MAX_SIGNATURE_BYTES, "signature")
    if len(message.certificates) > MAX_CHAIN_LENGTH:
        raise DecodeError(f"{len(message.certificates)} certificates are more than {MAX_CHAIN_LENGTH}")
    for certificate in message.certificates:
        at_most(certificate, MAX_CERTIFICATE_BYTES, "certificate")
    return AdvertiseKeys(
        message.channel_public_key,
        message.mask_public_key,
        message.signature,
        tuple(message.certificates),
        message.key_share_commitment,
    )


def encode_roster(roster: Roster) -> Iterator[pb.RosterPart]:
    """Parts of at most 1 MiB."""
    members = (
        pb.Member(index=m.index, participant_id=m.participant_id, keys=encode_advertise(m.keys)) for m in roster.members
    )
    return split(members, lambda items: pb.RosterPart(members=items))


def decode_roster(parts: Iterable[pb.RosterPart]) -> Roster:
    """Order, distinctness and our own entry are checked by the protocol."""
    members = []
    for m in limited(item for part in bounded(parts) for item in part.members):
        keys = decode_advertise(m.keys)
        members.append(Member(Index(m.index), decode_participant_id(m.participant_id), keys))
    return Roster(tuple(members))


def encode_share_keys(message: ShareKeys) -> Iterator[pb.ShareKeysPart]:
    """The commitment in the first part, then pieces of a key share; parts of at most 1 MiB."""
    parts = split(_sealed(message.sealed.items()), lambda items: pb.ShareKeysPart(shares=items))
    first = next(parts)
    first.commitment = message.commitment
    yield first
    yield from parts
    for piece in _pieces(message.key_share):
        yield pb.ShareKeysPart(key_share=piece)


def decode_share_keys(parts: Iterable[pb.ShareKeysPart]) -> ShareKeys:
    """Receivers, commitment and key share are checked by the protocol."""
    commitments: list[bytes] = []
    pieces = Pieces(MAX_KEY_SHARE_BYTES, "key share")

    def shares() -> Iterator[pb.SealedShares]:
        for part in bounded(parts):
            if part.commitment or not commitments:
                commitments.append(part.commitment)
            pieces.add(part.key_share)
            yield from part.shares

    sealed = _decode_sealed(shares())
    if len(commitments) != 1:
        raise DecodeError("the commitment stands in the first part, and there alone")
    commitment = at_most(commitments[0], COMMITMENT_BYTES, "commitment")
    return ShareKeys(commitment, sealed, pieces.join())


def encode_share_delivery(message: ShareDelivery) -> Iterator[pb.ShareDeliveryPart]:
    """Sealed shares, then pieces of the key shares; parts of at most 1 MiB."""
    yield from split(_sealed(message.sealed.items()), lambda items: pb.ShareDeliveryPart(shares=items))
    for owner, share in message.key_shares.items():
        for piece in _pieces(share):
            yield pb.ShareDeliveryPart(key_shares=[pb.KeySharePiece(owner=owner, piece=piece)])


def decode_share_delivery(parts: Iterable[pb.ShareDeliveryPart]) -> ShareDelivery:
    """Senders and key shares are checked by the protocol."""
    pieces: dict[Index, Pieces] = {}

    def shares() -> Iterator[pb.SealedShares]:
        for part in bounded(parts):
            for piece in part.key_shares:
                if not 1 <= piece.owner <= MAX_PARTICIPANTS:
                    raise DecodeError(f"{piece.owner} is no index")
                pieces.setdefault(Index(piece.owner), Pieces(MAX_KEY_SHARE_BYTES, "key share")).add(piece.piece)
            yield from part.shares

    sealed = _decode_sealed(shares())
    return ShareDelivery(sealed, {owner: p.join() for owner, p in pieces.items()})


def encode_chunk(message: MaskedInputChunk) -> pb.MaskedInputChunk:
    """One message."""
    return pb.MaskedInputChunk(number=message.number, payload=message.payload)


def decode_chunk(message: pb.MaskedInputChunk) -> MaskedInputChunk:
    """The exact length depends on the configuration and is checked by the protocol."""
    return MaskedInputChunk(message.number, at_most(message.payload, CHUNK_BYTES, "payload"))


def encode_survivors(message: SurvivorSet) -> pb.SurvivorSet:
    """One message."""
    return pb.SurvivorSet(survivors=message.survivors, dropped=message.dropped)


def decode_survivors(message: pb.SurvivorSet) -> SurvivorSet:
    """Both lists ascending; whether they fit together is checked by the protocol."""
    return SurvivorSet(ascending(message.survivors, "survivors"), ascending(message.dropped, "dropped"))


def encode_check(message: ConsistencyCheck) -> pb.ConsistencyCheck:
    """One message."""
    return pb.ConsistencyCheck(signature=message.signature)


def decode_check(message: pb.ConsistencyCheck) -> ConsistencyCheck:
    """The signature is checked by the protocol."""
    return ConsistencyCheck(at_most(message.signature, MAX_SIGNATURE_BYTES, "signature"))


def encode_proof(message: ConsistencyProof) -> Iterator[pb.ConsistencyProofPart]:
    """Parts of at most 1 MiB."""
    items = (pb.SignedBy(signer=i, signature=s) for i, s in message.signatures.items())
    return split(items, lambda some: pb.ConsistencyProofPart(signatures=some))


def decode_proof(parts: Iterable[pb.ConsistencyProofPart]) -> ConsistencyProof:
    """Signatures are checked by the protocol."""
    signatures: dict[Index, bytes] = {}
    for item in limited(item for part in bounded(parts) for item in part.signatures):
        signer = fresh_index(item.signer, signatures, "signer")
        signatures[signer] = at_most(item.signature, MAX_SIGNATURE_BYTES, "signature")
    return ConsistencyProof(signatures)


def encode_unmask(message: Unmask) -> Iterator[pb.UnmaskPart]:
    """Parts of at most 1 MiB."""
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


def encode_leave(message: Leave) -> pb.Leave:
    """One message."""
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


def decode_signature(signature: bytes) -> bytes:
    """At most 72 bytes. Whether it is one is for who verifies it."""
    return at_most(signature, MAX_SIGNATURE_BYTES, "signature")


def decode_participant_id(text: str) -> ParticipantId:
    """1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit."""
    if not _ID.fullmatch(text):
        raise DecodeError(f"{text[:80]!r} is no participant id")
    return ParticipantId(text)


def _encode_revealed(owner: Index, share: RevealedShare) -> pb.RevealedShare:
    match share:
        case MaskKeyShare(secret):
            return pb.RevealedShare(owner=owner, mask_key_share=secret.expose())
        case SelfMaskShare(secret):
            return pb.RevealedShare(owner=owner, self_mask_share=secret.expose())


def _pieces(data: bytes) -> Iterator[bytes]:
    step = PART_BYTES - 64
    return (data[start : start + step] for start in range(0, len(data), step))


def _sealed(items: Iterable[tuple[Index, bytes]]) -> Iterator[pb.SealedShares]:
    return (pb.SealedShares(peer=peer, sealed=sealed) for peer, sealed in items)


def _decode_sealed(items: Iterable[pb.SealedShares]) -> dict[Index, bytes]:
    sealed: dict[Index, bytes] = {}
    for item in limited(items):
        peer = fresh_index(item.peer, sealed, "peer")
        sealed[peer] = at_most(item.sealed, MAX_SEALED_BYTES, "sealed")
    return sealed
