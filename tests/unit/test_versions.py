"""Which releases may be installed beside us: the bounds in pyproject.toml are those of the generated code."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIRED: list[str] = PROJECT["project"]["dependencies"]
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
GENERATED = sorted((ROOT / "secagg" / "wire" / "v1").glob("*_pb2.py"))


def bounds(name: str, requirements: list[str]) -> str:
    """What a list of requirements says about one package, without its name."""
    (found,) = (line for line in requirements if re.match(rf"{re.escape(name)}(?![\w-])", line))
    return found.removeprefix(name)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def locked(lock: str) -> dict[str, str]:
    """The releases of a lock file that every platform gets."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_generated_code_is_found() -> None:
    assert len(GENERATED) >= 4


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.stem)
def test_protobuf_is_bounded_by_what_the_generated_code_accepts(path: Path) -> None:
    """It refuses a runtime older than its own release, and one that is two major versions newer."""
    (release,) = re.findall(r"^# Protobuf Python Version: (\S+)$", path.read_text(), re.MULTILINE)
    major = numbers(release)[0]
    assert bounds("protobuf", REQUIRED) == f">={release},<{major + 2}"


def test_grpc_is_at_least_the_release_that_generates() -> None:
    (tools,) = PROJECT["dependency-groups"]["proto"]
    least = ".".join(tools.removeprefix("grpcio-tools==").split(".")[:2])
    assert bounds("grpcio", REQUIRED) == f">={least}"
    assert bounds("grpcio-health-checking", EXTRAS["server"]) == f">={least}"
    assert bounds("grpcio-reflection", EXTRAS["server"]) == f">={least}"
    assert f"{tools} " in (ROOT / "requirements-proto.lock").read_text()


def test_tests_run_on_a_newer_protobuf_than_the_generated_code() -> None:
    """So both ends of what is allowed are tested: this is the new one, and the frameworks want the old one."""
    assert numbers(locked("requirements.lock")["protobuf"]) >= (7,)
    assert numbers(version("protobuf")) >= numbers(bounds("protobuf", REQUIRED).removeprefix(">=").split(",")[0])


@pytest.mark.parametrize(("extra", "framework"), [("flower", "flwr"), ("nvflare", "nvflare"), ("torch", "torch")])
def test_an_extra_brings_its_framework_and_dev_brings_none(extra: str, framework: str) -> None:
    assert [re.split(r"[^\w-]", line)[0] for line in EXTRAS[extra]] == [framework]
    assert framework not in locked("requirements.lock")


@pytest.mark.parametrize(("extra", "framework"), [("flower", "flwr"), ("nvflare", "nvflare"), ("torch", "torch")])
def test_a_plug_in_without_its_framework_names_the_extra(extra: str, framework: str) -> None:
    program = f"import sys; sys.modules['{framework}'] = None; import secagg_client.{extra}"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"secagg.errors.MissingExtraError: secagg_client.{extra} needs" in told.stderr
    assert f"pip install '.[{extra}]'" in told.stderr


def test_the_build_backend_is_the_same_release_everywhere() -> None:
    """It is installed from the lock files, so that hashes cover the build."""
    (backend,) = PROJECT["build-system"]["requires"]
    assert backend in EXTRAS["dev"]
    assert backend in PROJECT["dependency-groups"]["frameworks"]
    for lock in ("requirements.lock", "requirements-frameworks.lock"):
        assert locked(lock)["hatchling"] == backend.removeprefix("hatchling==")


@pytest.mark.parametrize("name", ["flwr", "nvflare", "ray", "protobuf", "grpcio", "typer", "cryptography", "tenseal"])
def test_the_frameworks_have_a_lock_of_their_own_with_secagg(name: str) -> None:
    assert name in locked("requirements-frameworks.lock")


def test_the_old_protobuf_is_in_the_lock_of_the_frameworks() -> None:
    assert numbers(locked("requirements-frameworks.lock")["protobuf"])[0] == 6


def collected(*arguments: str) -> int:
    """How many tests pytest would run."""
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    return len(re.findall(r"^tests/\S+::", told.stdout, re.MULTILINE))


def test_tests_of_frameworks_are_collected_when_they_are_named_and_else_not() -> None:
    others = [f"--ignore={path}" for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "frameworks"]
    assert collected("tests", *others) == 0
    assert collected("tests/frameworks/test_environment.py") > 0


def test_continuous_integration_runs_both() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "make test" in lines
    assert "on_loopback make frameworks" in lines


def test_every_extra_that_a_page_or_an_error_names_is_there() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").glob("*.md")]
    sources = [path for folder in ("secagg", "client", "server") for path in (ROOT / folder).rglob("*.py")]
    named = {
        extra
        for path in (*pages, *sources)
        for names in re.findall(r"(?:\bsecagg|'\.)\[([a-z][a-z,]*)\]", path.read_text())
        for extra in names.split(",")
    }
    raised = {
        extra for path in sources for extra in re.findall(r'MissingExtraError\([^)]*"([a-z]+)"\)', path.read_text())
    }
    assert {"server", "ckks", "dp"} <= named
    assert "redteam" in raised
    assert named | raised <= set(EXTRAS)
