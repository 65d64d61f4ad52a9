"""The demo's parts: its plan, its comparison that can fail, its pictures, its errors."""

import struct
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from secagg.aggregates import Aggregate
from secagg.cli.main import main
from secagg.config import RoundConfig, ThreatModel
from secagg.crypto.secret import Secret
from secagg.encoding.integers import IntegerSums
from secagg.errors import AbortReason, ConfigError, RoundAborted
from secagg.events import MessageAccepted
from secagg.messages import INPUT_PHASES, ParticipantId, Phase
from secagg.phases import phases
from secagg.tools.charts import png
from secagg.tools.demo import job
from secagg.tools.demo.comparison import compare, weighted_mean
from secagg.tools.demo.counting import label_config
from secagg.tools.demo.participant import LABELS, Command, save_arrays
from secagg.tools.demo.plan import Dropout, Moment, plan_dropouts
from secagg.tools.demo.play import Settings, Training, round_config
from secagg.tools.demo.report import render
from secagg.tools.demo.results import (
    CoordinatorView,
    Counted,
    DemoResult,
    Dropped,
    PlayedRound,
    SchemeRound,
    Site,
    Statistics,
    Traffic,
)
from secagg.tools.demo.side_by_side import SIDE_BY_SIDE, Bench, is_exact
from secagg.tools.simulation.grid import CODE, on_grid
from secagg.variants import EVERY_VARIANT, MASKED, Variant

if TYPE_CHECKING:
    from secagg_client import ControlClient

    from secagg.tools.deployment.crew import Crew

NAMES = [f"site-{i:02d}" for i in range(1, 11)]
MODEL = job.new_model(1)


SCHEMES = [(MASKED, ThreatModel.ACTIVE), *((variant, ThreatModel.SEMI_HONEST) for variant in EVERY_VARIANT)]


def config(
    threat_model: ThreatModel = ThreatModel.ACTIVE, participants: int = 10, scheme: Variant = MASKED
) -> RoundConfig:
    return round_config(Settings(participants=participants, threat_model=threat_model, variant=scheme), MODEL, 1)


@pytest.mark.parametrize(("scheme", "threat_model"), SCHEMES)
@pytest.mark.parametrize("rounds", [2, 3, 5, 6, 20])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_plan_covers_every_phase_and_leaves_enough(
    scheme: Variant, threat_model: ThreatModel, rounds: int, seed: int
) -> None:
    settings = config(threat_model, scheme=scheme)
    if scheme.experimental and rounds < 4:  # seven phases, and three of ten can be lost in a round
        with pytest.raises(ConfigError, match="more rounds"):
            plan_dropouts(settings, NAMES, rounds, seed)
        return
    plans = plan_dropouts(settings, NAMES, rounds, seed)
    assert len(plans) == rounds
    assert all(1 <= len(plan) <= len(NAMES) - settings.threshold for plan in plans)
    dropouts = [dropout for plan in plans for dropout in plan.values()]
    assert {dropout.phase for dropout in dropouts} == set(phases(settings))
    after_a_fall = {Phase.RECOVERY_CHECK, Phase.RECOVER_SEEDS}
    falls = {Phase.ENCRYPTED_INPUT, Phase.CONSISTENCY_CHECK, Phase.PARTIAL_DECRYPTION}
    planned = [{dropout.phase for dropout in plan.values()} for plan in plans]
    assert all(there & falls for there in planned if there & after_a_fall)
    assert any(d.moment is Moment.HALF_SENT and d.phase in INPUT_PHASES for d in dropouts)
    assert all(name == NAMES[0] for plan in plans for name, d in plan.items() if d.phase is Phase.RELEASE_SUM)


def test_a_plan_takes_everyone_in_turn() -> None:
    plans = plan_dropouts(config(), NAMES, 5, seed=1)
    assert sorted(name for plan in plans for name in plan) == NAMES


@pytest.mark.parametrize(("participants", "rounds"), [(10, 1), (5, 2)])
def test_too_few_rounds_for_every_phase_are_refused(participants: int, rounds: int) -> None:
    with pytest.raises(ConfigError, match="more rounds"):
        plan_dropouts(config(participants=participants), NAMES[:participants], rounds, seed=1)


