"""Homomorphic rounds on a participant's own terms, and configurations that are refused."""

import importlib.util
from dataclasses import replace
from typing import Any

import pytest

from secagg.config import RoundConfig, ThreatModel
from secagg.errors import ConfigError, MissingExtraError, PolicyViolation, ProtocolViolation
from secagg.lattice.jobs import Desk
from secagg.lattice.parameters import MAX_MODULUS_BITS, Custody, Scheme, find_profile
from secagg.lattice.primes import ntt_primes
from secagg.policy import Policy
from secagg.sandbox.worker import Worker
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.configuration import decode_config, encode_config
from tests.encrypted_rounds import BFV, CASES, CKKS, DEALT, JOINT, encrypted_config, prepare
from tests.rounds import ACTIVE, SEMI_HONEST, make_config
from tests.security.refusals import refusal

SEMI = frozenset({SEMI_HONEST})


@pytest.mark.parametrize(("scheme", "custody"), CASES)
def test_the_default_policy_takes_part_in_none(scheme: Scheme, custody: Custody) -> None:
    error = refusal(lambda: prepare(encrypted_config(scheme, custody), policy=Policy()))
    assert isinstance(error, PolicyViolation)
    assert "threat model SEMI_HONEST is not allowed" in str(error)
    assert error.culprit == "coordinator"


@pytest.mark.parametrize("scheme", Scheme)
def test_semi_honest_rounds_are_taken_part_in_by_who_allows_them(scheme: Scheme) -> None:
    prepare(encrypted_config(scheme, DEALT), policy=Policy(threat_models=SEMI, min_colluding_share=0.0))


@pytest.mark.parametrize("scheme", Scheme)
def test_a_round_whose_key_all_hold_stands_no_colluder_and_says_so(
    monkeypatch: pytest.MonkeyPatch, scheme: Scheme
) -> None:
    """A participant that wants more refuses, and is told what to change; nobody can claim more."""
    config = encrypted_config(scheme, DEALT)
    assert (config.max_colluding, config.guaranteed_honest) == (0, config.threshold)
    error = refusal(lambda: prepare(config, policy=Policy(threat_models=SEMI)))
    assert isinstance(error, PolicyViolation)
    assert "stands 0 colluding participants, fewer than 1; to trust all who hold its key, set min_coll" in str(error)
    with pytest.raises(ConfigError, match="one that works with the coordinator opens every update, so max_colluding"):
        encrypted_config(scheme, DEALT, max_colluding=1)
    without_check(monkeypatch, RoundConfig, "_check_scheme", "dealt-key-colluders")
    prepare(encrypted_config(scheme, DEALT, max_colluding=1), policy=Policy(threat_models=SEMI))  # and one opens it


def test_who_gets_the_sum_unless_the_task_says_so() -> None:
    """The FL server, but where participants hold the key and need not show it."""
    for scheme in Scheme:
        assert encrypted_config(scheme, DEALT, release_to_coordinator=None).release_to_coordinator is False
        assert encrypted_config(scheme, DEALT, release_to_coordinator=True).release_to_coordinator is True
        assert encrypted_config(scheme, JOINT, release_to_coordinator=None).release_to_coordinator is True
    assert make_config(5).release_to_coordinator is True
    config = encrypted_config(BFV, DEALT, release_to_coordinator=None)
    run = prepare(config)
    run.play()
    assert run.coordinator.aggregate is None
    assert run.coordinator.delivered is not None
    assert all(participant.aggregate is not None for participant in run.participants.values())


@pytest.mark.parametrize("scheme", Scheme)
def test_experimental_rounds_must_be_allowed_explicitly(monkeypatch: pytest.MonkeyPatch, scheme: Scheme) -> None:
    config, policy = encrypted_config(scheme, JOINT, threshold=4), Policy(threat_models=SEMI)
    error = refusal(lambda: prepare(config, policy=policy))
    assert isinstance(error, PolicyViolation)
    assert "custody threshold is experimental" in str(error)
    assert "set allow_experimental" in str(error)
    prepare(config, policy=replace(policy, allow_experimental=True))
    without_check(monkeypatch, Policy, "_check_scheme", "experimental")
    prepare(config, policy=policy)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"schemes": frozenset({"masked", "bfv"})}, "scheme ckks is not allowed"),
        ({"custodies": frozenset({JOINT})}, "custody participants of the key is not allowed"),
        ({"min_cohort": 4}, "below the minimum cohort 4"),
        ({"tasks": frozenset({"faces"})}, "not among the allowed tasks"),
    ],
)
def test_other_terms(terms: dict[str, Any], message: str) -> None:
    config = encrypted_config(CKKS, DEALT)
    assert message in str(
        refusal(lambda: prepare(config, policy=Policy(threat_models=SEMI, min_colluding_share=0.0, **terms)))
    )


