"""Jobs of FLARE's own controllers with secure rounds: what comes out, who drops out, and what the server sees."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import EventScope, FLContextKey
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.aggregators import InTimeAccumulateWeightedAggregator
from nvflare.app_common.shareablegenerators.full_model_shareable_generator import FullModelShareableGenerator
from nvflare.app_common.widgets.intime_model_selector import IntimeModelSelector
from nvflare.widgets.fed_event import ClientFedEventRunner
from secagg_client.nvflare import channel
from secagg_client.nvflare.controllers import SecureFedAvg, SecureScatterAndGather
from secagg_client.nvflare.exchanges import Exchanges
from secagg_client.nvflare.settings import Settings
from secagg_client.nvflare.site import SecAggSite

from secagg.errors import LocalError
from secagg.messages import Phase
from tests.frameworks.nvflare.job import Engine, Job, ServerEngine, Site, Train, steps_of

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


def masked_model(weight: Any = 1) -> tuple[dict[str, Any], Train]:
    """A model with a number and a mask of attention, and a site that adds 1 to all of it."""
    model = {"scale": np.array(2.0, np.float32), "mask": np.array([0.0, -np.inf], np.float32)}

    def train(parameters: dict[str, Any]) -> FLModel:
        full = {name: np.asarray(array + np.float32(1)) for name, array in parameters.items()}
        return FLModel(params=full, params_type="FULL", meta={"NUM_STEPS_CURRENT_ROUND": weight})

    return model, train


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


def test_a_site_hears_nothing_before_it_can_take_part(tmp_path: Path) -> None:
    """FLARE passes on a message of the server's the moment that there is a handler."""
    answers = []

    class Prompt(Engine):
        def register_aux_message_handler(self, topic: str, handler: Any) -> None:
            with self.new_context() as fl_ctx:
                answers.append(handler(topic=topic, request=channel.packed(), fl_ctx=fl_ctx))

    with Prompt("site-1", tmp_path).new_context() as fl_ctx:
        SecAggSite(SETTINGS.as_json()).handle_event(EventType.START_RUN, fl_ctx)
    assert [channel.told(answer, "left") for answer in answers] == [None]


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


def test_a_job_finds_its_clip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    job, controller = run(some(4, tmp_path), tmp_path, replace(SETTINGS, clip=None))
    assert moved_by(controller.models[1]) == pytest.approx(0.6, abs=4e-4)
    assert "clip 1, from the sizes of 4 updates added up; 0 are above it" in caplog.text
    assert set(job.engine.tasks.values()) == {3}  # once more than there are rounds


def test_a_job_without_a_clip_tries_again_in_the_next_round(tmp_path: Path) -> None:
    tries: list[int] = []

    def first_fails(parameters: dict[str, Any]) -> FLModel:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        result = trains(3)(parameters)
        assert isinstance(result, FLModel)
        return result

    sites = some(3, tmp_path, s3=Site("site-3", first_fails, tmp_path))
    _, controller = run(sites, tmp_path, replace(SETTINGS, clip=None))
    assert moved_by(controller.models[0]) == 0
    assert moved_by(controller.models[1]) == pytest.approx(mean_of([1, 2, 3]), abs=2e-4)


def test_where_every_site_counts_once(tmp_path: Path) -> None:
    _, controller = run(some(3, tmp_path), tmp_path, replace(SETTINGS, max_weight=1), rounds=1)
    assert moved_by(controller.models[0]) == pytest.approx(0.2, abs=2e-4)
    assert controller.models[0].metrics == {"accuracy": pytest.approx(0.2, abs=1e-6)}


def test_updates_go_through_a_pipeline(tmp_path: Path) -> None:
    text = "rotate | weigh(max=100) | quantise(bits=16, range=4.0)"
    settings = replace(SETTINGS, clip=None, max_weight=1, pipeline=text)
    _, controller = run(some(4, tmp_path), tmp_path, settings, rounds=1)
    assert np.allclose(controller.models[0].params["w"] - MODEL["w"], 0.3, atol=5e-3)
    assert np.allclose(controller.models[0].params["b"], -0.3, atol=5e-3)


