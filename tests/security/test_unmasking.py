"""Rounds 3 and 4: which shares a participant reveals, and to whom it makes a difference (T2, T3, T4).

Adversary: a malicious coordinator with colluders; every attack ends in the victim's exact update, or in a sum below the
threshold, computed from the adversary's view alone.
"""

from collections.abc import Mapping

import numpy as np
import pytest

from secagg import roster as rosters
from secagg.config import RoundConfig, ThreatModel
from secagg.errors import AuthenticationError, ConfigError, ProtocolViolation
from secagg.masked import participant as states
from secagg.masked.participant import AwaitingShares, AwaitingSurvivors
from secagg.masked.session import Participant, Reply, State
from secagg.masked.shares import SharePair
from secagg.messages import (
    ConsistencyProof,
    CoordinatorMessage,
    Index,
    MaskKeyShare,
    ParticipantId,
    RevealedShare,
    SelfMaskShare,
    SurvivorSet,
    Unmask,
)
from secagg.policy import Policy
from secagg.rounds.checked_roster import CheckedRoster
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Run
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, start, true_sum, truth
from tests.security.adversary import Adversary, holds_nothing, refusal, without_check

NAMES = participant_names(7)
VICTIM = NAMES[3]
OTHERS = [name for name in NAMES if name != VICTIM]


def exposed(adversary: Adversary, run: Run, victim: ParticipantId = VICTIM) -> bool:
    """Whether the adversary's view gives the victim's exact update."""
    stolen = adversary.expose(victim, run.participants)
    return stolen is not None and np.array_equal(stolen, truth(run, victim))


# --- T2: an input that comes after its sender was declared dropped ----------------------------------------------------


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
def test_a_late_input_stays_hidden(monkeypatch: pytest.MonkeyPatch, threat_model: ThreatModel) -> None:
    """The victim's mask key is rebuilt because it "dropped"; then its input comes in. Only b still covers it."""

    def play(run: Run) -> Adversary:
        adversary = Adversary(run)
        adversary.collect_inputs()
        adversary.unmask(dict.fromkeys(OTHERS, adversary.sets(OTHERS)))
        return adversary

    config = make_config(7, threat_model)
    with monkeypatch.context() as patch:
        masks = AwaitingShares._masks
        patch.setattr(AwaitingShares, "_masks", lambda self, delivery: masks(self, delivery)[1:])
        run = start(config)
        stolen = play(run).expose(VICTIM, NAMES, self_mask=False)
        assert stolen is not None
        assert np.array_equal(stolen, truth(run, VICTIM))
    run = start(config)
    adversary = play(run)
    assert all(adversary.pairwise(VICTIM, name) for name in OTHERS)  # the pairwise masks are gone indeed
    stripped = adversary.expose(VICTIM, NAMES, self_mask=False)
    assert stripped is not None
    assert not np.any(stripped == truth(run, VICTIM))
    assert not exposed(adversary, run)


# --- T3: both shares of one participant -------------------------------------------------------------------------------


def remember(patch: pytest.MonkeyPatch) -> None:
    """A participant that can be asked again: after it revealed it is back where it awaits the survivors."""
    receive = Participant.receive
    kept: dict[int, State] = {}

    def receive_again(self: Participant, message: CoordinatorMessage, now: float) -> Reply:
        if isinstance(self._state, AwaitingSurvivors):
            kept[id(self)] = self._state
        reply = receive(self, message, now)
        if isinstance(reply, Unmask):
            self._state = kept[id(self)]
        return reply

    patch.setattr(Participant, "receive", receive_again)


def ask_twice(run: Run) -> Adversary:
    """Unmask honestly, then once more with the victim among the dropped."""
    adversary = Adversary(run)
    adversary.collect_inputs()
    adversary.unmask(dict.fromkeys(NAMES, adversary.sets(NAMES)))
    adversary.unmask(dict.fromkeys(OTHERS, adversary.sets(OTHERS)))
    return adversary


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
def test_a_second_unmask_request(monkeypatch: pytest.MonkeyPatch, threat_model: ThreatModel) -> None:
    config = make_config(7, threat_model)
    with monkeypatch.context() as patch:
        remember(patch)
        run = start(config)
        assert exposed(ask_twice(run), run)
    run = start(config)
    error = refusal(lambda: ask_twice(run))
    assert isinstance(error, ProtocolViolation)
    assert "second unmask request" in str(error)
    # However often it is asked, and whatever it is asked.
    for message in (SurvivorSet((), ()), ConsistencyProof({}), rosters.assign({})):
        again = refusal(lambda asked=message: run.participants[OTHERS[0]].receive(asked, run.now))  # type: ignore[misc]
        assert "second unmask request" in str(again)


