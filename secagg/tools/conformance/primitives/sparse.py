"""Vectors of the sparse graph: the list of members, ring and committee, and which parameters are safe."""

from collections.abc import Iterator
from typing import Any

from secagg import roster as rosters
from secagg.crypto import labels
from secagg.crypto.transcript import digest, frame
from secagg.errors import ConfigError
from secagg.messages import AdvertiseKeys, Index, Member, ParticipantId, Roster
from secagg.rounds.graph import ring_of
from secagg.sparse.ring import Ring
from secagg.sparse.tails import check
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document
from secagg.tools.conformance.fixtures import CONTEXT


def _members() -> tuple[Member, ...]:
    """Three members, of whom one has no certificates, as where nobody signs."""
    made = []
    for i, name in enumerate(("Alice.1", "bob-2", "carol_3"), start=1):
        channel, mask = fixtures.seed(f"channel key of {name}"), fixtures.seed(f"mask key of {name}")
        certificates = tuple(f"certificate {k} of {name}".encode() for k in range(3 - i))
        made.append(Member(Index(i), ParticipantId(name), AdvertiseKeys(channel, mask, b"", certificates)))
    return tuple(made)


def _sparse_roster() -> Document:
    members = _members()
    fields: list[bytes] = []
    for m in members:
        fields += [m.index.to_bytes(4, "big"), m.participant_id.encode(), rosters.entry_digest(m)]
    return {
        "members": [
            {
                "index": m.index,
                "participant_id": m.participant_id,
                "channel_public_key": m.keys.channel_public_key,
                "mask_public_key": m.keys.mask_public_key,
                "certificates": m.keys.certificates,
                "entry_digest": rosters.entry_digest(m),
            }
            for m in members
        ],
        "frame": frame(labels.SPARSE_ROSTER, *fields),
        "digest": rosters.roster_digest(Roster((), rosters.listing_of(members))),
    }


def _sparse_graph() -> Iterator[Document]:
    for members, degree, size in ((8, 2, 3), (9, 6, 5), (40, 12, 0), (300, 62, 40)):
        known = fixtures.seed(f"roster of {members}")
        seed = digest(labels.GRAPH_SEED, CONTEXT, known)
        signatures = size // 2 + 1 if size else 0
        ring = Ring(
            degree=degree,
            neighbour_threshold=degree,
            committee=size,
            committee_threshold=signatures,
            min_participants=members,
        )
        graph = ring_of(ring, seed, members)
        shown = (1, members // 2, members)
        yield {
            "context": CONTEXT,
            "roster_digest": known,
            "graph_context": digest(labels.GRAPH_CONTEXT, CONTEXT, known),
            "seed": seed,
            "members": members,
            "degree": degree,
            "committee_size": size,
            "ring": graph.order,
            "neighbours": {i: graph.of(Index(i)) for i in shown},
            "committee": sorted(graph.committee),
            "first_place": digest(labels.GRAPH_PLACE, seed, (1).to_bytes(4, "big")),
            "first_mark": digest(labels.GRAPH_COMMITTEE, seed, (1).to_bytes(4, "big")),
        }


# k, t_k, s, t_c, n_min; then t, n_max, n_C
_ACTIVE = (
    (62, 48, 40, 28, 300, 285, 300, 15),
    (166, 122, 126, 92, 1000, 900, 1000, 100),
    (166, 122, 126, 92, 1000, 900, 10_000, 100),
    (166, 121, 126, 92, 1000, 900, 1000, 100),
    (166, 105, 126, 92, 1000, 900, 1000, 100),
    (166, 122, 126, 91, 1000, 900, 1000, 100),
    (166, 122, 126, 92, 990, 900, 1000, 110),
    (158, 116, 122, 90, 1000, 900, 1000, 100),
    (1264, 771, 917, 561, 10_000, 7000, 10_000, 1000),
    (6, 6, 5, 4, 8, 5, 12, 1),
    (6, 5, 5, 4, 8, 5, 12, 1),
    (6, 6, 5, 3, 8, 5, 12, 1),
    # On a ring of nearly everyone it decides that the inequality of cut holds for n_min and not for one more.
    (170, 145, 172, 172, 172, 77, 181, 62),
    (332, 244, 335, 335, 335, 193, 344, 85),
    (146, 129, 148, 148, 148, 93, 149, 62),
    (350, 308, 352, 352, 352, 275, 353, 173),
    (72, 63, 157, 96, 196, 144, 198, 33),
    # A degree of n_min − 1.
    (12, 12, 13, 13, 13, 3, 13, 0),
)
_SEMI_HONEST = (
    (52, 28, 0, 0, 1000, 900, 1000, 100),
    (52, 24, 0, 0, 1000, 900, 1000, 100),
    (52, 28, 0, 0, 1000, 900, 2000, 100),
    (52, 28, 0, 0, 500, 500, 1000, 100),
    (72, 44, 0, 0, 900, 900, 1000, 100),
    (6, 3, 0, 0, 8, 7, 10, 1),
    (2, 2, 0, 0, 6, 6, 6, 0),
    (110, 44, 0, 0, 269, 111, 271, 48),
    (110, 44, 0, 0, 271, 110, 271, 48),
    (20, 3, 0, 0, 76, 56, 76, 2),
    (38, 26, 0, 0, 150, 116, 155, 31),
)


def _sparse_parameters() -> Iterator[Document]:
    for active, rows in ((True, _ACTIVE), (False, _SEMI_HONEST)):
        for k, t_k, s, t_c, least, threshold, most, colluding in rows:
            ring = dict(zip(Ring.__slots__, (k, t_k, s, t_c, least), strict=True))
            cohort = {"threshold": threshold, "max_participants": most, "max_colluding": colluding}
            yield {
                "threat_model": "ACTIVE" if active else "SEMI_HONEST",
                "ring": ring,
                **cohort,
                "safe": _is_safe(ring, **cohort, active=active),
            }


def _is_safe(ring: dict[str, int], **cohort: Any) -> bool:
    try:
        check(Ring(**ring), **cohort)
    except ConfigError:
        return False
    return True


# fmt: off
VECTORS: Contents = {
    "sparse-roster": (
        "The digest of each member's entry, and of the list of all members", "Sparse roster", _sparse_roster),
    "sparse-graph": (
        "Where members stand on the ring, who their neighbours are, and who is in the committee", "Ring and committee",
        _sparse_graph),
    "sparse-parameters": (
        "Rings that are safe, and rings that are not", "The three tails", _sparse_parameters),
}
# fmt: on
