"""docs/beside-an-fl-server.md leads from a compose file with an FL server to one with the sidecar beside it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.conftest import ROOT, program
from tests.machine import free_port
from tests.pages import Code

IMAGES = {"secagg-server": f"secagg-beside-sidecar:{os.getpid()}", "fl": f"secagg-beside-fl:{os.getpid()}"}
GIVEN = [name for name in ("BASE_IMAGE", "PIP_INDEX_URL") if name in os.environ]
"""What an engine that cannot reach the usual base image is told, by the environment as with compose."""


class Newcomer:
    """Somebody who types what the page says, in a folder beside the checkout. Ports and names of images are our own."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "fl"
        self.folder.mkdir()
        (home / "secagg").symlink_to(ROOT)
        plugins = home / "docker/cli-plugins"
        plugins.mkdir(parents=True)
        (plugins / "docker-compose").symlink_to(program("docker-compose"))
        self._ports = {"7443": str(free_port()), "9464": str(free_port())}
        self._environment = {
            **os.environ,
            "DOCKER_CONFIG": str(home / "docker"),
            "COMPOSE_PROJECT_NAME": f"secagg-beside-{os.getpid()}",
            "PATH": f"{home}/venv/bin:{Path(program('docker')).parent}:{os.environ['PATH']}",
        }

    def types(self, text: str) -> str:
        arguments = "".join(f" --build-arg {name}" for name in GIVEN)
        text = text.replace("docker build", f"docker build{arguments}").replace("sudo ", "")
        text = text.replace("-t secagg-server", f"-t {IMAGES['secagg-server']}")
        for usual, own in self._ports.items():
            text = text.replace(f"localhost:{usual}", f"localhost:{own}")
        done = subprocess.run(
            ["bash", "-eu", "-c", text], cwd=self.folder, env=self._environment, text=True, timeout=900, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        return done.stdout

    def makes_the_files_his_own(self) -> None:
        path = self.folder / "compose.yaml"
        text = path.read_text()
        for usual, own in IMAGES.items():
            text = text.replace(f"image: {usual}\n", f"image: {own}\n")
        for usual, own in self._ports.items():
            text = text.replace(f"{usual}:{usual}", f"{own}:{usual}")
        path.write_text(text)

    def leaves(self) -> None:
        if (self.folder / "compose.yaml").exists():
            self.types("docker compose down --volumes --timeout 2")
        self.types(f"docker image rm --force {' '.join(IMAGES.values())}")


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    made = Newcomer(tmp_path)
    yield made
    made.leaves()


def weights(told: str) -> list[str]:
    """What the FL server printed after each of its rounds."""
    return re.findall(r"round \d: weights (.*)", told)


@pytest.mark.runs("docs/beside-an-fl-server.md", "sh")
def test_from_a_compose_file_to_the_sidecar_beside_it(newcomer: Newcomer, page: Code) -> None:
    copied, started = page.take("cp -r ../secagg/docs/examples").splitlines()
    newcomer.types(copied)
    newcomer.makes_the_files_his_own()
    plain = weights(newcomer.types(started))
    assert len(plain) == 3

    newcomer.types(page.take("docker build"))
    newcomer.types(page.take(". ../venv/bin/activate"))
    newcomer.types(page.take("cp ../secagg/docs/examples"))
    newcomer.makes_the_files_his_own()
    assert weights(newcomer.types(page.take("docker compose up"))) == plain

    assert "serving" in newcomer.types(page.take("docker compose exec")).lower()
    newcomer.types(page.take("secagg doctor"))
    assert "sum_ready" in newcomer.types(page.take("docker compose logs sidecar"))
    other_user = "docker compose run --rm --no-deps --user 1000:1000 --entrypoint /opt/fl/bin/secagg flserver"
    assert "done" in newcomer.types(f"{other_user} round list --control unix:/run/secagg/control.sock")
    newcomer.types("chown -R 0:0 identities/sidecar")
    refused = newcomer.types("docker compose run --rm --no-deps sidecar check-config --files-only || true")
    assert "Permission denied" in refused
    assert "run: sudo chown -R 65532 /etc/secagg" in refused
    newcomer.types(page.take("docker compose down"))
