"""What keeps a saved state from answering twice or for somebody else, each with a twin that goes without.

The attack itself, two survivor sets for one state, is the game `restored-twice` of the red team.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from secagg import schemes
from secagg.crypto.rng import SeededRng
from secagg.errors import ConfigError, PolicyViolation, SavedStateError
from secagg.messages import ConsistencyCheck, CoordinatorMessage, ParticipantId, Phase, SurvivorSet
from secagg.policy import Policy
from secagg.programs.state_keys import FolderStateKeys
from secagg.rounds.membership import Membership
from secagg.rounds.releases import Release, ReleaseMemory
from secagg.rounds.saved_state import MemoryStateKeys, StateName
from secagg.schemes import Participant
from secagg.tools.redteam.self_test.patches import Patch, without_check
from secagg.tools.simulation.cohort import Deployment, participant_names
from secagg.tools.simulation.network import Down, Envelope, Run
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, make_config, start
from tests.saving import brought_back, join_all, memory_keys

ONE, TWO, *_ = participant_names(5)


def saved_one(keys: MemoryStateKeys) -> tuple[Membership, bytes]:
    run = start(make_config(5))
    join_all(run, keys)
    participant = run.participants[ONE]
    return participant.membership, schemes.save(participant, keys)


def survivors_shown(run: Run) -> dict[ParticipantId, tuple[Participant, CoordinatorMessage]]:
    """Everybody just before the survivors are taken, with the message that shows them."""
    waiting: dict[ParticipantId, tuple[Participant, CoordinatorMessage]] = {}

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Down) and isinstance(envelope.message, SurvivorSet):
            waiting[envelope.participant] = run.participants[envelope.participant], envelope.message
            return ()
        return (envelope,)

    run.hook = hook
    run.play()
    return waiting


# --- one answer -------------------------------------------------------------------------------------------------------


def answers_to_two_sets(patch: Patch | None = None) -> list[bytes]:
    """The signatures of one state under two survivor sets, in the active threat model."""
    if patch is not None:
        without_check(patch, schemes, "restore", "restored-once")
    run, keys = start(make_config(5)), memory_keys()
    participant, message = survivors_shown(run)[ONE]
    join_all(run, keys)
    membership, sealed = participant.membership, schemes.save(participant, keys)
    assert isinstance(message, SurvivorSet)
    other = SurvivorSet(message.survivors[:-1], message.survivors[-1:])
    signed = []
    for sets in (message, other):
        reply = brought_back(sealed, membership, keys).receive(sets, NOW)
        assert isinstance(reply, ConsistencyCheck)
        signed.append(reply.signature)
    return signed


def test_one_state_signs_one_survivor_set() -> None:
    with pytest.raises(SavedStateError, match="restored before"):
        answers_to_two_sets()
    with Patch() as patch:
        assert len(set(answers_to_two_sets(patch))) == 2


def test_a_state_from_before_an_answer_is_refused_after_it_in_every_phase() -> None:
    """The state that answered is gone, whether or not a newer one was saved."""
    run, keys = start(make_config(5)), memory_keys()
    join_all(run, keys)
    tried = []

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        participant = run.participants[envelope.participant]
        if isinstance(envelope, Down) and participant.awaits is not None and envelope.participant == ONE:
            sealed = schemes.save(participant, keys)
            run.participants[ONE] = brought_back(sealed, participant.membership, keys)
            if run.participants[ONE].needs_vector:
                run.participants[ONE].provide(run.vectors[ONE], bytes(32))
            with pytest.raises(SavedStateError):
                brought_back(sealed, participant.membership, keys)
            tried.append(envelope.phase)
        return (envelope,)

    run.hook = hook
    run.play()
    assert tried == [Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK]


def test_a_round_is_joined_once_though_the_process_ended() -> None:
    for keys in (memory_keys(), MemoryStateKeys(SeededRng(bytes(32)), {})):
        membership, _ = saved_one_of(keys)
        with pytest.raises(SavedStateError, match="keys are made once per round"):
            keys.join(membership.round.round_id, ONE)
        with Patch() as patch:
            without_check(patch, MemoryStateKeys, "join", "joined-once")
            keys.join(membership.round.round_id, ONE)


def saved_one_of(keys: MemoryStateKeys) -> tuple[Membership, bytes]:
    run = start(make_config(5, SEMI_HONEST))
    join_all(run, keys)
    participant = run.participants[ONE]
    return participant.membership, schemes.save(participant, keys)


def test_a_key_that_is_gone_is_no_key() -> None:
    keys = memory_keys()
    name = StateName(start(make_config(5)).coordinator.round.round_id, ONE, 0)
    with pytest.raises(SavedStateError, match="restored before"):
        keys.read(name)
    with Patch() as patch:
        without_check(patch, MemoryStateKeys, "read", "key-there")
        keys.read(name)


# --- sums that were opened --------------------------------------------------------------------------------------------


def test_a_sum_that_a_process_helped_to_open_is_known_to_the_next_one(tmp_path: Path) -> None:
    keys = FolderStateKeys(tmp_path)
    for durable in (False, True):
        run = start(make_config(5))
        participant = run.participants[ONE]
        participant.membership = replace(participant.membership, durable_claim=durable)
        if not durable:
            join_all(run, keys)
            with pytest.raises(ConfigError, match="memory of released sums"):
                schemes.save(participant, keys)
            with Patch() as patch:
                without_check(patch, schemes, "save", "durable-memory")
                forgetful = schemes.save(participant, keys)
            assert brought_back(forgetful, participant.membership, keys).awaits
        else:
            assert schemes.save(participant, keys)


def test_a_restored_participant_asks_the_memory_before_it_answers() -> None:
    """The claim is recorded by the process that answers, in the memory that it was given."""
    run, keys, memory = start(make_config(5)), memory_keys(), ReleaseMemory(10)
    participant, message = survivors_shown(run)[ONE]
    join_all(run, keys)
    sealed = schemes.save(participant, keys)
    round_id = participant.membership.round.round_id

    def claim(release: Release) -> frozenset[ParticipantId]:
        return memory.claim(round_id, release)

    restored = brought_back(sealed, participant.membership, keys, change=lambda mine: replace(mine, claim=claim))
    assert memory.rounds == {}
    restored.receive(message, NOW)
    assert list(memory.rounds) == [round_id]


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_a_stricter_policy_holds_for_a_round_that_was_joined_under_another() -> None:
    keys = memory_keys()
    membership, sealed = saved_one_of(keys)
    strict = Policy(threat_models=frozenset({ACTIVE}))
    with pytest.raises(PolicyViolation):
        brought_back(sealed, membership, keys, change=lambda mine: replace(mine, policy=strict))
    with Patch() as patch:
        without_check(patch, schemes, "_check_ours", "restored-policy")
        assert brought_back(sealed, membership, keys, change=lambda mine: replace(mine, policy=strict)).awaits


def test_a_state_goes_on_with_the_certificate_that_it_joined_with() -> None:
    keys = memory_keys()
    membership, sealed = saved_one(keys)
    renewed = Deployment.create([ONE], NOW).identities[ONE]

    def change(mine: Membership) -> Membership:
        return replace(mine, credentials=replace(mine.required_credentials, identity=renewed))

    with pytest.raises(SavedStateError, match="another certificate"):
        brought_back(sealed, membership, keys, change=change)
    with Patch() as patch:
        without_check(patch, schemes, "_check_ours", "restored-identity")
        assert brought_back(sealed, membership, keys, change=change).awaits


def test_a_roster_that_was_checked_under_other_ca_certificates_is_not_believed() -> None:
    keys = memory_keys()
    membership, sealed = saved_one(keys)
    exchanged = Deployment.create([ONE], NOW).trust

    def change(mine: Membership) -> Membership:
        return replace(mine, credentials=replace(mine.required_credentials, trust=exchanged))

    with pytest.raises(SavedStateError, match="other CA certificates"):
        brought_back(sealed, membership, keys, change=change)
    with Patch() as patch:
        without_check(patch, schemes, "_check_ours", "restored-trust")
        assert brought_back(sealed, membership, keys, change=change).awaits


# --- who keeps the keys -----------------------------------------------------------------------------------------------


def test_against_an_active_coordinator_keys_do_not_lie_with_the_states() -> None:
    """Whoever keeps the mapping brings back a key that was used up, and the old state opens again."""
    mapping: dict[str, bytes] = {}
    keys = MemoryStateKeys(SeededRng(bytes(32)), mapping)
    run = start(make_config(5))
    join_all(run, keys)
    participant = run.participants[ONE]
    with pytest.raises(ConfigError, match="name a folder"):
        schemes.save(participant, keys)
    with Patch() as patch:
        without_check(patch, schemes, "save", "guarded-keys")
        sealed = schemes.save(participant, keys)
    before = dict(mapping)
    brought_back(sealed, participant.membership, keys)
    with pytest.raises(SavedStateError):
        brought_back(sealed, participant.membership, keys)
    mapping.update(before)
    assert brought_back(sealed, participant.membership, keys).awaits is Phase.ADVERTISE_KEYS


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the mode says nothing about who may read")
def test_keys_that_others_can_read_are_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(SavedStateError, match="chmod 700"):
        FolderStateKeys(tmp_path)
    with Patch() as patch:
        without_check(patch, FolderStateKeys, "__init__", "keys-read-by-others")
        FolderStateKeys(tmp_path)
