"""What a program must have to take part in a round, or to be offered one."""

from secagg.tools.conformance import needs
from secagg.tools.conformance.document import Document
from secagg.tools.runner.lines import Feature


def needs_of_round(round_: Document) -> frozenset[Feature]:
    """Of a vector of kind `round`, or of a live round that is told like one."""
    return frozenset(map(Feature, needs.needs_of(bytes.fromhex(round_["config"]))))


def needs_of_vector(vector: Document) -> frozenset[Feature]:
    """Of a vector, or of a case of one."""
    return frozenset(map(Feature, vector["needs"]))
