"""The aggregate in arrays of the caller's and in files: the same values, nothing before the sum is believed."""

import errno
import os
import stat
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from secagg_client import ControlClient, RetryPolicy
from secagg_client.calls.arrivals import Arrival
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.calls.data_plane import FindRound, KeepAggregate
from secagg_client.fetched import written, written_groups
from secagg_client.participation import outputs, session
from secagg_client.participation.outputs import ChunkFile, output_of
from secagg_client.participation.results import Offer
from secagg_client.participation.session import Participation
from secagg_client.participation.terms import Contribution
from secagg_client.sidecar.participants import Participations

from secagg.aggregates import Aggregate, GroupedAggregate, GroupSum
from secagg.config import RoundConfig
from secagg.context import RoundId, bind
from secagg.crypto.secret import Secret
from secagg.encoding import packing
from secagg.encoding.integers import Integers
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import AuthenticationError, ConfigError, DecodeError, LocalError, ProtocolViolation, SecAggError
from secagg.messages import ParticipantId
from secagg.programs import arrayfiles
from secagg.programs.arrayfiles import ArrayFile, read_arrays, write_arrays
from secagg.robust.grouping import Groups
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.configuration import encode_config
from secagg.wire.results import IncomingAggregate, PackedAggregate
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.conversing import Conversation, make_terms
from tests.rounds import SEMI_HONEST, make_config, random_update

