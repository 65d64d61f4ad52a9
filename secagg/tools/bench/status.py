"""`secagg bench status`: what it costs a coordinator that somebody watches it.

Two coordinators play the same rounds in turns, each with participants of its own. One has a status port, which is
scraped every second of its turns; the other has none, and so counts nothing. Their difference is small beside what a
busy machine adds to either, so the cost is also put together from its parts: what the watched one takes to count each
fact, and what a scrape takes.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Final

from secagg_client import ControlClient

from secagg.config import RoundConfig
from secagg.errors import LocalError
from secagg.tools.bench.machine import describe
from secagg.tools.bench.processor import cpu_seconds
from secagg.tools.bench.report import Figure, Report, Section, at_most
from secagg.tools.bench.round import RoundSetting, commands_of, heard, play
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.identities import Identities, create_identities
from secagg.tools.deployment.sidecar import SIDECAR, Sidecar
from secagg.tools.simulation.cohort import participant_names

EVERY_S: Final = 1.0
"""Between two scrapes."""

MOST: Final = 0.02
"""Of the coordinator's processor time, for all that its being watched costs."""

EVENT: Final = "facts_counted"
"""Of the line that the watched coordinator writes at its end."""

_WATCHED: Final = "from secagg.tools.bench.status_sidecar import main; main()"
_HEADERS: Final = {"Accept": "application/openmetrics-text; version=1.0.0"}
APART_S: Final = 0.25  # a scrape within less gets the answer of the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSetting:
    """What is played.

    Attributes:
        participants: of each round.
        values: length of each update.
        turns: of either coordinator, at least 2.
        rounds: in each turn, one after the other.
        scrapes: of the coordinator at rest, to find what one costs.
    """

    participants: int = 5
    values: int = 100_000
    turns: int = 30
    rounds: int = 5
    scrapes: int = 40


@dataclass(frozen=True, slots=True)
class _Side:
    """A coordinator and its participants."""

    sidecar: Sidecar
    control: ControlClient
    crew: Crew
    config: RoundConfig
    setting: RoundSetting

    def turn(self, rounds: int) -> tuple[float, bool]:
        """Play; seconds of the coordinator on processors, and whether every sum was exact."""
        before = cpu_seconds(self.sidecar.pid)
        exact = [play(self.control, self.crew, self.config, self.setting).exact for _ in range(rounds)]
        return cpu_seconds(self.sidecar.pid) - before, all(exact)


