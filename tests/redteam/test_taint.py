"""Nothing but the declared payloads depends on the data, in any mode; what does is found."""

import numpy as np
import pytest

from secagg.encoding.pipeline import Pipeline
from secagg.masked import shares, unmask
from secagg.masked.vector import MaskedVector
from secagg.messages import MaskedInputChunk
from secagg.tools.redteam import taint
from secagg.tools.redteam.arena import SMALL, random_updates, small_config
from secagg.tools.redteam.audit import PIPELINES
from secagg.tools.redteam.modes import EVERY_MODE, MASKED_SEMI_HONEST, Mode
from secagg.tools.redteam.self_test.patches import Patch
from secagg.tools.simulation.cohort import participant_names

NAMES = participant_names(4)
ONE = random_updates(SMALL, NAMES, 1)
ZEROS = {name: {key: np.zeros_like(value) for key, value in update.items()} for name, update in ONE.items()}


@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
def test_nothing_depends_on_the_data(mode: Mode) -> None:
    assert taint.compare(small_config(4, mode), ONE, ZEROS) == []


@pytest.mark.parametrize("text", PIPELINES.values(), ids=PIPELINES)
@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
def test_neither_compression_nor_noise_makes_sizes_depend_on_the_data(mode: Mode, text: str) -> None:
    config = mode.config(SMALL, 4, encoding=Pipeline.parse(text))
    assert taint.compare(config, ONE, ZEROS) == []


def found(patched: object, name: str, value: object) -> str:
    with Patch() as patch:
        patch.setattr(patched, name, value)
        leaks = taint.compare(small_config(4, MASKED_SEMI_HONEST), ONE, ZEROS)
    return " ".join(f"{leak.where}: {leak.what}" for leak in leaks)


def test_a_size_that_follows_the_data_is_found() -> None:
    """Uploads that leave trailing zeros of the update out."""
    chunk = MaskedVector.chunk

    def shorter(self: MaskedVector, number: int) -> MaskedInputChunk:
        whole = chunk(self, number)
        spared = int(self._vector.read(0, 64, np.dtype("<u4")).var() < 1e6)
        return MaskedInputChunk(number, whole.payload[: len(whole.payload) - spared])

    assert "MaskedInputChunk.payload" in found(MaskedVector, "chunk", shorter)


def test_a_number_of_messages_that_follows_the_data_is_found() -> None:
    once = MaskedVector.__iter__

    def twice(self: MaskedVector):  # type: ignore[no-untyped-def]
        yield from once(self)
        if self._vector.read(0, 64, np.dtype("<u4")).var() < 1e6:
            yield from once(self)

    assert "traffic" in found(MaskedVector, "__iter__", twice)


def test_a_field_that_follows_the_data_is_found() -> None:
    """Commitments that are others in the second round, as if they were made from the update."""
    commit, calls = shares.commit, []

    def other(round_, owner, seed):  # type: ignore[no-untyped-def]
        calls.append(owner)
        second = len(calls) > 2 * len(NAMES)  # each is computed by its owner and by the coordinator
        return commit(round_, owner + "'" if second else owner, seed)

    with Patch() as patch:
        patch.setattr(unmask, "commit", other)
        assert "ShareKeys.commitment" in found(shares, "commit", other)
