"""Sealed entries of a round are packed at the coordinator: the same mapping, in little more than its bytes."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.config import MAX_PARTICIPANTS
from secagg.crypto.signing import MAX_SIGNATURE_SIZE
from secagg.messages import Index, ShareDelivery, ShareKeys
from secagg.rounds.dealing import MASKED
from secagg.sealed_entries import SealedEntries
from secagg.wire.keys import MAX_SEALED_BYTES, SHARE_DELIVERY, SHARE_KEYS

ENTRIES = st.dictionaries(
    st.integers(1, MAX_PARTICIPANTS).map(Index), st.binary(max_size=MAX_SEALED_BYTES), max_size=30
)


@given(ENTRIES)
def test_it_is_the_mapping_that_it_was_made_of(entries: dict[Index, bytes]) -> None:
    packed = SealedEntries(entries)
    assert packed == entries
    assert list(packed.items()) == sorted(entries.items())
    assert len(packed) == len(entries)
    assert [packed.get(Index(i)) for i in (0, 1, 2, MAX_PARTICIPANTS + 1)] == [
        entries.get(Index(i)) for i in (0, 1, 2, MAX_PARTICIPANTS + 1)
    ]


@given(ENTRIES)
def test_what_is_dealt_comes_off_the_wire_packed_and_is_handed_on_unchanged(entries: dict[Index, bytes]) -> None:
    dealt = SHARE_KEYS.decode(list(SHARE_KEYS.parts(ShareKeys(bytes(32), entries))))
    handed_on = SHARE_DELIVERY.decode(list(SHARE_DELIVERY.parts(ShareDelivery(dealt.sealed))))
    assert isinstance(dealt.sealed, SealedEntries)
    assert dealt == ShareKeys(bytes(32), entries)
    assert handed_on.sealed == entries


def test_a_pair_of_members_takes_150_bytes_and_its_signature() -> None:
    members = range(1, 1001)
    for signature in (0, MAX_SIGNATURE_SIZE):
        entry = bytes(MASKED.unsigned_size + signature)
        dealt = SHARE_KEYS.decode(list(SHARE_KEYS.parts(ShareKeys(bytes(32), {Index(i): entry for i in members}))))
        parts = [getattr(dealt.sealed, name) for name in SealedEntries.__slots__]
        taken = sys.getsizeof(dealt.sealed) + sum(map(sys.getsizeof, parts))
        assert taken <= len(members) * (150 + signature)


def test_parts_are_short_however_many_entries_there_are() -> None:
    entries = {Index(i): bytes(MAX_SEALED_BYTES) for i in range(1, MAX_PARTICIPANTS + 1)}
    parts = list(SHARE_DELIVERY.parts(ShareDelivery(entries)))
    assert len(parts) == 3
    assert all(part.ByteSize() <= 1 << 20 for part in parts)
    assert SHARE_DELIVERY.decode(parts).sealed == entries


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="range"):
        SealedEntries({Index(1): bytes(256)})
    with pytest.raises(OverflowError):
        SealedEntries({Index(1 << 16): b""})


def test_it_shows_nothing_of_what_it_holds() -> None:
    assert repr(SealedEntries({Index(1): b"sealed"})) == "SealedEntries(1)"
