"""T29: a sum that the coordinator hides counts as opened; and a job goes on although it does.

Participants are those of `secagg.tools.simulation` with the client's own memory; the coordinator is one that may lie by
knowing nothing of the past, or an honest one whose rounds fail.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from secagg_client.released_sums.file import Claimed, Entry
from secagg_client.released_sums.memory import Memory, memory_of

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.rng import SeededRng
from secagg.errors import AbortReason, PolicyViolation
from secagg.messages import ConsistencyCheck, EncryptedSum, ParticipantId, SumReport, SurvivorSet, Unmask
from secagg.policy import Policy
from secagg.rounds.releases import Claim, Release, ReleaseMemory, nothing_before
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.tools.simulation.network import Down, Envelope, Hook, Run, Up, pass_on
from tests.encrypted_rounds import BFV, DEALT, JOINT, encrypted_config
from tests.rounds import NOW, SEMI_HONEST, deployment, make_config, random_update, truth

NAMES = participant_names(6)
VICTIM = NAMES[2]
POLICY = Policy()
CONFIGS = {
    "active": make_config(6),
    "semi-honest": make_config(6, SEMI_HONEST),
    "dealt": encrypted_config(BFV, DEALT, 6),
    "joint": encrypted_config(BFV, JOINT, 6),
}
Memories = dict[ParticipantId, Memory]


def fresh(names: Iterable[ParticipantId]) -> Memories:
    return {name: memory_of(None, name) for name in names}


def recalling(memories: Memories, round_id: RoundId, policy: Policy = POLICY) -> Callable[[ParticipantId], Claim]:
    def recall(name: ParticipantId) -> Claim:
        return lambda release: memories[name].claim(round_id, release, policy)

    return recall


def arranged(
    config: RoundConfig,
    names: Sequence[ParticipantId],
    memories: Memories,
    number: int,
    *,
    hook: Hook = pass_on,
    claim: Claim = nothing_before,
) -> Run:
    """A round of these, each with its memory; their updates are always the same."""
    brought = {name: Contribution(random_update(config.schema, int(name[-5:]))) for name in names}
    round_id = RoundId(bytes([number]) * 16)
    recall = recalling(memories, round_id)
    rng = SeededRng(bytes([number]) * 32)
    return set_up(config, brought, rng=rng, now=NOW, deployment=deployment(), hook=hook, recall=recall, claim=claim)


def without(name: ParticipantId) -> list[ParticipantId]:
    return [other for other in NAMES if other != name]


def refusals(run: Run) -> list[PolicyViolation]:
    return [error for error in run.errors.values() if isinstance(error, PolicyViolation)]


def forgetful(patch: pytest.MonkeyPatch) -> None:
    """Take the record of claims away: what is remembered then is what the coordinator admits, nothing here."""
    append = Memory._append

    def forget(self: Memory, entry: Entry) -> None:
        if not isinstance(entry, Claimed):
            append(self, entry)

    patch.setattr(Memory, "_append", forget)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_sum_whose_receipt_never_comes(name: str) -> None:
    """Nobody is told how the first round ended. The second coordinator knows nothing of it."""
    config, memories = CONFIGS[name], fresh(NAMES)
    arranged(config, NAMES, memories, 1).play()
    second = arranged(config, without(VICTIM), memories, 2)
    second.play()
    assert len(refusals(second)) == 5
    assert second.coordinator.aggregate is None
    assert second.coordinator.delivered is None


@pytest.mark.parametrize("name", ["active", "joint"])
def test_without_the_claim_the_difference_is_the_victims_update(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin of the test above: memories that forget what they claimed let the second sum come out."""
    forgetful(monkeypatch)
    config, memories = CONFIGS[name], fresh(NAMES)
    first, second = (arranged(config, names, memories, i) for i, names in enumerate([NAMES, without(VICTIM)]))
    one, other = first.play().aggregate, second.play().aggregate
    assert one is not None
    assert other is not None
    difference = (one.sums - other.sums) * config.fixed_point.step - config.fixed_point.clip
    victims = truth(first, VICTIM) * config.fixed_point.step - config.fixed_point.clip
    assert np.abs(difference - victims)[:-1].max() < 10 * config.fixed_point.step  # all but the roundings of five


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("claims", [True, False])
def test_two_rounds_at_the_same_time(name: str, claims: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second round runs while the first one's survivors are on their way. Twin: without claims both come out."""
    if not claims:
        forgetful(monkeypatch)
    config, memories = CONFIGS[name], fresh(NAMES)
    second = arranged(config, without(VICTIM), memories, 2)

    def meanwhile(envelope: Envelope) -> Iterable[Envelope]:
        shown = isinstance(envelope, Down) and isinstance(envelope.message, SurvivorSet | EncryptedSum)
        if shown and not second.events:
            second.play()
        return (envelope,)

    first = arranged(config, NAMES, memories, 1, hook=meanwhile)
    first.play()
    came_out = [run.coordinator.aggregate or run.coordinator.delivered for run in (first, second)]
    assert (None in came_out) is claims


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_claimed_before_anything_is_signed_or_revealed(name: str) -> None:
    """What answers the survivors leaves only once the memory has them."""
    memories, known = fresh(NAMES), list[bool]()

    def listen(envelope: Envelope) -> Iterable[Envelope]:
        shows_survivors = isinstance(envelope, Down) and isinstance(envelope.message, SurvivorSet | EncryptedSum)
        if isinstance(envelope, Up) and told and not shows_survivors:
            known.append(bool(memories[envelope.participant]._sums.rounds))
        told.update([envelope.participant] if shows_survivors else [])
        return (envelope,)

    told: set[ParticipantId] = set()
    arranged(CONFIGS[name], NAMES, memories, 1, hook=listen).play()
    assert known
    assert all(known)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("checked", [True, False])
def test_a_new_process_is_asked_under_the_same_round_id(
    name: str, checked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new process has a file that knows the first sum. Twin: the second sum would take the place of the first."""
    if not checked:
        monkeypatch.setattr(Memory, "_check_first", lambda *_: None)
    config, sums = CONFIGS[name], []
    for names in (NAMES, without(VICTIM)):
        run = arranged(config, names, {each: memory_of(tmp_path / each, each) for each in names}, 1)
        run.play()
        sums.append(run.coordinator.aggregate or run.coordinator.delivered)
    assert sums[0] is not None
    assert (sums[1] is None) is checked
    assert len(refusals(run)) == (5 if checked else 0)
    known = memory_of(tmp_path / NAMES[0], NAMES[0])
    with known._turn():
        assert [len(release.survivors) for release in known._sums.rounds.values()] == [6 if checked else 5]


def test_what_is_refused_leaves_no_mark() -> None:
    config, memories = CONFIGS["active"], fresh(NAMES)
    arranged(config, NAMES, memories, 1).play()
    arranged(config, without(VICTIM), memories, 2).play()
    assert arranged(config, NAMES, memories, 3).play().aggregate is not None


@pytest.mark.parametrize("name", CONFIGS)
def test_a_sum_is_recorded_with_its_purpose(name: str) -> None:
    config, memories, coordinator = replace(CONFIGS[name], purpose="evaluate"), fresh(NAMES), ReleaseMemory(9)
    arranged(config, NAMES, memories, 1, claim=lambda release: coordinator.claim(RoundId(bytes(16)), release)).play()
    for memory in (coordinator, *(each._sums for each in memories.values())):
        assert [release.purpose for release in memory.rounds.values()] == ["evaluate"]


@pytest.mark.parametrize(("name", "lost"), [("dealt", SumReport), ("joint", ConsistencyCheck), ("active", Unmask)])
def test_what_a_coordinator_takes_for_open(name: str, lost: type) -> None:
    """Who was given the sum under a dealt key can know it without a word. Elsewhere somebody must accept survivors."""

    def silence(envelope: Envelope) -> Iterable[Envelope]:
        return () if isinstance(envelope.message, lost) else (envelope,)

    run = arranged(CONFIGS[name], NAMES, fresh(NAMES), 1, hook=silence)
    run.play()
    assert run.coordinator.failure is not None
    assert run.coordinator.may_be_open is (name != "joint")


# --- a job of ten sites, of which three flap --------------------------------------------------------------------------

TEN = participant_names(10)


class Job:
    """An FL server, its coordinator and ten sites. A round's model stays what it was until a sum comes out."""

    def __init__(self, folder: Path) -> None:
        self.config = make_config(10, threshold=8)
        self.folder = folder
        self.coordinator = ReleaseMemory(200)
        self.memories = {name: memory_of(folder / name, name) for name in TEN}
        self.rounds = 0

    def restart(self, name: ParticipantId, *, memory: bool) -> None:
        self.memories[name] = memory_of(self.folder / name if memory else None, name)

    def round(
        self, names: Sequence[ParticipantId] = TEN, silent: Sequence[ParticipantId] = (), at: type = Unmask
    ) -> Run:
        """Who is admitted takes part; messages of kind `at` of the silent are lost."""
        self.rounds += 1
        round_id = RoundId(bytes([self.rounds]) * 16)
        config = self.config

        def hook(envelope: Envelope) -> Iterable[Envelope]:
            return () if envelope.participant in silent and isinstance(envelope.message, at) else (envelope,)

        def claim(release: Release) -> frozenset[ParticipantId]:
            return self.coordinator.claim(round_id, release)

        admitted = [n for n in names if self.coordinator.admits((config.model_digest, config.purpose), n)]
        run = arranged(config, admitted, self.memories, self.rounds, hook=hook, claim=claim)
        engine = run.play()
        released = engine.aggregate is not None
        self.coordinator.settle(round_id, released=released, may_be_open=engine.may_be_open)
        if released:
            self.config = replace(config, model_digest=bytes([self.rounds]) * 32)
        return run


def reason(run: Run) -> AbortReason | None:
    return run.coordinator.failure.reason if run.coordinator.failure else None


def test_a_job_whose_sites_flap_ends_with_a_model(tmp_path: Path) -> None:
    job, dice = Job(tmp_path), np.random.default_rng(5)
    for number in range(5):
        flapping = [TEN[i] for i in dice.choice(10, 3, replace=False)]
        absent = flapping[:1] if number in {2, 4} else []
        run = job.round([name for name in TEN if name not in absent], flapping)
        # Where one is missing altogether, the sum would show its update: the coordinator ends the round before the
        # survivors are shown to anybody, so it leaves no mark.
        assert reason(run) is (AbortReason.DIFFERENCING if absent else AbortReason.BELOW_THRESHOLD)
        assert not refusals(run)
        for name in flapping:
            job.restart(name, memory=bool(dice.random() < 0.5))
    assert job.round().coordinator.aggregate is not None
    assert job.round(TEN[:9]).coordinator.aggregate is not None  # another model: any cohort may answer


def test_who_came_too_late_for_a_round_that_failed_stands_aside(tmp_path: Path) -> None:
    """Nine were in the round that failed: the tenth would stand out, so it is not admitted until the model changes."""
    job = Job(tmp_path)
    assert reason(job.round(TEN[:9], TEN[:3])) is AbortReason.BELOW_THRESHOLD
    again = job.round()
    assert set(again.participants) == set(TEN[:9])
    assert again.coordinator.aggregate is not None
    assert set(job.round().participants) == set(TEN)


def test_without_admission_the_tenth_ends_every_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin of the test above: a coordinator that admits everybody ends round after round by itself."""
    monkeypatch.setattr(ReleaseMemory, "admits", lambda *_: True)
    job = Job(tmp_path)
    job.round(TEN[:9], TEN[:3])
    assert [reason(job.round()) for _ in range(2)] == [AbortReason.DIFFERENCING] * 2


def test_a_coordinator_that_was_restarted_stays_in_step(tmp_path: Path) -> None:
    """It asks nine of ten, all of whom refuse, so nobody counts that sum; then the ten may be asked again."""
    job = Job(tmp_path)
    job.round(silent=TEN[:3])
    job.coordinator = ReleaseMemory(200)
    run = job.round(TEN[:9])
    assert len(refusals(run)) == 9
    assert "ask exactly those again who were in the earlier one, or ask about another model" in str(refusals(run)[0])
    assert job.round().coordinator.aggregate is not None


def test_a_round_that_ended_before_anybody_accepted_the_survivors_leaves_no_mark(tmp_path: Path) -> None:
    """All signatures are lost. Whoever saw the survivors counts the sum; a coordinator that cannot know does not."""
    job = Job(tmp_path)
    assert not job.round(silent=TEN, at=ConsistencyCheck).coordinator.may_be_open
    assert not job.coordinator.rounds
    assert job.round().coordinator.aggregate is not None


def test_a_site_that_never_comes_back_costs_the_model_not_the_job(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.round(silent=TEN[:3])
    assert reason(job.round(TEN[1:])) is AbortReason.DIFFERENCING
    job.config = replace(job.config, model_digest=bytes([77]) * 32)  # what the error says: ask about another model
    assert job.round(TEN[1:]).coordinator.aggregate is not None


def test_after_rounds_that_share_nobody_the_latest_can_be_asked_again() -> None:
    """Two groups of one round failed, say. Twin: if one had to be in both, nobody could be in any further round."""
    memory = ReleaseMemory(9)
    question = (bytes(32), "train")
    for number, names in enumerate((NAMES[:3], NAMES[3:])):
        round_id, release = RoundId(bytes([number]) * 16), Release(bytes(32), frozenset(names), 3)
        assert not memory.claim(round_id, release)
        memory.settle(round_id, released=False, may_be_open=True)
    assert [memory.admits(question, name) for name in NAMES] == [False] * 3 + [True] * 3
    assert memory.admits((bytes(32), "evaluate"), NAMES[0])
    again = Release(bytes(32), frozenset(NAMES[3:]), 3)
    assert not memory.claim(RoundId(bytes([7]) * 16), again)
    assert not any(all(name in release.survivors for release in memory.rounds.values()) for name in NAMES)


def test_groups_that_are_drawn_anew_show_few() -> None:
    """What PROTOCOL.md says of a round in groups that failed after its survivors were shown."""
    memory = ReleaseMemory(9)
    for number, names in enumerate((NAMES[:3], NAMES[3:])):
        assert not memory.claim(RoundId(bytes([number]) * 16), Release(bytes(32), frozenset(names), 3))
    mixed = Release(bytes(32), frozenset(NAMES[1:4]), 3)
    assert memory.claim(RoundId(bytes([5]) * 16), mixed) in ({NAMES[0]}, set(NAMES[1:3]), {NAMES[3]}, set(NAMES[4:]))
