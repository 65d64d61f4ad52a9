"""What gRPC alone takes for a round: a server that does nothing has as many connections, calls and bytes.

No coordinator that speaks gRPC on asyncio can take less, so this stands beside what ours takes.
"""

from dataclasses import dataclass
from pathlib import Path

from secagg.tools.bench.memory import memory_of
from secagg.tools.bench.processor import cpu_seconds
from secagg.tools.bench.round import heard
from secagg.tools.bench.sink import CALLERS
from secagg.tools.bench.transport import sink_of
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.identities import Identities


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What each participant does in a round.

    Attributes:
        count: of calls, one after the other; each is answered when everybody has made it.
        bytes_up: of all messages that it sends, spread evenly over the calls.
        bytes_down: of all that it gets.
    """

    count: int
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True, slots=True)
class Bare:
    """What the server took: processor seconds of the calls without the handshakes, and bytes of memory at most."""

    cpu_s: float
    peak_bytes: int


def measure(calls: Calls, identities: Identities, folder: Path, workers: int) -> Bare:
    """Make the calls of everybody. Args: folder: for a log; workers: processes that share the participants.

    Raises:
        LocalError: a process failed.
    """
    participants = [str(each) for each in identities.participants.values()]
    with sink_of(identities.server, CALLERS, str(len(participants))) as sink:
        command = ["secagg.tools.bench.scale.caller", "--target", sink.target, "--calls", str(calls.count)]
        command += ["--bytes-up", str(calls.bytes_up // calls.count)]
        command += ["--bytes-down", str(calls.bytes_down // calls.count)]
        dealt = {f"caller-{i}": (*command, *participants[i::workers]) for i in range(min(workers, len(participants)))}
        with Crew(dealt, folder / "callers.log") as crew:
            heard(crew, dealt, "connected")
            before = cpu_seconds(sink.pid)
            for name in dealt:
                crew.order(name, "begin")
            heard(crew, dealt, "finished")
            return Bare(cpu_seconds(sink.pid) - before, memory_of(sink.pid).peak_bytes)
