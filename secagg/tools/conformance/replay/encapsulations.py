"""Encapsulations of the vectors. Libraries draw the randomness of ML-KEM themselves, so they were made once, and were
recorded (`secagg.tools.conformance.record_hybrid`): a vector states ciphertext and secret in place of random bytes.
"""

from collections.abc import Mapping
from typing import Final

from secagg.crypto import xwing
from secagg.crypto.secret import Secret
from secagg.crypto.xwing import Encapsulate, HybridKeyPair
from secagg.errors import LocalError
from secagg.tools.conformance import vectors
from secagg.tools.conformance.document import Document

FILE: Final = "recorded-encapsulations"
"""The name of the recorded ones."""

KIND: Final = "encapsulations"
"""The kind of that vector."""

PURPOSES: Final = ("channel", "mask")
"""Which key of the receiver a sender encapsulates to."""

Privates = Mapping[str, Mapping[str, bytes]]
"""The seeds of the key pairs, by participant and purpose."""


def privates_of(participants: Mapping[str, Document]) -> dict[str, dict[str, bytes]]:
    """The seeds that a round of the vectors states."""
    return {
        name: {purpose: bytes.fromhex(mine["random"][f"{purpose}_private_key"]) for purpose in PURPOSES}
        for name, mine in participants.items()
    }


def made_by(sender: str, privates: Privates) -> Document:
    """Fresh ones to everybody else, by purpose and receiver."""
    others = [name for name in sorted(privates) if name != sender]
    return {purpose: {name: _made(privates[name][purpose]) for name in others} for purpose in PURPOSES}


def _made(private: bytes) -> Document:
    secret, ciphertext = xwing.encapsulate(HybridKeyPair.from_private(Secret(private)).public)
    return {"ciphertext": ciphertext.hex(), "secret": secret.expose().hex()}


def recorded(of: str, sender: str) -> Document:
    """What was recorded for a vector and a sender.

    Raises:
        LocalError: nothing was.
    """
    known = vectors.read(FILE)["vectors"].get(of, {}).get(sender)
    if known is None:
        raise LocalError(
            f"nothing was recorded for {sender} of {of}; run python -m secagg.tools.conformance.record_hybrid"
        )
    found: Document = known
    return found


def by_public_key(of: str, sender: str, privates: Privates) -> dict[str, Document]:
    """What was recorded for a vector and a sender, by the public key of the receiver, in hex."""
    stated = recorded(of, sender)
    return {
        HybridKeyPair.from_private(Secret(privates[name][purpose])).public.hex(): one
        for purpose, by_receiver in stated.items()
        for name, one in by_receiver.items()
    }


def replaying(known: Mapping[str, Document]) -> Encapsulate:
    """Gives what is known of each public key. A key that no participant has is encapsulated to anew."""

    def encapsulate(public: bytes) -> tuple[Secret, bytes]:
        one = known.get(public.hex())
        if one is None:
            return xwing.encapsulate(public)
        return Secret(bytes.fromhex(one["secret"])), bytes.fromhex(one["ciphertext"])

    return encapsulate
