"""Round 4, Unmask (Bonawitz et al. 2017, figure 4, round 4): the end of a masked round.

Participant: where the coordinator may lie, checks first that t survivors signed the very sets that it saw. Then it
reveals, for each neighbour that shared keys, one share and never the other: of the mask key if that neighbour dropped,
of the self-mask seed if it survived. It does so once.

Coordinator: takes the shares of each survivor if they are exactly those that are due, and each is the one that its
owner dealt. From t shares it recovers the seeds of the survivors and the mask keys of the dropped, checks each secret,
takes the masks out of the sum and, where that is its task, adds noise. Then it has the sum of the survivors' inputs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import ClassVar

from secagg import roster as rosters
from secagg.aggregates import Aggregate
from secagg.crypto import shamir
from secagg.crypto.agreement import KeyPair
from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.encoding.noisy import add_noise
from secagg.errors import AbortReason, AuthenticationError, DecodeError, ProtocolViolation, RoundAborted
from secagg.events import Event
from secagg.masked import pair_secrets
from secagg.masked.accumulator import Accumulator
from secagg.masked.masks import Mask, pairwise_mask_key, self_mask_key
from secagg.masked.shares import SharePair, check_mask_key, commit, fits_digest
from secagg.masked.survivors import AwaitingSurvivors
from secagg.messages import (
    ConsistencyProof,
    Index,
    MaskKeyShare,
    Member,
    ParticipantId,
    Phase,
    RevealedShare,
    SelfMaskShare,
    SurvivorSet,
    Unmask,
)
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import OneMessagePhase
from secagg.rounds.recovery import Recovery, Wanted, salt_from
from secagg.rounds.session import Ended, Turn
from secagg.rounds.shared_state import SharedState

# --- participant ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AwaitingSurvivorsToReveal(AwaitingSurvivors):
    """Our input is out; next comes who survived, from a semi-honest coordinator. Holds our neighbours' shares."""

    def receive(self, survivors: SurvivorSet, turn: Turn) -> tuple[Ended, Unmask]:
        """Reveal at once."""
        del turn
        self.check(survivors)
        return Ended.DONE, reveal(self.held, survivors)


@dataclass(frozen=True, slots=True)
class AwaitingProof:
    """We signed who survived; next come the other survivors' signatures. Holds our neighbours' shares."""

    awaits: ClassVar = Phase.CONSISTENCY_CHECK
    takes: ClassVar = ConsistencyProof
    checked: CheckedRoster
    held: Mapping[Index, SharePair]
    survivors: SurvivorSet

    def receive(self, proof: ConsistencyProof, turn: Turn) -> tuple[Ended, Unmask]:
        """Reveal if t survivors signed *our* sets."""
        del turn
        checked, committee = self.checked, self.checked.graph.committee
        message = rosters.survivors_to_sign(checked.membership.round.input_context, checked.digest, self.survivors)
        signers = committee & set(self.survivors.survivors)
        checked.check_signatures(proof.signatures, set(signers), message)  # check: C26-C28, C108
        return Ended.DONE, reveal(self.held, self.survivors)


def reveal(held: Mapping[Index, SharePair], survivors: SurvivorSet) -> Unmask:
    """For each owner exactly one share: of the mask key if it dropped, of the self-mask seed if it survived."""
    dropped = set(survivors.dropped)
    revealed: dict[Index, RevealedShare] = {}
    for owner, pair in held.items():
        revealed[owner] = MaskKeyShare(pair.mask_key) if owner in dropped else SelfMaskShare(pair.self_mask_seed)
    return Unmask(revealed)


# --- coordinator ------------------------------------------------------------------------------------------------------


