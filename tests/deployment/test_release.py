"""What a release consists of: the same bytes from the same commit, and nothing in them that should not be there."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import secagg
from tests.deployment.conftest import ROOT, program
from tests.pages import Code

WORKFLOW = (ROOT / ".github/workflows/release.yml").read_text()


def built(out: Path, checkout: Path, *before: str, umask: int = 0o022, **environment: str) -> dict[str, bytes]:
    """The files of one release, by name, with the variables and the umask of somebody's machine."""
    subprocess.run(
        [*before, "deploy/release/build", str(out), "--without-image"],
        cwd=checkout,
        env=os.environ | environment,
        umask=umask,
        check=True,
        capture_output=True,
    )
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return built(tmp_path_factory.mktemp("release") / "out", ROOT)


@pytest.fixture(scope="module")
def wheel(release: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    (name,) = (name for name in release if name.endswith(".whl"))
    path = tmp_path_factory.mktemp("wheel") / name
    path.write_bytes(release[name])
    return zipfile.ZipFile(path)


def told(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_another_day_another_folder_another_user_and_the_same_bytes(release: dict[str, bytes], tmp_path: Path) -> None:
    checkout = tmp_path / "elsewhere"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
    (checkout / "build").mkdir()
    (checkout / "build/deployment").symlink_to(ROOT / "build/deployment")
    for path in checkout.rglob("*.py"):
        path.touch()
    (checkout / "secagg/left_over.py").write_text("raise SystemExit\n")  # lies about, and is in no commit
    again = built(
        tmp_path / "out", checkout, program("faketime"), "-f", "+40d", umask=0o077, TZ="Asia/Tokyo", LANG="tr_TR.UTF-8"
    )
    assert again == release


def test_every_file_has_its_line_in_the_sums(release: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in release.items():
        (tmp_path / name).write_bytes(content)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
    listed = {line.split()[1] for line in release["SHA256SUMS"].decode().splitlines()}
    assert listed == set(release) - {"SHA256SUMS"}


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    metadata = told(wheel)
    assert metadata["Name"] == "secagg"
    assert metadata["Version"] == secagg.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    needed = {re.split(r"[^\w-]", each)[0] for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each}
    assert needed == {"cryptography", "grpcio", "numpy", "protobuf", "rich", "typer"}
    assert "server" in metadata.get_all("Provides-Extra", [])


def test_the_wheel_has_the_product_alone(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "secagg",
        "secagg_client",
        "secagg_server",
    }
    assert not [name for name in names if re.search(r"(^|/)(tests?|docs|__pycache__)/|\.(pem|key|pyc)$", name)]
    for package in ("secagg", "secagg_client"):
        assert f"{package}/py.typed" in names
    pages = "secagg/programs/pages/page.html.j2", "secagg_server/observability/statuspage/status.html.j2"
    assert {*pages, *(page.replace(".html.j2", ".css") for page in pages)} <= set(names)


def test_the_source_distribution_has_what_it_takes_to_test_it(release: dict[str, bytes], tmp_path: Path) -> None:
    (name,) = (name for name in release if name.endswith(".tar.gz") and ".vectors." not in name)
    (tmp_path / name).write_bytes(release[name])
    with tarfile.open(tmp_path / name) as archive:
        held = {path.split("/", 1)[1] for path in archive.getnames() if "/" in path}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    left_out = {path for path in tracked if path not in held and not path.startswith((".ci/", ".github/"))}
    assert left_out <= {".gitignore", ".dockerignore"}


def test_the_vectors_are_an_archive_of_their_own_in_which_the_guide_runs(
    release: dict[str, bytes], tmp_path: Path
) -> None:
    with tarfile.open(fileobj=io.BytesIO(release[f"secagg-{secagg.__version__}.vectors.tar.gz"])) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / f"secagg-vectors-{secagg.__version__}"
    for folder in ("proto", "proto/vectors"):
        held = {path.name for path in (root / folder).iterdir()}
        assert held == {path.name for path in (ROOT / folder).iterdir()}
    (text,) = re.findall(r"```python\n(.*?)```", (root / "docs/vectors.md").read_text(), re.DOTALL)
    subprocess.run([sys.executable, "-c", text], cwd=root, check=True)


def test_the_bill_has_each_package_with_hash_and_licence(release: dict[str, bytes]) -> None:
    (name,) = (name for name in release if name.endswith(".cdx.json"))
    bill = json.loads(release[name])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    components = {each["name"]: each for each in bill["components"]}
    assert components["secagg"]["version"] == secagg.__version__
    assert {"grpcio", "cryptography", "numpy"} <= set(components)
    for each in components.values():
        assert each["licenses"], each["name"]
        assert each["name"] == "secagg" or each["properties"], each["name"]
    (listed,) = (text.decode() for name, text in release.items() if name.endswith(".licences.txt"))
    assert {line.split()[0] for line in listed.splitlines()} == set(components)
    assert "file:" not in release[name].decode()


def test_the_workflow_runs_nothing_of_a_third_party_without_its_hash() -> None:
    jobs = yaml.safe_load(WORKFLOW)["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert not [step for step in steps if "uses" in step]
    for step in steps:
        assert step["run"].count("pip install") == step["run"].count("pip install --quiet --require-hashes")


def test_what_may_sign_runs_no_test_and_publishes_only_what_both_machines_built() -> None:
    workflow = yaml.safe_load(WORKFLOW)
    check, publish = workflow["jobs"]["check"], workflow["jobs"]["publish"]
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in check
    assert publish["needs"] == "check"
    texts = [step["run"] for step in publish["steps"]]
    assert not [text for text in texts if ".ci/run" in text or "make test" in text]
    comparing = next(i for i, text in enumerate(texts) if '= "$SUMS"' in text)
    publishing = next(i for i, text in enumerate(texts) if "gh release create" in text)
    assert comparing < publishing


def test_the_workflow_audits_every_lock_of_a_release() -> None:
    (audit,) = (
        step["run"] for step in yaml.safe_load(WORKFLOW)["jobs"]["check"]["steps"] if "pip-audit" in step["run"]
    )
    for lock in ("requirements.lock", "deploy/image/server.lock"):
        assert f" {lock}" in audit
        assert (ROOT / lock).is_file()


def in_bash(text: str, folder: Path, **environment: str) -> int:
    done = subprocess.run(["bash", "-e", "-c", text], cwd=folder, env=os.environ | environment, check=False)
    return done.returncode


@pytest.mark.runs("SECURITY.md", "sh", "sha256sum")
def test_a_release_is_checked_file_by_file(page: Code, release: dict[str, bytes], tmp_path: Path) -> None:
    """sigstore asks hosts outside, so a program of its name stands in: it writes down what it was asked."""
    text, files, programs = page.take("sha256sum"), tmp_path / "files", tmp_path / "programs"
    for folder in (files, programs):
        folder.mkdir()
    for name, content in release.items():
        (files / name).write_bytes(content)
        for kind in ("sigstore", "provenance.sigstore"):
            (files / f"{name}.{kind}.json").write_text("{}")
    for name, does in {"pip": ":", "sigstore": f'test -f "$4" && echo "$4 ${{@: -1}}" >>{tmp_path}/asked'}.items():
        (programs / name).write_text(f"#!/bin/bash\n{does}\n")
        (programs / name).chmod(0o755)
    names = {"PATH": f"{programs}:{os.environ['PATH']}", "REPOSITORY": "https://example.org/us", "VERSION": "1"}
    assert in_bash(text, files, **names) == 0
    asked = {tuple(line.split()) for line in (tmp_path / "asked").read_text().splitlines()}
    assert asked == {(f"{name}.{kind}.json", name) for name in release for kind in ("sigstore", "provenance.sigstore")}
    changed = next(files.glob("*.whl"))
    changed.write_bytes(changed.read_bytes() + b" ")
    assert in_bash(text, files, **names) != 0


@pytest.mark.runs("SECURITY.md", "sh", "git checkout")
def test_anybody_builds_a_release_again(page: Code, release: dict[str, bytes], tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
    subprocess.run(["git", "tag", "v1"], cwd=checkout, check=True)
    (checkout / "build").mkdir()
    (checkout / "build/deployment").symlink_to(ROOT / "build/deployment")
    (ROOT / "build/deployment/.installed").touch()  # after the lock of the new checkout, for make
    (checkout / "SHA256SUMS").write_bytes(release["SHA256SUMS"])
    text = page.take("git checkout").replace("build rebuilt ", "build rebuilt --without-image ")
    assert in_bash(text, checkout, VERSION="1") == 0
    (checkout / "SHA256SUMS").write_text("another\n")
    assert in_bash(text.splitlines()[-1], checkout) != 0