def reveal_both(held: Mapping[Index, SharePair], survivors: SurvivorSet) -> Unmask:
    """A reply that can hold two shares of one owner: those of the dropped stand under the negative index."""
    revealed: dict[Index, RevealedShare] = {i: SelfMaskShare(held[i].self_mask_seed) for i in survivors.survivors}
    return Unmask(revealed | {Index(-i): MaskKeyShare(held[i].mask_key) for i in survivors.dropped})


def test_overlapping_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The victim stands in both sets. Without the check *and* without the union in the reply, both shares come out; the
    union alone already keeps the second one in.
    """

    def play(run: Run) -> Adversary:
        adversary = Adversary(run)
        adversary.collect_inputs()
        both = adversary.sets(NAMES, dropped=[VICTIM])
        adversary.unmask(dict.fromkeys(NAMES, both))
        for owner in [i for i in adversary.key_shares if i < 0]:
            adversary.key_shares[Index(-owner)] |= adversary.key_shares.pop(owner)
        return adversary

    with monkeypatch.context() as patch:
        without_check(patch, AwaitingSurvivors, "check", "C21")
        run = start(make_config(7))
        assert not exposed(play(run), run)
        patch.setattr(states, "reveal", reveal_both)
        run = start(make_config(7))
        assert exposed(play(run), run)
    run = start(make_config(7))
    assert "both survivors and dropped" in str(refusal(lambda: play(run)))
    assert holds_nothing(run, NAMES[0])


def test_every_answer_has_one_share_of_each_owner() -> None:
    run = start(make_config(7))
    adversary = Adversary(run)
    adversary.collect_inputs()
    survivors = NAMES[:5]
    adversary.unmask(dict.fromkeys(survivors, adversary.sets(survivors)))
    assert set(adversary.seed_shares) == set(adversary.indices(survivors))
    assert set(adversary.key_shares) == set(adversary.indices(NAMES[5:]))


# --- sets that no honest coordinator shows ----------------------------------------------------------------------------

FIVE = participant_names(5)
COLLUDERS = FIVE[:2]
LONER = FIVE[2]


def isolate(run: Run, survivors: tuple[int, ...]) -> Adversary:
    """Semi-honest, t = 3: have the victim reveal for sets in which it survives among colluders, all others dropped."""
    adversary = Adversary(run, COLLUDERS)
    adversary.collect_inputs()
    dropped = adversary.sets([LONER, *COLLUDERS]).dropped
    gone = (*dropped, *(i for i in adversary.indices(COLLUDERS) if i not in survivors))
    adversary.ask(LONER, SurvivorSet(tuple(map(Index, survivors)), tuple(sorted(gone))))
    return adversary


@pytest.mark.parametrize(
    ("survivors", "check", "said"),
    [
        ((1, 3), "C24", "survivors are below threshold"),
        ((1, 3, 99), "C22-roster", "not on the roster"),
    ],
)
def test_survivors_below_the_threshold(
    monkeypatch: pytest.MonkeyPatch, survivors: tuple[int, ...], check: str, said: str
) -> None:
    """A "sum" over the victim and one colluder: two colluders' shares and the victim's own make three of
    every secret. That is one colluder more than t − n_C ≥ 2 allows for: this check alone still stops them.
    """
    config = make_config(5, SEMI_HONEST, threshold=3, max_colluding=1)
    with monkeypatch.context() as patch:
        without_check(patch, AwaitingSurvivors, "check", check)
        patch.setattr(CheckedRoster, "claim_sum", lambda *_: None)  # it cannot name somebody who is not on the roster
        run = start(config)
        assert exposed(isolate(run, survivors), run, LONER)
    run = start(config)
    assert said in str(refusal(lambda: isolate(run, survivors)))
    assert holds_nothing(run, LONER)


def test_our_own_input_called_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two colluders hold two shares of each secret; the victim's share of its own mask key would be the third.
    (One colluder more than the round stands.)
    """
    config = make_config(5, SEMI_HONEST, threshold=3, max_colluding=1)

    def play(run: Run) -> Adversary:
        adversary = Adversary(run, COLLUDERS)
        adversary.collect_inputs()
        adversary.ask(FIVE[3], adversary.sets(FIVE))
        others = [name for name in FIVE if name != LONER]
        adversary.ask(LONER, adversary.sets(others))
        return adversary

    with monkeypatch.context() as patch:
        without_check(patch, AwaitingSurvivors, "check", "C23")
        run = start(config)
        assert exposed(play(run), run, LONER)
    run = start(config)
    assert "our own input is called dropped" in str(refusal(lambda: play(run)))
    assert holds_nothing(run, LONER)


