"""What a receipt is worth: nobody but the coordinator makes one, of one round alone, and two that differ are proof."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.participation.session import Participation
from typer.testing import CliRunner

from secagg import receipts
from secagg.aggregates import Aggregate
from secagg.cli.main import build
from secagg.context import Context, RoundId
from secagg.crypto.authority import Authority, create_authority, issue_server
from secagg.crypto.identity import CertificateChain, CoordinatorIdentity, TrustAnchors, VerifiedCoordinator
from secagg.errors import AuthenticationError, DecodeError, SecAggError
from secagg.messages import ParticipantId
from secagg.receipts import Agreement, Receipt, Statement, compare_receipts
from secagg.tools.conformance import fixtures
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.calls import FETCH_AGGREGATE, REVEAL
from secagg.wire.receipts import encode_receipt
from secagg.wire.results import PackedAggregate, decode_aggregate
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.conversing import Conversation, in_bytes, makes
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment, make_config

NAMES = participant_names(4)
VICTIM = NAMES[1]
AT = datetime.fromtimestamp(NOW, UTC)


def coordinator_of_another_ca() -> CoordinatorIdentity:
    ca = create_authority(name="simulated deployment", now=AT)
    made = issue_server(
        Authority.from_pem(ca.certificate_pem, ca.key_pem.expose()), hosts=["coordinator.simulated"], now=AT
    )
    return CoordinatorIdentity.from_pem(made.certificate_pem, made.key_pem.expose(), AT)


def signed_by_participant(statement: Statement) -> Receipt:
    """A participant that works with whoever stands in the network."""
    identity = deployment().identities[NAMES[0]]
    made = Receipt.sign(statement, deployment().coordinator, NOW)
    signature = identity.sign(statement.to_sign(made.signed.signed_ms))
    return Receipt(statement, replace(made.signed, signature=signature, chain=identity.chain))


def signed(statement: Statement, signer: CoordinatorIdentity | None = None) -> Receipt:
    return Receipt.sign(statement, signer or deployment().coordinator, NOW)


def unsigned(statement: Statement) -> Receipt:
    made = signed(statement)
    return Receipt(statement, replace(made.signed, signature=b"", chain=()))


FORGERIES: dict[str, Callable[[Statement], Receipt]] = {
    "did not sign": unsigned,
    "its extended key usage lacks serverAuth": signed_by_participant,
    "signed by a foreign CA": lambda statement: signed(statement, coordinator_of_another_ca()),
    "does not verify round": lambda statement: signed(replace(statement, round_id=RoundId(bytes(16)))),
    "does not verify context": lambda statement: signed(replace(statement, context=Context(bytes(32)))),
    "does not verify task": lambda statement: signed(replace(statement, task="other")),
    "does not verify model": lambda statement: signed(replace(statement, model_digest=b"m" * 32)),
    "does not verify roster": lambda statement: signed(replace(statement, roster_digest=bytes(32))),
    "does not verify who": lambda statement: signed(replace(statement, survivors=("a", *statement.survivors[1:]))),
    "does not verify sum": lambda statement: replace(signed(replace(statement, sums_digest=bytes(32)))),
    "does not verify time": lambda statement: Receipt(
        statement, replace(signed(statement).signed, signed_ms=int(NOW * 1000) + 1)
    ),
}


UNUSABLE_TIMES = {"before its certificate": 0, "after its certificate": 10**13, "in no year": 2**64 - 1}


@pytest.mark.parametrize("when", UNUSABLE_TIMES)
def test_a_receipt_that_nobody_could_use_later_is_refused(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator really signs it, with a time at which its certificate was not valid. Twin: who looks at now
    alone believes it, and cannot prove anything by it.
    """
    at = UNUSABLE_TIMES[when]

    def undated(statement: Statement) -> Receipt:
        made = signed(statement)
        return Receipt(statement, replace(made.signed, signature=sign(statement.to_sign(at)), signed_ms=at))

    sign = deployment().coordinator.sign
    round_ = Conversation(make_config(4))
    told(round_, undated)
    round_.play()
    refused = round_.errors[VICTIM]
    assert isinstance(refused, AuthenticationError | DecodeError)
    assert refused.culprit == "coordinator"

    monkeypatch.setattr(receipts, "_signed_at", lambda _: AT)
    twin = Conversation(make_config(4))
    told(twin, undated)
    twin.play()
    believed = twin.results[VICTIM].receipt
    monkeypatch.undo()
    with pytest.raises((AuthenticationError, DecodeError)):
        compare_receipts(believed, twin.results[NAMES[0]].receipt, deployment().trust)


