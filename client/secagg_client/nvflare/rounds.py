"""The rounds of one job at FLARE's server: from the model that goes to sites to the mean of what they send back.

A round of updates and a round of their metrics run side by side. Keys and shares go first, as aux messages, so nobody
trains for a cohort that fails. The message that asks for the masked input goes ahead as an aux message, too, and waits
at the site until the training task is done: a task of FLARE is the same for all sites. Who is gone in one exchange is
not asked in the next one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Protocol

from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.context import bind, digest_model
from secagg.crypto.identity import TrustAnchors
from secagg.errors import DecodeError, LocalError, RoundAborted, SecAggError, TransportError
from secagg.messages import INPUT_PHASES
from secagg.rounds.releases import ReleaseMemory
from secagg.wire.configuration import encode_config
from secagg_client.carried.coordinator import CarriedRound, Clock
from secagg_client.carried.steps import Step
from secagg_client.learning import clipping
from secagg_client.learning.metrics import Metrics
from secagg_client.nvflare import channel
from secagg_client.nvflare.exchanges import Exchanges
from secagg_client.nvflare.models import Arrays
from secagg_client.nvflare.settings import Settings

_REMEMBERED: Final = 1000

Take = Callable[[str, Shareable], None]
"""Takes the result of a site."""

Gone = Callable[[str, str], None]
"""Hears that a site is gone, and why."""


class Train(Protocol):
    """Has sites train: sends the task, hands over each result as it comes, and returns when no more will come."""

    def __call__(self, sites: Sequence[str], take: Take, gone: Gone, /) -> None:
        """Args: sites: names of those who are asked."""
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """What a round of training gave.

    Attributes:
        mean: mean change of each averaged parameter; None if the round has no sum.
        weight: Σ of the weights of the sites in it.
        metrics: mean of each metric, weighted by the sites' weights.
        sites: names of the sites in it.
    """

    mean: Arrays | None
    weight: int
    metrics: Mapping[str, float]
    sites: tuple[str, ...] = ()


class NobodyThere(LocalError):
    """No site has answered, so further rounds would fail, too."""


class JobRounds:
    """All rounds of a job on FLARE's own channel."""

    def __init__(
        self,
        settings: Settings,
        exchanges: Exchanges,
        *,
        clock: Clock,
        log: Callable[[str], None],
        trust: TrustAnchors | None = None,
    ) -> None:
        """Args:
        settings: what the job says.
        exchanges: asks sites.
        clock: seconds since 1970.
        log: takes a line for the server's log.
        trust: the CA of the sites' identities; needed in the active threat model.

        Raises:
            ConfigError: the CA is missing.
        """
        self._settings, self._exchanges, self._clock, self._log, self._trust = settings, exchanges, clock, log, trust
        self._releases = ReleaseMemory(_REMEMBERED)
        self._clip: float | None = None
        self._endings: dict[str, list[Step]] = {}

    def train(self, model: Arrays, sites: Sequence[str], train: Train) -> Trained:
        """One round of training of `model` at `sites`.

        Args:
            model: the parameters that are averaged, as the sites get them.
            sites: names of the sites.
            train: has them train.

        Raises:
            NobodyThere: no site has answered.
            ConfigError: the settings do not fit this model or so few sites.
        """
        digest = digest_model(model)
        if self._settings.clip is None and not self._settings.pipeline and self._clip is None:
            self._clip = self._find_clip(digest, sites, train)
            if self._clip is None:
                return Trained(None, 0, {})
        configs = [self._settings.update_config(len(sites), model, digest, self._clip)]
        metrics = self._settings.metrics_config(len(sites), digest)
        updates, *others = self._run([*configs, *([metrics] if metrics else [])], sites, train)
        if not isinstance(updates.outcome, Aggregate):
            return Trained(None, 0, {})
        mean = updates.outcome.mean(updates.config, _context(updates))
        found = self._means(others[0]) if others else {}
        self._log(f"the mean of {len(updates.outcome.survivors)} of {len(sites)} sites, total weight {mean.weight}")
        return Trained(dict(mean.arrays), mean.weight, found, updates.outcome.survivors)

    def _means(self, round_: CarriedRound) -> Mapping[str, float]:
        if not isinstance(round_.outcome, Aggregate):
            return {}
        read = Metrics.of(round_.config.schema).read(round_.outcome.totals(round_.config))
        if outside := [f"{name} at {count} sites" for name, count in read.outside.items() if count]:
            self._log(f"metrics outside of their range, which were clipped or left out: {', '.join(outside)}")
        return read.means

    def _find_clip(self, digest: bytes, sites: Sequence[str], train: Train) -> float | None:
        self._log("the sites train once more than there are rounds, to find a clip for their updates")
        (round_,) = self._run([self._settings.clip_config(len(sites), digest)], sites, train)
        if not isinstance(round_.outcome, Aggregate):
            return None
        found = clipping.read(round_.outcome.totals(round_.config))
        self._log(
            f"clip {found.clip:g}, from the sizes of {found.participants} updates added up; {found.above} are above it"
        )
        return found.clip

    # --- a round ------------------------------------------------------------------------------------------------------

    def _run(self, configs: Sequence[RoundConfig], sites: Sequence[str], train: Train) -> list[CarriedRound]:
        rounds = [
            CarriedRound(config, sites, clock=self._clock, trust=self._trust, releases=self._releases)
            for config in configs
        ]
        running = _Running(rounds, self._log)
        opening = True
        while steps := running.steps():
            waits = running.asks_for_input
            messages = {
                site: channel.packed([*self._endings.get(site, []), *mine], wait=waits) for site, mine in steps.items()
            }
            self._endings = {}
            answers = self._exchanges.ask(messages)
            if opening and all(isinstance(answer, TransportError) for answer in answers.values()):
                raise NobodyThere("no site answered; " + "; ".join(f"{s}: {a}" for s, a in list(answers.items())[:5]))
            opening = False
            if waits:
                ready = [site for site, answer in answers.items() if running.is_ready(site, answer)]
                if ready:
                    train(ready, running.take, running.lost)
            else:
                for site, answer in answers.items():
                    running.take(site, answer)
            running.close()
        for round_ in rounds:
            for site, step in round_.endings().items():
                self._endings.setdefault(site, []).append(step)
            if isinstance(round_.outcome, RoundAborted):
                self._log(f"the round of {round_.config.purpose} has no sum: {round_.outcome}")
        return rounds


