"""How long a request and an answer of each call may be, in bytes: every such bound of both ends, and nothing else.

The fields of a message are bounded too: `counting` counts them before a message is parsed.
"""

from typing import Final

from secagg.aggregates import plan_of
from secagg.config import RoundConfig
from secagg.crypto.certificates import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH
from secagg.encoding.packing import chunk_values, packed_size
from secagg.lattice.layout import layout_of
from secagg.lattice.parameters import Custody
from secagg.wire.configuration import MAX_CONFIG_BYTES

# Requests, which the coordinator bounds.

MAX_STREAM_MESSAGE_BYTES: Final = (2 << 20) + (1 << 16)
"""One protobuf message of a stream: a block of a ciphertext and its other fields. gRPC refuses a longer one unread."""

SHORT_BYTES: Final = 1 << 10
"""A request that holds a round's id, and a signature or a digest at most."""

MAX_SEEN: Final = 1000
"""Rounds that FindRound says are not to be offered again."""

MAX_FIND_BYTES: Final = 32 << 10
"""FindRound: a task and `MAX_SEEN` round ids."""

MAX_ADVERTISE_BYTES: Final = (4 << 10) + MAX_CHAIN_LENGTH * (MAX_CERTIFICATE_BYTES + 16)
"""Advertise: keys with a chain of certificates."""

MAX_MESSAGE_BYTES: Final = 8 << 20
"""All parts of a participant's message. Sealed or revealed shares of 10,000 neighbours take less than 3 MiB, a packed
share of a joint key at most 4. In the hybrid suite, sealed shares of 2,000 neighbours take 5."""

MAX_CHUNK_STREAM_BYTES: Final = 1 << 62
"""A vector comes chunk by chunk and is never held whole: the protocol knows how many chunks it has."""

MAX_OPEN_BYTES: Final = MAX_CONFIG_BYTES + (1 << 16)
"""OpenRound: the pieces of a configuration, and what protobuf adds to them."""

MAX_NAMES: Final = 40_000
"""Expect and Exclude: participants in one call. The coordinator takes no message of more than 50,000 fields."""

NAMES_PER_PART: Final = 8192
"""Names of at most 64 characters in one part of a message: well below 1 MiB."""

MAX_NAMES_BYTES: Final = 4 << 20
"""Expect and Exclude: as many names as a message may have fields."""

MAX_REASON_BYTES: Final = 1000
"""The reason in AbortRound."""

MAX_ABORT_BYTES: Final = 4 * MAX_REASON_BYTES
"""AbortRound. It has room for a reason that is a little too long, so that the caller is told so."""

# Answers, which the client bounds. Each part counts `PART_COST` bytes more than it has.

PART_COST: Final = 64
"""Bytes that each part of an answer counts beside its own, so that a flood of empty parts ends too."""

MAX_ANSWER_FIELDS: Final = 250_000
"""Protobuf fields of all parts of an answer. A roster of 10,000 with chains of 4 certificates has about 110,000."""

SLACK_BYTES: Final = 1 << 16
"""What every answer may have beside its entries."""

ENTRY_BYTES: Final = 256
"""An entry for one participant: an index with what a member dealt (146 bytes at most), or with a signature."""

HYBRID_ENTRY_BYTES: Final = 2600
"""An index with what a member dealt in the hybrid suite: 2,538 bytes at most."""

MEMBER_BYTES: Final = 3072 + MAX_CHAIN_LENGTH * MAX_CERTIFICATE_BYTES
"""A member of the roster, with its certificates."""

LISTED_BYTES: Final = 128
"""A member in the list of all: an id and a digest."""

MAX_OFFER_BYTES: Final = 2 * MAX_CONFIG_BYTES
"""FindRound: a configuration, whose parts may be small."""

MAX_DESCRIPTION_BYTES: Final = 1 << 10
"""Describe: two versions and a time."""

UNLIMITED: Final = 1 << 62
"""Streams as long as the coordinator's history. Only the FL server asks for them, and it trusts its sidecar."""


def entries_bytes(config: RoundConfig) -> int:
    """Longest answer with one short entry for each participant."""
    return SLACK_BYTES + config.max_participants * (ENTRY_BYTES + PART_COST)


def roster_bytes(config: RoundConfig) -> int:
    """Longest roster: an entry with certificates for each participant. With a ring, for each of a neighbourhood and of
    the committee, and a short line for everyone.
    """
    ring = config.ring
    if ring is None:
        return SLACK_BYTES + config.max_participants * (MEMBER_BYTES + PART_COST)
    entries = ring.degree + 1 + ring.committee
    return SLACK_BYTES + entries * (MEMBER_BYTES + PART_COST) + config.max_participants * LISTED_BYTES


def delivery_bytes(config: RoundConfig) -> int:
    """Longest delivery of shares: everyone's sealed shares, and in custody `threshold` everyone's key share too."""
    if config.suite.hybrid:
        neighbours = config.max_participants if config.ring is None else config.ring.degree
        return SLACK_BYTES + neighbours * (HYBRID_ENTRY_BYTES + PART_COST)
    profile = config.homomorphic
    if profile is None or profile.custody is Custody.PARTICIPANTS:
        return entries_bytes(config)
    key_share = len(profile.key_primes) * profile.ring_degree * profile.prime_bits // 8
    return entries_bytes(config) + config.max_participants * (key_share + SLACK_BYTES)


def encrypted_sum_bytes(config: RoundConfig) -> int:
    """Longest encrypted sum: c0 and c1, and the survivors."""
    profile = config.homomorphic
    if profile is None:
        return entries_bytes(config)
    layout = layout_of(profile, config.vector_len, 1)
    return entries_bytes(config) + 2 * (layout.total_bytes + layout.chunks * PART_COST)


def aggregate_bytes(config: RoundConfig) -> int:
    """Longest released sum, or of a round in groups the sums of all groups."""
    bits = config.ring_bits
    chunks = -(-config.vector_len // chunk_values(bits))
    names = config.max_participants * ENTRY_BYTES
    one = SLACK_BYTES + names + packed_size(config.vector_len, bits) + chunks * ENTRY_BYTES
    return one if config.groups is None else one * plan_of(config).count
