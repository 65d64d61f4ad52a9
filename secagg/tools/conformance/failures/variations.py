"""Honest messages in a form that is rare, and bounds that are just met: a participant goes on with all of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from secagg.config import METRICS
from secagg.messages import Member, Roster
from secagg.tools.conformance import wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.changes import Edit, entry, few, member, members, only, put, same
from secagg.tools.conformance.failures.forgeries import signed_keys, signs_sets
from secagg.tools.conformance.failures.malformed import crowd, flooded, parts
from secagg.tools.conformance.failures.script import (
    ACCEPTED,
    ACTIVE,
    ME,
    SEMI_HONEST,
    SPARSE,
    Script,
    Table,
)
from secagg.tools.conformance.failures.sparse import on_ring
from secagg.tools.conformance.failures.stages import after_sums, shown

UNKNOWN = bytes.fromhex("980601")
"""Field 99 with the number 1, which this page does not have."""
SEVEN = ("Aster", "amber-10", "amber-9", ME, "fir", "ginkgo", "hazel")


def _reversed(field: str) -> Callable[[list[Any], Script], None]:
    def change(read: list[Any], script: Script) -> None:
        entries = getattr(read[0], field)
        listed = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
        del entries[:]
        entries.extend(reversed(listed))

    return change


def _one_by_one(field: str) -> Callable[[list[Any], Script], Any]:
    """Each entry in a part of its own, and an empty part between them."""

    def change(read: list[Any], script: Script) -> Any:
        kind, made = type(read[0]), list[Any]()
        for part in read:
            for one in getattr(part, field):
                alone = kind()
                getattr(alone, field).append(one)
                made += [alone, kind()]
        return made

    return change


def _dealt_one_by_one(read: list[Any], script: Script) -> Any:
    """Each entry in a part of its own, and an empty part between them."""
    kind, made = type(read[0]), list[Any]()
    for part in read:
        size = len(part.entries) // max(len(part.peers), 1)
        for number, peer in enumerate(part.peers):
            made += [kind(peers=[peer], entries=part.entries[number * size : (number + 1) * size]), kind()]
    return made


def _unknown_fields(read: list[Any], script: Script) -> None:
    """In the message, in each entry, and in the keys of each."""
    for part in read:
        for each in part.members:
            each.keys.MergeFromString(UNKNOWN)
            each.MergeFromString(UNKNOWN)
        part.MergeFromString(UNKNOWN)


def _roster(change: Callable[[list[Any], Script], Any]) -> Edit:
    return parts("roster", change)


def _not_packed(_: Any, script: Script) -> Document:
    [sets] = wire.parts(script.vector["messages"]["survivors"])
    one_by_one = [bytes([tag, index]) for tag, some in ((8, sets.survivors), (16, sets.dropped)) for index in some]
    return {"type": "SurvivorSet", "parts": [b"".join(one_by_one).hex()]}


def _fixed_fields(_: Any, script: Script) -> Document:
    """Whoever reads a byte too much or too little finds a wire type that is none."""
    message = script.vector["messages"]["survivors"]
    more = b"\x79" + bytes(8) + b"\x78\x0b\x7d" + bytes(4) + b"\x78\x0b"
    return {"type": message["type"], "parts": [message["parts"][0] + more.hex()]}


def _unused_key(_: Roster, script: Script) -> Roster:
    """The first member who, with a channel key of low order, is in the committee and no neighbour of ours."""
    for name in script.members:
        edit = signed_keys(name, channel_public_key=bytes(32))
        everyone = [replace(m, keys=edit(m.keys, script)) if m.participant_id == name else m
                    for m in script.members.values()]  # fmt: skip
        roster, graph = on_ring(script, everyone)
        at = next(m.index for m in everyone if m.participant_id == ME)
        if script.index(name) in {*graph.committee} - {at, *graph.of(at)}:
            return roster
    raise ValueError("everybody is a neighbour")


def _everyone(script: Script) -> list[Document]:
    return [{"survivors": script.survivors, "threshold": 7}] * 2


def _strangers(script: Script) -> list[Document]:
    crowd = [f"other-{number}" for number in range(7)]
    return [{"survivors": crowd, "threshold": 7}, {"survivors": script.survivors, "threshold": 3}]


def _reported_by_the_same(script: Script) -> list[Document]:
    return [{"survivors": script.survivors, "threshold": 9, "purpose": METRICS}]


def _other_purpose(script: Script) -> list[Document]:
    return [{"survivors": script.survivors[1:], "threshold": 7, "purpose": "evaluate"}]


def _me_and_the_first(honest: list[Member]) -> list[Member]:
    """Four, t of that round."""
    return [*honest[:3], next(m for m in honest if m.participant_id == ME)]


def _reversed_members(read: list[Any]) -> None:
    part = next(part for part in read if part.members)
    listed = [type(member).FromString(member.SerializeToString()) for member in part.members]
    del part.members[:]
    part.members.extend(reversed(listed))


# fmt: off
TAKEN: Table = {
    ACTIVE: [
        ("roster-in-many-parts", "", "A roster in many parts", "each member in a part of its own, empty ones between",
         shown("roster", _roster(_one_by_one("members"))), ACCEPTED),
        ("roster-with-unknown-fields", "", "A roster with fields of a later version", "field 99 everywhere",
         shown("roster", _roster(_unknown_fields)), ACCEPTED),
        ("organisations-as-many", "", "A cohort of as many organisations as are demanded", "the participant demands 3",
         shown("roster", same, policy={"min_organisations": 3}), ACCEPTED),
        ("delivery-in-many-parts", "", "Entries in many parts", "each in a part of its own, empty ones between",
         shown("share-delivery", parts("share-delivery", _dealt_one_by_one)), ACCEPTED),
        ("delivery-of-t", "", "Just t pairs of shares", "6 others shared, so 7 with our own",
         shown("share-delivery", put(sealed=few(6))), ACCEPTED),
        ("survivors-not-packed", "", "Survivors as numbers that are not packed", "a tag before each",
         shown("survivors", _not_packed), ACCEPTED),
        ("survivors-with-unknown-fields", "", "Survivors with fields of a later version",
         "field 15, of eight and four bytes",
         shown("survivors", _fixed_fields), ACCEPTED),
        ("survivors-of-as-many-fields", "", "A message of as many fields as an answer may have",
         "unknown fields, so that there are 250,000", shown("survivors", flooded("survivors", 0)), ACCEPTED),
        ("roster-of-as-many-fields", "", "Parts that have as many fields as an answer may have",
         "unknown fields in two parts more, so that there are 250,000", shown("roster", flooded("roster", 2)),
         ACCEPTED),
        ("survivors-just-t", "", "Just t survivors", "7, all others called dropped",
         shown("survivors", only(*SEVEN)), ACCEPTED),
        ("survivors-of-as-many-organisations", "", "Survivors of as many organisations as are demanded",
         "the participant demands 3", shown("survivors", same, policy={"min_organisations": 3}), ACCEPTED),
        ("same-cohort-again", "", "The same cohort was asked twice before", "both sums are on record",
         after_sums(_everyone, shown="survivors"), ACCEPTED),
        ("cohort-beside-strangers", "", "A cohort that shares nobody with an earlier one",
         "the cohort itself was asked before, too, under a lower threshold",
         after_sums(_strangers, shown="survivors"), ACCEPTED),
        ("metrics-of-the-same", "", "The same cohort reported metrics before, under a higher threshold",
         "t of that sum is 9, as many as they are", after_sums(_reported_by_the_same, shown="survivors"), ACCEPTED),
        ("another-purpose-before", "", "All but one were asked for another purpose", "evaluate",
         after_sums(_other_purpose, shown="survivors"), ACCEPTED),
        ("proof-in-another-order", "", "Signatures in another order", "the last comes first",
         shown("consistency-proof", parts("consistency-proof", _reversed("signatures"))), ACCEPTED),
        ("proof-of-all", "", "A signature of every survivor", "hazel, who left, signed too",
         shown("consistency-proof", put(signatures=entry("hazel", signs_sets("hazel")))), ACCEPTED),
        ("proof-of-t", "", "Just t signatures", "7", shown("consistency-proof", put(signatures=few(7))), ACCEPTED),
    ],
    SEMI_HONEST: [
        ("certificates-where-nobody-signs", "", "A member with a certificate and a signature where nothing is signed",
         "neither is one; they are not looked at", shown("roster", member("fir", certificates=(b"a",), signature=b"b")),
         ACCEPTED),
        ("roster-of-n-max", "", "As many members as the round admits", "two more, who have keys of their own",
         shown("roster", parts("roster", crowd)), ACCEPTED),
        ("roster-of-t", "", "Just t members", "the last ones are not there",
         shown("roster", members(_me_and_the_first)), ACCEPTED),
    ],
    SPARSE: [
        ("sparse-roster-in-another-order", "", "Entries of a sparse roster in another order", "the last comes first",
         shown("roster", _roster(lambda read, _: _reversed_members(read))), ACCEPTED),
        ("sparse-key-that-nobody-uses", "",
         "A channel key of low order, of a member of the committee who is no neighbour", "the key is zero",
         shown("roster", _unused_key), ACCEPTED),
        ("sparse-survivors-of-as-many-organisations", "",
         "Survivors of as many organisations as are demanded, on a ring", "the participant demands 3",
         shown("survivors", same, policy={"min_organisations": 3}), ACCEPTED),
    ],
}
# fmt: on

TABLES = (TAKEN,)
