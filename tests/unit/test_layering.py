"""The layers of the architecture, checked on every import: it points down, or stays within its package.

The table of the layers is the picture in CONTRIBUTING.md, which is read here: one row below another, and packages of
one row do not know each other. Below the shells nothing touches a socket, a clock, a thread or a source of randomness
of its own.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pictured(text: str) -> list[tuple[str, list[str]]]:
    """The rows of the picture, the highest first: the layer's name, and the packages of one row by their full names."""
    block = text.split("\n## Layers\n")[1].split("```")[1].partition("\n")[2]
    rows, layer = [], ""
    for line in block.strip("\n").splitlines():
        layer = line[: COLUMN - 1].strip() or layer
        names = line[COLUMN:].split()
        rows.append((layer, [name if name.startswith("secagg") else f"secagg.{name}" for name in names]))
    return rows


COLUMN = 10  # of the picture, where the packages begin
ROWS = pictured((ROOT / "CONTRIBUTING.md").read_text())
HEIGHT = {package: height for height, (_, row) in enumerate(reversed(ROWS)) for package in row}
LAYER = {package: layer for layer, row in ROWS for package in row}
FACE = "secagg"  # secagg/__init__.py alone
TOP = {path.stem for path in (ROOT / "secagg").iterdir()} - {"__init__", "tools"}
PURE_LAYERS = frozenset({"face", "protocol", "terms", "ground"})
PURE_TOOLS = frozenset({"secagg.tools.simulation", "secagg.tools.conformance"})
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
# Frameworks, and the packages that alone may import them: the plug-in of each, what measures it, and what attacks
# models made with torch.
FRAMEWORKS = {
    "flwr": {"secagg_client.flower", "secagg.tools.bench.frameworks", "secagg.tools.bench.peers"},
    "keras": set[str](),
    "nvflare": {"secagg_client.nvflare", "secagg.tools.bench.frameworks", "secagg.tools.bench.peers"},
    "ray": {"secagg_server.placing", "secagg.tools.cluster"},
    "torch": {"secagg_client.torch", "secagg.tools.redteam"},
}
PLUG_INS = ("secagg_client.flower", "secagg_client.nvflare", "secagg_client.torch")
MEASURES = {
    "secagg_client.flower": ("secagg.tools.bench.frameworks",),
    "secagg_client.nvflare": ("secagg.tools.bench.frameworks",),
}
CLOCK_READS = frozenset({"now", "utcnow", "today"})


def package_of(name: str) -> str:
    """The package of the picture that holds a module, or a name that is imported from one."""
    parts = name.split(".")
    inner = [".".join(parts[:length]) for length in range(len(parts), 1, -1)]
    package = next((known for known in inner if known in HEIGHT), parts[0])
    shown = package in HEIGHT and not (package == FACE and len(parts) > 1 and parts[1] in TOP)
    assert shown, f"{name} stands in no row of the picture in CONTRIBUTING.md"
    return package


def is_pure(module: str) -> bool:
    """Whether a module may touch nothing but its arguments."""
    package = package_of(module)
    return LAYER[package] in PURE_LAYERS or package in PURE_TOOLS


def modules(*folders: str) -> dict[str, Path]:
    """Every hand-written module under these import roots, by its dotted name."""
    found = {}
    for folder in folders:
        base = (ROOT / folder).parent
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.stem.endswith("_pb2"):
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


def arrows(module: str, source: str, *, package: bool = False) -> Iterator[str]:
    """What a module imports of other packages of ours. Anybody may ask for the version, which says nothing else."""
    for name in imports(module, ast.parse(source), package=package):
        ours = name.split(".")[0] in {"secagg", "secagg_client", "secagg_server"}
        if ours and name != "secagg.__version__" and package_of(name) != package_of(module):
            yield name


def arrows_up(module: str, source: str, *, package: bool = False) -> list[str]:
    """The imports of a module that do not point down, one sentence each."""
    height = HEIGHT[package_of(module)]
    return [
        f"{module} reaches up or sideways to {name}"
        for name in arrows(module, source, package=package)
        if HEIGHT[package_of(name)] >= height
    ]


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Packages that import each other in a circle, the first one at its end again; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as found:
        return list(found.args[1])
    return []


def core_violations(module: str, source: str, *, package: bool = False) -> list[str]:
    """What a module below the shells does and must not, one sentence each."""
    tree = ast.parse(source)
    found = []
    for name in imports(module, tree, package=package):
        top = name.split(".")[0]
        if top in {"secagg", "secagg_client", "secagg_server"}:
            if not is_pure(name):
                found.append(f"{module} imports {name}, which is not pure")
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
    """What a client module imports that no installation without extras brings, or that belongs to the server."""
    allowed = sys.stdlib_module_names | CLIENT_LIBRARIES | {"secagg", "secagg_client", *FRAMEWORKS}
    names = imports(module, ast.parse(source), package=package)
    return [f"{module} imports {name}" for name in names if name.split(".")[0] not in allowed]


