"""Which participants are neighbours: they share masks, and hold shares of each other's secrets. And who signs for all.

With a sparse graph both follow from a seed that nobody chooses: a hash over the list of members, each of whom brought
fresh keys (proto/PROTOCOL.md, "The sparse graph").
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import nsmallest
from typing import Protocol

from secagg.context import Round
from secagg.crypto import labels
from secagg.crypto.transcript import digest, frame
from secagg.messages import Index
from secagg.sparse.ring import Ring


class Neighbourhoods(Protocol):
    """A symmetric graph on the roster. All thresholds of shares count a participant's neighbours and itself."""

    @property
    def degree(self) -> int:
        """How many neighbours each member has."""
        ...

    @property
    def committee(self) -> frozenset[Index]:
        """Who signs, where members sign who survived."""
        ...

    @property
    def order(self) -> Sequence[Index]:
        """All members; those next to each other have most neighbours in common."""
        ...

    def of(self, index: Index) -> tuple[Index, ...]:
        """The neighbours of `index`, ascending, without itself."""
        ...


@dataclass(frozen=True, slots=True)
class CompleteGraph:
    """Everyone with everyone (Bonawitz et al. 2017). Everyone signs."""

    members: int

    @property
    def degree(self) -> int:
        """All but one."""
        return self.members - 1

    @property
    def committee(self) -> frozenset[Index]:
        """All indices."""
        return frozenset(self.order)

    @property
    def order(self) -> Sequence[Index]:
        """By index."""
        return [Index(i) for i in range(1, self.members + 1)]

    def of(self, index: Index) -> tuple[Index, ...]:
        """All indices but `index`."""
        return tuple(Index(i) for i in range(1, self.members + 1) if i != index)


@dataclass(frozen=True, slots=True)
class RingGraph:
    """Everyone with the k/2 before and the k/2 after it on a ring (Bell et al. 2020). A committee signs.

    Attributes:
        half: k/2.
        order: the index at each place of the ring.
        places: the place of each index, at position index − 1.
        committee: who signs.
    """

    half: int
    order: Sequence[Index]
    places: Sequence[int]
    committee: frozenset[Index]
    _near: dict[Index, tuple[Index, ...]] = field(default_factory=dict, compare=False, repr=False)  # asked for so far

    @property
    def degree(self) -> int:
        """k."""
        return 2 * self.half

    def of(self, index: Index) -> tuple[Index, ...]:
        """The nearest on either side. There are more members than neighbours, so nobody stands on both."""
        if index not in self._near:
            place, members = self.places[index - 1], len(self.order)
            steps = (*range(-self.half, 0), *range(1, self.half + 1))
            self._near[index] = tuple(sorted(self.order[(place + step) % members] for step in steps))
        return self._near[index]


def neighbourhoods(round_: Round, members: int) -> Neighbourhoods:
    """The graph of a round with so many members, whose list is fixed."""
    ring = round_.config.ring
    return CompleteGraph(members) if ring is None else ring_of(ring, graph_seed(round_), members)


def isolated(graph: Neighbourhoods, alive: set[Index], gone: Iterable[Index], threshold: int) -> set[Index]:
    """Those of `alive` who have fewer than `threshold` of their closed neighbourhood left, themselves included.

    Args:
        graph: of all members.
        alive: who is left.
        gone: the members who are not. Whoever is isolated counts as gone for the others, too.
        threshold: how many each needs.
    """
    missing, found, waiting = Counter[Index](), set[Index](), list(gone)
    most = graph.degree + 1 - threshold
    while waiting:
        for neighbour in graph.of(waiting.pop()):
            missing[neighbour] += 1
            if missing[neighbour] > most and neighbour in alive and neighbour not in found:
                found.add(neighbour)
                waiting.append(neighbour)
    return found


def graph_seed(round_: Round) -> bytes:
    """32 bytes that ring and committee follow from: a digest over context and list of members."""
    return digest(labels.GRAPH_SEED, round_.context, round_.roster_digest)


@lru_cache(maxsize=4)
def ring_of(ring: Ring, seed: bytes, members: int) -> RingGraph:
    """Place the members on the ring by the digests of their indices, and take the committee in the same way.

    The result is kept, because the coordinator asks for it with every message.
    """
    places = _digests(labels.GRAPH_PLACE, seed, members)
    order = sorted(range(1, members + 1), key=lambda i: places[i - 1])
    place_of = [0] * members
    for place, index in enumerate(order):
        place_of[index - 1] = place
    marks = _digests(labels.GRAPH_COMMITTEE, seed, members)
    drawn = nsmallest(ring.committee, range(1, members + 1), key=lambda i: marks[i - 1])
    return RingGraph(ring.degree // 2, tuple(map(Index, order)), place_of, frozenset(map(Index, drawn)))


def _digests(label: bytes, seed: bytes, members: int) -> list[bytes]:
    """`digest(label, seed, index)` of each index from 1 on; the index in four big-endian bytes."""
    begun = hashlib.sha256(frame(label, seed) + (4).to_bytes(4, "big"))
    found = []
    for index in range(1, members + 1):
        state = begun.copy()
        state.update(index.to_bytes(4, "big"))
        found.append(state.digest())
    return found
