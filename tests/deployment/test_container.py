"""The sidecar in its container: rounds through it, what it may do, how it starts, ends and comes back."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker.types
import pytest
from docker.errors import APIError
from secagg_client import RoundResult

from secagg import __version__
from secagg.config import RoundConfig
from secagg.encoding.pipeline import Pipeline
from secagg.errors import AbortReason, BudgetExceeded, ConfigError, RoundAborted
from secagg.messages import ParticipantId
from tests.deployment.conftest import ROOT
from tests.deployment.containers import (
    PATIENCE_S,
    UID,
    Sidecar,
    accounting_image,
    engine,
    running,
    sidecar_image,
    tracing_image,
    until,
)
from tests.pages import Code
from tests.serving import NAMES, TASK, make_config, write_site
from tests.taking_part import check_result, client, update_of, weight_of

CONFIG = make_config(3, deadline_s=PATIENCE_S)
NOISY = replace(
    CONFIG, encoding=Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=4.0)")
)
CREW = NAMES[:3]
COLLECTOR = """
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        got.put([span.name for each in request.resource_spans for scope in each.scope_spans for span in scope.spans])
        return trace_service_pb2.ExportTraceServiceResponse()

got = Queue()
server = grpc.server(ThreadPoolExecutor(1))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), server)
server.add_insecure_port("127.0.0.1:4317")
server.start()
names = []
while "secagg.round" not in names:
    names += got.get(timeout=50)
