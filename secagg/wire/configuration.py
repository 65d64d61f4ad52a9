"""RoundConfig to bytes and back. The bytes are hashed as received: parse, never re-encode."""

from google.protobuf.message import DecodeError as ProtobufError

from secagg.config import TRAIN, Deadlines, Graph, RoundConfig, Suite, ThreatModel
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.integers import Integers
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import DTYPES, MAX_ARRAYS, MAX_DIMENSIONS, ArraySpec, Schema
from secagg.errors import ConfigError, DecodeError, ProtocolViolation
from secagg.lattice.parameters import Custody, Profile, Scheme
from secagg.robust.grouping import Combine, Groups
from secagg.sparse.ring import Ring
from secagg.wire import counting
from secagg.wire.codecs import flat
from secagg.wire.v1 import config_pb2 as pb

MAX_CONFIG_BYTES = 64 << 20
_SCHEMES = (Scheme.CKKS, Scheme.BFV)
_CUSTODIES = (Custody.PARTICIPANTS, Custody.THRESHOLD)
_FIXED_POINT = flat(FixedPoint, pb.FixedPoint)
_INTEGERS = flat(Integers, pb.Integers)
_RING = flat(Ring, pb.Ring)
_GRAPH_RING = 2
_DEADLINES = tuple(name.removesuffix("_s") for name in Deadlines.__slots__)
_MAX_SCALE_BITS = 120
_MAX_PRIMES = 8
_MAX_TOP_FIELDS = MAX_ARRAYS + 64
_MAX_FIELDS = MAX_ARRAYS * (MAX_DIMENSIONS + 8)


def encode_config(config: RoundConfig) -> bytes:
    """The serialised configuration, the same bytes on every call."""
    message = pb.RoundConfig(
        task=config.task,
        arrays=[
            pb.ArraySpec(
                name=a.name,
                shape=a.shape,
                dtype=pb.Dtype.Name(DTYPES.index(a.dtype) + 1),
                range=a.range,
                min=None if a.bounds is None else a.bounds[0],
                max=None if a.bounds is None else a.bounds[1],
            )
            for a in config.schema.arrays
        ],
        integers=_INTEGERS.encode(config.encoding) if isinstance(config.encoding, Integers) else None,
        encoding=_FIXED_POINT.encode(config.encoding) if isinstance(config.encoding, FixedPoint) else None,
        pipeline=config.encoding.text if isinstance(config.encoding, Pipeline) else "",
        max_participants=config.max_participants,
        threshold=config.threshold,
        max_colluding=config.max_colluding,
        threat_model=pb.ThreatModel.Name(config.threat_model.value),
        suite=pb.Suite.Name(config.suite.value),
        graph=pb.Graph.Name(Graph.COMPLETE.value if config.ring is None else _GRAPH_RING),
        ring=None if config.ring is None else _RING.encode(config.ring),
        model_digest=config.model_digest,
        release_to_participants=config.release_to_participants,
        certify=config.certify,
        homomorphic=None if config.homomorphic is None else _encode_profile(config.homomorphic),
        groups=None if config.groups is None else _encode_groups(config.groups),
        model_later=config.model_later,
        purpose="" if config.purpose == TRAIN else config.purpose,
        deadlines=pb.Deadlines(
            **{f"{name}_ms": _milliseconds(getattr(config.deadlines, f"{name}_s")) for name in _DEADLINES}
        ),
    )
    if config.release_to_coordinator is not None:
        message.release_to_coordinator = config.release_to_coordinator
    return message.SerializeToString(deterministic=True)


