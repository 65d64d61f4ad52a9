"""Participants that are saved and restored: between any two messages of a simulated round, or once."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from secagg import schemes
from secagg.context import Round
from secagg.crypto.rng import SeededRng
from secagg.homomorphic.vectors import Backend
from secagg.lattice.jobs import Desk
from secagg.messages import ParticipantId, Phase
from secagg.rounds.membership import Membership
from secagg.rounds.saved_state import MemoryStateKeys, StateKeys
from secagg.schemes import Participant
from secagg.tools.simulation.network import Down, Envelope, Run
from secagg.wire.calls import CODECS


def memory_keys() -> MemoryStateKeys:
    return MemoryStateKeys(SeededRng(b"k" * 32))


def join_all(run: Run, keys: StateKeys) -> None:
    """Record in `keys` that everybody takes part."""
    for name, participant in run.participants.items():
        keys.join(participant.membership.round.round_id, name)


def model_of(run: Run) -> bytes:
    """The digest of the model that everybody holds."""
    config = run.coordinator.round.config
    return run.model if config.model_later else config.model_digest


def brought_back(
    sealed: bytes,
    membership: Membership,
    keys: StateKeys,
    *,
    change: Callable[[Membership], Membership] = lambda same: same,
    backend: Callable[[], Backend] = Desk,
) -> Participant:
    """Restore what was saved of `membership`; the round comes from the state, the rest from us."""

    def membership_of(round_: Round) -> Membership:
        return change(replace(membership, round=round_))

    own, round_id = membership.participant_id, membership.round.round_id
    return schemes.restore(
        sealed, keys, round_id=round_id, participant_id=own, membership_of=membership_of, backend=backend
    )


@dataclass
class Rebirths:
    """A hook: whoever is about to get a message was saved and restored before it comes.

    Attributes:
        run: the round.
        keys: everybody's.
        sealed: what was saved of each participant, in order.
    """

    run: Run
    keys: StateKeys = field(default_factory=memory_keys)
    sealed: dict[ParticipantId, list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        join_all(self.run, self.keys)
        self._inner, self.run.hook = self.run.hook, self

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        passed = tuple(self._inner(envelope))
        for each in passed:
            if isinstance(each, Down) and self.run.participants[each.participant].awaits is not None:
                self.again(each.participant)
        return passed

    def again(self, name: ParticipantId) -> None:
        participant = self.run.participants[name]
        sealed = schemes.save(participant, self.keys)
        self.sealed.setdefault(name, []).append(sealed)
        restored = brought_back(sealed, participant.membership, self.keys)
        if restored.needs_vector:
            restored.provide(self.run.vectors[name], model_of(self.run))
        self.run.participants[name] = restored


Sent = tuple[ParticipantId, Phase, tuple[bytes, ...]]
"""Whose message it is, in which phase, and its parts on the wire."""


@contextmanager
def recording(run: Run) -> Iterator[list[Sent]]:
    """Every message of the round, as it arrived."""
    inner, seen = run.hook, list[Sent]()

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        for each in inner(envelope):
            parts = CODECS[type(each.message)].parts(each.message)
            seen.append((each.participant, each.phase, tuple(part.SerializeToString() for part in parts)))
            yield each

    run.hook = lambda envelope: list(hook(envelope))
    yield seen
