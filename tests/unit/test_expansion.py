"""What a participant sends of 2^20 values of 16 bits among 2^10 participants, against the plain update.

Bonawitz et al. (2017), section 7, have 1.73 for this size; 1.625 is the ring alone, 26 bits for 16. Only the vector
depends on its length, and the rest grows with the number of neighbours, so both are counted in small rounds.
"""

from functools import cache

import pytest

from secagg import find_ring
from secagg.config import Graph, ThreatModel
from secagg.crypto.rng import SeededRng
from secagg.encoding.packing import chunk_values, packed_size
from secagg.sparse.ring import Ring
from secagg.tools.simulation.scenario import Scenario, play

PEOPLE, VALUES, VALUE_BITS = 1 << 10, 1 << 20, 16
RING_BITS = VALUE_BITS + 10
PLAIN = VALUES * VALUE_BITS / 8
SMALL = 64  # values of the rounds that are played
INDEX_BYTES, CHUNK_HEAD = 8, 32
"""What a larger index costs at most in the entries of a neighbour, and what a chunk has beside its payload."""


@cache
def beside_the_vector(participants: int, threat_model: ThreatModel, graph: Graph | Ring = Graph.COMPLETE) -> float:
    """Bytes that a participant sends without its packed vector, as counted on the wire."""
    scenario = Scenario(
        participants=participants,
        values=SMALL,
        threat_model=threat_model,
        threshold=graph.min_participants if isinstance(graph, Ring) else 0,
        max_colluding=1,
        value_bits=VALUE_BITS,
        graph=graph,
    )
    bits = VALUE_BITS + (participants - 1).bit_length()
    return play(scenario, rng=SeededRng(bytes(32))).bytes_up - packed_size(SMALL + 1, bits)


def expansion(neighbours: int, threat_model: ThreatModel) -> float:
    few, many = (beside_the_vector(n, threat_model) for n in (8, 16))
    each = (many - few) / 8
    size = chunk_values(RING_BITS)
    lengths = [min(size, VALUES + 1 - at) for at in range(0, VALUES + 1, size)]
    vector = sum(packed_size(count, RING_BITS) + CHUNK_HEAD for count in lengths)
    return (few - 7 * each + neighbours * (each + INDEX_BYTES) + vector) / PLAIN


@pytest.mark.parametrize("threat_model", ThreatModel)
def test_with_the_sparse_graph_it_is_at_most_1_65(threat_model: ThreatModel) -> None:
    active = threat_model is ThreatModel.ACTIVE
    ring = find_ring(max_participants=PEOPLE, max_colluding=PEOPLE // 20, threshold=683, active=active)
    assert RING_BITS / VALUE_BITS < expansion(ring.degree, threat_model) <= 1.65


def test_with_the_complete_graph_it_is_less_than_published_for_a_semi_honest_coordinator() -> None:
    assert expansion(PEOPLE - 1, ThreatModel.SEMI_HONEST) <= 1.73
    assert expansion(PEOPLE - 1, ThreatModel.ACTIVE) <= 1.78  # a signature for each neighbour


def test_a_neighbour_on_a_ring_costs_what_one_on_the_complete_graph_does() -> None:
    ring = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)
    complete = beside_the_vector(7, ThreatModel.ACTIVE)
    assert beside_the_vector(12, ThreatModel.ACTIVE, ring) <= complete + 6 * INDEX_BYTES + CHUNK_HEAD
