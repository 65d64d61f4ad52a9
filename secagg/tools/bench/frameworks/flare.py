"""`secagg bench flare`: the same job in FLARE's simulator, in plain and with secagg over both of its transports."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from secagg.errors import LocalError, MissingExtraError
from secagg.tools.bench.frameworks.digits import accuracy, shaped
from secagg.tools.bench.frameworks.measure import Judge
from secagg.tools.bench.frameworks.setting import FLARE_WAYS, Setting, Way
from secagg.tools.bench.machine import describe
from secagg.tools.bench.report import Figure, Report, Section, at_most

ROUND_TARGET: Final = 1.5
"""Seconds of a warm round under secagg, in those of a plain one."""

_MIB: Final = 1 << 20
_JUDGED: Final = 1 << 20
_TIMEOUT_S: Final = 540.0
_TITLES: Final = {
    "plain": "FLARE, in plain",
    "nvflare": "secagg on FLARE's channel",
    "sidecar": "secagg, a coordinator beside the server",
}


@dataclass(frozen=True, slots=True)
class Job:
    """What one job gave.

    Attributes:
        rounds_s: seconds of its warm rounds.
        told: what `flare_watch` wrote down.
        model: float32[parameters], the last model.
        upload: uint8[bytes], the latest update of one site as the server sees it; empty if it sees none.
    """

    rounds_s: tuple[float, ...]
    told: dict[str, Any]
    model: np.ndarray[Any, np.dtype[np.float32]]
    upload: np.ndarray[Any, np.dtype[np.uint8]]

    def a_round(self, name: str, sites: int) -> float:
        """Median over warm rounds of what is counted under `name`, for each site."""
        return float(median(self.told[name][1:])) / sites


def measure(
    setting: Setting,
    ways: Sequence[Way] = FLARE_WAYS,
    repeats: int = 1,
    *,
    judge: Judge,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run all ways in turn, `repeats` times. Seconds are of all runs, everything else is of the latest.

    Args:
        setting: of each run, but for its way.
        ways: which to compare; ratios are to the plain one.
        repeats: runs of each way.
        judge: tells whether an upload looks random.
        progress: is told what is measured.

    Raises:
        MissingExtraError: FLARE is not installed.
        LocalError: a job failed; the message holds the end of its log.
    """
    if find_spec("nvflare") is None:
        raise MissingExtraError("the benchmark of FLARE (with scikit-learn and scipy)", "nvflare")
    jobs: dict[Way, list[Job]] = {way: [] for way in ways}
    for number in range(1, repeats + 1):
        for way in ways:
            progress(f"{_TITLES[way]}, run {number} of {repeats}")
            jobs[way].append(_run(replace(setting, way=way)))
    together = {
        way: replace(done[-1], rounds_s=tuple(s for job in done for s in job.rounds_s)) for way, done in jobs.items()
    }
    plain = together.get("plain")
    described = {
        "sites": setting.clients,
        "model": setting.model,
        "rounds": setting.rounds,
        "runs": repeats,
        "training_s": setting.training_s,
    }
    finished = all(len(job.told["began_s"]) == setting.rounds for job in together.values())
    verdict = ("every way trained the whole job", "a way did NOT train the whole job")
    sections = tuple(_section(setting, way, job, plain, judge) for way, job in together.items())
    machine = {**describe(), "nvflare": version("nvflare")}
    return Report("flare", machine, described, sections, exact=finished, verdict=verdict)


def _run(setting: Setting) -> Job:
    with TemporaryDirectory(prefix="secagg-bench-") as name:
        folder = Path(name)
        with (folder / "log").open("wb") as out:
            done = subprocess.run(  # noqa: S603, our own interpreter
                [sys.executable, "-m", "secagg.tools.bench.frameworks.flare_job", setting.text(), name],
                stdout=out,
                stderr=out,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                timeout=_TIMEOUT_S,
                check=False,
            )
        if done.returncode or not (folder / "model.npy").exists():
            log = (folder / "log").read_text(encoding="utf-8", errors="replace")
            raise LocalError(f"{_TITLES[setting.way]} failed: {log[-1500:]}")
        told = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
        began = told["began_s"]
        return Job(
            tuple(after - before for before, after in pairwise(began[1:])),
            told,
            np.load(folder / "model.npy", allow_pickle=False),
            np.load(folder / "upload.npy", allow_pickle=False),
        )


def _section(setting: Setting, way: Way, job: Job, plain: Job | None, judge: Judge) -> Section:
    secured, seconds = way != "plain", float(median(job.rounds_s))
    figures = [Figure(f"{way}_round_s", seconds, note="median of warm rounds")]
    if plain is not None and plain is not job:
        base = float(median(plain.rounds_s))
        target = at_most(ROUND_TARGET) if secured else None
        apart = float(np.abs(job.model - plain.model).max() / np.abs(plain.model).max())
        figures += [
            Figure(f"{way}_round_ratio", seconds / base, target, "to plain"),
            Figure(f"{way}_distance_ratio", apart, note="of the last models, to their largest value"),
        ]
    rounds, sites = setting.rounds, setting.clients
    beside = [job.told.get(f"beside_{side}_bytes", 0) / rounds / sites for side in ("up", "down")]
    figures += [
        Figure(f"{way}_messages", job.a_round("messages", sites), note="of FLARE for each site, a round"),
        Figure(f"{way}_up_bytes", int(job.a_round("up_bytes", sites) + beside[0]), note="of each site, a round"),
        Figure(f"{way}_down_bytes", int(job.a_round("down_bytes", sites) + beside[1]), note="to each site, a round"),
        Figure(f"{way}_server_mib", job.told["server_peak_bytes"] / _MIB, note="peak of the server's process"),
    ]
    if "coordinator_peak_bytes" in job.told:
        peak = job.told["coordinator_peak_bytes"] / _MIB
        figures.append(Figure(f"{way}_coordinator_mib", peak, note="peak"))
    figures.append(
        Figure(f"{way}_accuracy", accuracy(shaped(job.model, setting.hidden), sites), note="of the last model, 0 to 1")
    )
    if job.upload.size:
        tests, alarms = judge(job.upload[:_JUDGED].astype(np.uint64), 8)
        figures.append(Figure(f"{way}_alarms", alarms, note=f"of {tests} tests whether what one site sent is random"))
    return Section(way, _TITLES[way], tuple(figures))
