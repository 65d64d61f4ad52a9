"""The keys that seal what a database must not show: one for each round, in a file of its own, destroyed at its end.

A key that is gone is also how a round ends that cannot be written down as ended, on a full disk for example: its file
gets another name and is emptied, which needs no room. A round without its key is never gone on with.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.crypto import labels, sealing
from secagg.crypto.kdf import derive
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest, frame
from secagg.errors import AuthenticationError, StoreError
from secagg.programs.disk import Disk

KEY_SIZE: Final = 32
_SALT_SIZE: Final = 16
_KEY: Final = ".key"
_BROKEN: Final = ".broken"


class KeyFolder:
    """The keys of open rounds in a folder."""

    def __init__(self, disk: Disk, folder: Path, rng: Rng) -> None:
        """Args:
        disk: where it is.
        folder: exists, for this alone.
        rng: keys come from it, and what keeps two seals apart.
        """
        self._disk = disk
        self._folder = folder
        self._rng = rng

    def make(self, round_id: RoundId) -> "RoundSeal":
        """A new key, safe on return. One that a crash left under this name is replaced.

        Raises:
            OSError: it cannot be kept.
        """
        key = Secret(self._rng.token(KEY_SIZE))
        with self._disk.open(self._path(round_id), make=True) as file:
            file.truncate(0)
            file.write_at(0, key.expose())
            file.flush()
        self._disk.flush_folder(self._folder)
        return RoundSeal(key, round_id, self._rng)

    def read(self, round_id: RoundId) -> "RoundSeal | None":
        """The key of a round; None if it was destroyed.

        Raises:
            StoreError: the file is damaged.
            OSError: it cannot be read.
        """
        path = self._path(round_id)
        if self._disk.facts(path) is None:
            return None
        key = Secret(self._disk.read(path))
        if len(key) != KEY_SIZE:
            raise StoreError(f"{path.name} has {len(key)} bytes and not {KEY_SIZE}: it was changed on the disk")
        return RoundSeal(key, round_id, self._rng)

    def destroy(self, round_id: RoundId) -> None:
        """Remove the key, if there is one; it is gone for good on return.

        Raises:
            OSError: the disk refuses.
        """
        self._remove(self._path(round_id))

    def break_off(self, round_id: RoundId) -> None:
        """Destroy the key, and mark the round as broken off. That is safe on return, whatever a write of the round that
        failed has left.

        Raises:
            OSError: the disk refuses even that.
        """
        mark = self._path(round_id, _BROKEN)
        if self._disk.facts(self._path(round_id)) is not None:
            self._disk.rename(self._path(round_id), mark)
            self._disk.flush_folder(self._folder)
        with self._disk.open(mark, make=True) as file:
            file.truncate(0)
            file.flush()
        self._disk.flush_folder(self._folder)

    def broken_off(self, round_id: RoundId) -> bool:
        """Whether the round was broken off."""
        return self._disk.facts(self._path(round_id, _BROKEN)) is not None

    def forget(self, round_id: RoundId) -> None:
        """Remove key and mark, if there are any.

        Raises:
            OSError: the disk refuses.
        """
        self._remove(self._path(round_id), self._path(round_id, _BROKEN))

    def rounds(self) -> set[RoundId]:
        """Rounds that have a key or a mark. Files of other names are passed over."""
        names = self._disk.names(self._folder)
        found = [name.removesuffix(end) for name in names for end in (_KEY, _BROKEN) if name.endswith(end)]
        return {RoundId(bytes.fromhex(name)) for name in found if len(name) == 2 * ROUND_ID_SIZE and _is_hex(name)}

    def _remove(self, *paths: Path) -> None:
        there = [path for path in paths if self._disk.facts(path) is not None]
        for path in there:
            self._disk.unlink(path)
        if there:
            self._disk.flush_folder(self._folder)

    def _path(self, round_id: RoundId, end: str = _KEY) -> Path:
        return self._folder / f"{round_id.hex()}{end}"


class Envelope(Protocol):
    """What a body is kept in, so that it comes back as it was or not at all."""

    def seal(self, label: bytes, plaintext: bytes, *associated: bytes) -> bytes:
        """The body as it is kept."""
        ...

    def unseal(self, label: bytes, sealed: bytes, *associated: bytes) -> bytes:
        """What was sealed for the same purpose, round and associated data.

        Raises:
            AuthenticationError: it was not, or was changed.
        """
        ...


@dataclass(frozen=True, slots=True)
class PlainEnvelope:
    """What is public is kept in clear, with a checksum: what comes after the end of a round, whose key is gone."""

    round_id: RoundId

    def seal(self, label: bytes, plaintext: bytes, *associated: bytes) -> bytes:
        """Body, checksum (16 bytes)."""
        return plaintext + self._checksum(label, plaintext, *associated)

    def unseal(self, label: bytes, sealed: bytes, *associated: bytes) -> bytes:
        """The body, if its checksum fits."""
        plaintext, kept = sealed[:-_SALT_SIZE], sealed[-_SALT_SIZE:]
        if kept != self._checksum(label, plaintext, *associated):  # check: body-checksum
            raise AuthenticationError("its checksum does not fit")
        return plaintext

    def _checksum(self, label: bytes, plaintext: bytes, *associated: bytes) -> bytes:
        return digest(label, self.round_id, plaintext, *associated)[:_SALT_SIZE]


@dataclass(frozen=True, slots=True)
class RoundSeal:
    """Seals under the key of a round. Each seal has a key of its own, made of the round's key and of 16 random bytes
    that stand before it: what a crash threw away is then never sealed again under the same key.
    """

    key: Secret
    round_id: RoundId
    rng: Rng

    def seal(self, label: bytes, plaintext: bytes, *associated: bytes) -> bytes:
        """16 random bytes, ciphertext, tag (16 bytes)."""
        salt = self.rng.token(_SALT_SIZE)
        return salt + sealing.seal(self._key(label, salt), plaintext, frame(label, self.round_id, *associated))

    def unseal(self, label: bytes, sealed: bytes, *associated: bytes) -> bytes:
        """What was sealed for the same purpose, round and associated data.

        Raises:
            AuthenticationError: it was not, or was changed.
        """
        salt, rest = sealed[:_SALT_SIZE], sealed[_SALT_SIZE:]
        if len(rest) < sealing.TAG_SIZE:
            raise AuthenticationError("too short for a seal")
        return sealing.unseal(
            self._key(label, salt), rest, frame(label, self.round_id, *associated), sender="the store"
        )

    def _key(self, label: bytes, salt: bytes) -> Secret:
        return derive(self.key, salt=salt, info=frame(labels.STORE_SEALING, label, self.round_id), size=KEY_SIZE)


def _is_hex(name: str) -> bool:
    return all(char in "0123456789abcdef" for char in name)
