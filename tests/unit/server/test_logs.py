"""What a log line may hold, in the form for programs and in the form for people."""

import io
import json
import os
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog
from secagg_server.observability import logs
from secagg_server.observability.logs import configure_logs

from tests.serving import make_settings


def told(folder: Path, log_format: Literal["json", "console"], **values: Any) -> str:
    stream = io.StringIO()
    before = structlog.get_config()
    try:
        configure_logs(make_settings(folder, log_format=log_format), stream)
        structlog.get_logger().info("phase_started", **values)
    finally:
        structlog.configure(**before)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["ev\x1b[31mil", "a\x9b2Jb", "a\u202eb", "a\rb", "\x1b]0;title\x07"])
def test_no_name_commands_a_terminal(name: str, tmp_path: Path) -> None:
    line = told(tmp_path, "console", task=name, conflicts=[name], exception=f"Traceback\n  {name}")
    assert all(part.isprintable() for part in line.splitlines())
    assert "Traceback\n  " in line, "a traceback keeps its lines"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_every_line_is_json(number: float, tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not in JSON")

    line = json.loads(told(tmp_path, "json", norm=number, hours=1.5), parse_constant=refuse)
    assert (line["norm"], line["hours"]) == (str(number), 1.5)


def test_who_stops_to_read_the_log_stalls_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "STALLED_S", 0.01)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    room = 0
    while True:
        try:
            room += os.write(writing, b"x" * 4095 + b"\n")
        except BlockingIOError:
            break
    os.set_blocking(writing, True)  # whoever writes now waits for the reader
    before = structlog.get_config()
    try:
        with open(writing, "w", encoding="utf-8") as stream:  # noqa: PTH123, a number
            configure_logs(make_settings(tmp_path), stream)
            for _ in range(3):
                structlog.get_logger().info("stopping", signal="SIGTERM")
            while room > 0:
                room -= len(os.read(reading, room))
            structlog.get_logger().info("stopped")
            structlog.get_logger().info("stopped")
    finally:
        structlog.configure(**before)
    with open(reading, encoding="utf-8") as kept:  # noqa: PTH123
        first, second = map(json.loads, kept)
    assert (first["event"], first["lost"]) == ("stopped", 3)
    assert "lost" not in second
