"""The coordinator's sum of ciphertexts: it unpacks, checks, adds and cannot open."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from secagg.errors import LocalError
from secagg.lattice.layout import Layout, layout_of
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Custody, Profile
from secagg.lattice.residues import Accumulator, ResidueVector, reduce_in_place, unreduced_room
from secagg.lattice.streams import SeededPolynomials


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The encrypted sum, c0 and c1 apart, each uint64[blocks, 1, primes, N]."""

    c0: ResidueVector
    c1: ResidueVector

    def refuse_transparent(self) -> None:
        """Refuse a sum that hides nothing.

        Raises:
            ProtocolViolation: some c0 or c1 is zero.
        """
        self.c0.refuse_zero()
        self.c1.refuse_zero()


def upload_layout(profile: Profile, values: int) -> Layout:
    """What a participant sends: c0 alone where c1 follows from a seed, else c0 and c1."""
    return layout_of(profile, values, 1 if profile.custody is Custody.PARTICIPANTS else 2)


class SeededSum:
    """Custody `participants`: each summand is c0 from the wire, and c1 from a seed that is expanded when all are in."""

    def __init__(self, profile: Profile, values: int) -> None:
        self.upload = upload_layout(profile, values)
        self._c0 = Accumulator(self.upload)

    def add(self, chunk: int, data: bytes | memoryview) -> None:
        """Check and fold one chunk of one participant, who is known to have sent all of them.

        Raises:
            DecodeError: the chunk is malformed; nothing was added.
        """
        self._c0.add(chunk, data)

    def finish(self, streams: Sequence[SeededPolynomials]) -> Aggregate:
        """The sum of everything added, with the streams of exactly those who sent it.

        Raises:
            LocalError: chunks are missing, or streams.
        """
        if len(streams) != self._c0.summands:
            raise LocalError(f"{len(streams)} streams do not fit {self._c0.summands} summands")
        return Aggregate(self._c0.finish(), sum_streams(self.upload, streams))

    def forget(self) -> None:
        """Drop the sum. Nothing can be added any more."""
        self._c0.forget()


class PublicKeySum:
    """Custody `threshold`: each summand is c0 and c1 from the wire."""

    def __init__(self, profile: Profile, values: int) -> None:
        self.upload = upload_layout(profile, values)
        self._both = Accumulator(self.upload)
        self._single = layout_of(profile, values, 1)

    def add(self, chunk: int, data: bytes | memoryview) -> None:
        """Check and fold one chunk of one participant, who is known to have sent all of them.

        Raises:
            DecodeError: the chunk is malformed; nothing was added.
        """
        self._both.add(chunk, data)

    def finish(self) -> Aggregate:
        """The sum of everything added.

        Raises:
            LocalError: chunks are missing.
        """
        total = self._both.finish().residues
        return Aggregate(ResidueVector(self._single, total[:, :1]), ResidueVector(self._single, total[:, 1:]))

    def forget(self) -> None:
        """Drop the sum. Nothing can be added any more."""
        self._both.forget()


_PIECE_WORDS: Final = 1 << 15
"""Summed over all streams at a time: few enough to stay in the L2 cache."""


def sum_streams(layout: Layout, streams: Sequence[SeededPolynomials]) -> ResidueVector:
    """The sum of seeded c1: uint64[blocks, 1, primes, N]."""
    total = np.zeros((layout.blocks, 1, len(layout.primes), layout.ring_degree), np.uint64)
    step = max(1, _PIECE_WORDS // (len(layout.primes) * layout.ring_degree))
    for start in range(0, layout.blocks, step):
        piece = total[start : start + step, 0]
        _add_streams(piece, range(start, start + len(piece)), layout, streams)
    return ResidueVector(layout, total)


def _add_streams(piece: U64, blocks: range, layout: Layout, streams: Sequence[SeededPolynomials]) -> None:
    unreduced = 0
    for stream in streams:
        if unreduced == unreduced_room(layout.prime_bits):
            reduce_in_place(piece, layout.primes)
            unreduced = 1
        np.add(piece, stream.blocks(blocks), out=piece)
        unreduced += 1
    reduce_in_place(piece, layout.primes)
