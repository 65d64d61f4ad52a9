"""The roster of a round: how it is checked, hashed and signed."""

import struct
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime
from operator import lt

from secagg.config import DIGEST_SIZE, RoundConfig
from secagg.context import Context, Round
from secagg.crypto import labels, signing
from secagg.crypto.agreement import KEY_SIZE, is_reduced
from secagg.crypto.identity import TrustAnchors, VerifiedIdentity
from secagg.crypto.transcript import digest, frame
from secagg.errors import ProtocolViolation, RemoteError
from secagg.lattice.parameters import Custody
from secagg.messages import (
    AdvertiseKeys,
    Index,
    Leave,
    LeaveReason,
    Listing,
    Member,
    ParticipantId,
    Roster,
    SurvivorSet,
)

COORDINATOR = "coordinator"
"""The coordinator's name as a culprit."""


def refusal(error: BaseException) -> Leave:
    """The `Leave` of a participant that refused something with `error`. It says whose message it was, if known."""
    if not isinstance(error, RemoteError):
        return Leave(LeaveReason.REFUSED)
    if error.exhibit is not None:
        return Leave(LeaveReason.REFUSED, ParticipantId(error.exhibit.sender), error.exhibit.digest)
    named = error.culprit not in {None, COORDINATOR}
    return Leave(LeaveReason.REFUSED, ParticipantId(str(error.culprit)) if named else None)


def assign(advertised: dict[ParticipantId, AdvertiseKeys]) -> Roster:
    """Make the roster: participants are sorted by id and numbered from 1."""
    ids = sorted(advertised)
    return Roster(tuple(Member(Index(i), name, advertised[name]) for i, name in enumerate(ids, start=1)))


def check(roster: Roster, round_: Round, own_id: ParticipantId, own_keys: AdvertiseKeys) -> Member:
    """Refuse a roster that the protocol does not allow; return our own entry.

    Raises:
        ProtocolViolation: too small or large, out of order, a key or commitment of another size than the round's, an id
            or public key twice, our entry missing or changed.
    """
    members, ids = roster.members, names_of(roster)
    if (roster.listing is None) is not (round_.config.ring is None):  # check: C102-listing
        raise _violation("the roster is that of another graph than the round's")
    if not round_.config.fewest_members <= len(ids) <= round_.config.max_participants:  # check: C7, C102-size
        size = f"{round_.config.fewest_members} and at most {round_.config.max_participants}"
        raise _violation(f"a roster of {len(ids)}; the round wants at least {size}")
    if not all(map(lt, ids, ids[1:])):  # check: C8-ids, C102-ids
        raise _violation("roster ids are not distinct and sorted")
    if roster.listing is None:
        if [m.index for m in members] != list(range(1, len(members) + 1)):  # check: C8-indices
            raise _violation("roster indices are not 1 to n")
    else:
        _check_listed(members, roster.listing)
    mask_size, commitment_size = advertised_sizes(round_.config)
    sizes = (round_.config.suite.key_pairs.public_size, mask_size)
    if any((len(m.keys.channel_public_key), len(m.keys.mask_public_key)) != sizes for m in members):  # check: C9-size
        raise _violation("a public key does not have the size that the round's suite says")
    if any(len(m.keys.key_share_commitment) != commitment_size for m in members):  # check: C9-commitment
        raise _violation(f"a key share commitment does not have the {commitment_size} bytes that the round says")
    keys = [key for m in members for key in (m.keys.channel_public_key, m.keys.mask_public_key)]
    # Unreduced, one key could stand twice in two encodings.
    if not all(is_reduced(key[-KEY_SIZE:]) for key in keys):  # check: C9-reduced
        raise _violation("a public key is not the reduced encoding of its point")
    check_distinct_keys(m.keys for m in members)  # check: C9-distinct
    mine = next((m for m in members if m.participant_id == own_id), None)
    if mine is None:  # check: C10-there
        raise _violation(f"the roster lacks our own entry ({own_id})")
    if mine.keys != own_keys:  # check: C10-unchanged
        raise _violation(f"our own entry ({own_id}) was changed")
    return mine


def _check_listed(members: Iterable[Member], listing: Listing) -> None:
    """Refuse an entry that is not the one whose digest is in the list. No index stands twice, so neither does an id."""
    known: set[Index] = set()
    for member in members:
        if not 1 <= member.index <= len(listing.ids) or member.index in known:  # check: C104-indices
            raise _violation("the entries' indices are not distinct places in the list of members")
        known.add(member.index)
        if member.participant_id != listing.ids[member.index - 1]:  # check: C104-ids
            raise _violation(f"the entry of {member.participant_id} is in the place of another member")
        if entry_digest(member) != listed_digest(listing, member.index):  # check: C104
            raise _violation(f"the entry of {member.participant_id} is not the one in the list of members")


def check_distinct_keys(advertised: Iterable[AdvertiseKeys]) -> None:
    """Refuse any public key that stands twice.

    Raises:
        ProtocolViolation: two keys are equal, be they channel or mask keys; or one half of two hybrid keys.
    """
    known: set[bytes] = set()
    for keys in advertised:
        known.update(distinct_halves(keys, known))


