"""The coordinator's process ends after every step that becomes safe, and in the middle of it; the next one goes on."""

import asyncio
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from secagg_server.observability.facts import Fact, RoundLost
from secagg_server.rounds.grouped import OpenedRound
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.journalled import JournalledEngine
from secagg_server.rounds.suspension import Suspended
from secagg_server.storage.records import Aborted, DeadlinePassed, UploadCompleted, WrongShareRefused

from secagg.config import Suite
from secagg.context import RoundId
from secagg.encoding import packing
from secagg.encoding.pipeline import Pipeline
from secagg.errors import AbortReason, MissingExtraError, RoundAborted
from secagg.events import WrongShares
from secagg.messages import Phase
from secagg.robust.grouping import Groups
from secagg.rounds.releases import Release, ReleaseMemory
from secagg.sparse.ring import Ring
from secagg.tools.simulation.cohort import participant_names
from tests.encrypted_rounds import BFV, CKKS, DEALT, JOINT, encrypted_config, short_chunks
from tests.restarting import ROUND, Death, Player, SafeRound, Scenario, World
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, flat_schema, make_config

STRIDE = int(os.environ.get("SECAGG_EVERY_DEATH", "9"))
"""Steps between two deaths, in rounds that take long; 1 tries every step."""

PEOPLE = tuple(participant_names(4))
FIRST, SECOND, THIRD, FOURTH = PEOPLE
DISTRIBUTED = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0)")
CENTRAL = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0, by=coordinator)")

ACTIVE_ROUND = make_config(4, ACTIVE, threshold=3, max_colluding=0)
LONG_ROUND = make_config(4, ACTIVE, threshold=3, max_colluding=0, schema=flat_schema(300))
"""Of vectors with three chunks."""

NOISY = make_config(4, SEMI_HONEST, threshold=3, max_colluding=0, encoding=CENTRAL)
CERTIFIED = replace(ACTIVE_ROUND, certify=True, deadlines=replace(ACTIVE_ROUND.deadlines, consistency_check_s=1.0))
MASKED = [
    Scenario("semi-honest", make_config(4, SEMI_HONEST, threshold=3, max_colluding=0), PEOPLE),
    Scenario("active", ACTIVE_ROUND, PEOPLE, leaves=(FOURTH, Phase.CONSISTENCY_CHECK)),
    Scenario("half-a-vector", LONG_ROUND, PEOPLE, silent=(SECOND, Phase.MASKED_INPUT), expects=True),
    Scenario("certified", CERTIFIED, PEOPLE),
    Scenario("central-noise", NOISY, PEOPLE, one_sum=True),
    Scenario(
        "below-threshold",
        make_config(3, SEMI_HONEST, threshold=3, max_colluding=0, encoding=DISTRIBUTED),
        PEOPLE[:3],
        leaves=(FIRST, Phase.UNMASK),
    ),
]
GROUPED = Scenario(
    "groups",
    replace(make_config(3, SEMI_HONEST, threshold=3, max_colluding=0), groups=Groups.parse(3, "mean")),
    tuple(participant_names(9)),
)
RING = Scenario(
    "ring",
    make_config(
        7,
        ACTIVE,
        threshold=5,
        max_colluding=0,
        certify=True,
        graph=Ring(degree=4, neighbour_threshold=4, committee=5, committee_threshold=3, min_participants=7),
    ),
    tuple(participant_names(7)),
    silent=(participant_names(7)[1], Phase.MASKED_INPUT),
)
ENCRYPTED = [
    Scenario("bfv-dealt", encrypted_config(BFV, DEALT, 4), PEOPLE, silent=(SECOND, Phase.ENCRYPTED_INPUT)),
    Scenario("bfv-joint", encrypted_config(BFV, JOINT, 4), PEOPLE, silent=(SECOND, Phase.PARTIAL_DECRYPTION)),
    Scenario("ckks-dealt", encrypted_config(CKKS, DEALT, 4, release_to_coordinator=False), PEOPLE),
    Scenario("ckks-joint", encrypted_config(CKKS, JOINT, 4), PEOPLE, leaves=(SECOND, Phase.PARTIAL_DECRYPTION)),
]


