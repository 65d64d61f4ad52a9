"""The audit log of proto/PROTOCOL.md, section 23, a second time: from its text alone, with nothing of secagg."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conformance import reference as ref

Vector = dict[str, Any]
unhex = bytes.fromhex


class Tampered(Exception):
    """A log that cannot be relied on."""


def need(condition: bool) -> None:
    if not condition:
        raise Tampered


def audit_log(vector: Vector) -> None:
    for told in vector["entries"]:
        assert ref.digest(b"secagg/v1/audit-entry", told["line"].encode()).hex() == told["digest"]
        if "signed" in told:
            assert signed(json.loads(told["line"])).hex() == told["signed"]
    whole = [*range(1, len(vector["entries"]) + 1)]
    verify(vector, {"lines": whole, "head": vector["head"]})
    for case in vector["refused"]:
        with pytest.raises(Tampered):
            verify(vector, case)


def verify(vector: Vector, case: Vector) -> None:
    ca = x509.load_der_x509_certificate(unhex(vector["ca"]))
    previous, digests, checkpoints = "0" * 64, list[str](), set[int]()
    for text in case["lines"]:
        line = vector["entries"][text - 1]["line"] if isinstance(text, int) else text
        body = parsed(line)
        need((body["version"], body["number"], body["previous"]) == (1, len(digests) + 1, previous))
        previous = ref.digest(b"secagg/v1/audit-entry", line.encode()).hex()
        digests.append(previous)
        if body["kind"] == "checkpoint":
            check_signature(body, ca, vector["coordinator"])
            checkpoints.add(body["number"])
    for head in (case["head"], *([case["seen"]] if "seen" in case else [])):
        need(head["entries"] <= len(digests) and digests[head["entries"] - 1] == head["digest"])
    need(case["head"]["entries"] in checkpoints)


def parsed(line: str) -> Vector:
    def refuse(number: str) -> float:
        raise Tampered(number)

    body: Vector = json.loads(line, parse_float=refuse, parse_constant=refuse)
    need(json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True) == line)
    return body


def signed(body: Vector) -> bytes:
    rest = {name: value for name, value in body.items() if name != "signature"}
    return ref.frame(
        b"secagg/v1/audit-checkpoint-signature", json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()
    )


def check_signature(body: Vector, ca: x509.Certificate, host: str) -> None:
    """Of chains of one certificate."""
    [der] = [b64decode(text, validate=True) for text in body["certificates"]]
    leaf, at = x509.load_der_x509_certificate(der), datetime.fromtimestamp(body["at"] / 1000, UTC)
    need(leaf.not_valid_before_utc <= at <= leaf.not_valid_after_utc)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    need(host in names.get_values_for_type(x509.DNSName))
    signature = b64decode(body["signature"], validate=True)
    need(b64encode(signature).decode() == body["signature"])
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        leaf.verify_directly_issued_by(ca)
        key.verify(signature, signed(body), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        raise Tampered from None


READERS: dict[str, Callable[[Vector], None]] = {"audit-log": audit_log}
