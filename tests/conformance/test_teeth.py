"""Checks removed one at a time: the vector of that check must notice."""

from collections.abc import Callable
from typing import Any

import pytest
from secagg_client.participation.session import Participation

from secagg import config, roster
from secagg.config import RoundConfig
from secagg.crypto import agreement, shamir, signing
from secagg.crypto.identity import TrustAnchors
from secagg.encoding.fixedpoint import FixedPoint
from secagg.masked.accumulator import Accumulator
from secagg.masked.intake import Intake
from secagg.masked.participant import AwaitingShares, AwaitingSurvivors
from secagg.policy import Policy
from secagg.receipts import Receipt
from secagg.rounds import dealing
from secagg.rounds.advertise_keys import AdvertiseKeysPhase
from secagg.rounds.certification import Result
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.engine import Engine
from secagg.rounds.uploads import Uploads
from secagg.tools.conformance import vectors
from tests.conformance import against_code
from tests.conformance.against_code import READERS
from tests.security.adversary import without_check

# The vector, and the check: owner, function and a fragment of its text.
CHECKS: list[tuple[str, Any, str, str]] = [
    ("unsafe-threshold-too-low", RoundConfig, "_check_thresholds", "n_C must hold"),
    ("unsafe-honest-single", RoundConfig, "_check_thresholds", "MIN_HONEST"),
    ("unsafe-clip-infinite", FixedPoint, "__post_init__", "clip must be"),
    ("unsafe-values-too-wide", FixedPoint, "__post_init__", "value_bits must be"),
    ("unsafe-digest-missing", config, "check_digest", "len(model_digest)"),
    ("below-policy-cohort", Policy, "check", "below the minimum cohort"),
    ("below-policy-honest", Policy, "check", "less max_colluding"),
    ("below-policy-threat-model", Policy, "check", "config.threat_model not in"),
    ("below-policy-task", Policy, "check", "not among the allowed tasks"),
    ("roster-too-small", roster, "check", "the round wants at least"),
    ("duplicate-id", roster, "check", "not distinct and sorted"),
    ("roster-out-of-order", roster, "check", "roster indices are not"),
    ("duplicate-key", roster, "check_distinct_keys", "stands twice"),
    ("key-not-reduced", roster, "check", "not the reduced encoding"),
    ("own-entry-missing", roster, "check", "lacks our own entry"),
    ("own-entry-changed", roster, "check", "was changed"),
    ("certificate-of-another-id", roster, "verify_member", "belongs to"),
    ("too-few-organisations-in-roster", Policy, "check_organisations", "below the minimum"),
    ("share-of-a-stranger", AwaitingShares, "on_delivery", "not our neighbours"),
    ("too-few-shared", AwaitingShares, "on_delivery", "below threshold"),
    ("dealt-no-share", shamir, "decode_share", "below the field prime"),
    ("overlap", AwaitingSurvivors, "check", "both survivors and dropped"),
    ("dropped-never-shared", AwaitingSurvivors, "check", "not those who shared keys"),
    ("survivor-not-on-roster", AwaitingSurvivors, "check", "not on the roster"),
    ("shared-forgotten", AwaitingSurvivors, "check", "not those who shared keys"),
    ("self-called-dropped", AwaitingSurvivors, "check", "our own input is called dropped"),
    ("other-purpose", Participation, "_join", "was made to"),
    ("training-for-evaluation", Participation, "_join", "was made to"),
    ("too-few-survivors", AwaitingSurvivors, "check", "below threshold"),
    ("too-few-organisations-left", Policy, "check_organisations", "below the minimum"),
    ("signer-no-survivor", CheckedRoster, "check_signatures", "who are no survivors"),
    ("too-few-signatures", CheckedRoster, "check_signatures", "below threshold"),
    ("aggregate-cut", against_code, "decode_aggregate", "the aggregate ends after"),
    ("aggregate-below-threshold", against_code, "decode_aggregate", "fewer than the threshold"),
    ("aggregate-altered", against_code, "decode_aggregate", "does not match its digest"),
    ("dropped-speaks-again", Engine, "_check_turn", "not in self._expected"),
    ("late-keys", Engine, "_check_turn", "raise self._gone(sender, phase)"),
    ("message-of-later-phase", Engine, "_check_turn", "during"),
    ("other-keys", AdvertiseKeysPhase, "take", "advertised other keys before"),
    ("keys-taken-back", AdvertiseKeysPhase, "take", "advertised other keys before"),
    ("excluded", Engine, "_check_turn", "_check_not_excluded"),
    ("no-place-left", AdvertiseKeysPhase, "_check_room", "no place for"),
    ("other-shares", Intake, "take_shares", "shared other keys before"),
    ("revealed-twice", Intake, "take_revealed", "revealed other shares before"),
    ("commitment-of-31-bytes", Intake, "take_shares", "a commitment is"),
    ("key-of-another", roster, "check_distinct_keys", "stands twice"),
    ("advertised-certificate-of-another", roster, "verify_member", "belongs to"),
    ("neighbour-left-out", Intake, "take_shares", "must seal shares"),
    ("entry-unsigned", Intake, "take_shares", "check_size"),
    ("digests-of-other-shares", dealing, "unseal", "fit its own digests"),
    ("digests-of-other-shares-unsigned", dealing, "unseal", "fit its own digests"),
    ("wrong-seed-share", Intake, "take_revealed", "_check_dealt"),
    ("wrong-mask-key-share", Intake, "take_revealed", "_check_dealt"),
    ("accusation-unfounded", Engine, "_judge", "Verdict.UNFOUNDED"),
    ("chunk-out-of-order", Uploads, "add", "was expected"),
    ("chunk-behind-the-last", Uploads, "add", "behind its last one"),
    ("padding-bits", Accumulator, "_check", "behind the last value"),
    ("owner-left-out", Intake, "take_revealed", "must reveal one share"),
    ("wrong-kind-of-share", Intake, "take_revealed", "the wrong kind of share"),
    ("share-not-in-field", shamir, "decode_share", "below the field prime"),
    ("below-threshold-at-keys", Engine, "_close", "_below_threshold"),
    ("differencing-at-coordinator", Engine, "_claim_release", "self._claim("),
    ("differencing-at-participant", CheckedRoster, "claim_sum", "self.membership.claim"),
    ("certified-by-dropped", Result, "is_certified", "strangers"),
]

