"""A component of the server that writes down what sites log for a tracker, if any of it comes."""

from pathlib import Path
from typing import Any

from nvflare.apis.fl_component import FLComponent


class Told(FLComponent):
    """Writes one line for each event of a tracker."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def handle_event(self, event_type: str, fl_ctx: Any) -> None:
        if "analytix" in event_type:
            with Path(self.path).open("a") as file:
                file.write(f"{event_type}\n")
