"""Round 2, MaskedInput (Bonawitz et al. 2017, figure 4, round 2).

Participant: where the model is named only now, compares it with its own. It opens and checks every share that was
sealed to it, before any input leaves: the shares that it holds are what lets the sum be unmasked later. Then it adds to
its input the stream of its own seed (b_u) and, for every neighbour that shared keys, a stream that both of them know,
with opposite signs. It sends the masked vector in chunks.

Coordinator: checks the length and order of chunks, and adds whole vectors up. Whoever delivered is a survivor (U3);
whoever shared keys and did not deliver is called dropped. It answers everyone with both sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.errors import ProtocolViolation
from secagg.events import Event
from secagg.masked import pair_secrets, shares
from secagg.masked.accumulator import Accumulator
from secagg.masked.masks import Mask, pairwise_mask_key, self_mask_key
from secagg.masked.shares import SharePair
from secagg.masked.vector import MaskedVector
from secagg.messages import Index, MaskedInputChunk, Member, Phase, ShareDelivery, SurvivorSet
from secagg.roster import COORDINATOR
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import UploadPhase
from secagg.rounds.doors import HandOver, HeldVectors, no_doors
from secagg.rounds.naming import named
from secagg.rounds.session import Turn, Waiting
from secagg.rounds.shared_state import SharedState


@dataclass(frozen=True, slots=True)
class AwaitingShares:
    """Our shares are out; next come our neighbours' and, where it is named later, the model. Holds secrets."""

    awaits: ClassVar = Phase.SHARE_KEYS
    takes: ClassVar = ShareDelivery
    checked: CheckedRoster
    channel: KeyPair
    mask: KeyPair
    self_mask_seed: Secret  # b_u
    own_pair: SharePair

    def receive(self, delivery: ShareDelivery, turn: Turn) -> tuple[Waiting, MaskedVector]:
        """Open and validate every share now, before any input leaves; then mask the input."""
        checked, config = named(self.checked, delivery, turn.own_model), self.checked.membership.round.config
        threshold = config.share_threshold
        if strangers := set(delivery.sealed) - set(checked.neighbours):  # check: C16
            raise ProtocolViolation(f"shares of {sorted(strangers)}, who are not our neighbours", culprit=COORDINATOR)
        if len(delivery.sealed) + 1 < threshold:  # check: C17, C106
            raise ProtocolViolation(
                f"shares of {len(delivery.sealed) + 1} participants are below threshold {threshold}",
                culprit=COORDINATOR,
            )
        held, got = {checked.own_index: self.own_pair}, dict[Index, Secret | None]()
        for i, entry in delivery.sealed.items():
            held[i], got[i] = shares.receive(checked, self.channel, self.mask, i, entry)
        masked = MaskedVector(turn.vector, config, replace(self, checked=checked)._masks(got))
        return turn.after(self, checked, held), masked

    def _masks(self, got: Mapping[Index, Secret | None]) -> tuple[Mask, ...]:
        """PRG(b_u) and ±PRG(s_uv) for every neighbour that shared keys: + if our index is the higher, − if it is the
        lower.

        Args:
            got: the pair secret that each of them gave us; None where the suite has none.
        """
        checked, membership = self.checked, self.checked.membership
        own = self_mask_key(membership.round, membership.participant_id, self.self_mask_seed)
        masks = [Mask(own, negative=False)]
        for i in sorted(got):
            peer = checked.members[i]
            shared = self._shared_with(peer, got[i])
            key = pairwise_mask_key(membership.round, membership.participant_id, peer.participant_id, shared)
            masks.append(Mask(key, negative=checked.own_index < i))
        return tuple(masks)

    def _shared_with(self, peer: Member, got: Secret | None) -> Secret:
        name, membership = peer.participant_id, self.checked.membership
        if got is None:
            return self.mask.agree(peer.keys.mask_public_key, peer=name)
        own = membership.participant_id
        return pair_secrets.both(own, pair_secrets.given(membership.round, self.mask.private, own, name), name, got)


class MaskedInputPhase(UploadPhase[MaskedInputChunk]):
    """Round 2 at the coordinator."""

    phase = Phase.MASKED_INPUT
    held: HeldVectors

    def __init__(self, state: SharedState, accumulator: Accumulator, hand_over: HandOver = no_doors) -> None:
        """Args:
        state: of the round.
        accumulator: the sum of the masked vectors, and the chunks of those that are under way.
        hand_over: asks a door for its partial sum.
        """
        super().__init__(state, accumulator.uploads)
        self.held = HeldVectors(hand_over)
        self._accumulator = accumulator

    def gather(self) -> set[Index]:
        """Add the partial sums of all doors."""
        return self.held.gather(self._accumulator.take)

    def rebuilt(self, index: Index, number: int, payload: bytes, seed: bytes) -> MaskedInputChunk:
        """Number and payload are all of it."""
        return MaskedInputChunk(number, payload)

    def close(self, alive: set[Index]) -> list[Event]:
        """U3, and U2 without U3. A vector that came in part is forgotten.

        Raises:
            RoundAborted: BELOW_THRESHOLD if somebody's secret could not be recovered any more.
        """
        self.state.check_shares(alive)
        self.fix_survivors(self.state.shared, alive)
        return []

    def answer(self, index: Index) -> SurvivorSet:
        """The same sets for everyone."""
        return self.state.sets

    def forget(self) -> None:
        """Drop the sum of the masked vectors, too."""
        self._accumulator.forget()
