"""One message of one round, as bytes that a framework carries.

The coordinator's steps are `OPEN` (the offer of a round), then the message that closes a phase, under the name of that
phase, and at last `OVER`. A participant answers with its message of the next phase, under the name of that one, or
with `LEAVE`. All but the last two are the same protobuf bytes as over gRPC.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from secagg.context import RoundId
from secagg.errors import DecodeError, SecAggError
from secagg.messages import Leave, Phase
from secagg.wire.agreement import LEAVE as LEAVE_CODEC
from secagg.wire.codecs import Codec
from secagg.wire.counting import Budget
from secagg.wire.failures import decode_failure, encode_failure
from secagg.wire.fields import MessageT
from secagg.wire.limits import PART_COST
from secagg.wire.parsing import parse
from secagg.wire.v1 import errors_pb2

OPEN: Final = "open"
"""Coordinator: the id and the configuration of a new round."""

LEAVE: Final = "leave"
"""Participant: it does not go on, and says why."""

OVER: Final = "over"
"""Coordinator: how the round ended. Without parts: with a sum that holds the addressee's input. Else one part says what
became of the round, or of the addressee."""

PHASE_NAMED: Final = {str(phase): phase for phase in Phase}
"""Phases by the names that steps have."""

MAX_FAILURE_BYTES: Final = 64 << 10
"""The part that says why: a text of at most 1000 characters, and names of participants."""


@dataclass(frozen=True, slots=True)
class Step:
    """One message of one round.

    Attributes:
        round_id: 16 bytes.
        kind: `OPEN`, `LEAVE`, `OVER`, or the name of a phase.
        parts: serialised protobuf messages, each of about 1 MiB at most (2 MiB for a long block of a ciphertext).
    """

    round_id: RoundId
    kind: str
    parts: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts, each counting `PART_COST` more than it has."""
        return sum(len(part) + PART_COST for part in self.parts)


def serialised(messages: Iterable[Message]) -> tuple[bytes, ...]:
    """The parts of a step."""
    return tuple(message.SerializeToString() for message in messages)


def every(kind: type[MessageT], parts: tuple[bytes, ...], fields: int) -> Iterator[MessageT]:
    """The messages in `parts`, each parsed when it is asked for. They have at most `fields` fields, all together."""
    budget = Budget(fields)
    return (parse(kind, part, budget) for part in parts)


def only(kind: type[MessageT], parts: tuple[bytes, ...]) -> MessageT:
    """The one message in `parts`."""
    if len(parts) != 1:  # check: one-part
        raise DecodeError(f"{len(parts)} parts where one {kind.__name__} belongs")
    return parse(kind, parts[0])


def whole(codec: Codec[Any], parts: tuple[bytes, ...], fields: int) -> Any:
    """The message that all parts are together. They have at most `fields` protobuf fields."""
    return codec.decode(every(codec.kind, parts, fields) if codec.in_parts else only(codec.kind, parts))


def check_size(step: Step, limit: int) -> None:
    """Refuse a step before anything of it is parsed.

    Raises:
        DecodeError: it is longer than `limit` bytes.
    """
    if step.size > limit:  # check: longer-than-any-step
        raise DecodeError(f"a step {step.kind[:20]!r} of {step.size} bytes is longer than {limit}")


def leave_step(round_id: RoundId, leave: Leave, why: SecAggError | None) -> Step:
    """A participant's `LEAVE`. Of `why` the text goes along; None tells no more than the reason."""
    parts = [LEAVE_CODEC.encode(leave).SerializeToString()]
    if why is not None:
        parts.append(encode_failure(why).SerializeToString())
    return Step(round_id, LEAVE, tuple(parts))


def read_leave(step: Step) -> tuple[Leave, str]:
    """What a participant says when it leaves, and why, in words that may be printed.

    Raises:
        DecodeError: not a `LEAVE`.
    """
    check_size(step, MAX_FAILURE_BYTES)
    leave: Leave = LEAVE_CODEC.decode(only(LEAVE_CODEC.kind, step.parts[:1]))
    told = leave.reason.name.lower()
    if len(step.parts) > 1:
        told = f"{told}: {decode_failure(only(errors_pb2.ErrorDetail, step.parts[1:]))}"
    return leave, told


def over_step(round_id: RoundId, failure: SecAggError | None) -> Step:
    """The coordinator's `OVER`; None if the addressee's input is in the sum."""
    return Step(round_id, OVER, () if failure is None else (encode_failure(failure).SerializeToString(),))


def read_over(step: Step) -> SecAggError | None:
    """Why the addressee's input is in no sum; None if it is in the sum.

    Raises:
        DecodeError: not an `OVER`.
    """
    check_size(step, MAX_FAILURE_BYTES)
    return decode_failure(only(errors_pb2.ErrorDetail, step.parts)) if step.parts else None
