"""`secagg bench size`: one round of long updates, each side a process of its own, and how much memory each takes.

Every participant has its update in a file that it maps into memory, and writes the mean into another. The coordinator
keeps what it holds in a folder, as a durable one does. The sum is known beforehand, bit for bit: its digest is compared
with the one that the coordinator signed.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from time import time
from typing import Final

import numpy as np
from secagg_client import ControlClient

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.encoding.packing import chunk_values, pack, packed_size
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import LocalError
from secagg.messages import Phase
from secagg.tools.bench import transport
from secagg.tools.bench.machine import describe
from secagg.tools.bench.memory import Memory, forget_peak, memory_of
from secagg.tools.bench.processor import cpu_seconds
from secagg.tools.bench.report import Figure, Report, Section, at_most
from secagg.tools.bench.round import heard
from secagg.tools.bench.round_figures import Said, Timeline, phase_seconds
from secagg.tools.bench.round_participant import MODEL
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.identities import Identities, create_identities
from secagg.tools.deployment.sidecar import Sidecar
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.grid import CODE, VALUE_BITS, Levels, decoded
from secagg.wire.configuration import encode_config
from secagg.wire.progress import ResultReady

COORDINATOR_MIB: Final = 192.0
"""Of the coordinator beside one vector of words, whatever the number of participants."""

PARTICIPANT_MIB: Final = 96.0
"""Of a participant beside its own update."""

TIMEOUT_S: Final = 1200.0
FL_SERVER: Final = "the FL server"

_WORKER: Final = "secagg.tools.bench.size_worker"
_MIB: Final = 1 << 20
_BLOCK: Final = 1 << 20  # values drawn together


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSetting:
    """What is played.

    Attributes:
        participants: n ≥ 3, all at once.
        values: length of each update, float32.
        durable: whether the coordinator keeps its state in a folder; else vectors wait in a temporary file.
        folder: where updates, means and the coordinator's state go; a temporary one if None.
    """

    participants: int = 10
    values: int = 1_000_000
    durable: bool = True
    folder: Path | None = None

    def config(self) -> RoundConfig:
        """The round's configuration, with time for long uploads."""
        config = RoundConfig(
            task="bench",
            schema=Schema((ArraySpec("values", (self.values,)),)),
            encoding=CODE,
            max_participants=self.participants,
            model_digest=MODEL,
        )
        return replace(config, deadlines=replace(config.deadlines, masked_input_s=TIMEOUT_S, unmask_s=TIMEOUT_S))


@dataclass(frozen=True, slots=True)
class Played:
    """One round.

    Attributes:
        start_s: when it was opened, in seconds since 1970.
        timeline: the coordinator's events.
        finished: what each participant said at the end.
        fetched: what the FL server said when it had the sum.
        before: the coordinator's memory before the round.
        after: the same after it.
        cpu_s: seconds of the coordinator on processors.
        exact: whether the sum is the right one.
    """

    start_s: float
    timeline: Timeline
    finished: dict[str, Said]
    fetched: Said
    before: Memory
    after: Memory
    cpu_s: float
    exact: bool

    def most(self, what: str) -> float:
        """The largest that any participant said."""
        return max(float(said[what]) for said in self.finished.values())


