"""Calls as values: what goes up is the same on every attempt, one chunk at a time; what comes down has a limit."""

import tracemalloc
from collections import deque
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from secagg_client.calls.call import PreparedCall, every
from secagg_client.calls.control_plane import (
    PIECE_BYTES,
    AbortRound,
    DescribeSidecar,
    Exclude,
    GetLedger,
    ListRounds,
    OpenRound,
)
from secagg_client.calls.data_plane import (
    AwaitReceipt,
    Describe,
    FetchAggregate,
    FindRound,
    InputProgress,
    LeaveRound,
    UploadCall,
)
from secagg_client.calls.health import CheckHealth

from secagg.aggregates import Aggregate
from secagg.config import Deadlines, RoundConfig
from secagg.context import RoundId
from secagg.crypto.secret import Secret
from secagg.encoding.packing import chunk_values, unpack
from secagg.encoding.sources import SteadyArray
from secagg.errors import ConfigError, DecodeError, InputError, ProtocolViolation
from secagg.masked.masks import Mask
from secagg.masked.vector import MaskedVector
from secagg.messages import Leave, LeaveReason, Phase, SurvivorSet
from secagg.roster import COORDINATOR
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.calls import ADVERTISE, SEND_INPUT
from secagg.wire.configuration import decode_config
from secagg.wire.describing import Description
from secagg.wire.limits import PART_COST, aggregate_bytes
from secagg.wire.results import PackedAggregate
from secagg.wire.rounds import RoundState
from secagg.wire.v1 import control_plane_pb2 as control_pb
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.conversing import ROUND_ID, in_bytes
from tests.rounds import SEMI_HONEST, flat_schema, make_config

MiB = 1 << 20


def upload(update: np.ndarray[tuple[int], np.dtype[np.float32]]) -> UploadCall[SurvivorSet]:
    config = make_config(5, SEMI_HONEST, schema=flat_schema(len(update)))
    encoder = config.code.encode(config.schema.check(update), 1, Secret(bytes(32)))
    masks = tuple(Mask(Secret(bytes([i] * 16)), negative=i % 2 == 1) for i in range(4))
    return UploadCall(ROUND_ID, config, SEND_INPUT, MaskedVector(encoder, config, masks))


