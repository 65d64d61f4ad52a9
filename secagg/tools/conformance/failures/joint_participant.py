"""What a participant must refuse under a joint key: checks C53 to C67 of proto/PROTOCOL.md."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from secagg import roster as rosters
from secagg.crypto import labels, polynomial
from secagg.homomorphic import transcripts
from secagg.lattice.keyshares import commitment
from secagg.lattice.layout import layout_of
from secagg.lattice.residues import chunks_digest
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyProof,
    EncryptedSum,
    FallenSet,
    Index,
    Roster,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
)
from secagg.tools.conformance import wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.dealt_participant import first_residue
from secagg.tools.conformance.failures.script import Failure, Script, refused

ME, PEER = "dahlia", "ginkgo"
"""Whose checks are tried, and who errs."""

VIOLATION = refused("ProtocolViolation")
FORGED = refused("AuthenticationError")
Vector = tuple[str, Document]


def vectors(script: Script) -> Iterator[Vector]:
    """File name and content."""
    yield from _delivery(script)
    yield from _malformed_shares(script)
    yield from _sum(script)
    yield from _proof(script)
    yield from _once(script)
    yield from _fallen(script)
    yield from _recovery(script)


def _delivery(script: Script) -> Iterator[Vector]:
    slug = f"{ME}/share-delivery"
    honest: ShareDelivery = wire.decode(script.message(slug))
    me, peer = script.index(ME), script.index(PEER)

    def case(slug_: str, check: str, title: str, change: str, expect: Document, **changes: Any) -> Vector:
        altered = wire.encode(replace(honest, **changes))
        return script.at_participant(Failure(slug_, check, title, change, expect), ME, slug, altered)

    def without(entries: Any, *gone: Index) -> dict[Index, bytes]:
        return {i: value for i, value in entries.items() if i not in gone}

    shares, sealed = honest.key_shares, honest.sealed
    missing = without(shares, peer)
    yield case("key-share-missing", "C59", "A seed without a key share", f"{PEER}'s", VIOLATION, key_shares=missing)
    gone = [i for i in shares if i != me][6:]
    few: dict[str, Any] = {"key_shares": without(shares, *gone), "sealed": without(sealed, *gone)}
    yield case("too-few-key-shares", "C59", "Fewer than t key shares", "7 with our own", VIOLATION, **few)
    ours = {**shares, me: shares[peer]}
    yield case("own-key-share-changed", "C59", "Our key share exchanged", f"{PEER}'s", VIOLATION, key_shares=ours)
    forged = refused("AuthenticationError", PEER)
    swapped = {**sealed, peer: sealed[next(i for i in sealed if i != peer)]}
    nobody = refused("AuthenticationError", None)
    yield case("seed-share-of-another", "C60", "Another sender's seal", "shown as its own", nobody, sealed=swapped)

    def signed(content: bytes) -> dict[Index, bytes]:
        entry = script.seal(labels.SEED_SHARE_SEALING, PEER, ME, content) + bytes(32)
        return {**sealed, peer: script.signed_entry(PEER, ME, entry)}

    bad = signed(polynomial.PRIME.to_bytes(33, "big"))
    yield case(
        "digest-of-another-seed-share",
        "C92",
        "A digest that does not fit the share",
        f"{PEER} signed both",
        forged,
        sealed=signed(bytes(33)),
    )
    yield case(
        "seed-share-no-share",
        "C60",
        "A dealt share that is none",
        "the field prime",
        refused("DecodeError", PEER),
        sealed=bad,
    )
    chosen = {**shares, peer: first_residue(script.stage.profile, shares[peer], 1)}
    yield case(
        "rogue-key-share",
        "C61",
        "A key share chosen after the others were seen",
        f"{PEER}'s is another than it committed to",
        refused("AuthenticationError"),
        key_shares=chosen,
    )


def _malformed_shares(script: Script) -> Iterator[Vector]:
    """Key shares that were committed to and are none."""
    for slug, change, share in spoiled_shares(script, PEER):
        failure = Failure(f"{slug}-delivered", "C62", "A key share that is none", change, refused("DecodeError"))
        yield _delivered(script, failure, share)


def spoiled_shares(script: Script, name: str) -> list[tuple[str, str, bytes]]:
    """Slug, what is wrong, and the share."""
    profile, share = script.stage.profile, _share_of(script, name)
    return [
        (
            "key-share-residue-too-large",
            "the first residue is its prime",
            first_residue(profile, share, profile.primes[0]),
        ),
        ("key-share-truncated", "the last byte is missing", share[:-1]),
        ("key-share-of-zeros", "zero", bytes(len(share))),
    ]


def _share_of(script: Script, name: str) -> bytes:
    message: ShareKeys = wire.decode(script.message(f"{name}/share-keys"))
    return message.key_share


def _delivered(script: Script, failure: Failure, share: bytes) -> Vector:
    """A participant is shown a roster in which PEER commits to `share`, and then the share."""
    keys: AdvertiseKeys = wire.decode(advertised(script, PEER, share))
    roster: Roster = wire.decode(script.message("roster"))
    members = tuple(replace(m, keys=keys) if m.participant_id == PEER else m for m in roster.members)
    delivery: ShareDelivery = wire.decode(script.message(f"{ME}/share-delivery"))
    shares = {**delivery.key_shares, script.index(PEER): share}
    altered = {
        "altered/roster": wire.encode(Roster(members)),
        "altered/share-delivery": wire.encode(replace(delivery, key_shares=shares)),
    }
    first = script.find(at=ME, do="receive", message="roster")
    second = script.find(at=ME, do="receive", message=f"{ME}/share-delivery")
    steps = [
        script.vector["steps"][first] | {"message": "altered/roster"},
        script.vector["steps"][second] | {"message": "altered/share-delivery"},
    ]
    return script.write(failure, first, steps, altered)


def advertised(script: Script, name: str, share: bytes) -> Document:
    """Keys that commit to `share`."""
    honest: AdvertiseKeys = wire.decode(script.message(f"{name}/advertise-keys"))
    committed = commitment(script.stage.round.context, name, share)
    keys = replace(honest, key_share_commitment=committed)
    signed = rosters.advertisement_to_sign(script.stage.round.context, script.members[name].participant_id, keys)
    return wire.encode(replace(keys, signature=script.sign(name, signed)))


def _sum(script: Script) -> Iterator[Vector]:
    honest: EncryptedSum = wire.decode(script.message("encrypted-sum"))
    alive, gone = honest.sets.survivors, honest.sets.dropped
    profile, c1 = script.stage.profile, honest.c1[0]

    def case(slug: str, check: str, title: str, change: str, expect: Document, **changes: Any) -> Vector:
        altered = wire.encode(replace(honest, **changes))
        return script.at_participant(Failure(slug, check, title, change, expect), ME, "encrypted-sum", altered)

    stranger = SurvivorSet(alive, tuple(sorted((*gone, script.index("cedar")))))
    change = "cedar, who shared no key, is called dropped"
    yield case("joint-sum-of-strangers", "C53", "Sets that do not add up", change, VIOLATION, sets=stranger)
    spoiled = first_residue(profile, c1, profile.primes[0])
    malformed = refused("DecodeError")
    yield case(
        "joint-sum-residue-too-large",
        "C55",
        "A malformed sum",
        "the first residue is its prime",
        malformed,
        c1=(spoiled,),
    )
    yield case("joint-sum-truncated", "C55", "A malformed sum", "a byte short", malformed, c1=(c1[:-1],))
    zero = (bytes(len(c1)),)
    yield case("joint-sum-transparent", "C56", "A sum that hides nothing", "c1 is zero", VIOLATION, c1=zero)


def signed_sum(script: Script, name: str, **changes: Any) -> bytes:
    """A survivor's signature on the encrypted sum, changed."""
    roster: Roster = wire.decode(script.message("roster"))
    seen: EncryptedSum = replace(wire.decode(script.message("encrypted-sum")), **changes)
    layout = layout_of(script.stage.profile, script.stage.config.vector_len, 1)
    signed = transcripts.decryption(script.stage.round.context, roster, seen.sets, chunks_digest(layout, seen.c1))
    return script.sign(name, signed)


