"""`secagg conformance`: a good program passes, and every way of being wrong is told."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from secagg import __version__
from secagg.cli.main import main
from secagg.errors import ConfigError, DecodeError, RemoteError
from secagg.tools.runner import adapter, expected, lines
from secagg.tools.runner import program as programs
from secagg.tools.runner.cases import Case, Programs, Unlike, Verdict, judge, refused_as
from secagg.tools.runner.every import cases
from secagg.tools.runner.from_vectors import _bound
from secagg.tools.runner.lines import Believes, Description, Feature, Refuses, Saves, Sends, Signs
from secagg.tools.runner.live import LiveRound, round_of
from secagg.tools.runner.program import Program
from secagg.tools.runner.report import Report

PAGE = (Path(__file__).parents[2] / "docs/conformance.md").read_text()
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

        self.described = Description("planted", "1", frozenset(Feature))

    def take(self, count: int) -> list["InProcess"]:
        return [self, *(InProcess() for _ in range(1, count))]

    def restart(self) -> None:
        self._adapter = adapter.Adapter()

    def ask(self, request: dict[str, Any]) -> lines.Answer:
        return lines.read_answer(self._spoil(self._adapter.answer(request)))


@lru_cache
def every() -> dict[str, Case]:
    return {case.number: case for case in cases()}


def verdict(number: str, processes: Any) -> Verdict:
    [judged] = judge([every()[number]], processes, frozenset(Feature), {})
    return judged.verdict


SOME = ["round-active/dahlia", "failure-signer-no-survivor", "failure-below-policy-cohort", "failure-aggregate-altered"]
SOME += ["failure-certified-by-dropped", "failure-receipt-of-another-sum", "lie-aggregate-altered", "lie-two-rosters"]
SOME += ["lie-one-signer-counts-for-all", "lie-sparse-signer-outside", "lie-asked-for-the-other-share"]
LIVE = ["live-active/5", "live-integers-active-sparse/1", "live-group-semi-honest/5", "live-noise/1", "live-result"]
LIVE += ["live-result-integers", "live-signed-by-the-committee", "live-certified", "live-chain-of-two", "endings"]
LIVE += ["live-fresh-active", "lie-group-of-another", "live-moved-active-sparse", "live-moved-active-model-later"]


@pytest.mark.parametrize("number", SOME + LIVE)
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
    needy = [case for case in every().values() if case.needs]
    judged = list(judge(needy, InProcess(), frozenset(), {}))  # type: ignore[arg-type]
    assert {one.verdict for one in judged} == {Verdict.LEFT_OUT}
    assert not Report(DESCRIBED, judged).good
    assert len({one.case.number for one in judged}) == len(judged)


def spoils(kind: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Changes the answers that send a message of that kind."""

    def spoil(answer: dict[str, Any]) -> dict[str, Any]:
        sent = [message["type"] for message in answer.get("sends", [])]
        return change(answer) if kind in sent else answer

    return spoil


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        ("AdvertiseKeys", lambda _: {"refuses": "PolicyViolation"}, "after the offer: refused with PolicyViolation"),
        ("ShareKeys", lambda _: {"sends": []}, "after roster: sent nothing; due: ShareKeys"),
        ("ShareKeys", lambda _: {"believes": True}, "after roster: believed it; the message was honest"),
        ("ShareKeys", lambda _: {"saves": "00"}, "after roster: gave its state away; the message was honest"),
        (
            "AdvertiseKeys",
            lambda _: {"sends": [{"type": "AdvertiseKeys", "parts": []}]},
            "the coordinator refuses dahlia/advertise-keys: 0 parts where one AdvertiseKeys belongs",
        ),
    ],
)
def test_a_live_round_tells_what_went_wrong(kind: str, change: Callable[[Any], Any], text: str) -> None:
    case = every()["live-semi-honest/1"]
    [judged] = judge([case], InProcess(spoils(kind, change)), frozenset(Feature), {})  # type: ignore[arg-type]
    assert judged.verdict is Verdict.FAILED
    assert text in judged.text