def test_what_asks_for_input_is_used_once(tmp_path: Path) -> None:
    """A second result of a task that FLARE sent again: what the site masked the first time stays the only answer."""
    job, _ = run(some(3, tmp_path), tmp_path, rounds=1)
    site = job.engine.sites["site-1"]
    again = site.perform(DXO(DataKind.WEIGHTS, data={"w": MODEL["w"], "b": MODEL["b"]}).to_shareable())
    assert channel.told(again, "left") == "its log says why"
    with site.engine.new_context() as fl_ctx, pytest.raises(LocalError, match="asked for no input, or sent no model"):
        site.engine.components["secagg"].mask(Shareable(), fl_ctx)


def test_flare_s_model_selection_sees_the_mean_of_a_metric(tmp_path: Path) -> None:
    controller = Kept(
        num_clients=4,
        num_rounds=3,
        model={"w": MODEL["w"], "b": MODEL["b"]},
        persistor_id="",
        secagg=SETTINGS.as_json(),
    )
    job = Job(controller, some(4, tmp_path), tmp_path)
    selector = IntimeModelSelector(key_metric="accuracy")
    job.engine.listeners.append(selector)
    job.run()
    assert selector.best_val_metric == pytest.approx(0.3, abs=1e-6)


def test_a_round_may_have_some_of_the_sites(tmp_path: Path) -> None:
    controller = Kept(num_clients=3, num_rounds=4, model={"w": MODEL["w"]}, persistor_id="", secagg=SETTINGS.as_json())

    def one(parameters: dict[str, Any]) -> FLModel:
        return FLModel(params={"w": parameters["w"] + np.float32(0.5)}, metrics={"accuracy": 0.5})

    job = Job(controller, [Site(f"site-{n}", one, tmp_path) for n in range(1, 6)], tmp_path)
    job.run()
    assert sum(job.engine.tasks.values()) == 4 * 3
    assert moved_by(controller.models[-1]) == pytest.approx(2.0, abs=1e-2)


def test_messages_to_several_sites_are_not_one_object(tmp_path: Path) -> None:
    """FLARE writes headers into a message while other threads may be sending it."""
    heard: list[int] = []

    class Listens(Site):
        def hear(self, topic: str, request: Shareable) -> Shareable:
            heard.append(id(request))
            return super().hear(topic, request)

    sites = [Listens(f"site-{n}", trains(n), tmp_path) for n in (1, 2, 3)]
    for site in sites:
        site.start(SETTINGS)
    engine = ServerEngine([*sites], tmp_path)
    assert Exchanges(engine, phase_s=60, start_s=1).unreachable(["site-1", "site-2", "site-3"]) == set()
    assert engine.limits_s == {2.0}  # a busy site must not hold up the look at the others
    assert len(set(heard)) == 3


def test_a_job_stops_early_by_the_mean_of_a_metric(tmp_path: Path) -> None:
    _, controller = run(some(4, tmp_path), tmp_path, rounds=5, stop_cond="accuracy >= 0.25")
    assert len(controller.models) == 1


def test_a_tensor_s_model_stays_one(tmp_path: Path) -> None:
    def train(number: int) -> Train:
        return lambda parameters: FLModel(
            params={name: value + (0.5 if value.is_floating_point() else 1) for name, value in parameters.items()}
        )

    model = {"w": torch.zeros(2, 2, dtype=torch.bfloat16), "n": torch.tensor(4)}
    controller = Kept(
        num_clients=3,
        num_rounds=1,
        model=model,
        persistor_id="",
        secagg=replace(SETTINGS, metrics={}).as_json(),
    )
    Job(controller, [Site(f"site-{n}", train(n), tmp_path) for n in (1, 2, 3)], tmp_path).run()
    (kept,) = controller.models
    assert kept.params["w"].dtype == torch.bfloat16
    assert torch.allclose(kept.params["w"].float(), torch.tensor(0.5), atol=1e-2)
    assert kept.params["n"] == 4