def _proof(script: Script) -> Iterator[Vector]:
    honest: ConsistencyProof = wire.decode(script.message("consistency-proof"))
    encrypted: EncryptedSum = wire.decode(script.message("encrypted-sum"))
    peer, sets, profile = script.index(PEER), encrypted.sets, script.stage.profile

    def case(slug: str, title: str, change: str, signatures: dict[Index, bytes], expect: Document) -> Vector:
        failure = Failure(slug, "C63", title, change, expect)
        return script.at_participant(failure, ME, "consistency-proof", wire.encode(ConsistencyProof(signatures)))

    stranger = {**honest.signatures, script.index("elm"): signed_sum(script, "elm")}
    yield case("decryption-signed-by-dropped", "A signer who did not survive", "elm signs too", stranger, VIOLATION)
    few = dict(list(honest.signatures.items())[:7])
    yield case("decryption-signed-by-few", "Fewer than t signatures", "7 signatures", few, VIOLATION)
    moved = SurvivorSet(tuple(i for i in sets.survivors if i != script.index(ME)), (*sets.dropped, script.index(ME)))
    other = (first_residue(profile, encrypted.c1[0], 1),)
    for slug, title, change, signature in (
        (
            "survivors-changed",
            "Survivors changed after signing",
            "other survivors",
            signed_sum(script, PEER, sets=moved),
        ),
        ("c1-changed", "Another ciphertext to decrypt", "another c1", signed_sum(script, PEER, c1=other)),
    ):
        altered = {**honest.signatures, peer: signature}
        yield case(slug, title, f"{PEER} signed {change}", altered, FORGED)
    at = script.find(at=ME, do="receive", message="consistency-proof")
    step = script.vector["steps"][at] | {"message": "altered"}
    failure = Failure(
        "second-survivor-list", "C6", "Other survivors after the signature", f"{PEER} is dropped afterwards", VIOLATION
    )
    dropped = tuple(sorted((*sets.dropped, peer)))
    again = replace(encrypted, sets=SurvivorSet(tuple(i for i in sets.survivors if i != peer), dropped))
    yield script.write(failure, at, [step], {"altered": wire.encode(again)})


