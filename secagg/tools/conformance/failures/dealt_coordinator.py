"""What the coordinator must refuse where the key is dealt: checks C68 to C81 of proto/PROTOCOL.md."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from secagg.crypto.secret import Secret
from secagg.homomorphic import transcripts
from secagg.lattice.keyshares import dealt_key_digest
from secagg.messages import (
    AdvertiseKeys,
    EncryptedInputChunk,
    EncryptedSum,
    Index,
    KeyConfirmation,
    Roster,
    ShareKeys,
    SumChunk,
    SumReport,
)
from secagg.rounds import dealing
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.dealt_participant import DEALER, ME, PEER, Vector, dealt_seed, first_residue
from secagg.tools.conformance.failures.script import COORDINATOR, Failure, Script, refused


def vectors(script: Script) -> Iterator[Vector]:
    """File name and content."""
    yield from _keys(script)
    yield from _confirmation(script)
    yield from _inputs(script)
    yield from _ends(script)
    yield from _release(script)


def _keys(script: Script) -> Iterator[Vector]:
    slug = f"{ME}/advertise-keys"
    honest: AdvertiseKeys = wire.decode(script.message(slug))
    at = script.find(at=COORDINATOR, message=slug)
    malformed = refused("DecodeError", ME)
    for name, change, altered in (
        ("mask-key-in-homomorphic-round", "a mask key", replace(honest, mask_public_key=honest.channel_public_key)),
        ("commitment-without-joint-key", "a commitment", replace(honest, key_share_commitment=bytes(32))),
    ):
        failure = Failure(name, "C68", "Keys that are not of this custody", change, malformed)
        yield script.at_coordinator(failure, at, ME, wire.encode(altered))
    slug = f"{ME}/share-keys"
    dealt: ShareKeys = wire.decode(script.message(slug))
    at = script.find(at=COORDINATOR, message=slug)
    first, *rest = dealt.sealed
    fewer = replace(dealt, sealed={i: dealt.sealed[i] for i in rest})
    failure = Failure(
        "key-for-some", "C69", "A key for some", f"none for index {first}", refused("ProtocolViolation", ME)
    )
    yield script.at_coordinator(failure, at, ME, wire.encode(fewer))
    short = {**dealt.sealed, first: dealt.sealed[first][: dealing.DEALT_KEY.unsigned_size]}
    for name, change, message in (
        ("sealed-key-too-short", "the first entry has no signature", replace(dealt, sealed=short)),
        ("key-digest-too-short", "the digest is a byte short", replace(dealt, commitment=dealt.commitment[:-1])),
        ("key-share-without-joint-key", "a key share", replace(dealt, key_share=b"share")),
    ):
        failure = Failure(name, "C70", "A dealt key of the wrong shape", change, malformed)
        yield script.at_coordinator(failure, at, ME, wire.encode(message))
    entry = dealt.sealed[first]
    two = {**dealt.sealed, first: entry[:48] + bytes(32) + entry[80:]}
    failure = Failure(
        "dealt-two-digests",
        "C93",
        "Another digest beside one of the seals",
        f"that for index {first} is not the commitment",
        refused("ProtocolViolation", ME),
    )
    yield script.at_coordinator(failure, at, ME, wire.encode(replace(dealt, sealed=two)))
    other = {i: entry[:48] + bytes(32) + entry[80:] for i, entry in dealt.sealed.items()}
    failure = Failure("other-key", "C35", "Two keys dealt", "another digest", refused("ProtocolViolation", ME))
    yield script.at_coordinator(failure, at + 1, ME, wire.encode(replace(dealt, commitment=bytes(32), sealed=other)))


def _confirmation(script: Script) -> Iterator[Vector]:
    slug = f"{ME}/key-confirmation"
    honest: KeyConfirmation = wire.decode(script.message(slug))
    roster: Roster = wire.decode(script.message("roster"))
    at, context = script.find(at=COORDINATOR, message=slug), script.stage.round.context
    other = dealt_key_digest(context, Secret(fixtures.seed("another key")))
    signed = script.sign(ME, transcripts.key_confirmation(context, roster, script.index(DEALER), other))
    failure = Failure(
        "another-key-dealt",
        "C72",
        "A participant that confirms another key",
        f"{ME} confirms another key than the one that {DEALER} committed to, whose digest came with it",
        refused("AuthenticationError", ME),
    )
    yield script.at_coordinator(failure, at, ME, wire.encode(KeyConfirmation(other, signed)))
    forged = refused("AuthenticationError", ME)
    wrong = transcripts.key_confirmation(context, roster, Index(1), honest.digest)
    failure = Failure("confirmation-forged", "C73", "A signature on another dealer", "signed for index 1", forged)
    yield script.at_coordinator(failure, at, ME, wire.encode(replace(honest, signature=script.sign(ME, wrong))))
    slug = f"{ME}/sum-report"
    report: SumReport = wire.decode(script.message(slug))
    encrypted: EncryptedSum = wire.decode(script.message("encrypted-sum"))
    survivors = encrypted.sets.survivors
    wrong = transcripts.sum_report(context, roster, survivors[1:], report.digest)
    failure = Failure(
        "report-forged", "C73", "A report on other survivors", "signed without the first survivor", forged
    )
    at = script.find(at=COORDINATOR, message=slug)
    yield script.at_coordinator(failure, at, ME, wire.encode(replace(report, signature=script.sign(ME, wrong))))


def _inputs(script: Script) -> Iterator[Vector]:
    slug = f"{ME}/encrypted-input"
    honest: EncryptedInputChunk = wire.decode(script.message(slug))
    at, profile, round_ = script.find(at=COORDINATOR, message=slug), script.stage.profile, script.stage.round
    key = dealt_key_digest(round_.context, Secret(dealt_seed(script)))

    def case(slug_: str, check: str, title: str, change: str, altered: EncryptedInputChunk, *, error: str) -> Vector:
        failure = Failure(slug_, check, title, change, refused(error, ME))
        return script.at_coordinator(failure, at, ME, wire.encode(altered))

    def bound(seed: bytes, payload: bytes, **other: Any) -> EncryptedInputChunk:
        given: dict[str, Any] = {"context": round_.context, "sender": ME, "profile": profile, "key_digest": key}
        binding = transcripts.input_binding(**given | other, seed=seed)
        return EncryptedInputChunk(0, payload, transcripts.chunk_binding(binding, 0, payload), seed)

    yield case(
        "seedless-input",
        "C74",
        "A first chunk without a seed",
        "no seed",
        bound(b"", honest.payload),
        error="DecodeError",
    )
    short = bound(honest.seed[:-1], honest.payload)
    yield case("seed-too-short", "C74", "A seed of the wrong size", "15 bytes", short, error="DecodeError")
    theirs = script.stage.random(DEALER)["stream_seed"]
    repeated = bound(theirs, honest.payload)
    yield case("repeated-seed", "C75", "Another participant's seed", f"{DEALER}'s", repeated, error="ProtocolViolation")
    title, seed, payload = "A chunk that is not of this input", honest.seed, honest.payload
    moved = replace(profile, values_per_slot=1)
    for name, change, altered in (
        ("binding-altered", "one bit of the binding", replace(honest, binding=_flipped(honest.binding))),
        ("input-altered", "one bit of the payload", replace(honest, payload=_flipped(payload))),
        ("input-of-another-round", "bound to another context", bound(seed, payload, context=fixtures.seed("context"))),
        ("input-of-another-sender", "bound to another sender", bound(seed, payload, sender=PEER)),
        ("input-of-another-profile", "bound to one value a slot", bound(seed, payload, profile=moved)),
        ("input-under-another-key", "bound to another key", bound(seed, payload, key_digest=fixtures.seed("key"))),
        ("seed-exchanged", "another seed under the binding of the first", replace(honest, seed=bytes(16))),
    ):
        yield case(name, "C76", title, change, altered, error="AuthenticationError")
    for name, change, data in (
        ("input-truncated", "the last byte is missing", payload[:-1]),
        ("input-over-long", "a byte too many", payload + b"\0"),
        ("input-of-two-blocks", "two blocks where the vector has one", payload + payload),
        (
            "input-residue-too-large",
            "the first residue is its prime",
            first_residue(profile, payload, profile.primes[0]),
        ),
    ):
        yield case(name, "C77", "Malformed residues", change, bound(seed, data), error="DecodeError")


def _flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def _ends(script: Script) -> Iterator[Vector]:
    """How a round ends when everybody sends zeros, or nobody agrees."""
    roster: Roster = wire.decode(script.message("roster"))
    encrypted: EncryptedSum = wire.decode(script.message("encrypted-sum"))
    context, survivors = script.stage.round.context, encrypted.sets.survivors
    zeros = {}
    for index in survivors:
        name = roster.members[index - 1].participant_id
        chunk: EncryptedInputChunk = wire.decode(script.message(f"{name}/encrypted-input"))
        key = dealt_key_digest(context, Secret(dealt_seed(script)))
        binding = transcripts.input_binding(context, name, script.stage.profile, key, chunk.seed)
        payload = bytes(len(chunk.payload))
        made = EncryptedInputChunk(0, payload, transcripts.chunk_binding(binding, 0, payload), chunk.seed)
        zeros[f"{name}/encrypted-input"] = wire.encode(made)
    failure = Failure(
        "transparent-inputs",
        "C78",
        "A sum that hides nothing",
        "every c0 is zero",
        failed("DEADLINE", "juniper", "MALFORMED_SUM", "ENCRYPTED_INPUT"),
    )
    yield script.replaced(failure, zeros)
    reports = {}
    for who in ("amber-9", ME):
        digest = fixtures.seed(f"sum of {who}")
        signed = transcripts.sum_report(context, roster, survivors, digest)
        reports[f"{who}/sum-report"] = wire.encode(SumReport(digest, script.sign(who, signed)))
    failure = Failure(
        "reports-disagree",
        "C79",
        "Fewer than t reported the same sum",
        "of four reports two are of other sums",
        failed("DEADLINE", "birch", "DISAGREEMENT", "REPORT_SUM"),
    )
    yield script.replaced(failure, reports)


def _release(script: Script) -> Iterator[Vector]:
    asked = "amber-9"  # the first who is asked drops out
    slug = f"{asked}/sum"
    honest: SumChunk = wire.decode(script.message(slug))
    at = script.find(at=COORDINATOR, message=slug)
    failure = Failure("sum-cut", "C80", "A sum of the wrong length", "a byte less", refused("DecodeError", asked))
    yield script.at_coordinator(failure, at, asked, wire.encode(replace(honest, payload=honest.payload[:-1])))
    told: Document = {
        "events": [
            {"event": "ParticipantDropped", "participant": asked, "phase": "RELEASE_SUM", "reason": "REFUSED"},
            {"event": "PhaseStarted", "phase": "RELEASE_SUM", "expected": 1},
        ]
    }
    told["events"][1]["deadline_ms"] = script.vector["steps"][at]["now_ms"] + 300_000
    failure = Failure("other-sum-handed-in", "C81", "Another sum than was reported", "one bit; the next is asked", told)
    yield script.at_coordinator(failure, at, asked, wire.encode(replace(honest, payload=_flipped(honest.payload))))


def failed(drop: str, who: str, reason: str, phase: str, **more: list[str]) -> Document:
    """A phase closes with a dropout, and the round ends."""
    return {
        "events": [
            {"event": "ParticipantDropped", "phase": phase, "participant": who, "reason": drop},
            {"event": "RoundFailed", "reason": reason} | more,
        ]
    }
