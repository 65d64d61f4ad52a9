"""The active threat model: identities of start-up kits, what a site demands, and the builder that makes the kits."""

import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from nvflare.lighter.constants import ParticipantType
from nvflare.lighter.entity import Participant, Project
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provisioner import Provisioner
from secagg_client.nvflare import SecAggBuilder, site
from secagg_client.nvflare.identities import Kit, trust_of

from secagg import ConfigError, IdentityError
from secagg.crypto.authority import create_authority, issue_participant
from tests.frameworks.nvflare.job import Site
from tests.frameworks.nvflare.test_jobs import SETTINGS, mean_of, moved_by, run, some, trains

ACTIVE = replace(SETTINGS, active=True)
SITES = [f"site-{n}" for n in range(1, 6)]


def provision(root: Path, sites: list[str], builder: SecAggBuilder | None = None) -> Path:
    """Start-up kits as `nvflare provision` makes them; the folder that holds them."""
    participants = [
        Participant(ParticipantType.SERVER, "server.example.org", "acme", props={"host_names": ["10.0.0.1"]}),
        *(Participant(ParticipantType.CLIENT, name, f"org{name[-1]}") for name in sites),
    ]
    project = Project("study", "a study", participants)
    builders = [WorkspaceBuilder(), CertBuilder(), builder or SecAggBuilder()]
    made = Provisioner(str(root), builders).provision(project)
    assert made.get_errors() == []
    return sorted((root / "study").glob("prod_*"))[-1]


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = provision(tmp_path_factory.mktemp("project"), SITES)
    (folder / "server.example.org").rename(folder / "server")
    return folder


def test_the_builder_gives_every_site_an_identity_of_its_own(kits: Path) -> None:
    found = [Kit.of(kits / name / "startup", name) for name in SITES]
    names = [kit.identity.participant_id for kit in found if kit is not None]
    assert names == SITES
    key = kits / "site-1/startup/secagg/key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (kits / "site-1/local/secagg").is_dir()
    assert sorted(path.name for path in (kits / "server/startup/secagg").iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
    assert trust_of(kits / "server/startup") is not None


def test_no_kit_holds_the_key_of_the_ca(kits: Path) -> None:
    secret = (kits.parent / "state/secagg/ca.key").read_bytes()
    assert stat.S_IMODE((kits.parent / "state/secagg/ca.key").stat().st_mode) == 0o600
    assert not [path for path in kits.rglob("*") if path.is_file() and path.read_bytes() == secret]


def test_a_second_run_keeps_the_ca_and_makes_new_identities(tmp_path: Path) -> None:
    first, second = (provision(tmp_path, SITES[:3]) / "site-1/startup/secagg" for _ in range(2))
    assert first != second
    assert (first / "ca.pem").read_bytes() == (second / "ca.pem").read_bytes()
    assert (first / "key.pem").read_bytes() != (second / "key.pem").read_bytes()


@pytest.mark.parametrize("days", [0, -1, 40_000, True, "30"])
def test_a_builder_refuses_days_that_are_none(days: Any) -> None:
    with pytest.raises(ConfigError, match="days is 1 to 36500 days"):
        SecAggBuilder(days=days)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    startup = provision(tmp_path, SITES[:3]) / "site-1/startup"
    (startup / "secagg/key.pem").chmod(0o644)
    with pytest.raises(IdentityError, match="can be read by others"):
        Kit.of(startup, "site-1")


def test_a_job_in_the_active_model(kits: Path) -> None:
    _, controller = run(some(5, kits), kits / "server", ACTIVE)
    assert moved_by(controller.models[1]) == pytest.approx(2 * mean_of([1, 2, 3, 4, 5]), abs=4e-4)
    assert (kits / "site-1/local/secagg" / site.RELEASED).exists()


@pytest.mark.parametrize("answers", [1, 2, 3, 4])
def test_a_site_may_die_in_every_phase_of_the_active_model(answers: int, kits: Path) -> None:
    """Each case has a model of its own: a site refuses two sums of one model that differ by one site."""
    sites = some(5, kits, s3=Site("site-3", trains(3), kits, answers=answers))
    settings = replace(ACTIVE, task=f"dies-{answers}", metrics={})
    _, controller = run(sites, kits / "server", settings, rounds=1, start=float(answers))
    in_sum = [1, 2, 4, 5] if answers < 3 else [1, 2, 3, 4, 5]
    assert moved_by(controller.models[0]) - answers == pytest.approx(mean_of(in_sum), abs=2e-4)


def test_a_site_with_an_identity_refuses_the_semi_honest_model(kits: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    job, controller = run(some(3, kits), kits / "server", SETTINGS, rounds=1, start=50.0)
    assert "threat model SEMI_HONEST is not allowed" in caplog.text
    assert moved_by(controller.models[0]) == 50
    assert job.engine.tasks == {}


def test_twin_with_another_policy_an_identity_is_no_protection(kits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "policy_of", lambda kit: site.policy_without_identity())
    job, _ = run(some(3, kits), kits / "server", SETTINGS, rounds=1, start=60.0)
    assert len(job.engine.tasks) == 3


def test_a_site_without_an_identity_drops_out_of_the_active_model(
    kits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sites = some(4, kits, s3=Site("site-3", trains(3), tmp_path))
    _, controller = run(sites, kits / "server", replace(ACTIVE, threshold=3), rounds=1, start=70.0)
    assert moved_by(controller.models[0]) - 70 == pytest.approx(mean_of([1, 2, 4]), abs=2e-4)
    assert "site-3 is out of the round of train" in caplog.text
    assert "provision the project with SecAggBuilder" in caplog.text


def test_an_identity_of_another_ca_drops_out(kits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    strangers = provision(tmp_path, SITES)
    sites = some(4, kits, s3=Site("site-3", trains(3), strangers))
    _, controller = run(sites, kits / "server", replace(ACTIVE, threshold=3), rounds=1, start=80.0)
    assert moved_by(controller.models[0]) - 80 == pytest.approx(mean_of([1, 2, 4]), abs=2e-4)


def test_a_damaged_kit_is_told_at_the_site_alone(kits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    broken = provision(tmp_path, SITES)
    (broken / "site-3/startup/secagg/key.pem").write_text("no key")
    sites = some(4, kits, s3=Site("site-3", trains(3), broken))
    run(sites, kits / "server", replace(ACTIVE, threshold=3), rounds=1, start=90.0)
    assert "this site can take part in no round: no readable PEM private key" in caplog.text
    assert "site-3 is out of the round of train: it left: it could not begin; its log says why" in caplog.text


def test_the_server_without_the_ca_says_what_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(some(3, tmp_path), tmp_path, ACTIVE, rounds=1)
    assert "ca.pem: No such file or directory" in caplog.text


def test_in_the_simulator_each_site_has_a_folder_of_its_name(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    made = create_authority(name="simulated", now=now)
    from secagg.crypto.authority import Authority

    authority = Authority.from_pem(made.certificate_pem, made.key_pem.expose())
    for name in SITES[:2]:
        issued = issue_participant(authority, participant_id=name, organisation="one", now=now)
        folder = tmp_path / "secagg" / name
        folder.mkdir(parents=True)
        (folder / "cert.pem").write_bytes(issued.certificate_pem)
        (folder / "key.pem").write_bytes(issued.key_pem.expose())
        (folder / "key.pem").chmod(0o600)
        (folder / "ca.pem").write_bytes(made.certificate_pem)
    kit = Kit.of(tmp_path, "site-2")
    assert kit is not None
    assert kit.identity.participant_id == "site-2"
    assert Kit.of(tmp_path, "site-9") is None
