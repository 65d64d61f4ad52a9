"""Edits that seal, sign or bind with participants' secrets: what a dishonest participant can make."""

from dataclasses import replace
from typing import Any

from secagg import roster as rosters
from secagg.context import Round, bind_model
from secagg.crypto.secret import Secret
from secagg.homomorphic import transcripts
from secagg.lattice.keyshares import commitment, dealt_key_digest
from secagg.lattice.layout import layout_of
from secagg.lattice.residues import chunks_digest
from secagg.messages import AdvertiseKeys, EncryptedInputChunk, ParticipantId
from secagg.tools.conformance.failures.changes import Edit, changed, put, same
from secagg.tools.conformance.failures.script import DEALER, ME, PEER, Script

# --- sealed to a neighbour ----------------------------------------------------------------------------------------


def dealt(
    *,
    by: str = PEER,
    to: str = ME,
    elsewhere: dict[str, bytes] | None = None,
    self_mask_seed: Secret | None = None,
    edit: Edit = same,
) -> Edit:
    """An entry of a masked round.

    Args:
        by: who deals.
        to: whom the seal is for.
        elsewhere: the round or model that it is sealed for; see `Script.elsewhere`.
        self_mask_seed: a share in place of the honest one.
        edit: what is done to seal and digests.
    """

    def make(_: Any, script: Script) -> bytes:
        at: Round = script.replay.round if elsewhere is None else script.elsewhere(**elsewhere)
        made: bytes = edit(script.share(by, to, at, self_mask_seed), script)
        return made

    return make


def sealed(label: bytes, content: Any, digests: Any, *, by: str = PEER) -> Edit:
    """An entry for ME with any content and any digests."""

    def make(_: Any, script: Script) -> bytes:
        seal = script.seal(label, by, ME, changed(content, None, script))
        return seal + bytes(changed(digests, None, script))

    return make


def key_digest(_: Any, script: Script) -> bytes:
    """The digest of the key that counts."""
    return script.key_digest


def seed_share_digest(by: str, share: Secret) -> Edit:
    """The digest of a share of `by`'s key seed, dealt to ME."""
    return lambda _, s: transcripts.seed_share_digest(s.context, ParticipantId(by), s.members[ME], share)


# --- signatures ---------------------------------------------------------------------------------------------------


def signed_keys(name: str, *, round_id: bytes = b"", **keys: Any) -> Edit:
    """Changed keys, signed by their owner, or the honest ones signed for another round."""

    def edit(honest: AdvertiseKeys, script: Script) -> AdvertiseKeys:
        made: AdvertiseKeys = put(**keys)(honest, script)
        context = script.elsewhere(round_id=round_id).context
        to_sign = rosters.advertisement_to_sign(context, ParticipantId(name), made)
        return replace(made, signature=script.sign(name, to_sign))

    return edit


def committing(name: str, share: Edit) -> Edit:
    """Keys that commit to a changed key share."""

    def edit(honest: AdvertiseKeys, script: Script) -> Any:
        made = share(script.read(f"{name}/share-keys").key_share, script)
        return signed_keys(name, key_share_commitment=commitment(script.context, name, made))(honest, script)

    return edit


def signs_sets(name: str, seen: Edit = same, *, model_digest: bytes = b"") -> Edit:
    """A survivor's signature on changed sets, in a masked round, or for another model that was named later."""

    def make(_: Any, script: Script) -> bytes:
        bound = bind_model(script.context, model_digest) if model_digest else script.input_context
        digest = rosters.roster_digest(script.roster)
        return script.sign(name, rosters.survivors_to_sign(bound, digest, seen(script.sets, script)))

    return make


def signs_key(name: str, *, dealer: str = DEALER, seed: bytes | None = None) -> Edit:
    """A confirmation of the key that counts, or of another key or dealer."""

    def make(_: Any, script: Script) -> bytes:
        digest = script.key_digest if seed is None else dealt_key_digest(script.context, Secret(seed))
        signed = transcripts.key_confirmation(script.context, script.roster, script.index(dealer), digest)
        return script.sign(name, signed)

    return make


def signs_report(name: str, digest: bytes, survivors: Edit = same) -> Edit:
    """A report of a sum, on changed survivors."""
    return lambda _, s: s.sign(
        name, transcripts.sum_report(s.context, s.roster, survivors(s.sets.survivors, s), digest)
    )


def signs_decryption(name: str, **changes: Any) -> Edit:
    """A survivor's signature on a changed encrypted sum."""

    def make(_: Any, script: Script) -> bytes:
        seen = put(**changes)(script.read("encrypted-sum"), script)
        layout = layout_of(script.replay.profile, script.replay.config.vector_len, 1)
        digest = chunks_digest(layout, seen.c1)
        return script.sign(name, transcripts.decryption(script.context, script.roster, seen.sets, digest))

    return make


def signs_fallen(name: str, fallen: Edit = same) -> Edit:
    """A signature on a changed list of the fallen."""
    return lambda _, s: s.sign(name, transcripts.recovery(s.context, s.roster, fallen(s.read("fallen").fallen, s)))


# --- encrypted inputs ---------------------------------------------------------------------------------------------


def bound(*, seed: Any = same, payload: Any = same, **other: Any) -> Edit:
    """A chunk with another seed or payload, bound anew.

    Args:
        seed: of c1.
        payload: packed residues.
        other: parts of the binding that are not this round's: `context`, `sender`, `profile`, `key_digest`.
    """

    def edit(honest: EncryptedInputChunk, script: Script) -> EncryptedInputChunk:
        given: dict[str, Any] = {
            "context": script.context,
            "sender": ME,
            "profile": script.replay.profile,
            "key_digest": script.key_digest,
        }
        given |= {name: changed(value, given[name], script) for name, value in other.items()}
        made_seed, data = changed(seed, honest.seed, script), changed(payload, honest.payload, script)
        binding = transcripts.input_binding(**given, seed=made_seed)
        return EncryptedInputChunk(0, data, transcripts.chunk_binding(binding, 0, data), made_seed)

    return edit
