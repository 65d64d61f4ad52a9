"""Attacks on rounds 3 and 4: which shares participants reveal, and for which sets of survivors.

Sources: [B17] Bonawitz et al. 2017, [P22] Pasquini et al. 2022 (ePrint 2021/1576).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from secagg import roster as rosters
from secagg.config import Suite
from secagg.errors import AuthenticationError
from secagg.masked import unmask
from secagg.masked.masked_input import AwaitingShares
from secagg.masked.scheme import Participant, Reply
from secagg.masked.shares import SharePair
from secagg.masked.survivors import AwaitingSurvivors
from secagg.messages import (
    ConsistencyProof,
    CoordinatorMessage,
    Index,
    MaskKeyShare,
    RevealedShare,
    SelfMaskShare,
    SurvivorSet,
    Unmask,
)
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.session import Ended, Session, Waiting
from secagg.tools.redteam.adversary import Adversary, exposed, session_of, true_sum, truth
from secagg.tools.redteam.arena import EXACT, OTHERS, SEVEN, VICTIM, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Measure, Outcome, Refusal, settle
from secagg.tools.redteam.modes import MASKED_ACTIVE, MASKED_SEMI_HONEST, Mode
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Run


def late_message(mode: Mode = MASKED_ACTIVE, suite: Suite = Suite.X25519_SHA256_AES128) -> Outcome:
    """The victim is declared dropped, so its mask key is rebuilt; then its input comes in all the same."""
    run = start(replace(small_config(7, mode), suite=suite))

    def attack() -> bool:
        adversary = Adversary(run)
        adversary.collect_inputs()
        adversary.unmask(dict.fromkeys(OTHERS, adversary.sets(OTHERS)))
        # With the pairwise masks gone the input is open unless the self mask is there and unknown.
        stripped = adversary.expose(VICTIM, SEVEN, self_mask=False)
        return bool(np.any(stripped == truth(run, VICTIM))) or exposed(adversary, run, VICTIM)

    return settle(attack, held="the self mask: nobody reveals its shares for someone who was called dropped", got=EXACT)


def without_self_mask(made: Callable[..., Any]) -> Callable[..., Any]:
    """A participant whose input is covered by pairwise masks alone."""
    return lambda self, delivery: made(self, delivery)[1:]


def both_shares(mode: Mode = MASKED_ACTIVE) -> Outcome:
    """Everyone unmasks; then everyone is asked again, with the victim among the dropped."""
    run = start(small_config(7, mode))

    def attack() -> bool:
        adversary = Adversary(run)
        adversary.collect_inputs()
        adversary.unmask(dict.fromkeys(SEVEN, adversary.sets(SEVEN)))
        adversary.unmask(dict.fromkeys(OTHERS, adversary.sets(OTHERS)))
        return exposed(adversary, run, VICTIM)

    return settle(attack, held="one answer a round", got=EXACT)


def answering_again(receive: Callable[..., Reply]) -> Callable[..., Reply]:
    """A participant that is back where it awaits the survivors once it has revealed."""
    kept: dict[int, Waiting | Ended] = {}

    def again(self: Participant, message: CoordinatorMessage, now: float) -> Reply:
        if isinstance(self._state, AwaitingSurvivors):
            kept[id(self)] = self._state
        reply = receive(self, message, now)
        if isinstance(reply, Unmask):
            self._state = kept[id(self)]
        return reply

    return again


def overlapping_sets() -> Outcome:
    """The victim is called both a survivor and dropped in one and the same request."""
    run = start(small_config(7))

    def attack() -> bool:
        adversary = Adversary(run)
        adversary.collect_inputs()
        adversary.unmask(dict.fromkeys(SEVEN, adversary.sets(SEVEN, dropped=[VICTIM])))
        for owner in [i for i in adversary.key_shares if i < 0]:  # see `two_of_each_owner`
            adversary.key_shares[Index(-owner)] |= adversary.key_shares.pop(owner)
        return exposed(adversary, run, VICTIM)

    return settle(attack, held="a reply holds one share of each owner", got=EXACT, refusing=session_of(run, SEVEN[0]))


def two_of_each_owner(_: object) -> Callable[[Mapping[Index, SharePair], SurvivorSet], Unmask]:
    """A reply that can hold two shares of one owner: those of the dropped stand under the negative index."""

    def reveal(held: Mapping[Index, SharePair], survivors: SurvivorSet) -> Unmask:
        revealed: dict[Index, RevealedShare] = {i: SelfMaskShare(held[i].self_mask_seed) for i in survivors.survivors}
        return Unmask(revealed | {Index(-i): MaskKeyShare(held[i].mask_key) for i in survivors.dropped})

    return reveal


# --- sets that no honest coordinator shows ----------------------------------------------------------------------------

FIVE: Final = participant_names(5)
LONER: Final = FIVE[2]
_COLLUDERS: Final = FIVE[:2]
_LONELY = partial(small_config, 5, MASKED_SEMI_HONEST, threshold=3, max_colluding=1)
"""Two collude, one more than the round stands: with as many as it stands, the shares would not do either."""


def cohort_of_one(*strangers: int) -> Outcome:
    """A "sum" over the victim and one colluder; everyone else is called dropped. Two collude, one more than the round
    stands: with as many as it stands, the shares would not do either.

    Args:
        strangers: indices that are on no roster, and make the survivors as many as t.
    """
    run = start(_LONELY())

    def attack() -> bool:
        adversary = Adversary(run, _COLLUDERS)
        adversary.collect_inputs()
        sets = adversary.sets([LONER, _COLLUDERS[0]])
        adversary.ask(LONER, SurvivorSet((*sets.survivors, *map(Index, strangers)), sets.dropped))
        return exposed(adversary, run, LONER)

    return settle(attack, held="at least t survivors", got=EXACT, refusing=session_of(run, LONER))


def called_dropped() -> Outcome:
    """The victim itself is asked for its share of its own mask key, which is the third beside the colluders' two."""
    run = start(_LONELY())

    def attack() -> bool:
        adversary = Adversary(run, _COLLUDERS)
        adversary.collect_inputs()
        adversary.ask(FIVE[3], adversary.sets(FIVE))
        adversary.ask(LONER, adversary.sets([name for name in FIVE if name != LONER]))
        return exposed(adversary, run, LONER)

    return settle(attack, got=EXACT, refusing=session_of(run, LONER))


