"""`snapshot`, `delta` and `apply_`: what is copied of a module, how it changed, and how a mean gets into it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import WeightedMean
from secagg.errors import InputError
from secagg_client.snapshots import Snapshot
from secagg_client.torch.tensors import Module, Selection, numpy_dtype, read, write


class ModuleSnapshot(Snapshot):
    """Copies of a module's floating tensors as float32 or float64 arrays, and which tensors these are."""

    __slots__ = ("selection",)

    def __init__(self, net: Module, selection: Selection) -> None:
        super().__init__(read(selection.tensors(net)))
        self.selection = selection


def snapshot(net: Module, *, include: str = "floating", only: str | tuple[str, ...] = ()) -> ModuleSnapshot:
    """Copy the tensors of a module that take part in a round, before it is trained.

    A tensor with several names (tied weights) is copied once, under the first of them. Integer and boolean tensors,
    such as BatchNorm's `num_batches_tracked`, and buffers that are not in the module's `state_dict` take no part: each
    participant keeps its own.

    Args:
        net: a `torch.nn.Module` on any device.
        include: "floating" for all floating parameters and buffers, BatchNorm's running statistics too; "trainable" for
            parameters that require a gradient. Frozen layers cost bytes and get the rounding errors of a round, so
            choose "trainable" where most of a module is frozen.
        only: leave out every tensor whose name does not contain this text, or one of these: "lora_" for adapters.

    Returns:
        Arrays by the names of parameters and buffers; float32 for tensors of float16, bfloat16 and float32, float64 for
        float64. They share no memory with the module.

    Raises:
        ConfigError: `include` or `only` is something else.
        InputError: no tensor is left; or one cannot be averaged, because it is complex, quantised, sparse, 8 bits wide,
            without values (on the device meta, or of a lazy module) or not readable by NumPy. The error names it.
    """
    return ModuleSnapshot(net, Selection(include, tuple(only) if isinstance(only, tuple | list) else (only,)))


def delta(net: Module, before: ModuleSnapshot) -> dict[str, FloatArray]:
    """How the module changed since the snapshot, for `Client.participate`.

    Args:
        net: the module after training.
        before: from `snapshot` of this module, or of one with the same tensors.

    Returns:
        New arrays, rounded as `Snapshot.delta` says. They share no memory with the module: training that goes on
        changes nothing in them.

    Raises:
        InputError: tensors came, went, or have another shape or dtype than in the snapshot; or a value changed to or
            from NaN or infinity. The error names the tensor.
    """
    return _checked(before).delta(read(before.selection.tensors(net)))


def apply_(net: Module, before: ModuleSnapshot, mean: WeightedMean | Mapping[str, np.ndarray[Any, Any]] | None) -> None:
    """Set the module to the snapshot moved by the mean, in place. What was trained since the snapshot is gone from it.

    Tensors keep their dtype, device and memory, so an optimizer goes on with them. Values are rounded as
    `Snapshot.plus` says; where the mean is 0, they are those of the snapshot to the bit. All other tensors stay as they
    are. On an error nothing was changed.

    Args:
        net: the module that the snapshot was taken of, or one with the same tensors.
        before: from `snapshot`.
        mean: `RoundResult.mean` at a participant, `Aggregate.mean(config)` at the FL server, or arrays by name.

    Raises:
        InputError: there is no mean, because the round gave participants a receipt only; tensors and mean do not fit
            the snapshot; or a value would leave the range of its dtype. The error names the tensor.
    """
    tensors = _checked(before).selection.tensors(net)
    before.check_same({name: (tuple(tensor.shape), numpy_dtype(tensor)) for name, tensor in tensors.items()})
    write(tensors, before.plus(mean))


def _checked(before: object) -> ModuleSnapshot:
    if not isinstance(before, ModuleSnapshot):
        raise InputError(f"pass what snapshot(net) gave before the training, not a {type(before).__name__}")
    return before
