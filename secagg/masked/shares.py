"""Splitting a participant's two secrets among its neighbours, and opening what neighbours sent."""

from collections.abc import Iterable
from dataclasses import dataclass

from secagg.context import Round
from secagg.crypto import labels, shamir
from secagg.crypto.agreement import KeyPair
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest
from secagg.errors import DecodeError
from secagg.messages import Index, Member, ParticipantId
from secagg.rounds import channel as channels


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
    plaintext = pair.mask_key.expose() + pair.self_mask_seed.expose()
    return channels.seal(round_, labels.SHARE_SEALING, channel, sender=sender, receiver=receiver, plaintext=plaintext)


def open_sealed(round_: Round, channel: KeyPair, sender: Member, receiver: ParticipantId, sealed: bytes) -> SharePair:
    """The pair that `sender` sealed to us.

    Raises:
        AuthenticationError: sealed for another round, context, sender or receiver, or altered.
        DecodeError: not two shares.
    """
    plaintext = channels.unseal(round_, labels.SHARE_SEALING, channel, sender=sender, receiver=receiver, sealed=sealed)
    parts = plaintext[: shamir.SHARE_SIZE], plaintext[shamir.SHARE_SIZE :]
    for part in parts:
        try:
            shamir.decode_share(part)
        except DecodeError as error:
            raise DecodeError(
                f"{sender.participant_id} dealt no valid share: {error}", culprit=sender.participant_id
            ) from None
    return SharePair(Secret(parts[0]), Secret(parts[1]))


def check_mask_key(candidate: Secret, public_key: bytes) -> bool:
    """Whether a reconstructed mask secret key belongs to the advertised public key."""
    return KeyPair.from_private(candidate).public == public_key
