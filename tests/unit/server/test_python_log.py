"""What Python and its libraries say comes out as events: warnings, `logging`, and exceptions that nobody catches."""

import asyncio
import gc
import logging
import sys
import threading
import warnings
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from secagg_server.observability.logs import MOST_OF_EVENT
from secagg_server.observability.python_log import python_told
from structlog.testing import capture_logs

from secagg.errors import ConfigError


def logged(act: Callable[[], object]) -> list[MutableMapping[str, Any]]:
    with capture_logs() as lines, python_told():
        act()
    return lines


def test_a_warning_is_an_event() -> None:
    (line,) = logged(lambda: warnings.warn("soon\nno more", FutureWarning, stacklevel=1))
    assert line["event"] == "python_warning"
    assert line["category"] == "FutureWarning"
    assert line["detail"] == "soon no more"
    assert line["source"].startswith(__file__)


@pytest.fixture(autouse=True)
def warnings_are_shown() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield


def test_a_line_of_logging_is_an_event() -> None:
    (line,) = logged(lambda: logging.getLogger("asyncio").warning("no %s", "room\x1b[2J"))
    assert (line["event"], line["logger"], line["severity"]) == ("library_message", "asyncio", "warning")
    assert line["detail"] == "no room?[2J"
    assert line["exception"] == ""


def test_arguments_that_do_not_fit_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own handler raises
    (line,) = logged(lambda: logging.getLogger("library").error("%d things", "no"))
    assert line["detail"] == "%d things"


def test_a_task_whose_exception_nobody_takes_is_an_event() -> None:
    async def fail() -> None:
        raise KeyError("lost")

    async def run() -> None:
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    (line,) = logged(lambda: asyncio.run(run()))
    assert (line["event"], line["logger"], line["severity"]) == ("library_message", "asyncio", "error")
    assert "Task exception was never retrieved" in line["detail"]
    assert "KeyError: 'lost'" in line["exception"]
    assert 'in fail\n    raise KeyError("lost")' in line["exception"]


def test_a_thread_that_dies_is_an_event() -> None:
    def die() -> None:
        raise ValueError("why")

    def run() -> None:
        thread = threading.Thread(target=die, name="worker")
        thread.start()
        thread.join()

    (line,) = logged(run)
    assert (line["event"], line["where"]) == ("uncaught_exception", "thread worker")
    assert line["exception"].endswith("ValueError: why\n")


def test_an_exception_that_cannot_be_raised_is_an_event() -> None:
    class Bad:
        def __del__(self) -> None:
            raise ValueError("why")

    (line,) = logged(lambda: Bad() and None)
    assert line["event"] == "uncaught_exception"
    assert "__del__" in line["where"]
    assert line["exception"].endswith("ValueError: why\n")


def test_an_error_with_a_name_is_told_and_goes_on() -> None:
    def fail() -> None:
        raise ConfigError("taken")

    with capture_logs() as lines, pytest.raises(ConfigError), python_told():
        fail()
    assert lines == [{"event": "failed", "error": "ConfigError", "detail": "taken", "log_level": "error"}]


def test_any_other_error_ends_the_process_and_is_in_the_log_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with capture_logs() as lines, pytest.raises(SystemExit) as ended, python_told():
        raise ZeroDivisionError("why")
    assert ended.value.code == 1
    assert [(line["event"], line["where"]) for line in lines] == [("uncaught_exception", "main")]
    assert lines[0]["exception"].endswith("ZeroDivisionError: why\n")
    assert capfd.readouterr() == ("", "")


def test_hooks_are_given_back() -> None:
    before = threading.excepthook, sys.unraisablehook, warnings.showwarning, list(logging.getLogger().handlers)
    logged(lambda: None)
    after = threading.excepthook, sys.unraisablehook, warnings.showwarning, list(logging.getLogger().handlers)
    assert after == before


def test_a_flood_is_a_few_lines() -> None:
    def flood() -> None:
        for number in range(300):
            logging.getLogger("library").warning("of %d", number)
            logging.getLogger(f"library {number}").warning("of one")
            warnings.warn_explicit("w", UserWarning, f"{number}.py", 1)

    lines = logged(flood)
    of = [line["event"] for line in lines]
    assert of.count("library_message") == of.count("python_warning") == MOST_OF_EVENT


def test_what_is_long_is_cut() -> None:
    def deep(left: int) -> None:
        if not left:
            raise ValueError("x" * 20_000)
        deep(left - 1)

    def run() -> None:
        try:
            deep(300)
        except ValueError:
            logging.getLogger("library").exception("y" * 20_000)

    (line,) = logged(run)
    assert len(line["detail"]) == 500
    assert len(line["exception"]) == 8000
