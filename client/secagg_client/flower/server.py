"""The server app's side: a strategy wrapped outside, and the grid inside."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from logging import getLogger
from pathlib import Path
from typing import Any, Final

from flwr.app import ArrayRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from secagg.config import RoundConfig, ThreatModel
from secagg.context import RoundId
from secagg.crypto.identity import TrustAnchors
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.errors import BudgetExceeded, ConfigError
from secagg.lattice.parameters import Profile
from secagg.privacy.ledger import Budget
from secagg.programs.ledgers.budgets import Budgets, Charge
from secagg.programs.ledgers.files import LedgerFolder, locked
from secagg.programs.ledgers.memory import MemoryLedgers
from secagg.robust.grouping import Groups
from secagg.scalars import as_number
from secagg_client.flower import arrays as models
from secagg_client.flower.channel import Channel
from secagg_client.flower.job import Job
from secagg_client.flower.settings import AUTO, GraphChoice, Settings
from secagg_client.flower.sidecar import Sidecar, SidecarRuns
from secagg_client.flower.strategies import check_strategy, raise_minimums, weight_key
from secagg_client.learning.metrics import Metrics

DEFAULT_MAX_WEIGHT: Final = 1000
log = getLogger("flwr")


class SecAgg:
    """A strategy whose training and evaluation are secure rounds: the server learns means, and no node's update, number
    of examples or metric.

    Examples:
        >>> @app.main()
        ... def main(grid, context):
        ...     SecAgg(FedAvg(), clip="auto", max_weight=500).start(grid=grid, initial_arrays=arrays, num_rounds=5)
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        transport: Sidecar | None = None,
        clip: float | str = AUTO,
        max_weight: int = DEFAULT_MAX_WEIGHT,
        value_bits: int = 16,
        encoding: FixedPoint | Pipeline | None = None,
        metrics: Mapping[str, tuple[float, float]] | None = None,
        trust: TrustAnchors | None = None,
        threshold: int = 0,
        max_colluding: int = -1,
        graph: GraphChoice = "complete",
        groups: Groups | None = None,
        homomorphic: Profile | None = None,
        ledger: str | Path | None = None,
        budget: Budget | None = None,
        task: str = "flower",
        phase_s: float = 60.0,
        mean_based: bool = False,
    ) -> None:
        """Args:
            strategy: one that works on the mean of all updates: FedAvg, FedProx, FedAvgM, FedAdam, FedYogi, FedAdagrad,
                or a class derived from these without an aggregation of its own.
            transport: where the coordinator is that holds the rounds. None lets them travel on Flower's own channel.
            clip: values of an update are clipped to plus and minus this. With "auto" it is found once, before the first
                round, from a secure histogram of the updates' largest values. That costs one training more.
            max_weight: the largest number of examples of a node; those with more are left out. Choose it no larger than
                needed: the smaller a node's number is beside it, the coarser are its values.
            value_bits: bits of a value, 1 to 32.
            encoding: a fixed-point code or a pipeline in place of `clip`, `max_weight` and `value_bits`. If it does not
                weigh updates, metrics are still weighted by the number of examples, up to `max_weight`.
            metrics: smallest and largest value of each metric that nodes report, in training or evaluation, by name.
                Their means are computed as exact sums. Others stay at the nodes. Without any, nodes do not evaluate.
            trust: the CA of the nodes' certificates. With it rounds stand against an active server; without, against
                one that follows the protocol. With `transport` it is left out: every node has a certificate, which the
                coordinator checks, and rounds stand against an active one.
            threshold: fewest nodes whose updates are in a sum. With 0 it is the default for the number of nodes that
                the strategy asks: more than half, and more than two thirds with `trust`; 3 at least.
            max_colluding: nodes that may work together with the server; with −1 as `RoundConfig` says.
            graph: "auto" lets each node share masks with some neighbours alone where the cohort is so large, and
                `max_colluding` so small, that this is safe and worth it; a few hundred nodes at least.
            groups: train in groups, and combine their means by median or trimmed mean.
            homomorphic: a profile from `secagg.find_profile`, to encrypt updates in place of masking them.
            ledger: an existing folder that keeps what rounds with noise cost of the privacy budget; it outlives the
                job. One job at a time uses it, and nobody else can write there. None keeps it in memory. With
                `transport` the coordinator keeps it.
            budget: the most that all rounds with noise may cost together; None for ε = 2.5 at δ = 1e-5.
            task: name of the job in configurations, policies and privacy ledgers.
            phase_s: longest wait for an answer without training in it, in seconds. Training has the time limit of
                `start`.
            mean_based: say so if a strategy with code of its own works on the mean of all replies alone.

        Raises:
            ConfigError: the strategy needs single updates, or parameters do not fit together.
        """
        check_strategy(strategy, mean_based=mean_based)
        for name, value, kinds, example in (
            ("transport", transport, Sidecar, "a Sidecar"),
            ("encoding", encoding, FixedPoint | Pipeline, "a FixedPoint, or Pipeline.parse(text)"),
            ("metrics", metrics, Mapping, 'a range for each name, such as {"loss": (0, 10)}'),
            ("trust", trust, TrustAnchors, "TrustAnchors.from_pem(pem)"),
            ("groups", groups, Groups, "Groups(count=5)"),
            ("homomorphic", homomorphic, Profile, "a profile from secagg.find_profile"),
            ("budget", budget, Budget, "Budget(epsilon)"),
        ):
            if value is not None and not isinstance(value, kinds):
                raise ConfigError(f"{name} is {example}, not {value!r:.60}")
        if encoding is not None and clip != AUTO:
            raise ConfigError("the encoding has a clip of its own; leave clip out")
        if transport is not None and not (trust is None and ledger is None and budget is None):
            raise ConfigError(
                "with the sidecar transport the coordinator checks certificates and keeps the privacy ledger: name "
                "them in its settings (participant_ca, ledger_dir, budget), and leave trust, ledger and budget out"
            )
        signed = trust is not None or transport is not None
        weight = max_weight if encoding is None or encoding.max_weight == 1 else encoding.max_weight
        if weight_key(strategy) in (metrics or {}):
            raise ConfigError(
                f"{weight_key(strategy)!r} is the weight of each node and no metric, and the strategy gets its total "
                "anyway; leave it out of metrics"
            )
        self._strategy = strategy
        self._transport = transport
        self._ledger = None if ledger is None else Path(ledger)
        self._settings = Settings(
            task=task,
            max_weight=weight,
            clip=_clip(clip),
            value_bits=value_bits,
            encoding=encoding,
            metrics=Metrics(metrics or {}, weight),
            threat_model=ThreatModel.ACTIVE if signed else ThreatModel.SEMI_HONEST,
            trust=trust,
            threshold=threshold,
            max_colluding=max_colluding,
            graph=graph,
            groups=groups,
            homomorphic=homomorphic,
            phase_s=phase_s,
            charge=_charge(self._ledger, budget or Budget()),
        )

    def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3, *more: Any, **options: Any) -> Result:
        """Run the strategy, as its own `start` does.

        Args:
            grid: the server app's.
            initial_arrays: the model to begin with.
            num_rounds: rounds of training.
            more: what else the strategy's own `start` takes, in its order: `timeout`, `train_config`, …
            options: the same by name.

        Returns:
            what the strategy's `start` returns. Where the privacy budget is spent before the last round, only the model
            as it is then.

        Raises:
            ConfigError: the strategy asks for something that no secure round can give; or another job uses the ledger's
                folder, or others can write there.
            BudgetExceeded: the first round would cost more than is left of the privacy budget.
            RoundAborted: no node took part in a round: the job stops, and does not go on with its old model.
        """
        with ExitStack() as stack:
            if self._ledger is not None:  # two jobs at once would each spend the same rest of the budget
                stack.enter_context(locked(self._ledger))
            for change in raise_minimums(self._strategy, self._settings.fewest):
                log.warning("SecAgg: %s", change)
            channel = Channel(grid)
            job = Job(self._settings, channel, models.dtypes(initial_arrays), weight_key(self._strategy), num_rounds)
            secure: Any = SecureGrid(grid, job)
            if self._transport is not None:
                job.sidecar = stack.enter_context(closing(SidecarRuns(self._transport, channel, clock=job.clock)))
            stack.callback(job.stop)
            try:
                return self._strategy.start(secure, initial_arrays, num_rounds, *more, **options)
            except BudgetExceeded as error:
                if job.latest is None:
                    raise
                log.error("SecAgg: the job stops here, with the model that it has: %s", error)
                return Result(arrays=job.latest)


