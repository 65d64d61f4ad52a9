"""Holds whole homomorphic rounds to `reference.py` and `ring_reference.py`: every message, from the inputs alone."""

import base64
import hashlib
from typing import Any

from secagg.tools.conformance import vectors
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.conformance import reference as ref
from tests.conformance import ring_reference as ring
from tests.conformance.against_specification import Rebuilt, check_mean
from tests.conformance.lattice_specification import (
    Polys,
    Profile,
    c1_digest,
    commitment,
    decoded,
    flood,
    indices,
    roster_digest,
    signed,
)

Vector = dict[str, Any]
unhex = bytes.fromhex


class Encrypted(Rebuilt):
    """A homomorphic round computed anew from its inputs."""

    def __init__(self, vector: Vector) -> None:
        super().__init__(vector)
        message = self.config.homomorphic
        self.profile = Profile(
            {
                "scheme": {1: "ckks", 2: "bfv"}[message.scheme],
                "custody": {1: "participants", 2: "threshold"}[message.custody],
                "summands": message.summands,
                "value_bits": message.value_bits,
                "ring_degree": message.ring_degree,
                "primes": list(message.primes),
                "special_prime": message.special_prime,
                "plain_modulus": message.plain_modulus,
                "scale": 2**message.scale_bits if message.scale_bits else 0,
                "values_per_slot": message.values_per_slot,
            }
        )
        drops = vector["drops"]
        self.takers = [n for n in self.shared if n != drops.get("CONFIRM_KEY")]
        self.survivors = [n for n in self.takers if n != drops["ENCRYPTED_INPUT"]]
        self.dropped = [n for n in self.takers if n not in self.survivors]

    @property
    def active(self) -> bool:
        return True  # everything is signed

    def committed(self, name: str) -> bytes:
        return b""

    def entry(self, name: str) -> dict[str, Any]:
        keys = self.public(name, "channel"), b"", self.committed(name)
        stated = dict(
            zip(("channel_public_key", "mask_public_key", "key_share_commitment"), map(bytes.hex, keys), strict=True)
        )
        certificates = [c.hex() for c in self.certificates(name)]
        return stated | {"index": self.index.get(name, 0), "participant_id": name, "certificates": certificates}

    def advertisement(self, name: str) -> pb.AdvertiseKeys:
        keys = self.public(name, "channel"), b"", self.committed(name)
        message = signed("advertise-keys", self.bound, name.encode(), *keys)
        return pb.AdvertiseKeys(
            channel_public_key=keys[0],
            signature=self.sign(name, message),
            certificates=self.certificates(name),
            key_share_commitment=keys[2],
        )

    def roster_digest(self) -> bytes:
        return roster_digest([self.entry(name) for name in self.index])

    def digest_of(self, sender: str, receiver: str, content: bytes) -> bytes:
        """What stands behind the seal."""
        raise NotImplementedError

    def seal_as(self, label: str, sender: str, receiver: str, plaintext: bytes) -> bytes:
        shared = ref.agree(self.random(sender, "channel_private_key"), self.public(receiver, "channel"))
        ends = (self.bound, sender.encode(), receiver.encode())
        key = ref.hkdf(shared, self.round_id, ref.frame(label.encode(), ref.SUITE, *ends))
        seal = ref.seal(key, plaintext, ref.share_associated_data(self.bound, sender, receiver))
        return seal + self.digest_of(sender, receiver, plaintext)

    def message(self, name: str) -> dict[int, int]:
        return dict(enumerate(self.encoded(name)))

    def recorded(self, name: str) -> Polys:
        recording = vectors.load(self.people[name]["encryption"]["recorded"])
        assert recording["context"] == self.bound.hex()
        assert recording["prime_bits"] == self.profile.bits
        return self.profile.unpack(base64.b64decode(recording["ciphertexts"][name]))

    def sent(self, slug: str, part: int = 0) -> str | dict[str, Any]:
        found: str | dict[str, Any] = self.vector["messages"][slug]["parts"][part]
        return found

    def is_part(self, message: Any, slug: str, part: int = 0) -> None:
        """That is what the vector says was sent: in full or by digest."""
        data, told = message.SerializeToString(deterministic=True), self.sent(slug, part)
        if isinstance(told, str):
            assert data == unhex(told), slug
        else:
            assert (len(data), hashlib.sha256(data).hexdigest()) == (told["size"], told["sha256"]), slug

    def chunk(self, name: str, polys: Polys, key_digest: bytes, seed: bytes) -> pb.EncryptedInputChunk:
        payload = self.profile.pack(polys)
        binding = ring.input_binding(self.bound, name, self.profile.numbers, key_digest, seed)
        bound = ring.chunk_binding(binding, 0, payload)
        return pb.EncryptedInputChunk(payload=payload, seed=seed, binding=bound)

    def proves(self, slug: str, names: list[str], message: bytes) -> None:
        proof = pb.ConsistencyProofPart.FromString(unhex(str(self.sent(slug))))
        found = {s.signer: s.signature for s in proof.signatures}
        assert found == {self.index[name]: self.sign(name, message) for name in names}


