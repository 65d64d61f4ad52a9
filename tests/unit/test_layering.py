"""The layers of the architecture, checked on every module: an import may only point down.

    tools         secagg.tools: nothing outside imports them
    shells        secagg_server, secagg_client, secagg.sandbox, secagg.programs, secagg.cli
    drivers       secagg.schemes; of the tools, secagg.tools.simulation and secagg.tools.conformance
    protocols     secagg.masked, secagg.homomorphic
    ground        secagg.encoding, secagg.lattice, secagg.crypto, secagg.wire, secagg.rounds, and the vocabulary beside
                  them (config, messages …)

Below the shells nothing touches a socket, a clock, a thread or a source of randomness of its own.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The longest matching prefix decides; the number is the height.
HEIGHT = {
    "secagg": 0,
    "secagg.masked": 1,
    "secagg.homomorphic": 1,
    "secagg.schemes": 2,
    "secagg.tools.simulation": 2,
    "secagg.tools.conformance": 2,
    "secagg.sandbox": 3,
    "secagg.programs": 3,
    "secagg.cli": 3,
    "secagg.__main__": 3,
    "secagg.tools": 4,
    "secagg_client": 3,
    "secagg_server": 3,
}
SHELL = 3
CONCURRENCY = frozenset({"asyncio", "concurrent", "multiprocessing", "signal", "subprocess", "threading"})
NETWORK = frozenset({"grpc", "http", "select", "selectors", "socket", "ssl", "urllib"})
IMPURE = CONCURRENCY | NETWORK | {"logging", "random", "secrets", "time"}
LIBRARIES = frozenset({"cryptography", "google", "numpy"})  # what the core installs beside the standard library
CLIENT_LIBRARIES = LIBRARIES | {"grpc", "typer"}
# Packages of the extra `ckks`, and the modules that may load them when they are used.
CKKS = {
    "tenseal": {"secagg.lattice.tenseal_backend"},
    "zstandard": {"secagg.lattice.tenseal_backend", "secagg.lattice.seal_objects"},
}
CLOCK_READS = frozenset({"now", "utcnow", "today"})


def height(module: str) -> int:
    prefixes = [known for known in HEIGHT if module == known or module.startswith(known + ".")]
    return HEIGHT[max(prefixes, key=len)]


def modules(*folders: str) -> dict[str, Path]:
    """Every hand-written module under these import roots, by its dotted name."""
    found = {}
    for folder in folders:
        base = (ROOT / folder).parent
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.stem.endswith(("_pb2", "_pb2_grpc")):
                name = ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")
                found[name] = path
    return found


def imports(module: str, tree: ast.Module, *, package: bool) -> Iterator[str]:
    """Everything a module imports, at its top or inside a function, as dotted names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            start = ".".join(parents[: len(parents) - node.level + package]) if node.level else ""
            origin = ".".join(filter(None, [start, node.module]))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def core_violations(module: str, source: str, *, package: bool = False) -> list[str]:
    """What a module below the shells does and must not, one sentence each."""
    tree = ast.parse(source)
    found = []
    for name in imports(module, tree, package=package):
        top = name.split(".")[0]
        if top in {"secagg", "secagg_client", "secagg_server"}:
            if height(name) > height(module) or {_protocol(name), _protocol(module)} == {"masked", "homomorphic"}:
                found.append(f"{module} reaches up or sideways to {name}")
        elif module in CKKS.get(top, set()):
            continue  # that it is not loaded before it is used: see the test in a process of its own
        elif top in IMPURE or (top not in sys.stdlib_module_names and top not in LIBRARIES):
            found.append(f"{module} imports {name}")
    return found + [f"{module} reads the clock in line {line}" for line in _clock_reads(tree)]


def tool_imports(module: str, source: str, *, package: bool = False) -> list[str]:
    """What a module of the product imports from the tools, which the service image leaves out."""
    names = imports(module, ast.parse(source), package=package)
    return [f"{module} imports {name}" for name in names if (name + ".").startswith("secagg.tools.")]


def client_violations(module: str, source: str, *, package: bool = False) -> list[str]:
    """What a client module imports that `pip install secagg` does not bring, or that belongs to the server."""
    allowed = sys.stdlib_module_names | CLIENT_LIBRARIES | {"secagg", "secagg_client"}
    names = imports(module, ast.parse(source), package=package)
    return [f"{module} imports {name}" for name in names if name.split(".")[0] not in allowed]


