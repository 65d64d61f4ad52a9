"""Vectors whose chunks are made once: sent again as the same bytes, dropped when they arrived, never made anew."""

import os

import pytest

from secagg.errors import LocalError
from secagg.homomorphic.vectors import OnceVector
from secagg.messages import Phase, SumChunk


def fresh(number: int) -> SumChunk:
    """Like a ciphertext: never the same twice."""
    return SumChunk(number, os.urandom(8))


def test_a_chunk_is_made_once_and_kept_until_it_arrived() -> None:
    vector = OnceVector(Phase.RELEASE_SUM, 3, fresh)
    sent = list(vector)
    assert [vector.chunk(number) for number in (2, 0, 1)] == [sent[2], sent[0], sent[1]]
    vector.forget()
    assert not vector._made
    for number in range(3):
        with pytest.raises(LocalError, match="after its phase"):
            vector.chunk(number)
