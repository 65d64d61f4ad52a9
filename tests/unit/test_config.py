"""RoundConfig refuses what is unsafe and says what to change."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from secagg.aggregates import Aggregate
from secagg.config import (
    Deadlines,
    Graph,
    RoundConfig,
    ThreatModel,
    default_max_colluding,
    default_threshold,
)
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, DecodeError, ProtocolViolation
from secagg.lattice.parameters import Custody, Profile, Scheme, find_profile
from secagg.policy import Policy
from secagg.sparse.finder import find_ring
from secagg.sparse.ring import Ring
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire import configuration
from secagg.wire.configuration import decode_config, encode_config
from tests.rounds import ACTIVE, SEMI_HONEST, flat_schema, make_config


@pytest.mark.parametrize(
    ("n", "active", "semi_honest"),
    [(3, 3, 3), (4, 3, 3), (5, 4, 3), (9, 7, 5), (10, 7, 6), (100, 67, 51), (10_000, 6667, 5001)],
)
def test_default_thresholds(n: int, active: int, semi_honest: int) -> None:
    assert make_config(n, ACTIVE).threshold == default_threshold(n, ACTIVE) == active
    assert make_config(n, SEMI_HONEST).threshold == default_threshold(n, SEMI_HONEST) == semi_honest


@pytest.mark.parametrize("n", range(3, 200))
def test_defaults_are_safe_for_every_size(n: int) -> None:
    config = make_config(n, ACTIVE)
    assert 2 * config.threshold > n + config.max_colluding
    assert config.max_colluding == default_max_colluding(n) < n / 3
    semi_honest = make_config(n, SEMI_HONEST)
    assert semi_honest.guaranteed_honest >= 2
    for made in (config, semi_honest):
        Policy(threat_models=frozenset(ThreatModel)).check(made)


def homomorphic_config(n: int, profile: Profile, **given: Any) -> RoundConfig:
    return RoundConfig(
        task="t",
        schema=flat_schema(),
        encoding=FixedPoint(1.0, profile.value_bits),
        max_participants=n,
        model_digest=bytes(32),
        threat_model=SEMI_HONEST,
        homomorphic=profile,
        **given,
    )


@pytest.mark.parametrize("n", [3, 4, 5, 7, 10, 16])
@pytest.mark.parametrize("custody", Custody)
@pytest.mark.parametrize("scheme", Scheme)
def test_defaults_of_homomorphic_rounds_are_safe(n: int, custody: Custody, scheme: Scheme) -> None:
    """The default policy is meant to refuse them, by consent alone."""
    profile = find_profile(scheme, custody, n, 8)
    config = homomorphic_config(n, profile)
    assert config.guaranteed_honest >= 2
    assert config.dealt or 2 * config.threshold > n + config.max_colluding
    consent = Policy(
        threat_models=frozenset({SEMI_HONEST}),
        allow_experimental=True,
        min_colluding_share=0.0 if config.dealt else 0.3,
    )
    consent.check(config)


def test_no_colluders_leave_a_single_update() -> None:
    """The twin: with every other participant colluding, what is left of the sum is the victim's update."""
    with pytest.raises(ConfigError, match="a sum of 3 holds 1 updates of others"):
        make_config(3, ACTIVE, threshold=3, max_colluding=2)
    updates = np.array([3, 5, 7])
    assert updates.sum() - updates[1:].sum() == updates[0]


@pytest.mark.parametrize("threshold", [8, 9])
def test_two_lists_of_a_joint_key_share_an_honest_signer(threshold: int) -> None:
    profile = find_profile(Scheme.BFV, Custody.THRESHOLD, 14, 8)
    if threshold == 9:
        assert homomorphic_config(14, profile, threshold=9, max_colluding=3).guaranteed_honest == 6
        return
    with pytest.raises(ConfigError, match="raise threshold from 8 to 9 or more, or lower max_colluding"):
        homomorphic_config(14, profile, threshold=8, max_colluding=3)


