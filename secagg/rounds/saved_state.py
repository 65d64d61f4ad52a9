"""A participant that outlives its process: its state between two messages, sealed for one single restore.

    keys = FolderStateKeys("state-keys")                # a private folder that this participant alone uses
    keys.join(round_id, name)                           # once for each round, before the first message
    participant = take_part(membership, None, Worker)   # no update is needed yet
    sealed = save(participant, keys)                    # given up here; `sealed` may be kept anywhere
    ...                                                 # the process may end
    participant = restore(
        sealed, keys, round_id=round_id, participant_id=name, membership_of=membership_of, backend=Worker
    )
    if participant.needs_vector:
        participant.provide(vector, model_digest)
    reply = participant.receive(message, now)
    sealed = save(participant, keys)                    # as long as `participant.awaits` is not None

`save` and `restore` are in `secagg.schemes`. What is sealed stands in `secagg.wire.saved_states`.

Each saved state is sealed under a fresh key of its own. The key stays with the participant, in its `StateKeys`, and is
destroyed by the restore, before anything can be answered. So a state that was restored before, or that is older than
the latest, does not open any more: its key is gone. Whoever keeps the sealed bytes can lose them, but can neither read
nor change them, nor go back to older ones. Only who brings back an older copy of the keys, too, goes back unnoticed;
losing the keys loses rounds, and nothing else.
"""

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.crypto import labels, sealing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.identity import verified_before
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.errors import AuthenticationError, DecodeError, RemoteError, SavedStateError
from secagg.messages import ParticipantId
from secagg.roster import roster_digest
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.membership import Membership
from secagg.rounds.session import Waiting
from secagg.wire.saved_states import MAX_SAVED_BYTES, SavedState, decode_saved

VERSION: Final = 2
"""Of the format. A state of another version is refused: rounds are short, so they end before a program is exchanged."""

STATE_KEY_SIZE: Final = 32

MAX_ROUNDS: Final = 1000
"""Rounds of a participant that are remembered as joined; the oldest is forgotten first, with keys that were left behind
in it."""

JOINED: Final = ".joined"
KEY: Final = ".key"
_HEADER_SIZE: Final = 2

# --- the keys of saved states -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateName:
    """Which saved state: there is never more than one of a name.

    Attributes:
        round_id: 16 bytes.
        participant_id: whose.
        step: how many messages it had taken when it was saved, 0 to 255.
    """

    round_id: RoundId
    participant_id: ParticipantId
    step: int


class StateKeys(Protocol):
    """Where a participant keeps the keys of its saved states, each for one restore, and which rounds it joined."""

    @property
    def durable(self) -> bool:
        """Whether it promises to outlive this process."""
        ...

    @property
    def guarded(self) -> bool:
        """Whether the participant itself keeps it, so that nobody else can bring back what was used up."""
        ...

    def join(self, round_id: RoundId, participant_id: ParticipantId) -> None:
        """Record that the participant takes part in a round, before its first message leaves.

        Raises:
            SavedStateError: it joined this round before, maybe in another process: keys are made once per round. Or
                it cannot be recorded.
        """
        ...

    def make(self, name: StateName) -> Secret:
        """A fresh key of 32 bytes for the state `name`; safe when this returns.

        Raises:
            SavedStateError: there is a state of that name, the round was not joined, or the key cannot be kept.
        """
        ...

    def read(self, name: StateName) -> Secret:
        """The key of a state. It is not used up yet.

        Raises:
            SavedStateError: there is none: the state was restored before, or is older than the latest. Or it cannot be
                read.
        """
        ...

    def use_up(self, name: StateName) -> None:
        """Destroy the key of a state; it is gone for good when this returns.

        Raises:
            SavedStateError: somebody else was faster, or it cannot be destroyed.
        """
        ...


