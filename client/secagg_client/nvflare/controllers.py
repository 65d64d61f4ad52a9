"""FLARE's controllers with secure rounds in place of their training task.

`FedAvg` and `ScatterAndGather` send a task with `broadcast` or `broadcast_and_wait`, and hear of each site's result in
a callback. Here the task goes to sites that hold keys and shares, their results are masked, and the callback is called
once, with the mean as the result of one site: the mean of one is itself, whatever the controller computes from it. A
round without a sum gives the model back unchanged, so that the job goes on.
"""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any, Final

import numpy as np
from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.dxo import DataKind
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather

from secagg_client.nvflare import models
from secagg_client.nvflare.exchanges import Exchanges
from secagg_client.nvflare.identities import trust_of
from secagg_client.nvflare.own_channel import OwnChannel
from secagg_client.nvflare.rounds import Gone, JobRounds, Take, Trained, Transport
from secagg_client.nvflare.settings import SIDECAR, Settings
from secagg_client.nvflare.sidecar import Sidecar

ALL: Final = "secagg-mean"
"""Name of the one site that a controller hears of."""

_LOOK_S: Final = 0.05
_ALIVE_S: Final = 3.0
"""How often the server asks whether sites that train are still there; one that is not there twice is gone."""


class SecureTasks(Controller):
    """What a controller gets that runs its training task as a secure round. Stands before the controller's class."""

    secagg: dict[str, Any]

    def broadcast(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Sequence[Any] | None = None,
        min_responses: int = 1,
        wait_time_after_min_received: int = 0,
    ) -> None:
        """Run the training task as a secure round, and return when it is over."""
        self._secure(task, fl_ctx, targets)

    def broadcast_and_wait(  # noqa: PLR0917, as FLARE calls it
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Sequence[Any] | None = None,
        min_responses: int = 1,
        wait_time_after_min_received: int = 0,
        abort_signal: Any = None,
    ) -> None:
        """Run the training task as a secure round."""
        self._secure(task, fl_ctx, targets)

    def process_result_of_unknown_task(self, client: Client, *args: Any, **kwargs: Any) -> None:
        """A result that comes when its round is over is dropped unread."""
        self.logger.warning(f"secagg: a result of {client.name} came when its round was over; it was dropped unread")

    # --- one round ----------------------------------------------------------------------------------------------------

    def _secure(self, task: Task, fl_ctx: FLContext, targets: Sequence[Any] | None) -> None:
        abort = fl_ctx.get_run_abort_signal()
        clients = self._engine.get_clients() if targets is None else targets
        sites = [site for site in map(_name, clients) if not self.get_client_disconnect_time(site)]
        parameters = models.content(task.data).data
        self._dtypes = getattr(self, "_dtypes", None) or models.dtypes(parameters)
        models.restore(parameters, self._dtypes)

        def train(asked: Sequence[str], take: Take, gone: Gone) -> None:
            self._train(task, fl_ctx, asked, take, gone)

        stopped = abort is not None and abort.triggered
        trained = Trained() if stopped else self._rounds(fl_ctx).train(models.averaged(parameters), sites, train)
        self._hand_over(task, parameters, trained)

    def _rounds(self, fl_ctx: FLContext) -> JobRounds:
        made: JobRounds | None = getattr(self, "_job_rounds", None)
        if made is None:
            settings = Settings.from_json(self.secagg)
            self._exchanges = Exchanges(self._engine, phase_s=settings.phase_s, start_s=settings.start_s)
            made = self._job_rounds = JobRounds(settings, self._transport(settings), self._say)
        return made

    def _transport(self, settings: Settings) -> Transport:
        if settings.transport == SIDECAR:
            return Sidecar(self._exchanges, settings.control, phase_s=settings.phase_s, log=self._say)
        startup = Path(self._engine.get_workspace().get_startup_kit_dir())
        trust = trust_of(startup) if settings.active else None
        return OwnChannel(self._exchanges, clock=time, log=self._say, trust=trust)

    def _say(self, line: str) -> None:
        self.logger.info(f"secagg: {line}")

    def _train(self, task: Task, fl_ctx: FLContext, sites: Sequence[str], take: Take, gone: Gone) -> None:
        """Send the task, and hand over results until every site has answered or is gone."""
        missing, answered = set(sites), set[str]()

        def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
            site, answer = client_task.client.name, client_task.result
            client_task.result = None
            take(site, answer)
            missing.discard(site)
            answered.add(site)

        sent = Task(
            name=task.name,
            data=task.data,
            operator=task.operator,
            timeout=task.timeout,
            before_task_sent_cb=task.before_task_sent_cb,
            result_received_cb=received,
        )
        super().broadcast(task=sent, fl_ctx=fl_ctx, targets=list(sites), min_responses=0)
        abort = fl_ctx.get_run_abort_signal()
        looked, suspects = monotonic(), set[str]()
        while missing and sent.completion_status is None:
            if abort is not None and abort.triggered:
                break
            lost = {site for site in missing if self.get_client_disconnect_time(site)}
            if monotonic() - looked >= _ALIVE_S:
                unreachable = self._exchanges.unreachable(sorted(missing))
                lost |= unreachable & suspects
                looked, suspects = monotonic(), unreachable
            for site in lost & missing:
                gone(site, "its process is gone")
                missing.discard(site)
            sleep(_LOOK_S)
        if len(answered) < len(sites):  # FLARE would go on waiting
            self.cancel_task(sent, fl_ctx=fl_ctx)

    def _hand_over(self, task: Task, parameters: dict[str, Any], trained: Trained) -> None:
        """Call the controller's own callback, with the mean as the result of one site."""
        mean = trained.mean
        if mean is None:
            self.logger.warning("secagg: this round has no sum, and the model stays as it is")
            mean = {name: np.zeros_like(array) for name, array in models.averaged(parameters).items()}
        kind = self._kind()
        found = models.differences if kind == DataKind.WEIGHT_DIFF else models.moved
        result = models.result(kind, found(parameters, mean), trained.weight or 1, trained.metrics)
        for header in (AppConstants.CURRENT_ROUND, AppConstants.NUM_ROUNDS, AppConstants.START_ROUND):
            if (value := task.data.get_header(header)) is not None:
                result.set_header(header, value)
        result.set_cookie_jar(task.data.get_cookie_jar() or {})
        heard = ClientTask(Client(ALL, ""), task)
        heard.result = result
        with self._engine.new_context() as hand_over:
            hand_over.set_peer_context(_peer(result))
            result.set_peer_props(hand_over.get_peer_context().get_all_public_props())
            task.result_received_cb(client_task=heard, fl_ctx=hand_over)

    def _kind(self) -> Any:
        """Which of FLARE's kinds of data the controller expects: weights, or differences of weights."""
        raise NotImplementedError


