"""The content of a saved state as bytes: every field, with its bounds. What each state needs is said elsewhere."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from secagg.config import DIGEST_SIZE, RoundConfig
from secagg.context import ROUND_ID_SIZE, Context, RoundId
from secagg.crypto.secret import Secret
from secagg.crypto.shamir import SHARE_SIZE
from secagg.errors import DecodeError, SavedStateError
from secagg.messages import AdvertiseKeys, Index, ParticipantId, Roster, SurvivorSet
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.counting import Budget
from secagg.wire.fields import ascending, at_most, decode_participant_id, exactly, fresh_index, limited
from secagg.wire.homomorphic import MAX_CIPHERTEXT_CHUNK_BYTES
from secagg.wire.keys import MAX_KEY_SHARE_BYTES, decode_advertise, decode_roster, encode_advertise, encode_roster
from secagg.wire.masked import SURVIVOR_SET
from secagg.wire.parsing import parse
from secagg.wire.v1 import saved_state_pb2 as pb

MAX_SAVED_BYTES: Final = 1 << 30
"""No saved state is longer. The longest holds half of an encrypted sum, which grows with the update."""

MAX_SAVED_FIELDS: Final = 400_000
"""A roster of 10,000 with chains of certificates has about 150,000 protobuf fields, an encrypted sum one a chunk."""

MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_STATE_NAME_BYTES: Final = 64
KEY_BYTES: Final = 32
_SHARES: Final = frozenset({SHARE_SIZE, 2 * SHARE_SIZE})


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """What is saved of a participant. A field that its state does not have is None or empty.

    Attributes:
        state: name of the state.
        round_id: id of the round, 16 bytes.
        config: configuration of the round.
        context: 32 bytes, made from the configuration as it was received.
        named_model: digest of the model, 32 bytes, where it is named later and was named by then; else empty.
        participant_id: who saved it.
        keys: what it sent in round 0.
        trust_digest: fixes the CA certificates, 32 bytes; empty where nothing is signed.
        roster: the checked roster.
        channel_private_key: 32 bytes.
        mask_private_key: 32 bytes.
        seed: of the self-mask or of a homomorphic key, 32 bytes.
        key_share: our packed share of a joint key.
        own_share: of our own secrets, like a held one.
        held: by owner, one share (33 bytes) or a pair of them (66).
        sets: survivors and dropped.
        dealer: whose key counts.
        message: what was signed.
        signers: who signed it; or who confirmed the key.
        fallen: whose key seeds are to be recovered.
        c1: chunks of the encrypted sum.
        summed: whose inputs are in the decrypted sum.
        sums: that sum, packed.
    """

    state: str
    round_id: RoundId
    config: RoundConfig
    context: Context
    participant_id: ParticipantId
    keys: AdvertiseKeys
    named_model: bytes = b""
    trust_digest: bytes = b""
    roster: Roster | None = None
    channel_private_key: Secret | None = None
    mask_private_key: Secret | None = None
    seed: Secret | None = None
    key_share: bytes = b""
    own_share: Secret | None = None
    held: Mapping[Index, Secret] = field(default_factory=dict)
    sets: SurvivorSet | None = None
    dealer: Index | None = None
    message: bytes = b""
    signers: tuple[Index, ...] = ()
    fallen: tuple[Index, ...] = ()
    c1: tuple[bytes, ...] = ()
    summed: tuple[ParticipantId, ...] = ()
    sums: bytes = b""


def encode_saved(saved: SavedState) -> bytes:
    """The state as bytes. They hold secrets in clear: seal them.

    Raises:
        SavedStateError: they are too many.
    """
    content = pb.SavedState(
        state=saved.state,
        round_id=saved.round_id,
        config=encode_config(saved.config),
        context=saved.context,
        named_model=saved.named_model,
        participant_id=saved.participant_id,
        keys=encode_advertise(saved.keys),
        trust_digest=saved.trust_digest,
        roster=encode_roster(saved.roster) if saved.roster else (),
        channel_private_key=_exposed(saved.channel_private_key),
        mask_private_key=_exposed(saved.mask_private_key),
        seed=_exposed(saved.seed),
        key_share=saved.key_share,
        own_share=_exposed(saved.own_share),
        held=(pb.HeldShare(owner=owner, share=share.expose()) for owner, share in saved.held.items()),
        sets=None if saved.sets is None else SURVIVOR_SET.encode(saved.sets),
        dealer=saved.dealer or 0,
        message=saved.message,
        signers=saved.signers,
        fallen=saved.fallen,
        c1=saved.c1,
        summed=saved.summed,
        sums=saved.sums,
    ).SerializeToString(deterministic=True)
    if len(content) > MAX_SAVED_BYTES:
        raise SavedStateError(
            f"the state of {saved.participant_id} has {len(content)} bytes, more than {MAX_SAVED_BYTES}; keep the "
            "process alive for rounds with so long a vector"
        )
    return content


def decode_saved(content: bytes) -> SavedState:
    """The state that these bytes are.

    Raises:
        DecodeError: they are none, or a field is beyond its bounds.
        ProtocolViolation: the configuration is unsafe.
    """
    at_most(content, MAX_SAVED_BYTES, "a saved state")
    message = parse(pb.SavedState, content, Budget(MAX_SAVED_FIELDS))
    trust, named = message.trust_digest, message.named_model
    return SavedState(
        state=_name(message.state),
        round_id=RoundId(exactly(message.round_id, ROUND_ID_SIZE, "round_id")),
        config=decode_config(message.config),
        context=Context(exactly(message.context, DIGEST_SIZE, "context")),
        named_model=exactly(named, DIGEST_SIZE, "named_model") if named else b"",
        participant_id=decode_participant_id(message.participant_id),
        keys=decode_advertise(message.keys),
        trust_digest=exactly(trust, DIGEST_SIZE, "trust_digest") if trust else b"",
        roster=decode_roster(message.roster) if message.roster else None,
        channel_private_key=_secret(message.channel_private_key, "channel_private_key"),
        mask_private_key=_secret(message.mask_private_key, "mask_private_key"),
        seed=_secret(message.seed, "seed"),
        key_share=at_most(message.key_share, MAX_KEY_SHARE_BYTES, "key_share"),
        own_share=_share(message.own_share) if message.own_share else None,
        held=_held(message.held),
        sets=SURVIVOR_SET.decode(message.sets) if message.HasField("sets") else None,
        dealer=fresh_index(message.dealer, (), "dealer") if message.dealer else None,
        message=at_most(message.message, MAX_MESSAGE_BYTES, "message"),
        signers=ascending(message.signers, "signers"),
        fallen=ascending(message.fallen, "fallen"),
        c1=tuple(at_most(chunk, MAX_CIPHERTEXT_CHUNK_BYTES, "c1") for chunk in message.c1),
        summed=tuple(map(decode_participant_id, message.summed)),
        sums=message.sums,
    )


def _exposed(secret: Secret | None) -> bytes:
    return b"" if secret is None else secret.expose()


def _secret(value: bytes, what: str) -> Secret | None:
    return Secret(exactly(value, KEY_BYTES, what)) if value else None


def _held(shares: Iterable[pb.HeldShare]) -> dict[Index, Secret]:
    held: dict[Index, Secret] = {}
    for item in limited(shares):
        held[fresh_index(item.owner, held, "owner")] = _share(item.share)
    return held


def _share(value: bytes) -> Secret:
    if len(value) not in _SHARES:
        raise DecodeError(f"a held share has {len(value)} bytes")
    return Secret(value)


def _name(state: str) -> str:
    if not 1 <= len(state.encode()) <= MAX_STATE_NAME_BYTES:
        raise DecodeError("the name of a state has 1 to 64 bytes")
    return state
