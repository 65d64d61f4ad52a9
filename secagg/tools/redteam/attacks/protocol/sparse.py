"""Attacks on rounds whose members stand on a ring: rings that are tried, foreseen or cut, and two stories on one ring.

Sources: [B20] Bell et al. 2020 (ePrint 2020/704); "design": of our own making (PROTOCOL, section 24).
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Final

import numpy as np

from secagg.config import RoundConfig
from secagg.crypto import labels
from secagg.crypto.transcript import digest
from secagg.errors import ConfigError
from secagg.messages import ParticipantId
from secagg.rounds import graph
from secagg.rounds.checked_roster import CheckedRoster
from secagg.sparse.ring import Ring
from secagg.tools.redteam.adversary import Adversary, exposed, true_sum, truth
from secagg.tools.redteam.arena import EXACT, SMALL, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Measure, Outcome, Refusal, settle
from secagg.tools.redteam.modes import MASKED_ACTIVE
from secagg.tools.simulation.cohort import participant_names

MOST_TRIES: Final = 2**12
"""Lists of members that the adversary of a game tries."""


def _config(people: int, ring: Ring, *, threshold: int, colluding: int) -> RoundConfig:
    return MASKED_ACTIVE.config(SMALL, people, threshold=threshold, max_colluding=colluding, graph=ring)


def _lists(adversary: Adversary, victim: ParticipantId, colluders: list[ParticipantId], least: int) -> Iterator[None]:
    """Every list with the victim and the colluders, and `least` members or more: others are left out."""
    came, everyone = dict(adversary.advertised), dict(adversary.people)
    optional = [name for name in came if name != victim and name not in colluders]
    for left_out in range(len(came) - least + 1):
        for gone in combinations(optional, left_out):
            adversary.advertised = {name: keys for name, keys in came.items() if name not in gone}
            adversary.people = {name: person for name, person in everyone.items() if name not in gone}
            adversary.reassign()
            yield


def ground_ring() -> Outcome:
    """The coordinator tries lists of members until enough of its colluders are neighbours of the victim."""
    names = participant_names(12)
    victim, colluders = names[5], names[:3]
    ring = Ring(degree=4, neighbour_threshold=3, committee=3, committee_threshold=3, min_participants=9)

    def attack() -> bool:
        run = start(_config(12, ring, threshold=6, colluding=3))
        adversary = Adversary(run, colluders)
        for _ in zip(range(MOST_TRIES), _lists(adversary, victim, colluders, 9), strict=False):
            if len(adversary.neighbours(victim) & set(colluders)) >= ring.neighbour_threshold:
                adversary.collect_inputs()
                return exposed(adversary, run, victim)
        return False

    return settle(attack, held="no list that was tried gave such a ring", got=EXACT)


def foreseen_ring() -> Outcome:
    """Before the victim has shown its fresh keys, the coordinator works out where everybody is going to stand."""
    names = participant_names(12)
    ring = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)

    def attack() -> bool:
        config = _config(12, ring, threshold=6, colluding=1)
        early, late = (Adversary(start(config, seed=seed)) for seed in (1, 2))  # the victim's keys are other ones
        early.advertised = late.advertised | {names[5]: early.advertised[names[5]]}
        early.round = late.round
        early.reassign()
        return all(early.neighbours(name) == late.neighbours(name) for name in names)

    return settle(attack, held="the ring follows from everybody's keys", got="the ring, before the victim's keys came")


def _with_quiet_seams(adversary: Adversary, ring: Ring) -> list[ParticipantId]:
    """Everybody around the ring, from where the four at the seams of the first seven leave enough of the committee."""
    order = adversary.around()
    committee = {adversary.roster.members[i - 1].participant_id for i in adversary.graph.committee}
    turned = (order[i:] + order[:i] for i in range(len(order)))
    return next(around for around in turned if len(committee - {*around[:2], *around[5:7]}) >= ring.committee_threshold)


def cut_ring() -> Outcome:
    """The coordinator sees the ring, and keeps shares back between seven members and the others: the sum splits."""
    people = 18
    ring = Ring(degree=4, neighbour_threshold=3, committee=3, committee_threshold=2, min_participants=people)

    def attack() -> bool:
        run = start(_config(people, ring, threshold=9, colluding=0))
        adversary = Adversary(run)
        order = _with_quiet_seams(adversary, ring)
        inside, outside = order[:7], order[7:]
        adversary.collect_shares()
        for name in order:
            # The seven mask among themselves. The others get the shares of all, so that they reveal those of the seven.
            adversary.deliver(name, inside if name in inside else order)
        sets = adversary.sets(order)
        reveal = [*outside, *inside[2:-2]]  # those at the seams would see that shares are missing
        adversary.unmask(dict.fromkeys(reveal, sets))
        part = adversary.sum_over(inside, [])
        return part is not None and np.array_equal(part, true_sum(run, inside))

    return settle(
        attack, held="the ring does not fall apart", got="the sum of seven, where the threshold promises nine"
    )


def two_stories() -> Outcome:
    """Half of the ring is told that the victim dropped out, and others of the far half; the other half is told another
    story. Everybody's secrets are opened by their own half, and what comes out is a sum that nobody was shown.
    """
    people, threshold = 28, 8
    ring = Ring(degree=4, neighbour_threshold=4, committee=3, committee_threshold=2, min_participants=people)

    def attack() -> bool:
        run = start(_config(people, ring, threshold=threshold, colluding=0))
        adversary = Adversary(run)
        order = adversary.around()
        near, far = order[: people // 2], order[people // 2 :]
        deep, beyond = near[2:-2], far[2:-2]
        victim, *others = deep
        adversary.collect_inputs()
        gone = {victim, *beyond[:threshold]}, {victim, *others[:threshold]}
        stories = [adversary.sets([name for name in order if name not in dropped]) for dropped in gone]
        told = dict.fromkeys(near, stories[0]) | dict.fromkeys(far, stories[1])
        del told[victim]
        adversary.unmask(told)
        rest = [name for name in order if name != victim]
        total = adversary.sum_over(rest, [victim])
        return total is not None and np.array_equal(true_sum(run, order) - total, truth(run, victim))

    return settle(attack, got=f"{EXACT}: an earlier sum of all, less the sum of all others, which nobody was shown")


_SAFE: Final = (Check(RoundConfig, "_check_ring", "C101"),)
_REFUSED: Final = Refusal(ConfigError, None)
_COMMITTEE: Final = (Check(CheckedRoster, "check_signatures", "C108-needed"),)

SPARSE_GAMES: Final = (
    Game(
        "ring-ground", "Lists of members are tried until colluders surround the victim",
        "malicious coordinator, 3 of 12 collude", "design", True, "parameters that bear 2^60 tries", ground_ring,
        Kind.COLLUDING, defences=_SAFE, refused=_REFUSED,
    ),
    Game(
        "ring-cut", "Shares are kept back so that the ring falls apart", "malicious coordinator", "design", True,
        "parameters for which dropouts are chosen by the adversary", cut_ring, Kind.LYING, defences=_SAFE,
        refused=_REFUSED,
    ),
    Game(
        "ring-foreseen", "A ring that is known before the victim's keys", "malicious coordinator", "[B20] §4", True,
        "the ring follows from the keys of all members", foreseen_ring, Kind.LYING,
        defences=(Measure(graph, "graph_seed", lambda _: lambda round_: digest(labels.GRAPH_SEED, round_.context)),),
    ),
    Game(
        "ring-two-stories", "Two halves of a ring are told two stories about who survived", "malicious coordinator",
        "design", True, "a committee signs one story for the whole cohort", two_stories, Kind.LYING,
        defences=_COMMITTEE, refused=Refusal(),
    ),
)  # fmt: skip
