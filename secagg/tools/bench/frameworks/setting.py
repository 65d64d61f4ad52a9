"""What one run of the benchmark of frameworks does, as it is handed to the process that does it."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self

from secagg.tools.bench.frameworks.digits import HIDDEN

Way = Literal["plain", "secaggplus", "flower", "nvflare", "sidecar"]

FLARE_WAYS: Final[tuple[Way, ...]] = ("plain", "nvflare", "sidecar")
"""FLARE without protection, and with secagg over each of its transports."""

WAYS: Final[tuple[Way, ...]] = ("plain", "secaggplus", "flower", "sidecar")
"""Flower without protection, with its own SecAgg+ (legacy API), and with secagg over each of its transports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One run.

    Attributes:
        way: how updates are aggregated.
        clients: simulated clients, all of them in every round.
        model: a name of `HIDDEN`.
        rounds: the first is not counted, because workers start in it.
        training_s: seconds that a client sleeps when it has trained, to stand for a long training.
        dying: clients, by number, and after how many messages each dies.
        cpus: processors that the simulation gives each client; a fraction lets more run at once.
        supernodes: whether clients are SuperNodes with a SuperLink, processes on this machine, and not simulated.
        identities: folder with one of each client, by its number; empty where none is needed.
        control: address of the coordinator's control plane, if it holds the rounds.
        address: address of its data plane.
    """

    way: Way
    clients: int = 5
    model: str = "digits"
    rounds: int = 8
    training_s: float = 0.0
    dying: tuple[tuple[int, int], ...] = ()
    cpus: float = 1.0
    supernodes: bool = False
    identities: str = ""
    control: str = ""
    address: str = ""

    @property
    def hidden(self) -> int:
        """Hidden units of the model."""
        return HIDDEN[self.model]

    @property
    def secured(self) -> bool:
        """Whether our own plug-in is part of it."""
        return self.way in {"flower", "nvflare", "sidecar"}

    def text(self) -> str:
        """For `of`, in one argument of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        """What `text` gave."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "dying": tuple((int(c), int(n)) for c, n in fields["dying"])})
