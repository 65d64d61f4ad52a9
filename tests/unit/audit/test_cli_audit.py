"""`secagg audit` shows, verifies and exports a log, and reports who took part in what."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from secagg.audit import entries
from secagg.cli.main import build
from secagg.errors import AuditError, ConfigError
from secagg.programs.audit import pages, reading, showing, taking_part
from secagg.programs.audit.kinds import FACTS, KINDS, OF_ROUND
from secagg.programs.audit.log import Draft
from secagg.programs.audit.verifying import verify_files
from tests.auditing import Deployment

MODEL = "5" * 64


def _released(deployment: Deployment, number: int, survivors: str, **facts: Any) -> Draft:
    about = {"task": "digits", "model": MODEL, "purpose": "train", "noise": False, "cost": {}, "known_to": []}
    digests = {"sums_digest": "e" * 64, "receipt": "f" * 64}
    round_id = f"{number:032x}"
    place = {"round": round_id, "step": 7, "survivors": sorted(survivors)}
    return Draft("sum_released", deployment.now + number, {**about, **digests, **place, **facts})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder, and a CA beside it."""
    deployment, folder = Deployment(), tmp_path_factory.mktemp("site")
    log = deployment.log(folder / "state" / "audit")
    log.write([deployment.joined("anna", 1), deployment.joined("bert", 2, "cd" * 16)])
    log.write([_released(deployment, 1, "abcd"), _released(deployment, 2, "abc")], sign=True)
    failed = {"reason": "INTERNAL", "detail": "x\x1b[31m", "culprits": [], "accused": [], "known": True}
    about = {"task": "digits", "model": "6" * 64, "purpose": "metrics", "noise": True, "survivors": ["b", "c", "e"]}
    log.write(
        [Draft("round_failed", deployment.now + 5, {**failed, **about, "round": "ef" * 16, "step": 3})], sign=True
    )
    deployment.now += 7 * 86_400
    log.write([deployment.joined("late", 9)])
    (folder / "ca.pem").write_bytes(deployment.trust.pem)
    return folder


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(build(["audit"]), ["audit", *arguments])


def _said(*arguments: str) -> str:
    result = _run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_show_prints_an_entry_a_line(site: Path) -> None:
    lines = _said("show", str(site / "state")).splitlines()
    assert len(lines) == 10
    assert "joined" in lines[2]
    assert "round abababababab  participant: anna" in lines[2]
    assert "survivors: a, b, c, d" in lines[4]
    assert "\x1b" not in "".join(lines)
    assert "detail: x?[31m" in lines[7]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--round", "CD"], [4]),
        (["--participant", "a"], [5, 6]),
        (["--participant", "anna"], [3]),
        (["--kind", "joined", "--kind", "round_failed"], [3, 4, 8, 10]),
        (["--since", "2027-01-20"], [10]),
        (["--kind", "joined", "--round", "ab", "--since", "2027-01-15T08:00:00Z"], [3, 10]),
    ],
)
def test_show_chooses(site: Path, options: list[str], numbers: list[int]) -> None:
    said = [json.loads(line) for line in _said("show", str(site / "state"), "--json", *options).splitlines()]
    assert [each["number"] for each in said] == numbers


def test_with_json_the_line_of_the_log_is_printed(site: Path) -> None:
    printed = _said("show", str(site / "state" / "audit"), "--json").splitlines()
    assert [line.encode() for line in printed] == [line.text for line in reading.lines(site / "state" / "audit")]


@pytest.mark.parametrize("options", [["--kind", "nonsense"], ["--since", "yesterday"]])
def test_a_choice_that_is_none_is_refused(site: Path, options: list[str]) -> None:
    assert isinstance(_run("show", str(site / "state"), *options).exception, ConfigError)


def test_verify_says_that_a_log_is_whole(site: Path) -> None:
    said = _said("verify", str(site / "state"), "--ca", str(site / "ca.pem"), "--coordinator", "coordinator.example")
    assert said.splitlines()[-1] == "the log is whole"
    assert "entries 1 to 10, 3 checkpoints of coordinator.example" in said
    assert "not signed yet: 1 behind the last checkpoint" in said


