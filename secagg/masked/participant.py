"""The participant's side: one frozen class per state, each with the one message it can take.

`Participant` in `secagg.masked.session` alone holds the current state. Every check here stands before anything leaves
the machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from secagg import roster as rosters
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.encoding.vector import IntegerVector
from secagg.errors import ProtocolViolation
from secagg.masked import shares
from secagg.masked.graph import Neighbourhoods, neighbourhoods
from secagg.masked.masks import Mask, pairwise_mask_key, self_mask_key
from secagg.masked.shares import SharePair
from secagg.masked.vector import MaskedVector
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    Index,
    MaskKeyShare,
    RevealedShare,
    Roster,
    SelfMaskShare,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.roster import COORDINATOR
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.membership import Membership

SELF_MASK_SEED_SIZE = 32


def join(membership: Membership) -> tuple["AwaitingRoster", AdvertiseKeys]:
    """Round 0: fresh keys, signed against an active coordinator.

    Raises:
        PolicyViolation: the round is below our policy.
    """
    membership.policy.check(membership.round.config)  # check: C3
    channel, mask = KeyPair.generate(membership.rng), KeyPair.generate(membership.rng)
    keys = AdvertiseKeys(channel.public, mask.public)
    if membership.active:
        keys = membership.signed_keys(keys)
    return AwaitingRoster(membership, channel, mask, keys), keys


@dataclass(frozen=True, slots=True)
class AwaitingRoster:
    """Keys are advertised; next comes the roster. Holds secrets."""

    membership: Membership
    channel: KeyPair
    mask: KeyPair
    keys: AdvertiseKeys

    def on_roster(self, roster: Roster, now: float) -> tuple["AwaitingShares", ShareKeys]:
        """Round 1: check the roster, split our secrets among our neighbours."""
        membership = self.membership
        checked = CheckedRoster.check(membership, roster, self.keys, now, signed=membership.active)
        neighbours = graph_of(checked).of(checked.own_index)
        seed = Secret(membership.rng.token(SELF_MASK_SEED_SIZE))
        holders = (*neighbours, checked.own_index)
        pairs = shares.split(self.mask.private, seed, membership.threshold, holders, membership.rng)
        sealed = {
            i: shares.seal(membership.round, self.channel, membership.participant_id, checked.members[i], pairs[i])
            for i in neighbours
        }
        message = ShareKeys(
            shares.commit(membership.round, membership.participant_id, seed), dealing.sign(checked, sealed)
        )
        return AwaitingShares(checked, self.channel, self.mask, seed, pairs[checked.own_index]), message


def graph_of(checked: CheckedRoster) -> Neighbourhoods:
    """Who neighbours whom in this round."""
    return neighbourhoods(checked.membership.round.config.graph, len(checked.members))


@dataclass(frozen=True, slots=True)
class AwaitingShares:
    """Our shares are out; next come our neighbours'. Holds secrets."""

    checked: CheckedRoster
    channel: KeyPair
    mask: KeyPair
    self_mask_seed: Secret  # b_u
    own_pair: SharePair

    def on_delivery(self, delivery: ShareDelivery, vector: IntegerVector) -> tuple["AwaitingSurvivors", MaskedVector]:
        """Round 2: open and validate every share now, before any input leaves; then mask the input."""
        checked, membership = self.checked, self.checked.membership
        if strangers := set(delivery.sealed) - set(graph_of(checked).of(checked.own_index)):  # check: C16
            raise ProtocolViolation(f"shares of {sorted(strangers)}, who are not our neighbours", culprit=COORDINATOR)
        if len(delivery.sealed) + 1 < membership.threshold:  # check: C17
            raise ProtocolViolation(
                f"shares of {len(delivery.sealed) + 1} participants are below threshold {membership.threshold}",
                culprit=COORDINATOR,
            )
        held = {checked.own_index: self.own_pair}
        for i, entry in delivery.sealed.items():
            held[i] = shares.receive(checked, self.channel, i, entry)
        masked = MaskedVector(vector, membership.round.config.ring_bits, self._masks(delivery))
        return AwaitingSurvivors(checked, held), masked

    def _masks(self, delivery: ShareDelivery) -> tuple[Mask, ...]:
        """PRG(b_u) and ±PRG(s_uv) for every neighbour that shared keys: + if our index is the higher, − if it is the
        lower.
        """
        checked, membership = self.checked, self.checked.membership
        masks = [Mask(self_mask_key(membership.round, membership.participant_id, self.self_mask_seed), negative=False)]
        for i in sorted(delivery.sealed):
            peer = checked.members[i]
            shared = self.mask.agree(peer.keys.mask_public_key, peer=peer.participant_id)
            key = pairwise_mask_key(membership.round, membership.participant_id, peer.participant_id, shared)
            masks.append(Mask(key, negative=checked.own_index < i))
        return tuple(masks)


