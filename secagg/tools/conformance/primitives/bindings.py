"""Vectors of what ties an encrypted input to its round."""

import hashlib
from collections.abc import Iterator
from itertools import product

from secagg.crypto import labels
from secagg.crypto.transcript import frame
from secagg.homomorphic import transcripts
from secagg.lattice.parameters import Custody, Scheme
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document
from secagg.tools.conformance.fixtures import ALICE, CONTEXT
from secagg.tools.conformance.primitives.lattice import profile_fields, small_profile

PAYLOAD = b"packed residues stand here"


def _bindings() -> Iterator[Document]:
    hashed, key = hashlib.sha256(PAYLOAD).digest(), fixtures.seed("key digest")
    for scheme, custody in product(Scheme, Custody):
        profile = small_profile(scheme, custody)
        seed = fixtures.seed("seed")[:16] if custody is Custody.PARTICIPANTS else b""
        primes = (profile.ring_degree, *profile.key_primes, profile.plain_modulus)
        numbers = (*primes, profile.scale, profile.values_per_slot)
        shape = b"".join(n.to_bytes(16, "big") for n in numbers)
        binding = transcripts.input_binding(CONTEXT, ALICE, profile, key, seed)
        yield {
            "profile": profile_fields(profile),
            "key_digest": key,
            "seed": seed,
            "numbers": [str(n) for n in numbers],
            "input_frame": frame(labels.ENCRYPTED_INPUT_BINDING, CONTEXT, ALICE.encode(), shape, key, seed),
            "input_binding": binding,
            "chunks": [
                {
                    "number": i,
                    "frame": frame(labels.ENCRYPTED_CHUNK_BINDING, binding, i.to_bytes(4, "big"), hashed),
                    "binding": transcripts.chunk_binding(binding, i, PAYLOAD),
                }
                for i in (0, 258)
            ],
        }


# fmt: off
VECTORS: Contents = {
    "encrypted-bindings": (
        "What ties an encrypted chunk to its round, sender, profile, key, seed and place", "Encrypted inputs",
        lambda: {"context": CONTEXT, "participant_id": ALICE, "payload": PAYLOAD, "cases": _bindings()}),
}
# fmt: on
