"""Sealed entries of a round are packed at the coordinator: the same mapping, in little more than its bytes."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.config import MAX_PARTICIPANTS
from secagg.messages import Index, ShareDelivery, ShareKeys
from secagg.rounds.dealing import MASKED
from secagg.sealed_entries import SealedEntries
from secagg.wire.keys import MAX_SEALED_BYTES, SHARE_DELIVERY, SHARE_KEYS

INDICES = st.integers(1, MAX_PARTICIPANTS).map(Index)
ENTRIES = st.integers(0, MAX_SEALED_BYTES).flatmap(
    lambda size: st.dictionaries(INDICES, st.binary(min_size=size, max_size=size), max_size=30)
)
"""Entries of one size."""


@given(ENTRIES)
def test_it_is_the_mapping_that_it_was_made_of(entries: dict[Index, bytes]) -> None:
    packed = SealedEntries(entries)
    assert packed == entries
    assert list(packed.items()) == sorted(entries.items())
    assert len(packed) == len(entries)
    assert [packed.get(Index(i)) for i in (0, 1, 2, MAX_PARTICIPANTS + 1)] == [
        entries.get(Index(i)) for i in (0, 1, 2, MAX_PARTICIPANTS + 1)
    ]


@given(ENTRIES, st.binary(max_size=72))
def test_what_is_dealt_comes_off_the_wire_packed_and_is_handed_on_unchanged(
    entries: dict[Index, bytes], signature: bytes
) -> None:
    sent = ShareKeys(bytes(32), entries, signature=signature)
    dealt = SHARE_KEYS.decode(list(SHARE_KEYS.parts(sent)))
    handed_on = SHARE_DELIVERY.decode(list(SHARE_DELIVERY.parts(ShareDelivery(dealt.sealed))))
    assert isinstance(dealt.sealed, SealedEntries)
    assert dealt == sent
    assert handed_on.sealed == entries


def test_a_pair_of_members_takes_150_bytes_at_rest_and_on_the_wire() -> None:
    """Both ways, n = 100 and 1000; everything else in a message is below 200 bytes."""
    for n in (100, 1000):
        entries = {Index(i): bytes(MASKED.size) for i in range(1, n)}
        parts = list(SHARE_KEYS.parts(ShareKeys(bytes(32), entries, signature=bytes(72))))
        dealt = SHARE_KEYS.decode(parts)
        delivered = SHARE_DELIVERY.parts(ShareDelivery(dealt.sealed))
        held = [getattr(dealt.sealed, name) for name in SealedEntries.__slots__]
        assert sum(map(sys.getsizeof, [dealt.sealed, *held])) <= 300 + (n - 1) * 148
        assert sum(part.ByteSize() for part in parts) <= 200 + (n - 1) * 148
        assert sum(part.ByteSize() for part in delivered) <= 200 + (n - 1) * 148
        assert sum(part.ByteSize() for part in parts) <= n * 150


def test_parts_are_short_however_many_entries_there_are() -> None:
    entries = {Index(i): bytes(MASKED.size) for i in range(1, MAX_PARTICIPANTS + 1)}
    parts = list(SHARE_DELIVERY.parts(ShareDelivery(entries)))
    assert len(parts) == 2
    assert all(part.ByteSize() <= 1 << 20 for part in parts)
    assert SHARE_DELIVERY.decode(parts).sealed == entries


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="several sizes"):
        SealedEntries({Index(1): b"", Index(2): b"x"})
    with pytest.raises(OverflowError):
        SealedEntries({Index(1 << 16): b""})
    for indices, block in (([1, 2], b"xxx"), ([], b"x")):
        with pytest.raises(ValueError, match="of one size"):
            SealedEntries.joined(indices, block)


def test_it_shows_nothing_of_what_it_holds() -> None:
    assert repr(SealedEntries({Index(1): b"sealed"})) == "SealedEntries(1)"
