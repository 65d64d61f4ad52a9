"""Masks of real rounds: uniform and independent, each stream alone, and never the same twice."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from secagg.config import RoundConfig
from secagg.context import Round, RoundId, bind
from secagg.crypto.agreement import KeyPair
from secagg.crypto.mask_stream import MaskStream, StrideMemory
from secagg.crypto.secret import Secret
from secagg.masked.masked_input import AwaitingShares
from secagg.masked.shares import SharePair
from secagg.messages import (
    AdvertiseKeys,
    Index,
    Member,
    ParticipantId,
    Roster,
)
from secagg.policy import Policy
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.membership import Membership
from secagg.tools.redteam.adversary import Adversary, Integers, truth
from secagg.tools.redteam.arena import WIDE, layers, rng_of, small_config, start
from secagg.tools.redteam.modes import MASKED_SEMI_HONEST, Mode
from secagg.tools.redteam.statistics import Battery, birthday_p, linear_complexity_p, pair_tests, repeats_p, ring_tests
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Run
from secagg.wire.configuration import encode_config

MANY: Final = 48_000
"""Values, enough to see a bias of one in a thousand in any bit."""

FEWER: Final = 8192
"""Values where masks were looked at closely already, in the other threat model: the code that makes them is one."""

LONG: Final = 270_000
"""Values, more than one chunk of 32-bit words."""

COMPLEXITY_BITS: Final = 42_000
"""More than twice the state of the Mersenne Twister."""


def masks(seed: int = 0, values: int = MANY, mode: Mode = MASKED_SEMI_HONEST) -> list[str]:
    """Masks of a real round, each as a whole and each stream alone, are uniform and independent."""
    return mask_battery(seed, values, mode).said()


def mask_battery(seed: int, values: int, mode: Mode = MASKED_SEMI_HONEST) -> Battery:
    """The tests of `masks`.

    What lies over each input is the input as received less what went in. What a pairwise stream or a self mask alone
    would leave is what the coordinator sees with n − 2 colluders, or of a late input.
    """
    config = mode.config(layers(values), 4, encoding=WIDE)
    names, run = participant_names(4), start(config, seed=seed)
    adversary = Adversary(run, names)
    adversary.collect_inputs()
    adversary.unmask(dict.fromkeys(names, adversary.sets(names)))
    battery, bits = Battery(), config.ring_bits
    over = _masks_of(adversary, run)
    singles = {
        "the stream of a pair alone": _left_over(adversary, over[names[0]], names[0], keep=names[1]),
        "a self mask alone": _left_over(adversary, over[names[2]], names[2], keep=None),
    }
    for sample, mask in {**{f"mask of {name}": mask for name, mask in over.items()}, **singles}.items():
        for layer, part in _by_layer(config, mask):
            battery.add(f"{sample}, layer {layer}", ring_tests(part, bits))
        low = (mask[:COMPLEXITY_BITS] & np.uint64(1)).tolist()
        battery.add(sample, [("linear complexity of the lowest bit", linear_complexity_p(low))])
    for i, one in enumerate(names):
        for other in names[:i]:
            battery.add(f"masks of {other} and {one}", pair_tests(over[other], over[one]))
    return battery


def _masks_of(adversary: Adversary, run: Run) -> dict[ParticipantId, Integers]:
    """What lies over each input: the input as received less what went in."""
    ring = np.uint64((1 << adversary.round.config.ring_bits) - 1)
    return {name: (adversary.inputs[name] - truth(run, name)) & ring for name in run.participants}


def _left_over(adversary: Adversary, mask: Integers, owner: Any, keep: Any) -> Integers:
    """A participant's masks less all but one: that with `keep`, or its self mask."""
    known = [] if keep is None else adversary.self_mask(owner)
    for peer in adversary.people:
        if peer not in (owner, keep):
            known = known + adversary.pairwise(owner, peer)
    return adversary.strip(mask, known)


def _by_layer(config: RoundConfig, mask: Integers) -> Iterator[tuple[str, Integers]]:
    at = 0
    for spec in config.schema.arrays:
        yield spec.name, mask[at : at + spec.size]
        at += spec.size


def chunks(seed: int = 0) -> list[str]:
    """No piece of a mask comes again later in it: chunks do not begin the stream anew."""
    config = MASKED_SEMI_HONEST.config(layers(LONG), 3, encoding=WIDE)
    run = start(config, seed=seed)
    adversary = Adversary(run)
    adversary.collect_inputs()
    battery = Battery()
    for name, mask in _masks_of(adversary, run).items():
        battery.add(f"mask of {name}", [("repeated blocks", repeats_p(mask, config.ring_bits))])
    return battery.said()


COHORTS: Final = 5
COHORT: Final = 64
SEEDS_ERROR: Final = 1e-9
SECOND_ROUND: Final = 8192
"""Values of each of two rounds."""


def seeds(seed: int = 0, cohorts: int = COHORTS, people: int = COHORT) -> list[str]:
    """Thousands of mask streams begin with thousands of different blocks."""
    rng, blocks = rng_of(seed, "census"), []
    for _ in range(cohorts):
        config = small_config(people, MASKED_SEMI_HONEST)
        round_id = RoundId(rng.token(16))
        round_ = Round(round_id, config, bind(round_id, encode_config(config), config.model_digest))
        pairs = [KeyPair.generate(rng) for _ in range(people)]
        members = {
            Index(i): Member(Index(i), name, AdvertiseKeys(bytes(32), pair.public))
            for i, (name, pair) in enumerate(zip(participant_names(people), pairs, strict=True), start=1)
        }
        for i, pair in enumerate(pairs, start=1):
            blocks += _stream_heads(round_, members, i, pair, rng)
    p = birthday_p(blocks)
    repeats = len(blocks) - len(set(blocks))
    return [f"{repeats} of {len(blocks)} mask streams begin like another one (p = {p:.1e})"] if p < SEEDS_ERROR else []


def _stream_heads(round_: Round, members: Mapping[Index, Member], index: int, pair: KeyPair, rng: Any) -> list[bytes]:
    """The first 16 bytes of the self mask and of each mask with a later member, as the participant makes them."""
    own = members[Index(index)]
    membership = Membership(round_, own.participant_id, Policy(), rng, None)
    checked = CheckedRoster(membership, Roster(tuple(members.values())), members, own.index, {})
    state = AwaitingShares(checked, pair, pair, Secret(rng.token(32)), SharePair(Secret(bytes(33)), Secret(bytes(33))))
    made = state._masks(dict.fromkeys(i for i in members if i > index))
    cipher, memory = round_.config.suite.mask_cipher, StrideMemory(4, np.dtype("<u4"))
    return [MaskStream(cipher, mask.key, memory).stride(0, 4).tobytes() for mask in made]


def two_rounds(seed: int = 0, values: int = SECOND_ROUND, mode: Mode = MASKED_SEMI_HONEST) -> list[str]:
    """Nothing of the masks of one round is in the next."""
    config = mode.config(layers(values), 4, encoding=WIDE)
    over, battery = [], Battery()
    for number in (1, 2):
        run = start(config, seed=seed * 2 + number)
        adversary = Adversary(run)
        adversary.collect_inputs()
        over.append(_masks_of(adversary, run))
    for name, mask in over[0].items():
        battery.add(f"masks of {name} in two rounds", pair_tests(mask, over[1][name]))
    return battery.said()
