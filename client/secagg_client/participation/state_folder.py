"""The folder by which a participant outlives its process: what it must know to go on in the round that it is in.

What is in it (PROTOCOL.md, "Going on after a crash"):

- `lock`: held as long as somebody uses the folder.
- `state`: a `KeptState`, sealed. Its first bytes name the version of the format and a number.
- `key.NUMBER`: 32 bytes that seal the state of this number, and no other.
- `carried.NUMBER`: what feedback carries for a task, sealed under a key that is in the state.

Each change writes a fresh key, then the sealed state in place of the old one, and then destroys the old key. So a crash
at any moment leaves one state that opens: the old one or the new one. What a crash leaves besides is removed at the
next start. There the key is exchanged, too, before anything is sent: a copy of the file `state` opens no more
afterwards.
"""

import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from secagg.context import RoundId
from secagg.crypto import labels, sealing
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.arrays import FloatArray
from secagg.errors import AuthenticationError, LocalError, RemoteError, SavedStateError
from secagg.messages import ParticipantId
from secagg.programs.disk import REAL_DISK, Disk, exchange
from secagg.wire.kept_states import MAX_JOINED, CarriedFile, KeptState, UnderWay, decode_kept, encode_kept

VERSION: Final = 1
KEY_SIZE: Final = 32

_STATE, _LOCK, _KEY, _CARRIED = "state", "lock", "key.", "carried."
_NUMBER_SIZE: Final = 8
_HEADER_SIZE: Final = 1 + _NUMBER_SIZE
_OURS: Final = re.compile(r"(state|(key|carried)\.[0-9]+)(\.new)?")
_NAMED: Final = "array "  # before each name in an .npz file: some names are those of arguments of numpy.savez


