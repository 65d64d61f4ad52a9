"""The codec of every message of the protocol, one a row: its protobuf type, and the way there and back."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    EncryptedInputChunk,
    EncryptedSum,
    FallenSet,
    KeyConfirmation,
    Leave,
    MaskedInputChunk,
    PartialChunk,
    RecoverSeeds,
    RecoveryCheck,
    ReleaseOrder,
    Roster,
    ShareDelivery,
    ShareKeys,
    SumChunk,
    SumReport,
    SurvivorSet,
    Unmask,
)
from secagg.wire import homomorphic
from secagg.wire.agreement import decode_check, decode_leave, decode_proof, encode_check, encode_leave, encode_proof
from secagg.wire.keys import (
    decode_advertise,
    decode_roster,
    decode_share_delivery,
    decode_share_keys,
    encode_advertise,
    encode_roster,
    encode_share_delivery,
    encode_share_keys,
)
from secagg.wire.masked import (
    decode_chunk,
    decode_survivors,
    decode_unmask,
    encode_chunk,
    encode_survivors,
    encode_unmask,
)
from secagg.wire.v1 import messages_pb2 as pb

ValueT_co = TypeVar("ValueT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Codec(Generic[ValueT_co]):
    """How one kind of message is written and read.

    Attributes:
        kind: the protobuf type of the message, or of each of its parts.
        encode: from the value to a `kind`, or to the parts in order.
        decode: from a `kind`, or from the parts, to the value. Raises `DecodeError` for what is not well-formed.
        in_parts: whether the message is a sequence of parts, of at most 1 MiB each.
    """

    kind: type[Message]
    encode: Callable[[Any], Any]
    decode: Callable[[Any], ValueT_co]
    in_parts: bool = False

    def parts(self, value: Any) -> Iterable[Message]:
        """The value as parts; a message that is never split is one part."""
        found: Iterable[Message] = self.encode(value) if self.in_parts else (self.encode(value),)
        return found


ADVERTISE_KEYS: Final = Codec(pb.AdvertiseKeys, encode_advertise, decode_advertise)
ROSTER: Final = Codec(pb.RosterPart, encode_roster, decode_roster, in_parts=True)
SHARE_KEYS: Final = Codec(pb.ShareKeysPart, encode_share_keys, decode_share_keys, in_parts=True)
SHARE_DELIVERY: Final = Codec(pb.ShareDeliveryPart, encode_share_delivery, decode_share_delivery, in_parts=True)
MASKED_INPUT_CHUNK: Final = Codec(pb.MaskedInputChunk, encode_chunk, decode_chunk)
SURVIVOR_SET: Final = Codec(pb.SurvivorSet, encode_survivors, decode_survivors)
CONSISTENCY_CHECK: Final = Codec(pb.ConsistencyCheck, encode_check, decode_check)
CONSISTENCY_PROOF: Final = Codec(pb.ConsistencyProofPart, encode_proof, decode_proof, in_parts=True)
UNMASK: Final = Codec(pb.UnmaskPart, encode_unmask, decode_unmask, in_parts=True)
LEAVE: Final = Codec(pb.Leave, encode_leave, decode_leave)
KEY_CONFIRMATION: Final = Codec(pb.KeyConfirmation, homomorphic.encode_confirmation, homomorphic.decode_confirmation)
ENCRYPTED_INPUT_CHUNK: Final = Codec(
    pb.EncryptedInputChunk, homomorphic.encode_encrypted_chunk, homomorphic.decode_encrypted_chunk
)
ENCRYPTED_SUM: Final = Codec(
    pb.EncryptedSumPart, homomorphic.encode_encrypted_sum, homomorphic.decode_encrypted_sum, in_parts=True
)
SUM_REPORT: Final = Codec(pb.SumReport, homomorphic.encode_report, homomorphic.decode_report)
RELEASE_ORDER: Final = Codec(pb.ReleaseOrder, homomorphic.encode_order, homomorphic.decode_order)
SUM_CHUNK: Final = Codec(pb.SumChunk, homomorphic.encode_sum_chunk, homomorphic.decode_sum_chunk)
PARTIAL_CHUNK: Final = Codec(pb.PartialChunk, homomorphic.encode_partial_chunk, homomorphic.decode_partial_chunk)
FALLEN_SET: Final = Codec(pb.FallenSet, homomorphic.encode_fallen, homomorphic.decode_fallen)
RECOVERY_CHECK: Final = Codec(pb.RecoveryCheck, homomorphic.encode_recovery_check, homomorphic.decode_recovery_check)
RECOVER_SEEDS: Final = Codec(
    pb.RecoverSeedsPart, homomorphic.encode_recover_seeds, homomorphic.decode_recover_seeds, in_parts=True
)

CODECS: Final[Mapping[type, Codec[Any]]] = {
    AdvertiseKeys: ADVERTISE_KEYS,
    Roster: ROSTER,
    ShareKeys: SHARE_KEYS,
    ShareDelivery: SHARE_DELIVERY,
    MaskedInputChunk: MASKED_INPUT_CHUNK,
    SurvivorSet: SURVIVOR_SET,
    ConsistencyCheck: CONSISTENCY_CHECK,
    ConsistencyProof: CONSISTENCY_PROOF,
    Unmask: UNMASK,
    KeyConfirmation: KEY_CONFIRMATION,
    EncryptedInputChunk: ENCRYPTED_INPUT_CHUNK,
    EncryptedSum: ENCRYPTED_SUM,
    SumReport: SUM_REPORT,
    ReleaseOrder: RELEASE_ORDER,
    SumChunk: SUM_CHUNK,
    PartialChunk: PARTIAL_CHUNK,
    FallenSet: FALLEN_SET,
    RecoveryCheck: RECOVERY_CHECK,
    RecoverSeeds: RECOVER_SEEDS,
    Leave: LEAVE,
}
"""The codec of each message of `secagg.messages`."""
