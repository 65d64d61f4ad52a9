"""The vectors of one round at one door: checked and added up, each once the head has confirmed it."""

from secagg.config import RoundConfig
from secagg.crypto.prg import Words
from secagg.errors import StoreError
from secagg.masked.accumulator import Accumulator
from secagg.messages import Index
from secagg.rounds.uploads import Spool

LastChunk = tuple[int, bytes, str]
"""Number, payload, and whose it is."""


class DoorRound:
    """What a worker holds of a round. Not for two threads at once.

    A vector goes through three states: its chunks wait; its last chunk is there, and the head is asked (`offer`); it is
    added up (`confirm`). The head may ask for the sum before its word that a vector counts has arrived here. So `give`
    confirms what the head names, and what the head does not name is in no sum.
    """

    def __init__(self, config: RoundConfig, spool: Spool) -> None:
        """Args:
        config: of the round, which is masked.
        spool: where chunks wait for the rest of their vector.
        """
        self._accumulator = Accumulator(config, spool)
        self._offered: dict[Index, LastChunk] = {}
        self._counted: set[Index] = set()  # whose vectors are in the sum

    @property
    def chunks(self) -> int:
        """How many chunks a vector has."""
        return self._accumulator.uploads.chunks

    def received(self, owner: Index) -> int:
        """Chunks of the owner's vector that are here."""
        return self._accumulator.uploads.received(owner)

    def take(self, owner: Index, number: int, payload: bytes, *, name: str) -> bool:
        """Take the owner's next chunk. True if it is the last one: then it waits for `confirm`.

        Raises:
            RemoteError: not the next chunk, or malformed.
        """
        uploads = self._accumulator.uploads
        if number < uploads.chunks - 1:
            uploads.add(owner, number, payload, name=name)
            return False
        uploads.check(owner, number, payload, name=name)
        self._offered[owner] = number, payload, name
        return True

    def confirm(self, owner: Index) -> None:
        """The head counts the owner's vector: add it up, unless `give` did so before."""
        last = self._offered.pop(owner, None)
        if last is not None:
            number, payload, name = last
            self._accumulator.uploads.add(owner, number, payload, name=name)
            self._counted.add(owner)

    def refuse(self, owner: Index) -> None:
        """The head does not count the owner's vector. Its last chunk may come again."""
        self._offered.pop(owner, None)

    def give(self, members: frozenset[Index]) -> Words:
        """The sum of the vectors of exactly these members, words[vector_len]. It is given once.

        Raises:
            StoreError: it is not what is here, and the head and this door do not agree any more.
        """
        for owner in sorted(members & self._offered.keys()):
            self.confirm(owner)
        if self._counted != members:  # check: given-set
            raise StoreError(
                f"{len(members)} vectors are asked for, and others ({len(self._counted)}) are added up here"
            )
        self._counted.clear()
        return self._accumulator.give()
