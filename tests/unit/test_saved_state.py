"""Participants whose state outlives them: every state of every scheme, between any two messages."""

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secagg.config import RoundConfig, ThreatModel
from secagg.context import RoundId
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.secret import Secret
from secagg.encoding.pipeline import Pipeline
from secagg.errors import ConfigError, DecodeError, LocalError, PolicyViolation, ProtocolViolation, SavedStateError
from secagg.homomorphic.dealt_key.scheme import STATES as DEALT_KEY_STATES
from secagg.homomorphic.joint_key.scheme import STATES as JOINT_KEY_STATES
from secagg.lattice.parameters import Custody
from secagg.masked.scheme import STATES as MASKED_STATES
from secagg.messages import Index, Member, ParticipantId, Phase, Roster
from secagg.phases import input_phase, phases
from secagg.policy import Policy
from secagg.robust.grouping import Groups
from secagg.rounds import saved_state
from secagg.rounds.membership import Membership
from secagg.rounds.saved_state import VERSION, MemoryStateKeys, StateName, unseal
from secagg.schemes import Participant, contents, save, saved_as
from secagg.tools.simulation.cohort import Deployment, participant_names
from secagg.tools.simulation.network import Down, Envelope, Run
from secagg.wire import saved_states
from secagg.wire.v1 import saved_state_pb2 as pb
from tests.encrypted_rounds import CASES, Dropout, dropping, encrypted_config, prepare, short_chunks
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment, make_config, start, true_sum
from tests.saving import Rebirths, brought_back, join_all, memory_keys, model_of, recording

MODELS = [SEMI_HONEST, ACTIVE]
ENCRYPTED = [encrypted_config(scheme, custody) for scheme, custody in CASES]
MASKED = [make_config(5, model, model_later=later) for model in MODELS for later in (False, True)]
EVERY = [*MASKED, *ENCRYPTED]
ONE, TWO, *_ = participant_names(5)
EMPTY = {"AwaitingRecoveryProof"}
"""States that nobody is in when nobody drops out."""


def named(config: RoundConfig) -> str:
    profile = config.homomorphic
    later = "-model-later" if config.model_later else ""
    return f"{config.scheme}-{profile.custody.value if profile else config.threat_model.name.lower()}{later}"


every_scheme = pytest.mark.parametrize("config", EVERY, ids=named)


def run_of(config: RoundConfig, **changes: Any) -> Run:
    return prepare(config, **changes) if config.homomorphic else start(config, **changes)


def right_sum(run: Run) -> None:
    """The sum that came out is the exact one of its survivors."""
    aggregate = run.coordinator.aggregate
    assert aggregate is not None
    modulus = np.uint64(2**run.coordinator.round.config.ring_bits)
    assert np.array_equal(aggregate.sums, true_sum(run, map(ParticipantId, aggregate.survivors)) % modulus)


# --- every state ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "states"),
    [
        *((make_config(5, model), MASKED_STATES[model]) for model in MODELS),
        (encrypted_config(*next(case for case in CASES if case[1] is Custody.PARTICIPANTS)), DEALT_KEY_STATES),
        (encrypted_config(*next(case for case in CASES if case[1] is Custody.THRESHOLD)), JOINT_KEY_STATES),
    ],
)
def test_every_state_of_every_scheme_can_be_saved_with_all_that_it_holds(
    config: RoundConfig, states: tuple[type[Any], ...]
) -> None:
    codecs = saved_as(config)
    assert [codec.state for codec in codecs] == list(states), "a new state needs a line in saving.py of its scheme"
    assert len({codec.name for codec in codecs}) == len(codecs)
    for codec in codecs:
        assert list(codec.pieces) == [field.name for field in fields(codec.state)]


