"""What must be refused on a ring: checks C102 to C110 of proto/PROTOCOL.md. C101 is among the offers."""

from dataclasses import replace
from typing import Any

from secagg import roster as rosters
from secagg.crypto import labels
from secagg.crypto.transcript import digest
from secagg.messages import Index, Listing, Member, Roster
from secagg.rounds.graph import Neighbourhoods, ring_of
from secagg.tools.conformance.failures.changes import also, dropped, entry, few, key_of, put, same, without
from secagg.tools.conformance.failures.forgeries import signed_keys, signs_sets
from secagg.tools.conformance.failures.script import (
    ME,
    PEER,
    SPARSE,
    Script,
    Table,
    failed,
    refused,
)
from secagg.tools.conformance.failures.stages import nobody_else_comes, sent, shown

VIOLATION, FORGED, POLICY = (
    refused(f"{error}") for error in ("ProtocolViolation", "AuthenticationError", "PolicyViolation")
)
SILENT = "iris"
"""A survivor who is not in the committee."""


def _exchanged(honest: Listing, _: Script) -> Listing:
    """The first two stand in each other's place."""
    first, second, *others = honest.ids
    digests = honest.entry_digests
    return Listing((second, first, *others), digests[32:64] + digests[:32] + digests[64:])


def _first(count: int) -> Any:
    """The first members alone, as if nobody else had come: list, ring and entries fit each other."""

    def edit(_: Roster, script: Script) -> Roster:
        return on_ring(script, [script.members[name] for name in sorted(script.members, key=str.encode)[:count]])[0]

    return edit


def on_ring(script: Script, everyone: list[Member]) -> tuple[Roster, Neighbourhoods]:
    """What ME is shown of a roster of these members, and the ring that they make."""
    listing = rosters.listing_of(everyone)
    ring = script.replay.config.ring
    if ring is None:
        raise ValueError("not on a ring")
    known = rosters.roster_digest(Roster((), listing))
    graph = ring_of(ring, digest(labels.GRAPH_SEED, script.context, known), len(everyone))
    own = next(m.index for m in everyone if m.participant_id == ME)
    seen = {own, *graph.of(own), *graph.committee}
    return Roster(tuple(m for m in everyone if m.index in seen), listing), graph


def _twice(honest: Listing, _: Script) -> Listing:
    """The second has the id of the first."""
    return replace(honest, ids=(honest.ids[0], *honest.ids[:1], *honest.ids[2:]))


def _other_digest(honest: Listing, script: Script) -> Listing:
    """Another digest for PEER."""
    at = 32 * (script.index(PEER) - 1)
    digests = honest.entry_digests
    return replace(honest, entry_digests=digests[:at] + bytes(32) + digests[at + 32 :])


def _but_peer(honest: Roster, script: Script) -> Roster:
    return replace(honest, members=tuple(m for m in honest.members if m.participant_id != PEER))


def _and_a_stranger(honest: Roster, script: Script) -> Roster:
    """The entry of somebody who is neither a neighbour nor in the committee, too."""
    shown_to_us = {m.index for m in honest.members}
    other = next(m for m in script.members.values() if m.index not in shown_to_us)
    return replace(honest, members=tuple(sorted((*honest.members, other), key=lambda m: m.index)))


def _other_key(honest: Roster, script: Script) -> Roster:
    """Keys of PEER that it signed, and that are not those in the list."""
    change = signed_keys(PEER, channel_public_key=key_of(PEER, "mask_public_key"), mask_public_key=_fresh)
    members = (replace(m, keys=change(m.keys, script)) if m.participant_id == PEER else m for m in honest.members)
    return replace(honest, members=tuple(members))


def _fresh(_: Any, script: Script) -> bytes:
    return script.members["fir"].keys.channel_public_key[::-1]


def _in_place_of(honest: Roster, script: Script) -> Roster:
    """PEER's entry says that it stands at the place of somebody who is not there."""
    free = Index(next(i for i in range(1, len(script.members) + 1) if i not in {m.index for m in honest.members}))
    members = (replace(m, index=free) if m.participant_id == PEER else m for m in honest.members)
    return replace(honest, members=tuple(sorted(members, key=lambda m: m.index)))


