"""Rounds at a coordinator: what nodes train in Flower meets in a sum at a real sidecar, over TLS on loopback."""

import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from logging import WARNING
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, Result
from secagg_client.carried.steps import Step
from secagg_client.flower import SecAgg, SecAggMod, Sidecar, sidecar_node
from secagg_client.flower import node as node_files
from secagg_client.flower import sidecar as held
from secagg_client.flower.channel import Channel, Letter, Silence
from secagg_client.participation.feedback import Feedback
from secagg_client.sync.client import Client

from secagg.config import ThreatModel
from secagg.context import RoundId
from secagg.encoding.pipeline import Pipeline
from secagg.errors import ConfigError, DecodeError, RoundAborted, TransportError
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.policy import Policy
from secagg.robust.grouping import Combine, Groups
from secagg.tools.deployment.identities import Identities, create_identities
from secagg.tools.deployment.sidecar import Sidecar as Coordinator
from secagg.tools.redteam.self_test.patches import without_check
from tests.frameworks.flower import memory_grid
from tests.frameworks.flower.memory_grid import MemoryGrid, app_of, copied, model

METRICS = {"loss": (0.0, 10.0), "accuracy": (0.0, 1.0)}
PATIENCE_S = 30.0


class ThreadedGrid(MemoryGrid):
    """Every node is a process of its own, as SuperNodes run them: here a thread."""

    def _push(self, message: Message) -> str:
        message_id, node = str(next(self._ids)), message.metadata.dst_node_id
        message.metadata.__dict__["_message_id"] = message_id
        self.seen.append((node, "down", copied(message)))
        self._counts[node] = self._counts.get(node, 0) + 1
        fault = self.fault(node, self._counts[node], message)
        threading.Thread(target=self._work, args=(message, node, fault), daemon=True).start()
        return message_id

    def _work(self, message: Message, node: int, fault: str | None) -> None:
        if fault == "silence":
            return
        reply = Message(Error(8, "died"), reply_to=message) if fault == "error" else self._run(node, message, fault)
        if fault != "lost":
            self.seen.append((node, "up", copied(reply)))
            self._replies[message.metadata.message_id] = reply


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    return create_identities(tmp_path_factory.mktemp("pki"), [f"hospital-{n}" for n in range(1, 10)])