@pytest.mark.parametrize("config", MASKED, ids=named)
def test_a_masked_round_sends_the_same_bytes_when_everybody_is_saved_and_restored(config: RoundConfig) -> None:
    plain, saved = start(config), start(config)
    rebirths = Rebirths(saved)
    with recording(plain) as before, recording(saved) as after:
        plain.play()
        saved.play()
    assert after == before
    assert {len(sealed) for sealed in rebirths.sealed.values()} == {len(MASKED_STATES[config.threat_model])}
    right_sum(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": Pipeline.parse("sample(rate=0.5) | rotate | quantise(bits=16, range=1.0)")},
        {"encoding": Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=12) | noise(law=skellam, z=0.5)")},
        {
            "encoding": Pipeline.parse(
                "clip(l2=1.0) | rotate | quantise(bits=12) | noise(law=skellam, z=0.5, by=coordinator)"
            )
        },
        {"groups": Groups(count=3, parent=bytes(range(16)), number=2)},
        {"certify": True},
    ],
    ids=["sampled", "noisy", "noise-by-coordinator", "in-groups", "certified"],
)
def test_whatever_the_configuration_says_is_the_same_after_a_restore(changes: dict[str, Any]) -> None:
    config = replace(make_config(5), **changes)
    plain, saved = start(config), start(config)
    Rebirths(saved)
    with recording(plain) as before, recording(saved) as after:
        plain.play()
        saved.play()
    assert after == before
    assert plain.coordinator.aggregate is not None
    assert saved.coordinator.aggregate is not None


@pytest.mark.parametrize("config", ENCRYPTED, ids=named)
def test_a_homomorphic_round_gives_the_exact_sum_when_everybody_is_saved_and_restored(
    config: RoundConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_chunks(monkeypatch)
    run = run_of(config)
    rebirths = Rebirths(run)
    run.play()
    assert not run.errors
    right_sum(run)
    visited = [codec for codec in saved_as(config) if codec.state.__name__ not in EMPTY]
    assert {len(sealed) for sealed in rebirths.sealed.values()} == {len(visited)}
    if config.dealt:
        known = [participant.aggregate for participant in run.participants.values()]
        assert len({aggregate.sums.tobytes() for aggregate in known if aggregate is not None}) == 1


@every_scheme
def test_who_drops_out_in_whatever_phase_leaves_the_exact_sum_of_the_others(config: RoundConfig) -> None:
    for phase in phases(config)[1:]:
        run = run_of(config, hook=dropping(config, {TWO: Dropout(phase, "silent")}))
        rebirths = Rebirths(run)
        run.play()
        assert not set(run.errors) - {TWO}, phase
        right_sum(run)
        if phase is Phase.PARTIAL_DECRYPTION:
            assert len(rebirths.sealed[ONE]) == len(JOINT_KEY_STATES)


def test_a_participant_that_decrypted_the_sum_has_it_again_after_a_restore() -> None:
    config = next(config for config in ENCRYPTED if config.dealt)
    run = run_of(config)
    seen: list[tuple[tuple[str, ...], bytes]] = []

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Down) and envelope.phase is Phase.REPORT_SUM:
            participant = run.participants[envelope.participant]
            before = participant.aggregate
            restored = brought_back(save(participant, keys), participant.membership, keys)
            assert before is not None
            assert restored.aggregate is not None
            seen.append((before.survivors, before.sums.tobytes()))
            assert seen[-1] == (restored.aggregate.survivors, restored.aggregate.sums.tobytes())
            run.participants[envelope.participant] = restored
        return (envelope,)

    keys, run.hook = memory_keys(), hook
    join_all(run, keys)
    run.play()
    assert len(seen) == 5


# --- what is saved ----------------------------------------------------------------------------------------------------


