"""Counting facts, without a coordinator: what each fact changes, how old an answer may be, how many tasks are shown."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from secagg_server.observability import exposition, metric_process
from secagg_server.observability.facts import (
    CallEnded,
    CallOutcome,
    ConnectionCause,
    ConnectionClosed,
    Fact,
    GroupAnomaly,
    RoundBroken,
    RoundEvent,
    RoundName,
    RoundOpened,
)
from secagg_server.observability.logs import LogListener
from secagg_server.observability.metric_process import Process, open_files
from secagg_server.observability.metric_registry import MAX_TASKS, READ
from secagg_server.observability.metric_table import LABELS, METRICS
from secagg_server.observability.metrics import FRESH_S, Metrics
from secagg_server.observability.observer import Observer
from structlog.testing import capture_logs

from secagg.context import RoundId
from secagg.errors import AbortReason, LimitError, RoundAborted
from secagg.events import Accused, DropReason, MasksRemoved, PhaseStarted, RoundFailed, Verdict, WrongShares
from secagg.messages import ParticipantId, Phase
from secagg.privacy.ledger import Budget
from secagg.programs.ledgers.budgets import Spent
from secagg.robust.combining import Anomaly
from tests.metering import quiet_state
from tests.scraping import OPENMETRICS, Series, rise, samples
from tests.serving import make_config

NAME = RoundName(RoundId(bytes(16)), "digits", "masked")
CONFIG = make_config()
A, B = ParticipantId("a"), ParticipantId("b")
AT = 1_700_000_000.0


class Scene:
    """Metrics of a coordinator that does not exist."""

    def __init__(self, spent: Sequence[Spent] = (), expiries: Sequence[tuple[str, datetime]] | None = None) -> None:
        self.now = 100.0
        self.ready = True
        changes = {} if expiries is None else {"expiries": expiries}
        state = quiet_state(spent=spent, ready=lambda: self.ready, **changes)
        self.metrics = Metrics(state, lambda: self.now)

    def read(self) -> dict[Series, float]:
        self.now += FRESH_S
        return samples(self.metrics.answer(OPENMETRICS).body.decode())

    def risen(self, *facts: Fact) -> dict[Series, float]:
        before = self.read()
        for fact in facts:
            self.metrics(fact)
        return rise(before, self.read())


def call(**changes: Any) -> CallEnded:
    usual: dict[str, Any] = {
        "plane": "data",
        "method": "Share",
        "caller": "a",
        "address": "192.0.2.1:1",
        "began_s": AT,
        "seconds": 1.0,
        "bytes_in": 10,
        "bytes_out": 20,
        "outcome": CallOutcome.ANSWERED,
    }
    return CallEnded(**usual | changes)


def event(what: Any, at: float = AT) -> RoundEvent:
    return RoundEvent(NAME, at, what)


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        (event(WrongShares(A, ((A, B),))), ("secagg_wrong_shares_total", "kind=dealt")),
        (event(WrongShares(B, ((A, B),))), ("secagg_wrong_shares_total", "kind=revealed")),
        (event(Accused(A, B, Verdict.PROVEN)), ("secagg_accusations_total", "verdict=PROVEN")),
        (event(Accused(A, B, Verdict.HEARSAY)), ("secagg_accusations_total", "verdict=HEARSAY")),
        (GroupAnomaly(NAME, Anomaly(1, 9.0, 1.0)), ("secagg_group_anomalies_total",)),
        (RoundBroken(NAME, "trace"), ("secagg_broken_total", "place=round")),
        *[
            (ConnectionClosed(cause), ("secagg_connections_closed_total", f"cause={cause.name}"))
            for cause in ConnectionCause
        ],
    ],
    ids=lambda value: value[0].removeprefix("secagg_") if isinstance(value, tuple) else "",
)
def test_a_fact_is_counted_once(fact: Fact, told: Series) -> None:
    assert Scene().risen(fact) == {told: 1}


def test_mask_values_are_counted_by_what_was_added() -> None:
    scene = Scene()
    scene.metrics(RoundOpened(NAME, AT, CONFIG))
    counted = ("secagg_mask_values_removed_total",)
    assert scene.risen(event(MasksRemoved(10, 40))) == {counted: 10}
    assert scene.risen(event(MasksRemoved(25, 40))) == {counted: 15}


def test_calls_by_how_they_ended() -> None:
    scene = Scene()
    which = ("method=Share", "outcome={}", "plane=data")
    for outcome in CallOutcome:
        error = LimitError("too many") if outcome is CallOutcome.REFUSED else None
        risen = scene.risen(call(outcome=outcome, error=error))
        told = {
            ("secagg_calls_total", which[0], f"outcome={outcome.name}", which[2]): 1.0,
            ("secagg_received_bytes_total", which[0], which[2]): 10,
            ("secagg_sent_bytes_total", which[0], which[2]): 20,
        }
        if outcome is CallOutcome.REFUSED:
            told["secagg_refusals_total", "error=LimitError", "plane=data"] = 1
        if outcome is CallOutcome.BROKEN:
            told["secagg_broken_total", "place=call"] = 1
        assert risen == told


def test_durations_are_those_of_the_events() -> None:
    scene = Scene()
    before = scene.read()
    for fact in (
        RoundOpened(NAME, AT, CONFIG),
        event(PhaseStarted(Phase.ADVERTISE_KEYS, AT + 60, 5)),
        event(PhaseStarted(Phase.ADVERTISE_KEYS, AT + 62, 5), AT + 2),  # its deadline moved
        event(PhaseStarted(Phase.SHARE_KEYS, AT + 99, 4), AT + 5),
    ):
        scene.metrics(fact)
    after = scene.read()
    assert after["secagg_open_rounds",] == 1
    assert after["secagg_phase_duration_seconds_sum", "phase=AdvertiseKeys"] == 5
    assert rise(before, after)["secagg_participants_joined_total",] == 4
    assert ("secagg_phase_duration_seconds_sum", "phase=ShareKeys") not in after
    scene.metrics(event(RoundFailed(RoundAborted(AbortReason.CANCELLED, "x")), AT + 8))
    after = scene.read()
    assert after["secagg_open_rounds",] == 0
    assert after["secagg_phase_duration_seconds_sum", "phase=ShareKeys"] == 3
    assert after["secagg_round_duration_seconds_sum", "outcome=failed"] == 8
    assert after["secagg_last_round_timestamp_seconds", "outcome=failed"] == AT + 8
    assert after["secagg_last_round_timestamp_seconds", "outcome=sum"] == 0


def test_what_can_rise_is_shown_before_it_does() -> None:
    """Prometheus sees no increase of a series that was not there."""
    scene = Scene()
    scene.metrics(RoundOpened(NAME, AT, CONFIG))
    scene.metrics(event(PhaseStarted(Phase.ADVERTISE_KEYS, AT + 60, 5)))
    scene.metrics(call())
    found = scene.read()
    for reason in DropReason:
        assert found["secagg_dropouts_total", "phase=AdvertiseKeys", f"reason={reason.name}"] == 0
    for end in AbortReason:
        for scheme in ("masked", "ckks", "bfv"):
            series = ("secagg_rounds_total", "outcome=failed", f"reason={end.name}", f"scheme={scheme}")
            assert found[series] == 0
    assert found["secagg_calls_total", "method=Share", "outcome=BROKEN", "plane=data"] == 0
    assert found["secagg_refusals_total", "error=AuthenticationError", "plane=data"] == 0


def test_an_answer_is_given_again_for_a_moment_and_then_made_anew() -> None:
    scene = Scene()
    first = scene.metrics.answer(OPENMETRICS)
    scene.metrics(ConnectionClosed(ConnectionCause.SILENT))
    scene.now += FRESH_S / 2
    assert scene.metrics.answer(OPENMETRICS) is first
    assert scene.metrics.answer("") is scene.metrics.answer("text/plain") is not first
    scene.now += FRESH_S
    assert scene.metrics.answer(OPENMETRICS) != first


def test_the_state_is_read_anew() -> None:
    scene = Scene()
    found = scene.read()
    for name, value in (("ready", 1), ("max_open_rounds", 1), ("max_calls", 2), ("max_connections", 3)):
        assert found[f"secagg_{name}",] == value
    assert found["secagg_connections", "state=silent"] == 4
    assert found["secagg_connections", "state=speaking"] == 5
    assert found["secagg_calls_under_way", "plane=data"] == 6
    assert found["secagg_calls_under_way", "plane=control"] == 7
    scene.ready = False
    assert scene.read()["secagg_ready",] == 0


def test_of_many_cas_the_first_to_expire_is_shown() -> None:
    at = [datetime.fromtimestamp(AT + day * 86_400, UTC) for day in (9, 5, 3, 7)]
    expiries = list(zip(("server certificate", "CA b", "CA a", "CA b"), at, strict=True))
    found = Scene(expiries=expiries).read()
    assert found["secagg_certificate_expiry_timestamp_seconds", "certificate=server"] == at[0].timestamp()
    assert found["secagg_certificate_expiry_timestamp_seconds", "certificate=ca"] == at[2].timestamp()
    assert ("secagg_certificate_expiry_timestamp_seconds", "certificate=gateway") not in found


def test_a_gateway_has_a_certificate_of_its_own() -> None:
    """It is no CA, also where it expires first."""
    at = [datetime(2030, month, 1, tzinfo=UTC) for month in (5, 6, 2)]
    found = Scene(expiries=list(zip(("server certificate", "CA a", "gateway certificate"), at, strict=True))).read()
    for certificate, expires in zip(("server", "ca", "gateway"), at, strict=True):
        assert found["secagg_certificate_expiry_timestamp_seconds", f"certificate={certificate}"] == expires.timestamp()


def test_of_many_tasks_those_nearest_to_their_budget_are_shown() -> None:
    tasks = [Spent(f"task {n}", n / 10, Budget(100.0 if n % 2 else 10_000.0)) for n in range(3 * MAX_TASKS)]
    found = Scene(spent=tasks).read()
    shown = [series[1] for series in found if series[0] == "secagg_ledger_epsilon"]
    assert len(shown) == MAX_TASKS
    assert set(shown) == {f"task=task {n}" for n in range(3 * MAX_TASKS) if n % 2 and n >= MAX_TASKS}
    assert found["secagg_ledger_tasks",] == 3 * MAX_TASKS
    assert found["secagg_ledger_epsilon_budget", "task=task 299"] == 100


def test_a_name_of_a_task_cannot_break_the_format() -> None:
    task = 'x"\n# HELP y\\ {a="b"} 1'
    found = Scene(spent=[Spent(task, 1.0, Budget(2.0))]).read()
    assert found["secagg_ledger_epsilon", f"task={task}"] == 1


def test_the_text_is_that_of_prometheus_client() -> None:
    scene = Scene(spent=[Spent(task, 1.5e-7, Budget(1e30)) for task in ("a", 'x"\n\\ y', "ε")])
    for outcome in CallOutcome:
        scene.metrics(call(outcome=outcome, bytes_in=12_345_678_901))
    scene.metrics(RoundOpened(NAME, AT, CONFIG))
    scene.metrics(event(PhaseStarted(Phase.ADVERTISE_KEYS, AT + 60, 5)))
    scene.metrics(event(RoundFailed(RoundAborted(AbortReason.CANCELLED, "x")), AT + 8.125))
    registry = scene.metrics._registry
    for process in [c for c in registry._collector_to_names if isinstance(c, Process)]:
        registry.unregister(process)  # its numbers change between two readings
    for accept, theirs in ((OPENMETRICS, openmetrics.generate_latest), ("", generate_latest)):
        assert scene.metrics.answer(accept).body == theirs(registry)


def test_the_process_is_read_as_prometheus_client_reads_it() -> None:
    theirs = {f.name: f.samples[0] for f in ProcessCollector(registry=None).collect()}
    ours = {f.name: f.samples[0] for f in Process().collect()}
    assert ours.keys() == theirs.keys()
    for name, sample in ours.items():
        assert sample.name == theirs[name].name
        assert sample.value == pytest.approx(theirs[name].value, rel=0.1, abs=2), name
        assert f"{sample.name}" in METRICS


@pytest.mark.parametrize("counted", [True, False])
def test_open_files_are_counted_on_old_and_new_kernels(monkeypatch: pytest.MonkeyPatch, counted: bool) -> None:
    listed: list[str] = []
    kernel = SimpleNamespace(stat=lambda: SimpleNamespace(st_size=7 if counted else 0), iterdir=lambda: listed)
    monkeypatch.setattr(metric_process, "_FILES", kernel)
    listed = [] if counted else ["0", "1", "2"]
    assert open_files() == (7 if counted else 3)


def test_beginnings_of_lines_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(spent=[Spent(f"task {n}", 1.0, Budget()) for n in range(20)])
    monkeypatch.setattr(exposition, "_KEPT", 30)
    first, second = scene.read(), scene.read()
    assert first.keys() == second.keys()
    assert len(scene.metrics._exposition._beginnings) <= 30


def test_the_table_is_in_order() -> None:
    used = {label for row in METRICS.values() for label in row.labels}
    assert used == set(LABELS)
    assert set(METRICS) > READ
    for name, row in METRICS.items():
        assert name.startswith(("secagg_", "process_"))
        assert name.endswith("_total") == (row.kind == "counter")
        assert row.help.endswith("."), name
        assert bool(row.buckets) == (row.kind == "histogram")
        assert not {"participant", "address", "caller", "round_id"} & set(row.labels)


def test_a_broken_listener_keeps_nobody_else_from_hearing() -> None:
    heard: list[Fact] = []

    def broken(_: Fact) -> None:
        raise ZeroDivisionError("12345")

    observer = Observer(broken, heard.append, LogListener())
    with capture_logs() as log:
        observer.tell(RoundBroken(NAME, "trace"))
        observer.tell(RoundBroken(NAME, "trace"))
    assert len(heard) == 2
    assert [line["event"] for line in log] == ["fact_not_observed", "round_broken", "round_broken"]
