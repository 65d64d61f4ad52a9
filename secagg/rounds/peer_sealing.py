"""What one participant encrypts for another one, so that the coordinator can pass it on and not read it.

There is one key for each direction and purpose. Round, sender and receiver go into the key and into the authenticated
data, so nothing can be moved to another round, turned round or given to somebody else.

In a round of the hybrid suite, the ciphertext of an encapsulation stands before what is sealed, and its secret goes
into the key together with the one that both agree on. The first stays secret if X25519 is broken one day. The second
says who the sender is: anybody can encapsulate.
"""

from secagg.config import Suite
from secagg.context import Round
from secagg.crypto import labels, sealing, xwing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.kdf import derive
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.crypto.xwing import CIPHERTEXT_SIZE, Encapsulate, HybridKeyPair
from secagg.errors import AuthenticationError
from secagg.messages import Member, ParticipantId

Ends = tuple[ParticipantId, ParticipantId]
"""Sender and receiver."""


def overhead(suite: Suite) -> int:
    """How many bytes longer than its plaintext a seal is."""
    return sealing.TAG_SIZE + (CIPHERTEXT_SIZE if suite.hybrid else 0)


def seal(
    round_: Round,
    label: bytes,
    own: KeyPair,
    *,
    sender: ParticipantId,
    receiver: Member,
    plaintext: bytes,
    encapsulate: Encapsulate = xwing.encapsulate,
) -> bytes:
    """Encrypt `plaintext` for the channel key of `receiver`; `overhead` says how much longer it gets. Once for a label,
    round and receiver.

    Raises:
        AuthenticationError: the receiver's key gives no secret; naming the receiver.
    """
    ends, public_key = (sender, receiver.participant_id), receiver.keys.channel_public_key
    return seal_to(round_, label, own, public_key, ends=ends, plaintext=plaintext, encapsulate=encapsulate)


def unseal(
    round_: Round, label: bytes, own: KeyPair, *, sender: Member, receiver: ParticipantId, sealed: bytes
) -> bytes:
    """Decrypt what `sender` sealed to our channel key.

    Raises:
        AuthenticationError: sealed for another purpose, round, context, sender or receiver, or altered.
    """
    ends, public_key = (sender.participant_id, receiver), sender.keys.channel_public_key
    return unseal_from(round_, label, own, public_key, ends=ends, sealed=sealed)


def seal_to(
    round_: Round,
    label: bytes,
    own: KeyPair,
    public_key: bytes,
    *,
    ends: Ends,
    plaintext: bytes,
    encapsulate: Encapsulate = xwing.encapsulate,
) -> bytes:
    """As `seal`, to any public key of the receiver; `own` is our key pair of the same purpose."""
    _, receiver = ends
    shared, ciphertext = own.agree_both_ways(public_key, peer=receiver), b""
    if round_.config.suite.hybrid:
        try:
            fresh, ciphertext = encapsulate(public_key)
        except ValueError:
            raise AuthenticationError(f"public key of {receiver} gives no secret", culprit=receiver) from None
        shared = _joined(fresh, shared)
    key, associated_data = _direction(round_, label, shared, ends)
    return ciphertext + sealing.seal(key, plaintext, associated_data)


def unseal_from(round_: Round, label: bytes, own: KeyPair, public_key: bytes, *, ends: Ends, sealed: bytes) -> bytes:
    """As `unseal`, from any public key of the sender; `own` is our key pair of the same purpose."""
    sender, _ = ends
    shared = own.agree_both_ways(public_key, peer=sender)
    if isinstance(own, HybridKeyPair):
        fresh = own.decapsulate(sealed[:CIPHERTEXT_SIZE], sender=sender)
        shared, sealed = _joined(fresh, shared), sealed[CIPHERTEXT_SIZE:]
    key, associated_data = _direction(round_, label, shared, ends)
    return sealing.unseal(key, sealed, associated_data, sender=sender)


def _joined(fresh: Secret, agreed: Secret) -> Secret:
    return Secret(fresh.expose() + agreed.expose())


def _direction(round_: Round, label: bytes, shared: Secret, ends: Ends) -> tuple[Secret, bytes]:
    """The key and the associated data for messages from the first of `ends` to the second."""
    bound = (round_.seal_context, *(end.encode() for end in ends))
    info = frame(label, round_.config.suite.name.encode(), *bound)
    key = derive(shared, salt=round_.round_id, info=info, size=round_.config.suite.key_size)
    return key, frame(labels.SHARE_ASSOCIATED_DATA, *bound)