class _Running:
    """Rounds that go side by side, in the same exchanges. FLARE hands over results from threads of its own."""

    def __init__(self, rounds: Sequence[CarriedRound], log: Callable[[str], None]) -> None:
        self._rounds, self._log = {round_.round_id: round_ for round_ in rounds}, log
        self._lock = Lock()
        self._told: set[str] = set()

    @property
    def asks_for_input(self) -> bool:
        return any(round_.phase in INPUT_PHASES for round_ in self._rounds.values())

    def steps(self) -> dict[str, list[Step]]:
        """What to send to which site now."""
        steps: dict[str, list[Step]] = {}
        for round_ in self._rounds.values():
            for site, step in round_.steps().items():
                steps.setdefault(site, []).append(step)
        return steps

    def take(self, site: str, answer: Any) -> None:
        """Take a site's answer, whatever it is: steps, an error of FLARE's, or something that is not ours."""
        with self._lock:
            try:
                for step in _steps_in(answer):
                    if step.round_id in self._rounds:
                        self._rounds[step.round_id].take(site, step)
            except SecAggError as error:
                self._lose(site, str(error))
            self._tell()

    def is_ready(self, site: str, answer: Any) -> bool:
        """Whether a site has what asks for its input, so that it may train; if not, it is lost."""
        try:
            waits = channel.told(answer, "waits") if not isinstance(answer, TransportError) else None
            if waits:
                return True
            self.lost(site, str(answer) if isinstance(answer, TransportError) else "it does not wait for its training")
        except DecodeError as error:
            self.lost(site, str(error))
        return False

    def lost(self, site: str, reason: str) -> None:
        """A site is gone."""
        with self._lock:
            self._lose(site, reason)
            self._tell()

    def close(self) -> None:
        """The exchange is over for all rounds."""
        with self._lock:
            for round_ in self._rounds.values():
                round_.close()
            self._tell()

    def _lose(self, site: str, reason: str) -> None:
        for round_ in self._rounds.values():
            round_.lost(site, reason)

    def _tell(self) -> None:
        for round_ in self._rounds.values():
            for site, reason in round_.dropped.items():
                line = f"{site} is out of the round of {round_.config.purpose}: {reason}"
                if line not in self._told:
                    self._told.add(line)
                    self._log(line)


def _steps_in(answer: Any) -> list[Step]:
    """The steps of an answer.

    Raises:
        SecAggError: it has none; says why.
    """
    if isinstance(answer, TransportError):
        raise answer
    if channel.is_ours(answer):
        if left := channel.told(answer, "left"):
            raise TransportError(f"it left: {left}")
        return channel.unpacked(answer)
    code = answer.get_return_code(ReturnCode.OK) if isinstance(answer, Shareable) else ReturnCode.OK
    if code != ReturnCode.OK:
        raise TransportError(f"its task failed: {code}")
    raise DecodeError("it answered in plain, which was dropped unread: its app lacks the secagg plug-in")


def _context(round_: CarriedRound) -> bytes:
    config = round_.config
    return bind(round_.round_id, encode_config(config), config.model_digest)
