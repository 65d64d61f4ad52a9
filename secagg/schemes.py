"""The state machines of a round's scheme, masked or homomorphic, behind one interface for each side."""

from collections.abc import Callable, Iterator
from typing import Protocol

from secagg.config import RoundConfig
from secagg.context import Round, RoundId
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.secret import Secret
from secagg.encoding.vector import IntegerVector
from secagg.errors import ConfigError, RemoteError, SavedStateError
from secagg.homomorphic.dealt_key.saving import SAVED_AS as DEALT_KEY_STATES
from secagg.homomorphic.dealt_key.scheme import DealtKeyParticipant
from secagg.homomorphic.dealt_key.scheme import coordinator as dealt_key_coordinator
from secagg.homomorphic.joint_key.saving import SAVED_AS as JOINT_KEY_STATES
from secagg.homomorphic.joint_key.scheme import JointKeyParticipant
from secagg.homomorphic.joint_key.scheme import coordinator as joint_key_coordinator
from secagg.homomorphic.vectors import Backend
from secagg.lattice.parameters import Custody
from secagg.masked.ranges import Workers, one_after_the_other
from secagg.masked.saving import SAVED_AS as MASKED_STATES
from secagg.masked.scheme import Participant as MaskedParticipant
from secagg.masked.scheme import coordinator as masked_coordinator
from secagg.messages import (
    EncryptedInputChunk,
    MaskedInputChunk,
    PartialChunk,
    ParticipantId,
    ParticipantMessage,
    Phase,
    SumChunk,
)
from secagg.rounds.doors import HandOver, no_doors
from secagg.rounds.engine import Engine
from secagg.rounds.membership import Membership
from secagg.rounds.releases import Claim, nothing_before
from secagg.rounds.saved_state import StateCodec, StateKeys, StateName, read_at, seal, step_of, unseal
from secagg.rounds.session import Restored, Session
from secagg.rounds.uploads import MemorySpool, Spool
from secagg.wire.saved_states import SavedState, encode_saved

Chunk = MaskedInputChunk | EncryptedInputChunk | PartialChunk | SumChunk


class Upload(Protocol):
    """A vector on its way to the coordinator. Asking for a chunk again gives the same bytes."""

    @property
    def phase(self) -> Phase:
        """The phase in which the vector is sent."""
        ...

    @property
    def chunks(self) -> int:
        """How many chunks the vector has."""
        ...

    def chunk(self, number: int) -> Chunk:
        """Chunk `number`, 0 to `chunks` − 1."""
        ...

    def __iter__(self) -> Iterator[Chunk]:
        """All chunks in order."""
        ...


Participant = Session[ParticipantMessage | Upload | None]
"""One participant through one round, whatever the scheme."""


def take_part(membership: Membership, vector: IntegerVector | None, backend: Callable[[], Backend]) -> Participant:
    """A participant of the round's scheme.

    Args:
        membership: round, identity and policy.
        vector: the encoded update; None if it comes later, by `Participant.provide`.
        backend: gives what encrypts and decrypts; called in homomorphic rounds only.

    Raises:
        PolicyViolation: the round is below our policy.
        MissingExtraError: the round is homomorphic and TenSEAL is not installed, or what makes the masks of its suite.
    """
    return _participant(membership, vector, backend, None)


def save(participant: Participant, keys: StateKeys) -> bytes:
    """The participant as sealed bytes, for one `restore`. It is given up here. An upload must be sent whole
    before, since no other process can go on with it.

    Args:
        participant: in a round that is not over for it, between two messages.
        keys: where it keeps the keys of its saved states.

    Raises:
        LocalError: there is nothing to save.
        ConfigError: `keys` outlive this process, and the memory of released sums does not; or the coordinator may lie,
            and others keep the keys.
        SavedStateError: there is a saved state after as many messages already, the round was not joined in `keys`, the
            state is too long, or its key cannot be kept. After any of these errors the participant is as it was.
    """
    membership = participant.membership
    if membership.active and not keys.guarded:  # check: guarded-keys
        raise ConfigError(
            "whoever keeps these states has their keys, too, and could go back to older ones; against an active "
            "coordinator the participant must keep the keys itself: name a folder for them (FolderStateKeys)"
        )
    if keys.durable and not membership.durable_claim:  # check: durable-memory
        raise ConfigError(
            "the saved state outlives this process, and the memory of released sums does not: a sum that this process "
            "helped to open would be forgotten; keep the memory in a file"
        )
    name = StateName(membership.round.round_id, membership.participant_id, participant.step)
    content = encode_saved(contents(participant))
    sealed = seal(content, name, keys.make(name))
    participant.leave_to_saved()
    return sealed


def contents(participant: Participant) -> SavedState:
    """What `save` seals, and what `rebuild` needs.

    Raises:
        LocalError: there is nothing to save.
    """
    membership, state = participant.membership, participant.state
    round_, credentials = membership.round, membership.credentials
    return SavedState(
        round_id=round_.round_id,
        config=round_.config,
        context=round_.context,
        named_model=round_.named,
        participant_id=membership.participant_id,
        keys=participant.advertisement,
        trust_digest=credentials.trust.digest if credentials and round_.config.signed else b"",
        **saved_as(round_.config)[participant.step].write(state, membership),
    )


