"""One history: a deployment with everything that goes wrong in it, from its seed to what was seen."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from secagg_server.settings import BudgetSetting, Settings

from secagg.crypto.rng import SeededRng
from secagg.errors import SecAggError
from secagg.tools.faults import coordinator
from secagg.tools.faults.deployment import deployment
from secagg.tools.faults.history import Began, Died, Fault, History, Refused
from secagg.tools.faults.loop import Stuck, VirtualLoop
from secagg.tools.faults.network import Network
from secagg.tools.faults.people import FLServer, Participant
from secagg.tools.faults.processes import EPOCH, Machine, Process
from secagg.tools.faults.recording import Recorder
from secagg.tools.faults.scenario import (
    COORDINATOR,
    FL_SERVER,
    Accident,
    DiskAccident,
    DiskPlan,
    Jump,
    Kill,
    Partition,
    Scenario,
    ShutDown,
    Stop,
    draw,
    stream,
)
from secagg.tools.faults.storage import FailingDisk, Kept, audit_log, open_folder, open_memory
from secagg.tools.faults.substitutes import Online, substituted
from secagg.tools.faults.weather import Storm

LONGEST_S: Final = 24 * 3600.0
"""No history takes longer by the loop's clock."""

_STARTS: Final = 20
_START_AGAIN_S: Final = 10.0
"""How often, and how soon, somebody tries to start a coordinator that did not start."""

_BUDGET_EPSILON: Final = 20.0
"""Enough for one or two rounds with noise, but not for three."""

_BEGIN_WITHIN_S: Final = 2.0
_SOON_S: Final = 1.0
"""A coordinator has started by then, or it has not."""

_LATER_S: Final = 60.0
"""From the end of all rounds until it is asked what is still known of them."""
_LAG_S: Final = 0.002


@cache
def settings() -> Settings:
    """Of every simulated coordinator."""
    given: dict[str, Any] = dict.fromkeys(("certificate", "key", "participant_ca"), Path("/nonexistent"))
    return Settings(**given, keep_finished_s=LONGEST_S, budget=BudgetSetting(epsilon=_BUDGET_EPSILON))


@dataclass(slots=True)
class Program:
    """What runs on a machine, again and again.

    Attributes:
        machine: where.
        begin: starts it in the context of a new process.
        killed: what its end is called.
        process: the one that runs, or ran last; None before the first.
        starts: how often it was started.
    """

    machine: Machine
    begin: Callable[[Online], None]
    killed: Fault
    process: Online | None = None
    starts: int = 0