def left_out_of_both_sets() -> Outcome:
    """One who shared keys stands neither among the survivors nor among the dropped."""
    run = start(small_config(7, MASKED_SEMI_HONEST))

    def attack() -> bool:
        adversary, shared = Adversary(run), SEVEN[:6]  # the last one's keys are on the roster, its shares never came
        for name in shared:
            adversary.ask(name, adversary.roster)
        for name in shared:
            adversary.deliver(name, shared)
        adversary.ask(SEVEN[0], SurvivorSet(adversary.indices(shared[:5]), ()))
        return bool(adversary.seed_shares[adversary.index(shared[5])])

    return settle(attack, got="a share of a seed for a sum that does not name its owner",
                  refusing=session_of(run, SEVEN[0]))  # fmt: skip


# --- different sets for different participants ------------------------------------------------------------------------

TEN: Final = participant_names(10)
BRIBED, KEPT, CUT = TEN[:3], TEN[3:5], TEN[5:]


def show_other_sets(run: Run, *, forged: bool = False) -> Adversary:
    """Show every honest participant another set of survivors, and only its own signature on it.

    n = 10, n_C = 3, t = 7. Each sees at most three dropped, but in all five are: each of them by four honest
    participants, whose shares together with the colluders' make seven.

    Args:
        run: of ten.
        forged: whether its own signature is passed off as everybody's.
    """
    adversary = Adversary(run, BRIBED)
    adversary.collect_inputs()
    gone_for = {name: {CUT[(i + 1) % 5], CUT[(i + 2) % 5], CUT[(i + 3) % 5]} for i, name in enumerate(CUT)}
    gone_for |= {KEPT[0]: set(CUT[:3]), KEPT[1]: set(CUT[3:])}
    views = {name: adversary.sets(set(TEN) - gone, gone) for name, gone in gone_for.items()}
    for name, sets in views.items():
        adversary.sign(name, sets)
    for name, sets in views.items():
        signers = sets.survivors if forged else (adversary.index(name),)
        adversary.ask(name, ConsistencyProof(dict.fromkeys(signers, adversary.signatures[name, sets])))
    return adversary


def two_survivor_sets(*, forged: bool = False) -> Outcome:
    """Every honest participant is shown another set of survivors, and only its own signature on it."""
    run = start(small_config(10))

    def attack() -> bool:
        pair = show_other_sets(run, forged=forged).sum_over([*KEPT, *BRIBED], CUT)
        return pair is not None and np.array_equal(pair - true_sum(run, BRIBED), true_sum(run, KEPT))

    return settle(attack, held="signatures on one set", got="the sum of two, where the threshold promises four",
                  refusing=session_of(run, CUT[0]))  # fmt: skip


