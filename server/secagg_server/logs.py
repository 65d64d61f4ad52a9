"""Structured logs: one event a line. Bytes and secrets never get in, whoever logs them."""

import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from secagg_server.settings import Settings

_PLAIN = (str, int, float, bool, type(None))


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Log to `stream` (standard output if None) from now on, in this process."""
    out = stream or sys.stdout
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if settings.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # without the values of local variables
            only_plain_values,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def announce(event: str, **values: object) -> None:
    """Log what other programs wait for, whatever level the operator chose."""
    logger = structlog.get_config()["logger_factory"]()
    structlog.wrap_logger(logger, wrapper_class=structlog.make_filtering_bound_logger("info")).info(event, **values)


def only_plain_values(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace whatever is neither text nor a number by the name of its type: keys and vectors are bytes or arrays."""
    return {name: _plain(value) for name, value in event.items()}


def _plain(value: object) -> object:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return f"<{type(value).__name__}>"