class UnmaskPhase(OneMessagePhase[Unmask]):
    """Round 4 at the coordinator."""

    phase = Phase.UNMASK
    another = "revealed other shares"

    def __init__(self, state: SharedState, accumulator: Accumulator, noise_seed: Secret | None) -> None:
        """Args:
        state: of the round.
        accumulator: the sum of the masked vectors.
        noise_seed: where the coordinator adds the noise.
        """
        super().__init__(state)
        self._accumulator = accumulator
        self._noise_seed = noise_seed

    def check(self, index: Index, message: Unmask, name: ParticipantId) -> None:
        """For each neighbour that shared keys one share, of the kind that the survivor set asks for."""
        state = self.state
        if message.shares.keys() != {i for i in (index, *state.graph.of(index)) if i in state.shared}:  # check: C44
            raise ProtocolViolation(f"{name} must reveal one share for each neighbour that shared keys", culprit=name)
        dropped = set(state.sets.dropped)
        for owner, revealed in message.shares.items():
            wanted = MaskKeyShare if owner in dropped else SelfMaskShare
            if not isinstance(revealed, wanted):  # check: C45
                raise ProtocolViolation(f"{name} revealed the wrong kind of share", culprit=name)
            try:
                shamir.decode_share(revealed.share.expose())  # check: C46
            except DecodeError as error:
                raise DecodeError(f"{name}: {error}", culprit=name) from None
            self._check_dealt(index, owner, revealed)  # check: C91

    def _check_dealt(self, holder: Index, owner: Index, revealed: RevealedShare) -> None:
        """Refuse another share than the owner dealt, by the owner's digest. What it dealt to itself only it knows."""
        if owner == holder:
            return
        members = self.state.members
        name, member = members.name(owner), members.at[holder]
        if not fits_digest(self.state.round, name, member, revealed, self.state.shared[owner].sealed[holder]):
            raise self.state.refuse_wrong_share(name, member.participant_id)

    def close(self, alive: set[Index]) -> list[Event]:
        """Too few shares of one secret, and there is no sum.

        Raises:
            RoundAborted: BELOW_THRESHOLD.
        """
        self.state.check_shares(alive)
        return []

    def finish(self) -> tuple[list[Event], Aggregate]:
        """Recover the secrets, take the masks out of the sum, and add noise where that is the coordinator's task."""
        shares = {i: {owner: r.share for owner, r in m.shares.items()} for i, m in self.accepted.items()}
        recovery = Recovery(self.state.members.at, self.state.round.config.share_threshold, salt_from(shares))
        unmasking = Unmasking(self.state, self.accepted, recovery)
        sums = self._with_noise(self._accumulator.unmasked(*unmasking.masks()))
        return [*recovery.wrong_shares()], Aggregate(sums, self.state.survivors)

    def _with_noise(self, sums: Words) -> Words:
        """What may leave this class: nobody gets the sum without the noise that is the coordinator's to add."""
        config = self.state.round.config
        if self._noise_seed is not None and config.code.calibration is not None:
            add_noise(sums, config.code.calibration, config.ring_bits, self._noise_seed)
            self._noise_seed = None
        return sums

    def forget(self) -> None:
        """Drop the revealed shares."""
        for index in self.accepted:
            self.accepted[index] = Unmask({})