@pytest.mark.parametrize("n", range(3, 14))
@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
def test_exactly_the_safe_thresholds_are_taken(n: int, threat_model: ThreatModel) -> None:
    for t in range(1, n + 2):
        for colluding in range(n + 1):
            safe = 3 <= t <= n and colluding < n
            safe &= t - colluding >= 2 and (threat_model is SEMI_HONEST or 2 * t > n + colluding)
            try:
                make_config(n, threat_model, threshold=t, max_colluding=colluding)
            except ConfigError:
                assert not safe
            else:
                assert safe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_participants": 2}, "max_participants must be 3 to 10000, not 2"),
        ({"max_participants": 10_001}, "max_participants must be 3 to 10000"),
        ({"threshold": 2}, "threshold must be 3 to max_participants (9), not 2"),
        ({"threshold": 10}, "threshold must be 3 to max_participants (9), not 10"),
        ({"threshold": -1}, "threshold must be 3"),
        ({"max_colluding": 9}, "max_colluding must be 0 to 8"),
        ({"max_colluding": -2}, "max_colluding must be 0 to 8"),
        ({"threshold": 5}, "2t > n + n_C must hold: raise threshold from 5 to 6 or more, or lower max_participants"),
        ({"threat_model": SEMI_HONEST, "threshold": 3, "max_colluding": 4}, "raise threshold to 6 or more"),
        ({"task": ""}, "task must be 1 to 128 bytes"),
        ({"task": "é" * 65}, "task must be 1 to 128 bytes"),
        ({"model_digest": bytes(31)}, "model_digest must be 32 bytes, not 31"),
        ({"model_digest": "0" * 32}, "model_digest must be 32 bytes, not str; bytes.fromhex"),
        ({"purpose": 3}, "a purpose is 1 to 64 of a-z, 0-9, _ and -, not 3"),
        ({"schema": Schema((ArraySpec("a", (2**20, 2**12)),))}, "more than 4294967296; split it"),
        ({"release_to_coordinator": False}, "set release_to_coordinator"),
    ],
)
def test_what_is_refused_and_what_to_change(change: dict[str, Any], words: str) -> None:
    base: dict[str, Any] = {
        "task": "t",
        "schema": flat_schema(),
        "encoding": FixedPoint(1.0),
        "max_participants": 9,
        "model_digest": bytes(32),
        "max_colluding": 2,
    }
    RoundConfig(**base)
    with pytest.raises(ConfigError) as caught:
        RoundConfig(**{**base, **change})
    assert words in str(caught.value)


def test_a_config_is_checked_again_when_it_is_changed() -> None:
    with pytest.raises(ConfigError):
        replace(make_config(9), threshold=4)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 604_801.0, float("nan"), float("inf")])
def test_deadlines_outside_their_range(seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"unmask_s must be 0\.001 to 604800 seconds"):
        Deadlines(unmask_s=seconds)


@pytest.mark.parametrize("n", [3, 7, 8, 9, 10_000])
@pytest.mark.parametrize("value_bits", [2, 16, 32])
def test_no_sum_of_n_max_vectors_wraps(n: int, value_bits: int) -> None:
    config = make_config(n, encoding=FixedPoint(1.0, value_bits, 2**32 - 1))
    assert n * max(config.fixed_point.levels, config.fixed_point.max_weight) < 1 << config.ring_bits
    assert config.ring_bits <= 8 * config.ring_dtype.itemsize <= 64


# --- on the wire ------------------------------------------------------------------------------------------------------

CONFIGS = [
    make_config(9),
    make_config(4, SEMI_HONEST, threshold=3, max_colluding=0),
    RoundConfig(
        task="übung",
        schema=Schema((ArraySpec("a", ()), ArraySpec("b", (2, 3, 4), "float64"))),
        encoding=FixedPoint(0.125, 32, 2**32 - 1),
        max_participants=10_000,
        model_digest=bytes(range(32)),
        release_to_participants=False,
        deadlines=Deadlines(1.5, 2, 3, 4, 604_800, 3600.5),
    ),
]


