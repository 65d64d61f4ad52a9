"""`secure(recipe, …)`: a FLARE recipe whose server sees sums over sites, and nothing of a single one.

What needs single results of sites is refused here, by name and with what to do instead. The recipe's job is changed in
place: the controller gets secure rounds, and the sites get a component and two filters. FLARE offers no public way to
look into the job of a recipe, so its attributes are read where FLARE's own tools read them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from nvflare.app_common.aggregators import InTimeAccumulateWeightedAggregator
from nvflare.app_common.logging.job_log_streamer import JobLogStreamer
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather
from nvflare.app_opt.sklearn.joblib_model_param_persistor import JoblibModelParamPersistor
from nvflare.recipe.sim_env import SimEnv
from nvflare.recipe.spec import Recipe

from secagg.config import ThreatModel, default_threshold
from secagg.errors import ConfigError
from secagg_client.nvflare.controllers import SecureFedAvg, SecureScatterAndGather
from secagg_client.nvflare.settings import FLARE, Settings, Transport
from secagg_client.nvflare.site import COMPONENT, MaskResult, NoteModel, SecAggSite

AUTO: Final = "auto"

_PACKAGES: Final = ("secagg", "secagg_client")
"""Installed at server and sites. FLARE would ship their source with the job, and the sites would run that."""

_INSTEAD: Final = {
    "Scaffold": "it sends each site's control variates; use FedAvg, FedProx or FedOpt",
    "CyclicController": "each site's model goes to the next one; use FedAvg",
    "CrossSiteModelEval": (
        "each site's own model goes to the server and to other sites; leave it out, and name metrics= to have the mean "
        "of what the sites measure on the global model"
    ),
    "EvalController": "each site's metrics go to the server; name metrics= in a training job",
    "GlobalModelEval": "each site's metrics go to the server; name metrics= in a training job",
    "InitializeGlobalWeights": "the first model is one site's own; give the recipe an initial model",
    "FedAvgLR": "each site's gradient and Hessian go to the server; use NumpyFedAvgRecipe",
    "StatisticsController": "each site's statistics go to the server; use secagg_client.Column for histograms",
    "FedOpt": "it updates the model on its own results; use the FedOptRecipe of nvflare.app_opt.pt.recipes",
}


def secure(
    recipe: Recipe,
    *,
    clip: float | str = AUTO,
    max_weight: int | None = None,
    value_bits: int = 16,
    pipeline: str = "",
    metrics: Mapping[str, tuple[float, float]] | None = None,
    threat_model: ThreatModel = ThreatModel.SEMI_HONEST,
    threshold: int = 0,
    max_colluding: int = -1,
    graph: Literal["complete", "auto"] = "complete",
    phase_s: float = 60.0,
    start_s: float = 120.0,
    transport: Transport = FLARE,
    control: str = "",
    coordinator: str = "",
) -> Recipe:
    """Make a recipe's rounds secure. Call it last, when nothing more is added to the recipe.

    Args:
        recipe: a recipe that computes a weighted mean: FedAvg of NumPy, PyTorch, TensorFlow or scikit-learn, FedProx,
            or FedOpt of PyTorch. It is changed in place.
        clip: values of an update are clipped to plus and minus this, 2^-64 to 2^64. With "auto" the job finds a clip
            before its first round, from a securely summed histogram; the sites train once more for it.
        max_weight: largest weight of a site, which is what the site reports as `NUM_STEPS_CURRENT_ROUND`; 1 to
            2^32 − 1. With 1 every site counts once, whatever it reports.
        value_bits: bits of a value, 1 to 32.
        pipeline: the text of a `secagg.Pipeline`, in place of clip, max_weight and value_bits.
        metrics: smallest and largest value by name of those metrics of the sites whose mean is wanted. Others stay at
            the sites.
        threat_model: what the server may do. `ACTIVE` needs identities in the start-up kits; see `SecAggBuilder`.
        threshold: fewest sites in a sum; 0 for the threat model's default.
        max_colluding: sites that may work together with the server; with −1 as `RoundConfig` says.
        graph: "auto" lets each site share masks with some neighbours alone where there are so many sites, and so few
            that may collude, that this is safe and worth it; a few hundred sites at least.
        phase_s: longest wait for an answer to a message, in seconds, 0.1 to 604,800. Training has the recipe's own.
        start_s: how long a site's process may take to come up, in seconds, 0.1 to 604,800.
        transport: "nvflare" for FLARE's own messages; "sidecar" for a coordinator of its own.
        control: address of the sidecar's control plane, as the FLARE server reaches it: "unix:/path" or
            "127.0.0.1:port".
        coordinator: address of the sidecar's data plane, as sites reach it: "host:port".

    Returns:
        The recipe.

    Raises:
        ConfigError: the recipe needs single results of sites, or arguments do not fit; says what to do instead.
    """
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"secure takes a recipe of NVIDIA FLARE, not {type(recipe).__name__}")
    if not pipeline and max_weight is None:
        raise ConfigError(
            "say max_weight, the largest NUM_STEPS_CURRENT_ROUND of a site; with 1 every site counts once"
        )
    if not isinstance(threat_model, ThreatModel):  # a text would pass for the semi-honest model
        raise ConfigError(f"threat_model is ThreatModel.SEMI_HONEST or ThreatModel.ACTIVE, not {threat_model!r}")
    if isinstance(clip, str) and clip != AUTO:
        raise ConfigError(f"clip is a number or {AUTO!r}, not {clip!r}")
    settings = Settings(
        task=recipe.name,
        clip=None if isinstance(clip, str) else clip,
        max_weight=1 if max_weight is None else max_weight,
        value_bits=value_bits,
        pipeline=pipeline,
        metrics=dict(metrics or {}),
        active=threat_model is ThreatModel.ACTIVE,
        threshold=threshold,
        max_colluding=max_colluding,
        graph=graph,
        phase_s=phase_s,
        start_s=start_s,
        transport=transport,
        control=control,
        coordinator=coordinator,
    )
    _check_cohort(recipe, settings)
    recipe._ensure_client_apps_prepared()
    apps = recipe._job._deploy_map
    server = apps["server"].app_config
    clients = [app.app_config for name, app in apps.items() if name != "server"]
    _check_server(server)
    tasks = [_task_of(workflow.controller) for workflow in server.workflows]
    for client in clients:
        _check_client(client, tasks)
    for workflow in server.workflows:
        _make_secure(workflow.controller, settings)
    recipe._add_to_client_apps(SecAggSite(settings.as_json()), id=COMPONENT)
    recipe.add_client_input_filter(NoteModel(), tasks=tasks)
    recipe.add_client_output_filter(MaskResult(), tasks=tasks)
    recipe._job.set_app_packages([*recipe._job.job.app_packages, *_PACKAGES])
    _check_environment(recipe, settings.fewest)
    _check_later_additions(recipe)
    return recipe


def _make_secure(controller: Any, settings: Settings) -> None:
    """Give a controller secure rounds. FLARE writes its class and its attributes into the job's files, so a change of
    the class, with the same attributes and one more, is all that is needed.
    """
    controller.__class__ = {FedAvg: SecureFedAvg, ScatterAndGather: SecureScatterAndGather}[type(controller)]
    controller.secagg = settings.as_json()


def _task_of(controller: Any) -> str:
    name: str = controller.task_name if isinstance(controller, FedAvg) else controller.train_task_name
    return name


# --- what is refused --------------------------------------------------------------------------------------------------


def _check_cohort(recipe: Recipe, settings: Settings) -> None:
    sites = getattr(recipe, "min_clients", None)
    if not isinstance(sites, int):
        return
    model = ThreatModel.ACTIVE if settings.active else ThreatModel.SEMI_HONEST
    least = settings.fewest
    if sites < least:
        raise ConfigError(
            f"the recipe's min_clients is {sites}, and a sum holds at least {least} sites; raise min_clients to "
            f"{max(least, default_threshold(least + 1, model))} or more, so that one may drop out"
        )
    settings.clip_config(sites, bytes(32))  # refuses what no round of so many sites can have, such as a low threshold


def _check_server(server: Any) -> None:
    if not server.workflows:
        raise ConfigError("the recipe has no controller to make secure")
    for workflow in server.workflows:
        _check_controller(workflow.controller, server.components)
    for component in server.components.values():
        if isinstance(component, JoblibModelParamPersistor) and not component.model_path:
            raise ConfigError(
                "the recipe begins without coefficients, and masks need to know their shapes; give it a model_path, a "
                "joblib file of a mapping with coef_ and intercept_ as they begin"
            )
    for filters, what in (
        (server.task_result_filters, "reads single results of sites, which are masked"),
        (server.task_data_filters, "changes the model on its way to the sites, to which the masks are bound"),
    ):
        for _, found in _filters(filters):
            raise ConfigError(f"the server's filter {type(found).__name__} {what}; leave it out")


def _check_controller(controller: Any, components: Mapping[str, Any]) -> None:
    name = type(controller).__name__
    if isinstance(controller, SecureFedAvg | SecureScatterAndGather):
        raise ConfigError("this recipe is secure already; call secure(recipe, …) once")
    if type(controller) not in (FedAvg, ScatterAndGather):
        raise ConfigError(
            f"{name} cannot be made secure: "
            + _INSTEAD.get(name, "it may need single results of sites; use a recipe of FedAvg, FedProx or FedOpt")
        )
    aggregator: Any = None
    if type(controller) is ScatterAndGather:
        aggregator = components.get(controller.aggregator_id)
        if (
            aggregator is not None
            and type(aggregator) is InTimeAccumulateWeightedAggregator
            and isinstance(aggregator.expected_data_kind, str)
        ):
            _check_weights(name, aggregator.aggregation_weights)
            return
    else:
        aggregator = controller.aggregator
        _check_weights(name, controller.aggregation_weights)
    if aggregator is not None:
        raise ConfigError(
            f"the aggregator {type(aggregator).__name__} sees single results of sites, and here it would see the mean "
            "alone, without saying so; leave it out for the weighted mean, or run rounds in groups with secagg's own "
            "coordinator for a median or a trimmed mean"
        )


def _check_weights(name: str, weights: Any) -> None:
    if weights:
        raise ConfigError(
            f"aggregation_weights of {name} weigh each site's result at the server, where it is masked; let each site "
            "report its own weight as NUM_STEPS_CURRENT_ROUND"
        )


def _check_client(client: Any, trained: list[str]) -> None:
    for _, found in _filters(client.task_data_filters):
        raise ConfigError(
            f"the sites' filter {type(found).__name__} changes the model before secagg notes it; add it after "
            "secure(recipe, …)"
        )
    for tasks, found in _filters(client.task_result_filters):
        name = type(found).__name__
        if name.startswith("HE"):
            raise ConfigError(f"{name} encrypts what secagg masks; leave one of the two out")
        if tasks != set(trained) and tasks & set(trained):
            raise ConfigError(f"the sites' filter {name} is for several tasks; add it for tasks={trained} alone")
    _check_streams(client)


def _check_streams(client: Any) -> None:
    for component in client.components.values():
        if isinstance(component, JobLogStreamer):
            raise ConfigError("a log that is streamed to the server can hold a site's loss; leave log streaming out")


def _filters(filters: Any) -> list[tuple[Any, Any]]:
    return [(tasks, found) for tasks, chain in filters for found in chain]


def _check_later_additions(recipe: Recipe) -> None:
    """Refuse, when the recipe is exported or run, what was added after `secure` and tells the server of a site."""
    before: Callable[[], None] = recipe.finalize

    def finalize() -> None:
        before()
        for name, app in recipe._job._deploy_map.items():
            if name != "server":
                _check_streams(app.app_config)
                continue
            for workflow in app.app_config.workflows:
                if not isinstance(workflow.controller, SecureFedAvg | SecureScatterAndGather):
                    _check_controller(workflow.controller, app.app_config.components)
                    raise ConfigError("a controller was added after secure(recipe, …); call secure last")

    recipe.finalize = finalize


def _check_environment(recipe: Recipe, fewest: int) -> None:
    """Refuse a simulator with too few sites for a sum, and one that runs sites in turns: whoever has no turn cannot
    answer a message.
    """
    before: Callable[[Any], None] = recipe.process_env

    def process_env(env: Any) -> None:
        if isinstance(env, SimEnv) and env.num_clients < fewest:
            raise ConfigError(
                f"the simulator has {env.num_clients} sites, and a sum holds at least {fewest}; add sites"
            )
        if isinstance(env, SimEnv) and env.num_threads < env.num_clients:
            raise ConfigError(
                f"the simulator has {env.num_threads} threads for {env.num_clients} sites, and a site without one "
                f"cannot answer; leave num_threads out, or set it to {env.num_clients}"
            )
        before(env)

    recipe.process_env = process_env
