"""Rounds against an active server: identities and a folder of the node's own; what an old state or a replay can do."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg, Result
from secagg_client.flower import SecAgg, SecAggMod
from secagg_client.flower.node import KEYS, SUMS
from secagg_client.flower.records import take

from secagg.config import ThreatModel
from secagg.crypto.authority import create_authority
from secagg.crypto.identity import TrustAnchors
from secagg.errors import RoundAborted
from secagg.messages import Phase
from secagg.policy import Policy
from tests.frameworks.flower.issued_files import NODES, issued
from tests.frameworks.flower.memory_grid import Fault, MemoryGrid, app_of, copied, model
from tests.frameworks.flower.test_dropouts import AT, FAULTS, carries, failing, mean_of, shift

STEPS = AT | {"checking": str(Phase.MASKED_INPUT), "unmasking": str(Phase.CONSISTENCY_CHECK)}
"""As `AT`, against an active server."""


def grid_of(node_configs: dict[int, dict[str, Any]], fault: Fault = lambda *_: None, policy: Any = None) -> MemoryGrid:
    apps = {node: app_of([SecAggMod(policy)], shift=0.001 * node, weight=node) for node in NODES}
    return MemoryGrid(apps, node_configs, fault)


def run(grid: MemoryGrid, rounds: int = 1, **options: Any) -> Result:
    given: dict[str, Any] = {
        "clip": 0.05,
        "value_bits": 24,
        "max_weight": 50,
        "phase_s": 0.02,
        "trust": TrustAnchors.from_pem(issued()["ca.pem"]),
    } | options
    strategy = FedAvg(fraction_evaluate=0.0)
    return SecAgg(strategy, **given).start(grid=grid, initial_arrays=model(), num_rounds=rounds, timeout=0.1)


def exchanges(grid: MemoryGrid, node: int = 1) -> int:
    return sum((who, way) == (node, "down") for who, way, _ in grid.seen)


def test_a_round_after_the_first_costs_three_exchanges(node_configs: dict[int, dict[str, Any]]) -> None:
    grids = {rounds: grid_of(node_configs) for rounds in (1, 4)}
    results = {rounds: run(grid, rounds, metrics={"loss": (0, 10)}) for rounds, grid in grids.items()}
    assert exchanges(grids[1]) == 5
    assert exchanges(grids[4]) == 5 + 3 * 3
    assert shift(results[4].arrays) == pytest.approx(4 * mean_of(set(NODES)), abs=1e-6)
    assert results[4].train_metrics_clientapp.keys() == {1, 2, 3, 4}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("asked", STEPS)
def test_the_round_goes_on_without_a_node_that_is_lost(
    asked: str, fault: str, node_configs: dict[int, dict[str, Any]]
) -> None:
    result = run(grid_of(node_configs, failing({2}, fault, STEPS[asked])))
    there = {1, 3, 4, 5} if asked in {"keys", "shares", "training"} else set(NODES)
    assert shift(result.arrays) == pytest.approx(mean_of(there), abs=1e-6)


def test_what_a_node_remembers_is_in_a_folder_of_its_own(node_configs: dict[int, dict[str, Any]]) -> None:
    run(grid_of(node_configs))
    for config in node_configs.values():
        folder = Path(config["secagg-marks"])
        assert {path.name for path in folder.iterdir()} >= {KEYS, SUMS}
        assert folder.stat().st_mode & 0o077 == 0


def test_without_a_folder_a_node_is_in_no_round_against_an_active_server(
    node_configs: dict[int, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    del node_configs[2]["secagg-marks"]
    result = run(grid_of(node_configs))
    assert shift(result.arrays) == pytest.approx(mean_of({1, 3, 4, 5}), abs=1e-6)
    assert "node 2 dropped out: refused: refused by local policy: threat model ACTIVE is not allowed" in caplog.text
    assert "names a certificate and no secagg-marks" in caplog.text
    assert "SecAgg: node 2: it takes part against an active server only with a folder for marks" in caplog.text


def test_a_folder_that_cannot_be_used_is_told(
    node_configs: dict[int, dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node_configs[2]["secagg-marks"] = str(tmp_path / "ca.pem")  # a file
    opened = tmp_path / "opened"
    (opened / KEYS).mkdir(parents=True)
    (opened / KEYS).chmod(0o755)
    node_configs[3]["secagg-marks"] = str(opened)
    run(grid_of(node_configs))
    for node in (2, 3):
        assert f"node {node}: its folder for marks (secagg-marks in node_config) cannot be used" in caplog.text
    assert "name another one as secagg-marks" in str([record.exc_info for record in caplog.records])


def test_a_server_of_another_ca_stops_the_job(node_configs: dict[int, dict[str, Any]]) -> None:
    other = create_authority(name="another", now=datetime.now(UTC)).certificate_pem
    with pytest.raises(RoundAborted, match=r"no node took part .*issued by a foreign CA"):
        run(grid_of(node_configs), rounds=2, trust=TrustAnchors.from_pem(other))


def test_nodes_without_certificates_are_told_what_an_active_round_needs(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RoundAborted, match="threat model ACTIVE is not allowed"):
        run(grid_of({}))
    assert "SecAgg: node 1: it has no certificate, which rounds against an active server" in caplog.text


@pytest.mark.parametrize("missing", ["secagg-certificate", "secagg-key", "secagg-ca"])
def test_a_file_that_is_not_named_costs_the_node_its_rounds(
    missing: str, node_configs: dict[int, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    del node_configs[2][missing]
    result = run(grid_of(node_configs))
    assert shift(result.arrays) == pytest.approx(mean_of({1, 3, 4, 5}), abs=1e-6)
    assert "SecAgg: node 2: its certificate, key or CA in node_config cannot be read" in caplog.text


def test_a_node_with_an_identity_takes_part_in_no_weaker_round(
    node_configs: dict[int, dict[str, Any]],
) -> None:
    with pytest.raises(RoundAborted, match="threat model SEMI_HONEST is not allowed"):
        run(grid_of(node_configs), trust=None)
    policy = Policy(threat_models=frozenset(ThreatModel))
    assert run(grid_of(node_configs, policy=policy), trust=None).arrays


def test_the_log_says_what_each_setting_means(
    node_configs: dict[int, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    run(grid_of(node_configs), rounds=2)
    assert caplog.text.count("the server ships this app's code") == len(NODES)  # once a job at each node
    caplog.clear()
    run(grid_of({}), trust=None, rounds=2)
    assert caplog.text.count("One that does not could play all other nodes itself") == len(NODES)


# --- old states and replays -------------------------------------------------------------------------------------------


class Recording:
    """Keeps the context of node 2 from before it is asked for each thing, and the message that asks."""

    def __init__(self) -> None:
        self.before: dict[str, tuple[bytes, Message]] = {}
        self.grid: MemoryGrid | None = None

    def __call__(self, node: int, _number: int, message: Message) -> None:
        if node != 2 or self.grid is None:
            return
        for kind in {*STEPS.values(), *AT.values()}:
            if carries(message, kind):
                self.before[kind] = self.grid.contexts[2], copied(message)


def answered(grid: MemoryGrid, message: Message) -> set[str]:
    """What the node sends when it gets this message."""
    grid.fault = lambda *_: None
    reply = next(iter(grid.send_and_receive([copied(message)])))
    packet = take(reply.content)
    assert packet is not None
    return {step.kind for step in packet.steps}


@pytest.mark.parametrize("asked", AT)
@pytest.mark.parametrize("marks", [True, False])
def test_a_request_that_comes_again_is_not_answered(
    asked: str, marks: bool, node_configs: dict[int, dict[str, Any]]
) -> None:
    recording = Recording()
    configs = {node: {"secagg-marks": config["secagg-marks"]} if marks else {} for node, config in node_configs.items()}
    recording.grid = grid_of(configs, recording)
    run(recording.grid, trust=None)
    _, message = recording.before[AT[asked]]
    assert answered(recording.grid, message) == {"leave"}


@pytest.mark.parametrize("asked", AT)
def test_a_state_that_is_brought_back_answers_no_second_time(
    asked: str, node_configs: dict[int, dict[str, Any]]
) -> None:
    """Flower loses a context when a process dies between its reply and its end. The twin has no folder."""
    kinds = {}
    for marks in (True, False):
        recording = Recording()
        configs = {
            node: {"secagg-marks": config["secagg-marks"]} if marks else {} for node, config in node_configs.items()
        }
        recording.grid = grid_of(configs, recording)
        run(recording.grid, trust=None)
        recording.grid.contexts[2], message = recording.before[AT[asked]]
        kinds[marks] = answered(recording.grid, message)
    assert kinds[True] == {"leave"}
    assert "leave" not in kinds[False]


def test_against_an_active_server_too(node_configs: dict[int, dict[str, Any]]) -> None:
    recording = Recording()
    recording.grid = grid_of(node_configs, recording)
    run(recording.grid)
    for kind in STEPS.values():
        recording.grid.contexts[2], message = recording.before[kind]
        assert answered(recording.grid, message) == {"leave"}
