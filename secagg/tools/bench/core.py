"""`secagg bench core`: the arithmetic of a round, without a network."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from secagg.tools.bench import encoding, participant, secrets, stream, suites, unmasking
from secagg.tools.bench.machine import describe
from secagg.tools.bench.report import Report, Section


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything.

    Attributes:
        stream_bytes: mask stream per turn, a multiple of 1 MiB.
        values: length of an update.
        neighbours: of the participant that is timed.
        holders: n of the shares.
        threshold: t of the shares.
        unmask_participants: n of the simulated round.
        unmask_dropped: how many of them drop out after sharing keys.
        unmask_values: lengths of an update there.
        repeats: turns; the median counts.
    """

    stream_bytes: int = 64 << 20
    values: int = 1_000_000
    neighbours: int = 100
    holders: int = 100
    threshold: int = 67
    unmask_participants: int = 33
    unmask_dropped: int = 3
    unmask_values: tuple[int, ...] = (100_000, 1_000_000)
    repeats: int = 9


QUICK = Sizes(stream_bytes=32 << 20, unmask_values=(100_000,), repeats=3)
"""The sizes that targets speak of, fewer repeats."""


def measure(sizes: Sizes, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Measure all parts in turn; `progress` is told what comes next."""
    machine = describe()  # first: the load it reports is the machine's own

    def sections() -> Iterator[Section]:
        progress("mask streams")
        yield stream.measure(sizes.stream_bytes, sizes.repeats)
        progress("encoding and packing")
        yield encoding.measure(sizes.values, sizes.repeats)
        progress("shares and signatures")
        yield secrets.measure(sizes.holders, sizes.threshold, sizes.repeats)
        progress("masked input")
        yield participant.measure(sizes.values, sizes.neighbours, sizes.repeats)
        progress("suites")
        yield suites.measure(min(sizes.values, suites.VALUES), sizes.neighbours, sizes.repeats)
        progress("unmasking")
        yield unmasking.measure(
            sizes.unmask_participants, sizes.unmask_dropped, sizes.unmask_values, min(sizes.repeats, 3)
        )

    return Report("core", machine, asdict(sizes), tuple(sections()))
