"""A model's parameters in FLARE's containers, as arrays of floats and back.

FLARE carries parameters by name: NumPy arrays, or PyTorch tensors where the exchange format is PyTorch. Floats of 32
and 64 bits are averaged as they are, half precision (float16, bfloat16) as float32. Everything else, such as an integer
buffer that counts batches, keeps the value that the server has.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.shareable import Shareable

from secagg.encoding.arrays import FLOATS, FloatArray
from secagg.errors import InputError
from secagg_client.learning.changes import change

Arrays = dict[str, FloatArray]
"""Arrays of floats by name, in the order of the model."""

_HALF: Final = ("float16", "bfloat16")


def content(message: Shareable) -> DXO:
    """The data exchange object in a task or in a result.

    Raises:
        InputError: there is none, or it holds no parameters.
    """
    try:
        dxo = from_shareable(message)
    except ValueError as error:
        raise InputError(f"there are no parameters in it: {error}") from None
    if dxo.data_kind not in {DataKind.WEIGHTS, DataKind.WEIGHT_DIFF} or not isinstance(dxo.data, dict):
        raise InputError(f"it holds {dxo.data_kind} instead of weights or differences of weights")
    return dxo


def averaged(parameters: Mapping[str, Any]) -> Arrays:
    """Copies of the parameters that are averaged."""
    arrays = {str(name): _array(value) for name, value in parameters.items()}
    return {name: array for name, array in arrays.items() if array is not None}


def difference(dxo: DXO, before: Arrays) -> Arrays:
    """What training changed: the result's own differences, or its parameters less `before`.

    Raises:
        InputError: a parameter is missing or has another shape.
    """
    found = averaged(dxo.data)
    changed: Arrays = {}
    for name, array in before.items():
        if name not in found:
            raise InputError(f"parameter {name!r} is missing in the result", array=name)
        after = found[name].astype(array.dtype, copy=False)
        if after.shape != array.shape:
            raise InputError(f"parameter {name!r} has shape {after.shape}, the model has {array.shape}", array=name)
        changed[name] = after if dxo.data_kind == DataKind.WEIGHT_DIFF else change(array, after)
    return changed


def weight(dxo: DXO) -> int:
    """How much the result counts: what FLARE calls the number of steps; 1 where the result does not say.

    Raises:
        InputError: not a whole number above 0, as of an empty data set.
    """
    steps = dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 1)
    if isinstance(steps, bool) or not isinstance(steps, int | float | np.integer | np.floating) or steps != steps // 1:
        raise InputError(f"{MetaKey.NUM_STEPS_CURRENT_ROUND} must be a whole number, not {steps!r:.40}")
    if steps < 1:  # check: empty-data-set
        raise InputError(f"{MetaKey.NUM_STEPS_CURRENT_ROUND} is {steps}: there is nothing to train on")
    return int(steps)


def metrics(dxo: DXO) -> Mapping[str, Any]:
    """The metrics that came with a result, by name."""
    found = dxo.get_meta_prop(MetaKey.INITIAL_METRICS)
    return found if isinstance(found, dict) else {}


def restore(parameters: dict[str, Any], first: Mapping[str, Any]) -> None:
    """Give parameters the dtypes that they had at first. FLARE's aggregators make float64 of integers, for one."""
    for name, value in parameters.items():
        dtype = first.get(name)
        if dtype is not None and getattr(value, "dtype", dtype) != dtype:
            parameters[name] = value.to(dtype) if callable(getattr(value, "to", None)) else value.astype(dtype)


def dtypes(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The dtype of each parameter that has one."""
    return {name: value.dtype for name, value in parameters.items() if hasattr(value, "dtype")}


def moved(parameters: Mapping[str, Any], mean: Arrays) -> dict[str, Any]:
    """The parameters, with the mean difference added to those that have one; of the same kinds and dtypes."""
    return {
        name: _alike(value, _known(value) + mean[name]) if name in mean else value for name, value in parameters.items()
    }


def differences(parameters: Mapping[str, Any], mean: Arrays) -> dict[str, Any]:
    """The mean differences, of the same kinds and dtypes as the parameters."""
    return {name: _alike(value, mean[name]) for name, value in parameters.items() if name in mean}


def result(kind: Any, parameters: dict[str, Any], total_weight: int, found: Mapping[str, float]) -> Shareable:
    """A result as one site would send it: parameters or differences, their weight, and metrics if there are any."""
    meta: dict[str, Any] = {MetaKey.NUM_STEPS_CURRENT_ROUND: total_weight}
    if found:
        meta[MetaKey.INITIAL_METRICS] = dict(found)
    return DXO(kind, data=parameters, meta=meta).to_shareable()


def _array(value: Any) -> FloatArray | None:
    """A copy as float32 or float64; None for what is not averaged. A tensor is known by its methods, not by PyTorch."""
    if callable(getattr(value, "detach", None)):
        value = value.detach().cpu()
        value = value.float().numpy() if str(value.dtype).removeprefix("torch.") in _HALF else value.numpy()
    if not isinstance(value, np.ndarray | np.floating):
        return None
    array = np.array(value, order="C")
    if array.dtype.name in _HALF:
        return array.astype(np.float32)
    return array if array.dtype.name in FLOATS and array.size else None


def _known(value: Any) -> FloatArray:
    array = _array(value)
    if array is None:
        raise InputError(f"a parameter of type {type(value).__name__} is not averaged")
    return array


def _alike(value: Any, array: FloatArray) -> Any:
    """`array` as what `value` is: a tensor of its dtype and device, or an array of its dtype."""
    if callable(getattr(value, "new_tensor", None)):
        return value.new_tensor(array.tolist() if array.ndim == 0 else array)
    return np.asarray(array).astype(value.dtype, copy=False)
