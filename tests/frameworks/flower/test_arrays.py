"""Flower's arrays between a strategy and a round: what is averaged, and the dtypes that come back."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from secagg_client.flower import arrays as models

from secagg.errors import InputError


def record(**values: np.ndarray) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in values.items()})


def test_integers_that_a_strategy_made_floats_are_rounded_back() -> None:
    widened = record(counter=np.array(2.9999999), flags=np.array([0.0, 1.0]))
    back = models.restored(widened, {"counter": "int64", "flags": "bool"})
    assert back["counter"].numpy() == 3
    assert models.dtypes(back) == {"counter": "int64", "flags": "bool"}


def test_what_has_its_dtype_already_is_not_touched() -> None:
    given = record(bias=np.ones(3, np.float32))
    assert models.restored(given, {"bias": "float32"})["bias"].data is given["bias"].data


def test_bfloat16_goes_there_and_back() -> None:
    """numpy has no bfloat16: such an array is two bytes a value, and its dtype stands beside it."""
    values = np.array([[1.0, -2.5], [0.15625, 3.0]], np.float32)  # each has 8 significant bits at most
    sent = models.restored(record(weights=values), {"weights": "bfloat16"})
    assert sent["weights"].dtype == "bfloat16"
    assert sent["weights"].shape == (2, 2)
    assert models.floats(sent)["weights"].tolist() == values.tolist()
    assert models.digest(sent) == models.digest(models.restored(record(weights=values), {"weights": "bfloat16"}))
    new = models.averaged(sent, {"weights": np.full((2, 2), 0.5, np.float32)})
    assert new["weights"].dtype == "float32"  # with which a strategy can calculate
    assert new["weights"].numpy().tolist() == (values + 0.5).tolist()


def test_an_array_that_cannot_be_read_is_named() -> None:
    odd = ArrayRecord({"weights": Array("float32", (2,), "another.format", b"12345678")})
    with pytest.raises(InputError, match="array 'weights' cannot be read"):
        models.floats(odd)
