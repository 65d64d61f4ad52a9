"""Attacks by number: colluders that reach a threshold, cohorts in which one honest update is left, and Sybils.

Sources: [B17] Bonawitz et al. 2017; Douceur 2002, The Sybil Attack.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

import secagg.config
from secagg.config import RoundConfig, ThreatModel
from secagg.errors import ConfigError, PolicyViolation
from secagg.messages import MaskedInputChunk, ParticipantId
from secagg.policy import Policy
from secagg.tools.redteam.adversary import Adversary, exposed, true_sum, truth
from secagg.tools.redteam.arena import EXACT, SEVEN, VICTIM, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Measure, Outcome, Refusal, settle
from secagg.tools.redteam.attacks.protocol.unmasking import vote_twice
from secagg.tools.redteam.modes import EVERY_MODE, MASKED_ACTIVE, MASKED_SEMI_HONEST, Mode
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Run


def threshold_of_colluders() -> Outcome:
    """A round whose threshold the colluders reach among themselves: they open every secret without asking anyone."""

    def attack() -> bool:
        run = start(small_config(7, MASKED_SEMI_HONEST, threshold=3, max_colluding=3))
        adversary = Adversary(run, SEVEN[:3])
        adversary.collect_inputs()
        return exposed(adversary, run, VICTIM)

    return settle(attack, held="more than n_C shares are needed", got=EXACT)


def left_over(start_run: Callable[[], Run], victim: ParticipantId, silent: tuple[ParticipantId, ...] = ()) -> bool:
    """Whether an honestly played round gives the victim's update: its sum less what everybody else put in.

    Args:
        start_run: makes the round.
        victim: the one who does not collude.
        silent: whose inputs never arrive.
    """
    run = start_run()

    def keep_out(envelope: Envelope) -> tuple[Envelope, ...]:
        lost = envelope.participant in silent and isinstance(envelope.message, MaskedInputChunk)
        return () if lost else (envelope,)

    run.hook = keep_out
    aggregate = run.play().aggregate
    if aggregate is None:
        return False
    others = true_sum(run, [ParticipantId(name) for name in aggregate.survivors if name != victim])
    return np.array_equal(aggregate.sums.astype(np.uint64) - others, truth(run, victim))


def all_but_one_collude() -> Outcome:
    """A round that "stands" so many colluders that one honest update is left in its sum: the sum less their own."""
    names = participant_names(3)
    played = partial(left_over, lambda: start(small_config(3, threshold=3, max_colluding=2)), names[2])
    return settle(played, held="t − n_C ≥ 2", got=EXACT)


def small_cohort() -> Outcome:
    """t = 3 is allowed, but the participant wants five: with two colluders in a sum of three the rest is its update."""
    names = participant_names(5)
    policy = Policy(threat_models=frozenset({ThreatModel.SEMI_HONEST}), min_cohort=5)
    config = small_config(5, MASKED_SEMI_HONEST, threshold=3, max_colluding=1)
    return settle(lambda: left_over(lambda: start(config, policy=policy), names[4], (names[2], names[3])), got=EXACT)


def two_of_us() -> Outcome:
    """A sum of two shows each of them the other's update, whoever coordinates."""
    names = participant_names(2)
    made = partial(small_config, 2, MASKED_SEMI_HONEST, threshold=2, max_colluding=1)
    return settle(lambda: left_over(lambda: start(made(), policy=Policy()), names[1]), got=EXACT)


def sybils(mode: Mode = MASKED_ACTIVE, policy: Policy | None = None) -> Outcome:
    """All but one belong to the coordinator, with genuine certificates; the round is played honestly."""
    names = participant_names(4)
    config = small_config(4, mode)
    held = "nothing" if policy is None else "policy"

    def attack() -> bool:
        run = start(config, policy=policy)
        won = left_over(lambda: run, names[0])
        if names[0] in run.errors:
            raise run.errors[names[0]]
        return won

    return settle(attack, held=held, got=f"{EXACT}: the sum less what the Sybils put in")


