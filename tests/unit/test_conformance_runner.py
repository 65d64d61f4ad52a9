"""`secagg conformance`: a good program passes, and every way of being wrong is told."""

import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from secagg.errors import ConfigError, DecodeError, RemoteError
from secagg.tools.runner import adapter, expected, lines
from secagg.tools.runner.cases import Case, Programs, Unlike, Verdict, judge, refused_as
from secagg.tools.runner.from_vectors import cases
from secagg.tools.runner.lines import Believes, Description, Feature, Refuses, Sends
from secagg.tools.runner.program import Program
from secagg.tools.runner.report import Report

DESCRIBED = Description("planted", "1", frozenset({Feature.REPLAY}))
HEAD = "import sys, json\n"
DESCRIBES = HEAD + (
    "sys.stdin.readline()\n"
    'print(json.dumps({"version": 1, "name": "planted", "release": "1", "features": []}), flush=True)\n'
    "sys.stdin.readline()\n"
)


class InProcess:
    """Our adapter without a process, as `Programs` and as the one program; `spoil` may change its answers."""

    def __init__(self, spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer) -> None:
        self._adapter, self._spoil = adapter.Adapter(), spoil

    def take(self, count: int) -> list["InProcess"]:
        assert count == 1
        return [self]

    def restart(self) -> None:
        self._adapter = adapter.Adapter()

    def ask(self, request: dict[str, Any]) -> lines.Answer:
        return lines.read_answer(self._spoil(self._adapter.answer(request)))


def verdict(number: str, programs: Any) -> Verdict:
    [case] = [case for case in cases() if case.number == number]
    [judged] = judge([case], programs, frozenset(Feature), {})
    return judged.verdict


SOME = ["round-active/dahlia", "failure-signer-no-survivor", "failure-below-policy-cohort", "failure-aggregate-altered"]
SOME += ["failure-certified-by-dropped", "failure-receipt-of-another-sum"]


@pytest.mark.parametrize("number", SOME)
def test_our_participant_passes(number: str) -> None:
    assert verdict(number, InProcess()) is Verdict.PASSED


def other_culprit(answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {"culprit": "somebody"} if "refuses" in answer else answer


@pytest.mark.parametrize("number", SOME[1:])
def test_another_culprit_fails(number: str) -> None:
    assert verdict(number, InProcess(other_culprit)) is Verdict.FAILED


def test_other_bytes_and_fewer_messages_fail() -> None:
    def other(answer: dict[str, Any]) -> dict[str, Any]:
        sent = answer["sends"]
        return {"sends": [message | {"parts": [*message["parts"], "00"]} for message in sent]}

    assert verdict(SOME[0], InProcess(other)) is Verdict.FAILED
    assert verdict(SOME[0], InProcess(lambda _: {"sends": []})) is Verdict.FAILED


def test_who_refuses_every_offer_fails() -> None:
    refuse = {"refuses": "PolicyViolation", "culprit": "coordinator"}
    assert verdict("failure-below-policy-cohort", InProcess(lambda _: refuse)) is Verdict.FAILED


def test_a_case_that_needs_more_is_left_out_and_a_run_of_such_cases_is_not_good() -> None:
    judged = list(judge(cases(), InProcess(), frozenset(), {}))  # type: ignore[arg-type]
    assert {one.verdict for one in judged} == {Verdict.LEFT_OUT}
    assert not Report(DESCRIBED, judged).good
    assert len({one.case.number for one in judged}) == len(judged)


def ends(wrong: bool) -> Case:
    def play(_: Programs) -> None:
        if wrong:
            raise Unlike("planted <&>\x00")

    return Case("case-wrong" if wrong else "case-right", "planted", "C1", frozenset(), play)


@pytest.mark.parametrize(
    ("wrong", "listed", "verdict", "good", "color"),
    [
        (False, False, Verdict.PASSED, True, "brightgreen"),
        (True, False, Verdict.FAILED, False, "red"),
        (True, True, Verdict.EXPECTED, True, "yellow"),
        (False, True, Verdict.UNEXPECTED, False, "red"),
    ],
)
def test_the_list_of_expected_failures_is_strict(
    *, wrong: bool, listed: bool, verdict: Verdict, good: bool, color: str
) -> None:
    case = ends(wrong)
    other = Case("case-other", "planted", "", frozenset(), lambda _: None)
    reasons = {case.number: "known"} if listed else {}
    report = Report(DESCRIBED, list(judge([case, other], InProcess(), frozenset(), reasons)))  # type: ignore[arg-type]
    assert report.judged[0].verdict is verdict
    assert (report.good, report.as_json()["good"]) == (good, good)
    assert report.as_badge(date(2026, 1, 2))["color"] == color
    assert "2026-01-02" in report.as_badge(date(2026, 1, 2))["message"]
    assert ("<failure" in report.as_junit()) is not good
    assert "\x00" not in report.as_junit()


@pytest.mark.parametrize("line", ["case-3 known", "case-1 known\ncase-1 known", "case-1"])
def test_a_wrong_line_of_the_list_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# a comment\n\ncase-2 slow\n" + line)
    with pytest.raises(ConfigError, match="list, line"):
        expected.read(tmp_path / "list", {"case-1", "case-2"})


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"sends": 1}',
        b'{"sends": [{"type": "x"}]}',
        b'{"sends": [{"type": "x", "parts": ["0"]}]}',
        b'{"sends": [], "refuses": "x"}',
        b'{"refuses": 1}',
        b'{"refuses": "x", "culprit": ""}',
        b'{"believes": false}',
        b'{"believes": true, "sums": [1]}',
        b'{"believes": true, "sums": ["-1"]}',
        b'{"believes": true, "sums": ["111111111111111111111"]}',
    ],
)
def test_an_answer_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(DecodeError):
        lines.read_answer(lines.read(line))


def test_answers_are_read() -> None:
    sent = {"type": "x", "parts": ["0A"]}
    assert lines.read_answer({"sends": [sent]}) == Sends(({"type": "x", "parts": ["0a"]},))
    assert lines.read_answer({"refuses": "x"}) == Refuses("x", None)
    assert lines.read_answer({"believes": True, "sums": ["7"]}) == Believes((7,))
    with pytest.raises(Unlike, match="culprit nobody; the specification says: refused with x, culprit y"):
        refused_as(Refuses("x", None), "x", "y")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("print('no', flush=True); sys.stdin.readline()", "no JSON"),
        ("sys.stdin.readline()", "no answer in time"),
    ],
)
def test_a_program_that_gives_no_answer_is_told(code: str, text: str) -> None:
    command = [sys.executable, "-c", DESCRIBES + code]
    with Program(command, limit_s=0.1 if "time" in text else 60.0) as program:
        assert program.describe().name == "planted"
        with pytest.raises(RemoteError, match=text):
            program.ask({"do": "join"})


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot be started"):
        Program(["/nonexistent/program"])
