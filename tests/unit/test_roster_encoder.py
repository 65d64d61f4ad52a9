"""The roster as the coordinator writes it: the same messages as the codec's, each entry made into bytes once."""

import pytest

from secagg.messages import AdvertiseKeys, Index, Listing, Member, ParticipantId, Roster
from secagg.wire import keys
from secagg.wire.keys import ROSTER, RosterEncoder
from secagg.wire.parsing import parse
from secagg.wire.v1 import data_plane_pb2 as pb

NAMES = tuple(ParticipantId(f"site-{i:04d}") for i in range(1, 1501))
MEMBERS = {
    Index(i): Member(Index(i), name, AdvertiseKeys(i.to_bytes(32), bytes(32), b"s" * 70, (b"c" * 900,)))
    for i, name in enumerate(NAMES, 1)
}
LISTING = Listing(NAMES, bytes(32 * len(NAMES)))


def shown(*indices: int) -> Roster:
    return Roster(tuple(MEMBERS[Index(i)] for i in indices), LISTING)


def read(parts: list[bytes]) -> Roster:
    assert all(len(part) <= 1 << 20 for part in parts)
    return ROSTER.decode([parse(pb.RosterPart, part) for part in parts])


def test_each_member_is_shown_its_own_entries_behind_one_list() -> None:
    encoder = RosterEncoder()
    for indices in ((1, 2, 3), (2, 3, 4), (7,), tuple(range(1, 1501))):
        assert read(list(encoder.parts(shown(*indices)))) == shown(*indices)


def test_a_list_in_several_parts_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "LISTED_IN_PART", 400)
    encoder = RosterEncoder()
    for own in (1, 2):
        parts = list(encoder.parts(shown(own, own + 1)))
        assert len(parts) == 5
        assert read(parts) == shown(own, own + 1)


def test_a_whole_roster_is_the_same_for_everyone() -> None:
    encoder, whole = RosterEncoder(), Roster(tuple(MEMBERS.values()))
    parts = list(encoder.parts(whole))
    assert read(parts) == whole
    assert parts == [part.SerializeToString() for part in ROSTER.parts(whole)]
    assert encoder.parts(whole) is encoder.parts(whole)


def test_list_and_entries_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    genuine = keys.encode_advertise

    def counted(message: AdvertiseKeys) -> pb.AdvertiseKeys:
        made.append(message)
        return genuine(message)

    monkeypatch.setattr(keys, "encode_advertise", counted)
    encoder = RosterEncoder()
    for own in range(1, 51):
        list(encoder.parts(shown(*range(own, own + 100))))
    assert len(made) == 149
