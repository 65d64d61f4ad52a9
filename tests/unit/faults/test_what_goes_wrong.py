"""What is drawn to go wrong, and that it does: bounds of faults, disks that fail as their plans say, the weather."""

import errno
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import structlog

from secagg.encoding import packing
from secagg.errors import StoreError
from secagg.sparse.ring import Ring
from secagg.tools.faults import people, recording
from secagg.tools.faults.aims import Aim
from secagg.tools.faults.disk import Mount
from secagg.tools.faults.history import Asked, Began, Contributed, Died, Fault, History, Injected, Told
from secagg.tools.faults.loop import VirtualLoop
from secagg.tools.faults.network import End
from secagg.tools.faults.processes import Machine
from secagg.tools.faults.recording import Recorder
from secagg.tools.faults.scenario import (
    COORDINATOR,
    FL_SERVER,
    DiskAccident,
    DiskPlan,
    Jump,
    Kill,
    Partition,
    ShutDown,
    Stop,
    draw,
    stream,
)
from secagg.tools.faults.storage import FailingDisk
from secagg.tools.faults.substitutes import substituted
from secagg.tools.faults.weather import Rates, Storm
from secagg.tools.faults.world import play, playing

FILE = Path("/file")
SCENARIOS = [draw(seed) for seed in range(3000)]
HERE, THERE = Machine("here"), Machine("there")


class Disks:
    """A disk with a plan, and what came of it."""

    def __init__(self, *accidents: DiskAccident, lies: float = 0.0, rots: bool = False) -> None:
        self.befell: list[DiskAccident] = []
        self.injected: list[Fault] = []
        plan = DiskPlan(accidents=accidents, lies=lies, rots=rots)
        rng = Random(1)  # noqa: S311, to be replayed
        self.failing = FailingDisk(plan, rng, lambda: 0.0, befell=self.befell.append, injected=self.injected.append)

    def mount(self) -> Mount:
        return self.failing.disk.mount()


def accident(change: int, fault: Fault) -> DiskAccident:
    return DiskAccident(COORDINATOR, change, fault, for_s=1.0, power=False)


def write(mount: Mount, times: int = 1) -> None:
    with mount.open(FILE, make=True) as file:
        for i in range(times):
            file.write_at(i, b"x")


def test_an_accident_comes_in_place_of_its_operation() -> None:
    disks = Disks(accident(3, Fault.COORDINATOR_KILLED))
    with disks.mount().open(FILE, make=True) as file:  # the first operation
        file.write_at(0, b"a")
        assert disks.befell == []
        file.write_at(1, b"b")
    assert [found.change for found in disks.befell] == [3]


def test_who_is_killed_in_place_of_an_operation_has_not_done_it() -> None:
    failing: FailingDisk
    plan = DiskPlan(accidents=(accident(3, Fault.COORDINATOR_KILLED),))
    failing = FailingDisk(
        plan,
        Random(1),  # noqa: S311, to be replayed
        lambda: 0.0,
        befell=lambda _: failing.kill(power=False),
        injected=lambda _: None,
    )
    with failing.disk.mount().open(FILE, make=True) as file:
        file.write_at(0, b"a")
        with pytest.raises(OSError, match="gone"):
            file.write_at(1, b"b")
    assert failing.disk.mount().read(FILE) == b"a"


def test_an_error_of_the_disk_waits_for_a_write_or_a_flush_and_comes_once() -> None:
    disks = Disks(accident(1, Fault.DISK_ERROR))
    with disks.mount().open(FILE, make=True) as file:  # neither a write nor a flush
        with pytest.raises(OSError, match="Input/output") as caught:
            file.write_at(0, b"a")
        assert caught.value.errno == errno.EIO
        file.write_at(0, b"b")
        file.flush()
    assert len(disks.befell) == 1
    assert disks.mount().read(FILE) == b"b"


def test_a_disk_that_is_healed_fails_no_more() -> None:
    disks = Disks(accident(1, Fault.DISK_ERROR), lies=1.0, rots=True)
    disks.failing.fill()
    disks.failing.heal()
    write(disks.mount(), 5)
    disks.failing.kill(power=True)
    assert disks.befell == []
    assert disks.injected == []