@every_scheme
def test_the_update_is_never_saved_and_is_asked_for_when_it_is_due(config: RoundConfig) -> None:
    run, keys, asked = run_of(config), memory_keys(), []

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        participant = run.participants[envelope.participant]
        if not isinstance(envelope, Down) or participant.awaits is None:
            return (envelope,)
        restored = brought_back(save(participant, keys), participant.membership, keys)
        assert participant._vector is None
        run.participants[envelope.participant] = restored
        if restored.needs_vector:
            asked.append(envelope.participant)
            step = restored.step
            with pytest.raises(LocalError, match="provide"):
                restored.receive(envelope.message, NOW)
            assert restored.step == step
            restored.provide(run.vectors[envelope.participant], model_of(run))
        return (envelope,)

    run.hook = hook
    join_all(run, keys)
    run.play()
    right_sum(run)
    assert sorted(asked) == sorted(run.participants)
    assert input_phase(config) in phases(config)


def secrets_of(participant: Participant) -> list[bytes]:
    """What the state of a participant holds in secrets."""
    state = participant.state
    held = [getattr(state, field.name) for field in fields(state)]  # type: ignore[arg-type]
    return [pair.private.expose() for pair in held if hasattr(pair, "private")]


def test_sealed_bytes_show_no_secret_and_are_others_every_time() -> None:
    run, again = start(make_config(5)), start(make_config(5))
    keys = memory_keys()
    join_all(run, keys)
    participant = run.participants[ONE]
    secrets = secrets_of(participant)
    assert len(secrets) == 2
    sealed = save(participant, keys)
    assert not any(secret in sealed for secret in secrets)
    other = MemoryStateKeys(participant.membership.rng)
    join_all(again, other)
    assert save(again.participants[ONE], other)[2:] != sealed[2:]


# --- one place at a time ----------------------------------------------------------------------------------------------


def saved_one(model: ThreatModel = SEMI_HONEST) -> tuple[Run, MemoryStateKeys, Participant, bytes]:
    """The first participant of a masked round, before the roster, and what was saved of it."""
    run, keys = start(make_config(5, model)), memory_keys()
    join_all(run, keys)
    participant = run.participants[ONE]
    return run, keys, participant, save(participant, keys)


def test_whoever_is_saved_goes_on_no_more() -> None:
    run, keys, participant, _ = saved_one()
    assert participant.awaits is None
    with pytest.raises(LocalError, match="was saved: restore it"):
        participant.receive(Roster(()), NOW)
    with pytest.raises(LocalError, match="nothing to save"):
        save(participant, keys)
    assert run.participants[TWO].awaits is Phase.ADVERTISE_KEYS


def test_after_an_error_nothing_is_left_to_save() -> None:
    run, keys = start(make_config(5, SEMI_HONEST)), memory_keys()
    join_all(run, keys)
    participant = run.participants[ONE]
    with pytest.raises(ProtocolViolation):
        participant.receive(Roster(()), NOW)
    with pytest.raises(LocalError, match="nothing to save"):
        save(participant, keys)


def test_after_the_end_nothing_is_left_to_save() -> None:
    run = start(make_config(5))
    keys = memory_keys()
    join_all(run, keys)
    run.play()
    with pytest.raises(LocalError, match="nothing to save"):
        save(run.participants[ONE], keys)


def test_an_upload_that_was_not_sent_in_full_is_given_up_with_the_save(monkeypatch: pytest.MonkeyPatch) -> None:
    short_chunks(monkeypatch)
    config = encrypted_config(*CASES[0], vector_len=20000)
    run, keys = run_of(config), memory_keys()
    join_all(run, keys)
    taken = []

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if not isinstance(envelope, Down) or envelope.participant != ONE:
            return (envelope,)
        participant = run.participants[ONE]
        if not participant.awaits or participant.needs_vector is None or envelope.phase is not Phase.CONFIRM_KEY:
            return (envelope,)
        upload: Any = participant.receive(envelope.message, NOW)
        first = upload.chunk(0)
        assert upload.chunk(0) == first
        save(participant, keys)
        with pytest.raises(LocalError, match="after its phase"):
            upload.chunk(0)
        taken.append(upload.chunks)
        return ()

    run.hook = hook
    run.play()
    assert taken
    assert taken[0] > 1


