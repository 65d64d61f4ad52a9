"""Vectors of every bound of a configuration and of a policy: the last that is taken, and the first that is refused."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from secagg.config import RoundConfig
from secagg.errors import DecodeError, PolicyViolation, ProtocolViolation
from secagg.tools.conformance.document import Contents, Document
from secagg.tools.conformance.replay.round import read_policy
from secagg.wire.configuration import decode_config
from secagg.wire.v1 import config_pb2 as pb

Change = Callable[[pb.RoundConfig], None]
Case = tuple[str, Change]

_WEEK_MS: Final = 604_800_000
_PHASES: Final = ("advertise_keys_ms", "share_keys_ms", "masked_input_ms", "consistency_check_ms", "unmask_ms")
_LAST_SIDE: Final = 2**32 - 2


def _base() -> pb.RoundConfig:
    """A masked round of twelve, safe with room on every side."""
    return pb.RoundConfig(
        task="bounds",
        arrays=[
            pb.ArraySpec(name="a", shape=[2, 3], dtype=pb.DTYPE_FLOAT32),
            pb.ArraySpec(name="b", dtype=pb.DTYPE_FLOAT64),
        ],
        encoding=pb.FixedPoint(clip=1.0, value_bits=16, max_weight=10),
        max_participants=12,
        threshold=8,
        max_colluding=2,
        threat_model=pb.THREAT_MODEL_ACTIVE,
        suite=pb.SUITE_X25519_SHA256_AES128,
        graph=pb.GRAPH_COMPLETE,
        model_digest=bytes(range(32)),
        deadlines=pb.Deadlines(**dict.fromkeys(_PHASES, 1000)),
        release_to_coordinator=True,
    )


def _set(**values: Any) -> Change:
    """Other values of fields; `a__b` is field b of field a. None clears, a list replaces."""

    def change(config: pb.RoundConfig) -> None:
        for path, value in values.items():
            *parents, name = path.split("__")
            holder: Any = config
            for parent in parents:
                holder = getattr(holder, parent)
            holder.ClearField(name)
            if isinstance(value, list):
                getattr(holder, name).extend(value)
            elif value is not None:
                setattr(holder, name, value)

    return change


def _array(**values: Any) -> Change:
    """Another first array."""

    def change(config: pb.RoundConfig) -> None:
        for name, value in values.items():
            config.arrays[0].ClearField(name)
            if isinstance(value, list):
                getattr(config.arrays[0], name).extend(value)
            elif value is not None:
                setattr(config.arrays[0], name, value)

    return change


def _named(count: int, *more: str) -> Change:
    names = [*(f"{number}" for number in range(count)), *more]
    return _set(arrays=[pb.ArraySpec(name=name, dtype=pb.DTYPE_FLOAT32) for name in names])


def _integers(low: int, high: int, *changes: Change) -> Change:
    """A round of two arrays of integers, and then other changes."""

    def change(config: pb.RoundConfig) -> None:
        config.ClearField("encoding")
        config.integers.min, config.integers.max = low, high
        for array in config.arrays:
            array.dtype = pb.DTYPE_INT64
        for more in changes:
            more(config)

    return change


def _second(low: int, high: int) -> Change:
    """Bounds of the second array's own."""

    def change(config: pb.RoundConfig) -> None:
        config.arrays[1].min, config.arrays[1].max = low, high

    return change


def _ring(**values: int) -> Change:
    def change(config: pb.RoundConfig) -> None:
        config.graph = pb.GRAPH_RING
        for name, value in values.items():
            setattr(config.ring, name, value)

    return change


def _then(*changes: Change) -> Change:
    def change(config: pb.RoundConfig) -> None:
        for each in changes:
            each(config)

    return change


_CROWD: Final = _set(max_participants=16, threshold=9, max_colluding=0)
_ACTIVE_RING: Final = _then(
    _CROWD, _ring(degree=10, neighbour_threshold=7, committee=7, committee_threshold=4, min_participants=13)
)
_SEMI_RING: Final = _then(_CROWD, _set(threat_model=1), _ring(degree=10, neighbour_threshold=6, min_participants=13))
_SMALLEST: Final = {"max_participants": 3, "threshold": 3, "max_colluding": 0}
_THIRD: Final = (2**63 - 1) // 3
_SEVEN: Final = {"max_participants": 7, "threshold": 5, "max_colluding": 1}
_SEVENTH: Final = (2**63 - 1) // 7
"""2^63 − 1 is divisible by seven."""