def whole_round(vector: Vector) -> None:
    made = Joint(vector) if "threshold" in vector["title"] else Dealt(vector)
    assert made.bound.hex() == vector["context"]
    for name in vector["participants"]:
        made.is_part(made.advertisement(name), f"{name}/advertise-keys")
    assert made.roster_digest().hex() == vector["intermediates"]["roster_digest"]
    made.check()
    _check_outcome(vector, made)


class Dealt(Encrypted):
    """A key dealt by the first who shared one."""

    def digest_of(self, _sender: str, _receiver: str, content: bytes) -> bytes:
        return ref.digest(b"secagg/v1/dealt-key", self.bound, content)

    def check(self) -> None:
        dealer = self.shared[0]
        seed = self.random(dealer, "key_seed")
        digest = ref.digest(b"secagg/v1/dealt-key", self.bound, seed)
        self._check_dealing()
        confirmed = signed("key-confirmation", self.bound, self.roster_digest(), indices([self.index[dealer]]), digest)
        for name in self.shared:
            self.is_part(
                pb.KeyConfirmation(digest=digest, signature=self.sign(name, confirmed)), f"{name}/key-confirmation"
            )
        self.proves("key-proof", self.takers, confirmed)
        secret = ring.ternary(seed, self.bound, self.profile.degree)
        total = self._check_inputs(secret, digest)
        self._check_sum(total, secret)

    def _check_dealing(self) -> None:
        for name in self.index:
            seed = self.random(name, "key_seed")
            message = pb.ShareKeysPart.FromString(unhex(str(self.sent(f"{name}/share-keys"))))
            assert message.commitment == ref.digest(b"secagg/v1/dealt-key", self.bound, seed)
            seals = {
                i: self.seal_as("secagg/v1/dealt-key-sealing", name, n, seed)
                for n, i in self.index.items()
                if n != name
            }
            self.check_dealt(name, message, seals)

    def _check_inputs(self, secret: list[int], digest: bytes) -> tuple[Polys, Polys]:
        p, count = self.profile, len(self.profile.primes)
        total = ([[0] * p.degree] * count, [[0] * p.degree] * count)
        for name in self.takers:
            fresh, seed = self.recorded(name), self.random(name, "stream_seed")
            c0, c1, a = fresh[:count], fresh[count:], p.seeded(seed, self.bound, name)
            moved = p.plus(c0, p.times(p.minus(c1, a), secret))
            self.is_part(self.chunk(name, moved, digest, seed), f"{name}/encrypted-input")
            if name in self.survivors:
                total = p.plus(total[0], moved), p.plus(total[1], a)
        return total

    def _check_sum(self, total: tuple[Polys, Polys], secret: list[int]) -> None:
        p = self.profile
        sets = pb.SurvivorSet(survivors=self.indices(self.survivors), dropped=self.indices(self.dropped))
        self.is_part(pb.EncryptedSumPart(sets=sets), "encrypted-sum")
        self.is_part(pb.EncryptedSumPart(c0=p.pack(total[0])), "encrypted-sum", 1)
        self.is_part(pb.EncryptedSumPart(c1=p.pack(total[1])), "encrypted-sum", 2)
        phase = p.coefficients(p.plus(total[0], p.times(total[1], secret)))
        sums = self.vector["outcome"]["sums"]
        assert decoded(p, phase, len(sums), len(self.survivors)) == sums
        digest = hashlib.sha256(ref.pack(sums, self.bits)).digest()
        report = signed("sum-report", self.bound, self.roster_digest(), indices(self.indices(self.survivors)), digest)
        for name in self.survivors:
            self.is_part(pb.SumReport(digest=digest, signature=self.sign(name, report)), f"{name}/sum-report")


