"""Data sets, targets and the contract of a user's own model."""

import gzip
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from secagg.errors import LocalError
from secagg.tools.redteam import larger
from secagg.tools.redteam.attacks.inversion import ATTACKS
from secagg.tools.redteam.records import BUNDLED, Records
from secagg.tools.redteam.target import Target, load_target
from secagg.tools.redteam.targets import TARGETS, target_named
from secagg.tools.redteam.trials import Case

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_records(name: str) -> None:
    records = BUNDLED[name]()
    assert records.features.dtype == np.float32
    assert len(records) >= 100
    assert set(np.unique(records.labels)) == set(range(records.classes))
    if not records.vocabulary:
        low, high = records.bounds
        assert low <= records.features.min() < records.features.max() <= high
    assert np.array_equal(records.vectors(), records.vectors(np.arange(len(records))))
    picture = records.as_picture(records.vectors()[0])
    assert (picture is None) == (records.picture is None)
    if picture is not None:
        assert picture.shape == records.picture


def test_colours_stay_together() -> None:
    crops = BUNDLED["crops"]()
    picture = crops.as_picture(crops.vectors()[5])
    assert picture is not None
    assert np.array_equal(picture[3, 4], crops.features[5][:, 3, 4])


def test_sentences_are_compared_by_their_tokens() -> None:
    records = BUNDLED["sentences"]()
    assert (records.vectors().sum(axis=1) == records.size).all()
    first = records.features[0].astype(int)
    assert records.vectors()[0][first[0]] == np.sum(first == first[0])


@pytest.mark.parametrize("name", TARGETS)
def test_targets_are_the_same_for_the_same_seed(name: str) -> None:
    one, same, other = target_named(name, 1), target_named(name, 1), target_named(name, 2)
    update = one.update(one.parameters, np.array([4]))
    again = same.update(same.parameters, np.array([4]))
    assert all(np.array_equal(update[k], again[k]) for k in update)
    assert any(not np.array_equal(one.parameters[k], other.parameters[k]) for k in update)
    one.schema.check(update)


def test_federated_averaging_is_descent() -> None:
    target = target_named("mlp-digits")
    which = np.array([1, 2, 3])
    one = Target("one", target.records, target.build, local_steps=1, learning_rate=0.5)
    gradient, update = target.update(target.parameters, which), one.update(one.parameters, which)
    for name, array in one.as_gradient(update).items():
        assert np.allclose(array, gradient[name], atol=1e-6)
    many = Target("many", target.records, target.build, local_steps=50, learning_rate=0.5)
    trained = many.update(many.parameters, which)
    after = {name: many.parameters[name] + trained[name] for name in trained}
    assert sum(np.abs(a).sum() for a in many.update(after, which).values()) > 0
    slope = sum(float(np.square(a).sum()) for a in target.update(after, which).values())
    assert slope < 0.01 * sum(float(np.square(a).sum()) for a in gradient.values())


def cifar_file(path: Path, labels: int) -> None:
    rows = RNG.integers(0, 256, (6, labels + 3072), dtype=np.uint8)
    rows[:, labels - 1] = [0, 1, 2, 0, 1, 2]
    rows[0, labels] = 255
    path.write_bytes(rows.tobytes())


@pytest.mark.parametrize(("loader", "labels"), [(larger.cifar10, 1), (larger.cifar100, 2)])
def test_cifar(tmp_path: Path, loader: object, labels: int) -> None:
    cifar_file(tmp_path / "a.bin", labels)
    cifar_file(tmp_path / "b.bin", labels)
    records = loader(tmp_path)  # type: ignore[operator]
    assert records.features.shape == (12, 3, 32, 32)
    assert records.features[0, 0, 0, 0] == 1
    assert records.labels.tolist() == [0, 1, 2, 0, 1, 2] * 2
    (tmp_path / "b.bin").write_bytes(b"torn")
    with pytest.raises(LocalError, match="binary version"):
        loader(tmp_path)  # type: ignore[operator]


def idx(array: np.ndarray[Any, np.dtype[np.int64]]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype("u1").tobytes()


def test_mnist_plain_and_gzipped(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (5, 28, 28))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([3, 1, 2, 0, 3])))
    records = larger.mnist(tmp_path)
    assert np.allclose(records.features[:, 0] * 255, images)
    assert records.labels.tolist() == [3, 1, 2, 0, 3]
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([3, 1])))
    with pytest.raises(LocalError, match="do not fit"):
        larger.mnist(tmp_path)
    for torn in (b"", b"\0\0\x08", idx(images)[:-1], b"\0\0\x0d\x01" + bytes(8)):
        (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(torn)
        with pytest.raises(LocalError):
            larger.mnist(tmp_path)


def test_folders_of_pictures(tmp_path: Path) -> None:
    from skimage.io import imsave

    for label, name in enumerate(("cats", "dogs")):
        (tmp_path / name).mkdir()
        for i in range(2):
            shape = (40, 60, 3) if i else (50, 50)
            imsave(tmp_path / name / f"{i}.png", np.full(shape, 100 * label + 50, np.uint8), check_contrast=False)
    records = larger.pictures(tmp_path, side=16)
    assert records.features.shape == (4, 3, 16, 16)
    assert records.labels.tolist() == [0, 0, 1, 1]
    assert records.features[2].mean() == pytest.approx(150 / 255, abs=0.01)
    with pytest.raises(LocalError, match="no class folders"):
        larger.pictures(tmp_path / "cats")


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("age,dose,outcome\n1,5,ill\n2,5,well\n3,5,ill\n")
    records = larger.table(path)
    assert np.allclose(records.features.ravel(), [-1.2247449, 0, 0, 0, 1.2247449, 0])
    assert records.labels.tolist() == [0, 1, 0]
    for text in ("a,b\n1,x\ny,z\nq,r\n", "a,b\n", "a,b\n1,x\n2,3,y\n4,z\n", "a,b\nnan,x\n1,y\n2,z\n"):
        path.write_text(text)
        with pytest.raises(LocalError):
            larger.table(path)


def own_target() -> Target:
    features = RNG.normal(0, 1, (40, 12)).astype("f4")
    records = Records("own", features, np.arange(40) % 3, bounds=(-6.0, 6.0))

    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3))

    return Target("own", records, build, batch=2)


def test_a_users_own_model(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("their_model")
    module.clinic = own_target  # type: ignore[attr-defined]
    module.other = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "their_model", module)
    target = load_target("their_model:clinic")
    case = Case.draw(target, ATTACKS["first-layer"], 3, 0)
    assert [len(which) for which in case.members] == [2, 2, 2]
    assert not np.isin(case.others, np.concatenate(case.members)).any()
    assert case.play(case.updates()[0]).gain_db > 3
    for wrong in ("their_model", "their_model:", "their_model:missing", "no_such_module_:f", "their_model:other"):
        with pytest.raises(LocalError):
            load_target(wrong)


def test_targets_refuse_what_they_cannot_attack() -> None:
    records = own_target().records
    with pytest.raises(LocalError, match="float32"):
        Target("double", records, lambda: torch.nn.Linear(12, 3).double())
    with pytest.raises(LocalError, match="batch"):
        Target("none", records, lambda: torch.nn.Linear(12, 3), batch=0)
    with pytest.raises(LocalError, match="too few"):
        Case.draw(own_target(), ATTACKS["first-layer"], 20, 0)
    with pytest.raises(LocalError, match="no target"):
        target_named("wishful-thinking")
