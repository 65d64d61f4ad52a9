"""What a participant keeps in its folder as bytes: every field, with its bounds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from secagg.config import DIGEST_SIZE
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError
from secagg.messages import ParticipantId, Roster, SurvivorSet
from secagg.wire.configuration import MAX_CONFIG_BYTES
from secagg.wire.counting import Budget
from secagg.wire.fields import at_most, decode_participant_id, exactly
from secagg.wire.keys import decode_roster, encode_roster
from secagg.wire.masked import SURVIVOR_SET
from secagg.wire.parsing import parse
from secagg.wire.saved_states import MAX_SAVED_BYTES, MAX_SAVED_FIELDS, SavedState, decode_saved, encode_saved
from secagg.wire.v1 import saved_state_pb2 as pb

SEED_SIZE: Final = 32
MAX_JOINED: Final = 1000
MAX_STEP: Final = 255


@dataclass(frozen=True, slots=True)
class CarriedFile:
    """Where what feedback carries for a task is kept: the number of a file, and its key of 32 bytes."""

    number: int
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """A round that is under way: all that fixes what we send in it from now on.

    Attributes:
        config_bytes: the configuration as it was received.
        step: how many messages `state` has taken.
        state: of the participant, before it takes `answer`.
        answer: the parts of the message that closed the phase; none as long as our keys wait for their answer.
        step_seed: 32 bytes, for what is drawn when the state takes `answer`.
        input_seed: 32 bytes, for the rounding of our update and for our noise.
        input_digest: of the encoded update, 32 bytes.
        roster: once it came.
        sets: once they came.
        sums_digest: of the result that we sign where the round is certified, 32 bytes; empty until then.
    """

    config_bytes: bytes
    step: int
    state: SavedState
    answer: tuple[bytes, ...]
    step_seed: Secret
    input_seed: Secret
    input_digest: bytes
    roster: Roster | None = None
    sets: SurvivorSet | None = None
    sums_digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptState:
    """All that is kept of a participant.

    Attributes:
        participant_id: whose it is.
        joined: the rounds that were joined, the latest last; at most `MAX_JOINED`.
        carried: what feedback carries, by task.
        under_way: the round that is under way; None between two rounds.
    """

    participant_id: ParticipantId
    joined: tuple[RoundId, ...] = ()
    carried: Mapping[str, CarriedFile] = field(default_factory=dict)
    under_way: UnderWay | None = None


def encode_kept(kept: KeptState) -> bytes:
    """The state as bytes. They hold secrets in clear: seal them.

    Raises:
        SavedStateError: they are too many.
    """
    return pb.KeptState(
        participant_id=kept.participant_id,
        joined=kept.joined,
        carried=(
            pb.CarriedFile(task=task, number=file.number, key=file.key.expose()) for task, file in kept.carried.items()
        ),
        under_way=None if kept.under_way is None else _under_way(kept.under_way),
    ).SerializeToString(deterministic=True)


def decode_kept(content: bytes) -> KeptState:
    """The state that these bytes are.

    Raises:
        DecodeError: they are none, or a field is beyond its bounds.
        ProtocolViolation: the configuration is unsafe.
    """
    at_most(content, 2 * MAX_SAVED_BYTES, "what is kept")
    message = parse(pb.KeptState, content, Budget(2 * MAX_SAVED_FIELDS))
    if len(message.joined) > MAX_JOINED:
        raise DecodeError(f"{len(message.joined)} rounds were joined, more than {MAX_JOINED}")
    return KeptState(
        participant_id=decode_participant_id(message.participant_id),
        joined=tuple(RoundId(exactly(round_id, ROUND_ID_SIZE, "joined")) for round_id in message.joined),
        carried={file.task: CarriedFile(file.number, _seed(file.key, "key")) for file in message.carried},
        under_way=_read_under_way(message.under_way) if message.HasField("under_way") else None,
    )


def _under_way(one: UnderWay) -> pb.UnderWay:
    return pb.UnderWay(
        config=one.config_bytes,
        step=one.step,
        state=pb.SavedState.FromString(encode_saved(one.state)),
        answer=one.answer,
        step_seed=one.step_seed.expose(),
        input_seed=one.input_seed.expose(),
        input_digest=one.input_digest,
        roster=encode_roster(one.roster) if one.roster else (),
        sets=None if one.sets is None else SURVIVOR_SET.encode(one.sets),
        sums_digest=one.sums_digest,
    )


def _read_under_way(message: pb.UnderWay) -> UnderWay:
    if message.step > MAX_STEP:
        raise DecodeError(f"step {message.step} is above {MAX_STEP}")
    return UnderWay(
        config_bytes=at_most(message.config, MAX_CONFIG_BYTES, "config"),
        step=message.step,
        state=decode_saved(message.state.SerializeToString()),
        answer=tuple(message.answer),
        step_seed=_seed(message.step_seed, "step_seed"),
        input_seed=_seed(message.input_seed, "input_seed"),
        input_digest=exactly(message.input_digest, DIGEST_SIZE, "input_digest"),
        roster=decode_roster(message.roster) if message.roster else None,
        sets=SURVIVOR_SET.decode(message.sets) if message.HasField("sets") else None,
        sums_digest=exactly(message.sums_digest, DIGEST_SIZE, "sums_digest") if message.sums_digest else b"",
    )


def _seed(value: bytes, what: str) -> Secret:
    return Secret(exactly(value, SEED_SIZE, what))
