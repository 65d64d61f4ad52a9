"""All cases of a participant."""

from collections.abc import Iterator

from secagg.tools.runner import earlier_sums, from_vectors, lies, moved, over_grpc, results, whole
from secagg.tools.runner.cases import Case


def cases() -> Iterator[Case]:
    """The vectors, whole live rounds in one process and from process to process, lies, and what is played over gRPC."""
    yield from from_vectors.cases()
    yield from whole.cases()
    yield from moved.cases()
    yield from lies.cases()
    yield from earlier_sums.cases()
    yield from results.cases()
    yield from over_grpc.cases()