class Noting(InProcess):
    """Two places that note what each was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    @cached_property
    def other(self) -> "Noting":
        return Noting()

    def take(self, count: int) -> list[InProcess]:
        places: list[InProcess] = [self, self.other]
        return places[:count]

    def ask(self, request: dict[str, Any]) -> lines.Answer:
        self.asked.append(request["do"])
        return super().ask(request)


def test_a_moved_round_goes_from_process_to_process() -> None:
    places = Noting()
    every()["live-moved-active"].play(places)  # type: ignore[arg-type]
    assert places.asked == ["join", "save", "restore", "receive", "save", "restore", "receive"]
    assert places.other.asked == ["restore", "receive", "save", "restore", "receive", "save"]


def test_who_cannot_round_as_it_is_told_may_be_off_by_one_and_no_more() -> None:
    live = LiveRound("round-semi-honest", round_of("round-semi-honest"), {"dahlia": InProcess()})  # type: ignore[dict-item]
    live.go()
    sums = live.coordinator.aggregate.sums  # type: ignore[union-attr]
    live.check_sum()
    sums[0] += 1
    with pytest.raises(
        Unlike, match="1 values of the sum differ from those that the updates have, the first one at place 0"
    ):
        live.check_sum()
    live.programs["dahlia"].described = replace(DESCRIBED, features=frozenset())  # type: ignore[misc]
    live.check_sum()
    sums[0] -= 2
    live.check_sum()
    sums[0] -= 1
    with pytest.raises(Unlike, match="at place 0"):
        live.check_sum()
    sums[0] += 2
    sums[-1] += 1  # the weights are whole numbers
    with pytest.raises(Unlike, match="at place 10"):
        live.check_sum()


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
        b'{"refuses": "InternalError", "text": "out of memory"}',
        b'{"believes": true, "certified": 1}',
        b'{"believes": true, "certified": null}',
        b'{"signs": "0"}',
        b'{"signs": "00", "sends": []}',
        b'{"saves": "0"}',
        b'{"saves": "00", "sends": []}',
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
    assert lines.read_answer({"saves": "0A"}) == Saves("0a")
    assert lines.read_answer({"refuses": "x"}) == Refuses("x", None)
    assert lines.read_answer({"believes": True, "sums": ["7"]}) == Believes((7,))
    assert lines.read_answer({"believes": True, "certified": False}) == Believes(None, certified=False)
    assert lines.read_answer({"signs": ""}) == Signs("")
    with pytest.raises(Unlike, match="culprit nobody; the specification says: refused with x, culprit y"):
        refused_as(Refuses("x", None), "x", "y")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("print('no', flush=True); sys.stdin.readline()", "no JSON"),
        ("sys.stdin.readline()", "no answer in time"),
        ("print('x' * 2000, flush=True); sys.stdin.readline()", "more than 1000 bytes"),
    ],
)
def test_a_program_that_gives_no_answer_is_told(code: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MAX_LINE", 1000)
    command = [sys.executable, "-c", DESCRIBES + code]
    with Program(command, limit_s=0.1 if "time" in text else 60.0) as program:
        assert program.describe().name == "planted"
        with pytest.raises(RemoteError, match=text):
            program.ask({"do": "join"})


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot be started"):
        Program(["/nonexistent/program"])


def test_a_program_that_does_not_read_is_told() -> None:
    code = DESCRIBES.removesuffix("sys.stdin.readline()\n") + "import time; time.sleep(600)"
    with Program([sys.executable, "-c", code], limit_s=0.1) as program:
        program.describe()
        with pytest.raises(RemoteError, match="did not read its input in time"):
            program.ask({"do": "join", "update": "0" * 10_000_000})


def test_a_second_line_is_no_answer_to_the_next_request() -> None:
    code = DESCRIBES + """print('{"sends": []}\\n{"sends": []}', flush=True); sys.stdin.readline()"""
    with Program([sys.executable, "-c", code]) as program:
        program.describe()
        program.ask({"do": "join"})
        with pytest.raises(RemoteError, match="more than one line"):
            program.ask({"do": "join"})


def test_a_case_needs_what_its_configuration_speaks_of_even_where_it_is_refused() -> None:
    needs = {number: case.needs for number, case in every().items()}
    assert Feature.HOMOMORPHIC in needs["failure-unsafe-joint-collusion"]
    assert Feature.PIPELINE in needs["round-semi-honest-model-later/elm"]
    assert needs["live-integers-active-sparse/1"] == {Feature.INTEGERS, Feature.SIGNED, Feature.RING}
    assert needs["live-group-semi-honest/1"] == {Feature.GROUPS}
    assert needs["live-semi-honest/1"] == frozenset()
    assert Feature.AEGIS in needs["round-aegis/elm"]


CONFIG = round_of("round-active")["config"]
OFFERS = {
    "allowed": {"config": CONFIG, "policy": {}, "taken": True},
    "forbidden": {"config": CONFIG, "policy": {"min_cohort": 100}, "taken": False},
    "malformed": {"config": CONFIG[:-2], "error": "DecodeError"},
    "unsafe": {"config": CONFIG + "2801", "error": "ProtocolViolation"},  # a threshold of 1
}


@pytest.mark.parametrize("title", OFFERS)
def test_offers_under_a_policy_and_at_a_bound_are_judged(title: str) -> None:
    case = OFFERS[title] | {"title": title}
    _bound(case, InProcess())  # type: ignore[arg-type]
    other = {"refuses": "PolicyViolation", "culprit": "somebody"}
    with pytest.raises(Unlike):
        _bound(case, InProcess(lambda _: other))  # type: ignore[arg-type]


ENDS_ONCE = """
import pathlib
request = json.loads(sys.stdin.readline())
once = pathlib.Path(sys.argv[1])
if not once.exists():
    once.touch()
    sys.exit(3)
