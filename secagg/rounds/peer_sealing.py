"""What one participant encrypts for another one, so that the coordinator can pass it on and not read it.

There is one key for each direction and purpose. Round, sender and receiver go into the key and into the authenticated
data, so nothing can be moved to another round, turned round or given to somebody else.
"""

from secagg.context import Round
from secagg.crypto import labels, sealing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.kdf import derive
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.messages import Member, ParticipantId


def seal(
    round_: Round, label: bytes, own: KeyPair, *, sender: ParticipantId, receiver: Member, plaintext: bytes
) -> bytes:
    """Encrypt `plaintext` for `receiver`; the result is 16 bytes longer. Once for a label, round and receiver."""
    key, associated_data = _direction(round_, label, own, (sender, receiver.participant_id), receiver)
    return sealing.seal(key, plaintext, associated_data)


def unseal(
    round_: Round, label: bytes, own: KeyPair, *, sender: Member, receiver: ParticipantId, sealed: bytes
) -> bytes:
    """Decrypt what `sender` sealed to us.

    Raises:
        AuthenticationError: sealed for another purpose, round, context, sender or receiver, or altered.
    """
    key, associated_data = _direction(round_, label, own, (sender.participant_id, receiver), sender)
    return sealing.unseal(key, sealed, associated_data, sender=sender.participant_id)


def _direction(
    round_: Round, label: bytes, own: KeyPair, ends: tuple[ParticipantId, ParticipantId], peer: Member
) -> tuple[Secret, bytes]:
    """The key and the associated data for messages from the first of `ends` to the second."""
    shared = own.agree_both_ways(peer.keys.channel_public_key, peer=peer.participant_id)
    bound = (round_.seal_context, *(end.encode() for end in ends))
    info = frame(label, round_.config.suite.name.encode(), *bound)
    key = derive(shared, salt=round_.round_id, info=info, size=round_.config.suite.key_size)
    return key, frame(labels.SHARE_ASSOCIATED_DATA, *bound)
