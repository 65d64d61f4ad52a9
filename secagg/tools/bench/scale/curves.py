"""Which sizes `secagg bench scale` plays, and what it says of them, line by line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from secagg.config import ThreatModel
from secagg.errors import ConfigError
from secagg.tools.bench import limits
from secagg.tools.bench.busy import Account, processors
from secagg.tools.bench.growth import grown
from secagg.tools.bench.lines import Line, Point, Run, See
from secagg.tools.bench.scale.graphs import GraphKind
from secagg.tools.bench.scale.rounds import RoundsSetting, play
from secagg.tools.bench.scale.simulated import SimulatedSetting, simulate

Setting = RoundsSetting | SimulatedSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSetting:
    """What is played. The first number of participants, of values and of rounds at once is where the curves cross.

    Attributes:
        participants: n of rounds over gRPC; none plays none.
        values: m of these rounds.
        in_flight: rounds at once of these.
        rounds: one after the other, of each of these sizes.
        durable: whether the coordinator keeps its state in a folder.
        limit_s: of each phase, in seconds; None takes the defaults of a task.
        simulated: n of rounds in memory; none plays none.
        simulated_values: m of these.
        dropped: share of the participants that drop out of these before their masked input, 0 to 1.
        threat_models: each has curves of its own.
        graphs: the same.
        limit_bytes: what limits of the machine are measured with; 0 measures none.
    """

    participants: tuple[int, ...] = (10, 20, 40)
    values: tuple[int, ...] = (10_000, 100_000)
    in_flight: tuple[int, ...] = (1, 4)
    rounds: int = 2
    durable: bool = True
    limit_s: float | None = None
    simulated: tuple[int, ...] = (25, 50, 100)
    simulated_values: tuple[int, ...] = (1_000,)
    dropped: float = 0.05
    threat_models: tuple[ThreatModel, ...] = (ThreatModel.ACTIVE, ThreatModel.SEMI_HONEST)
    graphs: tuple[GraphKind, ...] = tuple(GraphKind)
    limit_bytes: int = 64 << 20

    def settings(self) -> Iterator[Setting]:
        """Every size, once."""
        for threat_model, graph in product(self.threat_models, self.graphs):
            for n, m, at_once in _cross(self.participants, self.values, self.in_flight):
                yield RoundsSetting(
                    participants=n,
                    values=m,
                    rounds=self.rounds,
                    in_flight=at_once,
                    threat_model=threat_model,
                    graph=graph,
                    durable=self.durable,
                    limit_s=self.limit_s,
                )
            for n, m, _ in _cross(self.simulated, self.simulated_values, (1,)):
                yield SimulatedSetting(
                    participants=n,
                    values=m,
                    dropped=round(self.dropped * n),
                    threat_model=threat_model,
                    graph=graph,
                )


def _cross(*curves: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Points of several curves that cross in the first value of each; none if one of them has no value."""
    if not all(curves):
        return
    centre = tuple(curve[0] for curve in curves)
    yield centre
    for axis, curve in enumerate(curves):
        for value in dict.fromkeys(curve[1:]):
            if value != centre[axis]:
                yield (*centre[:axis], value, *centre[axis + 1 :])


def measure(
    setting: ScaleSetting, command: str, see: See = lambda *_: None, refuse: Callable[[str], None] = lambda _: None
) -> Iterator[Line]:
    """Play everything.

    Args:
        setting: what is played.
        command: what makes the lines again.
        see: progress.
        refuse: told of sizes that a round cannot have, which are left out.

    Raises:
        ConfigError: no size is possible.
        LocalError: a process failed.
    """
    works = list(_possible(setting.settings(), refuse))
    if not works:
        raise ConfigError("no round has these sizes; give other numbers of participants and values")
    begin = Account.now()
    yield Run.now("scale", command)
    total = len(works) + bool(setting.limit_bytes)
    if setting.limit_bytes:
        see(0, total, "limits of the machine")
        yield from limits.measure(setting.limit_bytes)
    points: list[Point] = []
    for number, work in enumerate(works, total - len(works)):
        words = _words(work)

        def progress(share: float, number: int = number, words: str = words) -> None:
            see(number + share, total, words)

        progress(0.0)
        point = play(work, progress) if isinstance(work, RoundsSetting) else simulate(work, progress)
        points.append(point)
        yield point
    yield from grown(points)
    yield begin.until(Account.now(), processors())


def _possible(settings: Iterator[Setting], refuse: Callable[[str], None]) -> Iterator[Setting]:
    left_out = []
    for setting in settings:
        try:
            _ = setting.config() if isinstance(setting, RoundsSetting) else setting.scenario().config()
        except ConfigError as error:
            left_out.append(f"{_words(setting)}: {error}")
        else:
            yield setting
    if left_out:
        others = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        refuse(f"left out{others}: {left_out[0]}")


def _words(setting: Setting) -> str:
    way = "over gRPC" if isinstance(setting, RoundsSetting) else "in memory"
    at_once = setting.in_flight if isinstance(setting, RoundsSetting) else 1
    several = f", {at_once} rounds at once" if at_once > 1 else ""
    model, graph = setting.threat_model.name.lower().replace("_", "-"), setting.graph.value
    return f"n = {setting.participants:,}, m = {setting.values:,}{several}, {model}, {graph}, {way}"
