"""What must be refused in a round of the hybrid suite beside all that is refused elsewhere: checks C111 and C112 of
proto/PROTOCOL.md.
"""

from secagg.rounds import dealing
from secagg.tools.conformance.failures.changes import Edit, entry, put
from secagg.tools.conformance.failures.script import HYBRID, ME, PEER, Script, Table, dropped_out, failed, refused
from secagg.tools.conformance.failures.stages import onwards, shown

BY_PEER = refused("AuthenticationError", PEER)
KIND = dealing.HYBRID_MASKED


def _flipped(at: int) -> Edit:
    def edit(data: bytes, _: Script) -> bytes:
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return edit


X25519_PART = KIND.seal_size - 83
"""In the first seal: the last byte of the ciphertext of the encapsulation."""

PAIR_SEAL, PAIR_DIGEST = KIND.seals_size - 1, KIND.size - 1

# fmt: off
PARTICIPANT: Table = {HYBRID: [
    ("encapsulation-altered", "C18", "An encapsulation that was changed on its way",
     f"a bit of the ciphertext before the seal of {PEER} is flipped",
     shown("share-delivery", put(sealed=entry(PEER, _flipped(0)))), BY_PEER),
    ("encapsulation-altered-x25519", "C18", "The other half of an encapsulation was changed on its way",
     f"a bit of the X25519 half of the ciphertext before the seal of {PEER} is flipped",
     shown("share-delivery", put(sealed=entry(PEER, _flipped(X25519_PART)))), BY_PEER),
    ("pair-seal-altered", "C111", "A pair seal that does not open", f"a bit of the pair seal of {PEER} is flipped",
     shown("share-delivery", put(sealed=entry(PEER, _flipped(PAIR_SEAL)))), BY_PEER),
    ("pair-secret-digest", "C111", "A pair secret that does not fit its digest",
     f"a bit of the last digest of {PEER}'s entry is flipped",
     shown("share-delivery", put(sealed=entry(PEER, _flipped(PAIR_DIGEST)))), BY_PEER),
]}

COORDINATOR: Table = {HYBRID: [
    ("pair-secret-of-a-dropout", "C112", "Who dropped out gave a pair secret that its mask key does not say",
     f"elm, who drops out with its input, gives {ME} a secret with another digest",
     onwards({"elm/share-keys": put(sealed=entry(ME, _flipped(PAIR_DIGEST)))}),
     failed("WRONG_SHARES", dropped_out("UNMASK", "fir"), culprits=["elm"])),
    ("pair-seal-to-a-dropout", "C112", "A survivor gave who dropped out a pair seal that does not open",
     f"{PEER} gives elm, who drops out with its input, a seal that does not open",
     onwards({f"{PEER}/share-keys": put(sealed=entry("elm", _flipped(PAIR_SEAL)))}),
     failed("WRONG_SHARES", dropped_out("UNMASK", "fir"), culprits=[PEER])),
    ("pair-secrets-of-both", "C112", "Both ends lie: both are named",
     f"elm gives {ME}, and {PEER} gives elm, another secret than the digest says",
     onwards({"elm/share-keys": put(sealed=entry(ME, _flipped(PAIR_DIGEST))),
              f"{PEER}/share-keys": put(sealed=entry("elm", _flipped(PAIR_DIGEST)))}),
     failed("WRONG_SHARES", dropped_out("UNMASK", "fir"), culprits=["elm", PEER])),
]}
# fmt: on

TABLES = (PARTICIPANT, COORDINATOR)
