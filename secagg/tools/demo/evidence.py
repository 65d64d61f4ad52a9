"""What the coordinator saw of one participant, from the very bytes that the participant handed to gRPC."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secagg import MissingExtraError, RoundConfig
from secagg.crypto.prg import Words
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.encoding.packing import chunk_values, pack, unpack
from secagg.lattice.residues import unpack_chunk
from secagg.lattice.summation import upload_layout
from secagg.tools.demo.job import HIDDEN, PIXELS, Model
from secagg.tools.demo.results import CoordinatorView, Pictures, Statistics
from secagg.wire.homomorphic import ENCRYPTED_INPUT_CHUNK
from secagg.wire.masked import MASKED_INPUT_CHUNK
from secagg.wire.parsing import parse
from secagg.wire.v1 import data_plane_pb2

try:
    from scipy import special
except ImportError:
    raise MissingExtraError("the demo's statistics", "demo") from None

_SIDE = math.isqrt(PIXELS)
_HEAD_BYTES = 64
_FIRST_LAYER = "hidden.weight"


@dataclass(frozen=True, slots=True)
class Upload:
    """One participant's masked input.

    Attributes:
        participant: who.
        update: what it was made from.
        weight: how much it counts.
        messages: exactly what the participant handed to gRPC.
    """

    participant: str
    update: Model
    weight: int
    messages: Sequence[bytes]


def coordinator_view(upload: Upload, round_: int, config: RoundConfig, mean: Model) -> CoordinatorView:
    """Args: mean: the aggregate of the round."""
    payloads = [_payload(message, config) for message in upload.messages]
    payload = b"".join(payloads)
    seen = np.concatenate([_numbers(number, data, config) for number, data in enumerate(payloads)])
    flat = config.schema.check(upload.update)
    # Rounded with another seed than the participant's own: it may differ from what was masked by one step.
    encoder = config.code.encode(flat, upload.weight, Secret(SystemRng().token(32)))
    encoded = encoder.read(0, config.vector_len, config.ring_dtype)
    values = flat.read(0, config.schema.size)
    return CoordinatorView(
        participant=upload.participant,
        round=round_,
        head_hex=payload[:_HEAD_BYTES].hex(" "),
        sent=_statistics(payload, seen, values),
        plain=_statistics(pack(encoded, config.ring_bits), encoded, values),
        true_pictures=_pictures(upload.update[_FIRST_LAYER]),
        seen_pictures=_pictures(seen[: PIXELS * HIDDEN].reshape(PIXELS, HIDDEN)),
        mean_pictures=_pictures(mean[_FIRST_LAYER]),
    )


def _payload(message: bytes, config: RoundConfig) -> bytes:
    if config.homomorphic is None:
        return MASKED_INPUT_CHUNK.decode(parse(data_plane_pb2.MaskedInputChunk, message)).payload
    return ENCRYPTED_INPUT_CHUNK.decode(parse(data_plane_pb2.EncryptedInputChunk, message)).payload


def _numbers(number: int, payload: bytes, config: RoundConfig) -> Words:
    """What the payload of a chunk holds: masked values, or the residues of a ciphertext."""
    if config.homomorphic is not None:
        layout = upload_layout(config.homomorphic, config.vector_len)
        return unpack_chunk(layout, number, payload).reshape(-1)
    size = chunk_values(config.ring_bits)
    return unpack(payload, min(size, config.vector_len - number * size), config.ring_bits)


def _pictures(weights: np.ndarray[Any, Any]) -> Pictures:
    """The weights into each hidden neuron, as they lie on the image."""
    return [column.reshape(_SIDE, _SIDE).astype(np.float64) for column in weights.T]


def _statistics(payload: bytes, numbers: Words, values: np.ndarray[Any, Any]) -> Statistics:
    histogram = np.bincount(np.frombuffer(payload, np.uint8), minlength=256)
    shares = histogram[histogram > 0] / len(payload)
    return Statistics(
        bytes=len(payload),
        histogram=tuple(histogram.tolist()),
        entropy_bits=float(-(shares * np.log2(shares)).sum()),
        chi_square_p=_chi_square_p(histogram),
        correlation=float(np.corrcoef(numbers[: len(values)].astype(np.float64), values)[0, 1]),
    )


def _chi_square_p(histogram: np.ndarray[Any, Any]) -> float:
    """How likely uniform bytes are to be as uneven as these, or more (Pearson's χ²)."""
    expected = histogram.sum() / len(histogram)
    return float(special.chdtrc(len(histogram) - 1, ((histogram - expected) ** 2 / expected).sum()))