def test_a_command_survives_the_pipe() -> None:
    for dropout in (None, Dropout(Phase.UNMASK, Moment.BEFORE_SENDING)):
        command = Command(2, "digits", Path("m.npz"), Path("f"), [7, 2, 0], dropout, 60.0)
        assert Command.from_json(command.as_json()) == command
        compared = replace(command, compared="bfv")
        assert Command.from_json(compared.as_json()) == compared != command


# --- data and training ------------------------------------------------------------------------------------------------


def test_everyone_gets_a_different_uneven_part_and_nothing_twice() -> None:
    training, test = job.load_digits(seed=7)
    assert len(training) + len(test) == 1797
    parts = job.share_out(training, 10, seed=7)
    sizes = [len(part) for part in parts]
    assert min(sizes) >= 24
    assert max(sizes) <= job.MAX_EXAMPLES
    assert max(sizes) > 2 * min(sizes)
    together = np.concatenate([part.images for part in parts])
    assert len(together) <= len(training)
    assert sum(len(part) for part in parts) == len(together)
    mixtures = [np.bincount(part.labels, minlength=10) / len(part) for part in parts]
    assert max(np.abs(one - other).sum() for one in mixtures for other in mixtures) > 0.8


def test_gradients_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(1)
    batch = job.Examples(rng.random((5, 64), np.float32), rng.integers(0, 10, 5))
    model = {name: array.astype(np.float64) for name, array in MODEL.items()}

    def loss(changed: dict[str, np.ndarray]) -> float:
        _, scores = job._forward(changed, batch.images)
        scores = scores - scores.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(5), batch.labels]))

    gradients = job._gradients(model, batch)  # type: ignore[arg-type]
    for name, array in model.items():
        at = tuple(int(rng.integers(side)) for side in array.shape)
        up, down = ({k: v.copy() for k, v in model.items()} for _ in range(2))
        up[name][at] += 1e-5
        down[name][at] -= 1e-5
        assert gradients[name][at] == pytest.approx((loss(up) - loss(down)) / 2e-5, abs=1e-6)


def test_training_learns_and_is_repeatable() -> None:
    training, test = job.load_digits(seed=7)
    update = job.local_update(MODEL, training, [1])
    assert job.accuracy(job.improved(MODEL, update), test) > 0.8
    assert all(np.array_equal(array, job.local_update(MODEL, training, [1])[name]) for name, array in update.items())


# --- comparison -------------------------------------------------------------------------------------------------------


def aggregated(updates: dict[str, job.Model], weights: dict[str, int], settings: RoundConfig) -> Aggregate:
    """What a coordinator releases: the exact sum of the encoded updates."""
    sums = np.zeros(settings.vector_len, settings.ring_dtype)
    for name, update in updates.items():
        seed = Secret(name.encode().ljust(32))
        encoder = settings.code.encode(settings.schema.check(update), weights[name], seed)
        sums += encoder.read(0, settings.vector_len, settings.ring_dtype)
    return Aggregate(sums, tuple(sorted(updates)))


def test_the_comparison_holds_for_the_true_sum_and_fails_for_any_other() -> None:
    rng = np.random.default_rng(2)
    updates = {n: {k: np.asarray(rng.normal(0, 0.4, a.shape), np.float32) for k, a in MODEL.items()} for n in NAMES[:7]}
    weights = {name: 50 + 10 * i for i, name in enumerate(updates)}
    settings = config()
    aggregate = aggregated(updates, weights, settings)
    found = compare(aggregate, settings, updates, weights)
    assert found.largest_difference <= found.error_bound

    without_one = {name: update for name, update in updates.items() if name != NAMES[3]}
    wrong = compare(aggregate, settings, without_one, weights)
    assert wrong.largest_difference > wrong.error_bound

    altered = aggregate.sums.copy()
    altered[5] += 20
    wrong = compare(replace(aggregate, sums=altered), settings, updates, weights)
    assert wrong.largest_difference > wrong.error_bound


def test_a_weighted_mean_clips() -> None:
    updates = {"a": {"x": np.array([3.0, 0.5], np.float32)}, "b": {"x": np.array([-0.5, 0.5], np.float32)}}
    mean = weighted_mean(updates, {"a": 3, "b": 1}, clip=1.0)
    assert mean["x"].tolist() == [(3 * 1.0 - 0.5) / 4, 0.5]