def distinct_halves(keys: AdvertiseKeys, known: AbstractSet[bytes]) -> list[bytes]:
    """The `halves_of` one more member's keys. Args: known: those of the members before it.

    Raises:
        ProtocolViolation: as `check_distinct_keys`.
    """
    halves = halves_of(keys)
    if len(set(halves)) < len(halves) or not known.isdisjoint(halves):  # check: C9, C38
        raise _violation("a public key stands twice in the roster")
    return halves


def halves_of(keys: AdvertiseKeys) -> list[bytes]:
    """What nobody else may have of a member's public keys. A hybrid key is two keys: whoever takes over one half of
    another's would stand in for it there.
    """
    both = (keys.channel_public_key, keys.mask_public_key)
    return [half for key in both for half in (key[:-KEY_SIZE], key[-KEY_SIZE:]) if half]


def names_of(roster: Roster) -> tuple[ParticipantId, ...]:
    """The ids of all members, in the order of their indices."""
    return tuple(m.participant_id for m in roster.members) if roster.listing is None else roster.listing.ids


def listing_of(members: Iterable[Member]) -> Listing:
    """All members in short, as a round with a sparse graph lists them."""
    everyone = tuple(members)
    return Listing(tuple(m.participant_id for m in everyone), b"".join(map(entry_digest, everyone)))


def listed_digest(listing: Listing, index: Index) -> bytes:
    """The digest of the entry at `index`, 32 bytes."""
    return listing.entry_digests[(index - 1) * DIGEST_SIZE : index * DIGEST_SIZE]


def entry_digest(member: Member) -> bytes:
    """32 bytes over index, id, keys and certificates of one member. The signature is left out: whoever made one can
    make others of the same keys, and each would give another ring.
    """
    keys = member.keys
    fields = (member.participant_id.encode(), keys.channel_public_key, keys.mask_public_key, keys.key_share_commitment)
    return digest(labels.ROSTER_ENTRY, member.index.to_bytes(4, "big"), *fields, frame(b"", *keys.certificates))


def _listing_digest(listing: Listing) -> bytes:
    digests, fields = listing.entry_digests, list[bytes]()
    for place, name in enumerate(listing.ids, start=1):
        end = place * DIGEST_SIZE
        fields += (place.to_bytes(4, "big"), name.encode(), digests[end - DIGEST_SIZE : end])
    return digest(labels.SPARSE_ROSTER, *fields)


def roster_digest(roster: Roster) -> bytes:
    """32 bytes over index, id, keys and certificates of every member."""
    if roster.listing is not None:
        return _listing_digest(roster.listing)
    fields: list[bytes] = []
    for m in roster.members:
        keys = m.keys
        fields += [m.index.to_bytes(4, "big"), m.participant_id.encode(), keys.channel_public_key, keys.mask_public_key]
        fields.append(keys.key_share_commitment)
        fields.append(frame(b"", *keys.certificates))
    return digest(labels.ROSTER_DIGEST, *fields)


def advertisement_to_sign(context: Context, owner: ParticipantId, keys: AdvertiseKeys) -> bytes:
    """What the signature of AdvertiseKeys covers."""
    fields = (context, owner.encode(), keys.channel_public_key, keys.mask_public_key, keys.key_share_commitment)
    return frame(labels.ADVERTISE_SIGNATURE, *fields)


def survivors_to_sign(input_context: Context, members_digest: bytes, survivors: SurvivorSet) -> bytes:
    """What the signature of ConsistencyCheck covers; `members_digest` is that of the roster."""
    sets = [struct.pack(f">{len(s)}I", *s) for s in (survivors.survivors, survivors.dropped)]
    return frame(labels.CONSISTENCY_SIGNATURE, input_context, members_digest, *sets)


def result_to_sign(
    input_context: Context, members_digest: bytes, survivors: Iterable[Index], sums_digest: bytes
) -> bytes:
    """What a survivor's signature of the result covers; `members_digest` is that of the roster."""
    indices = b"".join(i.to_bytes(4, "big") for i in survivors)
    return frame(labels.RESULT_SIGNATURE, input_context, members_digest, indices, sums_digest)


def verify_member(round_: Round, trust: TrustAnchors, member: Member, at: datetime) -> VerifiedIdentity:
    """Check the certificate chain, the id and the signature of one roster entry.

    Raises:
        AuthenticationError: the chain or the signature does not verify.
        ProtocolViolation: the certificate is another participant's.
    """
    identity = trust.verify_participant(member.keys.certificates, at)
    if identity.participant_id != member.participant_id:  # check: C12, C39-id
        raise ProtocolViolation(
            f"the certificate shown for {member.participant_id} belongs to {identity.participant_id}",
            culprit=COORDINATOR,
        )
    signed = advertisement_to_sign(round_.context, member.participant_id, member.keys)
    signing.verify(identity.public_key, signed, member.keys.signature, culprit=member.participant_id)  # check: C13, C39
    return identity


def advertised_sizes(config: RoundConfig) -> tuple[int, int]:
    """Bytes of the mask public key and of the key share commitment that AdvertiseKeys carries in a round."""
    profile = config.homomorphic
    if profile is None:
        return config.suite.key_pairs.public_size, 0
    return 0, DIGEST_SIZE if profile.custody is Custody.THRESHOLD else 0


def _violation(message: str) -> ProtocolViolation:
    return ProtocolViolation(message, culprit=COORDINATOR)
