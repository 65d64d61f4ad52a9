"""What a job does with its rounds at FLARE's server: from the model that goes to sites to the mean of what comes back.

How rounds travel is left to a transport: FLARE's own messages (`own_channel`), or a coordinator of its own (`sidecar`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.context import digest_model
from secagg.errors import InputError, LocalError, ProtocolViolation, RemoteError
from secagg_client.learning import clipping
from secagg_client.learning.metrics import Metrics
from secagg_client.nvflare.models import Arrays
from secagg_client.nvflare.settings import Settings

Take = Callable[[str, Any], None]
"""Takes the result of a site, a `Shareable`."""

Gone = Callable[[str, str], None]
"""Hears that a site is gone, and why."""


class Train(Protocol):
    """Has sites train: sends the task, hands over each result as it comes, and returns when no more will come."""

    def __call__(self, sites: Sequence[str], take: Take, gone: Gone, /) -> None:
        """Args: sites: names of those who are asked."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """A round that is over.

    Attributes:
        config: its configuration.
        aggregate: its sum; None if it has none.
        context: what `Aggregate.mean` reads the sum with, 32 bytes.
    """

    config: RoundConfig
    aggregate: Aggregate | None
    context: bytes


class Transport(Protocol):
    """How the rounds of a job travel."""

    def run(self, configs: Sequence[RoundConfig], sites: Sequence[str], train: Train) -> list[Ended]:
        """Run a round for each configuration, side by side, with one training for all of them.

        Raises:
            NobodyThere: no site has answered.
        """
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """What a round of training gave.

    Attributes:
        mean: mean change of each averaged parameter; None if the round has no sum.
        weight: Σ of the weights of the sites in it.
        metrics: mean of each metric, weighted by the sites' weights.
    """

    mean: Arrays | None = None
    weight: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)


class NobodyThere(LocalError):
    """No site has answered, so further rounds would fail, too."""


class JobRounds:
    """The rounds of one job."""

    def __init__(self, settings: Settings, transport: Transport, log: Callable[[str], None]) -> None:
        """Args:
        settings: what the job says.
        transport: runs rounds.
        log: takes a line for the server's log.
        """
        self._settings, self._transport, self._log = settings, transport, log
        self._clip: float | None = None

    def train(self, model: Arrays, sites: Sequence[str], train: Train) -> Trained:
        """One round of training of `model` at `sites`.

        Args:
            model: the parameters that are averaged, as the sites get them.
            sites: names of the sites.
            train: has them train.

        Raises:
            NobodyThere: there is no site, or none has answered.
            InputError: the model has no parameters of floats.
            ConfigError: the settings do not fit this model or so few sites.
        """
        if not model:
            raise InputError(
                "the model has no parameters of floats yet; give the recipe an initial model (scikit-learn's takes one "
                "as model_path)"
            )
        if not sites:
            raise NobodyThere("no site is there")
        if len(sites) < self._settings.fewest:
            self._log(f"{len(sites)} sites are there, and a sum holds at least {self._settings.fewest}")
            return Trained()
        try:
            return self._train(model, digest_model(model), sites, train)
        except RemoteError as error:
            self._log(f"a sum came out that no updates can have: {error}")
            return Trained()

    def _train(self, model: Arrays, digest: bytes, sites: Sequence[str], train: Train) -> Trained:
        if self._settings.finds_clip and self._clip is None:
            self._clip = self._find_clip(digest, sites, train)
            if self._clip is None:
                return Trained()
        configs = [self._settings.update_config(len(sites), model, digest, self._clip)]
        metrics = self._settings.metrics_config(len(sites), digest)
        updates, *others = self._transport.run([*configs, *([metrics] if metrics else [])], sites, train)
        if updates.aggregate is None:
            return Trained()
        mean = updates.aggregate.mean(updates.config, updates.context)
        found = self._means(others[0]) if others else {}
        self._log(f"the mean of {len(updates.aggregate.survivors)} of {len(sites)} sites, total weight {mean.weight}")
        return Trained(dict(mean.arrays), mean.weight, found)

    def _means(self, ended: Ended) -> Mapping[str, float]:
        if ended.aggregate is None:
            return {}
        try:
            read = Metrics.of(ended.config.schema).read(ended.aggregate.totals(ended.config))
        except ProtocolViolation as error:  # a site that masked nonsense; the mean of the updates stands
            self._log(f"the sums of metrics cannot be read, and this round has none: {error}")
            return {}
        if outside := [f"{name} at {count} sites" for name, count in read.outside.items() if count]:
            self._log(f"metrics outside of their range, which were clipped or left out: {', '.join(outside)}")
        return read.means

    def _find_clip(self, digest: bytes, sites: Sequence[str], train: Train) -> float | None:
        self._log("the sites train once more than there are rounds, to find a clip for their updates")
        (ended,) = self._transport.run([self._settings.clip_config(len(sites), digest)], sites, train)
        if ended.aggregate is None:
            return None
        found = clipping.read(ended.aggregate.totals(ended.config))
        if found is None:
            self._log("no update changes the model, so there is no clip yet; the next round looks for it again")
            return None
        self._log(
            f"clip {found.clip:g}, from the sizes of {found.participants} updates added up; {found.above} are above it"
        )
        return found.clip
