"""The calls that only homomorphic rounds have; see `secagg_client.calls.data_plane`."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from secagg.lattice.layout import layout_of
from secagg.messages import (
    ConsistencyProof,
    EncryptedInputChunk,
    EncryptedSum,
    FallenSet,
    KeyConfirmation,
    PartialChunk,
    RecoverSeeds,
    RecoveryCheck,
    ReleaseOrder,
    SumChunk,
    SumReport,
)
from secagg.schemes import Chunk
from secagg.wire import homomorphic
from secagg.wire.agreement import decode_proof
from secagg.wire.receipts import SealedDigest
from secagg.wire.v1 import data_plane_pb2 as pb
from secagg.wire.v1 import messages_pb2
from secagg_client.calls.data_plane import PART_COST, Parts, RoundCall, UploadCall, every, one, only, receipt_in


@dataclass(frozen=True)
class ConfirmKey(RoundCall[ConsistencyProof]):
    """Custody `participants`: which key we hold."""

    method = "ConfirmKey"
    message: KeyConfirmation

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        confirmation = homomorphic.encode_confirmation(self.message)
        return one(pb.ConfirmKeyRequest(round_id=self.round_id, confirmation=confirmation))

    def decode(self, parts: Parts) -> ConsistencyProof:
        """See `Call`."""
        return decode_proof(every(messages_pb2.ConsistencyProofPart, parts))


@dataclass(frozen=True)
class SendEncrypted(UploadCall[EncryptedSum]):
    """The encrypted update."""

    method = "SendEncrypted"

    @property
    def limit(self) -> int:
        """c0 and c1 of the sum, and the survivors."""
        profile = self.config.homomorphic
        if profile is None:
            return super().limit
        layout = layout_of(profile, self.config.vector_len, 1)
        return super().limit + 2 * (layout.total_bytes + layout.chunks * PART_COST)

    def encode(self, chunk: Chunk) -> Message:
        """See `UploadCall`."""
        assert isinstance(chunk, EncryptedInputChunk)  # noqa: S101 - the call was chosen by the upload's phase
        return homomorphic.encode_encrypted_chunk(chunk)

    def decode(self, parts: Parts) -> EncryptedSum:
        """See `Call`."""
        return homomorphic.decode_encrypted_sum(every(messages_pb2.EncryptedSumPart, parts))


@dataclass(frozen=True)
class ReportSum(RoundCall[ReleaseOrder]):
    """Custody `participants`: which sum we decrypted."""

    method = "ReportSum"
    message: SumReport

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.ReportSumRequest(round_id=self.round_id, report=homomorphic.encode_report(self.message)))

    def decode(self, parts: Parts) -> ReleaseOrder:
        """See `Call`."""
        return homomorphic.decode_order(only(messages_pb2.ReleaseOrder, parts))


@dataclass(frozen=True)
class SendSum(UploadCall[SealedDigest]):
    """Custody `participants`: the sum itself, where the FL server gets it and we were asked."""

    method = "SendSum"

    def encode(self, chunk: Chunk) -> Message:
        """See `UploadCall`."""
        assert isinstance(chunk, SumChunk)  # noqa: S101 - the call was chosen by the upload's phase
        return homomorphic.encode_sum_chunk(chunk)

    def decode(self, parts: Parts) -> SealedDigest:
        """See `Call`."""
        return receipt_in(parts)


@dataclass(frozen=True)
class SendPartial(UploadCall[FallenSet]):
    """Custody `threshold`: our partial decryption."""

    method = "SendPartial"

    def encode(self, chunk: Chunk) -> Message:
        """See `UploadCall`."""
        assert isinstance(chunk, PartialChunk)  # noqa: S101 - the call was chosen by the upload's phase
        return homomorphic.encode_partial_chunk(chunk)

    def decode(self, parts: Parts) -> FallenSet:
        """See `Call`."""
        return homomorphic.decode_fallen(only(messages_pb2.FallenSet, parts))


@dataclass(frozen=True)
class CheckRecovery(RoundCall[ConsistencyProof]):
    """Custody `threshold`: who fell."""

    method = "CheckRecovery"
    message: RecoveryCheck

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        check = homomorphic.encode_recovery_check(self.message)
        return one(pb.CheckRecoveryRequest(round_id=self.round_id, check=check))

    def decode(self, parts: Parts) -> ConsistencyProof:
        """See `Call`."""
        return decode_proof(every(messages_pb2.ConsistencyProofPart, parts))


@dataclass(frozen=True)
class SendSeedShares(RoundCall[SealedDigest]):
    """Custody `threshold`: our shares of the fallen decryptors' seeds."""

    method = "RecoverSeeds"
    message: RecoverSeeds

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return (part.SerializeToString() for part in homomorphic.encode_recover_seeds(self.message))

    def decode(self, parts: Parts) -> SealedDigest:
        """See `Call`."""
        return receipt_in(parts)


@dataclass(frozen=True)
class AwaitReceipt(RoundCall[SealedDigest]):
    """Wait for the end of a round that wants nothing more of us."""

    method = "AwaitReceipt"

    def requests(self) -> Iterator[bytes]:
        """See `Call`."""
        return one(pb.AwaitReceiptRequest(round_id=self.round_id))

    def decode(self, parts: Parts) -> SealedDigest:
        """See `Call`."""
        return receipt_in(parts)
