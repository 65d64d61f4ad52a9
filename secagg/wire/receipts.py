"""The receipt on the wire. Both ends know the round, so it carries the digest of the sum and the signature alone."""

from dataclasses import dataclass
from typing import Final

from secagg.config import DIGEST_SIZE, MAX_PARTICIPANTS
from secagg.crypto.certificates import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH
from secagg.errors import DecodeError
from secagg.receipts import CoordinatorSignature, Receipt
from secagg.wire.codecs import Codec
from secagg.wire.fields import MAX_SIGNATURE_BYTES, at_most, exactly
from secagg.wire.v1 import data_plane_pb2 as pb


@dataclass(frozen=True, slots=True)
class SignedDigest:
    """What a participant is told at the end of a round.

    Attributes:
        survivors: how many.
        sums_digest: 32 bytes.
        signed: the coordinator's signature under a statement that the participant must put together by itself.
    """

    survivors: int
    sums_digest: bytes
    signed: CoordinatorSignature


def encode_receipt(receipt: Receipt) -> pb.Receipt:
    """The receipt without its statement, which every participant puts together by itself."""
    signed = receipt.signed
    return pb.Receipt(
        survivors=receipt.survivors,
        sums_digest=receipt.sums_digest,
        signature=signed.signature,
        certificates=signed.chain,
        signed_ms=signed.signed_ms,
    )


def decode_receipt(message: pb.Receipt) -> SignedDigest:
    """What the coordinator says. Whether it is signed at all is for `Receipt.verify` to find.

    Raises:
        DecodeError: sizes outside their bounds.
    """
    if message.survivors > MAX_PARTICIPANTS:
        raise DecodeError(f"a receipt of more than {MAX_PARTICIPANTS} survivors", culprit="coordinator")
    if len(message.certificates) > MAX_CHAIN_LENGTH:
        raise DecodeError(f"a receipt with more than {MAX_CHAIN_LENGTH} certificates", culprit="coordinator")
    try:
        chain = tuple(at_most(c, MAX_CERTIFICATE_BYTES, "a receipt's certificate") for c in message.certificates)
        digest = exactly(message.sums_digest, DIGEST_SIZE, "a receipt's digest")
        signature = at_most(message.signature, MAX_SIGNATURE_BYTES, "a receipt's signature")
    except DecodeError as error:
        raise DecodeError(str(error), culprit="coordinator") from None
    return SignedDigest(message.survivors, digest, CoordinatorSignature(signature, chain, message.signed_ms))


RECEIPT: Final = Codec(Receipt, pb.Receipt, encode_receipt, decode_receipt)
