"""Splitting a participant's two secrets among its neighbours, and opening what neighbours sent."""

from collections.abc import Iterable
from dataclasses import dataclass

from secagg.context import Round
from secagg.crypto import labels, sealing, shamir
from secagg.crypto.agreement import KeyPair
from secagg.crypto.kdf import derive
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest, frame
from secagg.errors import DecodeError
from secagg.messages import Index, Member, ParticipantId


@dataclass(frozen=True, slots=True)
class SharePair:
    """One holder's shares of one owner's secrets, 33 bytes each; only ever one of the two is revealed."""

    mask_key: Secret
    self_mask_seed: Secret


def commit(round_: Round, owner: ParticipantId, self_mask_seed: Secret) -> bytes:
    """32 bytes that fix b_u without showing it (b_u has 256 bits of entropy, so the hash hides it)."""
    return digest(labels.SELF_MASK_COMMITMENT, round_.context, owner.encode(), self_mask_seed.expose())


def split(mask_key: Secret, seed: Secret, threshold: int, holders: Iterable[Index], rng: Rng) -> dict[Index, SharePair]:
    """A pair of shares for every holder, the owner among them."""
    indices = list(holders)
    keys = shamir.share(mask_key, threshold, indices, rng)
    seeds = shamir.share(seed, threshold, indices, rng)
    return {i: SharePair(keys[i], seeds[i]) for i in indices}


def seal(round_: Round, channel: KeyPair, sender: ParticipantId, receiver: Member, pair: SharePair) -> bytes:
    """The pair as only `receiver` can read it: 66 + 16 bytes."""
    key, associated_data = _channel(round_, channel, sender, receiver.participant_id, receiver)
    return sealing.seal(key, pair.mask_key.expose() + pair.self_mask_seed.expose(), associated_data)


def open_sealed(round_: Round, channel: KeyPair, sender: Member, receiver: ParticipantId, sealed: bytes) -> SharePair:
    """The pair that `sender` sealed to us.

    Raises:
        AuthenticationError: sealed for another round, context, sender or receiver, or altered.
        DecodeError: not two shares.
    """
    key, associated_data = _channel(round_, channel, sender.participant_id, receiver, sender)
    plaintext = sealing.unseal(key, sealed, associated_data, sender=sender.participant_id)
    parts = plaintext[: shamir.SHARE_SIZE], plaintext[shamir.SHARE_SIZE :]
    for part in parts:
        try:
            shamir.decode_share(part)
        except DecodeError as error:
            raise DecodeError(
                f"{sender.participant_id} dealt no valid share: {error}", culprit=sender.participant_id
            ) from None
    return SharePair(Secret(parts[0]), Secret(parts[1]))


def _channel(
    round_: Round, own: KeyPair, sender: ParticipantId, receiver: ParticipantId, peer: Member
) -> tuple[Secret, bytes]:
    """The key of one direction between two participants, and what the seal is bound to."""
    shared = own.agree(peer.keys.channel_public_key, peer=peer.participant_id)
    ends = (round_.context, sender.encode(), receiver.encode())
    info = frame(labels.SHARE_SEALING, round_.config.suite.name.encode(), *ends)
    key = derive(shared, salt=round_.round_id, info=info, size=round_.config.suite.key_size)
    return key, frame(labels.SHARE_ASSOCIATED_DATA, *ends)


def check_mask_key(candidate: Secret, public_key: bytes) -> bool:
    """Whether a reconstructed mask secret key belongs to the advertised public key."""
    return KeyPair.from_private(candidate).public == public_key
