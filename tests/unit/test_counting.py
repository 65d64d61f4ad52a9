"""Fields are counted before they become objects: exactly, within a budget, and for whatever bytes a peer sends."""

import pytest
from google.protobuf.message import DecodeError as ProtobufError
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding.schema import MAX_ARRAYS, MAX_DIMENSIONS
from secagg.errors import DecodeError
from secagg.wire import configuration, counting
from secagg.wire.configuration import decode_config
from secagg.wire.counting import MAX_FIELDS, Budget, count, plan_of
from secagg.wire.parsing import parse
from secagg.wire.v1 import config_pb2, data_plane_pb2

PROOF = data_plane_pb2.ConsistencyProofPart
PLAN = plan_of(PROOF.DESCRIPTOR)
EMPTY = bytes([PROOF.DESCRIPTOR.fields_by_name["signatures"].number << 3 | 2, 0])
"""An empty sub-message: two bytes on the wire, about a hundred in memory."""


def part(signatures: int) -> data_plane_pb2.ConsistencyProofPart:
    return PROOF(signatures=[data_plane_pb2.SignedBy(signer=i + 1, signature=bytes(72)) for i in range(signatures)])


def test_the_fields_of_sub_messages_and_packed_numbers_count() -> None:
    assert 1000 - count(part(7).SerializeToString(), PLAN, 1000) == 7 * 3
    sets = data_plane_pb2.SurvivorSet(survivors=range(1, 11), dropped=[300])
    assert 1000 - count(sets.SerializeToString(), plan_of(sets.DESCRIPTOR), 1000) == 2 + 10 + 2  # bytes of the numbers
    assert count(b"", PLAN, 3) == 3


def test_a_budget_is_spent_to_the_last_field_and_no_further() -> None:
    assert count(EMPTY * 5, PLAN, 5) == 0
    with pytest.raises(DecodeError, match="more fields"):
        count(EMPTY * 6, PLAN, 5)
    budget = Budget(5)
    for _ in range(5):
        budget.spend(EMPTY, PROOF)
    with pytest.raises(DecodeError):
        budget.spend(EMPTY, PROOF)


def test_a_flood_ends_at_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DecodeError, match="not a ConsistencyProofPart: it has more fields"):
        parse(PROOF, EMPTY * (1 << 16))
    monkeypatch.setattr(Budget, "spend", lambda *_: None)  # the twin: each becomes an object
    assert len(parse(PROOF, EMPTY * (1 << 16)).signatures) == 1 << 16


def test_ten_thousand_signatures_are_within_the_budget() -> None:
    assert count(part(10_000).SerializeToString(), PLAN, MAX_FIELDS) > MAX_FIELDS // 3


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",
        b"\x0a\x05ab",
        b"\x80",
        b"\x0b",
        b"\x0c",
        b"\x09123",
        b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    ],
)
def test_bytes_that_are_no_message(data: bytes) -> None:
    with pytest.raises(DecodeError, match="cut off"):
        count(data, PLAN, 100)


@given(st.binary(max_size=60))
def test_any_bytes_are_counted_or_refused(data: bytes) -> None:
    """What protobuf takes and the count refuses is what this protocol lacks: groups, over-long numbers."""
    try:
        left = count(data, PLAN, 1000)
    except DecodeError:
        return
    try:
        message = PROOF.FromString(data)
    except ProtobufError:
        return
    assert len(message.signatures) <= 1000 - left


def test_a_configuration_counts_its_arrays_and_then_their_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    array = config_pb2.RoundConfig(arrays=[config_pb2.ArraySpec()]).SerializeToString()
    sides = config_pb2.RoundConfig(arrays=[config_pb2.ArraySpec(shape=[1] * 1000)]).SerializeToString()
    monkeypatch.setattr(configuration, "_MAX_TOP_FIELDS", 50)
    monkeypatch.setattr(configuration, "_MAX_FIELDS", 2000)
    for flood in (array * 51, sides * 3):
        with pytest.raises(DecodeError, match="not a RoundConfig: it has more fields"):
            decode_config(flood)


def test_the_largest_schema_is_within_the_budget() -> None:
    array = config_pb2.ArraySpec(name="a", shape=[1] * MAX_DIMENSIONS, dtype=config_pb2.DTYPE_FLOAT32)
    one = config_pb2.RoundConfig(arrays=[array]).SerializeToString()
    plan = plan_of(config_pb2.RoundConfig.DESCRIPTOR)
    fields = 1000 - count(one, plan, 1000)
    assert fields * MAX_ARRAYS < configuration._MAX_FIELDS
    assert MAX_ARRAYS < configuration._MAX_TOP_FIELDS


def test_packed_numbers_are_told_from_messages_without_fields() -> None:
    assert plan_of(data_plane_pb2.SurvivorSet.DESCRIPTOR) == {1: counting.PACKED, 2: counting.PACKED}
    assert plan_of(data_plane_pb2.SurvivorSet.DESCRIPTOR)[1] is counting.PACKED