def restore(
    sealed: bytes,
    keys: StateKeys,
    *,
    round_id: RoundId,
    participant_id: ParticipantId,
    membership_of: Callable[[Round], Membership],
    backend: Callable[[], Backend],
) -> Participant:
    """The participant that `save` sealed. Its key is destroyed before this returns, so it is restored once.

    Certificates of others were verified when the roster was checked. They are not verified again, as they are not in a
    process that stays: whether one has expired since then is not asked. Our own policy is asked again.

    Args:
        sealed: what `save` gave.
        keys: those that were given to `save`.
        round_id: the round that it is said to be of.
        participant_id: who we are.
        membership_of: gives our membership of the round: identity, policy, randomness and memory, which are not saved.
        backend: gives what encrypts and decrypts; called in homomorphic rounds only.

    Raises:
        SavedStateError: it was restored before, is older than the latest, was altered, or belongs to another
            participant, round, identity or version; or the CA certificates that are trusted were exchanged, or its key
            cannot be read or destroyed.
        PolicyViolation: the round is below our policy.
        ConfigError: `membership_of` gives the membership of somebody else, or lacks the credentials of a signed round.
        MissingExtraError: the round is homomorphic and TenSEAL is not installed, or what makes the masks of its suite.
    """
    name = StateName(round_id, participant_id, step_of(sealed))
    saved = unseal(sealed, name, keys.read(name))
    participant = rebuild(saved, name.step, membership_of, backend)
    keys.use_up(name)  # check: restored-once
    return participant


def rebuild(
    saved: SavedState, step: int, membership_of: Callable[[Round], Membership], backend: Callable[[], Backend]
) -> Participant:
    """The participant whose `contents` these are. Who calls this sees to it that a state goes on in one place, and that
    it never takes two different messages.

    Args:
        saved: as `contents` gave it, from a seal that was opened.
        step: how many messages it had taken.
        membership_of: as for `restore`.
        backend: as for `restore`.

    Raises as `restore`, but for what is said there of keys.
    """
    membership = membership_of(Round(saved.round_id, saved.config, saved.context, saved.named_model))
    _check_ours(saved, membership)
    try:
        restored = read_at(saved_as(saved.config), step, saved, membership), saved.keys
    except RemoteError as error:
        raise SavedStateError(f"the saved state is not well-formed: {error}") from None
    return _participant(membership, None, backend, restored)


def _check_ours(saved: SavedState, membership: Membership) -> None:
    """Refuse a state that does not go with what we are now."""
    if membership.participant_id != saved.participant_id:
        raise ConfigError(f"the saved state is that of {saved.participant_id}, not of {membership.participant_id}")
    config = saved.config
    membership.policy.check(config)  # check: restored-policy
    config.suite.require()  # check: restored-suite
    if not config.signed:
        return
    credentials = membership.required_credentials
    if credentials.identity.chain != saved.keys.certificates:  # check: restored-identity
        raise SavedStateError(
            f"{saved.participant_id} joined round {saved.round_id.hex()} with another certificate; the others know it "
            "by that one. Renew certificates between rounds"
        )
    if credentials.trust.digest != saved.trust_digest:  # check: restored-trust
        raise SavedStateError(
            f"round {saved.round_id.hex()} was joined when other CA certificates were trusted; the participant sits it "
            "out, and takes part in the next one under the new ones"
        )


def _participant(
    membership: Membership,
    vector: IntegerVector | None,
    backend: Callable[[], Backend],
    restored: Restored | None,
) -> Participant:
    profile = membership.round.config.homomorphic
    if profile is None:
        return MaskedParticipant(membership, vector, restored)
    session = JointKeyParticipant if profile.custody is Custody.THRESHOLD else DealtKeyParticipant
    return session(membership, vector, backend(), restored)


def saved_as(config: RoundConfig) -> tuple[StateCodec, ...]:
    """How each state of a participant is saved, in the order of the states."""
    profile = config.homomorphic
    if profile is None:
        return MASKED_STATES[config.threat_model]
    return JOINT_KEY_STATES if profile.custody is Custody.THRESHOLD else DEALT_KEY_STATES


def coordinate(
    round_: Round,
    *,
    now: float,
    trust: TrustAnchors | None = None,
    spool: Spool | None = None,
    workers: Workers = one_after_the_other,
    claim: Claim = nothing_before,
    noise_seed: Secret | None = None,
    hand_over: HandOver = no_doors,
) -> Engine:
    """A coordinator of the round's scheme, in its first phase.

    Args:
        round_: id, configuration and context.
        now: seconds since 1970.
        trust: the deployment's CA; needed wherever messages are signed.
        spool: where incomplete vectors wait; in memory if None.
        workers: make the pieces of unmasking.
        claim: the memory of what other rounds released.
        noise_seed: 32 fresh bytes of the operating system's CSPRNG; needed where the coordinator adds the noise.
        hand_over: asks a door for the sum of masked vectors that were added up there; encrypted ones come to the
            coordinator itself.

    Raises:
        ConfigError: messages are signed and `trust` is missing; or the noise's seed is.
    """
    profile = round_.config.homomorphic
    if profile is None:
        return masked_coordinator(
            round_,
            now=now,
            trust=trust,
            spool=spool,
            workers=workers,
            claim=claim,
            noise_seed=noise_seed,
            hand_over=hand_over,
        )
    if trust is None:
        raise ConfigError("homomorphic rounds need the CA's certificate at the coordinator")
    made = joint_key_coordinator if profile.custody is Custody.THRESHOLD else dealt_key_coordinator
    return made(round_, now=now, trust=trust, spool=spool or MemorySpool(), claim=claim)
