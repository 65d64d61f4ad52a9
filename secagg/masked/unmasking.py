"""From revealed shares to the masks that are still in the sum (Bonawitz et al. 2017, figure 4, round 4, server)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from secagg.context import Round
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.masked.graph import Neighbourhoods
from secagg.masked.masks import Mask, pairwise_mask_key, self_mask_key
from secagg.masked.shares import check_mask_key, commit
from secagg.messages import Index, Member, SurvivorSet, Unmask
from secagg.rounds.recovery import Recovery


@dataclass(slots=True)
class Unmasking:
    """Reconstructs every secret that the sum needs."""

    round: Round
    members: Mapping[Index, Member]
    graph: Neighbourhoods
    commitments: Mapping[Index, bytes]  # to b_u, by owner
    answers: Mapping[Index, Unmask]  # U5
    recovery: Recovery

    def masks(self, sets: SurvivorSet) -> list[Mask]:
        """What to add to the sum so that Σ x_u over U3 remains.

        Raises:
            RoundAborted: BELOW_THRESHOLD if a secret has too few shares, WRONG_SHARES if no correction fits.
        """
        masks = [self._self_mask(owner) for owner in sets.survivors]
        for owner in sets.dropped:
            masks += self._pairwise_masks(owner, sets)
        return masks

    def _self_mask(self, owner: Index) -> Mask:
        """−PRG(b_u)."""
        name = self.members[owner].participant_id
        seed = self._recover(owner, lambda s: commit(self.round, name, s) == self.commitments[owner])
        return Mask(self_mask_key(self.round, name, seed), negative=True)

    def _pairwise_masks(self, owner: Index, sets: SurvivorSet) -> Iterable[Mask]:
        """∓PRG(s_uv) for each survivor v that masked against the dropped u; v added it if its index is the higher."""
        dropped = self.members[owner]
        private = self._recover(owner, lambda s: check_mask_key(s, dropped.keys.mask_public_key))
        pair = KeyPair(private, dropped.keys.mask_public_key)
        neighbours = set(self.graph.of(owner))
        for i in sets.survivors:
            if i in neighbours:
                peer = self.members[i]
                shared = pair.agree(peer.keys.mask_public_key, peer=peer.participant_id)
                key = pairwise_mask_key(self.round, dropped.participant_id, peer.participant_id, shared)
                yield Mask(key, negative=i > owner)

    def _recover(self, owner: Index, accepts: Callable[[Secret], bool]) -> Secret:
        shares: dict[int, Secret] = {
            holder: answer.shares[owner].share for holder, answer in self.answers.items() if owner in answer.shares
        }
        return self.recovery.secret(owner, shares, accepts)
