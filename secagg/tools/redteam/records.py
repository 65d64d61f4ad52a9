"""Public data sets that lie in wheels: what participants train on, and what victims are told apart from."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

import numpy as np

from secagg.errors import LocalError, MissingExtraError

Features = np.ndarray[Any, np.dtype[np.float32]]
Labels = np.ndarray[Any, np.dtype[np.int64]]
Indices = np.ndarray[Any, np.dtype[np.int64]]

_CROP: Final = 16
_CROPS: Final = 600
_WORDS: Final = 12
_VOCABULARY: Final = 800
_GENOTYPES: Final = (600, 200)  # people, sites
_BLOCK: Final = 10  # neighbouring sites are inherited together


@dataclass(frozen=True, slots=True)
class Records:
    """One data set.

    Attributes:
        name: of the set.
        features: float32[n, …], what the model takes; pictures with their channels first. Token ids are whole numbers.
        labels: int64[n], 0 to classes − 1.
        picture: (height, width) or (height, width, channels) where the first values of a record are one, in [0, 1];
            None elsewhere.
        vocabulary: number of token ids where features are tokens, else 0.
        bounds: smallest and largest value that a feature can have; reconstructions are clipped to them.
        victims: int64[k], records that may be a victim's; empty stands for all.
    """

    name: str
    features: Features
    labels: Labels
    picture: tuple[int, ...] | None = None
    vocabulary: int = 0
    bounds: tuple[float, float] = (0.0, 1.0)
    victims: Indices = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.features) != len(self.labels) or len(self.labels) < 3:
            raise LocalError(f"records {self.name!r} need three or more features with a label each")
        if self.features.dtype != np.float32 or self.labels.dtype != np.int64 or self.labels.min() < 0:
            raise LocalError(f"records {self.name!r} need features of float32, and labels of int64 from 0 on")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """How many labels there are: they are 0 to one less."""
        return int(self.labels.max()) + 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the features of one record."""
        return tuple(int(side) for side in self.features.shape[1:])

    @property
    def size(self) -> int:
        """How many numbers the features of one record are."""
        return int(np.prod(self.shape))

    def as_picture(self, vector: Features) -> Features | None:
        """The picture in float32[d], its channels last; None where a record has none."""
        if self.picture is None:
            return None
        height, width, *channels = self.picture
        pixels = vector[: int(np.prod(self.picture))]
        return (
            pixels.reshape(*channels, height, width).transpose(1, 2, 0) if channels else pixels.reshape(height, width)
        )

    def vectors(self, which: Indices | None = None) -> Features:
        """float32[k, d], what records are compared by: their values, or how often each token occurs."""
        chosen = self.features if which is None else self.features[which]
        if not self.vocabulary:
            return chosen.reshape(len(chosen), -1)
        counts = np.zeros((len(chosen), self.vocabulary), np.float32)
        np.add.at(counts, (np.arange(len(chosen))[:, None], chosen.reshape(len(chosen), -1).astype(np.int64)), 1.0)
        return counts


