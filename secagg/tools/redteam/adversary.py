"""The adversary: a malicious coordinator with colluding participants, against the real participants.

It sees every message, answers whatever it likes, and knows the colluders' round secrets. `Adversary.expose` computes a
victim's update from nothing but that view.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from secagg import roster as rosters
from secagg.crypto import polynomial, shamir
from secagg.crypto.agreement import KeyPair
from secagg.crypto.rng import Rng, SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding.packing import unpack
from secagg.errors import LocalError, SecAggError
from secagg.masked import pair_secrets, shares
from secagg.masked.masks import Mask, add_masks, pairwise_mask_key, self_mask_key
from secagg.masked.scheme import Participant, Reply
from secagg.masked.share_keys import AwaitingRoster
from secagg.masked.vector import MaskedVector
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    CoordinatorMessage,
    Index,
    Leave,
    MaskedInputChunk,
    MaskKeyShare,
    Member,
    ParticipantId,
    Phase,
    Roster,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.phases import phases
from secagg.rounds.graph import Neighbourhoods, RingGraph, neighbourhoods
from secagg.tools.simulation.network import Envelope, Run, Up

Integers = np.ndarray[Any, np.dtype[np.uint64]]
Pool = dict[Index, dict[Index, int]]
"""Shares by owner and holder."""


def session_of(run: Run, name: ParticipantId) -> Participant:
    """The state machine of `name` in a masked round."""
    participant = run.participants[name]
    if not isinstance(participant, Participant):
        raise LocalError("this adversary plays masked rounds")
    return participant


def truth(run: Run, name: ParticipantId) -> Integers:
    """What `name` puts in: uint64[vector_len]."""
    config = run.coordinator.round.config
    words: Integers = run.vectors[name].read(0, config.vector_len, config.ring_dtype).astype(np.uint64)
    return words


def true_sum(run: Run, names: Iterable[ParticipantId]) -> Integers:
    """Σ of what `names` put in, with room to spare: nothing is reduced."""
    total: Integers = np.stack([truth(run, name) for name in names]).sum(axis=0, dtype=np.uint64)
    return total


@contextmanager
def must_go_well(what: str) -> Iterator[None]:
    """A block that is not the attack yet, but what it needs: a refusal in it is no defence, and breaks the game.

    Raises:
        LocalError: something was refused in the block.
    """
    try:
        yield
    except SecAggError as error:
        raise LocalError(f"the attack did not begin, since {what} failed: {type(error).__name__}: {error}") from error


class Adversary:
    """Everything that the coordinator and its colluders have seen, and what follows from it."""

    def __init__(self, run: Run, colluders: Collection[ParticipantId] = ()) -> None:
        self.people = {name: session_of(run, name) for name in run.participants}
        later = run.coordinator.round.config.model_later
        self.round = run.coordinator.round.about(run.model) if later else run.coordinator.round
        self._provided = {name: (run.vectors[name], run.models.get(name, run.model)) for name in run.vectors}
        self.now = run.now
        self.advertised = {name: p.advertisement for name, p in self.people.items()}
        self.reassign()
        self.channel_keys: dict[ParticipantId, KeyPair] = {}
        self.mask_keys: dict[ParticipantId, KeyPair] = {}
        self.shared: dict[ParticipantId, ShareKeys] = {}
        self.inputs: dict[ParticipantId, Integers] = {}
        self._chunks: dict[ParticipantId, list[MaskedInputChunk]] = defaultdict(list)
        self.signatures: dict[tuple[ParticipantId, SurvivorSet], bytes] = {}
        self.seed_shares: Pool = defaultdict(dict)
        self.key_shares: Pool = defaultdict(dict)
        for name in colluders:
            self.corrupt(name)

    def corrupt(self, name: ParticipantId) -> None:
        """Learn the fresh round keys of `name`."""
        state = self.people[name]._state
        if not isinstance(state, AwaitingRoster):
            raise LocalError("corrupt a participant before it gets the roster")
        self.channel_keys[name], self.mask_keys[name] = state.channel, state.mask

    def reassign(self) -> None:
        """Make the roster anew from `advertised`; on a ring everybody stands elsewhere then."""
        self.roster = rosters.assign(self.advertised)
        self.members = {m.participant_id: m for m in self.roster.members}
        if self.round.config.ring is not None:
            self.roster = Roster(self.roster.members, rosters.listing_of(self.roster.members))
        self.round = self.round.of_members(rosters.roster_digest(self.roster))

    @property
    def graph(self) -> Neighbourhoods:
        """Who are neighbours."""
        return neighbourhoods(self.round, len(self.members))

    def neighbours(self, name: ParticipantId) -> set[ParticipantId]:
        """With whom `name` shares secrets."""
        return {self.roster.members[i - 1].participant_id for i in self.graph.of(self.index(name))}

    def around(self) -> list[ParticipantId]:
        """Everybody in the order in which they stand on the ring.

        Raises:
            LocalError: the graph is no ring.
        """
        if not isinstance(self.graph, RingGraph):
            raise LocalError("only a ring has an order")
        return [self.roster.members[i - 1].participant_id for i in self.graph.order]

    def shown_to(self, name: ParticipantId) -> Roster:
        """What closes AdvertiseKeys for `name`: on a ring, the entries that it needs."""
        if self.roster.listing is None:
            return self.roster
        own = self.index(name)
        needed = {own, *self.graph.of(own), *self.graph.committee}
        return replace(self.roster, members=tuple(m for m in self.roster.members if m.index in needed))

    # --- answers ------------------------------------------------------------------------------------------------------

    def ask(self, name: ParticipantId, message: CoordinatorMessage) -> Reply:
        """Answer `name` with `message` and remember what it says. Raises what the participant raises.

        Raises:
            LocalError: it says what this adversary does not know.
        """
        if self.people[name].needs_vector:
            self.people[name].provide(*self._provided[name])
        reply = self.people[name].receive(message, self.now)
        if isinstance(reply, MaskedVector):
            self.inputs[name] = self.read(reply)
        else:
            self._note(name, reply)
        return reply

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        """A `Hook`: listen to a round that the real coordinator runs, and change nothing."""
        if isinstance(envelope, Up):
            self._note(envelope.participant, envelope.message)
        return (envelope,)

    def _note(self, name: ParticipantId, message: object) -> None:
        match message:
            case ShareKeys():
                self.shared[name] = message
                self.open_shares(name)
            case MaskedInputChunk():
                self._chunks[name].append(message)
            case Unmask():
                self._take_revealed(self.index(name), message)
            case AdvertiseKeys() | ConsistencyCheck() | Leave():
                pass
            case _:
                raise LocalError(f"this adversary does not know what to do with {type(message).__name__}")

    def assemble(self) -> None:
        """Put together the inputs that were overheard chunk by chunk."""
        self.inputs |= {name: self.read(chunks) for name, chunks in self._chunks.items()}

    def index(self, name: ParticipantId) -> Index:
        """The place of `name` in the roster."""
        return self.members[name].index

    def indices(self, names: Collection[ParticipantId]) -> tuple[Index, ...]:
        """The places of `names` in the roster, ascending."""
        return tuple(sorted(self.index(name) for name in names))

    def collect_shares(self, rosters_for: Callable[[ParticipantId], Roster] | None = None) -> None:
        """Close AdvertiseKeys for everyone: with the honest roster, or what `rosters_for` shows each."""
        for name in self.people:
            self.ask(name, rosters_for(name) if rosters_for else self.shown_to(name))

    def deliver(self, name: ParticipantId, senders: Collection[ParticipantId]) -> Reply:
        """Close ShareKeys for `name`: with the sealed shares of `senders`."""
        known = self.neighbours(name) & set(senders)
        sealed = {self.index(s): self.shared[s].sealed[self.index(name)] for s in sorted(known)}
        return self.ask(name, ShareDelivery(sealed, model_digest=self.round.named))

    def collect_inputs(self) -> None:
        """Play honestly with everyone until the inputs are in.

        Raises:
            LocalError: they do not come in, so that there is nothing to attack.
        """
        order = phases(self.round.config)
        with must_go_well("the round up to its inputs"):
            for phase in order[: order.index(Phase.MASKED_INPUT)]:
                match phase:
                    case Phase.ADVERTISE_KEYS:
                        self.collect_shares()
                    case Phase.SHARE_KEYS:
                        for name in self.people:
                            self.deliver(name, self.people)
                    case _:
                        raise LocalError(f"this adversary does not know how {phase} is closed")
        for name in self.people:
            self._input_of(name)

    def sets(
        self, survivors: Collection[ParticipantId], dropped: Collection[ParticipantId] | None = None
    ) -> SurvivorSet:
        """The two sets; everyone else dropped if `dropped` is None."""
        rest = set(self.people) - set(survivors) if dropped is None else dropped
        return SurvivorSet(self.indices(survivors), self.indices(rest))

    def sign(self, name: ParticipantId, sets: SurvivorSet) -> bytes:
        """Round 3 with `name`: its signature on `sets`."""
        reply = self.ask(name, sets)
        if not isinstance(reply, ConsistencyCheck):
            raise LocalError("only in the active threat model are survivors signed")
        self.signatures[name, sets] = reply.signature
        return reply.signature

    def prove(self, name: ParticipantId, sets: SurvivorSet) -> Reply:
        """Round 4 with `name` in the active model: every signature on `sets` that there is."""
        known = {self.index(n): s for (n, signed), s in self.signatures.items() if s and signed == sets}
        return self.ask(name, ConsistencyProof(known))

    def unmask(self, sets_for: Mapping[ParticipantId, SurvivorSet]) -> None:
        """Show each participant its sets and take its shares, in the phases that the round has from its inputs on."""
        order = phases(self.round.config)
        for phase in order[order.index(Phase.MASKED_INPUT) : order.index(Phase.UNMASK)]:
            for name, sets in sets_for.items():
                match phase:
                    case Phase.MASKED_INPUT if Phase.CONSISTENCY_CHECK in order:
                        self.sign(name, sets)
                    case Phase.MASKED_INPUT:
                        self.ask(name, sets)
                    case Phase.CONSISTENCY_CHECK:
                        self.prove(name, sets)
                    case _:
                        raise LocalError(f"this adversary does not know how {phase} is closed")

    # --- conclusions --------------------------------------------------------------------------------------------------

    def expose(
        self, victim: ParticipantId, peers: Collection[ParticipantId], *, self_mask: bool = True
    ) -> Integers | None:
        """The victim's encoded update from its masked input, if the view suffices to remove every mask in it.

        Args:
            victim: whose input came in.
            peers: whose shares it was delivered, so against whom it masked.
            self_mask: whether there is a self mask to remove.

        Raises:
            LocalError: the victim's input never came in, so that there is nothing to attack.
        """
        masked = self._input_of(victim)
        known = [self.pairwise(victim, peer) for peer in self.neighbours(victim) & set(peers)]
        if self_mask:
            known.append(self.self_mask(victim))
        return None if not all(known) else self.strip(masked, [mask for masks in known for mask in masks])

    def _input_of(self, name: ParticipantId) -> Integers:
        if name not in self.inputs:
            raise LocalError(f"no masked input came from {name}")
        return self.inputs[name]

    def self_mask(self, owner: ParticipantId) -> list[Mask]:
        """What takes PRG(b) off the owner's input; nothing if b is out of reach."""
        seed = self.recover(self.seed_shares[self.index(owner)])
        return [] if seed is None else [Mask(self_mask_key(self.round, owner, seed), negative=True)]

    def pairwise(self, owner: ParticipantId, peer: ParticipantId) -> list[Mask]:
        """What takes the mask with `peer` off the owner's input; nothing if neither's mask key is within reach."""
        shared = self._pair_secret(owner, peer)
        if shared is None:
            return []
        added = self.index(owner) > self.index(peer)
        return [Mask(pairwise_mask_key(self.round, owner, peer, shared), negative=added)]

    def sum_over(self, kept: Collection[ParticipantId], dropped: Collection[ParticipantId]) -> Integers | None:
        """Σ of the updates of `kept`, who all masked against `dropped`; None if the view does not suffice."""
        known = [self.self_mask(name) for name in kept]
        known += [self.pairwise(name, gone) for name in kept for gone in self.neighbours(name) & set(dropped)]
        total = np.stack([self._input_of(name) for name in kept]).sum(axis=0, dtype=np.uint64)
        return None if not all(known) else self.strip(total, [mask for masks in known for mask in masks])

    def strip(self, vector: Integers, masks: list[Mask]) -> Integers:
        """`vector` plus `masks` in the ring: uint64[vector_len]."""
        config = self.round.config
        words = vector.astype(config.ring_dtype)
        add_masks(words, 0, masks, config.suite)
        return words.astype(np.uint64) & np.uint64((1 << config.ring_bits) - 1)

    def recover(self, held: Mapping[Index, int]) -> Secret | None:
        """A shared secret from t shares; None with fewer."""
        threshold = self.round.config.share_threshold
        if len(held) < threshold:
            return None
        xs, ys = zip(*sorted(held.items())[:threshold], strict=True)
        at_zero = sum(a * y for a, y in zip(polynomial.lagrange_at_zero(xs), ys, strict=True)) % polynomial.PRIME
        return Secret(at_zero.to_bytes(33, "big")[1:])

    def _pair_secret(self, one: ParticipantId, other: ParticipantId) -> Secret | None:
        if self.round.config.suite.hybrid:
            gave, got = self._given(one, other), self._given(other, one)
            return None if gave is None or got is None else pair_secrets.both(one, gave, other, got)
        for known, peer in ((one, other), (other, one)):
            if (pair := self._mask_pair(known)) is not None:
                return pair.agree(self.members[peer].keys.mask_public_key, peer=peer)
        return None

    def _given(self, giver: ParticipantId, receiver: ParticipantId) -> Secret | None:
        """The pair secret of a round of the hybrid suite: opened with the mask key of one end, or derived from that of
        the other.
        """
        if (pair := self._mask_pair(receiver)) is not None:
            entry = self.shared[giver].sealed[self.index(receiver)]
            return pair_secrets.open_given(self.round, pair, self.members[giver], receiver, entry)
        if (pair := self._mask_pair(giver)) is not None:
            return pair_secrets.given(self.round, pair.private, giver, receiver)
        return None

    def _mask_pair(self, name: ParticipantId) -> KeyPair | None:
        """The mask keys of a colluder, or of somebody of whom t shares are known."""
        private = None if name in self.mask_keys else self.recover(self.key_shares[self.index(name)])
        return self.mask_keys.get(name) if private is None else self.round.config.suite.key_pairs.from_private(private)

    def open_shares(self, sender: ParticipantId) -> None:
        """What `sender` sealed to those whose channel keys we know. Our own forgeries may not open; others must."""
        for name, channel in self.channel_keys.items():
            sealed = self.shared[sender].sealed.get(self.index(name))
            if sealed is not None and name != sender:
                pair = shares.open_sealed(self.round, channel, self.members[sender], name, sealed)
                owner, holder = self.index(sender), self.index(name)
                self.seed_shares[owner][holder] = shamir.decode_share(pair.self_mask_seed.expose())
                self.key_shares[owner][holder] = shamir.decode_share(pair.mask_key.expose())

    def _take_revealed(self, holder: Index, answer: Unmask) -> None:
        for owner, revealed in answer.shares.items():
            pool = self.key_shares if isinstance(revealed, MaskKeyShare) else self.seed_shares
            pool[owner][holder] = shamir.decode_share(revealed.share.expose())

    def read(self, masked: Iterable[MaskedInputChunk]) -> Integers:
        """The masked values that these chunks hold: uint64[vector_len]."""
        bits, left = self.round.config.ring_bits, self.round.config.vector_len
        words = []
        for chunk in masked:
            count = min(left, len(chunk.payload) * 8 // bits)
            words.append(unpack(chunk.payload, count, bits).astype(np.uint64))
            left -= count
        return np.concatenate(words)


def exposed(adversary: Adversary, run: Run, victim: ParticipantId, *, self_mask: bool = True) -> bool:
    """Whether the adversary's view of masks against everybody gives the victim's exact update."""
    stolen = adversary.expose(victim, run.participants, self_mask=self_mask)
    return stolen is not None and np.array_equal(stolen, truth(run, victim))


class Impostor:
    """Keys that the coordinator made up in others' names, and how it lets them look signed."""

    def __init__(self, adversary: Adversary, names: Collection[ParticipantId], seed: int = 99) -> None:
        rng: Rng = SeededRng(seed.to_bytes(32, "big"))
        self.adversary = adversary
        self.names = tuple(sorted(names))
        for name in self.names:
            adversary.channel_keys[name], adversary.mask_keys[name] = KeyPair.generate(rng), KeyPair.generate(rng)

    def advertise(self, name: ParticipantId, *, signature: bytes = b"", certificates: tuple[bytes, ...] = ()) -> None:
        """Put our keys in the place of `name`'s."""
        a = self.adversary
        keys = AdvertiseKeys(a.channel_keys[name].public, a.mask_keys[name].public, signature, certificates)
        a.advertised[name] = keys
        a.reassign()

    def deal(self, to: ParticipantId) -> None:
        """Seal meaningless shares to `to` in everyone's name, so that it goes on."""
        a = self.adversary
        junk = shares.SharePair(Secret(bytes(33)), Secret(bytes(33)))
        receiver: Member = a.members[to]
        for name in self.names:
            sealed = shares.seal(a.round, a.channel_keys[name], name, receiver, junk)
            a.shared[name] = ShareKeys(bytes(32), {a.index(to): sealed})
