"""Named arrays: what is accepted, and how what is not is named."""

from typing import Any

import numpy as np
import pytest

from secagg.encoding import schema as schemas
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, InputError

SCHEMA = Schema((ArraySpec("weights", (3, 4)), ArraySpec("bias", (4,), "float64"), ArraySpec("scale", ())))


def update(**changes: Any) -> dict[str, Any]:
    arrays = {
        "weights": np.arange(12, dtype=np.float32).reshape(3, 4),
        "bias": np.arange(4, dtype=np.float64),
        "scale": np.array(0.5, np.float32),
    }
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


def refused(**changes: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        SCHEMA.check(update(**changes))
    return caught.value


def test_values_lie_in_schema_order_and_c_order() -> None:
    flat = SCHEMA.check(update())
    assert flat.size == SCHEMA.size == 17
    assert flat.read(0, 17).tolist() == [*range(12), *range(4), 0.5]
    for start in range(17):
        for stop in range(start, 18):
            assert np.array_equal(flat.read(start, stop), flat.read(0, 17)[start:stop])


def test_the_order_of_the_mapping_does_not_matter() -> None:
    given = update()
    backwards = dict(reversed(given.items()))
    assert np.array_equal(SCHEMA.check(given).read(0, 17), SCHEMA.check(backwards).read(0, 17))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_named_with_its_place(value: float) -> None:
    weights = update()["weights"]
    weights[1, 2] = value
    error = refused(weights=weights)
    assert (error.array, error.index) == ("weights", (1, 2))
    assert str(error) == f"array 'weights' is {np.float32(value)} at index (1, 2)"


def test_the_first_bad_value_is_named_even_far_behind() -> None:
    large = Schema((ArraySpec("large", (3, 70_000)),))
    array = np.zeros((3, 70_000), np.float32)
    array[2, 69_999] = array[1, 5] = np.nan
    with pytest.raises(InputError) as caught:
        large.check({"large": array})
    assert caught.value.index == (1, 5)


def test_a_scalar_that_is_no_number() -> None:
    error = refused(scale=np.array(np.nan, np.float32))
    assert (error.array, error.index) == ("scale", ())


@pytest.mark.parametrize(
    ("changes", "array", "words"),
    [
        ({"bias": None}, "bias", "missing"),
        ({"extra": np.zeros(1)}, "extra", "not in the task's schema; leave it out"),
        ({"bias": np.zeros(5)}, "bias", "has shape (5,), the task wants (4,)"),
        ({"bias": np.zeros((4, 1))}, "bias", "has shape (4, 1)"),
        ({"scale": np.zeros(1, np.float32)}, "scale", "has shape (1,), the task wants ()"),
        ({"bias": np.zeros(4, np.float32)}, "bias", "is float32, the task wants float64; cast it"),
        ({"weights": np.zeros((3, 4), np.float64)}, "weights", "the task wants float32"),
        (
            {"weights": np.zeros((3, 4), np.int32)},
            "weights",
            "is int32, the task wants float32; if it is a counter",
        ),
        ({"weights": np.zeros((3, 4), np.float16)}, "weights", "is float16, the task wants float32; cast it"),
        ({"weights": np.zeros((3, 4), np.complex64)}, "weights", "is complex64, the task wants float32; leave it out"),
        ({"weights": np.zeros((3, 4), ">f4")}, "weights", "is >f4"),
        ({"weights": [[0.0] * 4] * 3}, "weights", "is list"),
        ({"scale": 0.5}, "scale", "is float"),
        ({"weights": np.ma.masked_less(np.zeros((3, 4), np.float32), 1)}, "weights", "masked values; fill them in"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], array: str, words: str) -> None:
    error = refused(**changes)
    assert error.array == array
    assert error.index is None
    assert repr(array) in str(error)
    assert words in str(error)


def test_arrays_of_any_memory_layout() -> None:
    whole = np.arange(96, dtype=np.float32).reshape(8, 12)
    for weights in (whole[::3, ::3], np.asfortranarray(whole[:3, :4]), whole[2::-1, 3::-1], whole.T[:3, :4]):
        flat = SCHEMA.check(update(weights=weights)).read(0, 12)
        assert flat.tolist() == [float(v) for row in weights for v in row]


def test_subclasses_are_read_as_plain_arrays() -> None:
    given = np.arange(12, dtype=np.float32).reshape(3, 4).view(np.recarray)
    assert SCHEMA.check(update(weights=given)).read(0, 12).tolist() == list(range(12))
    matrix = Schema((ArraySpec("values", (2, 2)),))
    assert matrix.check(np.ones((2, 2), np.float32)).read(0, 4).tolist() == [1, 1, 1, 1]


def test_a_lone_array_is_called_values() -> None:
    lone = np.arange(5, dtype=np.float32)
    schema = Schema.of(lone)
    assert schema == Schema((ArraySpec("values", (5,)),))
    assert schema.check(lone).read(0, 5).tolist() == [0, 1, 2, 3, 4]
    assert schema.check({"values": lone}).size == 5


def test_the_schema_of_an_example() -> None:
    assert set(Schema.of(update()).arrays) == set(SCHEMA.arrays)


def test_split_gives_back_names_shapes_and_dtypes() -> None:
    given = update()
    parts = SCHEMA.split(SCHEMA.check(given).read(0, 17))
    assert list(parts) == ["weights", "bias", "scale"]
    for name, array in parts.items():
        assert array.dtype == given[name].dtype
        assert array.shape == given[name].shape
        assert np.array_equal(array, given[name])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ArraySpec("", (1,)), "1 to 512 bytes"),
        (lambda: ArraySpec("é" * 257, (1,)), "1 to 512 bytes"),
        (lambda: ArraySpec("a", (1,), "float16"), "not one of float32, float64, int8"),
        (lambda: ArraySpec("a", (3, 0)), "holds no values; leave the array out"),
        (lambda: ArraySpec("a", (-1,)), "holds no values"),
        (lambda: ArraySpec("a", (1,) * 33), "33 sides are more than 32; reshape it"),
        (lambda: Schema(()), "1 to 100000 arrays"),
        (lambda: Schema((ArraySpec("a", (1,)), ArraySpec("b", (1,)), ArraySpec("a", (2,)))), "'a' stands twice"),
    ],
)
def test_schemas_that_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert words in str(caught.value)


def test_too_many_arrays_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "MAX_ARRAYS", 3)
    with pytest.raises(ConfigError, match="1 to 3 arrays, not 4"):
        Schema(tuple(ArraySpec(str(i), (1,)) for i in range(4)))


def test_finding_a_repeated_name_takes_no_time() -> None:
    """A hostile configuration can hold 100,000 arrays; looking for each name in all others would take minutes."""
    names = [f"array-{i}" for i in range(99_999)] + ["array-99998"]
    with pytest.raises(ConfigError, match="'array-99998' stands twice"):
        Schema(tuple(ArraySpec(name, (1,)) for name in names))
