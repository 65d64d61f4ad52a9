"""Benchmarks at toy sizes: what they report and what they check. How long anything takes is nobody's business here."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from secagg.aggregates import Aggregate
from secagg.config import ThreatModel
from secagg.crypto import shamir
from secagg.crypto.secret import Secret
from secagg.encoding.fixedpoint import FixedPointUpdate
from secagg.encoding.schema import Schema
from secagg.errors import ConfigError, LocalError
from secagg.lattice.modular import U64
from secagg.messages import MASKED_PHASES, Phase
from secagg.tools.bench import core, homomorphic, homomorphic_report, round_participant, secrets, status, unmasking
from secagg.tools.bench import round as rounds
from secagg.tools.bench.core import Sizes
from secagg.tools.bench.gateway import GATEWAY, GRPC, Way, sections
from secagg.tools.bench.measure import seconds_each, take_turns
from secagg.tools.bench.memory import memory_of
from secagg.tools.bench.report import Figure, Report, Section, at_least, at_most
from secagg.tools.bench.round import RoundSetting
from secagg.tools.bench.status import StatusSetting
from secagg.tools.commands.bench import app
from secagg.tools.simulation import grid
from secagg.variants import EVERY_VARIANT, MASKED, Variant

TINY = Sizes(
    stream_bytes=1 << 20,
    values=1000,
    neighbours=3,
    holders=4,
    threshold=3,
    unmask_participants=4,
    unmask_dropped=1,
    unmask_values=(100, 200),
    repeats=1,
)
UNITS = ("_s", "_per_s", "_bytes", "_mib", "_ratio", "_speedup", "_bytes_per_value")


def check_form(document: dict[str, object]) -> None:
    """Every figure is a number above zero with its unit in its name; every target and note belongs to a figure."""
    assert json.dumps(document, allow_nan=False)
    machine, figures = document["machine"], document["figures"]
    assert isinstance(machine, dict)
    assert {"cpu", "cores", "python", "numpy", "cryptography"} <= set(machine)
    assert isinstance(figures, dict)
    flat = {name: value for section in figures.values() for name, value in section.items()}
    assert len(flat) == sum(map(len, figures.values()))  # no name twice
    for name, value in flat.items():
        assert name.endswith(UNITS), name
        assert np.isfinite(value), name
        assert value > 0, name
    for about in ("targets", "notes"):
        described = document[about]
        assert isinstance(described, dict)
        assert set(described) <= set(flat)


def test_core_reports_every_figure() -> None:
    said: list[str] = []
    document = core.measure(TINY, said.append).as_json()
    check_form(document)
    assert set(document["figures"]) == {"mask_stream", "encoding", "secrets", "masked_input", "suites", "unmasking"}
    assert len(said) == 6
    assert {name: {k: v for k, v in t.items() if k != "met"} for name, t in document["targets"].items()} == {
        "mask_stream_to_aes_ratio": {"at_least": 0.85},
        "add_masks_to_limit_ratio": {"at_least": 0.9},
        "add_aegis_masks_to_limit_ratio": {"at_least": 0.9},
        "mask_stream_2_threads_speedup": {"at_least": 1.7},
        **{f"{way}_{bits}_bit_gb_per_s": {"at_least": 0.5} for way in WAYS for bits in (8, 12, 16)},
        "share_both_secrets_s": {"at_most": 0.02},
        "masked_input_s": {"at_most": 0.25},
        "hybrid_client_s": {"at_most": 0.2},
    }
    assert {"unmask_100_values_s", "unmask_200_values_s"} == set(document["figures"]["unmasking"])
    # 16 bits, 2 more for four summands; the last byte may be padded.
    assert document["figures"]["masked_input"]["masked_input_bytes_per_value"] == pytest.approx(18 / 8, rel=0.01)


WAYS = ("quantise_and_pack", "unpack")


def test_the_command_prints_tables_or_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "QUICK", TINY)
    tables = CliRunner().invoke(app, ["core", "--quick"])
    assert tables.exit_code == 0
    assert "every sum is exact" in tables.stdout
    document = CliRunner().invoke(app, ["core", "--quick", "--json"])
    check_form(json.loads(document.stdout))


@pytest.mark.parametrize("exact", [True, False])
def test_a_report_says_what_is_met_and_what_is_exact(exact: bool) -> None:
    figures = (
        Figure("fast_gb_per_s", 2.0, at_least(1.0)),
        Figure("slow_gb_per_s", 0.5, at_least(1.0), "a [note]"),
        Figure("short_s", 0.001, at_most(0.01)),
        Figure("long_s", 0.1, at_most(0.01)),
        Figure("some_bytes", 12345),
    )
    report = Report("toy", {"cpu": "none"}, {}, (Section("section", "Title", figures),), exact)
    document = report.as_json()
    met = {name: target["met"] for name, target in document["targets"].items()}
    assert met == {"fast_gb_per_s": True, "slow_gb_per_s": False, "short_s": True, "long_s": False}
    out = io.StringIO()
    report.show(Console(file=out, width=120))
    text = out.getvalue()
    for part in (
        "≥ 1 met",
        "≥ 1 falls short",
        "≤ 0.01 met",
        "≤ 0.01 falls short",
        "1 ms",
        "100 ms",
        "12,345",
        "a [note]",
    ):
        assert part in text
    assert ("NOT exact" in text) is not exact


def ticking(steps: list[float]) -> Iterator[float]:
    """A clock whose every second reading is the step after the one before."""
    now = 0.0
    for step in steps:
        yield now
        now += step
        yield now


def test_turns_leave_the_first_out_and_take_medians_of_ratios() -> None:
    calls: list[str] = []
    clock = ticking([9, 9, 1, 2, 3, 12, 1, 3])
    turns = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, lambda: next(clock))
    assert "".join(calls) == "abababab"
    assert turns.seconds == {"a": [1, 3, 1], "b": [2, 12, 3]}
    assert (turns.median("a"), turns.fastest("b"), turns.ratio("b", "a")) == (1, 2, 3)


def test_seconds_each_calls_as_often_as_it_says() -> None:
    calls = count()
    assert seconds_each(lambda: next(calls), calls=5, repeats=2) >= 0
    assert next(calls) == 15  # two turns and the one that warms up


def test_a_simulated_round_that_is_not_exact_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    unmasking.measure(4, 1, [50], repeats=1)
    monkeypatch.setattr("secagg.tools.simulation.scenario._is_exact", lambda *_: False)
    with pytest.raises(LocalError, match="exact"):
        unmasking.measure(4, 1, [50], repeats=1)


def test_a_reconstruction_that_is_wrong_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = shamir.Recovered(Secret(bytes(32)), consistent=True)
    monkeypatch.setattr(shamir.Decoder, "recover", lambda *_: wrong)
    with pytest.raises(LocalError, match="not the one"):
        secrets.measure(4, 3, repeats=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_updates_on_the_grid_encode_to_their_levels_whatever_is_drawn(seed: int) -> None:
    update, expected = grid.update_of("someone", 5000), grid.levels("someone", 5000)
    assert update.dtype == np.float32
    schema = Schema.of(update)
    encoder = FixedPointUpdate(grid.CODE, schema.check(update), 1, Secret(bytes([seed]) * 32))
    np.testing.assert_array_equal(encoder.read(0, 5000), expected)
    assert expected.min() < 100
    assert expected.max() > 2**16 - 100
    assert not np.array_equal(expected, grid.levels("someone else", 5000))


def test_any_value_has_a_nearest_number_of_the_grid() -> None:
    values = np.random.default_rng(3).normal(0, 0.7, 5000).astype(np.float32)
    near = grid.on_grid(values)
    assert near.dtype == np.float32
    np.testing.assert_array_equal(grid.on_grid(near), near)
    np.testing.assert_allclose(near, np.clip(values, -grid.CODE.clip, grid.CODE.clip), atol=grid.CODE.step / 2)


def test_memory_is_what_the_kernel_says() -> None:
    before = memory_of()
    ballast = bytearray(b"x" * (64 << 20))
    after = memory_of()
    assert 0 < before.now_bytes <= before.peak_bytes
    assert after.peak_bytes >= after.now_bytes >= len(ballast)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with pytest.raises(LocalError, match="does not tell"):
        memory_of(process.pid)


def test_an_inexact_sum_shows() -> None:
    names, values = ("a", "b", "c"), 50
    sums = np.zeros(values, np.uint32)
    for name in names:
        sums += grid.levels(name, values)
    digest = round_participant.digest_of_sums(sums)
    finished = {name: {"sums_sha256": digest} for name in names}
    assert rounds._is_exact(Aggregate(sums, names), finished, values)
    assert not rounds._is_exact(Aggregate(sums, ("a", "b")), finished, values)
    assert not rounds._is_exact(Aggregate(sums, names), finished | {"b": {"sums_sha256": "another"}}, values)
    off = sums.copy()
    off[7] += 1
    told = {name: {"sums_sha256": round_participant.digest_of_sums(off)} for name in names}
    assert not rounds._is_exact(Aggregate(off, names), told, values)


def test_half_of_an_upload_and_good_bye() -> None:
    left: list[bool] = []
    interceptor = round_participant.LeaveHalfway(chunks=4)
    interceptor.leave = lambda: left.append(True)

    def sent(method: str) -> list[bytes]:
        details = type("Details", (), {"method": method})()
        passed = interceptor.intercept_stream_stream(lambda _, requests: requests, details, iter([b"0", b"1", b"2"]))
        return list(passed)

    assert sent("/x/Advertise") == [b"0", b"1", b"2"]
    assert left == []
    assert sent("/x/SendInput") == [b"0", b"1"]
    assert left == [True]


def test_more_dropouts_than_the_threshold_allows_are_refused() -> None:
    with pytest.raises(ConfigError, match="drop fewer"):
        RoundSetting(participants=10, dropouts=4).config()
    assert RoundSetting(participants=10, dropouts=3).config().threshold == 7


@pytest.mark.parametrize("variant", EVERY_VARIANT, ids=lambda variant: variant.name)
def test_an_upload_is_broken_off_half_way_in_every_variant(variant: Variant) -> None:
    config = RoundSetting(participants=4, values=100_000, variant=variant, dropouts=1).config()
    chunks = rounds.upload_chunks(config)
    assert chunks >= 1
    assert config.scheme == ("masked" if variant.scheme is None else variant.scheme.value)
    assert config.threat_model is (ThreatModel.ACTIVE if variant is MASKED else ThreatModel.SEMI_HONEST)
    interceptor = round_participant.LeaveHalfway(chunks)
    interceptor.leave = lambda: None
    details = type("Details", (), {"method": "/x/SendEncrypted"})()
    sent = interceptor.intercept_stream_stream(lambda _, requests: list(requests), details, iter([b""] * chunks))
    assert len(sent) == chunks // 2


def test_rounds_of_every_variant_side_by_side() -> None:
    setting = RoundSetting(participants=4, values=500, dropouts=1, rounds=1)
    said: list[str] = []
    compared = rounds.compare(setting, EVERY_VARIANT, said.append)
    assert compared.identical
    assert compared.exact
    document = compared.as_json()
    assert list(document["variants"]) == ["masked", "ckks", "bfv", "ckks-threshold", "bfv-threshold"]
    for name, report in document["variants"].items():
        check_form({**report, "targets": {}})
        assert ("worker_peak_mib" in report["figures"]["memory"]) is (name != "masked")
        assert report["setting"].get("experimental", False) is name.endswith("-threshold")
    out = io.StringIO()
    compared.show(Console(file=out, width=100))
    assert "every variant gave the very same sum" in out.getvalue()
    assert "bfv-threshold*" in out.getvalue()
    assert "* experimental" in out.getvalue()
    broken = replace(compared, identical=False)
    assert not broken.exact
    out = io.StringIO()
    broken.show(Console(file=out, width=100))
    assert "DIFFER" in out.getvalue()


def test_a_masked_round_has_no_key_to_hold() -> None:
    with pytest.raises(ConfigError, match="no key"):
        Variant.named("masked", "threshold")
    assert Variant.named("masked") == MASKED
    assert Variant.named("bfv", "threshold").experimental


def test_what_being_watched_costs() -> None:
    setting = StatusSetting(participants=3, values=100, turns=2, rounds=1, scrapes=2)
    document = status.measure(setting).as_json()
    assert document["exact"]
    figures = document["figures"]["status"]
    assert set(figures) == {
        *("cost_ratio", "counting_ratio", "scraping_ratio", "difference_ratio", "difference_error_ratio"),
        *("page_ratio", "counting_s", "scrape_s", "scrapes_per_s", "plain_round_s", "plain_load_ratio"),
    }
    assert document["targets"]["cost_ratio"]["at_most"] == 0.02
    assert figures["scrapes_per_s"] >= 1
    assert figures["counting_s"] > 0
    assert figures["cost_ratio"] == pytest.approx(figures["counting_ratio"] + figures["scraping_ratio"], rel=0.01)
    assert figures["plain_round_s"] > 0


@pytest.mark.parametrize("threat_model", list(ThreatModel))
def test_a_real_round(threat_model: ThreatModel) -> None:
    setting = RoundSetting(
        participants=4, values=500, dropouts=1, threat_model=threat_model, rounds=1, transport_bytes=1 << 20
    )
    said: list[str] = []
    report = rounds.measure(setting, said.append)
    document = report.as_json()
    check_form(document)
    assert report.exact
    assert set(document["figures"]) == {"round", "traffic", "memory", "transport"}
    phases = {phase.name.lower() + "_s" for phase in Phase}
    expected = {phase.name.lower() + "_s" for phase in MASKED_PHASES[threat_model]}
    assert set(document["figures"]["round"]) & phases == expected
    assert document["figures"]["traffic"]["participant_up_bytes"] > 500 * 18 / 8
    assert said == ["the start of 4 participants", "round 1 of 1", "the transport"]


FOUND = {
    "values": 100,
    "value_bits": 16,
    "n_max": 100,
    "repeat": 3,
    "tenseal": {
        "ring_degree": 8192,
        "prime_bits": [60, 40, 40],
        "encrypt_and_serialize_s": 0.9,
        "parse_and_add_s": 0.1,
        "decrypt_s": 0.2,
        "bytes_per_value_up": 57.6,
    },
    **{
        scheme: {
            "participants": {
                "ring_degree": 4096,
                "prime_bits": [45],
                "encrypt_and_pack_s": 0.3,
                "encrypt_and_pack_in_worker_s": 0.35,
                "unpack_check_fold_s": 0.006,
                "expand_c1_per_participant_s": 0.005,
                "decrypt_and_decode_s": 0.1,
                "bytes_per_value_up": 3.5,
                "against_tenseal": {"participant": 3.0, "coordinator": 9.1, "bytes": 16.5},
            },
            "threshold": {
                "ring_degree": 8192,
                "prime_bits": [58, 58, 58],
                "key_share_s": 0.01,
                "key_share_bytes": 178176,
                "encrypt_and_pack_s": 0.36,
                "unpack_check_fold_s": 0.01,
                "partial_s": 0.2,
                "combine_s": 0.004,
                "decode_s": 0.07,
                "bytes_per_value_up": 22.1,
                "c1_bytes_per_value_down": 7.4,
            },
        }
        for scheme in ("ckks", "bfv")
    },
}


def test_homomorphic_figures_stand_beside_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def run(values: int, repeat: int) -> homomorphic.Figures:
        asked.append((values, repeat))
        return FOUND

    monkeypatch.setattr(homomorphic_report, "run", run)
    tables = CliRunner().invoke(app, ["homomorphic", "--quick", "--values", "100"])
    assert tables.exit_code == 0
    assert "threshold custody: experimental" in tables.stdout
    document = json.loads(CliRunner().invoke(app, ["homomorphic", "--values", "100", "--json"]).stdout)
    assert asked == [(100, 1), (100, 3)]
    check_form(document)
    met = {name: target["met"] for name, target in document["targets"].items()}
    assert met == {
        "ckks_encrypt_and_pack_s": True,
        "ckks_bytes_per_value": True,
        "ckks_coordinator_s": True,
        "ckks_decrypt_and_decode_s": True,
        "ckks_participant_speedup": True,
        "ckks_coordinator_speedup": False,
        "ckks_fewer_bytes_ratio": True,
        "bfv_encrypt_and_pack_s": False,
        "bfv_bytes_per_value": True,
        "bfv_coordinator_s": False,
        "bfv_decrypt_and_decode_s": True,
        "bfv_participant_speedup": True,
        "bfv_coordinator_speedup": False,
        "bfv_fewer_bytes_ratio": True,
        "bfv_threshold_encrypt_and_pack_s": False,
        "bfv_threshold_partial_s": True,
        "bfv_threshold_bytes_per_value": True,
    }


def test_homomorphic_sums_are_timed_and_checked() -> None:
    document = homomorphic_report.measure(1000, repeat=1).as_json()
    check_form(document)
    assert set(document["figures"]) == {"tenseal", "ckks", "ckks_threshold", "bfv", "bfv_threshold"}


def test_a_homomorphic_sum_that_is_not_exact_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    right = homomorphic.decrypted

    def wrong(*arguments: Any) -> U64:
        return right(*arguments) + np.uint64(1)

    monkeypatch.setattr(homomorphic, "decrypted", wrong)
    with pytest.raises(LocalError, match="not exact"):
        homomorphic.run(1000, repeat=1)


# --- the gateway ------------------------------------------------------------------------------------------------------


def test_the_gateway_is_compared_with_grpc() -> None:
    """Medians of rounds; two requests of the gateway are a call."""
    found = sections({GRPC: Way((3.0, 1.0, 2.0), 0.001, 0.002, True), GATEWAY: Way((4.0, 9.0, 5.0), 0.004, 0.01, True)})
    rounds_, calls = ({figure.name: figure.value for figure in section.figures} for section in found)
    assert rounds_ == {"grpc_round_cpu_s": 2.0, "gateway_round_cpu_s": 5.0, "gateway_round_ratio": 2.5}
    assert calls["gateway_requests_per_s"] == 200
    assert calls["gateway_requests_of_a_core_per_s"] == 500


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells the processor time of a process")
def test_rounds_and_calls_are_made_both_ways() -> None:
    sizes = ["--participants", "3", "--values", "100", "--rounds", "1", "--calls", "2"]
    run = CliRunner().invoke(app, ["gateway", *sizes, "--json"])
    assert run.exit_code == 0, run.output
    document = json.loads(run.stdout)
    check_form(document)
    assert document["exact"] is True
    assert document["setting"] == {"participants": 3, "values": 100, "rounds": 1, "calls": 2}
