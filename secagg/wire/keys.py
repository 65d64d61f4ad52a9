"""The messages that deal keys and shares: AdvertiseKeys, Roster, ShareKeys and ShareDelivery.

Sizes and counts are checked here, once. Messages that grow with the cohort are split into parts of at most 1 MiB, so
gRPC's message limit never matters.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from secagg.config import DIGEST_SIZE, MAX_PARTICIPANTS
from secagg.crypto.agreement import KeyPair
from secagg.crypto.certificates import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH
from secagg.crypto.xwing import HybridKeyPair
from secagg.errors import DecodeError
from secagg.messages import AdvertiseKeys, Index, Listing, Member, ParticipantId, Roster, ShareDelivery, ShareKeys
from secagg.sealed_entries import SealedEntries
from secagg.wire.codecs import Codec
from secagg.wire.fields import (
    MAX_SIGNATURE_BYTES,
    PART_BYTES,
    Pieces,
    ascending,
    at_most,
    bounded,
    decode_participant_id,
    exactly,
    limited,
    split,
)
from secagg.wire.v1 import data_plane_pb2 as pb

PUBLIC_KEY_BYTES: Final = (KeyPair.public_size, HybridKeyPair.public_size)
"""Of the suites. Which of them a round has is checked by the protocol."""
COMMITMENT_BYTES: Final = 32
MAX_KEY_SHARE_BYTES: Final = 4 << 20
LISTED_IN_PART: Final = 8192
"""Members in one part of the list of all: about 100 bytes each at most, so parts stay below 1 MiB."""
MAX_SEALED_BYTES: Final = 1202 + 1168 + 3 * 32
"""An entry of the hybrid suite; those of others are shorter."""
_INDEX_BYTES: Final = 2  # of a peer, as a varint below 2^14

SharesT = TypeVar("SharesT", pb.ShareKeysPart, pb.ShareDeliveryPart)


def encode_advertise(message: AdvertiseKeys) -> pb.AdvertiseKeys:
    """The message, which is never split."""
    return pb.AdvertiseKeys(
        channel_public_key=message.channel_public_key,
        mask_public_key=message.mask_public_key,
        signature=message.signature,
        certificates=message.certificates,
        key_share_commitment=message.key_share_commitment,
    )


def decode_advertise(message: pb.AdvertiseKeys) -> AdvertiseKeys:
    """Sizes are checked here, signatures by the protocol."""
    if len(message.channel_public_key) not in PUBLIC_KEY_BYTES:
        raise DecodeError(f"channel_public_key has {len(message.channel_public_key)} bytes, not 32 or 1216")
    at_most(message.mask_public_key, max(PUBLIC_KEY_BYTES), "mask_public_key")
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
    """The message in parts of at most 1 MiB; those with the list of all members come first."""
    if roster.listing is not None:
        yield from encode_listing(roster.listing)
    members = (
        pb.Member(index=m.index, participant_id=m.participant_id, keys=encode_advertise(m.keys)) for m in roster.members
    )
    yield from split(members, lambda items: pb.RosterPart(members=items))


def encode_listing(listing: Listing) -> Iterator[pb.RosterPart]:
    """All members in short, in parts of at most 1 MiB: the same for everyone who is shown the roster."""
    for start in range(0, len(listing.ids), LISTED_IN_PART):
        stop = start + LISTED_IN_PART
        digests = listing.entry_digests[start * DIGEST_SIZE : stop * DIGEST_SIZE]
        yield pb.RosterPart(listed=listing.ids[start:stop], entry_digests=digests)


class RosterEncoder:
    """Writes the roster of one round for each of its members. What several of them are shown is encoded once."""

    def __init__(self) -> None:
        self._listed: list[bytes] = []
        self._entries: dict[Index, bytes] = {}
        self._whole: list[bytes] = []

    def parts(self, roster: Roster) -> Iterable[bytes]:
        """The message in parts of at most 1 MiB, serialised."""
        if roster.listing is not None:
            return self._of_neighbours(roster, roster.listing)
        if not self._whole:
            self._whole = [part.SerializeToString() for part in encode_roster(roster)]
        return self._whole

    def _of_neighbours(self, roster: Roster, listing: Listing) -> Iterator[bytes]:
        if not self._listed:
            self._listed = [part.SerializeToString() for part in encode_listing(listing)]
        yield from self._listed
        some, size = list[bytes](), 0
        for member in roster.members:
            entry = self._entry(member)
            if some and size + len(entry) > PART_BYTES:
                yield b"".join(some)  # serialised messages one behind the other are their union
                some, size = [], 0
            some.append(entry)
            size += len(entry)
        yield b"".join(some)

    def _entry(self, member: Member) -> bytes:
        if member.index not in self._entries:
            (part,) = encode_roster(Roster((member,)))
            self._entries[member.index] = part.SerializeToString()
        return self._entries[member.index]


def decode_roster(parts: Iterable[pb.RosterPart]) -> Roster:
    """Order, distinctness and our own entry are checked by the protocol."""
    listed: list[ParticipantId] = []
    digests = Pieces(MAX_PARTICIPANTS * DIGEST_SIZE, "list of members")

    def entries() -> Iterator[pb.Member]:
        for part in bounded(parts):
            if len(listed) + len(part.listed) > MAX_PARTICIPANTS:
                raise DecodeError(f"more than {MAX_PARTICIPANTS} members")
            listed.extend(map(decode_participant_id, part.listed))
            digests.add(part.entry_digests)
            yield from part.members

    members = []
    for m in limited(entries()):
        keys = decode_advertise(m.keys)
        members.append(Member(Index(m.index), decode_participant_id(m.participant_id), keys))
    joined = exactly(digests.join(), len(listed) * DIGEST_SIZE, "entry_digests")
    return Roster(tuple(members), Listing(tuple(listed), joined) if listed else None)


def encode_share_keys(message: ShareKeys) -> Iterator[pb.ShareKeysPart]:
    """Commitment and signature in the first part, then pieces of a key share; parts of at most 1 MiB."""
    parts = _in_parts(message.sealed, pb.ShareKeysPart)
    first = next(parts)
    first.commitment = message.commitment
    first.signature = message.signature
    yield first
    yield from parts
    for piece in _pieces(message.key_share):
        yield pb.ShareKeysPart(key_share=piece)


def decode_share_keys(parts: Iterable[pb.ShareKeysPart]) -> ShareKeys:
    """Receivers, commitment, signature and key share are checked by the protocol."""
    first: pb.ShareKeysPart | None = None
    pieces = Pieces(MAX_KEY_SHARE_BYTES, "key share")
    entries = _Entries()
    for part in bounded(parts):
        if first is None:
            first = part
        elif part.commitment or part.signature:
            raise DecodeError("commitment and signature stand in the first part, and there alone")
        pieces.add(part.key_share)
        entries.add(part)
    if first is None:
        raise DecodeError("no part of a message")
    commitment = at_most(first.commitment, COMMITMENT_BYTES, "commitment")
    signature = at_most(first.signature, MAX_SIGNATURE_BYTES, "signature")
    return ShareKeys(commitment, entries.join(), pieces.join(), signature)


def encode_share_delivery(message: ShareDelivery) -> Iterator[pb.ShareDeliveryPart]:
    """The model's digest in the first part, entries, then pieces of the key shares; parts of at most 1 MiB."""
    parts = _in_parts(message.sealed, pb.ShareDeliveryPart)
    first = next(parts)
    first.model_digest = message.model_digest
    yield first
    yield from parts
    for owner, share in message.key_shares.items():
        for piece in _pieces(share):
            yield pb.ShareDeliveryPart(key_shares=[pb.KeySharePiece(owner=owner, piece=piece)])