# --- findings, report, exit code --------------------------------------------------------------------------------------


def some_findings(largest_difference: float = 1e-5) -> DemoResult:
    statistics = Statistics(256, (1,) * 256, 8.0, 0.5, 0.0)
    pictures = [np.full((8, 8), float(i)) for i in range(32)]
    dropped = [Dropped("a", phase, "before sending", phase == "Unmask") for phase in ("MaskedInput", "Unmask")]
    played = PlayedRound(
        1,
        1,
        2.0,
        ("a",),
        tuple(dropped),
        0.9,
        0.9,
        largest_difference,
        2e-5,
        {"a": Traffic(10, 20), "b": Traffic(5, None)},
    )
    return DemoResult(
        scheme="masked",
        threat_model="active",
        seed=7,
        threshold=7,
        max_colluding=3,
        value_bits=16,
        ring_bits=20,
        values=2410,
        deadline_s=2.5,
        phases=("MaskedInput", "Unmask"),
        sites={"a": Site(30, (3,) * 10), "b": Site(20, (2,) * 10)},
        test_examples=360,
        accuracy_before=0.1,
        rounds=(played,),
        view=CoordinatorView("a", 1, "00 01", statistics, statistics, pictures, pictures, pictures),
        seconds=3.0,
        plain_bytes=9640,
    )


def test_the_name_of_a_participant_is_no_html() -> None:
    name, findings = "<script>alert(1)</script>", some_findings()
    (played,) = findings.rounds
    gone = replace(played.dropped[0], participant=name)
    named = replace(
        findings,
        sites={name: findings.sites["a"]},
        rounds=(replace(played, survivors=(name,), dropped=(gone,), traffic={name: Traffic(10, 20)}),),
        view=replace(findings.view, participant=name),
    )
    page = render(named)
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 6


def schemes(*sums: str, exact: bool = True) -> tuple[SchemeRound, ...]:
    names = ("masked", "ckks", "bfv")
    return tuple(
        SchemeRound(name, "semi_honest", 0.5, 10, digest, exact, 8000 + i, 14000 + i)
        for i, (name, digest) in enumerate(zip(names, sums, strict=True))
    )


def test_schemes_that_differ_or_are_wrong_are_no_success() -> None:
    findings = some_findings(1e-5)
    same = replace(findings, side_by_side=schemes("aa", "aa", "aa"))
    assert findings.ok
    assert same.ok
    assert same.as_json()["same_aggregate"] is True
    assert "bit for bit" in render(same)
    assert "8,002 up" in render(same)
    assert "in each scheme" not in render(findings)
    for wrong in (schemes("aa", "aa", "ab"), schemes("aa", "aa", "aa", exact=False)):
        bad = replace(findings, side_by_side=wrong)
        assert not bad.ok
        assert bad.as_json()["same_aggregate"] is False
        assert "THE AGGREGATES DIFFER" in render(bad)


def test_counts_that_are_wrong_are_no_success() -> None:
    findings = some_findings(1e-5)
    have = tuple(range(10, 20))
    right = replace(findings, counted=Counted(have, have, 10, 0.5))
    assert right.ok
    assert "there are: exact" in render(right)
    assert "each of 10 sites" in render(right)
    assert all(f"{count} images of {label}" in render(right) for label, count in enumerate(have))
    assert "images of each digit there are" not in render(findings).lower()
    wrong = replace(findings, counted=Counted((11, *have[1:]), have, 10, 0.5))
    assert not wrong.ok
    assert "THE COUNTS ARE WRONG" in render(wrong)


@pytest.mark.parametrize(("scheme", "threat_model"), SCHEMES)
def test_labels_are_counted_in_the_scheme_of_the_demo(scheme: Variant, threat_model: ThreatModel) -> None:
    """One bin for each digit; the sum of three sites' counts is the counts of all their labels."""
    counted = label_config(10, scheme, threat_model)
    assert (counted.scheme, counted.threat_model) == (config(threat_model, scheme=scheme).scheme, threat_model)
    assert (counted.model_digest, counted.release_to_coordinator) == (LABELS.digest, True)
    labels = [np.arange(10) % (site + 3) for site in range(3)]
    sums = {name: np.sum([LABELS.update(own)[name] for own in labels], axis=0) for name in LABELS.update([])}
    found = LABELS.read(IntegerSums(sums, 3))
    assert found.histogram.tolist() == np.bincount(np.concatenate(labels), minlength=10).tolist()


