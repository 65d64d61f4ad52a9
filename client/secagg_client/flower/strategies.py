"""Which strategies work on the mean of all updates alone. The others are refused by name, before anything is sent.

A secure round gives a strategy one reply. A strategy that compares, sorts, filters, clips or weighs single updates
would run on that one without an error, and would silently become a plain mean: what it guarantees would be void.
"""

from typing import Any, Final

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Strategy

from secagg.config import MIN_COHORT
from secagg.errors import ConfigError

MEAN_BASED: Final = (FedAvg, FedProx, FedAvgM, FedAdam, FedYogi, FedAdagrad)
"""Strategies of Flower that use the weighted mean alone."""

_ROBUST: Final = "train in groups instead and combine them by median: SecAgg(FedAvg(), groups=Groups(count=5))"
_PRIVATE: Final = (
    "let every participant clip its update and add its share of the noise instead: "
    'SecAgg(FedAvg(), encoding=Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.6)"))'
)
_INSTEAD: Final = {
    "Bulyan": _ROBUST,
    "FedMedian": _ROBUST,
    "FedTrimmedAvg": _ROBUST,
    "Krum": _ROBUST,
    "MultiKrum": _ROBUST,
    "QFedAvg": "it weighs each client by its own loss, which nobody may see; use FedAvg",
    "FedXgbBagging": "trees are put together and not averaged; it needs each client's own trees",
    "FedXgbCyclic": "one client after another sends its own trees; it needs each of them",
    "DifferentialPrivacyServerSideFixedClipping": _PRIVATE,
    "DifferentialPrivacyServerSideAdaptiveClipping": _PRIVATE,
    "DifferentialPrivacyClientSideFixedClipping": _PRIVATE,
    "DifferentialPrivacyClientSideAdaptiveClipping": _PRIVATE,
}
_COUNTS: Final = ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes")
_OWN_CODE: Final = ("aggregate_train", "aggregate_evaluate")
_AGGREGATIONS: Final = ("train_metrics_aggr_fn", "evaluate_metrics_aggr_fn")


def check_strategy(strategy: object, *, mean_based: bool) -> None:
    """Refuse a strategy that needs single updates.

    Args:
        strategy: of Flower's Message API.
        mean_based: the caller says that code of its own in the strategy uses means only.

    Raises:
        ConfigError: it needs single updates, or nobody can tell. The error names it, and what to do instead.
    """
    kind = type(strategy)
    if not isinstance(strategy, Strategy):
        raise ConfigError(
            f"{kind.__name__} is no strategy of flwr.serverapp.strategy; SecAgg wraps one of those, such as FedAvg"
        )
    for name, instead in _INSTEAD.items():
        if isinstance(strategy, getattr(flower, name, ())):  # check: needs-single-updates
            own = "" if kind.__name__ == name else f" is a {name}, which"
            raise ConfigError(f"{kind.__name__}{own} needs single updates, and nobody sees one: {instead}")
    if mean_based:
        return
    if not isinstance(strategy, MEAN_BASED):
        raise ConfigError(
            f"nobody can tell whether {kind.__name__} works on the mean of all updates alone; if it does, say so with "
            "SecAgg(…, mean_based=True). A strategy that needs single updates would silently get their mean"
        )
    for method in _OWN_CODE:
        owner = next(base for base in kind.__mro__ if method in vars(base))
        ours = method not in vars(strategy) and owner.__module__.startswith(f"{flower.__name__}.")
        if not ours:  # check: own-aggregation
            raise ConfigError(
                f"{owner.__name__} has a {method} of its own; if it works on the mean of all replies alone, say so "
                "with SecAgg(…, mean_based=True)"
            )
    usual = FedAvg()
    for attribute in _AGGREGATIONS:
        if getattr(strategy, attribute) is not getattr(usual, attribute):
            raise ConfigError(
                f"{kind.__name__} has a {attribute} of its own, which would be called with one record: the means of "
                "all participants. If that is what it needs, say so with SecAgg(…, mean_based=True)"
            )


def raise_minimums(strategy: Any, least: int = MIN_COHORT) -> list[str]:
    """Let the strategy wait for as many nodes as the smallest cohort has; its own default, 2, is below it.

    Returns:
        what was changed, one sentence each.
    """
    changed = []
    for name in _COUNTS:
        given = getattr(strategy, name, None)
        off = given == 0  # training or evaluation is switched off
        if isinstance(given, int) and not off and given < least:
            setattr(strategy, name, least)
            changed.append(f"{name}={given} is below the smallest cohort of a secure round, and is {least} now")
    return changed


def weight_key(strategy: object) -> str:
    """The metric that holds a participant's weight."""
    return str(getattr(strategy, "weighted_by_key", "num-examples"))
