"""One schedule: the processes of a deployment, its accidents, and how the round ended for everybody."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, Final

import numpy as np

from secagg.errors import ConfigError
from secagg.tools.deployment.identities import create_identities
from secagg.tools.faults.checker import Ending
from secagg.tools.faults.machine import programs
from secagg.tools.faults.machine.programs import COORDINATOR, FL_SERVER, log_of, outcome_of
from secagg.tools.faults.machine.schedule import Accident, Kind, Schedule, names, update_of
from secagg.tools.faults.machine.wire import Wire

END_S: Final = 90.0
"""After so long a schedule that goes on is one that hangs."""

_LOOK_S: Final = 0.002
_ROOM: Final = "1m"
_FILLER: Final = "filler"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a schedule ended.

    Attributes:
        seed: of the schedule.
        ending: the worst that is true.
        happened: the accidents that came to pass.
        findings: what must not be, in sentences.
        errors: names of the errors that programs ended with, sorted.
        folder: where the programs wrote.
    """

    seed: int
    ending: Ending
    happened: tuple[Kind, ...]
    findings: tuple[str, ...]
    errors: tuple[str, ...]
    folder: str


def context() -> ForkServerContext:
    """Where processes come from: one that has loaded everything, so that each is there at once."""
    made = ForkServerContext()
    made.set_forkserver_preload([programs.__name__, "secagg_server.cli"])
    return made