def within(module: str, packages: Iterable[str]) -> bool:
    """Whether a dotted name is one of these packages, or stands in one."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def framework_violations(module: str, source: str, *, package: bool = False) -> list[str]:
    """What a module imports of a framework that is not its own, or of another plug-in than its own."""
    own = [plug_in for plug_in in PLUG_INS if within(module, [plug_in, *MEASURES.get(plug_in, ())])]
    return [
        f"{module} imports {name}"
        for name in imports(module, ast.parse(source), package=package)
        if not within(module, FRAMEWORKS.get(name.split(".")[0], {module}))
        or within(name, [plug_in for plug_in in PLUG_INS if plug_in not in own])
    ]


def _clock_reads(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCK_READS:
            owner = node.value
            if (owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")) in {"datetime", "date"}:
                yield node.lineno


ALL = modules("secagg", "client/secagg_client", "server/secagg_server")
CORE = {name: path for name, path in ALL.items() if is_pure(name)}


def test_the_core_is_found() -> None:
    """An empty list of modules would pass every test below."""
    assert {"secagg.errors", "secagg.crypto.identity", "secagg.masked.share_keys", "secagg.wire.keys"} <= set(CORE)
    assert {"secagg.tools.simulation.network", "secagg.tools.conformance.generate"} <= set(CORE)
    assert not [name for name in CORE if name.startswith("secagg.cli")]


@pytest.mark.parametrize("module", CORE)
def test_the_core_is_pure(module: str) -> None:
    path = CORE[module]
    assert core_violations(module, path.read_text(), package=path.name == "__init__.py") == []


@pytest.mark.parametrize("module", ALL)
def test_imports_point_down(module: str) -> None:
    path = ALL[module]
    assert arrows_up(module, path.read_text(), package=path.name == "__init__.py") == []


def graph_of(found: Mapping[str, Path]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for module, path in found.items():
        names = arrows(module, path.read_text(), package=path.name == "__init__.py")
        graph.setdefault(package_of(module), set()).update(map(package_of, names))
    return graph


def test_no_packages_import_each_other_in_a_circle() -> None:
    """Whatever the rows say: the packages as they are, taken one by one."""
    graph = graph_of(ALL)
    assert len(graph) > 20
    assert circle(graph) == []
    below = min(graph["secagg.config"])
    assert circle({**graph, below: graph[below] | {"secagg.config"}}) != []


def test_the_picture_shows_every_package_once_and_no_other() -> None:
    shown = [package for _, row in ROWS for package in row]
    assert len(shown) == len(set(shown))
    assert {package_of(module) for module in ALL if module not in {FACE, "secagg.tools"}} == set(shown) - {FACE}
    assert {layer for layer, _ in ROWS} == PURE_LAYERS | {"tools", "shells"}
    assert len(LAYER) == len(HEIGHT)


def test_a_package_that_the_picture_leaves_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(HEIGHT, "secagg.noise")
    with pytest.raises(AssertionError, match=r"secagg\.noise\.laws stands in no row"):
        package_of("secagg.noise.laws")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("secagg.crypto.planted", "from secagg import config"),
        ("secagg.encoding.planted", "from secagg.masked.share_keys import AwaitingRoster"),
        ("secagg.encoding.planted", "from ..masked import share_keys"),
        ("secagg.wire.keys", "from secagg.masked.shares import commit"),
        ("secagg.homomorphic.planted", "import secagg.masked.share_keys"),
        ("secagg.masked.planted", "from secagg import homomorphic"),
        ("secagg.masked.planted", "from secagg import RoundConfig"),
        ("secagg.masked.planted", "from secagg_server import rounds"),
        ("secagg.masked.planted", "def later():\n    from secagg.tools.simulation import network"),
        ("secagg.programs.planted", "from secagg.cli import main"),
        ("secagg_server.planted", "from secagg_client import Client"),
        ("secagg_client.planted", "from secagg_server.cli import main"),
        ("secagg_client.planted", "from secagg.cli.names import SCHEMES"),
        ("secagg.cli.planted", "import secagg.tools.commands.bench"),
        ("secagg.tools.bench.planted", "from secagg.tools.demo import play"),
        ("secagg.tools.demo.planted", "from secagg.tools.bench import core"),
        ("secagg.tools.simulation.planted", "from secagg.tools.redteam import arena"),
    ],
)
def test_a_planted_arrow_that_does_not_point_down_is_found(module: str, source: str) -> None:
    assert len(arrows_up(module, source)) == 1


PRODUCT = {name: path for name, path in ALL.items() if not name.startswith("secagg.tools")}


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
assert sorted(commands()) == ["audit", "ca", "doctor", "ledger", "participate", "quarantine", "round"], commands()
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


@pytest.mark.parametrize("module", ALL)
def test_only_its_plug_in_imports_a_framework(module: str) -> None:
    path = ALL[module]
    assert framework_violations(module, path.read_text(), package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("secagg.encoding.planted", "import torch"),
        ("secagg_client.planted", "def later():\n    from flwr.app import Message"),
        ("secagg_client.torches", "import torch.nn"),
        ("secagg_client.flower.planted", "from nvflare.apis import fl_context"),
        ("secagg_client.flower.planted", "import ray"),
        ("secagg_client.flower.planted", "from secagg_client import torch"),
        ("secagg_client.planted", "from secagg_client.nvflare import secure"),
        ("secagg.cli.planted", "import secagg_client.flower"),
        ("secagg_server.planted", "import keras"),
    ],
)
def test_a_planted_import_of_a_framework_is_found(module: str, source: str) -> None:
    assert len(framework_violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [("secagg_client.flower.server", "from flwr.app import Message"), ("secagg_client.torch", "from torch import nn")],
)
def test_a_plug_in_imports_its_own_framework(module: str, source: str) -> None:
    assert framework_violations(module, source) == []
    assert client_violations(module, source) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("secagg.masked.planted", "import grpc"),
        ("secagg.masked.planted", "import grpc.aio as transport"),
        ("secagg.wire.keys", "from socket import socket"),
        ("secagg.wire.keys", "def later():\n    import asyncio"),
        ("secagg.crypto.prg", "from time import monotonic"),
        ("secagg.crypto.prg", "import threading"),
        ("secagg.crypto.prg", "import secrets"),
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
    assert arrows_up("secagg.encoding", "from . import packing", package=True) == []
    assert arrows_up("secagg.encoding", "from ..masked import share_keys", package=True) != []


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
