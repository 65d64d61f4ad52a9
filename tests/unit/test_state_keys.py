"""Keys of saved states in a folder or in a mapping: one restore each, durable, and bounded."""

import os
import shutil
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from secagg.context import RoundId
from secagg.crypto.rng import SeededRng
from secagg.errors import ConfigError, LocalError, SavedStateError
from secagg.messages import ParticipantId
from secagg.programs import state_keys
from secagg.programs.state_keys import FolderStateKeys
from secagg.rounds import saved_state
from secagg.rounds.saved_state import MemoryStateKeys, StateKeys, StateName
from secagg.schemes import save
from secagg.tools.simulation.cohort import participant_names
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, start
from tests.saving import brought_back, join_all

ME, ROUND = ParticipantId("hospital-1"), RoundId(bytes(range(16)))
FIRST = StateName(ROUND, ME, 0)
ONE = participant_names(5)[0]


@pytest.fixture(params=["folder", "memory", "mapping"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> StateKeys:
    match request.param:
        case "folder":
            return FolderStateKeys(tmp_path / "keys")
        case "memory":
            return MemoryStateKeys(SeededRng(bytes(32)))
    return MemoryStateKeys(SeededRng(bytes(32)), {})


def test_a_key_is_there_until_it_is_used_up(keys: StateKeys) -> None:
    keys.join(ROUND, ME)
    made = keys.make(FIRST)
    assert len(made) == 32
    assert keys.read(FIRST) == made
    keys.use_up(FIRST)
    for act in (keys.read, keys.use_up):
        with pytest.raises(SavedStateError, match="restored before, or is older than the latest"):
            act(FIRST)


def test_every_key_is_another(keys: StateKeys) -> None:
    keys.join(ROUND, ME)
    made = [keys.make(StateName(ROUND, ME, step)) for step in range(4)]
    assert len({key.expose() for key in made}) == 4


def test_a_round_is_joined_once_by_each(keys: StateKeys) -> None:
    keys.join(ROUND, ME)
    with pytest.raises(SavedStateError, match="hospital-1 joined round 000102"):
        keys.join(ROUND, ME)
    keys.join(ROUND, ParticipantId("hospital-2"))
    keys.join(RoundId(bytes(16)), ME)


def test_there_is_one_state_of_a_name_and_only_of_a_round_that_was_joined(keys: StateKeys) -> None:
    with pytest.raises(SavedStateError, match=r"call join\(\) of the keys"):
        keys.make(FIRST)
    keys.join(ROUND, ME)
    made = keys.make(FIRST)
    with pytest.raises(SavedStateError, match="saved before and not restored"):
        keys.make(FIRST)
    assert keys.read(FIRST) == made


def test_the_latest_rounds_are_remembered_and_older_ones_go_with_their_keys(
    keys: StateKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (state_keys, saved_state):
        monkeypatch.setattr(module, "MAX_ROUNDS", 3)
    rounds = [RoundId(bytes([number]) * 16) for number in range(5)]
    for number, round_id in enumerate(rounds):
        keys.join(round_id, ME)
        keys.make(StateName(round_id, ME, 1))
        if isinstance(keys, FolderStateKeys):
            os.utime(keys._folder / saved_state.joined_name(round_id, ME), (number, number))
    for forgotten in rounds[:2]:
        with pytest.raises(SavedStateError):
            keys.read(StateName(forgotten, ME, 1))
    for known in rounds[2:]:
        assert keys.read(StateName(known, ME, 1))
        with pytest.raises(SavedStateError, match="joined round"):
            keys.join(known, ME)
    keys.join(rounds[0], ME)


def test_a_round_that_is_forgotten_takes_nobody_elses_keys_with_it(
    keys: StateKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (state_keys, saved_state):
        monkeypatch.setattr(module, "MAX_ROUNDS", 1)
    others = [ParticipantId(name) for name in ("hospital-10", "hospital-1.joined", "hospital-1.0", "a.hospital-1")]
    for name in (ME, *others):
        keys.join(ROUND, name)
        keys.make(StateName(ROUND, name, 0))
    if isinstance(keys, FolderStateKeys):
        os.utime(keys._folder / saved_state.joined_name(ROUND, ME), (1, 1))
    keys.join(RoundId(bytes(16)), ME)
    for name in others:
        assert keys.read(StateName(ROUND, name, 0))
    with pytest.raises(SavedStateError):
        keys.read(FIRST)


def test_a_clock_that_was_set_back_makes_no_round_older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_keys, "MAX_ROUNDS", 3)
    keys = FolderStateKeys(tmp_path)
    rounds = [RoundId(bytes([number]) * 16) for number in range(6)]
    for number, round_id in enumerate(rounds):
        keys.join(round_id, ME)
        keys.make(StateName(round_id, ME, 1))
        if number < 3:
            tomorrow = time.time() + 86_400 + number
            os.utime(tmp_path / saved_state.joined_name(round_id, ME), (tomorrow, tomorrow))
    for forgotten in rounds[:3]:
        with pytest.raises(SavedStateError):
            keys.read(StateName(forgotten, ME, 1))
    for known in rounds[3:]:
        assert keys.read(StateName(known, ME, 1))


# --- folders ----------------------------------------------------------------------------------------------------------


def test_what_a_folder_holds_is_private_and_small(tmp_path: Path) -> None:
    keys = FolderStateKeys(tmp_path / "a" / "keys")
    keys.join(ROUND, ME)
    keys.make(FIRST)
    folder = tmp_path / "a" / "keys"
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{ROUND.hex()}.hospital-1.0.key", f"{ROUND.hex()}.hospital-1.joined"]
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert sorted(path.stat().st_size for path in folder.iterdir()) == [0, 32]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the mode says nothing about who may read")
@pytest.mark.parametrize("mode", [0o750, 0o705, 0o770, 0o701])
def test_a_folder_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(SavedStateError, match=f"mode {mode:04o}.*chmod 700"):
        FolderStateKeys(folder)
    folder.chmod(0o700)
    FolderStateKeys(folder)


def test_each_step_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content and name of a new key are flushed before it is given out, and its removal before anything is answered."""
    told: list[str] = []
    fsync, unlink = os.fsync, Path.unlink

    def flushed(descriptor: int) -> None:
        told.append("fsync")
        fsync(descriptor)

    def removed(self: Path, *, missing_ok: bool = False) -> None:
        told.append("unlink")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "unlink", removed)
    keys = FolderStateKeys(tmp_path / "keys")
    folder = ["fsync"] if os.name == "posix" else []
    for act, wanted in (
        (lambda: keys.join(ROUND, ME), ["fsync", *folder]),
        (lambda: keys.make(FIRST), ["fsync", *folder]),
        (lambda: keys.read(FIRST), []),
        (lambda: keys.use_up(FIRST), ["unlink", *folder]),
    ):
        told.clear()
        act()
        assert told == wanted


def test_two_processes_that_share_a_folder_know_the_same(tmp_path: Path) -> None:
    one, other = FolderStateKeys(tmp_path), FolderStateKeys(tmp_path)
    one.join(ROUND, ME)
    with pytest.raises(SavedStateError):
        other.join(ROUND, ME)
    made = one.make(FIRST)
    assert other.read(FIRST) == made
    other.use_up(FIRST)
    with pytest.raises(SavedStateError):
        one.use_up(FIRST)


def test_of_many_that_use_up_a_key_at_the_same_time_one_succeeds(tmp_path: Path) -> None:
    keys = FolderStateKeys(tmp_path)
    keys.join(ROUND, ME)
    for step in range(20):
        name = StateName(ROUND, ME, step)
        keys.make(name)

        def won(_: int, name: StateName = name) -> bool:
            try:
                keys.use_up(name)
            except SavedStateError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(won, range(8))) == 1


RESTORING = """
import sys
from pathlib import Path

from secagg.context import RoundId
from secagg.crypto.rng import SystemRng
from secagg.lattice.jobs import Desk
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.programs.state_keys import FolderStateKeys
from secagg.rounds.membership import Membership
from secagg.schemes import restore

folder, state, round_id, name = sys.argv[1:]
participant = restore(
    Path(state).read_bytes(), FolderStateKeys(folder), round_id=RoundId(bytes.fromhex(round_id)),
    participant_id=ParticipantId(name), backend=Desk,
    membership_of=lambda round_: Membership(
        round_, ParticipantId(name), Policy(threat_models=frozenset({round_.config.threat_model})), SystemRng(), None
    ),
)
print(participant.awaits.name, participant.advertisement.channel_public_key.hex())
"""


def test_a_state_goes_on_in_another_process_once(tmp_path: Path) -> None:
    run, keys = start(make_config(5, SEMI_HONEST)), FolderStateKeys(tmp_path / "keys")
    join_all(run, keys)
    participant = run.participants[ONE]
    participant.membership = replace(participant.membership, durable_claim=True)
    (tmp_path / "state").write_bytes(save(participant, keys))
    round_id = participant.membership.round.round_id.hex()
    command = [sys.executable, "-c", RESTORING, str(tmp_path / "keys"), str(tmp_path / "state"), round_id, ONE]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2))
    assert first.stdout.split() == ["ADVERTISE_KEYS", participant.advertisement.channel_public_key.hex()]
    assert second.returncode == 1
    assert "SavedStateError" in second.stderr


def test_what_a_crash_left_of_a_key_opens_nothing(tmp_path: Path) -> None:
    keys = FolderStateKeys(tmp_path)
    keys.join(ROUND, ME)
    (tmp_path / saved_state.key_name(FIRST)).write_bytes(bytes(7))
    with pytest.raises(SavedStateError, match="cannot be restored"):
        keys.read(FIRST)


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    keys = FolderStateKeys(tmp_path / "keys")
    keys.join(ROUND, ME)
    keys.make(FIRST)
    shutil.rmtree(tmp_path / "keys")
    with pytest.raises(SavedStateError, match="restored before"):
        keys.read(FIRST)
    (tmp_path / "keys").write_bytes(b"")
    for act in (lambda: keys.join(ROUND, ME), lambda: keys.read(FIRST), lambda: keys.use_up(FIRST)):
        with pytest.raises(SavedStateError, match="make the folder readable and writable, or name another one"):
            act()
    with pytest.raises(SavedStateError, match="make the folder"):
        FolderStateKeys(tmp_path / "keys")
    assert issubclass(SavedStateError, LocalError)


def test_keys_are_not_written_through_a_link(tmp_path: Path) -> None:
    keys = FolderStateKeys(tmp_path / "keys")
    (tmp_path / "keys" / saved_state.joined_name(ROUND, ME)).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SavedStateError, match="joined round"):
        keys.join(ROUND, ME)
    assert not (tmp_path / "elsewhere").exists()


# --- what they promise ------------------------------------------------------------------------------------------------


def test_states_in_a_folder_outlive_the_objects_that_made_them(tmp_path: Path) -> None:
    run = start(make_config(5))
    join_all(run, FolderStateKeys(tmp_path))
    participant = run.participants[ONE]
    participant.membership = replace(participant.membership, durable_claim=True)
    sealed = save(participant, FolderStateKeys(tmp_path))
    restored = brought_back(sealed, participant.membership, FolderStateKeys(tmp_path))
    assert restored.awaits is not None
    with pytest.raises(SavedStateError, match="restored before"):
        brought_back(sealed, participant.membership, FolderStateKeys(tmp_path))


def test_who_brings_back_the_folder_with_the_state_goes_back_unnoticed(tmp_path: Path) -> None:
    """The limit of what can be told, which PROTOCOL and SECURITY name: nothing outside the folder knows better."""
    run, folder, copy = start(make_config(5)), tmp_path / "keys", tmp_path / "copy"
    join_all(run, FolderStateKeys(folder))
    participant = run.participants[ONE]
    participant.membership = replace(participant.membership, durable_claim=True)
    sealed = save(participant, FolderStateKeys(folder))
    shutil.copytree(folder, copy)
    brought_back(sealed, participant.membership, FolderStateKeys(folder))
    copy.chmod(0o700)
    assert brought_back(sealed, participant.membership, FolderStateKeys(copy)).awaits is not None


def test_without_the_folder_states_are_lost_and_nothing_else(tmp_path: Path) -> None:
    run, folder = start(make_config(5)), tmp_path / "keys"
    join_all(run, FolderStateKeys(folder))
    participant = run.participants[ONE]
    participant.membership = replace(participant.membership, durable_claim=True)
    sealed = save(participant, FolderStateKeys(folder))
    shutil.rmtree(folder)
    with pytest.raises(SavedStateError, match="its key is in another folder"):
        brought_back(sealed, participant.membership, FolderStateKeys(folder))


def test_a_state_that_outlives_the_process_needs_a_memory_of_sums_that_does(tmp_path: Path) -> None:
    run, keys = start(make_config(5)), FolderStateKeys(tmp_path)
    join_all(run, keys)
    with pytest.raises(ConfigError, match="keep the memory in a file"):
        save(run.participants[ONE], keys)
    assert run.participants[ONE].awaits is not None


def test_keys_that_lie_with_the_states_serve_a_semi_honest_coordinator_alone() -> None:
    for model in (SEMI_HONEST, ACTIVE):
        run, mapping = start(make_config(5, model)), dict[str, bytes]()
        keys = MemoryStateKeys(SeededRng(bytes(32)), mapping)
        assert not keys.guarded
        join_all(run, keys)
        participant = run.participants[ONE]
        if model is ACTIVE:
            with pytest.raises(ConfigError, match="name a folder"):
                save(participant, keys)
            continue
        sealed = save(participant, keys)
        elsewhere = MemoryStateKeys(SeededRng(bytes(32)), mapping)  # in another process, that was given the mapping
        assert brought_back(sealed, participant.membership, elsewhere).awaits is not None