def measure(setting: StatusSetting, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Play the rounds, and compare.

    Raises:
        LocalError: a participant failed, or this is no Linux.
    """
    machine = describe()
    played = RoundSetting(participants=setting.participants, values=setting.values, dropouts=0)
    names = [str(name) for name in participant_names(setting.participants)]
    seconds: dict[str, list[float]] = {"plain": [], "watched": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="secagg-bench-")))
        identities = create_identities(folder, names)
        progress(f"the start of two coordinators and {2 * len(names)} participants")
        sides = {name: _side(stack, folder / name, identities, played, status=name == "watched") for name in seconds}
        watched = sides["watched"].sidecar
        scraper, exact = _Scraper(watched), True
        for side in sides.values():
            exact &= side.turn(1)[1]  # connections are made
        for number in range(setting.turns):
            progress(f"turn {number + 1} of {setting.turns}")
            for name, side in sides.items():
                with scraper.at_work() if name == "watched" else nullcontext():
                    used, right = side.turn(setting.rounds)
                seconds[name].append(used)
                exact &= right
        progress("scrapes at rest")
        each = _cost_of_a_scrape(watched, setting.scrapes)
        watched.stop()
        metrics, page = (s / (setting.turns * setting.rounds + 1) for s in _cost_of_facts(watched))
    rounds, plain = setting.turns * setting.rounds, sum(seconds["plain"])
    ratios = [a / b - 1 for a, b in zip(seconds["watched"], seconds["plain"], strict=True)]
    low, difference, high = quantiles(ratios, n=4)
    error = 1.2533 * (high - low) / 1.349 / setting.turns**0.5  # of the median of a normal distribution
    counting, scraping = metrics * rounds / plain, scraper.scrapes * each / plain
    figures = (
        Figure("cost_ratio", counting + scraping, at_most(MOST), "counting and scraping, of the plain processor time"),
        Figure("counting_ratio", counting, None, "of each fact for the metrics, as it happens"),
        Figure("scraping_ratio", scraping, None, "of each scrape, as at rest"),
        Figure("difference_ratio", difference, None, "more processor time than without, median of the turns"),
        Figure("difference_error_ratio", error, None, "standard error of that, from the quartiles of the turns"),
        Figure("page_ratio", page * rounds / plain, None, "what the status page remembers of each fact, on top"),
        Figure("counting_s", metrics, None, "processor time of counting for one round"),
        Figure("scrape_s", each, None, "processor time of one scrape, at rest"),
        Figure("scrapes_per_s", scraper.scrapes / scraper.watched_s, None, f"{scraper.scrapes} scrapes"),
        Figure("plain_round_s", plain / rounds, None, "processor time of the coordinator for one round"),
        Figure("plain_load_ratio", plain / scraper.watched_s, None, "processors that the coordinator kept busy"),
    )
    described = {**played.described(played.config()), "rounds": rounds, "turns": setting.turns}
    return Report("status", machine, described, (Section("status", "What being watched costs", figures),), exact=exact)


def _side(stack: ExitStack, folder: Path, identities: Identities, setting: RoundSetting, *, status: bool) -> _Side:
    folder.mkdir()
    config = setting.config()
    program = _WATCHED if status else SIDECAR
    sidecar = stack.enter_context(Sidecar(identities.server, folder, status=status, program=program))
    commands = commands_of(setting, identities, sidecar.data_plane, config)
    crew = stack.enter_context(Crew(commands, folder / "participants.log"))
    heard(crew, commands, "ready")
    return _Side(sidecar, stack.enter_context(ControlClient(sidecar.control_plane)), crew, config, setting)


def scrape(sidecar: Sidecar) -> bytes:
    """The metrics of a coordinator.

    Raises:
        LocalError: it does not answer with metrics.
    """
    connection = HTTPConnection(sidecar.status or "", timeout=30.0)
    try:
        connection.request("GET", "/metrics", headers=_HEADERS)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200 or b"secagg_ready" not in body:
        raise LocalError(f"the coordinator's status port answers {answer.status}, and no metrics")
    return body


class _Scraper:
    """Scrapes a coordinator every second while it is at work.

    Attributes:
        scrapes: how many there were.
        watched_s: how long it was at work.
    """

    def __init__(self, sidecar: Sidecar) -> None:
        self.scrapes = 0
        self.watched_s = 0.0
        self._sidecar = sidecar

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Be at work until the block ends."""
        start, over = time.monotonic(), Event()

        def go_on() -> None:
            while not over.wait(self.scrapes * EVERY_S - self.watched_s - (time.monotonic() - start)):
                scrape(self._sidecar)
                self.scrapes += 1

        thread = Thread(target=go_on, name="scraper")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.watched_s += time.monotonic() - start


def _cost_of_facts(sidecar: Sidecar) -> tuple[float, float]:
    """Seconds on processors for the metrics and for the status page, as it wrote at its end.

    Raises:
        LocalError: it did not.
    """
    for line in sidecar.log.read_text(encoding="utf-8").splitlines():
        if f'"{EVENT}"' in line:
            said = json.loads(line)
            return float(said["metrics_s"]), float(said["page_s"])
    raise LocalError("the watched coordinator did not say what counting cost")


def _cost_of_a_scrape(sidecar: Sidecar, times: int) -> float:
    """Seconds on processors, beyond what the coordinator uses at rest."""
    used: list[float] = []
    for scraped in (False, True):
        before = cpu_seconds(sidecar.pid)
        for _ in range(times):
            if scraped:
                scrape(sidecar)
            time.sleep(APART_S)
        used.append(cpu_seconds(sidecar.pid) - before)
    return max(0.0, used[1] - used[0]) / times