@pytest.fixture(scope="module")
def coordinator(identities: Identities, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    with Coordinator(identities.server, tmp_path_factory.mktemp("coordinator")) as running:
        yield running


@pytest.fixture
def transport(coordinator: Coordinator) -> Sidecar:
    return Sidecar(coordinator.control_plane, coordinator.data_plane)


@pytest.fixture(autouse=True)
def arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of its own for each test: the coordinator remembers whose sums of a model it has released."""
    drawn = np.random.default_rng().normal(size=7).astype(np.float32)
    monkeypatch.setattr(sys.modules[__name__], "model", lambda: memory_grid.model(bias=drawn))


def config_of(folder: Path, **changes: Any) -> dict[str, Any]:
    files = {f"secagg-{kind}": str(folder / f"{name}.pem") for kind, name in (("certificate", "cert"), ("key", "key"))}
    return {**files, "secagg-ca": str(folder / "ca.pem"), **changes}


def grid_of(identities: Identities, nodes: int = 5, policy: Policy | None = None, **changes: Any) -> ThreadedGrid:
    folders = list(identities.participants.values())[:nodes]
    apps = {
        node: app_of([SecAggMod(policy)], shift=0.004 * node, loss=0.1 * node, weight=10 * node)
        for node in range(1, nodes + 1)
    }
    configs = {node: config_of(folder) for node, folder in enumerate(folders, 1)}
    return ThreadedGrid(apps, configs, **changes)


def plain(nodes: int = 5, rounds: int = 2, strategy: Any = FedAvg) -> Result:
    apps = {node: app_of([], shift=0.004 * node, loss=0.1 * node, weight=10 * node) for node in range(1, nodes + 1)}
    return strategy().start(grid=MemoryGrid(apps), initial_arrays=model(), num_rounds=rounds)


def run(transport: Sidecar, grid: MemoryGrid, rounds: int = 2, strategy: Any = None, **options: Any) -> Result:
    given: dict[str, Any] = {"clip": 0.05, "value_bits": 24, "max_weight": 50, "phase_s": 10.0} | options
    secure = SecAgg(strategy or FedAvg(), transport=transport, **given)
    return secure.start(grid=grid, initial_arrays=model(), num_rounds=rounds, timeout=PATIENCE_S)


def distance(one: ArrayRecord, other: ArrayRecord) -> float:
    return max(float(np.abs(one[name].numpy() - other[name].numpy()).max()) for name in one if name != "counter")


def test_training_and_evaluation_are_what_they_are_in_plain(transport: Sidecar, identities: Identities) -> None:
    grid = grid_of(identities)
    secure, wanted = run(transport, grid, metrics=METRICS), plain()
    assert distance(secure.arrays, wanted.arrays) < 1e-5
    for mine, theirs in (
        (secure.train_metrics_clientapp, wanted.train_metrics_clientapp),
        (secure.evaluate_metrics_clientapp, wanted.evaluate_metrics_clientapp),
    ):
        assert mine.keys() == theirs.keys() == {1, 2}
        for number in mine:
            assert dict(mine[number]) == pytest.approx(dict(theirs[number]), abs=1e-5)
    sent = [message for node, way, message in grid.seen if node == 1 and way == "down"]
    assert len(sent) == 1 + 2 + 2  # who are you; then one message for each training and evaluation
    for node, way, message in grid.seen:
        if way == "up":  # nothing but who it is and that it takes part
            assert list(message.content) == ["secagg"], node
            assert len(message.content["secagg"]["data"]) < 20


def test_another_strategy_and_a_clip_that_is_found(transport: Sidecar, identities: Identities) -> None:
    secure = run(transport, grid_of(identities), strategy=FedAdam(eta=0.01), clip="auto")
    wanted = FedAdam(eta=0.01).start(
        grid=MemoryGrid({n: app_of([], shift=0.004 * n, loss=0.1 * n, weight=10 * n) for n in range(1, 6)}),
        initial_arrays=model(),
        num_rounds=2,
    )
    assert distance(secure.arrays, wanted.arrays) < 1e-4


def test_a_model_is_sent_to_nobody_whose_app_lacks_the_mod(
    transport: Sidecar, identities: Identities, caplog: pytest.LogCaptureFixture
) -> None:
    grid = grid_of(identities)
    trained: list[int] = []

    def train(message: Message, context: Context) -> Message:
        trained.append(len(message.content.array_records))
        raise RuntimeError("nothing to train on")

    grid.apps = {**grid.apps, 5: app_of([], train=train)}
    with caplog.at_level(WARNING, "flwr"):
        secure = run(transport, grid, rounds=2)
    assert set(trained) == {0}
    assert distance(secure.arrays, plain(nodes=4).arrays) < 1e-5
    assert all("arrays" not in m.content for node, way, m in grid.seen if node == 5 and way == "down")
    (line,) = {record.message for record in caplog.records if "node 5 dropped out" in record.message}
    assert "if its app lacks SecAggMod" in line


def test_nodes_of_another_ca_than_the_coordinators_say_so(transport: Sidecar, tmp_path: Path) -> None:
    others = create_identities(tmp_path, ["hospital-1", "hospital-2", "hospital-3"])
    with pytest.raises(RoundAborted, match="node 1: it lost the coordinator, cannot reach it, or does not trust"):
        run(transport, grid_of(others, nodes=3), rounds=1)


def test_nodes_that_do_not_reach_the_coordinator_say_so(
    transport: Sidecar, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any) -> Any:
        raise TransportError("cannot reach it")

    monkeypatch.setattr(sidecar_node, "Participations", unreachable)
    with pytest.raises(RoundAborted, match="node 1: it lost the coordinator, cannot reach it, or does not trust"):
        run(transport, grid_of(identities, nodes=3), rounds=1)


@pytest.mark.parametrize("fault", ["error", "raise"])
def test_a_client_that_dies_in_training_costs_no_time_limit(
    transport: Sidecar, identities: Identities, fault: str
) -> None:
    """The others wait for it at the coordinator, until the server app says that it is gone."""
    grid = grid_of(identities, fault=lambda node, number, message: fault if node == 5 and number > 1 else None)
    secure = run(transport, grid, rounds=2)
    assert distance(secure.arrays, plain(nodes=4).arrays) < 1e-5


def test_a_client_that_dies_before_it_says_who_it_is(transport: Sidecar, identities: Identities) -> None:
    grid = grid_of(identities, fault=lambda node, number, message: "error" if node == 5 and number == 1 else None)
    secure = run(transport, grid, rounds=1)
    assert distance(secure.arrays, plain(nodes=4, rounds=1).arrays) < 1e-5


def test_a_lost_reply_loses_nothing(
    transport: Sidecar, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node was in the round. Its reply, which never comes, holds nothing; the server does not wait for it long."""
    monkeypatch.setattr(held, "REPLY_S", 0.2)
    grid = grid_of(identities, fault=lambda node, number, message: "lost" if node == 5 and number > 1 else None)
    given: dict[str, Any] = {"clip": 0.05, "value_bits": 24, "max_weight": 50}
    secure = SecAgg(FedAvg(), transport=transport, **given)
    arrays = secure.start(grid=grid, initial_arrays=model(), num_rounds=2, timeout=None).arrays  # nobody gives up
    assert distance(arrays, plain().arrays) < 1e-5


@pytest.mark.parametrize("at", ["Advertise", "Share", "SendInput", "Check", "Reveal"])
def test_a_client_that_crashes_in_a_phase(
    transport: Sidecar, identities: Identities, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Its process ends when it would send its message of this phase, and Flower says so."""
    from secagg_client.sync.connection import Connection

    victim = list(identities.participants)[4]
    perform = Connection.perform
    died: list[str] = []

    def dying(connection: Any, call: Any, scope: Any) -> Any:
        if call.method == at and victims.get(id(connection)):
            died.append(at)
            raise KilledError
        if died and victims.get(id(connection)):
            raise KilledError  # nor does it say that it leaves
        return perform(connection, call, scope)

    victims: dict[int, bool] = {}
    made = Client.__init__

    def noting(client: Any, *arguments: Any, **options: Any) -> None:
        made(client, *arguments, **options)
        victims[id(client._connection)] = options["identity"].participant_id == victim

    monkeypatch.setattr(Connection, "perform", dying)
    monkeypatch.setattr(Client, "__init__", noting)
    secure = run(transport, grid_of(identities), rounds=1)
    assert died == [at]
    whole = at in {"Check", "Reveal"}  # its update was in when it died
    assert distance(secure.arrays, plain(nodes=5 if whole else 4, rounds=1).arrays) < 1e-5


class KilledError(Exception):
    """Not an error of ours: nothing handles it."""


def test_nobody_waits_for_a_node_that_lost_the_coordinator(
    transport: Sidecar, identities: Identities, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the round, and its connection breaks. It says so in Flower, and the round goes on without it."""
    from secagg_client.sync.connection import Connection

    perform, victim, lock = Connection.perform, list[int](), threading.Lock()

    def breaking(connection: Any, call: Any, scope: Any) -> Any:
        with lock:
            if call.method == "Share" and not victim:
                victim.append(id(connection))
        if id(connection) in victim:
            raise TransportError("the connection broke")
        return perform(connection, call, scope)

    monkeypatch.setattr(Connection, "perform", breaking)
    with caplog.at_level(WARNING, "flwr"):
        run(transport, grid_of(identities), rounds=1)
    told = [r.getMessage() for r in caplog.records if "dropped out" in r.getMessage()]
    assert len(told) == 1
    assert "it lost the coordinator" in told[0]


def test_too_few_nodes_give_no_sum_and_the_job_goes_on(transport: Sidecar, identities: Identities) -> None:
    dead = {4, 5}
    grid = grid_of(identities, fault=lambda node, number, message: "error" if node in dead and number == 2 else None)
    secure = run(transport, grid, rounds=2)
    assert distance(secure.arrays, plain(rounds=1).arrays) < 1e-5  # the second round has all of them again


@pytest.mark.parametrize("checked", [True, False])
def test_two_nodes_with_one_certificate_are_named(
    transport: Sidecar,
    identities: Identities,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    checked: bool,
) -> None:
    """Else giving up the one would shut out the other: in the twin both answer to one name."""
    if not checked:
        without_check(monkeypatch, held.Roll, "meet", "one-node-a-certificate")
    grid = grid_of(identities)
    configs = {**grid.node_configs, 5: grid.node_configs[4]}
    twice = ThreadedGrid(grid.apps, configs)
    with caplog.at_level(WARNING, "flwr"):
        run(transport, twice, rounds=1)
    told = [r.getMessage() for r in caplog.records if "each node needs one of its own" in r.getMessage()]
    assert len(told) == checked


def test_a_node_that_comes_back_under_another_number_keeps_its_name() -> None:
    roll, cohort = held.Roll(), frozenset({"2", "3"})
    roll.meet("1", [met(b"hospital-1")], frozenset({"1"}))
    roll.meet("2", [met(b"hospital-1")], cohort)
    assert roll.names(frozenset({"1", "2", "3"})) == {"2": "hospital-1"}
    assert roll.strangers(frozenset({"1", "2", "3"})) == {"1", "3"}


def met(name: bytes) -> Step:
    return Step(held.NO_ROUND, held.MEET, (name,))


@pytest.mark.parametrize(
    "steps",
    [[], [met(b"a"), met(b"a")], [Step(held.NO_ROUND, held.COME, (b"a",))], [met(b"\xff")], [met(b"a b")], [met(b"")]],
)
def test_who_does_not_say_who_it_is_is_not_met(steps: list[Step]) -> None:
    roll = held.Roll()
    with pytest.raises(DecodeError):
        roll.meet("1", steps, frozenset({"1"}))
    assert roll.strangers(frozenset({"1"})) == {"1"}


@pytest.mark.parametrize("parts", [(), (b"a:1", b"b:2"), (b"\xff:1",), (b"a" * 301,)])
def test_a_message_names_one_address_of_the_coordinator(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(DecodeError, match="address"):
        sidecar_node._address([Step(RoundId(b"1" * 16), held.COME, parts)])
    with pytest.raises(DecodeError, match="address"):
        sidecar_node._address([Step(RoundId(b"1" * 16), held.COME, (port,)) for port in (b"a:1", b"a:2")])


def test_a_message_of_two_kinds_of_steps_is_refused(identities: Identities) -> None:
    config = config_of(next(iter(identities.participants.values())))
    node = sidecar_node.HeldNode(config, None, RecordDict())
    with pytest.raises(DecodeError, match="several kinds"):
        node.answer([met(b""), Step(RoundId(b"1" * 16), held.COME, (b"a:1",))], lambda offers: {})


def test_nobody_is_waited_for_when_it_is_enough(transport: Sidecar, identities: Identities) -> None:
    grid = grid_of(identities, fault=lambda node, number, message: "silence")
    like = Message(RecordDict(), 1, "train")
    letters = {node: Letter(RecordDict(), like, float("inf")) for node in grid.apps}
    slept: list[float] = []
    channel = Channel(grid, sleep=slept.append)
    answers = channel.exchange(letters, enough=lambda: len(slept) == 3)
    assert {type(answer) for answer in answers.values()} == {Silence}
    assert len(slept) == 3


def test_the_aggregate_is_fetched_by_the_server_app_alone(
    transport: Sidecar, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes get the model with the next training message, so they need no sum."""
    from secagg_client.sync.connection import Connection

    perform, made = Connection.perform, []

    def noting(connection: Any, call: Any, scope: Any) -> Any:
        made.append(call.method)
        return perform(connection, call, scope)

    monkeypatch.setattr(Connection, "perform", noting)
    run(transport, grid_of(identities), rounds=1)
    assert made.count("SendInput") == 5
    assert made.count("FetchAggregate") == 1  # on the control plane


def test_nodes_without_a_certificate_stop_the_job_by_name(transport: Sidecar, identities: Identities) -> None:
    grid = grid_of(identities)
    with pytest.raises(RoundAborted, match=r"it has no certificate, which .*the sidecar transport need"):
        run(transport, ThreadedGrid(grid.apps, {}), rounds=1)


def test_groups(transport: Sidecar, identities: Identities) -> None:
    grid = grid_of(identities, nodes=9)
    secure = run(transport, grid, rounds=1, groups=Groups(count=3, combine=Combine.MEAN), max_weight=90)
    assert distance(secure.arrays, plain(nodes=9, rounds=1).arrays) < 1e-5


def test_homomorphic_rounds(transport: Sidecar, identities: Identities) -> None:
    policy = Policy(threat_models=frozenset(ThreatModel), min_colluding_share=0.0)
    profile = find_profile(Scheme.BFV, Custody.PARTICIPANTS, 5, 24)
    secure = run(transport, grid_of(identities, policy=policy), rounds=1, homomorphic=profile)
    assert distance(secure.arrays, plain(rounds=1).arrays) < 1e-5


def test_a_policy_that_refuses_the_round_is_named(transport: Sidecar, identities: Identities) -> None:
    """Homomorphic rounds are semi-honest, and nodes with a certificate demand the active model."""
    profile = find_profile(Scheme.BFV, Custody.PARTICIPANTS, 5, 24)
    with pytest.raises(RoundAborted, match="its policy refuses the round"):
        run(transport, grid_of(identities), rounds=1, homomorphic=profile)


def test_sums_are_remembered_in_the_folder_for_marks(
    transport: Sidecar, identities: Identities, tmp_path: Path
) -> None:
    folders = list(identities.participants.values())[:5]
    for node in range(1, 6):
        (tmp_path / str(node)).mkdir(mode=0o700)
    marked = {n: config_of(folder, **{"secagg-marks": str(tmp_path / str(n))}) for n, folder in enumerate(folders, 1)}
    run(transport, ThreadedGrid(grid_of(identities).apps, marked), rounds=1)
    assert all((tmp_path / str(node) / node_files.SUMS).stat().st_size > 0 for node in range(1, 6))


def test_feedback_is_carried_in_the_state_of_the_node(
    transport: Sidecar, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each node has its own back in the second round."""
    restore, restored = Feedback.restore, []

    def noting(feedback: Feedback, task: str, arrays: Any) -> None:
        restored.append(len(arrays))
        restore(feedback, task, arrays)

    monkeypatch.setattr(Feedback, "restore", noting)
    encoding = Pipeline.parse(
        "feedback | clip(l2=1.0) | sample(rate=0.5) | weigh(max=50) | quantise(bits=8, range=0.5)"
    )
    grid = grid_of(identities)
    run(transport, grid, rounds=2, encoding=encoding, clip="auto")
    state = pickle.loads(grid.contexts[1]).state  # noqa: S301
    carried = state["secagg.feedback.flower"]
    assert any(np.abs(array.numpy()).max() > 0 for array in carried.values())
    assert sorted(restored) == [0] * 5 + [2] * 5


def test_what_belongs_to_the_coordinator_is_refused_here(transport: Sidecar, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ledger_dir"):
        SecAgg(FedAvg(), transport=transport, ledger=tmp_path)
    with pytest.raises(ConfigError):
        Sidecar("unix:/run/control.sock", "no port")


def test_in_a_simulation_nodes_take_turns(
    transport: Sidecar, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker for five nodes, which MemoryGrid is: a node that waited in it would wait for ever."""
    monkeypatch.setattr(sidecar_node, "in_a_simulation", lambda: True)
    grid = grid_of(identities)
    one_worker = MemoryGrid(grid.apps, grid.node_configs)
    secure = run(transport, one_worker, metrics=METRICS)
    assert distance(secure.arrays, plain().arrays) < 1e-5


def test_feedback_in_a_simulation_is_refused_by_name(
    transport: Sidecar, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that goes on in the background cannot keep it for the node."""
    monkeypatch.setattr(sidecar_node, "in_a_simulation", lambda: True)
    grid = grid_of(identities)
    encoding = Pipeline.parse("feedback | clip(l2=1.0) | weigh(max=50) | quantise(bits=8, range=0.5)")
    with pytest.raises(RoundAborted, match="its pipeline says feedback"):
        run(transport, MemoryGrid(grid.apps, grid.node_configs), rounds=1, encoding=encoding, clip="auto")


def test_a_simulated_node_finds_its_identity_by_its_number(
    transport: Sidecar, tmp_path: Path, identities: Identities
) -> None:
    for number, folder in enumerate(identities.participants.values()):
        (tmp_path / str(number)).symlink_to(folder)
    apps = {n: app_of([SecAggMod(identities=tmp_path)], shift=0.004 * n, weight=10 * n) for n in range(1, 6)}
    grid = ThreadedGrid(apps, {node: {"partition-id": node - 1, "num-partitions": 5} for node in apps})
    assert distance(run(transport, grid).arrays, plain().arrays) < 1e-5


def test_a_coordinator_that_is_started_anew_costs_one_round(identities: Identities, tmp_path: Path) -> None:
    """It ends while the nodes train. The strategy keeps its model, and the next round finds the new one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stack = ExitStack()
    current = [stack.enter_context(serving(identities, tmp_path, port))]
    trained = threading.Barrier(
        5,
        lambda: restart(),  # noqa: PLW0108  # defined below
    )

    def restart() -> None:
        current.pop().terminate()
        current.append(stack.enter_context(serving(identities, tmp_path, port)))

    grid = grid_of(identities)
    for node in list(grid.apps):
        usual = app_of([], shift=0.004 * node, weight=10 * node)

        def train(message: Message, context: Context, usual: Any = usual) -> Message:
            if message.content["config"]["server-round"] == 1:
                trained.wait(PATIENCE_S)
            reply: Message = usual(message, context)
            return reply

        grid.apps = {**grid.apps, node: app_of([SecAggMod()], train=train)}
    with stack:
        secure = run(Sidecar(f"unix:{tmp_path}/control.sock", f"127.0.0.1:{port}"), grid, rounds=2)
    assert distance(secure.arrays, plain(rounds=1).arrays) < 1e-5


@contextmanager
def serving(identities: Identities, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A coordinator at this port."""
    (folder / "control.sock").unlink(missing_ok=True)
    own = identities.server
    flags = {"listen": f"127.0.0.1:{port}", "control": f"unix:{folder}/control.sock", "certificate": own / "cert.pem"}
    flags |= {"key": own / "key.pem", "participant-ca": own / "ca.pem", "shutdown-grace-s": 0.2}
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    log = folder / "log"
    with log.open("wb") as out:
        code = "from secagg_server.cli import main; main()"
        process = subprocess.Popen([sys.executable, "-c", code, "serve", *words], stdout=out, stderr=out)
    try:
        while b'"event": "ready"' not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            threading.Event().wait(0.02)
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
