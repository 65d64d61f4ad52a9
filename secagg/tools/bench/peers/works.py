"""A work that a peer and we can both do, and how it is timed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median

from secagg.tools.bench.lines import Beside
from secagg.tools.bench.measure import cpu_clock

Timed = Callable[[], float]
"""Does a work once, and says how many CPU seconds it took; what it needs before and after is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How one side does the work.

    Attributes:
        run: once.
        sent_bytes: what is sent, where the work sends something.
        at_least: ratio that is aimed at; of ours alone.
        note: what differs from the peer; of ours alone.
    """

    run: Timed
    sent_bytes: int | None = None
    at_least: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One work.

    Attributes:
        name: in a few words.
        size: how much of it.
        peer: name and version.
        theirs: how the peer does it.
        ours: how we do it, by suite or threat model.
    """

    name: str
    size: str
    peer: str
    theirs: Side
    ours: Mapping[str, Side] = field(default_factory=dict)

    def measured(self, repeats: int) -> Iterator[Beside]:
        """The peer and every way of ours in turns; a turn before them is not counted."""
        sides = {"": self.theirs, **self.ours}
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(repeats + 1):
            for name, side in sides.items():
                seconds = side.run()
                if turn:
                    taken[name].append(seconds)
        for name, side in self.ours.items():
            yield Beside(
                work=self.name,
                size=self.size,
                peer=self.peer,
                ours=name,
                ours_cpu_s=median(taken[name]),
                peer_cpu_s=median(taken[""]),
                ratio=median(peer / own for peer, own in zip(taken[""], taken[name], strict=True)),
                ours_bytes=side.sent_bytes,
                peer_bytes=self.theirs.sent_bytes,
                at_least=side.at_least,
                note=side.note,
            )


def timed(work: Callable[[], object]) -> Timed:
    """All of the work counts."""

    def run() -> float:
        start = cpu_clock()
        work()
        return cpu_clock() - start

    return run
