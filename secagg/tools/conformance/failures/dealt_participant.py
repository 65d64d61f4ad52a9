"""What a participant must refuse where the key is dealt: checks C49 to C58 of proto/PROTOCOL.md."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from secagg.crypto import labels
from secagg.crypto.secret import Secret
from secagg.encoding.packing import pack, unpack
from secagg.homomorphic import transcripts
from secagg.lattice.keyshares import dealt_key_digest
from secagg.lattice.parameters import Profile
from secagg.messages import (
    ConsistencyProof,
    EncryptedSum,
    Index,
    ReleaseOrder,
    Roster,
    ShareDelivery,
    SurvivorSet,
)
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.script import Failure, Script, refused

ME, PEER = "dahlia", "ginkgo"
"""Whose checks are tried, and who errs."""

DEALER = "amber-10"
"""Whose key counts; the first of the roster drops out."""

VIOLATION = refused("ProtocolViolation")
Vector = tuple[str, Document]


def vectors(bfv: Script, ckks: Script) -> Iterator[Vector]:
    """File name and content."""
    yield from _delivery(bfv)
    yield from _proof(bfv)
    yield from _sum(bfv)
    yield from _impossible_sums(bfv, ckks)
    yield from _order(ckks)


def _delivery(script: Script) -> Iterator[Vector]:
    slug = f"{ME}/share-delivery"
    honest: ShareDelivery = wire.decode(script.message(slug))
    dealer = script.index(DEALER)

    def case(
        slug_: str, check: str, title: str, change: str, sealed: dict[Index, bytes], *, expect: Document
    ) -> Vector:
        failure = Failure(slug_, check, title, change, expect)
        return script.at_participant(failure, ME, slug, wire.encode(ShareDelivery(sealed)))

    seed = fixtures.seed("another key")
    other = script.seal(labels.DEALT_KEY_SEALING, PEER, ME, seed)
    both = {**honest.sealed, script.index(PEER): other}
    yield case("two-dealers", "C49", "Two keys at once", f"{PEER}'s key beside {DEALER}'s", both, expect=VIOLATION)
    stranger = {Index(len(script.members) + 1): honest.sealed[dealer]}
    yield case(
        "dealer-not-on-roster",
        "C49",
        "A dealer whom nobody knows",
        "a key under index 9, the roster ends at 8",
        stranger,
        expect=VIOLATION,
    )
    forged = refused("AuthenticationError", DEALER)

    def signed(label: bytes, content: bytes, digest: bytes) -> dict[Index, bytes]:
        return {dealer: script.signed_entry(DEALER, ME, script.seal(label, DEALER, ME, content) + digest)}

    committed = dealt_key_digest(script.stage.round.context, Secret(dealt_seed(script)))
    shares = signed(labels.SEED_SHARE_SEALING, seed, committed)
    yield case(
        "dealt-under-another-label", "C50", "A key sealed for another purpose", "another label", shares, expect=forged
    )
    two = signed(labels.DEALT_KEY_SEALING, seed, committed)
    yield case(
        "dealt-another-key",
        "C92",
        "Another key than the one committed to",
        "its own digest does not fit it",
        two,
        expect=forged,
    )
    yield case(
        "dealt-key-altered",
        "C50",
        "A seal that was altered on its way",
        f"{DEALER} or the coordinator",
        {dealer: bytes(48) + honest.sealed[dealer][48:]},
        expect=refused("AuthenticationError", None),
    )


def _proof(script: Script) -> Iterator[Vector]:
    honest: ConsistencyProof = wire.decode(script.message("key-proof"))
    roster: Roster = wire.decode(script.message("roster"))
    context, dealer = script.stage.round.context, script.index(DEALER)

    def case(
        slug: str, check: str, title: str, change: str, signatures: dict[Index, bytes], *, expect: Document
    ) -> Vector:
        failure = Failure(slug, check, title, change, expect)
        return script.at_participant(failure, ME, "key-proof", wire.encode(ConsistencyProof(signatures)))

    def signed(who: Index, seed: bytes) -> bytes:
        digest = dealt_key_digest(context, Secret(seed))
        return script.sign(PEER, transcripts.key_confirmation(context, roster, who, digest))

    stranger = {**honest.signatures, Index(9): honest.signatures[dealer]}
    yield case(
        "confirmed-by-a-stranger",
        "C51",
        "A signer whom the roster does not know",
        "index 9 signed",
        stranger,
        expect=VIOLATION,
    )
    few = dict(list(honest.signatures.items())[:2])
    yield case("too-few-confirmed", "C51", "Fewer than t hold the key", "two signatures", few, expect=VIOLATION)
    forged = refused("AuthenticationError")
    for slug, change, signature in (
        ("dealer-equivocates", f"{PEER} signed the digest of another key", signed(dealer, fixtures.seed("other"))),
        ("confirmed-another-dealer", f"{PEER} signed another dealer", signed(Index(1), dealt_seed(script))),
    ):
        altered = {**honest.signatures, script.index(PEER): signature}
        yield case(slug, "C52", "Others hold another key", change, altered, expect=forged)


def _sum(script: Script) -> Iterator[Vector]:
    honest: EncryptedSum = wire.decode(script.message("encrypted-sum"))
    alive, gone = honest.sets.survivors, honest.sets.dropped
    me, peer = script.index(ME), script.index(PEER)

    def case(slug: str, check: str, title: str, change: str, altered: EncryptedSum, **more: Any) -> Vector:
        failure = Failure(slug, check, title, change, more.pop("expect", VIOLATION))
        return script.at_participant(failure, ME, "encrypted-sum", wire.encode(altered), more.get("policy"))

    def sets(survivors: tuple[Index, ...], dropped: tuple[Index, ...]) -> EncryptedSum:
        return replace(honest, sets=SurvivorSet(survivors, dropped))

    def without(index: Index) -> tuple[Index, ...]:
        return tuple(i for i in alive if i != index)

    title = "Sets that do not add up"
    both = sets(alive, tuple(sorted((*gone, peer))))
    yield case("sum-sets-overlap", "C53", title, f"{PEER} in both", both)
    unconfirmed = sets(tuple(sorted((*alive, script.index("elm")))), gone)
    yield case("sum-of-the-unconfirmed", "C53", title, "elm, who confirmed no key", unconfirmed)
    yield case("sum-forgets-one", "C53", title, f"{PEER} in neither", sets(without(peer), gone))
    ours = sets(without(me), tuple(sorted((*gone, me))))
    yield case("sum-without-us", "C53", "We ourselves called dropped", "our input is called dropped", ours)
    two = sets((me, peer), tuple(sorted({*alive, *gone} - {me, peer})))
    yield case("sum-of-two", "C53", "A sum of fewer than t", "two survivors, all others dropped", two)
    kept = without(script.index("birch"))
    yield case(
        "sum-of-few-organisations",
        "C54",
        "Survivors of too few organisations",
        "birch, who alone is of its organisation, is called dropped; the participant demands 2",
        sets(kept, tuple(sorted({*alive, *gone} - set(kept)))),
        expect=refused("PolicyViolation"),
        policy={"min_organisations": 2},
    )
    malformed = refused("DecodeError")
    short, spoiled = (
        honest.c0[0][:-1],
        first_residue(script.stage.profile, honest.c1[0], script.stage.profile.primes[0]),
    )
    for slug, change, altered in (
        ("sum-without-c1", "no chunk of c1", replace(honest, c1=())),
        ("sum-truncated", "c0 lacks its last byte", replace(honest, c0=(short,))),
        ("sum-residue-too-large", "the first residue of c1 is its prime", replace(honest, c1=(spoiled,))),
    ):
        yield case(slug, "C55", "A malformed sum", change, altered, expect=malformed)
    for slug, change, altered in (
        ("sum-transparent", "c1 is zero", replace(honest, c1=(bytes(len(honest.c1[0])),))),
        ("sum-of-nothing", "c0 is zero", replace(honest, c0=(bytes(len(honest.c0[0])),))),
    ):
        yield case(slug, "C56", "A sum that hides nothing", change, altered)


def _impossible_sums(bfv: Script, ckks: Script) -> Iterator[Vector]:
    for script, slug in ((bfv, "sum-altered"), (ckks, "sum-altered-ckks")):
        honest: EncryptedSum = wire.decode(script.message("encrypted-sum"))
        altered = replace(honest, c0=(first_residue(script.stage.profile, honest.c0[0], 1),))
        change = "the first residue of c0 is 1"
        failure = Failure(slug, "C57", "A sum that nobody can have put in", change, refused("ProtocolViolation", None))
        yield script.at_participant(failure, ME, "encrypted-sum", wire.encode(altered))


def _order(script: Script) -> Iterator[Vector]:
    failure = Failure(
        "order-against-the-task",
        "C58",
        "The sum asked for where the task does not give it",
        "the coordinator asks for the sum",
        VIOLATION,
    )
    yield script.at_participant(failure, ME, "no-order", wire.encode(ReleaseOrder(upload=True)))


def first_residue(profile: Profile, packed: bytes, value: int) -> bytes:
    """Packed residues with another first one, which may be no residue."""
    head = unpack(packed[: profile.prime_bits * 8], 64, profile.prime_bits).copy()
    head[0] = value
    return pack(head, profile.prime_bits) + packed[profile.prime_bits * 8 :]


def dealt_seed(script: Script) -> bytes:
    """The key that counts."""
    return script.stage.random(DEALER)["key_seed"]
