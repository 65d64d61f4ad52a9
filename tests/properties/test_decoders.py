"""Hostile bytes are a message or a RemoteError: nothing else, ever."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError, RemoteError
from secagg.messages import Dealt, Index, LeaveReason, MaskedInputChunk, ShareDelivery
from secagg.wire import fields
from secagg.wire.agreement import decode_leave, decode_shown, encode_shown
from secagg.wire.fields import decode_participant_id
from secagg.wire.keys import (
    MAX_SEALED_BYTES,
    decode_roster,
    decode_share_delivery,
    decode_share_keys,
    encode_share_delivery,
)
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


@pytest.mark.parametrize("peers", [[0], [10_001], [7, 7], [7, 6], range(1, 10_002)])
def test_peers_are_ascending_indices_over_all_parts(peers: Sequence[int]) -> None:
    whole = [pb.ShareDeliveryPart(peers=peers, entries=bytes(len(peers)))]
    one_each = [pb.ShareDeliveryPart(peers=[peer], entries=b"x") for peer in peers]
    for parts in (whole, one_each):
        with pytest.raises(DecodeError, match="peers are not ascending indices"):
            decode_share_delivery(parts)
        with pytest.raises(DecodeError, match="peers are not ascending indices"):
            decode_share_keys([pb.ShareKeysPart(peers=p.peers, entries=p.entries) for p in parts])


def test_entries_are_of_one_size() -> None:
    for sizes in ([(2, 81)], [(1, 80), (1, 81)], [(1, MAX_SEALED_BYTES + 1)], [(0, 1)]):
        peers = iter(range(1, 10))
        parts = [pb.ShareKeysPart(peers=[next(peers) for _ in range(n)], entries=bytes(size)) for n, size in sizes]
        with pytest.raises(DecodeError, match="entries of"):
            decode_share_keys(parts)


def test_what_stands_in_the_first_part_stands_there_alone() -> None:
    later = [pb.ShareKeysPart(commitment=b"c"), pb.ShareKeysPart(signature=b"s")]
    for part in later:
        with pytest.raises(DecodeError, match="stand in the first part"):
            decode_share_keys([pb.ShareKeysPart(), part])
    with pytest.raises(DecodeError, match="no part"):
        decode_share_keys([])
    with pytest.raises(DecodeError, match="signature has 73 bytes, more than 72"):
        decode_share_keys([pb.ShareKeysPart(signature=bytes(73))])


def test_what_is_shown_of_an_entry_is_bounded() -> None:
    assert decode_shown(pb.LeaveReply()) is None
    most = Dealt(bytes(320_000), bytes(72))
    assert decode_shown(encode_shown(most)) == most
    for digests, signature in ((320_001, 72), (320_000, 73)):
        with pytest.raises(DecodeError, match="more than"):
            decode_shown(pb.LeaveReply(dealt=pb.Dealt(digests=bytes(digests), signature=bytes(signature))))


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
    longest = MAX_SEALED_BYTES
    part = pb.ShareDeliveryPart(peers=[1], entries=bytes(longest))
    assert decode_share_delivery([part]).sealed == {1: bytes(longest)}
    with pytest.raises(DecodeError, match=f"{longest + 1} bytes are not 1 entries of one size, {longest} at most"):
        decode_share_delivery([pb.ShareDeliveryPart(peers=[1], entries=bytes(longest + 1))])


@pytest.mark.parametrize("text", ["", "-a", "a" * 65, "a b", "a\n", "ä", "a/b", ".a"])
def test_names_that_are_no_ids(text: str) -> None:
    with pytest.raises(DecodeError, match="no participant id"):
        decode_participant_id(text)
