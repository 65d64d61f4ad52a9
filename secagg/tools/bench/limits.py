"""What this machine can do at best: one core's cipher and addition, one TLS socket, one stream of plain gRPC."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from secagg.tools.bench import stream, transport
from secagg.tools.bench.lines import LIMIT, Number
from secagg.tools.bench.report import Figure
from secagg.tools.deployment.identities import create_identities

_REPEATS: Final = 5


def measure(total_bytes: int, repeats: int = _REPEATS) -> Iterator[Number]:
    """Rates in 10^9 bytes a second and CPU seconds for as many bytes. Args: total_bytes: a multiple of 1 MiB.

    Raises:
        LocalError: a process failed.
    """
    yield from map(_limit, stream.one_thread(total_bytes, repeats))
    with TemporaryDirectory(prefix="secagg-bench-") as folder:
        identities = create_identities(Path(folder), ["client"])
        yield from map(_limit, transport.limits(identities, total_bytes, repeats))


def _limit(figure: Figure) -> Number:
    return Number(section=LIMIT, name=figure.name, value=float(figure.value), note=figure.note)
