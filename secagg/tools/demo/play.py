"""The FL server of the demo: hands out the model, opens rounds at the sidecar, applies the aggregates."""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol

from secagg_client import ControlClient

from secagg import (
    Aggregate,
    Deadlines,
    FixedPoint,
    MessageAccepted,
    ParticipantDropped,
    Phase,
    PhaseStarted,
    RoundAborted,
    RoundConfig,
    RoundId,
    Schema,
    ThreatModel,
    WatchedEvent,
    digest_model,
)
from secagg.phases import phases
from secagg.tools.demo import job
from secagg.tools.demo.comparison import compare, weighted_mean
from secagg.tools.demo.counting import count_labels, label_config
from secagg.tools.demo.deployment import commands, hand_out, participant_names
from secagg.tools.demo.evidence import Upload, coordinator_view
from secagg.tools.demo.participant import Command, load_arrays, save_arrays
from secagg.tools.demo.plan import RoundPlan, plan_dropouts
from secagg.tools.demo.results import (
    CoordinatorView,
    Counted,
    DemoResult,
    Dropped,
    PlayedRound,
    SchemeRound,
    Site,
    Traffic,
)
from secagg.tools.demo.side_by_side import SIDE_BY_SIDE, Bench
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.identities import create_identities
from secagg.tools.deployment.sidecar import START_S, Sidecar
from secagg.variants import MASKED, Variant

CLIP: Final = 1.0
VALUE_BITS: Final = 16
DEADLINE_S: Final = 2.5
ENCRYPTING_DEADLINE_S: Final = 4.0
"""Of every phase: what a dropout costs the others in this demo. Encryption starts processes of its own."""

_ATTEMPTS: Final = 3  # of a round, each with longer deadlines: a busy machine is no reason to fail
_TASK: Final = "digits"


class Audience(Protocol):
    """Is told what the demo does while it runs."""

    def stage(self, text: str) -> None:
        """Called with what happens now, in words."""
        ...

    def played(self, played: PlayedRound) -> None:
        """Called when a round is over, with what came out."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How large the demo is, and how updates are protected."""

    participants: int = 10
    rounds: int = 6
    seed: int = 7
    threat_model: ThreatModel = ThreatModel.ACTIVE
    variant: Variant = MASKED


@dataclass(frozen=True, slots=True)
class Ended:
    """One round that ended with a sum, as seen from the FL server and from the participants' processes."""

    config: RoundConfig
    aggregate: Aggregate
    seconds: float
    told: tuple[WatchedEvent, ...]
    outcomes: Mapping[str, dict[str, Any]]  # the last word of every participant
    folder: Path


def play(settings: Settings, audience: Audience) -> DemoResult:
    """The whole demo.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        ConfigError: too few rounds or participants for a dropout in every phase.
        ProcessError: a process does not do what it is there for.
        RoundAborted: a round ended without a sum three times.
    """
    begin = monotonic()
    training, test = job.load_digits(settings.seed)
    parts = job.share_out(training, settings.participants, settings.seed)
    sites = dict(zip(participant_names(settings.participants), parts, strict=True))
    model = job.new_model(settings.seed)
    plans = plan_dropouts(round_config(settings, model, 1), list(sites), settings.rounds, settings.seed)
    with tempfile.TemporaryDirectory(prefix="secagg-demo-") as folder:
        audience.stage(f"Starting the sidecar and {settings.participants} participants")
        identities = create_identities(Path(folder), sites)
        hand_out(identities, sites)
        log = Path(folder, "participants.log")
        with (
            Sidecar(identities.server, Path(folder)) as sidecar,
            Crew(commands(identities, sidecar.data_plane, settings.threat_model, settings.variant), log) as crew,
            ControlClient(sidecar.control_plane) as control,
        ):
            training_run = Training(settings, sites, test, crew, control, audience, Path(folder), model, model)
            crew.wait(dict.fromkeys(sites, ("ready",)), START_S)
            rounds = [training_run.play_round(number, plan) for number, plan in enumerate(plans, start=1)]
            view = training_run.view_of_last()
            compared = training_run.side_by_side() if settings.variant == MASKED else ()
            counted = training_run.count_labels()
    config = round_config(settings, model, 1)
    return DemoResult(
        scheme=settings.variant.name,
        threat_model=settings.threat_model.name.lower(),
        seed=settings.seed,
        threshold=config.threshold,
        max_colluding=config.max_colluding,
        value_bits=VALUE_BITS,
        ring_bits=config.ring_bits,
        values=config.schema.size,
        deadline_s=deadline_of(settings.variant),
        phases=tuple(map(str, phases(config))),
        sites={name: _site(own) for name, own in sites.items()},
        test_examples=len(test),
        accuracy_before=job.accuracy(model, test),
        rounds=tuple(rounds),
        view=view,
        seconds=monotonic() - begin,
        plain_bytes=sum(array.nbytes for array in model.values()),
        side_by_side=compared,
        counted=counted,
    )