# The vector, and a function that stands for a whole check, with what takes its place.
FUNCTIONS: list[tuple[str, Any, str, Callable[..., Any]]] = [
    ("foreign-certificate", TrustAnchors, "_check_chain", lambda *_: None),
    ("advertised-foreign-certificate", TrustAnchors, "_check_chain", lambda *_: None),
    ("key-substituted", signing, "verify", lambda *_, **__: None),
    ("keys-unsigned", signing, "verify", lambda *_, **__: None),
    ("keys-of-another-round", signing, "verify", lambda *_, **__: None),
    ("advertised-unsigned", signing, "verify", lambda *_, **__: None),
    ("signature-on-other-survivors", signing, "verify", lambda *_, **__: None),
    ("signature-on-other-dropped", signing, "verify", lambda *_, **__: None),
    ("check-of-other-sets", signing, "verify", lambda *_, **__: None),
    ("receipt-unsigned", Receipt, "verify", lambda *_: None),
    ("receipt-by-a-stranger", TrustAnchors, "_check_chain", lambda *_, **__: None),
    ("receipt-of-another-sum", signing, "verify", lambda *_, **__: None),
    ("receipt-of-other-survivors", signing, "verify", lambda *_, **__: None),
    ("receipt-of-another-roster", signing, "verify", lambda *_, **__: None),
    ("certified-another-result", signing, "verify", lambda *_, **__: None),
    ("weak-mask-key", agreement, "check_public_key", lambda *_, **__: None),
    ("key-in-disguise", agreement, "check_public_key", lambda *_, **__: None),
    ("seal-altered", dealing, "made_by", lambda *_: True),
    ("seal-of-another-sender", dealing, "made_by", lambda *_: True),
    ("accusation-proven", dealing, "made_by", lambda *_: True),
    ("accusation-hearsay", dealing, "made_by", lambda *_: False),
]

NOTICED = (AssertionError, AttributeError, KeyError, IndexError, pytest.fail.Exception)


def read(slug: str) -> None:
    vector = vectors.load(f"failure-{slug}")
    READERS[vector["kind"]](vector)


@pytest.mark.parametrize(("slug", "owner", "function", "fragment"), CHECKS, ids=[case[0] for case in CHECKS])
def test_the_vector_notices_that_its_check_is_gone(
    slug: str, owner: Any, function: str, fragment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_check(monkeypatch, owner, function, fragment)
    with pytest.raises(NOTICED):
        read(slug)
    monkeypatch.undo()
    read(slug)


@pytest.mark.parametrize(("slug", "owner", "function", "instead"), FUNCTIONS, ids=[case[0] for case in FUNCTIONS])
def test_the_vector_notices_that_its_function_is_gone(
    slug: str, owner: Any, function: str, instead: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, function, instead)
    with pytest.raises(NOTICED):
        read(slug)
    monkeypatch.undo()
    read(slug)
