"""Every error survives the way to another process, and a copy."""

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import secagg_client
import secagg_server

import secagg
from secagg.errors import AbortReason, Exhibit, InputError, RemoteError, RoundAborted, SecAggError
from tests.unit.test_layering import PLUG_INS

# Commands, generated code, and what needs an extra that the tests may not have: none of them defines an error.
LEFT_OUT = {"secagg.tools.redteam", "secagg.cli", "secagg.tools.bench", "secagg.wire.v1", "secagg.tools.conformance"}
GIVEN: dict[str, Any] = {
    "message": "what happened",
    "reason": AbortReason.WRONG_SHARES,
    "culprit": "p1",
    "culprits": ("p1", "p2"),
    "array": "w",
    "index": (1, 2),
    "extra": "dp",
    "feature": "accounting",
    "unsent": True,
}


def error_classes() -> list[type[SecAggError]]:
    """Of all packages."""
    for package in (secagg, secagg_client, secagg_server):
        _import_all(package)
    return sorted(_below(SecAggError), key=lambda kind: kind.__name__)


def _import_all(package: ModuleType) -> None:
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name not in {*LEFT_OUT, *PLUG_INS} and not module.name.endswith("__main__"):
            loaded = importlib.import_module(module.name)
            if module.ispkg:
                _import_all(loaded)


def _below(kind: type[SecAggError]) -> Iterator[type[SecAggError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith("secagg"):
            yield from _below(child)


def example(kind: type[SecAggError]) -> SecAggError:
    """One with every attribute that it may have."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    named = {p.name: GIVEN[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}
    placed = [GIVEN[p.name] for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    error = kind(*(placed or ["what happened"]), **named)
    if isinstance(error, RemoteError):
        error.about(Exhibit("p3", bytes(32)))
    if isinstance(error, RoundAborted):
        error.accusing(("p3",))
    return error


def ways(error: SecAggError) -> dict[str, Any]:
    pickled = {str(n): lambda n=n: pickle.loads(pickle.dumps(error, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)}  # noqa: S301
    return pickled | {"copy": lambda: copy.copy(error), "deepcopy": lambda: copy.deepcopy(error)}


def test_every_error_comes_back_as_it_was() -> None:
    kinds = error_classes()
    assert len(kinds) >= 26
    assert {"ConnectionBroken", "ProcessError", "PipeStalled"} <= {kind.__name__ for kind in kinds}
    for kind in kinds:
        error = example(kind)
        error.add_note("a note")
        for way, made in ways(error).items():
            back = made()
            assert type(back) is kind, way
            assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error)), (kind, way)


def test_attributes_are_there() -> None:
    aborted = copy.copy(RoundAborted(AbortReason.WRONG_SHARES, "two lied", culprits=("a", "b")))
    assert (aborted.reason, aborted.culprits, str(aborted)) == (AbortReason.WRONG_SHARES, ("a", "b"), "two lied")
    refused = pickle.loads(pickle.dumps(InputError("nan", array="w", index=(3, 1))))  # noqa: S301
    assert (refused.array, refused.index) == ("w", (3, 1))
    assert copy.deepcopy(RemoteError("lied", culprit="p1")).culprit == "p1"


def test_without_its_own_way_an_error_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SecAggError, "__reduce__")
    with pytest.raises(TypeError):
        copy.copy(RoundAborted(AbortReason.WRONG_SHARES, "two lied"))
