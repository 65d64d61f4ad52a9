"""Round 1: a roster that is not the one of this round. Substituted and replayed keys are games of the red team.

See `secagg.tools.redteam.attacks.protocol.keys`; the rosters here give the adversary nothing by themselves.
"""

from collections.abc import Callable

import pytest

from secagg import roster as rosters
from secagg.errors import ProtocolViolation
from secagg.messages import Index, Member, ParticipantId, Roster, ShareKeys
from secagg.tools.redteam.adversary import Adversary, Impostor
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, start
from tests.security.refusals import holds_nothing, refusal

NAMES = participant_names(7)
VICTIM = NAMES[3]


def changed(adversary: Adversary, name: ParticipantId) -> Roster:
    Impostor(adversary, [name]).advertise(name)
    return adversary.roster


def without(adversary: Adversary, name: ParticipantId) -> Roster:
    del adversary.advertised[name]
    return rosters.assign(adversary.advertised)


def too_few(adversary: Adversary, name: ParticipantId) -> Roster:
    """Only the victim and two more."""
    keep = {name, NAMES[0], NAMES[1]}
    return rosters.assign({n: k for n, k in adversary.advertised.items() if n in keep})


def renumbered(adversary: Adversary, _: ParticipantId) -> Roster:
    """Shamir shares are points at the index: two rosters with other numbers would give the dealer's
    points away twice.
    """
    n = len(adversary.roster.members)
    return Roster(tuple(Member(Index(n + 1 - m.index), m.participant_id, m.keys) for m in adversary.roster.members))


@pytest.mark.parametrize(
    ("make", "check", "said"),
    [
        (changed, "C10-unchanged", "was changed"),
        (too_few, "C7", "a roster of"),
        (renumbered, "C8-indices", "not 1 to n"),
    ],
)
def test_a_wrong_roster_gets_no_shares(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Adversary, ParticipantId], Roster], check: str, said: str
) -> None:
    """Without the check the victim deals its shares into the wrong cohort; with it nothing leaves.

    That alone recovers nothing: sharing, U2 and U3 have the threshold of their own.
    """
    config = make_config(7, SEMI_HONEST)
    with monkeypatch.context() as patch:
        without_check(patch, rosters, "check", check)
        adversary = Adversary(start(config))
        assert isinstance(adversary.ask(VICTIM, make(adversary, VICTIM)), ShareKeys)
    run = start(config)
    adversary = Adversary(run)
    error = refusal(lambda: adversary.ask(VICTIM, make(adversary, VICTIM)))
    assert isinstance(error, ProtocolViolation)
    assert error.culprit == "coordinator"
    assert said in str(error)
    assert not adversary.shared
    assert holds_nothing(run, VICTIM)


def test_a_roster_without_us_is_refused() -> None:
    adversary = Adversary(start(make_config(7, ACTIVE)))
    error = refusal(lambda: adversary.ask(VICTIM, without(adversary, VICTIM)))
    assert "lacks our own entry" in str(error)
    assert isinstance(error, ProtocolViolation)
