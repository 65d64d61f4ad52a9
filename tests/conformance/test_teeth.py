"""Checks removed one at a time: the vector of that check must notice."""

from collections.abc import Callable
from typing import Any

import pytest
from secagg_client.participation.terms import Contribution

from secagg import config, roster
from secagg.config import RoundConfig
from secagg.crypto import agreement, shamir, signing
from secagg.crypto.identity import TrustAnchors
from secagg.encoding.fixedpoint import FixedPoint
from secagg.masked.accumulator import Accumulator
from secagg.masked.consistency_check import ConsistencyCheckPhase
from secagg.masked.masked_input import AwaitingShares
from secagg.masked.share_keys import ShareKeysPhase
from secagg.masked.survivors import AwaitingSurvivors
from secagg.masked.unmask import UnmaskPhase
from secagg.policy import Policy
from secagg.receipts import Receipt
from secagg.rounds import checked_roster, dealing
from secagg.rounds.accusations import Accusations
from secagg.rounds.advertise_keys import AdvertiseKeysPhase
from secagg.rounds.certification import Result
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import OneMessagePhase
from secagg.rounds.engine import Engine
from secagg.rounds.uploads import Uploads
from secagg.tools.conformance import vectors
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.results import IncomingAggregate
from tests.conformance.against_code import READERS

