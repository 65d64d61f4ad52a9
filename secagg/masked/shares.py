"""The shares of a participant's two secrets: how they are made, sealed, opened and compared with their digests."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from secagg.config import Suite
from secagg.context import Context, Round
from secagg.crypto import labels, shamir, xwing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest
from secagg.crypto.xwing import Encapsulate
from secagg.errors import DecodeError
from secagg.masked import pair_secrets
from secagg.masked.pair_secrets import Gift
from secagg.messages import Index, MaskKeyShare, Member, ParticipantId, RevealedShare, SelfMaskShare
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster


@dataclass(frozen=True, slots=True)
class SharePair:
    """One holder's shares of one owner's secrets, 33 bytes each; only ever one of the two is revealed."""

    mask_key: Secret
    self_mask_seed: Secret


def commit(round_: Round, owner: ParticipantId, self_mask_seed: Secret) -> bytes:
    """32 bytes that fix b_u without showing it (b_u has 256 bits of entropy, so the hash hides it)."""
    return digest(labels.SELF_MASK_COMMITMENT, round_.context, owner.encode(), self_mask_seed.expose())


def split(mask_key: Secret, seed: Secret, threshold: int, holders: Iterable[Index], rng: Rng) -> dict[Index, SharePair]:
    """Split both secrets: a pair of shares for every holder, the owner among them."""
    both = shamir.share_both(mask_key, seed, threshold, list(holders), rng)
    return {Index(i): SharePair(*pair) for i, pair in both.items()}


def seal(
    round_: Round,
    channel: KeyPair,
    sender: ParticipantId,
    receiver: Member,
    pair: SharePair,
    *,
    gift: Gift | None = None,
    encapsulate: Encapsulate = xwing.encapsulate,
) -> bytes:
    """Make the entry of one holder: the pair encrypted for `receiver`, then a digest of each share. In the hybrid suite
    it needs `gift`, the pair secret: its seal stands before the digests, and its digest behind them.
    """
    digests = pair_digests(round_.context, sender, receiver.participant_id, pair)
    return dealing.seal(
        round_,
        dealing.masked(round_.config.suite),
        channel,
        sender=sender,
        receiver=receiver,
        content=pair.mask_key.expose() + pair.self_mask_seed.expose(),
        digests=digests if gift is None else digests + gift.digest,
        pair_seal=b"" if gift is None else gift.sealed,
        encapsulate=encapsulate,
    )


def open_sealed(round_: Round, channel: KeyPair, sender: Member, receiver: ParticipantId, entry: bytes) -> SharePair:
    """Open the pair that `sender` dealt to us.

    Raises:
        AuthenticationError: sealed for another round, context, sender or receiver, or altered; or other shares than the
            digests say.
        DecodeError: not two shares.
    """
    kind = dealing.masked(round_.config.suite)
    read = partial(_read, round_.context, sender.participant_id, receiver)
    return dealing.unseal(round_, kind, channel, sender=sender, receiver=receiver, entry=entry, read=read)


def receive(
    checked: CheckedRoster, channel: KeyPair, mask: KeyPair, sender: Index, entry: bytes
) -> tuple[SharePair, Secret | None]:
    """Open the pair that `sender` dealt to us and, in the hybrid suite, the pair secret that it gave us; an error says
    which entry it is about (`dealing.received`).
    """
    membership, member = checked.membership, checked.members[sender]
    round_, own = membership.round, membership.participant_id

    def opened() -> tuple[SharePair, Secret | None]:
        pair = open_sealed(round_, channel, member, own, entry)
        return pair, pair_secrets.open_given(round_, mask, member, own, entry) if round_.config.suite.hybrid else None

    return dealing.received(checked, sender, entry, opened)


def _read(context: Context, owner: ParticipantId, holder: ParticipantId, content: bytes) -> tuple[SharePair, bytes]:
    pair = _pair_in(content, owner)
    return pair, pair_digests(context, owner, holder, pair)


def _pair_in(content: bytes, owner: ParticipantId) -> SharePair:
    parts = content[: shamir.SHARE_SIZE], content[shamir.SHARE_SIZE :]
    for part in parts:
        try:
            shamir.decode_share(part)
        except DecodeError as error:
            raise DecodeError(f"{owner} dealt no valid share: {error}", culprit=owner) from None
    return SharePair(Secret(parts[0]), Secret(parts[1]))


def pair_digests(context: Context, owner: ParticipantId, holder: ParticipantId, pair: SharePair) -> bytes:
    """The digests of both shares, joined: 64 bytes."""
    mask_key = dealing.share_digest(labels.MASK_KEY_SHARE_DIGEST, context, owner, holder, pair.mask_key)
    return mask_key + dealing.share_digest(labels.SELF_MASK_SHARE_DIGEST, context, owner, holder, pair.self_mask_seed)


def fits_digest(round_: Round, owner: ParticipantId, holder: Member, revealed: RevealedShare, entry: bytes) -> bool:
    """Whether a revealed share is the one that its owner dealt to `holder` in `entry`."""
    match revealed:
        case MaskKeyShare(share):
            label, number = labels.MASK_KEY_SHARE_DIGEST, 0
        case SelfMaskShare(share):
            label, number = labels.SELF_MASK_SHARE_DIGEST, 1
    made = dealing.share_digest(label, round_.context, owner, holder.participant_id, share)
    return made == dealing.masked(round_.config.suite).digest_in(entry, number)


def check_mask_key(suite: Suite, public_key: bytes, candidate: Secret) -> bool:
    """Whether a reconstructed mask secret key belongs to the advertised public key."""
    return suite.key_pairs.from_private(candidate).public == public_key
