"""Traces of OpenTelemetry: a span for each round, for each of its phases, and for each call.

The standard variables of OpenTelemetry turn them on, because every collector's manual names these, and its SDK takes
all else from them: `OTEL_EXPORTER_OTLP_ENDPOINT`, or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`. Nothing of OpenTelemetry is
imported without.

The trace of a round is the FL server's, if its call that opens the round carries one. The round's phases and the calls
that belong to it are below the round's span. A call that carries the context of a participant gets a link to it and
nothing else: a participant neither puts spans into a trace of its choice nor decides which are kept. Spans have no name
of a participant, no key, no update and no sum.
"""

import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final

from secagg import __version__
from secagg.context import RoundId
from secagg.errors import ConfigError, MissingExtraError
from secagg.events import PhaseStarted, RoundFailed, SumDelivered, SumReady
from secagg_server.observability.facts import CallEnded, CallOutcome, Fact, RoundEvent, RoundOpened, RoundResumed
from secagg_server.observability.trace_context import CARRIED, METADATA

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import Span

SERVICE: Final = "secagg-server"
"""The name of the service, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` has another one."""

REMEMBERED: Final = 1024
"""Rounds whose calls find their trace; the oldest is forgotten first."""

PATIENCE_S: Final = 2.0
"""How long the last spans may take at the end. A collector that cannot be reached must not hold up the end."""

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_COMPRESSIONS: Final = ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_HEADER: Final = re.compile(r"""[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ \t]*[ !#-+\--:<-\[\]-~]*""")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces.

    Raises:
        ConfigError: it asks for an exporter, a protocol or a compression that we do not have, or its headers are none.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").lower()
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return False
    if not any(environment.get(name) for name in _ENDPOINTS):
        return False
    if exporter not in {"", "otlp"}:
        raise ConfigError(f"OTEL_TRACES_EXPORTER is {exporter!r}; secagg-server exports traces with otlp alone")
    for name in _PROTOCOLS:
        if environment.get(name, "grpc") != "grpc":
            raise ConfigError(f"{name} is {environment[name]!r}; secagg-server speaks OTLP over grpc alone")
    for name in _COMPRESSIONS:
        if environment.get(name, "gzip").strip().lower() != "gzip":
            raise ConfigError(f"{name} is {environment[name]!r}; say gzip, or unset it to compress nothing")
    for name in _HEADERS:
        headers = [header.strip() for header in environment.get(name, "").split(",")]
        if not all(_HEADER.fullmatch(header) for header in headers if header):  # check: collector-headers
            # OpenTelemetry would pass over it, and show it in the log.
            raise ConfigError(
                f"{name} is no list of NAME=VALUE with commas between; it is not shown, as it may be secret"
            )
    return True


