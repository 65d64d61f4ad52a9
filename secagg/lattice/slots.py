"""Values to slots and back: which value of a block stands where, and what a decrypted block must look like.

BFV with two fields a slot: value i of a block is the low field of slot i, value N + i the high field. CKKS: value i
is the real part of slot i, value N/2 + i the imaginary part. A short last block is filled up with zeros, and comes
back with zeros.
"""

import numpy as np
import numpy.typing as npt

from secagg.errors import ProtocolViolation
from secagg.lattice.modular import U64
from secagg.lattice.noise import CKKS_ROUNDING_LIMIT
from secagg.lattice.parameters import Profile

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]


def fill(profile: Profile, values: U64) -> U64:
    """Values of consecutive blocks, the last filled up with zeros: uint64[blocks, values_per_block]."""
    out = np.zeros((profile.blocks(len(values)), profile.values_per_block), np.uint64)
    out.reshape(-1)[: len(values)] = values
    return out


def bfv_slots(profile: Profile, block: U64) -> U64:
    """uint64[values_per_block] to uint64[N], each below the plaintext modulus."""
    fields = block.reshape(profile.values_per_slot, profile.ring_degree)
    slots: U64 = fields[0].copy()
    for i in range(1, profile.values_per_slot):
        slots |= fields[i] << np.uint64(i * profile.field_bits)
    return slots


def bfv_values(profile: Profile, slots: U64) -> U64:
    """uint64[..., N] of summed slots to uint64[..., values_per_block]."""
    mask = np.uint64((1 << profile.field_bits) - 1)
    fields = [slots >> np.uint64(i * profile.field_bits) for i in range(profile.values_per_slot)]
    # The last field is not masked: a slot out of range must show.
    return np.concatenate([field & mask for field in fields[:-1]] + fields[-1:], axis=-1)


def ckks_slots(block: U64) -> Complex:
    """Values as CKKS puts them into its slots: two integers in each complex number, uint64[N] to complex128[N/2]."""
    real, imaginary = block.reshape(2, -1)
    return real + 1j * imaginary.astype(np.float64)


def ckks_values(slots: Complex) -> U64:
    """complex128[..., N/2] of summed slots to uint64[..., N], exactly.

    Rounding is what takes the encryption noise, and with it the key, out of the result (Li & Micciancio 2021), so
    nothing is released that is not certainly rounded right.

    Raises:
        ProtocolViolation: a part is not within 1/4 of an integer in range: not a sum of honest encryptions.
    """
    parts = np.concatenate([slots.real, slots.imag], axis=-1)
    # Written so that NaN is refused as well.
    if not (parts.min() >= -CKKS_ROUNDING_LIMIT and parts.max() < 2.0**53):  # check: C57-range
        raise ProtocolViolation("a decrypted value is out of range")
    nearest = np.rint(parts)
    distance = np.abs(parts - nearest).max()
    if distance > CKKS_ROUNDING_LIMIT:  # check: C57-integer
        raise ProtocolViolation(f"a decrypted value is {distance:.3g} from an integer, beyond {CKKS_ROUNDING_LIMIT}")
    values: U64 = nearest.astype(np.uint64)
    return values


def take(profile: Profile, values: U64, count: int, summands: int) -> U64:
    """The first `count` of uint64[blocks, values_per_block], checked to be a possible sum of `summands`.

    Raises:
        ProtocolViolation: a value beyond the largest possible sum, or a filler that is not zero.
    """
    flat = values.reshape(-1)
    largest = summands * ((1 << profile.value_bits) - 1)
    if flat.max(initial=0) > largest:  # check: C57-largest, C84-largest
        raise ProtocolViolation(f"a decrypted value exceeds {largest}, the largest sum of {summands} values")
    if flat[count:].any():  # check: C57-filler, C84-filler
        raise ProtocolViolation("the filling of the last block is not zero")
    return flat[:count]