async def every_death(scenario: Scenario, death: Death, folder: Path, *, jump_s: float = 0.0, stride: int = 1) -> None:
    """The process ends at each of its steps in turn; the next one comes to the end."""
    whole = World(scenario, folder)
    assert await whole.live()
    has_sum = whole.check_end()
    for step in range(1, whole.life.steps + 1, stride):
        world = World(scenario, folder)
        assert not await world.live(step, death)
        world.now += jump_s
        assert await world.live(), f"after step {step}"
        assert world.check_end() == has_sum, f"after step {step}"
        if scenario.one_sum and world.seed == whole.seed:  # else the round was opened again
            assert world.digest == whole.digest, f"another sum after step {step}"


@pytest.mark.parametrize("death", Death)
@pytest.mark.parametrize("scenario", MASKED, ids=lambda scenario: scenario.name)
async def test_a_process_that_ends_anywhere_is_continued(
    monkeypatch: pytest.MonkeyPatch, scenario: Scenario, death: Death, tmp_path: Path
) -> None:
    monkeypatch.setattr(packing, "CHUNK_BYTES", 256)
    await every_death(scenario, death, tmp_path)


@pytest.mark.parametrize("scenario", [GROUPED, RING, *ENCRYPTED], ids=lambda scenario: scenario.name)
async def test_every_scheme_and_groups_are_continued(
    monkeypatch: pytest.MonkeyPatch, scenario: Scenario, tmp_path: Path
) -> None:
    if scenario in {GROUPED, RING}:
        await every_death(scenario, Death.BEFORE, tmp_path, stride=1 if scenario is GROUPED else STRIDE)
        return
    short_chunks(monkeypatch)
    await every_death(scenario, Death.BEFORE, tmp_path, stride=STRIDE)


@pytest.mark.parametrize("death", [Death.BEFORE, Death.AFTER])
async def test_a_process_that_ends_while_it_takes_up_a_round_is_continued(tmp_path: Path, death: Death) -> None:
    scenario = MASKED[1]
    whole = World(scenario, tmp_path)
    assert await whole.live()
    for step in range(2, whole.life.steps + 1, 3):
        for again in (1, 2, 3):
            world = World(scenario, tmp_path)
            assert not await world.live(step, Death.AFTER)
            if not await world.live(again, death):
                assert await world.live()
            assert world.check_end()


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
async def test_a_clock_that_jumped_meanwhile_takes_nobodys_time(tmp_path: Path, jump_s: float) -> None:
    await every_death(MASKED[0], Death.AFTER, tmp_path, jump_s=jump_s)


@pytest.mark.parametrize("death", [Death.BEFORE, Death.AFTER])
@pytest.mark.parametrize("scenario", [MASKED[2], MASKED[3]], ids=lambda scenario: scenario.name)
async def test_rounds_in_a_state_folder_are_continued(
    monkeypatch: pytest.MonkeyPatch, scenario: Scenario, death: Death, tmp_path: Path
) -> None:
    monkeypatch.setattr(packing, "CHUNK_BYTES", 256)
    whole = World(scenario, tmp_path, state=tmp_path / "whole")
    assert await whole.live()
    for step in range(1, whole.life.steps + 1, 3):
        world = World(scenario, tmp_path, state=tmp_path / f"state-{step}")
        assert not await world.live(step, death)
        assert await world.live(), f"after step {step}"
        assert world.check_end(), f"after step {step}"


async def stopped(folder: Path, step: int, scenario: Scenario = MASKED[1]) -> World:
    """A round whose process ended after this step."""
    world = World(scenario, folder)
    assert not await world.live(step, Death.AFTER)
    return world


async def test_a_journal_that_does_not_fit_together_fails_by_name_and_others_go_on(tmp_path: Path) -> None:
    heard: list[Fact] = []
    world = await stopped(tmp_path, 3)
    world.add_listener(heard.append)
    kept = world.safe.rounds[ROUND]
    kept.entries = (DeadlinePassed(NOW), *kept.entries, *kept.entries)
    other = RoundId(bytes(16))
    world.safe.rounds[other] = SafeRound(replace(kept.record, round_id=other))
    assert await world.live()
    assert isinstance(world.rounds.find(ROUND).outcome, RoundAborted)
    assert world.rounds.find(ROUND).outcome.reason is AbortReason.INTERNAL  # type: ignore[union-attr]
    assert world.rounds.find(other).phase is Phase.ADVERTISE_KEYS
    assert [fact.round_id for fact in heard if isinstance(fact, RoundLost)] == [ROUND]
    assert world.safe.rounds[ROUND].broken_off  # no later process tries it again
    assert await world.live()
    assert isinstance(world.rounds.find(ROUND).outcome, RoundAborted)