@pytest.mark.parametrize("change", ["missing", "added"])
def test_sets_that_do_not_make_up_u2(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Left out of both sets, a participant's b would be revealed for a sum that does not name it."""
    silent = NAMES[6]  # its keys are on the roster, its shares never came
    shared = NAMES[:6]

    def play(run: Run) -> Adversary:
        adversary = Adversary(run)
        for name in shared:
            adversary.ask(name, adversary.roster)
        for name in shared:
            adversary.deliver(name, shared)
        if change == "missing":
            sets = SurvivorSet(adversary.indices(shared[:5]), ())
        else:
            sets = SurvivorSet(adversary.indices([*shared, silent]), ())
        adversary.ask(NAMES[0], sets)
        return adversary

    config = make_config(7, SEMI_HONEST)
    with monkeypatch.context() as patch:
        without_check(patch, AwaitingSurvivors, "check", "C22-shared")
        adversary = play(start(config))
        if change == "missing":
            assert adversary.seed_shares[adversary.index(shared[5])]
    run = start(config)
    assert "not those who shared keys" in str(refusal(lambda: play(run)))
    assert holds_nothing(run, NAMES[0])


# --- T4: different sets to different participants ---------------------------------------------------------------------


def test_a_round_without_consistency_gives_both_shares() -> None:
    """Semi-honest rounds have no consistency check, and t = 4 of 8 is allowed there: half of the participants are told
    that the victim survived, half that it dropped. RoundConfig refuses the same numbers against an active coordinator.
    """
    names = participant_names(8)
    run = start(make_config(8, SEMI_HONEST, threshold=4, max_colluding=0))
    adversary = Adversary(run)
    adversary.collect_inputs()
    others = [name for name in names if name != VICTIM]
    told_survived, told_dropped = [VICTIM, *others[:3]], others[3:]
    adversary.unmask(dict.fromkeys(told_survived, adversary.sets(names)))
    adversary.unmask(dict.fromkeys(told_dropped, adversary.sets(others)))
    assert exposed(adversary, run)
    with pytest.raises(ConfigError, match="raise threshold from 4 to 5 or more"):
        make_config(8, ACTIVE, threshold=4, max_colluding=0)


TEN = participant_names(10)
BRIBED, KEPT, CUT = TEN[:3], TEN[3:5], TEN[5:]


def split_views(adversary: Adversary) -> dict[ParticipantId, SurvivorSet]:
    """n = 10, n_C = 3, t = 7. Each honest participant sees at most three dropped, but in all five are: each by four
    honest participants, whose shares together with the colluders' make seven.
    """
    views = {name: {CUT[(i + 1) % 5], CUT[(i + 2) % 5], CUT[(i + 3) % 5]} for i, name in enumerate(CUT)}
    views |= {KEPT[0]: set(CUT[:3]), KEPT[1]: set(CUT[3:])}
    return {name: adversary.sets(set(TEN) - gone, gone) for name, gone in views.items()}


def play_split_views(run: Run, proof_for: str) -> Adversary:
    adversary = Adversary(run, BRIBED)
    adversary.collect_inputs()
    views = split_views(adversary)
    for name, sets in views.items():
        adversary.sign(name, sets)
    for name, sets in views.items():
        signers = sets.survivors if proof_for == "forged" else (adversary.index(name),)
        adversary.ask(name, ConsistencyProof(dict.fromkeys(signers, adversary.signatures[name, sets])))
    return adversary


@pytest.mark.parametrize(
    ("proof_for", "check", "error"),
    [
        ("nobody else", "C27", ProtocolViolation),
        ("forged", "C28", AuthenticationError),
    ],
)
def test_different_survivors_for_different_participants(
    monkeypatch: pytest.MonkeyPatch, proof_for: str, check: str, error: type[Exception]
) -> None:
    """Without t signatures on one's own sets, the coordinator gets the sum of two honest updates; t = 7
    promises four.
    """
    config = make_config(10)
    assert (config.threshold, config.max_colluding) == (7, 3)
    with monkeypatch.context() as patch:
        without_check(patch, CheckedRoster, "check_signatures", check)
        run = start(config)
        adversary = play_split_views(run, proof_for)
        pair = adversary.sum_over([*KEPT, *BRIBED], CUT)
        assert pair is not None
        assert np.array_equal(pair - true_sum(run, BRIBED), true_sum(run, KEPT))
        assert not any(exposed(adversary, run, name) for name in [*KEPT, *CUT])  # 2t > n + n_C
    run = start(config)
    assert isinstance(refusal(lambda: play_split_views(run, proof_for)), error)
    assert holds_nothing(run, next(iter(split_views(Adversary(start(config))))))


def test_signatures_of_others_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures of participants outside U3 are not taken for survivors'."""

    def play(run: Run) -> Adversary:
        adversary = Adversary(run)
        adversary.collect_inputs()
        survivors = NAMES[:5]
        sets = adversary.sets(survivors)
        for name in survivors[:4]:
            adversary.sign(name, sets)
        message = rosters.survivors_to_sign(adversary.round.context, adversary.roster, sets)
        adversary.signatures[NAMES[6], sets] = run.participants[NAMES[6]].membership.sign(
            message
        )  # a colluder, dropped
        adversary.prove(survivors[0], sets)
        return adversary

    with monkeypatch.context() as patch:
        without_check(patch, CheckedRoster, "check_signatures", "C26")
        assert play(start(make_config(7))).seed_shares
    run = start(make_config(7))
    assert "who are no survivors" in str(refusal(lambda: play(run)))
    assert holds_nothing(run, NAMES[0])


def test_signatures_of_another_round_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """T13: with context and roster left out of what is signed, an old proof for the same indices opens a new round."""

    def play() -> Adversary:
        old, new = Adversary(start(make_config(7), seed=1)), Adversary(start(make_config(7), seed=2))
        sets = old.sets(NAMES)
        for adversary in (old, new):
            adversary.collect_inputs()
            for name in NAMES:
                adversary.sign(name, sets)
        new.signatures = old.signatures
        new.prove(VICTIM, sets)
        return new

    with monkeypatch.context() as patch:
        patch.setattr(rosters, "survivors_to_sign", lambda _context, _roster, sets: repr(sets).encode())
        assert play().seed_shares
    error = refusal(play)
    assert isinstance(error, AuthenticationError)


# --- thresholds -------------------------------------------------------------------------------------------------------


def vote_twice(run: Run) -> Adversary:
    """n = 7, n_C = 2: two disjoint groups of honest participants, with colluders that sign for both."""
    bribed = NAMES[:2]
    adversary = Adversary(run, bribed)
    adversary.collect_inputs()
    honest = [name for name in OTHERS if name not in bribed]
    told_survived, told_dropped = [VICTIM, *honest[:1]], honest[1:]
    views = dict.fromkeys(told_survived, adversary.sets(NAMES)) | dict.fromkeys(told_dropped, adversary.sets(OTHERS))
    for sets in set(views.values()):
        message = rosters.survivors_to_sign(adversary.round.context, adversary.roster, sets)
        for name in bribed:
            adversary.signatures[name, sets] = run.participants[name].membership.sign(message)
    adversary.unmask(views)
    return adversary


def test_an_active_threshold_below_the_safe_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """2t ≤ n + n_C: two sets of survivors can both gather t signatures, and t shares of both kinds come out."""
    with monkeypatch.context() as patch:
        without_check(patch, RoundConfig, "_check_thresholds", "two-majorities")
        run = start(make_config(7, ACTIVE, threshold=4, max_colluding=2))
        assert exposed(vote_twice(run), run)
    with pytest.raises(ConfigError, match="raise threshold from 4 to 5 or more"):
        make_config(7, ACTIVE, threshold=4, max_colluding=2)
    run = start(make_config(7, ACTIVE, threshold=5, max_colluding=2))
    assert isinstance(refusal(lambda: vote_twice(run)), ProtocolViolation)


def test_a_semi_honest_threshold_that_colluders_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """t ≤ n_C: colluders open t shares of every secret without asking anyone for anything. t − n_C ≥ 2 is more."""

    def listen(run: Run) -> Adversary:
        adversary = Adversary(run, NAMES[:3])
        adversary.collect_inputs()
        return adversary

    with monkeypatch.context() as patch:
        without_check(patch, RoundConfig, "_check_thresholds", "honest-updates")
        without_check(patch, Policy, "check", "min-honest")
        run = start(make_config(7, SEMI_HONEST, threshold=3, max_colluding=3))
        assert exposed(listen(run), run)
    with pytest.raises(ConfigError, match="raise threshold to 5 or more"):
        make_config(7, SEMI_HONEST, threshold=3, max_colluding=3)
    run = start(make_config(7, SEMI_HONEST, threshold=5, max_colluding=3))
    assert not exposed(listen(run), run)