def test_a_full_disk_has_no_room_until_somebody_makes_some() -> None:
    disks = Disks()
    write(disks.mount())
    disks.failing.fill()
    with pytest.raises(OSError, match="No space"), disks.mount().open(FILE) as file:
        file.write_at(0, b"more than before")
    disks.failing.make_room()
    with disks.mount().open(FILE) as file:
        file.write_at(0, b"more than before")


@pytest.mark.parametrize(("lies", "kept"), [(0.0, b"x"), (1.0, b"")])
def test_a_flush_that_lies_makes_nothing_safe_and_is_told_once(lies: float, kept: bytes) -> None:
    left = set()
    for seed in range(20):
        disks = Disks(lies=lies)
        disks.failing.disk._rng.seed(seed)
        mount = disks.mount()
        write(mount)
        for _ in range(3):
            with mount.open(FILE) as file:
                file.flush()
            mount.flush_folder(FILE.parent)
        disks.failing.kill(power=True)
        files = disks.failing.disk.files()
        left.add(files.get(FILE, b""))
        assert disks.injected == [Fault.FLUSH_LIED] * (lies > 0)
    assert kept in left
    assert b"x" in left  # a flush that lies may be lucky
    assert len(left) == 1 + (lies > 0)


def test_bytes_rot_once_when_the_program_ends() -> None:
    disks = Disks(rots=True)
    write(disks.mount(), 100)
    disks.failing.kill(power=False)
    assert disks.injected == [Fault.BIT_ROT]
    rotten = disks.mount().read(FILE)
    assert rotten != b"x" * 100
    disks.failing.kill(power=False)
    assert disks.injected == [Fault.BIT_ROT]
    assert disks.mount().read(FILE) == rotten


def test_bytes_rot_in_files_of_one_name_alone() -> None:
    plan = DiskPlan(rots=True, rots_in="e")
    failing = FailingDisk(
        plan,
        Random(1),  # noqa: S311, to be replayed
        lambda: 0.0,
        befell=lambda _: None,
        injected=lambda _: None,
    )
    other = Path("/other")
    for path in (FILE, other):
        with failing.disk.mount().open(path, make=True) as file:
            file.write_at(0, b"x" * 100)
    failing.kill(power=False)
    assert failing.disk.mount().read(FILE) != b"x" * 100
    assert failing.disk.mount().read(other) == b"x" * 100


# --- the weather ------------------------------------------------------------------------------------------------------


def storm(**rates: float) -> tuple[Storm, list[Fault]]:
    injected: list[Fault] = []
    return Storm(Rates(**rates), Random(1), injected.append), injected  # noqa: S311, to be replayed


def test_in_calm_weather_every_message_arrives_soon() -> None:
    calm, injected = storm()
    fates = [calm.fate(HERE, THERE, up=True, last=False) for _ in range(500)]
    assert all(fate.delay_s < 0.1 and not fate.lost and fate.breaks is None for fate in fates)
    assert calm.repeats() is None
    assert injected == []


@pytest.mark.parametrize(
    ("rate", "up", "fault"),
    [
        ("request_lost", True, Fault.REQUEST_LOST),
        ("reply_lost", False, Fault.REPLY_LOST),
        ("cut", True, Fault.CONNECTION_CUT),
        ("late", False, Fault.MESSAGE_DELAYED),
    ],
)
def test_each_rate_has_its_fault_until_the_storm_is_over(rate: str, up: bool, fault: Fault) -> None:
    bad, injected = storm(**{rate: 1.0})
    fates = [bad.fate(HERE, THERE, up=up, last=False) for _ in range(300)]
    assert injected == [fault] * 300
    assert all(fate.lost == (fault in {Fault.REQUEST_LOST, Fault.REPLY_LOST}) for fate in fates)
    assert all((fate.breaks is not None) == (fault is not Fault.MESSAGE_DELAYED) for fate in fates)
    if fault is Fault.MESSAGE_DELAYED:
        assert all(1.0 <= fate.delay_s <= 40.0 for fate in fates)
    bad.over = True
    assert bad.fate(HERE, THERE, up=up, last=False).breaks is None
    assert len(injected) == 300


def test_a_call_is_repeated_within_forty_seconds() -> None:
    bad, injected = storm(repeated=1.0)
    after = [bad.repeats() for _ in range(300)]
    assert all(seconds is not None and 0.0 <= seconds <= 40.0 for seconds in after)
    assert set(injected) == {Fault.CALL_REPEATED}


