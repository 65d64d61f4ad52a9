"""A participant's own terms: what the coordinator cannot talk it out of (T6, T10, downgrade)."""

from collections.abc import Collection, Iterable

import numpy as np
import pytest

from secagg.config import RoundConfig
from secagg.crypto.rng import SeededRng
from secagg.errors import ConfigError, PolicyViolation
from secagg.messages import MaskedInputChunk, ParticipantId
from secagg.policy import Policy
from secagg.tools.simulation.cohort import Contribution, Deployment, participant_names, set_up
from secagg.tools.simulation.network import Envelope, Hook
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, make_config, random_update, start, true_sum, truth
from tests.security.adversary import Adversary, holds_nothing, refusal, without_check

NAMES = participant_names(5)
VICTIM = NAMES[4]
COLLUDERS = NAMES[:2]


def keep_out(names: Collection[ParticipantId]) -> Hook:
    """Inputs of `names` never arrive."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        lost = envelope.participant in names and isinstance(envelope.message, MaskedInputChunk)
        return () if lost else (envelope,)

    return hook


def test_a_cohort_below_the_participants_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """T10: t = 3 is allowed, but with two colluders in a sum of three the rest is the victim's update."""
    config = make_config(5, SEMI_HONEST, threshold=3, max_colluding=1)
    policy = Policy(threat_models=frozenset({SEMI_HONEST}), min_cohort=5)
    with monkeypatch.context() as patch:
        without_check(patch, Policy, "check", "min-cohort")
        run = start(config, policy=policy, hook=keep_out(NAMES[2:4]))
        aggregate = run.play().aggregate
        assert aggregate is not None
        assert np.array_equal(aggregate.sums - true_sum(run, COLLUDERS), truth(run, VICTIM))
    # Refused when the participant is made: no key of this round exists yet.
    error = refusal(lambda: start(config, policy=policy))
    assert isinstance(error, PolicyViolation)
    assert "threshold 3 is below the minimum cohort 5" in str(error)


def test_two_of_us_are_no_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum of two shows each of them the other's update, whoever coordinates."""
    with monkeypatch.context() as patch:
        patch.setattr("secagg.config.MIN_COHORT", 2)
        patch.setattr("secagg.config.MIN_HONEST", 1)
        patch.setattr(Policy, "check", lambda *_: None)
        run = start(make_config(2, SEMI_HONEST, threshold=2, max_colluding=1))
        aggregate = run.play().aggregate
        assert aggregate is not None
        assert np.array_equal(aggregate.sums - truth(run, NAMES[0]), truth(run, NAMES[1]))
    with pytest.raises(ConfigError, match="max_participants must be 3"):
        make_config(2, SEMI_HONEST, threshold=2, max_colluding=1)


@pytest.mark.parametrize(
    ("policy", "fragment"),
    [
        (Policy(tasks=frozenset({"another task"})), "task 'digits' is not among"),
        (Policy(threat_models=frozenset({SEMI_HONEST})), "threat model ACTIVE"),
        (Policy(suites=frozenset()), "suite X25519_SHA256_AES128"),
        (Policy(min_colluding_share=0.5), "stands 1 colluding participants, fewer than 2"),
        (Policy(min_cohort=6), "minimum cohort 6"),
        (Policy(require_distributed_noise=True), "no distributed noise"),
    ],
)
def test_what_policy_refuses_by_name(policy: Policy, fragment: str) -> None:
    error = refusal(lambda: start(make_config(5), policy=policy))
    assert isinstance(error, PolicyViolation)
    assert fragment in str(error)
    assert error.culprit == "coordinator"


def test_organisations_can_be_demanded_only_where_they_are_certified() -> None:
    policy = Policy(threat_models=frozenset({SEMI_HONEST}), min_organisations=2)
    assert "certified in the active threat model and in homomorphic rounds only" in str(
        refusal(lambda: start(make_config(5, SEMI_HONEST), policy=policy))
    )


SEVEN = participant_names(7)
SYBILS, ELSEWHERE = SEVEN[:5], SEVEN[5:]


