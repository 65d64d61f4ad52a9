"""Exact sums of integers: in every scheme, to the last digit, within their bounds, and nothing else in such a round."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from secagg.aggregates import Aggregate, GroupedAggregate, GroupSum
from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding import integers as module
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.integers import Integers, IntegerUpdate
from secagg.encoding.schema import MAX_INTEGER, ArraySpec, Schema
from secagg.errors import ConfigError, DecodeError, InputError, LocalError, ProtocolViolation
from secagg.lattice.parameters import find_profile
from secagg.robust.grouping import Combine, Groups
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.v1 import config_pb2
from tests.encrypted_rounds import CASES
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment

BOUNDS = {"wide": (0, 50_000), "signed": (-300, 5)}


def update(tag: int) -> dict[str, Any]:
    rng = np.random.default_rng(tag)
    return {
        "histogram": rng.integers(0, 101, (3, 4)),
        "wide": rng.integers(0, 50_001, 5, dtype=np.uint32),
        "signed": np.array(rng.integers(-300, 6), np.int16),
    }


def config_of(mode: Any = SEMI_HONEST, integers: Integers | None = None, **changes: Any) -> RoundConfig:
    """`mode`: a threat model of masked rounds, or scheme and custody."""
    made: dict[str, Any] = {
        "task": "counts",
        "schema": Schema.of(update(0), bounds=BOUNDS),
        "encoding": integers or Integers(max=100),
        "max_participants": 4,
        "threshold": 3,
        "max_colluding": 0,
        "model_digest": bytes(32),
        "threat_model": SEMI_HONEST if isinstance(mode, tuple) else mode,
        **changes,
    }
    if isinstance(mode, tuple):
        scheme, custody = mode
        bits = RoundConfig(**made).code.value_bits
        made |= {"homomorphic": find_profile(scheme, custody, 4, bits), "release_to_coordinator": True}
    return RoundConfig(**made)


@pytest.mark.parametrize("mode", [ACTIVE, SEMI_HONEST, *CASES], ids=str)
def test_sums_are_exact_in_every_scheme(mode: Any) -> None:
    config = config_of(mode)
    assert decode_config(encode_config(config)) == config
    names = participant_names(4)
    brought = {name: Contribution(update(i)) for i, name in enumerate(names)}
    made = deployment() if config.signed else None
    run = set_up(config, brought, rng=SeededRng(bytes(32)), now=NOW, deployment=made).play()
    assert run.aggregate is not None
    totals = run.aggregate.totals(config)
    assert totals.summands == 4
    for name, sums in totals.arrays.items():
        exact = np.sum([update(i)[name].astype(np.int64) for i in range(4)], axis=0)
        assert (sums.dtype.name, sums.shape) == ("int64", exact.shape)
        assert np.array_equal(sums, exact)


@pytest.mark.parametrize("mode", CASES, ids=str)
def test_what_is_too_wide_to_be_encrypted_says_what_to_do(mode: Any) -> None:
    with pytest.raises(ConfigError, match=r"values of 1 to 48 bits, not 49; narrow the bounds .*, or use the masked"):
        config_of(mode, Integers(2**48), schema=Schema((ArraySpec("v", (1,), "int64"),)))


def summed(config: RoundConfig, updates: list[dict[str, Any]]) -> Aggregate:
    total = np.zeros(config.vector_len, np.uint64)
    for one in updates:
        encoder = config.code.encode(config.schema.check(one), 1, Secret(bytes(32)))
        parts = [encoder.read(at, min(at + 64, config.vector_len), np.dtype("<u8")) for at in range(0, len(total), 64)]
        assert max(int(part.max()) for part in parts) < 1 << config.code.value_bits
        total += np.concatenate(parts)
        assert encoder.lost().tolist() == [0] * config.vector_len
    assert int(total.max()) < 1 << config.ring_bits
    return Aggregate(total, tuple(map(str, range(len(updates)))))


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 1, "uint8"), (-128, 127, "int8"), (0, MAX_INTEGER // 4, "uint64"), (-(2**60), 2**60, "int64")],
)
def test_the_ends_of_the_bounds_add_up_exactly(low: int, high: int, dtype: str) -> None:
    """What no float64 could hold."""
    config = config_of(integers=Integers(high, low), schema=Schema((ArraySpec("v", (130,), dtype),)))
    for values in ([low] * 4, [high] * 4, [low, high, high, high - 1]):
        totals = summed(config, [{"v": np.full(130, value, dtype)} for value in values]).totals(config)
        assert totals.arrays["v"].tolist() == [sum(values)] * 130
    assert config.ring_bits == (high - low).bit_length() + 2


@pytest.mark.parametrize("people", range(3, 10))
def test_the_ring_holds_the_largest_sum(people: int) -> None:
    """All at the end of the widest bounds, whatever the number of participants."""
    config = config_of(integers=Integers(7), schema=Schema((ArraySpec("v", (1,), "int8"),)), max_participants=people)
    totals = summed(config, [{"v": np.array([7], np.int8)}] * people).totals(config)
    assert totals.arrays["v"].tolist() == [7 * people]


@pytest.mark.parametrize("value", [101, -1, 2**63 - 1, -(2**63)])
def test_a_value_out_of_bounds_is_named(value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: unchecked, what was sent would spoil its own coordinate, or wrap into a sum that looks right."""
    config = config_of(schema=Schema((ArraySpec("v", (2, 2), "int64"),)))
    bad = {"v": np.array([[0, 1], [value, 2]])}
    with pytest.raises(InputError, match=rf"array 'v' is {value} at index \(1, 0\), the task takes 0 to 100") as caught:
        config.code.encode(config.schema.check(bad), 1, Secret(bytes(32)))
    assert (caught.value.array, caught.value.index) == ("v", (1, 0))
    monkeypatch.setattr(module, "_check", lambda *_: None)
    encoder = config.code.encode(config.schema.check(bad), 1, Secret(bytes(32)))
    assert int(encoder.read(0, 4, np.dtype("<u8")).max()) > 100