# fmt: off
LISTS: Table = {SPARSE: [
    ("sparse-list-missing", "C102", "Entries without the list of all members", "there is no list",
     shown("roster", put(listing=None)), VIOLATION),
    ("sparse-list-not-ascending", "C102", "Members whose indices do not follow their ids",
     "the first two stand in each other's place", shown("roster", put(listing=_exchanged)), VIOLATION),
    ("sparse-list-of-twins", "C102", "An id that stands on the ring twice", "the second has the id of the first",
     shown("roster", put(listing=_twice)), VIOLATION),
    ("sparse-list-too-short", "C102", "Fewer members than the ring is safe for", "12 of 15 members; t is 9",
     shown("roster", _first(12)), VIOLATION),
]}

ENTRIES: Table = {SPARSE: [
    ("sparse-entry-missing", "C103", "A neighbour whose entry does not come", f"the entry of {PEER} is missing",
     shown("roster", _but_peer), VIOLATION),
    ("sparse-entry-of-a-stranger", "C103", "An entry of somebody who is neither a neighbour nor in the committee",
     "one entry more", shown("roster", _and_a_stranger), VIOLATION),
    ("sparse-entry-not-listed", "C104", "Keys that are not those from which the ring follows",
     f"{PEER} signed other keys than those in the list", shown("roster", _other_key), VIOLATION),
    ("sparse-digest-changed", "C104", "A list in which a neighbour has another digest",
     f"32 zero bytes for {PEER}", shown("roster", put(listing=_other_digest)), VIOLATION),
    ("sparse-entry-elsewhere", "C104", "An entry in the place of another member",
     f"{PEER} is said to stand where another id is listed", shown("roster", _in_place_of), VIOLATION),
    ("sparse-too-few-organisations", "C105", "Too few organisations among the entries that we can verify",
     "nothing; the participant demands 4 organisations and the entries are of 3",
     shown("roster", same, policy={"min_organisations": 4}), POLICY),
]}

SHARES: Table = {SPARSE: [
    ("sparse-too-few-shared", "C106", "Fewer neighbours than are needed shared keys",
     "shares of 5 neighbours, so 6 with our own; 7 are needed", shown("share-delivery", put(sealed=few(5))), VIOLATION),
]}

SURVIVORS: Table = {SPARSE: [
    ("sparse-neighbour-forgotten", "C107", "A neighbour in neither set", f"{PEER} in none",
     shown("survivors", put(survivors=without(PEER))), VIOLATION),
    ("sparse-neighbour-never-shared", "C107", "A neighbour called dropped who never shared keys",
     "cedar is called dropped", shown("survivors", put(dropped=also("cedar"))), VIOLATION),
    ("sparse-survivors-of-too-few-organisations", "C105",
     "Too few organisations among the survivors, though enough in the roster",
     "the participant demands 3; hazel, the last of the third, is called dropped",
     shown("survivors", dropped("hazel"), policy={"min_organisations": 3}), POLICY),
]}

SIGNATURES: Table = {SPARSE: [
    ("sparse-too-few-signatures", "C108", "Too few signatures of the committee", "3 signatures; 4 are needed",
     shown("consistency-proof", put(signatures=few(3))), VIOLATION),
    ("sparse-signer-outside", "C108", "A signature of a survivor who is not in the committee",
     f"{SILENT} signed the right sets",
     shown("consistency-proof", put(signatures=entry(SILENT, signs_sets(SILENT)))), VIOLATION),
    ("sparse-signature-on-other-sets", "C108", "A committee that was shown other survivors",
     "oak signed sets without the dropped",
     shown("consistency-proof", put(signatures=entry("oak", signs_sets("oak", put(dropped=()))))), FORGED),
]}

AT_COORDINATOR: Table = {SPARSE: [
    ("sparse-too-few-members", "C109", "Fewer members than the ring is safe for",
     "12 advertise keys; t is 9, and 13 are needed", nobody_else_comes(12), failed("BELOW_THRESHOLD")),
    ("sparse-outsider-signs", "C110", "Somebody signs who is not in the committee",
     f"{SILENT} signs the right sets",
     sent("consistency-check", put(signature=signs_sets(SILENT)), by=SILENT), refused("ProtocolViolation", SILENT)),
]}
# fmt: on

TABLES = (LISTS, ENTRIES, SHARES, SURVIVORS, SIGNATURES, AT_COORDINATOR)
