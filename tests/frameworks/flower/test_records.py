"""Steps in Flower's records: what goes in comes out, and nothing that a peer puts there raises anything but ours."""

import pickle
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from secagg_client.carried.steps import Step
from secagg_client.flower import records
from secagg_client.flower.records import MAX_NOTES, MAX_STEPS, RECORD, VECTORS, Packet, VersionError, bare, put, take

from secagg.context import RoundId
from secagg.errors import DecodeError
from secagg.tools.redteam.self_test.patches import without_check

STEPS = st.builds(
    Step,
    st.binary(min_size=16, max_size=16).map(RoundId),
    st.sampled_from(["open", "ShareKeys", "over"]),
    st.lists(st.binary(max_size=40) | st.just(bytes(50_000)), max_size=4).map(tuple),
)
TEXTS = st.lists(st.text(max_size=9), max_size=3).map(tuple)
PACKETS = st.builds(Packet, st.lists(STEPS, max_size=5).map(tuple), TEXTS)


@given(PACKETS)
def test_a_packet_comes_out_as_it_went_in(packet: Packet) -> None:
    content = pickle.loads(pickle.dumps(bare(packet)))  # noqa: S301
    assert take(content) == packet
    assert not content


def test_long_steps_are_arrays_and_short_ones_are_not() -> None:
    short, long = (Step(RoundId(bytes([i]) * 16), "MaskedInput", (bytes(size),)) for i, size in ((1, 99), (2, 99_999)))
    content = bare(Packet((short, long)))
    assert len(content[RECORD]["data"]) == 99
    assert [len(array.data) for array in content[VECTORS].values()] == [99_999]


def test_a_message_without_our_record_has_no_packet() -> None:
    content = RecordDict({"metrics": MetricRecord({"loss": 1.0})})
    assert take(content) is None
    assert list(content) == ["metrics"]


def good() -> dict[str, Any]:
    return dict(bare(Packet((Step(RoundId(bytes(16)), "open", (b"abc", b"de")),)))[RECORD])


SPOILT: dict[str, dict[str, Any]] = {
    "a round id of another length": {"rounds": [bytes(15)]},
    "rounds that are no bytes": {"rounds": ["x"]},
    "more rounds than kinds": {"rounds": [bytes(16)] * 2},
    "a kind that is no text": {"kinds": [b"open"]},
    "more parts than sizes": {"parts": [3]},
    "fewer parts than none": {"parts": [-1], "sizes": []},
    "a negative size": {"sizes": [-2, 7]},
    "longer than it is": {"sizes": [3, 3]},
    "too many steps": {
        "rounds": [bytes(16)] * (MAX_STEPS + 1),
        "kinds": ["open"] * (MAX_STEPS + 1),
        "parts": [0] * (MAX_STEPS + 1),
        "long": [False] * (MAX_STEPS + 1),
        "sizes": [],
    },
    "too many notes": {"notes": ["x"] * (MAX_NOTES + 1)},
    "a long step that is not there": {"long": [True]},
    "data that is no bytes": {"data": 7},
    "notes that are no list": {"notes": "x"},
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_what_is_malformed_is_refused(spoilt: str) -> None:
    record = ConfigRecord(good() | SPOILT[spoilt])
    with pytest.raises(DecodeError):
        take(RecordDict({RECORD: record}))


@pytest.mark.parametrize("missing", ["rounds", "kinds", "parts", "sizes", "long", "data", "notes"])
def test_what_is_missing_is_refused(missing: str) -> None:
    record = good()
    del record[missing]
    with pytest.raises(DecodeError):
        take(RecordDict({RECORD: ConfigRecord(record)}))


def test_a_record_of_another_kind_is_refused() -> None:
    with pytest.raises(DecodeError):
        take(RecordDict({RECORD: MetricRecord({"format": 1})}))
    vectors = ArrayRecord({"0000": Array("uint8", (1,), "x", b"a")})
    with pytest.raises(DecodeError):
        take(RecordDict({RECORD: ConfigRecord(good() | {"long": [True]}), VECTORS: vectors}))


def test_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def other() -> RecordDict:
        return RecordDict({RECORD: ConfigRecord(good() | {"format": 2, "version": "9.9\n"})})

    with pytest.raises(VersionError, match=r"has secagg 9\.9\?, this one has"):
        take(other())
    without_check(monkeypatch, records, "take", "plug-in-version")  # the twin: it is read as if it were ours
    assert records.take(other()) is not None


def test_a_packet_is_put_beside_what_is_there() -> None:
    content = put(Packet(()), RecordDict({"metrics": MetricRecord({"loss": 1.0})}))
    assert set(content) == {"metrics", RECORD}
