"""Checks of homomorphic rounds removed one at a time: the vector of that check must notice."""

from collections.abc import Callable
from typing import Any

import pytest

from secagg.config import RoundConfig
from secagg.crypto import shamir, signing
from secagg.homomorphic import dealt_coordinator, dealt_participant, joint_coordinator, joint_participant
from secagg.homomorphic.dealt_coordinator import DealtKeyCoordinator
from secagg.homomorphic.dealt_participant import AwaitingKey, AwaitingOrder
from secagg.homomorphic.joint_coordinator import JointKeyCoordinator
from secagg.homomorphic.joint_participant import AwaitingFallen, AwaitingShares
from secagg.lattice import decoding, parameters, residues
from secagg.lattice.residues import ResidueVector
from secagg.policy import Policy
from secagg.rounds import dealing
from secagg.rounds.advertise_keys import AdvertiseKeysPhase
from secagg.rounds.checked_roster import CheckedRoster
from tests.conformance.test_teeth import NOTICED, read
from tests.security.adversary import without_check

# The vector, and the check: owner, function and a fragment of its text.
CHECKS: list[tuple[str, Any, str, str]] = [
    ("unsafe-profile-insecure", parameters, "_check_security", "for 128-bit security"),
    ("unsafe-profile-unused-prime", parameters, "_check_all_primes_encrypt", "nobody can encrypt"),
    ("unsafe-profile-other-bits", RoundConfig, "_check_scheme", "find another profile"),
    ("unsafe-profile-too-small", RoundConfig, "_check_scheme", "check_summands"),
    ("unsafe-homomorphic-active", RoundConfig, "_check_scheme", "stand against a semi-honest coordinator"),
    ("unsafe-dealt-collusion", RoundConfig, "_check_scheme", "every participant holds the key"),
    ("unsafe-joint-collusion", RoundConfig, "_check_scheme", "with a joint key"),
    ("unsafe-joint-minority", RoundConfig, "_check_scheme", "with a joint key"),
    ("unsafe-joint-unreleased", RoundConfig, "_check_scheme", "always learns"),
    ("below-policy-scheme", Policy, "_check_scheme", "config.scheme not in"),
    ("below-policy-custody", Policy, "_check_scheme", "of the key is not allowed"),
    ("below-policy-experimental", Policy, "_check_scheme", "is experimental"),
    ("below-policy-collusion", Policy, "check", "fewer than"),
    ("two-dealers", AwaitingKey, "on_delivery", "one dealer"),
    ("dealer-not-on-roster", AwaitingKey, "on_delivery", "one dealer"),
    ("dealt-another-key", dealing, "unseal", "fit its own digests"),
    ("confirmed-by-a-stranger", CheckedRoster, "check_signatures", "who are no survivors"),
    ("too-few-confirmed", CheckedRoster, "check_signatures", "below threshold"),
    ("sum-sets-overlap", dealt_participant, "check_sets", "both survivors and dropped"),
    ("sum-of-the-unconfirmed", dealt_participant, "check_sets", "went on to encrypt"),
    ("sum-forgets-one", dealt_participant, "check_sets", "went on to encrypt"),
    ("sum-without-us", dealt_participant, "check_sets", "our own input"),
    ("sum-of-two", dealt_participant, "check_sets", "below threshold"),
    ("sum-of-few-organisations", Policy, "check_organisations", "below the minimum"),
    ("sum-without-c1", dealt_participant, "check_ciphertext", "the sum has"),
    ("sum-transparent", dealt_participant, "check_ciphertext", "transparent"),
    ("sum-of-nothing", dealt_participant, "check_ciphertext", "transparent"),
    ("order-against-the-task", AwaitingOrder, "on_order", "does not give"),
    ("key-share-missing", AwaitingShares, "on_delivery", "not of the same members"),
    ("too-few-key-shares", AwaitingShares, "on_delivery", "below threshold"),
    ("own-key-share-changed", AwaitingShares, "on_delivery", "was changed"),
    ("seed-share-no-share", shamir, "decode_share", "below the field prime"),
    ("rogue-key-share", joint_participant, "check_commitment", "does not fit"),
    ("key-share-of-zeros-delivered", joint_participant, "unpack_key_share", "is zero"),
    ("joint-sum-of-strangers", joint_participant, "check_sets", "went on to encrypt"),
    ("joint-sum-transparent", joint_participant, "check_ciphertext", "transparent"),
    ("decryption-signed-by-dropped", CheckedRoster, "check_signatures", "who are no survivors"),
    ("decryption-signed-by-few", CheckedRoster, "check_signatures", "below threshold"),
    ("fallen-never-shared", AwaitingFallen, "on_fallen", "never shared"),
    ("we-are-fallen", AwaitingFallen, "on_fallen", "we are called fallen"),
    ("unsigned-not-fallen", AwaitingFallen, "on_fallen", "did not sign"),
    ("too-many-fallen", AwaitingFallen, "on_fallen", "fewer decryptors"),
    ("recovery-signed-by-fallen", CheckedRoster, "check_signatures", "who are no survivors"),
    ("recovery-signed-by-few", CheckedRoster, "check_signatures", "below threshold"),
    ("mask-key-in-homomorphic-round", AdvertiseKeysPhase, "_check_sizes", "where the scheme wants"),
    ("commitment-without-joint-key", AdvertiseKeysPhase, "_check_sizes", "where the scheme wants"),
    ("no-commitment", AdvertiseKeysPhase, "_check_sizes", "where the scheme wants"),
    ("key-for-some", DealtKeyCoordinator, "_take_key", "must seal"),
    ("sealed-key-too-short", DealtKeyCoordinator, "_take_key", "check_size"),
    ("key-digest-too-short", DealtKeyCoordinator, "_take_key", "the digest of a key is"),
    ("key-share-without-joint-key", DealtKeyCoordinator, "_take_key", "the digest of a key is"),
    ("other-key", DealtKeyCoordinator, "_take_key", "another key before"),
    ("another-key-dealt", DealtKeyCoordinator, "_take_confirmation", "committed to"),
    ("seedless-input", DealtKeyCoordinator, "_check_seed", "a seed has"),
    ("seed-too-short", DealtKeyCoordinator, "_check_seed", "a seed has"),
    ("repeated-seed", DealtKeyCoordinator, "_check_seed", "repeats the seed"),
    ("binding-altered", dealt_coordinator, "check_chunk", "was altered"),
    ("input-altered", dealt_coordinator, "check_chunk", "was altered"),
    ("input-of-another-round", dealt_coordinator, "check_chunk", "was altered"),
    ("input-of-another-sender", dealt_coordinator, "check_chunk", "was altered"),
    ("input-of-another-profile", dealt_coordinator, "check_chunk", "was altered"),
    ("input-under-another-key", dealt_coordinator, "check_chunk", "was altered"),
    ("seed-exchanged", dealt_coordinator, "check_chunk", "was altered"),
    ("input-residue-too-large", residues, "unpack_residues", "is not below the prime"),
    ("partial-residue-too-large", residues, "unpack_residues", "is not below the prime"),
    ("joint-sum-residue-too-large", residues, "unpack_residues", "is not below the prime"),
    ("sum-residue-too-large", residues, "unpack_residues", "is not below the prime"),
    ("transparent-inputs", ResidueVector, "refuse_zero", "hides nothing"),
    ("joint-inputs-transparent", ResidueVector, "refuse_zero", "hides nothing"),
    ("reports-disagree", DealtKeyCoordinator, "_compare_reports", "not one"),
    ("other-sum-handed-in", DealtKeyCoordinator, "_take_sum", "reset"),
    ("seed-for-some", JointKeyCoordinator, "_take_share", "must seal"),
    ("sealed-seed-too-short", JointKeyCoordinator, "_take_share", "check_size"),
    ("dealt-two-digests", DealtKeyCoordinator, "_take_key", "another key than the one"),
    ("digest-of-another-seed-share", dealing, "unseal", "fit its own digests"),
    ("wrong-seed-piece", JointKeyCoordinator, "_take_pieces", "_refuse_wrong_share"),
    ("key-share-exchanged", joint_coordinator, "check_commitment", "does not fit"),
    ("key-share-of-zeros", joint_coordinator, "unpack_key_share", "is zero"),
    ("seed-under-joint-key", JointKeyCoordinator, "_take_input", "no seed"),
    ("fallen-left-out", JointKeyCoordinator, "_take_pieces", "must reveal"),
    ("seed-share-not-in-field", shamir, "decode_share", "below the field prime"),
]