def test_a_save_that_fails_leaves_the_participant_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    run, keys = start(make_config(5, SEMI_HONEST)), memory_keys()
    participant = run.participants[ONE]
    with pytest.raises(SavedStateError, match=r"call join\(\)"):
        save(participant, keys)
    join_all(run, keys)
    with monkeypatch.context() as patch:
        patch.setattr(saved_states, "MAX_SAVED_BYTES", 100)
        with pytest.raises(SavedStateError, match="more than 100"):
            save(participant, keys)
    assert participant.awaits is Phase.ADVERTISE_KEYS
    restored = brought_back(save(participant, keys), participant.membership, keys)
    assert restored.awaits is Phase.ADVERTISE_KEYS


def test_two_processes_cannot_both_save_a_round() -> None:
    _, keys, participant, _ = saved_one()
    again = start(make_config(5, SEMI_HONEST)).participants[ONE]
    assert again.membership.round.round_id == participant.membership.round.round_id
    with pytest.raises(SavedStateError, match=r"joined round \w+ before"):
        keys.join(again.membership.round.round_id, ONE)
    with pytest.raises(SavedStateError, match="was saved before"):
        save(again, keys)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_state_with_any_byte_changed_is_refused_and_does_no_harm() -> None:
    _, keys, participant, sealed = saved_one()
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(SavedStateError):
            brought_back(bytes(altered), participant.membership, keys)
    assert brought_back(sealed, participant.membership, keys).awaits is Phase.ADVERTISE_KEYS


def test_a_state_that_is_cut_off_or_has_something_behind_it_is_refused() -> None:
    _, keys, participant, sealed = saved_one()
    for wrong in (*(sealed[:size] for size in range(len(sealed))), sealed + b"\0"):
        with pytest.raises(SavedStateError):
            brought_back(wrong, participant.membership, keys)


def test_a_state_of_another_version_is_refused() -> None:
    _, keys, participant, sealed = saved_one()
    with pytest.raises(SavedStateError, match=f"version {VERSION + 1}, this program reads version {VERSION}"):
        brought_back(bytes([VERSION + 1]) + sealed[1:], participant.membership, keys)


def test_a_state_does_not_open_under_another_key() -> None:
    run, _, participant, sealed = saved_one()
    other = MemoryStateKeys(participant.membership.rng)
    join_all(run, other)
    other.make(StateName(participant.membership.round.round_id, ONE, 0))
    with pytest.raises(SavedStateError, match="does not open"):
        brought_back(sealed, participant.membership, other)


def test_a_state_is_not_that_of_another_participant_or_round() -> None:
    run, keys, participant, sealed = saved_one()
    theirs = run.participants[TWO].membership
    save(run.participants[TWO], keys)
    with pytest.raises(SavedStateError, match="another round or participant"):
        brought_back(sealed, theirs, keys)
    other = RoundId(b"another round id")
    keys.join(other, ONE)
    keys.make(StateName(other, ONE, 0))
    elsewhere = replace(participant.membership, round=replace(participant.membership.round, round_id=other))
    with pytest.raises(SavedStateError, match="another round or participant"):
        brought_back(sealed, elsewhere, keys)


def test_the_seal_names_round_participant_and_step() -> None:
    """Even under one and the same key."""
    content, key = b"content", Secret(bytes(32))
    name = StateName(RoundId(bytes(16)), ONE, 1)
    sealed = saved_state.seal(content, name, key)
    for change in ({"round_id": RoundId(b"another round id")}, {"participant_id": TWO}, {"step": 2}):
        with pytest.raises(SavedStateError, match="does not open"):
            unseal(sealed, replace(name, **change), key)
    with pytest.raises(SavedStateError, match="not well-formed"):
        unseal(sealed, name, key)


