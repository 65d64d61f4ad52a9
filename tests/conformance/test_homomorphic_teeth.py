"""Checks of homomorphic rounds removed one at a time: the vector of that check must notice."""

from collections.abc import Callable
from typing import Any

import pytest

from secagg.config import RoundConfig
from secagg.crypto import shamir, signing
from secagg.homomorphic import encrypted_input, encrypted_sum
from secagg.homomorphic.dealt_key.confirm_key import AwaitingKey, ConfirmKeyPhase
from secagg.homomorphic.dealt_key.encrypted_input import EncryptedInputPhase as DealtKeyInput
from secagg.homomorphic.dealt_key.release_sum import AwaitingOrder, ReleaseSumPhase
from secagg.homomorphic.dealt_key.report_sum import ReportSumPhase
from secagg.homomorphic.dealt_key.share_keys import ShareKeysPhase as DealtKeyShares
from secagg.homomorphic.joint_key import encrypted_input as joint_input
from secagg.homomorphic.joint_key import opening, share_keys
from secagg.homomorphic.joint_key.encrypted_input import AwaitingShares
from secagg.homomorphic.joint_key.encrypted_input import EncryptedInputPhase as JointKeyInput
from secagg.homomorphic.joint_key.recover_seeds import RecoverSeedsPhase
from secagg.homomorphic.joint_key.recovery_check import AwaitingFallen
from secagg.homomorphic.joint_key.share_keys import ShareKeysPhase as JointKeyShares
from secagg.lattice import decoding, parameters, residues
from secagg.lattice.residues import ResidueVector
from secagg.policy import Policy
from secagg.rounds import dealing
from secagg.rounds.advertise_keys import AdvertiseKeysPhase
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import OneMessagePhase
from secagg.tools.redteam.self_test.patches import without_check
from tests.conformance.test_teeth import NOTICED, read

