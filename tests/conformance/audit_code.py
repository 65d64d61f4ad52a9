"""The reader that holds the audit log's vector to the real code."""

from collections.abc import Callable
from typing import Any

from cryptography import x509

from secagg.audit import checkpoints, entries
from secagg.audit.entries import BEGINNING
from secagg.crypto.identity import TrustAnchors
from secagg.privacy.ledger import Head
from secagg.programs.audit.reading import Line
from secagg.programs.audit.verifying import Verdict, Walk

Vector = dict[str, Any]
unhex = bytes.fromhex


def audit_log(vector: Vector) -> None:
    last = BEGINNING
    for number, told in enumerate(vector["entries"], start=1):
        entry = entries.read(told["line"].encode())
        assert (entry.number, entry.previous) == (number, last.digest)
        last = entry.head
        assert last.digest.hex() == told["digest"]
        if "signed" in told:
            body = entry.body
            del body["signature"]
            assert checkpoints.to_sign(entries.as_line(body)).hex() == told["signed"]
    assert _verdict(vector, {"lines": range(1, len(vector["entries"]) + 1), "head": vector["head"]}).whole
    for case in vector["refused"]:
        assert not _verdict(vector, case).whole, case["change"]


def _verdict(vector: Vector, case: Vector) -> Verdict:
    trust = TrustAnchors([x509.load_der_x509_certificate(unhex(vector["ca"]))])
    walk = Walk(trust, coordinator=vector["coordinator"])
    for head in (case["head"], *([case["seen"]] if "seen" in case else [])):
        walk.expect(_head(head))
    for text in case["lines"]:
        line = vector["entries"][text - 1]["line"] if isinstance(text, int) else text
        walk.take(Line(line.encode(), "", None, True))
    walk.check_head(_head(case["head"]))
    return walk.verdict()


def _head(stated: Vector) -> Head:
    return Head(stated["entries"], unhex(stated["digest"]))


READERS: dict[str, Callable[[Vector], None]] = {"audit-log": audit_log}
