"""`secagg` and `secagg_client` offer what users write, load it when it is first used, and say its types."""

import ast
import enum
import inspect
import pickle
import subprocess
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
import secagg_client
import secagg_client.carried

import secagg
from secagg.lazy import exports

ROOT = Path(__file__).parents[2]
FACES: Mapping[ModuleType, Path] = {
    secagg: ROOT / "secagg/__init__.pyi",
    secagg_client: ROOT / "client/secagg_client/__init__.pyi",
    secagg_client.carried: ROOT / "client/secagg_client/carried/__init__.pyi",
}
HEAVY = {"numpy", "cryptography", "google", "grpc", "asyncio", "tenseal", "threading"}
NAMES = [(package, name) for package in FACES for name in package.__all__]
CLASSES = [(package, name) for package, name in NAMES if inspect.isclass(getattr(package, name))]
ALIASES = {"Update", "WatchedEvent"}  # of types: they carry no docstring of their own


def identified(value: object) -> str:
    return value.__name__ if isinstance(value, ModuleType) else str(value)


each_package = pytest.mark.parametrize("package", FACES, ids=identified)
each_name = pytest.mark.parametrize(("package", "name"), NAMES, ids=identified)
each_class = pytest.mark.parametrize(("package", "name"), CLASSES, ids=identified)


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stub(path: Path) -> dict[str, str]:
    """The module that each offered name comes from, as the type checker reads it."""
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module != "typing":
            assert all(alias.asname == alias.name for alias in node.names), ast.unparse(node)
            found |= {alias.name: str(node.module) for alias in node.names}
    return found


@each_package
def test_names_are_sorted_and_no_module_hides_behind_one(package: ModuleType) -> None:
    assert package.__all__ == sorted(set(package.__all__))
    assert not {path.stem for path in FACES[package].parent.iterdir()} & set(package.__all__)


@each_package
def test_the_stub_offers_the_same_names_from_the_same_modules(package: ModuleType) -> None:
    offered = stub(FACES[package])
    assert sorted(offered) == package.__all__
    for name, module in offered.items():
        value = getattr(package, name)
        assert value is getattr(sys.modules[module], name)
        if hasattr(value, "__module__") and name not in ALIASES:
            assert value.__module__ == module, "offer it from the module that defines it"


@each_package
def test_dir_lists_what_is_offered_before_it_is_loaded(package: ModuleType) -> None:
    told = run(f"import {package.__name__} as p; print(*dir(p))").split()
    assert told == sorted(told)
    assert set(told) >= {*package.__all__, "__all__", "__doc__"}


@each_package
def test_everything_comes_with_a_star(package: ModuleType) -> None:
    told = run(f"from {package.__name__} import *; print(*sorted(n for n in globals() if n[0] != '_'))")
    assert told.split() == package.__all__


@each_package
def test_importing_it_loads_nothing_heavy(package: ModuleType) -> None:
    loaded = run(f"import sys, {package.__name__}; print(*sys.modules)").split()
    assert not HEAVY & set(loaded)
    tls = {"secagg.transport", "secagg.transport.tls", "secagg.errors", "secagg_client"}  # set before grpc is loaded
    ours = {name for name in loaded if name.startswith("secagg")}
    own = {package.__name__} if package not in {secagg, secagg_client} else set()
    assert ours == {"secagg", "secagg.lazy"} | own | (tls if package is not secagg else set())


def test_a_round_configuration_loads_no_transport() -> None:
    loaded = set(run("import sys; from secagg import RoundConfig; print(*sys.modules)").split())
    assert not {"grpc", "asyncio", "tenseal", "google.protobuf", "cryptography.x509"} & loaded


def test_statistics_load_no_transport() -> None:
    assert "grpc" not in run("import sys; from secagg_client import Column; print(*sys.modules)").split()


@each_package
def test_an_unknown_name_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'Nonsense'") as caught:
        package.Nonsense  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("Nonsense", package)
    with pytest.raises(ImportError):
        exec(f"from {package.__name__} import Nonsense")  # noqa: S102
    assert not hasattr(package, "__wrapped__")


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("a_package")
    monkeypatch.setitem(sys.modules, "a_package", package)
    names, load, listed = exports("a_package", {"fractions": "Fraction gcd", "math": "inf"})
    assert names == ["Fraction", "gcd", "inf"]
    assert set(listed()) > set(names)
    assert "inf" not in vars(package)
    assert load("inf") == package.inf == float("inf")
    with pytest.raises(AttributeError, match="has no attribute 'gcd'"):
        load("gcd")  # the table names it, and its module has it no more


@each_name
def test_a_name_is_documented(package: ModuleType, name: str) -> None:
    if name in ALIASES:
        return
    text = inspect.getdoc(getattr(package, name)) or ""
    summary = text.partition("\n\n")[0]
    assert len(summary.split()) > 3, f"{name}: {summary!r}"
    assert not summary.startswith(f"{name}("), f"{name} has the docstring that dataclass makes"


def public_members(kind: type) -> list[tuple[str, object]]:
    members = [(name, value) for name, value in vars(kind).items() if not name.startswith("_")]
    return [(name, value) for name, value in members if callable(value) or isinstance(value, property | classmethod)]


@each_class
def test_its_fields_and_methods_are_documented(package: ModuleType, name: str) -> None:
    kind = getattr(package, name)
    text = inspect.getdoc(kind) or ""
    fields = [field for field in getattr(kind, "__dataclass_fields__", ()) if not field.startswith("_")]
    if len(fields) > 1:
        unexplained = [field for field in fields if f"{field}:" not in text and f"`{field}`" not in text]
        assert not unexplained, f"{name} does not explain {unexplained}"
    if issubclass(kind, enum.Enum):
        return
    for member, value in public_members(kind):
        function = value.__func__ if isinstance(value, classmethod) else value
        assert inspect.getdoc(function), f"{name}.{member}"


@each_class
def test_its_type_hints_resolve(package: ModuleType, name: str) -> None:
    kind = getattr(package, name)
    typing.get_type_hints(kind)
    for _, value in public_members(kind):
        for function in (value.__func__ if isinstance(value, classmethod) else value,):
            if inspect.isfunction(function):
                typing.get_type_hints(function)


@each_class
def test_it_is_pickled_by_name(package: ModuleType, name: str) -> None:
    kind = getattr(package, name)
    assert pickle.loads(pickle.dumps(kind)) is kind  # noqa: S301
