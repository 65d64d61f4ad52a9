"""Which Ray clusters are refused, as far as that needs no Ray."""

import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from types import SimpleNamespace

import pytest
from pydantic import ValidationError
from secagg_server import placing
from secagg_server.placing import check_reachable, check_safe, check_there, joined

from secagg.errors import ConfigError, MissingExtraError
from secagg.tools import cluster
from secagg.tools.redteam.self_test.patches import without_check
from tests.serving import make_settings

HERE, THERE = "10.0.0.1", "10.0.0.2"
LOCAL = ["", "127.0.0.1:8265", "localhost:8265", "[::1]:8265"]


@pytest.mark.parametrize("dashboard", LOCAL)
def test_one_machine_needs_nothing(dashboard: str) -> None:
    check_safe({HERE}, dashboard, {})


def test_several_machines_need_tls() -> None:
    with pytest.raises(ConfigError, match="RAY_USE_TLS"):
        check_safe({HERE, THERE}, "", {"RAY_USE_TLS": "0"})
    check_safe({HERE, THERE}, "", {"RAY_USE_TLS": "1"})


@pytest.mark.parametrize("dashboard", ["0.0.0.0:8265", "10.0.0.1:8265", "head.example.org:8265", "[::]:8265"])
def test_a_dashboard_that_others_reach_needs_a_token(dashboard: str) -> None:
    with pytest.raises(ConfigError, match="dashboard"):
        check_safe({HERE}, dashboard, {"RAY_AUTH_MODE": "disabled"})
    check_safe({HERE}, dashboard, {"RAY_AUTH_MODE": "token"})


@pytest.mark.parametrize("check", ["ray-tls", "ray-dashboard"])
def test_without_the_check_strangers_run_programs(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, placing, "check_safe", check)
    placing.check_safe(
        {HERE, THERE} if check == "ray-tls" else {HERE}, "0.0.0.0:8265" if check == "ray-dashboard" else "", {}
    )


def test_workers_of_other_machines_reach_the_link() -> None:
    check_reachable({HERE}, "127.0.0.1:0")
    check_reachable({HERE, THERE}, "0.0.0.0:7444")
    with pytest.raises(ConfigError, match="cannot reach the link"):
        check_reachable({HERE, THERE}, "127.0.0.1:7444")


def test_a_cluster_that_is_not_there_is_refused_at_once() -> None:
    with closing(socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(ConfigError, match="no Ray cluster"):
            check_there(address)
        listening.listen()
        check_there(address)
    check_there("auto")


def test_ray_is_not_asked_for_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())
    with closing(socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = make_settings(tmp_path, engine="ray", ray_address=address)
        with pytest.raises(ConfigError, match="no Ray cluster"), joined(settings):
            pass
        with pytest.raises(ConfigError, match="no Ray cluster"), cluster.joined(address):
            pass


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(MissingExtraError, match="cluster"),
        joined(make_settings(tmp_path, engine="ray", ray_address="auto")),
    ):
        pass


@pytest.mark.parametrize("half", [{"engine": "ray"}, {"ray_address": "auto"}])
def test_the_engine_and_its_cluster_go_together(half: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="go together"):
        make_settings(tmp_path, **half)


async def test_a_worker_settles_allocator_and_collector_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def stop(**_: object) -> None:
        raise InterruptedError

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())
    monkeypatch.setattr(placing, "Thread", lambda **_: SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(placing, "settle_allocator", lambda: done.append("allocator"))
    monkeypatch.setattr(placing, "settle_collector", lambda: done.append("collector"))
    monkeypatch.setattr(placing, "Settings", stop)
    with pytest.raises(InterruptedError):
        await placing.Ingress({})._run()
    assert done == ["allocator", "collector"]