@contextmanager
def traces(environment: Mapping[str, str] = os.environ) -> Iterator["tuple[TraceListener, ...]"]:
    """A listener that makes traces, where the environment asks for them. Afterwards the last spans are sent.

    Raises:
        ConfigError: the variables of OpenTelemetry do not fit.
        MissingExtraError: traces are asked for, and the extra `otel` is not installed.
    """
    if not wanted(environment):
        yield ()
        return
    try:
        sending = exporter()
        provider = _provider(environment, sending)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "opentelemetry":
            raise
        raise MissingExtraError("sending traces, as the variables OTEL_… ask for,", "otel") from None
    except ValueError as error:
        raise ConfigError(f"a variable OTEL_… does not fit: {error}") from None
    try:
        yield (TraceListener(provider),)
    finally:
        ending = Thread(target=provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(PATIENCE_S)
        if ending.is_alive():
            sending.shutdown()  # gives up what it tries to send


def exporter() -> "SpanExporter":
    """What speaks to the collector."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415, an extra

    return OTLPSpanExporter()


def _provider(environment: Mapping[str, str], sending: "SpanExporter") -> "TracerProvider":
    """Makes spans and hands them to a thread, which sends them. While it cannot, a bounded number waits, and newer ones
    are lost.
    """
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415, an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    named = Resource({"service.name": SERVICE, "service.version": __version__})
    resource = named.merge(OTELResourceDetector().detect())
    provider = TracerProvider(_sampler(environment), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(sending))
    return provider


def _sampler(environment: Mapping[str, str]) -> "Sampler":
    """By the standard variables, but with one difference: what a caller decided counts for nothing."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased  # noqa: PLC0415

    name = environment.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower()
    own: Sampler
    match name.removeprefix("parentbased_"):
        case "always_on":
            own = ALWAYS_ON
        case "always_off":
            own = ALWAYS_OFF
        case "traceidratio":
            own = TraceIdRatioBased(float(environment.get("OTEL_TRACES_SAMPLER_ARG", "1.0")))
        case _:
            raise ConfigError(f"OTEL_TRACES_SAMPLER is {name!r}, which is none of OpenTelemetry's samplers")
    return ParentBased(own, remote_parent_sampled=own, remote_parent_not_sampled=own)


class _Trace:
    """A round's span, and that of its open phase."""

    def __init__(self, span: "Span") -> None:
        self.span = span
        self.phase: Span | None = None
        self.phase_name = ""


class TraceListener:
    """Makes spans of facts."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._tracer = provider.get_tracer("secagg_server", __version__)
        self._read = TraceContextTextMapPropagator().extract
        self._rounds: OrderedDict[RoundId, _Trace] = OrderedDict()
        self._lock = Lock()

    def __call__(self, fact: Fact) -> None:
        """Begin or end what the fact is about."""
        with self._lock:
            match fact:
                case RoundOpened() | RoundResumed():
                    self._open(fact)
                case RoundEvent() if (trace := self._rounds.get(fact.round.round_id)) is not None:
                    _follow(self._tracer, trace, fact)
                case CallEnded():
                    self._call(fact)
                case _:
                    return

    def _open(self, fact: RoundOpened | RoundResumed) -> None:
        name = fact.round
        about = {"secagg.round_id": name.round_id.hex(), "secagg.task": name.task, "secagg.scheme": name.scheme}
        if name.parent is not None:
            about["secagg.parent_id"] = name.parent.hex()
        opener = self._read({METADATA: CARRIED.get()})  # the FL server opens rounds, and nobody else
        span = self._tracer.start_span("secagg.round", opener, attributes=about, start_time=_ns(fact.at))
        self._rounds[name.round_id] = _Trace(span)
        if len(self._rounds) > REMEMBERED:
            _, oldest = self._rounds.popitem(last=False)
            _end(oldest, fact.at)

    def _call(self, fact: CallEnded) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415, an extra

        known = self._rounds.get(RoundId(fact.round_id))
        carried = trace.get_current_span(self._read({METADATA: fact.traceparent})).get_span_context()
        about: dict[str, str | int] = {
            "rpc.system": "grpc",
            "rpc.method": fact.method,
            "secagg.plane": fact.plane,
            "secagg.outcome": fact.outcome.name,
            "secagg.bytes_in": fact.bytes_in,
            "secagg.bytes_out": fact.bytes_out,
        }
        if fact.error is not None:
            about["error.type"] = type(fact.error).__name__
        span = self._tracer.start_span(
            f"{fact.plane}/{fact.method}",
            trace.set_span_in_context(known.span) if known else context.Context(),
            trace.SpanKind.SERVER,
            about,
            links=[trace.Link(carried)] if carried.is_valid else (),
            start_time=_ns(fact.began_s),
        )
        if fact.outcome is CallOutcome.BROKEN:
            span.set_status(trace.StatusCode.ERROR)
        span.end(_ns(fact.began_s + fact.seconds))


def _follow(tracer: Any, trace: _Trace, fact: RoundEvent) -> None:
    """What an event of a round means for its spans."""
    from opentelemetry.trace import StatusCode, set_span_in_context  # noqa: PLC0415, an extra

    match fact.event:
        case PhaseStarted(phase, _, expected):
            if str(phase) == trace.phase_name:
                return  # its deadline moved
            if trace.phase is not None:
                trace.phase.end(_ns(fact.at))
            trace.phase_name = str(phase)
            about = {"secagg.phase": str(phase), "secagg.expected": expected}
            below = set_span_in_context(trace.span)
            trace.phase = tracer.start_span("secagg.phase", below, attributes=about, start_time=_ns(fact.at))
        case SumReady(survivors) | SumDelivered(survivors=survivors):
            trace.span.set_attribute("secagg.survivors", len(survivors))
            _end(trace, fact.at)
        case RoundFailed(error):
            trace.span.set_attribute("secagg.reason", error.reason.name)
            trace.span.set_status(StatusCode.ERROR, error.reason.name)
            _end(trace, fact.at)
        case _:
            return


def _end(trace: _Trace, at: float) -> None:
    for span in (trace.phase, trace.span):
        if span is not None and span.is_recording():
            span.end(_ns(at))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