class MemoryStateKeys:
    """Keys that last as long as this object, or as the mapping that it is given. For one thread at a time.

    The latest `MAX_ROUNDS` rounds of a participant are remembered as joined. With an older round go its keys.
    """

    durable: Final = False

    def __init__(self, rng: Rng, kept: MutableMapping[str, bytes] | None = None) -> None:
        """Args:
        rng: makes the keys.
        kept: where they are, by the names of files in a `FolderStateKeys`; None for a place of our own. A mapping that
            a framework keeps, beside the saved states, is as good as no seal at all: whoever keeps both can read states
            and go back to older ones. Such keys serve where the coordinator is semi-honest.
        """
        self.guarded: Final = kept is None
        self._rng = rng
        self._kept: MutableMapping[str, bytes] = {} if kept is None else kept

    def join(self, round_id: RoundId, participant_id: ParticipantId) -> None:
        """As `StateKeys.join`."""
        joined = joined_name(round_id, participant_id)
        if joined in self._kept:  # check: joined-once
            raise joined_before(round_id, participant_id)
        self._kept[joined] = b""
        for oldest in joined_by(participant_id, self._kept)[:-MAX_ROUNDS]:
            for key in keys_of(oldest, self._kept):
                del self._kept[key]
            del self._kept[oldest]

    def make(self, name: StateName) -> Secret:
        """As `StateKeys.make`."""
        if joined_name(name.round_id, name.participant_id) not in self._kept:
            raise not_joined(name)
        if key_name(name) in self._kept:
            raise saved_before(name)
        key = self._kept[key_name(name)] = self._rng.token(STATE_KEY_SIZE)
        return Secret(key)

    def read(self, name: StateName) -> Secret:
        """As `StateKeys.read`."""
        key = self._kept.get(key_name(name))
        if key is None:  # check: key-there
            raise no_key(name)
        return Secret(key)

    def use_up(self, name: StateName) -> None:
        """As `StateKeys.use_up`."""
        if self._kept.pop(key_name(name), None) is None:
            raise no_key(name)


def joined_name(round_id: RoundId, participant_id: ParticipantId) -> str:
    """The name of what says that a round was joined."""
    return f"{round_id.hex()}.{participant_id}{JOINED}"


def key_name(name: StateName) -> str:
    """The name of a state's key."""
    return f"{name.round_id.hex()}.{name.participant_id}.{name.step}{KEY}"


def joined_by(participant_id: ParticipantId, names: Iterable[str]) -> list[str]:
    """Those of `names` that say that the participant joined a round, in the same order."""
    behind_the_round = f".{participant_id}{JOINED}"
    return [name for name in names if name[2 * ROUND_ID_SIZE :] == behind_the_round]