async def test_a_process_without_the_suite_of_a_round_does_not_start_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    aegis = replace(ACTIVE_ROUND, suite=Suite.X25519_SHA256_AEGIS128X4)
    world = await stopped(tmp_path, 6, Scenario("aegis", aegis, PEOPLE))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "aeg.aegis128x4", None)  # importing it fails
        with pytest.raises(MissingExtraError, match="needs the extra fast"):
            await world.live()
    assert await world.live()
    assert world.check_end()


async def test_a_round_whose_chunks_are_missing_gives_no_sum(tmp_path: Path) -> None:
    world = World(MASKED[1], tmp_path)
    whole = World(MASKED[1], tmp_path)
    await whole.live()
    for step in range(1, whole.life.steps):
        world = await stopped(tmp_path, step)
        kept = world.safe.rounds[ROUND]
        if any(isinstance(entry, UploadCompleted) for entry in kept.entries) and kept.ended is None:
            break
    kept.chunks = {}
    assert await world.live()
    assert not world.check_end()


async def test_a_round_that_nobody_was_told_of_is_forgotten_and_can_be_opened_again(tmp_path: Path) -> None:
    """Its cost was not planned yet: the id is free, and the next opening plans it."""
    world = await stopped(tmp_path, 1, MASKED[4])
    assert list(world.safe.rounds) == [ROUND]
    assert not world.safe.ledgers
    assert await world.live()
    assert world.check_end()


@pytest.mark.parametrize("scenario", [MASKED[3], GROUPED, ENCRYPTED[2]], ids=lambda scenario: scenario.name)
async def test_a_round_that_is_over_answers_the_next_process_as_before(scenario: Scenario, tmp_path: Path) -> None:
    world = World(scenario, tmp_path)
    assert await world.live()
    before = world.opened
    assert before is not None
    for player in world.players:
        player.forget_the_end()
    world.players[-1].signs = False  # it has all signatures; the others get them, too
    assert await world.live()  # and `tell` compares every answer, receipts and signatures with those before
    assert world.opened is not before
    assert world.check_end()
    assert world.opened is not None
    assert [event for _, event in world.opened.events] == [event for _, event in before.events]


@pytest.mark.parametrize("named", [True, False])
async def test_a_group_that_is_lost_fails_alone(tmp_path: Path, named: bool) -> None:
    """The round has the sums of the other groups, before the end and after it."""
    for step in (6, 0):
        world = World(replace(GROUPED, config=replace(GROUPED.config, groups=Groups.parse(3, "mean"))), tmp_path)
        assert await world.live(step, Death.AFTER) == (step == 0)
        second = list(world.safe.rounds)[2]
        if named:
            world.safe.rounds[second].broken_off = True
        else:
            del world.safe.rounds[second]
        for player in world.players:
            player.forget_the_end()
        world.told = {place: told for place, told in world.told.items() if place[0] != second}
        assert await world.live()
        assert isinstance(world.rounds.find(second).outcome, RoundAborted)
        assert world.check_end() == (step > 0)


async def test_an_orderly_stop_suspends_rounds_and_aborts_none(tmp_path: Path) -> None:
    world = await stopped(tmp_path, 3)
    await world.begin()
    assert world.opened is not None
    waiting = [asyncio.create_task(world.opened.released()), asyncio.create_task(all_events(world.opened))]
    await asyncio.sleep(0)
    await world.rounds.shut_down()
    for task in waiting:
        with pytest.raises(Suspended):
            await task
    with pytest.raises(Suspended):
        await world.opened.abort(AbortReason.CANCELLED, "too late")
    with pytest.raises(Suspended):
        await world.rounds.open(os.urandom(16), b"")
    assert world.opened.outcome is None
    assert not any(isinstance(entry, Aborted) for entry in world.safe.rounds[ROUND].entries)
    assert await world.live()
    assert world.check_end()