class SecureGrid(Grid):  # type: ignore[misc]  # Any, where Flower is not installed
    """Flower's grid with secure training and evaluation. Everything else is the wrapped grid's."""

    def __init__(self, grid: Grid, job: Job) -> None:
        self._grid = grid
        self._job = job

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Training and evaluation as secure rounds; the strategy's own queries as they are."""
        asked = list(messages)
        kinds = {message.metadata.message_type.split(".")[0] for message in asked}
        if kinds == {MessageType.TRAIN}:
            return self._job.train(asked, timeout)
        if kinds == {MessageType.EVALUATE}:
            return self._job.evaluate(asked, timeout)
        if kinds & {MessageType.TRAIN, MessageType.EVALUATE}:
            raise ConfigError("the strategy sends messages of several types at once; a secure round has one")
        return self._grid.send_and_receive(asked, timeout=timeout) if asked else []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Messages that are neither training nor evaluation."""
        pushed = list(messages)
        for message in pushed:
            if message.metadata.message_type.split(".")[0] in {MessageType.TRAIN, MessageType.EVALUATE}:
                raise ConfigError("training and evaluation go through send_and_receive, which makes rounds of them")
        return list(self._grid.push_messages(pushed))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the wrapped grid."""
        return list(self._grid.pull_messages(message_ids))

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """As the wrapped grid."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """As the wrapped grid."""
        return list(self._grid.get_node_ids())

    def get_nodes(self) -> Iterable[Any]:
        """As the wrapped grid."""
        return list(self._grid.get_nodes())

    def set_run(self, run: Any) -> None:
        """As the wrapped grid."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """As the wrapped grid."""
        return self._grid.run


class _LedgerLog:
    """Events of privacy ledgers as lines of Flower's log."""

    def info(self, event: str, **facts: str) -> None:
        log.info("SecAgg: %s %s", event, facts)

    def warning(self, event: str, **facts: str) -> None:
        log.warning("SecAgg: %s %s", event, facts)


def _charge(folder: Path | None, budget: Budget) -> Callable[[RoundId, RoundConfig], Charge | None]:
    if folder is not None and not folder.is_dir():
        raise ConfigError(
            f"there is no folder {str(folder)!r} for the privacy ledger; make it, or correct the path: in a new folder "
            "nothing of the budget is spent"
        )
    store = MemoryLedgers() if folder is None else LedgerFolder(folder)
    return Budgets(store, budget, {}, _LedgerLog()).plan


def _clip(clip: float | str) -> float | None:
    if clip == AUTO:
        return None
    if isinstance(clip, str):
        raise ConfigError(f'clip is a number or "auto", not {clip!r}')
    return as_number(clip, "clip")