def test_organisations_are_counted_where_they_are_certified() -> None:
    """Every homomorphic round is signed, so the demand holds there though the threat model is semi-honest."""
    policy = Policy(threat_models=SEMI, min_organisations=2)
    config = encrypted_config(BFV, DEALT, 3)
    run = prepare(config, policy=policy)
    assert run.play().aggregate is not None
    alike = [name for i, name in enumerate(participant_names(6)) if i % 2 == 0]
    run = prepare(config, policy=policy, names=alike)
    run.play()
    assert {type(error) for error in run.errors.values()} == {PolicyViolation}
    assert all("organisations" in str(error) for error in run.errors.values())


# -- Configurations.


@pytest.mark.parametrize(("scheme", "custody"), CASES)
def test_an_active_coordinator_is_beyond_homomorphic_rounds(
    monkeypatch: pytest.MonkeyPatch, scheme: Scheme, custody: Custody
) -> None:
    with pytest.raises(ConfigError, match="set threat_model to SEMI_HONEST, or use the masked scheme"):
        encrypted_config(scheme, custody, threshold=5, threat_model=ACTIVE)
    without_check(monkeypatch, RoundConfig, "_check_scheme", "joint-key-active")
    assert encrypted_config(scheme, custody, threshold=5, threat_model=ACTIVE).threat_model is ThreatModel.ACTIVE


def test_halves_may_not_decrypt_under_a_joint_key() -> None:
    with pytest.raises(ConfigError, match=r"2t > n \+ n_C must hold.* raise threshold from 3 to 4"):
        encrypted_config(BFV, JOINT, 6, threshold=3)
    encrypted_config(BFV, JOINT, 6, threshold=4)
    encrypted_config(BFV, DEALT, 6, threshold=3)


@pytest.mark.parametrize(("scheme", "custody"), CASES)
@pytest.mark.parametrize("kind", ["below 128 bits", "value bits", "beyond n_max", "not prime", "no NTT", "swapped"])
def test_a_tampered_profile_is_refused_wherever_it_comes_from(scheme: Scheme, custody: Custody, kind: str) -> None:
    config = encrypted_config(scheme, custody)
    profile = config.homomorphic
    assert profile is not None
    match kind:
        case "below 128 bits":
            many = MAX_MODULUS_BITS[4096] // profile.prime_bits + 1
            primes = ntt_primes(4096, profile.prime_bits, many + 1)
            other = replace(profile, ring_degree=4096, primes=primes[:many])
            other = replace(other, special_prime=primes[many]) if profile.special_prime else other
            if profile.plain_modulus:
                other = replace(other, plain_modulus=ntt_primes(4096, profile.plain_modulus.bit_length(), 1)[0])
        case "value bits":
            other = find_profile(scheme, custody, profile.summands, profile.value_bits + 1)
        case "beyond n_max":
            other = find_profile(scheme, custody, 4, profile.value_bits)
        case "not prime":
            other = replace(profile, primes=(*profile.primes[:-1], profile.primes[-1] + 2 * profile.ring_degree))
        case "no NTT":
            other = replace(profile, primes=(*profile.primes[:-1], (1 << 45) - 55))
        case _:
            other = replace(profile, scheme=CKKS if scheme is BFV else BFV)
    with pytest.raises(ConfigError):
        replace(config, homomorphic=other)
    # And by the participant, whoever made the bytes.
    honest = encode_config(config)
    tampered = replace(config)
    object.__setattr__(tampered, "homomorphic", other)
    assert decode_config(honest) == config
    with pytest.raises(ProtocolViolation, match="unsafe configuration"):
        decode_config(encode_config(tampered))


def test_a_round_that_releases_to_nobody() -> None:
    for changes in (
        {"release_to_participants": False},
        {"release_to_participants": False, "release_to_coordinator": False},
    ):
        with pytest.raises(ConfigError, match="set release_to_participants"):
            encrypted_config(BFV, DEALT, **changes)
    with pytest.raises(ConfigError, match="set release_to_coordinator"):
        encrypted_config(BFV, JOINT, release_to_coordinator=False)


# -- Without TenSEAL.


@pytest.mark.parametrize(("scheme", "custody"), CASES)
@pytest.mark.parametrize("missing", ["tenseal", "zstandard"])
def test_a_missing_extra_is_told_before_any_key_is_made(
    monkeypatch: pytest.MonkeyPatch, scheme: Scheme, custody: Custody, missing: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    error = refusal(lambda: prepare(encrypted_config(scheme, custody), backend=Worker))
    assert isinstance(error, MissingExtraError)
    assert "pip install '.[ckks]'" in str(error)
    prepare(encrypted_config(scheme, custody), backend=Desk)
