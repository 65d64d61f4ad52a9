"""What privacy costs in accuracy: the data, the training through real codes, what is tried, and the page."""

import json
import re
import sys
from dataclasses import replace
from html import unescape
from math import inf, sqrt
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from secagg.cli.main import main
from secagg.encoding.code import Code
from secagg.encoding.pipeline import Pipeline
from secagg.errors import ConfigError, MissingExtraError
from secagg.privacy.finder import Task, describe
from secagg.tools.bench import accuracy
from secagg.tools.bench.accuracy import SETTINGS, Setting, compressed_trials, trials_of
from secagg.tools.bench.accuracy_page import render
from secagg.tools.bench.accuracy_results import LARGEST_RATIO, AccuracyResult, Outcome, Study, Trial
from secagg.tools.bench.federation import Schedule, code_of, cohort_of, train
from secagg.tools.bench.learning import Clients, DataSet, share_out
from secagg.tools.commands.bench import app

TINY = {
    DataSet.DIGITS: Setting(
        participants=40,
        cohorts=(10,),
        schedule=Schedule(rounds=2, clip=1.0, server_step=2.0),
        few=5,
        compressed=Schedule(rounds=2, clip=1.0, server_step=2.0),
        range=0.1,
        budgets=(4,),
    ),
    DataSet.CANCER: replace(
        SETTINGS[DataSet.CANCER],
        participants=20,
        few=5,
        schedule=Schedule(2, 1.0, 2.0),
        compressed=Schedule(2, 1.0, 2.0),
    ),
}
SCHEDULE = Schedule(rounds=3, clip=1.0, server_step=2.0)
VALUES = 31 * 2


def text(pipeline: str) -> Code:
    return code_of(Pipeline.parse(pipeline), VALUES, 20)


@pytest.fixture(scope="module")
def clients() -> Clients:
    return share_out(DataSet.CANCER, 20, 1)


@pytest.mark.parametrize(("data_set", "records"), [(DataSet.DIGITS, 1797), (DataSet.CANCER, 569)])
def test_every_record_is_someones_or_the_tests_and_once(data_set: DataSet, records: int) -> None:
    shared = share_out(data_set, 100, 3)
    held = shared.shares > 0
    assert held.sum() + len(shared.test_labels) == records
    one = share_out(data_set, 1, 3)
    rows, known = (
        sorted(row.tobytes() for row in (*inputs, *shared.test_inputs))
        for inputs in (shared.inputs[held], one.inputs[0])
    )
    assert rows == known
    np.testing.assert_allclose(shared.shares.sum(axis=1), 1)
    assert (shared.targets.sum(axis=2) == held).all()
    assert {*held.sum(axis=1)} <= {held.sum() // 100, held.sum() // 100 + 1}


def test_updates_are_those_of_each_client_alone(clients: Clients) -> None:
    """Padding and company change nothing."""
    model = np.random.default_rng(2).normal(size=clients.model_shape)
    together = clients.updates(model)
    for number in (0, 19):
        own = clients.shares[number] > 0
        alone = Clients(
            clients.inputs[number : number + 1, own],
            clients.targets[number : number + 1, own],
            clients.shares[number : number + 1, own],
            clients.test_inputs,
            clients.test_labels,
        )
        np.testing.assert_allclose(alone.updates(model)[0], together[number], rtol=1e-12)


def test_more_clients_than_records_are_refused() -> None:
    with pytest.raises(ConfigError, match="456 records cannot be shared out among 500"):
        share_out(DataSet.CANCER, 500, 1)


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"'\.\[demo\]'"):
        share_out(DataSet.DIGITS, 10, 1)


def test_fine_values_train_as_plain_numbers_do(clients: Clients) -> None:
    """The decoded mean is that of the clipped updates, up to the step of 24 bits."""
    plain = train(clients, None, SCHEDULE, 5)
    fine = train(clients, text("clip(l2=1.0) | quantise(bits=24, range=1.0)"), SCHEDULE, 5)
    assert plain.error == 0
    assert 0 < fine.error < 2**-23
    assert fine.accuracy == plain.accuracy > 0.8


@pytest.mark.parametrize("law", ["skellam", "gaussian"])
def test_the_error_of_a_training_is_that_of_the_plan(clients: Clients, law: str) -> None:
    """So noise is drawn, wrapped, summed and decoded as the plan says."""
    code = text(f"clip(l2=1.0) | rotate | quantise(bits=16) | noise(law={law}, z=5.0)")
    measured = [train(clients, code, SCHEDULE, seed).error for seed in range(10)]
    plan = describe(Task(values=VALUES, cohort=cohort_of(20)), 5.0)
    assert sqrt(np.mean(np.square(measured))) == pytest.approx(plan.error, rel=0.1)


