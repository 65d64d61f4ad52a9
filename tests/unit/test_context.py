"""The context, the model digest, and what is hashed and signed about a roster."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from secagg import roster as rosters
from secagg.context import Context, digest_model
from secagg.errors import ProtocolViolation
from secagg.messages import AdvertiseKeys, Index, Member, ParticipantId, Roster, SurvivorSet
from secagg.tools.simulation.cohort import participant_names
from tests.rounds import SEMI_HONEST, make_config, start

MODEL: dict[str, np.ndarray[Any, np.dtype[Any]]] = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2)}


def test_the_model_digest_does_not_depend_on_layout_or_byte_order() -> None:
    base = digest_model(MODEL)
    assert len(base) == 32
    assert digest_model(dict(reversed(MODEL.items()))) == base
    assert digest_model({**MODEL, "w": np.asfortranarray(MODEL["w"])}) == base
    assert digest_model({**MODEL, "w": MODEL["w"].astype(">f4")}) == base
    assert digest_model({**MODEL, "w": np.repeat(MODEL["w"], 2, axis=1)[:, ::2]}) == base


@pytest.mark.parametrize(
    "other",
    [
        {"w": MODEL["w"]},
        {**MODEL, "c": np.zeros(1)},
        {"v": MODEL["w"], "b": MODEL["b"]},
        {**MODEL, "w": MODEL["w"].reshape(3, 2)},
        {**MODEL, "w": MODEL["w"].astype(np.float64)},
        {**MODEL, "w": np.nextafter(MODEL["w"], np.float32(9))},
        {**MODEL, "b": np.array([0.0, -0.0])},
    ],
)
def test_every_change_of_the_model_changes_its_digest(other: dict[str, Any]) -> None:
    assert digest_model(other) != digest_model(MODEL)


def test_a_scalar_is_not_a_vector_of_one() -> None:
    assert digest_model({"s": np.array(1.0)}) != digest_model({"s": np.array([1.0])})


def keys(number: int) -> AdvertiseKeys:
    return AdvertiseKeys(bytes([number]) * 32, bytes([number + 100]) * 32)


def test_indices_follow_sorted_ids() -> None:
    roster = rosters.assign(
        {ParticipantId(name): keys(i) for i, name in enumerate(["b", "a", "B", "10", "9"], start=1)}
    )
    assert [(m.index, m.participant_id) for m in roster.members] == [(1, "10"), (2, "9"), (3, "B"), (4, "a"), (5, "b")]


def test_every_change_of_a_roster_changes_its_digest() -> None:
    base = rosters.assign({ParticipantId(name): keys(i) for i, name in enumerate("abc", start=1)})
    digests = {rosters.roster_digest(base)}
    first, *rest = base.members
    for changed in (
        dataclasses.replace(first, index=Index(9)),
        dataclasses.replace(first, participant_id=ParticipantId("z")),
        dataclasses.replace(first, keys=dataclasses.replace(first.keys, channel_public_key=bytes(32))),
        dataclasses.replace(first, keys=dataclasses.replace(first.keys, mask_public_key=bytes(32))),
        dataclasses.replace(first, keys=dataclasses.replace(first.keys, certificates=(b"c",))),
        dataclasses.replace(first, keys=dataclasses.replace(first.keys, certificates=(b"", b"c"))),
        dataclasses.replace(first, keys=dataclasses.replace(first.keys, key_share_commitment=b"k")),
    ):
        digests.add(rosters.roster_digest(Roster((changed, *rest))))
    digests.add(rosters.roster_digest(Roster(tuple(rest))))
    assert len(digests) == 9


def test_what_survivors_sign_tells_the_two_sets_apart() -> None:
    roster = rosters.assign({ParticipantId("a"): keys(1)})
    signed = {
        rosters.survivors_to_sign(Context(bytes(32)), rosters.roster_digest(roster), sets)
        for sets in (
            SurvivorSet((Index(1), Index(2)), (Index(3),)),
            SurvivorSet((Index(1),), (Index(2), Index(3))),
            SurvivorSet((Index(1), Index(2), Index(3)), ()),
            SurvivorSet((), (Index(1), Index(2), Index(3))),
        )
    }
    assert len(signed) == 4


def members(run_names: list[ParticipantId]) -> tuple[Member, ...]:
    run = start(make_config(5, SEMI_HONEST))
    return rosters.assign({name: run.participants[name].advertisement for name in run_names}).members


@pytest.mark.parametrize("which", ["channel", "mask", "crossed", "unreduced"])
def test_no_public_key_stands_twice(which: str) -> None:
    """Nor in another encoding, nor once as channel and once as mask key."""
    names = participant_names(5)
    run = start(make_config(5, SEMI_HONEST))
    advertised = {name: run.participants[name].advertisement for name in names}
    mine, other = advertised[names[0]], advertised[names[1]]
    third = advertised[names[2]]
    twin = other.mask_public_key[:31] + bytes([other.mask_public_key[31] | 0x80])
    advertised[names[2]] = {
        "channel": AdvertiseKeys(other.channel_public_key, third.mask_public_key),
        "mask": AdvertiseKeys(third.channel_public_key, other.mask_public_key),
        "crossed": AdvertiseKeys(third.channel_public_key, other.channel_public_key),
        "unreduced": AdvertiseKeys(third.channel_public_key, twin),
    }[which]
    with pytest.raises(ProtocolViolation, match="reduced" if which == "unreduced" else "stands twice"):
        rosters.check(rosters.assign(advertised), run.coordinator.round, names[0], mine)


@pytest.mark.parametrize(
    ("order", "words"), [((0, 1, 1, 3, 4), "not distinct"), ((1, 0, 2, 3, 4), "not distinct and sorted")]
)
def test_ids_are_distinct_and_sorted(order: tuple[int, ...], words: str) -> None:
    names = participant_names(5)
    run = start(make_config(5, SEMI_HONEST))
    found = members(names)
    roster = Roster(
        tuple(Member(Index(i), found[at].participant_id, found[at].keys) for i, at in enumerate(order, start=1))
    )
    with pytest.raises(ProtocolViolation, match=words) as caught:
        rosters.check(roster, run.coordinator.round, names[0], found[0].keys)
    assert caught.value.culprit == rosters.COORDINATOR
