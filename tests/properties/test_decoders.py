"""Hostile bytes are a message or a RemoteError: nothing else, ever."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError, RemoteError
from secagg.messages import Index, LeaveReason, MaskedInputChunk, ShareDelivery
from secagg.wire import fields
from secagg.wire.agreement import decode_leave
from secagg.wire.fields import decode_participant_id
from secagg.wire.keys import decode_roster, decode_share_delivery, decode_share_keys, encode_share_delivery
from secagg.wire.masked import MASKED_INPUT_CHUNK, decode_unmask
from secagg.wire.parsing import parse
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.properties.decoders import Decoder, all_decoders
from tests.properties.mutation import mutate

DECODERS = {decoder.name: decoder for decoder in all_decoders()}
each = pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)


def value_or_named_error(decoder: Decoder, parts: list[bytes]) -> bool:
    """Whether `parts` are a message; anything but a value or a RemoteError fails the test."""
    try:
        decoder.decode(parts)
    except RemoteError:
        return False
    return True


@each
def test_valid_messages_come_back(decoder: Decoder) -> None:
    for parts in decoder.valid:
        value = decoder.decode(parts)
        if decoder.again is not None:
            assert decoder.again(value) == parts


@each
@given(data=st.lists(st.binary(max_size=200), max_size=3))
def test_random_bytes(decoder: Decoder, data: list[bytes]) -> None:
    value_or_named_error(decoder, data)


@each
@given(seed=st.integers(0, 2**63))
def test_mutated_messages(decoder: Decoder, seed: int) -> None:
    value_or_named_error(decoder, mutate(np.random.default_rng(seed), decoder.valid))


@each
def test_messages_cut_short(decoder: Decoder) -> None:
    for parts in decoder.valid:
        joined = parts[-1]
        for length in range(min(len(joined), 300)):
            value_or_named_error(decoder, [*parts[:-1], joined[:length]])


def test_mutation_reaches_both_outcomes() -> None:
    """The mutated messages are neither all garbage nor all fine."""
    rng = np.random.default_rng(0)
    outcomes = {value_or_named_error(d, mutate(rng, d.valid)) for d in all_decoders() for _ in range(20)}
    assert outcomes == {True, False}


# --- limits -----------------------------------------------------------------------------------------------------------


def test_no_part_is_longer_than_a_mebibyte() -> None:
    delivery = ShareDelivery({Index(i): bytes([i % 256]) * 82 for i in range(1, 10_001)}, {Index(1): bytes(3 << 20)})
    parts = list(encode_share_delivery(delivery))
    assert len(parts) > 4
    assert max(part.ByteSize() for part in parts) <= fields.PART_BYTES
    assert decode_share_delivery(parts) == delivery


def test_more_entries_than_participants() -> None:
    entries = [pb.SealedShares(peer=i, sealed=bytes(82)) for i in range(1, 10_002)]
    with pytest.raises(DecodeError, match="more than 10000 entries"):
        decode_share_delivery([pb.ShareDeliveryPart(shares=entries)])


@pytest.mark.parametrize("peer", [0, 10_001, 7])
def test_an_index_stands_once_and_is_one(peer: int) -> None:
    twice = [pb.SealedShares(peer=7, sealed=bytes(82)), pb.SealedShares(peer=peer, sealed=bytes(82))]
    with pytest.raises(DecodeError, match=f"peer {peer} stands twice or is no index"):
        decode_share_delivery([pb.ShareDeliveryPart(shares=twice)])


def test_a_stream_of_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "MAX_PARTS", 100)

    def forever() -> Iterator[pb.RosterPart]:
        while True:
            yield pb.RosterPart()

    with pytest.raises(DecodeError, match="more than 100 parts"):
        decode_roster(forever())


def test_a_stream_of_pieces_is_cut_off_before_it_is_kept() -> None:
    taken = []

    def forever() -> Iterator[pb.ShareKeysPart]:
        yield pb.ShareKeysPart(commitment=bytes(32))
        while True:
            taken.append(1)
            yield pb.ShareKeysPart(key_share=bytes(1 << 20))

    with pytest.raises(DecodeError, match="key share has more than 4194304 bytes"):
        decode_share_keys(forever())
    assert len(taken) == 5


def test_a_chunk_of_more_than_a_mebibyte() -> None:
    with pytest.raises(DecodeError, match="payload has 1048577 bytes"):
        MASKED_INPUT_CHUNK.decode(MASKED_INPUT_CHUNK.encode(MaskedInputChunk(0, bytes((1 << 20) + 1))))


def test_both_shares_of_one_owner_cannot_be_written() -> None:
    """The oneof keeps the later of two, and one owner stands once."""
    both = pb.RevealedShare(owner=1, mask_key_share=bytes(33))
    both.self_mask_share = bytes(33)
    assert both.WhichOneof("share") == "self_mask_share"
    with pytest.raises(DecodeError, match="owner 1 stands twice"):
        decode_unmask([pb.UnmaskPart(shares=[both, pb.RevealedShare(owner=1, mask_key_share=bytes(33))])])


@pytest.mark.parametrize("reason", [0, 4, 99])
def test_reasons_for_leaving_that_nobody_knows(reason: int) -> None:
    assert reason not in {known.value for known in LeaveReason}
    message = parse(pb.Leave, bytes([8, reason]))
    with pytest.raises(DecodeError, match="unknown reason"):
        decode_leave(message)


@pytest.mark.parametrize("size", [1, 31, 33])
def test_a_refused_entry_is_named_by_32_bytes(size: int) -> None:
    with pytest.raises(DecodeError, match=f"refused_entry has {size} bytes, not 32"):
        decode_leave(pb.Leave(reason=pb.LEAVE_REASON_REFUSED, accused="p-1", refused_entry=bytes(size)))


def test_a_refused_entry_is_somebodys() -> None:
    with pytest.raises(DecodeError, match="nobody is accused"):
        decode_leave(pb.Leave(reason=pb.LEAVE_REASON_REFUSED, refused_entry=bytes(32)))


def test_an_entry_of_the_longest_form_and_not_a_byte_more() -> None:
    longest = 82 + 2 * 32 + 72
    entries = [pb.SealedShares(peer=1, sealed=bytes(longest))]
    assert decode_share_delivery([pb.ShareDeliveryPart(shares=entries)]).sealed == {1: bytes(longest)}
    entries = [pb.SealedShares(peer=1, sealed=bytes(longest + 1))]
    with pytest.raises(DecodeError, match="sealed has 219 bytes, more than 218"):
        decode_share_delivery([pb.ShareDeliveryPart(shares=entries)])


@pytest.mark.parametrize("text", ["", "-a", "a" * 65, "a b", "a\n", "ä", "a/b", ".a"])
def test_names_that_are_no_ids(text: str) -> None:
    with pytest.raises(DecodeError, match="no participant id"):
        decode_participant_id(text)