def without_consistency() -> Outcome:
    """Half of the participants are told that the victim survived, half that it dropped. Nothing is signed, and t = 4 of
    8 is allowed where the coordinator is trusted to follow the rules.
    """
    run = start(small_config(8, MASKED_SEMI_HONEST, threshold=4, max_colluding=0))

    def attack() -> bool:
        adversary, names = Adversary(run), participant_names(8)
        adversary.collect_inputs()
        others = [name for name in names if name != VICTIM]
        adversary.unmask(dict.fromkeys([VICTIM, *others[:3]], adversary.sets(names)))
        adversary.unmask(dict.fromkeys(others[3:], adversary.sets(others)))
        return exposed(adversary, run, VICTIM)

    return settle(attack, got=EXACT)


def signed_by_the_dropped() -> Outcome:
    """A colluder that was declared dropped signs in the place of a survivor."""
    run = start(small_config(7))

    def attack() -> bool:
        adversary, survivors = Adversary(run), SEVEN[:5]
        adversary.collect_inputs()
        sets = adversary.sets(survivors)
        for name in survivors[:4]:
            adversary.sign(name, sets)
        message = rosters.survivors_to_sign(adversary.round.context, rosters.roster_digest(adversary.roster), sets)
        adversary.signatures[SEVEN[6], sets] = run.participants[SEVEN[6]].membership.sign(message)
        adversary.prove(survivors[0], sets)
        return bool(adversary.seed_shares)

    return settle(attack, got="shares for a set that fewer than t survivors signed",
                  refusing=session_of(run, SEVEN[0]))  # fmt: skip


def replay_proof() -> Outcome:
    """Everyone's signatures on last round's survivors open this round's masks."""

    def attack() -> bool:
        old, new = Adversary(start(small_config(7), seed=1)), Adversary(start(small_config(7), seed=2))
        for adversary in (old, new):
            adversary.collect_inputs()
            for name in SEVEN:
                adversary.sign(name, adversary.sets(SEVEN))
        new.signatures = old.signatures
        new.prove(VICTIM, new.sets(SEVEN))
        return bool(new.seed_shares)

    return settle(attack, held="signatures bound to the round", got="shares for a set that nobody signed in this round")


def vote_twice(*, threshold: int = 0) -> Outcome:
    """Colluders sign two different survivor sets, so that two groups of honest participants each see a majority.

    Args:
        threshold: of the round; the smallest safe one if 0.
    """

    def attack() -> bool:
        run, bribed = start(small_config(7, threshold=threshold, max_colluding=2 if threshold else -1)), SEVEN[:2]
        adversary = Adversary(run, bribed)
        adversary.collect_inputs()
        honest = [name for name in OTHERS if name not in bribed]
        alive, gone = [VICTIM, *honest[:1]], honest[1:]
        views = dict.fromkeys(alive, adversary.sets(SEVEN)) | dict.fromkeys(gone, adversary.sets(OTHERS))
        for sets in set(views.values()):
            message = rosters.survivors_to_sign(adversary.round.context, rosters.roster_digest(adversary.roster), sets)
            for name in bribed:
                adversary.signatures[name, sets] = run.participants[name].membership.sign(message)
        adversary.unmask(views)
        return exposed(adversary, run, VICTIM)

    return settle(attack, held="2t > n + n_C", got=EXACT)


_NO_SELF_MASK: Final = (Measure(AwaitingShares, "_masks", without_self_mask),)
_ONE_ANSWER: Final = (Measure(Participant, "receive", answering_again),)
_ANSWERED: Final = Refusal(at=Check(Session, "receive", "C29"))
_FORGED: Final = Refusal(AuthenticationError)
_FEW_SIGNATURES: Final = Check(CheckedRoster, "check_signatures", "C27")
_SIGNATURES: Final = Check(CheckedRoster, "check_signatures", "C28")

