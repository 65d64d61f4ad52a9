"""The pod of the chart without a cluster: its own volumes, users and settings, and the real sidecar between them.

There is no Kubernetes on a build machine. So kubelet is imitated as far as the sidecar notices (`tests/kubelet.py`).
The files of Secret and ConfigMap are root's, readable by the pod's group and exchanged by the rename of a link. The
folder of the socket belongs to that group. Users and groups of the processes are those of the rendered pod.
"""

import json
import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
import yaml

from tests.deployment.chart import RENDERED, ROOT
from tests.deployment.conftest import program
from tests.kubelet import Volume
from tests.serving import site

PATIENCE_S: Final = 180.0
OBJECTS: Final = {each["kind"]: each for each in yaml.safe_load_all(RENDERED.read_text())}
POD: Final = OBJECTS["StatefulSet"]["spec"]["template"]["spec"]
GROUP: Final = POD["securityContext"]["fsGroup"]
SIDECAR, FL_SERVER = POD["initContainers"][0]["securityContext"], POD["containers"][0]["securityContext"]
AS_USER: Final = """
set -e
mount --bind "$1" "$3/python"
mount --bind "$2" "$3/checkout"
[ "$7" = sidecar ] || { mount --bind "$3/run" "$3/run"; mount -o remount,bind,ro "$3/run"; }
user=$4 group=$5 groups=$6
shift 7
exec setpriv --reuid "$user" --regid "$group" --groups "$groups" --no-new-privs --bounding-set=-all "$@"
"""
"""Python and the checkout may be in a folder that is closed to other users: they are seen elsewhere, too. Only the
sidecar can write the socket's folder.
"""


class Pod:
    """The folders of a pod, in a folder that every user can enter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o755)
        [mode] = [v["projected"]["defaultMode"] for v in POD["volumes"] if v["name"] == "identity"]
        self.identity = Volume(folder / "etc", mode, GROUP)
        self.control, self.ledger = folder / "run", folder / "lib"
        for given_to_the_group in (self.control, self.ledger):  # an emptyDir and a new volume, after fsGroup
            given_to_the_group.mkdir()
            os.chown(given_to_the_group, 0, GROUP)
        self.control.chmod(0o3777)  # in memory: a tmpfs has the sticky bit
        self.ledger.chmod(0o2775)
        for seen in ("python", "checkout"):
            (folder / seen).mkdir()
        self.write(site().server)

    def write(self, server: Any) -> None:
        """As kubelet does when the Secret has changed."""
        settings = OBJECTS["ConfigMap"]["data"]["secagg-server.toml"]
        for path, here in {"/etc/secagg": "etc", "/run/secagg": "run", "/var/lib/secagg": "lib"}.items():
            settings = settings.replace(f"{path}/", f"{self.folder / here}/")
        settings = settings.replace('"0.0.0.0:7443"', '"127.0.0.1:0"').replace('"0.0.0.0:9464"', '"127.0.0.1:0"')
        self.identity.write(
            {
                "cert.pem": server.certificate_pem,
                "key.pem": server.key_pem.expose(),
                "ca.pem": site().ca_pem,
                "secagg-server.toml": settings.encode(),
            }
        )

    def command(self, *arguments: str, user: int, groups: list[int]) -> dict[str, Any]:
        """For `subprocess`: our program as a user, whose primary group has the same number."""
        seen = self.folder / "checkout"
        packages = Path(sysconfig.get_path("purelib")).relative_to(ROOT)
        python = self.folder / "python/bin" / f"python3.{sys.version_info.minor}"
        role = "sidecar" if user == SIDECAR["runAsUser"] else "fl-server"
        who = [str(user), str(user), ",".join(map(str, groups or [user])), role]
        return {
            "args": [
                *(program("unshare"), "--mount", "sh", "-c", AS_USER, "sh", sys.base_prefix, ROOT, self.folder, *who),
                *(python, "-B", "-m", "secagg_server", *arguments),
            ],
            "cwd": "/",
            "env": {
                **(
                    {"SECAGG_SERVER_CONFIG": str(self.identity.folder / "secagg-server.toml")}
                    if GROUP in groups
                    else {}
                ),
                "PYTHONPATH": ":".join(str(seen / part) for part in (".", "server", packages)),
                "LD_LIBRARY_PATH": str(self.folder / "python/lib"),
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            },
            "text": True,
        }

    def run(
        self, *arguments: str, user: int = SIDECAR["runAsUser"], groups: Sequence[int] = (GROUP,)
    ) -> tuple[int, str]:
        """Exit code and what it said."""
        given = self.command(*arguments, user=user, groups=list(groups))
        done = subprocess.run(**given, capture_output=True, check=False, timeout=PATIENCE_S)
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def sidecar(self) -> Iterator["Lines"]:
        with subprocess.Popen(
            **self.command("serve", user=SIDECAR["runAsUser"], groups=[GROUP]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as child:
            try:
                yield Lines(child)
            finally:
                child.terminate()
                child.wait(PATIENCE_S)
            assert child.returncode == 0


class Lines:
    """The log of a process."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self._lines.put(line)

    def wait_for(self, event: str) -> dict[str, Any]:
        seen = []
        while True:
            line = self._lines.get(timeout=PATIENCE_S)
            seen.append(line)
            try:
                told: dict[str, Any] = json.loads(line)
            except ValueError:
                pytest.fail("".join(seen))
            if told["event"] == event:
                return told


