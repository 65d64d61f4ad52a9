"""The models that participants train: small ones, of each kind that practitioners use."""

from collections.abc import Callable
from typing import Any

from secagg.errors import LocalError
from secagg.tools.redteam.extra import torch
from secagg.tools.redteam.records import Records

nn = torch.nn
Module = Any
"""torch.nn.Module: features float32[k, …] to scores float32[k, classes]."""

Build = Callable[[], Module]


def mlp(records: Records, hidden: int = 256) -> Build:
    """One hidden layer of rectified units over the flattened record."""
    return lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(records.size, hidden), nn.ReLU(), nn.Linear(hidden, records.classes)
    )


def smooth(records: Records, hidden: int = 64) -> Build:
    """One hidden layer of tanh units without biases: nothing can be divided out of its gradient."""
    return lambda: nn.Sequential(
        nn.Flatten(),
        nn.Linear(records.size, hidden, bias=False),
        nn.Tanh(),
        nn.Linear(hidden, records.classes),
    )


def convolutions(records: Records, width: int = 12) -> Build:
    """LeNet with sigmoids, the network of the deep-leakage papers.

    Raises:
        LocalError: the records are no square pictures.
    """
    if len(records.shape) != 3 or records.shape[1] != records.shape[2]:
        raise LocalError(f"records {records.name!r} are no square pictures")
    channels, side, _ = records.shape

    def build() -> Module:
        body = [
            nn.Conv2d(channels, width, 5, padding=2, stride=2),
            nn.Sigmoid(),
            nn.Conv2d(width, width, 5, padding=2),
            nn.Sigmoid(),
        ]
        halved = (side + 1) // 2
        net = nn.Sequential(*body, nn.Flatten(), nn.Linear(width * halved * halved, records.classes))
        for parameter in net.parameters():  # as in the papers: sigmoids need wide weights to pass anything on
            nn.init.uniform_(parameter, -0.5, 0.5)
        return net

    return build


class BagOfWords(torch.nn.Module):  # type: ignore[misc] # torch is Any to the type checker
    """Scores from the mean of the tokens' embeddings."""

    def __init__(self, vocabulary: int, classes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, classes)

    def forward(self, tokens: Any) -> Any:
        """Token ids float32[k, words] to scores."""
        pooled = self.embedding(tokens.long()).mean(dim=-2)
        return self.output(torch.tanh(self.hidden(pooled)))


def text(records: Records, width: int = 32) -> Build:
    """A classifier of texts: the mean of word embeddings, then one hidden layer.

    Raises:
        LocalError: the records are no text.
    """
    if not records.vocabulary:
        raise LocalError(f"records {records.name!r} are no text")
    return lambda: BagOfWords(records.vocabulary, records.classes, width)


class TwoBranches(torch.nn.Module):  # type: ignore[misc]
    """A picture through convolutions, measurements through a layer of their own, joined before the scores."""

    def __init__(self, side: int, measurements: int, classes: int, width: int) -> None:
        super().__init__()
        self.side = side
        self.picture = nn.Conv2d(1, width, 3, padding=1)
        self.measurements = nn.Linear(measurements, width * 4)
        self.output = nn.Linear(width * side * side + width * 4, classes)

    def forward(self, records: Any) -> Any:
        """Picture and measurements in one row: float32[k, side² + measurements] to scores."""
        pixels, rest = records[..., : self.side**2], records[..., self.side**2 :]
        seen = torch.sigmoid(self.picture(pixels.reshape(-1, 1, self.side, self.side))).flatten(-3)
        measured = torch.tanh(self.measurements(rest))
        return self.output(torch.cat([seen.reshape(*measured.shape[:-1], -1), measured], dim=-1))


def two_branches(records: Records, width: int = 8) -> Build:
    """Image and table in one model.

    Raises:
        LocalError: the records are no pictures beside measurements.
    """
    height, side = (records.picture or (0, 0))[:2]
    measurements = records.size - height * side
    if not height or height != side or len(records.shape) != 1 or measurements < 1:
        raise LocalError(f"records {records.name!r} are no pictures beside measurements")
    return lambda: TwoBranches(side, measurements, records.classes, width)