def decode_share_delivery(parts: Iterable[pb.ShareDeliveryPart]) -> ShareDelivery:
    """Senders, key shares and the model are checked by the protocol."""
    pieces: dict[Index, Pieces] = {}
    digests: list[bytes] = []
    entries = _Entries()
    for part in bounded(parts):
        if part.model_digest or not digests:
            digests.append(part.model_digest)
        for piece in part.key_shares:
            if not 1 <= piece.owner <= MAX_PARTICIPANTS:
                raise DecodeError(f"{piece.owner} is no index")
            pieces.setdefault(Index(piece.owner), Pieces(MAX_KEY_SHARE_BYTES, "key share")).add(piece.piece)
        entries.add(part)
    if len(digests) > 1:
        raise DecodeError("the model's digest stands in the first part, and there alone")
    model_digest = exactly(digests[0], DIGEST_SIZE, "model_digest") if any(digests) else b""
    return ShareDelivery(entries.join(), {owner: p.join() for owner, p in pieces.items()}, model_digest)


def _pieces(data: bytes) -> Iterator[bytes]:
    step = PART_BYTES - 64
    return (data[start : start + step] for start in range(0, len(data), step))


def _in_parts(entries: Mapping[Index, bytes], kind: type[SharesT]) -> Iterator[SharesT]:
    """The entries, which have one size, over parts of less than 1 MiB."""
    packed = entries if isinstance(entries, SealedEntries) else SealedEntries(entries)
    step = max(1, (PART_BYTES - 1024) // (packed.size + _INDEX_BYTES))
    indices, block = list(packed), packed.block
    for start in range(0, len(indices) or 1, step):
        some = indices[start : start + step]
        yield kind(peers=some, entries=block[start * packed.size : (start + len(some)) * packed.size])


class _Entries:
    """The entries of a message, from its parts."""

    def __init__(self) -> None:
        self._peers = array("H")
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, part: pb.ShareKeysPart | pb.ShareDeliveryPart) -> None:
        """Take those of the next part.

        Raises:
            DecodeError: their indices do not ascend, or they are not of one size.
        """
        peers, block = ascending(part.peers, "peers"), part.entries
        if not peers:
            exactly(block, 0, "entries of nobody")
            return
        size, rest = divmod(len(block), len(peers))
        if rest or size > MAX_SEALED_BYTES or (self._peers and size != self._size):
            raise DecodeError(
                f"{len(block)} bytes are not {len(peers)} entries of one size, {MAX_SEALED_BYTES} at most"
            )
        if peers[-1] > MAX_PARTICIPANTS or (self._peers and peers[0] <= self._peers[-1]):
            raise DecodeError("peers are not ascending indices")
        self._size = size
        self._peers.extend(peers)
        self._pieces.append(block)

    def join(self) -> SealedEntries:
        """All entries so far."""
        return SealedEntries.joined(self._peers, b"".join(self._pieces))


ADVERTISE_KEYS: Final = Codec(AdvertiseKeys, pb.AdvertiseKeys, encode_advertise, decode_advertise)
ROSTER: Final = Codec(Roster, pb.RosterPart, encode_roster, decode_roster, in_parts=True)
SHARE_KEYS: Final = Codec(ShareKeys, pb.ShareKeysPart, encode_share_keys, decode_share_keys, in_parts=True)
SHARE_DELIVERY: Final = Codec(
    ShareDelivery, pb.ShareDeliveryPart, encode_share_delivery, decode_share_delivery, in_parts=True
)
