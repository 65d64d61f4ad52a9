"""What a participant keeps of its rounds where each message may be answered in another process: sealed states, in a
mapping that the framework keeps.

Each state is sealed under a key that is destroyed when the state is restored (`secagg.rounds.saved_state`), so a state
that the framework brings back answers no second time. What feedback holds is sealed in the same way.
"""

import io
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from secagg.config import RoundConfig
from secagg.context import ROUND_ID_SIZE, RoundId, bind
from secagg.crypto import labels, sealing
from secagg.crypto.transcript import digest, frame
from secagg.encoding.arrays import FloatArray
from secagg.errors import AuthenticationError, RemoteError, SavedStateError
from secagg.messages import ParticipantId
from secagg.rounds.saved_state import MemoryStateKeys, StateKeys, StateName
from secagg.schemes import restore, save
from secagg.wire.configuration import decode_config
from secagg_client.carried.seats import LazyBackend, Pending, Seat
from secagg_client.carried.terms import CarriedTerms
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.results import Offer

PENDING_STEP: Final = 254
"""Names what a round lost, until we hear of its end. No round has so many messages."""

CARRIED_STEP: Final = 255
"""Names what is carried to the next round, since this round was settled or left."""

States = MutableMapping[str, bytes]

_NAMED: Final = "array "  # before each name in an .npz file: some names are those of arguments of numpy.savez
_LENGTH: Final = 4  # bytes of the length before each field