UNMASKING_GAMES: Final = (
    Game(
        "late-message", "An input that comes after its sender was declared dropped", "malicious coordinator",
        "[B17] §6.1", True, "double masking", late_message, Kind.LYING, defences=_NO_SELF_MASK,
    ),
    Game(
        f"late-message-{MASKED_SEMI_HONEST.name}",
        f"{MASKED_SEMI_HONEST.title}: an input that comes after its sender was declared dropped",
        "curious coordinator", "[B17] §6.1", True, "double masking", partial(late_message, MASKED_SEMI_HONEST),
        Kind.READING, MASKED_SEMI_HONEST.name, defences=_NO_SELF_MASK,
    ),
    Game(
        "both-shares", "Both kinds of share of one participant, one request after the other", "malicious coordinator",
        "[B17] §6.2", True, "a participant answers once", both_shares, Kind.LYING, defences=_ONE_ANSWER,
        refused=_ANSWERED,
    ),
    Game(
        f"both-shares-{MASKED_SEMI_HONEST.name}",
        f"{MASKED_SEMI_HONEST.title}: both kinds of share of one participant, one request after the other",
        "malicious coordinator", "[B17] §6.2", True, "a participant answers once",
        partial(both_shares, MASKED_SEMI_HONEST), Kind.LYING, MASKED_SEMI_HONEST.name, defences=_ONE_ANSWER,
        refused=_ANSWERED,
    ),
    Game(
        "overlapping-sets", "Both kinds of share of one participant, in one request", "malicious coordinator",
        "[B17] §6.2", True, "disjoint sets are demanded; a reply cannot hold both", overlapping_sets, Kind.LYING,
        defences=(Check(AwaitingSurvivors, "check", "C21"), Measure(unmask, "reveal", two_of_each_owner)),
        refused=Refusal(),
    ),
    Game(
        "two-survivor-sets", "Different survivor sets for different participants",
        "malicious coordinator, 3 of 10 collude", "[B17] §6.2", True, "t signatures on one's own set",
        two_survivor_sets, Kind.LYING, defences=(_FEW_SIGNATURES,), refused=Refusal(),
    ),
    Game(
        "forged-signatures", "The same, with one signature passed off as everybody's",
        "malicious coordinator, 3 of 10 collude", "[B17] §6.2", True, "every signature is verified",
        partial(two_survivor_sets, forged=True), Kind.LYING,
        defences=(_SIGNATURES,), refused=_FORGED,
    ),
    Game(
        "two-survivor-sets-unsigned", "The same in a round of the semi-honest threat model", "malicious coordinator",
        "[B17] §6.1", False, "the active threat model: semi-honest rounds trust the coordinator to follow the rules",
        without_consistency, Kind.LYING, MASKED_SEMI_HONEST.name,
    ),
    Game(
        "signed-by-the-dropped", "A signature on the survivors by somebody who is none",
        "malicious coordinator, 1 colludes", "[B17] §6.2", True, "only survivors sign", signed_by_the_dropped,
        Kind.LYING, defences=(Check(CheckedRoster, "check_signatures", "C26"),), refused=Refusal(),
    ),
    Game(
        "vote-twice", "Colluders sign two survivor sets", "malicious coordinator, 2 of 7 collude", "[B17] §6.2", True,
        "the threshold: 2t > n + n_C", vote_twice, Kind.COLLUDING, refused=Refusal(at=_FEW_SIGNATURES),
    ),
    Game(
        "replay-proof", "Signatures of an earlier round on its survivors", "malicious coordinator", "threat model",
        True, "signatures cover the round's context", replay_proof, Kind.LYING,
        refused=Refusal(AuthenticationError, at=_SIGNATURES),
        defences=(Measure(rosters, "survivors_to_sign", lambda _: lambda _context, _roster, s: repr(s).encode()),),
    ),
    Game(
        "cohort-of-one", "A sum over the victim and a colluder", "malicious coordinator, 2 of 5 collude",
        "[P22] §4", True, "fewer than t survivors end the round", cohort_of_one, Kind.LYING, MASKED_SEMI_HONEST.name,
        defences=(Check(AwaitingSurvivors, "check", "C24"),), refused=Refusal(),
    ),
    Game(
        "cohort-with-a-stranger", "The same, with a survivor who is on no roster",
        "malicious coordinator, 2 of 5 collude", "[P22] §4", True, "survivors are on the roster",
        partial(cohort_of_one, 99), Kind.LYING, MASKED_SEMI_HONEST.name,
        # What is remembered of a sum cannot name somebody who is not on the roster.
        defences=(Check(AwaitingSurvivors, "check", "C22-roster"),
                  Measure(CheckedRoster, "claim_sum", lambda _: lambda *_: None)),
        refused=Refusal(),
    ),
    Game(
        "called-dropped", "The victim is asked for the share of its own mask key",
        "malicious coordinator, 2 of 5 collude", "[B17] §6.2", True, "whoever is called dropped answers nothing",
        called_dropped, Kind.LYING, MASKED_SEMI_HONEST.name, defences=(Check(AwaitingSurvivors, "check", "C23"),),
        refused=Refusal(),
    ),
    Game(
        "left-out-of-both-sets", "One who shared keys is neither a survivor nor dropped", "malicious coordinator",
        "[B17] §6.2", True, "the two sets are exactly those who shared keys", left_out_of_both_sets, Kind.LYING,
        MASKED_SEMI_HONEST.name, defences=(Check(AwaitingSurvivors, "check", "C22-shared"),), refused=Refusal(),
    ),
)  # fmt: skip
