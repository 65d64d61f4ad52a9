"""Uploads that are another one, with something of their own when a chunk is made."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from secagg.messages import Phase
from secagg.schemes import Chunk, Upload


class PassedOn(ABC):
    """An `Upload` that passes another one on. A subclass says what happens to a chunk.

    Attributes:
        upload: the other one.
    """

    __slots__ = ()
    upload: Upload

    @property
    def phase(self) -> Phase:
        """Of the upload."""
        return self.upload.phase

    @property
    def chunks(self) -> int:
        """Of the upload."""
        return self.upload.chunks

    @abstractmethod
    def chunk(self, number: int) -> Chunk:
        """Chunk `number`."""

    def __iter__(self) -> Iterator[Chunk]:
        """All chunks in order, as `chunk` gives them."""
        return map(self.chunk, range(self.chunks))
