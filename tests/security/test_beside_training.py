"""Sums of what training reported, beside sums of updates: both hold the weights, and one update belongs to one purpose.

A coordinator that has a participant's weight in one of the two and not in the other subtracts them.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from secagg_client.learning.metrics import Metrics
from secagg_client.learning.purposes import EVALUATION, TRAINING, answerable
from secagg_client.participation.results import Offer

from secagg.config import METRICS, TRAIN, RoundConfig
from secagg.context import RoundId
from secagg.crypto.rng import SeededRng
from secagg.errors import PolicyViolation
from secagg.messages import ParticipantId
from secagg.rounds.releases import Claim, Release, ReleaseMemory, remembering, singled_out
from secagg.tools.redteam.self_test.patches import Patch
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.tools.simulation.network import Run
from tests.rounds import NOW, deployment, make_config, random_update

NAMES = participant_names(7)
OTHERS, VICTIM = NAMES[:6], NAMES[6]
REPORTED = Metrics({"loss": (0.0, 10.0)}, 100)
WEIGHTS = {name: 10 + i for i, name in enumerate(NAMES)}
UPDATES = make_config(7, threshold=5)


def reported(people: int) -> RoundConfig:
    return replace(
        UPDATES, purpose=METRICS, schema=REPORTED.schema, encoding=REPORTED.encoding, max_participants=people
    )


def played(config: RoundConfig, names: list[ParticipantId], recall: Callable[[ParticipantId], Claim]) -> Run:
    update = config.purpose == TRAIN
    brought = {
        name: Contribution(random_update(config.schema, i), WEIGHTS[name])
        if update
        else Contribution(REPORTED.update({"loss": 1.0}, WEIGHTS[name]))
        for i, name in enumerate(names)
    }
    run = set_up(config, brought, rng=SeededRng(bytes(32)), now=NOW, deployment=deployment(), recall=recall)
    run.play()
    return run


def weight_of_the_victim() -> tuple[int | None, Run]:
    """What a coordinator without a memory of its own has: everyone's weights, less those of the others."""
    memories = {name: ReleaseMemory(10) for name in NAMES}

    def recalling(number: int) -> Callable[[ParticipantId], Claim]:
        round_id = RoundId(bytes([number]) * 16)
        return lambda name: lambda release: memories[name].claim(round_id, release)

    everyone = played(UPDATES, NAMES, recalling(1)).coordinator.aggregate
    assert everyone is not None
    run = played(reported(6), OTHERS, recalling(2))
    found = run.coordinator.aggregate
    if found is None:
        return None, run
    weights = found.totals(run.coordinator.round.config).arrays["weight"]
    return int(everyone.mean(UPDATES).weight - weights), run


def test_nobody_reports_in_a_cohort_that_differs_by_one_from_that_of_the_updates() -> None:
    weight, run = weight_of_the_victim()
    assert weight is None
    assert {type(error) for error in run.errors.values()} >= {PolicyViolation}
    assert any("would show the updates of 1 participants alone" in str(error) for error in run.errors.values())


def test_if_the_two_were_remembered_apart_the_weight_of_one_would_show() -> None:
    with Patch() as patch:
        patch.setattr(Release, "numbers", Release.question)
        weight, _ = weight_of_the_victim()
    assert weight == WEIGHTS[VICTIM]


def test_the_same_cohort_reports_beside_its_updates() -> None:
    cohort = frozenset(NAMES)
    memory = ReleaseMemory(10)
    for number, purpose in enumerate((TRAIN, METRICS)):
        assert not memory.claim(RoundId(bytes([number]) * 16), Release(bytes(32), cohort, 5, purpose))


@pytest.mark.parametrize(("before", "now"), [(TRAIN, METRICS), (METRICS, TRAIN)])
def test_each_is_compared_with_the_other_and_an_evaluation_with_neither(before: str, now: str) -> None:
    claim = remembering(Release(bytes(32), frozenset(NAMES), 5, before))
    assert claim(Release(bytes(32), frozenset(OTHERS), 5, now)) == {VICTIM}
    assert not claim(Release(bytes(32), frozenset(OTHERS), 5, "evaluate"))


def test_what_groups_reported_may_be_summed_over_all_of_them() -> None:
    """The weights of a group are known from its own sum; nothing else of the two can be combined."""
    groups = [Release(bytes(32), frozenset(NAMES[i : i + 3]), 3) for i in (0, 3)]
    whole = Release(bytes(32), frozenset(OTHERS), 5, METRICS)
    assert not remembering(*groups)(whole)
    assert not remembering(groups[0])(whole)  # as one of its members sees it
    assert remembering(*groups)(replace(whole, survivors=frozenset(OTHERS[1:]))) == {OTHERS[0]}
    assert remembering(*groups)(replace(whole, survivors=frozenset(NAMES))) == {VICTIM}
    assert remembering(whole)(replace(whole, survivors=frozenset(NAMES))) == {VICTIM}


def test_sums_of_one_purpose_need_the_larger_threshold_whatever_another_one_needs() -> None:
    cohort, part = frozenset(NAMES), frozenset(NAMES[:3])
    together = [Release(bytes(32), cohort, 5, METRICS), Release(bytes(32), part, 3, METRICS)]
    assert singled_out(together) == part
    assert singled_out([*together, Release(bytes(32), part, 3, TRAIN)]) == part


def test_what_was_computed_for_one_purpose_is_put_into_rounds_of_that_purpose_alone() -> None:
    """Else one update, summed for `train` and for a purpose that a coordinator made up, gives two sums."""
    made_up = ("train", "metrics", "clip", "evaluate", "train2", "")
    offers = [
        Offer(RoundId(bytes([i]) * 16), replace(UPDATES, purpose=purpose or "x"), b"")
        for i, purpose in enumerate(made_up)
    ]
    assert [offer.config.purpose for offer in answerable(offers, TRAINING)] == ["train", "metrics", "clip"]
    assert [offer.config.purpose for offer in answerable(offers, EVALUATION)] == ["evaluate"]
    assert not np.intersect1d(list(TRAINING), list(EVALUATION)).size
