"""Traces of a real round: one connected whole, sent to a real collector's service, and in nobody's way without one."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from secagg_client import AsyncControlClient, tracing
from secagg_server.observability import trace_context, traces
from secagg_server.observability.facts import RoundEvent, RoundName, RoundOpened
from secagg_server.observability.traces import TraceListener

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.errors import RoundAborted
from secagg.events import PhaseStarted
from secagg.messages import MASKED_PHASES, Phase
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.configuration import encode_config
from secagg.wire.v1 import control_plane_pb2
from tests import stubs
from tests.integration.test_server_process import flags, start, stop
from tests.pages import Code
from tests.serving import (
    ACTIVE,
    NAMES,
    PATIENCE_S,
    SEMI_HONEST,
    Director,
    Player,
    Stage,
    channel,
    make_config,
    site,
    stage,
)
from tests.taking_part import QUICK, lenient, take_part

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
FOREIGN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
"""A context that says: this trace is not kept."""


@pytest.fixture
def coordinators(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What a coordinator sends to its collector."""
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(traces, "exporter", lambda: exporter)
    return exporter


@pytest.fixture
def applications(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the FL server and the participants, all in this process, send to theirs."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


async def whole_round(s: Stage, config: RoundConfig) -> None:
    async with AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        with trace.get_tracer("FL server").start_as_current_span("an epoch"):
            round_id = await control.open_round(config)
        playing = (
            take_part(
                s.server.data_address, name, config, round_id=round_id, policy=lenient(config), synchronous=odd == 1
            )
            for odd, name in enumerate(NAMES[:3])
        )
        await asyncio.gather(control.result(round_id), *playing)


def named(spans: Iterator[ReadableSpan] | list[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def key(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


async def test_a_round_is_one_connected_trace(
    tmp_path: Path, coordinators: InMemorySpanExporter, applications: InMemorySpanExporter
) -> None:
    async with stage(tmp_path) as s:
        await whole_round(s, make_config(3, ACTIVE))
    ours, theirs = list(coordinators.get_finished_spans()), list(applications.get_finished_spans())
    (epoch,), (whole,) = named(theirs, "an epoch"), named(ours, "secagg.round")
    (opening,) = named(theirs, "secagg.wire.v1.ControlPlane/OpenRound")
    assert parent_of(opening) == key(epoch)[1]
    assert (key(whole)[0], parent_of(whole)) == (key(epoch)[0], key(opening)[1])

    phases = named(ours, "secagg.phase")
    order = [str(phase) for phase in MASKED_PHASES[ACTIVE]]
    assert [span.attributes["secagg.phase"] for span in phases if span.attributes] == order
    assert {parent_of(span) for span in phases} == {key(whole)[1]}

    for name in ("Advertise", "Share", "SendInput", "Check", "Reveal"):
        calls = named(ours, f"data/{name}")
        made = {key(span) for span in named(theirs, f"secagg.wire.v1.DataPlane/{name}")}
        assert len(calls) == len(made) == 3
        assert {parent_of(span) for span in calls} == {key(whole)[1]}
        linked = [(link.context.trace_id, link.context.span_id) for span in calls for link in span.links]
        assert set(linked) == made

    assert not [span.name for span in (*ours, *theirs) if span.status.status_code is trace.StatusCode.ERROR]
    parts = named(theirs, "secagg.participate")
    assert len(parts) == 3
    below = [s for s in theirs if s.name.startswith("secagg.wire.v1.DataPlane/") or s.name == "secagg.work"]
    assert {parent_of(span) for span in below} == {key(part)[1] for part in parts}

    spans = [*ours, *theirs]
    joined = {key(span): {key(span)} for span in spans}
    for span in spans:
        near = [link.context for link in span.links] + ([span.parent] if span.parent else [])
        for other in near:
            both = joined[key(span)] | joined[other.trace_id, other.span_id]
            for one in both:
                joined[one] = both
    assert joined[key(whole)] == {key(span) for span in spans}


def test_an_application_without_a_provider_carries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_PROXY_TRACER_PROVIDER", trace.ProxyTracerProvider())
    with tracing.span("a"), tracing.call_span("/service/Method") as carried:
        assert carried == ()


async def test_a_round_that_fails_says_why(
    tmp_path: Path, coordinators: InMemorySpanExporter, applications: InMemorySpanExporter
) -> None:
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(make_config(3, SEMI_HONEST))
        await control.abort(round_id, "enough")
        with pytest.raises(RoundAborted):
            await control.fetch(round_id)
    (whole,) = named(list(coordinators.get_finished_spans()), "secagg.round")
    assert whole.attributes is not None
    assert whole.attributes["secagg.reason"] == "CANCELLED"
    assert not whole.status.is_ok
    (refused,) = named(list(coordinators.get_finished_spans()), "control/FetchAggregate")
    assert refused.attributes is not None
    assert (refused.attributes["secagg.outcome"], refused.attributes["error.type"]) == ("REFUSED", "RoundAborted")
    fetching = named(list(applications.get_finished_spans()), "secagg.wire.v1.ControlPlane/FetchAggregate")
    assert [(span.attributes or {})["error.type"] for span in fetching] == ["RoundAborted"]


async def test_spans_hold_no_name_no_key_and_no_value(
    tmp_path: Path, coordinators: InMemorySpanExporter, applications: InMemorySpanExporter
) -> None:
    async with stage(tmp_path) as s:
        await whole_round(s, make_config(3, ACTIVE, size=4))
    told = {
        name
        for exporter in (coordinators, applications)
        for span in exporter.get_finished_spans()
        for name in span.attributes or {}
    }
    assert told == {
        "rpc.method", "rpc.service", "rpc.system", "secagg.bytes_in", "secagg.bytes_out", "secagg.expected",
        "secagg.outcome", "secagg.phase", "secagg.plane", "secagg.round_id", "secagg.scheme", "secagg.survivors",
        "secagg.task",
    }  # fmt: skip
    text = "".join(span.to_json() for e in (coordinators, applications) for span in e.get_finished_spans())
    assert not [name for name in NAMES if name in text]


async def asked(s: Stage, *carried: tuple[str, str]) -> None:
    """A call of a participant that belongs to no round, with these words in its metadata."""
    player = s.players[NAMES[0]]
    with pytest.raises(grpc.aio.AioRpcError):
        async for _ in player.stub.FindRound(_nowhere(), timeout=PATIENCE_S, metadata=carried):
            pass


def _nowhere() -> Any:
    from secagg.wire.v1 import data_plane_pb2

    return data_plane_pb2.FindRoundRequest(round_id=bytes(16))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "nonsense",
        "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        "ff" + FOREIGN[2:],
        "9" * 4000,
        FOREIGN * 2,
    ],
)
async def test_a_context_that_is_none_is_passed_over(
    tmp_path: Path, coordinators: InMemorySpanExporter, words: str
) -> None:
    async with stage(tmp_path) as s:
        await asked(s, ("traceparent", words))
    (span,) = named(list(coordinators.get_finished_spans()), "data/FindRound")
    assert (span.parent, list(span.links)) == (None, [])


def test_a_long_context_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trace_context.carried_by([("traceparent", FOREIGN)]) == FOREIGN
    assert trace_context.carried_by(None) == trace_context.carried_by([("traceparent", b"x")]) == ""
    assert trace_context.carried_by([("traceparent", "0" * 129)]) == ""
    assert trace_context.carried_by([("traceparent", FOREIGN), ("other", "x"), ("traceparent", FOREIGN)]) == ""
    without_check(monkeypatch, trace_context, "carried_by", "traceparent-bounded")
    assert trace_context.carried_by([("traceparent", "0" * 129)]) == "0" * 129  # the twin


async def test_a_participant_neither_chooses_the_trace_nor_what_is_kept(
    tmp_path: Path, coordinators: InMemorySpanExporter
) -> None:
    async with stage(tmp_path) as s:
        await asked(s, ("traceparent", FOREIGN))
    (span,) = named(list(coordinators.get_finished_spans()), "data/FindRound")
    assert span.parent is None
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" not in FOREIGN
    assert [f"{link.context.trace_id:032x}" in FOREIGN for link in span.links] == [True]


@pytest.mark.parametrize(("sampler", "kept"), [("parentbased_always_on", 1), ("always_off", 0)])
async def test_the_coordinator_keeps_by_its_own_rule_whatever_the_fl_server_says(
    tmp_path: Path, coordinators: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, sampler: str, kept: int
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    async with stage(tmp_path) as s, grpc.aio.insecure_channel(s.server.control_address) as link:
        part = control_plane_pb2.OpenRoundPart(round_id=bytes(16), config=encode_config(make_config(3)))
        opened = stubs.control_plane(link).OpenRound(
            iter([part]), timeout=PATIENCE_S, metadata=(("traceparent", FOREIGN[:-1] + str(1 - kept)),)
        )
        await opened
    whole = named(list(coordinators.get_finished_spans()), "secagg.round")
    assert len(whole) == kept
    assert all(f"{key(span)[0]:032x}" in FOREIGN for span in whole)


def listening() -> tuple[TraceListener, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return TraceListener(provider), exporter


def opened(number: int) -> RoundOpened:
    return RoundOpened(RoundName(RoundId(bytes([number]) * 16), "digits", "masked"), 10.0 + number, make_config(3))


def test_only_so_many_rounds_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "REMEMBERED", 2)
    listener, exporter = listening()
    for number in range(5):
        listener(opened(number))
    assert [(span.attributes or {})["secagg.round_id"] for span in exporter.get_finished_spans()] == [
        bytes([number] * 16).hex() for number in range(3)
    ]


def test_a_phase_whose_deadline_moves_is_one_span() -> None:
    listener, exporter = listening()
    listener(opened(1))
    first, second = Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS
    for at, phase in ((11.0, first), (12.0, first), (13.5, second)):
        listener(RoundEvent(opened(1).round, at, PhaseStarted(phase, at + 9, 3)))
    (span,) = exporter.get_finished_spans()
    assert (span.start_time, span.end_time) == (11_000_000_000, 13_500_000_000)


async def test_whoever_leaves_or_asks_for_the_offer_is_below_the_round(
    tmp_path: Path, coordinators: InMemorySpanExporter
) -> None:
    async with stage(tmp_path) as s:
        _, people = await s.open(make_config(3, SEMI_HONEST))
        await people[0].leave()
    spans = list(coordinators.get_finished_spans())
    (whole,) = named(spans, "secagg.round")
    for name in ("data/FindRound", "data/LeaveRound"):
        assert {parent_of(span) for span in named(spans, name)} == {key(whole)[1]}


# --- a collector ------------------------------------------------------------------------------------------------------


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """The service of an OTLP collector."""

    def __init__(self) -> None:
        self.spans: list[str] = []
        self.services: set[str] = set()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802, the name in the .proto
        for resource in request.resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            self.spans += [span.name for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    server, collects = grpc.server(futures.ThreadPoolExecutor(2)), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collects, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collects, f"http://127.0.0.1:{port}"
    server.stop(0).wait()


def a_round(folder: Path, **environment: str) -> tuple[list[dict[str, Any]], float]:
    """The log of a process in which a round was played and aborted, and how long its end took."""
    process = start(flags(folder, log_level="info"), **environment)

    async def play() -> None:
        async with grpc.aio.insecure_channel(str(process.ready["control_plane"])) as link:
            director = Director(stubs.control_plane(link))
            round_id = await director.open(make_config(3, SEMI_HONEST))
            async with channel(f"127.0.0.1:{process.port}", site().people[NAMES[0]]) as data:
                await Player(NAMES[0], stubs.data_plane(data)).join(round_id)
            await director.abort(round_id)

    asyncio.run(play())
    begun = time.monotonic()
    lines, err, code = stop(process)
    assert (err, code) == ("", 0)
    return lines, time.monotonic() - begun


def test_spans_arrive_at_a_collector(tmp_path: Path, collector: tuple[Collector, str]) -> None:
    collects, address = collector
    lines, _ = a_round(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=address)
    assert {"secagg.round", "secagg.phase", "data/FindRound", "control/OpenRound"} <= set(collects.spans)
    assert collects.services == {"secagg-server"}
    expected = {"state_in_memory", "round_failed"}
    assert not [line for line in lines if line["level"] in {"warning", "error"} and line["event"] not in expected]


@pytest.mark.runs("docs/operate.md", "ini")
def test_the_variables_of_the_page_are_heeded(tmp_path: Path, collector: tuple[Collector, str], page: Code) -> None:
    collects, address = collector
    text = page.take("OTEL_EXPORTER_OTLP_ENDPOINT").replace("http://127.0.0.1:4317", address)
    environment = dict(line.split("=", 1) for line in text.splitlines())
    assert environment["OTEL_TRACES_SAMPLER_ARG"] == "0.1"
    a_round(tmp_path, **{**environment, "OTEL_TRACES_SAMPLER_ARG": "1"})
    assert collects.services == {"sidecar-7"}
    before = len(collects.spans)
    assert before
    a_round(tmp_path, **{**environment, "OTEL_TRACES_SAMPLER_ARG": "0"})
    assert len(collects.spans) == before


def test_a_collector_that_nobody_reaches_harms_nothing(tmp_path: Path) -> None:
    lines, took_s = a_round(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_SCHEDULE_DELAY="50")
    assert [line["event"] for line in lines if line["event"] == "round_failed"] == ["round_failed"]
    about = [line for line in lines if line["event"] == "library_message"]
    assert about
    assert all(line["logger"].startswith("opentelemetry.") for line in about)
    assert len(about) < 20
    assert took_s < PATIENCE_S


# --- switched off, and switched on wrongly ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://x:1", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://x:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_made_where_nothing_asks_for_it(environment: dict[str, str]) -> None:
    assert not traces.wanted(environment)


def test_nothing_is_imported_where_nothing_asks_for_it(tmp_path: Path) -> None:
    program = (
        "import asyncio, json, sys\n"
        "from pathlib import Path\n"
        "import secagg_server.app, secagg_client.aio.client, secagg_client.sync.client\n"
        "from secagg_server.observability.traces import traces\n"
        "from secagg_client.tracing import span, call_span\n"
        "with traces({}) as listeners, span('a'), call_span('/a/b') as carried:\n"
        "    loaded = [name for name in sys.modules if 'opentelemetry' in name]\n"
        "    print(json.dumps([list(listeners), list(carried), loaded]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [[], [], []]


@pytest.mark.parametrize(
    ("environment", "error"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER is 'zipkin'; secagg-server exports traces with",
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "is 'http/protobuf'; secagg-server speaks OTLP over grpc"),
        ({"OTEL_TRACES_SAMPLER": "mood"}, "OTEL_TRACES_SAMPLER is 'mood', which is none of"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"}, "a variable OTEL_… does not fit"),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "zip"}, "OTEL_EXPORTER_OTLP_COMPRESSION is 'zip'; say gzip"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(environment: dict[str, str], error: str) -> None:
    from secagg.errors import ConfigError

    with pytest.raises(ConfigError, match=error), traces.traces({ENDPOINT: "http://127.0.0.1:9", **environment}):
        pass


WRONG_HEADERS = ("authorization: Bearer s3cret", "a=b,s3cret", "a=s3cret;b", "s3cr\u00e9t=1", '"s3cret"', "=s3cret")


@pytest.mark.parametrize("wrong", WRONG_HEADERS)
@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
def test_headers_for_the_collector_are_never_shown(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from secagg.errors import ConfigError

    environment = {ENDPOINT: "http://127.0.0.1:9", name: wrong}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"{name} is no list of NAME=VALUE") as caught, traces.traces(environment):
        pass
    assert wrong not in str(caught.value) + caplog.text
    without_check(monkeypatch, traces, "wanted", "collector-headers")
    with traces.traces(environment):
        assert wrong.rpartition(",")[2] in caplog.text  # the twin


@pytest.mark.parametrize(
    "right", ["", "a=b", "authorization=Bearer abc==, x-y = 1", "a=%20b,", "Authorization=Basic%20YQ=="]
)
def test_headers_that_opentelemetry_takes_are_taken(
    right: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", right)
    with traces.traces({ENDPOINT: "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_HEADERS": right}):
        assert not caplog.text


@pytest.mark.parametrize("switch", [(), ("--files-only",)])
def test_check_config_finds_what_does_not_fit(tmp_path: Path, switch: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "secagg_server", "check-config", *flags(tmp_path), *switch]
    environment = {**os.environ, ENDPOINT: "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "mood"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "error: OTEL_TRACES_SAMPLER is 'mood'" in done.stderr


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from secagg.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[otel\]'"), traces.traces({ENDPOINT: "http://x:1"}):
        pass
