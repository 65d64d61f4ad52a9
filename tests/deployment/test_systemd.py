"""The unit of deploy/systemd with systemd's own programs, and under a systemd that is booted for it.

The systemd of this machine is started as the first process of new namespaces, on a copy of the file system that is
thrown away. So users, folders, limits and system calls are those that the unit gives the sidecar on a real machine.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from secagg_server.limits import open_files
from secagg_server.settings import Settings

from tests.deployment.conftest import ROOT, program
from tests.pages import Code, blocks
from tests.serving import site

SYSTEMD: Final = ROOT / "deploy/systemd"
UNIT: Final = SYSTEMD / "secagg-server.service"
BOOT: Final = Path(__file__).parent / "boot"
PATIENCE_S: Final = 300.0
MOST_EXPOSURE: Final = 1.5
"""systemd-analyze's figure, of 10."""

EXPOSED: Final = {
    "PrivateNetwork=": "participants come over the network",
    "RestrictAddressFamilies=~AF_(INET|INET6)": "the same",
    "IPAddressDeny=": "from where they come, the operator knows",
    "RestrictAddressFamilies=~AF_UNIX": "the control socket",
    "RootDirectory=/RootImage=": "Python and its packages are the system's and /opt's",
    "DeviceAllow=": "ProtectClock lets the clock be read, and systemd-analyze counts that",
}
"""What systemd-analyze lists against the unit, and why it is so."""

[INSTALLS] = (text for text in blocks("deploy/README.md", "sh") if text.startswith("python3 -m venv /opt/secagg"))
"""The commands of the page."""

OURS: Final = """#!/bin/sh
export PYTHONPATH={path} LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/python3.{minor} -B {module}"$@"
"""


@contextmanager
def own_cgroups() -> Iterator[list[Path]]:
    """Control groups of which a new systemd takes the uppermost for the root."""
    top = Path("/sys/fs/cgroup")
    hierarchies = [top] if (top / "cgroup.controllers").exists() else [path for path in top.iterdir() if path.is_dir()]
    # A new group of cpuset has no processors at first. The unit asks nothing of it.
    own = [path / f"secagg-test-{os.getpid()}" for path in hierarchies if "cpuset" not in path.name]
    for path in own:
        path.mkdir()
    try:
        yield own
    finally:
        for path in own:
            for folder, _, _ in os.walk(path, topdown=False):
                Path(folder).rmdir()


def wait_until_empty(group: Path) -> None:
    """The kernel takes a moment to end all processes of a namespace."""
    end = time.monotonic() + PATIENCE_S
    while any(path.read_text() for path in group.rglob("cgroup.procs")):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def found() -> Iterator[Path]:
    """What the steps of driver.sh found, under a systemd that ran them."""
    assert os.geteuid() == 0, "boots a systemd in new namespaces: run it as root"
    with TemporaryDirectory(dir="/var/tmp") as folder, own_cgroups() as groups:
        place = Path(folder)
        place.chmod(0o755)
        packages = Path(sysconfig.get_path("purelib")).relative_to(ROOT)
        path = ":".join(f"/opt/checkout/{part}" for part in (".", "server", "client", packages))
        (place / "bin").mkdir()
        for name, module in (("secagg-server", "-m secagg_server "), ("python", "")):
            wrapper = place / "bin" / name
            wrapper.write_text(OURS.format(path=path, minor=sys.version_info.minor, module=module))
            wrapper.chmod(0o755)
        test = place / "test"
        shutil.copytree(BOOT, test)
        (test / "install.sh").write_text(_without_pip(INSTALLS))
        own = test / "secagg-ca/servers/aggregator.example.org"
        own.mkdir(parents=True)
        (own / "cert.pem").write_bytes(site().server.certificate_pem)
        (own / "key.pem").write_bytes(site().server.key_pem.expose())
        (test / "secagg-ca/ca.pem").write_bytes(site().ca_pem)
        for number, person in enumerate(list(site().people.values())[:3], 1):
            own = test / f"people/site-{number}"
            own.mkdir(parents=True)
            (own / "cert.pem").write_bytes(person.certificate_pem)
            (own / "key.pem").touch(0o644)
            (own / "key.pem").write_bytes(person.key_pem.expose())
        join = "".join(f"echo $$ >{group}/cgroup.procs; " for group in groups)
        namespaces = ("--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child")
        # If the test is killed, all of it ends with it.
        command = ["sh", "-ec", f'{join} exec "$@"', "sh", program("setpriv"), "--pdeathsig", "KILL"]
        command += [program("unshare"), *namespaces]
        command += ["sh", "-c", 'ip link set lo up; exec sh "$@"', "sh"]
        command += map(str, (BOOT / "boot.sh", place, ROOT, sys.base_prefix))
        with (place / "console").open("wb") as console:
            booted = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            end = time.monotonic() + PATIENCE_S
            while not (test / "found/done").exists():
                if time.monotonic() > end or booted.poll() is not None:
                    told = (place / "console", test / "server.log", *sorted(test.glob("found/*")))
                    pytest.fail("\n".join(f"{p.name}: {p.read_text(errors='replace')}" for p in told if p.exists()))
                time.sleep(0.2)
            yield test / "found"
        finally:
            booted.kill()
            booted.wait()
            for group in groups:
                wait_until_empty(group)


def _without_pip(commands: str) -> str:
    """The program is there already."""
    return "".join(line for line in commands.splitlines(True) if "/opt/secagg" not in line)


def of(found: Path, step: str) -> tuple[int, str]:
    return int((found / f"{step}.code").read_text()), (found / step).read_text()


def properties(found: Path, step: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in of(found, step)[1].splitlines())


