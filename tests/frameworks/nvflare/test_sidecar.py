"""FLARE's rounds through a coordinator of its own: a real one, over TLS on this machine."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nvflare.apis.shareable import Shareable
from secagg_client import ControlClient, RetryPolicy
from secagg_client.nvflare import channel, controllers, sidecar
from secagg_client.nvflare.settings import SIDECAR, Settings
from secagg_client.nvflare.sidecar import rounds_told

from secagg import Policy
from secagg.errors import DecodeError
from secagg.tools.deployment.identities import create_identities
from secagg.tools.deployment.sidecar import Sidecar
from tests.frameworks.nvflare.job import Site
from tests.frameworks.nvflare.test_dropouts import BAD
from tests.frameworks.nvflare.test_jobs import MODEL, SETTINGS, mean_of, moved_by, run, some, trains


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Settings]]:
    """Start-up kits of five sites, and the settings that name a coordinator that runs."""
    folder = tmp_path_factory.mktemp("sidecar")
    identities = create_identities(folder / "identities", [f"site-{n}" for n in range(1, 6)])
    for name, own in identities.participants.items():
        shutil.copytree(own, folder / name / "startup" / "secagg")
    with Sidecar(identities.server, folder) as coordinator:
        yield (
            folder,
            replace(
                SETTINGS,
                active=True,
                transport=SIDECAR,
                control=coordinator.control_plane,
                coordinator=coordinator.data_plane,
                threshold=4,
            ),
        )


def test_the_job_gets_the_mean_and_the_server_nothing_else(made: tuple[Path, Settings]) -> None:
    folder, settings = made
    job, controller = run(some(5, folder), folder, settings, start=1.0)
    assert moved_by(controller.models[1]) - 1 == pytest.approx(2 * mean_of([1, 2, 3, 4, 5]), abs=4e-4)
    assert controller.models[0].metrics == {"accuracy": pytest.approx(mean_of([1, 2, 3, 4, 5]), abs=1e-6)}
    for _, message in job.engine.seen:
        assert channel.unpacked(message) == []
        assert set(message) <= {"secagg", "__headers__"}


@pytest.mark.parametrize("name", ["an error of the script", "NaN", "an empty data set"])
def test_who_fails_is_excluded(name: str, made: tuple[Path, Settings], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder, settings = made
    sites = some(5, folder, s3=Site("site-3", BAD[name][0], folder))
    start = 10.0 + list(BAD).index(name)  # a model of its own: a site refuses sums of one that differ by a site
    _, controller = run(sites, folder, settings, rounds=1, start=start)
    assert moved_by(controller.models[0]) - start == pytest.approx(mean_of([1, 2, 4, 5]), abs=2e-4)
    assert f"site-3 is out: {'its task failed' if 'script' in name else 'it left'}" in caplog.text


def test_who_dies_in_training_is_excluded(made: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "_ALIVE_S", 0.05)
    folder, settings = made

    class Dies(Site):
        def perform(self, task: Shareable) -> None:
            self.answers = 0

    _, controller = run(some(5, folder, s3=Dies("site-3", trains(3), folder)), folder, settings, rounds=1, start=20.0)
    assert moved_by(controller.models[0]) - 20 == pytest.approx(mean_of([1, 2, 4, 5]), abs=2e-4)


def test_who_leaves_at_the_coordinator_is_named(
    made: tuple[Path, Settings], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its policy refuses the round when it is about to join."""
    caplog.set_level("INFO")
    folder, settings = made

    class Demands(Site):
        def start(self, settings: Settings) -> None:
            super().start(settings)
            client = self.engine.components["secagg"]._client
            client._terms = replace(client._terms, policy=Policy(min_cohort=50))

    sites = some(5, folder, s3=Demands("site-3", trains(3), folder))
    _, controller = run(sites, folder, settings, rounds=1, start=90.0)
    assert moved_by(controller.models[0]) - 90 == pytest.approx(mean_of([1, 2, 4, 5]), abs=2e-4)
    assert "site-3 is out: it left: its log says why" in caplog.text
    assert "threshold 4 is below the minimum cohort 50" in caplog.text


def test_a_site_without_the_plug_in_is_not_expected(
    made: tuple[Path, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder, settings = made
    sites = some(5, folder, s3=Site("site-3", trains(3), folder, missing=True))
    job, controller = run(sites, folder, settings, rounds=1, start=30.0)
    assert moved_by(controller.models[0]) - 30 == pytest.approx(mean_of([1, 2, 4, 5]), abs=2e-4)
    assert "site-3 is out: its app lacks the secagg plug-in" in caplog.text
    assert "site-3" not in job.engine.tasks


def test_too_few_sites_open_no_round(made: tuple[Path, Settings], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder, settings = made
    sites = [Site(f"site-{n}", trains(n), folder, missing=n < 3) for n in range(1, 6)]
    _, controller = run(sites, folder, settings, rounds=1, start=40.0)
    assert moved_by(controller.models[0]) == 40
    assert "3 sites are there, fewer than the threshold 4" in caplog.text


def test_the_job_finds_its_clip(made: tuple[Path, Settings], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder, settings = made
    _, controller = run(some(5, folder), folder, replace(settings, clip=None), rounds=1, start=50.0)
    assert moved_by(controller.models[0]) - 50 == pytest.approx(mean_of([1, 2, 3, 4, 5]), abs=2e-4)
    assert "from the sizes of 5 updates added up" in caplog.text


def test_a_coordinator_that_is_not_there_ends_the_job(
    made: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, settings = made
    once = RetryPolicy(attempts=1)
    monkeypatch.setattr(sidecar, "ControlClient", lambda target: ControlClient(target, retry=once))
    gone = replace(settings, control=f"unix:{folder}/nobody.sock")
    _, controller = run(some(5, folder), folder, gone, rounds=1, start=60.0)
    assert controller.models == []
    assert "TransportError" in caplog.text


@pytest.mark.parametrize("rounds", [7, [7], ["id"], [b""] * 17])
def test_what_names_no_rounds_is_refused(rounds: object) -> None:
    with pytest.raises(DecodeError, match="a list of at most 16 ids"):
        rounds_told(channel.packed(rounds=rounds))


NOISE = "clip(l2=1.0) | rotate | quantise(bits=20) | noise(law=skellam, z="


def test_a_job_ends_when_its_privacy_budget_is_spent(
    made: tuple[Path, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    folder, settings = made
    weak = replace(settings, task="weak", clip=None, max_weight=1, pipeline=f"{NOISE}0.5)", metrics={})
    job, controller = run(some(5, folder), folder, weak, rounds=1, start=80.0)
    assert controller.models == []
    assert job.engine.tasks == {}
    assert "BudgetExceeded: the round would bring task 'weak' to" in caplog.text


def test_a_sum_may_carry_noise(made: tuple[Path, Settings]) -> None:
    folder, settings = made
    noisy = replace(settings, clip=None, max_weight=1, pipeline=f"{NOISE}2.0)", metrics={})
    _, controller = run(some(5, folder), folder, noisy, rounds=1, start=70.0)
    moved = controller.models[0].params["w"] - MODEL["w"] - 70
    clipped = np.mean([0.1 * n / max(1.0, 0.1 * n * np.sqrt(15)) for n in range(1, 6)])
    assert 1e-4 < np.abs(moved - clipped).max() < 2
