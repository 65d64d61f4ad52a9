"""One job at the server: every call of the strategy becomes rounds, and their result becomes one reply.

An exchange is one message to each node and the replies to it. Keys and shares are exchanged before the training message
goes out, so nobody trains for a cohort that fails. The same exchanges that train and unmask carry keys and shares of
the next round, if its nodes are the same; so it needs none of its own.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from logging import getLogger
from typing import Final

from flwr.app import ArrayRecord, Error, Message, MetricRecord, RecordDict

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import METRICS, TRAIN, RoundConfig
from secagg.encoding.fixedpoint import WeightedMean
from secagg.encoding.schema import Schema
from secagg.errors import AbortReason, BudgetExceeded, ConfigError, ProtocolViolation, RoundAborted
from secagg.rounds.releases import ReleaseMemory
from secagg_client.carried.coordinator import CarriedRound, Peer
from secagg_client.carried.groups import CarriedGroups
from secagg_client.carried.steps import LEAVE, Step
from secagg_client.flower import arrays as models
from secagg_client.flower.bundles import Bundle, Carried
from secagg_client.flower.channel import Answer, Channel, Letter, Refusal, Silence
from secagg_client.flower.notes import MAYBE_NO_MOD, explained
from secagg_client.flower.records import Packet, bare, merged, steps_for
from secagg_client.flower.settings import Settings
from secagg_client.flower.sidecar import HeldRound, SidecarBundle, SidecarRuns
from secagg_client.learning import clipping
from secagg_client.learning.metrics import MetricMeans
from secagg_client.learning.purposes import EVALUATE

Configs = Callable[[int, bytes | None], list[RoundConfig]]
"""The configurations of a question's rounds, for so many nodes. The model's digest is None if it is named later."""

AnyBundle = Bundle | SidecarBundle

MAX_RELEASES: Final = 1000
MAX_TOLD: Final = 16
"""Ends of rounds that a node is told in one message, the latest ones."""
ENOUGH: Final = 0.75
"""Which share of the nodes must have prepared a round, or it is opened anew for all of them."""
LEFT_OUT: Final = 201
"""Code of the errors that tell the strategy who is in no sum; Flower's own are below 100."""
log = getLogger("flwr")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the strategy asked: one message for each node, with the same model in all.

    Attributes:
        messages: by node id.
        contents: by node id; what is sent to it, in the dtypes that the model began with.
        model: the arrays.
        key: the key of the arrays in the content.
        until: on the job's clock; when the strategy's time limit is over.
    """

    messages: Mapping[int, Message]
    contents: Mapping[int, RecordDict]
    model: ArrayRecord
    key: str
    until: float

    @property
    def kind(self) -> str:
        """The type of the messages."""
        return str(next(iter(self.messages.values())).metadata.message_type)

    @property
    def peers(self) -> frozenset[Peer]:
        """The nodes, as rounds name them."""
        return frozenset(map(str, self.messages))


@dataclass(slots=True)
class Job:
    """One job. `train` and `evaluate` answer the calls of the strategy.

    Attributes:
        settings: what the caller chose.
        dtypes: the dtype of each array of the model, as the job began.
        weight_key: the metric that is a participant's weight.
        rounds: of training and of evaluation.
        clock: seconds, of any origin.
        sidecar: holds the rounds, if they do not travel on Flower's channel.
        latest: the model that the strategy sent last to be trained; None before a round had a sum.
    """

    settings: Settings
    channel: Channel
    dtypes: Mapping[str, str]
    weight_key: str
    rounds: int
    clock: Callable[[], float] = time.monotonic
    sidecar: SidecarRuns | None = None
    latest: ArrayRecord | None = field(default=None, init=False)
    _trained: bool = field(default=False, init=False)
    _releases: ReleaseMemory = field(default_factory=partial(ReleaseMemory, MAX_RELEASES), init=False)
    _told: dict[Peer, list[Step]] = field(default_factory=dict, init=False)  # ends of rounds, with the next message
    _prepared: dict[str, Bundle] = field(default_factory=dict, init=False)  # by message type
    _last: dict[str, frozenset[Peer]] = field(default_factory=dict, init=False)  # who was asked last
    _questions: dict[str, int] = field(default_factory=dict, init=False)
    _answered: set[Peer] = field(default_factory=set, init=False)  # in the question under way
    _known: set[Peer] = field(default_factory=set, init=False)  # whose apps have the mod
    _skipped: bool = field(default=False, init=False)

    # --- what the strategy asks ---------------------------------------------------------------------------------------

    def train(self, messages: Sequence[Message], timeout_s: float | None) -> list[Message]:
        """The mean of what the nodes trained, as one reply, and an error for each node that is in no sum.

        Raises:
            ConfigError: the strategy asks for something that no secure round can give.
            BudgetExceeded: the round costs more than is left of the privacy budget.
            RoundAborted: no node took part at all.
        """
        asked = self._asked(messages, timeout_s)
        self.latest = asked.model if self._trained else None
        floats = models.floats(asked.model)
        if not floats:
            raise ConfigError("the model has no floating array, so there is nothing to average")
        if self.settings.searches_clip and (failed := self._find_clip(asked)):
            return failed
        digest, schema = models.digest(asked.model), Schema.of(floats)
        bundle = self._run(asked, digest, lambda count, named: self.settings.train_rounds(schema, count, digest, named))
        update = bundle.rounds[TRAIN]
        found = _mean(update)
        if isinstance(found, str):
            return self._without_sum(f"training: {found}", bundle, asked)
        mean, survivors = found
        self._trained = True
        metrics = self._metrics(bundle, METRICS)
        log.info("SecAgg: the mean of %d of %d nodes", survivors, len(asked.messages))
        record = MetricRecord({self.weight_key: mean.weight, **(metrics.means if metrics else {})})
        content = RecordDict({asked.key: models.averaged(asked.model, mean.arrays), "metrics": record})
        return self._replies(content, bundle, asked)

    def evaluate(self, messages: Sequence[Message], timeout_s: float | None) -> list[Message]:
        """The means of the nodes' metrics, as one reply, and an error for each node that is in no sum.

        Raises:
            ConfigError: as `train`.
        """
        if not self.settings.metrics.ranges:
            if not self._skipped:
                log.warning(
                    "SecAgg: nodes do not evaluate, because no metric is named; name what they report, with its range: "
                    'SecAgg(metrics={"eval_loss": (0, 10)}), or set fraction_evaluate=0'
                )
            self._skipped = True
            return []
        asked = self._asked(messages, timeout_s)
        digest = models.digest(asked.model)
        bundle = self._run(
            asked, digest, lambda count, named: [self.settings.metrics_round(count, named, EVALUATE)], may_fail=True
        )
        metrics = self._metrics(bundle, EVALUATE)
        if metrics is None or not metrics.weight:
            return self._without_sum(f"evaluation: {bundle.rounds[EVALUATE].outcome}", bundle, asked)
        content = RecordDict({"metrics": MetricRecord({self.weight_key: metrics.weight, **metrics.means})})
        return self._replies(content, bundle, asked)

    # --- rounds -------------------------------------------------------------------------------------------------------

    def _find_clip(self, asked: Asked) -> list[Message]:
        """Set the clip; errors for the strategy if there is no sum."""
        log.info("SecAgg: nodes train once more before the first round, to find the clip from a secure histogram")
        digest = models.digest(asked.model)
        bundle = self._run(asked, digest, lambda count, named: [self.settings.clip_round(count, named)], once=True)
        one = bundle.rounds[clipping.PURPOSE]
        if not isinstance(one.outcome, Aggregate):
            return self._without_sum(f"the search for a clip: {one.outcome}", bundle, asked)
        try:
            found = clipping.read(one.outcome.totals(one.config))
        except ProtocolViolation as error:
            return self._without_sum(f"the search for a clip: {error}", bundle, asked)
        if found is None:
            why = "no update changes the model, so the next round searches again"
            return self._without_sum(f"the search for a clip: {why}", bundle, asked)
        self.settings = self.settings.with_clip(found.clip)
        log.info(
            "SecAgg: clip=%g for the whole job, from the largest values of %d updates; %d of them had larger ones, "
            "which are clipped. To leave out this search, pass clip=%g",
            found.clip,
            found.participants,
            found.above,
            found.clip,
        )
        return []

    def _run(
        self, asked: Asked, digest: bytes, configs: Configs, *, may_fail: bool = False, once: bool = False
    ) -> AnyBundle:
        """Play the rounds of a question to their end.

        Args:
            asked: what the strategy asked.
            digest: of its model.
            configs: of the rounds.
            may_fail: whether the job goes on if no node took part.
            once: whether the question is asked once in a job, so that nothing is prepared.
        """
        self._answered.clear()
        if self.sidecar is not None:
            bundle: AnyBundle = self._hold(self.sidecar, asked, configs(len(asked.peers), digest))
        else:
            bundle = self._carry(asked, digest, configs, once=once)
        if not self._answered and not may_fail:
            why = "; ".join(f"node {peer}: {reason}" for peer, reason in list(bundle.dropped().items())[:5])
            raise RoundAborted(
                AbortReason.BELOW_THRESHOLD, f"no node took part in a secure round, so the job stops ({why})"
            )
        return bundle

    def _hold(self, sidecar: SidecarRuns, asked: Asked, configs: Sequence[RoundConfig]) -> SidecarBundle:
        """Let the coordinator hold the rounds."""

        def write(node: int, steps: list[dict[Peer, Step]], *, with_input: bool) -> Letter:
            return self._letter(str(node), steps, asked, with_input)

        bundle = SidecarBundle({config.purpose: HeldRound(config) for config in configs}, asked.peers)
        self._answered.update(sidecar.run(bundle, write, asked.until))
        return bundle

    def _carry(self, asked: Asked, digest: bytes, configs: Configs, *, once: bool) -> Bundle:
        """Exchange messages until the rounds are over, and prepare those of the next question meanwhile."""
        kind = asked.kind
        bundle = self._prepared_for(asked, configs) or self._bundle(asked.peers, configs(len(asked.peers), None))
        bundle.name_model(digest)
        upcoming = None
        while not bundle.over:
            if bundle.asks_for_input and upcoming is None and not once:
                upcoming = self._prepare(asked, configs)
            self._exchange(bundle, upcoming, asked)
        self._end(bundle)
        self._last[kind] = asked.peers
        if upcoming is not None:
            self._prepared[kind] = upcoming
        return bundle

    def _exchange(self, bundle: Bundle, upcoming: Bundle | None, asked: Asked) -> None:
        """One message to each node, and the replies: for this question, and for the next one as far as that goes."""
        with_input = bundle.asks_for_input
        own = bundle.steps(with_input=with_input)
        later = [] if upcoming is None else upcoming.steps(with_input=False)
        trains = set(_peers(own)) if with_input else set()
        letters = {int(peer): self._letter(peer, own + later, asked, peer in trains) for peer in _peers(own + later)}
        for node, answer in self.channel.exchange(letters).items():
            for each in (bundle, upcoming):
                if each is not None:
                    self._hear(str(node), answer, each)
            self._log_notes(str(node), answer)
        bundle.close()
        if upcoming is not None:
            upcoming.close()

    # --- rounds that are prepared -------------------------------------------------------------------------------------

    def _prepare(self, asked: Asked, configs: Configs) -> Bundle | None:
        """The rounds of the next question, if it is likely to be put to the same nodes. Keys and shares of them are
        exchanged in the messages that this question needs anyway.
        """
        kind = asked.kind
        self._questions[kind] = self._questions.get(kind, 0) + 1
        same_nodes = self._last.get(kind, asked.peers) == asked.peers
        if self._questions[kind] >= self.rounds or self.settings.homomorphic is not None or not same_nodes:
            return None
        try:
            return self._bundle(asked.peers, configs(len(asked.peers), None))
        except BudgetExceeded:
            return None  # the next question says so

    def _prepared_for(self, asked: Asked, configs: Configs) -> Bundle | None:
        """The rounds that were prepared for this question, if they fit it."""
        bundle = self._prepared.pop(asked.kind, None)
        if bundle is None:
            return None
        there = bundle.joined & asked.peers
        enough = len(there) >= ENOUGH * max(len(asked.peers), len(bundle.joined))
        if bundle.over or not enough or bundle.configs != configs(len(bundle.peers), None):
            bundle.give_up("the server prepared this round for other nodes, or for another model")
            self._end(bundle)
            return None
        for peer in sorted(asked.peers - there):
            log.info("SecAgg: node %s was not there when this round was prepared; it can be in the next one", peer)
        bundle.keep_only(asked.peers)
        return bundle

    def stop(self) -> None:
        """Give up what was prepared: the job is over, and what was set aside for it is given back."""
        for bundle in self._prepared.values():
            bundle.give_up("the job is over")

    def _bundle(self, peers: frozenset[Peer], configs: Sequence[RoundConfig]) -> Bundle:
        return Bundle({config.purpose: self._round(config, sorted(peers)) for config in configs}, peers)

    def _round(self, config: RoundConfig, peers: Sequence[Peer]) -> Carried:
        charge = self.settings.charge if config.purpose == TRAIN else None
        kind = CarriedRound if config.groups is None else CarriedGroups
        return kind(config, peers, clock=time.time, trust=self.settings.trust, charge=charge, releases=self._releases)

    def _end(self, bundle: Bundle) -> None:
        """Nodes hear of the end with the next message that they get."""
        for endings in bundle.endings():
            for peer, step in endings.items():
                self._told.setdefault(peer, []).append(step)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _letter(self, peer: Peer, steps: list[dict[Peer, Step]], asked: Asked, trains: bool) -> Letter:
        packet = Packet((*self._told.pop(peer, ())[-MAX_TOLD:], *steps_for(steps, peer)), (self.weight_key,))
        message = asked.messages.get(int(peer)) or next(iter(asked.messages.values()))
        if not trains:
            return Letter(bare(packet), message, self.settings.phase_s)
        left = asked.until - 2 * self.settings.phase_s - self.clock()  # what comes after it has its own time
        return Letter(merged(asked.contents[int(peer)], packet), message, max(left, self.settings.phase_s))

    def _hear(self, peer: Peer, answer: Answer, bundle: Bundle) -> None:
        match answer:
            case Packet(steps):
                self._known.add(peer)
                bundle.take(peer, steps)
                if peer in bundle.joined and any(step.kind != LEAVE for step in steps):
                    self._answered.add(peer)
            case Refusal(reason, named=False) if peer not in self._known:
                bundle.lost(peer, f"{reason} {MAYBE_NO_MOD}")
            case Silence(reason) | Refusal(reason):
                bundle.lost(peer, reason)

    @staticmethod
    def _log_notes(peer: Peer, answer: Answer) -> None:
        if isinstance(answer, Packet):
            for note in answer.notes:
                log.warning("SecAgg: node %s: %s", peer, explained([note]))

    # --- results ------------------------------------------------------------------------------------------------------

    def _metrics(self, bundle: AnyBundle, purpose: str) -> MetricMeans | None:
        one = bundle.rounds.get(purpose)
        if one is None:
            return None
        if not isinstance(one.outcome, Aggregate):
            log.warning("SecAgg: there is no sum of metrics: %s", one.outcome)
            return None
        try:
            found = self.settings.metrics.read(one.outcome.totals(one.config))
        except ProtocolViolation as error:
            log.warning("SecAgg: the sums of metrics cannot be read: %s", error)
            return None
        for name, count in found.outside.items():
            if count:
                log.warning("SecAgg: metric %r: %d nodes' values lay outside of its range", name, count)
        return found

    def _replies(self, content: RecordDict, bundle: AnyBundle, asked: Asked) -> list[Message]:
        anyone = next(iter(asked.messages.values()))
        return [Message(content, reply_to=anyone), *self._errors(bundle, asked)]

    def _without_sum(self, what: str, bundle: AnyBundle, asked: Asked) -> list[Message]:
        log.warning("SecAgg: no sum of %s", what)
        return self._errors(bundle, asked) or [
            Message(Error(LEFT_OUT, f"no sum of {what}"), reply_to=message) for message in asked.messages.values()
        ]

    def _errors(self, bundle: AnyBundle, asked: Asked) -> list[Message]:
        dropped = bundle.dropped()
        for peer, reason in sorted(dropped.items()):
            log.warning("SecAgg: node %s dropped out: %s", peer, reason)
        return [
            Message(Error(LEFT_OUT, dropped[str(node)]), reply_to=message)
            for node, message in asked.messages.items()
            if str(node) in dropped
        ]

    # --- the strategy's messages --------------------------------------------------------------------------------------

    def _asked(self, messages: Sequence[Message], timeout_s: float | None) -> Asked:
        by_node = {message.metadata.dst_node_id: message for message in messages}
        if len(by_node) < len(messages):
            raise ConfigError("the strategy sends one node two messages in a round; a secure round takes one of each")
        least = self.settings.fewest
        if len(by_node) < least:
            raise ConfigError(
                f"the strategy asks {len(by_node)} nodes, and a secure round needs {least} at least: raise its "
                "min_train_nodes, min_evaluate_nodes and min_available_nodes, or its fractions"
            )
        restored: dict[int, RecordDict] = {}  # strategies put one content into all messages
        for message in messages:
            if id(message.content) not in restored:
                restored[id(message.content)] = self._restored(message.content)
        contents = {node: restored[id(message.content)] for node, message in by_node.items()}
        keys, model = _only_model(list(restored.values()))
        until = self.clock() + (float("inf") if timeout_s is None else timeout_s)
        return Asked(by_node, contents, model, keys, until)

    def _restored(self, content: RecordDict) -> RecordDict:
        return RecordDict(
            {
                key: models.restored(record, self.dtypes) if isinstance(record, ArrayRecord) else record
                for key, record in content.items()
            }
        )


def _mean(update: Carried | HeldRound) -> tuple[WeightedMean, int] | str:
    """What a round of updates gives, and how many nodes' updates are in it; without a sum, why not."""
    try:
        match update.outcome:
            case Aggregate(survivors=survivors) if not isinstance(update, CarriedGroups):
                return update.outcome.mean(update.config, update.context), len(survivors)
            case GroupedAggregate(survivors=survivors):
                return update.outcome.mean(update.config), len(survivors)
            case failure:
                return str(failure)
    except ProtocolViolation as error:  # somebody sent what is no update
        return str(error)


def _peers(steps: Iterable[dict[Peer, Step]]) -> list[Peer]:
    return sorted({peer for each in steps for peer in each})


def _only_model(contents: Sequence[RecordDict]) -> tuple[str, ArrayRecord]:
    first: tuple[str, ArrayRecord] | None = None
    for content in contents:
        found = list(content.array_records.items())
        if len(found) != 1:
            raise ConfigError(
                f"the strategy sends {len(found)} ArrayRecords to a node, and a secure round averages one"
            )
        if first is None:
            first = found[0]
        elif models.digest(found[0][1]) != models.digest(first[1]):
            raise ConfigError(
                "the strategy sends different models to different nodes, and updates of these have no mean"
            )
    if first is None:
        raise ConfigError("the strategy sends no message")
    return first