def sybils_among_survivors() -> Outcome:
    """The cohort has two organisations, but whoever is not of the Sybils' is cut off before the sum."""
    run = start(small_config(7), policy=Policy(min_organisations=2))

    def attack() -> bool:
        alike, elsewhere = SEVEN[:6], SEVEN[6:]  # of the arena's organisations
        others = [name for name in alike if name != VICTIM]
        adversary = Adversary(run, others)
        adversary.collect_inputs()
        adversary.unmask(dict.fromkeys(alike, adversary.sets(alike)))
        total = adversary.sum_over(alike, elsewhere)
        return total is not None and np.array_equal(total - true_sum(run, others), truth(run, VICTIM))

    return settle(attack, got=f"{EXACT}: the sum less what the Sybils put in")


_FEW_HONEST: Final = (
    Check(RoundConfig, "_check_thresholds", "honest-updates"),
    Check(Policy, "check", "min-honest"),
)
_ORGANISATIONS: Final = (Check(Policy, "check_organisations", "C14"),)
_CONFIGURATION: Final = Refusal(ConfigError, None)

COLLUDER_GAMES: Final = (
    Game(
        "threshold-of-colluders", "A threshold that colluders reach alone", "coordinator, t participants collude",
        "[B17] §6.1", True, "such a configuration is refused", threshold_of_colluders, Kind.COLLUDING,
        "masked-semi-honest", defences=_FEW_HONEST, refused=_CONFIGURATION,
    ),
    Game(
        "all-but-one-collude", "A round that stands all participants but one",
        "coordinator, n − 1 participants collude", "[B17] §6.1", True, "such a configuration is refused",
        all_but_one_collude, Kind.COLLUDING, defences=_FEW_HONEST, refused=_CONFIGURATION,
    ),
    Game(
        "two-majorities", "A threshold that two disjoint views reach", "malicious coordinator with colluders",
        "[B17] §6.2", True, "such a configuration is refused", partial(vote_twice, threshold=4), Kind.COLLUDING,
        defences=(Check(RoundConfig, "_check_graph", "two-majorities"),), refused=_CONFIGURATION,
    ),
    Game(
        "small-cohort", "A sum of fewer than the participant wants to be among", "coordinator, 2 of 5 collude",
        "threat model", True, "the participant's policy: min_cohort", small_cohort, Kind.COLLUDING,
        "masked-semi-honest", defences=(Check(Policy, "check", "min-cohort"),), refused=Refusal(PolicyViolation),
    ),
    Game(
        "two-of-us", "A sum of two participants", "the other participant", "threat model", True,
        "such a configuration is refused", two_of_us, Kind.COLLUDING, "masked-semi-honest",
        defences=(
            Measure(secagg.config, "MIN_COHORT", lambda _: 2), Measure(secagg.config, "MIN_HONEST", lambda _: 1),
            Measure(Policy, "check", lambda _: lambda *_: None),
        ),
        refused=Refusal(ConfigError, None, "max_participants must be"),
    ),
    Game(
        "sybils", "All others are Sybils with genuine certificates", "coordinator and n − 1 participants",
        "Douceur 2002", False, "whom the CA certifies; a policy with min_organisations", sybils, Kind.SYBILS,
    ),
    *(
        Game(
            f"sybils-{mode.name}", f"{mode.title}: all others are Sybils", "coordinator and n − 1 participants",
            "Douceur 2002", False, "whom the CA certifies; a policy with min_organisations", partial(sybils, mode),
            Kind.SYBILS, mode.name,
        )
        for mode in EVERY_MODE if mode is not MASKED_ACTIVE
    ),
    Game(
        "sybils-one-organisation", "The same, and all are of one organisation, the victim's own",
        "coordinator and n − 1 participants", "Douceur 2002", True,
        "the participant's policy: min_organisations=2 (it counts the victim's own)",
        partial(sybils, policy=Policy(min_organisations=2)), Kind.SYBILS, defences=_ORGANISATIONS,
        refused=Refusal(PolicyViolation),
    ),
    Game(
        "sybils-among-survivors", "The same, where the others are cut off before the sum",
        "malicious coordinator and all other participants of one organisation", "Douceur 2002", True,
        "organisations are counted among the survivors too", sybils_among_survivors, Kind.SYBILS,
        defences=_ORGANISATIONS, refused=Refusal(PolicyViolation),
    ),
)  # fmt: skip