def keys_of(joined: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that are keys of the participant and round that `joined` names."""
    round_and_participant = joined.removesuffix(JOINED)
    return [name for name in names if name.endswith(KEY) and name.rsplit(".", 2)[0] == round_and_participant]


def joined_before(round_id: RoundId, participant_id: ParticipantId) -> SavedStateError:
    """The error for a round that is joined a second time."""
    return SavedStateError(f"{participant_id} joined round {round_id.hex()} before; keys are made once per round")


def not_joined(name: StateName) -> SavedStateError:
    """The error for a state of a round that was not recorded as joined."""
    return SavedStateError(f"{_text(name)} cannot be saved: call join() of the keys before the round's first message")


def saved_before(name: StateName) -> SavedStateError:
    """The error for a state that is saved while another one of its name is out."""
    return SavedStateError(f"{_text(name)} was saved before and not restored; there can be only one")


def no_key(name: StateName) -> SavedStateError:
    """The error for a state whose key is gone."""
    return SavedStateError(
        f"{_text(name)} cannot be restored: it was restored before, or is older than the latest that was saved, or its "
        "key is in another folder. A state is restored once; the participant sits out this round"
    )


def _text(name: StateName) -> str:
    return f"the state of {name.participant_id} in round {name.round_id.hex()} after {name.step} messages"


# --- seals ------------------------------------------------------------------------------------------------------------


def seal(content: bytes, name: StateName, key: Secret) -> bytes:
    """`content` sealed with AES-256-GCM: version and step (1 byte each), ciphertext, tag (16 bytes).

    Args:
        content: as `encode_saved` makes it.
        name: of the state; its step stands in the header.
        key: 32 fresh bytes; seals this one state.
    """
    return bytes([VERSION, name.step]) + sealing.seal(key, content, _associated(name))


def step_of(sealed: bytes) -> int:
    """The step in the header of a sealed state, which is authentic once the seal is opened.

    Raises:
        SavedStateError: it is no saved state, or is one of another version.
    """
    if not _HEADER_SIZE + sealing.TAG_SIZE <= len(sealed) <= MAX_SAVED_BYTES + _HEADER_SIZE + sealing.TAG_SIZE:
        raise SavedStateError(f"{len(sealed)} bytes are no saved state")
    if sealed[0] != VERSION:
        raise SavedStateError(
            f"the saved state has version {sealed[0]}, this program reads version {VERSION}; let rounds end before "
            "secagg is updated"
        )
    return sealed[1]


def unseal(sealed: bytes, name: StateName, key: Secret) -> SavedState:
    """What `seal` sealed.

    Raises:
        SavedStateError: it was altered, or is another participant's, round's or step's; or it is not well-formed.
    """
    try:
        return decode_saved(sealing.unseal(key, sealed[_HEADER_SIZE:], _associated(name), sender=name.participant_id))
    except AuthenticationError:
        raise SavedStateError(
            f"{_text(name)} does not open: it was altered, or is the state of another round or participant"
        ) from None
    except RemoteError as error:
        raise SavedStateError(f"{_text(name)} is not well-formed: {error}") from None


def _associated(name: StateName) -> bytes:
    fields = bytes([VERSION, name.step]), name.round_id, name.participant_id.encode()
    return frame(labels.SAVED_STATE, *fields)


# --- how a state is written -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """How one attribute of a state is kept.

    Attributes:
        write: the fields of `SavedState` that hold it, from the attribute and our membership.
        read: the attribute, from these fields and our membership. Raises `DecodeError` if they do not hold it.
    """

    write: Callable[[Any, Membership], Mapping[str, object]]
    read: Callable[[SavedState, Membership], Any]


@dataclass(frozen=True, slots=True)
class StateCodec:
    """How one state is kept: a piece for each of its attributes, in their order."""

    name: str
    state: type[Any]
    pieces: Mapping[str, Piece]

    def write(self, state: Waiting, membership: Membership) -> dict[str, Any]:
        """The fields of `SavedState` that hold the state."""
        fields: dict[str, Any] = {"state": self.name}
        for attribute, piece in self.pieces.items():
            fields |= piece.write(getattr(state, attribute), membership)
        return fields

    def read(self, saved: SavedState, membership: Membership) -> Waiting:
        """The state that was written.

        Raises:
            DecodeError: something of it is missing.
        """
        state: Waiting = self.state(**{name: piece.read(saved, membership) for name, piece in self.pieces.items()})
        return state


def read_at(order: Sequence[StateCodec], step: int, saved: SavedState, membership: Membership) -> Waiting:
    """The state that was saved after `step` messages.

    Args:
        order: the codecs of the round's states, in order.
        step: from 0.
        saved: what was sealed.
        membership: ours in the round.

    Raises:
        DecodeError: another state than the round has there, or something of it is missing.
        AuthenticationError: a certificate of the roster is unreadable.
    """
    if step >= len(order) or order[step].name != saved.state:
        raise DecodeError(f"the round has no state {saved.state!r} after {step} messages")
    return order[step].read(saved, membership)


def codec(scheme: str, state: type[Any], **pieces: Piece) -> StateCodec:
    """The codec of a state of `scheme`, with a piece for each attribute of the state."""
    return StateCodec(f"{scheme}/{state.__name__}", state, pieces)


def needed(saved: SavedState, field: str) -> Any:
    """A field that must be there."""
    value = getattr(saved, field)
    if not value:
        raise DecodeError(f"the saved state lacks {field}")
    return value


def plain(field: str) -> Piece:
    """An attribute that is kept as it is, in this field."""
    return Piece(lambda value, _: {field: value}, lambda saved, _: needed(saved, field))


def key_pair(field: str) -> Piece:
    """A key pair, whose private key is kept."""

    def read(saved: SavedState, membership: Membership) -> KeyPair:
        return membership.round.config.suite.key_pairs.from_private(needed(saved, field))

    return Piece(lambda pair, _: {field: pair.private}, read)


def _read_checked(saved: SavedState, membership: Membership) -> CheckedRoster:
    """The roster with its identities. They were verified when it was checked, and the seal keeps them as they were."""
    roster = needed(saved, "roster")
    members = {m.index: m for m in roster.members}
    own = next((i for i, m in members.items() if m.participant_id == membership.participant_id), None)
    if own is None:
        raise DecodeError("the saved roster lacks our own entry")
    signed = membership.round.config.signed
    identities = {i: verified_before(m.keys.certificates) for i, m in members.items()} if signed else {}
    within = replace(membership, round=membership.round.of_members(roster_digest(roster)))
    return CheckedRoster(within, roster, members, own, identities)


MEMBERSHIP: Final = Piece(lambda _, __: {}, lambda _, membership: membership)
"""Kept for every state: what it holds of the round. Identity, policy and memory are ours to bring again."""

CHECKED: Final = Piece(lambda checked, _: {"roster": checked.roster}, _read_checked)
KEYS: Final = Piece(lambda _, __: {}, lambda saved, _: saved.keys)
"""What we sent in round 0; kept for every state."""

CHANNEL: Final = key_pair("channel_private_key")
SIGNERS: Final = Piece(
    lambda signers, _: {"signers": tuple(sorted(signers))}, lambda saved, _: frozenset(needed(saved, "signers"))
)
