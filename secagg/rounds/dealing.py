"""The entry that one member deals to another in ShareKeys: a seal, and digests of what is in it.

The seal is authenticated by itself, so nobody checks a signature in a round that goes well. A seal that does not open,
or whose content does not fit its digests, passed through the coordinator: only a signature tells whose fault it is. A
member signs once, over the digests of all its entries. Whoever refuses an entry is shown these digests and the
signature. The digests of the content let the coordinator compare a share that is revealed later with the one that was
dealt.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from secagg.config import Suite
from secagg.context import Context, Round
from secagg.crypto import labels, shamir, signing, xwing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.crypto.signing import MAX_SIGNATURE_SIZE
from secagg.crypto.transcript import digest, frame
from secagg.crypto.xwing import Encapsulate
from secagg.errors import AuthenticationError, DecodeError, Exhibit, RemoteError
from secagg.messages import Dealt, Index, Member, ParticipantId, ShareKeys
from secagg.rounds import peer_sealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.sealed_entries import SealedEntries

ValueT = TypeVar("ValueT")

DIGEST_SIZE = 32
PAIR_SECRET_SIZE = 32
_LENGTH_SIZE = 4  # in a frame


@dataclass(frozen=True, slots=True)
class Kind:
    """The form of an entry: seal ‖ seal of a pair secret, in the hybrid suite ‖ digests.

    Attributes:
        label: of the sealing key.
        content_size: bytes that are sealed.
        digests: how many digests of 32 bytes stand behind the seals.
        suite: of the round.
    """

    label: bytes
    content_size: int
    digests: int
    suite: Suite = Suite.X25519_SHA256_AES128

    @property
    def seal_size(self) -> int:
        """How long the sealed content is, in bytes."""
        return self.content_size + peer_sealing.overhead(self.suite)

    @property
    def seals_size(self) -> int:
        """How long both seals are, in bytes; where there is no second one, the first."""
        return self.seal_size + (PAIR_SECRET_SIZE + peer_sealing.overhead(self.suite) if self.suite.hybrid else 0)

    @property
    def size(self) -> int:
        """How long the entry is, in bytes."""
        return self.seals_size + self.digests * DIGEST_SIZE

    def pair_seal_in(self, entry: bytes) -> bytes:
        """The seal of the pair secret of an entry; empty where there is none."""
        return entry[self.seal_size : self.seals_size]

    def digest_in(self, entry: bytes, number: int) -> bytes:
        """The digest at position `number`, counted from 0, of an entry that is as long as it has to be."""
        start = len(entry) - (self.digests - number) * DIGEST_SIZE  # from the end: this runs for every pair of members
        return entry[start : start + DIGEST_SIZE]

    def check(self, message: ShareKeys, *, signed: bool, sender: ParticipantId) -> None:
        """Refuse entries that are too short or too long, and a signature where it does not belong, before the
        coordinator keeps them.

        Raises:
            DecodeError: naming the sender.
        """
        if any(len(entry) != self.size for entry in message.sealed.values()):  # check: C93-entry
            raise DecodeError(f"{sender}: a seal with its digests is {self.size} bytes", culprit=sender)
        if not signed <= len(message.signature) <= signed * MAX_SIGNATURE_SIZE:  # check: C93-signature
            raise DecodeError(
                f"{sender}: a signature of at most {MAX_SIGNATURE_SIZE} bytes belongs to what is dealt"
                if signed
                else f"{sender}: a signature, where nothing is signed",
                culprit=sender,
            )


MASKED = Kind(labels.SHARE_SEALING, content_size=2 * shamir.SHARE_SIZE, digests=2)
"""Shares of the mask key and of the self-mask seed."""

HYBRID_MASKED = Kind(
    labels.SHARE_SEALING, content_size=2 * shamir.SHARE_SIZE, digests=3, suite=Suite.XWING_SHA256_AES256
)
"""The same in the hybrid suite, and a pair secret."""

SEED_SHARE = Kind(labels.SEED_SHARE_SEALING, content_size=shamir.SHARE_SIZE, digests=1)
"""A share of a key seed."""

DEALT_KEY = Kind(labels.DEALT_KEY_SEALING, content_size=shamir.SECRET_SIZE, digests=1)
"""A whole key seed; its digest is the same for everyone."""


def masked(suite: Suite) -> Kind:
    """The form of an entry in a masked round of this suite."""
    return HYBRID_MASKED if suite.hybrid else MASKED


def share_digest(label: bytes, context: Context, owner: ParticipantId, holder: ParticipantId, share: Secret) -> bytes:
    """32 bytes that fix a share without showing it: a share has 256 bits of entropy, so the hash hides it."""
    return digest(label, context, owner.encode(), holder.encode(), share.expose())


def to_sign(context: Context, members_digest: bytes, sender: ParticipantId, digests: bytes) -> bytes:
    """What a member's signature of ShareKeys covers; `digests` are those of its entries, joined."""
    return frame(labels.DEALING_SIGNATURE, context, members_digest, sender.encode(), digests)


