"""`secagg bench gateway`: what calls and rounds over the gateway take of the coordinator's processor, beside gRPC.

One coordinator is called both ways. Its participants play the same rounds, all of them over gRPC and then all of them
over the gateway, and one connection makes small calls. The kernel says what the coordinator used of processors
meanwhile. The first round and the first call of each way are not counted.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from secagg_client import Client, ControlClient

from secagg.crypto.secret import Secret
from secagg.programs.keyfiles import NewFile, write_new
from secagg.tools.bench.machine import describe
from secagg.tools.bench.measure import wall_clock
from secagg.tools.bench.processor import cpu_seconds
from secagg.tools.bench.report import Figure, Report, Section
from secagg.tools.bench.round import RoundSetting, commands_of, heard, play
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.gateway_channel import GatewayChannel, over_gateway
from secagg.tools.deployment.identities import Identities, create_identities
from secagg.tools.deployment.sidecar import Sidecar
from secagg.tools.simulation.cohort import participant_names

REQUESTS_OF_A_CALL: Final = 2
"""Submit and Poll."""

GRPC: Final = "grpc"
GATEWAY: Final = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySetting:
    """What is played.

    Attributes:
        participants: n ≥ 3, each a process.
        values: length of each update, float32.
        rounds: counted of each way.
        calls: small ones of each way.
    """

    participants: int = 5
    values: int = 1_000_000
    rounds: int = 3
    calls: int = 1000


@dataclass(frozen=True, slots=True)
class Way:
    """What was found of one way.

    Attributes:
        round_cpu_s: of the coordinator, in each round.
        call_cpu_s: of the coordinator, for a small call.
        call_s: until a small call is answered, one after the other.
        exact: whether every sum was.
    """

    round_cpu_s: tuple[float, ...]
    call_cpu_s: float
    call_s: float
    exact: bool


def measure(setting: GatewaySetting, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Play the rounds and make the calls both ways.

    Raises:
        ConfigError: sizes that a round cannot have.
        LocalError: a process failed, or this is no Linux.
    """
    machine = describe()
    played = RoundSetting(participants=setting.participants, values=setting.values, dropouts=0)
    config = played.config()
    names = [str(name) for name in participant_names(setting.participants)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="secagg-bench-")))
        identities = create_identities(folder, names)
        keys = folder / "token.keys"
        write_new([NewFile(keys, Secret(os.urandom(32).hex().encode()))])
        sidecar = stack.enter_context(Sidecar(identities.server, folder, token_keys=keys))
        control = stack.enter_context(ControlClient(sidecar.control_plane))
        ways: dict[str, Way] = {}
        for name, target, more in (
            (GRPC, sidecar.data_plane, ()),
            (GATEWAY, str(sidecar.gateway), ("--token-keys", str(keys))),
        ):
            progress(f"{setting.rounds + 1} rounds over {name}")
            commands = {
                who: (*command, *more) for who, command in commands_of(played, identities, target, config).items()
            }
            with Crew(commands, folder / f"{name}.log") as crew:
                heard(crew, commands, "ready")
                spent, exact = [], True
                for _ in range(setting.rounds + 1):
                    before = cpu_seconds(sidecar.pid)
                    exact = play(control, crew, config, played).exact and exact
                    spent.append(cpu_seconds(sidecar.pid) - before)
            progress(f"{setting.calls} calls over {name}")
            with _client(identities, target, keys if name == GATEWAY else None) as client:
                ways[name] = Way(tuple(spent[1:]), *_calls(setting, client, sidecar), exact)
    return Report(
        "gateway",
        machine,
        {
            "participants": setting.participants,
            "values": setting.values,
            "rounds": setting.rounds,
            "calls": setting.calls,
        },
        sections(ways),
        exact=all(way.exact for way in ways.values()),
    )


def sections(ways: Mapping[str, Way]) -> tuple[Section, ...]:
    """The figures of both ways, and how they compare."""
    grpc, gateway = ways[GRPC], ways[GATEWAY]
    rounds = {name: median(way.round_cpu_s) for name, way in ways.items()}
    return (
        Section(
            "rounds",
            "The coordinator's processor time for a round",
            (
                Figure("grpc_round_cpu_s", rounds[GRPC], note="everybody over gRPC"),
                Figure("gateway_round_cpu_s", rounds[GATEWAY], note="everybody over the gateway"),
                Figure("gateway_round_ratio", rounds[GATEWAY] / rounds[GRPC], note="gateway to gRPC"),
            ),
        ),
        Section(
            "calls",
            "Small calls (Describe), one after the other on one connection",
            (
                Figure("grpc_call_s", grpc.call_s),
                Figure("gateway_call_s", gateway.call_s, note="two requests: Submit and Poll"),
                Figure("grpc_call_cpu_s", grpc.call_cpu_s, note="of the coordinator"),
                Figure("gateway_call_cpu_s", gateway.call_cpu_s, note="of the coordinator"),
                Figure("gateway_requests_per_s", REQUESTS_OF_A_CALL / gateway.call_s, note="on one connection"),
                Figure(
                    "gateway_requests_of_a_core_per_s",
                    REQUESTS_OF_A_CALL / gateway.call_cpu_s,
                    note="of all participants: the coordinator then does nothing else",
                ),
            ),
        ),
    )


def _calls(setting: GatewaySetting, client: Client, sidecar: Sidecar) -> tuple[float, float]:
    """Processor seconds of the coordinator and wall-clock seconds, of a call."""
    client.describe()
    before, start = cpu_seconds(sidecar.pid), wall_clock()
    for _ in range(setting.calls):
        client.describe()
    return (cpu_seconds(sidecar.pid) - before) / setting.calls, (wall_clock() - start) / setting.calls


@contextmanager
def _client(identities: Identities, target: str, token_keys: Path | None) -> Iterator[Client]:
    identity = next(iter(identities.participants.values()))
    certificate, key, ca = (identity / name for name in ("cert.pem", "key.pem", "ca.pem"))
    with Client.from_files(target, certificate=certificate, key=key, ca=ca) as client:
        if token_keys is not None:
            over_gateway(client, GatewayChannel.from_files(target, identity, token_keys))
        yield client