def test_verify_names_what_is_wrong(site: Path, tmp_path: Path) -> None:
    content = (site / "state" / "audit" / reading.segment_name(1)).read_bytes()
    (tmp_path / reading.HEAD).write_bytes((site / "state" / "audit" / reading.HEAD).read_bytes())
    (tmp_path / reading.segment_name(1)).write_bytes(content.replace(b"anna", b"emil"))
    result = _run("verify", str(tmp_path), "--ca", str(site / "ca.pem"))
    assert result.exit_code == 1
    assert "WRONG: entry 3 was changed, or entry 4 does not belong there" in result.output
    told = json.loads(_run("verify", str(tmp_path), "--ca", str(site / "ca.pem"), "--json").output)
    assert (told["whole"], told["damages"][0]["entry"]) == (False, 4)


def test_verify_holds_the_log_against_a_head(site: Path) -> None:
    head = json.loads(_said("verify", str(site / "state"), "--ca", str(site / "ca.pem"), "--json"))["head"]
    _said("verify", str(site / "state"), "--ca", str(site / "ca.pem"), "--head", head)
    later = f"99:{'0' * 64}"
    result = _run("verify", str(site / "state"), "--ca", str(site / "ca.pem"), "--head", head, "--head", later)
    assert result.exit_code == 1
    assert "entries 11 to 99 are missing" in result.output


def test_an_export_is_verified_alone(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit.jsonl"
    said = _said("export", str(site / "state"), "--out", str(out))
    head = said.removeprefix("head ").strip()
    assert out.read_bytes().count(b"\n") == 9  # what is not signed yet is left out
    _said("verify", str(out), "--ca", str(site / "ca.pem"), "--head", head)
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:7]))
    assert _run("verify", str(out), "--ca", str(site / "ca.pem")).exit_code == 0
    assert _run("verify", str(out), "--ca", str(site / "ca.pem"), "--head", head).exit_code == 1


def test_a_part_of_a_log_is_not_exported_as_a_log(site: Path, tmp_path: Path) -> None:
    result = _run("export", str(site / "state"), "--out", str(tmp_path / "x"), "--kind", "joined")
    assert isinstance(result.exception, ConfigError)


def test_a_log_without_a_checkpoint_is_not_exported(tmp_path: Path) -> None:
    line, _ = entries.write("joined", 1, {}, entries.BEGINNING)
    (tmp_path / reading.segment_name(1)).write_bytes(line + b"\n")
    result = _run("export", str(tmp_path), "--out", str(tmp_path / "x"))
    assert isinstance(result.exception, AuditError)