def _once(script: Script) -> Iterator[Vector]:
    for slug, title, after, again in (
        ("second-partial-request", "A partial decryption asked for again", "consistency-proof", "consistency-proof"),
        ("seeds-asked-again", "Seed shares asked for again", "recovery-proof", "recovery-proof"),
        ("second-fallen-list", "Another list of fallen after the signature", "fallen", "fallen"),
    ):
        at = script.find(at=ME, do="receive", message=after)
        step = script.vector["steps"][at] | {"message": again}
        yield script.write(Failure(slug, "C64", title, "the same message again", VIOLATION), at + 1, [step], {})


def _fallen(script: Script) -> Iterator[Vector]:
    honest: FallenSet = wire.decode(script.message("fallen"))
    me, peer, hazel = (script.index(name) for name in (ME, PEER, "hazel"))

    def case(slug: str, check: str, title: str, change: str, fallen: set[Index]) -> Vector:
        altered = wire.encode(FallenSet(tuple(sorted(fallen))))
        return script.at_participant(Failure(slug, check, title, change, VIOLATION), ME, "fallen", altered)

    told = set(honest.fallen)
    yield case(
        "fallen-never-shared", "C65", "Someone fallen who shared no key", "cedar", told | {script.index("cedar")}
    )
    yield case("we-are-fallen", "C65", "We ourselves called fallen", f"{ME} is called fallen", told | {me})
    yield case("unsigned-not-fallen", "C66", "One who did not sign, still standing", "hazel", told - {hazel})
    many = [i for i in script.members.values() if i.index not in told | {me, peer, script.index("cedar")}]
    more = {m.index for m in many[:3]}
    yield case("too-many-fallen", "C66", "Fewer than t left", "6 fallen of 13", told | more)


def _recovery(script: Script) -> Iterator[Vector]:
    honest: ConsistencyProof = wire.decode(script.message("recovery-proof"))
    roster: Roster = wire.decode(script.message("roster"))
    fallen: FallenSet = wire.decode(script.message("fallen"))
    context = script.stage.round.context

    def case(slug: str, title: str, change: str, signatures: dict[Index, bytes], expect: Document) -> Vector:
        failure = Failure(slug, "C67", title, change, expect)
        return script.at_participant(failure, ME, "recovery-proof", wire.encode(ConsistencyProof(signatures)))

    def signed(name: str, seen: tuple[Index, ...]) -> bytes:
        return script.sign(name, transcripts.recovery(context, roster, seen))

    stranger = {**honest.signatures, script.index("fir"): signed("fir", fallen.fallen)}
    yield case("recovery-signed-by-fallen", "A signer who fell", "fir signs too", stranger, VIOLATION)
    few = dict(list(honest.signatures.items())[:7])
    yield case("recovery-signed-by-few", "Fewer than t signatures", "7 signatures", few, VIOLATION)
    other = {**honest.signatures, script.index(PEER): signed(PEER, fallen.fallen[1:])}
    yield case("recovery-of-others", "Others were shown other fallen", f"{PEER} signed a shorter list", other, FORGED)