def test_updates_on_the_grid_add_up_exactly_or_are_told_from_those_that_do_not() -> None:
    rng = np.random.default_rng(1)
    updates = [
        {name: on_grid(rng.standard_normal(array.size).reshape(array.shape) / 2) for name, array in MODEL.items()}
        for _ in range(3)
    ]
    bench = Bench(None, None, {name: [1] for name in "abc"}, MODEL, Path())  # type: ignore[arg-type]
    settings = bench.config(MASKED, ThreatModel.ACTIVE)
    flats = [settings.schema.check(update) for update in updates]
    encoded = [settings.code.encode(flat, 1, Secret(bytes([i]) * 32)) for i, flat in enumerate(flats)]
    sums = np.sum([encoder.read(0, settings.vector_len, settings.ring_dtype) for encoder in encoded], axis=0)
    assert is_exact(Aggregate(sums, tuple("abc")), settings, updates)
    assert not is_exact(Aggregate(sums, tuple("abc")), settings, updates[:2])
    sums[1234] += 1
    assert not is_exact(Aggregate(sums, tuple("abc")), settings, updates)


@pytest.mark.parametrize("variant", SIDE_BY_SIDE, ids=lambda variant: variant.name)
def test_the_compared_rounds_differ_in_nothing_but_the_scheme(variant: Variant) -> None:
    bench = Bench(None, None, {name: [1] for name in "abcde"}, MODEL, Path())  # type: ignore[arg-type]
    compared, masked = (bench.config(v, ThreatModel.ACTIVE) for v in (variant, MASKED))
    assert compared.scheme == variant.name
    assert (compared.encoding, compared.schema, compared.ring_bits) == (CODE, masked.schema, masked.ring_bits)
    assert not variant.experimental
    assert compared.threat_model is (ThreatModel.ACTIVE if variant == MASKED else ThreatModel.SEMI_HONEST)


