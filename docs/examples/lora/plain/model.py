"""A network for images of digits that learned upright ones, frozen, with low-rank adapters for images turned by 90°."""

import torch
from sklearn.datasets import load_digits
from torch import nn

torch.set_num_threads(1)  # four processes share this machine, and the network is small
ROUNDS = 3
IMAGES = torch.from_numpy(load_digits().images).float() / 16
DIGITS = torch.from_numpy(load_digits().target)
PUBLIC, TEST = slice(0, 600), slice(1500, None)  # the images that everybody has; between them are those of the sites


class Adapted(nn.Module):
    """A frozen layer with an adapter beside it (Hu et al. 2021)."""

    def __init__(self, layer: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.lora_b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + x @ self.lora_a.T @ self.lora_b.T


def adapted() -> nn.Module:
    """The same network everywhere: trained here on public images, in place of a download."""
    torch.manual_seed(0)
    first, second = nn.Linear(64, 64), nn.Linear(64, 10)
    train(nn.Sequential(nn.Flatten(), first, nn.ReLU(), second), IMAGES[PUBLIC], DIGITS[PUBLIC], steps=60)
    return nn.Sequential(nn.Flatten(), Adapted(first), nn.ReLU(), Adapted(second))


def images(site: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The turned images of one of three sites, and their digits."""
    ours = slice(600 + 300 * (site - 1), 600 + 300 * site)
    return turned(IMAGES[ours]), DIGITS[ours]


def turned(x: torch.Tensor) -> torch.Tensor:
    return x.rot90(1, (1, 2))


def train(net: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int = 40) -> None:
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(net: nn.Module) -> float:
    return (net(turned(IMAGES[TEST])).argmax(1) == DIGITS[TEST]).float().mean().item()
