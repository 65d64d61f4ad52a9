"""`secagg bench frameworks`: the same app under Flower plain, with Flower's SecAgg+ and with secagg, side by side."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from secagg.errors import LocalError, MissingExtraError
from secagg.tools.bench.frameworks.setting import WAYS, Setting, Way
from secagg.tools.bench.machine import describe
from secagg.tools.bench.report import Figure, Report, Section, at_most

ROUND_TARGET: Final = 1.5
"""Seconds of a warm round under secagg, in those of a plain one."""

MINUTE_S: Final = 60.0
MINUTE_TARGET: Final = 1.2

_MIB: Final = 1 << 20
_JUDGED: Final = 1 << 20
"""Residues of an upload that are judged."""

_TIMEOUT_S: Final = 540.0
_TITLES: Final = {
    "plain": "Flower, in plain",
    "secaggplus": "Flower's own SecAgg+ (legacy API)",
    "flower": "secagg on Flower's channel",
    "sidecar": "secagg, a coordinator beside the server app",
}
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


Judge = Callable[[np.ndarray[Any, np.dtype[np.uint64]], int], tuple[int, int]]
"""Of residues and their width in bits: how many statistical tests were made, and how many of them failed."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What the runs of one way gave.

    Attributes:
        setting: of all of them.
        rounds: the rounds of all runs, each without its first: seconds, accuracy, messages and bytes for each client.
        last: what the latest run said of itself.
        model: the last model of the latest run.
        upload: what one client sent in its last round, as residues; empty if the server app saw none.
    """

    setting: Setting
    rounds: tuple[dict[str, Any], ...]
    last: dict[str, Any]
    model: dict[str, np.ndarray[Any, np.dtype[np.float32]]]
    upload: np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]

    def median(self, name: str) -> float:
        """Of the rounds."""
        return float(median(one[name] for one in self.rounds))


def measure(
    setting: Setting,
    ways: Sequence[Way] = WAYS,
    repeats: int = 1,
    *,
    judge: Judge,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run all ways in turn, `repeats` times, so that whatever else the machine does hits all of them alike.

    Args:
        setting: of each run, but for its way.
        ways: which to compare; ratios are to the plain one.
        repeats: runs of each way.
        judge: tells whether an upload looks random.
        progress: is told what is measured.

    Raises:
        MissingExtraError: Flower with its simulation, or what the coordinator needs, is not installed.
        LocalError: a run failed; the message holds the end of its log.
    """
    if find_spec("flwr") is None or find_spec("ray") is None:
        raise MissingExtraError("the benchmark of frameworks (with flwr[simulation], scikit-learn and scipy)", "flower")
    packages = {name: version(name) for name in ("flwr", "ray", "protobuf")}
    machine = {**describe(), **packages}
    runs: dict[Way, list[Ran]] = {way: [] for way in ways}
    for number in range(1, repeats + 1):
        for way in ways:
            progress(f"{_TITLES[way]}, run {number} of {repeats}")
            runs[way].append(_run(replace(setting, way=way)))
    together = {
        way: replace(done[-1], rounds=tuple(one for ran in done for one in ran.rounds)) for way, done in runs.items()
    }
    plain = together.get("plain")
    sections = tuple(_section(way, ran, plain, judge) for way, ran in together.items())
    described = {
        "clients": setting.clients,
        "model": setting.model,
        "rounds": setting.rounds - 1,
        "runs": repeats,
        "training_s": setting.training_s,
        "supernodes": setting.supernodes,
        "dying": len(setting.dying),
        "views": {way: ran.last["view"] for way, ran in together.items()},
    }
    finished = all(len(ran.rounds) == repeats * (setting.rounds - 1) for ran in together.values())
    verdict = ("every way trained the whole job", "a way did NOT train the whole job")
    return Report("frameworks", machine, described, sections, exact=finished, verdict=verdict)


def _run(setting: Setting) -> Ran:
    with TemporaryDirectory(prefix="secagg-bench-") as name:
        told, model, sent, log = (Path(name, file) for file in ("figures.json", "model.npz", "upload.npy", "log"))
        how = "supernodes" if setting.supernodes else "simulation"
        command = [sys.executable, "-m", f"secagg.tools.bench.frameworks.{how}"]
        with log.open("wb") as out:
            done = subprocess.run(  # noqa: S603, our own interpreter
                [*command, setting.text(), str(told), str(model), str(sent)],
                stdout=out,
                stderr=out,
                env={**os.environ, **_ONE_THREAD},
                timeout=_TIMEOUT_S,
                check=False,
            )
        if done.returncode or not told.exists():
            raise LocalError(f"{_TITLES[setting.way]} failed: {log.read_text(encoding='utf-8')[-1500:]}")
        found = json.loads(told.read_text(encoding="utf-8"))
        with np.load(model, allow_pickle=False) as arrays:
            last = {array: arrays[array] for array in arrays.files}
        return Ran(setting, tuple(found["rounds"][1:]), found, last, np.load(sent, allow_pickle=False))


def _section(way: Way, ran: Ran, plain: Ran | None, judge: Judge) -> Section:
    """The figures of one way."""
    secured = ran.setting.secured
    seconds = ran.median("s")
    figures = [Figure(f"{way}_round_s", seconds, note="median of warm rounds")]
    if plain is not None and plain is not ran:
        base = plain.median("s")
        training = MINUTE_S - ran.setting.training_s
        minute = (seconds + training) / (base + training)
        figures += [
            Figure(f"{way}_round_ratio", seconds / base, at_most(ROUND_TARGET) if secured else None, "to plain"),
            Figure(
                f"{way}_minute_ratio",
                minute,
                at_most(MINUTE_TARGET) if secured else None,
                "the same, if clients train for a minute",
            ),
            Figure(f"{way}_distance_ratio", _distance(ran, plain), note="of the last models, to their largest value"),
        ]
    view = ran.last["view"]
    figures += [
        Figure(f"{way}_messages", ran.median("messages_per_client"), note="of Flower to each client, a round"),
        Figure(f"{way}_up_bytes", int(ran.median("up_bytes_per_client")), note="of each client, a round"),
        Figure(f"{way}_down_bytes", int(ran.median("down_bytes_per_client")), note="to each client, a round"),
        Figure(f"{way}_server_mib", ran.last["server_peak_bytes"] / _MIB, note="peak of the server app's process"),
    ]
    if "coordinator_peak_bytes" in ran.last:
        figures.append(Figure(f"{way}_coordinator_mib", ran.last["coordinator_peak_bytes"] / _MIB, note="peak"))
    figures.append(Figure(f"{way}_accuracy", ran.rounds[-1]["accuracy"], note="of the last model, 0 to 1"))
    clear = ", ".join(sorted(name.rpartition("/")[2] for name in view["in_clear"])) or "nothing"
    if ran.upload.size:
        tests, alarms = judge(ran.upload[:_JUDGED].astype(np.uint64), 8 * ran.upload.itemsize)
        note = f"of {tests} tests whether one client's upload is random; in clear: {clear}"
    else:
        alarms, note = 0, f"the server app sees no upload; in clear: {clear}"
    figures.append(Figure(f"{way}_alarms", alarms, note=note))
    return Section(way, _TITLES[way], tuple(figures))


def _distance(ran: Ran, plain: Ran) -> float:
    """Largest difference of two models' values, in the largest value of the plain one."""
    largest = max(float(np.abs(array).max()) for array in plain.model.values())
    return max(float(np.abs(ran.model[name] - array).max()) for name, array in plain.model.items()) / largest
