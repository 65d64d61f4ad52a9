"""The environment of the frameworks: what is installed in it, and that it is quiet."""

import json
import pkgutil
import subprocess
import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import secagg_client
import secagg_server

import secagg
from tests.unit.test_layering import FRAMEWORKS as LAYERING

FRAMEWORKS = ("flwr", "nvflare", "ray", "torch")
MAY_LOAD_ONE = tuple(package for packages in LAYERING.values() for package in packages)


def ours() -> list[str]:
    """Every module of ours that imports no framework."""
    packages = (secagg, secagg_client, secagg_server)
    found = [
        info.name for package in packages for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    return [name for name in found if not name.endswith("__main__") and not name.startswith(MAY_LOAD_ONE)]


def loaded(program: str) -> set[str]:
    """The frameworks that a program has loaded in the end, in a process of its own."""
    told = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys; print(json.dumps(list(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(told.stdout.splitlines()[-1])) & set(FRAMEWORKS)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_is_installed(framework: str) -> None:
    assert loaded(f"import {framework}") >= {framework}


def test_nothing_but_the_plug_ins_loads_a_framework() -> None:
    names = ours()
    assert {"secagg.rounds.engine", "secagg_client.aio", "secagg_server.app"} <= set(names)
    assert loaded("\n".join(f"import {name}" for name in names)) == set()


def test_protobuf_is_the_old_one_here() -> None:
    """`make test` runs on protobuf 7 and Flower wants an older one: this is where the wire code meets it."""
    assert version("protobuf").split(".")[0] == "6"


def test_nothing_is_told_to_the_makers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the frameworks read; and Flower asks for newer releases of itself in a thread, unless it is told not to."""
    assert import_module("flwr.supercore.telemetry").FLWR_TELEMETRY_ENABLED == "0"
    updates = import_module("flwr.supercore.update_check")
    asked: list[str] = []
    monkeypatch.setattr(updates, "_start_flwr_update_check_refresh_thread", asked.append)
    updates.warn_if_flwr_update_available("flwr")
    assert not asked
    monkeypatch.delenv("FLWR_DISABLE_UPDATE_CHECK")
    updates.warn_if_flwr_update_available("flwr")
    assert asked


def test_ray_asks_no_cloud_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = import_module("ray._common.usage.usage_lib")
    monkeypatch.setattr(usage, "get_cloud_from_metadata_requests", lambda: "asked")
    config = usage.get_cluster_config_to_report(Path("~/ray_bootstrap_config.yaml").expanduser())  # as its dashboard
    assert config.cloud_provider == "local"
    assert usage.get_cluster_config_to_report("/nowhere").cloud_provider == "asked"
    assert not usage.usage_stats_enabled()


def test_a_warning_of_our_code_is_an_error() -> None:
    with pytest.raises(DeprecationWarning):
        warnings.warn("planted", DeprecationWarning, stacklevel=1)


def test_a_warning_of_a_framework_is_not() -> None:
    warnings.warn_explicit("planted", DeprecationWarning, "framework.py", 1, module="flwr.planted")
