"""The phase RELEASE_SUM, only in custody `participants` where the FL server gets the sum: one member hands it in.

Participant: is told whether it is asked. If so, it sends the packed sum in chunks; else it is done.

Coordinator: asks the members that reported the agreed sum one after another, until one hands in a sum with that digest.
Whoever hands in another one drops out, and the next is asked.
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secagg.aggregates import Aggregate
from secagg.encoding.packing import chunk_values, pack, packed_size, unpack
from secagg.errors import AbortReason, DecodeError, ProtocolViolation, RoundAborted
from secagg.events import Event
from secagg.homomorphic.dealt_key.state import DealtKeyState
from secagg.homomorphic.session import HomomorphicTurn
from secagg.homomorphic.vectors import OnceVector
from secagg.messages import Index, Phase, ReleaseOrder, SumChunk
from secagg.roster import COORDINATOR
from secagg.rounds.coordinator_phase import UploadPhase
from secagg.rounds.membership import Membership
from secagg.rounds.session import Ended
from secagg.rounds.uploads import Spool, Uploads


@dataclass(frozen=True, slots=True)
class AwaitingOrder:
    """We know the sum; next the coordinator may ask for it, if the task gives it to the FL server."""

    awaits: ClassVar = Phase.REPORT_SUM
    takes: ClassVar = ReleaseOrder
    membership: Membership
    aggregate: Aggregate

    def receive(self, order: ReleaseOrder, turn: HomomorphicTurn) -> tuple[Ended, OnceVector[SumChunk] | None]:
        """The packed sum, or nothing."""
        del turn
        config = self.membership.round.config
        if not order.upload:
            return Ended.DONE, None
        if not config.release_to_coordinator:  # check: C58
            raise ProtocolViolation("this task does not give the sum to the FL server", culprit=COORDINATOR)
        size = chunk_values(config.ring_bits)

        def make(number: int) -> SumChunk:
            return SumChunk(number, pack(self.aggregate.sums[number * size : (number + 1) * size], config.ring_bits))

        return Ended.DONE, OnceVector(Phase.RELEASE_SUM, -(-config.vector_len // size), make)


class ReleaseSumPhase(UploadPhase[SumChunk]):
    """RELEASE_SUM at the coordinator. One vector at a time is under way: that of the member who is asked."""

    state: DealtKeyState
    phase = Phase.RELEASE_SUM
    one_is_enough = True

    def __init__(self, state: DealtKeyState, spool: Spool) -> None:
        """Args:
        state: of the round.
        spool: where an incomplete vector waits.
        """
        config = state.round.config
        self._bits = config.ring_bits
        self._size = chunk_values(self._bits)
        self._sums = np.zeros(config.vector_len, config.ring_dtype)
        self._hash = hashlib.sha256()
        self._handed_in_by: Index | None = None
        chunks = -(-config.vector_len // self._size)
        super().__init__(state, Uploads(self.phase, chunks, spool, check=self._check, fold=self._fold))

    def rebuilt(self, index: Index, number: int, payload: bytes, seed: bytes) -> SumChunk:
        """Number and payload are all of it."""
        return SumChunk(number, payload)

    def completed(self, index: Index) -> None:
        """A whole sum that is not the one that was reported counts as none."""
        if self.digest() != self.state.sum_digest:  # check: C81
            self._hash = hashlib.sha256()
            return
        self._handed_in_by = index

    def delivered(self, index: Index) -> bool:
        """Whether the member handed in the whole sum, and it is the one that was reported."""
        return index == self._handed_in_by

    def digest(self) -> bytes:
        """SHA-256 over the packed sum that was handed in."""
        return self._hash.digest()

    def ask(self, index: Index) -> None:
        """It is this member's turn; what the one before has sent is forgotten."""
        if self.state.asked is not None:
            self.uploads.discard(self.state.asked)
        self.state.asked = index

    def nobody_left(self) -> RoundAborted:
        """Everyone who reported the sum has failed to hand it in."""
        return RoundAborted(AbortReason.DISAGREEMENT, "nobody handed in the sum that all reported")

    def finish(self) -> tuple[list[Event], Aggregate]:
        """The sum as it was handed in."""
        self.state.asked = None
        return [], Aggregate(self._sums, self.state.survivors)

    def forget(self) -> None:
        """Drop the sum; its digest stays known."""
        super().forget()
        self._sums = self._sums[:0].copy()

    def _check(self, number: int, payload: bytes) -> None:
        count = min(self._size, len(self._sums) - number * self._size)
        if len(payload) != packed_size(count, self._bits):  # check: C80
            raise DecodeError(f"chunk {number} has {len(payload)} bytes, not {packed_size(count, self._bits)}")
        unpack(payload, count, self._bits)

    def _fold(self, number: int, payload: bytes) -> None:
        part = self._sums[number * self._size : (number + 1) * self._size]
        part[:] = unpack(payload, len(part), self._bits)
        self._hash.update(payload)
