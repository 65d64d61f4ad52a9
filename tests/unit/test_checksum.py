"""What finds out whether bytes were changed by mistake."""

import pytest

from secagg.crypto.checksum import CHECKSUM_SIZE, checksum

DATA = bytes(range(256)) * 20


@pytest.mark.parametrize("at", [0, 1, 100, len(DATA) - 1])
def test_a_bit_that_was_changed_is_found(at: int) -> None:
    changed = bytearray(DATA)
    changed[at] ^= 0x10
    assert checksum(bytes(changed)) != checksum(DATA)


def test_it_covers_the_length_the_order_and_the_tag() -> None:
    others = [DATA + b"\0", DATA[:-1], DATA[16:] + DATA[:16], b""]
    found = {checksum(data) for data in (DATA, *others)} | {checksum(DATA, b"another name")}
    assert len(found) == len(others) + 2
    assert all(len(one) == CHECKSUM_SIZE for one in found)
    assert checksum(memoryview(DATA)) == checksum(DATA)