class Unmasking:
    """From revealed shares to the masks that are still in the sum."""

    def __init__(self, state: SharedState, answers: Mapping[Index, Unmask], recovery: Recovery) -> None:
        """Args:
        state: of the round, with the sets of survivors and dropped.
        answers: revealed shares by holder (U5).
        recovery: makes secrets of shares.
        """
        self._state = state
        self._members = state.members.at
        self._answers = answers
        self._recovery = recovery
        self._suite = state.round.config.suite
        self._liars: set[ParticipantId] = set()

    def masks(self) -> tuple[Iterator[Mask], int]:
        """What to add to the sum so that Σ x_u over U3 remains, and how many masks that is. All secrets are recovered
        before; the keys of masks are derived one by one, as they are drawn.

        Raises:
            RoundAborted: BELOW_THRESHOLD if a secret has too few shares, WRONG_SHARES if no correction fits or a pair
                secret is wrong.
        """
        sets = self._state.sets
        secrets = self._recovery.secrets(self._wanted(sets))
        alive = set(sets.survivors)
        masked = {owner: [i for i in self._state.graph.of(owner) if i in alive] for owner in sets.dropped}
        own = (self._self_mask(owner, secrets[owner]) for owner in sets.survivors)
        pairwise: Iterable[Mask] = chain.from_iterable(
            self._pairwise_masks(owner, secrets[owner], peers) for owner, peers in masked.items()
        )
        if self._suite.hybrid:
            pairwise = list(pairwise)  # whoever gave a wrong pair secret is known before any mask is made
            self._refuse_liars()
        return chain(own, pairwise), len(sets.survivors) + sum(map(len, masked.values()))

    def _wanted(self, sets: SurvivorSet) -> Iterable[Wanted]:
        """The seed of each survivor, and the mask key of each who dropped. Owners whose shares the same members
        hold follow one another.
        """
        survivors, dropped = set(sets.survivors), set(sets.dropped)
        for owner in self._state.graph.order:
            if owner in survivors:
                yield Wanted(owner, self._shares_of(owner), partial(self._is_seed, owner))
            elif owner in dropped:
                accepts = partial(check_mask_key, self._suite, self._members[owner].keys.mask_public_key)
                yield Wanted(owner, self._shares_of(owner), accepts)

    def _is_seed(self, owner: Index, candidate: Secret) -> bool:
        committed = self._state.shared[owner].commitment
        return commit(self._state.round, self._members[owner].participant_id, candidate) == committed

    def _self_mask(self, owner: Index, seed: Secret) -> Mask:
        """The stream of a survivor's own seed, to be subtracted: −PRG(b_u)."""
        return Mask(self_mask_key(self._state.round, self._members[owner].participant_id, seed), negative=True)

    def _pairwise_masks(self, owner: Index, private: Secret, survivors: Iterable[Index]) -> Iterator[Mask]:
        """∓PRG(s_uv) for each survivor v that masked against the dropped u; v added it if its index is the higher."""
        dropped = self._members[owner]
        pair = self._suite.key_pairs(private, dropped.keys.mask_public_key)
        for i in survivors:
            peer = self._members[i]
            shared = self._shared(pair, dropped, peer)
            if shared is None:
                continue  # the round ends with WRONG_SHARES
            key = pairwise_mask_key(self._state.round, dropped.participant_id, peer.participant_id, shared)
            yield Mask(key, negative=i > owner)

    def _shared(self, pair: KeyPair, dropped: Member, peer: Member) -> Secret | None:
        """What the key of the mask is made of; None if one of the two gave a wrong pair secret."""
        if not self._suite.hybrid:
            return pair.agree(peer.keys.mask_public_key, peer=peer.participant_id)
        round_, one, other = self._state.round, dropped.participant_id, peer.participant_id
        gave = pair_secrets.given(round_, pair.private, one, other)
        if not pair_secrets.fits(round_, one, other, gave, self._entry(dropped, peer)):  # check: C112
            self._liars.add(one)
        try:
            got = pair_secrets.open_given(round_, pair, peer, one, self._entry(peer, dropped))
        except AuthenticationError:
            self._liars.add(other)
            return None
        return pair_secrets.both(one, gave, other, got)

    def _entry(self, owner: Member, holder: Member) -> bytes:
        return self._state.shared[owner.index].sealed[holder.index]

    def _refuse_liars(self) -> None:
        """End the round if somebody gave a pair secret that it did not have to give.

        Raises:
            RoundAborted: WRONG_SHARES; culprits are all who did.
        """
        if self._liars:
            names = tuple(sorted(self._liars))
            raise RoundAborted(
                AbortReason.WRONG_SHARES,
                f"{', '.join(names)} gave another pair secret than its mask key says, or one that does not open",
                culprits=names,
            )

    def _shares_of(self, owner: Index) -> Mapping[int, Secret]:
        holders = (owner, *self._state.graph.of(owner))
        answers = {i: self._answers[i].shares for i in holders if i in self._answers}
        return {i: shares[owner].share for i, shares in answers.items() if owner in shares}
