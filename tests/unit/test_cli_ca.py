"""`secagg ca` as a user meets it: files, modes, refusals, one-line errors."""

import io
import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from secagg.cli import ca
from secagg.cli.certificate_summary import summarise
from secagg.cli.main import main
from secagg.crypto.identity import CoordinatorIdentity, Identity, TrustAnchors
from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError, IdentityError
from secagg.programs.keyfiles import NewFile, read_private, write_new


class Cli:
    """Runs `secagg` in this process, in a folder of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str, code: int = 0) -> str:
        """What went to stdout, or to stderr when `code` says that the command fails."""
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out, err = self._capsys.readouterr()
        assert (caught.value.code or 0) == code, err
        return err if code else out

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ca.PASSPHRASE_VARIABLE, raising=False)
    return Cli(capsys)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_deployment_from_nothing(cli: Cli) -> None:
    cli.run("ca", "init", "--name", "Heart study")
    cli.run("ca", "issue", "participant", "clinic-7", "--organisation", "Clinic Seven")
    cli.run("ca", "issue", "server", "--host", "localhost", "--host", "127.0.0.1")
    now = datetime.now(UTC)
    folder = Path("secagg-ca/participants/clinic-7")
    identity = Identity.from_pem((folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes())
    anchors = TrustAnchors.from_pem((folder / "ca.pem").read_bytes())
    assert anchors.verify_participant(identity.chain, now).organisation == "Clinic Seven"
    server = Path("secagg-ca/servers/localhost")
    CoordinatorIdentity.from_pem((server / "cert.pem").read_bytes(), (server / "key.pem").read_bytes(), now)
    assert (server / "ca.pem").read_bytes() == Path("secagg-ca/ca.pem").read_bytes()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_key_files_are_private_whatever_the_umask(cli: Cli, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_new([NewFile(Path("key.pem"), Secret(b"k")), NewFile(Path("cert.pem"), b"c")])
    finally:
        os.umask(before)
    assert mode(Path("key.pem")) == 0o600
    assert mode(Path("cert.pem")) == 0o644


def test_a_key_is_private_from_its_first_byte(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can open the file between its creation and the change of its mode."""
    created: list[int] = []
    real = os.open

    def spy(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            assert flags & os.O_EXCL
            created.append(mode)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", spy)
    write_new([NewFile(Path("key.pem"), Secret(b"k"))])
    assert created == [0o600]


def test_the_files_of_a_ca_and_an_identity_have_their_modes(cli: Cli) -> None:
    cli.run("ca", "init")
    cli.run("ca", "issue", "participant", "a", "--organisation", "A")
    assert mode(Path("secagg-ca")) == 0o700
    assert mode(Path("secagg-ca/ca.key")) == 0o600
    assert mode(Path("secagg-ca/participants/a/key.pem")) == 0o600


def test_nothing_is_overwritten(cli: Cli) -> None:
    cli.run("ca", "init")
    cli.run("ca", "issue", "participant", "a", "--organisation", "A")
    before = {path: path.read_bytes() for path in Path("secagg-ca").rglob("*.*") if path.is_file()}
    assert len(before) == 5
    assert cli.run("ca", "init", code=1).startswith("error: secagg-ca/ca.pem exists and is not overwritten")
    assert "exists" in cli.run("ca", "issue", "participant", "a", "--organisation", "A", code=1)
    assert before == {path: path.read_bytes() for path in before}
    cli.run("ca", "issue", "participant", "a", "--organisation", "A", "--out", "renewed")
    assert Path("renewed/key.pem").read_bytes() != before[Path("secagg-ca/participants/a/key.pem")]


def test_a_planted_link_is_not_followed(cli: Cli) -> None:
    Path("folder").mkdir()
    Path("folder/ca.key").symlink_to("../stolen")
    assert "exists" in cli.run("ca", "init", "--dir", "folder", code=1)
    assert not Path("stolen").exists()
    assert not Path("folder/ca.pem").exists()


def test_a_link_planted_after_the_look_is_not_followed_either(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stops it is O_EXCL: without the early look the file is still not written, and nothing is left behind."""
    Path("folder").mkdir()
    Path("folder/ca.key").symlink_to("../stolen")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    assert "File exists" in cli.run("ca", "init", "--dir", "folder", code=1)
    assert not Path("stolen").exists()
    assert not Path("folder/ca.pem").exists()


def test_without_o_excl_the_link_is_followed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the test above."""
    Path("folder").mkdir()
    Path("folder/ca.key").symlink_to("../stolen")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    monkeypatch.setattr(os, "O_EXCL", 0)
    cli.run("ca", "init", "--dir", "folder")
    assert b"PRIVATE KEY" in Path("stolen").read_bytes()


def test_a_failure_half_way_leaves_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert cli.run("ca", "init", code=1) == "error: [Errno 28] No space left on device\n"
    assert list(Path("secagg-ca").iterdir()) == []


def test_a_ca_key_that_others_can_read_is_refused(cli: Cli) -> None:
    cli.run("ca", "init")
    Path("secagg-ca/ca.key").chmod(0o640)
    error = cli.run("ca", "issue", "participant", "a", "--organisation", "A", code=1)
    assert error == "error: secagg-ca/ca.key can be read by others (mode 0640); run: chmod 600 secagg-ca/ca.key\n"
    Path("secagg-ca/ca.key").chmod(0o600)
    assert b"PRIVATE" in read_private(Path("secagg-ca/ca.key")).expose()


def test_an_encrypted_ca(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ca.PASSPHRASE_VARIABLE, "correct horse")
    cli.run("ca", "init", "--encrypt")
    assert b"ENCRYPTED" in Path("secagg-ca/ca.key").read_bytes()
    cli.run("ca", "issue", "participant", "a", "--organisation", "A")
    monkeypatch.setenv(ca.PASSPHRASE_VARIABLE, "wrong")
    assert "wrong passphrase" in cli.run("ca", "issue", "participant", "b", "--organisation", "A", code=1)
    monkeypatch.setenv(ca.PASSPHRASE_VARIABLE, "")
    assert "empty" in cli.run("ca", "issue", "participant", "b", "--organisation", "A", code=1)
    monkeypatch.delenv(ca.PASSPHRASE_VARIABLE)
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # no terminal to ask at
    error = cli.run("ca", "issue", "participant", "b", "--organisation", "A", code=1)
    assert ca.PASSPHRASE_VARIABLE in error
    assert not Path("secagg-ca/participants/b").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["issue", "participant", "../x", "--organisation", "A"], "participant id '../x'"),
        (["issue", "participant", "a", "--organisation", "A\nB"], "printable"),
        (["issue", "participant", "a", "--organisation", "A", "--days", "9999"], "ask for at most 3649 days"),
        (["issue", "server", "--host", "../x"], "neither an IP address nor a DNS name"),
        (["issue", "participant", "a", "--organisation", "A", "--dir", "nowhere"], "secagg ca init --dir nowhere"),
        (["show", "--dir", "nowhere"], "secagg ca init --dir nowhere"),
        (["show", "missing.pem"], "missing.pem: No such file or directory"),
        (["show", "secagg-ca/ca.key"], "secagg-ca/ca.key: no readable PEM certificate"),
    ],
)
def test_errors_are_one_line(cli: Cli, arguments: list[str], reason: str) -> None:
    cli.run("ca", "init")
    error = cli.run("ca", *arguments, code=1)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert reason in error


