"""The clip that a histogram suggests holds every update of an ordinary job, and follows no single participant."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from secagg_client.learning import clipping

from secagg.encoding.integers import IntegerSums
from secagg.errors import InputError, ProtocolViolation


def found(*largest: float) -> clipping.FoundClip:
    read = maybe(*largest)
    assert read is not None
    return read


def maybe(*largest: float) -> clipping.FoundClip | None:
    updates = [clipping.update({"values": np.array([0.0, value], np.float32)}) for value in largest]
    return clipping.read(
        IntegerSums({"exponents": np.sum([one["exponents"] for one in updates], axis=0)}, len(updates))
    )


@given(st.lists(st.floats(2.0**-30, 2.0**-29, width=32), min_size=3, max_size=9))
def test_the_clip_holds_all_updates_with_room_and_wastes_two_bits_at_most(largest: list[float]) -> None:
    clip = found(*largest).clip
    assert 2 * max(largest) <= clip * 1.0000001
    assert clip <= 4 * max(largest)


def test_one_participant_cannot_make_the_clip_as_large_as_it_likes() -> None:
    honest = found(0.01, 0.01, 0.01, 0.01).clip
    spoilt = found(0.01, 0.01, 0.01, 2.0**20)
    assert spoilt.clip <= honest * 2**clipping.SPREAD
    assert spoilt.above == 1
    assert found(0.01, 0.01, 0.01, 0.02).above == 0


def test_updates_that_change_nothing_do_not_clip_the_others_away() -> None:
    assert found(0.0, 0.0, 0.0, 0.01, 0.01).clip == found(0.01, 0.01).clip
    assert found(0.0, 0.0, 0.01).participants == 3
    assert maybe(0.0, 2.0**-50, 0.0) is None


def test_every_contribution_is_a_single_one_within_the_schema() -> None:
    for value in (0.0, 2.0**-60, 1.0, 2.0**23 * 0.99):
        update = clipping.update({"values": np.array([value])})
        clipping.SCHEMA.check(update)
        assert update["exponents"].sum() == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0**23, -(2.0**40)])
def test_what_has_no_bin_is_refused(value: float) -> None:
    with pytest.raises(InputError):
        clipping.update({"values": np.array([1.0, value])})


def test_a_histogram_that_counts_someone_twice_is_refused() -> None:
    bins = clipping.update({"values": np.ones(1)})["exponents"] * 2
    with pytest.raises(ProtocolViolation):
        clipping.read(IntegerSums({"exponents": bins}, 1))
