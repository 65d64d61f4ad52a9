"""The table of log events and the calls that log are the same, in both directions: names, levels and fields."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import secagg_server
from secagg_server.observability import last_words
from secagg_server.observability.log_events import COMMON, FIELDS, LOST, OF_ROUND, SECTIONS, UNLOGGED

import secagg.programs

LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "fatal", "warn"}
EVENTS = {name: event for section in SECTIONS.values() for name, event in section.items()}
SENDERS = {"announce", "_log"}
"""The two functions of `observability/logs.py` that pass on an event that somebody else names."""


@dataclass(frozen=True)
class Logged:
    """What one call logs."""

    name: str
    level: str
    fields: frozenset[str]
    of_round: bool
    throttled: bool


class LogCalls(ast.NodeVisitor):
    """Every call of a module that logs."""

    def __init__(self) -> None:
        self.found: list[Logged] = []
        self._functions: list[str] = []
        self._bound: set[str] = set()  # names of logs to which the fields of a round are bound

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._functions.append(node.name)
        given = {argument.arg for argument in node.args.args if argument.arg == "log"}  # told of a round by its caller
        self._bound |= given
        self.generic_visit(node)
        self._bound -= given
        self._functions.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815, the name is that of ast

    def visit_Assign(self, node: ast.Assign) -> None:
        match node.value:
            case ast.Call(func=ast.Attribute(attr="bind"), keywords=keywords):
                assert tuple(keyword.arg for keyword in keywords) == OF_ROUND
                self._bound |= {ast.unparse(target) for target in node.targets}
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Attribute(attr=level, value=log) if level in LEVELS and node.args:  # without: a task's exception()
                self._take(node, level, ast.unparse(log))
                for part in (log, *node.args, *node.keywords):
                    self.visit(part)
                return
            case ast.Name(id="announce"):
                self._take(node, "info", "")
            case ast.Name(id="log_event"):
                assert ast.unparse(node.args[0]) in self._bound, "events of a round need a log that names it"
            case ast.Call(func=ast.Name(id="getattr"), args=[log, *_]) if "log" in ast.unparse(log):
                assert self._functions[-1] in SENDERS, f"line {node.lineno}: the level of an event is not seen here"
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        logs = node.attr in LEVELS and "log" in ast.unparse(node.value).lower()
        assert not logs, f"line {node.lineno}: what is logged through another name is not seen here"
        self.generic_visit(node)

    def _take(self, node: ast.Call, level: str, log: str) -> None:
        if self._functions[-1] in SENDERS:
            return
        match node.args:
            case [ast.Constant(value=str(name)), *key]:
                fields = [keyword.arg for keyword in node.keywords]
                assert None not in fields, f"{name}: fields behind ** are not seen here"
                self.found.append(Logged(name, level, frozenset(map(str, fields)), log in self._bound, bool(key)))
            case _:
                raise AssertionError(f"line {node.lineno}: the name of an event is a text")


def sources() -> Iterator[Path]:
    for package in (secagg_server, secagg.programs):
        yield from sorted(Path(package.__path__[0]).rglob("*.py"))


def logged_in(source: str) -> list[Logged]:
    calls = LogCalls()
    calls.visit(ast.parse(source))
    return calls.found


LOGGED = [call for path in sources() for call in logged_in(path.read_text())]


def test_every_call_logs_what_the_table_says() -> None:
    for call in LOGGED:
        assert call.name in EVENTS, f"{call.name} is not in the table of log events"
        event = EVENTS[call.name]
        told = Logged(call.name, event.level, frozenset(event.fields), event.of_round, event.throttled)
        assert call == told


def test_every_event_of_the_table_is_logged() -> None:
    assert {call.name for call in LOGGED} | {last_words.EVENT} == set(EVENTS)
    assert len(EVENTS) == sum(len(section) for section in SECTIONS.values()), "a name stands in two sections"


def test_every_field_is_described_and_used() -> None:
    used = {field for event in EVENTS.values() for field in event.fields}
    assert used | {*OF_ROUND, UNLOGGED, LOST} == set(FIELDS)
    assert not used & set(COMMON)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('log.info("a", x=1)', Logged("a", "info", frozenset({"x"}), False, False)),
        ('structlog.get_logger().error("a")', Logged("a", "error", frozenset(), False, False)),
        ('self._throttled.warning("a", key, x=1)', Logged("a", "warning", frozenset({"x"}), False, True)),
        ('announce("a", x=1)', Logged("a", "info", frozenset({"x"}), False, False)),
    ],
)
def test_a_call_is_seen_whatever_its_log_is_called(line: str, found: Logged) -> None:
    assert logged_in(f"def f():\n    {line}") == [found]


def test_a_log_of_a_round_is_seen() -> None:
    text = """
def __init__(self):
    self._log = structlog.get_logger().bind(round_id=r, task=t)
    self._log.info("a")
def told(log):
    log.info("b")
"""
    assert [(call.name, call.of_round) for call in logged_in(text)] == [("a", True), ("b", True)]


@pytest.mark.parametrize(
    "line",
    [
        'log.info("a", **values)',
        "log.info(name)",
        'log.info(f"a{b}")',
        "tell = self._log.info",
        'getattr(log, "info")("a")',
    ],
)
def test_what_cannot_be_seen_is_refused(line: str) -> None:
    with pytest.raises(AssertionError):
        logged_in(f"def f():\n    {line}")
