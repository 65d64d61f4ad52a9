"""How many exchanges rounds cost, when what was prepared is used, and rounds of other kinds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg, Result
from secagg_client.flower import SecAgg, SecAggMod

from secagg import Custody, Pipeline, Scheme, TrustAnchors, find_profile
from secagg.config import ThreatModel
from secagg.errors import BudgetExceeded, ConfigError
from secagg.policy import Policy
from secagg.privacy.ledger import Budget, LedgerBook
from secagg.programs.ledgers.files import LedgerFolder, locked
from tests.frameworks.flower.issued_files import issued
from tests.frameworks.flower.memory_grid import Fault, MemoryGrid, app_of, model
from tests.frameworks.flower.test_dropouts import carries, mean_of, shift

NODES = {1, 2, 3, 4, 5}
NOISY = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=20) | noise(law=skellam, z=1.6)")


def grid_of(nodes: int = 5, fault: Fault = lambda *_: None, policy: Any = None, **configs: Any) -> MemoryGrid:
    apps = {n: app_of([SecAggMod(policy)], shift=0.001 * n, weight=n) for n in range(1, nodes + 1)}
    return MemoryGrid(apps, fault=fault, **configs)


def run(grid: MemoryGrid, rounds: int = 3, strategy: Any = None, **options: Any) -> Result:
    given: dict[str, Any] = {"clip": 0.05, "value_bits": 24, "max_weight": 50, "phase_s": 0.02} | options
    strategy = strategy or FedAvg(fraction_evaluate=0.0)
    return SecAgg(strategy, **given).start(grid=grid, initial_arrays=model(), num_rounds=rounds, timeout=0.1)


def trainings(grid: MemoryGrid, node: int = 1) -> list[int]:
    """After how many messages to a node each training message came."""
    down = [message for who, way, message in grid.seen if (who, way) == (node, "down")]
    return [number for number, message in enumerate(down, 1) if "arrays" in message.content]


def test_a_round_after_the_first_costs_two_exchanges() -> None:
    grid = grid_of()
    run(grid, rounds=4)
    assert trainings(grid) == [3, 5, 7, 9]
    assert sum((who, way) == (1, "down") for who, way, _ in grid.seen) == 10


def test_so_does_an_evaluation() -> None:
    grid = grid_of()
    run(grid, rounds=3, strategy=FedAvg(), metrics={"accuracy": (0, 1)})
    assert trainings(grid) == [3, 7, 9, 11, 13, 15]  # training, evaluation, training, …


def test_nothing_is_prepared_for_a_round_that_does_not_come() -> None:
    grid = grid_of()
    run(grid, rounds=2)
    opened = [message for who, way, message in grid.seen if (who, way) == (1, "down") and carries(message, "open")]
    assert len(opened) == 2


def test_other_nodes_in_each_round_prepare_in_exchanges_of_their_own() -> None:
    grid = grid_of(nodes=10)
    result = run(grid, rounds=4, strategy=FedAvg(fraction_train=0.4, fraction_evaluate=0.0), metrics={"loss": (0, 1)})
    assert result.train_metrics_clientapp.keys() == {1, 2, 3, 4}


def test_nothing_is_prepared_where_the_nodes_change_every_time() -> None:
    class Alternating(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            messages = super().configure_train(server_round, arrays, config, grid)
            chosen = {1, 2, 3} if server_round % 2 else {3, 4, 5}
            return [each for each in messages if each.metadata.dst_node_id in chosen]

    grid = grid_of()
    run(grid, rounds=5, strategy=Alternating(fraction_evaluate=0.0))
    opened = [message for _, way, message in grid.seen if way == "down" and carries(message, "open")]
    assert len(opened) == 3 * (5 + 1)  # of the first round it is not known yet


def test_a_node_that_leaves_and_comes_back_costs_no_round() -> None:
    there: list[set[int]] = [NODES, NODES, NODES - {3}, NODES - {3}, NODES, NODES, NODES]

    class Changing(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            messages = super().configure_train(server_round, arrays, config, grid)
            return [each for each in messages if each.metadata.dst_node_id in there[server_round - 1]]

    grid = grid_of()
    result = run(grid, rounds=7, strategy=Changing(fraction_evaluate=0.0))
    expected = sum(mean_of(nodes) for nodes in there)
    # It may miss the round in which it comes back, whose keys were exchanged without it.
    missed = expected - mean_of(NODES) + mean_of(NODES - {3})
    assert min(abs(shift(result.arrays) - total) for total in (expected, missed)) < 1e-5


def test_a_model_that_changes_its_shape_is_trained_all_the_same() -> None:
    class Growing(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            grown = model(bias=np.zeros(6 + server_round, np.float32))
            return super().configure_train(server_round, grown, config, grid)

    result = run(grid_of(), rounds=3, strategy=Growing(fraction_evaluate=0.0))
    assert result.arrays["bias"].numpy() == pytest.approx(np.full(9, mean_of(NODES)), abs=1e-6)


def test_two_sums_of_a_model_that_differ_by_one_node_are_not_both_opened(caplog: pytest.LogCaptureFixture) -> None:
    """Here the strategy asks about the same model again, and leaves a node out."""
    said = []

    class Asking(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            messages = list(super().configure_train(server_round, model(), config, grid))
            return [m for m in messages if server_round == 1 or m.metadata.dst_node_id != 5]

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            replies = list(replies)
            said.append([reply.has_error() for reply in replies])
            return super().aggregate_train(server_round, replies)

    run(grid_of(), 2, Asking(fraction_evaluate=0.0), mean_based=True)
    assert said == [[False], [True] * 4]
    assert "would show the updates of 1 participants alone" in caplog.text


def test_a_job_that_is_started_again_works_with_what_nodes_remember() -> None:
    """The server dies when the first updates of a round are in; Flower starts its run again."""
    dying: list[int] = []

    def fault(node: int, _number: int, message: Message) -> str | None:
        if len(dying) < 3 and "arrays" in message.content:
            dying.append(node)
            if len(dying) == 3:
                raise KeyboardInterrupt
        return None

    grid = grid_of(fault=fault)
    with pytest.raises(KeyboardInterrupt):
        run(grid)
    assert shift(run(grid, rounds=2).arrays) == pytest.approx(2 * mean_of(NODES), abs=1e-6)


# --- noise and budgets ------------------------------------------------------------------------------------------------


def test_noise_is_added_and_charged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "flwr")
    grid = grid_of()
    result = SecAgg(FedAvg(fraction_evaluate=0.0), encoding=NOISY, ledger=tmp_path, budget=Budget(50.0, 1e-5)).start(
        grid=grid, initial_arrays=model(), num_rounds=2
    )
    assert abs(shift(result.arrays) - 0.006) < 20
    assert np.ptp(result.arrays["bias"].numpy() - model()["bias"].numpy()) > 0.01
    assert list(tmp_path.iterdir())
    assert "ledger_head" in caplog.text


def test_a_job_whose_budget_is_spent_stops_with_the_model_that_it_has(caplog: pytest.LogCaptureFixture) -> None:
    def start(epsilon: float) -> Result:
        secure = SecAgg(FedAvg(fraction_evaluate=0.0), encoding=NOISY, budget=Budget(epsilon, 1e-5))
        return secure.start(grid=grid_of(), initial_arrays=model(), num_rounds=50)

    result = start(8.0)
    assert result.arrays
    assert "SecAgg: the job stops here, with the model that it has" in caplog.text
    with pytest.raises(BudgetExceeded):
        start(0.1)


def test_a_round_that_was_prepared_for_nothing_is_given_back(tmp_path: Path) -> None:
    """The job ends while its third round is prepared; that is not charged."""

    class Stopping(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, *given: Any) -> Any:
            if server_round == 3:
                raise KeyboardInterrupt
            return super().configure_train(server_round, *given)

    secure = SecAgg(Stopping(fraction_evaluate=0.0), encoding=NOISY, ledger=tmp_path, budget=Budget(50.0, 1e-5))
    with pytest.raises(KeyboardInterrupt):
        secure.start(grid=grid_of(), initial_arrays=model(), num_rounds=10)
    ledger = LedgerBook(LedgerFolder(tmp_path)).find("flower")
    assert ledger is not None
    assert len(ledger.released) == 2
    assert ledger.charges.keys() == ledger.released


def test_a_ledger_is_used_by_one_job_at_a_time(tmp_path: Path) -> None:
    """Two that read it at once would each spend the same rest of the budget."""
    secure = SecAgg(FedAvg(fraction_evaluate=0.0), encoding=NOISY, ledger=tmp_path, budget=Budget(50.0, 1e-5))
    grid = grid_of()
    with locked(tmp_path), pytest.raises(ConfigError, match="belongs to a coordinator or job that is running"):
        secure.start(grid=grid, initial_arrays=model(), num_rounds=1)
    assert grid.seen == []

    def second_job() -> None:
        with pytest.raises(ConfigError, match="belongs to a coordinator or job that is running"), locked(tmp_path):
            pass

    class Looking(FedAvg):  # type: ignore[misc]
        def configure_train(self, *given: Any) -> Any:
            second_job()
            return super().configure_train(*given)

    looking = SecAgg(Looking(fraction_evaluate=0.0), encoding=NOISY, ledger=tmp_path, budget=Budget(50.0, 1e-5))
    for _ in range(2):  # it is given back at the end
        looking.start(grid=grid, initial_arrays=model(), num_rounds=1)


def test_metrics_beside_noise_are_refused() -> None:
    with pytest.raises(ConfigError, match="would void what the noise protects"):
        SecAgg(FedAvg(), encoding=NOISY, metrics={"loss": (0, 1)})


def test_what_sampling_loses_is_carried_from_message_to_message() -> None:
    """Half of the coordinates are sent in each round. With feedback the rest follows, so that the error does not grow
    from round to round: 3u² of 8 rounds that each add u, where without, in the twin, it is 8u².
    """
    errors, size = {}, 3000
    for feedback in ("feedback | ", ""):
        pipeline = Pipeline.parse(f"{feedback}sample(rate=0.5) | weigh(max=50) | quantise(bits=24, range=0.5)")
        result = SecAgg(FedAvg(fraction_evaluate=0.0), encoding=pipeline).start(
            grid=grid_of(), initial_arrays=model(bias=np.zeros(size, np.float32)), num_rounds=8
        )
        moved = result.arrays["bias"].numpy() / mean_of(NODES)
        errors[bool(feedback)] = float(np.square(moved - 8).mean())
    assert errors[True] == pytest.approx(3, abs=1)
    assert errors[False] == pytest.approx(8, abs=1)


# --- homomorphic rounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("custody", [Custody.PARTICIPANTS, Custody.THRESHOLD])
def test_encrypted_rounds_give_the_mean(custody: Custody, node_configs: dict[int, dict[str, Any]]) -> None:
    policy = Policy(threat_models=frozenset(ThreatModel), min_colluding_share=0.0, allow_experimental=True)
    profile = find_profile(Scheme.BFV, custody, 5, 16)
    grid = grid_of(policy=policy, node_configs=node_configs)
    result = run(
        grid,
        rounds=2,
        homomorphic=profile,
        value_bits=16,
        trust=TrustAnchors.from_pem(issued()["ca.pem"]),
        metrics={"loss": (0, 10)},
    )
    assert shift(result.arrays) == pytest.approx(2 * mean_of(NODES), abs=1e-4)
    assert result.train_metrics_clientapp.keys() == {1, 2}


def test_a_model_with_numbers_without_sides_and_infinite_masks() -> None:
    """The scale of a loss has no sides, and a mask of attention stays infinite in training."""
    scale, mask = np.array(2, np.float32), np.array([0, -np.inf], np.float32)
    given: dict[str, Any] = {"clip": 0.05, "value_bits": 24, "max_weight": 50, "phase_s": 0.02}
    strategy = SecAgg(FedAvg(fraction_evaluate=0.0), **given)
    result = strategy.start(grid=grid_of(3), initial_arrays=model(scale=scale, mask=mask), num_rounds=1, timeout=0.1)
    mean = (1 + 4 + 9) / 6 * 0.001
    assert result.arrays["scale"].numpy() == pytest.approx(2 + mean, abs=1e-5)
    assert result.arrays["mask"].numpy() == pytest.approx([mean, -np.inf], abs=1e-5)
