"""A round on the wire before and after it runs: the offer that a participant finds, and a line of a list of rounds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.errors import DecodeError
from secagg.messages import Phase
from secagg.roster import COORDINATOR
from secagg.wire.fields import PART_BYTES, told_by_coordinator
from secagg.wire.progress import decode_phase, encode_phase
from secagg.wire.v1 import control_plane_pb2 as control
from secagg.wire.v1 import data_plane_pb2 as data


class RoundState(Enum):
    """What became of a round. The value is the number on the wire."""

    RUNNING = 1
    DONE = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """One round, as `ControlClient.list_rounds` lists it.

    Attributes:
        round_id: id of the round, 16 bytes.
        task: name of its task.
        state: whether it runs, ended with a sum, or without.
        phase: the open phase; None unless the round runs.
        opened: when it was opened, in seconds since 1970.
    """

    round_id: RoundId
    task: str
    state: RoundState
    phase: Phase | None
    opened: float


def encode_offer(round_id: RoundId, config_bytes: bytes) -> Iterator[data.RoundOfferPart]:
    """The round's id in the first part, and its configuration in pieces of at most 1 MiB."""
    config = memoryview(config_bytes)
    for start in range(0, len(config), PART_BYTES):
        piece = bytes(config[start : start + PART_BYTES])
        yield data.RoundOfferPart(round_id=round_id if start == 0 else b"", config=piece)


def decode_offer(parts: Iterable[data.RoundOfferPart]) -> tuple[RoundId, bytes]:
    """The round's id and the bytes of its configuration, which are decoded by `configuration`."""
    ids: list[bytes] = []
    pieces: list[bytes] = []
    for part in parts:
        if part.round_id or not ids:
            ids.append(part.round_id)
        pieces.append(part.config)
    if len(ids) != 1 or len(ids[0]) != ROUND_ID_SIZE:  # check: one-round-offered
        raise DecodeError("an offer names its round by 16 bytes, in the first part alone", culprit=COORDINATOR)
    return RoundId(ids[0]), b"".join(pieces)


def encode_summary(summary: RoundSummary) -> control.RoundSummary:
    """The summary, which is never split."""
    return control.RoundSummary(
        round_id=summary.round_id,
        task=summary.task,
        state=control.RoundState.Name(summary.state.value),
        phase=None if summary.phase is None else encode_phase(summary.phase),
        opened_ms=round(summary.opened * 1000),
    )


def decode_summary(message: control.RoundSummary) -> RoundSummary:
    """Raise `DecodeError` for an id, a state or a phase that is none."""
    state = told_by_coordinator(RoundState, message.state, f"state {message.state} of a round")
    phase = decode_phase(message.phase) if state is RoundState.RUNNING else None
    return RoundSummary(decode_round_id(message.round_id), message.task, state, phase, message.opened_ms / 1000)


def decode_round_id(round_id: bytes) -> RoundId:
    """Raise `DecodeError` unless these are 16 bytes."""
    if len(round_id) != ROUND_ID_SIZE:
        raise DecodeError(f"a round id of {len(round_id)} bytes", culprit=COORDINATOR)
    return RoundId(round_id)
