"""Which key files are taken: those that nobody can read but their owner, and those that Kubernetes mounts."""

import os
import stat
from pathlib import Path

import pytest

from secagg.errors import IdentityError
from secagg.programs import keyfiles
from secagg.programs.keyfiles import open_to_others, read_private, read_public
from secagg.tools.redteam.self_test.patches import Patch, without_check
from tests.nobody import as_nobody, place

POD, ANOTHER, ROOT = 65532, 1000, 0


def status(mode: int, owner: int, group: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, group, 1, 0, 0, 0))


def is_open(mode: int, *, owner: int, group: int, user: int = POD, own: int = POD) -> bool:
    return open_to_others(status(mode, owner, group), user, own)


def test_what_kubernetes_mounts_is_taken() -> None:
    """A volume with defaultMode 0400 in a pod with fsGroup: kubelet gives it to the group and adds 0440."""
    assert not is_open(0o440, owner=ROOT, group=POD)
    assert not is_open(0o640, owner=ROOT, group=POD)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
@pytest.mark.parametrize("owner", [ROOT, POD, ANOTHER])
def test_what_the_owner_alone_can_read_is_taken(mode: int, owner: int) -> None:
    assert not is_open(mode, owner=owner, group=ANOTHER)


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o404, 0o460, 0o450, 0o441, 0o442, 0o660])
def test_more_than_reading_by_the_group_is_refused(mode: int) -> None:
    """0644 is what a Secret has without a defaultMode."""
    assert is_open(mode, owner=ROOT, group=POD)


def test_a_group_that_is_not_the_primary_one_of_the_process_is_refused() -> None:
    """fsGroup without the same runAsGroup, or a group that several services share."""
    assert is_open(0o440, owner=ROOT, group=POD, own=ANOTHER)


def test_a_file_of_somebody_elses_is_refused_whatever_its_group() -> None:
    assert is_open(0o440, owner=ANOTHER, group=POD)
    assert is_open(0o440, owner=POD, group=POD)


def test_root_reads_without_a_group() -> None:
    assert is_open(0o440, owner=ROOT, group=ROOT, user=ROOT, own=ROOT)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the mode says nothing about who may read")
class TestFiles:
    @pytest.fixture
    def key(self, tmp_path: Path) -> Path:
        path = tmp_path / "key.pem"
        path.touch(0o600)
        path.write_bytes(b"a key")
        return path

    def test_a_key_that_others_can_read_is_refused_and_the_error_says_what_to_do(self, key: Path) -> None:
        key.chmod(0o644)
        with pytest.raises(IdentityError, match=rf"\(mode 0644\); run: chmod 600 {key}$"):
            read_private(key)

    def test_without_the_check_it_is_read(self, key: Path) -> None:
        """The twin."""
        key.chmod(0o644)
        with Patch() as patch:
            without_check(patch, keyfiles, "read_private", "key-read-by-others")
            assert keyfiles.read_private(key).expose() == b"a key"

    def test_a_file_of_roots_is_mended_where_it_is_mounted(self, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        key.chmod(0o644)
        monkeypatch.setattr(os, "fstat", lambda _: status(0o644, ROOT, POD))
        monkeypatch.setattr(os, "geteuid", lambda: POD)
        with pytest.raises(IdentityError, match="with defaultMode 0400, and let runAsGroup be fsGroup"):
            read_private(key)

    def test_user_and_group_are_those_of_this_process(self, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "fstat", lambda _: status(0o440, ROOT, POD))
        monkeypatch.setattr(os, "geteuid", lambda: POD)
        monkeypatch.setattr(os, "getegid", lambda: POD)
        assert read_private(key).expose() == b"a key"
        monkeypatch.setattr(os, "getegid", lambda: ANOTHER)
        with pytest.raises(IdentityError):
            read_private(key)


def test_a_file_that_cannot_be_read_is_given_to_this_user_by_its_number() -> None:
    """In a container, too, where a shell outside of it does not know who this user is."""
    with place() as folder:
        closed = folder / "identity"
        closed.mkdir(mode=0o755)
        for name in ("cert.pem", "key.pem"):
            (closed / name).write_bytes(b"x")
            (closed / name).chmod(0o000)
        with as_nobody():
            user = os.geteuid()
            with pytest.raises(IdentityError, match="Permission denied") as key:
                read_private(closed / "key.pem")
            with pytest.raises(IdentityError, match="Permission denied") as certificate:
                read_public(closed / "cert.pem")
        assert key.value.mend == f"sudo chown {user} {closed}/key.pem"
        assert certificate.value.mend == f"chmod a+r {closed}/cert.pem"
        closed.chmod(0o000)
        with as_nobody(), pytest.raises(IdentityError) as whole:
            read_public(closed / "cert.pem")
        closed.chmod(0o700)
        assert whole.value.mend == f"sudo chown -R {user} {closed}"