def digits() -> Records:
    """1,797 handwritten digits of 8 × 8 pixels (E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998)."""
    bunch = _sklearn("load_digits")
    features = (bunch.data / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    return Records("digits", features, bunch.target.astype(np.int64), picture=(8, 8))


def breast_cancer() -> Records:
    """569 patients with 30 measurements each, standardised (W. Wolberg et al., UCI, 1995)."""
    bunch = _sklearn("load_breast_cancer")
    features: Features = ((bunch.data - bunch.data.mean(axis=0)) / bunch.data.std(axis=0)).astype(np.float32)
    return Records("breast-cancer", features, bunch.target.astype(np.int64), bounds=(-4.0, 13.0))


def faces() -> Records:
    """100 faces and 100 other crops of 25 × 25 pixels (Labeled Faces in the Wild, as scikit-image carries it).

    Victims are faces; they are told apart from the other faces only.
    """
    pictures = _skimage().lfw_subset().astype(np.float32).reshape(-1, 1, 25, 25)
    labels = np.repeat(np.array([1, 0], np.int64), 100)
    return Records("faces", pictures, labels, picture=(25, 25), victims=np.arange(100))


def crops() -> Records:
    """600 crops of 16 × 16 colour pixels from three photographs; the label says which (scikit-image)."""
    data, rng = _skimage(), np.random.default_rng(0)
    pieces, labels = [], []
    for label, photograph in enumerate((data.astronaut(), data.chelsea(), data.coffee())):
        rows, columns = (side // _CROP for side in photograph.shape[:2])
        for at in rng.permutation(rows * columns)[: _CROPS // 3]:
            y, x = at // columns * _CROP, at % columns * _CROP
            pieces.append(photograph[y : y + _CROP, x : x + _CROP].transpose(2, 0, 1))
            labels.append(label)
    features = (np.stack(pieces) / 255).astype(np.float32)
    return Records("crops", features, np.array(labels, np.int64), picture=(_CROP, _CROP, 3))


def sentences() -> Records:
    """Runs of 12 words from the descriptions of scikit-learn's data sets, by their 800 most frequent words.

    The label says which description.
    """
    _sklearn("load_iris")
    folder = resources.files("sklearn.datasets.descr")
    texts = [
        re.findall(r"[a-z]{3,}", file.read_text(encoding="utf-8").lower())
        for file in sorted(folder.iterdir(), key=lambda f: f.name)
        if file.name.endswith(".rst")
    ]
    words, counts = np.unique([word for text in texts for word in text], return_counts=True)
    order = np.lexsort((words, -counts))[:_VOCABULARY]
    number = {str(words[at]): i for i, at in enumerate(order)}
    runs, labels = [], []
    for label, text in enumerate(texts):
        tokens = [number[word] for word in text if word in number]
        for start in range(0, len(tokens) - _WORDS + 1, _WORDS):
            runs.append(tokens[start : start + _WORDS])
            labels.append(label)
    return Records("sentences", np.array(runs, np.float32), np.array(labels, np.int64), vocabulary=len(number))


def genotypes() -> Records:
    """600 simulated people at 200 sites, 0 to 2 copies of the rare allele, scaled to [0, 1].

    Simulated because no wheel carries genomes: allele frequencies from a Beta distribution, blocks of ten sites that
    are inherited together, and a trait that depends on twenty of them.
    """
    people, sites = _GENOTYPES
    rng = np.random.default_rng(0)
    frequency = np.clip(rng.beta(1.0, 3.0, sites), 0.05, 0.5)
    shared = np.repeat(rng.random((2, people, sites // _BLOCK)), _BLOCK, axis=2)
    own = rng.random((2, people, sites))
    uniform = np.where(rng.random((2, people, sites)) < 0.6, shared, own)
    copies = (uniform < frequency).sum(axis=0)
    effect = np.zeros(sites)
    effect[rng.permutation(sites)[:20]] = rng.normal(0, 1, 20)
    trait = copies @ effect + rng.normal(0, 1, people)
    return Records("genotypes", (copies / 2).astype(np.float32), (trait > np.median(trait)).astype(np.int64))


def patients() -> Records:
    """Image, measurements and label in one record: a digit beside the 30 standardised measurements of a patient.

    Two public sets side by side, since no wheel carries a multi-modal one: measurements are drawn for each picture
    from the patients of the diagnosis that the digit's parity stands for.
    """
    pictures, people, rng = digits(), breast_cancer(), np.random.default_rng(0)
    by_label = [np.flatnonzero(people.labels == label) for label in (0, 1)]
    chosen = np.array([rng.choice(by_label[label % 2]) for label in pictures.labels])
    features = np.concatenate([pictures.vectors(), people.features[chosen]], axis=1)
    return Records("patients", features, pictures.labels, picture=(8, 8), bounds=people.bounds)


BUNDLED: Final[dict[str, Callable[[], Records]]] = {
    "digits": digits,
    "breast-cancer": breast_cancer,
    "faces": faces,
    "crops": crops,
    "sentences": sentences,
    "genotypes": genotypes,
    "patients": patients,
}


def _sklearn(loader: str) -> Any:
    try:
        from sklearn import datasets  # noqa: PLC0415, an extra
    except ImportError:
        raise MissingExtraError("the red team's data sets", "redteam") from None
    return getattr(datasets, loader)()


def _skimage() -> Any:
    try:
        from skimage import data  # noqa: PLC0415, an extra
    except ImportError:
        raise MissingExtraError("the red team's pictures", "redteam") from None
    return data
