"""Vectors of the hybrid suite: what one of a pair gives to the other, and the mask of both."""

from collections.abc import Iterator
from typing import Final

from secagg.config import Suite
from secagg.crypto import labels, sealing
from secagg.crypto.kdf import derive
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest, frame
from secagg.crypto.xwing import HybridKeyPair
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document
from secagg.tools.conformance.fixtures import ALICE, BOB, CONTEXT
from secagg.tools.conformance.primitives.derivations import ROUND_ID
from secagg.tools.conformance.replay import encapsulations

PAIR_SECRETS: Final = "pair-secrets"
SUITE: Final = Suite.XWING_SHA256_AES256.name.encode()


def privates() -> dict[str, dict[str, bytes]]:
    """The seeds of the key pairs of two participants."""
    return {
        name: {purpose: fixtures.seed(f"{purpose} seed of {name}") for purpose in encapsulations.PURPOSES}
        for name in (ALICE, BOB)
    }


def _gifts() -> Iterator[Document]:
    for giver, receiver in ((ALICE, BOB), (BOB, ALICE)):
        own, peer = (HybridKeyPair.from_private(Secret(privates()[name]["mask"])) for name in (giver, receiver))
        stated = encapsulations.recorded(PAIR_SECRETS, giver)["mask"][receiver]
        ends = (CONTEXT, giver.encode(), receiver.encode())
        secret = derive(own.private, salt=ROUND_ID, info=frame(labels.PAIR_SECRET, SUITE, *ends), size=32)
        agreed = own.agree(peer.public, peer=receiver)
        info = frame(labels.PAIR_SECRET_SEALING, SUITE, *ends)
        key = derive(Secret(bytes.fromhex(stated["secret"]) + agreed.expose()), salt=ROUND_ID, info=info, size=32)
        associated_data = frame(labels.SHARE_ASSOCIATED_DATA, *ends)
        sealed = sealing.seal(key, secret.expose(), associated_data)
        yield {
            "giver": giver,
            "receiver": receiver,
            "giver_mask_private_key": own.private.expose(),
            "receiver_mask_private_key": peer.private.expose(),
            "receiver_mask_public_key": peer.public,
            "pair_secret": secret.expose(),
            "encapsulation": stated,
            "shared_secret": agreed.expose(),
            "info": info,
            "key": key.expose(),
            "associated_data": associated_data,
            "pair_seal": bytes.fromhex(stated["ciphertext"]) + sealed,
            "digest": digest(labels.PAIR_SECRET_DIGEST, *ends, secret.expose()),
        }


def _pair_secrets() -> Document:
    gifts = list(_gifts())
    info = frame(labels.PAIRWISE_MASK, SUITE, CONTEXT, ALICE.encode(), BOB.encode())
    both = Secret(b"".join(gift["pair_secret"] for gift in gifts))
    return {
        "round_id": ROUND_ID,
        "context": CONTEXT,
        "suite": SUITE.decode(),
        "gifts": gifts,
        "mask": {"info": info, "key": derive(both, salt=ROUND_ID, info=info, size=32).expose()},
    }


VECTORS: Contents = {
    PAIR_SECRETS: ("What two participants give each other, and their mask", "Pair secrets", _pair_secrets)
}
