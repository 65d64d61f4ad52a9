"""How each state of a round with a joint key is saved: one line a state, with a piece for each of its attributes."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from secagg.crypto.secret import Secret
from secagg.crypto.shamir import SHARE_SIZE
from secagg.errors import DecodeError
from secagg.homomorphic.joint_key.consistency_check import AwaitingSum
from secagg.homomorphic.joint_key.encrypted_input import AwaitingShares
from secagg.homomorphic.joint_key.partial_decryption import AwaitingProof
from secagg.homomorphic.joint_key.recover_seeds import AwaitingRecoveryProof
from secagg.homomorphic.joint_key.recovery_check import AwaitingFallen
from secagg.homomorphic.joint_key.share_keys import AwaitingRoster
from secagg.messages import Index
from secagg.rounds.membership import Membership
from secagg.rounds.saved_state import CHANNEL, CHECKED, KEYS, MEMBERSHIP, SIGNERS, Piece, codec, needed, plain
from secagg.wire.saved_states import SavedState


def _one_share(share: Secret) -> Secret:
    if len(share) != SHARE_SIZE:
        raise DecodeError(f"a share has {SHARE_SIZE} bytes, not {len(share)}")
    return share


def _read_held(saved: SavedState, _: Membership) -> Mapping[Index, Secret]:
    return {owner: _one_share(share) for owner, share in needed(saved, "held").items()}


_OWN_PIECE: Final = Piece(
    lambda piece, _: {"own_share": piece}, lambda saved, _: _one_share(needed(saved, "own_share"))
)
_HELD: Final = Piece(lambda held, _: {"held": held}, _read_held)
_SEED: Final = plain("seed")
_KEY_SHARE: Final = plain("key_share")
_MESSAGE: Final = plain("message")
_FALLEN: Final = plain("fallen")
_codec = partial(codec, "joint-key")

SAVED_AS: Final = (
    _codec(AwaitingRoster, membership=MEMBERSHIP, channel=CHANNEL, seed=_SEED, key_share=_KEY_SHARE, keys=KEYS),
    _codec(AwaitingShares, checked=CHECKED, channel=CHANNEL, seed=_SEED, key_share=_KEY_SHARE, own_piece=_OWN_PIECE),
    _codec(AwaitingSum, checked=CHECKED, seed=_SEED, held=_HELD),
    _codec(
        AwaitingProof, checked=CHECKED, seed=_SEED, held=_HELD, sets=plain("sets"), c1=plain("c1"), message=_MESSAGE
    ),
    _codec(AwaitingFallen, checked=CHECKED, held=_HELD, signers=SIGNERS),
    _codec(AwaitingRecoveryProof, checked=CHECKED, held=_HELD, fallen=_FALLEN, message=_MESSAGE),
)
"""The states of `STATES`, in the same order."""
