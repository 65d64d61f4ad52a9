"""PyTorch modules: which tensors take part, what leaves them and what comes back, value for value."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from secagg_client import Snapshot
from secagg_client.torch import apply_, delta, snapshot, suggest_clip
from torch import nn

from secagg.context import digest_model
from secagg.crypto.rng import SeededRng
from secagg.errors import ConfigError, InputError
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from tests.rounds import NOW, SEMI_HONEST

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
NUMPY = {torch.float64: "float64", torch.float32: "float32", torch.float16: "float32", torch.bfloat16: "float32"}


class Net(nn.Module):  # type: ignore[misc]
    """Convolution, BatchNorm, a frozen layer, tied weights, and a buffer of every kind."""

    mask: torch.Tensor
    cache: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.Linear(4, 4)
        self.frozen.requires_grad_(False)
        self.embedding = nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, 4)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))
        self.register_buffer("cache", torch.ones(3), persistent=False)
        self.register_buffer("nothing", torch.zeros(0))

    def forward(self, x: torch.Tensor) -> Any:
        pooled = self.norm(self.conv(x)).mean((2, 3))
        return self.head(self.frozen(self.embedding(pooled)))


def net(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(seed)
    return Net().to(dtype)


def train(model: nn.Module, steps: int = 3) -> None:
    dtype = next(model.parameters()).dtype
    torch.manual_seed(1)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(torch.randn(8, 1, 5, 5, dtype=dtype)) ** 2).mean().backward()
        optimizer.step()


def bits(model: nn.Module) -> dict[str, bytes]:
    return {
        name: t.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""
        for name, t in model.state_dict().items()
    }


def zeros(before: Snapshot) -> dict[str, Any]:
    return {name: np.zeros_like(array) for name, array in before.items()}


def holding(tensor: torch.Tensor) -> nn.Module:
    """A module with a good parameter and this buffer."""
    module = nn.Linear(2, 1)
    module.register_buffer("odd", tensor)
    return module


PARAMETERS = ["conv.weight", "conv.bias", "norm.weight", "norm.bias", "embedding.weight", "head.bias"]
FROZEN = ["frozen.weight", "frozen.bias"]
BUFFERS = ["norm.running_mean", "norm.running_var", "mask"]


def test_floating_parameters_and_buffers_take_part_each_once() -> None:
    """Tied weights under their first name; no counters, nothing empty, nothing outside the state_dict."""
    assert set(snapshot(net())) == {*PARAMETERS, *FROZEN, *BUFFERS}
    assert set(snapshot(net(), include="trainable")) == set(PARAMETERS)


@pytest.mark.parametrize("only", ["head.", ("head.",), ("head.weight", "head.bias")])
def test_only_some_names(only: Any) -> None:
    """A tied tensor is found under any of its names."""
    assert list(snapshot(net(), only=only)) == ["head.weight", "head.bias"]


def test_weights_that_share_memory_without_being_one_object_are_one() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight.data = model[0].weight.data
    assert list(snapshot(model)) == ["0.weight", "0.bias", "1.bias"]
    part = nn.Linear(2, 3)
    part.weight.data = model[0].weight.data[:, :2]  # begins at the same address, and is another tensor
    assert list(snapshot(nn.ModuleList([model[0], part]))) == ["0.weight", "0.bias", "1.weight", "1.bias"]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_dtypes_are_widened_and_come_back(dtype: torch.dtype) -> None:
    ours, other = net(dtype=dtype), net(dtype=dtype)
    before = snapshot(ours)
    assert {array.dtype.name for array in before.values()} == {NUMPY[dtype]}
    train(ours)
    update = delta(ours, before)
    assert {array.dtype.name for array in update.values()} == {NUMPY[dtype]}
    assert np.abs(update["conv.weight"]).max() > 0
    apply_(other, before, update)
    assert {p.dtype for p in other.parameters()} == {dtype}
    for (name, mine), theirs in zip(ours.state_dict().items(), other.state_dict().values(), strict=True):
        if dtype in (torch.float16, torch.bfloat16):  # float32 has room for the difference
            assert torch.equal(mine, theirs) or name == "norm.num_batches_tracked", name
        else:
            assert torch.allclose(mine.double(), theirs.double(), rtol=0, atol=1e-6) or "tracked" in name, name


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_mean_of_zero_changes_no_bit(dtype: torch.dtype) -> None:
    model = net(dtype=dtype)
    with torch.no_grad():
        model.conv.bias.copy_(torch.tensor([-0.0, 0.0, 1e-7, -1.0]))
    before, was = snapshot(model), bits(model)
    apply_(model, before, zeros(before))
    assert bits(model) == was
    train(model)
    counted = model.norm.num_batches_tracked
    assert bits(model) != was
    apply_(model, before, zeros(before))
    was["norm.num_batches_tracked"] = bits(model)["norm.num_batches_tracked"]
    assert bits(model) == was
    assert counted == 3


def test_halves_are_rounded_to_the_nearest_ties_to_even() -> None:
    for dtype, step in ((torch.bfloat16, 2.0**-7), (torch.float16, 2.0**-10)):
        model = nn.Module()
        model.w = nn.Parameter(torch.ones(4, dtype=dtype))
        before = snapshot(model)
        change = np.array([0.49, 0.5, 0.51, 1.5], np.float32) * np.float32(step)
        apply_(model, before, {"w": change})
        assert model.w.float().tolist() == [1, 1, 1 + step, 1 + 2 * step]


def test_snapshot_and_update_are_copies() -> None:
    model = net()
    before = snapshot(model)
    was = {name: array.copy() for name, array in before.items()}
    train(model)
    update = delta(model, before)
    sent = {name: array.copy() for name, array in update.items()}
    train(model)
    assert all(np.array_equal(before[name], was[name]) for name in was)
    assert all(np.array_equal(update[name], sent[name]) for name in sent)
    apply_(model, before, update)
    for name in update:
        update[name] += 1
    assert np.abs(delta(model, before)["conv.weight"] - sent["conv.weight"]).max() < 1e-6


def test_tensors_stay_the_same_objects() -> None:
    """An optimizer that holds them goes on; gradients are still wanted where they were."""
    model = net()
    before = snapshot(model)
    held = {name: (id(p), p.data_ptr(), p.requires_grad) for name, p in model.named_parameters()}
    apply_(
        model,
        before,
        {name: np.ones_like(array) for name, array in before.items() if name != "mask"}
        | {"mask": zeros(before)["mask"]},
    )
    assert {name: (id(p), p.data_ptr(), p.requires_grad) for name, p in model.named_parameters()} == held
    assert model.head.weight is model.embedding.weight
    assert np.allclose(model.head.weight.detach(), before["embedding.weight"] + 1)
    assert model.cache.tolist() == [1, 1, 1]
    train(model, steps=1)


def test_tensors_in_another_order_in_memory() -> None:
    model = nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)
    model.register_buffer("turned", torch.arange(6.0).reshape(2, 3).T)
    assert not model.weight.is_contiguous()
    before = snapshot(model)
    assert before["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert before["turned"].flags.c_contiguous
    apply_(
        model,
        before,
        {name: np.arange(array.size, dtype=np.float32).reshape(array.shape) for name, array in before.items()},
    )
    assert model.turned.tolist() == [[0, 4], [3, 7], [6, 10]]
    assert not model.weight.is_contiguous()


class Far(torch.Tensor):  # type: ignore[misc]
    """Stands for a tensor on an accelerator: its values are reached by copies alone, and its memory by nobody."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Any:
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device="cuda:0")
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].inner)
        if func is torch.ops.aten._to_copy.default:
            assert torch.device(kwargs["device"]).type == "cpu"
            return args[0].inner.to(kwargs["dtype"], copy=True)
        raise AssertionError(f"{func} on the device")

    def copy_(self, source: torch.Tensor, non_blocking: bool = False) -> "Far":  # a device that is not there cannot
        assert source.dtype == self.inner.dtype
        self.inner.copy_(source)
        return self


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_tensors_on_another_device(dtype: torch.dtype) -> None:
    model = nn.Module()
    model.register_buffer("far", Far(torch.tensor([1.0, 2.0], dtype=dtype)))
    before = snapshot(model)
    model.far.inner.add_(0.5)
    update = delta(model, before)
    assert update["far"].tolist() == [0.5, 0.5]
    apply_(model, before, {"far": update["far"] * 2})
    assert model.far.device.type == "cuda"
    assert model.far.inner.tolist() == [2, 3]


