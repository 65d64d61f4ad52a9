"""`secagg demo`, short: real processes, real TLS, real dropouts."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROUNDS = 3
PARTICIPANTS = 10
PHASES = {"AdvertiseKeys", "ShareKeys", "MaskedInput", "ConsistencyCheck", "Unmask"}


@dataclass(frozen=True)
class Demo:
    document: dict[str, Any]
    report: str
    progress: str
    temporary: Path

    @property
    def rounds(self) -> list[dict[str, Any]]:
        rounds: list[dict[str, Any]] = self.document["rounds"]
        return rounds

    @property
    def dropouts(self) -> list[dict[str, Any]]:
        return [dropped for played in self.rounds for dropped in played["dropped"]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return played(tmp_path_factory)


def played(tmp_path_factory: pytest.TempPathFactory, *options: str) -> Demo:
    page, temporary = tmp_path_factory.mktemp("page") / "page.html", tmp_path_factory.mktemp("demo")
    command = ["-c", "from secagg.cli.main import main; main()", "demo", "--rounds", str(ROUNDS), "--json", *options]
    done = subprocess.run(
        [sys.executable, *command, "--report", str(page)],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert done.returncode == 0, done.stderr
    return Demo(json.loads(done.stdout), page.read_text(), done.stderr, temporary)


def test_somebody_drops_in_every_round_and_in_every_phase(demo: Demo) -> None:
    assert len(demo.rounds) == ROUNDS
    assert all(played["dropped"] for played in demo.rounds)
    assert {dropped["phase"] for dropped in demo.dropouts} == PHASES
    assert "half-way through the upload" in {dropped["moment"] for dropped in demo.dropouts}


def test_who_drops_after_its_masked_input_is_in_the_sum_and_nobody_else(demo: Demo) -> None:
    for played in demo.rounds:
        for dropped in played["dropped"]:
            after_input = dropped["phase"] in {"ConsistencyCheck", "Unmask"}
            assert dropped["in_sum"] is after_input
            assert (dropped["participant"] in played["survivors"]) is after_input
    assert any(dropped["in_sum"] for dropped in demo.dropouts)


def test_nobody_is_missed_but_who_dropped_out(demo: Demo) -> None:
    names = set(demo.document["sites"])
    for played in demo.rounds:
        dropped = {each["participant"] for each in played["dropped"] if not each["in_sum"]}
        assert set(played["survivors"]) == names - dropped


def test_every_aggregate_is_the_plain_mean_to_within_rounding(demo: Demo) -> None:
    assert demo.document["ok"] is True
    for played in demo.rounds:
        assert played["within_bound"] is True
        assert 0 < played["largest_difference"] <= played["error_bound"] < 1e-3


def test_the_last_round_counts_every_image(demo: Demo) -> None:
    sites = demo.document["sites"].values()
    have = [sum(site["labels"][label] for site in sites) for label in range(10)]
    assert demo.document["counted"]["counts"] == have
    assert demo.document["counted"]["survivors"] == PARTICIPANTS


def test_the_model_learns_as_in_plain_text(demo: Demo) -> None:
    last = demo.rounds[-1]
    assert demo.document["accuracy_before"] < 0.3
    assert last["accuracy_secure"] > 0.7
    assert abs(last["accuracy_secure"] - last["accuracy_plain"]) < 0.02


def test_bytes_are_told_for_every_participant(demo: Demo) -> None:
    masked = demo.document["view"]["sent"]["bytes"]
    for played in demo.rounds:
        assert len(played["traffic"]) == PARTICIPANTS
        gone = {dropped["participant"] for dropped in played["dropped"]}
        for name, traffic in played["traffic"].items():
            assert (traffic["down"] is None) is (name in gone)
            if name not in gone:
                assert masked < traffic["up"] < masked + 4000
                assert traffic["down"] > masked


def test_an_upload_that_broke_off_sent_about_half(demo: Demo) -> None:
    masked = demo.document["view"]["sent"]["bytes"]
    for played in demo.rounds:
        for dropped in played["dropped"]:
            if dropped["moment"] == "half-way through the upload":
                whole = next(t["up"] for t in played["traffic"].values() if t["down"] is not None)
                sent = played["traffic"][dropped["participant"]]["up"]
                assert masked / 2 < sent < whole - masked / 3


def test_what_the_coordinator_saw_says_nothing_of_the_update(demo: Demo) -> None:
    view = demo.document["view"]
    assert view["sent"]["bytes"] == view["plain"]["bytes"]
    assert view["plain"]["correlation"] > 0.99
    assert abs(view["sent"]["correlation"]) < 0.12  # 2,410 values: six standard deviations
    assert view["plain"]["chi_square_p"] < 1e-6 < view["sent"]["chi_square_p"]
    assert view["sent"]["entropy_bits"] > 7.9 > view["plain"]["entropy_bits"]


def test_the_report_is_one_page_that_needs_nothing_else(demo: Demo) -> None:
    assert demo.report.startswith("<!doctype html>")
    assert demo.report.count("data:image/png;base64,") == 3
    assert demo.report.count("<svg") >= 6
    assert not re.findall(r"(?:src|href)=\"(?!data:)", demo.report)
    assert "http" not in demo.report
    for played in demo.rounds:
        assert f"{played['largest_difference']:.2e}" in demo.report
    for heading in ("Protected", "Not protected", "Who dropped out where", "Bytes of each participant"):
        assert heading in demo.report


def test_every_scheme_gives_the_same_aggregate_of_the_same_updates(demo: Demo) -> None:
    compared = demo.document["side_by_side"]
    assert [played["scheme"] for played in compared] == ["masked", "ckks", "bfv"]
    assert [played["threat_model"] for played in compared] == ["active", "semi_honest", "semi_honest"]
    assert demo.document["same_aggregate"] is True
    assert len({played["sums_sha256"] for played in compared}) == 1
    assert all(played["exact"] and played["survivors"] == PARTICIPANTS for played in compared)
    masked, *encrypted = compared
    assert all(played["up"] > masked["up"] > 6000 for played in encrypted)  # a whole ciphertext for few values
    assert all(played["seconds"] > 0 for played in compared)
    assert "the same aggregate, bit for bit" in demo.report
    for played in compared:
        assert f"{played['up']:,} up" in demo.report


def test_progress_is_on_stderr(demo: Demo) -> None:
    assert "Round 1: MaskedInput" in demo.progress


def test_nothing_is_left_behind(demo: Demo) -> None:
    assert list(demo.temporary.iterdir()) == []
    assert [line for line in command_lines() if b"demo.participant" in line and bytes(demo.temporary) in line] == []


def test_encrypted_updates_instead_of_masked_ones(tmp_path_factory: pytest.TempPathFactory) -> None:
    demo = played(tmp_path_factory, "--scheme", "bfv", "--participants", "5")
    assert demo.document["ok"] is True
    assert demo.document["scheme"] == "bfv"
    phases = {dropped["phase"] for dropped in demo.dropouts}
    assert phases == {"AdvertiseKeys", "ShareKeys", "ConfirmKey", "EncryptedInput", "ReportSum", "ReleaseSum"}
    for dropped in demo.dropouts:
        assert dropped["in_sum"] is (dropped["phase"] in {"ReportSum", "ReleaseSum"})
    view = demo.document["view"]
    assert abs(view["sent"]["correlation"]) < 0.12
    assert view["sent"]["entropy_bits"] > 7.9
    assert "A coordinator that a single participant helps" in demo.report


def command_lines() -> Iterator[bytes]:
    """Of every process on this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # ended meanwhile
            yield path.read_bytes()