def test_an_end_may_not_notice_a_break_for_a_hundred_seconds() -> None:
    bad, injected = storm(unnoticed=1.0)
    silences = [bad.silence() for _ in range(300)]
    assert all(1.0 <= silence[end] <= 100.0 for silence in silences for end in End)
    assert Counter(injected) == Counter({Fault.BREAK_UNNOTICED: 600})
    bad.over = True
    assert all(seconds < 0.1 for seconds in bad.silence().values())


def test_nothing_passes_a_machine_that_is_cut_off() -> None:
    calm, _ = storm()
    calm.cut_off(HERE)
    assert calm.fate(HERE, THERE, up=True, last=False).lost
    assert calm.fate(THERE, HERE, up=False, last=False).lost
    assert not calm.fate(THERE, THERE, up=False, last=False).lost
    calm.let_back(HERE)
    assert not calm.fate(HERE, THERE, up=True, last=False).lost


# --- scenarios --------------------------------------------------------------------------------------------------------


def test_every_kind_of_accident_is_drawn_within_its_bounds() -> None:
    accidents = [found for scenario in SCENARIOS for found in scenario.accidents]
    assert {type(found) for found in accidents} == {Kill, ShutDown, Stop, Jump, Partition}
    assert max(abs(found.by_s) for found in accidents if isinstance(found, Jump)) == 3600.0
    assert {found.by_s > 0 for found in accidents if isinstance(found, Jump)} == {True, False}
    assert max(found.for_s for found in accidents if isinstance(found, Stop)) == 200.0
    kills = [found for found in accidents if isinstance(found, Kill)]
    killed = {found.whose for found in kills}
    assert {COORDINATOR, FL_SERVER} < killed
    assert {found.power for found in kills if found.whose == COORDINATOR} == {True, False}
    assert None in {found.down_s for found in kills}
    assert None not in {found.down_s for found in kills if found.whose in {COORDINATOR, FL_SERVER}}
    plans = [plan for scenario in SCENARIOS for plan in scenario.disks.values()]
    on_disks = {found.fault for plan in plans for found in plan.accidents}
    assert on_disks == {
        Fault.COORDINATOR_KILLED,
        Fault.PARTICIPANT_KILLED,
        Fault.POWER_CUT,
        Fault.DISK_FULL,
        Fault.DISK_ERROR,
    }
    assert any(plan.lies for plan in plans)
    assert any(plan.rots for plan in plans)


def test_a_coordinator_that_keeps_nothing_is_never_ended() -> None:
    forgetful = [scenario for scenario in SCENARIOS if COORDINATOR not in scenario.disks]
    assert 0 < len(forgetful) < len(SCENARIOS) / 4
    ends = [a for s in forgetful for a in s.accidents if isinstance(a, ShutDown | Kill)]
    assert not [a for a in ends if isinstance(a, ShutDown) or a.whose == COORDINATOR]


def test_deployments_are_small_and_of_every_kind() -> None:
    assert {len(scenario.people) for scenario in SCENARIOS} == set(range(3, 12))
    configs = [plan.config for scenario in SCENARIOS for plan in scenario.tasks]
    assert {isinstance(config.graph, Ring) for config in configs} == {True, False}
    assert {config.scheme for config in configs} == {"masked", "ckks", "bfv"}
    assert {config.certify for config in configs} == {True, False}
    assert any(config.groups for config in configs)
    assert any(config.central_noise for config in configs)
    assert any(len(scenario.tasks) > 1 for scenario in SCENARIOS)
    rounds = [plan.models for scenario in SCENARIOS for plan in scenario.tasks]
    assert any(len(models) > len(set(models)) for models in rounds)  # sums of one model, one after the other
    states = [set(scenario.people) & set(scenario.disks) for scenario in SCENARIOS]
    assert any(states)
    assert any(len(state) < len(scenario.people) for state, scenario in zip(states, SCENARIOS, strict=True))


