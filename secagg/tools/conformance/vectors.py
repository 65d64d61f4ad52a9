"""Reads the vectors and refuses a file that is not one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from secagg.errors import DecodeError, LocalError
from secagg.tools.conformance.document import FORMAT, Document, loads

DIRECTORY: Final = Path(__file__).parents[3] / "proto" / "vectors"
"""In a checkout; see `directory`."""

_Fields = dict[str, type[object]]


def _texts(names: str) -> _Fields:
    return dict.fromkeys(names.split(), str)


def _lists(names: str) -> _Fields:
    return dict.fromkeys(names.split(), list)


_HEAD: Final[_Fields] = {"format": int, "kind": str, "title": str, "section": str, "provenance": str}
_CASES: Final[_Fields] = {"cases": list}
_FAILS: Final[_Fields] = {"check": str, "change": str}

KINDS: Final[Mapping[str, _Fields]] = {
    "x25519": {"multiplications": list, "iterated": list, "agreement": dict},
    "hkdf": {"derivations": list},
    "aes-ctr": {"encryptions": list},
    "aes-gcm": {"encryptions": list},
    "aegis-128x4": {"encryptions": list},
    "x-wing": {"encapsulations": list},
    "encapsulations": {"vectors": dict},
    "pair-secrets": {"round_id": str, "context": str, "suite": str, "gifts": list, "mask": dict},
    "ecdsa": {"private_scalar": str, "public_x": str, "public_y": str, "signatures": list},
    "framing": _CASES,
    "model-digest": _CASES,
    "context": {"round_id": str, "config": str, "model_digest": str, "frame": str, "context": str},
    "input-context": {"context": str, "model_digest": str, "frame": str, "input_context": str},
    "roster-digest": {"members": list, "frame": str, "digest": str},
    "sparse-roster": {"members": list, "frame": str, "digest": str},
    "sparse-graph": _CASES,
    "sparse-parameters": _CASES,
    "signed-bytes": {"context": str, "members": list, "advertise_keys": dict, "consistency_check": dict},
    "endings": {"round": str, "signed_ms": int, "coordinator": dict, "receipt": dict, "result": dict},
    "commitment": {"self_mask_seed": str, "frame": str, "commitment": str},
    "dealing": {
        "context": str,
        "roster_digest": str,
        "sender": str,
        "public_key": str,
        "entries": list,
        "signed": str,
        "signature": str,
        "refused_by": str,
        "cases": list,
    },
    "sealing": {"round_id": str, "context": str, "suite": str, "directions": list},
    "mask-keys": {"round_id": str, "context": str, "suite": str, "pairwise": dict, "self_mask": dict},
    "mask-stream": _CASES | {"suite": str, "key": str},
    "secret-sharing": _CASES | {"prime": str, "not_a_share": list},
    "share-correction": _CASES | {"threshold": int, "secret_sha256": str},
    "encoding": _CASES,
    "decoding": _CASES | {"check": str, "refused": list},
    "ranges": _CASES,
    "integers": _CASES | {"config": str, "summands": int, "largest": list, "refused": list, "check": str},
    "packing": _CASES | {"check": str, "refused": list},
    "chunks": _CASES,
    "configuration": _CASES,
    "bounds": _CASES,
    "policies": _CASES,
    "certificate-chains": _CASES | {"ca": str, "at_ms": int},
    "groups": _CASES
    | {"model_digest": str, "parent": str, "opened": str, "combinations": list, "digests": dict, "sums_digest": str},
    "pipeline-text": _CASES | {"refused": list},
    "clipping": _CASES,
    "sampling": _CASES | {"context": str, "key": str},
    "rotation": _CASES | {"context": str, "key": str, "values": str},
    "pipeline-encoding": _CASES | {"context": str, "arrays": list},
    "noise-calibration": _CASES | {"refused": list},
    "noise-table": _CASES,
    "noisy-encoding": _CASES | {"context": str, "arrays": list, "max_participants": int, "threshold": int},
    "privacy-ledger": _texts("task")
    | {"epsilon": float, "delta": float, "rounds": dict}
    | _lists("entries charges plans_refused refused"),
    "audit-log": _texts("ca coordinator") | {"head": dict} | _lists("entries refused"),
    "round": _texts("config round_id model_digest")
    | {"participants": dict, "messages": dict, "steps": list, "intermediates": dict, "outcome": dict},
    "differencing": _CASES,
    "ring-primes": _CASES,
    "ring-transform": _CASES | {"key": str},
    "residue-packing": _CASES | {"key": str, "refused": dict},
    "residue-stream": _CASES | {"seed": str, "context": str, "participant_id": str, "redraws": list},
    "small-polynomials": _CASES | {"context": str},
    "profiles": _CASES | {"none_for": list},
    "slots": _CASES | {"sparse": list},
    "seeded-encryption": _CASES | {"context": str, "participant_id": str},
    "key-shares": _CASES | {"context": str},
    "partial-decryption": _CASES | {"context": str, "flood_seed": str},
    "sum-decoding": _CASES | {"hidden": list},
    "encrypted-bindings": _CASES | {"context": str, "participant_id": str, "payload": str},
    "homomorphic-signed-bytes": {"context": str, "members": list, "roster_digest": str, "signatures": dict},
    "recorded": {"round": str, "context": str, "prime_bits": int, "ciphertexts": dict},
    "failure": _FAILS | {"round": str, "after": int, "messages": dict, "steps": list},
    "variation": {"change": str, "round": str, "after": int, "messages": dict, "steps": list},
    "offer": _FAILS | {"config": str, "model_digest": str, "policy": dict, "expect": dict},
    "ending": _FAILS | {"round": str, "participant_id": str, "receipt": str, "expect": dict},
    "aggregate": _FAILS | {"round": str, "parts": list, "expect": dict},
}
"""What a vector of each kind must have beside the head."""


def directory() -> Path:
    """The folder of the vectors. The wheel holds none: they belong to the specification, beside which they stand.

    Raises:
        LocalError: this is no checkout.
    """
    if not DIRECTORY.is_dir():
        raise LocalError(
            f"there are no vectors in {DIRECTORY}: an installed secagg comes without them. They stand in the folder "
            "proto/vectors of the source; get a checkout and run this from there"
        )
    return DIRECTORY


def names() -> list[str]:
    """Every vector, without the ending.

    Raises:
        LocalError: there are none here.
    """
    return sorted(path.stem for path in directory().glob("*.json"))


def load(name: str) -> Document:
    """One vector.

    Raises:
        LocalError: it is not here.
        DecodeError: the file is no vector that this version can read.
    """
    path = directory() / f"{name}.json"
    if not path.is_file():
        raise LocalError(f"there is no vector {name} in {DIRECTORY}")
    return check(loads(path.read_text()), name)


def load_kind(kind: str) -> Iterator[tuple[str, Document]]:
    """Names and vectors of one kind."""
    for name in names():
        vector = load(name)
        if vector["kind"] == kind:
            yield name, vector


def check(vector: Any, name: str) -> Document:
    """`vector` if it has what its kind needs.

    Raises:
        DecodeError: it has not.
    """
    if not isinstance(vector, dict):
        raise DecodeError(f"vector {name}: not an object")
    _require(vector, _HEAD, name)
    if vector["format"] != FORMAT:
        raise DecodeError(f"vector {name}: format {vector['format']}, this version reads {FORMAT}")
    if vector["kind"] not in KINDS:
        raise DecodeError(f"vector {name}: unknown kind {vector['kind']!r}")
    _require(vector, KINDS[vector["kind"]], name)
    return vector


def _require(vector: Document, fields: _Fields, name: str) -> None:
    for key, kind in fields.items():
        if not isinstance(vector.get(key), kind):
            raise DecodeError(f"vector {name}: {key} is missing or no {kind.__name__}")