SCHEMA = Schema((ArraySpec("w", (70, 50)), ArraySpec("b", (9,), "float64"), ArraySpec("s", ())))
NAMES = participant_names(3)
ROUND_ID = RoundId(bytes(16))
ENCODINGS: dict[str, Any] = {
    "plain": None,
    "rotated": Pipeline.parse("clip(l2=1.0) | sample(rate=0.5) | rotate | quantise(bits=8, range=1.0)"),
}


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that short vectors have many."""
    monkeypatch.setattr(packing, "CHUNK_BYTES", 1 << 10)


def config_of(encoding: Any = None) -> RoundConfig:
    given = {} if encoding is None else {"encoding": encoding}
    return make_config(3, SEMI_HONEST, schema=SCHEMA, threshold=3, **given)


def empty() -> dict[str, np.ndarray[Any, Any]]:
    """Arrays to be filled, in other memory layouts than C."""
    return {"w": np.zeros((50, 70), np.float32).T, "b": np.zeros(18)[::2], "s": np.zeros((), np.float32)}


class Talk(Conversation):
    """Gives parts to calls that take them, as a connection does."""

    def _advance(self, name: Any, participation: Any, answer: Parts | None, waiting: Any) -> None:
        call = waiting_for.get(name)
        if isinstance(call, KeepAggregate) and answer is not None:
            call.begin()
            assert call.take(answer[0])  # as far as a connection that breaks came
            call.begin()
            try:
                while answer:
                    assert call.take(answer.popleft())
            except SecAggError as error:
                self._give_up(name, participation, error)
                return
        super()._advance(name, participation, answer, waiting)
        waiting_for[name] = waiting.get(name)


waiting_for: dict[Any, PreparedCall[Any] | None] = {}


def play(config: RoundConfig, outs: list[Any], tamper: Any = None) -> Talk:
    round_ = Talk(config, *([] if tamper is None else [tamper]))
    round_.play(
        {
            name: Participation(
                make_terms(name),
                Contribution(update=random_update(SCHEMA, i), weight=1, model_digest=config.model_digest, out=out),
                FindRound(task=config.task),
            )
            for i, (name, out) in enumerate(zip(NAMES, outs, strict=True))
        }
    )
    return round_


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_participants_arrays_and_file_have_the_mean(encoding: str, tmp_path: Path) -> None:
    arrays, path = empty(), tmp_path / "mean.npz"
    round_ = play(config_of(ENCODINGS[encoding]), [arrays, path, None])
    assert round_.errors == {}
    mean = round_.results[NAMES[2]].mean
    assert mean is not None
    for name, out in zip(NAMES[:2], (arrays, read_arrays(path)), strict=True):
        result = round_.results[name]
        assert result.aggregate is None
        assert result.mean is not None
        assert (result.mean.weight, result.mean.error_bounds) == (mean.weight, mean.error_bounds)
        for key, values in mean.arrays.items():
            for found in (out[key], result.mean.arrays[key]):
                assert (found.dtype, found.shape) == (values.dtype, values.shape)
                assert np.array_equal(found, values)
    assert round_.results[NAMES[0]].mean.arrays["w"] is arrays["w"]  # type: ignore[union-attr]
    assert [p.name for p in tmp_path.iterdir()] == ["mean.npz"]


def another_sum(call: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
    """A whole sum with a digest of its own, which no receipt certifies."""
    del name
    return Parts(packed_parts(config_of())) if call.method == "FetchAggregate" else parts


def test_nothing_is_written_of_a_sum_that_the_receipt_does_not_certify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, path = empty(), tmp_path / "mean.npz"
    path.write_bytes(b"an older mean")
    round_ = play(config_of(), [arrays, path, path], another_sum)
    assert {type(round_.errors[name]) for name in NAMES} == {AuthenticationError}
    assert path.read_bytes() == b"an older mean"
    assert not any(array.any() for array in arrays.values())
    assert [p.name for p in tmp_path.iterdir()] == ["mean.npz"]
    without_check(monkeypatch, session, "_check_aggregate", "C31")
    play(config_of(), [arrays, path, path], another_sum)
    assert path.read_bytes() != b"an older mean"


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ({**empty(), "w": np.zeros((50, 70), np.float32)}, r"'w' is float32 of shape \(50, 70\), the aggregate"),
        ({**empty(), "b": np.zeros(9, np.float32)}, "'b' is float32"),
        ({**empty(), "more": np.zeros(9)}, "out has also array 'more'"),
        ({"w": empty()["w"]}, "out lacks array 'b'"),
        (np.zeros(3, np.float32), "out lacks array 'b'"),
        ("mean.npy", "the round has 3 arrays, and a .npy file holds one"),
        ({**empty(), "w": [1.0]}, "'w' is list"),
        ([np.zeros(3)], "this is list"),
        ("nowhere/mean.npz", "cannot be written"),
        ({**empty(), "b": np.broadcast_to(np.zeros(1), 9)}, "'b' is read-only; map its file with mode 'r\\+'"),
    ],
)
def test_an_aggregate_without_a_place_is_refused_before_anything_leaves(
    out: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_of()
    with pytest.raises(ConfigError, match=says):
        refused(config, out)


def refused(config: RoundConfig, out: Any) -> None:
    round_ = play(config, [out, None, None])
    assert "AdvertiseKeys" not in round_.methods(NAMES[0])
    raise round_.errors[NAMES[0]]


def test_a_round_that_gives_participants_no_aggregate_is_refused() -> None:
    with pytest.raises(ConfigError, match="a receipt and no aggregate"):
        refused(replace(config_of(), release_to_participants=False), empty())
    with pytest.raises(ConfigError, match="fetch_aggregate=False"):
        Contribution(update=empty(), weight=1, model_digest=bytes(32), out=empty(), fetch_aggregate=False)


def summed(config: RoundConfig) -> Aggregate:
    context = bind(ROUND_ID, encode_config(config), config.model_digest)
    vectors = [
        config.code.encode(config.schema.check(random_update(config.schema, i)), 1, Secret(bytes([i] * 32)), context)
        for i in range(3)
    ]
    words = np.stack([vector.read(0, config.vector_len, np.dtype("<u8")) for vector in vectors]).sum(axis=0)
    return Aggregate((words % 2**config.ring_bits).astype(config.ring_dtype), tuple(NAMES))


def packed_parts(config: RoundConfig) -> list[bytes]:
    return [part.SerializeToString() for part in PackedAggregate.of(summed(config), config).parts()]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_fl_server_reads_the_same(encoding: str, tmp_path: Path) -> None:
    config, arrays = config_of(ENCODINGS[encoding]), empty()
    packed = PackedAggregate.of(summed(config), config)
    fetched = written(output_of(arrays), packed, ROUND_ID, config)
    mean = summed(config).mean(config, bind(ROUND_ID, encode_config(config), config.model_digest))
    assert fetched.survivors == tuple(NAMES)
    assert all(np.array_equal(arrays[name], values) for name, values in mean.arrays.items())
    group = GroupSum(summed(config), bind(ROUND_ID, encode_config(config), config.model_digest))
    assert group.mean(config) is not None
    del tmp_path


def test_integers_are_written_as_int64(tmp_path: Path) -> None:
    schema = Schema((ArraySpec("n", (700,), "uint8"), ArraySpec("m", (2, 3), "int16")))
    config = replace(config_of(), schema=schema, encoding=Integers(max=100))
    given: dict[str, Any] = {"n": np.arange(700, dtype=np.uint8) % 100, "m": np.full((2, 3), 7, np.int16)}
    one = config.code.encode(schema.check(given), 1, Secret(bytes(32))).read(0, 706, config.ring_dtype)
    packed = PackedAggregate.of(Aggregate(3 * one, tuple(NAMES)), config)
    found = written(output_of(tmp_path / "sums.npz"), packed, ROUND_ID, config).found
    assert {array.dtype.name for array in found.arrays.values()} == {"int64"}
    assert all(np.array_equal(found.arrays[name], 3 * array.astype(np.int64)) for name, array in given.items())


def arrived(parts: list[bytes], config: RoundConfig) -> PackedAggregate:
    with closing(Arrival(config)) as arrival:
        for part in parts:
            arrival.take(part)
        return arrival.finish()


def test_parts_that_break_the_sum_are_refused_as_they_arrive() -> None:
    config, parts = config_of(), packed_parts(config_of())
    for changed, error in (
        (parts[:-1], DecodeError),
        ([parts[0], *parts[2:]], DecodeError),
        ([*parts, parts[-1]], DecodeError),
        ([parts[0], parts[2], parts[1], *parts[3:]], DecodeError),
        ([parts[0], pb.AggregatePart(number=0, payload=bytes(7)).SerializeToString(), *parts[2:]], DecodeError),
        ([parts[0], parts[1][:-1] + bytes([parts[1][-1] ^ 1]), *parts[2:]], AuthenticationError),
        ([b"\xff", *parts], DecodeError),
    ):
        with pytest.raises(error):
            arrived(changed, config)


def test_a_call_that_is_made_again_begins_with_no_part() -> None:
    config = config_of()
    parts = packed_parts(config)
    with closing(Arrival(config)) as arrival:
        for part in parts[:2]:
            arrival.take(part)
        arrival.begin()
        for part in parts:
            arrival.take(part)
        assert sha256(b"".join(arrival.finish().payloads)).digest() == arrival.finish().digest


@pytest.mark.parametrize("method", ["fetch_into", "result_into"])
def test_the_fl_server_is_told_first_that_an_aggregate_has_no_place(method: str) -> None:
    with (
        ControlClient("127.0.0.1:1", retry=RetryPolicy(attempts=1)) as control,
        pytest.raises(ConfigError, match="out lacks array"),
    ):
        getattr(control, method)({"w": empty()["w"]}, ROUND_ID, config_of())


def test_parts_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg_client.calls.arrivals.MAX_PARTS", 5)
    with pytest.raises(DecodeError, match="more than 5 parts"):
        arrived([b""] * 9, config_of())


@pytest.mark.parametrize("check", ["C30-complete", "C31"])
def test_a_sum_is_not_believed_before_it_is_whole(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: without the check of the end, what is missing or altered goes through."""
    config, parts = config_of(), [pb.AggregatePart.FromString(part) for part in packed_parts(config_of())]
    if check == "C31":
        parts[1].payload = parts[1].payload[:-1] + bytes([parts[1].payload[-1] ^ 1])
    else:
        del parts[-1]
        parts[0].sums_digest = sha256(b"".join(part.payload for part in parts)).digest()
    changed = [part.SerializeToString() for part in parts]
    with pytest.raises((DecodeError, AuthenticationError)):
        arrived(changed, config)
    without_check(monkeypatch, IncomingAggregate, "finish", check)
    assert arrived(changed, config).survivors == tuple(NAMES)