class SealedSeats:
    """Our rounds in a framework's mapping: an entry for each, by its id in hexadecimal digits, and one for what is
    carried from round to round of a task.
    """

    def __init__(self, terms: CarriedTerms, states: States) -> None:
        """Args:
        terms: ours.
        states: kept by the framework between two messages.
        """
        self._terms = terms
        self._states = states
        self._keys: StateKeys = terms.keys or MemoryStateKeys(terms.rng, states)
        self._feedback = Feedback()
        self._used: dict[str, Offer] = {}  # tasks whose feedback is in use, each with the latest round that uses it

    def join(self, round_id: RoundId, name: ParticipantId) -> None:
        """As `Seats.join`, in the keys."""
        self._keys.join(round_id, name)

    def oldest_first(self) -> list[RoundId]:
        """As `Seats.oldest_first`."""
        return [RoundId(bytes.fromhex(name)) for name in self._states if len(name) == 2 * ROUND_ID_SIZE]

    def take(self, round_id: RoundId) -> Seat | None:
        """As `Seats.take`. The key of the state is destroyed when this returns."""
        kept = self._states.pop(round_id.hex(), None)
        if kept is None:
            return None
        record = _Record.parse(kept)
        offer = Offer(round_id, _configuration(record.config_bytes), record.config_bytes)
        backend = LazyBackend(self._terms)
        seat = Seat(offer, None, backend, counted=record.counted)
        if record.pending:
            seat.pending = self._pending(offer, record.pending)
        if record.session:
            seat.participant = restore(
                record.session,
                self._keys,
                round_id=round_id,
                participant_id=self._terms.name_in(offer.config),
                membership_of=self._terms.membership,
                backend=lambda: backend,
            )
            context = seat.participant.membership.round.context
            if context != bind(round_id, record.config_bytes, offer.config.model_digest):  # check: configuration-kept
                raise SavedStateError(f"the configuration of round {round_id.hex()} was changed where it is kept")
        return seat

    def keep(self, seat: Seat) -> None:
        """Seal our part in a round."""
        going_on = seat.participant is not None and seat.participant.awaits is not None
        record = _Record(
            config_bytes=seat.offer.config_bytes,
            session=save(seat.participant, self._keys) if seat.participant is not None and going_on else b"",
            pending=b"" if seat.pending is None else self._sealed_pending(seat.offer, seat.pending),
            counted=seat.counted,
        )
        seat.backend.close()
        self._states[seat.offer.round_id.hex()] = record.serialised()

    # --- feedback -----------------------------------------------------------------------------------------------------

    def feedback(self, offer: Offer) -> Feedback:
        """As `Seats.feedback`."""
        task = offer.config.task
        if task not in self._used:
            kept = self._states.pop(_carried(task), None)
            if kept is not None:
                round_id, signed, sealed = _fields(kept, 3)
                own = self._terms.known_as(signed=signed == b"\x01")
                self._feedback.restore(task, self._opened(StateName(RoundId(round_id), own, CARRIED_STEP), sealed))
        self._used[task] = offer
        return self._feedback

    def close(self) -> None:
        """Seal what feedback holds."""
        for task, offer in self._used.items():
            arrays = self._feedback.arrays(task)
            if arrays:
                name = self._terms.name_in(offer.config)
                sealed = self._sealed(StateName(offer.round_id, name, CARRIED_STEP), arrays)
                self._states[_carried(task)] = _joined(offer.round_id, bytes([offer.config.signed]), sealed)
        self._used.clear()
        self._feedback = Feedback()

    def _sealed_pending(self, offer: Offer, pending: Pending) -> bytes:
        carried = pending.residual.carried
        arrays = {"lost": pending.lost} | ({} if carried is None else {"carried": carried})
        return self._sealed(StateName(offer.round_id, self._terms.name_in(offer.config), PENDING_STEP), arrays)

    def _pending(self, offer: Offer, sealed: bytes) -> Pending:
        arrays = self._opened(StateName(offer.round_id, self._terms.name_in(offer.config), PENDING_STEP), sealed)
        config = offer.config
        residual = self.feedback(offer).resume(config.task, config.schema, arrays.get("carried"))
        return Pending(residual, arrays["lost"])

    def _sealed(self, name: StateName, arrays: Mapping[str, FloatArray]) -> bytes:
        file = io.BytesIO()
        named: dict[str, Any] = {f"{_NAMED}{key}": array for key, array in arrays.items()}
        np.savez(file, **named)
        return sealing.seal(self._keys.make(name), file.getvalue(), _associated(name))

    def _opened(self, name: StateName, sealed: bytes) -> dict[str, FloatArray]:
        key = self._keys.read(name)
        try:
            content = sealing.unseal(key, sealed, _associated(name), sender=name.participant_id)
        except AuthenticationError:
            raise SavedStateError(
                f"what is carried from round {name.round_id.hex()} does not open: it was altered where it is kept"
            ) from None
        self._keys.use_up(name)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key.removeprefix(_NAMED): array for key, array in arrays.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """The entry of a round: its configuration as it was received, the sealed state, what is pending, and a byte."""

    config_bytes: bytes
    session: bytes
    pending: bytes
    counted: bool

    def serialised(self) -> bytes:
        return _joined(self.config_bytes, self.session, self.pending, bytes([self.counted]))

    @classmethod
    def parse(cls, kept: bytes) -> "_Record":
        config_bytes, session, pending, counted = _fields(kept, 4)
        return cls(config_bytes=config_bytes, session=session, pending=pending, counted=counted == b"\x01")


def _joined(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(_LENGTH) + field for field in fields)


def _fields(kept: bytes, count: int) -> list[bytes]:
    fields, at = [], 0
    for _ in range(count):
        size = int.from_bytes(kept[at : at + _LENGTH])
        at += _LENGTH + size
        fields.append(kept[at - size : at])
    if at != len(kept):
        raise SavedStateError("what the framework kept of a round is not what was given to it")
    return fields


def _configuration(config_bytes: bytes) -> RoundConfig:
    try:
        return decode_config(config_bytes)
    except RemoteError as error:
        raise SavedStateError(f"what the framework kept of a round is not what was given to it: {error}") from None


def _carried(task: str) -> str:
    return f"carried.{digest(labels.CARRIED_FEEDBACK, task.encode())[:16].hex()}"


def _associated(name: StateName) -> bytes:
    return frame(labels.CARRIED_FEEDBACK, bytes([name.step]), name.round_id, name.participant_id.encode())