TAKEN: Final[tuple[Case, ...]] = (
    ("the base of all", _set()),
    ("the hybrid suite", _set(suite=3)),
    ("a task of 1 byte", _set(task="t")),
    ("a task of 128 bytes", _set(task="ï" * 64)),
    ("an array's name of 1 byte", _array(name="n")),
    ("an array's name of 512 bytes", _array(name="ï" * 256)),
    ("32 sides", _array(shape=[1] * 32)),
    ("a scalar", _array(shape=[])),
    ("one array", _named(1)),
    ("names that sort by bytes, not by letters", _named(0, "B", "a", "Z", "é", "z", "�", "𐀀")),
    ("the smallest range", _array(range=2.0**-64)),
    ("the largest range", _array(range=2.0**64)),
    ("the smallest clip", _set(encoding__clip=2.0**-64)),
    ("the largest clip", _set(encoding__clip=2.0**64)),
    ("values of 1 bit", _set(encoding__value_bits=1)),
    ("values of 32 bits", _set(encoding__value_bits=32)),
    ("weight 1", _set(encoding__max_weight=1)),
    ("the largest weight", _set(encoding__max_weight=2**32 - 1)),
    ("a vector of 2^32 coordinates", _then(_named(1), _array(shape=[_LAST_SIDE + 1]))),
    ("a cohort of three", _set(**_SMALLEST)),
    ("a cohort of 10,000", _set(max_participants=10_000, threshold=6_000)),
    ("a cohort of a power of two", _set(max_participants=16, threshold=11)),
    ("a cohort of a power of two and one more", _set(max_participants=17, threshold=11)),
    ("a threshold of all", _set(threshold=12)),
    ("two updates of others", _set(threshold=12, max_colluding=10)),
    ("2t = n_max + n_C + 1", _set(max_participants=13, threshold=8)),
    ("semi-honest, with a minority", _set(threat_model=1, threshold=4)),
    ("certified", _set(certify=True)),
    ("a purpose of 1 character", _set(purpose="e")),
    ("a purpose of 64 characters", _set(purpose="a_z-09" + "x" * 58)),
    ("a purpose with every character", _set(purpose="abcdefghijklmnopqrstuvwxyz0123456789_-")),
    ("every deadline 1 ms", _set(**{f"deadlines__{name}": 1 for name in _PHASES})),
    ("every deadline a week", _set(**{f"deadlines__{name}": _WEEK_MS for name in (*_PHASES, "join_ms")})),
    ("the model is named later", _set(model_later=True, model_digest=bytes(32))),
    ("a ring, and ten minutes for keys", _then(_ACTIVE_RING, _set(deadlines__advertise_keys_ms=600_000))),
    ("a semi-honest ring, and longer for keys", _then(_SEMI_RING, _set(deadlines__advertise_keys_ms=600_001))),
    ("integers of one bit", _integers(0, 1)),
    ("the lowest integer", _integers(-(2**61), 0, _set(**_SMALLEST))),
    ("integers whose sum is 2^63 − 1 at most", _integers(0, _SEVENTH, _set(**_SEVEN))),
    ("integers whose sum is −2^63 + 1 at least", _integers(-_SEVENTH, 0, _set(**_SEVEN))),
    ("integers whose sum just fits into 64 bits", _integers(-1, _THIRD, _set(**_SMALLEST))),
    ("bounds of an array's own", _integers(0, 1, _array(min=-5, max=1000))),
    ("integers beyond the type of their array", _integers(0, 1, _array(dtype=pb.DTYPE_INT8, min=-5, max=1000))),
    ("bounds that count for no array", _integers(-(2**62), 2**62, _named(0, "a"), _array(dtype=6, min=0, max=1))),
    ("a vector of 2^32 integers", _integers(0, 1, _named(1), _array(dtype=6, shape=[_LAST_SIDE + 2]))),
)

