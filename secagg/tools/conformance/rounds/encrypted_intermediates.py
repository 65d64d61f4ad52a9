"""What lies between the inputs and the outcome of a homomorphic round: digests of what is long, all else in full."""

import hashlib
from typing import Any

import numpy as np

from secagg import roster as rosters
from secagg.crypto import labels, shamir
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest
from secagg.homomorphic import transcripts
from secagg.lattice import keyshares
from secagg.lattice.layout import layout_of
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Custody
from secagg.lattice.residues import chunks_digest, pack_residues, unpack_residues
from secagg.lattice.rlwe import SecretKey
from secagg.lattice.streams import SeededPolynomials
from secagg.messages import EncryptedInputChunk, EncryptedSum, FallenSet, Member, Roster, ShareKeys, SumReport
from secagg.tools.conformance import wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.replay.round import Replay


def of(vector: Document, replay: Replay) -> dict[str, Any]:
    """Everything of a round that was played; `vector` has its messages in full."""
    roster: Roster = wire.decode(vector["messages"]["roster"])
    encrypted: EncryptedSum = wire.decode(vector["messages"]["encrypted-sum"])
    config, names = replay.config, [m.participant_id for m in roster.members]
    told: dict[str, Any] = {
        "roster_digest": rosters.roster_digest(roster),
        "advertise_keys_signed": {
            m.participant_id: rosters.advertisement_to_sign(replay.round.context, m.participant_id, m.keys)
            for m in roster.members
        },
        "encoded": {name: replay.encoder(name).read(0, config.vector_len, config.ring_dtype) for name in names},
        "survivors": encrypted.sets.survivors,
        "dropped": encrypted.sets.dropped,
    }
    dealt = replay.profile.custody is Custody.PARTICIPANTS
    return told | (_dealt if dealt else _joint)(vector, replay, roster, encrypted)


def residues(packed: bytes) -> dict[str, Any]:
    """Packed residues by digest, with the first bytes."""
    return wire.by_digest(packed) | {"begins": packed[:32]}


def _inputs(vector: Document, roster: Roster) -> dict[Member, EncryptedInputChunk]:
    slugs = {m: f"{m.participant_id}/encrypted-input" for m in roster.members}
    return {m: wire.decode(vector["messages"][slug]) for m, slug in slugs.items() if slug in vector["messages"]}


def _dealt(vector: Document, replay: Replay, roster: Roster, encrypted: EncryptedSum) -> dict[str, Any]:
    shared = [m for m in roster.members if m.participant_id != vector["drops"]["SHARE_KEYS"]]
    dealer, context, profile = shared[0], replay.round.context, replay.profile
    seed = Secret(replay.random(dealer.participant_id)["key_seed"])
    key_digest = keyshares.dealt_key_digest(context, seed)
    inputs = {}
    for member, chunk in _inputs(vector, roster).items():
        name = member.participant_id
        stream_seed = replay.random(name)["stream_seed"]
        stream = SeededPolynomials(profile, stream_seed, context=context, participant=name).blocks(range(1))
        inputs[name] = {
            "c1": residues(pack_residues(stream, profile.prime_bits)),
            "c0": residues(chunk.payload),
            "input_binding": transcripts.input_binding(context, name, profile, key_digest, stream_seed),
            "payload_sha256": hashlib.sha256(chunk.payload).digest(),
            "chunk_binding": chunk.binding,
        }
    survivors = encrypted.sets.survivors
    reporter = roster.members[survivors[-1] - 1].participant_id
    report: SumReport = wire.decode(vector["messages"][f"{reporter}/sum-report"])
    return {
        "dealer": dealer.participant_id,
        "dealt_key_digest": key_digest,
        "key_confirmation_signed": transcripts.key_confirmation(context, roster, dealer.index, key_digest),
        "inputs": inputs,
        "sum": {"c0": residues(encrypted.c0[0]), "c1": residues(encrypted.c1[0])},
        "sum_report_signed": transcripts.sum_report(context, roster, survivors, report.digest),
    }


def _joint(vector: Document, replay: Replay, roster: Roster, encrypted: EncryptedSum) -> dict[str, Any]:
    context, profile = replay.round.context, replay.profile
    sent = {m: f"{m.participant_id}/share-keys" for m in roster.members}
    messages: dict[Member, ShareKeys] = {m: wire.decode(vector["messages"][slug]) for m, slug in sent.items()}
    shared = {m: s for m, s in messages.items() if m.participant_id != vector["drops"]["SHARE_KEYS"]}
    joint = keyshares.joint_key(profile, [keyshares.unpack_key_share(profile, s.key_share) for s in shared.values()])
    packed = pack_residues(joint, profile.prime_bits)
    key_digest = digest(labels.RESIDUES_DIGEST, packed)
    layout = layout_of(profile, replay.config.vector_len, 1)
    signed = chunks_digest(layout, encrypted.c1)
    fallen: FallenSet = wire.decode(vector["messages"]["fallen"])
    return {
        "key_shares": {
            m.participant_id: residues(s.key_share) | {"commitment": m.keys.key_share_commitment}
            for m, s in messages.items()
        },
        "seed_shares": {m.participant_id: _seed_shares(replay, m, roster) for m in roster.members},
        "joint_key": residues(packed) | {"digest": key_digest},
        "inputs": {
            m.participant_id: {
                "residues": residues(chunk.payload),
                "input_binding": transcripts.input_binding(context, m.participant_id, profile, key_digest, b""),
                "payload_sha256": hashlib.sha256(chunk.payload).digest(),
                "chunk_binding": chunk.binding,
            }
            for m, chunk in _inputs(vector, roster).items()
        },
        "sum": {"c1": residues(encrypted.c1[0])},
        "c1_digest": signed,
        "consistency_check_signed": transcripts.decryption(context, roster, encrypted.sets, signed),
        "fallen": fallen.fallen,
        "recovery_check_signed": transcripts.recovery(context, roster, fallen.fallen),
        "recovered": {
            m.participant_id: _recovered(replay, m, encrypted) for m in roster.members if m.index in fallen.fallen
        },
    }


def _seed_shares(replay: Replay, owner: Member, roster: Roster) -> dict[int, bytes]:
    draws = replay.draws(owner.participant_id)
    _, seed = draws.token(32), Secret(draws.token(32))
    holders = [m.index for m in roster.members]
    return {i: s.expose() for i, s in shamir.share(seed, replay.config.threshold, holders, draws).items()}


def _recovered(replay: Replay, owner: Member, encrypted: EncryptedSum) -> dict[str, Any]:
    profile, seed = replay.profile, Secret(replay.random(owner.participant_id)["key_seed"])
    c1 = _single(replay, encrypted.c1[0])
    part = keyshares.fallen_part(SecretKey(profile, seed, replay.round.context), c1)
    return {"key_seed": seed.expose(), "c1_times_s": residues(pack_residues(part[:, None], profile.prime_bits))}


def _single(replay: Replay, packed: bytes) -> U64:
    shape = (1, len(replay.profile.primes), replay.profile.ring_degree)
    return np.ascontiguousarray(unpack_residues(packed, shape, replay.profile.primes))
