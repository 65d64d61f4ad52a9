"""Vectors of a coordinator's audit log: its lines and checkpoints, and logs that were tampered with."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from secagg.audit import checkpoints, entries
from secagg.audit.entries import BEGINNING
from secagg.crypto.identity import CoordinatorIdentity
from secagg.privacy.ledger import Head
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document

_CA: Final = "audited deployment"
_HOST: Final = "coordinator.audited"
_ROUND: Final = fixtures.seed("audited round")[:16].hex()
_JOINED: Final = {"participant": "anna", "organisation": "north", "fingerprint": "ab" * 32, "again": False}
_OF_ROUND: Final = {"round": _ROUND, "step": 1}
_STEPS: Final[tuple[tuple[str, Mapping[str, Any]], ...]] = (
    ("log_began", {}),
    ("checkpoint", {}),
    ("joined", _JOINED | _OF_ROUND),
    ("abort_asked", {"reason": "CANCELLED", "detail": 'enough: "ε" \\ 🙂', "round": _ROUND, "step": 2}),
    ("checkpoint", {}),
    ("coordinator_stopped", {"open_rounds": []}),
    ("checkpoint", {}),
    ("log_began", {}),
)
"""Kinds with facts. The last is not signed."""

_SIGNED: Final = 7

Change = Callable[[int, dict[str, Any]], Mapping[str, Any]]


def _identity(host: str = _HOST, ca: str = _CA, signs: str = "") -> CoordinatorIdentity:
    """A coordinator's certificate, and its key or that of `signs`."""
    return CoordinatorIdentity((fixtures.server_certificate(host, ca),), fixtures.signing_key(signs or host))


def _lines(
    change: Change = lambda _, facts: facts, signer: Callable[[int], CoordinatorIdentity] = lambda _: _identity()
) -> list[tuple[bytes, Head]]:
    """The log, with its heads. `change` makes other facts of those of an entry; `signer` signs a checkpoint."""
    made: list[tuple[bytes, Head]] = []
    for number, (kind, facts) in enumerate(_STEPS, start=1):
        after, at_ms = made[-1][1] if made else BEGINNING, (fixtures.NOW_S + number) * 1000
        if kind == checkpoints.KIND:
            made.append(checkpoints.write(at_ms, after, signer(number)))
        else:
            made.append(entries.write(kind, at_ms, change(number, dict(facts)), after))
    return made


def _log() -> Document:
    made = _lines()
    unsigned = [_unsigned(line) if b'"checkpoint"' in line else None for line, _ in made]
    return {
        "ca": fixtures.der(fixtures.authority(_CA)),
        "coordinator": _HOST,
        "entries": [
            {
                "line": line.decode(),
                "digest": head.digest,
                **({} if signed is None else {"signed": checkpoints.to_sign(signed)}),
            }
            for (line, head), signed in zip(made, unsigned, strict=True)
        ],
        "head": _head(made[_SIGNED - 1][1]),
        "refused": list(_refused([line.decode() for line, _ in made], [head for _, head in made])),
    }


def _unsigned(line: bytes) -> bytes:
    body = json.loads(line)
    del body["signature"]
    return entries.as_line(body)


def _head(head: Head) -> dict[str, Any]:
    return {"entries": head.entries, "digest": head.digest}


def _refused(lines: list[str], heads: list[Head]) -> Iterator[dict[str, Any]]:
    whole: list[int | str] = [*range(1, len(lines) + 1)]
    head = heads[_SIGNED - 1]

    def case(change: str, kept: list[int | str], at: Head = head, **more: Any) -> dict[str, Any]:
        return {"change": change, "lines": kept, "head": _head(at), **more}

    def instead(number: int, text: str) -> list[int | str]:
        return [*whole[: number - 1], text, *whole[number:]]

    yield case("a byte of an entry was changed", instead(3, lines[2].replace("anna", "emma")))
    yield case("a byte of a signature was changed", instead(7, _other_signature(lines[6])))
    yield case("an entry is missing", [*whole[:2], *whole[3:]])
    yield case("the first entry is missing", whole[1:])
    yield case("two entries changed places", [1, 2, 4, 3, *whole[4:]])
    yield case("an entry stands there twice", [1, 2, 3, 3, *whole[3:]])
    yield case("the log was cut off before its last checkpoint", whole[:6])
    yield case("it was cut off with its head", whole[:5], heads[4], seen=_head(head))
    yield case("the head names no checkpoint", whole, heads[5])
    yield case("an entry is written with a space", instead(8, lines[7].replace('"kind":', '"kind": ')))
    yield case("an entry holds a float", instead(8, lines[7].replace('"kind":', '"float":1.5,"kind":')))
    yield from (case(change, kept, at) for change, kept, at in _rewritten())


def _other_signature(line: str) -> str:
    body = json.loads(line)
    first = body["signature"][10]
    body["signature"] = body["signature"][:10] + ("A" if first != "A" else "B") + body["signature"][11:]
    return entries.as_line(body).decode()


def _rewritten() -> Iterator[tuple[str, list[int | str], Head]]:
    """Logs whose chain was made anew."""

    def made(change: str, written: list[tuple[bytes, Head]]) -> tuple[str, list[int | str], Head]:
        return change, [line.decode() for line, _ in written], written[_SIGNED - 1][1]

    def renamed(number: int, facts: dict[str, Any]) -> Mapping[str, Any]:
        return facts | {"participant": "emma"} if number == 3 else facts

    stranger = _identity(signs="somebody else")
    yield made("the chain was made anew by somebody without the key", _lines(renamed, lambda _: stranger))
    foreign = _identity(ca="another deployment")
    yield made("the chain was made anew by a coordinator of another CA", _lines(renamed, lambda _: foreign))
    other = _identity(host="coordinator.elsewhere")
    yield made(
        "another coordinator of the CA signed a checkpoint", _lines(signer=lambda n: other if n == 5 else _identity())
    )
    yield made("another coordinator of the CA wrote the log", _lines(signer=lambda _: other))


VECTORS: Contents = {"audit-log": ("An audit log, and logs that were tampered with", "Audit log", _log)}
