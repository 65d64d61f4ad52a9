"""Which rounds may have what a framework's function computed.

Sums of one model are remembered by purpose, and each purpose by itself: a coordinator that could have one update summed
for two purposes would have two sums of it that nobody compares. So a plug-in says itself what was computed, and leaves
rounds for any other purpose.
"""

from collections.abc import Iterable
from typing import Final

from secagg.config import METRICS, TRAIN
from secagg_client.learning import clipping
from secagg_client.participation.results import Offer

EVALUATE: Final = "evaluate"

TRAINING: Final = frozenset({TRAIN, METRICS, clipping.PURPOSE})
"""Purposes of rounds that may have what training gave: its update, what it reported, how large the update is."""

EVALUATION: Final = frozenset({EVALUATE})
"""Purposes of rounds that may have what an evaluation reported."""


def answerable(offers: Iterable[Offer], purposes: frozenset[str]) -> list[Offer]:
    """The offers whose purpose is one of these. The others are left: nothing was computed for them."""
    return [offer for offer in offers if offer.config.purpose in purposes]
