"""A chunk of a masked input is written and read as protobuf does it, whatever the bytes."""

import pytest
from google.protobuf.message import DecodeError as ProtobufError
from hypothesis import example, given
from hypothesis import strategies as st

from secagg.encoding.packing import CHUNK_BYTES
from secagg.errors import DecodeError
from secagg.messages import MaskedInputChunk
from secagg.wire.masked import MASKED_INPUT_CHUNK as CODEC
from secagg.wire.masked import read_chunk, write_chunk
from secagg.wire.v1 import data_plane_pb2 as pb

NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1))
PAYLOADS = st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(bytes))

FIELDS = st.one_of(
    NUMBERS.map(lambda number: pb.MaskedInputChunk(number=number).SerializeToString()),
    PAYLOADS.map(lambda payload: pb.MaskedInputChunk(payload=payload).SerializeToString()),
    st.sampled_from(
        [b"\x08\x80\x80\x00", b"\x08\xff\xff\xff\xff\xff\x01", b"\x12\x81\x80\x80\x80\x80\x00x", b"\x12\x80"]
    ),
    st.binary(max_size=8),
)


@given(NUMBERS, PAYLOADS.filter(bool))
def test_a_chunk_is_written_as_protobuf_writes_it_and_read_without_protobuf(number: int, payload: bytes) -> None:
    chunk = MaskedInputChunk(number, payload)
    written = write_chunk(chunk)
    assert written == pb.MaskedInputChunk(number=number, payload=payload).SerializeToString()
    assert read_chunk(written) == chunk


def test_the_call_reads_and_writes_chunks_without_protobuf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg.wire.codecs.parse", None)
    chunk = MaskedInputChunk(3, b"payload")
    assert CODEC.from_bytes(CODEC.to_bytes(chunk)) == chunk
    assert CODEC.writes is write_chunk


@given(st.lists(FIELDS, max_size=4).map(b"".join))
@example(b"\x08\x80\x80\x80\x80\x10\x12\x01x")  # a number of 33 bits, of which protobuf keeps 32
def test_any_bytes_are_read_as_protobuf_reads_them(data: bytes) -> None:
    message = pb.MaskedInputChunk()
    try:
        message.ParseFromString(data)
    except ProtobufError:
        with pytest.raises(DecodeError):
            CODEC.from_bytes(data)
        return
    try:
        found = CODEC.from_bytes(data)
    except DecodeError:  # groups, which our counting refuses and protobuf skips
        assert read_chunk(data) is None
        return
    assert found == MaskedInputChunk(message.number, message.payload)


@pytest.mark.parametrize("unknown", [b"", b"\x18\x01"], ids=["as written", "with a field that nobody knows"])
def test_a_payload_of_more_than_a_mebibyte_is_refused_however_it_is_read(unknown: bytes) -> None:
    longest = write_chunk(MaskedInputChunk(7, bytes(CHUNK_BYTES)))
    assert len(CODEC.from_bytes(longest + unknown).payload) == CHUNK_BYTES
    with pytest.raises(DecodeError, match="more than"):
        CODEC.from_bytes(write_chunk(MaskedInputChunk(7, bytes(CHUNK_BYTES + 1))) + unknown)
