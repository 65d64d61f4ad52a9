"""Flaws of the kind that lose data, planted in the coordinator one at a time: the simulator must notice each.

A flaw is a piece of text that stands once in its module, and what takes its place. It is planted in a process of its
own, while the module is loaded; no file changes. Then histories are played until the checker finds that a law was
broken. The same history is played without the flaw, too: only what is found with it and not without it counts.

Nothing of the product is imported here before the flaw is planted.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from itertools import chain, count, islice
from multiprocessing import get_context
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from secagg.errors import ConfigError
from secagg.tools.faults.flaws import FLAWS, Flaw

_COLLECT: Final = 25
"""Histories between two collections of garbage."""


@dataclass(frozen=True, slots=True)
class Hunt:
    """What came of looking for a flaw.

    Attributes:
        flaw: its name.
        what: is wrong with the coordinator.
        seed: of the history that found it; None if none did.
        histories: that were played until then.
        law: that was broken.
        finding: the first sentence of the checker.
    """

    flaw: str
    what: str
    seed: int | None
    histories: int
    law: str = ""
    finding: str = ""

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return asdict(self)


def hunt_all(
    flaws: Sequence[Flaw], seed: int, histories: int, jobs: int, see: Callable[[Hunt], None], *, known: bool = True
) -> list[Hunt]:
    """Look for each flaw, in processes of their own.

    Args:
        flaws: which.
        seed: of the first history.
        histories: the most that are played for one flaw.
        jobs: flaws that are looked for at once.
        see: is told of each as it is done.
        known: whether the seed that found a flaw before is tried first.
    """
    with ProcessPoolExecutor(jobs, get_context("spawn")) as clean, ThreadPoolExecutor(jobs) as pool:

        def hunt(flaw: Flaw) -> Hunt:
            found = _hunt(flaw, [flaw.seed] if known else [], seed, histories, clean)
            see(found)
            return found

        return list(pool.map(hunt, flaws))


def _hunt(flaw: Flaw, known: Sequence[int], seed: int, histories: int, clean: Executor) -> Hunt:
    """Look for one flaw. A seed whose history is bad without the flaw, too, says nothing; `clean` plays it so."""
    played = 0
    seeds = [*known, seed]  # the last one, and all behind it
    while played < histories:
        with ProcessPoolExecutor(1, get_context("spawn"), _plant, (flaw,)) as pool:
            found = pool.submit(_search, flaw, seeds, histories - played).result()
        played += found.histories
        if not found.law:
            break
        if not clean.submit(_search, flaw, [found.seed], 1).result().law:
            return Hunt(flaw.name, flaw.what, found.seed, played, found.law, found.finding)
        seeds = [max(found.seed, seed - 1) + 1]
    return Hunt(flaw.name, flaw.what, None, played)


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of playing histories in one process.

    Attributes:
        seed: of the last one.
        histories: that were played.
        law: that was broken in the last one; empty if none was.
        finding: what was found.
    """

    seed: int
    histories: int
    law: str = ""
    finding: str = ""


def _search(flaw: Flaw, seeds: Sequence[int], histories: int) -> _Found:
    """Play histories that are aimed at the flaw until a law is broken: of all seeds but the last, and of those from the
    last one on.
    """
    from secagg.tools.faults.checker import judge  # noqa: PLC0415 - after the flaw is planted
    from secagg.tools.faults.scenario import draw  # noqa: PLC0415 - after the flaw is planted
    from secagg.tools.faults.world import World, playing  # noqa: PLC0415 - after the flaw is planted

    seed = seeds[-1]
    with playing():
        for played, seed in enumerate(islice(chain(seeds[:-1], count(seeds[-1])), histories), start=1):
            for finding in judge(World(draw(seed, flaw.aim)).play()).broken:
                return _Found(seed, played, finding.law.name, str(finding))
            if played % _COLLECT == 0:
                gc.collect()
    return _Found(seed, histories)


# --- planting ---------------------------------------------------------------------------------------------------------


def _plant(flaw: Flaw) -> None:
    """Let the module of the flaw be loaded with it."""
    if flaw.module in sys.modules:
        raise ImportError(f"{flaw.module} was loaded before its flaw was planted")
    sys.meta_path.insert(0, _Planter(flaw))


class _Planter:
    """Finds the module that the flaw is planted in."""

    def __init__(self, flaw: Flaw) -> None:
        self._flaw = flaw

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's specification, if it is the one."""
        if name != self._flaw.module:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin is None:
            raise ImportError(f"there is no module {name}")
        spec.loader = _Flawed(Path(spec.origin), self._flaw)
        return spec


class _Flawed(Loader):
    """Loads a module with its flaw."""

    def __init__(self, path: Path, flaw: Flaw) -> None:
        self._path = path
        self._flaw = flaw

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        exec(self._code(), module.__dict__)  # noqa: S102 - our own source, with one piece exchanged

    def _code(self) -> CodeType:
        return compile(flawed(self._path.read_text(encoding="utf-8"), self._flaw), str(self._path), "exec")


def flawed(source: str, flaw: Flaw) -> str:
    """The source with the flaw.

    Raises:
        ValueError: the piece that it changes does not stand there once.
    """
    if source.count(flaw.old) != 1:
        raise ValueError(f"{flaw.name}: {flaw.module} does not have this piece once: {flaw.old!r}")
    return source.replace(flaw.old, flaw.new)


def chosen(names: Sequence[str]) -> list[Flaw]:
    """The flaws of these names; all if there are none.

    Raises:
        ConfigError: there is no such flaw.
    """
    by_name = {flaw.name: flaw for flaw in FLAWS}
    for name in names:
        if name not in by_name:
            raise ConfigError(f"there is no flaw {name!r}; the names are {', '.join(by_name)}")
    return [by_name[name] for name in names] or list(FLAWS)