REFUSED: Final[dict[str, tuple[Case, ...]]] = {
    "C1": (
        ("no threat model", _set(threat_model=0)),
        ("an unknown threat model", _set(threat_model=3)),
        ("no suite", _set(suite=0)),
        ("no graph", _set(graph=0)),
        ("an unknown graph", _set(graph=3)),
        ("no type of an array", _array(dtype=0)),
        ("an unknown type of an array", _array(dtype=11)),
        ("a ring without parameters", _set(graph=2)),
        ("parameters of a ring without a ring", _then(_ring(degree=4), _set(graph=1))),
        ("an encoding and a pipeline", _set(pipeline="quantise(bits=16, range=1.0)")),
        ("an encoding and integers", _set(integers__max=1)),
        ("a pipeline and integers", _then(_set(pipeline="quantise(bits=16, range=1.0)"), _integers(0, 1))),
        ("only the smaller bound of an array", _integers(0, 1, _array(min=-5))),
        ("only the larger bound of an array", _integers(0, 1, _array(max=5))),
    ),
    "C2": (
        ("no task", _set(task="")),
        ("a task of 129 bytes", _set(task="ï" * 64 + "x")),
        ("a model digest of 31 bytes", _set(model_digest=bytes(31))),
        ("a model digest of 33 bytes", _set(model_digest=bytes(33))),
        ("no arrays", _set(arrays=[])),
        ("two arrays of one name", _named(2, "1")),
        ("an array without a name", _array(name="")),
        ("an array's name of 513 bytes", _array(name="ï" * 256 + "x")),
        ("33 sides", _array(shape=[1] * 33)),
        ("a side of 0", _array(shape=[2, 0])),
        ("integers in a round of floats", _array(dtype=pb.DTYPE_INT64)),
        ("floats in a round of integers", _integers(0, 1, _array(dtype=pb.DTYPE_FLOAT32))),
        ("a range below the smallest", _array(range=2.0**-64 * (1 - 2.0**-53))),
        ("a range above the largest", _array(range=2.0**64 * (1 + 2.0**-52))),
        ("a range that is no number", _array(range=float("nan"))),
        ("a range of integers", _integers(0, 1, _array(range=1.0))),
        ("bounds of floats", _array(min=0, max=1)),
        ("none of the three encodings", _set(encoding=None)),
        ("a clip below the smallest", _set(encoding__clip=2.0**-64 * (1 - 2.0**-53))),
        ("a clip above the largest", _set(encoding__clip=2.0**64 * (1 + 2.0**-52))),
        ("a clip that is no number", _set(encoding__clip=float("nan"))),
        ("values of 0 bits", _set(encoding__value_bits=0)),
        ("values of 33 bits", _set(encoding__value_bits=33)),
        ("weight 0", _set(encoding__max_weight=0)),
        ("a vector of 2^32 + 1 coordinates", _then(_named(1), _array(shape=[_LAST_SIDE + 2]))),
        ("a cohort of 10,001", _set(max_participants=10_001, threshold=6_002)),
        ("no threshold", _set(threshold=0, max_colluding=0)),
        ("a threshold of two", _set(max_participants=3, threshold=2, max_colluding=0)),
        ("a threshold above n_max", _set(threshold=13)),
        ("one update of others", _set(threshold=12, max_colluding=11)),
        ("2t = n_max + n_C", _set(max_participants=14, threshold=8)),
        ("certified without signatures", _set(threat_model=1, certify=True)),
        ("a purpose of 65 characters", _set(purpose="x" * 65)),
        ("a purpose in capital letters", _set(purpose="Train")),
        ("a purpose with a space", _set(purpose="to train")),
        *((f"{name} is 0", _set(**{f"deadlines__{name}": 0})) for name in _PHASES),
        *((f"{name} is above a week", _set(**{f"deadlines__{name}": _WEEK_MS + 1})) for name in (*_PHASES, "join_ms")),
        ("the coordinator gets no sum", _set(release_to_coordinator=False)),
        ("the model is named at once and later", _set(model_later=True)),
        ("integers below −2^62", _integers(-(2**62) - 1, 0, _named(0, "a"), _array(dtype=6, min=0, max=1))),
        ("integers above 2^62", _integers(0, 2**62 + 1, _named(0, "a"), _array(dtype=6, min=0, max=1))),
        ("integers without a choice", _integers(1, 1)),
        ("an array's own bounds without a choice", _integers(0, 1, _array(min=5, max=5))),
        ("negative integers whose sum does not fit into 64 bits", _integers(-_THIRD - 1, 0, _set(**_SMALLEST))),
        ("integers whose sum does not fit into 64 bits", _integers(0, _THIRD + 1, _set(**_SMALLEST))),
        ("a second array whose sum does not fit", _integers(0, 1, _second(0, _THIRD + 1), _set(**_SMALLEST))),
        ("a second array whose bounds leave no choice", _integers(0, 1, _second(7, 7))),
        ("integers that need 65 bits", _integers(-_THIRD, _THIRD, _set(**_SMALLEST))),
        ("a vector of 2^32 + 1 integers", _integers(0, 1, _named(1), _array(dtype=6, shape=[_LAST_SIDE + 3]))),
    ),
}  # fmt: skip

