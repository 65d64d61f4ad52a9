"""Rounds 3 and 4: which shares a participant reveals. The attacks themselves are games of the red team.

See `secagg.tools.redteam.attacks.protocol.unmasking` and `colluders`; here is what a game cannot say.
"""

import pytest

from secagg import roster as rosters
from secagg.config import ThreatModel
from secagg.errors import ConfigError, ProtocolViolation
from secagg.messages import ConsistencyProof, SurvivorSet
from secagg.tools.redteam.adversary import Adversary, exposed
from secagg.tools.redteam.attacks.protocol import GAMES
from secagg.tools.redteam.attacks.protocol.unmasking import CUT, KEPT, show_other_sets
from secagg.tools.redteam.self_test.patches import take_away
from secagg.tools.simulation.cohort import participant_names
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, start
from tests.security.refusals import holds_nothing, refusal

NAMES = participant_names(7)


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
def test_a_second_unmask_request(threat_model: ThreatModel) -> None:
    """However often a participant is asked, and whatever it is asked."""
    run = start(make_config(7, threat_model))
    adversary = Adversary(run)
    adversary.collect_inputs()
    adversary.unmask(dict.fromkeys(NAMES, adversary.sets(NAMES)))
    for message in (SurvivorSet((), ()), ConsistencyProof({}), rosters.assign({})):
        again = refusal(lambda asked=message: run.participants[NAMES[0]].receive(asked, run.now))  # type: ignore[misc]
        assert isinstance(again, ProtocolViolation)
        assert "second unmask request" in str(again)


def test_every_answer_has_one_share_of_each_owner() -> None:
    run = start(make_config(7))
    adversary = Adversary(run)
    adversary.collect_inputs()
    survivors = NAMES[:5]
    adversary.unmask(dict.fromkeys(survivors, adversary.sets(survivors)))
    assert set(adversary.seed_shares) == set(adversary.indices(survivors))
    assert set(adversary.key_shares) == set(adversary.indices(NAMES[5:]))


def test_a_survivor_who_never_shared() -> None:
    """Its keys are on the roster, and its shares never came: nothing could be revealed of it."""
    run = start(make_config(7, SEMI_HONEST))
    adversary, shared = Adversary(run), NAMES[:6]
    for name in shared:
        adversary.ask(name, adversary.roster)
    for name in shared:
        adversary.deliver(name, shared)
    error = refusal(lambda: adversary.ask(NAMES[0], SurvivorSet(adversary.indices(NAMES), ())))
    assert "not those who shared keys" in str(error)
    assert holds_nothing(run, NAMES[0])


def test_without_signatures_on_one_set_still_nobody_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """2t > n + n_C: the sum of two comes out, where t = 7 promises four, and no single update."""
    take_away(monkeypatch, GAMES["two-survivor-sets"].defences)
    config = make_config(10)
    assert (config.threshold, config.max_colluding) == (7, 3)
    run = start(config)
    adversary = show_other_sets(run)
    assert not any(exposed(adversary, run, name) for name in [*KEPT, *CUT])


@pytest.mark.parametrize(
    ("people", "threat_model", "threshold", "colluding", "said"),
    [
        (8, ACTIVE, 4, 0, "raise threshold from 4 to 5 or more"),
        (7, ACTIVE, 4, 2, "raise threshold from 4 to 5 or more"),
        (7, SEMI_HONEST, 3, 3, "raise threshold to 5 or more"),
        (2, SEMI_HONEST, 2, 1, "max_participants must be 3"),
    ],
)
def test_what_would_make_a_configuration_safe_is_said(
    people: int, threat_model: ThreatModel, threshold: int, colluding: int, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        make_config(people, threat_model, threshold=threshold, max_colluding=colluding)
