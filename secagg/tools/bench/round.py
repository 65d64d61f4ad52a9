"""`secagg bench round`: rounds over real gRPC and TLS on loopback, every participant in a process of its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any, Final

import numpy as np
from secagg_client import ControlClient

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig, ThreatModel
from secagg.encoding.packing import chunk_values
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, LocalError
from secagg.lattice.summation import upload_layout
from secagg.tools.bench import transport
from secagg.tools.bench.comparison import Comparison
from secagg.tools.bench.machine import describe
from secagg.tools.bench.memory import memory_of
from secagg.tools.bench.report import Figure, Report
from secagg.tools.bench.round_figures import Played, Said, sections
from secagg.tools.bench.round_participant import MODEL, digest_of_sums
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.identities import Identities, create_identities
from secagg.tools.deployment.sidecar import Sidecar
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.grid import CODE, levels
from secagg.variants import EVERY_VARIANT, MASKED, Variant

TIMEOUT_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSetting:
    """What is played.

    Attributes:
        participants: n ≥ 3.
        values: length of each update, float32.
        dropouts: participants that leave half-way through their upload.
        variant: scheme and custody.
        threat_model: ACTIVE or SEMI_HONEST; homomorphic rounds are SEMI_HONEST whatever it says.
        rounds: played one after the other; the median counts.
        transport_bytes: sent to find the limit of the transport.
    """

    participants: int = 10
    values: int = 1_000_000
    dropouts: int = 2
    variant: Variant = MASKED
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
            threat_model=self.variant.threat_model(self.threat_model),
            homomorphic=self.variant.profile(self.participants, CODE.value_bits),
            release_to_coordinator=True,
        )
        if self.participants - self.dropouts < config.threshold:
            raise ConfigError(f"{self.dropouts} dropouts leave fewer than the threshold {config.threshold}; drop fewer")
        return config

    def described(self, config: RoundConfig) -> dict[str, Any]:
        """The setting as the report names it."""
        custody = {} if self.variant.custody is None else {"custody": self.variant.custody.value}
        experimental = {"experimental": True} if self.variant.experimental else {}
        return {
            "scheme": config.scheme,
            **custody,
            **experimental,
            "participants": self.participants,
            "values": self.values,
            "dropouts": self.dropouts,
            "threat_model": config.threat_model.name.lower(),
            "threshold": config.threshold,
            "rounds": self.rounds,
            "ring_bits": config.ring_bits,
        }


def measure(setting: RoundSetting, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Play the rounds of one variant, then find the limit of the transport.

    Raises:
        LocalError: a participant failed.
        MissingExtraError: the variant needs TenSEAL.
    """
    report, _ = _measure(setting, progress, with_transport=True)
    return report


def compare(
    setting: RoundSetting,
    variants: Sequence[Variant] = EVERY_VARIANT,
    progress: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Measure every variant in turn, on the same inputs, with a coordinator and participants of its own."""
    machine, reports, sums = describe(), {}, set()
    for variant in variants:
        progress(f"rounds: {variant.title}")
        report, digests = _measure(replace(setting, variant=variant), progress, with_transport=False)
        reports[variant.name] = report
        sums |= digests
    return Comparison("round", machine, reports, identical=len(sums) == 1)


def _measure(
    setting: RoundSetting, progress: Callable[[str], None], *, with_transport: bool
) -> tuple[Report, set[str]]:
    """The report, and the digests of the sums that came out."""
    machine, config = describe(), setting.config()
    names = [str(name) for name in participant_names(setting.participants)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="secagg-bench-")))
        identities = create_identities(folder, names)
        sidecar = stack.enter_context(Sidecar(identities.server, folder))
        progress(f"the start of {len(names)} participants")
        commands = commands_of(setting, identities, sidecar.data_plane, config)
        crew = stack.enter_context(Crew(commands, folder / "participants.log"))
        ready = heard(crew, commands, "ready")
        control = stack.enter_context(ControlClient(sidecar.control_plane))
        server = [memory_of(sidecar.pid)]
        played = []
        for number in range(1, setting.rounds + 1):
            progress(f"round {number} of {setting.rounds}")
            played.append(play(control, crew, config, setting))
            server.append(memory_of(sidecar.pid))
        plain: Figure | None = None
        if with_transport:
            progress("the transport")
            plain = transport.measure(identities, setting.transport_bytes, repeats=3)
    found = sections(config, played, ready, server, plain)
    report = Report("round", machine, setting.described(config), found, exact=all(p.exact for p in played))
    return report, {p.sums_sha256 for p in played}


def commands_of(
    setting: RoundSetting, identities: Identities, target: str, config: RoundConfig
) -> dict[str, tuple[str, ...]]:
    """How each participant is started, the first `dropouts` of them with the order to leave."""
    shared = ["secagg.tools.bench.round_participant", "--target", target, "--values", str(setting.values)]
    shared += ["--threat-model", config.threat_model.name, "--timeout-s", str(TIMEOUT_S)]
    shared += ["--allow-experimental"] if setting.variant.experimental else []
    leave = ("--leave-after-half-of", str(upload_chunks(config)))
    return {
        name: (*shared, "--identity", str(folder), *(leave if number < setting.dropouts else ()))
        for number, (name, folder) in enumerate(identities.participants.items())
    }


def upload_chunks(config: RoundConfig) -> int:
    """Chunks of one update on its way up."""
    if config.homomorphic is None:
        return -(-config.vector_len // chunk_values(config.ring_bits))
    return upload_layout(config.homomorphic, config.vector_len).chunks


def play(control: ControlClient, crew: Crew, config: RoundConfig, setting: RoundSetting) -> Played:
    """One round with the whole crew, from its opening until everybody has the sum."""
    names = list(crew.commands)
    start_s = time()
    round_id = control.open_round(config, timeout_s=TIMEOUT_S)
    for name in names:
        crew.order(name, round_id.hex())
    timeline = list(control.watch(round_id, timeout_s=TIMEOUT_S))
    aggregate = control.fetch(round_id, timeout_s=TIMEOUT_S)
    heard(crew, names[: setting.dropouts], "left")
    finished = heard(crew, names[setting.dropouts :], "finished")
    exact = _is_exact(aggregate, finished, setting.values)
    return Played(start_s, timeline, finished, digest_of_sums(aggregate.sums), exact)


def heard(crew: Crew, names: Iterable[str], event: str) -> dict[str, Said]:
    """What each of them says of the event.

    Raises:
        LocalError: one of them failed, ended, or says nothing for too long.
    """
    heard = crew.wait(dict.fromkeys(names, (event, "failed")), TIMEOUT_S)
    for name, said in heard.items():
        if said["event"] == "failed":
            raise LocalError(f"{name} failed instead of {event}: {said['message']}")
    return heard


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
