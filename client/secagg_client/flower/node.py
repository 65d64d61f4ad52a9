"""What a node brings to its rounds: files of its own, which `node_config` names, and the policy of its app.

flower-supernode … --node-config 'secagg-certificate="…" secagg-key="…" secagg-ca="…" secagg-marks="…"'
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from secagg.config import ThreatModel
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.errors import IdentityError, SavedStateError
from secagg.policy import Policy
from secagg.programs.state_keys import FolderStateKeys
from secagg_client.carried.terms import CarriedTerms
from secagg_client.flower import notes
from secagg_client.participation.terms import load
from secagg_client.released_sums.memory import Memory

CERTIFICATE: Final = "secagg-certificate"
KEY: Final = "secagg-key"
CA: Final = "secagg-ca"
MARKS: Final = "secagg-marks"
SUMS: Final = "released-sums"
"""File in the folder for marks: sums that may hold an update of this node."""

KEYS: Final = "state-keys"
"""Folder in the folder for marks: the keys of what Flower keeps of this node's rounds between two messages."""

PARTITION: Final = "partition-id"
"""What Flower's simulation calls the number of a node."""

_FILES: Final = (CERTIFICATE, KEY, CA)

WITHOUT_IDENTITY: Final = (
    "SecAggMod: node_config names no certificate, so this node is in semi-honest rounds: nobody sees its update "
    "while the server follows the protocol. One that does not could play all other nodes itself and learn the update. "
    f"To rule that out, name {CERTIFICATE}, {KEY}, {CA} and {MARKS} there"
)
WITHOUT_MARKS: Final = (
    f"SecAggMod: node_config names a certificate and no {MARKS}, a folder of this node's own where it marks what it "
    "answered. Without it a crash could make it answer twice, so it takes no part in rounds against an active server"
)
SHIPPED: Final = (
    "SecAggMod: the server ships this app's code, the mod included, unless the SuperNode was started with "
    "--trusted-entities or runs an app that is installed here. Against an active server it protects only then"
)


@dataclass(frozen=True, slots=True)
class Node:
    """One node.

    Attributes:
        terms: for its rounds.
        remarks: what its operator should know, one sentence or more each.
        refuses: the note for the server, where its policy refuses a round.
    """

    terms: CarriedTerms
    remarks: tuple[str, ...]
    refuses: str


def node_of(node_id: int, config: Any, policy: Policy | None) -> Node:
    """The node that a context describes.

    Args:
        node_id: Flower's.
        config: its `node_config`.
        policy: of its app. None demands an active model of a node with certificate and marks, and allows both of
            others, which cannot take part in the active one.

    Raises:
        IdentityError: a file is missing or unreadable, or only some of the three are named.
        SavedStateError: the folder for marks cannot be made or read, or others can read what is in it.
    """
    identity, trust = identity_of(config)
    marks = config.get(MARKS)
    if policy is None:
        policy = Policy() if identity and marks else Policy(threat_models=frozenset(ThreatModel))
    remarks = [SHIPPED] if identity and marks else [WITHOUT_MARKS] if identity else [WITHOUT_IDENTITY]
    if not (identity and marks):  # states of such a round would be refused later; so it is not even joined
        policy = replace(policy, threat_models=policy.threat_models - {ThreatModel.ACTIVE})
    if marks:
        _make(Path(str(marks)))
    terms = CarriedTerms(
        name=str(node_id),
        clock=time.time,
        policy=policy,
        identity=identity,
        trust=trust,
        keys=FolderStateKeys(Path(str(marks)) / KEYS) if marks else None,
        memory=Memory(Path(str(marks)) / SUMS if marks else None),
    )
    refuses = notes.POLICY if identity and marks else notes.MARKS if identity else notes.NO_IDENTITY
    return Node(terms, tuple(remarks), refuses)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SavedStateError(
            f"the folder {folder} for marks cannot be made: {error.strerror or error}; name another one as {MARKS}"
        ) from error


def with_identity(config: Any, identities: Path | None) -> Mapping[str, Any]:
    """`config` with the files of a simulated node in it, where a folder of them is given."""
    if identities is None:
        return dict(config)
    folder = identities / str(config[PARTITION])
    return {
        **config,
        CERTIFICATE: str(folder / "cert.pem"),
        KEY: str(folder / "key.pem"),
        CA: str(folder / "ca.pem"),
    }


def identity_of(config: Mapping[str, Any]) -> tuple[Identity | None, TrustAnchors | None]:
    """Who a node is, and the CA; None twice if its configuration names no files.

    Raises:
        IdentityError: a file is missing or unreadable, or only some of the three are named.
    """
    given = [name for name in _FILES if config.get(name)]
    if not given:
        return None, None
    if missing := [name for name in _FILES if name not in given]:
        raise IdentityError(f"node_config names {', '.join(given)} and lacks {', '.join(missing)}")
    certificate, key, ca = (Path(str(config[name])) for name in _FILES)
    return load(certificate, key, ca)