def test_the_service_is_started_once_it_serves(found: Path) -> None:
    """`Type=notify`: the health check below comes at once after `systemctl start`."""
    assert of(found, "start")[0] == 0
    assert properties(found, "active") == {
        "ActiveState": "active",
        "SubState": "running",
        "Result": "success",
        "NRestarts": "0",
        "LimitNOFILE": "65536",
        "NotifyAccess": "main",
    }
    assert of(found, "fl-server") == (0, "SERVING\n")


@pytest.mark.runs("deploy/README.md", "sh", "python3 -m venv /opt/secagg")
def test_the_commands_of_the_page_install_it(found: Path, page: Code) -> None:
    commands = page.take("python3 -m venv")
    assert _without_pip(commands) == (found.parent / "install.sh").read_text()
    assert commands.count("\n") == _without_pip(commands).count("\n") + 2
    assert of(found, "start")[0] == 0, of(found, "start")[1]
    assert of(found, "enabled") == (0, "enabled\n")


def test_the_folder_of_the_socket_is_there_after_a_boot(found: Path) -> None:
    assert of(found, "after-boot") == (0, "drwxr-s--- secagg secagg-control /run/secagg\n")


def test_it_has_a_user_of_its_own_and_no_rights(found: Path) -> None:
    user, group, command = of(found, "user")[1].split(maxsplit=2)
    assert (user, group) == ("secagg", "secagg")
    assert "secagg_server serve" in command
    status = dict(line.split(":\t", 1) for line in of(found, "status")[1].splitlines() if ":\t" in line)
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Umask"] == "0077"


def test_the_folders_belong_to_those_who_use_them(found: Path) -> None:
    assert of(found, "folders")[1].splitlines() == [
        "drwxr-s--- secagg secagg-control /run/secagg",
        "srw-rw---- secagg secagg-control /run/secagg/control.sock",
        "drwx------ secagg secagg /var/lib/secagg",
        "drwx------ secagg secagg /var/lib/secagg/ledger",
    ]


def test_the_fl_server_reaches_the_socket_and_not_the_key_and_strangers_neither(found: Path) -> None:
    assert of(found, "fl-server")[0] == 0
    assert of(found, "key")[0] != 0
    assert of(found, "stranger")[0] == 1


def test_a_round_runs_under_every_limit_of_the_unit(found: Path) -> None:
    """Whatever numpy, gRPC, OpenSSL and the ledger's folder ask of the system, the filter lets them."""
    assert of(found, "round") == (0, "mean 0.25\n")


def test_a_reload_reads_the_certificate_again(found: Path) -> None:
    assert of(found, "reload")[0] == 0
    assert '"event": "credentials_renewed"' in (found.parent / "server.log").read_text()


def test_a_sidecar_that_crashed_says_where_and_comes_again(found: Path) -> None:
    """What it wrote last is logged by a process of its own, which systemd tells to end when the first one is gone."""
    code, said = of(found, "last-words")
    assert code == 0
    assert json.loads(said.splitlines()[0])["event"] == "last_words"
    assert properties(found, "again-active") == {"ActiveState": "active", "NRestarts": "1"}
    assert of(found, "again-health") == (0, "SERVING\n")


def test_the_folder_of_the_socket_outlives_a_restart(found: Path) -> None:
    """Else a container of the FL server that has it mounted would look at the old one for ever."""
    assert of(found, "restart")[0] == 0
    assert of(found, "same-folder")[0] == 0


def test_it_ends_in_order(found: Path) -> None:
    assert of(found, "stop")[0] == 0
    assert properties(found, "stopped") == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert of(found, "socket-gone")[0] == 0


def test_a_key_of_roots_that_the_services_group_reads_is_taken_and_an_open_one_is_not(found: Path) -> None:
    assert of(found, "roots-key")[0] == 0
    assert of(found, "open-key")[0] != 0
    assert "can be read by others (mode 0644)" in (found.parent / "server.log").read_text()


# --- without a boot ---------------------------------------------------------------------------------------------------


def test_nothing_is_exposed_but_what_the_sidecar_is_for() -> None:
    def analyzed(*options: str) -> str:
        command = [program("systemd-analyze"), "security", "--offline=true", *options, str(UNIT)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    found = json.loads(analyzed("--json=short"))
    assert {each["name"] for each in found if not each["set"] and each["exposure"]} == set(EXPOSED)
    [figure] = re.findall(r"Overall exposure level for secagg-server.service: (\d\.\d)", analyzed())
    assert float(figure) <= MOST_EXPOSURE
    assert f"`systemd-analyze security secagg-server` says {figure} of 10" in (ROOT / "deploy/README.md").read_text()


def test_systemd_reads_every_line_of_the_unit(tmp_path: Path) -> None:
    def verified(text: str) -> tuple[int, str]:
        unit = tmp_path / "secagg-server.service"
        unit.write_text(text.replace("/opt/secagg/bin/secagg-server", shutil.which("true") or ""))
        done = subprocess.run([program("systemd-analyze"), "verify", unit], capture_output=True, text=True, check=False)
        return done.returncode, "".join(line for line in done.stderr.splitlines(True) if unit.name in line)

    assert verified(UNIT.read_text()) == (0, "")
    assert "ProtectEverything" in verified(UNIT.read_text() + "[Service]\nProtectEverything=yes\n")[1]


def test_the_unit_has_more_time_than_the_sidecar_takes_to_end() -> None:
    unit = UNIT.read_text()
    [stop] = re.findall(r"^TimeoutStopSec=(\d+)s$", unit, re.MULTILINE)
    assert int(stop) > 2 * Settings.model_fields["shutdown_grace_s"].default
    [files] = re.findall(r"^LimitNOFILE=(\d+)$", unit, re.MULTILINE)
    assert int(files) == open_files._WANTED