class Watched:
    """What the FL server was told of a round, in all lives of the coordinator together."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.changed = False

    async def look(self, opened: OpenedRound) -> None:
        """Ask for everything that happened, as far as it is told now."""
        events, now = opened.watch(), list[object]()
        with suppress(StopAsyncIteration):
            while True:
                asked = asyncio.ensure_future(anext(events))
                await asyncio.sleep(0)
                if not asked.done():
                    asked.cancel()
                    break
                now += asked.result()
        common = min(len(now), len(self.told))
        self.changed = self.changed or now[:common] != self.told[:common]
        self.told = max(now, self.told, key=len)


async def watched(monkeypatch: pytest.MonkeyPatch, folder: Path) -> bool:
    """Whether other events were told after a death than before it."""
    seen = Watched()
    speak = Player.speak

    async def speak_and_look(player: Player, hosted: HostedRound) -> bool:
        done = await speak(player, hosted)
        await seen.look(hosted)
        return done

    monkeypatch.setattr(Player, "speak", speak_and_look)
    whole = World(MASKED[1], folder)
    assert await whole.live()
    changed, most = False, 0
    for step in range(1, whole.life.steps + 1):
        seen.told, seen.changed = [], False
        world = World(MASKED[1], folder)
        assert not await world.live(step, Death.BEFORE)
        world.now += 1.0
        assert await world.live()
        changed, most = changed or seen.changed, max(most, len(seen.told))
    assert most > 10
    return changed


async def test_what_was_told_of_a_round_is_told_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not await watched(monkeypatch, tmp_path)


async def test_what_is_told_before_it_is_safe_may_not_happen_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The twin: messages that merely wait are told as they come."""
    monkeypatch.setattr(JournalledEngine, "safe", property(lambda _: True))
    assert await watched(monkeypatch, tmp_path)


async def all_events(opened: OpenedRound) -> object:
    return [event async for together in opened.watch() for event in together]


@pytest.mark.parametrize("breaks_off", [True, False])
async def test_a_disk_that_refuses_gives_no_second_story(tmp_path: Path, breaks_off: bool) -> None:
    """The engine has moved on and the flush failed. Either the round failed for good, or nobody was told anything."""
    world = World(MASKED[1], tmp_path)
    world.refuse(from_flush=3, breaks_off=breaks_off)
    if breaks_off:
        assert await world.live()
        assert not world.check_end()
        world.refuse(from_flush=0)
        assert await world.live()
        assert not world.check_end()
        return
    with pytest.raises(Suspended):
        await world.live()
    assert world.opened is not None
    assert world.opened.outcome is None
    world.refuse(from_flush=0)
    assert await world.live()
    assert world.check_end()


def test_the_claim_that_is_on_record_is_granted_again() -> None:
    """A round that is built again claims again, though other rounds have claimed since."""
    memory = ReleaseMemory(10)
    ours, theirs = (Release(bytes(32), frozenset(names), 3) for names in (PEOPLE, PEOPLE[:3]))
    assert not memory.claim(ROUND, ours)
    memory.record(RoundId(bytes(16)), theirs)
    assert memory.claim(RoundId(bytes([1]) * 16), ours)
    assert not memory.claim(ROUND, ours)


async def test_what_a_participant_was_refused_for_is_known_to_the_next_process(tmp_path: Path) -> None:
    """A holder that reveals another share than it was dealt is named, whichever process hears the rest."""
    world = World(MASKED[1], tmp_path)
    culprit = world.players[0]
    culprit.lies_once = True
    steps = 0
    while True:
        steps += 1
        assert steps < 60
        world = World(MASKED[1], tmp_path)
        world.players[0].lies_once = True
        assert not await world.live(steps, Death.AFTER), "the refusal was never kept"
        entries = world.safe.rounds[ROUND].entries if ROUND in world.safe.rounds else ()
        if any(isinstance(entry, WrongShareRefused) for entry in entries):
            break
    assert await world.live()
    assert world.opened is not None
    named = [event.culprit for _, event in world.opened.events if isinstance(event, WrongShares)]
    assert named == [FIRST]