def one_organisation(config: RoundConfig) -> Adversary:
    """Five of seven belong to one organisation; together they reach t = 5."""
    deployment = Deployment.create({name: "north" if name in SYBILS else "south" for name in SEVEN}, NOW)
    brought = {name: Contribution(random_update(config.schema, i)) for i, name in enumerate(SEVEN)}
    policy = Policy(min_organisations=2)
    run = set_up(config, brought, rng=SeededRng(bytes(32)), now=NOW, deployment=deployment, policy=policy)
    return Adversary(run)


@pytest.mark.parametrize("stage", ["roster", "survivors"])
def test_sybils_of_one_organisation(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """T6: one organisation fills the cohort, or what is left of it once the others are cut off."""

    def play() -> Adversary:
        adversary = one_organisation(make_config(7))
        if stage == "roster":
            for name in ELSEWHERE:
                del adversary.advertised[name]
            adversary.reassign()
            for name in SYBILS:
                adversary.ask(name, adversary.roster)
        else:
            adversary.collect_inputs()
            adversary.unmask(dict.fromkeys(SYBILS, adversary.sets(SYBILS)))
        return adversary

    with monkeypatch.context() as patch:
        without_check(patch, Policy, "check_organisations", "C14")
        adversary = play()
        assert adversary.shared if stage == "roster" else adversary.sum_over(SYBILS, ELSEWHERE) is not None
    error = refusal(play)
    assert isinstance(error, PolicyViolation)
    assert "1 organisations are below the minimum 2" in str(error)


def test_a_refusal_ends_the_round_for_us() -> None:
    run = start(make_config(7, ACTIVE))
    adversary = Adversary(run)
    del adversary.advertised[SEVEN[0]]
    adversary.advertised[SEVEN[0]] = adversary.advertised[SEVEN[1]]
    adversary.reassign()
    refusal(lambda: adversary.ask(SEVEN[2], adversary.roster))
    assert holds_nothing(run, SEVEN[2])
    assert "not expected now" in str(refusal(lambda: adversary.ask(SEVEN[2], Adversary(start(make_config(7))).roster)))


def test_a_coordinator_cannot_talk_collusion_down() -> None:
    """With n_C = 0 a bare majority is a legal threshold; one colluder then gets past it. The default policy refuses."""
    config = make_config(7, ACTIVE, threshold=4, max_colluding=0)
    start(config, policy=Policy(min_colluding_share=0.0))
    with pytest.raises(PolicyViolation, match="stands 0 colluding participants, fewer than 2"):
        start(config, policy=Policy())


@pytest.mark.parametrize(
    ("share", "people", "demanded"), [(0.29, 100, 29), (0.57, 100, 57), (0.07, 100, 7), (0.3, 10, 3), (1 / 3, 9, 2)]
)
def test_a_demanded_share_is_counted_exactly(share: float, people: int, demanded: int) -> None:
    """0.29 * 100 is 28.999… in floating point, and one colluder more than the participant believes."""
    policy = Policy(min_colluding_share=share, threat_models=frozenset({SEMI_HONEST}))
    policy.check(make_config(people, SEMI_HONEST, threshold=people, max_colluding=demanded))
    with pytest.raises(PolicyViolation, match=f"stands {demanded - 1} colluding participants, fewer than {demanded}"):
        policy.check(make_config(people, SEMI_HONEST, threshold=people, max_colluding=demanded - 1))


def test_a_policy_counts_updates_of_those_who_do_not_collude() -> None:
    config = make_config(9, ACTIVE)  # t = 7, n_C = 2
    Policy(min_honest=5).check(config)
    with pytest.raises(PolicyViolation, match="a sum may hold 5 updates of participants that do not collude"):
        Policy(min_honest=6).check(config)
    for share, honest in ((-0.1, 2), (1.1, 2), (float("nan"), 2), (0.3, 1)):
        with pytest.raises(ConfigError):
            Policy(min_colluding_share=share, min_honest=honest)
