"""Parameters in FLARE's containers as arrays of floats, and back: kinds, dtypes, weights."""

from typing import Any

import numpy as np
import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.shareable import Shareable
from secagg_client.carried.steps import Step
from secagg_client.nvflare import channel, models

from secagg import InputError
from secagg.context import RoundId
from secagg.errors import DecodeError
from secagg.tools.redteam.self_test.patches import without_check

MIXED: dict[str, Any] = {
    "f32": np.ones((2, 3), np.float32),
    "f64": np.ones(2),
    "f16": np.ones(2, np.float16),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "grad": torch.ones(2, requires_grad=True),
    "scalar": torch.tensor(1.0),
    "count": torch.tensor(3),
    "steps": np.array(3),
    "empty": np.zeros(0, np.float32),
    "name": "relu",
}


def test_floats_are_averaged_and_the_rest_stays() -> None:
    found = models.averaged(MIXED)
    assert {name: array.dtype.name for name, array in found.items()} == {
        "f32": "float32", "f64": "float64", "f16": "float32", "half": "float32", "grad": "float32", "scalar": "float32",
    }  # fmt: skip
    found["f32"][:] = 7
    found["grad"][:] = 7
    assert MIXED["f32"].max() == MIXED["grad"].max() == 1  # copies


def test_parameters_move_and_stay_what_they_are() -> None:
    mean: Any = {name: np.full_like(array, 0.5) for name, array in models.averaged(MIXED).items()}
    moved = models.moved(MIXED, mean)
    assert list(moved) == list(MIXED)
    for name, value in MIXED.items():
        assert type(moved[name]) is type(value)
        if name in mean:
            assert moved[name].dtype == value.dtype
            assert moved[name].shape == value.shape
            assert float(moved[name].reshape(-1)[0]) == 1.5
        else:
            assert moved[name] is value
    assert set(models.differences(MIXED, mean)) == set(mean)
    assert models.differences(MIXED, mean)["half"].dtype == torch.bfloat16


@pytest.mark.parametrize(("steps", "weight"), [(5, 5), (5.0, 5), (np.int64(5), 5), (None, 1)])
def test_a_weight_is_a_whole_number(steps: Any, weight: int) -> None:
    meta = {} if steps is None else {"NUM_STEPS_CURRENT_ROUND": steps}
    assert models.weight(DXO(DataKind.WEIGHTS, data={"w": np.ones(1)}, meta=meta)) == weight


@pytest.mark.parametrize("steps", [0, -1, 1.5, float("nan"), float("inf"), "5", True])
def test_what_is_no_weight_is_refused(steps: Any) -> None:
    with pytest.raises(InputError, match="NUM_STEPS_CURRENT_ROUND"):
        models.weight(DXO(DataKind.WEIGHTS, data={"w": np.ones(1)}, meta={"NUM_STEPS_CURRENT_ROUND": steps}))


def test_twin_without_the_check_an_empty_data_set_has_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, models, "weight", "empty-data-set")
    assert models.weight(DXO(DataKind.WEIGHTS, data={"w": np.ones(1)}, meta={"NUM_STEPS_CURRENT_ROUND": 0})) == 0


@pytest.mark.parametrize(
    "message",
    [
        Shareable(),
        DXO(DataKind.METRICS, data={"loss": 1.0}).to_shareable(),
        DXO(DataKind.COLLECTION, data={"a": DXO(DataKind.WEIGHTS, data={})}).to_shareable(),
    ],
)
def test_what_holds_no_parameters_is_refused(message: Shareable) -> None:
    with pytest.raises(InputError):
        models.content(message)


STEP = Step(RoundId(bytes(16)), "open", (b"one", b"two"))


def test_steps_pass_through_a_message() -> None:
    message = channel.packed([STEP], wait=True)
    assert channel.unpacked(message) == [STEP]
    assert channel.told(message, "wait") is True
    assert channel.told(message, "rounds") is None


def broken(**changes: Any) -> Shareable:
    message = channel.packed([STEP])
    message["secagg"]["steps"][0] |= changes
    return message


@pytest.mark.parametrize(
    "message",
    [
        Shareable(),
        {"secagg": {}},
        broken(round=b"short"),
        broken(round="text"),
        broken(kind=7),
        broken(kind="k" * 65),
        broken(parts=b"bytes"),
        broken(parts=["text"]),
        channel.packed([STEP] * 65),
    ],
)
def test_what_is_no_message_of_ours_is_refused(message: Any) -> None:
    with pytest.raises(DecodeError):
        channel.unpacked(message)


@pytest.mark.parametrize("steps", [None, 7, {}, "steps", [None], [7]])
def test_what_is_no_list_of_steps_is_refused(steps: Any) -> None:
    message = channel.packed()
    message["secagg"]["steps"] = steps
    with pytest.raises(DecodeError):
        channel.unpacked(message)


def test_twin_without_the_check_any_number_of_steps_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, channel, "unpacked", "flare-steps")
    assert len(channel.unpacked(channel.packed([STEP] * 65))) == 65
