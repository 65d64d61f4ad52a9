"""`secure(recipe, …)`: what it makes of FLARE's recipes, and which ones it refuses, with what to do instead."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.dxo import DataKind
from nvflare.app_common.aggregators import InTimeAccumulateWeightedAggregator
from nvflare.app_common.filters.svt_privacy import SVTPrivacy
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.app_common.np.recipes.lr.fedavg import FedAvgLrRecipe
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.app_opt.pt.recipes.cyclic import CyclicRecipe
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.app_opt.pt.recipes.fedce import FedCERecipe
from nvflare.app_opt.pt.recipes.fedopt import FedOptRecipe
from nvflare.app_opt.pt.recipes.fedprox import FedProxRecipe
from nvflare.app_opt.pt.recipes.scaffold import ScaffoldRecipe
from nvflare.app_opt.sklearn.recipes.fedavg import SklearnFedAvgRecipe
from nvflare.app_opt.sklearn.recipes.kmeans import KMeansFedAvgRecipe
from nvflare.recipe.sim_env import SimEnv
from nvflare.recipe.utils import add_cross_site_evaluation
from secagg_client.nvflare import secure
from secagg_client.nvflare.controllers import SecureFedAvg, SecureScatterAndGather
from secagg_client.nvflare.settings import Settings
from torch import nn

from secagg import ConfigError, ThreatModel

SCRIPT = str(Path(__file__).parent / "scripts" / "digits.py")
COMMON: dict[str, Any] = {"min_clients": 4, "num_rounds": 2, "train_script": SCRIPT}


def numpy_recipe(**more: Any) -> NumpyFedAvgRecipe:
    return NumpyFedAvgRecipe(model=np.zeros(3), **{**COMMON, **more})


def evaluated() -> NumpyFedAvgRecipe:
    recipe = numpy_recipe()
    add_cross_site_evaluation(recipe)
    return recipe


def filtered(add: Callable[[Any], None]) -> NumpyFedAvgRecipe:
    recipe = numpy_recipe()
    add(recipe)
    return recipe


def streaming() -> NumpyFedAvgRecipe:
    recipe = numpy_recipe()
    recipe.enable_log_streaming()
    return recipe


SECURE: dict[str, Callable[[], Any]] = {
    "NumPy": numpy_recipe,
    "scikit-learn": lambda: SklearnFedAvgRecipe(model_path="/models/first.joblib", **COMMON),
    "a site's own noise": lambda: filtered(lambda recipe: recipe.add_client_output_filter(SVTPrivacy(), ["train"])),
}

OF_PYTORCH: dict[str, Callable[[], Any]] = {
    "FedAvg": lambda: FedAvgRecipe(model=nn.Linear(3, 2), **COMMON),
    "FedProx": lambda: FedProxRecipe(model=nn.Linear(3, 2), **COMMON),
    "FedOpt": lambda: FedOptRecipe(model=nn.Linear(3, 2), **COMMON),
}

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "scaffold": (lambda: ScaffoldRecipe(model=nn.Linear(3, 2), **COMMON), "Scaffold cannot be made secure: it sends"),
    "cyclic": (lambda: CyclicRecipe(model=nn.Linear(3, 2), **COMMON), "CyclicController cannot be made secure"),
    "contribution": (lambda: FedCERecipe(model=nn.Linear(3, 2), **COMMON), "the aggregator FedCEModelAggregator sees"),
    "k-means": (lambda: KMeansFedAvgRecipe(n_clusters=2, **COMMON), "the aggregator CollectAndAssembleModelAggregator"),
    "Newton": (
        lambda: FedAvgLrRecipe(num_features=3, **COMMON),
        "FedAvgLR cannot be made secure: each site's gradient",
    ),
    "evaluation": (evaluated, "CrossSiteModelEval cannot be made secure: each site's own model"),
    "weights": (lambda: numpy_recipe(aggregation_weights={"site-1": 2.0}), "report its own weight as NUM_STEPS"),
    "no coefficients": (lambda: SklearnFedAvgRecipe(model_params={"n_classes": 2}, **COMMON), "give it a model_path"),
    "two sites": (lambda: numpy_recipe(min_clients=2), "min_clients is 2, and a sum holds at least 3 sites; raise"),
    "a server's filter": (
        lambda: filtered(lambda recipe: recipe.add_server_input_filter(SVTPrivacy(), ["train"])),
        "the server's filter SVTPrivacy reads single results",
    ),
    "a changed model": (
        lambda: filtered(lambda recipe: recipe.add_server_output_filter(SVTPrivacy(), ["train"])),
        "the server's filter SVTPrivacy changes the model",
    ),
    "a changed model at the site": (
        lambda: filtered(lambda recipe: recipe.add_client_input_filter(SVTPrivacy(), ["train"])),
        "add it after secure",
    ),
    "a filter of several tasks": (
        lambda: filtered(lambda recipe: recipe.add_client_output_filter(SVTPrivacy(), ["train", "validate"])),
        "is for several tasks; add it for tasks=",
    ),
    "a streamed log": (streaming, "leave log streaming out"),
    "secure already": (lambda: secure(numpy_recipe(), max_weight=9), "secure already"),
    "no recipe": (lambda: nn.Linear(3, 2), "a recipe of NVIDIA FLARE, not Linear"),
}


def exported(recipe: Any, root: Path) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """The server's and the sites' configuration as FLARE writes them, and the folder with the code that is shipped."""
    recipe.export(str(root))
    app = root / recipe.name / "app"
    server, client = (json.loads((app / f"config/config_fed_{side}.json").read_text()) for side in ("server", "client"))
    return server, client, app / "custom"


@pytest.mark.parametrize("name", SECURE)
def test_recipes_that_compute_a_mean(name: str, tmp_path: Path) -> None:
    recipe = secure(SECURE[name](), max_weight=100, metrics={"accuracy": (0, 1)})
    server, client, custom = exported(recipe, tmp_path)
    (workflow,) = server["workflows"]
    assert workflow["path"].startswith("secagg_client.nvflare.controllers.Secure")
    assert workflow["args"]["num_rounds"] == 2
    assert Settings.from_json(workflow["args"]["secagg"]).metrics == {"accuracy": (0, 1)}
    (site,) = [one for one in client["components"] if one["id"] == "secagg"]
    assert site["args"]["secagg"] == workflow["args"]["secagg"]
    (data,) = client["task_data_filters"]
    assert data["tasks"] == ["train"]
    assert [one["path"] for one in data["filters"]] == ["secagg_client.nvflare.site.NoteModel"]
    (results,) = client["task_result_filters"]
    assert results["tasks"] == ["train"]
    assert results["filters"][-1]["path"] == "secagg_client.nvflare.site.MaskResult"
    assert not (custom / "secagg_client").exists()  # sites run what is installed there, not what the job brings
    assert not (custom / "secagg").exists()


@pytest.mark.parametrize("name", OF_PYTORCH)
def test_recipes_of_pytorch(name: str) -> None:
    """Not exported: FLARE copies the source of PyTorch into the job then, which takes a minute."""
    recipe = secure(OF_PYTORCH[name](), max_weight=100)
    (workflow,) = recipe._job._deploy_map["server"].app_config.workflows
    assert type(workflow.controller) is (SecureScatterAndGather if name == "FedOpt" else SecureFedAvg)


@pytest.mark.parametrize("name", REFUSED)
def test_recipes_that_need_single_results_are_refused_by_name(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(ConfigError, match=reason):
        secure(make(), max_weight=100)


def test_another_aggregator_of_the_server_is_refused() -> None:
    class Median(InTimeAccumulateWeightedAggregator):
        """Derived from the mean, and no mean."""

    recipe = FedOptRecipe(model=nn.Linear(3, 2), aggregator=Median(expected_data_kind=DataKind.WEIGHT_DIFF), **COMMON)
    with pytest.raises(ConfigError, match="the aggregator Median sees single results"):
        secure(recipe, max_weight=9)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "say max_weight"),
        ({"max_weight": 9, "clip": "automatic"}, "clip is a number or 'auto'"),
        ({"max_weight": 9, "clip": -1.0}, "clip must be a number from"),
        ({"max_weight": 0}, "max_weight must be"),
        ({"max_weight": 9, "value_bits": 40}, "value_bits must be"),
        ({"max_weight": 9, "phase_s": 0}, "phase_s must be 0.1 to"),
        ({"max_weight": 9, "metrics": {"loss": (1, 0)}}, "from a number to a larger one"),
        ({"max_weight": 9, "transport": "pigeon"}, "transport is 'nvflare' or 'sidecar'"),
        ({"max_weight": 9, "transport": "sidecar"}, "needs control and coordinator"),
        ({"max_weight": 9, "control": "unix:/c"}, "needs control and coordinator"),
        (
            {"max_weight": 9, "transport": "sidecar", "control": "unix:/c", "coordinator": "host:1"},
            "set threat_model=ThreatModel.ACTIVE",
        ),
        ({"max_weight": 9, "pipeline": "quantise(bits=8, range=1.0)"}, "a pipeline has a clip and weights of its own"),
        ({"pipeline": "quantise(bits=8)"}, "quantise needs a range"),
        ({"pipeline": "clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0)"}, "privacy ledger"),
        ({"max_weight": 9, "threshold": 5}, "a sum holds at least 5 sites"),
        ({"max_weight": 9, "threshold": 2}, "threshold must be 3 to max_participants"),
        ({"max_weight": 9, "threat_model": "ACTIVE"}, "threat_model is ThreatModel.SEMI_HONEST or"),
        ({"max_weight": 9, "threat_model": 2}, "threat_model is ThreatModel.SEMI_HONEST or"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        secure(numpy_recipe(), **arguments)


def test_a_refused_recipe_is_as_it_was(tmp_path: Path) -> None:
    recipe = numpy_recipe()
    with pytest.raises(ConfigError):
        secure(recipe, max_weight=9, transport="sidecar")
    server, client, _ = exported(recipe, tmp_path)
    assert server["workflows"][0]["path"].endswith("fedavg.FedAvg")
    assert client.get("task_result_filters", []) == []


@pytest.mark.parametrize(
    ("add", "reason"),
    [
        (lambda recipe: recipe.enable_log_streaming(), "leave log streaming out"),
        (add_cross_site_evaluation, "CrossSiteModelEval cannot be made secure: each site's own model"),
        (lambda recipe: recipe._job.to_server(FedAvg(num_clients=4)), "a controller was added after secure"),
    ],
)
def test_what_is_added_later_is_refused_when_the_job_is_made(add: Any, reason: str, tmp_path: Path) -> None:
    recipe = secure(numpy_recipe(), max_weight=9)
    add(recipe)
    with pytest.raises(ConfigError, match=reason):
        recipe.export(str(tmp_path))
    with pytest.raises(ConfigError, match=reason):
        recipe.run(SimEnv(num_clients=4, workspace_root=str(tmp_path)))


def test_a_simulator_in_which_sites_take_turns_is_refused() -> None:
    recipe = secure(numpy_recipe(), max_weight=9)
    with pytest.raises(ConfigError, match=r"the simulator has 2 threads for 4 sites.*set it to 4"):
        recipe.process_env(SimEnv(num_clients=4, num_threads=2))
    with pytest.raises(ConfigError, match=r"the simulator has 2 sites, and a sum holds at least 3"):
        recipe.process_env(SimEnv(num_clients=2))
    recipe.process_env(SimEnv(num_clients=4))


def test_settings_survive_the_job_s_files() -> None:
    settings = Settings(task="t", clip=None, max_weight=7, metrics={"loss": (0.0, 9.5)}, threshold=4)
    assert Settings.from_json(json.loads(json.dumps(settings.as_json()))) == settings
    with pytest.raises(ConfigError, match="export it again"):
        Settings.from_json({**settings.as_json(), "unknown": 1})


@pytest.mark.parametrize("active", [True, False])
def test_many_sites_may_stand_on_a_ring(active: bool) -> None:
    settings = Settings(task="t", clip=1.0, active=active, threshold=300, max_colluding=4, graph="auto")
    model = {"w": np.zeros(3, np.float32)}
    assert settings.update_config(400, model, bytes(32), None).ring is not None
    assert replace(settings, graph="complete").update_config(400, model, bytes(32), None).ring is None
    with pytest.raises(ConfigError, match="graph is 'complete' or 'auto'"):
        replace(settings, graph="ring")


def test_the_active_model_reaches_server_and_sites(tmp_path: Path) -> None:
    recipe = secure(numpy_recipe(), max_weight=9, threat_model=ThreatModel.ACTIVE)
    server, _, _ = exported(recipe, tmp_path)
    assert server["workflows"][0]["args"]["secagg"]["active"] is True