def test_rounds_side_by_side_write_to_the_place_of_each() -> None:
    """Of rounds at a sidecar, where the framework's plug-in brings contributions."""
    asked: list[Any] = []
    client = SimpleNamespace(
        find_round=lambda round_id: Offer(round_id, config_of(), encode_config(config_of())),
        participate=lambda update, **named: asked.append(named["out"]),
    )
    arrays = empty()
    mine = Contribution(update=random_update(SCHEMA, 0), weight=1, model_digest=bytes(32), out=arrays)
    Participations(client, [ROUND_ID], lambda offers: {offers[0].round_id: mine}).take_part()  # type: ignore[arg-type]
    assert asked == [arrays]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    config = config_of()
    packed = PackedAggregate.of(summed(config), config)
    (tmp_path / "mean.npz").write_bytes(b"older")
    output = output_of(tmp_path / "mean.npz")
    with monkeypatch.context() as patch:
        patch.setattr(arrayfiles.ArrayFile, "write", full)
        with pytest.raises(LocalError, match=r"mean\.npz cannot be written: No space left"):
            written(output, packed, ROUND_ID, config)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("mean.npz", b"older")]
    monkeypatch.setattr(outputs, "TemporaryFile", full)
    with pytest.raises(LocalError, match="TMPDIR"):
        ChunkFile()


