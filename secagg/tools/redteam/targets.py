"""What is attacked: the targets that come with the product, a user's own model, or a larger data set."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Final

from secagg.errors import LocalError
from secagg.tools.redteam import models
from secagg.tools.redteam.attacks.inversion.base import Attack
from secagg.tools.redteam.larger import LARGER
from secagg.tools.redteam.models import Build
from secagg.tools.redteam.records import BUNDLED, Records
from secagg.tools.redteam.target import Target, load_target

KINDS: Final[dict[str, Callable[[Records], Build]]] = {
    "mlp": models.mlp,
    "imprint": partial(models.mlp, hidden=128),
    "conv": models.convolutions,
    "smooth": models.smooth,
    "text": models.text,
    "multimodal": models.two_branches,
}
"""Models by kind, each in the size that its records ask for."""

TARGETS: Final = (
    "mlp-digits",
    "mlp-breast-cancer",
    "mlp-faces",
    "mlp-crops",
    "mlp-genotypes",
    "imprint-digits",
    "conv-digits",
    "conv-faces",
    "smooth-breast-cancer",
    "text-sentences",
    "multimodal-patients",
)
"""The bundled ones: kind of model, then data."""


def target_named(name: str, seed: int = 0) -> Target:
    """A bundled target. Args: seed: of its initialisation.

    Raises:
        LocalError: there is none of that name.
    """
    if name not in TARGETS:
        raise LocalError(f"no target {name!r}; one of: {', '.join(TARGETS)}")
    kind, _, data = name.partition("-")
    return _modelled(kind, _bundled(data), seed)


def _modelled(kind: str, records: Records, seed: int) -> Target:
    return Target(f"{kind}-{records.name}", records, KINDS[kind](records), seed=seed)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is attacked, in words that another process understands.

    Attributes:
        model: the user's own, as module:function; empty for bundled models.
        data: a larger data set as SET:PATH, with `SET` of `secagg.tools.redteam.larger`; empty for the model's own.
    """

    model: str = ""
    data: str = ""

    def __post_init__(self) -> None:
        if self.model and self.data:
            raise LocalError("a model of your own brings its own records: name a model or data, not both")

    @property
    def bundled(self) -> bool:
        """Whether it is the product's own, on which every attack has its target."""
        return not (self.model or self.data)

    def target(self, attack: Attack, seed: int) -> Target:
        """For an attack. Args: seed: of the model's initialisation.

        Raises:
            LocalError: there is no such model or data, or the attack's kind of model does not fit the data.
        """
        if self.model:
            own = _own(self.model)
            return replace(own, seed=own.seed + seed)
        if self.data:
            return _modelled(attack.target.partition("-")[0], _larger(self.data), seed)
        return target_named(attack.target, seed)


@cache
def _bundled(name: str) -> Records:
    return BUNDLED[name]()


@cache
def _own(name: str) -> Target:
    return load_target(name)


@cache
def _larger(name: str) -> Records:
    kind, _, path = name.partition(":")
    if kind not in LARGER or not path:
        raise LocalError(f"name data as SET:PATH, not {name!r}; SET is one of: {', '.join(LARGER)}")
    if not Path(path).exists():
        raise LocalError(f"there is no {path}; {kind} is not downloaded for you")
    return LARGER[kind](Path(path))
