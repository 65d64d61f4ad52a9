"""The folder of everything durable: private, on a disk with room, and for one coordinator."""

import stat
from pathlib import Path

import pytest
from secagg_server.storage.sqlite import folder as state_folder
from secagg_server.storage.sqlite.folder import held, is_held

from secagg.errors import ConfigError
from secagg.programs.disk import REAL_DISK, RealFile
from secagg.tools.redteam.self_test.patches import without_check


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with held(tmp_path / "new" / "state", REAL_DISK) as state:
        assert stat.S_IMODE(state.path.stat().st_mode) == 0o700
        assert [path.name for path in state.path.iterdir()] == ["lock"]


def test_one_coordinator_has_it_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert not is_held(path, REAL_DISK)
    with held(path, REAL_DISK):
        assert is_held(path, REAL_DISK)
        with pytest.raises(ConfigError, match="belongs to a coordinator that is running"), held(path, REAL_DISK):
            pass
    assert not is_held(path, REAL_DISK)
    with held(path, REAL_DISK):
        pass


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o720])
def test_a_folder_that_others_can_look_into_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 700"), held(tmp_path, REAL_DISK):
        pass
    without_check(monkeypatch, state_folder, "check_private", "state-read-by-others")
    with held(tmp_path, REAL_DISK):
        pass  # the twin: shares lie open to every user of the machine


def test_a_full_disk_is_found_at_the_start_and_nothing_is_left_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(RealFile, "write_at", full)
        with pytest.raises(ConfigError, match=r"No space left on device.*df -h"), held(tmp_path / "state", REAL_DISK):
            pass
    assert list((tmp_path / "state").iterdir()) == []


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(ConfigError, match=f"the state folder {tmp_path}/state: "), held(tmp_path / "state", REAL_DISK):
        pass
