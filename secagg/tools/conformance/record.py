"""Records ciphertexts of the vectors with TenSEAL (extra `ckks`): `python -m secagg.tools.conformance.record`.

TenSEAL draws its own randomness, so every run gives other bytes. Run it only when the inputs of a homomorphic round of
the vectors change, and the generator after it. Everything but these files the generator makes without TenSEAL.
"""

import base64
import sys
from importlib.metadata import version

from secagg.crypto.secret import Secret
from secagg.homomorphic.vectors import Backend
from secagg.lattice.jobs import OpenPublicKey, OpenSymmetric
from secagg.lattice.modular import U64
from secagg.lattice.residues import pack_residues
from secagg.lattice.rlwe import SecretKey, rebase
from secagg.lattice.streams import SeededPolynomials
from secagg.lattice.tenseal_backend import PublicKeyEncryptor, SymmetricEncryptor
from secagg.tools.conformance.document import Document, document, dumps
from secagg.tools.conformance.replay.encryption import ReplayedBackend
from secagg.tools.conformance.replay.round import Replay
from secagg.tools.conformance.rounds.encrypted import NAMES, draft, recording_of
from secagg.tools.conformance.rounds.recorder import Recorder
from secagg.tools.conformance.vectors import directory


class RecordingBackend(ReplayedBackend):
    """Encrypts with TenSEAL where the vectors state recorded ciphertexts, and keeps what it made."""

    def __init__(self, replay: Replay, name: str, made: dict[str, bytes]) -> None:
        """Args: made: packed residues (c0, c1) by participant, to be filled."""
        super().__init__(replay.encryption(name), name)
        self._name = name
        self._made = made

    def _seeded(self, opened: OpenSymmetric, values: U64) -> U64:
        key_seed = Secret(opened.key_seed)
        encryptor = SymmetricEncryptor(
            opened.profile, key_seed, context=opened.context, seed=opened.seed, participant=opened.participant
        )
        fresh = encryptor.fresh(values)
        self._made[self._name] = pack_residues(fresh, opened.profile.prime_bits)
        stream = SeededPolynomials(opened.profile, opened.seed, context=opened.context, participant=opened.participant)
        key = SecretKey(opened.profile, key_seed, opened.context)
        return rebase(opened.profile, key, fresh[:, 0], fresh[:, 1], stream.blocks(range(1)))[:, None]

    def _public(self, opened: OpenPublicKey, values: U64) -> U64:
        if "recorded" not in self._encryption:
            return super()._public(opened, values)
        residues = PublicKeyEncryptor(opened.profile, opened.joint_key, context=opened.context).encrypt(values, 0)
        self._made[self._name] = pack_residues(residues, opened.profile.prime_bits)
        return residues


class RecordingReplay(Replay):
    """A round that is replayed with TenSEAL."""

    def __init__(self, vector: Document) -> None:
        super().__init__(vector)
        self.made: dict[str, bytes] = {}

    def backend(self, name: str) -> Backend:
        """Encrypts with TenSEAL and keeps what it made, where `Replay` reads it from a file."""
        return RecordingBackend(self, name, self.made)


def record() -> int:
    """Play every round that has recorded ciphertexts, and write them. How many files."""
    written = 0
    for (scheme, custody), name in NAMES.items():
        vector, attendance = draft(scheme, custody)
        replay = RecordingReplay(vector)
        Recorder(replay, attendance).play()
        if not replay.made:
            continue
        made = document(
            "recorded",
            f"Ciphertexts that TenSEAL made for {name}",
            "Recorded ciphertexts",
            provenance=f"made once by TenSEAL {version('tenseal')}, recorded by secagg.tools.conformance.record",
            round=name,
            context=replay.round.context,
            prime_bits=replay.profile.prime_bits,
            ciphertexts={who: base64.b64encode(packed).decode() for who, packed in sorted(replay.made.items())},
        )
        (directory() / f"{recording_of(name)}.json").write_text(dumps(made))
        written += 1
    return written


if __name__ == "__main__":
    sys.stdout.write(f"{record()} files in {directory()}; now run python -m secagg.tools.conformance.generate\n")
