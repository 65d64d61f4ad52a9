"""What runs in the processes of a schedule. Each is started again after a kill with the same arguments."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from secagg_client import Client, ControlClient, StateFolder

from secagg.config import ThreatModel
from secagg.context import RoundId
from secagg.errors import SecAggError
from secagg.policy import Policy
from secagg.tools.faults.machine.schedule import ARRAY, Schedule, round_id_of, update_of

PATIENCE_S: Final = 60.0
COORDINATOR: Final = "coordinator"
FL_SERVER: Final = "fl-server"
_POLICY: Final = Policy(threat_models=frozenset(ThreatModel), min_colluding_share=0.0)


def outcome_of(folder: Path, name: str) -> Path:
    """Where a program says how the round ended for it."""
    return folder / f"{name}.json"


def log_of(folder: Path, name: str) -> Path:
    """What a program writes to standard output and standard error, over all its processes."""
    return folder / f"{name}.log"


def coordinator(folder: Path, settings: Path) -> None:
    """`secagg-server serve`."""
    from secagg_server.__main__ import main  # noqa: PLC0415, loaded with its settings of TLS first

    _write_to(log_of(folder, COORDINATOR))
    sys.argv = ["secagg-server", "serve", "--config", str(settings)]
    main()


def participant(folder: Path, schedule: Schedule, name: str, target: str) -> None:
    """One participant, with a folder for what it must not forget."""
    place = folder / name
    files = {"certificate": place / "cert.pem", "key": place / "key.pem", "ca": place / "ca.pem"}

    def take_part(state: StateFolder) -> dict[str, Any]:
        with Client.from_files(target, policy=_POLICY, memory=place / "memory", **files) as client:
            result = client.participate(
                {ARRAY: update_of(schedule, name)},
                task=schedule.config.task,
                model_digest=schedule.config.model_digest,
                timeout_s=PATIENCE_S,
                state=state,
            )
        if result.totals is None:
            raise ValueError("a round of integers gives totals")
        return {
            "survivors": list(result.survivors),
            "digest": result.receipt.sums_digest.hex(),
            "totals": _numbers(result.totals.arrays[ARRAY]),
        }

    _write_to(log_of(folder, name))
    with StateFolder(place / "state") as state:
        _tell(outcome_of(folder, name), lambda: take_part(state))


def fl_server(folder: Path, schedule: Schedule, target: str) -> None:
    """The FL server: opens the round, waits for its end and fetches the sum."""

    def run() -> dict[str, Any]:
        with ControlClient(target) as control:
            round_id = RoundId(round_id_of(schedule))
            control.open_round(schedule.config, round_id=round_id, timeout_s=PATIENCE_S)
            aggregate = control.result(round_id, timeout_s=PATIENCE_S)
        totals = aggregate.totals(schedule.config)
        return {"survivors": list(aggregate.survivors), "totals": _numbers(totals.arrays[ARRAY])}

    _write_to(log_of(folder, FL_SERVER))
    _tell(outcome_of(folder, FL_SERVER), run)


def _numbers(array: "np.ndarray[Any, np.dtype[Any]]") -> list[int]:
    return [int(value) for value in array]


def _tell(path: Path, run: Callable[[], dict[str, Any]]) -> None:
    """Write how it ended: with a result, or with an error that has a name. Anything else is a traceback in the log."""
    try:
        told = run()
    except SecAggError as error:
        told = {"error": type(error).__name__, "text": str(error)}
    new = path.with_suffix(".new")
    new.write_text(json.dumps(told))
    new.replace(path)


def _write_to(path: Path) -> None:
    """Let this process write behind what earlier ones wrote."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for standard in (1, 2):
        os.dup2(file, standard)
    os.close(file)