def test_tensors_whose_memory_is_not_to_be_seen_are_not_taken_for_one() -> None:
    """Their address is 0, as that of wrapped tensors and of some accelerators' is."""
    model = nn.Module()
    for name, value in (("a", 1.0), ("b", 2.0)):
        model.register_buffer(name, Far(torch.full((2,), value)))
    model.register_buffer("again", model.a)
    assert model.a.data_ptr() == model.b.data_ptr() == 0
    assert {name: array.tolist() for name, array in snapshot(model).items()} == {"a": [1, 1], "b": [2, 2]}


class Adapted(nn.Module):  # type: ignore[misc]
    """A linear layer, frozen, with a low-rank adapter beside it (Hu et al. 2021)."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.randn(rank, base.in_features) / rank)
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: torch.Tensor) -> Any:
        return self.base(x) + x @ self.lora_a.T @ self.lora_b.T


def test_adapters_alone() -> None:
    model = nn.Sequential(Adapted(nn.Linear(4, 4).bfloat16()), Adapted(nn.Linear(4, 2).bfloat16())).float()
    model[0].base.bfloat16()
    before = snapshot(model, only="lora_")
    assert set(before) == {f"{layer}.lora_{side}" for layer in (0, 1) for side in "ab"}
    assert set(snapshot(model, include="trainable")) == set(before)
    base = bits(model)["0.base.weight"]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)  # the base, too: it is none of ours
    update = delta(model, before)
    assert {float(np.unique(np.round(array, 5))[0]) for array in update.values()} == {1.0}
    apply_(model, before, {name: array / 2 for name, array in update.items()})
    assert np.allclose(model[0].lora_b.detach(), 0.5)
    assert bits(model)["0.base.weight"] != base


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (lambda: torch.zeros(2, dtype=torch.complex64), "is torch.complex64, which cannot be averaged"),
        (lambda: torch.zeros(2, device="meta"), "is on the device meta"),
        (lambda: torch.zeros(2).to_mkldnn(), "is torch._mkldnn, which NumPy cannot read; make it dense"),
        (lambda: torch.eye(2).to_sparse(), "is torch.sparse_coo, which NumPy cannot read; make it dense"),
        (lambda: torch.zeros(2).to(torch.float8_e4m3fn), "is torch.float8_e4m3fn, too coarse for a mean"),
        (lambda: torch.ones(1).expand(3), "is expanded"),
        (torch.inference_mode()(lambda: torch.ones(3)), "was made in inference mode"),
        (nn.parameter.UninitializedBuffer, "has no shape yet; pass one batch through the module first"),
    ],
)
def test_what_cannot_be_averaged_is_named(tensor: Callable[[], torch.Tensor], told: str) -> None:
    model = holding(tensor())
    with pytest.raises(InputError, match=f"tensor 'odd' {told}.*, or choose others with only=") as caught:
        snapshot(model)
    assert caught.value.array == "odd"
    assert list(snapshot(model, only="weight")) == ["weight"]
    assert list(snapshot(model, include="trainable")) == ["weight", "bias"]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_tensors_are_named() -> None:
    with pytest.raises(
        InputError, match=r"tensor 'odd' is torch.qint8, which cannot be averaged; convert it to floats"
    ):
        snapshot(holding(torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)))


def test_a_tensor_that_numpy_cannot_read_is_named() -> None:
    class Spread(Far):
        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise RuntimeError("it is elsewhere")

    with pytest.raises(InputError, match="tensor 'odd' is a Spread that NumPy cannot read: it is elsewhere"):
        snapshot(holding(Spread(torch.ones(2))))


def test_a_single_value_may_be_expanded() -> None:
    assert "odd" in snapshot(holding(torch.ones(()).expand(1)))


def test_a_buffer_is_not_trainable_though_it_has_a_gradient() -> None:
    assert "odd" not in snapshot(holding(torch.ones(2, requires_grad=True)), include="trainable")


def test_counters_and_booleans_are_left_alone() -> None:
    for odd in (torch.tensor([True, False]), torch.arange(3), torch.zeros(2, dtype=torch.uint8)):
        assert list(snapshot(holding(odd))) == ["weight", "bias"]


def test_a_value_that_is_no_number_is_named() -> None:
    model = net()
    before = snapshot(model)
    with torch.no_grad():
        model.head.bias[2] = torch.nan
    with pytest.raises(InputError, match=r"'head.bias' changed by nan at index \(2,\)"):
        delta(model, before)


def test_a_module_that_changed_between_is_named() -> None:
    model = net()
    before = snapshot(model)
    model.extra = nn.Linear(1, 1)
    for call in (delta, lambda net, before: apply_(net, before, zeros(before))):
        with pytest.raises(InputError, match=r"has also 'extra.weight', 'extra.bias'"):
            call(model, before)
    del model.extra
    model.head = nn.Linear(4, 3)
    for call in (delta, lambda net, before: apply_(net, before, zeros(before))):
        with pytest.raises(InputError, match=r"lacks 'head.bias'|has also 'head.weight'|of shape"):
            call(model, before)
    other = net().double()
    with pytest.raises(InputError, match=r"of the model is float64 .* in the snapshot it is float32"):
        apply_(other, before, zeros(before))


def test_a_parameter_that_was_frozen_meanwhile_is_named() -> None:
    model = net()
    before = snapshot(model, include="trainable")
    model.conv.requires_grad_(False)
    with pytest.raises(InputError, match=r"lacks 'conv.weight', 'conv.bias'"):
        delta(model, before)


def test_nothing_is_changed_on_an_error() -> None:
    model = net(dtype=torch.float16)
    before, was = snapshot(model), bits(model)
    mean = {name: np.ones_like(array) * (name != "mask") for name, array in before.items()}
    mean["head.bias"][1] = 1e30
    with pytest.raises(InputError, match=r"'head.bias' leaves the range of torch.float16"):
        apply_(model, before, mean)
    for wrong, told in (
        (None, "a receipt only"),
        ({}, "the mean has other arrays"),
        (mean | {"x": mean["mask"]}, "'x'"),
    ):
        with pytest.raises(InputError, match=told):
            apply_(model, before, wrong)
    assert bits(model) == was


@pytest.mark.parametrize("wrong", [None, {}, [], nn.Linear(1, 1).state_dict()])
def test_what_is_no_module_or_snapshot_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"pass a torch\.nn\.Module"):
        snapshot(wrong)
    for call in (delta, lambda net, before: apply_(net, before, {})):
        with pytest.raises(InputError, match=r"pass what snapshot\(net\) gave"):
            call(net(), wrong)


def test_nothing_chosen_is_refused() -> None:
    with pytest.raises(InputError, match="no tensor of the module takes part; include='floating', only=\\('lora_',\\)"):
        snapshot(net(), only="lora_")
    with pytest.raises(ConfigError, match="include is one of floating, trainable, not 'all'"):
        snapshot(net(), include="all")


@pytest.mark.parametrize("only", [None, 5, b"head.", (1,), ("head.", None)])
def test_what_is_no_part_of_a_name_is_refused(only: Any) -> None:
    with pytest.raises(ConfigError, match="only is a part of names, or several as a tuple, not"):
        snapshot(net(), only=only)


def test_a_parameter_that_a_module_saves_under_another_name_takes_part() -> None:
    model = nn.Linear(2, 2)
    model.register_state_dict_post_hook(lambda _, saved, prefix, __: saved.update(w=saved.pop(f"{prefix}weight")))
    assert list(snapshot(model)) == ["weight", "bias"]


def test_the_same_module_elsewhere_has_the_same_digest() -> None:
    """Whatever its dtype or place in memory, and whether it was trained and set back."""
    model = net(dtype=torch.bfloat16)
    digests = {digest_model(snapshot(each)) for each in (model, model.float(), net(dtype=torch.bfloat16))}
    before = snapshot(model)
    train(model)
    digests.add(digest_model(before))
    apply_(model, before, zeros(before))
    digests.add(digest_model(snapshot(model)))
    assert len(digests) == 1
    assert digest_model(snapshot(net(seed=9))) not in digests


def test_a_whole_round() -> None:
    """Three participants train; theirs and the FL server's module become the same one, by the weighted mean."""
    server = net()
    before = snapshot(server)
    nets, names = [net() for _ in range(3)], participant_names(3)
    for steps, model in enumerate(nets, 1):
        train(model, steps)
    updates = [delta(model, before) for model in nets]
    config = before.config(
        task="t",
        clip=suggest_clip(updates),
        max_participants=3,
        max_weight=4,
        max_colluding=0,
        threat_model=SEMI_HONEST,
    )
    brought = {name: Contribution(update, 1 + at) for at, (name, update) in enumerate(zip(names, updates, strict=True))}
    aggregate = set_up(config, brought, rng=SeededRng(bytes(32)), now=NOW, deployment=None).play().aggregate
    assert aggregate is not None
    mean = aggregate.mean(config)
    for model in (server, *nets):
        apply_(model, before, mean)
    for name in before:
        expected = sum((1 + at) / 6 * update[name] for at, update in enumerate(updates))
        assert np.abs(delta(server, before)[name] - expected).max() <= mean.error_bound + 1e-6
    assert len({digest_model(snapshot(model)) for model in (server, *nets)}) == 1


def test_without_torch_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["torch"] = None
from secagg import MissingExtraError
try:
    import secagg_client.torch
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("pip install '.[torch]'")
