"""The context: 32 bytes that tie every signature, seal and derivation to one round, one configuration and one model."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NewType

import numpy as np

from secagg.config import RoundConfig
from secagg.crypto import labels
from secagg.crypto.transcript import digest, frame

RoundId = NewType("RoundId", bytes)
"""16 random bytes, fresh for each round."""

Context = NewType("Context", bytes)

ROUND_ID_SIZE: Final = 16


def bind(round_id: RoundId, config_bytes: bytes, model_digest: bytes) -> Context:
    """SHA-256 over label, round id, SHA-256 of the configuration *as received*, and the digest of the model.

    A participant passes the digest of the model that it holds itself, so two participants with different models derive
    masks that do not cancel (Pasquini et al. 2022).
    """
    return Context(digest(labels.CONTEXT, round_id, hashlib.sha256(config_bytes).digest(), model_digest))


@dataclass(frozen=True, slots=True)
class Round:
    """One round as one party sees it.

    Attributes:
        round_id: 16 bytes.
        config: decoded from the bytes that the context was made from.
        context: what binds this party's messages and keys to the round.
    """

    round_id: RoundId
    config: RoundConfig
    context: Context


def digest_model(model: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> bytes:
    """SHA-256 over the arrays in name order: name, dtype, shape and little-endian bytes of each."""
    state = hashlib.sha256(frame(labels.MODEL_DIGEST))
    for name in sorted(model):
        array = np.asarray(model[name], order="C")
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        shape = ",".join(map(str, array.shape)).encode()
        state.update(frame(name.encode(), little_endian.dtype.name.encode(), shape))
        state.update(little_endian.reshape(-1).view(np.uint8).data)
    return state.digest()
