"""Messages to a participant whose parts no encoder makes: checks C5, C7 to C10 and C98 of proto/PROTOCOL.md."""

from collections.abc import Callable
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.changes import Edit
from secagg.tools.conformance.failures.script import (
    ACTIVE,
    LATER,
    ME,
    PEER,
    SEMI_HONEST,
    SPARSE,
    Script,
    Table,
    refused,
)
from secagg.tools.conformance.failures.stages import shown
from secagg.tools.conformance.rounds.inputs import organisation
from secagg.wire.counting import MAX_FIELDS, count, plan_of
from secagg.wire.limits import MAX_ANSWER_FIELDS

MALFORMED, VIOLATION, FORGED = (
    refused("DecodeError", None),
    refused("ProtocolViolation"),
    refused("AuthenticationError"),
)
UNKNOWN = bytes.fromhex("7878")
"""Field 15 with the number 120, which no message to a participant has."""
FIELD = (2**255 - 19).to_bytes(32, "little")
"""A key that is no reduced number: zero in another encoding."""
BELOW = (2**255 - 20).to_bytes(32, "little")
"""The largest reduced number. It is of low order."""


def parts(kind: str, change: Callable[[list[Any], Script], Any]) -> Edit:
    """The message of that kind with its protobuf parts changed in place, or other parts."""

    def edit(_: Any, script: Script) -> Document:
        known = script.vector["messages"]
        message = known.get(f"{ME}/{kind}") or known[kind]
        read = wire.parts(message)
        return wire.altered(message["type"], *(change(read, script) or read))

    return edit


def _entry(name: str, change: Callable[[Any, Script], None]) -> Edit:
    """The roster with the entry of one member changed."""

    def edit(read: list[Any], script: Script) -> None:
        for part in read:
            for member in part.members:
                if member.participant_id == name:
                    change(member, script)

    return parts("roster", edit)


def _keys(name: str, **fields: Any) -> Edit:
    def change(member: Any, script: Script) -> None:
        for field, value in fields.items():
            made = value(getattr(member.keys, field)) if callable(value) else value
            member.keys.ClearField(field)
            if isinstance(made, list):
                getattr(member.keys, field).extend(made)
            else:
                setattr(member.keys, field, made)

    return _entry(name, change)


def _other_certificate() -> bytes:
    return fixtures.certificate(ME, organisation(ME), "Foreign CA, test only")


def _renamed(member: Any, _: Script) -> None:
    member.participant_id = "gink/go"


def _resigned(member: Any, script: Script) -> None:
    """The same keys under a second valid signature: s and the order of the curve less s both verify."""
    member.keys.signature = other_signature(member.keys.signature)


