"""deploy/compose.yaml: one command trains on real images through the sidecar, and everything ends by itself."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.conftest import ROOT, program
from tests.deployment.containers import UID, engine
from tests.pages import Code

UP = "docker compose -f deploy/compose.yaml up"
PROJECT = f"secagg-test-{os.getpid()}"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """`docker compose` as a user has it, with the plug-in of requirements-deployment.lock."""
    home = tmp_path_factory.mktemp("docker")
    (home / "cli-plugins").mkdir()
    (home / "cli-plugins/docker-compose").symlink_to(program("docker-compose"))
    path = f"{Path(program('docker')).parent}:{os.environ['PATH']}"
    return {**os.environ, "DOCKER_CONFIG": str(home), "COMPOSE_PROJECT_NAME": PROJECT, "PATH": path}


def run(environment: dict[str, str], command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command.split(), cwd=ROOT, env=environment, text=True, check=False, timeout=900,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def told(environment: dict[str, str]) -> Iterator[str]:
    """What the whole example prints. Its containers are there until the end of the tests."""
    try:
        done = run(environment, UP)
        assert done.returncode == 0, done.stdout
        yield done.stdout
    finally:
        run(environment, "docker compose -f deploy/compose.yaml down --volumes --rmi all")


@pytest.fixture(scope="module")
def services(environment: dict[str, str]) -> dict[str, Any]:
    done = run(environment, "docker compose -f deploy/compose.yaml config --format json")
    return dict(json.loads(done.stdout)["services"])


@pytest.mark.runs("deploy/README.md", "sh", "docker compose")
def test_the_page_and_the_file_show_the_command_that_these_tests_run(page: Code, told: str) -> None:
    assert page.rest("sh") == [f"{UP}\n"]
    assert f"\n#     {UP}\n" in (ROOT / "deploy/compose.yaml").read_text()


def test_the_model_gets_better_from_round_to_round(told: str) -> None:
    rounds = re.findall(r"round (\d): mean over (\d+) images, accuracy (0\.\d+)", told)
    assert [number for number, _, _ in rounds] == ["1", "2", "3", "4", "5"]
    assert {images for _, images, _ in rounds} == {"1500"}
    assert float(rounds[-1][2]) > max(0.85, float(rounds[0][2]))


def test_every_container_ended_well_and_none_ran_as_root_or_with_rights(told: str) -> None:
    containers = engine().containers.list(all=True, filters={"label": f"com.docker.compose.project={PROJECT}"})
    assert len(containers) == 9
    for container in containers:
        host, state, config = (container.attrs[part] for part in ("HostConfig", "State", "Config"))
        assert (container.name, state["ExitCode"]) == (container.name, 0)
        assert config["User"] == f"{UID}:{UID}"
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]


def test_the_key_of_the_ca_is_on_no_volume_and_each_key_with_its_owner_alone(told: str) -> None:
    volumes = engine().volumes.list(filters={"label": f"com.docker.compose.project={PROJECT}"})
    names = {volume.name.removeprefix(f"{PROJECT}_"): Path(volume.attrs["Mountpoint"]) for volume in volumes}
    assert set(names) == {"control", "sidecar", *(f"site-{number}" for number in range(1, 6))}
    for name, place in names.items():
        found = {path.name for path in place.rglob("*") if path.is_file()}
        assert found == (set() if name == "control" else {"ca.pem", "cert.pem", "key.pem"})


def test_one_port_is_published_to_this_machine_alone(services: dict[str, Any]) -> None:
    published = [(name, port) for name, service in services.items() for port in service.get("ports", ())]
    assert [(name, port["host_ip"], port["published"], port["target"]) for name, port in published] == [
        ("sidecar", "127.0.0.1", "9464", 9464)
    ]


def test_the_fl_server_reaches_the_socket_and_participants_reach_the_data_plane(services: dict[str, Any]) -> None:
    sharing = {
        name for name, service in services.items() for v in service.get("volumes", ()) if v["source"] == "control"
    }
    assert sharing == {"sidecar", "flserver"}
    networked = {name for name, service in services.items() if service.get("network_mode") != "none"}
    assert networked == {"sidecar", *(f"site-{number}" for number in range(1, 6))}


def test_the_example_ends_with_an_error_if_a_participant_does(environment: dict[str, str], told: str) -> None:
    """Nobody waits for ever for what cannot come."""
    override = "services: {site-3: {command: ['-c', 'raise SystemExit(3)']}}"
    done = subprocess.run(
        ["docker", "compose", "-f", "deploy/compose.yaml", "-f", "-", "up"], cwd=ROOT, env=environment, input=override,
        text=True, check=False, timeout=300, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert 'service "site-3" didn\'t complete successfully: exit 3' in done.stdout
