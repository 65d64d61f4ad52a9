"""Which tensors of a module take part in a round, and their way to NumPy and back. Only here is torch imported."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np

from secagg.errors import ConfigError, InputError, MissingExtraError

try:
    import torch
except ImportError:
    raise MissingExtraError("secagg_client.torch", "torch") from None

Tensor: TypeAlias = torch.Tensor
Module: TypeAlias = torch.nn.Module

INCLUDED: Final = ("floating", "trainable")
_NUMPY: Final[dict[Any, tuple[Any, np.dtype[Any]]]] = {
    torch.float64: (torch.float64, np.dtype(np.float64)),
    torch.float32: (torch.float32, np.dtype(np.float32)),
    torch.float16: (torch.float32, np.dtype(np.float32)),
    torch.bfloat16: (torch.float32, np.dtype(np.float32)),
}
"""By dtype of a tensor: the dtype that holds each of its values, as torch and as NumPy have it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tensors of a module take part.

    Attributes:
        include: "floating" or "trainable".
        only: parts of names, one of which a name must contain; empty for all names.
    """

    include: str
    only: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.include not in INCLUDED:
            raise ConfigError(f"include is one of {', '.join(INCLUDED)}, not {self.include!r}")
        for part in self.only:
            if not isinstance(part, str):
                raise ConfigError(f"only is a part of names, or several as a tuple, not {part!r}")

    def tensors(self, net: Module) -> dict[str, Tensor]:
        """The tensors themselves, by name, each once.

        Raises:
            InputError: there is none, or one cannot be averaged; names it.
        """
        if not isinstance(net, torch.nn.Module):
            raise InputError(f"pass a torch.nn.Module, not a {type(net).__name__}")
        found: dict[str, Tensor] = {}
        places = set()
        for name, tensor in self._named(net):
            if not _averaged(name, tensor):
                continue
            # Where memory is not to be seen (some accelerators, wrapped tensors), an object is its own place.
            place = (tensor.device, tensor.data_ptr() or id(tensor), tensor.shape, tensor.stride())
            if place not in places:
                places.add(place)
                found[name] = tensor
        if not found:
            raise InputError(f"no tensor of the module takes part; include={self.include!r}, only={self.only!r}")
        return found

    def _named(self, net: Module) -> Iterator[tuple[str, Tensor]]:
        """Parameters, then buffers, under each of their names."""
        trainable = self.include == "trainable"
        kept = net.state_dict(keep_vars=True)
        buffers = [] if trainable else net.named_buffers(remove_duplicate=False)
        for name, tensor in chain(net.named_parameters(remove_duplicate=False), buffers):
            lasting = name in kept or isinstance(tensor, torch.nn.Parameter)
            if lasting and (tensor.requires_grad or not trainable) and self._wanted(name):
                yield name, tensor

    def _wanted(self, name: str) -> bool:
        return not self.only or any(part in name for part in self.only)


def numpy_dtype(tensor: Tensor) -> np.dtype[Any]:
    """The dtype of the array that a tensor becomes."""
    return _NUMPY[tensor.dtype][1]


def read(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    """The values as arrays, which may share the tensors' memory.

    Raises:
        InputError: a tensor has no values that NumPy can read; names it.
    """
    return {name: _array(name, tensor) for name, tensor in tensors.items()}


def write(tensors: Mapping[str, Tensor], arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Set the tensors to the arrays' values, rounded to the nearest that their dtype has, ties to even. All are rounded
    before one is set.

    Raises:
        InputError: a value is beyond the range of its tensor; names it.
    """
    rounded = {name: _rounded(name, arrays[name], tensor.dtype) for name, tensor in tensors.items()}
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(rounded[name])


def _expanded(tensor: Tensor) -> bool:
    return any(step == 0 and side > 1 for step, side in zip(tensor.stride(), tensor.shape, strict=True))


_PROBLEMS: Final[tuple[tuple[Callable[[Tensor], bool], str], ...]] = (
    (torch.nn.parameter.is_lazy, "has no shape yet; pass one batch through the module first"),
    (lambda tensor: tensor.is_quantized, "is {0.dtype}, which cannot be averaged; convert it to floats"),
    (torch.is_complex, "is {0.dtype}, which cannot be averaged; convert it to pairs of floats"),
)
"""What no tensor may be that is chosen, in the order of looking: whether it is, and what to do."""

_PROBLEMS_OF_FLOATS: Final[tuple[tuple[Callable[[Tensor], bool], str], ...]] = (
    (lambda tensor: tensor.is_meta, "is on the device meta, where it has no values; load the weights first"),
    (lambda tensor: tensor.layout is not torch.strided, "is {0.layout}, which NumPy cannot read; make it dense"),
    (lambda tensor: tensor.dtype not in _NUMPY, "is {0.dtype}, too coarse for a mean; convert it to bfloat16"),
    (_expanded, "is expanded: values of it share one place in memory; make it contiguous"),
    (lambda tensor: tensor.is_inference(), "was made in inference mode and cannot be set; clone it outside"),
)


def _averaged(name: str, tensor: Tensor) -> bool:
    """Whether a tensor takes part: floats do, integers and booleans do not, everything else is refused."""
    floating = not torch.nn.parameter.is_lazy(tensor) and tensor.is_floating_point()
    for has_it, what in (*_PROBLEMS, *(_PROBLEMS_OF_FLOATS if floating else ())):
        if has_it(tensor):
            ways_out = "or choose others with only=… or include='trainable'"
            raise InputError(f"tensor {name!r} {what.format(tensor)}, {ways_out}", array=name)
    return floating and tensor.numel() > 0


def _array(name: str, tensor: Tensor) -> np.ndarray[Any, Any]:
    try:
        array: np.ndarray[Any, Any] = tensor.detach().to("cpu", _NUMPY[tensor.dtype][0]).numpy()
    except (RuntimeError, TypeError) as error:  # of torch, for tensors that are spread over machines and the like
        raise InputError(
            f"tensor {name!r} is a {type(tensor).__name__} that NumPy cannot read: {error}", array=name
        ) from error
    return array


def _rounded(name: str, array: np.ndarray[Any, Any], dtype: torch.dtype) -> Tensor:
    exact = torch.from_numpy(array)
    rounded = exact.to(dtype)
    if bool((rounded.isinf() & exact.isfinite()).any()):
        raise InputError(f"tensor {name!r} leaves the range of {dtype}: the mean moves a value beyond it", array=name)
    return rounded
