"""A participant of masked rounds, from proto/PROTOCOL.md alone, with nothing of secagg but the generated wire code.

It makes every check that the page asks of it, each as one `demand`. `participant_mutants` takes them away one by one,
moves bounds and alters derivations, and holds that a vector notices each. It is for that, so it is short and slow.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, SignatureAlgorithmOID
from google.protobuf.message import DecodeError as ProtobufError

from secagg.wire.v1 import config_pb2, data_plane_pb2
from tests.conformance import reference as ref

COORDINATOR = "coordinator"
DECODE, AUTHENTICATION, VIOLATION = "DecodeError", "AuthenticationError", "ProtocolViolation"
POLICY, MISMATCH = "PolicyViolation", "ModelMismatch"
FIELD = 2**255 - 19
DAYS_7_MS = 7 * 24 * 3600 * 1000
PREFIX = "urn:secagg:participant:"
LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
ACTIVE = config_pb2.THREAT_MODEL_ACTIVE
UNDERSTOOD = (
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
)
FLOATS = (config_pb2.DTYPE_FLOAT32, config_pb2.DTYPE_FLOAT64)


class Refused(Exception):
    """What a participant refuses a message with."""

    def __init__(self, error: str, culprit: str | None) -> None:
        super().__init__(error, culprit)
        self.error, self.culprit = error, culprit
        self.leave = {"reason": "REFUSED"} | ({} if culprit in {None, COORDINATOR} else {"accused": str(culprit)})


def demand(holds: object, error: str, culprit: str | None = COORDINATOR) -> None:
    """Refuse what does not hold."""
    if not holds:
        raise Refused(error, culprit)


# --- an offer -------------------------------------------------------------------------------------------------------


def read_config(data: bytes) -> config_pb2.RoundConfig:
    """C1 and C98. Fields are counted at the top before any becomes an object."""
    demand(len(data) <= 64 * 2**20, DECODE, None)
    demand(fields_in(data, None) <= 100_064, DECODE, None)
    config = config_pb2.RoundConfig()
    try:
        config.ParseFromString(data)
    except ProtobufError:
        raise Refused(DECODE, None) from None
    known = config_pb2.RoundConfig()
    known.CopyFrom(config)
    known.DiscardUnknownFields()
    demand(known.ByteSize() == config.ByteSize(), DECODE, None)
    demand(config.threat_model in (1, 2), DECODE, None)
    demand(config.suite in (1, 2, 3), DECODE, None)
    demand(config.graph in (1, 2), DECODE, None)
    demand(all(1 <= a.dtype <= 10 for a in config.arrays), DECODE, None)
    demand(config.HasField("ring") == (config.graph == 2), DECODE, None)
    demand(config.HasField("encoding") + bool(config.pipeline) + config.HasField("integers") <= 1, DECODE, None)
    demand(all(a.HasField("min") == a.HasField("max") for a in config.arrays), DECODE, None)
    return config


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def check_safe(config: config_pb2.RoundConfig) -> None:
    """C2 and C101, of a masked round."""
    n, t, c = config.max_participants, config.threshold, config.max_colluding
    demand(1 <= len(config.task.encode()) <= 128, VIOLATION)
    demand(len(config.model_digest) == 32, VIOLATION)
    demand(not config.model_later or config.model_digest == bytes(32), VIOLATION)
    check_arrays(config)
    demand(config.HasField("encoding") or config.pipeline or config.HasField("integers"), VIOLATION)
    demand(n >= 3, VIOLATION)
    demand(n <= 10_000, VIOLATION)
    demand(t >= 3, VIOLATION)
    demand(t <= n, VIOLATION)
    demand(c < n, VIOLATION)
    demand(t - c >= 2, VIOLATION)
    if config.HasField("encoding"):
        check_encoding(config)
    if config.HasField("integers"):
        check_integers(config)
    if config.graph == 1 and config.threat_model == ACTIVE:
        demand(2 * t > n + c, VIOLATION)
    if config.HasField("ring"):
        check_ring(config)
    if config.certify:
        demand(config.threat_model == ACTIVE, VIOLATION)
    demand(
        not config.purpose
        or (1 <= len(config.purpose) <= 64 and set(config.purpose) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")),
        VIOLATION,
    )
    limits = config.deadlines
    demand(1 <= limits.advertise_keys_ms <= DAYS_7_MS, VIOLATION)
    demand(1 <= limits.share_keys_ms <= DAYS_7_MS, VIOLATION)
    demand(1 <= limits.masked_input_ms <= DAYS_7_MS, VIOLATION)
    demand(1 <= limits.consistency_check_ms <= DAYS_7_MS, VIOLATION)
    demand(1 <= limits.unmask_ms <= DAYS_7_MS, VIOLATION)
    demand(limits.join_ms <= DAYS_7_MS, VIOLATION)
    demand(config.release_to_coordinator, VIOLATION)


def check_arrays(config: config_pb2.RoundConfig) -> None:
    arrays = config.arrays
    demand(len(arrays) >= 1, VIOLATION)
    demand(len(arrays) <= 100_000, VIOLATION)
    demand(len({a.name for a in arrays}) == len(arrays), VIOLATION)
    demand(all(len(a.name.encode()) >= 1 for a in arrays), VIOLATION)
    demand(all(len(a.name.encode()) <= 512 for a in arrays), VIOLATION)
    demand(all(len(a.shape) <= 32 for a in arrays), VIOLATION)
    demand(all(side >= 1 for a in arrays for side in a.shape), VIOLATION)
    if config.HasField("integers"):
        demand(all(a.dtype not in FLOATS for a in arrays), VIOLATION)
    else:
        demand(all(a.dtype in FLOATS for a in arrays), VIOLATION)
    demand(all(a.range >= 2.0**-64 for a in arrays if a.HasField("range")), VIOLATION)
    demand(all(a.range <= 2.0**64 for a in arrays if a.HasField("range")), VIOLATION)
    demand(all(a.dtype in FLOATS for a in arrays if a.HasField("range")), VIOLATION)
    demand(all(a.dtype not in FLOATS for a in arrays if a.HasField("min")), VIOLATION)


def check_encoding(config: config_pb2.RoundConfig) -> None:
    code = config.encoding
    demand(code.clip >= 2.0**-64, VIOLATION)
    demand(code.clip <= 2.0**64, VIOLATION)
    demand(code.value_bits >= 1, VIOLATION)
    demand(code.value_bits <= 32, VIOLATION)
    demand(code.max_weight >= 1, VIOLATION)
    demand(code.max_weight <= 2**32 - 1, VIOLATION)
    demand(ring_bits(config) <= 64, VIOLATION)
    demand(vector_length(config) <= 2**32, VIOLATION)


def check_integers(config: config_pb2.RoundConfig) -> None:
    whole, n = config.integers, config.max_participants
    for low, high in [(whole.min, whole.max), *((a.min, a.max) for a in config.arrays if a.HasField("min"))]:
        demand(low >= -(2**62), VIOLATION)
        demand(low < high, VIOLATION)
        demand(high <= 2**62, VIOLATION)
    for low, high in bounds_of(config):
        demand(n * -low <= 2**63 - 1, VIOLATION)
        demand(n * high <= 2**63 - 1, VIOLATION)
    demand(ring_bits(config) <= 64, VIOLATION)
    demand(vector_length(config) <= 2**32, VIOLATION)


def check_ring(config: config_pb2.RoundConfig) -> None:
    """C101."""
    ring = {field.name: getattr(config.ring, field.name) for field in config.ring.DESCRIPTOR.fields}
    cohort = {name: getattr(config, name) for name in ("threshold", "max_participants", "max_colluding")}
    active = config.threat_model == ACTIVE
    demand(ref.ring_is_safe(ring, **cohort, active=active), VIOLATION)
    demand(not active or config.deadlines.advertise_keys_ms <= 600_000, VIOLATION)


def bounds_of(config: config_pb2.RoundConfig) -> list[tuple[int, int]]:
    whole = config.integers
    return [(a.min, a.max) if a.HasField("min") else (whole.min, whole.max) for a in config.arrays]


def vector_length(config: config_pb2.RoundConfig) -> int:
    """m."""
    size = 0
    for array in config.arrays:
        sides = 1
        for side in array.shape:
            sides *= side
        size += sides
    return size if config.HasField("integers") else size + 1


def ring_bits(config: config_pb2.RoundConfig) -> int:
    """b."""
    if config.HasField("integers"):
        wide = max(high - low for low, high in bounds_of(config)).bit_length()
    else:
        wide = ref.coordinate_bits(config.encoding.value_bits, config.encoding.max_weight)
    return wide + (config.max_participants - 1).bit_length()


def check_policy(config: config_pb2.RoundConfig, policy: Mapping[str, Any]) -> None:
    """C3, of a masked round without noise; what a policy does not name is as permissive as can be."""
    n, t, c = config.max_participants, config.threshold, config.max_colluding
    name = config_pb2.ThreatModel.Name(config.threat_model).removeprefix("THREAT_MODEL_")
    suite = config_pb2.Suite.Name(config.suite).removeprefix("SUITE_")
    demand(policy.get("tasks") is None or config.task in policy["tasks"], POLICY)
    demand(name in policy.get("threat_models", [name]), POLICY)
    demand(suite in policy.get("suites", [suite]), POLICY)
    demand(not policy.get("require_hybrid") or suite == "XWING_SHA256_AES256", POLICY)
    demand("masked" in policy.get("schemes", ["masked"]), POLICY)
    demand(not policy.get("require_complete_graph") or config.graph == 1, POLICY)
    demand(t >= policy.get("min_cohort", 3), POLICY)
    demand(t - c >= policy.get("min_honest", 2), POLICY)
    demand(c >= int(Fraction(str(policy.get("min_colluding_share", 0.0))) * n), POLICY)
    demand(policy.get("min_organisations", 1) == 1 or config.threat_model == ACTIVE, POLICY)
    demand(not policy.get("require_distributed_noise"), POLICY)
    demand(policy.get("min_noise_multiplier", 0.0) == 0.0, POLICY)
    demand(policy.get("max_epsilon") is None, POLICY)


def check_offer(data: bytes, model_digest: bytes, policy: Mapping[str, Any], purpose: str) -> config_pb2.RoundConfig:
    """C1 to C4, C87, C98 and C101."""
    config = read_config(data)
    check_safe(config)
    check_policy(config, policy)
    demand((config.purpose or "train") == purpose, POLICY)
    demand(config.model_later or config.model_digest == model_digest, MISMATCH)
    return config


# --- certificates: the minimal verifier of section 6 ----------------------------------------------------------------


class Chain:
    """A chain that verifies, up to a pinned CA; a `Refused` if it does not."""

    def __init__(self, chain: Sequence[bytes], authority: bytes, at: datetime, usage: x509.ObjectIdentifier) -> None:
        demand(len(chain) >= 1, AUTHENTICATION)
        try:
            certificates = [x509.load_der_x509_certificate(each) for each in [*chain, authority]]
            self._check(certificates, at, usage)
        except (ValueError, x509.DuplicateExtension):
            raise Refused(AUTHENTICATION, COORDINATOR) from None
        leaf = certificates[0]
        self.leaf = leaf
        key = leaf.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.key = key

    def _check(self, certificates: Sequence[x509.Certificate], at: datetime, usage: x509.ObjectIdentifier) -> None:
        for certificate in certificates:
            demand(certificate.version is x509.Version.v3, AUTHENTICATION)
            key = certificate.public_key()
            demand(isinstance(key, ec.EllipticCurvePublicKey), AUTHENTICATION)
            demand(isinstance(getattr(key, "curve", None), ec.SECP256R1), AUTHENTICATION)
            demand(certificate.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA256, AUTHENTICATION)
            demand(certificate.not_valid_before_utc <= at, AUTHENTICATION)
            demand(at <= certificate.not_valid_after_utc, AUTHENTICATION)
        for depth, (certificate, issuer) in enumerate(pairwise(certificates)):
            demand(certificate.issuer.public_bytes() == issuer.subject.public_bytes(), AUTHENTICATION)
            issued_by = issuer.public_key()
            assert isinstance(issued_by, ec.EllipticCurvePublicKey)
            demand(verifies(issued_by, certificate.tbs_certificate_bytes, certificate.signature), AUTHENTICATION)
            self._check_issuer(issuer, depth, usage, pinned=issuer is certificates[-1])
        for certificate in certificates:
            demand(_extension(certificate, ExtensionOID.NAME_CONSTRAINTS) is None, AUTHENTICATION)
            demand(all(e.oid in UNDERSTOOD for e in certificate.extensions if e.critical), AUTHENTICATION)
        self._check_leaf(certificates[0], usage)

    def _check_issuer(
        self, issuer: x509.Certificate, between: int, usage: x509.ObjectIdentifier, *, pinned: bool
    ) -> None:
        basic = _extension(issuer, ExtensionOID.BASIC_CONSTRAINTS)
        demand(basic is not None, AUTHENTICATION)
        demand(basic.ca, AUTHENTICATION)
        demand(basic.path_length is None or basic.path_length >= between, AUTHENTICATION)
        may = _extension(issuer, ExtensionOID.KEY_USAGE)
        demand(may is not None, AUTHENTICATION)
        demand(may.key_cert_sign, AUTHENTICATION)
        extended = _extension(issuer, ExtensionOID.EXTENDED_KEY_USAGE)
        demand(pinned or extended is None or usage in extended, AUTHENTICATION)

    def _check_leaf(self, leaf: x509.Certificate, usage: x509.ObjectIdentifier) -> None:
        basic = _extension(leaf, ExtensionOID.BASIC_CONSTRAINTS)
        demand(basic is None or not basic.ca, AUTHENTICATION)
        may = _extension(leaf, ExtensionOID.KEY_USAGE)
        demand(may is None or may.digital_signature, AUTHENTICATION)
        demand(may is None or not may.key_cert_sign, AUTHENTICATION)
        extended = _extension(leaf, ExtensionOID.EXTENDED_KEY_USAGE)
        demand(extended is not None, AUTHENTICATION)
        demand(usage in extended, AUTHENTICATION)

    def uris(self) -> list[str]:
        names = _extension(self.leaf, ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
        found = [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)
        return [uri for uri in found if uri.startswith(PREFIX)]

    def coordinator(self) -> None:
        """The profile of a coordinator's certificate."""
        demand(not self.uris(), AUTHENTICATION)

    def participant(self) -> tuple[str, str]:
        """Id and organisation, by the profile."""
        uris = self.uris()
        demand(len(uris) == 1, AUTHENTICATION)
        name = uris[0].removeprefix(PREFIX)
        demand(is_id(name), AUTHENTICATION)
        organisations = self.leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        demand(len(organisations) == 1, AUTHENTICATION)
        organisation = str(organisations[0].value)
        demand(1 <= len(organisation) <= 64, AUTHENTICATION)
        demand(organisation.isprintable(), AUTHENTICATION)
        demand(organisation.strip() == organisation, AUTHENTICATION)
        return name, organisation


