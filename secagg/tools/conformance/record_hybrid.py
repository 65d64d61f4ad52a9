"""Records encapsulations of the vectors: `python -m secagg.tools.conformance.record_hybrid`.

Every run gives other bytes. Run it only when the participants or the key seeds of the vectors of the hybrid suite
change, and the generator after it.
"""

import sys

from secagg.tools.conformance.document import document, dumps
from secagg.tools.conformance.primitives import hybrid
from secagg.tools.conformance.replay import encapsulations
from secagg.tools.conformance.rounds import masked
from secagg.tools.conformance.vectors import directory


def record() -> None:
    """Encapsulate for every vector that needs it, and write what came out."""
    needed = {hybrid.PAIR_SECRETS: hybrid.privates(), masked.HYBRID: masked.hybrid_privates()}
    made = document(
        encapsulations.KIND,
        "Encapsulations to the keys of other vectors",
        "Recorded encapsulations",
        provenance="made once by secagg.crypto.xwing, recorded by secagg.tools.conformance.record_hybrid",
        vectors={
            vector: {sender: encapsulations.made_by(sender, privates) for sender in sorted(privates)}
            for vector, privates in needed.items()
        },
    )
    (directory() / f"{encapsulations.FILE}.json").write_text(dumps(made))


if __name__ == "__main__":
    record()
    sys.stdout.write("now run python -m secagg.tools.conformance.generate\n")
