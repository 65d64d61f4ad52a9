"""T15: what the coordinator sees of one participant is noise. The tests that say so can fail: weak masks are caught."""

from collections.abc import Callable
from itertools import combinations

import pytest

from secagg.crypto.mask_stream import MaskStream
from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.encoding.fixedpoint import FixedPoint
from secagg.masked import masked_input
from secagg.masked.masked_input import AwaitingShares
from secagg.masked.masks import self_mask_key
from secagg.messages import ParticipantId
from secagg.tools.redteam.adversary import Adversary
from secagg.tools.simulation.cohort import participant_names
from tests.rounds import SEMI_HONEST, Integers, flat_schema, make_config, start, truth
from tests.security.uniformity import SIGMAS, bit_sigmas, byte_sigmas, correlation_sigmas, looks_uniform

NAMES = participant_names(5)


def masked_inputs(value_bits: int) -> tuple[dict[ParticipantId, Integers], int]:
    """Masked inputs of a round as the coordinator receives them, and the width of the ring."""
    config = make_config(5, SEMI_HONEST, schema=flat_schema(40_000), encoding=FixedPoint(1.0, value_bits, 1))
    adversary = Adversary(start(config))
    adversary.collect_inputs()
    return dict(adversary.inputs), config.ring_bits


@pytest.mark.parametrize("value_bits", [5, 13, 16, 29, 32])
def test_masked_inputs_look_uniform_and_independent(value_bits: int) -> None:
    inputs, bits = masked_inputs(value_bits)
    for values in inputs.values():
        assert max(byte_sigmas(values, bits)) < SIGMAS
        assert max(bit_sigmas(values, bits)) < SIGMAS
    for one, other in combinations(inputs.values(), 2):
        assert correlation_sigmas(one, other) < SIGMAS


def test_updates_themselves_do_not_look_uniform() -> None:
    run = start(make_config(5, SEMI_HONEST, schema=flat_schema(40_000)))
    assert not looks_uniform(truth(run, NAMES[0]), run.coordinator.round.config.ring_bits)


def of_24_bits(words: Words) -> Words:
    return words & words.dtype.type((1 << 24) - 1)


def modulo_no_power_of_two(words: Words) -> Words:
    """`random() % 3_000_000_000`: the lower numbers come twice as often."""
    return words % words.dtype.type(3_000_000_000)


def with_the_top_bit_stuck(words: Words) -> Words:
    return words | words.dtype.type(0x80000000)


@pytest.mark.parametrize("weaken", [of_24_bits, modulo_no_power_of_two, with_the_top_bit_stuck])
def test_weak_masks_are_caught(monkeypatch: pytest.MonkeyPatch, weaken: Callable[[Words], Words]) -> None:
    """One weak stream alone covers each input, as in a round whose other masks the adversary knows."""
    stride, masks = MaskStream.stride, AwaitingShares._masks
    monkeypatch.setattr(MaskStream, "stride", lambda self, *which: weaken(stride(self, *which)))
    monkeypatch.setattr(AwaitingShares, "_masks", lambda self, delivery: masks(self, delivery)[:1])
    inputs, bits = masked_inputs(29)
    assert bits == 32
    assert not all(looks_uniform(values, bits) for values in inputs.values())


def test_one_mask_for_two_participants_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same stream over two inputs shows in their correlation, though each alone looks uniform."""
    keys = self_mask_key
    same = {NAMES[0]: NAMES[1]}
    seeds: dict[ParticipantId, Secret] = {}

    def shared_key(round_, owner, seed):  # type: ignore[no-untyped-def]
        who = same.get(owner, owner)
        return keys(round_, who, seeds.setdefault(who, seed))

    masks = AwaitingShares._masks
    monkeypatch.setattr(masked_input, "self_mask_key", shared_key)
    monkeypatch.setattr(AwaitingShares, "_masks", lambda self, delivery: masks(self, delivery)[:1])
    inputs, bits = masked_inputs(13)
    assert looks_uniform(inputs[NAMES[0]], bits)
    assert correlation_sigmas(inputs[NAMES[0]], inputs[NAMES[1]]) > SIGMAS
