"""One training result goes into rounds of the purposes that it was computed for, whatever purposes the server names."""

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from secagg_client.nvflare.site import contributions
from secagg_client.participation.results import Offer

from secagg.context import RoundId
from tests.carrying import small_round
from tests.rounds import SEMI_HONEST


def test_an_update_goes_into_no_round_of_a_purpose_that_the_server_made_up() -> None:
    """A second purpose is a second memory of released sums: two sums of one update that differ by one site."""
    model = {"values": np.zeros(64, np.float32)}
    meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: 3}
    dxo = DXO(DataKind.WEIGHTS, data={"values": np.full(64, 0.5, np.float32)}, meta=meta)
    offers = [
        Offer(RoundId(bytes([number]) * 16), small_round(5, SEMI_HONEST, purpose=purpose), b"")
        for number, purpose in enumerate(("train", "train2", "evaluate"))
    ]
    assert list(contributions(offers, dxo, model)) == [offers[0].round_id]
