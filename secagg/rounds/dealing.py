"""The entry that one member deals to another in ShareKeys: a seal, digests of what is in it, and a signature.

The seal is authenticated by itself, so nobody checks a signature in a round that goes well. A seal that does not open,
or whose content does not fit its digests, passed through the coordinator: only the signature tells whose fault it is.
The digests let the coordinator compare a share that is revealed later with the one that was dealt.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from secagg.context import Context, Round
from secagg.crypto import labels, shamir, signing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.identity import VerifiedIdentity
from secagg.crypto.sealing import TAG_SIZE
from secagg.crypto.secret import Secret
from secagg.crypto.signing import MAX_SIGNATURE_SIZE
from secagg.crypto.transcript import digest, frame
from secagg.errors import AuthenticationError, DecodeError, Exhibit, RemoteError
from secagg.messages import Index, Member, ParticipantId
from secagg.rounds import peer_sealing
from secagg.rounds.checked_roster import CheckedRoster

ValueT = TypeVar("ValueT")

DIGEST_SIZE = 32


@dataclass(frozen=True, slots=True)
class Kind:
    """The form of an entry: seal ‖ digests ‖ signature.

    Attributes:
        label: of the sealing key.
        content_size: bytes that are sealed.
        digests: how many digests of 32 bytes stand behind the seal.
    """

    label: bytes
    content_size: int
    digests: int

    @property
    def seal_size(self) -> int:
        """How long the sealed content is, in bytes."""
        return self.content_size + TAG_SIZE

    @property
    def unsigned_size(self) -> int:
        """How long the entry is without its signature, in bytes."""
        return self.seal_size + self.digests * DIGEST_SIZE

    def digest_in(self, entry: bytes, number: int) -> bytes:
        """The digest at position `number`, counted from 0, of an entry."""
        start = self.seal_size + number * DIGEST_SIZE
        return entry[start : start + DIGEST_SIZE]

    def check_size(self, entry: bytes, *, signed: bool, sender: ParticipantId) -> None:
        """Refuse an entry that is too short or too long, before the coordinator keeps it.

        Raises:
            DecodeError: naming the sender.
        """
        least, most = self.unsigned_size + signed, self.unsigned_size + signed * MAX_SIGNATURE_SIZE
        if not least <= len(entry) <= most:
            raise DecodeError(
                f"{sender}: a seal with its digests is {self.unsigned_size} bytes"
                + (f", with a signature of at most {MAX_SIGNATURE_SIZE}" if signed else ", without a signature"),
                culprit=sender,
            )


MASKED = Kind(labels.SHARE_SEALING, content_size=2 * shamir.SHARE_SIZE, digests=2)
"""Shares of the mask key and of the self-mask seed."""

SEED_SHARE = Kind(labels.SEED_SHARE_SEALING, content_size=shamir.SHARE_SIZE, digests=1)
"""A share of a key seed."""

DEALT_KEY = Kind(labels.DEALT_KEY_SEALING, content_size=shamir.SECRET_SIZE, digests=1)
"""A whole key seed; its digest is the same for everyone."""


def share_digest(label: bytes, context: Context, owner: ParticipantId, holder: ParticipantId, share: Secret) -> bytes:
    """32 bytes that fix a share without showing it: a share has 256 bits of entropy, so the hash hides it."""
    return digest(label, context, owner.encode(), holder.encode(), share.expose())


def entry_to_sign(
    context: Context, members_digest: bytes, sender: ParticipantId, receiver: ParticipantId, unsigned: bytes
) -> bytes:
    """What the signature of an entry covers; `unsigned` is seal and digests."""
    fields = (context, members_digest, sender.encode(), receiver.encode(), unsigned)
    return frame(labels.DEALING_SIGNATURE, *fields)


def seal(
    round_: Round, kind: Kind, own: KeyPair, *, sender: ParticipantId, receiver: Member, content: bytes, digests: bytes
) -> bytes:
    """Make an entry without a signature: `content` encrypted for `receiver`, then the digests of it, joined."""
    return peer_sealing.seal(round_, kind.label, own, sender=sender, receiver=receiver, plaintext=content) + digests


def sign(checked: CheckedRoster, entries: Mapping[Index, bytes]) -> dict[Index, bytes]:
    """Add our signature to each of our entries, where members sign; entries are by receiver."""
    if not checked.signed:
        return dict(entries)
    membership, members_digest = checked.membership, checked.digest
    signed = {}
    for index, entry in entries.items():
        receiver = checked.members[index].participant_id
        covered = entry_to_sign(membership.round.context, members_digest, membership.participant_id, receiver, entry)
        signed[index] = entry + membership.sign(covered)
    return signed


def unseal(
    round_: Round,
    kind: Kind,
    own: KeyPair,
    *,
    sender: Member,
    receiver: ParticipantId,
    entry: bytes,
    read: Callable[[bytes], tuple[ValueT, bytes]],
) -> ValueT:
    """Open what `sender` dealt to us and compare it with its digests. The signature is not looked at.

    Args:
        round_: the round.
        kind: what was dealt.
        own: our channel key.
        sender: whose entry this is said to be.
        receiver: we.
        entry: as received.
        read: what an opened content says, and its digests, joined; raises a `RemoteError` if it says nothing.

    Raises:
        AuthenticationError: it does not open, or its content does not fit the digests; naming the sender.
        DecodeError: its content is malformed; naming the sender.
    """
    sealed = entry[: kind.seal_size]
    content = peer_sealing.unseal(round_, kind.label, own, sender=sender, receiver=receiver, sealed=sealed)
    value, digests = read(content)
    if digests != entry[kind.seal_size : kind.unsigned_size]:  # check: C92
        name = sender.participant_id
        raise AuthenticationError(f"what {name} dealt does not fit its own digests", culprit=name)
    return value


def received(checked: CheckedRoster, kind: Kind, sender: Index, entry: bytes, opened: Callable[[], ValueT]) -> ValueT:
    """Call `opened`, which opens the entry of `sender`. If it fails, say which entry it was and who is at fault.

    The sender is named if it signed the entry, or if nothing is signed and the coordinator is trusted to pass entries
    on as they are. Else nobody is: either the coordinator changed the entry, or the sender signed something else.
    """
    try:
        return opened()
    except RemoteError as error:
        raise _blaming(checked, kind, checked.members[sender], entry, error) from None


def _blaming(checked: CheckedRoster, kind: Kind, sender: Member, entry: bytes, error: RemoteError) -> RemoteError:
    """The same error, with the culprit if there is proof, and with the entry that it is about."""
    name, membership = sender.participant_id, checked.membership
    culprit: str | None = name
    text = str(error)
    if checked.signed and not made_by(
        checked.identities[sender.index],
        kind,
        entry_to_sign(
            membership.round.context,
            checked.digest,
            name,
            membership.participant_id,
            entry[: kind.unsigned_size],
        ),
        entry,
    ):
        culprit, text = None, f"{text}; its signature is not {name}'s: {name} or the coordinator is to blame"
    return type(error)(text, culprit=culprit).about(Exhibit(name, entry_digest(entry)))


def made_by(identity: VerifiedIdentity, kind: Kind, signed: bytes, entry: bytes) -> bool:
    """Whether the signature behind `entry` is the member's over `signed`."""
    try:
        signing.verify(identity.public_key, signed, entry[kind.unsigned_size :], culprit=None)
    except AuthenticationError:
        return False
    return True


def entry_digest(entry: bytes) -> bytes:
    """32 bytes by which an accusation says which entry was refused."""
    return digest(labels.REFUSED_ENTRY, entry)