def test_the_seal_is_the_one_of_the_specification() -> None:
    """Made here from the words of PROTOCOL.md alone."""
    content, key = bytes(range(100)), Secret(bytes(range(32)))
    sealed = saved_state.seal(content, StateName(RoundId(bytes(16)), ONE, 3), key)
    fields = (b"secagg/v1/saved-state", bytes([2, 3]), bytes(16), ONE.encode())
    associated = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    assert sealed == bytes([2, 3]) + AESGCM(key.expose()).encrypt(bytes(12), content, associated)


def test_bytes_that_are_too_many_are_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    _, keys, participant, sealed = saved_one()
    monkeypatch.setattr(saved_state, "MAX_SAVED_BYTES", len(sealed) - 19)
    with pytest.raises(SavedStateError, match="are no saved state"):
        brought_back(sealed, participant.membership, keys)


def test_a_state_with_the_longest_roster_comes_back() -> None:
    run = start(make_config(5))
    member = run.participants[ONE].advertisement
    chain = tuple(bytes([number]) * 8 for number in range(4))
    people = tuple(
        Member(Index(i), ParticipantId(f"p{i:05}"), replace(member, certificates=chain)) for i in range(1, 10_001)
    )
    held = {person.index: Secret(bytes(66)) for person in people}
    saved = replace(contents(run.participants[ONE]), roster=Roster(people), held=held)
    assert saved_states.decode_saved(saved_states.encode_saved(saved)) == saved


def test_a_state_that_was_restored_before_is_refused() -> None:
    _, keys, participant, sealed = saved_one()
    brought_back(sealed, participant.membership, keys)
    with pytest.raises(SavedStateError, match="restored before"):
        brought_back(sealed, participant.membership, keys)


@every_scheme
def test_every_older_state_is_refused_once_a_newer_one_was_saved(config: RoundConfig) -> None:
    run = run_of(config)
    rebirths = Rebirths(run)
    run.play()
    for name, sealed in rebirths.sealed.items():
        for older in sealed:
            with pytest.raises(SavedStateError, match="older than the latest"):
                brought_back(older, run.participants[name].membership, rebirths.keys)


def test_of_two_that_restore_at_the_same_time_one_is_refused() -> None:
    _, keys, participant, sealed = saved_one()
    won: list[Participant] = []

    def meanwhile(membership: Membership) -> Membership:
        if not won:
            won.append(brought_back(sealed, participant.membership, keys))
        return membership

    with pytest.raises(SavedStateError, match="restored before"):
        brought_back(sealed, participant.membership, keys, change=meanwhile)
    assert won[0].awaits is Phase.ADVERTISE_KEYS


def test_a_state_is_restored_for_who_it_belongs_to_alone() -> None:
    _, keys, participant, sealed = saved_one()
    with pytest.raises(ConfigError, match=f"that of {ONE}, not of {TWO}"):
        brought_back(sealed, participant.membership, keys, change=lambda mine: replace(mine, participant_id=TWO))


def test_a_stricter_policy_holds_for_a_restored_round() -> None:
    _, keys, participant, sealed = saved_one()
    strict = Policy(threat_models=frozenset({ACTIVE}))
    with pytest.raises(PolicyViolation):
        brought_back(sealed, participant.membership, keys, change=lambda mine: replace(mine, policy=strict))


def credentials(membership: Membership, **changes: Any) -> Membership:
    return replace(membership, credentials=replace(membership.required_credentials, **changes))


def test_a_renewed_certificate_does_not_go_on_in_a_round_that_was_joined_with_the_old_one() -> None:
    _, keys, participant, sealed = saved_one(ACTIVE)
    renewed = Deployment.create([ONE], NOW)
    with pytest.raises(SavedStateError, match="with another certificate"):
        brought_back(
            sealed,
            participant.membership,
            keys,
            change=lambda mine: credentials(mine, identity=renewed.identities[ONE]),
        )


