"""The aggregate on the wire: who is in it, and the exact sum in chunks packed like masked inputs."""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from secagg.config import MAX_PARTICIPANTS, Aggregate, RoundConfig
from secagg.encoding.packing import chunk_values, pack, unpack
from secagg.errors import AuthenticationError, DecodeError
from secagg.wire.codec import decode_participant_id
from secagg.wire.fields import bounded
from secagg.wire.v1 import messages_pb2 as pb

_NAMES_PER_PART = 8192  # of at most 64 characters: well below 1 MiB


def sums_digest(aggregate: Aggregate, config: RoundConfig) -> bytes:
    """SHA-256 over the packed sum: 32 bytes, the same for everyone who got the same sum."""
    state = hashlib.sha256()
    for payload in _payloads(aggregate, config):
        state.update(payload)
    return state.digest()


def encode_aggregate(aggregate: Aggregate, config: RoundConfig, digest: bytes) -> Iterator[pb.AggregatePart]:
    """First the survivors and the `digest` of the sum, then the sum in chunks of at most 1 MiB."""
    for start in range(0, len(aggregate.survivors), _NAMES_PER_PART):
        names = aggregate.survivors[start : start + _NAMES_PER_PART]
        yield pb.AggregatePart(survivors=names, sums_digest=digest if start == 0 else b"")
    for number, payload in enumerate(_payloads(aggregate, config)):
        yield pb.AggregatePart(number=number, payload=payload)


def decode_aggregate(parts: Iterable[pb.AggregatePart], config: RoundConfig) -> Aggregate:
    """The aggregate of a round with `config`.

    Raises:
        DecodeError: parts are missing, repeated or malformed.
        AuthenticationError: the sum is not the one that the digest names.
    """
    bits, size = config.ring_bits, chunk_values(config.ring_bits)
    sums = np.empty(config.vector_len, config.ring_dtype)
    survivors: list[str] = []
    digest, state, start = b"", hashlib.sha256(), 0
    for part in bounded(parts):
        digest = digest or part.sums_digest
        survivors += [decode_participant_id(name) for name in part.survivors]
        if len(survivors) > MAX_PARTICIPANTS:
            raise DecodeError(f"more than {MAX_PARTICIPANTS} survivors", culprit="coordinator")
        if not part.payload:
            continue
        if part.number * size != start or start >= len(sums):
            raise DecodeError(f"part {part.number} of the aggregate is out of order", culprit="coordinator")
        stop = min(start + size, len(sums))
        sums[start:stop] = unpack(part.payload, stop - start, bits)
        state.update(part.payload)
        start = stop
    if start < len(sums):
        raise DecodeError(f"the aggregate ends after {start} of {len(sums)} coordinates", culprit="coordinator")
    if survivors != sorted(set(survivors)) or len(survivors) < config.threshold:
        raise DecodeError(
            "the aggregate's survivors are not sorted, or fewer than the threshold", culprit="coordinator"
        )
    if state.digest() != digest:
        raise AuthenticationError("the aggregate does not match its digest", culprit="coordinator")
    return Aggregate(sums, tuple(survivors))


def _payloads(aggregate: Aggregate, config: RoundConfig) -> Iterator[bytes]:
    size = chunk_values(config.ring_bits)
    for start in range(0, len(aggregate.sums), size):
        yield pack(aggregate.sums[start : start + size], config.ring_bits)
