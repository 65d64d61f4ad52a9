"""What the coordinator must refuse under a joint key: checks C68 to C84 of proto/PROTOCOL.md."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from secagg.crypto import labels, polynomial
from secagg.crypto.secret import Secret
from secagg.homomorphic import transcripts
from secagg.lattice.layout import layout_of
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    EncryptedInputChunk,
    EncryptedSum,
    FallenSet,
    PartialChunk,
    RecoverSeeds,
    RecoveryCheck,
    Roster,
    ShareKeys,
    SurvivorSet,
)
from secagg.rounds import dealing
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.dealt_coordinator import failed
from secagg.tools.conformance.failures.dealt_participant import first_residue
from secagg.tools.conformance.failures.joint_participant import ME, Vector, advertised, signed_sum, spoiled_shares
from secagg.tools.conformance.failures.script import COORDINATOR, Failure, Script, participant, refused


def vectors(script: Script) -> Iterator[Vector]:
    """File name and content."""
    yield from _keys(script)
    yield from _shares(script)
    yield from _malformed_shares(script)
    yield from _signatures(script)
    yield from _vectors_sent(script)
    yield from _revealed(script)
    yield from _ends(script)


def _keys(script: Script) -> Iterator[Vector]:
    slug = f"{ME}/advertise-keys"
    honest: AdvertiseKeys = wire.decode(script.message(slug))
    at = script.find(at=COORDINATOR, message=slug)
    failure = Failure("no-commitment", "C68", "No commitment to a key share", "none", refused("DecodeError", ME))
    yield script.at_coordinator(failure, at, ME, wire.encode(replace(honest, key_share_commitment=b"")))


def _shares(script: Script) -> Iterator[Vector]:
    slug = f"{ME}/share-keys"
    honest: ShareKeys = wire.decode(script.message(slug))
    at, profile = script.find(at=COORDINATOR, message=slug), script.stage.profile

    def case(slug_: str, check: str, title: str, change: str, error: str, **changes: Any) -> Vector:
        failure = Failure(slug_, check, title, change, refused(error, ME))
        return script.at_coordinator(failure, at, ME, wire.encode(replace(honest, **changes)))

    first, *rest = honest.sealed
    fewer = {i: honest.sealed[i] for i in rest}
    yield case("seed-for-some", "C69", "Shares for some", f"none for {first}", "ProtocolViolation", sealed=fewer)
    short = {**honest.sealed, first: honest.sealed[first][: dealing.SEED_SHARE.unsigned_size]}
    yield case("sealed-seed-too-short", "C70", "An entry too short", "no signature", "DecodeError", sealed=short)
    title = "A key share that does not fit its commitment"
    other = first_residue(profile, honest.key_share, 1)
    yield case("key-share-exchanged", "C71", title, "another share", "AuthenticationError", key_share=other)


def _malformed_shares(script: Script) -> Iterator[Vector]:
    """Key shares that were committed to and are none."""
    slug = f"{ME}/share-keys"
    honest: ShareKeys = wire.decode(script.message(slug))
    for name, change, share in spoiled_shares(script, ME):
        failure = Failure(name, "C71", "A key share that is none", change, refused("DecodeError", ME))
        keys = advertised(script, ME, share)
        yield script.replaced(
            failure, {f"{ME}/advertise-keys": keys, slug: wire.encode(replace(honest, key_share=share))}
        )


def _signatures(script: Script) -> Iterator[Vector]:
    forged = refused("AuthenticationError", ME)
    slug = f"{ME}/consistency-check"
    encrypted: EncryptedSum = wire.decode(script.message("encrypted-sum"))
    signed = signed_sum(script, ME, sets=SurvivorSet(encrypted.sets.survivors, ()))
    failure = Failure("decryption-check-forged", "C73", "A signature on other sets", "without the dropped", forged)
    at = script.find(at=COORDINATOR, message=slug)
    yield script.at_coordinator(failure, at, ME, wire.encode(ConsistencyCheck(signed)))
    slug = f"{ME}/recovery-check"
    roster: Roster = wire.decode(script.message("roster"))
    fallen: FallenSet = wire.decode(script.message("fallen"))
    signed = script.sign(ME, transcripts.recovery(script.stage.round.context, roster, fallen.fallen[1:]))
    failure = Failure("recovery-check-forged", "C73", "A signature on another list", "one fallen fewer", forged)
    at = script.find(at=COORDINATOR, message=slug)
    yield script.at_coordinator(failure, at, ME, wire.encode(RecoveryCheck(signed)))


def _vectors_sent(script: Script) -> Iterator[Vector]:
    slug = f"{ME}/encrypted-input"
    chunk: EncryptedInputChunk = wire.decode(script.message(slug))
    at, malformed = script.find(at=COORDINATOR, message=slug), refused("DecodeError", ME)
    failure = Failure("seed-under-joint-key", "C74", "A seed under a joint key", "16 bytes", malformed)
    yield script.at_coordinator(failure, at, ME, wire.encode(replace(chunk, seed=bytes(16))))
    slug = f"{ME}/partial-decryption"
    partial: PartialChunk = wire.decode(script.message(slug))
    at, profile = script.find(at=COORDINATOR, message=slug), script.stage.profile
    for name, change, payload in (
        ("partial-truncated", "a byte short", partial.payload[:-1]),
        (
            "partial-residue-too-large",
            "the first residue is its prime",
            first_residue(profile, partial.payload, profile.primes[0]),
        ),
    ):
        failure = Failure(name, "C77", "Malformed residues", change, malformed)
        yield script.at_coordinator(failure, at, ME, wire.encode(PartialChunk(0, payload)))


def _revealed(script: Script) -> Iterator[Vector]:
    slug = f"{ME}/recover-seeds"
    honest: RecoverSeeds = wire.decode(script.message(slug))
    at = script.find(at=COORDINATOR, message=slug)
    first, *rest = honest.shares
    fewer = {i: honest.shares[i] for i in rest}
    failure = Failure("fallen-left-out", "C82", "A fallen left out", f"{first}", refused("ProtocolViolation", ME))
    yield script.at_coordinator(failure, at, ME, wire.encode(RecoverSeeds(fewer)))
    bad = {**honest.shares, first: Secret(polynomial.PRIME.to_bytes(33, "big"))}
    failure = Failure(
        "seed-share-not-in-field", "C82", "A share that is none", "the field prime", refused("DecodeError", ME)
    )
    yield script.at_coordinator(failure, at, ME, wire.encode(RecoverSeeds(bad)))
    wrong = {**honest.shares, first: Secret(bytes(1) + fixtures.seed("wrong share"))}
    failure = Failure(
        "wrong-seed-piece",
        "C91",
        "Another share of a key seed than was dealt",
        "it does not fit the owner's digest",
        refused("AuthenticationError", ME),
    )
    yield script.at_coordinator(failure, at, ME, wire.encode(RecoverSeeds(wrong)))


def _ends(script: Script) -> Iterator[Vector]:
    yield _wrongly_dealt(script)
    slug = f"{ME}/partial-decryption"
    layout = layout_of(script.stage.profile, script.stage.config.vector_len, 1)
    zero = PartialChunk(0, bytes(layout.chunk_bytes(0)))
    failure = Failure(
        "wrong-partial",
        "C84",
        "Partial decryptions that do not open the sum",
        f"{ME} sends zeros",
        failed("DEADLINE", "iris", "MALFORMED_SUM", "RECOVER_SEEDS"),
    )
    yield script.replaced(failure, {slug: wire.encode(zero)})
    title, change = "A transparent sum under a joint key", "every input is zero"
    failure = Failure(
        "joint-inputs-transparent", "C78", title, change, failed("DEADLINE", "elm", "MALFORMED_SUM", "ENCRYPTED_INPUT")
    )
    yield script.replaced(failure, _zeros(script))


def _zeros(script: Script) -> dict[str, Document]:
    encrypted: EncryptedSum = wire.decode(script.message("encrypted-sum"))
    names = {m.index: name for name, m in script.members.items()}
    key = bytes.fromhex(script.vector["intermediates"]["joint_key"]["digest"])
    made = {}
    for index in encrypted.sets.survivors:
        name = names[index]
        chunk: EncryptedInputChunk = wire.decode(script.message(f"{name}/encrypted-input"))
        sender, context = script.members[name].participant_id, script.stage.round.context
        binding = transcripts.input_binding(context, sender, script.stage.profile, key, b"")
        payload = bytes(len(chunk.payload))
        zero = EncryptedInputChunk(0, payload, transcripts.chunk_binding(binding, 0, payload))
        made[f"{name}/encrypted-input"] = wire.encode(zero)
    return made


def _wrongly_dealt(script: Script) -> Vector:
    """A fallen decryptor that dealt a wrong share, with its digest, to one of the holders."""
    revealed: RecoverSeeds = wire.decode(script.message(f"{ME}/recover-seeds"))
    fallen = next(iter(revealed.shares))
    name = next(n for n in script.members if script.index(n) == fallen)
    dealt: ShareKeys = wire.decode(script.message(f"{name}/share-keys"))
    wrong = Secret(bytes(1) + fixtures.seed("wrong share"))
    holder = script.members[ME]
    digest = transcripts.seed_share_digest(script.stage.round.context, participant(name), holder, wrong)
    entry = script.seal(labels.SEED_SHARE_SEALING, name, ME, wrong.expose()) + digest
    entries = {**dealt.sealed, holder.index: script.signed_entry(name, ME, entry)}
    failure = Failure(
        "wrongly-dealt-seed",
        "C83",
        "A wrong share was dealt, with none to spare",
        f"{name} dealt {ME} a share of its key seed that is not on its polynomial",
        failed("DEADLINE", "iris", "WRONG_SHARES", "RECOVER_SEEDS", culprits=[name]),
    )
    altered = {
        f"{name}/share-keys": wire.encode(replace(dealt, sealed=entries)),
        f"{ME}/recover-seeds": wire.encode(RecoverSeeds({**revealed.shares, fallen: wrong})),
    }
    return script.replaced(failure, altered)
