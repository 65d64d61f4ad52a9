"""The context: 32 bytes that tie every signature, seal and derivation to one round, one configuration and one model."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NewType

import numpy as np

from secagg.config import RoundConfig, check_named
from secagg.crypto import labels
from secagg.crypto.transcript import digest, frame
from secagg.encoding.arrays import described_type
from secagg.errors import InputError, LocalError, ModelMismatch
from secagg.scalars import utf8

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


def bind_model(context: Context, model_digest: bytes) -> Context:
    """SHA-256 over label, the context of a round whose model is named later, and the digest of that model."""
    return Context(digest(labels.INPUT_CONTEXT, context, model_digest))


@dataclass(frozen=True, slots=True)
class Round:
    """One round as one party sees it.

    Attributes:
        round_id: 16 bytes.
        config: decoded from the bytes that the context was made from.
        context: what binds this party's keys, shares and their signatures to the round.
        named: the digest of the model, 32 bytes, where it is named later and is known by now; else empty.
        roster_digest: 32 bytes over the list of members, once it is fixed; empty before.
        seal_context: what binds what members seal for each other: `context` and, with a sparse graph, the list of
            members. It is computed from the rest, once, since each pair of members asks for it.
    """

    round_id: RoundId
    config: RoundConfig
    context: Context
    named: bytes = b""
    roster_digest: bytes = b""
    seal_context: Context = field(init=False, repr=False, compare=False)
    _mask_context: Context = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seal_context", self._among_members(self.context))
        known = not self.config.model_later or self.named
        object.__setattr__(self, "_mask_context", self._among_members(self.input_context) if known else b"")

    @property
    def model_digest(self) -> bytes:
        """The digest of the model that the round is about, 32 bytes.

        Raises:
            LocalError: the model is not named yet.
        """
        if not self.config.model_later:
            return self.config.model_digest
        if not self.named:
            raise LocalError(
                "the model of this round is named later, and was not named yet: the coordinator does that with "
                "name_model(digest), a participant with provide(vector, model_digest)"
            )
        return self.named

    @property
    def input_context(self) -> Context:
        """What binds masks, the vector under them and everything after it to the round *and its model*. It is `context`
        where that has the model's digest in it already.

        Raises:
            LocalError: the model is not named yet.
        """
        if not self.config.model_later:
            return self.context
        return bind_model(self.context, self.model_digest)

    @property
    def mask_context(self) -> Context:
        """What binds masks: `input_context` and, with a sparse graph, the list of members. Errors as there."""
        return self._mask_context or self.input_context

    def _among_members(self, context: Context) -> Context:
        """Members who were shown different lists stand on different rings: nothing that they share may fit."""
        if self.config.ring is None:
            return context
        return Context(digest(labels.GRAPH_CONTEXT, context, self.roster_digest))

    def of_members(self, roster_digest: bytes) -> "Round":
        """The round once its members are fixed."""
        return replace(self, roster_digest=roster_digest)

    def about(self, model_digest: bytes) -> "Round":
        """The round as it is for who holds the model of this digest.

        Raises:
            ModelMismatch: the round is about another model.
            ConfigError: the model is named later, and this is no digest of one.
        """
        if self.config.model_later and not self.named:
            check_named(model_digest)
            return replace(self, named=model_digest)
        if model_digest != self.model_digest:  # check: C4
            raise ModelMismatch(
                f"the round is about model {self.model_digest.hex()[:16]}…, ours is {model_digest.hex()[:16]}…",
                culprit="coordinator",
            )
        return self


def digest_model(model: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> bytes:
    """The digest of a model, 32 bytes. It is SHA-256 over name, dtype, shape and little-endian bytes of each array, in
    the order of names.

    Args:
        model: arrays of numbers by name.

    Raises:
        InputError: something is no array of numbers, such as a PyTorch tensor that NumPy cannot read (bfloat16, or one
            that requires grad). The error names the array and says what to do.
        ConfigError: a name is no text that UTF-8 can write.
    """
    if not isinstance(model, Mapping):
        raise InputError(f"a model is a mapping of arrays by name, not {type(model).__name__}")
    state = hashlib.sha256(frame(labels.MODEL_DIGEST))
    names = {utf8(name, "an array name"): name for name in model}
    for encoded in sorted(names):
        array = _numeric(names[encoded], model[names[encoded]])
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        shape = ",".join(map(str, array.shape)).encode()
        state.update(frame(encoded, little_endian.dtype.name.encode(), shape))
        state.update(little_endian.reshape(-1).view(np.uint8).data)
    return state.digest()


def _numeric(name: str, value: object) -> np.ndarray[Any, np.dtype[Any]]:
    """The array in C order. What numpy cannot read it refuses with a TypeError, ValueError or RuntimeError of its own
    or of the library that the value is from; an array of objects holds their addresses, which are others everywhere.
    """
    try:
        array = np.asarray(value, order="C")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"array {name!r} of the model is {described_type(value)} ({error})", array=name) from None
    if array.dtype.hasobject:
        raise InputError(f"array {name!r} of the model is {described_type(value)}", array=name)
    return array