def _protocol(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def _clock_reads(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCK_READS:
            owner = node.value
            if (owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")) in {"datetime", "date"}:
                yield node.lineno


CORE = {name: path for name, path in modules("secagg").items() if height(name) < SHELL}


def test_the_core_is_found() -> None:
    """An empty list of modules would pass every test below."""
    assert {"secagg.errors", "secagg.crypto.identity", "secagg.masked.participant", "secagg.wire.codec"} <= set(CORE)
    assert not [name for name in CORE if name.startswith("secagg.cli")]


@pytest.mark.parametrize("module", CORE)
def test_the_core_is_pure_and_points_down(module: str) -> None:
    path = CORE[module]
    assert core_violations(module, path.read_text(), package=path.name == "__init__.py") == []


PRODUCT = {
    name: path
    for name, path in modules("secagg", "client/secagg_client", "server/secagg_server").items()
    if not name.startswith("secagg.tools")
}


@pytest.mark.parametrize("module", PRODUCT)
def test_nothing_outside_the_tools_imports_them(module: str) -> None:
    path = PRODUCT[module]
    assert tool_imports(module, path.read_text(), package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    "source",
    ["from secagg import tools", "import secagg.tools.charts.svg", "def later():\n    from secagg.tools import demo"],
)
def test_a_planted_import_of_a_tool_is_found(source: str) -> None:
    assert len(tool_imports("secagg.cli.planted", source)) == 1


def test_the_program_works_where_the_tools_are_left_out() -> None:
    """As in the service image: `secagg --help` lists what is there, and a tool's name is an unknown command."""
    without = """
import sys
from importlib.machinery import PathFinder
class NoTools:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.startswith("secagg.tools") else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder]
sys.meta_path.append(NoTools)
from secagg.cli.main import commands, main
assert sorted(commands()) == ["ca", "ledger", "participate", "round"], commands()
main([%s])
"""
    shown = run(without % '"--help"')
    assert shown.returncode == 0, shown.stderr
    assert "participate" in shown.stdout
    assert "redteam" not in shown.stdout
    refused = run(without % '"redteam", "run"')
    assert refused.returncode == 2
    assert "No such command 'redteam'" in refused.stderr


def test_the_client_needs_no_server_extra() -> None:
    found = modules("client/secagg_client")
    assert found
    for module, path in found.items():
        assert client_violations(module, path.read_text(), package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("secagg.masked.planted", "import grpc"),
        ("secagg.masked.planted", "import grpc.aio as transport"),
        ("secagg.wire.codec", "from socket import socket"),
        ("secagg.wire.codec", "def later():\n    import asyncio"),
        ("secagg.crypto.prg", "from time import monotonic"),
        ("secagg.crypto.prg", "import threading"),
        ("secagg.crypto.prg", "import secrets"),
        ("secagg.encoding.planted", "from secagg.masked.participant import Membership"),
        ("secagg.encoding.planted", "from ..masked import participant"),
        ("secagg.wire.codec", "from secagg.masked.shares import commit"),
        ("secagg.homomorphic.planted", "import secagg.masked.participant"),
        ("secagg.masked.planted", "from secagg import homomorphic"),
        ("secagg.masked.planted", "from secagg.tools.simulation import network"),
        ("secagg.masked.planted", "from secagg_server import rounds"),
        ("secagg.tools.simulation.planted", "import secagg_client"),
        ("secagg.tools.simulation.planted", "from secagg.cli import main"),
        ("secagg.lattice.parameters", "import tenseal"),
        ("secagg.masked.planted", "import structlog"),
        ("secagg.masked.planted", "from datetime import datetime\nstart = datetime.now()"),
        ("secagg.masked.planted", "import datetime as d\nimport datetime\nstart = datetime.datetime.utcnow()"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert len(core_violations(module, source)) == 1


def test_a_relative_import_of_a_package_is_resolved() -> None:
    assert core_violations("secagg.encoding", "from . import packing", package=True) == []
    assert core_violations("secagg.encoding", "from ..masked import phases", package=True) != []


@pytest.mark.parametrize("source", ["import secagg_server", "from grpc_health.v1 import health", "import structlog"])
def test_a_planted_server_import_in_the_client_is_found(source: str) -> None:
    assert client_violations("secagg_client.planted", source) == [
        f"secagg_client.planted imports {'.'.join(source.split()[1::2])}"
    ]


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


# `cryptography.x509` loads socket by way of email.utils, protobuf loads threading, numpy loads time: these libraries
# are the ground that cannot be lowered. What the core may not do is load more of it than they do.
LOADED = """
import sys
import cryptography.x509.verification
import google.protobuf.internal.builder
import numpy
libraries = set(sys.modules)
never = {"grpc", "asyncio", "ssl", "tenseal", "zstandard", "secagg_server", "secagg_client", "secagg.cli"}
impure = never | {"socket", "select", "selectors", "threading", "time", "multiprocessing", "subprocess"}
%s
assert not never & set(sys.modules), never & set(sys.modules)
assert not impure & (set(sys.modules) - libraries), impure & (set(sys.modules) - libraries)
"""


def test_importing_the_whole_core_loads_no_transport_and_no_tenseal() -> None:
    result = run(LOADED % "\n".join(f"import {module}" for module in CORE))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["secagg.encoding.packing", "secagg.crypto.prg", "secagg.crypto.shamir"])
def test_arithmetic_loads_no_socket_at_all(module: str) -> None:
    result = run(f"import sys, {module}\nassert not {{'socket', 'grpc', 'asyncio'}} & set(sys.modules)")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "planted",
    ["import grpc", "import asyncio", "import secagg_server", "import importlib as i; i.import_module('ssl')"],
)
def test_a_planted_load_is_found(planted: str) -> None:
    result = run(LOADED % planted)
    assert result.returncode == 1
    assert "AssertionError" in result.stderr
