"""How each state of a masked round is saved: one line a state, with a piece for each of its attributes."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from secagg.config import ThreatModel
from secagg.crypto.secret import Secret
from secagg.crypto.shamir import SHARE_SIZE
from secagg.errors import DecodeError
from secagg.masked.consistency_check import AwaitingSurvivorsToSign
from secagg.masked.masked_input import AwaitingShares
from secagg.masked.share_keys import AwaitingRoster
from secagg.masked.shares import SharePair
from secagg.masked.unmask import AwaitingProof, AwaitingSurvivorsToReveal
from secagg.messages import Index
from secagg.rounds.membership import Membership
from secagg.rounds.saved_state import CHANNEL, CHECKED, KEYS, MEMBERSHIP, Piece, codec, key_pair, needed, plain
from secagg.wire.saved_states import SavedState


def _joined(pair: SharePair) -> Secret:
    return Secret(pair.mask_key.expose() + pair.self_mask_seed.expose())


def _pair(joined: Secret) -> SharePair:
    if len(joined) != 2 * SHARE_SIZE:
        raise DecodeError(f"a pair of shares has {2 * SHARE_SIZE} bytes, not {len(joined)}")
    return SharePair(Secret(joined.expose()[:SHARE_SIZE]), Secret(joined.expose()[SHARE_SIZE:]))


def _read_held(saved: SavedState, _: Membership) -> Mapping[Index, SharePair]:
    return {owner: _pair(joined) for owner, joined in needed(saved, "held").items()}


_OWN_PAIR: Final = Piece(
    lambda pair, _: {"own_share": _joined(pair)}, lambda saved, _: _pair(needed(saved, "own_share"))
)
_HELD: Final = Piece(lambda held, _: {"held": {owner: _joined(pair) for owner, pair in held.items()}}, _read_held)
_MASK: Final = key_pair("mask_private_key")
_codec = partial(codec, "masked")

_ROSTER_AND_SHARES: Final = (
    _codec(AwaitingRoster, membership=MEMBERSHIP, channel=CHANNEL, mask=_MASK, keys=KEYS),
    _codec(
        AwaitingShares,
        checked=CHECKED,
        channel=CHANNEL,
        mask=_MASK,
        self_mask_seed=plain("seed"),
        own_pair=_OWN_PAIR,
    ),
)
SAVED_AS: Final = {
    ThreatModel.SEMI_HONEST: (
        *_ROSTER_AND_SHARES,
        _codec(AwaitingSurvivorsToReveal, checked=CHECKED, held=_HELD),
    ),
    ThreatModel.ACTIVE: (
        *_ROSTER_AND_SHARES,
        _codec(AwaitingSurvivorsToSign, checked=CHECKED, held=_HELD),
        _codec(AwaitingProof, checked=CHECKED, held=_HELD, survivors=plain("sets")),
    ),
}
"""The states of `STATES`, in the same order."""
