"""A participant's own terms: what the coordinator cannot talk it out of (T6, T10, downgrade)."""

import pytest

from secagg.errors import ConfigError, PolicyViolation
from secagg.policy import Policy
from secagg.sparse.ring import Ring
from secagg.tools.redteam.adversary import Adversary
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, start
from tests.security.refusals import holds_nothing, refusal


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


def test_a_refusal_ends_the_round_for_us() -> None:
    run = start(make_config(7, ACTIVE))
    adversary = Adversary(run)
    del adversary.advertised[SEVEN[0]]
    adversary.advertised[SEVEN[0]] = adversary.advertised[SEVEN[1]]
    adversary.reassign()
    refusal(lambda: adversary.ask(SEVEN[2], adversary.roster))
    assert holds_nothing(run, SEVEN[2])
    assert "not expected now" in str(refusal(lambda: adversary.ask(SEVEN[2], Adversary(start(make_config(7))).roster)))


def test_a_participant_may_demand_the_complete_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members who are corrupted once the ring is known can be few, and a ring's parameters do not count them (T16)."""
    ring = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)
    config = make_config(12, ACTIVE, threshold=6, max_colluding=1, graph=ring)
    lax, strict = Policy(min_colluding_share=0), Policy(min_colluding_share=0, require_complete_graph=True)
    start(config, policy=lax)
    start(make_config(12, ACTIVE), policy=strict)
    with pytest.raises(PolicyViolation, match="share secrets with 6 neighbours on a ring, not with all"):
        start(config, policy=strict)
    without_check(monkeypatch, Policy, "check", "complete-graph")
    start(config, policy=strict)


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