@dataclass(frozen=True, slots=True)
class AwaitingSurvivors:
    """Our input is out; next comes who survived. Holds our neighbours' shares."""

    checked: CheckedRoster
    held: Mapping[Index, SharePair]  # by owner; its keys are U2 within our closed neighbourhood

    def check(self, survivors: SurvivorSet) -> None:
        """Refuse sets that could unmask someone; else the sum counts as opened from here on.

        Raises:
            ProtocolViolation: sets overlap, do not make up U2, lack us, or are below the threshold.
            PolicyViolation: too few organisations among the survivors, or see `CheckedRoster.claim_sum`.
        """
        alive, gone, membership = set(survivors.survivors), set(survivors.dropped), self.checked.membership
        if alive & gone:  # check: C21
            raise ProtocolViolation(
                f"{sorted(alive & gone)} are called both survivors and dropped", culprit=COORDINATOR
            )
        if not alive | gone <= set(self.checked.members):  # check: C22-roster
            raise ProtocolViolation("survivors or dropped are not on the roster", culprit=COORDINATOR)
        closed = {self.checked.own_index, *graph_of(self.checked).of(self.checked.own_index)}
        if (alive | gone) & closed != set(self.held):  # check: C22-shared
            raise ProtocolViolation("survivors and dropped are not those who shared keys", culprit=COORDINATOR)
        if self.checked.own_index not in alive:  # check: C23
            raise ProtocolViolation("our own input is called dropped", culprit=COORDINATOR)
        if len(alive) < membership.threshold:  # check: C24
            raise ProtocolViolation(
                f"{len(alive)} survivors are below threshold {membership.threshold}", culprit=COORDINATOR
            )
        self.checked.check_organisations(alive)
        self.checked.claim_sum(alive)

    def on_survivors_signed(self, survivors: SurvivorSet) -> tuple["AwaitingProof", ConsistencyCheck]:
        """Round 3 against an active coordinator: sign the sets that we were shown."""
        self.check(survivors)
        message = rosters.survivors_to_sign(self.checked.membership.round.context, self.checked.roster, survivors)
        return AwaitingProof(self.checked, self.held, survivors), ConsistencyCheck(
            self.checked.membership.sign(message)
        )

    def on_survivors(self, survivors: SurvivorSet) -> Unmask:
        """Round 4 with a semi-honest coordinator: reveal at once."""
        self.check(survivors)
        return reveal(self.held, survivors)


@dataclass(frozen=True, slots=True)
class AwaitingProof:
    """We signed who survived; next come the other survivors' signatures. Holds our neighbours' shares."""

    checked: CheckedRoster
    held: Mapping[Index, SharePair]
    survivors: SurvivorSet

    def on_proof(self, proof: ConsistencyProof) -> Unmask:
        """Round 4 against an active coordinator: t survivors must have signed *our* sets."""
        message = rosters.survivors_to_sign(self.checked.membership.round.context, self.checked.roster, self.survivors)
        self.checked.check_signatures(proof.signatures, set(self.survivors.survivors), message)
        return reveal(self.held, self.survivors)


def reveal(held: Mapping[Index, SharePair], survivors: SurvivorSet) -> Unmask:
    """For each owner exactly one share: of the mask key if it dropped, of the self-mask seed if it survived."""
    dropped = set(survivors.dropped)
    revealed: dict[Index, RevealedShare] = {}
    for owner, pair in held.items():
        revealed[owner] = MaskKeyShare(pair.mask_key) if owner in dropped else SelfMaskShare(pair.self_mask_seed)
    return Unmask(revealed)