def test_a_round_that_was_joined_under_other_ca_certificates_is_left() -> None:
    _, keys, participant, sealed = saved_one(ACTIVE)
    both = TrustAnchors.from_pem(deployment().trust.pem + Deployment.create([ONE], NOW).trust.pem)
    with pytest.raises(SavedStateError, match="other CA certificates"):
        brought_back(sealed, participant.membership, keys, change=lambda mine: credentials(mine, trust=both))
    same = TrustAnchors.from_pem(deployment().trust.pem)
    restored = brought_back(sealed, participant.membership, keys, change=lambda mine: credentials(mine, trust=same))
    assert restored.awaits is Phase.ADVERTISE_KEYS


def test_a_signed_round_is_not_restored_without_credentials() -> None:
    _, keys, participant, sealed = saved_one(ACTIVE)
    with pytest.raises(ConfigError, match="identity"):
        brought_back(sealed, participant.membership, keys, change=lambda mine: replace(mine, credentials=None))


def test_the_order_of_ca_certificates_does_not_matter() -> None:
    one, other = deployment().trust.pem, Deployment.create([ONE], NOW).trust.pem
    assert TrustAnchors.from_pem(one + other).digest == TrustAnchors.from_pem(other + one).digest
    assert TrustAnchors.from_pem(one + other).digest != TrustAnchors.from_pem(one).digest