class StateFolder:
    """A folder for `participate(state=…)`. One participant uses it, in one process at a time, for one round at a time.

    Give the path alone where the result of a round is all that matters: then the round is forgotten when `participate`
    returns. Where the result must not be lost either, hold the folder until it is safe. Who is killed before the block
    ends, and runs again, gets the same result again:

        with StateFolder("state") as state:
            result = client.participate(update, task="digits", model=model, state=state)
            np.savez("mean.npz", **result.mean.arrays)
    """

    def __init__(self, path: str | Path, *, disk: Disk = REAL_DISK) -> None:
        """Nothing is looked at yet.

        Args:
            path: of the folder, which is made if there is none. On a local disk, for this alone, out of backups: an
                older copy, brought back in the middle of a round, would answer a second time.
            disk: the file system.
        """
        self._folder = Path(path).absolute()
        self._disk = disk
        self._held = ExitStack()
        self._holding = False
        self._turn = Lock()
        self._number = 0
        self._kept: KeptState | None = None
        self._finished: KeptState | None = None  # once the caller has the result

    def __enter__(self) -> Self:
        """Hold the folder.

        Raises:
            SavedStateError: another process holds it, others can read it, or it cannot be made.
        """
        with self._telling():
            self._disk.make_folder(self._folder)
            facts = self._disk.facts(self._folder)
        if os.name == "posix" and (facts is None or facts.mode & 0o077):  # check: state-read-by-others
            raise SavedStateError(f"the folder {self._folder} can be read by others; run: chmod 700 {self._folder}")
        with self._telling():
            try:
                self._held.enter_context(self._disk.locked(self._folder / _LOCK))  # check: one-process
            except BlockingIOError:
                raise SavedStateError(
                    f"the state in {self._folder} is in use: a participant runs with it. Wait for that one, or give "
                    "this one a folder of its own"
                ) from None
        self._holding = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go. Without an error, the result of the last round is safe with the caller: the round is forgotten."""
        try:
            if kind is None:
                self.forget_finished()
        finally:
            self._kept = self._finished = None
            self._holding = False
            self._held.close()

    # --- for one participation ----------------------------------------------------------------------------------------

    @contextmanager
    def turn(self, owner: ParticipantId) -> Iterator[None]:
        """Use the folder alone, knowing what is in it. A result that was handed over before is safe by now.

        Args:
            owner: whose it is.

        Raises:
            LocalError: the folder is not held.
            SavedStateError: it is in use in this process, is another participant's, is damaged, or cannot be used.
        """
        self._check_held()
        if not self._turn.acquire(blocking=False):  # check: one-participation
            raise SavedStateError(f"the state in {self._folder} is in use: it serves one participation at a time")
        try:
            self.forget_finished()
            if self._kept is None:
                with self._telling():
                    self._load(owner)
            yield
        finally:
            self._turn.release()

    @property
    def under_way(self) -> UnderWay | None:
        """The round that is under way."""
        return self._now.under_way

    @property
    def joined(self) -> tuple[RoundId, ...]:
        """The rounds that were joined, the latest last."""
        return self._now.joined

    def keep(self, under_way: UnderWay, *joined: RoundId) -> None:
        """Keep where the round stands, before anything of it is sent. Safe on return.

        Args:
            under_way: the round.
            joined: its ids, when it is joined: of the group and of the round in groups.

        Raises:
            SavedStateError: it cannot be kept, or the round was joined before.
        """
        now = self._now
        if again := set(joined) & set(now.joined):  # check: joined-once
            raise SavedStateError(
                f"round {again.pop().hex()} was joined before with the state in {self._folder}; keys are made once per "
                "round"
            )
        self._commit(replace(now, under_way=under_way, joined=(*now.joined, *joined)[-MAX_JOINED:]))

    def carried(self, task: str) -> dict[str, FloatArray]:
        """What feedback carries for a task: float32 arrays by name.

        Raises:
            SavedStateError: it is damaged, or cannot be read.
        """
        file = self._now.carried.get(task)
        if file is None:
            return {}
        with self._telling():
            content = self._opened(self._disk.read(self._carried_file(file)), file.key, file.number)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name.removeprefix(_NAMED): array for name, array in arrays.items()}

    def finish(self, task: str, carried: Mapping[str, FloatArray] | None) -> None:
        """The caller gets the result. It is kept that the round is over once the caller says that the result is safe.

        Args:
            task: of the round.
            carried: what feedback carries from now on; None where the task has no feedback.
        """
        self._finished = self._over(task, carried)

    def give_up(self, task: str, carried: Mapping[str, FloatArray] | None) -> None:
        """The round is over for us without a result. Arguments as of `finish`. Safe on return."""
        self._commit(self._over(task, carried))

    def forget_finished(self) -> None:
        """The result that was handed over is safe. Safe on return."""
        finished, self._finished = self._finished, None
        if finished is not None:
            self._commit(finished)

    def _check_held(self) -> None:
        if not self._holding:  # check: state-held
            raise LocalError(
                f"nobody holds the folder {self._folder}, and another process may use it: pass its path, or use it in "
                "a block (with StateFolder(path) as state)"
            )

    # --- files --------------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> KeptState:
        if self._kept is None:
            raise SavedStateError(f"what is kept in {self._folder} is not known: the disk failed, or nobody holds it")
        return self._kept

    def _over(self, task: str, carried: Mapping[str, FloatArray] | None) -> KeptState:
        now = replace(self._now, under_way=None)
        if carried is None:
            return now
        files = {known: file for known, file in now.carried.items() if known != task}
        if carried:
            file = CarriedFile(self._number + 1, Secret(SystemRng().token(KEY_SIZE)))
            content = io.BytesIO()
            named: dict[str, Any] = {f"{_NAMED}{name}": array for name, array in carried.items()}
            np.savez(content, **named)
            sealed = sealing.seal(file.key, content.getvalue(), _associated(file.number))
            with self._telling():
                exchange(self._disk, self._carried_file(file), sealed)
            files[task] = file
        return replace(now, carried=files)

    def _commit(self, kept: KeptState) -> None:
        """Write a fresh key, then the state, and destroy the old key."""
        before, number, key = self._number, self._number + 1, Secret(SystemRng().token(KEY_SIZE))
        sealed = sealing.seal(key, encode_kept(kept), _associated(number))
        stale = {file.number for file in self._now.carried.values()} - {file.number for file in kept.carried.values()}
        self._kept = None  # until it is known which state is on the disk
        with self._telling():
            exchange(self._disk, self._key_file(number), key.expose())
            exchange(self._disk, self._folder / _STATE, bytes([VERSION]) + number.to_bytes(_NUMBER_SIZE) + sealed)
            self._number = number
            self._remove([f"{_KEY}{before}", *(f"{_CARRIED}{old}" for old in stale)])  # check: key-used-up
        self._kept = kept

    def _load(self, owner: ParticipantId) -> None:
        names = self._disk.names(self._folder)
        if _STATE not in names:
            self._number = max((int(name[len(_KEY) :]) for name in names if _is_key(name)), default=0)
            self._kept = KeptState(participant_id=owner)
            self._remove([name for name in names if _OURS.fullmatch(name)])
            return
        sealed = self._disk.read(self._folder / _STATE)
        if len(sealed) <= _HEADER_SIZE or sealed[0] != VERSION:
            raise self._damaged("it is of another version, or no state" if sealed else "it is empty")
        number = int.from_bytes(sealed[1:_HEADER_SIZE])
        if f"{_KEY}{number}" not in names:
            raise self._damaged("its key is gone: it is a copy of an older state")
        key = Secret(self._disk.read(self._key_file(number)))
        try:
            if len(key) != KEY_SIZE:
                raise self._damaged("its key is damaged")
            kept = decode_kept(self._opened(sealed[_HEADER_SIZE:], key, number))
        except RemoteError as error:
            raise self._damaged(str(error)) from None
        if kept.participant_id != owner:  # check: state-of-another
            raise SavedStateError(f"the state in {self._folder} is that of {kept.participant_id}, not of {owner}")
        self._number, self._kept = number, kept
        needed = {_STATE, f"{_KEY}{number}", *(f"{_CARRIED}{file.number}" for file in kept.carried.values())}
        self._remove([name for name in names if _OURS.fullmatch(name) and name not in needed])
        if kept.under_way is not None:
            self._commit(kept)  # its key is used up before anything is sent

    def _opened(self, sealed: bytes, key: Secret, number: int) -> bytes:
        try:
            return sealing.unseal(key, sealed, _associated(number), sender=_STATE)
        except AuthenticationError:
            raise self._damaged("it was altered") from None

    def _remove(self, names: list[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._disk.unlink(self._folder / name)
        if names:
            self._disk.flush_folder(self._folder)

    def _key_file(self, number: int) -> Path:
        return self._folder / f"{_KEY}{number}"

    def _carried_file(self, file: CarriedFile) -> Path:
        return self._folder / f"{_CARRIED}{file.number}"

    def _damaged(self, why: str) -> SavedStateError:
        return SavedStateError(
            f"the state in {self._folder} does not open: {why}. Move the folder away to sit out the round that it was "
            "in, and take part in the next one with a fresh folder"
        )

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SavedStateError(
                f"the state in {self._folder}: {error.strerror or error}; make the folder readable and writable, with "
                "room on its disk, and run again"
            ) from error


def _is_key(name: str) -> bool:
    return name.startswith(_KEY) and name[len(_KEY) :].isdigit()


def _associated(number: int) -> bytes:
    return frame(labels.KEPT_STATE, bytes([VERSION]), number.to_bytes(_NUMBER_SIZE))