class SecureFedAvg(SecureTasks, FedAvg):
    """FLARE's `FedAvg` (also FedProx's), which hears of the mean alone."""

    def __init__(self, *args: Any, secagg: dict[str, Any], **kwargs: Any) -> None:
        """Args: secagg: the job's settings, as `Settings.as_json` writes them. The rest is `FedAvg`'s."""
        super().__init__(*args, **kwargs)
        self.secagg = secagg

    def _kind(self) -> Any:
        return DataKind.WEIGHT_DIFF


class SecureScatterAndGather(SecureTasks, ScatterAndGather):
    """FLARE's `ScatterAndGather` (FedOpt's), which hears of the mean alone."""

    def __init__(self, *args: Any, secagg: dict[str, Any], **kwargs: Any) -> None:
        """Args: secagg: the job's settings, as `Settings.as_json` writes them. The rest is `ScatterAndGather`'s."""
        super().__init__(*args, **kwargs)
        self.secagg = secagg

    def _kind(self) -> Any:
        kinds = self.aggregator.expected_data_kind  # a mapping with one entry once the aggregator has started
        return next(iter(kinds.values())) if isinstance(kinds, dict) else kinds


def _name(client: Any) -> str:
    return client.name if isinstance(client, Client) else str(client)


def _peer(result: Shareable) -> FLContext:
    """Who sent a result, as other components of the server ask for it."""
    peer = FLContext()
    peer.set_prop(ReservedKey.IDENTITY_NAME, ALL, private=False, sticky=False)
    peer.set_prop(FLContextKey.SHAREABLE, result, private=True, sticky=False)
    return peer