def test_a_model_without_parameters_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    controller = Kept(num_clients=3, num_rounds=1, model={"classes": 2}, persistor_id="", secagg=SETTINGS.as_json())
    Job(controller, some(3, tmp_path), tmp_path).run()
    assert "the model has no parameters of floats yet; give the recipe an initial model" in caplog.text


def scattered(kind: Any, sites: list[Site], root: Path) -> dict[str, Any]:
    """The last model of FedOpt's controller after two rounds, with FLARE's aggregator for results of a kind."""
    aggregator = InTimeAccumulateWeightedAggregator(expected_data_kind=kind)
    controller = SecureScatterAndGather(
        min_clients=len(sites),
        num_rounds=2,
        wait_time_after_min_received=0,
        allow_empty_global_weights=True,
        memory_gc_rounds=0,
        secagg=SETTINGS.as_json(),
    )
    job = Job(controller, sites, root)
    job.engine.components |= {"aggregator": aggregator, "shareable_generator": FullModelShareableGenerator()}
    with job.engine.new_context() as fl_ctx:
        aggregator.handle_event(EventType.START_RUN, fl_ctx)
    controller._global_weights = make_model_learnable({name: array.copy() for name, array in MODEL.items()}, {})
    job.run()
    last: dict[str, Any] = controller._global_weights["weights"]
    return last


@pytest.mark.parametrize("kind", [DataKind.WEIGHTS, DataKind.WEIGHT_DIFF])
def test_scatter_and_gather_hears_of_the_mean(kind: Any, tmp_path: Path) -> None:
    model = scattered(kind, some(4, tmp_path), tmp_path)
    assert np.allclose(model["w"] - MODEL["w"], 0.6, atol=4e-4)
    assert model["steps"] == 7


@pytest.mark.parametrize("kind", [DataKind.WEIGHTS, DataKind.WEIGHT_DIFF])
def test_scatter_and_gather_goes_on_after_a_round_without_a_sum(kind: Any, tmp_path: Path) -> None:
    tries: list[int] = []

    def first_fails(parameters: dict[str, Any]) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return trains(3)(parameters)

    model = scattered(kind, some(3, tmp_path, s3=Site("site-3", first_fails, tmp_path)), tmp_path)
    assert np.allclose(model["w"] - MODEL["w"], mean_of([1, 2, 3]), atol=2e-4)


def test_what_a_site_logs_for_a_tracker_stays_there(tmp_path: Path) -> None:
    """The event goes to the components of the job first, and then to what sends it, which looks at its direction."""
    data = Shareable()
    site = SecAggSite(SETTINGS.as_json())
    engine = Engine("site-1", tmp_path)
    with engine.new_context() as fl_ctx:
        fl_ctx.set_prop(FLContextKey.EVENT_DATA, data, private=True, sticky=False)
        fl_ctx.set_prop(FLContextKey.EVENT_SCOPE, EventScope.FEDERATION, private=True, sticky=False)
        sent: list[Shareable] = []
        sender = ClientFedEventRunner()
        sender.fire_and_forget_request = lambda request, **_: sent.append(request)
        sender.handle_event("fed.analytix_log_stats", fl_ctx)
        assert sent == [data]
        site.handle_event("fed.analytix_log_stats", fl_ctx)
        sender.handle_event("fed.analytix_log_stats", fl_ctx)
        assert sent == [data]


@pytest.mark.parametrize(("weight", "moved"), [(1, 1.0), (1000, 0.0)])
def test_a_model_with_numbers_without_sides_and_infinite_masks(weight: int, moved: float, tmp_path: Path) -> None:
    """Without a sum, as where weights are too large, it stays as it is."""
    model, train = masked_model(weight)
    sites = [Site(f"site-{n}", train, tmp_path) for n in (1, 2, 3)]
    settings = replace(SETTINGS, metrics={}).as_json()
    controller = Kept(num_clients=3, num_rounds=1, model=model, persistor_id="", secagg=settings)
    Job(controller, sites, tmp_path).run()
    (after,) = controller.models
    assert after.params["scale"] == pytest.approx(2 + moved, abs=1e-3)
    assert after.params["mask"] == pytest.approx([moved, -np.inf], abs=1e-3)