def round_config(settings: Settings, model: job.Model, patience: float) -> RoundConfig:
    """Args: patience: how many times the usual deadline each phase may take."""
    deadline_s = deadline_of(settings.variant) * patience
    return RoundConfig(
        task=_TASK,
        schema=Schema.of(model),
        encoding=FixedPoint(CLIP, VALUE_BITS, job.MAX_EXAMPLES),
        max_participants=settings.participants,
        threat_model=settings.threat_model,
        homomorphic=settings.variant.profile(settings.participants, VALUE_BITS),
        release_to_coordinator=True,
        model_digest=digest_model(model),
        deadlines=Deadlines(deadline_s, deadline_s, deadline_s, deadline_s, deadline_s),
    )


def deadline_of(variant: Variant) -> float:
    """Longest time of each phase, in seconds."""
    return DEADLINE_S if variant == MASKED else ENCRYPTING_DEADLINE_S


def _site(own: job.Examples) -> Site:
    return Site(len(own), tuple(int((own.labels == label).sum()) for label in range(job.CLASSES)))


@dataclass(slots=True)
class Training:
    """Two runs side by side: `model` learns through secure rounds, `plain_model` from plain weighted means."""

    settings: Settings
    sites: Mapping[str, job.Examples]
    test: job.Examples
    crew: Crew
    control: ControlClient
    audience: Audience
    folder: Path
    model: job.Model
    plain_model: job.Model
    patience: int = 1
    last: tuple[int, Ended] | None = None

    def play_round(self, number: int, plan: RoundPlan) -> PlayedRound:
        """One federated round: train, aggregate, compare, apply."""
        ended, attempts = self._insist(number, plan)
        weights = {name: len(own) for name, own in self.sites.items()}
        survivors = ended.aggregate.survivors
        updates = {name: load_arrays(ended.folder / f"{name}.update.npz") for name in survivors}
        compared = compare(ended.aggregate, ended.config, updates, weights)
        self.model = job.improved(self.model, ended.aggregate.mean(ended.config).arrays)
        self.plain_model = self._plain_round(number, survivors, weights)
        self.last = number, ended
        played = PlayedRound(
            number=number,
            attempts=attempts,
            seconds=ended.seconds,
            survivors=survivors,
            dropped=_dropped(ended, plan, list(self.sites)),
            accuracy_secure=job.accuracy(self.model, self.test),
            accuracy_plain=job.accuracy(self.plain_model, self.test),
            largest_difference=compared.largest_difference,
            error_bound=compared.error_bound,
            traffic={name: _traffic(ended.outcomes[name]) for name in self.sites},
        )
        self.audience.played(played)
        return played

    def view_of_last(self) -> CoordinatorView:
        """What the coordinator saw in the last round, of the largest site that stayed to its end."""
        if self.last is None:
            raise ValueError("no round was played")
        number, ended = self.last
        stayed = [name for name, outcome in ended.outcomes.items() if outcome["event"] == "finished"]
        name = max(stayed, key=lambda name: len(self.sites[name]))
        messages = [message.tobytes() for _, message in sorted(load_arrays(ended.folder / f"{name}.sent.npz").items())]
        update = load_arrays(ended.folder / f"{name}.update.npz")
        upload = Upload(name, update, len(self.sites[name]), messages)
        return coordinator_view(upload, number, ended.config, ended.aggregate.mean(ended.config).arrays)

    def side_by_side(self) -> tuple[SchemeRound, ...]:
        """What the sites would send next, summed in each scheme in turn."""
        number = self.settings.rounds + 1
        seeds = {name: self._seed(number, name) for name in self.sites}
        bench = Bench(self.crew, self.control, seeds, self.model, self.folder)
        rounds = []
        for variant in SIDE_BY_SIDE:
            self.audience.stage(f"The same updates once more: {variant.title}")
            rounds.append(bench.play(number, variant, self.settings.threat_model))
        return tuple(rounds)

    def count_labels(self) -> Counted:
        """How many images of each label all sites have, in the scheme of the demo."""
        self.audience.stage("The last round: how many images of each digit are there?")
        config = label_config(self.settings.participants, self.settings.variant, self.settings.threat_model)
        sites = {name: _site(own) for name, own in self.sites.items()}
        return count_labels(self.crew, self.control, sites, self.folder, config)

    def _plain_round(self, number: int, survivors: tuple[str, ...], weights: Mapping[str, int]) -> job.Model:
        """The model after the same local training and the same dropouts, without secure aggregation."""
        updates = {
            name: job.local_update(self.plain_model, self.sites[name], self._seed(number, name)) for name in survivors
        }
        return job.improved(self.plain_model, weighted_mean(updates, weights, inf))

    def _insist(self, number: int, plan: RoundPlan) -> tuple[Ended, int]:
        """The round, played again with more patience if too many missed a deadline."""
        for attempt in range(1, _ATTEMPTS):
            try:
                return self._attempt(number, attempt, plan), attempt
            except RoundAborted as error:
                self.audience.stage(f"Round {number} ended without a sum ({error}); once more with longer deadlines")
                self.patience *= 2
        return self._attempt(number, _ATTEMPTS, plan), _ATTEMPTS

    def _attempt(self, number: int, attempt: int, plan: RoundPlan) -> Ended:
        folder = self.folder / f"round-{number}-{attempt}"
        folder.mkdir()
        save_arrays(folder / "model.npz", self.model)
        config = round_config(self.settings, self.model, self.patience)
        limit_s = START_S + 2 * sum(getattr(config.deadlines, name) for name in config.deadlines.__slots__)
        self.audience.stage(f"Round {number}: training at {len(self.sites)} sites")
        for name in self.sites:
            seed = self._seed(number, name)
            command = Command(number, _TASK, folder / "model.npz", folder, seed, plan.get(name), limit_s)
            self.crew.order(name, command.as_json())
        self.crew.wait(dict.fromkeys(self.sites, ("trained",)), START_S)
        begin = monotonic()
        round_id = self.control.open_round(config, timeout_s=limit_s)
        told = self._watch(number, round_id, limit_s)
        late = set(self.sites) - _came(told)  # dead, or still waiting for a round
        try:
            aggregate = self.control.fetch(round_id, timeout_s=limit_s)
            seconds = monotonic() - begin
        except RoundAborted:
            late = set(self.sites)
            raise
        finally:
            self.crew.kill(late)
            ends = {name: {"exited"} if name in late else {"finished", "failed", "exited"} for name in self.sites}
            outcomes = self.crew.wait(ends, limit_s)
            self.crew.start(name for name, outcome in outcomes.items() if outcome["event"] == "exited")
        return Ended(config, aggregate, seconds, told, outcomes, folder)

    def _watch(self, number: int, round_id: RoundId, limit_s: float) -> tuple[WatchedEvent, ...]:
        told = []
        for _, event in self.control.watch(round_id, timeout_s=limit_s):
            told.append(event)
            if isinstance(event, PhaseStarted):
                self.audience.stage(f"Round {number}: {event.phase}, {event.expected} participants")
        return tuple(told)

    def _seed(self, number: int, name: str) -> list[int]:
        return [self.settings.seed, number, list(self.sites).index(name)]


def _dropped(ended: Ended, plan: RoundPlan, names: list[str]) -> tuple[Dropped, ...]:
    """Who dropped out, as the coordinator told it; those who never came are added, for it cannot know of them."""
    came = _came(ended.told)
    missed = {name: Phase.ADVERTISE_KEYS for name in names if name not in came}
    missed.update({e.participant: e.phase for e in ended.told if isinstance(e, ParticipantDropped)})
    return tuple(_as_dropped(name, phase, plan, ended.aggregate) for name, phase in missed.items())


def _came(told: Iterable[WatchedEvent]) -> set[str]:
    """The participants whose keys the coordinator got."""
    return {e.participant for e in told if isinstance(e, MessageAccepted) and e.phase is Phase.ADVERTISE_KEYS}


def _as_dropped(name: str, phase: Phase, plan: RoundPlan, aggregate: Aggregate) -> Dropped:
    meant = plan.get(name)
    moment = meant.moment.value if meant is not None and meant.phase is phase else "unplanned"
    return Dropped(name, str(phase), moment, name in aggregate.survivors)


def _traffic(outcome: Mapping[str, Any]) -> Traffic:
    return Traffic(outcome["bytes_sent"], outcome.get("bytes_received"))
