"""Images of deploy/Dockerfile and containers of them, at the engine that DOCKER_HOST names."""

import atexit
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import docker
import pytest
from docker.errors import BuildError, DockerException
from docker.models.containers import Container
from docker.models.images import Image
from secagg_client import ControlClient

from tests.deployment.conftest import ROOT
from tests.serving import write_site
from tests.taking_part import QUICK

PATIENCE_S: Final = 180.0
"""No test waits longer than this for a container."""

RESTRICTED: Final[Mapping[str, Any]] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "pids_limit": 200,
    "mem_limit": "512m",
}
"""What a careful deployment allows a container."""

UID: Final = 65532


@cache
def engine() -> docker.DockerClient:
    """The container engine."""
    if os.geteuid() != 0:
        pytest.fail("run these tests as root: what the sidecar reads must belong to its own user")
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        pytest.fail(f"no container engine answers ({error}): start one, or name it in DOCKER_HOST")
    atexit.register(remove_images)
    return client


@cache
def sidecar_image() -> Image:
    """What `docker build` makes where nothing is said."""
    return build(ROOT, "secagg-test-sidecar", target="sidecar")


@cache
def accounting_image() -> Image:
    """The image that can account for rounds with noise."""
    return build(ROOT, "secagg-test-accounting", target="sidecar", buildargs={"EXTRAS": "server-dp"})


@cache
def tracing_image() -> Image:
    """The image that can send traces."""
    return build(ROOT, "secagg-test-tracing", target="sidecar", buildargs={"EXTRAS": "server-otel"})


def build(context: Path, tag: str, *, buildargs: Mapping[str, str] | None = None, **options: Any) -> Image:
    """Build deploy/Dockerfile; BASE_IMAGE and PIP_INDEX_URL come from the environment, as with compose."""
    ours = {name: os.environ[name] for name in ("BASE_IMAGE", "PIP_INDEX_URL") if name in os.environ}
    try:
        return engine().images.build(
            path=str(context),
            dockerfile="deploy/Dockerfile",
            tag=f"{tag}:{os.getpid()}",
            buildargs={**ours, **(buildargs or {})},
            rm=True,
            forcerm=True,
            **options,
        )[0]
    except BuildError as error:
        pytest.fail("".join(str(line.get("stream", line.get("error", ""))) for line in error.build_log))


def remove_images() -> None:
    """Remove what this process built; layers that other images share stay."""
    for tag in [tag for image in engine().images.list() for tag in image.tags if tag.endswith(f":{os.getpid()}")]:
        engine().images.remove(tag, force=True)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A running container.

    Attributes:
        home: its folder on this machine: `etc` is /etc/secagg and `run` is /run/secagg there.
    """

    container: Container
    home: Path

    @property
    def address(self) -> str:
        """Where participants on this machine connect."""
        self.container.reload()
        (place, *_) = self.container.attrs["NetworkSettings"]["Ports"]["7443/tcp"]
        return f"127.0.0.1:{place['HostPort']}"

    def control(self) -> ControlClient:
        """The FL server's side, through the folder that both share."""
        return ControlClient(f"unix:{self.home}/run/control.sock", retry=QUICK)

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log lines so far."""
        return [json.loads(line) for line in self.container.logs().splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines of one event."""
        return [line for line in self.log if line["event"] == name]

    @property
    def state(self) -> dict[str, Any]:
        """What the engine says of it."""
        self.container.reload()
        return dict(self.container.attrs["State"])

    @property
    def health(self) -> str:
        """starting, healthy or unhealthy."""
        return str(self.state["Health"]["Status"])

    def until_ready(self, times: int = 1) -> None:
        """Wait until it has said so often that it is ready."""
        until(lambda: len(self.events("ready")) >= times or not self.state["Running"])
        assert len(self.events("ready")) >= times, self.container.logs()

    def python(self, code: str) -> str:
        """What Python code prints that runs inside, as the sidecar's user."""
        result = self.container.exec_run(["/opt/secagg/bin/python", "-c", code])
        assert result.exit_code == 0, result.output
        assert isinstance(result.output, bytes)
        return result.output.decode()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; a failure if it does not after `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            pytest.fail("waited in vain")
        time.sleep(0.05)


@contextmanager
def running(image: Image, *, wait: bool = True, **options: Any) -> Iterator[Sidecar]:
    """A container for as long as the block lasts, with certificates that `tests.serving` knows the participants of."""
    home = Path(tempfile.mkdtemp(prefix="secagg-"))  # the path of a socket is short
    for name in ("etc", "run"):
        (home / name).mkdir()
    write_site(home / "etc")
    for path in home.rglob("*"):
        os.chown(path, UID, UID)
    volumes = {f"{home}/etc": {"bind": "/etc/secagg", "mode": "ro"}, f"{home}/run": {"bind": "/run/secagg"}}
    given = {**RESTRICTED, **options}
    given["volumes"] = volumes | given.get("volumes", {})
    container = engine().containers.create(image, ports={"7443/tcp": ("127.0.0.1", 0)}, **given)
    try:
        container.start()
        sidecar = Sidecar(container, home)
        if wait:
            sidecar.until_ready()
        yield sidecar
    finally:
        container.remove(force=True, v=True)
        shutil.rmtree(home)
