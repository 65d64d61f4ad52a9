"""What is learned: a small CNN, and the images of one client."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.set_num_threads(1)  # clients share this machine, and the network is small
TEST = slice(1500, None)  # images that no client has


class Net(nn.Sequential):
    """For images of 8 × 8."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def images(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Some of the images, and their digits."""
    digits = load_digits()
    return torch.from_numpy(digits.images[part]).float().unsqueeze(1) / 16, torch.from_numpy(digits.target[part])


def fit(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Train two epochs. Returns the last loss."""
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for batch in [*torch.arange(len(y)).split(32)] * 2:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
    return loss.item()


@torch.no_grad()
def evaluate(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    """Loss and accuracy."""
    net.eval()
    scores = net(x)
    accuracy = (scores.argmax(1) == y).float().mean()
    return {"loss": nn.functional.cross_entropy(scores, y).item(), "accuracy": accuracy.item()}