@pytest.mark.parametrize("name", ["mean.npz", "mean.npy"])
def test_a_file_is_safe_before_it_has_its_name_and_its_name_before_anybody_hears(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            done.append("folder")
        else:
            done.append(f"{status.st_size} bytes")

    def replace_file(old: Path, new: Path) -> Path:
        done.append(new.name)
        return old.rename(new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace_file)
    write_arrays(tmp_path / name, {"w": np.ones(70_000)})
    assert done == [f"{(tmp_path / name).stat().st_size} bytes", name, "folder"]


def test_the_file_behind_a_link_is_exchanged_and_not_the_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "mean.npz"
    link.symlink_to(tmp_path / "elsewhere" / "mean.npz")
    for value in (1.0, 2.0):
        output_of(link)
        write_arrays(link, {"w": np.full(3, value)})
        assert link.is_symlink()
        assert read_arrays(tmp_path / "elsewhere" / "mean.npz")["w"][0] == value
    (tmp_path / "lost.npz").symlink_to(tmp_path / "nowhere" / "mean.npz")
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        output_of(tmp_path / "lost.npz")


@pytest.mark.parametrize("array", [np.zeros((2, 4)).view(np.matrix), np.zeros((4, 2)).T, np.zeros((2, 8))[:, ::2]])
def test_arrays_in_any_layout_are_filled(array: np.ndarray[Any, Any]) -> None:
    output = output_of({"w": array})
    with output.sink() as sink:
        sink.begin("w", array.shape, array.dtype)
        sink.write(np.arange(3.0))
        sink.write(np.arange(3.0, 8.0))
    assert np.array_equal(np.asarray(array), np.arange(8.0).reshape(2, 4))


def test_the_array_of_a_npy_file_has_its_name_of_the_round(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "mean.npy") as file:
        file.begin("head.weight", (3,), np.dtype(np.float32))
        file.write(np.ones(3))
        assert list(file.end()) == ["head.weight"]


def test_an_impossible_mean_leaves_a_file_as_it_was(tmp_path: Path) -> None:
    config = config_of()
    sums = np.full(config.vector_len, (1 << config.ring_bits) - 1, config.ring_dtype)
    (tmp_path / "mean.npz").write_bytes(b"older")
    with pytest.raises(ProtocolViolation, match="beyond what 3 participants can encode"):
        written(
            output_of(tmp_path / "mean.npz"),
            PackedAggregate.of(Aggregate(sums, tuple(NAMES)), config),
            ROUND_ID,
            config,
        )
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("mean.npz", b"older")]


def test_a_combination_of_groups_is_written(tmp_path: Path) -> None:
    plan = Groups(count=3)
    grouped = replace(config_of(), groups=plan, max_colluding=0)
    config = replace(grouped, groups=replace(plan, parent=bytes(16), number=1))
    groups = GroupedAggregate(bytes(16), {number: GroupSum(summed(config), bytes(32)) for number in (1, 2, 3)})
    fetched = written_groups(output_of(tmp_path / "mean.npz"), groups, grouped)
    mean = groups.mean(grouped)
    assert fetched.survivors == groups.survivors
    assert all(np.array_equal(fetched.found.arrays[name], values) for name, values in mean.arrays.items())
