"""The messages of homomorphic rounds alone, from KeyConfirmation to RecoverSeeds."""

from collections.abc import Iterable, Iterator
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
from secagg.wire.fields import (
    MAX_SIGNATURE_BYTES,
    SHARE_BYTES,
    ascending,
    at_most,
    bounded,
    exactly,
    fresh_index,
    limited,
    split,
)
from secagg.wire.masked import decode_survivors, encode_survivors
from secagg.wire.v1 import messages_pb2 as pb

DIGEST_BYTES: Final = 32
MAX_SEED_BYTES: Final = 16
MAX_CIPHERTEXT_CHUNK_BYTES: Final = 2 << 20
"""A chunk is at most 1 MiB, or one block where a block is longer."""

MAX_CIPHERTEXT_CHUNKS: Final = 1 << 20


def encode_confirmation(message: KeyConfirmation) -> pb.KeyConfirmation:
    """The message, which is never split."""
    return pb.KeyConfirmation(digest=message.digest, signature=message.signature)


def decode_confirmation(message: pb.KeyConfirmation) -> KeyConfirmation:
    """Digest and signature are checked by the protocol."""
    digest = exactly(message.digest, DIGEST_BYTES, "digest")
    return KeyConfirmation(digest, at_most(message.signature, MAX_SIGNATURE_BYTES, "signature"))


def encode_encrypted_chunk(message: EncryptedInputChunk) -> pb.EncryptedInputChunk:
    """The message, which is never split."""
    return pb.EncryptedInputChunk(
        number=message.number, payload=message.payload, binding=message.binding, seed=message.seed
    )


def decode_encrypted_chunk(message: pb.EncryptedInputChunk) -> EncryptedInputChunk:
    """Residues, seed and binding are checked by the protocol."""
    return EncryptedInputChunk(
        message.number,
        at_most(message.payload, MAX_CIPHERTEXT_CHUNK_BYTES, "payload"),
        exactly(message.binding, DIGEST_BYTES, "binding"),
        at_most(message.seed, MAX_SEED_BYTES, "seed"),
    )


def encode_encrypted_sum(message: EncryptedSum) -> Iterator[pb.EncryptedSumPart]:
    """The sets, then a chunk a part."""
    yield pb.EncryptedSumPart(sets=encode_survivors(message.sets))
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
    return EncryptedSum(decode_survivors(first.sets), tuple(c0), tuple(c1))


def encode_report(message: SumReport) -> pb.SumReport:
    """The message, which is never split."""
    return pb.SumReport(digest=message.digest, signature=message.signature)


def decode_report(message: pb.SumReport) -> SumReport:
    """The signature is checked by the protocol."""
    digest = exactly(message.digest, DIGEST_BYTES, "digest")
    return SumReport(digest, at_most(message.signature, MAX_SIGNATURE_BYTES, "signature"))


def encode_order(message: ReleaseOrder) -> pb.ReleaseOrder:
    """The message, which is never split."""
    return pb.ReleaseOrder(upload=message.upload)


def decode_order(message: pb.ReleaseOrder) -> ReleaseOrder:
    """Both values are well-formed."""
    return ReleaseOrder(message.upload)


def encode_sum_chunk(message: SumChunk) -> pb.SumChunk:
    """The message, which is never split."""
    return pb.SumChunk(number=message.number, payload=message.payload)


def decode_sum_chunk(message: pb.SumChunk) -> SumChunk:
    """The exact length is checked by the protocol."""
    return SumChunk(message.number, at_most(message.payload, CHUNK_BYTES, "payload"))


def encode_partial_chunk(message: PartialChunk) -> pb.PartialChunk:
    """The message, which is never split."""
    return pb.PartialChunk(number=message.number, payload=message.payload)


def decode_partial_chunk(message: pb.PartialChunk) -> PartialChunk:
    """Residues are checked by the protocol."""
    return PartialChunk(message.number, at_most(message.payload, MAX_CIPHERTEXT_CHUNK_BYTES, "payload"))


def encode_fallen(message: FallenSet) -> pb.FallenSet:
    """The message, which is never split."""
    return pb.FallenSet(fallen=message.fallen)


def decode_fallen(message: pb.FallenSet) -> FallenSet:
    """Ascending; whether it fits is checked by the protocol."""
    return FallenSet(ascending(message.fallen, "fallen"))


def encode_recovery_check(message: RecoveryCheck) -> pb.RecoveryCheck:
    """The message, which is never split."""
    return pb.RecoveryCheck(signature=message.signature)


def decode_recovery_check(message: pb.RecoveryCheck) -> RecoveryCheck:
    """The signature is checked by the protocol."""
    return RecoveryCheck(at_most(message.signature, MAX_SIGNATURE_BYTES, "signature"))


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
