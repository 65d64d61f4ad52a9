"""What training changed: after − before, but for what did not move."""

import numpy as np
from secagg_client.learning.changes import change


def test_infinite_values_that_stay_have_not_changed() -> None:
    before = np.array([-np.inf, np.inf, 1, np.inf, 3e38], np.float32)
    after = np.array([-np.inf, np.inf, 3, 0, -3e38], np.float32)
    assert change(before, after).tolist() == [0, 0, 2, -np.inf, -np.inf]


def test_the_change_is_an_array_of_the_dtype_before() -> None:
    for shape in ((), (2,)):
        for dtype in (np.float32, np.float64):
            found = change(np.ones(shape, dtype), np.full(shape, 1.5))
            assert type(found) is np.ndarray
            assert found.dtype == dtype
            assert (found == 0.5).all()


def test_a_change_shares_no_memory() -> None:
    before, after = np.zeros(3), np.ones(3)
    found = change(before, after)
    assert not np.shares_memory(found, before)
    assert not np.shares_memory(found, after)
