"""The coordinator's sum of ciphertexts: it unpacks, checks, adds and cannot open."""

from dataclasses import dataclass

from secagg.homomorphic.layout import Layout, layout_of
from secagg.homomorphic.parameters import Custody, Profile
from secagg.homomorphic.residues import Accumulator, ResidueVector, unpack_chunk
from secagg.homomorphic.streams import SeededPolynomials


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
    """Custody `participants`: each summand is c0 from the wire and c1 from a seed."""

    def __init__(self, profile: Profile, values: int) -> None:
        self.upload = upload_layout(profile, values)
        self._c0 = Accumulator(self.upload)
        self._c1 = Accumulator(self.upload)

    def add(self, chunk: int, data: bytes | memoryview, stream: SeededPolynomials) -> None:
        """Check and fold one chunk of one participant, who is known to have sent all of them.

        Raises:
            DecodeError: the chunk is malformed; nothing was added.
        """
        c0 = unpack_chunk(self.upload, chunk, data)
        self._c0.fold(chunk, [c0])
        self._c1.fold(chunk, (piece[:, None] for piece in stream.pieces(self.upload.block_range(chunk))))

    def finish(self) -> Aggregate:
        """The sum of everything added.

        Raises:
            LocalError: chunks are missing.
        """
        return Aggregate(self._c0.finish(), self._c1.finish())


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
