"""The keys of mask streams, and how streams are added to vectors (proto/PROTOCOL.md, "Mask streams")."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from secagg.config import Suite
from secagg.context import Round
from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.mask_stream import MaskStream, StrideMemory, stride_words
from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.messages import ParticipantId


@dataclass(frozen=True, slots=True)
class Mask:
    """A stream to add to a vector, or to subtract from it."""

    key: Secret
    negative: bool


def self_mask_key(round_: Round, owner: ParticipantId, seed: Secret) -> Secret:
    """The key of a participant's own mask stream, PRG(b_u)."""
    return _mask_key(round_, labels.SELF_MASK, seed, owner)


def pairwise_mask_key(round_: Round, one: ParticipantId, other: ParticipantId, shared: Secret) -> Secret:
    """The key of the stream that two participants share, PRG(s_uv). Both derive the same: ids are sorted."""
    return _mask_key(round_, labels.PAIRWISE_MASK, shared, *sorted((one, other)))


def _mask_key(round_: Round, label: bytes, key_material: Secret, *ids: ParticipantId) -> Secret:
    suite = round_.config.suite
    info = frame(label, suite.name.encode(), round_.mask_context, *(i.encode() for i in ids))
    return derive(key_material, salt=round_.round_id, info=info, size=suite.key_size)


def add_masks(vector: Words, start: int, masks: Iterable[Mask], suite: Suite) -> None:
    """Add the masks' elements from `start` on to `vector`, in place, mod 2^word.

    Args:
        vector: contiguous words; element i is coordinate `start` + i.
        start: 0 or more. At the beginning of a stride, a multiple of 256 KiB of words, nothing is made in vain.
        masks: each element of a stream is one word, so masks cancel mod 2^word and hence mod 2^b.
        suite: of the round.

    Raises:
        MissingExtraError: what makes the suite's masks is not installed.
    """
    step = stride_words(vector.dtype)
    memory = StrideMemory(min(step, start % step + len(vector)), vector.dtype)
    streams = [
        (MaskStream(suite.mask_cipher, mask.key, memory).stride, np.subtract if mask.negative else np.add)
        for mask in masks
    ]
    low = 0
    while low < len(vector):
        number, before = divmod(start + low, step)
        block = vector[low : low + step - before]
        end = before + len(block)
        for stride, combine in streams:  # the block stays in the cache while every stream passes over it
            words = stride(number, end)
            combine(block, words[before:] if before else words, block)
        low += len(block)


def opposite(masks: Sequence[Mask]) -> list[Mask]:
    """The masks that undo `masks`."""
    return [Mask(mask.key, not mask.negative) for mask in masks]