class Machine:
    """The processes of one schedule."""

    def __init__(self, folder: Path, schedule: Schedule, forks: ForkServerContext) -> None:
        self.folder = folder
        self.schedule = schedule
        self.happened: list[Kind] = []
        self.failures: list[str] = []
        self._forks = forks
        self._processes: dict[str, ForkServerProcess] = {}
        self._ours: set[int] = set()  # processes that we killed
        self._starting = threading.Lock()
        host = f"127.{schedule.seed % 250 + 1}.{schedule.seed // 250 % 250}.{schedule.seed // 62_500 % 250 + 1}"
        self._settings = _write_deployment(folder, f"{host}:7443")
        self.wire = Wire(f"{host}:7443")
        self._starts: dict[str, Callable[[], ForkServerProcess]] = {
            COORDINATOR: lambda: self._fork(programs.coordinator, folder, self._settings),
            FL_SERVER: lambda: self._fork(programs.fl_server, folder, schedule, f"unix:{folder}/control.sock"),
            **{name: self._participant(name) for name in names()},
        }

    def _participant(self, name: str) -> Callable[[], ForkServerProcess]:
        return lambda: self._fork(programs.participant, self.folder, self.schedule, name, self.wire.address)

    def _fork(self, program: Callable[..., None], *arguments: object) -> ForkServerProcess:
        process = self._forks.Process(target=program, args=arguments, daemon=True)
        process.start()
        return process

    def start(self, name: str) -> None:
        """Start a program, or start it again; two accidents that ended it start it once."""
        with self._starting:
            process = self._processes.get(name)
            if process is None or not process.is_alive():
                self._processes[name] = self._starts[name]()

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a program that runs."""
        process = self._processes.get(name)
        if process is not None and process.pid is not None and process.is_alive():
            if number in {signal.SIGKILL, signal.SIGTERM}:
                self._ours.add(process.pid)
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def kill(self, name: str) -> None:
        """End a program as a power cut would, and wait until it is gone."""
        self.signal(name, signal.SIGKILL)
        self.gone(name)

    def gone(self, name: str) -> None:
        """Wait until a program is gone."""
        process = self._processes.get(name)
        if process is not None:
            process.join()

    def told(self, name: str) -> dict[str, Any] | None:
        """How the round ended for a program; None as long as it does not say."""
        path = outcome_of(self.folder, name)
        return json.loads(path.read_text()) if path.exists() else None

    def watch(self) -> None:
        """Start again what ended by itself and said nothing, if that was not a fault of its own."""
        for name, process in self._processes.items():
            if process.is_alive() or process.pid in self._ours:
                continue
            if name == COORDINATOR or self.told(name) is None:
                self.failures.append(f"{name} ended by itself with {process.exitcode}")
                self._ours.add(process.pid or 0)

    def close(self) -> None:
        """End everything."""
        for name in self._processes:
            self.signal(name, signal.SIGCONT)
            self.kill(name)
        self.wire.close()


class Log:
    """The coordinator's log, as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._rest = b""
        self.counts: dict[tuple[str, str], int] = {}
        self.broken: list[str] = []

    def read(self) -> None:
        """Count the events that are new."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        self._at += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            try:
                told = json.loads(line)
            except ValueError:
                self.broken.append(line.decode(errors="replace")[:300])
                continue
            for phase in {"", str(told.get("phase", ""))}:
                key = (str(told["event"]), phase)
                self.counts[key] = self.counts.get(key, 0) + 1
            if told["event"] in {"internal_error", "last_words", "python_warning", "python_log"}:
                self.broken.append(line.decode(errors="replace")[:2000])

    def reached(self, accident: Accident) -> bool:
        """Whether the event that the accident follows has come."""
        return self.counts.get((accident.event, accident.phase), 0) >= accident.number


def play(schedule: Schedule, folder: Path, forks: ForkServerContext) -> Verdict:
    """Play a schedule in an empty folder.

    Args:
        schedule: what to play.
        folder: for everything that the programs write.
        forks: of `context`.
    """
    with ExitStack() as stack:
        stack.enter_context(_state_folder(folder, small=any(a.kind is Kind.FULL for a in schedule.accidents)))
        machine = Machine(folder, schedule, forks)
        stack.callback(machine.close)
        log = Log(log_of(folder, COORDINATOR))
        for name in (COORDINATOR, FL_SERVER, *names()):
            machine.start(name)
        waiting, under_way = list(schedule.accidents), list[threading.Thread]()
        end = time.monotonic() + END_S
        while time.monotonic() < end:
            log.read()
            for accident in [each for each in waiting if log.reached(each)]:
                waiting.remove(accident)
                thread = threading.Thread(target=_befall, args=(machine, accident), daemon=True)
                thread.start()
                under_way.append(thread)
            if all(machine.told(name) is not None for name in (FL_SERVER, *names())):
                break
            if not any(thread.is_alive() for thread in under_way):
                machine.watch()
                if machine.failures:
                    break
            time.sleep(_LOOK_S)
        for thread in under_way:
            thread.join()
        log.read()
        return _judge(machine, log)


def _befall(machine: Machine, accident: Accident) -> None:
    """Let an accident happen, and end it."""
    time.sleep(accident.after_s)
    machine.happened.append(accident.kind)
    one = names()[accident.whose]
    match accident.kind:
        case Kind.KILL_COORDINATOR:
            _again(machine, COORDINATOR, accident.for_s)
        case Kind.KILL_PARTICIPANT:
            _again(machine, one, accident.for_s)
        case Kind.KILL_FL_SERVER:
            _again(machine, FL_SERVER, accident.for_s)
        case Kind.ORDERLY_STOP:
            machine.signal(COORDINATOR, signal.SIGTERM)
            machine.gone(COORDINATOR)
            time.sleep(accident.for_s)
            machine.start(COORDINATOR)
        case Kind.STOP_COORDINATOR | Kind.STOP_PARTICIPANT:
            stopped = COORDINATOR if accident.kind is Kind.STOP_COORDINATOR else one
            machine.signal(stopped, signal.SIGSTOP)
            time.sleep(accident.for_s)
            machine.signal(stopped, signal.SIGCONT)
        case Kind.CUT:
            machine.wire.cut()
        case Kind.DELAY:
            machine.wire.delay(0.05)
            time.sleep(accident.for_s)
            machine.wire.delay(0.0)
        case Kind.REPEAT:
            machine.wire.spoil("repeat")
        case Kind.REORDER:
            machine.wire.spoil("reorder")
        case Kind.FULL:
            filler = machine.folder / "state" / _FILLER
            _fill(filler)
            time.sleep(accident.for_s)
            filler.unlink()


def _again(machine: Machine, name: str, after_s: float) -> None:
    machine.kill(name)
    time.sleep(after_s)
    if name == COORDINATOR or machine.told(name) is None:
        machine.start(name)


def _judge(machine: Machine, log: Log) -> Verdict:
    schedule, wrong, lost = machine.schedule, list[str](), list(machine.failures)
    told = {name: machine.told(name) for name in (FL_SERVER, *names())}
    updates = {name: update_of(schedule, name) for name in names()}
    errors, results = [], {}
    for name, outcome in told.items():
        if outcome is None:
            lost.append(f"{name} hangs, or ended without a word")
        elif "error" in outcome:
            errors.append(outcome["error"])
        else:
            results[name] = outcome
            true = np.sum([updates[each] for each in outcome["survivors"]], axis=0)
            if outcome["totals"] != true.tolist():
                wrong.append(f"{name} has another sum than that of its survivors")
            if name != FL_SERVER and name not in outcome["survivors"]:
                wrong.append(f"{name} has a result without being in it")
    if len({tuple(each["survivors"]) for each in results.values()}) > 1:
        wrong.append("two survivor sets were told")
    if len({each["digest"] for each in results.values() if "digest" in each}) > 1:
        wrong.append("two sums were certified")
    failed = told[FL_SERVER] is None or "error" in told[FL_SERVER]
    if results and failed:
        lost.append(f"participants have the sum, and the FL server has not: {told[FL_SERVER]}")
    wrong += [f"the coordinator wrote: {line}" for line in log.broken]
    ending = Ending.WRONG if wrong else Ending.LOST if lost else Ending.FAILED if failed else Ending.EXACT
    return Verdict(
        schedule.seed, ending, tuple(machine.happened), (*wrong, *lost), tuple(sorted(errors)), str(machine.folder)
    )


# --- what the programs need -------------------------------------------------------------------------------------------


def _write_deployment(folder: Path, listen: str) -> Path:
    """Certificates for everybody, and the coordinator's settings file."""
    server = create_identities(folder, names()).server
    settings = {
        "listen": listen,
        "control": f"unix:{folder}/control.sock",
        "certificate": f"{server}/cert.pem",
        "key": f"{server}/key.pem",
        "participant_ca": f"{server}/ca.pem",
        "state_dir": f"{folder}/state",
        "log_level": "debug",
    }
    path = folder / "secagg-server.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    return path


@contextmanager
def _state_folder(folder: Path, *, small: bool) -> Iterator[None]:
    """The coordinator's folder; a small file system of its own where it is to be filled.

    Raises:
        ConfigError: this user may not mount one.
    """
    state = folder / "state"
    state.mkdir(mode=0o700)
    if not small:
        yield
        return
    mount = shutil.which("mount")
    options = f"size={_ROOM},mode=0700,uid={os.geteuid()}"
    command = [mount or "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(state)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603, our own words
        raise ConfigError("a file system that can be filled needs a mount, which root may make; say --without-full")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)  # noqa: S603, S607, our own words


def _fill(path: Path) -> None:
    """Take all the room that is left."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
