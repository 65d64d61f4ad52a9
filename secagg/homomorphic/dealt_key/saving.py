"""How each state of a round with a dealt key is saved: one line a state, with a piece for each of its attributes."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from secagg.aggregates import Aggregate
from secagg.encoding.packing import pack, unpack
from secagg.homomorphic.dealt_key.confirm_key import AwaitingKey
from secagg.homomorphic.dealt_key.encrypted_input import AwaitingConfirmations
from secagg.homomorphic.dealt_key.release_sum import AwaitingOrder
from secagg.homomorphic.dealt_key.report_sum import AwaitingSum
from secagg.homomorphic.dealt_key.share_keys import AwaitingRoster
from secagg.rounds.membership import Membership
from secagg.rounds.saved_state import CHANNEL, CHECKED, KEYS, MEMBERSHIP, SIGNERS, Piece, codec, needed, plain
from secagg.wire.saved_states import SavedState


def _write_sum(aggregate: Aggregate, membership: Membership) -> Mapping[str, object]:
    packed = pack(aggregate.sums, membership.round.config.ring_bits)
    return {"summed": aggregate.survivors, "sums": packed}


def _read_sum(saved: SavedState, membership: Membership) -> Aggregate:
    config = membership.round.config
    sums = unpack(saved.sums, config.vector_len, config.ring_bits)
    return Aggregate(sums, needed(saved, "summed"))


_SEED: Final = plain("seed")
_codec = partial(codec, "dealt-key")

SAVED_AS: Final = (
    _codec(AwaitingRoster, membership=MEMBERSHIP, channel=CHANNEL, keys=KEYS),
    _codec(AwaitingKey, checked=CHECKED, channel=CHANNEL, own_seed=_SEED),
    _codec(AwaitingConfirmations, checked=CHECKED, dealer=plain("dealer"), seed=_SEED, message=plain("message")),
    _codec(AwaitingSum, checked=CHECKED, seed=_SEED, confirmed=SIGNERS),
    _codec(AwaitingOrder, membership=MEMBERSHIP, aggregate=Piece(_write_sum, _read_sum)),
)
"""The states of `STATES`, in the same order."""
