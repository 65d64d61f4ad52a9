"""`secagg bench round`: rounds over real gRPC and TLS on loopback, every participant in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any, Final

import numpy as np
from secagg_client import ControlClient

from secagg.bench import transport
from secagg.bench.grid import CODE, levels
from secagg.bench.machine import describe
from secagg.bench.memory import memory_of
from secagg.bench.report import Figure, Report, Section
from secagg.bench.round_participant import MODEL, digest_of_sums
from secagg.config import Aggregate, RoundConfig, ThreatModel
from secagg.demo.identities import Identities, create_identities
from secagg.demo.processes import Sidecar
from secagg.encoding.packing import chunk_values
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, LocalError
from secagg.events import PhaseStarted
from secagg.phases import Phase
from secagg.simulation.cohort import participant_names
from secagg.wire.progress import ResultReady, WatchedEvent

TIMEOUT_S: Final = 300.0
_MIB: Final = 1 << 20

Said = dict[str, Any]
Timeline = list[tuple[float, WatchedEvent]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSetting:
    """What is played.

    Attributes:
        participants: n ≥ 3.
        values: length of each update, float32.
        dropouts: participants that leave half-way through their upload.
        threat_model: ACTIVE or SEMI_HONEST.
        rounds: played one after the other; the median counts.
        transport_bytes: sent to find the limit of the transport.
    """

    participants: int = 10
    values: int = 1_000_000
    dropouts: int = 2
    threat_model: ThreatModel = ThreatModel.ACTIVE
    rounds: int = 3
    transport_bytes: int = 256 << 20

    def config(self) -> RoundConfig:
        """The rounds' configuration.

        Raises:
            ConfigError: unsafe parameters, or too many dropouts for the threshold.
        """
        config = RoundConfig(
            task="bench",
            schema=Schema((ArraySpec("values", (self.values,)),)),
            encoding=CODE,
            max_participants=self.participants,
            model_digest=MODEL,
            threat_model=self.threat_model,
        )
        if self.participants - self.dropouts < config.threshold:
            raise ConfigError(f"{self.dropouts} dropouts leave fewer than the threshold {config.threshold}; drop fewer")
        return config


@dataclass(frozen=True, slots=True)
class Played:
    """One round.

    Attributes:
        start_s: when it was opened, seconds since 1970, as all times here.
        timeline: the coordinator's events.
        finished: what each survivor said at the end.
        exact: whether coordinator and participants all hold the one right sum.
    """

    start_s: float
    timeline: Timeline
    finished: Mapping[str, Said]
    exact: bool

    @property
    def seconds(self) -> float:
        """From opening the round until the last participant has the aggregate."""
        return max(float(said["time_s"]) for said in self.finished.values()) - self.start_s


def measure(setting: RoundSetting, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Play the rounds, then find the limit of the transport.

    Raises:
        LocalError: a participant failed.
    """
    machine, config = describe(), setting.config()
    names = [str(name) for name in participant_names(setting.participants)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="secagg-bench-")))
        identities = create_identities(folder, names)
        sidecar = stack.enter_context(Sidecar(identities.server, folder))
        progress(f"the start of {len(names)} participants")
        crew = stack.enter_context(_crew(setting, identities, sidecar.data_plane, config))
        ready = {name: _heard(process, name, "ready") for name, process in crew.items()}
        control = stack.enter_context(ControlClient(sidecar.control_plane))
        server_start_bytes = memory_of(sidecar.pid).now_bytes
        played = []
        for number in range(1, setting.rounds + 1):
            progress(f"round {number} of {setting.rounds}")
            played.append(_play(control, crew, config, setting))
        memory = _memory(server_start_bytes, memory_of(sidecar.pid).peak_bytes, ready, played, config)
        progress("the transport")
        plain = transport.measure(identities, setting.transport_bytes, repeats=3)
    middle = sorted(played, key=lambda p: p.seconds)[len(played) // 2]
    sections = (_times(middle, played[0]), _traffic(middle, setting, config), memory, _limits(middle, plain))
    described = {**asdict(setting), "threat_model": setting.threat_model.name.lower(), "ring_bits": config.ring_bits}
    return Report("round", machine, described, sections, exact=all(p.exact for p in played))


@contextmanager
def _crew(
    setting: RoundSetting, identities: Identities, target: str, config: RoundConfig
) -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """The participants' processes, the first `dropouts` of them with the order to leave."""
    chunks = -(-config.vector_len // chunk_values(config.ring_bits))
    common = ["--target", target, "--values", str(setting.values), "--threat-model", setting.threat_model.name]
    common += ["--timeout-s", str(TIMEOUT_S)]
    crew: dict[str, subprocess.Popen[str]] = {}
    try:
        for number, (name, identity) in enumerate(identities.participants.items()):
            leave = ["--leave-after-half-of", str(chunks)] if number < setting.dropouts else []
            crew[name] = subprocess.Popen(  # noqa: S603, our own module
                [sys.executable, "-m", "secagg.bench.round_participant", *common, "--identity", str(identity), *leave],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        yield crew
    finally:
        for process in crew.values():
            process.kill()
            process.communicate()


def _play(
    control: ControlClient, crew: Mapping[str, "subprocess.Popen[str]"], config: RoundConfig, setting: RoundSetting
) -> Played:
    start_s = time()
    round_id = control.open_round(config, timeout_s=TIMEOUT_S)
    for process in crew.values():
        if process.stdin is not None:
            process.stdin.write(round_id.hex() + "\n")
            process.stdin.flush()
    timeline = list(control.watch(round_id, timeout_s=TIMEOUT_S))
    aggregate = control.fetch(round_id, timeout_s=TIMEOUT_S)
    names = list(crew)
    for name in names[: setting.dropouts]:
        _heard(crew[name], name, "left")
    finished = {name: _heard(crew[name], name, "finished") for name in names[setting.dropouts :]}
    return Played(start_s, timeline, finished, _is_exact(aggregate, finished, setting.values))


def _heard(process: "subprocess.Popen[str]", name: str, event: str) -> Said:
    """The next line of a participant.

    Raises:
        LocalError: it says something else, or nothing any more.
    """
    line = process.stdout.readline() if process.stdout is not None else ""
    said: Said = json.loads(line) if line else {"event": "ended"}
    if said["event"] != event:
        raise LocalError(f"{name} {said['event']} instead of {event}: {said.get('message', 'no message')}")
    return said


def _is_exact(aggregate: Aggregate, finished: Mapping[str, Said], values: int) -> bool:
    """The sum of who stayed, value for value, and everyone has it."""
    expected = np.zeros(values, np.uint64)
    for name in finished:
        expected += levels(name, values)
    digest = digest_of_sums(aggregate.sums)
    return (
        aggregate.survivors == tuple(sorted(finished))
        and np.array_equal(aggregate.sums[:values], expected)
        and all(said["sums_sha256"] == digest for said in finished.values())
    )


def _phase_seconds(timeline: Timeline) -> dict[Phase, float]:
    """From the start of each phase to the start of the next, or to the sum."""
    turns = [(at, event) for at, event in timeline if isinstance(event, PhaseStarted | ResultReady)]
    return {
        event.phase: following - at
        for (at, event), (following, _) in pairwise(turns)
        if isinstance(event, PhaseStarted)
    }


def _times(played: Played, first: Played) -> Section:
    sum_ready = played.timeline[-1][0]
    figures = [
        Figure("round_s", played.seconds, note="opened until the last participant has the aggregate; median round"),
        *(Figure(f"{phase.name.lower()}_s", s) for phase, s in _phase_seconds(played.timeline).items()),
        Figure("deliver_aggregate_s", played.start_s + played.seconds - sum_ready, note="sum ready until all have it"),
        Figure("first_round_s", first.seconds, note="connections made, code loaded"),
    ]
    return Section("round", "A round over gRPC and TLS 1.3 on loopback (wall clock)", tuple(figures))


def _traffic(played: Played, setting: RoundSetting, config: RoundConfig) -> Section:
    up = max(int(said["bytes_up"]) for said in played.finished.values())
    down = max(int(said["bytes_down"]) for said in played.finished.values())
    note = "message bytes of one round, without HTTP/2 and TLS; the most of any participant"
    figures = (
        Figure("participant_up_bytes", up, note=note),
        Figure("participant_down_bytes", down, note="the aggregate makes most of it"),
        Figure("up_to_float32_ratio", up / (4 * setting.values), note=f"{config.ring_bits} bits a value instead of 32"),
        Figure("down_to_float32_ratio", down / (4 * setting.values)),
    )
    return Section("traffic", "Bytes of a participant", figures)


def _memory(
    server_start: int, server_peak: int, ready: Mapping[str, Said], played: list[Played], config: RoundConfig
) -> Section:
    start = max(int(said["peak_memory_bytes"]) for said in ready.values())
    peak = max(int(said["peak_memory_bytes"]) for p in played for said in p.finished.values())
    vector = config.ring_dtype.itemsize * config.vector_len / _MIB
    figures = (
        Figure("server_start_mib", server_start / _MIB, note="interpreter and libraries"),
        Figure("server_peak_mib", server_peak / _MIB, note=f"over all rounds; one sum takes {vector:.1f} MiB"),
        Figure("participant_start_mib", start / _MIB, note="interpreter, libraries and its own update"),
        Figure("participant_peak_mib", peak / _MIB, note="over all rounds"),
    )
    return Section("memory", "Resident memory of each process", figures)


def _limits(played: Played, plain: Figure) -> Section:
    seconds = _phase_seconds(played.timeline)[Phase.MASKED_INPUT]
    rate = sum(int(said["bytes_up"]) for said in played.finished.values()) / 1e9 / seconds
    figures = (
        plain,
        Figure("masked_input_gb_per_s", rate, note="survivors' bytes over the phase: encode, mask, pack, send, spool"),
        Figure("masked_input_to_grpc_ratio", rate / plain.value),
    )
    return Section("transport", "Beside the limit of the transport", figures)
