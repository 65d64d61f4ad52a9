"""The requests of the runner, made from a round as vectors state it."""

from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.replay import encapsulations


def join(
    round_: Document,
    name: str,
    *,
    replayed: bool,
    terms: Document | None = None,
) -> Document:
    """Asks the program to take part in a round, as one of its participants.

    Args:
        round_: a vector of kind `round`, or a document with its inputs.
        name: of the participant.
        replayed: whether the program is given its random values.
        terms: has the participant's `policy`, and the `released` sums of the same model that it remembers. Without
            them its policy is the most permissive, and there was no sum. Its `folder` is for the keys of saved states.
            Its `issuers` stand between its certificate and the CA.
    """
    terms = terms or {}
    mine = round_["participants"][name]
    request = {
        "do": "join",
        "round_id": round_["round_id"],
        "config": round_["config"],
        "participant_id": name,
        "model_digest": round_["model_digest"],
        "purpose": "train",
        "policy": terms.get("policy", {}),
        "released": numbered(terms.get("released", [])),
        "update": mine["update"],
        "weight": mine["weight"],
        "rounding_seed": mine["rounding_seed"],
        "now_ms": fixtures.NOW_S * 1000,
    }
    if "folder" in terms:
        request["folder"] = terms["folder"]
    if replayed:
        request["random"] = mine["random"]
        if "encapsulations" in mine:
            privates = encapsulations.privates_of(round_["participants"])
            request["encapsulations"] = encapsulations.by_public_key(mine["encapsulations"], name, privates)
    if "identity" in mine:
        request["identity"] = {
            "certificates": [mine["identity"]["certificate"], *terms.get("issuers", [])],
            "private_scalar": mine["identity"]["private_scalar_test_only"],
            "ca": round_["authority"]["certificate"],
        }
    return request


def numbered(released: list[Document]) -> list[Document]:
    """Earlier sums, each with the id of a round: the one that it has, or one that nobody else has."""
    return [{"round_id": number.to_bytes(16).hex()} | told for number, told in enumerate(released)]


def restore(joined: Document, state: str) -> Document:
    """Hands the state that a program saved to another process of it, with what that one was asked to join with."""
    return joined | {"do": "restore", "state": state}


def receive(message: Document, now_ms: int) -> Document:
    """Hands the program a message that closes a phase."""
    return {"do": "receive", "type": message["type"], "parts": message["parts"], "now_ms": now_ms}


def believe_receipt(receipt: str, proof: list[str] | None, now_ms: int) -> Document:
    """Hands the program the receipt, and the certification's parts where there is one."""
    return {"do": "receipt", "receipt": receipt, "now_ms": now_ms} | ({} if proof is None else {"proof": proof})


def certify() -> Document:
    """Asks the program for its signature of the result whose receipt it believed last."""
    return {"do": "certify"}


def believe_aggregate(parts: list[str]) -> Document:
    """Hands the program the parts of the aggregate."""
    return {"do": "aggregate", "parts": parts}
