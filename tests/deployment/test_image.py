"""What is in the image, and what is not; and that two builds of the same sources are the same."""

import io
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
from functools import cache
from pathlib import Path, PurePosixPath

from secagg import __version__
from tests.deployment.conftest import ROOT, program
from tests.deployment.containers import UID, build, engine, sidecar_image

MOST_BYTES = 120_000_000
KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{40}")


@cache
def layers() -> list[bytes]:
    """Each layer as a tar archive, and the configuration last."""
    archive = tarfile.open(fileobj=io.BytesIO(b"".join(sidecar_image().save())))  # noqa: SIM115
    (manifest,) = json.load(read(archive, "manifest.json"))
    return [read(archive, name).getvalue() for name in (*manifest["Layers"], manifest["Config"])]


def read(archive: tarfile.TarFile, name: str) -> io.BytesIO:
    file = archive.extractfile(name)
    assert file is not None
    return io.BytesIO(file.read())


@cache
def members() -> list[tarfile.TarInfo]:
    found = []
    for layer in layers()[:-1]:
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            found += archive.getmembers()
    return found


def paths() -> list[PurePosixPath]:
    return [PurePosixPath("/") / member.name for member in members()]


def test_it_is_small_and_has_two_layers() -> None:
    image = sidecar_image()
    assert image.attrs["Size"] <= MOST_BYTES
    assert len(image.attrs["RootFS"]["Layers"]) == 2


def test_whatever_may_run_is_python_or_ours() -> None:
    programs = {
        path.name
        for path, member in zip(paths(), members(), strict=True)
        if (member.isfile() and member.mode & 0o111 and not path.name.startswith("ld-linux"))
        or (member.issym() and path.parent.name == "bin")
    }
    assert {re.sub(r"[\d.]+$", "", name) for name in programs} == {"python", "secagg", "secagg-server"}


def test_no_file_lends_rights_or_may_be_changed_by_others() -> None:
    for path, member in zip(paths(), members(), strict=True):
        assert member.isdir() or member.isfile() or member.issym(), path
        if not member.issym():
            assert not member.mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH), path


def test_the_sidecars_user_owns_the_folders_of_its_volumes_alone() -> None:
    owned = {str(path) for path, member in zip(paths(), members(), strict=True) if member.uid}
    last = {str(path): (member.uid, member.gid) for path, member in zip(paths(), members(), strict=True)}
    homes = {"/etc/secagg", "/run/secagg", "/var/lib/secagg"}
    assert homes <= owned
    assert {path for path, owner in last.items() if owner != (0, 0)} == homes
    assert all(last[home] == (UID, UID) for home in homes)


def test_there_is_no_test_no_tool_and_nothing_to_install_or_build_with() -> None:
    parts = {part for path in paths() for part in path.parts}
    assert parts.isdisjoint({"tests", "test", "__pycache__", "pip", "ensurepip", "venv", "setuptools", "hatchling"})
    assert {path.suffix for path in paths()}.isdisjoint({".py", ".pyi", ".c", ".h", ".a", ".pem", ".key", ".toml"})
    packages = next(path for path in paths() if path.name == "site-packages")
    assert packages / "secagg" in paths()
    assert packages / "secagg/tools" not in paths()
    installed = {path.name for path in paths() if path.parent == packages and ".dist-info" not in path.name}
    assert installed.isdisjoint({"docker", "hypothesis", "mypy", "pytest", "ruff", "scipy", "sklearn"})


def test_every_module_that_is_there_can_be_loaded() -> None:
    """The standard library and some packages are there in part: nothing that is left may need what is not."""
    code = """
import importlib, json, pkgutil
import secagg, secagg_server, secagg_client
missing = []
for face in (secagg, secagg_server, secagg_client):
    for module in pkgutil.walk_packages(face.__path__, face.__name__ + "."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                missing.append((module.name, error.name))
for name in ("uvicorn", "jinja2", "prometheus_client", "pydantic_settings", "structlog", "rich.table", "grpc.aio"):
    importlib.import_module(name)
print(json.dumps(missing))
"""
    told = engine().containers.run(sidecar_image(), ["-c", code], entrypoint="/opt/secagg/bin/python", remove=True)
    assert json.loads(told) == []


def test_the_configuration_is_what_the_pages_say() -> None:
    config = sidecar_image().attrs["Config"]
    assert config["User"] == f"{UID}:{UID}"
    assert config["Entrypoint"] == ["/opt/secagg/bin/secagg-server"]
    assert config["Cmd"] == ["serve"]
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"7443/tcp", "9464/tcp"}
    assert config["Healthcheck"]["Test"] == ["CMD", "/opt/secagg/bin/secagg-server", "health"]
    assert config["Labels"] == {
        "org.opencontainers.image.title": "secagg-server",
        "org.opencontainers.image.description": (
            "Secure aggregation for federated learning: the sidecar beside an FL server"
        ),
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": __version__,
    }
    assert {line.split("=")[0] for line in config["Env"]} == {
        "PATH",
        "LANG",
        "OPENBLAS_NUM_THREADS",
        "SECAGG_CONTROL",
        *(f"SECAGG_SERVER_{name}" for name in ("LISTEN", "CONTROL", "STATUS", "CERTIFICATE", "KEY", "PARTICIPANT_CA")),
    }


def test_no_layer_and_no_line_of_its_history_has_a_key() -> None:
    for data in layers():
        assert KEY.search(data) is None


def _a_key() -> bytes:
    return subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        capture_output=True,
        check=True,
    ).stdout


def test_a_build_from_another_copy_at_another_time_has_the_same_layers(tmp_path: Path) -> None:
    """Other times and modes of the sources, and secrets that lie in the checkout, change nothing."""
    copy = tmp_path / "checkout"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, tracked.decode().split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
        (copy / name).chmod(0o600)
        os.utime(copy / name, (2_000_000_000, 2_000_000_000))
    for name in (
        ".env",
        "secagg-ca/ca.key",
        "server/key.pem",
        "server/secagg_server/__pycache__/x.pyc",
        "secagg/my.key",
    ):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(_a_key())
    first = build(ROOT, "secagg-test-first", target="sidecar", nocache=True)
    again = build(copy, "secagg-test-again", target="sidecar", nocache=True)
    assert again.attrs["RootFS"]["Layers"] == first.attrs["RootFS"]["Layers"]


def test_a_key_in_a_layer_would_be_found(tmp_path: Path) -> None:
    """The twin of both tests above: without .dockerignore a key in the checkout is in the image."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / "key.pem").write_bytes(_a_key())
    image = engine().images.build(path=str(tmp_path), tag=f"secagg-test-leak:{os.getpid()}")[0]
    with tarfile.open(fileobj=io.BytesIO(b"".join(image.save()))) as archive:
        assert any(KEY.search(read(archive, member.name).getvalue()) for member in archive if member.isfile())


def test_hadolint_has_nothing_to_say() -> None:
    subprocess.run([program("hadolint"), ROOT / "deploy/Dockerfile"], check=True)
