"""Ingress workers as actors of a Ray cluster: where they run, and that they run again when one dies.

The coordinator is the head: the process that the operator started, with its rounds, its state folder and its control
plane. It joins the cluster as a driver, and leaves a named actor there that says where its link is; a second
coordinator finds the name taken. One ingress worker runs on each unit of the resource `secagg_ingress`, which the
operator gives to the nodes whose ports participants can reach. Ray starts a worker again where one died, and that asks
the named actor for the link. All of them end with the head.

Ray carries settings and addresses, and no key, no share and no value: those go over the link. But whoever can speak to
Ray's ports can run programs on all nodes, and read the coordinator's key there. So a cluster of several machines is
refused unless Ray itself lets nobody in.
"""

import asyncio
import os
import time
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from ipaddress import ip_address
from socket import create_connection
from threading import Thread
from types import ModuleType
from typing import Any, Final

from secagg.errors import ConfigError, MissingExtraError
from secagg.transport.addresses import parse_tcp
from secagg.transport.tls import SUITES, VARIABLE
from secagg_server.app import capacity_of
from secagg_server.ingress.worker import running_worker
from secagg_server.limits.memory import settle_allocator, settle_collector
from secagg_server.observability.logs import configure_logs
from secagg_server.settings import Settings

RESOURCE: Final = "secagg_ingress"
"""Of a node: how many ingress workers may run there."""

NAMESPACE: Final = "secagg"
HEAD: Final = "secagg-head"
"""The name of the actor that says where the link is."""

_REACHED_S: Final = 5.0

_TAKEN_S: Final = 15.0
"""How long the actor of a coordinator that has just ended may still have the name."""


@contextmanager
def joined(settings: Settings) -> Iterator[ModuleType]:
    """Inside, this process belongs to the cluster at `ray_address`. Before signals are handled, as Ray has a handler of
    its own; gives the module `ray`.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: there is no such cluster, it is not safe, or no node has room for the workers.
    """
    try:
        import ray  # noqa: PLC0415, slow to load, and of an extra
    except ModuleNotFoundError:
        raise MissingExtraError("engine ray", "cluster") from None
    check_there(settings.ray_address or "")
    try:
        context = ray.init(
            address=settings.ray_address,
            namespace=NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            runtime_env={"env_vars": {VARIABLE: SUITES}},
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"there is no Ray cluster at {settings.ray_address} (setting ray_address): {error}") from None
    try:
        machines = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        check_safe(machines, getattr(context, "dashboard_url", None) or "", os.environ)
        check_reachable(machines, settings.link or "")
        room = int(ray.cluster_resources().get(RESOURCE, 0))
        if room < settings.ingress_workers:
            raise ConfigError(
                f"{settings.ingress_workers} ingress workers are wanted (setting ingress_workers), and the nodes of "
                f"the cluster have room for {room}: start nodes with --resources '{{\"{RESOURCE}\": 1}}'"
            )
        yield ray
    finally:
        ray.shutdown()


def check_there(address: str) -> None:
    """Refuse an address of a Ray cluster at which nobody listens: Ray itself would try for minutes.

    Args:
        address: HOST:PORT, or something else that Ray alone can read, such as `auto`.

    Raises:
        ConfigError: nobody listens there.
    """
    try:
        at = parse_tcp(address)
    except ConfigError:
        return
    try:
        create_connection((at.host.strip("[]"), at.port), _REACHED_S).close()
    except OSError as error:
        raise ConfigError(f"there is no Ray cluster at {address} (ray_address): {error}") from None


def check_safe(machines: set[str], dashboard: str, environment: Mapping[str, str]) -> None:
    """Refuse a cluster in which strangers could run programs.

    Args:
        machines: addresses of its nodes.
        dashboard: HOST:PORT where Ray's dashboard listens; empty if it does not.
        environment: of this process; it names what Ray was told.

    Raises:
        ConfigError: says what to set.
    """
    if len(machines) > 1 and environment.get("RAY_USE_TLS") != "1":  # check: ray-tls
        raise ConfigError(
            f"the Ray cluster has {len(machines)} machines and Ray speaks without TLS: whoever reaches its ports could "
            "read the coordinator's key. Set RAY_USE_TLS=1 and its certificates on every node, as docs/cluster.md says"
        )
    if dashboard and not _local(dashboard) and environment.get("RAY_AUTH_MODE") != "token":  # check: ray-dashboard
        raise ConfigError(
            f"Ray's dashboard at {dashboard} lets everybody run programs: start Ray with --dashboard-host 127.0.0.1 or "
            "--include-dashboard false, or with RAY_AUTH_MODE=token"
        )


