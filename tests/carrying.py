"""A framework's channel in memory: a `CarriedRound`, and `CarriedParticipant`s that answer its steps."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from secagg_client.carried.coordinator import CarriedRound
from secagg_client.carried.groups import CarriedGroups
from secagg_client.carried.participant import CarriedParticipant, Contribute
from secagg_client.carried.steps import Step
from secagg_client.carried.terms import CarriedTerms
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Contribution, SeenRounds

from secagg.config import RoundConfig, ThreatModel
from secagg.context import RoundId
from secagg.crypto.rng import SystemRng
from secagg.encoding.fixedpoint import FixedPoint
from secagg.errors import SecAggError
from secagg.lattice.jobs import Desk
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.rounds.saved_state import MemoryStateKeys
from secagg.tools.simulation.cohort import participant_names
from tests.rounds import NOW, deployment, flat_schema, random_update

MODEL = bytes(range(32))
ANYTHING = Policy(threat_models=frozenset(ThreatModel), allow_experimental=True, min_colluding_share=0.0)


class ClosableDesk(Desk):
    """Encrypts in this process."""

    def close(self) -> None:
        pass


def small_round(people: int, threat_model: ThreatModel, *, threshold: int = 0, **changes: Any) -> RoundConfig:
    """A masked round on 64 values."""
    given: dict[str, Any] = {
        "task": "digits",
        "schema": flat_schema(),
        "encoding": FixedPoint(1.0, 16, 100),
        "max_participants": people,
        "model_digest": MODEL,
        "threshold": threshold,
        "threat_model": threat_model,
    }
    return RoundConfig(**given | changes)


def terms_of(name: str, **changes: Any) -> CarriedTerms:
    """Of somebody who takes part in any round."""
    known = deployment()
    given: dict[str, Any] = {
        "name": name,
        "clock": lambda: NOW,
        "policy": ANYTHING,
        "identity": known.identities[ParticipantId(name)],
        "trust": known.trust,
        "backend": ClosableDesk,
    }
    return CarriedTerms(**given | changes)


class Answering(Protocol):
    """A participant, in one process or in one for each message."""

    failed: dict[RoundId, SecAggError]

    def answer(self, steps: Sequence[Step], contribute: Contribute) -> list[Step]: ...


class Reborn:
    """A participant whose messages are each answered in another process: all that stays is what the framework keeps,
    and its keys.
    """

    def __init__(self, terms: CarriedTerms) -> None:
        self.terms = terms
        self.states: dict[str, bytes] = {}
        self.failed: dict[RoundId, SecAggError] = {}

    def answer(self, steps: Sequence[Step], contribute: Contribute) -> list[Step]:
        fresh = replace(self.terms, seen=SeenRounds(), feedback=Feedback())
        one = CarriedParticipant(fresh, self.states)
        replies = one.answer(steps, contribute)
        self.failed = one.failed
        return replies


def in_one_process(terms: CarriedTerms) -> Answering:
    return CarriedParticipant(terms, None)


def in_many_processes(terms: CarriedTerms) -> Answering:
    keys = terms.keys or MemoryStateKeys(SystemRng())
    return Reborn(replace(terms, keys=keys))


PROCESSES = (in_one_process, in_many_processes)

Peers = dict[str, Answering]


def participants(people: int, *, live: Callable[[CarriedTerms], Answering] = in_one_process, **changes: Any) -> Peers:
    """As many participants, by the names that the framework calls them."""
    return {name: live(terms_of(name, **changes)) for name in participant_names(people)}


def contribution_to(offer: Offer, name: str) -> Contribution:
    """What `name` brings to a round: always the same."""
    seed = int.from_bytes(name.encode(), "big") % 1000
    update = random_update(offer.config.schema, seed)
    config = offer.config
    return Contribution(
        update=update,
        weight=min(1 + seed % 5, offer.config.encoding.max_weight),
        model_digest=MODEL if config.model_later else config.model_digest,
        purpose=config.purpose,
    )


def contribute_as(name: str) -> Callable[[Sequence[Offer]], Mapping[RoundId, Contribution]]:
    return lambda offers: {offer.round_id: contribution_to(offer, name) for offer in offers}


Fault = Callable[[str, Step], bool]
"""Whether a message is lost that the peer would get, or that it sent."""


def nothing_lost(_peer: str, _step: Step) -> bool:
    return False


@dataclass
class Channel:
    """Carries the steps of one round.

    Attributes:
        lose_down: which steps of the coordinator are lost.
        lose_up: which answers are lost.
        tell: whether the framework tells at once what is lost; else it is silence.
        sent: every step, with its peer, in order.
        exchanges: how many there were.
    """

    round: CarriedRound | CarriedGroups
    peers: Peers
    lose_down: Fault = nothing_lost
    lose_up: Fault = nothing_lost
    tell: bool = False
    sent: list[tuple[str, Step]] = field(default_factory=list)
    exchanges: int = 0

    def exchange(self) -> None:
        """Send what is to be sent; hand in what comes back."""
        self.exchanges += 1
        for peer, step in self.round.steps().items():
            self.sent.append((peer, step))
            if self.lose_down(peer, step):
                if self.tell:
                    self.round.lost(peer, "it is not there")
                continue
            for reply in self.peers[peer].answer([step], contribute_as(peer)):
                self.sent.append((peer, reply))
                if not self.lose_up(peer, reply):
                    self.round.take(peer, reply)
                elif self.tell:
                    self.round.lost(peer, "its reply is an error")
        self.round.close()

    def play(self) -> None:
        """Exchange until the round is over, and tell the peers."""
        while self.round.steps():
            self.exchange()
        for peer, step in self.round.endings().items():
            assert self.peers[peer].answer([step], contribute_as(peer)) == []


def carried(config: RoundConfig, names: Collection[str], **changes: Any) -> CarriedRound | CarriedGroups:
    given: dict[str, Any] = {"clock": lambda: NOW, "trust": deployment().trust}
    made = CarriedRound if config.groups is None else CarriedGroups
    return made(config, list(names), **given | changes)


def play(
    config: RoundConfig,
    people: int | None = None,
    *,
    lose_down: Fault = nothing_lost,
    lose_up: Fault = nothing_lost,
    live: Callable[[CarriedTerms], Answering] = in_one_process,
    **changes: Any,
) -> Channel:
    """A whole round, in groups if the configuration says so."""
    peers = participants(people or config.max_participants, live=live)
    made = carried(config, peers, **changes)
    channel = Channel(made, peers, lose_down, lose_up)
    channel.play()
    return channel


def plain_mean(config: RoundConfig, names: Collection[str]) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """The weighted mean of what these bring."""
    brought = [contribution_to(Offer(RoundId(bytes(16)), config, b""), name) for name in names]
    total = sum(mine.weight for mine in brought)
    schema, found = config.schema, {}
    given = [schema.split(schema.check(mine.update).read(0, schema.size)) for mine in brought]
    for spec in schema.arrays:
        arrays = [mine.weight * one[spec.name].astype(np.float64) for mine, one in zip(brought, given, strict=True)]
        found[spec.name] = sum(arrays[1:], arrays[0]) / total
    return found
