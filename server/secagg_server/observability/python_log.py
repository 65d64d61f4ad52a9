"""What Python itself and its libraries have to say, as events of our log: warnings, lines of the module `logging`
(asyncio, grpc, uvicorn, OpenTelemetry), and exceptions that nobody catches.

Python prints all of these on standard error, each in a form of its own and without any limit.
"""

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import structlog

from secagg.errors import SecAggError
from secagg_server.observability.logs import ThrottledLog, plain_traceback, shortened


@contextmanager
def python_told() -> Iterator[None]:
    """Inside, everything of the kind goes to the log. So does an exception that leaves the block.

    Raises:
        SystemExit: an exception left the block that is no error with a name of ours. It is logged.
    """
    told = _Told()
    root = logging.getLogger()
    before = threading.excepthook, sys.unraisablehook, warnings.showwarning
    root.addHandler(told)
    threading.excepthook, sys.unraisablehook, warnings.showwarning = told.thread, told.unraisable, told.warning
    try:
        yield
    except (SecAggError, OSError) as error:
        structlog.get_logger().error("failed", error=type(error).__name__, detail=shortened(str(error)))
        raise
    except Exception as error:  # the outermost frame: the log has it, and standard error would have it unreadable
        told.uncaught("main", error)
        raise SystemExit(1) from None
    finally:
        threading.excepthook, sys.unraisablehook, warnings.showwarning = before
        root.removeHandler(told)


class _Told(logging.Handler):
    """Takes what Python's own hooks tell."""

    def __init__(self) -> None:
        super().__init__()
        self._throttled = ThrottledLog()

    def emit(self, record: logging.LogRecord) -> None:
        """Log a line of the module `logging`."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)  # its arguments do not fit
        error = record.exc_info[1] if record.exc_info else None
        self._throttled.warning(
            "library_message",
            (record.name, record.levelname, str(record.msg)[:100]),
            logger=record.name,
            severity=record.levelname.lower(),
            detail=shortened(text),
            exception="" if error is None else plain_traceback(error),
        )

    def warning(  # noqa: PLR0917, as Python's own
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Log a warning."""
        source = f"{filename}:{lineno}"
        kind = category.__name__
        self._throttled.warning(
            "python_warning", (kind, source), category=kind, source=source, detail=shortened(str(message))
        )

    def thread(self, told: threading.ExceptHookArgs) -> None:
        """Log that a thread died of an exception."""
        if told.exc_value is not None:
            self.uncaught("thread " + ("" if told.thread is None else told.thread.name), told.exc_value)

    def unraisable(self, told: Any) -> None:
        """Log an exception that could not be raised, as one in a destructor."""
        if told.exc_value is not None:
            self.uncaught(shortened(f"{told.err_msg or 'ignored'}: {told.object!r}", 200), told.exc_value)

    def uncaught(self, where: str, error: BaseException) -> None:
        """Log an exception that nobody caught."""
        kind = (where, type(error).__name__)
        self._throttled.error("uncaught_exception", kind, where=where, exception=plain_traceback(error))