@pytest.fixture
def pod() -> Iterator[Pod]:
    assert os.geteuid() == 0, "imitates users and groups of a pod: run it as root"
    with TemporaryDirectory(dir="/var/tmp") as folder:  # pytest's own are closed to other users
        yield Pod(Path(folder))


def test_the_sidecar_starts_with_what_kubernetes_mounts_and_the_fl_server_reaches_it(pod: Pod) -> None:
    key = pod.identity.folder / "key.pem"
    assert key.stat().st_uid == 0
    assert key.stat().st_mode & 0o777 == 0o440
    with pod.sidecar() as log:
        log.wait_for("ready")
        assert pod.run("health") == (0, "SERVING\n")
        assert pod.run("health", user=FL_SERVER["runAsUser"]) == (0, "SERVING\n")
        at = f"unix:{pod.control}/control.sock"
        code, said = pod.run("health", "--control", at, user=60_000, groups=())
        assert (code, said) == (1, f"error: no coordinator answers at {at}: UNAVAILABLE\n")
    assert (pod.ledger / "ledger/lock").stat().st_uid == SIDECAR["runAsUser"]


def test_a_renewed_secret_is_in_force_without_a_restart(pod: Pod) -> None:
    with pod.sidecar() as log:
        log.wait_for("ready")
        pod.write(site().another_server())
        log.wait_for("credentials_renewed")


def test_a_second_pod_finds_the_state_taken(pod: Pod) -> None:
    with pod.sidecar() as log:
        log.wait_for("ready")
        code, said = pod.run("serve", "--control", f"unix:{pod.control}/another.sock")
    assert code == 1
    assert "belongs to a coordinator that is running" in said


def test_a_pod_that_comes_again_takes_its_ledger(pod: Pod) -> None:
    """With OnRootMismatch kubelet leaves the volume as it is, because its root has the group already."""
    for _ in range(2):
        with pod.sidecar() as log:
            log.wait_for("ready")
        assert (pod.ledger / "ledger").stat().st_mode & 0o777 == 0o700


def test_always_would_open_the_ledger_and_the_sidecar_would_refuse_it(pod: Pod) -> None:
    """The twin: what fsGroupChangePolicy Always does to every folder."""
    with pod.sidecar() as log:
        log.wait_for("ready")
    (pod.ledger / "ledger").chmod(0o2770)
    code, said = pod.run("serve")
    assert code == 1
    assert "can be written by others; run: chmod 700" in said


def test_a_secret_without_a_mode_is_refused_and_the_error_says_what_to_write(pod: Pod) -> None:
    """A volume without defaultMode has files with mode 0644."""
    key = (pod.identity.folder / "key.pem").resolve()
    key.chmod(0o644)
    code, said = pod.run("check-config", "--files-only")
    assert code == 1
    assert "can be read by others (mode 0644)" in said
    assert "defaultMode 0400" in said