class Joint(Encrypted):
    """A key of which everyone has a part."""

    def digest_of(self, sender: str, receiver: str, content: bytes) -> bytes:
        return ref.share_digest("key-seed", self.bound, sender, receiver, content)

    def __init__(self, vector: Vector) -> None:
        self._shares: dict[str, bytes] = {}
        super().__init__(vector)

    def packed_share(self, name: str) -> bytes:
        if name not in self._shares:
            share = self.profile.key_share(self.random(name, "key_seed"), self.bound)
            self._shares[name] = self.profile.pack(share)
        return self._shares[name]

    def committed(self, name: str) -> bytes:
        return commitment(self.bound, name, self.packed_share(name))

    def pieces(self, name: str) -> dict[int, bytes]:
        seed, drawn = self.random(name, "key_seed"), self.random(name, "key_seed_coefficients")
        return ref.split(seed, drawn, self.index.values())

    def check(self) -> None:
        self._check_dealing()
        joint = self._joint_key()
        c0, c1 = self._check_inputs(joint)
        packed = self.profile.pack(c1)
        sets = pb.SurvivorSet(survivors=self.indices(self.survivors), dropped=self.indices(self.dropped))
        self.is_part(pb.EncryptedSumPart(sets=sets), "encrypted-sum")
        self.is_part(pb.EncryptedSumPart(c1=packed), "encrypted-sum", 1)
        lists = indices(sets.survivors), indices(sets.dropped)
        agreed = signed("decryption", self.bound, self.roster_digest(), *lists, c1_digest(packed))
        drops = self.vector["drops"]
        signers = [n for n in self.survivors if n != drops["CONSISTENCY_CHECK"]]
        self.proves("consistency-proof", signers, agreed)
        self._check_opening(c0, c1, signers)

    def _check_dealing(self) -> None:
        for name in self.index:
            message = pb.ShareKeysPart.FromString(unhex(str(self.sent(f"{name}/share-keys"))))
            pieces = self.pieces(name)
            label = "secagg/v1/key-seed-share-sealing"
            seals = {i: self.seal_as(label, name, n, pieces[i]) for n, i in self.index.items() if n != name}
            self.check_dealt(name, message, seals)
            assert message.commitment == b""
            self.is_part(pb.ShareKeysPart(key_share=self.packed_share(name)), f"{name}/share-keys", 1)

    def _joint_key(self) -> Polys:
        p = self.profile
        total = [[0] * p.degree] * len(p.key_primes)
        for name in self.shared:
            share = p.unpack(self.packed_share(name))
            total = [ring.plus(x, y, q) for x, y, q in zip(total, share, p.key_primes, strict=True)]
        return total

    def _check_inputs(self, joint: Polys) -> tuple[Polys, Polys]:
        p, count = self.profile, len(self.profile.primes)
        digest = ref.digest(b"secagg/v1/residues", p.pack(joint))
        total = ([[0] * p.degree] * count, [[0] * p.degree] * count)
        for name in self.takers:
            stated = self.people[name]["encryption"]
            both = self.recorded(name) if "recorded" in stated else self.encrypt(name, joint)
            self.is_part(self.chunk(name, both, digest, b""), f"{name}/encrypted-input")
            if name in self.survivors:
                total = p.plus(total[0], both[:count]), p.plus(total[1], both[count:])
        return total

    def encrypt(self, name: str, joint: Polys) -> Polys:
        p, stated = self.profile, self.people[name]["encryption"]
        u = ring.ternary(unhex(stated["u"]), self.bound, p.degree)
        masks = []
        for public, kind in ((joint, "e0"), (p.reference(self.bound), "e1")):
            e = ring.error(unhex(stated[kind]), self.bound, p.degree)
            products = []
            for poly, q in zip(public, p.key_primes, strict=True):
                small = ring.transform([c % q for c in u], q)
                products.append(ring.plus(ring.inverse(ring.multiply(poly, small, q), q), e, q))
            whole = ring.combined(products, p.key_primes)
            masks.append([(x + p.special // 2) // p.special for x in whole])
        masks[0] = [x + m for x, m in zip(masks[0], p.hidden(self.message(name)), strict=True)]
        return [poly for mask in masks for poly in p.lift(mask)]

    def _check_opening(self, c0: Polys, c1: Polys, signers: list[str]) -> None:
        p, drops = self.profile, self.vector["drops"]
        partials = [n for n in signers if n != drops["PARTIAL_DECRYPTION"]]
        fallen = [n for n in self.shared if n not in partials]
        phase = c0
        for name in self.shared:
            secret = ring.ternary(self.random(name, "key_seed"), self.bound, p.degree)
            part = p.times(c1, secret)
            if name in partials:
                part = p.plus(part, p.lift(flood(self.random(name, "flood_seed"), p.degree)))
                self.is_part(pb.PartialChunk(payload=p.pack(part)), f"{name}/partial-decryption")
            phase = p.plus(phase, part)
        sums = self.vector["outcome"]["sums"]
        assert decoded(p, p.coefficients(phase), len(sums), len(self.survivors)) == sums
        self._check_recovery(fallen, [n for n in partials if n != drops["RECOVERY_CHECK"]])

    def _check_recovery(self, fallen: list[str], signers: list[str]) -> None:
        self.is_part(pb.FallenSet(fallen=self.indices(fallen)), "fallen")
        agreed = signed("recovery", self.bound, self.roster_digest(), indices(self.indices(fallen)))
        self.proves("recovery-proof", signers, agreed)
        shown: dict[str, dict[int, bytes]] = {owner: {} for owner in fallen}
        for name in signers:
            message = pb.RecoverSeedsPart.FromString(unhex(str(self.sent(f"{name}/recover-seeds"))))
            at = self.index[name]
            assert {s.owner: s.share for s in message.shares} == {self.index[o]: self.pieces(o)[at] for o in fallen}
            if name != self.vector["drops"]["RECOVER_SEEDS"]:
                for owner in fallen:
                    shown[owner][at] = self.pieces(owner)[at]
        for owner, pieces in shown.items():
            assert len(pieces) >= self.config.threshold
            assert ref.join(pieces).to_bytes(32, "big") == self.random(owner, "key_seed")


def _check_outcome(vector: Vector, made: Encrypted) -> None:
    outcome = vector["outcome"]
    assert outcome["survivors"] == made.survivors
    assert outcome["sums"] == [sum(c) for c in zip(*map(made.encoded, made.survivors), strict=True)]
    check_mean(vector, made)
