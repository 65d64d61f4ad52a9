"""The metrics of the table as prometheus-client has them: those that are counted, and those that are read."""

from collections.abc import Iterable, Iterator, Set
from typing import Any, Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from secagg import __version__
from secagg.errors import AbortReason
from secagg.events import Verdict
from secagg_server.calls.statuses import STATUS
from secagg_server.observability.facts import ConnectionCause
from secagg_server.observability.metric_process import Process
from secagg_server.observability.metric_table import METRICS
from secagg_server.observability.state import GATEWAY_CERTIFICATE, State

MAX_TASKS: Final = 100
"""Tasks that are shown, because the FL server names as many as it likes."""

SUM, FAILED, NO_REASON = "sum", "failed", "NONE"

READ: Final = frozenset(
    {
        "secagg_max_open_rounds",
        "secagg_calls_under_way",
        "secagg_max_calls",
        "secagg_connections",
        "secagg_max_connections",
        "secagg_gateway_connections",
        "secagg_max_gateway_connections",
        "secagg_ingress_workers",
        "secagg_certificate_expiry_timestamp_seconds",
        "secagg_ledger_epsilon",
        "secagg_ledger_epsilon_budget",
        "secagg_ledger_tasks",
        "secagg_build_info",
        "secagg_ready",
    }
)
"""Those that are read at each scrape. The others are counted, but for those of the process."""

_MADE: Final = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}


class Counted:
    """The metrics that are counted."""

    def __init__(self, registry: CollectorRegistry, shown: Set[str]) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a line more for each
        self._families: dict[str, Any] = {}
        self._series: dict[tuple[str, ...], Any] = {}
        for name, row in METRICS.items():
            if name in shown and name not in READ and not name.startswith("process_"):
                more = {"buckets": row.buckets} if row.buckets else {}
                self._families[name] = _MADE[row.kind](name, row.help, row.labels, registry=registry, **more)
        for series in _known():  # Prometheus sees no increase in what was not there before
            if series[0] in shown:
                self.of(*series)

    def of(self, name: str, *labels: str) -> Any:
        """A `Counter`, `Gauge` or `Histogram` with these values of its labels. It is shown from then on."""
        key = (name, *labels)
        series = self._series.get(key)
        if series is None:
            family = self._families[name]
            series = self._series[key] = family.labels(*labels) if labels else family
        return series


def _known() -> Iterator[tuple[str, ...]]:
    """The series that are shown before anything has happened."""
    ends = ((SUM, NO_REASON), *((FAILED, reason.name) for reason in AbortReason))
    for scheme in ("masked", "ckks", "bfv"):
        yield "secagg_rounds_opened_total", scheme
        for end in ends:
            yield "secagg_rounds_total", scheme, *end
    for end in ends:
        yield "secagg_groups_total", *end
    for outcome in (SUM, FAILED):
        yield "secagg_last_round_timestamp_seconds", outcome
        yield "secagg_round_duration_seconds", outcome
    for place in ("round", "call"):
        yield "secagg_broken_total", place
    for kind in ("dealt", "revealed"):
        yield "secagg_wrong_shares_total", kind
    for verdict in Verdict:
        yield "secagg_accusations_total", verdict.name
    for cause in ConnectionCause:
        yield "secagg_connections_closed_total", cause.name
    for plane in ("data", "gateway", "control"):
        for error in STATUS:
            yield "secagg_refusals_total", plane, error.__name__


def register_state(registry: CollectorRegistry, state: State, shown: Set[str]) -> None:
    """Show what is true of the coordinator and of its process whenever the registry is read."""
    registry.register(_Now(state, shown))
    registry.register(Process())


class _Now(Collector):
    """What is read at each scrape."""

    def __init__(self, state: State, shown: Set[str]) -> None:
        self._state = state
        self._shown = shown

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Their names, so that they need not be read to be registered."""
        return [_family(name) for name in sorted(READ & self._shown)]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read them."""
        return (family for family in self._all() if family.name in self._shown)

    def _all(self) -> Iterator[GaugeMetricFamily]:
        state = self._state
        yield _family("secagg_build_info", ((__version__,), 1))
        yield _family("secagg_ready", ((), state.ready()))
        yield _family("secagg_max_open_rounds", ((), state.max_open_rounds))
        yield _family("secagg_max_calls", ((), state.max_calls))
        yield _family("secagg_max_connections", ((), state.max_connections))
        yield _family("secagg_ingress_workers", ((), state.ingress_workers()))
        yield _family("secagg_calls_under_way", *(((plane,), count()) for plane, count in state.calls.items()))
        silent, speaking = state.connections()
        yield _family("secagg_connections", (("silent",), silent), (("speaking",), speaking))
        silent, speaking = state.gateway_connections()
        yield _family("secagg_gateway_connections", (("silent",), silent), (("speaking",), speaking))
        yield _family("secagg_max_gateway_connections", ((), state.max_gateway_connections))
        (_, own), *others = state.expiries()
        first = min(at for what, at in others if what != GATEWAY_CERTIFICATE)
        yield _family(
            "secagg_certificate_expiry_timestamp_seconds",
            (("server",), own.timestamp()),
            (("ca",), first.timestamp()),
            *((("gateway",), at.timestamp()) for what, at in others if what == GATEWAY_CERTIFICATE),
        )
        yield from self._ledgers()

    def _ledgers(self) -> Iterator[GaugeMetricFamily]:
        tasks = self._state.spent()
        shown = sorted(tasks, key=lambda spent: spent.epsilon / spent.budget.epsilon, reverse=True)[:MAX_TASKS]
        yield _family("secagg_ledger_epsilon", *(((spent.task,), spent.epsilon) for spent in shown))
        yield _family("secagg_ledger_epsilon_budget", *(((spent.task,), spent.budget.epsilon) for spent in shown))
        yield _family("secagg_ledger_tasks", ((), len(tasks)))


def _family(name: str, *series: tuple[tuple[str, ...], float]) -> GaugeMetricFamily:
    row = METRICS[name]
    family = GaugeMetricFamily(name, row.help, labels=row.labels)
    for labels, value in series:
        family.add_metric(labels, value)
    return family