# The vector, and the check: owner, function and the name that marks it there.
CHECKS: list[tuple[str, Any, str, str]] = [
    ("unsafe-threshold-too-low", RoundConfig, "_check_graph", "two-majorities"),
    ("unsafe-honest-single", RoundConfig, "_check_thresholds", "honest-updates"),
    ("unsafe-clip-infinite", FixedPoint, "__post_init__", "clip"),
    ("unsafe-values-too-wide", FixedPoint, "__post_init__", "value-bits"),
    ("unsafe-digest-missing", config, "check_digest", "model-digest-size"),
    ("below-policy-cohort", Policy, "check", "min-cohort"),
    ("below-policy-honest", Policy, "check", "min-honest"),
    ("below-policy-threat-model", Policy, "check", "threat-model"),
    ("below-policy-task", Policy, "check", "task"),
    ("roster-too-small", roster, "check", "C7"),
    ("duplicate-id", roster, "check", "C8-ids"),
    ("roster-out-of-order", roster, "check", "C8-indices"),
    ("duplicate-key", roster, "distinct_halves", "C9"),
    ("key-not-reduced", roster, "check", "C9-reduced"),
    ("own-entry-missing", roster, "check", "C10-there"),
    ("own-entry-changed", roster, "check", "C10-unchanged"),
    ("certificate-of-another-id", roster, "verify_member", "C12"),
    ("too-few-organisations-in-roster", Policy, "check_organisations", "C14"),
    ("share-of-a-stranger", AwaitingShares, "receive", "C16"),
    ("too-few-shared", AwaitingShares, "receive", "C17"),
    ("dealt-no-share", shamir, "decode_share", "below-prime"),
    ("overlap", AwaitingSurvivors, "check", "C21"),
    ("dropped-never-shared", AwaitingSurvivors, "check", "C22-shared"),
    ("survivor-not-on-roster", AwaitingSurvivors, "check", "C22-roster"),
    ("shared-forgotten", AwaitingSurvivors, "check", "C22-shared"),
    ("self-called-dropped", AwaitingSurvivors, "check", "C23"),
    ("other-purpose", Contribution, "check_asked", "C87"),
    ("training-for-evaluation", Contribution, "check_asked", "C87"),
    ("too-few-survivors", AwaitingSurvivors, "check", "C24"),
    ("too-few-organisations-left", Policy, "check_organisations", "C14"),
    ("signer-no-survivor", CheckedRoster, "check_signatures", "C26"),
    ("too-few-signatures", CheckedRoster, "check_signatures", "C27"),
    ("aggregate-cut", IncomingAggregate, "finish", "C30-complete"),
    ("aggregate-below-threshold", IncomingAggregate, "finish", "C30-threshold"),
    ("aggregate-altered", IncomingAggregate, "finish", "C31"),
    ("dropped-speaks-again", Engine, "_check_turn", "C33"),
    ("late-keys", Engine, "_check_turn", "C33-over"),
    ("message-of-later-phase", Engine, "_check_turn", "C34"),
    ("other-keys", AdvertiseKeysPhase, "take", "C35"),
    ("keys-taken-back", AdvertiseKeysPhase, "take", "C35"),
    ("excluded", Engine, "_check_turn", "C96"),
    ("no-place-left", AdvertiseKeysPhase, "_check_room", "C96"),
    ("other-shares", OneMessagePhase, "take", "C35"),
    ("revealed-twice", OneMessagePhase, "take", "C35"),
    ("commitment-of-31-bytes", ShareKeysPhase, "check", "commitment-size"),
    ("commitment-in-a-masked-round", roster, "check", "C9-commitment"),
    ("key-of-another", roster, "distinct_halves", "C9"),
    ("advertised-certificate-of-another", roster, "verify_member", "C12"),
    ("neighbour-left-out", ShareKeysPhase, "check", "C40"),
    ("entries-too-short", dealing.Kind, "check", "C93-entry"),
    ("dealt-unsigned", dealing.Kind, "check", "C93-signature"),
    ("digests-of-other-shares", dealing, "unseal", "C92"),
    ("wrong-seed-share", UnmaskPhase, "check", "C91"),
    ("wrong-mask-key-share", UnmaskPhase, "check", "C91"),
    ("accusation-unfounded", Accusations, "_judge", "C94"),
    ("chunk-out-of-order", Uploads, "check", "C41-next"),
    ("chunk-behind-the-last", Uploads, "check", "C41-last"),
    ("padding-bits", Accumulator, "_check", "C42"),
    ("owner-left-out", UnmaskPhase, "check", "C44"),
    ("wrong-kind-of-share", UnmaskPhase, "check", "C45"),
    ("share-not-in-field", shamir, "decode_share", "below-prime"),
    ("below-threshold-at-keys", Engine, "_close_joining", "C47"),
    ("differencing-at-coordinator", Engine, "_claim_release", "C85"),
    ("differencing-at-participant", CheckedRoster, "claim_sum", "C86"),
    ("certified-by-dropped", Result, "is_certified", "C90"),
    # Another list gives another ring, so C103 stands behind C102 and C104; tests/security has lists that fit a ring.
    ("sparse-entry-missing", checked_roster, "_check_entries", "C103"),
    ("sparse-entry-of-a-stranger", checked_roster, "_check_entries", "C103"),
    ("sparse-too-few-organisations", Policy, "check_organisations", "C14"),
    ("sparse-too-few-shared", AwaitingShares, "receive", "C106"),
    ("sparse-neighbour-forgotten", AwaitingSurvivors, "check", "C107"),
    ("sparse-neighbour-never-shared", AwaitingSurvivors, "check", "C107"),
    ("sparse-too-few-signatures", CheckedRoster, "check_signatures", "C108-needed"),
    ("sparse-signer-outside", CheckedRoster, "check_signatures", "C26"),
    ("sparse-too-few-members", Engine, "_close_joining", "C109-members"),
    ("sparse-outsider-signs", ConsistencyCheckPhase, "check", "C110"),
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
    ("sparse-signature-on-other-sets", signing, "verify", lambda *_, **__: None),
    ("weak-mask-key", agreement, "check_public_key", lambda *_, **__: None),
    ("key-in-disguise", agreement, "check_public_key", lambda *_, **__: None),
    ("accusation-proven", dealing, "made_by", lambda *_: True),
    ("accusation-hearsay", dealing, "made_by", lambda *_: False),
]

NOTICED = (AssertionError, AttributeError, KeyError, IndexError, pytest.fail.Exception)


def read(slug: str) -> None:
    vector = vectors.load(f"failure-{slug}")
    READERS[vector["kind"]](vector)


@pytest.mark.parametrize(("slug", "owner", "function", "check"), CHECKS, ids=[case[0] for case in CHECKS])
def test_the_vector_notices_that_its_check_is_gone(
    slug: str, owner: Any, function: str, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_check(monkeypatch, owner, function, check)
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