print(*names)
"""
"""Prints the names of the spans that come until a round is among them."""
Given = dict[str, Any]


def take_part(sidecar: Sidecar, name: ParticipantId, config: RoundConfig) -> RoundResult:
    with client(sidecar.address, name) as participant:
        return participant.participate(
            update_of(config, name),
            weight=1 if isinstance(config.encoding, Pipeline) else weight_of(name),
            task=config.task,
            model_digest=config.model_digest,
            timeout_s=PATIENCE_S,
        )


@contextmanager
def participating(
    sidecar: Sidecar, names: tuple[ParticipantId, ...], config: RoundConfig
) -> Iterator[list[Future[RoundResult]]]:
    with ThreadPoolExecutor(len(names)) as threads:
        yield [threads.submit(take_part, sidecar, name, config) for name in names]


def play(sidecar: Sidecar, config: RoundConfig = CONFIG) -> list[RoundResult]:
    """A whole round."""
    with sidecar.control() as control, participating(sidecar, tuple(CREW), config) as going:
        control.result(control.open_round(config), timeout_s=PATIENCE_S)
        return [one.result() for one in going]


def test_a_round_over_tls_in_a_container_that_may_do_next_to_nothing() -> None:
    with running(sidecar_image()) as sidecar:
        for result in play(sidecar):
            check_result(CONFIG, result, CREW)
        status = dict(
            line.split(":\t", 1)
            for line in sidecar.python("print(open('/proc/1/status').read())").split("\n")
            if ":\t" in line
        )
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(UID)}
        assert status["Groups"].split() in ([], [str(UID)])
        for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[which], 16) == 0
        assert status["NoNewPrivs"] == "1"
        processes = sidecar.container.top(ps_args="-eo uid,pid,args")
        assert {row[processes["Titles"].index("UID")] for row in processes["Processes"]} == {str(UID)}


def test_it_writes_nothing_outside_its_volumes() -> None:
    """Without a read-only root the engine would list what was written."""
    with running(sidecar_image(), read_only=False) as sidecar:
        play(sidecar)
        places = {change["Path"] for change in sidecar.container.diff() or []}
        assert places <= {"/etc", "/etc/secagg", "/run", "/run/secagg"}  # where volumes are mounted


def test_operators_look_at_rounds_from_inside() -> None:
    """As deploy/README.md says: without telling the command where the socket is."""
    with running(sidecar_image()) as sidecar, sidecar.control() as control:
        round_id = control.open_round(CONFIG)
        listed = sidecar.container.exec_run(["secagg", "round", "list", "--json"])
        assert listed.exit_code == 0, listed.output
        assert isinstance(listed.output, bytes)
        assert round_id.hex() in listed.output.decode()


def test_a_shell_is_not_there_to_be_run() -> None:
    with running(sidecar_image()) as sidecar:
        for shell in ("sh", "/bin/sh", "bash", "/bin/busybox"):
            assert sidecar.container.exec_run([shell, "-c", "true"]).exit_code in (126, 127)


def test_health_goes_from_starting_to_healthy_to_unhealthy() -> None:
    test = sidecar_image().attrs["Config"]["Healthcheck"]["Test"]
    second = 1_000_000_000
    check = docker.types.Healthcheck(test=test, interval=second, timeout=5 * second, retries=2)
    with running(sidecar_image(), wait=False, healthcheck=check) as sidecar:
        assert sidecar.health == "starting"
        until(lambda: sidecar.health == "healthy")
        sidecar.container.kill("SIGSTOP")  # it lives, and answers nobody
        until(lambda: sidecar.health == "unhealthy")
        sidecar.container.kill("SIGCONT")
        until(lambda: sidecar.health == "healthy")


def test_sigterm_ends_it_with_0_and_aborts_open_rounds_by_name() -> None:
    with running(sidecar_image()) as sidecar, sidecar.control() as control:
        round_id = control.open_round(CONFIG)
        with participating(sidecar, tuple(CREW[:2]), CONFIG) as waiting:
            until(lambda: len(sidecar.events("identity_seen")) == 2)
            sidecar.container.stop(timeout=int(PATIENCE_S))  # SIGKILL after that, which is code 137
            for one in waiting:
                with pytest.raises(RoundAborted) as told:
                    one.result()
                assert told.value.reason is AbortReason.COORDINATOR_SHUTDOWN
        assert sidecar.state["ExitCode"] == 0
        assert not sidecar.state["OOMKilled"]
        (failed,) = sidecar.events("round_failed")
        assert failed["round_id"] == round_id.hex()
        assert [line["event"] for line in sidecar.log][-1] == "stopped"


def test_it_can_be_stopped_before_it_is_ready() -> None:
    with running(sidecar_image(), wait=False) as sidecar:
        end = time.monotonic() + PATIENCE_S
        while sidecar.state["Running"] and time.monotonic() < end:
            try:
                sidecar.container.kill("SIGTERM")  # again: the interpreter itself takes a moment to hear anything
            except APIError:
                break  # it has ended
        assert sidecar.state["ExitCode"] == 0
        assert not sidecar.events("ready")


def test_after_a_restart_in_the_middle_of_a_round_the_next_one_works() -> None:
    with running(sidecar_image()) as sidecar:
        with sidecar.control() as control, participating(sidecar, tuple(CREW[:2]), CONFIG) as waiting:
            control.open_round(CONFIG)
            until(lambda: len(sidecar.events("identity_seen")) == 2)
            sidecar.container.restart(timeout=int(PATIENCE_S))
            for one in waiting:
                with pytest.raises(RoundAborted):
                    one.result()
        sidecar.until_ready(2)
        for result in play(sidecar):
            check_result(CONFIG, result, CREW)


def test_what_was_spent_survives_on_the_volume_of_the_ledger() -> None:
    volume = engine().volumes.create()
    given: Given = {
        "volumes": {volume.name: {"bind": "/var/lib/secagg"}},
        "environment": {
            "SECAGG_SERVER_LEDGER_DIR": "/var/lib/secagg/ledger",
            "SECAGG_SERVER_BUDGET": '{"epsilon": 1.5, "delta": 1e-5}',
        },
    }
    try:
        with running(accounting_image(), **given) as sidecar:
            play(sidecar, NOISY)
            with sidecar.control() as control:
                before = control.ledger(TASK)
                assert 0 < before.epsilon < 1.5
            sidecar.container.kill("SIGKILL")
        with running(accounting_image(), **given) as sidecar, sidecar.control() as control:
            after = control.ledger(TASK)
            assert after.ledger == before.ledger
            with pytest.raises(BudgetExceeded):
                control.open_round(NOISY)
    finally:
        volume.remove(force=True)


def test_the_small_image_says_what_it_cannot_account_for() -> None:
    with running(sidecar_image()) as sidecar, sidecar.control() as control:
        with pytest.raises(ConfigError, match="cannot account for noise: privacy accounting needs the extra dp"):
            control.open_round(NOISY)
        play(sidecar, replace(CONFIG, task="without noise"))
    settings = {"SECAGG_SERVER_LEDGER_DIR": "/var/lib/secagg/ledger"}
    with running(sidecar_image(), wait=False, environment=settings) as sidecar:
        until(lambda: not sidecar.state["Running"])
        assert sidecar.state["ExitCode"] == 1
        assert b"dp" in bytes(sidecar.container.logs())


def test_the_image_with_traces_sends_those_of_a_round() -> None:
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with running(tracing_image(), environment=asked) as sidecar, ThreadPoolExecutor(1) as threads:
        collected = threads.submit(sidecar.python, COLLECTOR)
        play(sidecar)
        assert "secagg.round" in collected.result(PATIENCE_S)


def test_the_small_image_says_that_it_has_no_traces() -> None:
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}
    with running(sidecar_image(), wait=False, environment=asked) as sidecar:
        until(lambda: not sidecar.state["Running"])
        assert sidecar.state["ExitCode"] == 1
        assert b"needs the extra otel" in bytes(sidecar.container.logs())


@pytest.mark.runs("deploy/README.md", "sh", "docker build", "docker run")
def test_the_commands_of_the_page(page: Code, tmp_path: Path) -> None:
    """As they stand, but for names, the port and what keeps a terminal."""
    small, large = page.rest("sh")
    given = "".join(f" --build-arg {name}" for name in ("BASE_IMAGE", "PIP_INDEX_URL") if name in os.environ)
    mine = f"secagg-test-page-{os.getpid()}"
    for name in ("identity", "run"):
        (tmp_path / name).mkdir()
    write_site(tmp_path / "identity")
    for path in tmp_path.rglob("*"):
        os.chown(path, UID, UID)

    def types(text: str) -> str:
        text = text.replace("docker build", f"docker build{given}").replace("--publish 7443:", "--publish 127.0.0.1::")
        text = text.replace(" ./", f" {tmp_path}/").replace("secagg-ledger", mine)
        text = text.replace("docker run --rm --read", f"docker run --detach --name {mine} --read")
        text = re.sub(r"\bsecagg-server(-dp)?(?=\s+(\.|--version)|\s*$)", rf"{mine}\1", text, flags=re.MULTILINE)
        return subprocess.run(["bash", "-euc", text], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    try:
        assert types(small).endswith(f"secagg-server {__version__}\n")
        types(large)
        container = engine().containers.get(mine)
        until(lambda: b'"event": "ready"' in bytes(container.logs()))
        container.stop(timeout=int(PATIENCE_S))
        assert container.wait()["StatusCode"] == 0
    finally:
        subprocess.run(["docker", "rm", "--force", mine], capture_output=True, check=False)
        subprocess.run(["docker", "volume", "rm", "--force", mine], capture_output=True, check=False)
        subprocess.run(["docker", "rmi", "--force", mine, f"{mine}-dp"], capture_output=True, check=False)