def test_an_aimed_history_has_what_it_is_aimed_at_and_is_else_as_its_seed_says() -> None:
    aim = Aim(
        kind="certified",
        values=77,
        rounds=3,
        faults=(Fault.DISK_FULL,),
        since=100,
        within=9,
        rots_in=".chunks",
        excludes=True,
    )
    for scenario in (draw(seed, aim) for seed in range(50)):
        first = scenario.tasks[0]
        assert first.config.certify
        assert first.excludes
        assert first.config.schema.arrays[0].shape == (77,)
        assert len(first.models) == 3
        assert len(set(first.models)) == 1
        plan = scenario.disks[COORDINATOR]
        assert 1 <= len(plan.accidents) <= 2
        assert all(found.fault is Fault.DISK_FULL and 100 < found.change <= 109 for found in plan.accidents)
        assert (plan.lies, plan.rots, plan.rots_in) == (0.0, True, ".chunks")
    for seed, plain in enumerate(SCENARIOS[:50]):
        aimed = draw(seed, Aim(faults=(Fault.POWER_CUT,)))
        disks = {**plain.disks, COORDINATOR: aimed.disks[COORDINATOR]}
        assert replace(plain, disks=disks) == aimed
        assert {found.fault for found in aimed.disks[COORDINATOR].accidents} == {Fault.POWER_CUT}


def test_at_the_end_a_coordinator_is_started_once_more_and_asked_for_everything() -> None:
    seed = next(s for s in range(100) if _quiet(s))
    with playing():
        scenario, history = play(seed)
    facts = history.facts
    assert not [fact for fact in facts if isinstance(fact, Injected)]
    began = [fact.at for fact in facts if isinstance(fact, Began)]
    assert len(began) == 2
    assert next(fact.at for fact in facts if isinstance(fact, Died)) <= began[1]
    asked = Counter(fact.name for fact in facts if isinstance(fact, Asked) and fact.at > began[1])
    rounds = sum(len(plan.models) for plan in scenario.tasks)
    assert asked["WatchRound"] == asked["FetchAggregate"] == rounds
    assert asked["ListRounds"] == len(scenario.tasks)
    assert {fact.participant for fact in facts if isinstance(fact, Contributed)} == set(scenario.people)
    assert not [fact for fact in facts if isinstance(fact, Told) and fact.error]


def _quiet(seed: int) -> bool:
    """Whether nothing goes wrong with this seed, in masked rounds of one cohort that everybody may see."""
    scenario = draw(seed)
    plans = scenario.disks.values()
    calm = scenario.rates == Rates(unnoticed=scenario.rates.unnoticed)
    calm = calm and not scenario.accidents and not any(p.accidents or p.lies or p.rots for p in plans)
    plain = all(p.config.scheme == "masked" and not p.config.groups and not p.config.noise for p in scenario.tasks)
    return calm and plain and COORDINATOR in scenario.disks and not any(p.excludes for p in scenario.tasks)


def test_the_product_is_as_before_when_no_history_is_played() -> None:
    size, logging = packing.CHUNK_BYTES, structlog.get_config()
    with substituted():
        assert size > packing.CHUNK_BYTES
    assert size == packing.CHUNK_BYTES
    assert structlog.get_config() == logging


def test_the_fl_server_gives_up_a_round_whose_files_stay_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again for as long as a disk may need to get room, and not for ever."""

    class Rotten:
        def __init__(self, *_: object, **__: object) -> None: ...

        async def open_round(self, *_: object, **__: object) -> None: ...

        async def result(self, *_: object) -> None:
            raise StoreError("a piece was changed on the disk")

    monkeypatch.setattr(people, "AsyncControlClient", Rotten)
    plan = next(task for scenario in SCENARIOS for task in scenario.tasks if task.config.groups is None)
    plan = replace(plan, expects=False, excludes=False)
    loop, history, over = VirtualLoop(lambda: 0.001), History(), list[float]()  # type: ignore[abstract]
    recorder = Recorder(loop, history)
    monkeypatch.setattr(recording, "current", lambda: None)
    server = people.FLServer(1, (plan,), (), recorder, lambda: over.append(loop.time()))
    with loop.running():
        loop.run(server.run(stream(1, "fl server")), 100_000)
    rounds = len(plan.configs())
    assert over[0] == pytest.approx(rounds * people.PERSISTS_S, abs=rounds * 2 * people.PAUSE_S)
    assert len([fact for fact in history.facts if isinstance(fact, Told)]) > rounds * 200
