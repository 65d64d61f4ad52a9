"""Round events on the wire, as the control plane's `WatchRound` streams them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import assert_never

from secagg.errors import DecodeError, RoundAborted
from secagg.events import (
    Accused,
    DropReason,
    Event,
    MasksRemoved,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    SumDelivered,
    SumReady,
    Verdict,
    WrongShares,
)
from secagg.messages import ParticipantId, Phase
from secagg.robust.combining import Anomaly
from secagg.wire.failures import decode_failure, encode_failure
from secagg.wire.fields import split, told_by_coordinator
from secagg.wire.v1 import control_plane_pb2 as pb
from secagg.wire.v1 import data_plane_pb2


@dataclass(frozen=True, slots=True)
class ResultReady:
    """The round ended with an exact sum. It can be fetched now, where the round gives it to the FL server.

    Attributes:
        survivors: number of participants whose updates are in the sum.
        sums_digest: SHA-256 over the packed sum, 32 bytes.
    """

    survivors: int
    sums_digest: bytes


CohortEvent = (
    PhaseStarted
    | MessageAccepted
    | ParticipantDropped
    | WrongShares
    | Accused
    | MasksRemoved
    | ResultReady
    | RoundFailed
)
"""What happens in one cohort."""


@dataclass(frozen=True, slots=True)
class InGroup:
    """An event of one group, in a round in groups. When a group ends, the round need not be over.

    Attributes:
        group: number of the group, from 1.
        event: what happened in the group, as in a round of one cohort.
    """

    group: int
    event: CohortEvent


WatchedEvent = CohortEvent | InGroup | Anomaly
"""What `ControlClient.watch` yields. The last event of a round is a `ResultReady` or a `RoundFailed`."""


def watched(event: Event, digest: bytes) -> CohortEvent:
    """The event as it is told; `digest` is of the sum, once there is one."""
    match event:
        case SumReady(survivors):
            return ResultReady(len(survivors), digest)
        case SumDelivered(survivors, reported):
            return ResultReady(len(survivors), reported)
        case _:
            return event


def encode_phase(phase: Phase) -> str:
    """The name of the enum value on the wire, whose number is one more than the round number in the paper."""
    return data_plane_pb2.Phase.Name(phase.value + 1)


def decode_phase(number: int) -> Phase:
    """Raise `DecodeError` for a number that is no phase."""
    return told_by_coordinator(Phase, number - 1, f"phase {number}")


def encode_event(event: WatchedEvent, time_s: float) -> pb.RoundEvent:
    """`time_s` is in seconds since 1970."""
    message = pb.RoundEvent(time_ms=round(time_s * 1000))
    match event:
        case PhaseStarted(phase, deadline, expected):
            started = pb.PhaseStarted(phase=encode_phase(phase), deadline_ms=round(deadline * 1000), expected=expected)
            message.phase_started.CopyFrom(started)
        case MessageAccepted(phase, participant):
            message.message_accepted.CopyFrom(pb.MessageAccepted(phase=encode_phase(phase), participant_id=participant))
        case ParticipantDropped(phase, participant, reason):
            name = pb.DropReason.Name(reason.value)
            message.participant_dropped.CopyFrom(
                pb.ParticipantDropped(phase=encode_phase(phase), participant_id=participant, reason=name)
            )
        case WrongShares(culprit, conflicts):
            pairs = [pb.ShareConflict(owner=owner, holder=holder) for owner, holder in conflicts]
            message.wrong_shares.CopyFrom(pb.WrongShares(culprit=culprit, conflicts=pairs))
        case Accused(accused, accuser, verdict):
            told = pb.Verdict.Name(verdict.value)
            message.accused.CopyFrom(pb.Accused(accused=accused, accuser=accuser, verdict=told))
        case MasksRemoved(done, total):
            message.masks_removed.CopyFrom(pb.MasksRemoved(done=done, total=total))
        case ResultReady(survivors, digest):
            message.sum_ready.CopyFrom(pb.SumReady(survivors=survivors, sums_digest=digest))
        case RoundFailed(error):
            message.round_failed.CopyFrom(pb.RoundFailed(error=encode_failure(error)))
        case InGroup(group, inner):
            message = encode_event(inner, time_s)
            message.group = group
        case Anomaly(group, norm, typical):
            message.group_anomaly.CopyFrom(pb.GroupAnomaly(group=group, norm=norm, typical=typical))
        case _:
            assert_never(event)
    return message


def encode_events(happened: Iterable[tuple[float, WatchedEvent]]) -> Iterator[pb.RoundEvents]:
    """Events that are told together, each with its time in seconds since 1970; messages of at most 1 MiB."""
    return split((encode_event(event, at) for at, event in happened), lambda some: pb.RoundEvents(events=some))


def decode_event(message: pb.RoundEvent) -> tuple[float, WatchedEvent]:
    """Time in seconds since 1970, and the event."""
    return message.time_ms / 1000, _watched_event(message)


def _watched_event(message: pb.RoundEvent) -> WatchedEvent:
    if message.WhichOneof("event") == "group_anomaly":
        anomaly = message.group_anomaly
        return Anomaly(anomaly.group, anomaly.norm, anomaly.typical)
    event = _cohort_event(message)
    return InGroup(message.group, event) if message.group else event


def _cohort_event(message: pb.RoundEvent) -> CohortEvent:  # noqa: PLR0911, one for each kind
    match message.WhichOneof("event"):
        case "phase_started":
            m = message.phase_started
            return PhaseStarted(decode_phase(m.phase), m.deadline_ms / 1000, m.expected)
        case "message_accepted":
            accepted = message.message_accepted
            return MessageAccepted(decode_phase(accepted.phase), ParticipantId(accepted.participant_id))
        case "participant_dropped":
            dropped = message.participant_dropped
            phase, name = decode_phase(dropped.phase), ParticipantId(dropped.participant_id)
            why = told_by_coordinator(DropReason, dropped.reason, f"reason {dropped.reason} for a dropout")
            return ParticipantDropped(phase, name, why)
        case "wrong_shares":
            wrong = message.wrong_shares
            pairs = tuple((ParticipantId(c.owner), ParticipantId(c.holder)) for c in wrong.conflicts)
            return WrongShares(ParticipantId(wrong.culprit), pairs)
        case "accused":
            told = message.accused
            verdict = told_by_coordinator(Verdict, told.verdict, f"verdict {told.verdict}")
            return Accused(ParticipantId(told.accused), ParticipantId(told.accuser), verdict)
        case "masks_removed":
            return MasksRemoved(message.masks_removed.done, message.masks_removed.total)
        case "sum_ready":
            return ResultReady(message.sum_ready.survivors, message.sum_ready.sums_digest)
        case "round_failed":
            error = decode_failure(message.round_failed.error)
            if isinstance(error, RoundAborted):
                return RoundFailed(error)
    raise DecodeError("an event that this version does not know", culprit="coordinator")