def test_a_training_can_be_repeated_and_its_seed_matters(clients: Clients) -> None:
    code = text("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=5.0)")
    first, again, other = (train(clients, code, SCHEDULE, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_feedback_is_carried_from_round_to_round(clients: Clients) -> None:
    """What one bit loses is not lost: over many rounds the model goes where the plain one does."""
    long = replace(SCHEDULE, rounds=20)
    found = {
        feedback: train(
            clients, text(f"{feedback}clip(l2=1.0) | sample(rate=0.1) | quantise(bits=8, range=0.5)"), long, 3
        )
        for feedback in ("", "feedback | ")
    }
    assert found["feedback | "].error < found[""].error


def test_every_combination_is_tried_or_refused_with_the_nearest() -> None:
    trials = [t for t in trials_of(DataSet.CANCER, SETTINGS[DataSet.CANCER]) if t.study is Study.BITS]
    asked = [(t.epsilon, t.bits) for t in trials if not t.instead_of and t.bits]
    assert asked == [(epsilon, bits) for epsilon in accuracy.EPSILONS for bits in accuracy.BITS]
    refused = {(t.epsilon, t.bits) for t in trials if t.refusal}
    assert (1.0, 8) in refused
    assert refused == {(t.epsilon, t.instead_of) for t in trials if t.instead_of}
    for trial in trials:
        assert bool(trial.pipeline) != bool(trial.refusal) or trial.bits == 0
        if trial.refusal:
            assert re.search(r"nearest possible|use \d+ bits", trial.refusal)
        if trial.pipeline:  # `bits` are those on the wire, with noise and without
            assert code_of(trial.pipeline, VALUES, trial.participants).ring_bits == trial.bits


@pytest.mark.parametrize("data_set", DataSet)
def test_compression_is_compared_at_equal_bytes(data_set: DataSet) -> None:
    setting = SETTINGS[data_set]
    values = {DataSet.DIGITS: 650, DataSet.CANCER: VALUES}[data_set]
    sizes: dict[int, list[int]] = {}
    pipelines = [t.pipeline for t in compressed_trials(data_set, setting) if t.pipeline]
    for pipeline in pipelines:
        code = code_of(pipeline, values, setting.few)
        sizes.setdefault(pipeline.bits, []).append(code.vector_len * code.ring_bits)
    full = max(max(bits) for bits in sizes.values())
    assert len(pipelines) == 2 * len(accuracy.VALUE_BITS) * (1 + len(setting.budgets))
    for number, budget in enumerate(setting.budgets, 1):
        for bits, found in sizes.items():
            coordinate = bits + (setting.few - 1).bit_length()
            assert full / budget - coordinate < found[number] <= full / budget


@pytest.fixture(scope="module")
def findings() -> AccuracyResult:
    seen: list[tuple[int, int, str]] = []
    found = accuracy.measure(TINY, 2, lambda *told: seen.append(told))
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][0] == seen[-1][1] == sum(len(o.accuracies) for o in found.outcomes)
    return found


def test_findings_are_for_programs_too(findings: AccuracyResult) -> None:
    document = json.loads(json.dumps(findings.as_json(), allow_nan=False))
    assert document["error_ratio_at_16_bits"].keys() == {"skellam", "gaussian"}
    assert len(document["outcomes"]) == len(findings.outcomes)
    for outcome in document["outcomes"]:
        if outcome["refusal"]:
            assert outcome["accuracy"] is None
        else:
            assert 0 <= outcome["accuracy"] <= 1
            assert outcome["upload_bytes"] > 0


def test_the_page_shows_everything_and_needs_nothing(findings: AccuracyResult) -> None:
    document = render(findings, "secagg bench privacy --accuracy")
    assert not re.search(r"<script|<link|https?:|url\(", document)
    drawn = unescape(document)
    for outcome in findings.outcomes:
        trial = outcome.trial
        assert (trial.refusal or (trial.pipeline.text if trial.pipeline else "plain")) in drawn
    assert document.count("<svg") == 2 + 1 + 1 + 4
    assert "ε = ∞" in drawn
    assert "secagg bench privacy --accuracy</code>" in document


def test_what_the_page_is_told_is_no_html(findings: AccuracyResult) -> None:
    outcomes = [replace(one, trial=replace(one.trial, refusal="<script>no")) if one.trial.refusal else one
                for one in findings.outcomes]  # fmt: skip
    page = render(replace(findings, outcomes=tuple(outcomes), machine={"<script>cpu": "x"}), "<script>bench")
    assert "<script" not in page
    for told in ("no", "cpu", "bench"):
        assert f"&lt;script&gt;{told}" in page


def test_an_error_above_the_bound_is_not_exact(findings: AccuracyResult) -> None:
    assert findings.exact
    assert not replace(findings, ratios={"skellam": 1.0, "gaussian": LARGEST_RATIO + 0.01}).exact


def test_one_training_has_no_spread() -> None:
    trial = Trial(study=Study.BITS, data_set=DataSet.DIGITS, participants=3, schedule=SCHEDULE)
    outcome = Outcome(trial, (0.5,), 1, None)
    assert (outcome.mean, outcome.spread, trial.epsilon) == (0.5, 0.0, inf)


def test_the_command_draws_and_prints(
    findings: AccuracyResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[int] = []

    def measured(_: object, seeds: int, __: object) -> AccuracyResult:
        asked.append(seeds)
        return findings

    monkeypatch.setattr(accuracy, "measure", measured)
    page = tmp_path / "privacy.html"
    done = CliRunner().invoke(app, ["privacy", "--accuracy", "--quick", "--report", str(page), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == findings.as_json()
    assert "--accuracy --repeat 2 --report privacy.html</code>" in page.read_text()
    table = CliRunner().invoke(app, ["privacy", "--accuracy"])
    assert "refused" in table.stdout
    assert "digits, compression" in table.stdout
    assert asked == [2, 5]


def test_a_report_without_accuracy_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "privacy", "--report", "page.html"])
    assert "add --accuracy" in capsys.readouterr().err