def test_the_page_of_a_log_escapes_and_tells_the_verdict(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "log.html"
    _said("export", str(site / "state"), "--html", "--out", str(out), "--ca", str(site / "ca.pem"), "--kind", "joined")
    page = out.read_text()
    assert "✓ whole" in page
    assert "Chosen: kind joined." in page
    assert page.count("<tr>") == 4
    assert "not verified" not in page
    _said("export", str(site / "state"), "--html", "--out", str(out))
    assert "not verified" in out.read_text()


def test_a_page_has_the_latest_entries_and_says_so(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_ENTRIES", 2)
    log = list(showing.chosen(reading.lines(site / "state" / "audit"), showing.Choice()))
    page = pages.log_page(log, None, about="All.")
    assert "8 earlier ones are left out" in page
    hostile = entries.read(entries.write("joined", 1, {"participant": "<script>"}, entries.BEGINNING)[0])
    assert "<script>" not in pages.log_page([hostile], None, about="<script>")


def test_the_report_names_whom_sums_show_alone(site: Path, tmp_path: Path) -> None:
    told = json.loads(_said("participation", str(site / "state"), "--json", "--ca", str(site / "ca.pem")))
    assert told["verified"]["whole"]
    [model] = told["models"]
    assert (model["model"], model["singled_out"]) == (MODEL, ["d"])
    [task] = told["tasks"]
    assert (task["sums"], task["unreleased"], task["noisy"], task["rank"]) == (3, 1, 1, 3)
    assert told["models_of_one_cohort"] == 1
    text = _said("participation", str(site / "state"))
    assert "1 shown alone by 2 sums: d" in text
    assert "not verified" in text
    assert "What this does not say:" in text
    out = tmp_path / "report.html"
    _said("participation", str(site / "state"), "--html", str(out))
    assert "one participant alone" in out.read_text()
    assert taking_part.CAVEATS[1][:40] in out.read_text()


def test_the_report_is_about_one_task_if_asked(site: Path) -> None:
    told = json.loads(_said("participation", str(site / "state"), "--json", "--task", "elsewhere"))
    assert told["tasks"] == told["models"] == []


def test_a_round_that_ended_twice_has_one_sum(tmp_path: Path) -> None:
    """A crash may leave an end that nobody was told of before the one that everybody was told of."""
    deployment = Deployment()
    log = deployment.log(tmp_path)
    log.write([_released(deployment, 1, "abc"), _released(deployment, 1, "abc"), _released(deployment, 2, "abd")])
    found = taking_part.report(showing.chosen(reading.lines(tmp_path), showing.Choice()))
    assert found.tasks[0].found.sums == 2


@pytest.mark.parametrize("spoilt", [{"survivors": "abc"}, {"survivors": []}, {"survivors": [1]}, {"task": 7}])
def test_a_sum_without_survivors_is_no_sum(tmp_path: Path, spoilt: dict[str, Any]) -> None:
    deployment = Deployment()
    line, _ = entries.write("sum_released", 1, {**_released(deployment, 1, "abc").facts, **spoilt}, entries.BEGINNING)
    with pytest.raises(AuditError, match="does not say whose sum"):
        taking_part.report([entries.read(line)])


def test_the_reference_has_each_fact() -> None:
    used = {fact for kind in KINDS.values() for fact in (*kind.facts, *kind.optional)} | {*OF_ROUND}
    assert used == FACTS.keys()


def test_a_log_may_lie_anywhere(site: Path, tmp_path: Path) -> None:
    assert isinstance(_run("show", str(tmp_path)).exception, ConfigError)
    assert verify_files(site / "state" / "audit", Deployment().trust).whole is False


def test_a_log_of_somebody_else_commands_no_terminal(tmp_path: Path) -> None:
    """Whatever stands in it: kinds, names of facts and ids, too."""
    bad = "x\x1b[2J\u202e"
    line, _ = entries.write(bad, 1, {"round": bad, bad: {bad: [bad]}, "detail": "\ud800"}, entries.BEGINNING)
    (tmp_path / "audit.jsonl").write_bytes(line + b"\n")
    shown = _run("show", str(tmp_path / "audit.jsonl"))
    assert shown.exit_code == 0
    assert shown.output.isascii()
    assert shown.output.rstrip("\n").isprintable()


def test_nothing_is_written_over_the_log_that_it_is_made_of(tmp_path: Path) -> None:
    deployment = Deployment()
    log = deployment.log(tmp_path / "state" / "audit")
    log.write([_released(deployment, 1, "abc")], sign=True)
    exported, audit = tmp_path / "audit.jsonl", tmp_path / "state" / "audit"
    assert _run("export", str(tmp_path / "state"), "--out", str(exported)).exit_code == 0
    (tmp_path / "link").symlink_to(audit / "head")
    before = {path: path.read_bytes() for path in (exported, *audit.iterdir())}
    for where, out in ((exported, exported), *((tmp_path / "state", path) for path in audit.iterdir())):
        for arguments in (["export", "--out"], ["export", "--html", "--out"], ["participation", "--html"]):
            refused = _run(arguments[0], str(where), *arguments[1:], str(out))
            assert isinstance(refused.exception, ConfigError), arguments
            assert "belongs to the log itself" in str(refused.exception)
    assert isinstance(_run("export", str(audit), "--out", str(tmp_path / "link")).exception, ConfigError)
    assert {path: path.read_bytes() for path in before} == before


def test_the_coordinator_that_is_named_must_have_signed(site: Path) -> None:
    verify = ("verify", str(site / "state"), "--ca", str(site / "ca.pem"), "--coordinator")
    _said(*verify, "coordinator.example")
    result = _run(*verify, "another.example")
    assert result.exit_code == 1
    assert "is signed by coordinator.example, not by another.example" in result.output