print('{"sends": []}', flush=True)
sys.stdin.readline()
"""


def test_a_program_that_ended_is_started_anew_for_the_next_case(tmp_path: Path) -> None:
    def play(processes: Programs) -> None:
        [program] = processes.take(1)
        assert program.ask({"do": "join"}) == Sends(())

    code = DESCRIBES.removesuffix("sys.stdin.readline()\n") + ENDS_ONCE
    two = [Case(f"case-{number}", "planted", "", frozenset(), play) for number in (1, 2)]
    with Programs([sys.executable, "-c", code, str(tmp_path / "once")]) as processes:
        first, second = judge(two, processes, frozenset(), {})
    assert (first.verdict, first.text) == (Verdict.FAILED, "the program ended with exit code 3")
    assert second.verdict is Verdict.PASSED


def conformance(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["conformance", *arguments])
    return int(ended.value.code or 0)


def test_self_writes_every_form_of_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit, badge = tmp_path / "junit.xml", tmp_path / "badge.json"
    files = ["--junit", str(junit), "--badge", str(badge)]
    assert conformance("self", "--only", "failure-certified", "--json", *files) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["good"], told["program"]["name"], told["program"]["release"]) == (True, "secagg", __version__)
    passed = told["counts"]["passed"]
    assert passed == len(told["cases"]) > 1
    suite = ElementTree.parse(junit).getroot()  # noqa: S314 our own file
    assert [suite.get(key) for key in ("tests", "failures", "skipped")] == [str(passed), "0", "0"]
    assert {case.get("name") for case in suite} == {case["number"] for case in told["cases"]}
    shown = json.loads(badge.read_text())
    assert shown["schemaVersion"] == 1
    assert shown["message"].startswith(f"{passed} of {passed}, {__version__}, 2")


REFUSES_ALL = DESCRIBES.removesuffix("sys.stdin.readline()\n").replace("[]", '["replay", "signed"]') + (
    """for _ in sys.stdin: print('{"refuses": "PolicyViolation", "culprit": "coordinator"}', flush=True)"""
)


def test_a_program_that_fails_gives_1_and_one_that_is_not_judged_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = ["--", sys.executable, "-c", REFUSES_ALL]
    only = ["participant", "--only", "failure-below-policy-cohort"]
    assert conformance(*only, *program) == 1
    told = capsys.readouterr().out
    assert "failure-below-policy-cohort" in told
    assert "planted 1: 1 failed" in told
    assert conformance("participant", "--only", "live-active/1", "--", sys.executable, "-c", DESCRIBES) == 1
    assert "left out, needs signed: 1" in capsys.readouterr().out
    (tmp_path / "known").write_text("failure-below-policy-cohort it refuses all\n")
    assert conformance(*only, "--expected", str(tmp_path / "known"), *program) == 1  # nothing passed
    (tmp_path / "known").write_text("failure-below the whole family\n")
    assert conformance(*only, "--expected", str(tmp_path / "known"), *program) == 2
    assert conformance("participant", "--only", "nothing-is-called-so", *program) == 2
    assert conformance("participant", "--", "/nonexistent/program") == 2
    assert "cannot be started" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["participant", "self"])
def test_the_help_names_every_file_that_is_written(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert conformance(command, "--help") == 0
    told = capsys.readouterr().out
    assert all(option in told for option in ("--junit", "--badge", "--json", "--only"))


def test_the_page_has_every_feature_limit_and_request() -> None:
    table = PAGE[PAGE.index("| Feature |") : PAGE.index("### `join`")]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == {feature.value for feature in Feature}
    asked = set(re.findall(r"`([a-z]+)`", "".join(re.findall("^### .*", PAGE, re.MULTILINE))))
    ends = {"receipt", "certify", "aggregate"}
    assert asked == {"describe", "join", "receive", "participate", "save", "restore"} | ends
    assert f"at most {lines.MAX_LINE >> 20} MiB" in PAGE
    assert f"may take {programs.LIMIT_S:.0f} seconds" in PAGE
    assert programs.START_S == 120  # "the first may take\ntwo minutes"
    assert f'`"describe"`, and {lines.VERSION}, the version' in PAGE