# The vector, and the check: owner, function and the name that marks it there.
CHECKS: list[tuple[str, Any, str, str]] = [
    ("unsafe-profile-insecure", parameters, "_check_security", "128-bit-security"),
    ("unsafe-profile-unused-prime", parameters, "_check_all_primes_encrypt", "all-primes-encrypt"),
    ("unsafe-profile-other-bits", RoundConfig, "_check_scheme", "profile-value-bits"),
    ("unsafe-profile-too-small", RoundConfig, "_check_scheme", "summands"),
    ("unsafe-homomorphic-active", RoundConfig, "_check_scheme", "joint-key-active"),
    ("unsafe-dealt-collusion", RoundConfig, "_check_scheme", "dealt-key-colluders"),
    ("unsafe-joint-collusion", RoundConfig, "_check_scheme", "two-majorities"),
    ("unsafe-joint-minority", RoundConfig, "_check_scheme", "two-majorities"),
    ("unsafe-joint-unreleased", RoundConfig, "_check_scheme", "release-without-dealt-key"),
    ("below-policy-scheme", Policy, "_check_scheme", "scheme"),
    ("below-policy-custody", Policy, "_check_scheme", "custody"),
    ("below-policy-experimental", Policy, "_check_scheme", "experimental"),
    ("below-policy-collusion", Policy, "check", "min-colluding-share"),
    ("two-dealers", AwaitingKey, "receive", "C49"),
    ("dealer-not-on-roster", AwaitingKey, "receive", "C49"),
    ("dealt-another-key", dealing, "unseal", "C92"),
    ("confirmed-by-a-stranger", CheckedRoster, "check_signatures", "C26"),
    ("too-few-confirmed", CheckedRoster, "check_signatures", "C27"),
    ("sum-sets-overlap", encrypted_sum, "check_sets", "C53-disjoint"),
    ("sum-of-the-unconfirmed", encrypted_sum, "check_sets", "C53-takers"),
    ("sum-forgets-one", encrypted_sum, "check_sets", "C53-takers"),
    ("sum-without-us", encrypted_sum, "check_sets", "C53-ourselves"),
    ("sum-of-two", encrypted_sum, "check_sets", "C53-threshold"),
    ("sum-of-few-organisations", Policy, "check_organisations", "C14"),
    ("sum-without-c1", encrypted_sum, "check_ciphertext", "C55"),
    ("sum-transparent", encrypted_sum, "check_ciphertext", "C56"),
    ("sum-of-nothing", encrypted_sum, "check_ciphertext", "C56"),
    ("order-against-the-task", AwaitingOrder, "receive", "C58"),
    ("key-share-missing", AwaitingShares, "receive", "C59-members"),
    ("too-few-key-shares", AwaitingShares, "receive", "C59-threshold"),
    ("own-key-share-changed", AwaitingShares, "receive", "C59-our-own"),
    ("seed-share-no-share", shamir, "decode_share", "below-prime"),
    ("rogue-key-share", joint_input, "check_commitment", "C61"),
    ("key-share-of-zeros-delivered", joint_input, "unpack_key_share", "C62"),
    ("joint-sum-of-strangers", encrypted_sum, "check_sets", "C53-takers"),
    ("joint-sum-transparent", encrypted_sum, "check_ciphertext", "C56"),
    ("decryption-signed-by-dropped", CheckedRoster, "check_signatures", "C26"),
    ("decryption-signed-by-few", CheckedRoster, "check_signatures", "C27"),
    ("fallen-never-shared", AwaitingFallen, "receive", "C65-shared"),
    ("we-are-fallen", AwaitingFallen, "receive", "C65-ourselves"),
    ("unsigned-not-fallen", AwaitingFallen, "receive", "C66-unsigned"),
    ("too-many-fallen", AwaitingFallen, "receive", "C66-threshold"),
    ("recovery-signed-by-fallen", CheckedRoster, "check_signatures", "C26"),
    ("recovery-signed-by-few", CheckedRoster, "check_signatures", "C27"),
    ("mask-key-in-homomorphic-round", AdvertiseKeysPhase, "_check_sizes", "C68"),
    ("commitment-without-joint-key", AdvertiseKeysPhase, "_check_sizes", "C68"),
    ("no-commitment", AdvertiseKeysPhase, "_check_sizes", "C68"),
    ("key-for-some", DealtKeyShares, "check", "C69"),
    ("sealed-key-too-short", DealtKeyShares, "check", "C70-entry"),
    ("key-digest-too-short", DealtKeyShares, "check", "C70-commitment"),
    ("key-share-without-joint-key", DealtKeyShares, "check", "C70-commitment"),
    ("other-key", OneMessagePhase, "take", "C35"),
    ("another-key-dealt", ConfirmKeyPhase, "check_signed", "C72"),
    ("seedless-input", DealtKeyInput, "_check_seed", "C74"),
    ("seed-too-short", DealtKeyInput, "_check_seed", "C74"),
    ("repeated-seed", DealtKeyInput, "_check_seed", "C75"),
    ("binding-altered", encrypted_input, "check_chunk", "C76"),
    ("input-altered", encrypted_input, "check_chunk", "C76"),
    ("input-of-another-round", encrypted_input, "check_chunk", "C76"),
    ("input-of-another-sender", encrypted_input, "check_chunk", "C76"),
    ("input-of-another-profile", encrypted_input, "check_chunk", "C76"),
    ("input-under-another-key", encrypted_input, "check_chunk", "C76"),
    ("seed-exchanged", encrypted_input, "check_chunk", "C76"),
    ("input-residue-too-large", residues, "unpack_residues", "C55"),
    ("partial-residue-too-large", residues, "unpack_residues", "C55"),
    ("joint-sum-residue-too-large", residues, "unpack_residues", "C55"),
    ("sum-residue-too-large", residues, "unpack_residues", "C55"),
    ("transparent-inputs", ResidueVector, "refuse_zero", "C78"),
    ("joint-inputs-transparent", ResidueVector, "refuse_zero", "C78"),
    ("reports-disagree", ReportSumPhase, "close", "C79"),
    ("other-sum-handed-in", ReleaseSumPhase, "completed", "C81"),
    ("seed-for-some", JointKeyShares, "check", "C69"),
    ("sealed-seed-too-short", JointKeyShares, "check", "C70-entry"),
    ("dealt-two-digests", DealtKeyShares, "check", "C93"),
    ("digest-of-another-seed-share", dealing, "unseal", "C92"),
    ("wrong-seed-piece", RecoverSeedsPhase, "check", "C91"),
    ("key-share-exchanged", share_keys, "check_commitment", "C61"),
    ("key-share-of-zeros", share_keys, "unpack_key_share", "C62"),
    ("seed-under-joint-key", JointKeyInput, "check", "C74"),
    ("fallen-left-out", RecoverSeedsPhase, "check", "C82"),
    ("seed-share-not-in-field", shamir, "decode_share", "below-prime"),
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
    ("wrongly-dealt-seed", opening, "check_recovered_seed", lambda *_: None),
]


@pytest.mark.parametrize(("slug", "owner", "function", "check"), CHECKS, ids=[case[0] for case in CHECKS])
def test_the_vector_notices_that_its_check_is_gone(
    slug: str, owner: Any, function: str, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(slug)
    without_check(monkeypatch, owner, function, check)
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
