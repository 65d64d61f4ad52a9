"""`secagg bench status`: what it costs a coordinator that somebody watches it.

Two coordinators play the same rounds in turns, each with participants of its own. One has a status port, which is
scraped at the beginning of each turn and every second after that; the other has none, and so counts nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
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
from secagg.tools.deployment.sidecar import Sidecar
from secagg.tools.simulation.cohort import participant_names

EVERY_S: Final = 1.0
"""Between two scrapes."""

MOST: Final = 0.02
"""Of the coordinator's processor time, for all that its being watched costs."""

_HEADERS: Final = {"Accept": "application/openmetrics-text; version=1.0.0"}
_APART_S: Final = 0.25  # a scrape within less gets the answer of the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSetting:
    """What is played.

    Attributes:
        participants: of each round.
        values: length of each update.
        turns: of either coordinator.
        rounds: in each turn, one after the other.
        scrapes: of the coordinator at rest, to find what one costs.
    """

    participants: int = 5
    values: int = 100_000
    turns: int = 10
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
        scrapes, exact, watched_s = 0, True, 0.0
        for side in sides.values():
            exact &= side.turn(1)[1]  # connections are made
        for number in range(setting.turns):
            progress(f"turn {number + 1} of {setting.turns}")
            for name, side in sides.items():
                start = time.monotonic()
                with _scraped(watched, wanted=name == "watched") as count:
                    used, right = side.turn(setting.rounds)
                seconds[name].append(used)
                exact &= right
                if name == "watched":
                    scrapes += count()
                    watched_s += time.monotonic() - start
        progress("scrapes at rest")
        each = _cost_of_a_scrape(watched, setting.scrapes)
    total = {name: sum(each_turn) for name, each_turn in seconds.items()}
    ratios = [a / b for a, b in zip(seconds["watched"], seconds["plain"], strict=True)]
    rounds = setting.turns * setting.rounds
    figures = (
        Figure("cost_ratio", median(ratios) - 1, at_most(MOST), "more processor time than without: median of turns"),
        Figure("cost_of_all_ratio", total["watched"] / total["plain"] - 1, None, "the same of all turns together"),
        Figure(
            "scrapes_ratio",
            scrapes * each / total["plain"],
            at_most(MOST),
            "what the scrapes alone cost, each as at rest",
        ),
        Figure("scrape_s", each, None, "processor time of one scrape, at rest"),
        Figure("scrapes_per_s", scrapes / watched_s, None, f"{scrapes} scrapes in {watched_s:.1f} s"),
        Figure("plain_round_s", total["plain"] / rounds, None, "processor time of the coordinator for one round"),
        Figure("watched_round_s", total["watched"] / rounds, None, "the same, watched"),
    )
    described = {**played.described(played.config()), "rounds": rounds, "turns": setting.turns}
    return Report("status", machine, described, (Section("status", "What being watched costs", figures),), exact=exact)


def _side(stack: ExitStack, folder: Path, identities: Identities, setting: RoundSetting, *, status: bool) -> _Side:
    folder.mkdir()
    config = setting.config()
    sidecar = stack.enter_context(Sidecar(identities.server, folder, status=status))
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


@contextmanager
def _scraped(sidecar: Sidecar, *, wanted: bool) -> Iterator[Callable[[], int]]:
    """Scrape at once and every second until the block ends, if wanted; how often that was."""
    over, done = Event(), list[int]()

    def go_on() -> None:
        while wanted:
            done.append(len(scrape(sidecar)))
            if over.wait(EVERY_S):
                return

    thread = Thread(target=go_on, name="scraper")
    thread.start()
    try:
        yield lambda: len(done)
    finally:
        over.set()
        thread.join()


def _cost_of_a_scrape(sidecar: Sidecar, times: int) -> float:
    """Seconds on processors, beyond what the coordinator uses at rest."""
    used: list[float] = []
    for scraped in (False, True):
        before = cpu_seconds(sidecar.pid)
        for _ in range(times):
            if scraped:
                scrape(sidecar)
            time.sleep(_APART_S)
        used.append(cpu_seconds(sidecar.pid) - before)
    return max(0.0, used[1] - used[0]) / times
