"""What `npm pack` makes: a package that somebody else's program can use, and that says its types."""

import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.typescript.people import ROOT

HOME = ROOT / "client/typescript"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the package is installed, beside the packages that it needs."""
    folder = tmp_path_factory.mktemp("app")
    subprocess.run(["npm", "pack", "--silent", "--pack-destination", str(folder)], cwd=HOME, check=True)
    (packed,) = folder.glob("secagg-client-*.tgz")
    modules = folder / "node_modules"
    modules.mkdir()
    with tarfile.open(packed) as archive:
        archive.extractall(modules, filter="data")
    (modules / "package").rename(modules / "secagg-client")
    for needed in (HOME / "node_modules").iterdir():
        if needed.is_dir() and needed.name != "secagg-client":
            (modules / needed.name).symlink_to(needed)
    return folder


def test_it_has_the_product_alone(installed: Path) -> None:
    package = installed / "node_modules/secagg-client"
    names = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert {"package.json", "README.md", "build/src/index.js", "build/src/index.d.ts", "build/src/grpc.js"} <= names
    assert not [name for name in names if not re.match(r"package.json$|README.md$|build/src/", name)]


def test_the_example_of_the_readme_has_the_right_types_and_the_package_loads(installed: Path) -> None:
    first, second = re.findall(r"^```ts\n(.*?)^```", (HOME / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (installed / "example.mts").write_text(first)
    given = "declare const certificate: string, key: string, ca: string, login: { token(): string };"
    (installed / "browser.mts").write_text(f"{second}\n{given}\n")
    options = [
        "--noEmit",
        "--strict",
        "--module",
        "nodenext",
        "--target",
        "es2022",
        "--types",
        "node",
        "--skipLibCheck",
    ]
    tsc = ["node", str(HOME / "node_modules/typescript/bin/tsc"), *options, "example.mts", "browser.mts"]
    subprocess.run(tsc, cwd=installed, check=True)
    loads = 'await import("secagg-client"); await import("secagg-client/grpc"); await import("secagg-client/node");'
    subprocess.run(["node", "--input-type=module", "-e", loads], cwd=installed, check=True)


def test_its_version_is_that_of_the_repository() -> None:
    told = (HOME / "package.json").read_text()
    (version,) = re.findall(r'"version": "([^"]+)"', told)
    (release,) = re.findall(r'__version__ = "([^"]+)"', (ROOT / "secagg/__init__.py").read_text())
    assert version.replace("-dev.", ".dev") == release
