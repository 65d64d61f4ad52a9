"""Traces of OpenTelemetry on our side: a span for a participation, for each call, and for our own work between calls.

They are made by the application's tracer provider, if it has one. Whether OpenTelemetry is in use we see by what the
application has imported: we import nothing of it ourselves. A call carries the context of its span in the metadata
`traceparent`, in the form of W3C Trace Context, so that a coordinator that makes traces can link to it. Spans have no
update, no key and no sum.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from secagg import __version__

METADATA: Final = "traceparent"

Carried = tuple[tuple[str, str], ...]
"""Metadata of a call."""


@contextmanager
def span(name: str) -> Iterator[None]:
    """A span around the block, below the current one; spans inside are below it."""
    trace = _in_use()
    if trace is None:
        yield
        return
    quiet = {"record_exception": False, "set_status_on_exception": False}  # messages of errors stay here
    with _tracer(trace).start_as_current_span(name, **quiet) as made:
        try:
            yield
        except BaseException as error:
            _failed(trace, made, error)
            raise


@contextmanager
def call_span(path: str) -> Iterator[Carried]:
    """A span around a call, below the current one, and the metadata that the call carries of it. The span does not
    become the current one, because the parts of an answer may be read in another context than the call was begun in.
    """
    trace = _in_use()
    if trace is None:
        yield ()
        return
    service, _, method = path.strip("/").partition("/")
    about = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    made = _tracer(trace).start_span(path.strip("/"), kind=trace.SpanKind.CLIENT, attributes=about)
    try:
        yield _carried(made.get_span_context())
    except BaseException as error:
        if not isinstance(error, GeneratorExit):  # who reads an answer may stop
            _failed(trace, made, error)
        raise
    finally:
        made.end()


def _in_use() -> Any:
    """The module `opentelemetry.trace`, if the application has imported it."""
    return sys.modules.get("opentelemetry.trace")


def _tracer(trace: Any) -> Any:
    return trace.get_tracer("secagg_client", __version__)


def _failed(trace: Any, made: Any, error: BaseException) -> None:
    made.set_attribute("error.type", type(error).__name__)
    made.set_status(trace.StatusCode.ERROR)


def _carried(context: Any) -> Carried:
    if not context.is_valid:
        return ()
    return ((METADATA, f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"),)
