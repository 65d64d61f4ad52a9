"""Every decoder of the wire, each with valid messages to start from."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from google.protobuf.message import Message

from secagg.aggregates import Aggregate
from secagg.crypto.secret import Secret
from secagg.encoding.fixedpoint import FixedPoint
from secagg.errors import AbortReason, ProtocolViolation, RoundAborted
from secagg.events import (
    Accused,
    DropReason,
    MasksRemoved,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    Verdict,
    WrongShares,
)
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    EncryptedInputChunk,
    EncryptedSum,
    FallenSet,
    Index,
    KeyConfirmation,
    Leave,
    LeaveReason,
    MaskedInputChunk,
    PartialChunk,
    ParticipantId,
    Phase,
    RecoverSeeds,
    RecoveryCheck,
    ReleaseOrder,
    Roster,
    ShareDelivery,
    ShareKeys,
    SumChunk,
    SumReport,
    SurvivorSet,
    Unmask,
)
from secagg.robust.combining import Anomaly
from secagg.robust.grouping import Groups
from secagg.schemes import contents
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Down, Envelope
from secagg.wire.calls import CODECS
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.describing import Description, decode_description, encode_description
from secagg.wire.failures import decode_failure, encode_failure
from secagg.wire.fields import decode_participant_id
from secagg.wire.parsing import parse
from secagg.wire.progress import InGroup, ResultReady, decode_event, encode_event
from secagg.wire.results import (
    PackedAggregate,
    PackedGroups,
    decode_aggregate,
    decode_groups,
)
from secagg.wire.saved_states import decode_saved, encode_saved
from secagg.wire.v1 import control_plane_pb2, data_plane_pb2, errors_pb2
from tests.rounds import SEMI_HONEST, flat_schema, make_config, start

CONFIG = make_config(4, SEMI_HONEST, schema=flat_schema(10), encoding=FixedPoint(1.0, 16, 1))


@dataclass(frozen=True)
class Decoder:
    """A way from bytes to values.

    Attributes:
        name: for reports.
        valid: serialised parts of valid messages.
        decode: a list of serialised parts to a value, or a `RemoteError`.
        again: the value to serialised parts; None if there is no encoder.
    """

    name: str
    valid: tuple[tuple[bytes, ...], ...]
    decode: Callable[[Iterable[bytes]], Any]
    again: Callable[[Any], tuple[bytes, ...]] | None


@cache
def messages() -> dict[type, list[Any]]:
    """All messages of two active rounds with a dropout, by type; in one of them the model is named later."""
    seen: dict[type, list[Any]] = {}

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        seen.setdefault(type(envelope.message), []).append(envelope.message)
        lost = isinstance(envelope.message, MaskedInputChunk) and envelope.participant == participant_names(1)[0]
        return () if lost else (envelope,)

    for model_later in (False, True):
        start(make_config(5, schema=flat_schema(10), model_later=model_later), hook=hook).play()
    return seen


def saved_states() -> list[bytes]:
    """What a participant of an active round saves of itself, in clear, before each message."""
    run, content = start(make_config(4, schema=flat_schema(10))), list[bytes]()
    name = participant_names(1)[0]

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Down) and envelope.participant == name:
            content.append(encode_saved(contents(run.participants[name])))
        return (envelope,)

    run.hook = hook
    run.play()
    return content


def of(kind: type[Message], data: Iterable[bytes]) -> Iterator[Any]:
    return (parse(kind, part) for part in data)


def whole(kind: type[Message], encode: Callable[[Any], Message], decode: Callable[[Any], Any], *values: Any) -> Decoder:
    """A message in one piece."""

    def again(value: Any) -> tuple[bytes, ...]:
        return (encode(value).SerializeToString(),)

    def read(data: Iterable[bytes]) -> Any:
        return decode(parse(kind, b"".join(data)))

    return Decoder(decode.__name__, tuple(again(value) for value in values), read, again)


def parted(
    kind: type[Message], encode: Callable[[Any], Iterable[Message]], decode: Callable[[Any], Any], *values: Any
) -> Decoder:
    """A message in parts."""

    def again(value: Any) -> tuple[bytes, ...]:
        return tuple(part.SerializeToString() for part in encode(value))

    return Decoder(decode.__name__, tuple(again(value) for value in values), lambda data: decode(of(kind, data)), again)


def of_codec(*values: Any) -> Decoder:
    """A message of the protocol, of the type that all the values have."""
    codec = CODECS[type(values[0])]
    made = (parted if codec.in_parts else whole)(codec.kind, codec.encode, codec.decode, *values)
    return replace(made, name=codec.value.__name__)


@cache
def all_decoders() -> tuple[Decoder, ...]:
    pb, seen = data_plane_pb2, messages()
    sets = SurvivorSet((Index(1), Index(2)), (Index(3),))
    aggregate = Aggregate(np.arange(11, dtype=CONFIG.ring_dtype), tuple(participant_names(3)))
    digest = PackedAggregate.of(aggregate, CONFIG).digest
    aborted = RoundAborted(AbortReason.WRONG_SHARES, "wrong shares", culprits=("a",)).accusing(("b",))
    one = ParticipantId("participant-1")
    events = (
        PhaseStarted(Phase.UNMASK, 12.5, 4),
        MessageAccepted(Phase.SHARE_KEYS, one),
        ParticipantDropped(Phase.UNMASK, one, DropReason.REFUSED),
        WrongShares(one, ((one, one),)),
        Accused(one, ParticipantId("participant-2"), Verdict.HEARSAY),
        Accused(one, ParticipantId("participant-2"), Verdict.PROVEN),
        Accused(one, ParticipantId("participant-2"), Verdict.UNFOUNDED),
        MasksRemoved(2**40, 2**41),
        ResultReady(3, bytes(32)),
        RoundFailed(aborted),
        InGroup(2, ResultReady(3, bytes(32))),
        Anomaly(2, 1.5, 0.25),
    )
    grouped = replace(CONFIG, groups=Groups(count=3))
    people = participant_names(9)
    sums = {
        n: PackedAggregate.of(replace(aggregate, survivors=tuple(people[3 * n - 3 : 3 * n])), CONFIG) for n in (1, 2, 3)
    }
    return (
        of_codec(*seen[AdvertiseKeys][:2]),
        of_codec(seen[Roster][0]),
        of_codec(*seen[ShareKeys][:2]),
        of_codec(seen[ShareDelivery][0], ShareDelivery({}, {Index(1): b"share", Index(2): b"other"})),
        of_codec(seen[MaskedInputChunk][0]),
        of_codec(seen[SurvivorSet][0], sets),
        of_codec(seen[ConsistencyCheck][0]),
        of_codec(seen[ConsistencyProof][0]),
        of_codec(*seen[Unmask][:2]),
        of_codec(
            *map(Leave, LeaveReason),
            Leave(LeaveReason.REFUSED, ParticipantId("p-1")),
            Leave(LeaveReason.REFUSED, ParticipantId("p-1"), bytes(range(32))),
        ),
        of_codec(KeyConfirmation(bytes(32), b"signature")),
        of_codec(EncryptedInputChunk(0, b"payload", seed=bytes(16), binding=bytes(32))),
        of_codec(EncryptedSum(sets, (b"c0", b"more"), (b"c1",))),
        of_codec(SumReport(bytes(32), b"signature")),
        of_codec(ReleaseOrder(True)),
        of_codec(SumChunk(3, b"payload")),
        of_codec(PartialChunk(3, b"payload")),
        of_codec(FallenSet((Index(2), Index(5)))),
        of_codec(RecoveryCheck(b"signature")),
        of_codec(RecoverSeeds({Index(2): Secret(bytes(33))})),
        Decoder(
            "decode_config",
            ((encode_config(CONFIG),), (encode_config(make_config(9)),), (encode_config(grouped),)),
            lambda data: decode_config(b"".join(data)),
            lambda config: (encode_config(config),),
        ),
        replace(
            parted(
                pb.AggregatePart,
                lambda value: PackedAggregate.of(value, CONFIG).parts(),
                lambda parts: decode_aggregate(parts, CONFIG),
                aggregate,
            ),
            name=decode_aggregate.__name__,
        ),
        Decoder(
            "decode_groups",
            (tuple(part.SerializeToString() for part in PackedGroups(sums).parts()),),
            lambda data: decode_groups(of(pb.AggregatePart, data), grouped),
            None,
        ),
        Decoder(
            "decode_event",
            tuple((encode_event(event, 1.0).SerializeToString(),) for event in events),
            lambda data: decode_event(parse(control_plane_pb2.RoundEvent, b"".join(data))),
            None,
        ),
        whole(
            errors_pb2.ErrorDetail,
            encode_failure,
            decode_failure,
            ProtocolViolation("no", culprit="coordinator"),
            aborted,
        ),
        whole(
            pb.Description,
            encode_description,
            decode_description,
            Description("1.2.3", (1,), 1_700_000_000_000),
            Description("2.0.0rc1+local", (1, 2, 5), 0),
        ),
        Decoder(
            "saved state",
            tuple((state,) for state in saved_states()),
            lambda data: decode_saved(b"".join(data)),
            lambda saved: (encode_saved(saved),),
        ),
        Decoder("participant id", ((digest.hex().encode(),),), read_id, None),
    )


def read_id(data: Iterable[bytes]) -> ParticipantId:
    return decode_participant_id(b"".join(data).decode("latin-1"))