def random_values(size: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(7).uniform(-1, 1, size).astype(np.float32)


def test_an_upload_goes_on_where_it_broke_with_the_same_bytes() -> None:
    call = upload(random_values(1_500_000))
    whole = list(call.requests())
    assert [pb.MaskedInputChunk.FromString(d).number for d in whole] == list(range(call.vector.chunks))
    assert call.vector.chunks >= 3
    assert list(call.requests()) == whole
    assert list(call.resumed(1).requests()) == whole[1:]
    assert list(call.resumed(2).resumed(call.vector.chunks).requests()) == []


def test_nothing_goes_on_behind_the_end() -> None:
    call = upload(random_values(100))
    with pytest.raises(ProtocolViolation, match="2 chunks are said to have arrived of 1"):
        call.resumed(2)


def test_an_update_that_changes_under_way_is_not_sent_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversary: a coordinator that breaks connections while its victim trains in place.

    Two versions of a chunk under the same masks differ by the difference of the two updates.
    """
    update = random_values(100_000)
    call = upload(update)
    first = next(call.requests())
    update[3] += 0.25
    with pytest.raises(InputError, match="was changed while it was being sent"):
        next(call.resumed(0).requests())
    without_check(monkeypatch, SteadyArray, "block", "same-update")
    with pytest.raises(InputError, match="was changed while it was being sent"):
        next(call.resumed(0).requests())
    without_check(monkeypatch, MaskedVector, "chunk", "same-chunk-again")
    second = next(call.resumed(0).requests())
    bits = call.config.ring_bits
    count = min(chunk_values(bits), call.config.vector_len)
    values = [unpack(pb.MaskedInputChunk.FromString(d).payload, count, bits).astype(np.int64) for d in (first, second)]
    leaked = (values[1] - values[0]) % 2**bits
    assert np.flatnonzero(leaked).tolist() == [3]
    step = call.config.fixed_point.step * call.config.fixed_point.max_weight
    assert leaked[3] * step == pytest.approx(0.25, abs=step)


def test_chunks_are_made_one_at_a_time() -> None:
    update = np.zeros(10_000_000, np.float32)
    call = upload(update)
    tracemalloc.start()
    try:
        sent = sum(len(data) for data in call.requests())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent > 20 * MiB
    assert peak < 12 * MiB


def test_parts_of_the_answer_are_forgotten_as_they_are_read() -> None:
    parts = in_bytes([pb.InputProgressReply(next_chunk=3)])
    assert InputProgress(ROUND_ID, make_config(5)).read(parts) == 3
    assert not parts


def aggregate_parts(config: RoundConfig) -> tuple[Aggregate, deque[bytes]]:
    sums = np.zeros(config.vector_len, config.ring_dtype)
    names = tuple(f"participant-{i:05d}" for i in range(config.max_participants))
    aggregate = Aggregate(sums, names)
    return aggregate, in_bytes(PackedAggregate.of(aggregate, config).parts())


@pytest.mark.parametrize("size", [1, 64, 3_000_000])
def test_a_whole_aggregate_is_within_the_limit(size: int) -> None:
    config = make_config(10, schema=flat_schema(size))
    aggregate, parts = aggregate_parts(config)
    assert sum(len(part) + PART_COST for part in parts) <= aggregate_bytes(config)
    assert FetchAggregate(ROUND_ID, config).read(parts).survivors == aggregate.survivors


def test_a_flood_of_empty_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(5)
    call = FetchAggregate(ROUND_ID, config)
    _, parts = aggregate_parts(config)
    flood = deque([*parts, *[b""] * 10_000])
    with pytest.raises(DecodeError, match="longer than"):
        call.read(deque(flood))
    without_check(monkeypatch, PreparedCall, "read", "longer-than-any-answer")
    assert call.read(deque(flood)).sums.size == config.vector_len


def test_the_roster_of_a_full_cohort_is_within_the_limit() -> None:
    config = make_config(100)
    keys = pb.AdvertiseKeys(
        channel_public_key=bytes(32), mask_public_key=bytes(32), signature=bytes(72), certificates=[bytes(2000)] * 3
    )
    members = [pb.Member(index=i + 1, participant_id="p" * 64, keys=keys) for i in range(100)]
    parts = in_bytes([pb.RosterPart(members=members[i : i + 50]) for i in (0, 50)])
    assert sum(map(len, parts)) <= ADVERTISE.longest_answer(config)


def test_leaving_says_no_more_than_its_reason() -> None:
    call = LeaveRound(ROUND_ID, make_config(5), Leave(LeaveReason.REFUSED))
    (data,) = call.requests()
    request = pb.LeaveRequest.FromString(data)
    assert request.round_id == ROUND_ID
    assert request.leave.reason == pb.LEAVE_REASON_REFUSED
    assert len(data) == 22
    assert call.read(in_bytes([pb.LeaveReply()])) is None


# --- control plane ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece_bytes", [100, PIECE_BYTES])
def test_a_configuration_is_opened_as_it_is(monkeypatch: pytest.MonkeyPatch, piece_bytes: int) -> None:
    monkeypatch.setattr("secagg_client.calls.control_plane.PIECE_BYTES", piece_bytes)
    config = make_config(5)
    call = OpenRound(ROUND_ID, config)
    parts = [control_pb.OpenRoundPart.FromString(data) for data in call.requests()]
    assert decode_config(b"".join(part.config for part in parts)) == config
    assert [part.round_id for part in parts] == [ROUND_ID] + [b""] * (len(parts) - 1)
    assert list(call.requests()) == [part.SerializeToString() for part in parts]
    assert call.read(in_bytes([control_pb.OpenRoundReply(round_id=ROUND_ID)])) == ROUND_ID
    with pytest.raises(DecodeError, match="round id of 3 bytes"):
        call.read(in_bytes([control_pb.OpenRoundReply(round_id=b"abc")]))


def test_a_sidecar_that_opens_another_round_than_asked_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="is the sidecar of an older release") as refused:
        OpenRound(ROUND_ID, make_config(5)).read(in_bytes([control_pb.OpenRoundReply(round_id=bytes(16))]))
    assert refused.value.culprit == COORDINATOR


@pytest.mark.parametrize("bad", [b"short", bytes(17), b"", "x" * 16, bytearray(16), None])
def test_what_is_no_round_id_opens_no_round(bad: Any) -> None:
    with pytest.raises(ConfigError, match="a round_id is 16 bytes, not "):
        OpenRound(bad, make_config(5))


def test_calls_of_a_round_last_as_long_as_the_round_could() -> None:
    config = replace(make_config(5), deadlines=Deadlines(1, 2, 3, 4, 5, 6))
    assert AwaitReceipt(ROUND_ID, config).lasts_s == 21
    assert FindRound(task="t").lasts_s == OpenRound(ROUND_ID, config).lasts_s == inf


def test_texts_that_utf8_cannot_write_are_refused_by_name() -> None:
    """A terminal makes them of bytes that are no UTF-8."""
    for call in (lambda t: AbortRound(ROUND_ID, t), ListRounds, GetLedger):
        with pytest.raises(ConfigError, match="lone surrogate"):
            call("\udcff")


def test_one_name_is_no_list_of_names() -> None:
    with pytest.raises(ConfigError, match=r"in a list, not as one text: \['clinic'\]"):
        Exclude(ROUND_ID, "clinic")


def test_summaries() -> None:
    running = control_pb.RoundSummary(
        round_id=ROUND_ID,
        task="digits",
        state=control_pb.ROUND_STATE_RUNNING,
        phase=pb.PHASE_MASKED_INPUT,
        opened_ms=1500,
    )
    done = control_pb.RoundSummary(round_id=bytes(16), task="digits", state=control_pb.ROUND_STATE_DONE)
    first, second = ListRounds("").read(in_bytes([running, done]))
    assert (first.round_id, first.state, first.phase, first.opened) == (
        ROUND_ID,
        RoundState.RUNNING,
        Phase.MASKED_INPUT,
        1.5,
    )
    assert (second.round_id, second.state, second.phase) == (RoundId(bytes(16)), RoundState.DONE, None)
    done.state = 9  # type: ignore[assignment]
    with pytest.raises(DecodeError, match="unknown state 9"):
        ListRounds("").read(in_bytes([done]))


def test_a_description_is_read_by_both_planes() -> None:
    said = pb.Description(version="1.2.3+local", protocols=[1, 4], time_ms=1_500)
    for call in (Describe(), DescribeSidecar()):
        assert list(call.requests()) == [b""]
        assert call.read(in_bytes([said])) == Description("1.2.3+local", (1, 4), 1_500)


@pytest.mark.parametrize(
    ("parts", "serves"),
    [
        ([b"\x08\x01"], True),
        ([b"\x08\x02"], False),
        ([b"\x08\x03"], False),
        ([b""], False),
        ([], False),
        ([b"\x08\x01", b"\x08\x01"], False),
    ],
)
def test_only_one_answer_means_that_a_plane_serves(parts: list[bytes], serves: bool) -> None:
    """As the package of the health check writes it, which only the server has."""
    assert list(CheckHealth().requests()) == [health_pb2.HealthCheckRequest().SerializeToString()]
    assert health_pb2.HealthCheckResponse(status="SERVING").SerializeToString() == b"\x08\x01"
    assert CheckHealth().read(deque(parts)) is serves


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": ""}, "version is not 1 to 64"),
        ({"version": "1" * 65}, "version is not 1 to 64"),
        ({"version": "1.0 \x1b[2J"}, "version is not 1 to 64"),
        ({"version": "1.0\n"}, "version is not 1 to 64"),
        ({"protocols": []}, "1 to 16 ascending"),
        ({"protocols": [0, 1]}, "1 to 16 ascending"),
        ({"protocols": [2, 1]}, "1 to 16 ascending"),
        ({"protocols": [1, 1]}, "1 to 16 ascending"),
        ({"protocols": list(range(1, 18))}, "1 to 16 ascending"),
        ({"time_ms": 253_402_300_800_000}, "time_ms is above"),
    ],
)
def test_a_description_has_bounds(changes: dict[str, Any], told: str) -> None:
    fine: dict[str, Any] = {"version": "1" * 64, "protocols": list(range(1, 17)), "time_ms": 253_402_300_799_999}
    Describe().read(in_bytes([pb.Description(**fine)]))
    with pytest.raises(DecodeError, match=told) as caught:
        Describe().read(in_bytes([pb.Description(**fine | changes)]))
    assert caught.value.culprit == "coordinator"


def test_the_fields_of_an_answer_have_one_budget() -> None:
    part = pb.RosterPart(members=[pb.Member(index=1)] * 10).SerializeToString()
    assert len(list(every(pb.RosterPart, deque([part] * 5), 100))) == 5
    with pytest.raises(DecodeError, match="more fields"):
        list(every(pb.RosterPart, deque([part] * 6), 100))