def told(round_: Conversation, change: Callable[[Statement], Receipt]) -> None:
    """Give the victim a receipt that `change` makes of the true statement."""

    def tamper(made: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
        if not makes(made, REVEAL) or name != VICTIM:
            return parts
        honest = pb.Receipt.FromString(parts[0])
        statement = round_.receipt(tuple(NAMES), honest.sums_digest).statement
        forged = encode_receipt(change(statement))
        forged.sums_digest, forged.survivors = honest.sums_digest, honest.survivors
        return in_bytes([forged])

    round_.tamper = tamper


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
def test_only_the_coordinators_word_on_this_very_round_counts(
    forgery: str, threat_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_ = Conversation(make_config(4, threat_model, threshold=3))
    told(round_, FORGERIES[forgery])
    round_.play()
    refused = round_.errors[VICTIM]
    assert isinstance(refused, AuthenticationError)
    assert refused.culprit == "coordinator"
    assert forgery.rsplit(" ", 1)[0] in str(refused) or forgery in str(refused)
    assert VICTIM not in round_.results
    assert set(round_.results) == set(NAMES) - {VICTIM}, "the others were told the truth"

    without_check(monkeypatch, Participation, "_believed", "C89")
    twin = Conversation(make_config(4, threat_model, threshold=3))
    told(twin, FORGERIES[forgery])
    twin.play()
    assert set(twin.results) == set(NAMES)


def many_sums(round_: Conversation) -> None:
    """Another sum for each participant, and a receipt for each that the coordinator really signs."""

    def told_to(name: ParticipantId, parts: list[pb.AggregatePart]) -> PackedAggregate:
        true = decode_aggregate(parts, round_.config)
        sums = true.sums.copy()
        sums[0] += 300 * NAMES.index(name)
        return PackedAggregate.of(Aggregate(sums, true.survivors), round_.config)

    def packed(name: ParticipantId) -> PackedAggregate:
        aggregate = round_.coordinator.aggregate
        assert aggregate is not None
        return told_to(name, list(PackedAggregate.of(aggregate, round_.config).parts()))

    def tamper(made: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
        if makes(made, REVEAL):
            mine = packed(name)
            return in_bytes([encode_receipt(round_.receipt(mine.survivors, mine.digest))])
        return in_bytes(packed(name).parts()) if makes(made, FETCH_AGGREGATE) else parts

    round_.tamper = tamper


def test_a_coordinator_that_tells_several_results_leaves_proof_of_it() -> None:
    """It cannot be kept from lying about the sum. Each takes its own; any two receipts give it away."""
    round_ = Conversation(make_config(4))
    many_sums(round_)
    round_.play()
    means = set()
    for result in round_.results.values():
        assert result.mean is not None
        means.add(float(result.mean.arrays["values"][0]))
    assert len(means) == 4
    receipts = [Receipt.parse(result.receipt.export()) for result in round_.results.values()]
    trust = deployment().trust
    for i, first in enumerate(receipts):
        for second in receipts[i + 1 :]:
            found = compare_receipts(first, second, trust)
            assert (found.verdict, found.differences) == (Agreement.CONTRADICT, ("sums_digest",))
    assert compare_receipts(receipts[0], receipts[0], trust).verdict is Agreement.AGREE


def true_receipts() -> list[Receipt]:
    round_ = Conversation(make_config(4))
    round_.play()
    return [result.receipt for result in round_.results.values()]


def test_honest_receipts_agree_and_survive_export() -> None:
    receipts = true_receipts()
    for receipt in receipts:
        assert Receipt.parse(receipt.export()) == receipt
        assert compare_receipts(receipts[0], receipt, deployment().trust).verdict is Agreement.AGREE
        assert len(receipt.export()) < 4000


def test_nobody_can_be_framed_by_a_receipt_that_it_did_not_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A participant alters its receipt, or has another certificate sign a second one."""
    true = true_receipts()[0]
    altered = replace(true.statement, sums_digest=bytes(32))
    forged = [
        Receipt(altered, true.signed),
        unsigned(altered),
        signed_by_participant(altered),
        signed(altered, coordinator_of_another_ca()),
    ]
    for receipt in forged:
        with pytest.raises(AuthenticationError):
            compare_receipts(true, receipt, deployment().trust)
    monkeypatch.setattr(Receipt, "verify", lambda *_: verified())
    assert {compare_receipts(true, receipt, deployment().trust).verdict for receipt in forged} == {Agreement.CONTRADICT}


def verified() -> Any:
    return deployment().trust.verify_coordinator(deployment().coordinator.chain, AT)


@pytest.mark.parametrize("field", [f for f in Statement.__slots__ if f != "round_id"])
def test_a_difference_in_anything_but_the_round_is_a_contradiction(field: str) -> None:
    statement = true_receipts()[0].statement
    values: dict[str, Any] = {"task": "other", "survivors": statement.survivors[1:]}
    other = replace(statement, **{field: values.get(field, b"o" * 32)})
    found = compare_receipts(signed(statement), signed(other), deployment().trust)
    assert (found.verdict, found.differences) == (Agreement.CONTRADICT, (field,))
    assert compare_receipts(
        signed(statement), signed(replace(statement, round_id=RoundId(b"o" * 16))), deployment().trust
    ).verdict is (Agreement.UNRELATED)


def test_renewed_certificates_are_of_one_coordinator_and_other_hosts_are_not() -> None:
    """Another coordinator of the deployment must not be able to frame this one."""
    ca = create_authority(name="two coordinators", now=AT)
    authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())

    def coordinator(*hosts: str) -> CoordinatorIdentity:
        made = issue_server(authority, hosts=list(hosts), now=AT)
        return CoordinatorIdentity.from_pem(made.certificate_pem, made.key_pem.expose(), AT)

    trust = TrustAnchors.from_pem(ca.certificate_pem)
    statement = true_receipts()[0].statement
    lie = replace(statement, sums_digest=bytes(32))
    here, renewed, elsewhere = coordinator("a.example", "10.0.0.1"), coordinator("a.example"), coordinator("b.example")
    assert compare_receipts(signed(statement, here), signed(lie, renewed), trust).verdict is Agreement.CONTRADICT
    assert compare_receipts(signed(statement, here), signed(lie, elsewhere), trust).verdict is Agreement.UNRELATED


def test_one_coordinator_is_known_by_its_key_or_by_a_name() -> None:
    keys = [deployment().identities[name]._key.public_key() for name in NAMES[:2]]

    def verified_as(host: str, key: int) -> VerifiedCoordinator:
        return VerifiedCoordinator(frozenset({host}), keys[key])

    assert verified_as("a", 0).is_same_as(verified_as("b", 0)), "the same key under another name"
    assert verified_as("a", 0).is_same_as(verified_as("a", 1)), "a new key under the same name"
    assert not verified_as("a", 0).is_same_as(verified_as("b", 1))


@pytest.mark.parametrize("host", ["*.example.org", "coordinator.example.org", "10.0.0.1", "fd00::1"])
def test_a_coordinators_certificate_may_name_hosts_in_any_way(host: str) -> None:
    ca = create_authority(name="names", now=AT)
    if host.startswith("*"):  # `secagg ca` issues none, other CAs do
        trust = TrustAnchors.from_pem(fixtures.pem(fixtures.der(fixtures.authority("names"))))
        chain: CertificateChain = (fixtures.server_certificate(host, "names"),)
    else:
        trust = TrustAnchors.from_pem(ca.certificate_pem)
        authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
        made = issue_server(authority, hosts=[host], now=AT)
        chain = CoordinatorIdentity.from_pem(made.certificate_pem, made.key_pem.expose(), AT).chain
    assert trust.verify_coordinator(chain, AT).hosts == {host}


def test_a_receipt_outlives_the_certificate_and_none_is_made_after_it() -> None:
    statement = true_receipts()[0].statement
    late = AT + timedelta(days=4000)
    with pytest.raises(AuthenticationError, match="expired"):
        signed(statement).verify(deployment().trust, late)
    dated = Receipt.sign(statement, deployment().coordinator, late.timestamp())
    with pytest.raises(AuthenticationError, match="expired"):
        compare_receipts(dated, dated, deployment().trust)


def test_a_receipt_of_another_time_is_not_of_use() -> None:
    receipt = true_receipts()[0]
    beyond = Receipt(receipt.statement, replace(receipt.signed, signed_ms=(1 << 64) - 1))
    with pytest.raises(SecAggError, match="time is none"):
        compare_receipts(beyond, receipt, deployment().trust)
    assert np.isfinite(receipt.signed.signed_ms)


def files(folder: Path) -> dict[str, Path]:
    """Receipts and the CA, as files."""
    true = true_receipts()
    lie = signed(replace(true[0].statement, sums_digest=bytes(32)))
    content = {
        "ours": true[0].export(),
        "theirs": true[1].export(),
        "lie": lie.export(),
        "forged": unsigned(lie.statement).export(),
        "later": signed(replace(true[0].statement, round_id=RoundId(b"o" * 16))).export(),
        "none": b"{}",
        "ca": deployment().trust.pem,
        "foreign": create_authority(name="foreign", now=AT).certificate_pem,
    }
    paths = {name: folder / name for name in content}
    for name, data in content.items():
        paths[name].write_bytes(data)
    return paths | {"missing": folder / "missing"}


@pytest.mark.parametrize(
    ("given", "code", "says", "verdict"),
    [
        ("ours theirs ca", 0, "they agree: 4 updates in the sum", "agree"),
        ("ours lie ca", 1, "contradict each other in sums_digest: the coordinator signed two", "contradict"),
        ("lie ours ca", 1, "contradict each other", "contradict"),
        ("ours later ca", 2, "of different rounds, or of different coordinators", "unrelated"),
        ("ours forged ca", 2, "did not sign the receipt", "invalid"),
        ("ours lie foreign", 2, "issued by a foreign CA", "invalid"),
        ("ours none ca", 2, "none: not an exported receipt", "invalid"),
        ("missing ours ca", 2, "missing: No such file", "invalid"),
        ("ours theirs missing", 2, "missing", "invalid"),
    ],
)
def test_comparing_from_the_command_line(given: str, code: int, says: str, verdict: str, tmp_path: Path) -> None:
    made = files(tmp_path)
    first, second, ca = (str(made[name]) for name in given.split())
    command = ["round", "compare", first, second, "--ca", ca]
    told = CliRunner().invoke(build(command), command)
    assert (told.exit_code, says in told.output) == (code, True), told.output
    told = CliRunner().invoke(build(command), [*command, "--json"])
    assert (told.exit_code, json.loads(told.output)["verdict"]) == (code, verdict)


def with_field(name: str, value: Any) -> bytes:
    return json.dumps({**json.loads(signed_example().export()), name: value}).encode()


@cache
def signed_example() -> Receipt:
    return true_receipts()[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b"{" + b" " * (2 << 20),
        *(
            with_field(name, value)
            for name, values in {
                "kind": ("other",),
                "version": (2, "1"),
                "round_id": ("00", "zz" * 16, None, 5, []),
                "context": ("00" * 31, None),
                "model_digest": ("00" * 33,),
                "roster_digest": ("",),
                "sums_digest": (["00" * 32],),
                "task": ("", "x" * 129, None, "a\u0007b", "\ud800"),
                "survivors": ([], ["b", "a"], ["a", "a"], ["a b"], "abc", [1], ["a"] * 20_000, None),
                "chain": ("AAAA", [5], ["?"], None),
                "signature": (None, 5, "?"),
                "signed_ms": (-1, 1 << 64, 1.5, True, None, "1"),
            }.items()
            for value in values
        ),
    ],
)
def test_a_file_that_is_no_receipt_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Receipt.parse(data)
