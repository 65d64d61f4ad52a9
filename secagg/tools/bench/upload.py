"""`secagg bench upload`: what it takes of processors to send and to take updates, beside a plain gRPC stream.

A round is played by real processes over TLS, and the kernel says what each of them used of processors while inputs went
up, and while the sum went down. As many bytes then go through a stream of plain gRPC over the same TLS. Both ends of
both are stated for 10^9 bytes, so their ratios say what encoding, masking, packing, checking, keeping and adding cost.
A round before it is not counted, since a process that uses memory for the first time waits for the kernel.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from secagg_client import ControlClient

from secagg.config import RoundConfig
from secagg.encoding.packing import packed_size
from secagg.errors import LocalError
from secagg.events import PhaseStarted
from secagg.messages import Phase
from secagg.tools.bench import transport
from secagg.tools.bench.machine import describe
from secagg.tools.bench.processor import cpu_seconds
from secagg.tools.bench.report import Figure, Report, Section, at_most
from secagg.tools.bench.round import heard
from secagg.tools.bench.size import TIMEOUT_S, SizeSetting, digest_of_sum, participating, write_update
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.identities import create_identities
from secagg.tools.deployment.sidecar import Sidecar
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.progress import ResultReady

COORDINATOR_RATIO: Final = 2.0
PARTICIPANT_RATIO: Final = 4.0
DOWNLOAD_RATIO: Final = 2.0
"""What is aimed at: so many times the processor time of plain gRPC."""

_GIGABYTE: Final = 1e9
_PLAIN_BYTES: Final = (1 << 28, 1 << 30)
"""As few and as many bytes as go through plain gRPC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSetting:
    """What is played.

    Attributes:
        values: length of each update, float32.
        participants: n ≥ 3, each a process, all at once. Each adds as many streams of masks to its input.
        durable: whether the coordinator keeps its state in a folder; else vectors wait in a temporary file.
        repeats: of the plain stream.
        folder: where updates, means and the coordinator's state go; a temporary one if None.
    """

    values: int = 10_000_000
    participants: int = 3
    durable: bool = False
    repeats: int = 3
    folder: Path | None = None

    def config(self) -> RoundConfig:
        """The round's configuration, with time for long uploads."""
        return SizeSetting(participants=self.participants, values=self.values).config()


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds on processors for 10^9 bytes.

    Attributes:
        coordinator_up: of the coordinator, while inputs go up.
        participant_up: of a participant, while its input goes up.
        coordinator_down: of the coordinator, while the sum goes down.
        exact: whether everybody got the right sum.
    """

    coordinator_up: float
    participant_up: float
    coordinator_down: float
    exact: bool


def measure(setting: UploadSetting, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Play a round, then send as many bytes through plain gRPC.

    Raises:
        LocalError: somebody failed.
    """
    machine, config = describe(), setting.config()
    names = [str(name) for name in participant_names(setting.participants)]
    total = len(names) * packed_size(config.vector_len, config.ring_bits)
    with ExitStack() as stack:
        place = TemporaryDirectory(prefix="secagg-bench-", dir=setting.folder)
        folder = Path(stack.enter_context(place))
        progress(f"{len(names)} updates of {setting.values:,} values")
        for name in names:
            write_update(folder / f"{name}.npy", name, setting.values)
        identities = create_identities(folder, names)
        state = folder / "state" if setting.durable else None
        with Sidecar(identities.server, folder, state=state) as sidecar:
            commands = participating(identities, sidecar, folder)
            with Crew(commands, folder / "crew.log") as crew:
                heard(crew, commands, "ready")
                for turn in ("a round that is not counted", "the round"):
                    progress(turn)
                    spent = _play(config, crew, sidecar, names)
        progress("plain gRPC")
        plain_bytes = min(max(total, _PLAIN_BYTES[0]), _PLAIN_BYTES[1])
        plain = {figure.name: figure for figure in transport.limits(identities, plain_bytes, setting.repeats)}
    described = {
        "participants": setting.participants,
        "values": setting.values,
        "ring_bits": config.ring_bits,
        "packed_bytes": packed_size(config.vector_len, config.ring_bits),
        "state": "folder" if setting.durable else "memory",
    }
    return Report("upload", machine, described, tuple(_sections(spent, plain)), exact=spent.exact)


def _play(config: RoundConfig, crew: Crew, sidecar: Sidecar, names: list[str]) -> Spent:
    bytes_each = packed_size(config.vector_len, config.ring_bits) / _GIGABYTE

    def used() -> tuple[float, float]:
        """Of the coordinator, and of all participants together."""
        return cpu_seconds(sidecar.pid), sum(cpu_seconds(crew.pid(name)) for name in names)

    at: list[tuple[float, float]] = []
    with ControlClient(sidecar.control_plane) as control:
        round_id = control.open_round(config)
        for name in names:
            crew.order(name, round_id.hex())
        for _, event in control.watch(round_id, timeout_s=TIMEOUT_S):
            if isinstance(event, PhaseStarted) and (event.phase is Phase.MASKED_INPUT or len(at) == 1):
                at.append(used())
        begin = cpu_seconds(sidecar.pid)
        said = heard(crew, names, "finished").values()
        down = cpu_seconds(sidecar.pid) - begin
    if not isinstance(event, ResultReady):
        raise LocalError(f"the round ended without a sum: {event}")
    told = {one["sums_sha256"] for one in said} | {event.sums_digest.hex()}
    (coordinator, participants), (coordinator_after, participants_after) = at
    return Spent(
        (coordinator_after - coordinator) / (len(names) * bytes_each),
        (participants_after - participants) / (len(names) * bytes_each),
        down / (len(names) * bytes_each),
        exact=told == {digest_of_sum(names, config).hex()},
    )


def _sections(spent: Spent, plain: Mapping[str, Figure]) -> Iterator[Section]:
    receiver, sender = (plain[f"plain_grpc_{end}_cpu_s"].value for end in ("receiver", "sender"))
    each = "CPU seconds for 10^9 bytes"
    yield Section(
        "upload",
        "Inputs on their way up, beside plain gRPC",
        (
            Figure("coordinator_cpu_s", spent.coordinator_up, note=f"receive, check, keep, add up; {each}"),
            Figure("participant_cpu_s", spent.participant_up, note=f"read, encode, mask, pack, send; {each}"),
            Figure("coordinator_to_plain_ratio", spent.coordinator_up / receiver, at_most(COORDINATOR_RATIO)),
            Figure("participant_to_plain_ratio", spent.participant_up / sender, at_most(PARTICIPANT_RATIO)),
        ),
    )
    yield Section(
        "download",
        "The sum on its way down, beside plain gRPC",
        (
            Figure("coordinator_down_cpu_s", spent.coordinator_down, note=f"read, send; {each}"),
            Figure("down_to_plain_ratio", spent.coordinator_down / sender, at_most(DOWNLOAD_RATIO)),
        ),
    )
    yield Section("limits", "What the machine can do", tuple(plain.values()))
