"""What the played rounds of `secagg bench round` say: seconds, bytes and memory, as figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Final

from secagg.config import RoundConfig
from secagg.events import PhaseStarted
from secagg.lattice.parameters import Custody
from secagg.messages import INPUT_PHASES, Phase
from secagg.tools.bench.memory import Memory
from secagg.tools.bench.report import Figure, Section
from secagg.wire.progress import ResultReady, WatchedEvent

_MIB: Final = 1 << 20

Said = dict[str, Any]
Timeline = list[tuple[float, WatchedEvent]]


@dataclass(frozen=True, slots=True)
class Played:
    """One round.

    Attributes:
        start_s: when it was opened, seconds since 1970, as all times here.
        timeline: the coordinator's events.
        finished: what each survivor said at the end.
        sums_sha256: digest of the sum, in hex.
        exact: whether coordinator and participants all hold the one right sum.
    """

    start_s: float
    timeline: Timeline
    finished: Mapping[str, Said]
    sums_sha256: str
    exact: bool

    @property
    def seconds(self) -> float:
        """How long the round took, from its opening until the last participant has the aggregate."""
        return max(float(said["time_s"]) for said in self.finished.values()) - self.start_s

    def said(self, what: str) -> list[int]:
        """One number of every survivor."""
        return [int(said[what]) for said in self.finished.values()]


def sections(
    config: RoundConfig,
    played: Sequence[Played],
    ready: Mapping[str, Said],
    server: Sequence[Memory],
    plain: Figure | None,
) -> tuple[Section, ...]:
    """Args:
    config: of all rounds.
    played: the rounds.
    ready: what each participant said before the first round.
    server: the coordinator's memory before the first round and after each.
    plain: the limit of the transport, if it was measured.
    """
    middle = sorted(played, key=lambda p: p.seconds)[len(played) // 2]
    found = (_times(middle, played[0]), _traffic(middle, config), _memory(config, played, ready, server))
    return found if plain is None else (*found, _limits(middle, plain))


def phase_seconds(timeline: Timeline) -> dict[Phase, float]:
    """How long each phase took, from its start to the start of the next, or to the sum. A phase may start again."""
    turns = [(at, event) for at, event in timeline if isinstance(event, PhaseStarted | ResultReady)]
    seconds: dict[Phase, float] = {}
    for (at, event), (following, _) in pairwise(turns):
        if isinstance(event, PhaseStarted):
            seconds[event.phase] = seconds.get(event.phase, 0.0) + following - at
    return seconds


def _times(played: Played, first: Played) -> Section:
    sum_ready = played.timeline[-1][0]
    figures = [
        Figure("round_s", played.seconds, note="opened until the last participant has the aggregate; median round"),
        *(Figure(f"{phase.name.lower()}_s", s) for phase, s in phase_seconds(played.timeline).items()),
        Figure("deliver_aggregate_s", played.start_s + played.seconds - sum_ready, note="sum ready until all have it"),
        Figure("first_round_s", first.seconds, note="connections made, code loaded"),
    ]
    return Section("round", "A round over gRPC and TLS 1.3 on loopback (wall clock)", tuple(figures))


def _traffic(played: Played, config: RoundConfig) -> Section:
    up, down = median(played.said("bytes_up")), median(played.said("bytes_down"))
    plain = 4 * config.schema.size
    figures = (
        Figure("participant_up_bytes", round(up), note="message bytes of one round, without HTTP/2 and TLS; median"),
        Figure("participant_most_up_bytes", max(played.said("bytes_up")), note=_most(config)),
        Figure("participant_down_bytes", round(down), note=_down(config)),
        Figure("up_to_float32_ratio", up / plain, note="against the update as plain float32"),
        Figure("down_to_float32_ratio", down / plain),
    )
    return Section("traffic", "Bytes of a participant", figures)


def _most(config: RoundConfig) -> str:
    dealt = config.homomorphic is not None and config.homomorphic.custody is Custody.PARTICIPANTS
    return "one participant also hands the sum in for the FL server" if dealt else "the most of any participant"


def _down(config: RoundConfig) -> str:
    if config.homomorphic is None:
        return "the aggregate makes most of it"
    dealt = config.homomorphic.custody is Custody.PARTICIPANTS
    return "the encrypted sum makes most of it" if dealt else "half of the encrypted sum, and the aggregate"


def _memory(
    config: RoundConfig, played: Sequence[Played], ready: Mapping[str, Said], server: Sequence[Memory]
) -> Section:
    vector = config.ring_dtype.itemsize * config.vector_len / _MIB
    start = max(int(said["peak_memory_bytes"]) for said in ready.values())
    figures = [
        Figure("server_start_mib", server[0].now_bytes / _MIB, note="interpreter and libraries"),
        Figure(
            "server_peak_mib", server[-1].peak_bytes / _MIB, note=f"over all rounds; one sum takes {vector:.1f} MiB"
        ),
        Figure("server_first_end_mib", server[1].now_bytes / _MIB, note="after the first round"),
        Figure("server_last_end_mib", server[-1].now_bytes / _MIB, note="after the last: sums are kept for a while"),
        Figure("participant_start_mib", start / _MIB, note="interpreter, libraries and its own update"),
        Figure("participant_peak_mib", _peak(played, "peak_memory_bytes") / _MIB, note="over all rounds"),
    ]
    if config.homomorphic is not None:
        worker = _peak(played, "worker_peak_memory_bytes") / _MIB
        figures.append(Figure("worker_peak_mib", worker, note="the process in which a participant encrypts"))
    return Section("memory", "Resident memory of each process", tuple(figures))


def _peak(played: Sequence[Played], what: str) -> int:
    return max(max(p.said(what)) for p in played)


def _limits(played: Played, plain: Figure) -> Section:
    seconds = next(s for phase, s in phase_seconds(played.timeline).items() if phase in INPUT_PHASES)
    rate = sum(played.said("bytes_up")) / 1e9 / seconds
    figures = (
        plain,
        Figure("input_gb_per_s", rate, note="survivors' bytes over the phase: encode, protect, pack, send, spool"),
        Figure("input_to_grpc_ratio", rate / plain.value),
    )
    return Section("transport", "Beside the limit of the transport", figures)
