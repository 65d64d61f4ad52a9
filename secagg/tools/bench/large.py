"""`secagg bench large`: one participant of a large cohort, and the coordinator's last phase, without a network.

Only the participant that is timed goes through its round. What the others send is made for it, and for the coordinator
what they reveal: shares of all of them lie on polynomials that differ in the secret alone, so a cohort of thousands is
there within seconds. The work that is timed is the whole of it.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from secagg_server.rounds.unmasking import Threads

from secagg import roster as rosters
from secagg.config import RoundConfig, ThreatModel
from secagg.context import Round, RoundId, bind
from secagg.crypto import polynomial, shamir
from secagg.crypto.agreement import KeyPair
from secagg.crypto.polynomial import PRIME
from secagg.crypto.prg import Words
from secagg.crypto.rng import Rng, SeededRng
from secagg.crypto.secret import Secret
from secagg.errors import ConfigError
from secagg.masked.accumulator import Accumulator
from secagg.masked.advertise_keys import join
from secagg.masked.masks import Mask, add_masks
from secagg.masked.ranges import Workers
from secagg.masked.scheme import STATES
from secagg.masked.shares import SharePair, commit
from secagg.masked.shares import seal as seal_share
from secagg.masked.unmask import UnmaskPhase
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyProof,
    Index,
    MaskKeyShare,
    ParticipantId,
    RevealedShare,
    SelfMaskShare,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.policy import Policy
from secagg.rounds.members import Members, shown_to
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.session import Turn
from secagg.rounds.shared_state import SharedState
from secagg.rounds.uploads import MemorySpool
from secagg.sparse.finder import find_ring
from secagg.tools.bench.cohort import NOW, SEED, bench_config
from secagg.tools.bench.encoding import sample_update
from secagg.tools.bench.machine import describe
from secagg.tools.bench.measure import cpu_clock, wall_clock
from secagg.tools.bench.report import Figure, Report, Section, at_most
from secagg.tools.simulation.cohort import Deployment, participant_names
from secagg.tools.simulation.stopwatch import Clock
from secagg.wire.configuration import encode_config


@dataclass(frozen=True, slots=True)
class Revealed:
    """A round in which all survivors have revealed their shares, but for the sum: that is 0 for everybody.

    Attributes:
        state: of the round.
        answers: what was revealed, by holder.
        masks: that are to be taken out.
    """

    state: SharedState
    answers: dict[Index, Unmask]
    masks: int

    @classmethod
    def make(cls, config: RoundConfig, dropped: int) -> "Revealed":
        """As many members as the configuration admits, of whom the last `dropped` sent keys and no input."""
        rng, config_bytes = SeededRng(SEED), encode_config(config)
        round_id = RoundId(rng.token(16))
        names = participant_names(config.max_participants)
        pairs = {name: KeyPair.generate(rng) for name in names}
        keys = {name: AdvertiseKeys(rng.token(31) + bytes(1), pair.public) for name, pair in pairs.items()}
        members = Members()
        members.fix(rosters.assign(keys), {}, sparse=config.ring is not None)
        round_ = Round(round_id, config, bind(round_id, config_bytes, config.model_digest))
        state = SharedState(round_.of_members(members.digest), members)
        alive = [Index(i) for i in range(1, config.max_participants - dropped + 1)]
        gone = [Index(i) for i in range(len(alive) + 1, config.max_participants + 1)]
        state.sets = SurvivorSet(tuple(alive), tuple(gone))
        shares = dict(_deal(state, pairs, rng))
        answers: dict[Index, Unmask] = {}
        for holder in alive:
            answers[holder] = Unmask({owner: shares[owner][holder] for owner in (holder, *state.graph.of(holder))})
        masks = len(alive) + sum(i <= len(alive) for owner in gone for i in state.graph.of(owner))
        return cls(state, answers, masks)

    def unmask(self, workers: Workers) -> Words:
        """The whole of what the coordinator does once the last share is there: the sum of all masks, taken off of 0."""
        accumulator = Accumulator(self.state.round.config, MemorySpool(), workers)
        phase = UnmaskPhase(self.state, accumulator, None)
        phase.accepted = self.answers
        _, aggregate = phase.finish()
        return aggregate.sums


def _deal(
    state: SharedState, pairs: Mapping[ParticipantId, KeyPair], rng: Rng
) -> Iterator[tuple[Index, dict[Index, RevealedShare]]]:
    """The shares of each owner, by holder. One polynomial serves all owners: it is moved to the secret of each."""
    f = [0] + [int.from_bytes(rng.token(32), "big") for _ in range(state.round.config.share_threshold - 1)]
    at = {i: polynomial.evaluate(f, i) for i in state.sets.survivors}
    survivors = set(state.sets.survivors)
    for owner, member in state.members.at.items():
        seed, name = Secret(rng.token(shamir.SECRET_SIZE)), member.participant_id
        state.shared[owner] = ShareKeys(commit(state.round, name, seed), {})
        kind = SelfMaskShare if owner in survivors else MaskKeyShare
        secret = int.from_bytes((seed if owner in survivors else pairs[name].private).expose(), "big")
        yield (
            owner,
            {
                i: kind(Secret(((at[i] + secret) % PRIME).to_bytes(shamir.SHARE_SIZE, "big")))
                for i in (owner, *state.graph.of(owner))
                if i in survivors
            },
        )


class Client:
    """One participant through its whole round: every step from its keys to the shares that it reveals.

    What it is shown is made before, with the keys and certificates of all others.
    """

    def __init__(self, config: RoundConfig) -> None:
        """Args: config: as many members as it admits take part, and nobody drops out."""
        rng, config_bytes = SeededRng(SEED), encode_config(config)
        names = participant_names(config.max_participants)
        active = config.threat_model is ThreatModel.ACTIVE
        deployment = Deployment.create(names, NOW) if active else None
        round_id = RoundId(rng.token(16))
        self._round = Round(round_id, config, bind(round_id, config_bytes, config.model_digest))
        policy = Policy(threat_models=frozenset({config.threat_model}), min_colluding_share=0.0)

        def membership(name: ParticipantId) -> Membership:
            credentials = Credentials(deployment.identities[name], deployment.trust) if deployment else None
            return Membership(self._round, name, policy, rng, credentials)

        self._own = membership(names[0])
        self._deployment = deployment
        self._joined = {name: join(membership(name)) for name in names[1:]}
        self._vector = config.code.encode(
            config.schema.check(sample_update(config.schema.size)), 1, Secret(rng.token(32))
        )

    def play(self, clock: Clock) -> dict[str, float]:
        """Seconds of each step by `clock`, of a round with the same others and fresh keys of our own."""
        watch = _Watch(clock)
        config = self._round.config
        state, keys = watch("keys", lambda: join(self._own))
        members = Members()
        advertised = {name: sent for name, (_, sent) in self._joined.items()}
        roster = rosters.assign({self._own.participant_id: keys, **advertised})
        members.fix(roster, {}, sparse=config.ring is not None)
        shared = SharedState(self._round.of_members(members.digest), members)
        me = members.index[self._own.participant_id]
        turn = Turn(NOW, self._vector, self._round.model_digest, STATES[config.threat_model])
        shown = shown_to(me, shared.graph, members.roster)
        state, _ = watch("roster checked, shares sealed", lambda: state.receive(shown, turn))
        delivery = self._delivery(shared, me)
        state, masked = watch("shares opened, keys agreed", lambda: state.receive(delivery, turn))
        watch("update masked and packed", lambda: [len(chunk.payload) for chunk in masked])
        shared.sets = SurvivorSet(tuple(members.at), ())
        state, _ = watch("survivors", lambda: state.receive(shared.sets, turn))
        if self._deployment is not None:
            proof = self._proof(shared, me)
            state, _ = watch("signatures checked, shares revealed", lambda: state.receive(proof, turn))
        return watch.seconds

    def _delivery(self, shared: SharedState, me: Index) -> ShareDelivery:
        """From every neighbour a pair of shares; their signatures are looked at only if something does not open."""
        rng, at = SeededRng(SEED), shared.members.at
        pair = SharePair(*(Secret(bytes(1) + rng.token(32)) for _ in range(2)))
        sealed = {}
        for i in shared.graph.of(me):
            name = at[i].participant_id
            sealed[i] = seal_share(shared.round, self._joined[name][0].channel, name, at[me], pair)
        return ShareDelivery(sealed)

    def _proof(self, shared: SharedState, me: Index) -> ConsistencyProof:
        members, deployment = shared.members, self._deployment
        if deployment is None:
            raise ValueError("nobody signs in this round")
        message = rosters.survivors_to_sign(shared.round.input_context, members.digest, shared.sets)
        signers = sorted(shared.graph.committee)
        return ConsistencyProof({i: deployment.identities[members.name(i)].sign(message) for i in signers})


class _Watch:
    """Times named steps."""

    def __init__(self, clock: Clock) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    def __call__(self, name: str, step: Callable[[], Any]) -> Any:
        start = self._clock()
        result = step()
        self.seconds[name] = self._clock() - start
        return result


@dataclass(frozen=True, slots=True)
class LargeSetting:
    """What is measured.

    Attributes:
        participants: of the cohort.
        values: of an update.
        dropped: how many sent keys and no input.
        expected: dropouts that the ring of the participant is found for; that of the unmasking is for `dropped`.
        colluding: n_C; rings are found for it.
        threads: that unmask.
        repeats: rounds of the participant; the fastest counts.
    """

    participants: int = 1000
    values: int = 100_000
    dropped: int = 300
    expected: int = 50
    colluding: int = 50
    threads: int = 2
    repeats: int = 3


_PLAIN: Final = LargeSetting()
_CLIENT_AIMS: Final = {"complete": 0.400, "ring": 0.080}
_UNMASK_AIMS: Final = {"complete": 30.0, "ring": 4.0}
"""Seconds that are aimed at with the sizes, dropouts and colluders of a plain `LargeSetting`."""


def measure(setting: LargeSetting, progress: Callable[[str], None] = lambda _: None) -> Report:
    """One participant's round and the coordinator's unmasking, on the complete graph and on a ring.

    Raises:
        ConfigError: nobody would be left, or no ring is safe with these sizes.
    """
    for option in ("dropped", "expected", "colluding"):
        if getattr(setting, option) >= setting.participants:
            raise ConfigError(f"--{option} {getattr(setting, option)} leaves none of {setting.participants}; give less")
    machine = describe()
    aimed = replace(setting, threads=_PLAIN.threads, repeats=_PLAIN.repeats) == _PLAIN
    sections = []
    for graph in ("ring", "complete"):
        for threat_model in (ThreatModel.SEMI_HONEST, ThreatModel.ACTIVE):
            named = f"{graph}, {threat_model.name.lower().replace('_', '-')}"
            progress(f"a participant ({named})")
            config = config_of(setting, threat_model, setting.expected if graph == "ring" else None)
            sections.append(_client(config, setting, named, _CLIENT_AIMS[graph] if aimed else None))
            progress(f"unmasking ({named})")
            config = config_of(setting, threat_model, setting.dropped if graph == "ring" else None)
            sections.append(_unmasking(config, setting, named, _UNMASK_AIMS[graph] if aimed else None))
    return Report("large", machine, asdict(setting), tuple(sections))


def config_of(setting: LargeSetting, threat_model: ThreatModel, dropouts: int | None) -> RoundConfig:
    """A round of these sizes, on a ring that bears so many dropouts; on the complete graph if None.

    Raises:
        ConfigError: there is no such ring.
    """
    plain = bench_config(setting.participants, setting.values, threat_model=threat_model)
    if dropouts is None:
        return plain
    found = find_ring(
        max_participants=setting.participants,
        max_colluding=setting.colluding,
        threshold=plain.threshold,
        min_participants=setting.participants,
        dropouts=dropouts / setting.participants,
        active=threat_model is ThreatModel.ACTIVE,
    )
    return replace(plain, graph=found, max_colluding=setting.colluding)


def _client(config: RoundConfig, setting: LargeSetting, named: str, aim: float | None) -> Section:
    client = Client(config)
    rounds = [client.play(cpu_clock) for _ in range(setting.repeats + 1)]
    best = min(rounds[1:], key=lambda steps: sum(steps.values()))
    figures = [Figure("participant_cpu_s", sum(best.values()), at_most(aim) if aim else None, "its whole round")]
    figures += [Figure(f"{step.replace(' ', '_').replace(',', '')}_s", spent) for step, spent in best.items()]
    if config.signed:
        first = sum(rounds[0].values())
        figures.append(Figure("first_round_cpu_s", first, note="of a process, which verifies every certificate chain"))
    return Section(f"participant_{_word(named)}", f"A participant ({named}, {_ring(config)})", tuple(figures))


def _unmasking(config: RoundConfig, setting: LargeSetting, named: str, aim: float | None) -> Section:
    revealed = Revealed.make(config, setting.dropped)
    with ThreadPoolExecutor(setting.threads) as pool:
        began, cpu = wall_clock(), cpu_clock()
        revealed.unmask(Threads(pool, setting.threads))
        took, cpu = wall_clock() - began, cpu_clock() - cpu
    figures = (
        Figure(
            "unmask_s", took, at_most(aim) if aim else None, f"on {setting.threads} threads, {revealed.masks} masks"
        ),
        Figure("unmask_cpu_s", cpu, note="of all threads together"),
        Figure("masks_alone_cpu_s", _masks_alone(config, revealed.masks), note="limit: to make and add so many masks"),
        Figure(
            "agreements_alone_cpu_s",
            _agreements_alone(revealed.masks - len(revealed.answers)),
            note="limit: X25519, once for each mask of a pair",
        ),
    )
    title = f"Unmasking ({named}, {_ring(config)}, {setting.dropped} dropped)"
    return Section(f"unmasking_{_word(named)}", title, figures)


def _masks_alone(config: RoundConfig, masks: int) -> float:
    """CPU seconds that it takes one thread to make so many masks of a whole vector and to add them, told from some."""
    rng, words = SeededRng(SEED), np.zeros(config.vector_len, config.ring_dtype)
    some = [Mask(Secret(rng.token(config.suite.key_size)), negative=False) for _ in range(min(masks, _SOME))]
    add_masks(words, 0, some[:1], config.suite)  # what is made once
    began = cpu_clock()
    add_masks(words, 0, some, config.suite)
    return (cpu_clock() - began) * masks / len(some)


def _agreements_alone(count: int) -> float:
    """CPU seconds of so many agreements on one thread, told from some."""
    one, other = (KeyPair.generate(SeededRng(SEED)) for _ in range(2))
    some = min(count, _SOME)
    began = cpu_clock()
    for _ in range(some):
        one.agree(other.public, peer="the other")
    return (cpu_clock() - began) * count / max(1, some)


_SOME: Final = 1000


def _word(named: str) -> str:
    return named.replace(", ", "_").replace("-", "_")


def _ring(config: RoundConfig) -> str:
    ring = config.ring
    return f"t = {config.threshold}" if ring is None else f"k = {ring.degree}, t = {ring.neighbour_threshold}"