def measure(setting: SizeSetting, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Play the round, then send as many bytes through plain gRPC.

    Raises:
        LocalError: somebody failed.
    """
    machine, config = describe(), setting.config()
    names = [str(name) for name in participant_names(setting.participants)]
    with ExitStack() as stack:
        place = TemporaryDirectory(prefix="secagg-bench-", dir=setting.folder)
        folder = Path(stack.enter_context(place))
        progress(f"{len(names)} updates of {setting.values:,} values")
        for name in names:
            write_update(folder / f"{name}.npy", name, setting.values)
        identities = create_identities(folder, names)
        state = folder / "state" if setting.durable else None
        sidecar = stack.enter_context(Sidecar(identities.server, folder, state=state))
        crew = stack.enter_context(Crew(commands_of(identities, sidecar, folder), folder / "crew.log"))
        heard(crew, crew.commands, "ready")
        progress("the round")
        played = play(setting, config, crew, sidecar, names)
        up = round(sum(float(said["bytes_up"]) for said in played.finished.values()))
        progress("the transport")
        plain = transport.measure(identities, up, repeats=1)
    described = {
        "participants": setting.participants,
        "values": setting.values,
        "durable": setting.durable,
        "ring_bits": config.ring_bits,
    }
    return Report("size", machine, described, _sections(config, played, up, plain), exact=played.exact)


def commands_of(identities: Identities, sidecar: Sidecar, folder: Path) -> dict[str, tuple[str, ...]]:
    """How each participant is started, and who fetches the sum for the FL server."""
    mean = str(folder / "mean.npy")
    fetching = ("fetch", "--target", sidecar.control_plane, "--timeout-s", str(TIMEOUT_S), "--out", mean)
    return participating(identities, sidecar, folder) | {FL_SERVER: (_WORKER, *fetching)}


def participating(identities: Identities, sidecar: Sidecar, folder: Path) -> dict[str, tuple[str, ...]]:
    """How each participant is started, whose update is in the folder under its name."""
    taking_part = ("participate", "--target", sidecar.data_plane, "--timeout-s", str(TIMEOUT_S))
    return {
        name: (_WORKER, *taking_part, "--identity", str(identity), "--update", str(folder / f"{name}.npy"))
        for name, identity in identities.participants.items()
    }


def play(setting: SizeSetting, config: RoundConfig, crew: Crew, sidecar: Sidecar, names: list[str]) -> Played:
    """One round with the whole crew, from its opening until everybody has the sum."""
    forget_peak(sidecar.pid)
    before, cpu = memory_of(sidecar.pid), cpu_seconds(sidecar.pid)
    wanted = crew.log.with_name("config.bin")
    wanted.write_bytes(encode_config(config))
    start_s = time()
    crew.order(FL_SERVER, str(wanted))
    round_id = RoundId(bytes.fromhex(heard(crew, [FL_SERVER], "opened")[FL_SERVER]["round_id"]))
    for name in names:
        crew.order(name, round_id.hex())
    with ControlClient(sidecar.control_plane) as control:
        timeline = list(control.watch(round_id, timeout_s=TIMEOUT_S))
    said = heard(crew, [FL_SERVER, *names], "finished")
    fetched, finished = said[FL_SERVER], {name: said[name] for name in names}
    ended = timeline[-1][1]
    if not isinstance(ended, ResultReady):
        raise LocalError(f"the round ended without a sum: {ended}")
    digest = digest_of_sum(names, config)
    told = {(one["survivors"], one["sums_sha256"]) for one in said.values()}
    exact = ended.sums_digest == digest and told == {(setting.participants, digest.hex())}
    after = memory_of(sidecar.pid)
    return Played(start_s, timeline, finished, fetched, before, after, cpu_seconds(sidecar.pid) - cpu, exact)


def write_update(path: Path, participant: str, values: int) -> None:
    """A file with float32[values] that encodes to `levels_of`, block by block."""
    update = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(values,))
    for start, levels in levels_of(participant, values):
        update[start : start + len(levels)] = decoded(levels)


def levels_of(participant: str, values: int) -> Iterator[tuple[int, Levels]]:
    """Blocks of what the update of a participant must encode to, each with the number of its first coordinate."""
    for start in range(0, values, _BLOCK):
        drawn = np.random.default_rng([*participant.encode(), start])
        yield start, drawn.integers(0, 2**VALUE_BITS, min(_BLOCK, values - start), dtype=np.uint16)


def digest_of_sum(participants: list[str], config: RoundConfig) -> bytes:
    """SHA-256 over the packed sum of these participants' updates, of which each has weight 1."""
    state, size, waiting = sha256(), chunk_values(config.ring_bits), np.zeros(0, config.ring_dtype)
    for blocks in zip(*(levels_of(name, config.schema.size) for name in participants), strict=True):
        added = np.sum([levels for _, levels in blocks], axis=0, dtype=config.ring_dtype)
        waiting = np.concatenate([waiting, added])
        while len(waiting) >= size:
            state.update(pack(waiting[:size], config.ring_bits))
            waiting = waiting[size:].copy()
    weight = np.array([len(participants)], config.ring_dtype)
    waiting = np.concatenate([waiting, weight])
    for start in range(0, len(waiting), size):
        state.update(pack(waiting[start : start + size], config.ring_bits))
    return state.digest()


def _sections(config: RoundConfig, played: Played, up: int, plain: Figure) -> tuple[Section, ...]:
    return _times(played), _memory(config, played), _bytes(config, played), _transport(played, up, plain)


def _times(played: Played) -> Section:
    sum_ready, cpu = played.timeline[-1][0], "seconds on processors"
    figures = (
        Figure("round_s", played.most("time_s") - played.start_s, note="opened until every participant has the mean"),
        *(Figure(f"{phase.name.lower()}_s", s) for phase, s in phase_seconds(played.timeline).items()),
        Figure(
            "deliver_aggregate_s",
            played.most("time_s") - sum_ready,
            note="unmask, keep and fetch the sum",
        ),
        Figure("fetch_s", float(played.fetched["seconds"]), note="of the FL server, beside the participants"),
        Figure("coordinator_cpu_s", played.cpu_s, note=cpu),
        Figure("participant_cpu_s", fmean(float(s["cpu_s"]) for s in played.finished.values()), note=f"{cpu}, each"),
        Figure("fl_server_cpu_s", float(played.fetched["cpu_s"]), note=cpu),
    )
    return Section("round", "A round over gRPC and TLS 1.3 on loopback (wall clock)", figures)


def _memory(config: RoundConfig, played: Played) -> Section:
    vector, before, peak = _vector(config) / _MIB, played.before.now_bytes / _MIB, played.after.peak_bytes / _MIB
    figures = (
        Figure("vector_mib", vector, note="the sum in words"),
        Figure("coordinator_start_mib", before, note="interpreter and libraries"),
        Figure("coordinator_peak_mib", peak),
        Figure("coordinator_beside_vector_mib", peak - vector, at_most(COORDINATOR_MIB), "all that is not the sum"),
        Figure("coordinator_end_mib", played.after.now_bytes / _MIB, note="when everybody has the sum"),
        Figure(
            "participant_beside_update_mib",
            played.most("grown_bytes") / _MIB,
            at_most(PARTICIPANT_MIB),
            "above what it takes with its update in memory; the most of any participant",
        ),
        Figure("fl_server_grown_mib", float(played.fetched["grown_bytes"]) / _MIB, note="while it fetched the sum"),
    )
    return Section("memory", "Resident memory of each process", figures)


def _bytes(config: RoundConfig, played: Played) -> Section:
    packed = packed_size(config.vector_len, config.ring_bits)
    figures = (
        Figure("packed_bytes", packed, note=f"a vector of {config.ring_bits} bits a value"),
        Figure("participant_up_bytes", round(played.most("bytes_up")), note="the most of any participant"),
        Figure("participant_down_bytes", round(played.most("bytes_down")), note="the sum makes most of it"),
    )
    return Section("bytes", "Bytes on the wire", figures)


def _transport(played: Played, up: int, plain: Figure) -> Section:
    sending = phase_seconds(played.timeline)[Phase.MASKED_INPUT]
    figures = (
        plain,
        Figure("plain_s", up / 1e9 / plain.value, note="as many bytes as all updates through it"),
        Figure("input_gb_per_s", up / 1e9 / sending, note="of all participants: read, encode, mask, pack, send, keep"),
        Figure("input_to_plain_ratio", up / 1e9 / sending / plain.value),
    )
    return Section("transport", "Beside one stream of plain gRPC", figures)


def _vector(config: RoundConfig) -> int:
    return config.vector_len * config.ring_dtype.itemsize
