"""Flower's arrays: what of a model is averaged, and how the mean becomes a model of the same dtypes again.

Floating arrays are averaged. Integer ones, such as the counters of batch normalisation, stay as the server has them.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord

from secagg.context import digest_model
from secagg.errors import InputError
from secagg_client.learning.halves import BFLOAT16, narrowed, widened

Numbers = np.ndarray[Any, np.dtype[Any]]


def numbers(record: ArrayRecord) -> dict[str, Numbers]:
    """The arrays of a record as numpy arrays.

    Raises:
        InputError: one cannot be read; names it.
    """
    return {name: _read(name, array) for name, array in record.items()}


def floats(record: ArrayRecord) -> dict[str, Numbers]:
    """What is averaged: fresh arrays of float32 or float64, in the record's order. Half precision is widened.

    Raises:
        InputError: an array cannot be read; names it.
    """
    made = {name: widened(_read(name, array), str(array.dtype)) for name, array in record.items()}
    return {name: array for name, array in made.items() if array is not None and array.size}


def digest(record: ArrayRecord) -> bytes:
    """The digest of the whole model, 32 bytes."""
    return digest_model(numbers(record))


def dtypes(record: ArrayRecord) -> dict[str, str]:
    """The dtype of each array by its name."""
    return {name: str(array.dtype) for name, array in record.items()}


def restored(record: ArrayRecord, wanted: Mapping[str, str]) -> ArrayRecord:
    """The same model in the dtypes that it began with. Strategies widen them: int64 becomes float64 under FedAvg, and
    float32 becomes float64 under FedAdam.
    """
    return ArrayRecord({name: _cast(name, array, wanted.get(name, str(array.dtype))) for name, array in record.items()})


def averaged(sent: ArrayRecord, mean: Mapping[str, Numbers]) -> ArrayRecord:
    """The model that the round gives: what was sent plus the mean of the updates, in the order and the dtypes of what
    was sent, because FedAvgM and FedOpt pair arrays by position. bfloat16 comes as float32: numpy cannot calculate with
    it, and so no strategy can.
    """
    made = {}
    for name, array in sent.items():
        before = widened(_read(name, array), str(array.dtype)) if name in mean else None
        if before is None:
            made[name] = array
            continue
        new = np.asarray(before + mean[name], before.dtype)
        dtype = str(array.dtype)
        made[name] = Array(new if dtype == BFLOAT16 else narrowed(new, dtype))
    return ArrayRecord(made)


def _read(name: str, array: Array) -> Numbers:
    try:
        return np.asarray(array.numpy())
    except (TypeError, ValueError) as error:
        raise InputError(f"array {name!r} cannot be read as a numpy array: {error}", array=name) from None


def _cast(name: str, array: Array, dtype: str) -> Array:
    if str(array.dtype) == dtype:
        return array
    values = _read(name, array)
    if dtype == BFLOAT16:
        bits = narrowed(values, dtype).view(np.dtype("V2"))
        buffer = BytesIO()
        np.save(buffer, bits, allow_pickle=False)
        return Array(BFLOAT16, tuple(bits.shape), str(array.stype), buffer.getvalue())
    if np.issubdtype(np.dtype(dtype), np.integer):
        values = np.rint(values)
    return Array(np.asarray(values.astype(dtype)))
