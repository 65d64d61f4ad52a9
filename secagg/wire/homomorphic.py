"""The messages of homomorphic rounds alone, from KeyConfirmation to RecoverSeeds."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from secagg.crypto.secret import Secret
from secagg.encoding.packing import CHUNK_BYTES
from secagg.errors import DecodeError
from secagg.messages import (
    EncryptedInputChunk,
    EncryptedSum,
    FallenSet,
    Index,
    KeyConfirmation,
    PartialChunk,
    RecoverSeeds,
    RecoveryCheck,
    ReleaseOrder,
    SumChunk,
    SumReport,
)
from secagg.wire.codecs import Codec, flat
from secagg.wire.fields import (
    SHARE_BYTES,
    ascending,
    at_most,
    bounded,
    exactly,
    fresh_index,
    limited,
    signature,
    split,
)
from secagg.wire.masked import SURVIVOR_SET
from secagg.wire.v1 import data_plane_pb2 as pb

DIGEST_BYTES: Final = 32
MAX_SEED_BYTES: Final = 16
MAX_CIPHERTEXT_CHUNK_BYTES: Final = 2 << 20
"""A chunk is at most 1 MiB, or one block where a block is longer."""

MAX_CIPHERTEXT_CHUNKS: Final = 1 << 20


def encode_encrypted_sum(message: EncryptedSum) -> Iterator[pb.EncryptedSumPart]:
    """The sets, then a chunk a part."""
    yield pb.EncryptedSumPart(sets=SURVIVOR_SET.encode(message.sets))
    for chunk in message.c0:
        yield pb.EncryptedSumPart(c0=chunk)
    for chunk in message.c1:
        yield pb.EncryptedSumPart(c1=chunk)


def decode_encrypted_sum(parts: Iterable[pb.EncryptedSumPart]) -> EncryptedSum:
    """Residues and sets are checked by the protocol."""
    rest = iter(parts)
    first = next(rest, None)
    if first is None or not first.HasField("sets") or first.WhichOneof("chunk") is not None:
        raise DecodeError("an encrypted sum begins with its survivors")
    c0: list[bytes] = []
    c1: list[bytes] = []
    for part in rest:
        kind = part.WhichOneof("chunk")
        if part.HasField("sets") or kind is None or (kind == "c0" and c1):
            raise DecodeError("an encrypted sum is chunks of c0, then chunks of c1")
        if len(c0) + len(c1) >= MAX_CIPHERTEXT_CHUNKS:
            raise DecodeError(f"more than {MAX_CIPHERTEXT_CHUNKS} chunks")
        chunk = part.c0 if kind == "c0" else part.c1
        (c0 if kind == "c0" else c1).append(at_most(chunk, MAX_CIPHERTEXT_CHUNK_BYTES, "chunk"))
    return EncryptedSum(SURVIVOR_SET.decode(first.sets), tuple(c0), tuple(c1))


def encode_recover_seeds(message: RecoverSeeds) -> Iterator[pb.RecoverSeedsPart]:
    """The message in parts of at most 1 MiB."""
    items = (pb.SeedShare(owner=owner, share=share.expose()) for owner, share in message.shares.items())
    return split(items, lambda some: pb.RecoverSeedsPart(shares=some))


def decode_recover_seeds(parts: Iterable[pb.RecoverSeedsPart]) -> RecoverSeeds:
    """Owners are checked by the protocol."""
    shares: dict[Index, Secret] = {}
    for item in limited(item for part in bounded(parts) for item in part.shares):
        shares[fresh_index(item.owner, shares, "owner")] = Secret(exactly(item.share, SHARE_BYTES, "share"))
    return RecoverSeeds(shares)


_DIGEST: Final = partial(exactly, size=DIGEST_BYTES)
_RESIDUES: Final = partial(at_most, size=MAX_CIPHERTEXT_CHUNK_BYTES)

KEY_CONFIRMATION: Final = flat(KeyConfirmation, pb.KeyConfirmation, digest=_DIGEST, signature=signature)
ENCRYPTED_INPUT_CHUNK: Final = flat(
    EncryptedInputChunk,
    pb.EncryptedInputChunk,
    payload=_RESIDUES,
    binding=_DIGEST,
    seed=partial(at_most, size=MAX_SEED_BYTES),
)
ENCRYPTED_SUM: Final = Codec(
    EncryptedSum, pb.EncryptedSumPart, encode_encrypted_sum, decode_encrypted_sum, in_parts=True
)
SUM_REPORT: Final = flat(SumReport, pb.SumReport, digest=_DIGEST, signature=signature)
RELEASE_ORDER: Final = flat(ReleaseOrder, pb.ReleaseOrder)
SUM_CHUNK: Final = flat(SumChunk, pb.SumChunk, payload=partial(at_most, size=CHUNK_BYTES))
PARTIAL_CHUNK: Final = flat(PartialChunk, pb.PartialChunk, payload=_RESIDUES)
FALLEN_SET: Final = flat(FallenSet, pb.FallenSet, fallen=ascending)
RECOVERY_CHECK: Final = flat(RecoveryCheck, pb.RecoveryCheck, signature=signature)
RECOVER_SEEDS: Final = Codec(
    RecoverSeeds, pb.RecoverSeedsPart, encode_recover_seeds, decode_recover_seeds, in_parts=True
)