def test_there_is_no_weight_and_no_mean() -> None:
    config = config_of()
    flat = config.schema.check(update(0))
    with pytest.raises(InputError, match="every participant has weight 1, not 2"):
        config.code.encode(flat, 2, Secret(bytes(32)))
    with pytest.raises(LocalError, match="no feedback"):
        config.code.encode(flat, 1, Secret(bytes(32)), bytes(32), np.zeros(flat.size, np.float32))
    aggregate = summed(config, [update(i) for i in range(3)])
    with pytest.raises(LocalError, match="read the sums with totals"):
        aggregate.mean(config)
    floats = config_of(encoding=FixedPoint(1.0), schema=Schema((ArraySpec("v", (2,)),)))
    with pytest.raises(LocalError, match=r"read it with mean\(config\)"):
        Aggregate(np.zeros(3, np.uint64), ("a", "b", "c")).totals(floats)
    with pytest.raises(LocalError, match="no fixed-point code"):
        _ = config.fixed_point


def test_a_sum_that_nobody_can_have_is_refused() -> None:
    config = config_of()
    good = summed(config, [update(i) for i in range(3)])
    for at, most in ((0, 300), (12, 150_000), (17, 915)):
        good.sums[at] = most
        assert good.totals(config)
        good.sums[at] = most + 1
        with pytest.raises(ProtocolViolation, match="beyond what 3 integers from"):
            good.totals(config)
        good.sums[at] = most


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": FixedPoint(1.0)}, "is int64, and this encoding is of floats"),
        ({"schema": Schema((ArraySpec("v", (2,)),))}, "is float32, and this encoding is of integers"),
        ({"encoding": Integers(2**61)}, "can add up to more than 2\\^63"),
        ({"encoding": Integers(0, -(2**61) - 1)}, "can add up to more than 2\\^63"),
        ({"groups": Groups(count=3)}, "combine the groups by mean"),
    ],
)
def test_what_does_not_fit_together(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_of(**changes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Integers(0),
        lambda: Integers(5, 5),
        lambda: Integers(2**62 + 1),
        lambda: Integers(1, -(2**62) - 1),
        lambda: Integers(1.5),  # type: ignore[arg-type]
        lambda: ArraySpec("v", (1,), "int64", bounds=(3, 3)),
        lambda: ArraySpec("v", (1,), "int64", bounds=(0, 1, 2)),  # type: ignore[arg-type]
        lambda: ArraySpec("v", (1,), "int64", bounds=5),  # type: ignore[arg-type]
        lambda: ArraySpec("v", (1,), "int64", range=1.0),
        lambda: ArraySpec("v", (1,), bounds=(0, 1)),
        lambda: ArraySpec("v", (1,), range=0.0),
        lambda: ArraySpec("v", (1,), range=2.0**65),
        lambda: ArraySpec("v", (1,), range=float("nan")),
        lambda: Schema.of({"v": np.zeros(2)}, ranges={"w": 1.0}),
    ],
)
def test_bounds_that_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match=r"bounds|integer|range"):
        make()