@pytest.mark.parametrize(("difference", "code"), [(1e-5, 0), (3e-5, 1)])
def test_a_difference_beyond_the_bound_is_exit_code_1(
    difference: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("secagg.tools.demo.play.play", lambda settings, audience: some_findings(difference))
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--report", str(tmp_path / "page.html")])
    assert (ended.value.code or 0) == code
    assert ("further from the plain mean" in capsys.readouterr().out) is (code == 1)
    assert ("SOMETHING IS WRONG" in (tmp_path / "page.html").read_text()) is (code == 1)


def test_a_phase_without_a_dropout_is_not_ok() -> None:
    findings = some_findings()
    assert findings.ok
    missing = replace(findings, phases=("ShareKeys", *findings.phases))
    assert not missing.ok
    assert missing.missing_phases == ("ShareKeys",)


def test_the_report_says_whom_it_protects_against() -> None:
    assert "A coordinator that lies" in render(some_findings())
    semi_honest = render(replace(some_findings(), threat_model="semi_honest"))
    assert "A coordinator that lies" not in semi_honest
    assert "A coordinator that departs from the protocol" in semi_honest
    assert "a single participant helps" not in semi_honest
    encrypted = render(replace(some_findings(), threat_model="semi_honest", scheme="bfv"))
    assert "A coordinator that a single participant helps" in encrypted


def test_without_scikit_learn_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--report", str(tmp_path / "page.html")])
    assert ended.value.code == 1
    assert "pip install '.[demo]'" in capsys.readouterr().err


def test_without_the_server_extra_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("secagg.tools.deployment.sidecar._SERVER_PACKAGES", ("surely_not_installed",))
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--report", str(tmp_path / "page.html")])
    assert ended.value.code == 1
    assert "pip install '.[demo]'" in capsys.readouterr().err


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_png_holds_the_pixels() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    data = png.png(pixels)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(name + body)
        chunks[name] = body
        at += 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (7, 5, 8, 2, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(5, 1 + 21)
    assert not rows[:, 0].any()
    assert np.array_equal(rows[:, 1:].reshape(5, 7, 3), pixels)


def test_a_sheet_shows_sign_as_colour() -> None:
    pictures = [np.full((8, 8), value) for value in (-1.0, 0.0, 1.0)]
    pixels = png.sheet(pictures, 3).astype(int)
    assert pixels.shape == (8, 26, 3)
    blue, white, red = pixels[0, 0], pixels[0, 9], pixels[0, 18]
    assert blue[2] > blue[0]
    assert white.min() > 240
    assert red[0] > red[2]


# --- rounds that a busy machine misses --------------------------------------------------------------------------------


class FakeCrew:
    """Processes that do as told."""

    def __init__(self) -> None:
        self.killed: list[set[str]] = []
        self.started: list[set[str]] = []

    def order(self, name: str, line: str) -> None:
        command = Command.from_json(line)
        save_arrays(command.folder / f"{name}.update.npz", {array: value * 0 for array, value in MODEL.items()})

    def kill(self, names: Iterable[str]) -> None:
        self.killed.append(set(names))

    def start(self, names: Iterable[str]) -> None:
        self.started.append(set(names))

    def wait(self, wanted: Mapping[str, Collection[str]], timeout_s: float) -> dict[str, dict[str, Any]]:
        """Everyone says the first word, in the order of the alphabet, that is wanted of it, but who is killed exits."""
        return {
            name: {"event": "exited" if events == {"exited"} else max(events), "bytes_sent": 1, "bytes_received": 2}
            for name, events in wanted.items()
        }


class FakeControl:
    """A sidecar whose first rounds nobody reaches in time."""

    def __init__(self, aborts: int) -> None:
        self._aborts = aborts
        self.opened: list[RoundConfig] = []

    def open_round(self, settings: RoundConfig, *, timeout_s: float) -> bytes:
        self.opened.append(settings)
        return bytes(16)

    def watch(self, round_id: bytes, *, timeout_s: float) -> Iterator[tuple[float, MessageAccepted]]:
        if len(self.opened) > self._aborts:
            for name in NAMES[1:]:
                yield 0.0, MessageAccepted(Phase.ADVERTISE_KEYS, ParticipantId(name))

    def fetch(self, round_id: bytes, *, timeout_s: float) -> Aggregate:
        if len(self.opened) <= self._aborts:
            raise RoundAborted(AbortReason.BELOW_THRESHOLD, "nobody came")
        zero = {name: array * 0 for name, array in MODEL.items()}
        return aggregated(dict.fromkeys(NAMES[1:], zero), dict.fromkeys(NAMES, 24), self.opened[-1])


class Silent:
    """Nobody watches."""

    def stage(self, text: str) -> None: ...

    def played(self, played: PlayedRound) -> None: ...


def some_training(folder: Path, crew: FakeCrew, control: FakeControl) -> Training:
    training, test = job.load_digits(seed=7)
    sites = dict.fromkeys(NAMES, job.Examples(training.images[:24], training.labels[:24]))
    return Training(
        Settings(), sites, test, cast("Crew", crew), cast("ControlClient", control), Silent(), folder, MODEL, MODEL
    )


def test_a_round_that_was_missed_is_played_again_with_more_patience(tmp_path: Path) -> None:
    crew, control = FakeCrew(), FakeControl(aborts=2)
    played = some_training(tmp_path, crew, control).play_round(
        1, {NAMES[0]: Dropout(Phase.UNMASK, Moment.BEFORE_SENDING)}
    )
    assert played.attempts == 3
    assert [settings.deadlines.unmask_s for settings in control.opened] == [2.5, 5.0, 10.0]
    assert crew.killed == [set(NAMES), set(NAMES), {NAMES[0]}]  # nobody is left waiting for a round that is over
    assert crew.started == crew.killed
    assert played.within_bound
    assert played.dropped == (Dropped(NAMES[0], "AdvertiseKeys", "unplanned", in_sum=False),)


def test_a_round_that_is_missed_again_and_again_fails_by_name(tmp_path: Path) -> None:
    with pytest.raises(RoundAborted, match="nobody came"):
        some_training(tmp_path, FakeCrew(), FakeControl(aborts=9)).play_round(1, {})