def test_a_wrong_command_line_is_exit_code_2(cli: Cli) -> None:
    assert "bogus" in cli.run("bogus", code=2)
    assert "--organisation" in cli.run("ca", "issue", "participant", "a", code=2)
    assert "--days" in cli.run("ca", "init", "--days", "0", code=2)


def test_show_lists_everything_for_people_and_programs(cli: Cli) -> None:
    cli.run("ca", "init", "--name", "Heart study")
    cli.run("ca", "issue", "participant", "clinic-7", "--organisation", "Clinic Seven", "--days", "30")
    cli.run("ca", "issue", "server", "--host", "localhost", "--host", "::1")
    lines = cli.run("ca", "show").splitlines()
    assert [line.split()[0] for line in lines] == ["ROLE", "ca", "participant", "server"]
    assert "Clinic Seven" in lines[2]
    assert "expires in 30 days" in lines[2]
    found = cli.json("ca", "show")
    assert [entry["role"] for entry in found] == ["ca", "participant", "server"]
    assert (found[1]["participant_id"], found[1]["organisation"]) == ("clinic-7", "Clinic Seven")
    assert found[1]["expires_in_days"] == 30
    assert found[2]["hosts"] == ["localhost", "::1"]
    assert all(entry["valid"] and len(entry["sha256"]) == 64 for entry in found)


