"""The participants of a simulation on the nodes of a Ray cluster, for cohorts that one machine has no room for.

Each CPU that is free on the cluster gets a process with its share of the participants. The coordinator stays in the
process that calls this, with all hooks of the simulation. Nothing here protects anything: identities and updates are
made for the simulation, and they end with it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from secagg_server.placing import check_there

from secagg.errors import ConfigError, MissingExtraError, WorkerError
from secagg.messages import ParticipantId
from secagg.tools.simulation.hosts import Ask, Host, Spread, Wait
from secagg.tools.simulation.stopwatch import Clock


@contextmanager
def joined(address: str) -> Iterator["Cluster"]:
    """Inside, this process belongs to the Ray cluster at `address`: HOST:PORT of its head node, or `auto`.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: there is no such cluster, or no CPU of it is free.
    """
    try:
        import ray  # noqa: PLC0415, slow to load, and of an extra
    except ModuleNotFoundError:
        raise MissingExtraError("engine ray", "cluster") from None
    check_there(address)
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"there is no Ray cluster at {address} (--ray-address): {error}") from None
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()


class Cluster:
    """A Ray cluster that this process belongs to."""

    def __init__(self, ray: ModuleType) -> None:
        """Args: ray: the module.

        Raises:
            ConfigError: no CPU is free.
        """
        self._ray = ray
        self.processes = int(ray.available_resources().get("CPU", 0))
        if self.processes < 1:
            raise ConfigError("no CPU of the Ray cluster is free for participants: start a node with --num-cpus")

    def spread(self, names: Sequence[ParticipantId], clock: Clock, *, signed: bool) -> Spread:
        """Participants in as many processes as there are CPUs.

        Args:
            names: of the participants.
            clock: seconds; each process measures the work of its participants on its own.
            signed: whether participants have identities.
        """
        return Spread(names, self._make, self.processes, signed=signed, share=self._ray.put, clock=clock)

    def _make(self, names: Sequence[ParticipantId], ca: tuple[bytes, bytes] | None, clock: Clock) -> Ask:
        actor = self._ray.remote(num_cpus=1)(Host).options(scheduling_strategy="SPREAD").remote(names, ca, clock)

        def ask(method: str, *arguments: Any) -> Wait:
            answer = getattr(actor, method).remote(*arguments)
            return lambda: self._result(lambda: self._ray.get(answer), len(names))

        return ask

    def _result(self, get: Callable[[], Any], participants: int) -> Any:
        failed = self._ray.exceptions
        try:
            return get()
        except failed.RayTaskError:
            raise  # an error of our own there, which keeps its class
        except failed.RayError as error:
            raise WorkerError(
                f"a process of the Ray cluster was lost, and {participants} participants of the simulation with it: "
                f"{' '.join(str(error).split())[:300]}. Every node needs this version of secagg, and memory for its "
                "share of the participants; then run it again with the same --seed"
            ) from None