@every_scheme
def test_a_restore_verifies_no_certificate_and_no_signature(
    config: RoundConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were verified with the roster, and the seal keeps them; a round of thousands is restored at once."""
    run, keys = run_of(config), memory_keys()
    join_all(run, keys)
    restored = []

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("verified again")

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        participant = run.participants[envelope.participant]
        if not isinstance(envelope, Down) or participant.awaits is None or envelope.participant != ONE:
            return (envelope,)
        sealed, vector = save(participant, keys), run.vectors[ONE]
        with monkeypatch.context() as patch:
            patch.setattr(TrustAnchors, "verify_participant", refuse)
            patch.setattr("secagg.crypto.signing.verify", refuse)
            run.participants[ONE] = brought_back(sealed, participant.membership, keys)
        if run.participants[ONE].needs_vector:
            run.participants[ONE].provide(vector, model_of(run))
        restored.append(envelope.phase)
        return (envelope,)

    run.hook = hook
    run.play()
    right_sum(run)
    assert len(restored) >= len(saved_as(config)) - 1


def test_a_roster_with_certificates_is_restored_as_it_was_checked() -> None:
    run, keys = start(make_config(5)), memory_keys()
    join_all(run, keys)
    compared = []

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        participant = run.participants[envelope.participant]
        if isinstance(envelope, Down) and envelope.phase is Phase.SHARE_KEYS:
            before: Any = participant.state
            restored = brought_back(save(participant, keys), participant.membership, keys)
            after: Any = restored.state
            for field in ("roster", "members", "own_index", "identities"):
                assert getattr(after.checked, field) == getattr(before.checked, field)
            restored.provide(run.vectors[envelope.participant], bytes(32))
            run.participants[envelope.participant] = restored
            compared.append(envelope.participant)
        return (envelope,)

    run.hook = hook
    run.play()
    assert len(compared) == 5


# --- states that were not made by save --------------------------------------------------------------------------------


def resealed(keys: MemoryStateKeys, participant: Participant, sealed: bytes, **changes: Any) -> bytes:
    """The same state with other fields, sealed as if they had been its own."""
    name = StateName(participant.membership.round.round_id, ONE, sealed[1])
    key = keys.read(name)
    return saved_state.seal(saved_states.encode_saved(replace(unseal(sealed, name, key), **changes)), name, key)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_private_key": None}, "lacks mask_private_key"),
        ({"channel_private_key": None}, "lacks channel_private_key"),
        ({"state": "masked/AwaitingShares"}, "no state 'masked/AwaitingShares' after 0 messages"),
        ({"state": "joint-key/AwaitingRoster"}, "no state 'joint-key/AwaitingRoster'"),
    ],
)
def test_a_state_that_lacks_something_is_not_well_formed(changes: dict[str, Any], message: str) -> None:
    _, keys, participant, sealed = saved_one()
    with pytest.raises(SavedStateError, match=message):
        brought_back(resealed(keys, participant, sealed, **changes), participant.membership, keys)


def test_what_is_sealed_and_no_state_is_refused() -> None:
    _, keys, participant, _ = saved_one()
    name = StateName(participant.membership.round.round_id, ONE, 0)
    key = keys.read(name)
    for content in (b"", b"\xff" * 40, b"\x0a\x00"):
        with pytest.raises(SavedStateError, match="not well-formed"):
            unseal(saved_state.seal(content, name, key), name, key)


# --- the specification ------------------------------------------------------------------------------------------------

ALWAYS = {"state", "round_id", "config", "context", "participant_id", "keys", "trust_digest", "named_model"}


def documented() -> dict[str, tuple[str, set[str]]]:
    """What PROTOCOL.md says of each state: the message that it awaits, and what is saved of it alone."""
    text = (Path(__file__).parents[2] / "proto" / "PROTOCOL.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+/\w+)` \| (\w+) \| (.+) \|$", text, re.MULTILINE)
    return {name: (message, set(re.findall(r"`(\w+)`", kept))) for name, message, kept in rows}


def test_the_specification_says_what_is_in_each_state() -> None:
    seen: dict[str, tuple[str, set[str]]] = {}

    def look(run: Run) -> None:
        def hook(envelope: Envelope) -> Iterable[Envelope]:
            passed = inner(envelope)
            participant = run.participants[envelope.participant]
            if isinstance(envelope, Down) and participant.awaits is not None:
                saved = contents(participant)
                filled = {field.name for field in fields(saved) if getattr(saved, field.name)}
                seen[saved.state] = participant.state.takes.__name__, filled - ALWAYS
            return passed

        inner, run.hook = run.hook, hook
        run.play()

    for config in EVERY:
        gone = {TWO: Dropout(Phase.PARTIAL_DECRYPTION, "silent")} if config.joint else {}
        look(run_of(config, hook=dropping(config, gone)))
    assert seen == documented()


def test_the_specification_says_how_many_rounds_are_remembered_and_how_long_a_state_may_be() -> None:
    text = " ".join((Path(__file__).parents[2] / "proto" / "PROTOCOL.md").read_text().split())
    assert f"A participant's latest {saved_state.MAX_ROUNDS:,} rounds are remembered as joined." in text
    assert f"at most {saved_states.MAX_SAVED_BYTES >> 30} GiB" in text


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"state": ""},
        {"state": "s" * 65},
        {"round_id": bytes(15)},
        {"config": b"\xff"},
        {"context": bytes(31)},
        {"participant_id": "-"},
        {"named_model": bytes(31)},
        {"trust_digest": bytes(33)},
        {"channel_private_key": bytes(31)},
        {"mask_private_key": bytes(33)},
        {"seed": bytes(16)},
        {"own_share": bytes(34)},
        {"key_share": bytes((4 << 20) + 1)},
        {"held": [pb.HeldShare(owner=1, share=bytes(65))]},
        {"held": [pb.HeldShare(owner=0, share=bytes(33))]},
        {"held": [pb.HeldShare(owner=1, share=bytes(33))] * 2},
        {"dealer": 10_001},
        {"message": bytes((1 << 20) + 1)},
        {"signers": [2, 1]},
        {"fallen": [0]},
        {"c1": [bytes((2 << 20) + 1)]},
        {"summed": ["two words"]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_each_field_has_its_bounds(changes: dict[str, Any]) -> None:
    content = saved_states.encode_saved(contents(start(make_config(5)).participants[ONE]))
    message = pb.SavedState.FromString(content)
    for field, value in changes.items():
        message.ClearField(field)
        message.MergeFrom(pb.SavedState(**{field: value}))
    with pytest.raises(DecodeError):
        saved_states.decode_saved(message.SerializeToString())
    assert saved_states.decode_saved(content)
