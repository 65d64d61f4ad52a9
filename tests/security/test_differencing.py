"""T10: sums of one model, taken together, show nobody: no combination holds fewer updates than a sum may."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.rng import SeededRng
from secagg.errors import AbortReason, PolicyViolation, RoundAborted
from secagg.events import PhaseStarted
from secagg.messages import INPUT_PHASES, EncryptedInputChunk, MaskedInputChunk, ParticipantId
from secagg.policy import Policy
from secagg.rounds import releases
from secagg.rounds.releases import Release, ReleaseMemory, remembering, singled_out
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.tools.simulation.network import Envelope, Hook, Run, pass_on
from tests.encrypted_rounds import BFV, DEALT, JOINT, encrypted_config
from tests.rounds import NOW, SEMI_HONEST, deployment, make_config, random_update
from tests.serving import NAMES as PEOPLE
from tests.serving import PATIENCE_S, Stage, stage
from tests.serving import make_config as served_config
from tests.taking_part import client, in_thread, lenient, take_part, update_of

CROWD = [ParticipantId(f"p{i:02d}") for i in range(12)]
DIGEST = bytes(32)


def release(names: Iterable[ParticipantId], threshold: int = 3) -> Release:
    return Release(DIGEST, frozenset(names), threshold)


@st.composite
def histories(draw: st.DrawFn) -> list[Release]:
    """Cohorts as they come, admitted one by one as a coordinator does."""
    admitted: list[Release] = []
    for _ in range(draw(st.integers(1, 5))):
        cohort = draw(st.one_of(st.sets(st.sampled_from(CROWD), min_size=3), st.sampled_from(BLOCKS)))
        candidate = release(cohort, draw(st.integers(3, len(cohort))))
        if not singled_out([candidate, *admitted]):
            admitted.append(candidate)
    return admitted


BLOCKS = [set(CROWD[:4]), set(CROWD[4:8]), set(CROWD[8:]), set(CROWD[:8]), set(CROWD[4:]), set(CROWD)]


@given(histories(), st.lists(st.integers(-3, 3), min_size=5, max_size=5))
def test_no_combination_of_admitted_sums_holds_few(admitted: list[Release], factors: list[int]) -> None:
    held = {
        name: sum(factor for factor, each in zip(factors, admitted, strict=False) if name in each.survivors)
        for name in CROWD
    }
    alone = {name for name, factor in held.items() if factor}
    thresholds = [each.threshold for each in admitted if alone & each.survivors]
    assert not alone or len(alone) >= max(thresholds)


def test_the_largest_threshold_of_the_sums_that_somebody_is_in_counts() -> None:
    """Whoever agreed to be summed with six is not shown among five because another round asked for three."""
    strict, lax = release(CROWD[:11], 6), release([*CROWD[:5], CROWD[11], *NEWCOMERS], 3)
    assert singled_out([strict, lax]) == set(CROWD[:5])
    assert singled_out([replace(strict, threshold=5), lax]) == frozenset()


NEWCOMERS = [ParticipantId("q00"), ParticipantId("q01")]


def test_comparing_pairs_would_not_do() -> None:
    """Twin: of these three no two differ by fewer than three, and together they show one."""
    everyone, some, others = release(CROWD[:9]), release(CROWD[:5]), release(CROWD[5:8])
    for one, two in combinations((everyone, some, others), 2):
        differences = one.survivors - two.survivors, two.survivors - one.survivors
        assert all(len(names) == 0 or len(names) >= 3 for names in differences)
    assert everyone.survivors - some.survivors - others.survivors == {CROWD[8]}
    assert singled_out([everyone, some, others]) == {CROWD[8]}


def test_the_same_cohort_again_and_another_that_shares_nobody() -> None:
    assert not singled_out([])
    assert not singled_out([release(CROWD[:6]), release(CROWD[:6], 5), release(CROWD[6:])])
    assert singled_out([release(CROWD[:6]), release(CROWD[1:6])]) == {CROWD[0]}
    # A cell is held to the threshold of the sums that it is in, not to that of others.
    assert not singled_out([release(CROWD[:8], 8), release(CROWD[8:11], 3)])


def test_the_memory_knows_models_rounds_and_its_limit() -> None:
    memory, first, second = ReleaseMemory(2), RoundId(b"1" * 16), RoundId(b"2" * 16)
    one, two = release(CROWD[:6]), release(CROWD[:5])
    assert not memory.claim(first, one)
    assert not memory.claim(first, one)  # a coordinator that plays its journal again
    assert memory.claim(second, two) == {CROWD[5]}
    assert list(memory.rounds) == [first]  # what was refused leaves no mark
    assert not memory.claim(second, one)  # the same cohort again
    for other in (replace(two, model_digest=b"\1" * 32), replace(two, purpose="evaluate")):
        assert not memory.claim(RoundId(b"3" * 16), other)  # other questions
    assert not memory.claim(RoundId(b"4" * 16), replace(two, purpose="another"))
    assert first not in memory.rounds  # the oldest was forgotten
    assert second not in memory.rounds


def test_a_memory_of_large_cohorts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "MAX_NAMES", 12)
    memory = ReleaseMemory(1000)
    for number in range(5):
        memory.record(RoundId(bytes([number]) * 16), release(CROWD[:5]))
    assert [round_id[0] for round_id in memory.rounds] == [3, 4]
    memory.record(RoundId(bytes(16)), release([*CROWD, ParticipantId("q")]))
    assert list(memory.rounds) == [RoundId(bytes(16))]


@pytest.mark.parametrize(("released", "may_be_open"), [(True, True), (False, True), (False, False)])
def test_what_a_coordinator_remembers_of_a_round_that_is_over(released: bool, may_be_open: bool) -> None:
    """A claim is void only if nobody can have opened the sum. After a failure only who was in it is admitted."""
    memory, first = ReleaseMemory(9), RoundId(b"1" * 16)
    everyone = release(CROWD[:6])
    assert not memory.claim(first, everyone)
    memory.settle(first, released=released, may_be_open=may_be_open)
    counts = released or may_be_open
    assert bool(memory.claim(RoundId(b"2" * 16), release(CROWD[:5]))) is counts
    assert memory.admits(everyone.question, CROWD[6]) is (released or not may_be_open)
    assert memory.admits(everyone.question, CROWD[5])
    assert memory.admits((DIGEST, "evaluate"), CROWD[6])
    again = RoundId(b"3" * 16)
    if counts:
        assert not memory.claim(again, everyone)
        memory.settle(again, released=True, may_be_open=True)
        assert memory.admits(everyone.question, CROWD[6])  # the sum is out: there is nothing to ask again


VICTIM = participant_names(6)[2]


def without_victim(envelope: Envelope) -> tuple[Envelope, ...]:
    lost = isinstance(envelope.message, MaskedInputChunk | EncryptedInputChunk)
    return () if envelope.participant == VICTIM and lost else (envelope,)


def played(config: RoundConfig, **memories: Any) -> Run:
    """A round of six, everybody's update as always; without the victim where somebody remembers another."""
    names = participant_names(config.max_participants)
    brought = {name: Contribution(random_update(config.schema, i)) for i, name in enumerate(names)}
    hook: Hook = without_victim if memories else pass_on
    rng = SeededRng(bytes(32))
    run = set_up(config, brought, rng=rng, now=NOW, deployment=deployment(), hook=hook, **memories)
    run.play()
    return run


