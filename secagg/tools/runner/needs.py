"""What a program must have to take part in a round, or to be offered one."""

from secagg.errors import DecodeError
from secagg.tools.conformance.document import Document
from secagg.tools.runner.lines import Feature
from secagg.wire.parsing import parse
from secagg.wire.v1 import config_pb2 as pb


def needs_of(config: bytes) -> frozenset[Feature]:
    """What the configuration speaks of, whether it may be accepted or not: whoever lacks something may refuse it for
    that reason alone (section 18). Bytes that are no configuration need nothing.
    """
    try:
        read = parse(pb.RoundConfig, config)
    except DecodeError:
        return frozenset()
    homomorphic = read.HasField("homomorphic")
    needed = {
        Feature.SIGNED: read.threat_model == pb.THREAT_MODEL_ACTIVE or homomorphic,
        Feature.MODEL_LATER: read.model_later,
        Feature.RING: read.HasField("ring"),
        Feature.AEGIS: read.suite == pb.SUITE_X25519_SHA256_AEGIS128X4,
        Feature.HYBRID: read.suite == pb.SUITE_XWING_SHA256_AES256,
        Feature.HOMOMORPHIC: homomorphic,
        Feature.PIPELINE: bool(read.pipeline),
        Feature.INTEGERS: read.HasField("integers"),
        Feature.GROUPS: read.HasField("groups"),
    }
    return frozenset(feature for feature, needs in needed.items() if needs)


def needs_of_round(round_: Document) -> frozenset[Feature]:
    """The same of a vector of kind `round`."""
    return needs_of(bytes.fromhex(round_["config"]))