def _extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> Any:
    try:
        return certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None


def is_id(text: str) -> bool:
    return 1 <= len(text) <= 64 and text[0] in LETTERS and set(text) <= LETTERS | set("._-")


def verifies(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


# --- messages -------------------------------------------------------------------------------------------------------


def merged(kind: Any, parts: Iterable[bytes]) -> list[Any]:
    """C5 and C98: the parts of one message."""
    read, left = [], 250_000
    for part in parts:
        left -= fields_in(part, kind.DESCRIPTOR)
        demand(left >= 0, DECODE, None)
        message = kind()
        try:
            message.ParseFromString(part)
        except ProtobufError:
            raise Refused(DECODE, None) from None
        read.append(message)
    demand(read, DECODE, None)
    return read


def fields_in(data: bytes, message: Any) -> int:
    """Tags, those of sub-messages included, and bytes of packed numbers. `Refused` if it is no message."""
    count = at = 0
    known = {field.number: field for field in message.fields} if message else {}
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            count += 1
            match tag & 7:
                case 0:
                    _, at = _varint(data, at)
                case 1:
                    at += 8
                case 2:
                    size, at = _varint(data, at)
                    field = known.get(tag >> 3)
                    if field and field.message_type:
                        count += fields_in(data[at : at + size], field.message_type)
                    elif field and field.is_packed:
                        count += size
                    at += size
                case 5:
                    at += 4
                case _:
                    raise Refused(DECODE, None)
    except IndexError:
        raise Refused(DECODE, None) from None
    return count


def is_index(number: int) -> bool:
    return 1 <= number <= 10_000


def read_roster(parts: Iterable[bytes]) -> tuple[list[Any], list[str], bytes]:
    """Members, and the list of a sparse round with its digests."""
    read = merged(data_plane_pb2.RosterPart, parts)
    members = [member for part in read for member in part.members]
    listed, digests = [name for part in read for name in part.listed], b"".join(part.entry_digests for part in read)
    demand(len(digests) == 32 * len(listed), DECODE, None)
    demand(all(map(is_id, listed)), DECODE, None)
    for member in members:
        keys = member.keys
        demand(is_id(member.participant_id), DECODE, None)
        demand(len(keys.channel_public_key) in (32, 1216), DECODE, None)
        demand(len(keys.mask_public_key) <= 1216, DECODE, None)
        demand(len(keys.key_share_commitment) <= 32, DECODE, None)
        demand(len(keys.signature) <= 72, DECODE, None)
        demand(len(keys.certificates) <= 4, DECODE, None)
        demand(all(len(each) <= 8192 for each in keys.certificates), DECODE, None)
    return members, listed, digests


def read_delivery(parts: Iterable[bytes]) -> tuple[dict[int, bytes], bytes]:
    """Entries by peer, and the model's digest."""
    read = merged(data_plane_pb2.ShareDeliveryPart, parts)
    demand(not any(part.model_digest for part in read[1:]), DECODE, None)
    demand(len(read[0].model_digest) in (0, 32), DECODE, None)
    peers = [peer for part in read for peer in part.peers]
    demand(all(map(is_index, peers)), DECODE, None)
    demand(peers == sorted(set(peers)), DECODE, None)
    entries: dict[int, bytes] = {}
    for part in read:
        demand(part.peers or not part.entries, DECODE, None)
        demand(not part.peers or len(part.entries) % len(part.peers) == 0, DECODE, None)
        entries |= ref.split_entries(list(part.peers), part.entries)
    demand(len({len(entry) for entry in entries.values()}) <= 1, DECODE, None)
    return entries, read[0].model_digest


def read_survivors(parts: Iterable[bytes]) -> tuple[list[int], list[int]]:
    (sets,) = merged(data_plane_pb2.SurvivorSet, parts)
    survivors, dropped = list(sets.survivors), list(sets.dropped)
    demand(all(map(is_index, survivors)), DECODE, None)
    demand(all(map(is_index, dropped)), DECODE, None)
    demand(survivors == sorted(set(survivors)), DECODE, None)
    demand(dropped == sorted(set(dropped)), DECODE, None)
    return survivors, dropped


def read_proof(parts: Iterable[bytes]) -> dict[int, bytes]:
    read = merged(data_plane_pb2.ConsistencyProofPart, parts)
    signed = [(each.signer, each.signature) for part in read for each in part.signatures]
    demand(all(is_index(signer) for signer, _ in signed), DECODE, None)
    demand(len(dict(signed)) == len(signed), DECODE, None)
    demand(all(len(signature) <= 72 for _, signature in signed), DECODE, None)
    return dict(signed)


# --- the round ------------------------------------------------------------------------------------------------------


class Participant:
    """From `join` to the revealed shares. `mine` is a participant of a vector, `known` the vector of the round."""

    def __init__(
        self, name: str, known: Mapping[str, Any], policy: Mapping[str, Any], released: Sequence[Mapping[str, Any]]
    ) -> None:
        self.name, self.policy, self.released = name, policy, released
        self.mine = known["participants"][name]
        self.authority = bytes.fromhex(known["authority"]["certificate"]) if "authority" in known else b""
        self.config_bytes, self.round_id = bytes.fromhex(known["config"]), bytes.fromhex(known["round_id"])
        self.model_digest = bytes.fromhex(known["model_digest"])
        self.config = check_offer(self.config_bytes, self.model_digest, policy, self.purpose(known))
        self.active = self.config.threat_model == ACTIVE
        self.ring = self.config.ring if self.config.HasField("ring") else None
        named = bytes(32) if self.config.model_later else self.model_digest
        self.context = ref.context(self.round_id, self.config_bytes, named)
        later = self.config.model_later
        self.input_context = ref.input_context(self.context, self.model_digest) if later else self.context
        self.suite = config_pb2.Suite.Name(self.config.suite).removeprefix("SUITE_").encode()
        self.awaits = "Roster"
        self.sealed: dict[int, bytes] = {}
        self.shares: dict[int, tuple[bytes, bytes]] = {}

    def purpose(self, known: Mapping[str, Any]) -> str:
        """The purpose that its owner names: that of the round, in vectors."""
        return config_pb2.RoundConfig.FromString(bytes.fromhex(known["config"])).purpose or "train"

    def random(self, draw: str) -> bytes:
        return bytes.fromhex(self.mine["random"][draw])

    def sign(self, message: bytes) -> bytes:
        if not self.active:
            return b""
        scalar = int(self.mine["identity"]["private_scalar_test_only"], 16)
        key = ec.derive_private_key(scalar, ec.SECP256R1())
        return key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def join(self) -> list[Any]:
        channel = ref.public_key(self.random("channel_private_key"))
        mask = ref.public_key(self.random("mask_private_key"))
        chain = [bytes.fromhex(self.mine["identity"]["certificate"])] if self.active else []
        self.keys = data_plane_pb2.AdvertiseKeys(
            channel_public_key=channel,
            mask_public_key=mask,
            signature=self.sign(ref.advertisement_signed(self.context, self.name, channel, mask)),
            certificates=chain,
        )
        return [self.keys]

    def receive(self, kind: str, parts: Sequence[bytes], now: float) -> list[Any]:
        """The messages that answer one."""
        steps = {
            "Roster": self.on_roster,
            "ShareDelivery": self.on_delivery,
            "SurvivorSet": self.on_survivors,
            "ConsistencyProof": self.on_proof,
        }
        demand(kind == self.awaits, VIOLATION)
        self.now = datetime.fromtimestamp(now, UTC)
        return steps[kind](parts)

    # --- round 1

    def on_roster(self, parts: Sequence[bytes]) -> list[Any]:
        members, listed, digests = read_roster(parts)
        self.check_members(members, listed, digests)
        entries = [self.keyed(member) for member in members]
        if self.ring is None:
            self.names = [member.participant_id for member in members]
            self.roster = ref.roster_digest(entries)
        else:
            self.names = listed
            self.roster = self.listed_digest(listed, digests)
        self.own = self.names.index(self.name) + 1
        self.find_graph()
        if self.ring is not None:
            shown = {self.own, *self.neighbours, *self.signers}
            demand({member.index for member in members} == shown, VIOLATION)
        self.members = {member.index: member for member in members}
        self.organisations: dict[int, str] = {}
        self.verified: dict[int, ec.EllipticCurvePublicKey] = {}
        if self.active:
            for member in members:
                self.verify(member)
            self.check_organisations(self.organisations)
        self.channels = {}
        for index in self.neighbours:
            self.channels[index] = self.agreed("channel", index)
        self.awaits = "ShareDelivery"
        return [self.deal()]

    def check_members(self, members: Sequence[Any], listed: Sequence[str], digests: bytes) -> None:
        names = listed if self.ring else [member.participant_id for member in members]
        demand(bool(listed) == (self.ring is not None), VIOLATION)
        least = self.ring.min_participants if self.ring else self.config.threshold
        demand(len(names) >= least, VIOLATION)
        demand(len(names) <= self.config.max_participants, VIOLATION)
        demand(list(names) == sorted(set(names), key=str.encode), VIOLATION)
        if self.ring is None:
            demand([member.index for member in members] == list(range(1, len(members) + 1)), VIOLATION)
        else:
            demand(len({member.index for member in members}) == len(members), VIOLATION)
            for member in members:
                at = member.index - 1
                demand(0 <= at < len(listed), VIOLATION)
                demand(listed[at] == member.participant_id, VIOLATION)
                entry = ref.entry_digest(*self.keyed(member))
                demand(digests[32 * at : 32 * at + 32] == entry, VIOLATION)
        keys = [key for m in members for key in (m.keys.channel_public_key, m.keys.mask_public_key)]
        demand(all(len(key) == 32 for key in keys), VIOLATION)
        demand(not any(member.keys.key_share_commitment for member in members), VIOLATION)
        demand(all(int.from_bytes(key, "little") < FIELD for key in keys), VIOLATION)
        demand(len(set(keys)) == len(keys), VIOLATION)
        mine = [member.keys for member in members if member.participant_id == self.name]
        demand(mine, VIOLATION)
        demand(self.plain(mine[0]) == self.plain(self.keys), VIOLATION)

    def plain(self, keys: Any) -> list[Any]:
        """The fields that the page knows."""
        chain = list(keys.certificates)
        return [keys.channel_public_key, keys.mask_public_key, keys.signature, chain, keys.key_share_commitment]

    def keyed(self, member: Any) -> ref.Keys:
        keys = member.keys
        chain = list(keys.certificates)
        return member.index, member.participant_id, keys.channel_public_key, keys.mask_public_key, chain

    def listed_digest(self, listed: Sequence[str], digests: bytes) -> bytes:
        fields = [b"secagg/v1/sparse-roster"]
        for at, name in enumerate(listed):
            fields += [(at + 1).to_bytes(4, "big"), name.encode(), digests[32 * at : 32 * at + 32]]
        return ref.digest(*fields)

    def find_graph(self) -> None:
        everyone = list(range(1, len(self.names) + 1))
        if self.ring is None:
            self.neighbours, self.signers = [i for i in everyone if i != self.own], everyone
            self.bound, self.input_bound = self.context, self.input_context
            self.least, self.signatures = self.config.threshold, self.config.threshold
            return
        seed = ref.graph_seed(self.context, self.roster)
        self.neighbours = ref.neighbours(seed, len(everyone), self.ring.degree, self.own)
        self.signers = ref.committee(seed, len(everyone), self.ring.committee) if self.active else []
        self.bound = ref.graph_context(self.context, self.roster)
        self.input_bound = ref.graph_context(self.input_context, self.roster)
        self.least, self.signatures = self.ring.neighbour_threshold, self.ring.committee_threshold

    def verify(self, member: Any) -> None:
        """C11 to C13."""
        chain = Chain(list(member.keys.certificates), self.authority, self.now, ExtendedKeyUsageOID.CLIENT_AUTH)
        name, self.organisations[member.index] = chain.participant()
        demand(name == member.participant_id, VIOLATION)
        keys = member.keys
        covered = ref.advertisement_signed(self.context, name, keys.channel_public_key, keys.mask_public_key)
        demand(verifies(chain.key, covered, keys.signature), AUTHENTICATION)
        self.verified[member.index] = chain.key

    def check_organisations(self, cohort: Iterable[int]) -> None:
        """C14 and C25."""
        found = {self.organisations[index] for index in cohort if index in self.organisations}
        demand(len(found) >= self.policy.get("min_organisations", 1), POLICY)

    def agreed(self, kind: str, index: int) -> bytes:
        """C15 and C20."""
        peer = self.members[index]
        try:
            return ref.agree(self.random(f"{kind}_private_key"), getattr(peer.keys, f"{kind}_public_key"))
        except ValueError:
            raise Refused(AUTHENTICATION, peer.participant_id) from None

    def deal(self) -> Any:
        seed, holders = self.random("self_mask_seed"), [*self.neighbours, self.own]
        mask = ref.split(self.random("mask_private_key"), self.random("mask_key_coefficients"), holders)
        own = ref.split(seed, self.random("self_mask_coefficients"), holders)
        self.shares[self.own] = mask[self.own], own[self.own]
        message = data_plane_pb2.ShareKeysPart(commitment=ref.commitment(self.context, self.name, seed))
        digests = b""
        for index in self.neighbours:
            entry = self.entry(index, mask[index], own[index])
            message.peers.append(index)
            message.entries += entry
            digests += ref.dealt_digest(self.names[index - 1], entry)
        message.signature = self.sign(ref.dealing_signed(self.context, self.roster, self.name, digests))
        return message

    def entry(self, index: int, mask: bytes, own: bytes) -> bytes:
        peer = self.names[index - 1]
        key = ref.sealing_key(self.channels[index], self.round_id, self.bound, self.name, peer, suite=self.suite)
        seal = ref.seal(key, mask + own, ref.share_associated_data(self.bound, self.name, peer))
        return seal + self.digests(self.name, peer, mask, own)

    def digests(self, owner: str, holder: str, mask: bytes, own: bytes) -> bytes:
        return ref.share_digest("mask-key", self.context, owner, holder, mask) + ref.share_digest(
            "self-mask", self.context, owner, holder, own
        )

    # --- round 2

    def on_delivery(self, parts: Sequence[bytes]) -> list[Any]:
        entries, named = read_delivery(parts)
        demand(bool(named) == self.config.model_later, VIOLATION)
        demand(not named or named == self.model_digest, MISMATCH)
        demand(set(entries) <= set(self.neighbours), VIOLATION)
        demand(len(entries) + 1 >= self.least, VIOLATION)
        for index, entry in entries.items():
            try:
                self.shares[index] = self.opened(index, entry)
            except Refused as refused:
                shown = ref.dealt_digest(self.name, entry).hex()
                refused.leave |= {"accused": self.names[index - 1], "refused_entry": shown}
                raise
        pairs = {index: self.agreed("mask", index) for index in entries}
        return self.masked(pairs)

    def opened(self, index: int, entry: bytes) -> tuple[bytes, bytes]:
        """C18, C19 and C92."""
        sender = self.names[index - 1]
        blamed = None if self.active else sender
        key = ref.sealing_key(self.channels[index], self.round_id, self.bound, sender, self.name, suite=self.suite)
        covered = ref.share_associated_data(self.bound, sender, self.name)
        try:
            pair = AESGCM(key).decrypt(bytes(12), entry[:82], covered)
        except InvalidTag:
            raise Refused(AUTHENTICATION, blamed) from None
        mask, own = pair[:33], pair[33:]
        demand(int.from_bytes(mask, "big") < ref.PRIME, DECODE, blamed)
        demand(int.from_bytes(own, "big") < ref.PRIME, DECODE, blamed)
        demand(entry[82:] == self.digests(sender, self.name, mask, own), AUTHENTICATION, blamed)
        return mask, own

    def masked(self, pairs: Mapping[int, bytes]) -> list[Any]:
        seed = self.random("self_mask_seed")
        masks = [(ref.self_mask_key(seed, self.round_id, self.input_bound, self.name, suite=self.suite), 1)]
        for index, shared in pairs.items():
            peer = self.names[index - 1]
            key = ref.pairwise_key(shared, self.round_id, self.input_bound, self.name, peer, suite=self.suite)
            masks.append((key, 1 if self.own > index else -1))
        self.awaits = "SurvivorSet"
        payloads = ref.masked(self.suite, ring_bits(self.config), self.encoded(), masks)
        return [data_plane_pb2.MaskedInputChunk(number=number, payload=part) for number, part in enumerate(payloads)]

    def encoded(self) -> list[int]:
        values = [float.fromhex(v) if isinstance(v, str) else float(v) for v in self.values()]
        uniforms = ref.words(ref.rounding_key(bytes.fromhex(self.mine["rounding_seed"])), 32, len(values))
        code = self.config.encoding
        return ref.encode(
            values,
            clip=code.clip,
            value_bits=code.value_bits,
            weight=self.mine["weight"],
            max_weight=code.max_weight,
            uniforms=uniforms,
        )

    def values(self) -> list[Any]:
        return [value for array in self.config.arrays for value in self.mine["values"][array.name]]

    # --- rounds 3 and 4

    def on_survivors(self, parts: Sequence[bytes]) -> list[Any]:
        survivors, dropped = read_survivors(parts)
        shown, closed = {*survivors, *dropped}, {*self.neighbours, self.own}
        demand(not {*survivors} & {*dropped}, VIOLATION)
        demand(max(shown, default=0) <= len(self.names), VIOLATION)
        demand(shown & closed == self.shares.keys(), VIOLATION)
        demand(self.own in survivors, VIOLATION)
        demand(len(survivors) >= self.config.threshold, VIOLATION)
        if self.active:
            self.check_organisations(survivors)
        names = frozenset(self.names[index - 1] for index in survivors)
        demand(not singled_out(names, self.config, self.released), POLICY)
        self.survivors, self.dropped = survivors, dropped
        if not self.active:
            return self.reveal()
        self.awaits = "ConsistencyProof"
        self.agreed_on = ref.sets_signed(self.input_context, self.roster, survivors, dropped)
        signs = self.own in self.signers
        return [data_plane_pb2.ConsistencyCheck(signature=self.sign(self.agreed_on) if signs else b"")]

    def on_proof(self, parts: Sequence[bytes]) -> list[Any]:
        signed = read_proof(parts)
        demand(set(signed) <= {*self.survivors} & {*self.signers}, VIOLATION)
        demand(len(signed) >= self.signatures, VIOLATION)
        for index, signature in signed.items():
            demand(verifies(self.verified[index], self.agreed_on, signature), AUTHENTICATION)
        return self.reveal()

    def reveal(self) -> list[Any]:
        self.awaits = "nothing"
        message = data_plane_pb2.UnmaskPart()
        for index in sorted(self.shares):
            mask, own = self.shares[index]
            if index in self.dropped:
                message.shares.add(owner=index, mask_key_share=mask)
            else:
                message.shares.add(owner=index, self_mask_share=own)
        return [message]


# --- sums of the same model -----------------------------------------------------------------------------------------


def singled_out(
    survivors: frozenset[str], config: config_pb2.RoundConfig, released: Sequence[Mapping[str, Any]]
) -> bool:
    """C86: whether some cell of all sums of this model is too small."""
    purpose = config.purpose or "train"
    sums = [(survivors, config.threshold, purpose)]
    sums += [(frozenset(r["survivors"]), r["threshold"], r.get("purpose", purpose)) for r in released]
    sums = list(dict.fromkeys(each for each in sums if _together(each[2]) == _together(purpose)))
    by_purpose = [[each for each in sums if each[2] == one] for one in sorted({each[2] for each in sums})]
    small = [
        members
        for some in by_purpose
        for members, inside in cells(some)
        if len(members) < max(threshold for _, threshold, _ in inside)
    ]
    if len(by_purpose) > 1:
        enough = min(max(threshold for _, threshold, _ in some) for some in by_purpose)
        small += [members for members, _ in cells(sums) if len(members) < enough]
    return bool(small)


def _together(purpose: str) -> str:
    return "train" if purpose == "metrics" else purpose


def cells(sums: Sequence[Any]) -> list[tuple[list[str], list[Any]]]:
    found: dict[tuple[bool, ...], list[str]] = {}
    for name in sorted({name for survivors, _, _ in sums for name in survivors}):
        found.setdefault(tuple(name in survivors for survivors, _, _ in sums), []).append(name)
    return [(names, [s for s, inside in zip(sums, key, strict=True) if inside]) for key, names in found.items()]


# --- endings --------------------------------------------------------------------------------------------------------


def read_aggregate(parts: Sequence[bytes], config: config_pb2.RoundConfig) -> tuple[list[str], list[int]]:
    """C30 and C31: survivors and sums."""
    read = merged(data_plane_pb2.AggregatePart, parts)
    survivors = [name for part in read for name in part.survivors]
    payloads = [part for part in read if part.payload]
    bits, size = ring_bits(config), vector_length(config)
    counts = ref.chunk_counts(size, bits)
    demand([part.number for part in payloads] == list(range(len(counts))), DECODE)
    demand([len(part.payload) for part in payloads] == [-(-n * bits // 8) for n in counts], DECODE)
    demand(all(map(is_id, survivors)), DECODE)
    demand(survivors == sorted(set(survivors), key=str.encode), DECODE)
    demand(len(survivors) >= config.threshold, DECODE)
    joined = b"".join(part.payload for part in payloads)
    demand(hashlib.sha256(joined).digest() == read[0].sums_digest, AUTHENTICATION)
    return survivors, [x for part, n in zip(payloads, counts, strict=True) for x in ref.unpack(part.payload, n, bits)]


def check_totals(config: config_pb2.RoundConfig, sums: Sequence[int], summands: int) -> None:
    """C97."""
    at = 0
    for array, (low, high) in zip(config.arrays, bounds_of(config), strict=True):
        size = vector_length(config_pb2.RoundConfig(arrays=[array], integers=config.integers))
        demand(all(each <= summands * (high - low) for each in sums[at : at + size]), VIOLATION, None)
        at += size


def believed(
    receipt: bytes, proof: Sequence[bytes] | None, known: Mapping[str, Any], roster: bytes, keys: Mapping[int, Any]
) -> bool | None:
    """C88 to C90, and whether a result is certified. `keys`: of the members by index."""
    (told,) = merged(data_plane_pb2.Receipt, [receipt])
    demand(told.survivors <= 10_000, DECODE)
    demand(len(told.sums_digest) == 32, DECODE)
    demand(len(told.signature) <= 72, DECODE)
    demand(len(told.certificates) <= 4, DECODE)
    demand(all(len(each) <= 8192 for each in told.certificates), DECODE)
    demand(told.survivors == len(known["survivors"]), VIOLATION)
    now = datetime.fromtimestamp(known["now_s"], UTC)
    authority, serves = bytes.fromhex(known["authority"]), ExtendedKeyUsageOID.SERVER_AUTH
    demand(told.signature, AUTHENTICATION)
    chain = Chain(list(told.certificates), authority, now, serves)
    Chain(list(told.certificates), authority, datetime.fromtimestamp(told.signed_ms / 1000, UTC), serves)
    chain.coordinator()
    covered = ref.receipt_signed(
        known["round_id"],
        known["context"],
        known["task"].encode(),
        known["model_digest"],
        roster,
        survivors=known["survivors"],
        sums_digest=told.sums_digest,
        signed_ms=told.signed_ms,
    )
    demand(verifies(chain.key, covered, told.signature), AUTHENTICATION)
    if proof is None:
        return None
    signed = read_proof(proof)
    demand(set(signed) <= set(known["indices"]), VIOLATION)
    result = ref.result_signed(known["context"], roster, known["indices"], told.sums_digest)
    for index, signature in signed.items():
        demand(verifies(keys[index], result, signature), AUTHENTICATION)
    threshold: int = known["threshold"]
    return len(signed) >= threshold
