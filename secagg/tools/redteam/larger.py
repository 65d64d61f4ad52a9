"""The field's larger data sets, read from files that the user has: CIFAR-10/100, the MNIST family, pictures, tables.

Nothing is downloaded and nothing is unpickled: CIFAR is read in its binary version.
"""

import csv
import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from secagg.errors import LocalError, MissingExtraError
from secagg.tools.redteam.records import Features, Indices, Labels, Records

_CIFAR_PIXELS: Final = 3 * 32 * 32
_IDX_UINT8: Final = 0x08
_PICTURES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")
_LARGEST_Z: Final = 12.0
_MOST: Final = 4000
"""Records that are kept of a larger set, drawn with a fixed seed: more of them cost memory and show no more."""


def cifar10(path: Path) -> Records:
    """CIFAR-10, binary version: a folder of `data_batch_*.bin` and `test_batch.bin` (Krizhevsky 2009)."""
    return _cifar("cifar10", path, label_bytes=1)


def cifar100(path: Path) -> Records:
    """CIFAR-100, binary version: a folder of `train.bin` and `test.bin`; the fine label counts."""
    return _cifar("cifar100", path, label_bytes=2)


def _cifar(name: str, path: Path, label_bytes: int) -> Records:
    files = sorted(path.glob("*.bin")) if path.is_dir() else [path]
    data = np.concatenate([np.fromfile(file, np.uint8) for file in files]) if files else np.empty(0, np.uint8)
    width = label_bytes + _CIFAR_PIXELS
    if not len(data) or len(data) % width:
        raise LocalError(f"{path} holds no {name} in its binary version: whole records of {width} bytes in *.bin")
    rows = data.reshape(-1, width)
    rows = rows[_kept(len(rows))]
    pictures = (rows[:, label_bytes:].reshape(-1, 3, 32, 32) / 255).astype(np.float32)
    return Records(name, pictures, rows[:, label_bytes - 1].astype(np.int64), picture=(32, 32, 3))


def mnist(path: Path) -> Records:
    """MNIST, Fashion-MNIST, EMNIST, KMNIST: a folder with one `*images*idx3*` and one `*labels*idx1*` file of a split.

    Plain or gzipped; of several splits, the alphabetically first counts (`t10k` before `train`).
    """
    images, labels = (_idx(_first(path, pattern)) for pattern in ("*images*idx3*", "*labels*idx1*"))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise LocalError(f"{path}: images of shape {images.shape} and labels of shape {labels.shape} do not fit")
    kept = _kept(len(images))
    features = (images[kept, None] / 255).astype(np.float32)
    return Records("mnist", features, labels[kept].astype(np.int64), picture=images.shape[1:])


def _kept(count: int) -> Indices:
    """Numbers of the records that are kept, in order."""
    return np.sort(np.random.default_rng(0).permutation(count)[:_MOST])


def _first(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise LocalError(f"{folder} has no file {pattern}")
    return found[0]


def _idx(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An array of bytes in the IDX format: two zeros, type, number of sides, sides (u32 big endian), values."""
    raw = path.read_bytes()
    content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    if len(content) < 4 or content[:3] != bytes([0, 0, _IDX_UINT8]) or len(content) < 4 + 4 * content[3]:
        raise LocalError(f"{path} is no IDX file of bytes")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    if len(values) != int(np.prod(shape, dtype=np.int64)):
        raise LocalError(f"{path} has {len(values)} values, its header says {shape}")
    return values.reshape(shape)


def pictures(path: Path, side: int = 32) -> Records:
    """A folder with one folder of pictures for each class (ImageNet, CelebA, LFW): cut to squares of `side` pixels."""
    try:
        from skimage import io, transform  # noqa: PLC0415, an extra
    except ImportError:
        raise MissingExtraError("reading pictures", "redteam") from None
    found, labels = [], []
    for label, folder in enumerate(sorted(entry for entry in path.iterdir() if entry.is_dir())):
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in _PICTURES:
                found.append(transform.resize(_square(io.imread(file)), (side, side), anti_aliasing=True))
                labels.append(label)
    if not found:
        raise LocalError(f"{path} has no class folders with pictures ({', '.join(_PICTURES)})")
    features = np.stack(found).transpose(0, 3, 1, 2).astype(np.float32)
    return Records("pictures", features, np.array(labels, np.int64), picture=(side, side, 3))


def _square(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The middle square in three colours."""
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side, :3]


def table(path: Path) -> Records:
    """A CSV file with a head line, numbers, and the class in its last column: standardised column by column."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    try:
        values = np.array([[float(cell) for cell in row[:-1]] for row in rows], np.float64)
    except ValueError as error:
        raise LocalError(
            f"{path}: every column but the last must be numbers, in rows of one length ({error})"
        ) from None
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise LocalError(f"{path} needs rows of finite numbers and a class")
    names = sorted({row[-1] for row in rows})
    labels: Labels = np.array([names.index(row[-1]) for row in rows], np.int64)
    spread = values.std(axis=0)
    features: Features = ((values - values.mean(axis=0)) / np.where(spread == 0, 1, spread)).astype(np.float32)
    return Records("table", np.clip(features, -_LARGEST_Z, _LARGEST_Z), labels, bounds=(-_LARGEST_Z, _LARGEST_Z))


LARGER: Final[dict[str, Callable[[Path], Records]]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "mnist": mnist,
    "pictures": pictures,
    "table": table,
}
