"""A FLARE job in one process: FLARE's controller and its communicator, a thread for each site, no network.

What reaches the server is recorded as it came.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.dxo import from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from secagg_client.nvflare import channel
from secagg_client.nvflare.settings import Settings
from secagg_client.nvflare.site import COMPONENT, MaskResult, NoteModel, SecAggSite

Train = Callable[[dict[str, Any]], FLModel | Shareable | None]
"""What an executor does with the parameters; None for a process that dies. What it raises, FLARE makes an error of."""


class Workspace:
    def __init__(self, root: Path) -> None:
        self.root = root

    def get_startup_kit_dir(self) -> str:
        return str(self.root / "startup")

    def get_site_config_dir(self) -> str:
        return str(self.root / "local")

    def get_run_dir(self, job_id: str) -> str:
        return str(self.root)


class Engine:
    """What components see of FLARE's engine, at the server and at a site."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.workspace = name, Workspace(root)
        self.components: dict[str, Any] = {}
        self.handlers: dict[str, Any] = {}
        self.listeners: list[Any] = []
        self.contexts = FLContextManager(self, name, "job", {}, {ReservedKey.RUN_ABORT_SIGNAL: Signal()})

    def new_context(self) -> FLContext:
        return self.contexts.new_context()

    def get_workspace(self) -> Workspace:
        return self.workspace

    def get_component(self, name: str) -> Any:
        return self.components.get(name)

    def fire_event(self, event: str, fl_ctx: FLContext) -> None:
        for listener in self.listeners:
            listener.handle_event(event, fl_ctx)

    def register_aux_message_handler(self, topic: str, handler: Any) -> None:
        self.handlers[topic] = handler


@dataclass
class Site:
    """One site: how it trains, and how it fails.

    Attributes:
        answers: the aux messages that it answers before its process dies; None for all.
        missing: whether its app lacks the plug-in.
        alter: changes an answer of its own.
    """

    name: str
    train: Train
    root: Path
    answers: int | None = None
    missing: bool = False
    alter: Callable[[Shareable], Shareable] = lambda answer: answer
    engine: Engine = field(init=False)

    def start(self, settings: Settings) -> None:
        self.engine = Engine(self.name, self.root / self.name)
        if self.missing:
            return
        site = SecAggSite(settings.as_json())
        self.engine.components[COMPONENT] = site
        with self.engine.new_context() as fl_ctx:
            site.handle_event(EventType.START_RUN, fl_ctx)

    def hear(self, topic: str, request: Shareable) -> Shareable:
        if topic not in self.engine.handlers:
            return make_reply(ReturnCode.TOPIC_UNKNOWN)
        if self.answers is not None:
            self.answers -= 1
            if self.answers < 0:
                return make_reply(ReturnCode.COMMUNICATION_ERROR)
        with self.engine.new_context() as fl_ctx:
            return self.alter(self.engine.handlers[topic](topic=topic, request=request, fl_ctx=fl_ctx))

    def perform(self, task: Shareable) -> Shareable | None:
        """The task, as FLARE's runner performs it."""
        with self.engine.new_context() as fl_ctx:
            if not self.missing:
                task = NoteModel().process(task, fl_ctx)
            try:
                trained = self.train(from_shareable(task).data)
            except Exception:
                return make_reply(ReturnCode.EXECUTION_EXCEPTION)
            if trained is None:
                return None
            result = FLModelUtils.to_shareable(trained) if isinstance(trained, FLModel) else trained
            if self.missing:
                return result
            masked = MaskResult().process(result, fl_ctx)
            fl_ctx.set_prop(FLContextKey.TASK_RESULT, masked, private=True, sticky=False)
            self.engine.components[COMPONENT].handle_event(EventType.AFTER_TASK_RESULT_FILTER, fl_ctx)
            return masked


class ServerEngine(Engine):
    """The server's engine, which reaches the sites by a function call.

    Attributes:
        seen: everything that came from a site, in order.
        asked: aux messages by site.
        tasks: tasks by site.
        limits_s: how long answers were waited for, in seconds.
    """

    def __init__(self, sites: list[Site], root: Path) -> None:
        super().__init__("server", root)
        self.sites = {site.name: site for site in sites}
        self.seen: list[tuple[str, Shareable]] = []
        self.asked: dict[str, int] = {}
        self.tasks: dict[str, int] = {}
        self.limits_s: set[float] = set()
        self.lock = Lock()

    def get_clients(self) -> list[Client]:
        return [Client(name, name) for name in self.sites]

    def send_aux_request(
        self, *, targets: list[str], topic: str, request: Shareable, timeout: float, fl_ctx: FLContext, optional: bool
    ) -> dict[str, Shareable]:
        (name,) = targets
        self.limits_s.add(timeout)
        answer = self.sites[name].hear(topic, request)
        with self.lock:
            self.asked[name] = self.asked.get(name, 0) + 1
            self.seen.append((name, answer))
        return {name: answer}

    def persist_components(self, fl_ctx: FLContext, completed: bool) -> None:
        """Nothing is kept."""


class Job:
    """A controller that runs with some sites, each in a thread that asks for tasks."""

    def __init__(
        self, controller: Any, sites: list[Site], root: Path, components: dict[str, Any] | None = None
    ) -> None:
        self.controller, self.engine = controller, ServerEngine(sites, root)
        self.engine.components |= components or {}
        settings = Settings.from_json(controller.secagg)
        for site in sites:
            site.start(settings)
        self.communicator = WFCommServer(task_check_period=0.02)
        controller._task_check_period = 0.02
        controller.set_communicator(self.communicator)
        self.abort = self.engine.new_context().get_run_abort_signal()
        self.over = False

    def run(self) -> None:
        """The whole job."""
        fl_ctx = self.engine.new_context()
        self.communicator.initialize_run(fl_ctx)
        self.controller.initialize(fl_ctx)
        threads = [Thread(target=self._work, args=(site,), daemon=True) for site in self.engine.sites.values()]
        for thread in threads:
            thread.start()
        try:
            self.controller.control_flow(self.abort, fl_ctx)
        finally:
            self.over = True
            for thread in threads:
                thread.join()
            self.communicator.finalize_run(fl_ctx)

    def _work(self, site: Site) -> None:
        client = Client(site.name, site.name)
        while not self.over:
            with self.engine.new_context() as fl_ctx:
                name, task_id, data = self.communicator.process_task_request(client, fl_ctx)
            if not name:
                time.sleep(0.005)
                continue
            self.engine.tasks[site.name] = self.engine.tasks.get(site.name, 0) + 1
            result = site.perform(data)
            if result is None:
                with self.engine.new_context() as fl_ctx:
                    self.communicator.process_dead_client_report(site.name, fl_ctx)
                return
            with self.engine.lock:
                self.engine.seen.append((site.name, result))
            with self.engine.new_context() as fl_ctx:
                self.communicator.process_submission(client, name, task_id, result, fl_ctx)


def steps_of(message: Shareable) -> list[Any]:
    """The steps in a recorded message; none where it has none."""
    return channel.unpacked(message) if channel.is_ours(message) else []
