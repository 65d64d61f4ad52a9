"""What a sum tells about single weights: their total. In every scheme, whatever the bits of a value."""

from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest

from secagg.config import RoundConfig
from secagg.crypto.prg import Words
from secagg.crypto.rng import SeededRng
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import BoundedCode, code_for
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.lattice.parameters import find_profile
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from tests.encrypted_rounds import CASES, encrypted_config
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment, flat_schema, make_config

ENCODINGS: list[FixedPoint | Pipeline] = [
    Pipeline.parse("weigh(max=100) | quantise(bits=1, range=0.5)"),
    FixedPoint(1.0, 4, 100),
    FixedPoint(1.0, 8, 1000),
]
WEIGHTS = (64, 3, 1)
SIZE = 5


def config_of(encoding: FixedPoint | Pipeline, mode: Any) -> RoundConfig:
    """`mode`: a threat model of masked rounds, or scheme and custody."""
    schema = flat_schema(SIZE)
    if not isinstance(mode, tuple):
        return make_config(3, mode, encoding=encoding, schema=schema, threshold=3, max_colluding=0)
    bits = code_for(encoding, schema, Cohort(3, 3), wraps=False).value_bits
    scheme, custody = mode
    profile = find_profile(scheme, custody, 3, bits)
    return encrypted_config(scheme, custody, 3, encoding=encoding, schema=schema, homomorphic=profile)


def behind_the_values(config: RoundConfig) -> tuple[int, ...]:
    """What a round of three with these weights releases besides the sums of the values."""
    names = participant_names(3)
    update = {"values": np.zeros(SIZE, np.float32)}
    brought = {name: Contribution(update, weight) for name, weight in zip(names, WEIGHTS, strict=True)}
    made = deployment() if config.signed else None
    run = set_up(config, brought, rng=SeededRng(bytes(32)), now=NOW, deployment=made).play()
    assert run.aggregate is not None
    return tuple(int(x) for x in run.aggregate.sums[SIZE:])


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@pytest.mark.parametrize("mode", [ACTIVE, SEMI_HONEST, *CASES], ids=str)
def test_a_sum_tells_the_total_weight_alone(encoding: FixedPoint | Pipeline, mode: Any) -> None:
    assert behind_the_values(config_of(encoding, mode)) == (sum(WEIGHTS),)


class InLimbs:
    """A vector whose weight travels in pieces of q bits."""

    def __init__(self, code: BoundedCode, values: Words, weight: int) -> None:
        self._whole = np.concatenate([values[:SIZE], limbs(weight, code.code.value_bits)])
        self.vector_len = len(self._whole)

    def read(self, start: int, stop: int, dtype: np.dtype[Any]) -> Words:
        return self._whole[start:stop].astype(dtype)


def limbs(weight: int, bits: int) -> Words:
    return np.array([weight >> bits * i & (1 << bits) - 1 for i in range(-(-7 // bits))], np.uint64)


def test_pieces_of_a_weight_would_tell_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: values of one bit, and each bit of the weights summed by itself."""
    config = config_of(ENCODINGS[0], SEMI_HONEST)
    encoder = BoundedCode.encode

    def in_limbs(self: BoundedCode, update: Any, weight: int, *rest: Any) -> InLimbs:
        whole = encoder(self, update, weight, *rest)
        return InLimbs(self, whole.read(0, SIZE + 1, np.dtype(np.uint64)), weight)

    monkeypatch.setattr(BoundedCode, "vector_len", property(lambda _: SIZE + 7))
    monkeypatch.setattr(BoundedCode, "encode", in_limbs)
    told = behind_the_values(config)
    fit = [some for some in combinations_with_replacement(range(1, 101), 3) if sum(some) == sum(WEIGHTS)]
    left = [some for some in fit if tuple(sum(limbs(w, 1)[i] for w in some) for i in range(7)) == told]
    assert len(fit) > 100 * len(left)
    assert tuple(sorted(WEIGHTS)) in left
