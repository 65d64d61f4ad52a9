"""From revealed shares to the masks that are still in the sum (Bonawitz et al. 2017, figure 4, round 4, server)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from secagg.context import Round
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.masked.graph import Neighbourhoods
from secagg.masked.masks import Mask, pairwise_mask_key, self_mask_key
from secagg.masked.shares import check_mask_key, commit
from secagg.messages import Index, Member, SurvivorSet, Unmask
from secagg.rounds.recovery import Recovery, Wanted


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
        secrets = self.recovery.secrets(self._wanted(sets))
        masks = [self._self_mask(owner, secrets[owner]) for owner in sets.survivors]
        for owner in sets.dropped:
            masks += self._pairwise_masks(owner, secrets[owner], sets)
        return masks

    def _wanted(self, sets: SurvivorSet) -> Iterable[Wanted]:
        """The seed of each survivor, and the mask key of each who dropped."""
        for owner in sets.survivors:
            yield Wanted(owner, self._shares_of(owner), partial(self._is_seed, owner))
        for owner in sets.dropped:
            public = self.members[owner].keys.mask_public_key
            yield Wanted(owner, self._shares_of(owner), partial(check_mask_key, public_key=public))

    def _is_seed(self, owner: Index, candidate: Secret) -> bool:
        return commit(self.round, self.members[owner].participant_id, candidate) == self.commitments[owner]

    def _self_mask(self, owner: Index, seed: Secret) -> Mask:
        """−PRG(b_u)."""
        return Mask(self_mask_key(self.round, self.members[owner].participant_id, seed), negative=True)

    def _pairwise_masks(self, owner: Index, private: Secret, sets: SurvivorSet) -> Iterable[Mask]:
        """∓PRG(s_uv) for each survivor v that masked against the dropped u; v added it if its index is the higher."""
        dropped = self.members[owner]
        pair = KeyPair(private, dropped.keys.mask_public_key)
        neighbours = set(self.graph.of(owner))
        for i in sets.survivors:
            if i in neighbours:
                peer = self.members[i]
                shared = pair.agree(peer.keys.mask_public_key, peer=peer.participant_id)
                key = pairwise_mask_key(self.round, dropped.participant_id, peer.participant_id, shared)
                yield Mask(key, negative=i > owner)

    def _shares_of(self, owner: Index) -> dict[int, Secret]:
        return {holder: answer.shares[owner].share for holder, answer in self.answers.items() if owner in answer.shares}
