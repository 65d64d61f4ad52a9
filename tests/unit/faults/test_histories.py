"""Whole histories: a seed says all of one, in any process, and every kind of fault comes up."""

import gc
import os
import subprocess
import sys
import weakref
from collections import Counter

from secagg.tools.faults.checker import Ending, judge
from secagg.tools.faults.checker.seen import read
from secagg.tools.faults.history import Fault
from secagg.tools.faults.recording import digest
from secagg.tools.faults.scenario import draw
from secagg.tools.faults.world import World, play, playing

MASKED = [seed for seed in range(60) if draw(seed).tasks[0].config.homomorphic is None][:3]
"""SEAL draws its errors from the operating system: the bytes of homomorphic rounds are never the same."""

DIGESTS = """
import sys
from secagg.tools.faults.recording import digest
from secagg.tools.faults.world import play, playing
with playing():
    print(*(digest(play(int(seed))[1]) for seed in sys.argv[1:]))
"""


def test_the_same_seed_gives_the_same_history_also_in_another_process() -> None:
    with playing():
        here = [digest(play(seed)[1]) for seed in MASKED]
        assert [digest(play(seed)[1]) for seed in MASKED] == here
    there = subprocess.run(
        [sys.executable, "-c", DIGESTS, *map(str, MASKED)],
        env=os.environ | {"PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here
    assert len(set(here)) == len(here)


def test_some_histories_are_on_a_ring_whose_members_are_shown_their_neighbours_alone() -> None:
    """They may drop out and come again like others: the round has a sum, or fails by name."""
    rings = [seed for seed in range(60) if draw(seed).tasks[0].config.ring is not None]
    assert rings == [29, 46]
    scenario = draw(rings[1])
    with playing():
        history = World(scenario).play()
    judgement = judge(history)
    assert judgement.findings == ()
    assert set(judgement.rounds.values()) <= {Ending.EXACT, Ending.FAILED}
    [known] = read(history).rounds.values()
    assert 0 < len(known.entries) == len(known.rosters[0].value) == len(scenario.people)
    shown = sum(map(len, known.entries.values()))
    assert shown < len(known.rosters) * len(scenario.people)


def test_every_fault_is_drawn_sooner_or_later() -> None:
    drawn: Counter[Fault] = Counter()
    for seed in range(2000):
        scenario = draw(seed)
        if scenario.disks:
            drawn.update(a.fault for plan in scenario.disks.values() for a in plan.accidents)
    assert set(drawn) == {
        Fault.COORDINATOR_KILLED,
        Fault.PARTICIPANT_KILLED,
        Fault.POWER_CUT,
        Fault.DISK_FULL,
        Fault.DISK_ERROR,
    }


def test_nothing_of_a_history_stays_in_memory() -> None:
    """Hundreds are played in one process. SQLite's table of disks is the process's own, and held them all."""
    seed = next(seed for seed in MASKED if draw(seed).disks)
    with playing():
        world = World(draw(seed))
        world.play()
        known = weakref.ref(world)
        del world
        gc.collect()
        assert known() is None