def decode_config(data: bytes) -> RoundConfig:
    """The configuration that these bytes are, checked.

    Raises:
        DecodeError: not a RoundConfig, or one with fields that are unknown here: they may be what makes the round
            another one.
        ProtocolViolation: a RoundConfig with unsafe parameters, or unfinished ones.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise DecodeError(f"a configuration of {len(data)} bytes is longer than {MAX_CONFIG_BYTES}")
    message = pb.RoundConfig()
    try:
        # Before an object is made of each: 64 MiB hold millions of arrays.
        counting.count(data, {}, _MAX_TOP_FIELDS)
        counting.count(data, counting.plan_of(pb.RoundConfig.DESCRIPTOR), _MAX_FIELDS)
        message.ParseFromString(data)
    except DecodeError as error:
        raise DecodeError(f"not a RoundConfig: {error}") from None
    except ProtobufError:
        raise DecodeError("not a RoundConfig") from None
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:  # check: known-fields
        raise DecodeError("the configuration has a field that this release does not know; update this side")
    if message.threshold == 0:
        raise ProtocolViolation("the configuration names no threshold", culprit="coordinator")
    try:
        return _config(message)
    except ConfigError as error:
        raise ProtocolViolation(f"unsafe configuration: {error}", culprit="coordinator") from None
    except ValueError as error:
        raise DecodeError(f"the configuration has an unknown value: {error}") from None


def _config(message: pb.RoundConfig) -> RoundConfig:
    if len(message.arrays) > MAX_ARRAYS or any(len(a.shape) > MAX_DIMENSIONS for a in message.arrays):
        raise ConfigError(f"a schema has at most {MAX_ARRAYS} arrays, of at most {MAX_DIMENSIONS} sides")
    return RoundConfig(
        task=message.task,
        schema=Schema(tuple(_array(spec) for spec in message.arrays)),
        encoding=_encoding(message),
        max_participants=message.max_participants,
        threshold=message.threshold,
        max_colluding=message.max_colluding,
        threat_model=ThreatModel(message.threat_model),
        suite=Suite(message.suite),
        graph=_graph(message),
        model_digest=message.model_digest,
        release_to_participants=message.release_to_participants,
        release_to_coordinator=message.release_to_coordinator,
        certify=message.certify,
        homomorphic=_profile(message.homomorphic) if message.HasField("homomorphic") else None,
        groups=_groups(message.groups) if message.HasField("groups") else None,
        purpose=message.purpose or TRAIN,
        model_later=message.model_later,
        deadlines=Deadlines(**{f"{name}_s": getattr(message.deadlines, f"{name}_ms") / 1000 for name in _DEADLINES}),
    )


def _graph(message: pb.RoundConfig) -> Graph | Ring:
    if message.HasField("ring") is not (message.graph == _GRAPH_RING):
        raise ValueError("a ring without parameters, or parameters without a ring")
    return _RING.decode(message.ring) if message.HasField("ring") else Graph(message.graph)


def _encoding(message: pb.RoundConfig) -> FixedPoint | Pipeline | Integers:
    if message.HasField("encoding") + bool(message.pipeline) + message.HasField("integers") > 1:
        raise ValueError("two of encoding, pipeline and integers")
    if message.HasField("integers"):
        return _INTEGERS.decode(message.integers)
    if message.pipeline:
        return Pipeline.parse(message.pipeline)
    return _FIXED_POINT.decode(message.encoding)


def _array(spec: pb.ArraySpec) -> ArraySpec:
    if spec.HasField("min") is not spec.HasField("max"):
        raise ValueError("one of min and max of an array")
    return ArraySpec(
        spec.name,
        tuple(spec.shape),
        _dtype(spec.dtype),
        spec.range if spec.HasField("range") else None,
        (spec.min, spec.max) if spec.HasField("min") else None,
    )


def _encode_profile(profile: Profile) -> pb.HomomorphicProfile:
    return pb.HomomorphicProfile(
        scheme=pb.HomomorphicScheme.Name(_SCHEMES.index(profile.scheme) + 1),
        custody=pb.Custody.Name(_CUSTODIES.index(profile.custody) + 1),
        summands=profile.summands,
        value_bits=profile.value_bits,
        ring_degree=profile.ring_degree,
        primes=profile.primes,
        special_prime=profile.special_prime,
        plain_modulus=profile.plain_modulus,
        scale_bits=max(profile.scale.bit_length() - 1, 0),
        values_per_slot=profile.values_per_slot,
    )


def _profile(message: pb.HomomorphicProfile) -> Profile:
    """Checked by `RoundConfig`, whoever made it."""
    if not (1 <= message.scheme <= len(_SCHEMES) and 1 <= message.custody <= len(_CUSTODIES)):
        raise ValueError(f"homomorphic scheme {message.scheme} or custody {message.custody}")
    if message.scale_bits > _MAX_SCALE_BITS or len(message.primes) > _MAX_PRIMES:
        raise ValueError(f"scale of {message.scale_bits} bits or {len(message.primes)} primes")
    return Profile(
        scheme=_SCHEMES[message.scheme - 1],
        custody=_CUSTODIES[message.custody - 1],
        summands=message.summands,
        value_bits=message.value_bits,
        ring_degree=message.ring_degree,
        primes=tuple(message.primes),
        special_prime=message.special_prime,
        plain_modulus=message.plain_modulus,
        scale=1 << message.scale_bits if message.scale_bits else 0,
        values_per_slot=message.values_per_slot,
    )


def _encode_groups(groups: Groups) -> pb.Groups:
    return pb.Groups(
        count=groups.count,
        combine=pb.Combine.Name(groups.combine.value),
        trim=groups.trim,
        parent=groups.parent,
        number=groups.number,
    )


def _groups(message: pb.Groups) -> Groups:
    return Groups(
        count=message.count,
        combine=Combine(message.combine),
        trim=message.trim,
        parent=message.parent,
        number=message.number,
    )


def _dtype(number: int) -> str:
    if not 1 <= number <= len(DTYPES):
        raise ValueError(f"dtype {number}")
    return DTYPES[number - 1]


def _milliseconds(seconds: float) -> int:
    """At least 1; but 0, which `join_s` may be, stays 0."""
    return max(1, round(seconds * 1000)) if seconds else 0