def test_show_says_expired_and_not_yet_valid(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.run("ca", "init", "--days", "10")
    made = datetime.now(UTC)
    for days, text in [(9, "expires in 1 day ("), (11, "EXPIRED on"), (-1, "NOT VALID before")]:
        monkeypatch.setattr(ca, "_now", lambda days=days: made + timedelta(days=days))
        assert text in cli.run("ca", "show")
    monkeypatch.setattr(ca, "_now", lambda: made + timedelta(days=11))
    assert not cli.json("ca", "show")[0]["valid"]
    error = cli.run("ca", "issue", "participant", "a", "--organisation", "A", code=1)
    assert "the CA expired on" in error
    assert "secagg ca init" in error


def test_issuing_reports_json(cli: Cli) -> None:
    assert cli.json("ca", "init", "--name", "Heart study")["key_path"] == "secagg-ca/ca.key"
    made = cli.json("ca", "issue", "participant", "a", "--organisation", "A")
    assert (made["role"], made["participant_id"]) == ("participant", "a")
    assert summarise(Path(made["path"]), Path(made["path"]).read_bytes())[0].sha256 == made["sha256"]


def test_rotation_with_two_cas(cli: Cli) -> None:
    for folder in ("old", "new"):
        cli.run("ca", "init", "--dir", folder, "--name", f"{folder} CA")
        cli.run("ca", "issue", "participant", "a", "--organisation", "A", "--dir", folder)
    Path("trusted.pem").write_bytes(Path("old/ca.pem").read_bytes() + Path("new/ca.pem").read_bytes())
    assert [entry["subject"] for entry in cli.json("ca", "show", "trusted.pem")] == ["CN=old CA", "CN=new CA"]
    anchors = TrustAnchors.from_pem(Path("trusted.pem").read_bytes())
    for folder in ("old", "new"):
        own = Path(folder, "participants/a")
        identity = Identity.from_pem((own / "cert.pem").read_bytes(), (own / "key.pem").read_bytes())
        assert anchors.verify_participant(identity.chain, datetime.now(UTC)).participant_id == "a"


def test_mismatched_ca_files_are_refused(cli: Cli) -> None:
    cli.run("ca", "init", "--dir", "one")
    cli.run("ca", "init", "--dir", "two")
    Path("one/ca.pem").write_bytes(Path("two/ca.pem").read_bytes())
    error = cli.run("ca", "issue", "participant", "a", "--organisation", "A", "--dir", "one", code=1)
    assert "do not belong together" in error


def test_read_private_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="nothing: No such file"):
        read_private(tmp_path / "nothing")


def secagg(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from secagg.cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_traceback_in_a_process_of_its_own(tmp_path: Path) -> None:
    run = secagg("ca", "show", "--dir", str(tmp_path))
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error: no CA in ")
    assert "Traceback" not in run.stderr
    assert secagg("--version").stdout.startswith("secagg ")


def test_help_is_quick_and_needs_no_extra() -> None:
    """`secagg --help` looks at every command and loads none of the heavy packages."""
    program = (
        "import sys\nfrom secagg.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'grpc', 'numpy', 'tenseal', 'sklearn', 'pydantic', 'structlog'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "ca" in run.stdout


# --- revocation -------------------------------------------------------------------------------------------------------


def test_a_revoked_participant_is_in_the_list_and_stays_there(cli: Cli) -> None:
    cli.run("ca", "init")
    for name in ("a", "b"):
        cli.run("ca", "issue", "participant", name, "--organisation", "north")
    told = cli.json("ca", "revoke", "a")
    assert (told["path"], told["number"], told["revoked"]) == ("secagg-ca/crl.pem", 1, 1)
    assert mode(Path("secagg-ca/crl.pem")) == 0o644
    out = cli.run("ca", "revoke", "secagg-ca/participants/b/cert.pem", "--days", "7")
    assert out.startswith("revocation list 2: 2 certificates; the next one is due before ")
    assert cli.json("ca", "revoke", "a")["revoked"] == 2
    assert cli.json("ca", "revoke")["number"] == 4
    now = datetime.now(UTC)
    trust = TrustAnchors.from_pem(Path("secagg-ca/ca.pem").read_bytes() + Path("secagg-ca/crl.pem").read_bytes())
    for name in ("a", "b"):
        folder = Path("secagg-ca/participants") / name
        identity = Identity.from_pem((folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes())
        with pytest.raises(AuthenticationError, match="took it back"):
            trust.verify_participant(identity.chain, now)


def test_what_is_not_of_the_ca_is_not_revoked(cli: Cli) -> None:
    cli.run("ca", "init")
    cli.run("ca", "init", "--dir", "other", "--name", "other")
    cli.run("ca", "issue", "participant", "c", "--organisation", "north", "--dir", "other")
    assert "nobody is no certificate file, and" in cli.run("ca", "revoke", "nobody", code=1)
    foreign = cli.run("ca", "revoke", "other/participants/c/cert.pem", code=1)
    assert "another CA issued it: CN=other" in foreign
    cli.run("ca", "revoke", "c", "--dir", "other")
    Path("secagg-ca/crl.pem").write_bytes(Path("other/crl.pem").read_bytes())
    assert "secagg-ca/crl.pem is not of the CA in secagg-ca" in cli.run("ca", "revoke", code=1)
