"""The keys of saved states in a folder: made with the state, destroyed by its restore, each step safe on the disk.

The folder has a file of 32 random bytes for each saved state, `ROUND.PARTICIPANT.STEP.key`, and an empty one for each
round that was joined, `ROUND.PARTICIPANT.joined`. A new file is created only if there is none of its name, and a key is
destroyed by one call of the operating system, so of two processes that try one succeeds.

The folder stays small by itself: it knows the latest `MAX_ROUNDS` rounds of a participant. With an older round go its
keys, if its state was never restored; that state then opens no more. Everything in the folder may be deleted at any
time: states that are out are lost then, and their rounds with them, and no state can be used twice for it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from secagg.context import RoundId
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.errors import IdentityError, SavedStateError
from secagg.messages import ParticipantId
from secagg.programs.folders import flush_folder
from secagg.programs.keyfiles import NewFile, write_new
from secagg.rounds.saved_state import (
    MAX_ROUNDS,
    STATE_KEY_SIZE,
    StateName,
    joined_before,
    joined_by,
    joined_name,
    key_name,
    keys_of,
    no_key,
    not_joined,
    saved_before,
)


class FolderStateKeys:
    """Keys of saved states in a private folder. Several threads and processes of one machine may share it."""

    durable: Final = True
    guarded: Final = True

    def __init__(self, folder: str | Path) -> None:
        """The keys of a folder, which is made if there is none.

        Args:
            folder: on a local disk, for this alone. Do not copy it, nor bring it back from a backup: with an older copy
                of it, older states would open again.

        Raises:
            SavedStateError: it cannot be made or read, or others on this machine can read it.
        """
        self._folder = Path(folder).absolute()
        with self._telling():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = self._folder.stat().st_mode
        if os.name == "posix" and mode & 0o077:  # check: keys-read-by-others
            raise SavedStateError(
                f"the folder {self._folder} can be read by others (mode {mode & 0o777:04o}); "
                f"run: chmod 700 {self._folder}"
            )

    def join(self, round_id: RoundId, participant_id: ParticipantId) -> None:
        """As `StateKeys.join`."""
        with self._telling():
            taken = joined_before(round_id, participant_id)
            _create(self._joined(round_id, participant_id), Secret(b""), taken)
            self._forget_oldest(round_id, participant_id)

    def make(self, name: StateName) -> Secret:
        """As `StateKeys.make`."""
        key = Secret(SystemRng().token(STATE_KEY_SIZE))
        with self._telling():
            if not self._joined(name.round_id, name.participant_id).exists():
                raise not_joined(name)
            _create(self._key(name), key, saved_before(name))
        return key

    def read(self, name: StateName) -> Secret:
        """As `StateKeys.read`."""
        with self._telling():
            try:
                key = Secret(self._key(name).read_bytes())
            except FileNotFoundError:
                raise no_key(name) from None
        if len(key) != STATE_KEY_SIZE:  # a crash left it; the state that it was made for never came to be
            raise no_key(name)
        return key

    def use_up(self, name: StateName) -> None:
        """As `StateKeys.use_up`."""
        with self._telling():
            try:
                self._key(name).unlink()
            except FileNotFoundError:
                raise no_key(name) from None
            flush_folder(self._folder)

    def _joined(self, round_id: RoundId, participant_id: ParticipantId) -> Path:
        return self._folder / joined_name(round_id, participant_id)

    def _key(self, name: StateName) -> Path:
        return self._folder / key_name(name)

    def _forget_oldest(self, latest: RoundId, participant_id: ParticipantId) -> None:
        """Forget a participant's rounds beyond `MAX_ROUNDS`, and the keys of states that were left behind in them."""
        names = [path.name for path in self._folder.iterdir()]
        ages = {name: _age(self._folder / name) for name in joined_by(participant_id, names)}
        own = joined_name(latest, participant_id)
        others = max((age for name, age in ages.items() if name != own), default=0)
        if ages.get(own, 0) <= others:  # the clock was set back, and the latest would be forgotten first
            ages[own] = others + 1
            os.utime(self._folder / own, ns=(ages[own], ages[own]))
        for oldest in sorted(ages, key=ages.__getitem__)[:-MAX_ROUNDS]:
            for name in (*keys_of(oldest, names), oldest):
                (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SavedStateError(
                f"keys of saved states in {self._folder}: {error.strerror or error}; make the folder readable and "
                "writable, or name another one"
            ) from error


def _create(path: Path, content: Secret, taken: SavedStateError) -> None:
    """A new file, safe on the disk when this returns. Raises `taken` if there is one of its name."""
    try:
        write_new([NewFile(path, content)])
    except (IdentityError, FileExistsError):
        if not os.path.lexists(path):  # a file stands in the place of the folder
            raise
        raise taken from None


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # another process forgot it just now
        return 0