def entry_digest(receiver: ParticipantId, entry: bytes) -> bytes:
    """32 bytes that stand for what was dealt to `receiver`, in the sender's signature and in an accusation."""
    return digest(labels.DEALT_ENTRY, receiver.encode(), entry)


def digests_of(members: Mapping[Index, Member], entries: Mapping[Index, bytes]) -> bytes:
    """The digest of each entry, joined in the order of the receivers' indices."""
    return b"".join([entry_digest(members[i].participant_id, entries[i]) for i in sorted(entries)])


def seal(
    round_: Round,
    kind: Kind,
    own: KeyPair,
    *,
    sender: ParticipantId,
    receiver: Member,
    content: bytes,
    digests: bytes,
    pair_seal: bytes = b"",
    encapsulate: Encapsulate = xwing.encapsulate,
) -> bytes:
    """Make an entry: `content` encrypted for `receiver`, the seal of the pair secret in the hybrid suite, then the
    digests of what is sealed, joined.
    """
    sealed = peer_sealing.seal(
        round_,
        kind.label,
        own,
        sender=sender,
        receiver=receiver,
        plaintext=content,
        encapsulate=encapsulate,
    )
    return sealed + pair_seal + digests


def deal(
    checked: CheckedRoster, commitment: bytes, entries: Mapping[Index, bytes], key_share: bytes = b""
) -> ShareKeys:
    """The message with our entries, which are by receiver; where members sign, with our signature."""
    signature, membership = b"", checked.membership
    if checked.signed:
        digests = digests_of(checked.members, entries)
        context = membership.round.context
        signature = membership.sign(to_sign(context, checked.digest, membership.participant_id, digests))
    return ShareKeys(commitment, SealedEntries(entries), key_share, signature)


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
    """Open what `sender` dealt to us and compare it with its digests.

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
    if len(entry) > kind.size or not entry[kind.seals_size :].startswith(digests):  # check: C92
        name = sender.participant_id
        raise AuthenticationError(f"what {name} dealt does not fit its own digests", culprit=name)
    return value


def received(checked: CheckedRoster, sender: Index, entry: bytes, opened: Callable[[], ValueT]) -> ValueT:
    """Call `opened`, which opens the entry of `sender`. If it fails, say which entry it was and who is at fault.

    Where nothing is signed, the coordinator is trusted to pass entries on as they are, and the sender is named. Else
    nobody is: either the coordinator changed the entry, or the sender dealt garbage. `judge` tells them apart.
    """
    try:
        return opened()
    except RemoteError as error:
        member, membership = checked.members[sender], checked.membership
        name = member.participant_id
        exhibit = Exhibit(name, entry_digest(membership.participant_id, entry))
        if not checked.signed:
            raise type(error)(str(error), culprit=name).about(exhibit) from None
        key = checked.identities[sender].public_key
        covered = to_sign(membership.round.context, checked.digest, name, b"")[:-_LENGTH_SIZE]
        exhibit = replace(exhibit, public_key=signing.encode_public_key(key), covered=covered)
        raise type(error)(f"{error}; {name} or the coordinator is to blame").about(exhibit) from None


def judge(error: RemoteError, shown: Dealt | None) -> None:
    """Name the sender of the entry that `error` is about, if what the coordinator shows proves that the sender signed
    this entry. If nothing is shown, or something else, nobody is named: the coordinator changed the entry, or the
    sender did not sign what it dealt.
    """
    exhibit = error.exhibit
    if exhibit is None or not exhibit.public_key or shown is None:
        return
    if exhibit.digest not in shown.each:  # check: shown-entry
        return
    covered = exhibit.covered + len(shown.digests).to_bytes(_LENGTH_SIZE, "big") + shown.digests
    if made_by(signing.decode_public_key(exhibit.public_key), covered, shown.signature):
        error.culprit = exhibit.sender
        error.args = (f"{error}: {exhibit.sender}, who signed it",)


def made_by(public_key: ec.EllipticCurvePublicKey, covered: bytes, signature: bytes) -> bool:
    """Whether `signature` was made over `covered` with the private key of `public_key`."""
    try:
        signing.verify(public_key, covered, signature, culprit=None)
    except AuthenticationError:
        return False
    return True
