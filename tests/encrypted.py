"""Small homomorphic rounds for tests, without messages: encrypt, sum, decrypt, for both schemes and custodies."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import numpy as np
import tenseal.sealapi as seal

from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.lattice.decoding import decode
from secagg.lattice.keyshares import fallen_part, joint_key, key_share, partial_decryption
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Custody, Profile, Scheme, find_profile
from secagg.lattice.residues import pack_residues
from secagg.lattice.rlwe import SecretKey, add
from secagg.lattice.streams import SeededPolynomials
from secagg.lattice.summation import Aggregate, PublicKeySum, SeededSum
from secagg.lattice.tenseal_backend import Decryptor, Encryptor, PublicKeyEncryptor, SymmetricEncryptor
from secagg.lattice.uploads import upload_chunks

CONTEXT = bytes(range(32))
VALUE_BITS = 16
SUMMANDS = 10
CASES = [(scheme, custody) for scheme in Scheme for custody in Custody]


@cache
def profile_of(scheme: Scheme, custody: Custody) -> Profile:
    return find_profile(scheme, custody, SUMMANDS, VALUE_BITS)


def numbers(seed: int, count: int, bits: int = VALUE_BITS) -> U64:
    return np.random.default_rng(seed).integers(0, 1 << bits, count, dtype=np.uint64)


def key_seed(tag: int = 0) -> Secret:
    return Secret(SeededRng(tag.to_bytes(32, "big")).token(32))


def stream_of(profile: Profile, participant: str) -> SeededPolynomials:
    return SeededPolynomials(profile, participant.encode().ljust(16), context=CONTEXT, participant=participant)


def symmetric_encryptor(profile: Profile, participant: str) -> SymmetricEncryptor:
    seed = participant.encode().ljust(16)
    return SymmetricEncryptor(profile, key_seed(), context=CONTEXT, seed=seed, participant=participant)


def encrypted(profile: Profile, encryptor: Encryptor, values: U64) -> list[bytes]:
    def encrypt(part: U64, first_block: int) -> bytes:
        return pack_residues(encryptor.encrypt(part, first_block), profile.prime_bits)

    return list(upload_chunks(profile, len(values), lambda start, stop: values[start:stop], encrypt))


def dealt_sum(profile: Profile, vectors: list[U64]) -> Aggregate:
    """Custody `participants`: the encrypted sum."""
    names = [f"p{i}" for i in range(len(vectors))]
    total = SeededSum(profile, len(vectors[0]))
    for name, vector in zip(names, vectors, strict=True):
        for i, chunk in enumerate(encrypted(profile, symmetric_encryptor(profile, name), vector)):
            total.add(i, chunk)
    return total.finish([stream_of(profile, name) for name in names])


def opened(profile: Profile, aggregate: Aggregate, count: int, summands: int) -> U64:
    """What holders of the dealt key get, through SEAL."""
    decryptor = Decryptor(profile, key_seed(), context=CONTEXT)
    return decryptor.decrypt(aggregate.c0.residues[:, 0], aggregate.c1.residues[:, 0], count, summands)


@dataclass
class Joint:
    """Custody `threshold` among `parties`."""

    profile: Profile
    parties: int

    def keys(self) -> list[SecretKey]:
        return [SecretKey(self.profile, key_seed(i + 1), CONTEXT) for i in range(self.parties)]

    def sum(self, vectors: list[U64]) -> Aggregate:
        shares = [key_share(self.profile, key_seed(i + 1), CONTEXT) for i in range(self.parties)]
        encryptor = PublicKeyEncryptor(self.profile, joint_key(self.profile, shares), context=CONTEXT)
        total = PublicKeySum(self.profile, len(vectors[0]))
        for vector in vectors:
            for i, chunk in enumerate(encrypted(self.profile, encryptor, vector)):
                total.add(i, chunk)
        return total.finish()

    def phase(self, aggregate: Aggregate, alive: Collection[int], fallen: Collection[int] = ()) -> U64:
        """c0 + the partials of the living + the parts of the fallen, whose seeds were recovered."""
        phase, c1, rng = aggregate.c0.residues[:, 0], aggregate.c1.residues[:, 0], SeededRng(bytes(32))
        for i, key in enumerate(self.keys()):
            if i in alive:
                phase = add(self.profile.primes, phase, partial_decryption(self.profile, key, c1, rng))
            elif i in fallen:
                phase = add(self.profile.primes, phase, fallen_part(key, c1))
        return phase


def round_of(scheme: Scheme, custody: Custody, vectors: list[U64]) -> U64:
    """Encrypt, sum and open under any scheme and custody."""
    profile, count = profile_of(scheme, custody), len(vectors[0])
    if custody is Custody.PARTICIPANTS:
        return opened(profile, dealt_sum(profile, vectors), count, len(vectors))
    joint = Joint(profile, 3)
    return decode(profile, joint.phase(joint.sum(vectors), {0, 1}, {2}), count, len(vectors))


def seal_context(profile: Profile) -> seal.SEALContext:
    bfv = profile.scheme is Scheme.BFV
    settings = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV if bfv else seal.SCHEME_TYPE.CKKS)
    settings.set_poly_modulus_degree(profile.ring_degree)
    settings.set_coeff_modulus([seal.Modulus(prime) for prime in profile.key_primes])
    if bfv:
        settings.set_plain_modulus(profile.plain_modulus)
    return seal.SEALContext(settings, True, seal.SEC_LEVEL_TYPE.TC128)
