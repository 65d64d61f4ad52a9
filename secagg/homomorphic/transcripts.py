"""The bytes that are signed in homomorphic rounds, or bound to a ciphertext (PROTOCOL.md, "Homomorphic rounds")."""

import hashlib

from secagg.context import Context
from secagg.crypto import labels
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest, frame
from secagg.lattice.parameters import Profile
from secagg.messages import Index, Member, ParticipantId, Roster, SurvivorSet
from secagg.roster import roster_digest
from secagg.rounds.dealing import share_digest


def key_confirmation(context: Context, roster: Roster, dealer: Index, key_digest: bytes) -> bytes:
    """What the signature of KeyConfirmation covers."""
    fields = (context, roster_digest(roster), _number(dealer), key_digest)
    return frame(labels.KEY_CONFIRMATION_SIGNATURE, *fields)


def sum_report(context: Context, roster: Roster, survivors: tuple[Index, ...], sums_digest: bytes) -> bytes:
    """What the signature of SumReport covers."""
    return frame(labels.SUM_REPORT_SIGNATURE, context, roster_digest(roster), _numbers(survivors), sums_digest)


def decryption(context: Context, roster: Roster, sets: SurvivorSet, c1_digest: bytes) -> bytes:
    """What the signature of ConsistencyCheck covers in custody `threshold`: who is in the sum, and what is
    decrypted.
    """
    fields = (context, roster_digest(roster), _numbers(sets.survivors), _numbers(sets.dropped), c1_digest)
    return frame(labels.DECRYPTION_SIGNATURE, *fields)


def recovery(context: Context, roster: Roster, fallen: tuple[Index, ...]) -> bytes:
    """What the signature of RecoveryCheck covers."""
    return frame(labels.RECOVERY_SIGNATURE, context, roster_digest(roster), _numbers(fallen))


def seed_share_digest(context: Context, owner: ParticipantId, holder: Member, share: Secret) -> bytes:
    """The digest of a share of `owner`'s key seed."""
    return share_digest(labels.SEED_SHARE_DIGEST, context, owner, holder.participant_id, share)


def input_binding(context: Context, sender: ParticipantId, profile: Profile, key_digest: bytes, seed: bytes) -> bytes:
    """32 bytes that tie an encrypted input to its round, sender, parameters and key."""
    numbers = (*profile.key_primes, profile.plain_modulus, profile.scale, profile.values_per_slot)
    shape = b"".join(n.to_bytes(16, "big") for n in (profile.ring_degree, *numbers))
    return digest(labels.ENCRYPTED_INPUT_BINDING, context, sender.encode(), shape, key_digest, seed)


def chunk_binding(binding: bytes, number: int, payload: bytes) -> bytes:
    """32 bytes that tie a chunk to its encrypted input and place; altered, or from elsewhere, it is refused."""
    return digest(labels.ENCRYPTED_CHUNK_BINDING, binding, _number(Index(number)), hashlib.sha256(payload).digest())


def _number(index: int) -> bytes:
    return index.to_bytes(4, "big")


def _numbers(indices: tuple[Index, ...]) -> bytes:
    return b"".join(map(_number, indices))
