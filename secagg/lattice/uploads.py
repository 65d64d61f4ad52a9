"""A participant's vector, chunk by chunk: read, encrypted and packed as it is sent, in the memory of one chunk."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from secagg.errors import InputError
from secagg.lattice.layout import Layout
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Profile
from secagg.lattice.summation import upload_layout

ReadValues = Callable[[int, int], npt.NDArray[np.integer]]
"""(start, stop) to the values there: integers in [0, 2**value_bits)."""

EncryptBlocks = Callable[[U64, int], bytes]
"""(values of whole blocks, first block) to their packed residues."""


def upload_chunks(profile: Profile, count: int, read: ReadValues, encrypt: EncryptBlocks) -> Iterator[bytes]:
    """The chunks of `count` values in order, each encrypted when it is asked for.

    Encrypting a chunk twice would reuse its seed, so a sender keeps the bytes until they are acknowledged and never
    runs this again.

    Raises:
        InputError: a value that is not in [0, 2**value_bits).
    """
    layout = upload_layout(profile, count)
    for chunk in range(layout.chunks):
        start, stop = value_range(profile, layout, chunk, count)
        yield encrypt(_checked(profile, read(start, stop), start), layout.block_range(chunk).start)


def value_range(profile: Profile, layout: Layout, chunk: int, count: int) -> tuple[int, int]:
    """First and last-but-one position of the values in a chunk."""
    blocks = layout.block_range(chunk)
    return blocks.start * profile.values_per_block, min(blocks.stop * profile.values_per_block, count)


def _checked(profile: Profile, values: npt.NDArray[np.integer], start: int) -> U64:
    outside = np.flatnonzero((values < 0) | (values >= 1 << profile.value_bits))
    if outside.size:
        position = start + int(outside[0])
        raise InputError(f"value {position} is not in [0, 2**{profile.value_bits})", index=(position,))
    return values.astype(np.uint64, copy=False)
