"""What the mask of a pair is made of: an agreement of both mask keys or, in the hybrid suite, two pair secrets.

A key encapsulation is no agreement: one end has to send something. So each of a pair gives the other a *pair secret*,
sealed to its mask key. What one gives follows from its own mask private key and from nothing else. Whoever recovers the
mask private key of a participant that dropped out, from its shares, then has both secrets of each of its pairs: what it
gave is derived again, and what it was given is opened.
"""

from dataclasses import dataclass

from secagg.context import Round
from secagg.crypto import labels
from secagg.crypto.agreement import KeyPair
from secagg.crypto.kdf import derive
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.crypto.xwing import Encapsulate
from secagg.errors import AuthenticationError
from secagg.messages import Member, ParticipantId
from secagg.rounds import dealing, peer_sealing


@dataclass(frozen=True, slots=True)
class Gift:
    """A pair secret on its way.

    Attributes:
        sealed: to the mask key of the receiver, 1168 bytes.
        digest: 32 bytes that fix it.
    """

    sealed: bytes
    digest: bytes


def given(round_: Round, mask_key: Secret, giver: ParticipantId, receiver: ParticipantId) -> Secret:
    """The pair secret, 32 bytes, that the owner of a mask private key gives to `receiver`."""
    ends = (round_.seal_context, giver.encode(), receiver.encode())
    info = frame(labels.PAIR_SECRET, round_.config.suite.name.encode(), *ends)
    return derive(mask_key, salt=round_.round_id, info=info, size=dealing.PAIR_SECRET_SIZE)


def give(round_: Round, mask: KeyPair, giver: ParticipantId, receiver: Member, encapsulate: Encapsulate) -> Gift:
    """Seal our pair secret to `receiver`, and fix it.

    Raises:
        AuthenticationError: the mask key of the receiver gives no secret; naming the receiver.
    """
    name = receiver.participant_id
    secret = given(round_, mask.private, giver, name)
    sealed = peer_sealing.seal_to(
        round_,
        labels.PAIR_SECRET_SEALING,
        mask,
        receiver.keys.mask_public_key,
        ends=(giver, name),
        plaintext=secret.expose(),
        encapsulate=encapsulate,
    )
    return Gift(sealed, digest_of(round_, giver, name, secret))


def open_given(round_: Round, mask: KeyPair, giver: Member, receiver: ParticipantId, entry: bytes) -> Secret:
    """The pair secret that `giver` gave to the owner of the mask key pair, in an entry.

    Raises:
        AuthenticationError: its seal does not open, or it does not fit its digest; naming the giver.
    """
    kind, name = dealing.masked(round_.config.suite), giver.participant_id
    ends, public_key = (name, receiver), giver.keys.mask_public_key
    sealed = kind.pair_seal_in(entry)
    opened = peer_sealing.unseal_from(round_, labels.PAIR_SECRET_SEALING, mask, public_key, ends=ends, sealed=sealed)
    secret = Secret(opened)
    if not fits(round_, name, receiver, secret, entry):  # check: C111
        raise AuthenticationError(f"the pair secret of {name} does not fit its digest", culprit=name)
    return secret


def digest_of(round_: Round, giver: ParticipantId, receiver: ParticipantId, secret: Secret) -> bytes:
    """32 bytes that fix a pair secret without showing it."""
    return dealing.share_digest(labels.PAIR_SECRET_DIGEST, round_.context, giver, receiver, secret)


def fits(round_: Round, giver: ParticipantId, receiver: ParticipantId, secret: Secret, entry: bytes) -> bool:
    """Whether this is the pair secret that the giver's entry for the receiver names."""
    kind = dealing.masked(round_.config.suite)
    return kind.digest_in(entry, PAIR_SECRET_DIGEST) == digest_of(round_, giver, receiver, secret)


PAIR_SECRET_DIGEST = 2
"""The place of its digest in an entry, counted from 0."""


def both(one: ParticipantId, gave: Secret, other: ParticipantId, got: Secret) -> Secret:
    """What the key of a pair's mask is made of, the same at both ends: what the participant of the lower id gave, then
    what the other one gave.

    Args:
        one: a participant.
        gave: the pair secret that it gave to `other`.
        other: the other participant.
        got: the pair secret that `other` gave to `one`.
    """
    low, high = (gave, got) if one < other else (got, gave)
    return Secret(low.expose() + high.expose())