def check_reachable(machines: set[str], link: str) -> None:
    """Refuse a link that workers of other machines cannot reach. Args: machines: addresses of the cluster's nodes.

    Raises:
        ConfigError: it is on loopback, and there are others.
    """
    if len(machines) > 1 and _local(link):
        raise ConfigError(
            f"the workers of other machines cannot reach the link at {link} (setting link): give it an address of the "
            "cluster's network, as 0.0.0.0:7444"
        )


def _local(address: str) -> bool:
    host = address.rpartition(":")[0].removeprefix("http://").strip("[]")
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


@asynccontextmanager
async def placed(ray: ModuleType, settings: Settings, link: str) -> AsyncIterator[list[Any]]:
    """Inside, `ingress_workers` of them run in the cluster, and run again when they die; gives the actors.

    Args:
        ray: the module, of a process that belongs to the cluster.
        settings: of the coordinator.
        link: HOST:PORT where its link listens.

    Raises:
        ConfigError: another coordinator has this cluster.
    """
    address = parse_tcp(link)
    reached = ray.util.get_node_ip_address() if address.host in {"0.0.0.0", "[::]"} else address.host  # noqa: S104
    with ExitStack() as running:
        post = await asyncio.to_thread(_post, ray, f"{reached}:{address.port}")
        running.callback(ray.kill, post)
        actor = ray.remote(max_restarts=-1, resources={RESOURCE: 1}, num_cpus=0)(Ingress)
        given = settings.model_dump(mode="json", exclude_none=True)
        actors = [actor.options(scheduling_strategy="SPREAD").remote(given) for _ in range(settings.ingress_workers)]
        for each in actors:
            running.callback(ray.kill, each)
        yield actors


def _post(ray: ModuleType, link: str) -> Any:
    """The named actor, on the machine of this process: whatever other machine is lost, workers find the link."""
    own = ray.get_runtime_context().get_node_id()
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(own, soft=False)
    actor = ray.remote(num_cpus=0)(Head).options(name=HEAD, namespace=NAMESPACE, scheduling_strategy=here)
    until = time.monotonic() + _TAKEN_S
    while True:
        try:
            post = actor.remote(link)
            ray.get(post.link.remote())
        except ValueError:  # the name is taken
            if time.monotonic() > until:
                raise ConfigError(
                    "another coordinator has this Ray cluster: one round has one head; give each its own cluster"
                ) from None
            time.sleep(0.5)
        else:
            return post


class Head:
    """The named actor: it says where the link of the one head is."""

    def __init__(self, link: str) -> None:
        self._link = link

    def link(self) -> str:
        """HOST:PORT, as workers reach it."""
        return self._link


class Ingress:
    """The actor that is an ingress worker. Its process serves participants from its start to its end, and ends when it
    cannot: then Ray starts another one.
    """

    def __init__(self, given: Mapping[str, object]) -> None:
        """Nothing here fails, since Ray does not start an actor again whose making failed.

        Args:
            given: the settings of the coordinator, whose files must be on this node, too.
        """
        self._given = given
        self._listens: Future[str] = Future()
        Thread(target=self._serve, name="ingress", daemon=True).start()

    def listens(self) -> str:
        """HOST:PORT for participants, once they are served."""
        return self._listens.result()

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        finally:
            traceback.print_exc()  # into the log that Ray keeps of this process
            os._exit(1)

    async def _run(self) -> None:
        import ray  # noqa: PLC0415, of an extra

        settle_allocator()
        settle_collector()
        settings = Settings(**self._given)  # type: ignore[arg-type]
        configure_logs(settings)
        head = await asyncio.to_thread(ray.get_actor, HEAD, NAMESPACE)
        link: str = await head.link.remote()
        async with running_worker(settings, link, capacity=capacity_of(None)) as running:
            self._listens.set_result(running.data_address)
            await running.ended
