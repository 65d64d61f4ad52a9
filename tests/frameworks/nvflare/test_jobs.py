"""Jobs of FLARE's own controllers with secure rounds: what comes out, who drops out, and what the server sees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.app_common.abstract.fl_model import FLModel
from secagg_client.nvflare.controllers import SecureFedAvg
from secagg_client.nvflare.settings import Settings

from secagg.messages import Phase
from tests.frameworks.nvflare.job import Job, Site, Train, steps_of

MODEL: dict[str, np.ndarray[Any, Any]] = {
    "w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "b": np.zeros(3),
    "steps": np.array(7),
}
SETTINGS = Settings(task="digits", clip=1.0, max_weight=100, metrics={"accuracy": (0.0, 1.0)}, phase_s=5.0, start_s=0.3)


def trains(number: int, *, kind: str = "FULL", weight: Any = None) -> Train:
    """Site `number` adds a tenth of its number to every parameter."""

    def train(parameters: dict[str, Any]) -> FLModel:
        change = {"w": np.full((3, 4), 0.1 * number, np.float32), "b": np.full(3, -0.1 * number)}
        full = {name: parameters[name] + change[name] for name in change} | {"steps": np.array(100 + number)}
        return FLModel(
            params=full if kind == "FULL" else change,
            params_type=kind,
            metrics={"accuracy": 0.1 * number, "private": 0.5},
            meta={"NUM_STEPS_CURRENT_ROUND": 10 * number if weight is None else weight},
        )

    return train


def some(count: int, root: Path, **others: Site) -> list[Site]:
    return [others.get(f"s{n}") or Site(f"site-{n}", trains(n), root) for n in range(1, count + 1)]


class Kept(SecureFedAvg):
    """A controller that keeps what it would have saved."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.models: list[FLModel] = []

    def save_model(self, model: FLModel) -> None:
        self.models.append(FLModel(params=dict(model.params), metrics=model.metrics, meta=dict(model.meta)))


def run(
    sites: list[Site], root: Path, settings: Settings = SETTINGS, *, rounds: int = 2, start: float = 0.0, **more: Any
) -> tuple[Job, Kept]:
    """A job of these sites. Its model is `MODEL`, with `start` added to `w`."""
    model = {name: array + start if name == "w" else array.copy() for name, array in MODEL.items()}
    controller = Kept(
        num_clients=len(sites), num_rounds=rounds, model=model, persistor_id="", secagg=settings.as_json(), **more
    )
    job = Job(controller, sites, root)
    job.run()
    return job, controller


def mean_of(numbers: list[int]) -> float:
    """The mean of tenths of these numbers, each weighted by the number."""
    return sum(0.1 * n * n for n in numbers) / sum(numbers)


def moved_by(model: FLModel) -> float:
    return float(np.mean(model.params["w"] - MODEL["w"]))


def test_the_job_gets_the_weighted_mean(tmp_path: Path) -> None:
    _, controller = run(some(4, tmp_path), tmp_path)
    first, second = controller.models
    assert moved_by(first) == pytest.approx(0.3, abs=2e-4)
    assert moved_by(second) == pytest.approx(0.6, abs=4e-4)
    assert np.allclose(first.params["b"], -0.3, atol=2e-4)
    assert first.params["steps"] == 7  # of integers the server's own stay
    assert {name: array.dtype for name, array in first.params.items()} == {n: a.dtype for n, a in MODEL.items()}
    assert first.metrics == {"accuracy": pytest.approx(0.3, abs=1e-6)}


def test_differences_and_whole_models_may_come_side_by_side(tmp_path: Path) -> None:
    sites = some(3, tmp_path, s2=Site("site-2", trains(2, kind="DIFF"), tmp_path))
    _, controller = run(sites, tmp_path, rounds=1)
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 3]), abs=2e-4)


def test_what_the_server_sees_of_a_site_is_masked(tmp_path: Path) -> None:
    job, _ = run(some(4, tmp_path), tmp_path, rounds=1)
    masked = []
    for _, message in job.engine.seen:
        assert set(message) <= {"secagg", "__headers__"}
        masked += [b"".join(step.parts) for step in steps_of(message) if step.kind == str(Phase.MASKED_INPUT)]
    assert len(masked) == 2 * 4
    plain = MODEL["w"] + np.float32(0.1)
    for sent in masked:
        assert plain.tobytes() not in sent
        assert b"private" not in sent


@pytest.mark.parametrize(
    ("answers", "in_sum"), [(0, [1, 2, 4, 5]), (1, [1, 2, 4, 5]), (2, [1, 2, 4, 5]), (3, [1, 2, 3, 4, 5])]
)
def test_a_site_may_die_in_every_phase(answers: int, in_sum: list[int], tmp_path: Path) -> None:
    job, controller = run(
        some(5, tmp_path, s3=Site("site-3", trains(3), tmp_path, answers=answers)), tmp_path, rounds=2
    )
    assert moved_by(controller.models[0]) == pytest.approx(mean_of(in_sum), abs=2e-4)
    assert moved_by(controller.models[1]) == pytest.approx(mean_of(in_sum) + mean_of([1, 2, 4, 5]), abs=4e-4)
    assert job.engine.tasks.get("site-3", 0) == (1 if answers == 3 else 0)