@pytest.mark.parametrize("seconds", [-1.0, 0.0009, 604_801.0, float("nan"), float("inf")])
def test_join_s_outside_its_range(seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"join_s must be 0\.001 to 604800 seconds"):
        Deadlines(join_s=seconds)


def test_a_round_that_does_not_wait_for_the_first_has_the_bytes_of_old() -> None:
    from secagg.wire.v1 import config_pb2 as pb

    written = pb.RoundConfig.FromString(encode_config(make_config(9))).deadlines
    assert {field.name for field, _ in written.ListFields()} == {
        *("advertise_keys_ms", "share_keys_ms", "masked_input_ms", "consistency_check_ms", "unmask_ms")
    }
    waiting = replace(make_config(9), deadlines=Deadlines(join_s=0.001))
    assert pb.RoundConfig.FromString(encode_config(waiting)).deadlines.join_ms == 1


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_comes_back_from_its_bytes(config: RoundConfig) -> None:
    data = encode_config(config)
    assert decode_config(data) == config
    assert encode_config(decode_config(data)) == data


def test_unsafe_configs_of_a_coordinator_are_its_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RoundConfig, "_check_graph", lambda _: None)
        data = encode_config(make_config(9, threshold=4))
    with pytest.raises(ProtocolViolation, match="unsafe configuration: against an active coordinator") as caught:
        decode_config(data)
    assert caught.value.culprit == "coordinator"


def test_a_config_that_names_no_threshold_has_no_default() -> None:
    from secagg.wire.v1 import config_pb2 as pb

    message = pb.RoundConfig()
    message.ParseFromString(encode_config(make_config(9)))
    message.threshold = 0
    with pytest.raises(ProtocolViolation, match="names no threshold"):
        decode_config(message.SerializeToString())


def test_a_flood_of_arrays_is_refused_before_an_object_is_made_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration may have 64 MiB, and an array of one value takes ten bytes of them."""
    from secagg.wire.v1 import config_pb2 as pb

    array = pb.RoundConfig(arrays=[pb.ArraySpec(name="a", shape=[1], dtype=pb.DTYPE_FLOAT32)]).SerializeToString()
    sides = pb.RoundConfig(arrays=[pb.ArraySpec(name="a", shape=[1] * 33, dtype=pb.DTYPE_FLOAT32)]).SerializeToString()
    made: list[object] = []
    monkeypatch.setattr(configuration, "ArraySpec", lambda *spec: made.append(spec))
    for flood in (array * 100_001, sides):
        with pytest.raises(ProtocolViolation, match="at most 100000 arrays, of at most 32 sides"):
            decode_config(encode_config(make_config(9)) + flood)
    assert not made


UNKNOWN_FIELD = b"\x98\x06\x01"  # number 99, which is 1


@pytest.mark.parametrize(
    "unknown",
    [UNKNOWN_FIELD, b"\x62\x03" + UNKNOWN_FIELD],
    ids=["of the configuration", "of the deadlines"],
)
def test_a_config_with_a_field_that_we_do_not_know_is_refused(unknown: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be what makes the round another one, so nobody takes part who does not know it."""
    data = encode_config(make_config(9)) + unknown
    with pytest.raises(DecodeError, match="a field that this release does not know") as caught:
        decode_config(data)
    assert caught.value.culprit is None
    without_check(monkeypatch, configuration, "decode_config", "known-fields")
    assert configuration.decode_config(data) == make_config(9)


def test_bytes_that_are_no_config() -> None:
    for data in (b"\xff", encode_config(make_config(9))[:-1]):
        with pytest.raises((DecodeError, ProtocolViolation)):
            decode_config(data)


def test_an_aggregate_decodes_by_its_config() -> None:
    config = make_config(4, SEMI_HONEST, schema=flat_schema(2), encoding=FixedPoint(1.0, 16, 1))
    aggregate = Aggregate(np.array([0, 3 * 65535, 3], np.uint32), ("a", "b", "c"))
    mean = aggregate.mean(config)
    assert mean.arrays["values"].tolist() == [-1.0, 1.0]
    assert mean.weight == 3


