"""What a program must have to take part in a round."""

from secagg.config import Graph, RoundConfig, Suite
from secagg.encoding.integers import Integers
from secagg.encoding.pipeline import Pipeline
from secagg.tools.conformance.document import Document
from secagg.tools.runner.lines import Feature
from secagg.wire.configuration import decode_config


def needs_of(config: RoundConfig) -> frozenset[Feature]:
    """What a participant of such a round must have."""
    needed = {
        Feature.SIGNED: config.signed,
        Feature.MODEL_LATER: config.model_later,
        Feature.RING: config.graph is not Graph.COMPLETE,
        Feature.AEGIS: config.suite is Suite.X25519_SHA256_AEGIS128X4,
        Feature.HOMOMORPHIC: config.homomorphic is not None,
        Feature.PIPELINE: isinstance(config.encoding, Pipeline),
        Feature.INTEGERS: isinstance(config.encoding, Integers),
        Feature.GROUPS: config.groups is not None,
    }
    return frozenset(feature for feature, needs in needed.items() if needs)


def needs_of_round(round_: Document) -> frozenset[Feature]:
    """The same of a vector of kind `round`."""
    return needs_of(decode_config(bytes.fromhex(round_["config"])))