def _values(profile: Any, values: Any, count: int, _: int) -> Any:
    return values.reshape(-1)[:count]


# The vector, and a function that stands for a whole check, with what takes its place.
FUNCTIONS: list[tuple[str, Any, str, Callable[..., Any]]] = [
    ("dealer-equivocates", signing, "verify", lambda *_, **__: None),
    ("confirmed-another-dealer", signing, "verify", lambda *_, **__: None),
    ("confirmation-forged", signing, "verify", lambda *_, **__: None),
    ("report-forged", signing, "verify", lambda *_, **__: None),
    ("survivors-changed", signing, "verify", lambda *_, **__: None),
    ("c1-changed", signing, "verify", lambda *_, **__: None),
    ("recovery-of-others", signing, "verify", lambda *_, **__: None),
    ("decryption-check-forged", signing, "verify", lambda *_, **__: None),
    ("recovery-check-forged", signing, "verify", lambda *_, **__: None),
    ("sum-altered", decoding, "take", _values),
    ("wrong-partial", decoding, "take", _values),
    ("wrongly-dealt-seed", joint_coordinator, "check_recovered_seed", lambda *_: None),
    ("dealt-key-altered", dealing, "made_by", lambda *_: True),
    ("seed-share-of-another", dealing, "made_by", lambda *_: True),
]


@pytest.mark.parametrize(("slug", "owner", "function", "fragment"), CHECKS, ids=[case[0] for case in CHECKS])
def test_the_vector_notices_that_its_check_is_gone(
    slug: str, owner: Any, function: str, fragment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(slug)
    without_check(monkeypatch, owner, function, fragment)
    with pytest.raises(NOTICED):
        read(slug)


@pytest.mark.parametrize(("slug", "owner", "function", "instead"), FUNCTIONS, ids=[case[0] for case in FUNCTIONS])
def test_the_vector_notices_that_its_function_is_gone(
    slug: str, owner: Any, function: str, instead: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(slug)
    monkeypatch.setattr(owner, function, instead)
    with pytest.raises(NOTICED):
        read(slug)
