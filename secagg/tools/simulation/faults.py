"""What goes wrong in a simulated round: participants that drop out, and holders that reveal wrong shares."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.crypto.shamir import SHARE_SIZE
from secagg.errors import ConfigError
from secagg.messages import MaskedInputChunk, MaskKeyShare, ParticipantId, Phase, RevealedShare, SelfMaskShare, Unmask
from secagg.tools.simulation.network import Envelope, Hook, Up

_WORD = 8  # bytes drawn for each random choice


def chain(*hooks: Hook) -> Hook:
    """One hook that passes every message through `hooks`, first to last."""

    def chained(envelope: Envelope) -> Iterable[Envelope]:
        envelopes = [envelope]
        for hook in hooks:
            envelopes = [out for passed in envelopes for out in hook(passed)]
        return envelopes

    return chained


def draw(names: Sequence[ParticipantId], count: int, rng: Rng) -> list[ParticipantId]:
    """`count` of `names`, every selection as likely as any other but for a bias below 2^-50."""
    keyed = sorted((rng.token(_WORD), name) for name in names)
    return [name for _, name in keyed[:count]]


def draw_dropouts(names: Sequence[ParticipantId], counts: Mapping[Phase, int], rng: Rng) -> dict[ParticipantId, Phase]:
    """Who drops out in which phase.

    Raises:
        ConfigError: more dropouts than participants.
    """
    total = sum(counts.values())
    if total > len(names):
        raise ConfigError(f"{total} dropouts are more than the {len(names)} participants; drop fewer")
    unlucky = iter(draw(names, total, rng))
    return {next(unlucky): phase for phase, count in counts.items() for _ in range(count)}


@dataclass(frozen=True, slots=True)
class Dropouts:
    """A hook under which each participant named stops in its phase: it sends nothing of that phase nor later.

    A masked input of several chunks stops half-way through.

    Attributes:
        phase_of: when each unlucky participant drops.
        order: the round's phases.
        chunks: chunks of a masked input.
    """

    phase_of: Mapping[ParticipantId, Phase]
    order: tuple[Phase, ...]
    chunks: int

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        """Pass the message on if its participant is alive to send or receive it."""
        drops_in = self.phase_of.get(envelope.participant)
        return (envelope,) if drops_in is None or self._alive(envelope, drops_in) else ()

    def _alive(self, envelope: Envelope, drops_in: Phase) -> bool:
        last = self.order.index(drops_in)
        if not isinstance(envelope, Up):
            # It is dead before it could answer, unless it is to die within its answer.
            uploads = drops_in is Phase.MASKED_INPUT and self.chunks > 1
            return self.order.index(envelope.phase) + 1 < last + uploads
        if drops_in is Phase.MASKED_INPUT and isinstance(envelope.message, MaskedInputChunk):
            return envelope.message.number < self.chunks // 2
        return self.order.index(envelope.phase) < last


@dataclass(frozen=True, slots=True)
class WrongShares:
    """A hook under which the `liars` reveal random shares instead of those they hold."""

    liars: frozenset[ParticipantId]
    rng: Rng

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        """Pass the message on, with random shares in the place of what a liar reveals."""
        if isinstance(envelope, Up) and envelope.participant in self.liars and isinstance(envelope.message, Unmask):
            lies = {owner: self._lie(share) for owner, share in envelope.message.shares.items()}
            return (Up(envelope.participant, Unmask(lies), envelope.phase),)
        return (envelope,)

    def _lie(self, share: RevealedShare) -> RevealedShare:
        wrong = Secret(b"\0" + self.rng.token(SHARE_SIZE - 1))  # below 2^256, so below the field's prime
        return MaskKeyShare(wrong) if isinstance(share, MaskKeyShare) else SelfMaskShare(wrong)
