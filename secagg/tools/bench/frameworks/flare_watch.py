"""A component of FLARE's server that writes down when rounds begin, what comes and goes, and what one site sent."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.dxo import from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.fuel.utils import fobs
from secagg_client.carried.steps import every
from secagg_client.nvflare import channel

from secagg.messages import Phase
from secagg.tools.bench.memory import memory_of
from secagg.wire.calls import CALL_OF
from secagg.wire.counting import MAX_FIELDS

FIRST = "site-1"


def update_in(result: Any) -> bytes:
    """The longest update in a site's result: its parameters, or masked residues without the frames around them."""
    if not channel.is_ours(result):
        return b"".join(np.asarray(array).tobytes() for array in from_shareable(result).data.values())
    brings = CALL_OF[Phase.MASKED_INPUT].brings
    masked = [
        b"".join(brings.decode(message).payload for message in every(brings.kind, step.parts, MAX_FIELDS))
        for step in channel.unpacked(result)
        if step.kind == str(Phase.MASKED_INPUT)
    ]
    return max(masked, key=len, default=b"")


class Watch(FLComponent):
    """Figures of a job, in a folder: `figures.json`, and `upload.npy` with the latest result of the first site."""

    def __init__(self, folder: str) -> None:
        """Args: folder: where the figures go."""
        super().__init__()
        self.folder = folder
        self._began: list[float] = []
        self._up: list[int] = []
        self._down: list[int] = []
        self._messages: list[int] = []

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """FLARE's events."""
        if event_type == EventType.START_RUN:
            self._count_messages(fl_ctx.get_engine())
        elif event_type == AppEventType.ROUND_STARTED:
            self._began.append(time.perf_counter())
            for counts in (self._up, self._down, self._messages):
                counts.append(0)
        elif event_type == AppEventType.BEFORE_TRAIN_TASK:
            self._note(self._down, fobs.dumps(fl_ctx.get_prop(AppConstants.TRAIN_SHAREABLE)))
        elif event_type == EventType.BEFORE_PROCESS_SUBMISSION:
            result = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
            self._note(self._up, fobs.dumps(result))
            if fl_ctx.get_peer_context().get_identity_name() == FIRST:
                np.save(Path(self.folder, "upload.npy"), np.frombuffer(update_in(result), np.uint8), allow_pickle=False)
        elif event_type == EventType.END_RUN:
            self._tell()

    def _note(self, counts: list[int], data: bytes) -> None:
        counts[-1] += len(data)
        self._messages[-1] += 1

    def _count_messages(self, engine: Any) -> None:
        """Aux messages fire no event, so the engine's method is followed by a count of what it was given and gave."""
        send = engine.send_aux_request

        def counted(*args: Any, request: Any, **kwargs: Any) -> Any:
            answers = send(*args, request=request, **kwargs)
            if self._began and kwargs.get("topic") == "secagg":
                self._note(self._down, fobs.dumps(request))
                self._up[-1] += sum(len(fobs.dumps(answer)) for answer in (answers or {}).values())
            return answers

        engine.send_aux_request = counted

    def _tell(self) -> None:
        told = {
            "began_s": self._began,
            "up_bytes": self._up,
            "down_bytes": self._down,
            "messages": self._messages,
            "server_peak_bytes": memory_of().peak_bytes,
        }
        Path(self.folder, "figures.json").write_text(json.dumps(told), encoding="utf-8")
