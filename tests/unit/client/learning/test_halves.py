"""Half precision, against the definitions: float16 as numpy has it, bfloat16 as the upper half of a float32."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from secagg_client.learning.halves import narrowed, widened


@given(st.integers(0, 2**16 - 1))
def test_bfloat16_survives_the_way_there_and_back(bits: int) -> None:
    given_bits = np.array([bits], np.uint16)
    wide = widened(given_bits, "bfloat16")
    assert wide is not None
    assert wide.dtype == np.float32
    if np.isnan(wide[0]):
        again = widened(narrowed(wide, "bfloat16"), "bfloat16")
        assert again is not None
        assert np.isnan(again).all()
    else:
        assert narrowed(wide, "bfloat16") == given_bits


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100))
def test_bfloat16_is_rounded_to_the_nearest(value: float) -> None:
    near = widened(narrowed(np.array([value], np.float32), "bfloat16"), "bfloat16")
    assert near is not None
    assert abs(float(near[0]) - value) <= abs(value) * 2.0**-8 + 2.0**-133


def test_floats_come_as_copies_and_integers_not_at_all() -> None:
    array = np.ones(3, np.float32)
    wide = widened(array, "float32")
    assert wide is not None
    wide[0] = 7
    assert array[0] == 1
    half = widened(np.array([0.1], np.float16), "float16")
    assert half is not None
    assert half.dtype == np.float32
    assert narrowed(half, "float16") == np.array([0.1], np.float16)
    assert widened(np.ones(3, np.int64), "int64") is None
    assert widened(np.ones(3, bool), "bool") is None


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_shapes_are_kept(shape: tuple[int, ...]) -> None:
    wide = widened(np.zeros(shape, np.uint16), "bfloat16")
    assert isinstance(wide, np.ndarray)
    assert wide.shape == shape
    assert narrowed(wide, "bfloat16").shape == shape