def test_the_sums_of_groups_are_added_up() -> None:
    """A group whose sum is impossible counts as one without, and `summands` says so."""
    plan = Groups(count=3, combine=Combine.MEAN)
    config = config_of(groups=plan)
    with pytest.raises(ConfigError, match=r"^12 integers from 0 to .* can add up to more than"):
        config_of(groups=plan, integers=Integers(2**60))
    assert config_of(groups=plan, integers=Integers((2**63 - 1) // 12)).max_participants == 4
    sums = {number: GroupSum(summed(config, [update(number)] * 3), bytes(32)) for number in (1, 2, 3)}
    grouped = GroupedAggregate(bytes(RoundId(bytes(16))), sums)
    totals = grouped.totals(config)
    assert totals.summands == 9
    exact = sum(3 * update(n)["wide"].astype(np.int64) for n in (1, 2, 3))
    assert np.array_equal(totals.arrays["wide"], exact)
    assert 0 < sums[1].norm(config) < 200_000
    sums[2].aggregate.sums[:] = 10**6
    assert grouped.totals(config).summands == 6
    assert sums[2].norm(config) == np.inf
    for number in (1, 3):
        sums[number].aggregate.sums[:] = 10**6
    with pytest.raises(ProtocolViolation, match="no group's sum"):
        grouped.totals(config)


def test_arrays_of_another_kind_are_refused_by_name() -> None:
    schema = config_of().schema
    with pytest.raises(InputError, match=r"'wide' is int64, the task wants uint32; .*astype\('uint32'\)"):
        schema.check(update(0) | {"wide": np.zeros(5, np.int64)})
    with pytest.raises(InputError, match=r"'wide' is float32, the task wants uint32"):
        schema.check(update(0) | {"wide": np.zeros(5, np.float32)})
    with pytest.raises(InputError, match=r"'n' is int64; .*secagg\.Integers"):
        Schema.of({"n": np.zeros(2, np.int64), "x": np.zeros(2)})
    assert isinstance(config_of().code.encode(schema.check(update(0)), 1, Secret(bytes(32))), IntegerUpdate)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.encoding.SetInParent(), "two of encoding, pipeline and integers"),
        (lambda m: setattr(m, "pipeline", "quantise(bits=8, range=1.0)"), "two of encoding, pipeline and integers"),
        (lambda m: m.arrays[1].ClearField("min"), "one of min and max of an array"),
        (lambda m: m.arrays[1].ClearField("max"), "one of min and max of an array"),
        (lambda m: setattr(m.arrays[0], "dtype", 11), "dtype 11"),
        (lambda m: setattr(m.arrays[0], "range", 1.0), "for floats alone"),
        (lambda m: setattr(m.integers, "max", 2**62 + 1), "within -2^62 to 2^62"),
        (lambda m: setattr(m.integers, "max", 0), "between a min and a larger max"),
    ],
)
def test_configurations_that_are_refused(change: Callable[[Any], object], words: str) -> None:
    message = config_pb2.RoundConfig.FromString(encode_config(config_of()))
    change(message)
    with pytest.raises((DecodeError, ProtocolViolation)) as caught:
        decode_config(message.SerializeToString())
    assert words in str(caught.value)