def with_everybody(config: RoundConfig) -> Release:
    return Release(config.model_digest, frozenset(participant_names(6)), config.threshold)


CONFIGS = {
    "active": make_config(6),
    "semi-honest": make_config(6, SEMI_HONEST),
    "dealt": encrypted_config(BFV, DEALT, 6),
    "joint": encrypted_config(BFV, JOINT, 6),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_second_sum_without_the_victim(name: str) -> None:
    """The coordinator refuses before anybody is told who survived."""
    config = CONFIGS[name]
    run = played(config, claim=remembering(with_everybody(config)))
    failure = run.coordinator.failure
    assert failure is not None
    assert failure.reason is AbortReason.DIFFERENCING
    assert [e.phase for e in run.events if isinstance(e, PhaseStarted)][-1] in INPUT_PHASES


@pytest.mark.parametrize("name", CONFIGS)
def test_participants_remember_what_the_coordinator_forgot(name: str) -> None:
    config = CONFIGS[name]
    run = played(config, recall=lambda _: remembering(with_everybody(config)))
    assert run.coordinator.failure is not None
    refused = [error for error in run.errors.values() if isinstance(error, PolicyViolation)]
    assert len(refused) == 5
    assert "would show the updates of 1 participants alone" in str(refused[0])


async def everyone(s: Stage, config: RoundConfig, names: list[ParticipantId]) -> None:
    """A round of these, by clients of their own."""
    round_id = await s.director.open(config)
    rounds = (take_part(s.server.data_address, n, config, round_id=round_id, policy=lenient(config)) for n in names)
    await asyncio.gather(*rounds)


async def test_a_coordinator_remembers_what_it_released_and_nothing_else(tmp_path: Path) -> None:
    config = served_config(5, threshold=3, threat_model=SEMI_HONEST, deadlines={"advertise_keys_s": 1.0})
    async with stage(tmp_path, keep_finished_rounds=1, max_open_rounds=1) as s:
        aborted = await s.director.open(config)
        await s.director.abort(aborted)
        await everyone(s, config, PEOPLE[:5])
        await everyone(s, config, PEOPLE[:5])  # the same cohort again; the first round is forgotten now, its sum is not
        with pytest.raises(RoundAborted) as refused:
            await everyone(s, config, PEOPLE[:4])
        assert refused.value.reason is AbortReason.DIFFERENCING
        await everyone(s, config, PEOPLE[:5])
        await everyone(s, replace(config, model_digest=b"\1" * 32), PEOPLE[:4])


async def test_a_client_that_gives_its_update_of_a_model_once(tmp_path: Path) -> None:
    """Only a sum that came out counts: a round that ended without one may be had again."""
    config = served_config(3)
    async with stage(tmp_path) as s:
        once = [
            client(s.server.data_address, name, policy=Policy(once_per_model=True, min_colluding_share=0))
            for name in PEOPLE[:3]
        ]

        async def again(round_id: RoundId) -> None:
            given: dict[str, Any] = {"round_id": round_id, "model_digest": config.model_digest, "timeout_s": PATIENCE_S}
            people = zip(once, PEOPLE, strict=False)
            await asyncio.gather(*(in_thread(c.participate, update_of(config, n), **given) for c, n in people))

        first = await s.director.open(config)
        joining = asyncio.create_task(again(first))
        await s.director.abort(first)
        with pytest.raises(RoundAborted):
            await joining
        await again(await s.director.open(config))
        with pytest.raises(PolicyViolation, match="an update of this model is in a released sum already"):
            await again(await s.director.open(config))
        for each in once:
            each.close()