_OUTCOMES: Final = {"C1": DecodeError, "C2": ProtocolViolation}


def _bytes(change: Change) -> bytes:
    config = _base()
    change(config)
    return config.SerializeToString(deterministic=True)


def _judged(data: bytes) -> RoundConfig | type[Exception]:
    try:
        return decode_config(data)
    except (DecodeError, ProtocolViolation) as error:
        return type(error)


def _bounds() -> Iterator[Document]:
    for title, change in TAKEN:
        data = _bytes(change)
        config = _judged(data)
        if not isinstance(config, RoundConfig):
            raise AssertionError(f"{title}: {config}")
        yield {"title": title, "config": data, "vector_len": config.vector_len, "ring_bits": config.ring_bits}
    for check, cases in REFUSED.items():
        for title, change in cases:
            data = _bytes(change)
            if (error := _judged(data)) is not _OUTCOMES[check]:
                raise AssertionError(f"{title}: {error} instead of {_OUTCOMES[check]}")
            yield {"title": title, "config": data, "check": check, "error": _OUTCOMES[check].__name__}


SEMI_HONEST: Final = _set(threat_model=1)
SECOND_SUITE: Final = _set(suite=2)


def _hundred(colluding: int) -> Change:
    return _set(max_participants=100, threshold=70, max_colluding=colluding)


POLICIES: Final[tuple[tuple[str, Change, Document, bool], ...]] = (
    ("nothing is demanded", _set(), {}, True),
    ("nothing is demanded of the smallest cohort", _set(**_SMALLEST), {}, True),
    ("a hybrid suite", _set(suite=3), {"require_hybrid": True}, True),
    ("no hybrid suite", _set(), {"require_hybrid": True}, False),
    ("the task", _set(), {"tasks": ["another", "bounds"]}, True),
    ("another task", _set(), {"tasks": ["another", "bound", "bounds "]}, False),
    ("the threat model", SEMI_HONEST, {"threat_models": ["SEMI_HONEST"]}, True),
    ("another threat model", SEMI_HONEST, {"threat_models": ["ACTIVE"]}, False),
    ("the suite", SECOND_SUITE, {"suites": ["X25519_SHA256_AEGIS128X4"]}, True),
    ("another suite", SECOND_SUITE, {"suites": ["X25519_SHA256_AES128"]}, False),
    ("masked rounds", _set(), {"schemes": ["masked"]}, True),
    ("no masked rounds", _set(), {"schemes": ["ckks", "bfv"]}, False),
    ("the complete graph", _set(), {"require_complete_graph": True}, True),
    ("a cohort of t", _set(), {"min_cohort": 8}, True),
    ("a cohort of t + 1", _set(), {"min_cohort": 9}, False),
    ("as many honest as t − n_C", _set(), {"min_honest": 6}, True),
    ("one more", _set(), {"min_honest": 7}, False),
    ("a share of colluders of which n_C is the whole part", _set(), {"min_colluding_share": 0.249}, True),
    ("a share of colluders above n_C", _set(), {"min_colluding_share": 0.25}, False),
    ("0.29 of 100 is 29", _hundred(29), {"min_colluding_share": 0.29}, True),
    ("0.29 of 100 is not 28", _hundred(28), {"min_colluding_share": 0.29}, False),
    ("organisations, where certificates name them", _set(), {"min_organisations": 5}, True),
    ("organisations, where nobody signs", SEMI_HONEST, {"min_organisations": 2}, False),
    ("one organisation, where nobody signs", SEMI_HONEST, {"min_organisations": 1}, True),
    ("noise, where there is none", _set(), {"require_distributed_noise": True}, False),
    ("any cost at the most, where there is no noise", _set(), {"max_epsilon": 1000.0}, False),
    ("any noise at the least, where there is none", _set(), {"min_noise_multiplier": 0.001}, False),
)  # fmt: skip


def _policies() -> Iterator[Document]:
    for title, change, policy, taken in POLICIES:
        data = _bytes(change)
        try:
            read_policy(policy).check(decode_config(data))
        except PolicyViolation:
            allowed = False
        else:
            allowed = True
        if allowed is not taken:
            raise AssertionError(title)
        yield {"title": title, "config": data, "policy": policy, "taken": taken}


VECTORS: Contents = {
    "bounds": ("Every bound of a configuration, from both sides", "Configuration", _bounds),
    "policies": ("What a policy demands, from both sides", "Policy", _policies),
}