class World:
    """Everything of one history while it is played."""

    def __init__(self, scenario: Scenario) -> None:
        seed = scenario.seed
        lag = stream(seed, "threads")
        self.scenario = scenario
        self.loop = VirtualLoop(lambda: _LAG_S * lag.random())  # type: ignore[abstract]  # it has what is used
        self.recorder = Recorder(self.loop, History(keep_finished_s=settings().keep_finished_s))
        self.storm = Storm(scenario.rates, stream(seed, "network"), self.recorder.injected)
        self.network = Network(self.loop, self.storm, self.recorder)
        self.done = self.loop.create_future()
        self.disks = {name: self._disk(name, plan) for name, plan in scenario.disks.items()}
        self.recorder.history.durable = COORDINATOR in self.disks
        self.programs: dict[str, Program] = {}
        self._processes: list[Process] = []
        self._coordinator: coordinator.Running | None = None
        self._refused = 0
        self._accidents = list(scenario.accidents)
        self.fl = FLServer(seed, scenario.tasks, scenario.people, self.recorder, self._finished)
        self._add(COORDINATOR, self._begin_coordinator, Fault.COORDINATOR_KILLED)
        self._add(FL_SERVER, self._begin_fl_server, Fault.FL_SERVER_KILLED)
        for name in scenario.people:
            disk = self.disks.get(name)
            person = Participant(
                seed, name, scenario.tasks, self.recorder, scenario.patience_s, None if disk is None else disk.disk
            )
            self._add(name, self._begins(person), Fault.PARTICIPANT_KILLED)

    def _add(self, name: str, begin: Callable[[Online], None], killed: Fault) -> None:
        self.programs[name] = Program(Machine(name), begin, killed)

    def _disk(self, name: str, plan: DiskPlan) -> FailingDisk:
        def wall() -> float:
            return EPOCH + self.loop.time() + self.programs[name].machine.offset_s

        return FailingDisk(
            plan, stream(self.scenario.seed, "disk", name), wall, befell=self._befell, injected=self.recorder.injected
        )

    def _finished(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    # --- programs -----------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a program in a new process."""
        program = self.programs[name]
        program.starts += 1
        rng = stream(self.scenario.seed, name, str(program.starts))
        caller = name if name in self.scenario.people else ""
        process = Online(
            program.machine, self.loop.time, len(self._processes), rng, network=self.network, caller=caller
        )
        self._processes.append(process)
        program.process = process
        process.on_death.append(lambda: self.network.client_gone(process))
        self._set_trap(name, process)
        process.context().run(program.begin, process)

    def _rng(self, process: Online) -> SeededRng:
        return SeededRng(sha256(b"%d/%d" % (self.scenario.seed, process.number)).digest())

    def _begin_coordinator(self, process: Online) -> None:
        self.loop.create_task(self._coordinate(process))

    def _opens(self, process: Online, rng: SeededRng) -> Callable[[], Kept]:
        failing = self.disks.get(COORDINATOR)
        return open_memory if failing is None else lambda: open_folder(failing.disk, process.wall, rng)

    async def _coordinate(self, process: Online) -> None:
        rng = self._rng(process)
        try:
            self._coordinator = await coordinator.start(
                process,
                self.network,
                deployment=deployment(),
                settings=settings(),
                opens=self._opens(process, rng),
                rng=rng,
                listener=coordinator.Broken(self.recorder.crashed),
            )
        except SecAggError as error:
            self.recorder.note(Refused(self.loop.time(), type(error).__name__, True, str(error)))
            self._give_up(process)
        except Exception as error:
            self.recorder.note(Refused(self.loop.time(), type(error).__name__, False, str(error)))
            self._give_up(process)
        else:
            self.recorder.note(Began(self.loop.time()))
            process.on_death.append(lambda: self.recorder.note(Died(self.loop.time())))

    def _give_up(self, process: Online) -> None:
        """The coordinator did not start. Somebody tries again later: the disk may have room by then."""
        self.kill(COORDINATOR)
        self._refused += 1
        if self._refused < _STARTS:
            self.network.later(_START_AGAIN_S, self.revive, COORDINATOR)
        else:
            self._finished()  # nobody can go on

    def _begin_fl_server(self, process: Online) -> None:
        self.loop.create_task(self.fl.run(process.rng))

    def _begins(self, person: Participant) -> Callable[[Online], None]:
        def begin(process: Online) -> None:
            self.loop.create_task(person.run(self._rng(process)))

        return begin

    # --- accidents ----------------------------------------------------------------------------------------------------

    def _set_trap(self, name: str, process: Online) -> None:
        """What happens to this process at a step of its own, if anything is still planned for its program."""
        found = next((a for a in self._accidents if isinstance(a, Kill | Stop) and a.whose == name), None)
        if found is not None:
            self._accidents.remove(found)
            process.trap_at, process.trap = found.step, lambda: self._strike(found)

    def _strike(self, accident: Accident) -> None:
        if self.storm.over:
            return
        match accident:
            case Kill(whose, _, down_s, power):
                cut = Fault.POWER_CUT if power and whose == COORDINATOR else self.programs[whose].killed
                self.recorder.injected(cut, f"{whose}, with its machine" if power else whose)
                self.kill(whose, power=power)
                if down_s is not None:
                    self.network.later(down_s, self.revive, whose)
            case ShutDown(_, down_s):
                self.recorder.injected(Fault.COORDINATOR_STOPPED)
                self._stop_in_order(down_s)
            case Stop(whose, _, for_s):
                self.recorder.injected(Fault.PROGRAM_PAUSED, whose)
                self._pause(self.programs[whose], for_s)
            case Jump(whose, _, by_s):
                self.recorder.injected(Fault.CLOCK_JUMPED, f"{whose} {by_s:+g} s")
                self.programs[whose].machine.offset_s += by_s
            case Partition(whose, _, for_s):
                machine = self.programs[whose].machine
                self.recorder.injected(Fault.MACHINE_CUT_OFF, whose)
                self.storm.cut_off(machine)
                self.network.later(for_s, self.storm.let_back, machine)

    def _befell(self, accident: DiskAccident) -> None:
        """In place of an operation of a disk."""
        self.recorder.injected(accident.fault, f"{accident.whose}, at operation {accident.change} of its disk")
        match accident.fault:
            case Fault.COORDINATOR_KILLED | Fault.PARTICIPANT_KILLED | Fault.POWER_CUT:
                self.kill(accident.whose, power=accident.power)
                self.network.later(accident.for_s, self.revive, accident.whose)
            case Fault.DISK_FULL:
                self.disks[accident.whose].fill()
                self.network.later(accident.for_s, self.disks[accident.whose].make_room)

    def _stop_in_order(self, down_s: float) -> None:
        process, running = self.programs[COORDINATOR].process, self._coordinator
        if process is None or not process.alive or running is None:
            return

        async def stop() -> None:
            await running.stop()
            self.kill(COORDINATOR)
            self.network.later(down_s, self.revive, COORDINATOR)

        self.loop.create_task(stop(), context=process.context())

    def kill(self, name: str, *, power: bool = False) -> None:
        """End a program at this instant, if it runs. With `power`, its machine's disk loses what was not flushed."""
        process = self.programs[name].process
        if process is not None:
            process.kill()
        if name == COORDINATOR:
            self._coordinator = None
        if name in self.disks:
            self.disks[name].kill(power=power)

    def revive(self, name: str) -> None:
        """Start a program again, unless it runs."""
        process = self.programs[name].process
        if process is None or not process.alive:
            self.start(name)

    def _pause(self, program: Program, for_s: float) -> None:
        process = program.process
        if process is None:
            return
        process.stopped = True
        self.network.later(for_s, self._go_on, process)

    def _go_on(self, process: Process) -> None:
        process.stopped = False
        self.loop.resume(process.held)

    # --- the whole ----------------------------------------------------------------------------------------------------

    def play(self) -> History:
        """Play it to its end."""
        with self.loop.running():
            try:
                self.loop.run(self._play(), LONGEST_S)
            except Stuck as stuck:
                self.recorder.crashed("the simulator", str(stuck))
            for found in self.loop.unexpected:
                self.recorder.crashed("somebody", f"{found.get('message')}: {found.get('exception')!r}")
            for process in self._processes:
                process.kill()
            for process in self._processes:
                process.bury()
        for disk in self.disks.values():
            disk.unplug()
        if self.recorder.history.durable:
            self.recorder.history.audit = audit_log(self.disks[COORDINATOR].disk)
        return self.recorder.history

    async def _play(self) -> None:
        begin = stream(self.scenario.seed, "begin")
        self.start(COORDINATOR)
        for name in (FL_SERVER, *self.scenario.people):
            self.network.later(_BEGIN_WITHIN_S * begin.random() ** 3, self.start, name)
        for accident in self._accidents:
            if isinstance(accident, ShutDown | Jump | Partition):
                self.network.later(accident.at_s, self._strike, accident)
        await self.done
        await self._look_back()

    async def _look_back(self) -> None:
        """Nothing goes wrong any longer: what was told must still be true, also after one more start."""
        self.storm.over = True
        for disk in self.disks.values():
            disk.heal()
        for program in self.programs.values():
            self.storm.let_back(program.machine)
            if program.process is not None:
                self._go_on(program.process)
        self.revive(COORDINATOR)
        await asyncio.sleep(_LATER_S)
        if self.recorder.history.durable:
            self.kill(COORDINATOR)
            self.start(COORDINATOR)
            await asyncio.sleep(_SOON_S)
        self.kill(FL_SERVER)
        if self._coordinator is None:
            return  # it does not start any more, and said why
        asking = Online(
            self.programs[FL_SERVER].machine,
            self.loop.time,
            len(self._processes),
            stream(self.scenario.seed, "looking back"),
            network=self.network,
        )
        self._processes.append(asking)
        await self.loop.create_task(self.fl.look_back(), context=asking.context())


@contextmanager
def playing() -> Iterator[None]:
    """Play histories inside: with the product's few ties to the outside cut, and without a garbage collector that
    comes whenever it likes.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        with substituted():
            yield
    finally:
        if enabled:
            gc.enable()


def play(seed: int) -> tuple[Scenario, History]:
    """The history of a seed. To be called inside `playing`."""
    scenario = draw(seed)
    return scenario, World(scenario).play()
