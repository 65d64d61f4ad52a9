"""Disorder for homomorphic rounds: see `tests.chaos`."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from secagg.crypto.secret import Secret
from secagg.errors import NotInRoundError, RemoteError, RoundAborted, SecAggError
from secagg.lattice.layout import Layout
from secagg.lattice.parameters import Custody, Scheme
from secagg.lattice.primes import ntt_primes
from secagg.lattice.residues import pack_residues, unpack_chunk
from secagg.messages import (
    AdvertiseKeys,
    EncryptedInputChunk,
    EncryptedSum,
    FallenSet,
    Index,
    KeyConfirmation,
    PartialChunk,
    ParticipantId,
    RecoverSeeds,
    RecoveryCheck,
    ReleaseOrder,
    ShareDelivery,
    ShareKeys,
    SumChunk,
    SumReport,
)
from secagg.tools.simulation.network import Envelope, Run
from tests import chaos
from tests.chaos import Chaos, Draw, alter_bytes, alter_sets, alter_table, pick
from tests.encrypted_rounds import encrypted_config, prepare
from tests.rounds import true_sum

LAYOUTS = [
    Layout(64, ntt_primes(64, bits, primes), polynomials, blocks)
    for bits in (30, 45, 60)
    for primes in (1, 2, 3)
    for polynomials in (1, 2)
    for blocks in (1, 3)
]


def alter(rng: Draw, message: Any) -> Any:  # noqa: PLR0911, one case each
    """Something like `message`, of any kind of round."""
    match message:
        case EncryptedInputChunk() | PartialChunk() | SumChunk():
            return alter_chunk(rng, message)
        case KeyConfirmation() | SumReport():
            field = pick(rng, ["digest", "signature"])
            return replace(message, **{field: alter_bytes(rng, getattr(message, field))})
        case EncryptedSum():
            return alter_sum(rng, message)
        case ReleaseOrder(upload):
            return ReleaseOrder(not upload)
        case FallenSet(fallen):
            return alter_fallen(rng, fallen)
        case RecoveryCheck(signature):
            return RecoveryCheck(alter_bytes(rng, signature))
        case RecoverSeeds(shares):
            return RecoverSeeds(alter_table(rng, dict(shares), lambda s: Secret(alter_bytes(rng, _open(s)))))
        case AdvertiseKeys() if rng.integers(3) == 0:
            return replace(message, key_share_commitment=alter_bytes(rng, message.key_share_commitment))
        case ShareKeys() if rng.integers(3) == 0:
            return replace(message, key_share=alter_bytes(rng, message.key_share))
        case ShareDelivery() if message.key_shares and rng.integers(2):
            table = alter_table(rng, dict(message.key_shares), lambda s: alter_bytes(rng, s))
            return replace(message, key_shares=table)
    return chaos.alter(rng, message)


def _open(piece: Secret | bytes) -> bytes:
    return piece if isinstance(piece, bytes) else piece.expose()


def alter_chunk(rng: Draw, message: Any) -> Any:
    fields = ["payload", "number", *(["seed", "binding"] if isinstance(message, EncryptedInputChunk) else [])]
    field = pick(rng, fields)
    if field == "number":
        return replace(message, number=int(rng.integers(0, 5)))
    return replace(message, **{field: alter_bytes(rng, getattr(message, field))})


def alter_sum(rng: Draw, message: EncryptedSum) -> EncryptedSum:
    match int(rng.integers(5)):
        case 0:
            return replace(message, sets=alter_sets(rng, message.sets))
        case 1:
            return replace(message, c0=message.c1, c1=message.c0)
        case 2:
            return replace(message, c1=tuple(bytes(len(chunk)) for chunk in message.c1))
        case 3:
            return replace(message, c1=message.c1[:-1])
    if message.c0 and rng.integers(2):
        return replace(message, c0=tuple(alter_bytes(rng, chunk) for chunk in message.c0))
    return replace(message, c1=tuple(alter_bytes(rng, chunk) for chunk in message.c1))


def alter_fallen(rng: Draw, fallen: tuple[Index, ...]) -> FallenSet:
    other = set(fallen) ^ {Index(int(rng.integers(0, 8)))}
    return FallenSet(tuple(sorted(other)))


@dataclass
class EncryptedChaos(Chaos):
    """`Chaos` that knows the messages of homomorphic rounds; what is passed off may be a vector, too."""

    def _altered(self, envelope: Envelope) -> Envelope:
        return replace(envelope, message=alter(self.rng, envelope.message))

    def _passed_off(self, envelope: Envelope) -> Envelope:
        others = [e for e in self._seen if type(e) is type(envelope)]
        return replace(envelope, message=pick(self.rng, others).message)


def disorderly_round(rng: Draw, *, lies: bool, coordinator_lies: bool) -> tuple[Run, EncryptedChaos]:
    """A small round of any scheme and custody, played under disorder; the messages of its coordinator may be lies."""
    people = int(rng.integers(3, 8))
    custody = pick(rng, Custody)
    release = custody is Custody.THRESHOLD or bool(rng.integers(2))
    config = encrypted_config(
        pick(rng, Scheme),
        custody,
        people,
        threshold=max(3, people // 2 + int(rng.integers(1, 3))),
        release_to_coordinator=release,
    )
    chaos_ = EncryptedChaos(rng, float(rng.choice([0.02, 0.1, 0.3])), lies, coordinator_lies)
    run = prepare(config, seed=int(rng.integers(2**16)), hook=chaos_)
    run.play()
    return run, chaos_


def spooled_bytes(coordinator: Any) -> int:
    """Bytes that wait in a homomorphic coordinator's spools."""
    uploads: Iterable[Any] = (getattr(coordinator, name, None) for name in ("_inputs", "_releases", "_parts"))
    spools = {id(u._spool): u._spool for u in uploads if u is not None}
    return sum(len(chunk) for spool in spools.values() for chunks in spool._chunks.values() for chunk in chunks)


def check_disorder(run: Run, chaos_: Chaos) -> str:
    """How a round under disorder ended; whatever happened, the sum is exact and every error has its name."""
    coordinator = run.coordinator
    assert coordinator.over
    assert all(isinstance(error, SecAggError) for error in run.errors.values())
    assert all(isinstance(error, RemoteError | NotInRoundError | RoundAborted) for _, error in run.refused)
    if chaos_.coordinator_lies:  # what such a coordinator adds up and tells is its own affair
        return "of a lying coordinator"
    for aggregate in (coordinator.aggregate, *(p.aggregate for p in run.participants.values())):
        if aggregate is not None:
            names = [ParticipantId(name) for name in aggregate.survivors]
            assert np.array_equal(aggregate.sums, true_sum(run, names)), "a wrong sum"
    return "ended by name" if coordinator.failure else "with an exact sum"


def hostile_residues(rng: Draw) -> bool:
    """Give the residue parser a mutated chunk; whether it was taken, as exactly what it encodes."""
    layout = pick(rng, LAYOUTS)
    chunk = int(rng.integers(-1, layout.chunks + 1))
    size = layout.chunk_bytes(0)
    top = min(prime for prime in layout.primes).bit_length()
    honest = pack_residues(rng.integers(0, min(layout.primes), size * 8 // top, dtype=np.uint64), top)
    data = honest
    for _ in range(int(rng.integers(4))):
        data = alter_bytes(rng, data)
    try:
        residues = unpack_chunk(layout, chunk, data)
    except RemoteError:
        return False
    assert pack_residues(residues, layout.prime_bits) == data
    return True