def other_signature(signature: bytes) -> bytes:
    """The second signature that verifies wherever a first one does."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, fixtures.P256_ORDER - s)


def _peer_twice(read: list[Any], script: Script) -> None:
    at = list(read[0].peers).index(script.index(PEER))
    size = len(read[0].entries) // len(read[0].peers)
    peers, entries = list(read[0].peers), read[0].entries
    del read[0].peers[:]
    read[0].peers.extend([*peers[: at + 1], *peers[at:]])
    read[0].entries = entries[: size * (at + 1)] + entries[size * at :]


def _peers_exchanged(read: list[Any], script: Script) -> None:
    read[0].peers[0], read[0].peers[1] = read[0].peers[1], read[0].peers[0]
    size = len(read[0].entries) // len(read[0].peers)
    entries = read[0].entries
    read[0].entries = entries[size : 2 * size] + entries[:size] + entries[2 * size :]


def _longer(read: list[Any], script: Script) -> None:
    size = len(read[0].entries) // len(read[0].peers)
    entries = [read[0].entries[at : at + size] for at in range(0, len(read[0].entries), size)]
    read[0].entries = b"".join(entry + b"\0" for entry in entries)


def _cut(read: list[Any], script: Script) -> None:
    read[0].entries = read[0].entries[:-1]


def _cut_elsewhere(read: list[Any], script: Script) -> Any:
    """Two parts: the first ends with ten bytes of the second entry."""
    [whole], kind = read, type(read[0])
    at = len(whole.entries) // len(whole.peers) + 10
    return [
        kind(peers=whole.peers[:1], entries=whole.entries[:at]),
        kind(peers=whole.peers[1:], entries=whole.entries[at:]),
    ]


def _of_two_sizes(read: list[Any], script: Script) -> Any:
    """Two parts: the entry in the second has a byte more."""
    [whole], kind = read, type(read[0])
    at = (len(whole.peers) - 1) * (len(whole.entries) // len(whole.peers))
    return [
        kind(peers=whole.peers[:-1], entries=whole.entries[:at]),
        kind(peers=whole.peers[-1:], entries=whole.entries[at:] + b"\0"),
    ]


def _of_nobody(read: list[Any], script: Script) -> Any:
    """A second part has an entry and no peer."""
    size = len(read[0].entries) // len(read[0].peers)
    return [*read, type(read[0])(entries=read[0].entries[:size])]


def _keyless(member: Any, _: Script) -> None:
    member.ClearField("keys")


def flooded(kind: str, parts: int, more: int = 0) -> Edit:
    """The message with as many fields as an answer may have, or more; unknown ones, in so many further parts. One part
    of a message that has no parts is made longer.
    """

    def edit(_: Any, script: Script) -> Document:
        known = script.vector["messages"]
        message = known.get(f"{ME}/{kind}") or known[kind]
        data = [bytes.fromhex(part) for part in message["parts"]]
        plan = plan_of(type(wire.parts(message)[0]).DESCRIPTOR)
        left = MAX_ANSWER_FIELDS + more - sum(MAX_FIELDS - count(each, plan, MAX_FIELDS) for each in data)
        if not parts:
            data = [data[0] + UNKNOWN * left]
        else:
            data += [UNKNOWN * (left // parts)] * (parts - 1) + [UNKNOWN * (left - left // parts * (parts - 1))]
        return {"type": message["type"], "parts": [each.hex() for each in data]}

    return edit


def _peer(number: int) -> Edit:
    def change(read: list[Any], script: Script) -> None:
        read[0].peers[0 if number == 0 else -1] = number

    return parts("share-delivery", change)


def _signer(number: int) -> Edit:
    def change(read: list[Any], script: Script) -> None:
        read[0].signatures[0].signer = number

    return parts("consistency-proof", change)


def _one_signer(read: list[Any], script: Script) -> None:
    """One signature as often as there must be signers."""
    first = read[0].signatures[0]
    signer, signature = first.signer, first.signature
    del read[0].signatures[:]
    for _ in range(script.replay.config.threshold):
        read[0].signatures.add(signer=signer, signature=signature)


def _two_for_one(read: list[Any], script: Script) -> None:
    """t signatures, of which two are of one signer."""
    del read[0].signatures[script.replay.config.threshold - 1 :]
    last = read[0].signatures[-1]
    read[0].signatures.add(signer=last.signer, signature=other_signature(last.signature))


def _long_signature(read: list[Any], script: Script) -> None:
    read[0].signatures[0].signature += bytes(73 - len(read[0].signatures[0].signature))


def _sets(survivors: Callable[[list[int]], list[int]], dropped: Callable[[list[int]], list[int]]) -> Edit:
    def change(read: list[Any], script: Script) -> None:
        for field, make in (("survivors", survivors), ("dropped", dropped)):
            made = make(list(getattr(read[0], field)))
            del getattr(read[0], field)[:]
            getattr(read[0], field).extend(made)

    return parts("survivors", change)


def _as_it_is(indices: list[int]) -> list[int]:
    return indices


def _named_in_the_second_part(read: list[Any], script: Script) -> Any:
    named = type(read[0])(model_digest=read[0].model_digest)
    read[0].ClearField("model_digest")
    return [read[0], named]


def _named_twice(read: list[Any], script: Script) -> Any:
    return [read[0], type(read[0])(model_digest=read[0].model_digest)]


def crowd(read: list[Any], script: Script, more: int = 0) -> None:
    """As many members as the round admits, or more, all of them well-formed and in order."""
    count = script.replay.config.max_participants + more
    for index in range(len(script.members) + 1, count + 1):
        keys = {f"{kind}_public_key": fixtures.seed(f"{kind} {index}")[:31] + b"\0" for kind in ("channel", "mask")}
        member = read[-1].members.add(index=index, participant_id=f"zz-{index:03}")
        for field, key in keys.items():
            setattr(member.keys, field, key)


def _gap(read: list[Any], script: Script) -> None:
    read[-1].members[-1].index += 1


def _shared_key(read: list[Any], script: Script) -> None:
    first, second = read[0].members[0].keys, read[0].members[1].keys
    second.channel_public_key = first.channel_public_key


def _bit_of_the_seal(read: list[Any], script: Script) -> None:
    at = list(read[0].peers).index(script.index(PEER)) * (len(read[0].entries) // len(read[0].peers))
    entries = bytearray(read[0].entries)
    entries[at] ^= 1
    read[0].entries = bytes(entries)


def _with_a_list(read: list[Any], script: Script) -> None:
    read[0].listed.extend(script.members)
    read[0].entry_digests = bytes(32 * len(script.members))


def _beyond_the_list(read: list[Any], script: Script) -> None:
    part = next(part for part in reversed(read) if part.members)
    part.members[-1].index = len(script.members) + 1


def _entry_twice(read: list[Any], script: Script) -> None:
    part = next(part for part in reversed(read) if part.members)
    last = part.members[-1]
    part.members.append(last)


def _listed(change: Callable[[Any], None]) -> Edit:
    def edit(read: list[Any], script: Script) -> None:
        change(next(part for part in read if part.listed))

    return parts("roster", edit)


def _bad_name(part: Any) -> None:
    part.listed[0] = "-" + part.listed[0]


def _digest_missing(part: Any) -> None:
    part.entry_digests = part.entry_digests[:-32]


# fmt: off
PARTICIPANTS: Table = {
    ACTIVE: [
        ("channel-key-of-31-bytes", "C5", "A key that is too short", f"the channel key of {PEER} lacks its last byte",
         shown("roster", _keys(PEER, channel_public_key=lambda key: key[:31])), MALFORMED),
        ("channel-key-of-33-bytes", "C5", "A channel key whose size no suite has", f"33 bytes, of {PEER}",
         shown("roster", _keys(PEER, channel_public_key=lambda key: key + b"\0")), MALFORMED),
        ("mask-key-of-31-bytes", "C9", "A mask key that is too short", f"31 bytes, of {PEER}",
         shown("roster", _keys(PEER, mask_public_key=lambda key: key[:31])), VIOLATION),
        ("no-mask-key", "C9", "A member without a mask key", f"none of {PEER}",
         shown("roster", _keys(PEER, mask_public_key=b"")), VIOLATION),
        ("mask-key-of-33-bytes", "C9", "A key that is longer than those of the suite", f"33 bytes, of {PEER}",
         shown("roster", _keys(PEER, mask_public_key=lambda key: key + b"\0")), VIOLATION),
        ("mask-key-of-1216-bytes", "C9", "A key of another suite", f"1,216 bytes, of {PEER}",
         shown("roster", _keys(PEER, mask_public_key=lambda key: key + bytes(1184))), VIOLATION),
        ("mask-key-of-1217-bytes", "C5", "A key that is longer than those of any suite", f"1,217 bytes, of {PEER}",
         shown("roster", _keys(PEER, mask_public_key=lambda key: key + bytes(1185))), MALFORMED),
        ("channel-key-of-1216-bytes", "C9", "A channel key of another suite", f"1,216 bytes, of {PEER}",
         shown("roster", _keys(PEER, channel_public_key=lambda key: key + bytes(1184))), VIOLATION),
        ("commitment-of-33-bytes", "C5", "A commitment that is too long",
         f"33 bytes of key_share_commitment, of {PEER}",
         shown("roster", _keys(PEER, key_share_commitment=bytes(33))), MALFORMED),
        ("signature-of-73-bytes", "C5", "A signature that is too long", f"73 bytes, of {PEER}",
         shown("roster", _keys(PEER, signature=lambda s: s + bytes(73 - len(s)))), MALFORMED),
        ("chain-of-five", "C5", "A chain that is too long", f"five certificates of {PEER}",
         shown("roster", _keys(PEER, certificates=lambda chain: 5 * list(chain))), MALFORMED),
        ("certificate-of-8193-bytes", "C5", "A certificate that is too long", f"8,193 bytes, of {PEER}",
         shown("roster", _keys(PEER, certificates=lambda chain: [chain[0] + bytes(8193 - len(chain[0]))])), MALFORMED),
        ("id-with-a-slash", "C5", "An id that is none", f"{PEER} is called gink/go",
         shown("roster", _entry(PEER, _renamed)), MALFORMED),
        ("no-certificate", "C11", "A member without a certificate", f"no chain of {PEER}",
         shown("roster", _keys(PEER, certificates=[])), FORGED),
        ("key-above-the-field", "C9", "A key that is no reduced number", f"the mask key of {PEER} is 2^255 − 19",
         shown("roster", _keys(PEER, mask_public_key=FIELD)), VIOLATION),
        ("own-signature-changed", "C10", "Our own keys under another signature of ours",
         "the second signature that verifies wherever the first does",
         shown("roster", _entry(ME, _resigned)), VIOLATION),
        ("own-certificate-changed", "C10", "Our own keys with another certificate of ours",
         "of the same key and id, by another CA",
         shown("roster", _keys(ME, certificates=[_other_certificate()])),
         VIOLATION),
        ("peer-twice", "C5", "One peer twice", f"the entry of {PEER} stands twice, and both are the same",
         shown("share-delivery", parts("share-delivery", _peer_twice)), MALFORMED),
        ("roster-with-a-list", "C102", "A list of members where everybody has an entry",
         "the roster lists everybody, too", shown("roster", parts("roster", _with_a_list)), VIOLATION),
        ("peers-descending", "C5", "Entries in another order", "the first two are exchanged",
         shown("share-delivery", parts("share-delivery", _peers_exchanged)), MALFORMED),
        ("entries-of-147-bytes", "C92", "Entries that are longer than those of the suite", "a byte more in each",
         shown("share-delivery", parts("share-delivery", _longer)), refused("AuthenticationError", None)),
        ("entries-that-are-cut", "C5", "Entries that are no whole ones", "the last byte of all is missing",
         shown("share-delivery", parts("share-delivery", _cut)), MALFORMED),
        ("entries-across-parts", "C5", "An entry that goes on in the next part", "its first ten bytes end a part",
         shown("share-delivery", parts("share-delivery", _cut_elsewhere)), MALFORMED),
        ("entries-of-two-sizes", "C5", "Entries of two sizes", "the last, in a part of its own, has a byte more",
         shown("share-delivery", parts("share-delivery", _of_two_sizes)), MALFORMED),
        ("entries-of-nobody", "C5", "An entry without a peer", "the second part has an entry alone",
         shown("share-delivery", parts("share-delivery", _of_nobody)), MALFORMED),
        ("survivors-of-too-many-fields", "C98", "A message of too many fields",
         "unknown fields, so that there are 250,001", shown("survivors", flooded("survivors", 0, more=1)), MALFORMED),
        ("roster-of-too-many-fields", "C98", "Parts that have too many fields together",
         "unknown fields in two parts more, so that there are 250,001",
         shown("roster", flooded("roster", 2, more=1)), MALFORMED),
        ("peer-0", "C5", "An index that is none", "the first entry is of 0",
         shown("share-delivery", _peer(0)), MALFORMED),
        ("peer-10001", "C5", "An index that no round has", "the last entry is of 10,001",
         shown("share-delivery", _peer(10_001)), MALFORMED),
        ("survivor-0", "C5", "A survivor who is none", "0 is called a survivor",
         shown("survivors", _sets(lambda s: [0, *s], _as_it_is)), MALFORMED),
        ("survivors-descending", "C5", "Survivors in another order", "the last two are exchanged",
         shown("survivors", _sets(lambda s: [*s[:-2], s[-1], s[-2]], _as_it_is)), MALFORMED),
        ("dropped-0", "C5", "Somebody dropped who is none", "0 is called dropped",
         shown("survivors", _sets(_as_it_is, lambda d: [0, *d])), MALFORMED),
        ("dropped-twice", "C5", "One dropped twice", "elm stands twice",
         shown("survivors", _sets(_as_it_is, lambda d: [*d, *d])), MALFORMED),
        ("dropped-not-on-roster", "C22", "One dropped whom the roster does not know", "an index beyond the roster",
         shown("survivors", _sets(_as_it_is, lambda d: [*d, 12])), VIOLATION),
        ("one-signer-for-all", "C5", "One signer counted t times", "one signature stands there t times, and no other",
         shown("consistency-proof", parts("consistency-proof", _one_signer)), MALFORMED),
        ("one-signer-for-two", "C5", "One signer counted twice",
         "t signatures, the last two of one signer: the same text under its other signature",
         shown("consistency-proof", parts("consistency-proof", _two_for_one)), MALFORMED),
        ("signer-0", "C5", "A signer who is none", "the first signer is 0",
         shown("consistency-proof", _signer(0)), MALFORMED),
        ("signer-10001", "C5", "A signer whom no round has", "the first signer is 10,001",
         shown("consistency-proof", _signer(10_001)), MALFORMED),
        ("survivors-signature-of-73-bytes", "C5", "A signature that is too long", "the first has 73 bytes",
         shown("consistency-proof", parts("consistency-proof", _long_signature)), MALFORMED),
    ],
    SEMI_HONEST: [
        ("roster-too-large", "C7", "More members than the round admits", "strangers are listed, too",
         shown("roster", parts("roster", partial(crowd, more=1))), VIOLATION),
        ("seal-altered-unsigned", "C18", "An altered seal where nothing is signed", f"one bit of what {PEER} sealed",
         shown("share-delivery", parts("share-delivery", _bit_of_the_seal)), refused("AuthenticationError", PEER)),
        ("roster-with-a-gap", "C8", "An index that is left out", "the last index is one more",
         shown("roster", parts("roster", _gap)), VIOLATION),
        ("channel-key-below-the-field", "C15", "The largest number that is a key, and gives everyone the same secret",
         f"the channel key of {PEER} is 2^255 − 20",
         shown("roster", _keys(PEER, channel_public_key=BELOW)), refused("AuthenticationError", PEER)),
        ("commitment-in-a-masked-round", "C9", "A commitment to a key share where there are none",
         f"32 bytes of key_share_commitment, of {PEER}",
         shown("roster", _keys(PEER, key_share_commitment=bytes(32))), VIOLATION),
        ("member-without-keys", "C5", "A member without keys", f"none of {PEER}",
         shown("roster", _entry(PEER, _keyless)), MALFORMED),
        ("key-of-two", "C9", "One key of two members", "the second has the channel key of the first",
         shown("roster", parts("roster", _shared_key)), VIOLATION),
    ],
    LATER: [
        ("model-in-a-later-part", "C5", "A single field that stands in a later part",
         "the model's digest is in the second",
         shown("share-delivery", parts("share-delivery", _named_in_the_second_part)), MALFORMED),
        ("model-in-two-parts", "C5", "A single field that stands in two parts", "the model's digest is in both",
         shown("share-delivery", parts("share-delivery", _named_twice)), MALFORMED),
    ],
    SPARSE: [
        ("sparse-entry-beyond-the-list", "C104", "An entry that stands behind the list", "the last has the next index",
         shown("roster", parts("roster", _beyond_the_list)), VIOLATION),
        ("sparse-entry-twice", "C104", "One entry twice", "the last stands there again",
         shown("roster", parts("roster", _entry_twice)), VIOLATION),
        ("sparse-listed-id-with-a-dash", "C5", "A list with an id that is none", "a dash stands before the first",
         shown("roster", _listed(_bad_name)), MALFORMED),
        ("sparse-digest-missing", "C5", "A list with fewer digests than ids", "the last digest is missing",
         shown("roster", _listed(_digest_missing)), MALFORMED),
    ],
}
# fmt: on

TABLES = (PARTICIPANTS,)
