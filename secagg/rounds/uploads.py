"""Vectors that arrive in chunks, at the coordinator. A vector counts whole or not at all."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from secagg.errors import DecodeError, ProtocolViolation
from secagg.messages import Index, Phase


class Spool(Protocol):
    """Keeps the chunks of incomplete vectors in order. An owner has one vector in each phase."""

    def append(self, phase: Phase, owner: Index, payload: bytes) -> None:
        """Keep the owner's next chunk."""
        ...

    def take(self, phase: Phase, owner: Index) -> Iterator[bytes]:
        """The owner's chunks, in order; they are forgotten, unless the spool outlives the process."""
        ...

    def cut(self, phase: Phase, owner: Index, chunks: int) -> None:
        """Forget what the owner has behind the first `chunks`."""
        ...


class MemorySpool:
    """Keeps the chunks of incomplete vectors in memory, where they do not have to survive a restart."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[Phase, Index], list[bytes]] = {}

    def append(self, phase: Phase, owner: Index, payload: bytes) -> None:
        """Keep the owner's next chunk in a list."""
        self._chunks.setdefault((phase, owner), []).append(payload)

    def take(self, phase: Phase, owner: Index) -> Iterator[bytes]:
        """Give the owner's chunks in order and drop the list."""
        yield from self._chunks.pop((phase, owner), [])

    def cut(self, phase: Phase, owner: Index, chunks: int) -> None:
        """Shorten the list."""
        del self._chunks.get((phase, owner), [])[chunks:]


class Uploads:
    """One vector of a fixed number of chunks from each owner, folded in when its last chunk is there."""

    def __init__(
        self,
        phase: Phase,
        chunks: int,
        spool: Spool,
        *,
        check: Callable[[int, bytes], object],
        fold: Callable[[int, bytes], None],
    ) -> None:
        """Args:
        phase: in which the vectors are sent.
        chunks: of every vector.
        spool: keeps chunks until the vector is whole.
        check: raises a `DecodeError` if chunk `number` is malformed; what passes must never fail to fold.
        fold: adds a checked chunk.
        """
        self._phase = phase
        self._chunks = chunks
        self._spool = spool
        self._well_formed = check
        self._fold = fold
        self._received: dict[Index, int] = {}

    @property
    def chunks(self) -> int:
        """How many chunks a vector has."""
        return self._chunks

    def received(self, owner: Index) -> int:
        """Chunks of `owner` that arrived; a client that lost its connection goes on there."""
        return self._received.get(owner, 0)

    def complete(self, owner: Index) -> bool:
        """Whether the owner's whole vector is folded in."""
        return self.received(owner) == self._chunks

    def add(self, owner: Index, number: int, payload: bytes, *, name: str) -> bool:
        """Take the owner's next chunk; fold the vector with the last one. True once it is folded in.

        Raises:
            RemoteError: not the next chunk, or malformed.
        """
        self.check(owner, number, payload, name=name)
        self._spool.append(self._phase, owner, payload)
        self._received[owner] = number + 1
        if not self.complete(owner):
            return False
        for at, kept in enumerate(self._spool.take(self._phase, owner)):
            self._fold(at, kept)
        return True

    def check(self, owner: Index, number: int, payload: bytes, *, name: str) -> None:
        """Refuse what `add` would refuse, and take nothing. Raises as `add`."""
        expected = self.received(owner)
        if expected == self._chunks:  # check: C41-last
            # Counted, it would make a vector that is in the sum look incomplete.
            raise ProtocolViolation(f"{name} sent chunk {number} behind its last one", culprit=name)
        if number != expected:  # check: C41-next
            raise ProtocolViolation(f"chunk {number} of {name} came where {expected} was expected", culprit=name)
        try:
            self._well_formed(number, payload)
        except DecodeError as error:
            raise DecodeError(f"{name}: {error}", culprit=name) from None

    def restart(self, owner: Index) -> None:
        """Forget the owner's vector, which is not whole: it begins anew, here or at another door."""
        self.discard(owner)
        self._received.pop(owner, None)

    def folded_elsewhere(self, owners: Iterable[Index]) -> None:
        """The whole vectors of these are in a partial sum that was taken."""
        self._received.update(dict.fromkeys(owners, self._chunks))

    def discard_incomplete(self) -> None:
        """Forget every vector that is not whole. Who delivered stays known."""
        for owner in self._received:
            self.discard(owner)

    def discard(self, owner: Index) -> None:
        """Forget the owner's vector, if it is not whole."""
        self._spool.cut(self._phase, owner, 0)
