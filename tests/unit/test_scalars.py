"""NumPy's numbers count as numbers wherever a caller passes one; a truth value and a text do not."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from secagg_client import RetryPolicy

from secagg.config import Deadlines, RoundConfig
from secagg.crypto.secret import Secret
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import code_for
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Noise, Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.encoding.steps.clip import Clip
from secagg.errors import ConfigError, InputError, LocalError
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.noise.laws import Law
from secagg.policy import Policy
from secagg.privacy.finder import Task
from secagg.privacy.ledger import Budget, Ledger
from secagg.robust.grouping import Combine, Groups
from secagg.wire.configuration import decode_config, encode_config

SCHEMA = Schema((ArraySpec("a", (650,)),))


def config(**changes: Any) -> RoundConfig:
    given: dict[str, Any] = {"task": "t", "schema": SCHEMA, "encoding": FixedPoint(1.0), "model_digest": bytes(32)}
    return RoundConfig(**(given | changes))


def profile(summands: Any = 10, value_bits: Any = 16) -> Any:
    return find_profile(Scheme.BFV, Custody.PARTICIPANTS, summands, value_bits)


Make = Callable[..., Any]
INTEGERS: list[tuple[Make, dict[str, int]]] = [
    (config, {"max_participants": 10, "threshold": 8, "max_colluding": 3}),
    (lambda **some: FixedPoint(1.0, **some), {"value_bits": 8, "max_weight": 100}),
    (lambda **some: Pipeline(range=1.0, **some), {"bits": 8, "max_weight": 100}),
    (lambda **some: Groups(combine=Combine.TRIMMED, **some), {"count": 5, "trim": 1}),
    (lambda **some: Task(cohort=Cohort(100, 34), **some), {"values": 250, "rounds": 2, "bits": 16}),
    (Cohort, {"summands": 100, "honest": 34}),
    (lambda side: ArraySpec("a", (side, 2)), {"side": 3}),
    (profile, {"summands": 10, "value_bits": 16}),
    (RetryPolicy, {"attempts": 3}),
    (Policy, {"min_cohort": 4, "min_organisations": 2, "min_honest": 3}),
]
NUMBERS: list[tuple[Make, dict[str, float]]] = [
    (Deadlines, {field.name: 0.5 for field in fields(Deadlines)}),
    (FixedPoint, {"clip": 1}),
    (Clip, {"l2": 0.5}),
    (Clip, {"linf": 0.5}),
    (lambda **some: Pipeline(bits=8, **some), {"rate": 0.5, "range": 2.0}),
    (lambda z: Noise(Law.SKELLAM, z), {"z": 2.0}),
    (Budget, {"epsilon": 5.0, "delta": 0.125}),
    (lambda **some: Task(values=650, cohort=Cohort(3, 1), **some), {"clip": 1.0, "epsilon": 2.0, "delta": 0.125}),
    (RetryPolicy, {"first_delay_s": 0.5, "max_delay_s": 1.0, "give_up_after_s": 2.0}),
    (Policy, {"min_colluding_share": 0.5, "min_noise_multiplier": 2.0, "max_epsilon": 4.0, "delta": 0.125}),
]


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32, np.asarray])
def test_integers_of_numpy_are_integers(kind: Any) -> None:
    for make, given in INTEGERS:
        made, same = make(**{name: kind(value) for name, value in given.items()}), make(**given)
        assert made == same
        assert repr(made) == repr(same)  # no field keeps NumPy's type


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_numbers_of_numpy_are_numbers(kind: Any) -> None:
    for make, given in NUMBERS:
        made, same = make(**{name: kind(value) for name, value in given.items()}), make(**given)
        assert made == same
        assert repr(made) == repr(same)


@pytest.mark.parametrize("wrong", [True, np.True_, 3.0, np.float64(3), "3", None, np.zeros(3, int)])
def test_what_is_no_integer_is_refused_by_name(wrong: Any) -> None:
    for make, given in INTEGERS:
        for name in given:
            with pytest.raises(ConfigError, match="must be an integer, not"):
                make(**(given | {name: wrong}))


LARGEST = np.finfo(np.longdouble).max if np.finfo(np.longdouble).max > np.finfo(np.float64).max else 10**400
"""Beyond a float, and NumPy makes it infinite without a word."""


@pytest.mark.parametrize("wrong", [True, np.True_, "0.5", 1j, 10**400, LARGEST], ids=lambda wrong: str(wrong)[:8])
def test_what_is_no_number_is_refused_by_name(wrong: Any) -> None:
    for make, given in NUMBERS:
        for name in given:
            if (make, name) != (NUMBERS[4][0], "range"):
                with pytest.raises(ConfigError, match=f"{name} must be a number, not"):
                    make(**(given | {name: wrong}))


def test_a_round_from_numbers_of_numpy_goes_over_the_wire_as_any_other() -> None:
    text = "clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=2.0)"
    bits: Any = np.int64(16)
    length: Any = np.float32(1)
    seconds: Any = np.float32(5)
    made = config(
        encoding=Pipeline(bits=bits, clips=(Clip(l2=length),), rotate=True, noise=Noise(Law.SKELLAM, 2)),
        max_participants=np.int32(10),
        deadlines=Deadlines(advertise_keys_s=seconds),
    )
    assert made.encoding.text == text  # type: ignore[union-attr]
    assert decode_config(encode_config(made)) == made


def test_a_budget_of_integers_opens_a_ledger() -> None:
    assert Ledger.open("t", Budget(5, np.float64(1e-5))).lines == Ledger.open("t", Budget(5.0, 1e-5)).lines


NOISY = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=2.0)")


@pytest.mark.parametrize("encoding", [FixedPoint(1.0, 16, 1000), NOISY])
def test_a_weight_of_numpy_counts(encoding: FixedPoint | Pipeline) -> None:
    code = code_for(encoding, SCHEMA, Cohort(5, 3), wraps=True)
    update, seed = SCHEMA.check({"a": np.ones(650, np.float32)}), Secret(bytes(32))
    weight = 1 if encoding is NOISY else 120
    kinds: list[Any] = [int, np.int64, np.uint8]
    vectors = [
        code.encode(update, kind(weight), seed, bytes(32)).read(0, code.vector_len, np.dtype(np.uint64))
        for kind in kinds
    ]
    assert all((vector == vectors[0]).all() for vector in vectors)
    for wrong in (True, 1.0, np.float64(1), "1", None):
        with pytest.raises(InputError, match="weight must be an integer"):
            code.encode(update, wrong, seed, bytes(32))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda name: Schema.of({name: np.zeros(2, np.float32)}),
        lambda name: ArraySpec(name, (2,)),
        lambda name: config(task=name, max_participants=5),
        lambda name: Ledger.open(name, Budget()),
    ],
)
def test_half_a_surrogate_pair_is_no_name(make: Make) -> None:
    for wrong, says in (("\ud800", "lone surrogate"), (7, "must be text"), (None, "must be text")):
        with pytest.raises(LocalError, match=says):
            make(wrong)