SAFE = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)
"""For one colluder: no event takes fewer than two."""


def large(n: int = 1000, **given: Any) -> RoundConfig:
    return make_config(n, ACTIVE, **{"threshold": 2 * n // 3 + 1, "max_colluding": n // 20, "graph": "auto", **given})


def test_auto_is_a_ring_where_that_halves_the_peers() -> None:
    chosen = large()
    assert chosen.ring == find_ring(max_participants=1000, max_colluding=50, threshold=667)
    assert decode_config(encode_config(chosen)) == chosen
    assert replace(chosen).ring == chosen.ring
    semi_honest = make_config(1000, SEMI_HONEST, threshold=900, max_colluding=100, graph="auto")
    assert semi_honest.ring is not None
    assert semi_honest.ring.committee == 0


def test_auto_is_the_complete_graph_elsewhere() -> None:
    assert large().ring is not None
    assert make_config(9, ACTIVE, graph="auto").graph is large(100).graph is Graph.COMPLETE
    profile = find_profile(Scheme.BFV, Custody.PARTICIPANTS, 1000, 16)
    assert homomorphic_config(1000, profile, threshold=900, graph="auto").graph is Graph.COMPLETE


def test_auto_is_the_complete_graph_where_a_coordinator_has_longer_to_try_rings() -> None:
    slow = Deadlines(advertise_keys_s=601)
    assert replace(make_config(1000, ACTIVE, max_colluding=50), graph="auto").ring is not None
    assert replace(make_config(1000, ACTIVE, max_colluding=50), graph="auto", deadlines=slow).graph is Graph.COMPLETE
    semi_honest = make_config(1000, SEMI_HONEST, threshold=900, max_colluding=100)
    assert replace(semi_honest, graph="auto", deadlines=slow).ring is not None
    with pytest.raises(ConfigError, match="advertise_keys_s must be at most 600 seconds, not 601"):
        replace(make_config(12, ACTIVE, threshold=7, max_colluding=1), graph=SAFE, deadlines=slow)


def test_a_graph_of_no_kind() -> None:
    with pytest.raises(ConfigError, match=r'graph must be Graph\.COMPLETE, a Ring or "auto"'):
        replace(make_config(9, ACTIVE), graph="ring")  # type: ignore[arg-type]


def test_a_ring_that_is_not_safe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    make_config(12, ACTIVE, threshold=6, max_colluding=1, graph=SAFE)
    for weaker in (replace(SAFE, neighbour_threshold=5), replace(SAFE, committee_threshold=3)):
        with pytest.raises(ConfigError, match=r"not rare enough .* secagg\.find_ring"):
            make_config(12, ACTIVE, threshold=6, max_colluding=1, graph=weaker)
    with pytest.raises(ConfigError, match="2 colluders"):
        make_config(12, ACTIVE, threshold=6, max_colluding=2, graph=SAFE)
    without_check(monkeypatch, RoundConfig, "_check_ring", "C101")
    make_config(12, ACTIVE, threshold=6, max_colluding=2, graph=SAFE)


def test_time_limits_grow_with_the_cohort_unless_they_are_given() -> None:
    """Beyond 500 participants 0.2 s for each; the time for keys stays within what a ring may have."""
    config = make_config(1500, threshold=1200, max_colluding=50)
    plain = {field.name: getattr(config, field.name) for field in fields(config) if field.init}
    del plain["deadlines"]
    assert RoundConfig(**plain).deadlines == Deadlines(260.0, 260.0, 500.0, 260.0, 260.0)
    assert RoundConfig(**plain, deadlines=Deadlines()).deadlines == Deadlines()
    assert Deadlines.for_cohort(500) == Deadlines()
    assert Deadlines.for_cohort(501, join_s=7.0) == Deadlines(60.2, 60.2, 300.2, 60.2, 60.2, 7.0)
    assert Deadlines.for_cohort(10_000).advertise_keys_s == 600.0
