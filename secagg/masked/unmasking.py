"""From revealed shares to the masks that are still in the sum (Bonawitz et al. 2017, figure 4, round 4, server)."""

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from secagg.context import Round
from secagg.crypto import shamir
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, RoundAborted
from secagg.events import WrongShares
from secagg.masked.graph import Neighbourhoods
from secagg.masked.masks import Mask, pairwise_mask_key, self_mask_key
from secagg.masked.shares import check_mask_key, commit
from secagg.messages import Index, Member, ParticipantId, SurvivorSet, Unmask


@dataclass(slots=True)
class Unmasking:
    """Reconstructs every secret that the sum needs, corrects wrong shares and remembers who is in conflict with
    whom.
    """

    round: Round
    members: Mapping[Index, Member]
    graph: Neighbourhoods
    commitments: Mapping[Index, bytes]  # to b_u, by owner
    answers: Mapping[Index, Unmask]  # U5
    conflicts: list[tuple[ParticipantId, ParticipantId]] = field(default_factory=list)
    _decoders: dict[tuple[int, ...], shamir.Decoder] = field(default_factory=dict)

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
        name = self.members[owner].participant_id
        shares: dict[int, int] = {
            holder: shamir.decode_share(answer.shares[owner].share.expose())
            for holder, answer in self.answers.items()
            if owner in answer.shares
        }
        threshold = self.round.config.threshold
        if len(shares) < threshold:
            raise RoundAborted(
                AbortReason.BELOW_THRESHOLD, f"{len(shares)} shares of {name}'s secret are below threshold {threshold}"
            )
        holders = tuple(sorted(shares))
        decoder = self._decoders.get(holders)
        if decoder is None:
            decoder = self._decoders[holders] = shamir.Decoder(holders, threshold, self._salt())
        found = decoder.recover(shares, accepts)
        if found is None:
            raise RoundAborted(
                AbortReason.WRONG_SHARES,
                f"the shares of {name}'s secret are wrong and cannot be corrected: "
                f"{name} dealt, or holders sent, wrong shares",
            )
        self.conflicts += [(name, self.members[Index(holder)].participant_id) for holder in found.wrong]
        return found.secret

    def _salt(self) -> bytes:
        """A digest of all revealed shares: no liar knows the honest holders' when it chooses its own."""
        state = hashlib.sha256()
        for holder in sorted(self.answers):
            for owner, revealed in sorted(self.answers[holder].shares.items()):
                state.update(struct.pack(">II", holder, owner) + revealed.share.expose())
        return state.digest()

    def wrong_shares(self) -> list[WrongShares]:
        """Conflicts by whoever is in most of them, taken away one culprit at a time; in a tie the holder is named."""
        events, left = [], list(self.conflicts)
        while left:
            counts = Counter(holder for _, holder in left)
            counts.update({owner: n for owner, n in Counter(owner for owner, _ in left).items() if n > 1})
            culprit = max(counts, key=lambda name: (counts[name], any(name == holder for _, holder in left), name))
            mine = tuple(pair for pair in left if culprit in pair)
            events.append(WrongShares(culprit, mine))
            left = [pair for pair in left if culprit not in pair]
        return events
