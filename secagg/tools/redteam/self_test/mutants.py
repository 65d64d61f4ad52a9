"""The product broken on purpose, one flaw at a time, each with the check that must notice.

A mutant is a small patch of the real code at run time. One that nobody notices means that the harness would not notice
the same flaw in earnest.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from secagg.config import RoundConfig, Suite
from secagg.context import Round
from secagg.crypto.kdf import derive
from secagg.crypto.mask_stream import MaskCipher, MaskStream, StrideMemory, stride_words
from secagg.crypto.prg import Words
from secagg.crypto.rng import Rng, SeededRng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding import noisy
from secagg.homomorphic.dealt_key import confirm_key, encrypted_input, share_keys
from secagg.homomorphic.joint_key import partial_decryption as decrypting
from secagg.lattice import slots, streams
from secagg.lattice.keyshares import fallen_part, partial_decryption
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Profile
from secagg.lattice.rlwe import SecretKey
from secagg.lattice.tenseal_backend import _Seal
from secagg.masked import masked_input, masks, vector
from secagg.masked.masked_input import AwaitingShares
from secagg.masked.masks import Mask
from secagg.masked.vector import MaskedVector
from secagg.messages import MaskedInputChunk, ParticipantId
from secagg.noise.laws import Law
from secagg.noise.stream import NoiseStream
from secagg.noise.table import NoiseTable, noise_table
from secagg.tools.redteam.attacks.protocol import GAMES
from secagg.tools.redteam.attacks.protocol.game import Check, Measure


@dataclass(frozen=True, slots=True)
class Mutant:
    """One flaw.

    Attributes:
        name: for reports.
        title: what is wrong with the product.
        flaws: what is taken away from the product, or stands in its place.
        check: the check or game that must notice.
    """

    name: str
    title: str
    flaws: tuple[Check | Measure, ...]
    check: str


def _instead(owner: object, name: str, other: object) -> tuple[Measure, ...]:
    """Something else in the place of `owner.name`, whatever stands there."""
    return (Measure(owner, name, lambda _: other),)


# --- mask streams -----------------------------------------------------------------------------------------------------


def _words(change: Callable[[Words], Words]) -> tuple[Measure, ...]:
    """Every mask word is changed alike wherever a stream is read."""
    return (Measure(MaskStream, "stride", lambda made: lambda self, number, count: change(made(self, number, count))),)


def _gaussian(words: Words) -> Words:
    """What a float generator would give: Box–Muller of the two halves, rounded."""
    half = np.uint32(16)
    one, two = (words >> half).astype(np.float64), (words & np.uint32(0xFFFF)).astype(np.float64)
    normal = np.sqrt(-2 * np.log((one + 1) / 65536)) * np.cos(2 * np.pi * two / 65536)
    numbers: Words = np.rint(normal * 2.0**26).astype(np.int64).astype(words.dtype)
    return numbers


class _Twister(MaskStream):
    """A stream of the Mersenne Twister, seeded with the key."""

    __slots__ = ("_seed",)

    def __init__(self, cipher: MaskCipher, key: Secret, memory: StrideMemory) -> None:
        super().__init__(cipher, key, memory)
        self._seed = np.frombuffer(key.expose(), np.uint32)

    def stride(self, number: int, count: int) -> Words:
        dtype = self._memory.words.dtype
        drawn = np.random.RandomState(self._seed).randint(0, 1 << 32, number * stride_words(dtype) + count, np.uint32)
        return drawn[-count:].astype(dtype)


def _from_the_start(made: Callable[..., Words]) -> Callable[..., Words]:
    return lambda self, _number, count: made(self, 0, count)


def _uncovered(keep: Callable[[Words, Words], Words]) -> tuple[Measure, ...]:
    """Part of each upload is in clear: `keep(covered, clear)` is what leaves."""

    def uncovering(add: Callable[..., None]) -> Callable[..., None]:
        def partly(values: Words, start: int, made: tuple[Mask, ...], suite: Suite) -> None:
            clear = values.copy()
            add(values, start, made, suite)
            values[:] = keep(values.copy(), clear)

        return partly

    return (Measure(vector, "add_masks", uncovering),)


def _last_layer(covered: Words, clear: Words) -> Words:
    return np.concatenate([covered[:-65], clear[-65:]])


def _every_second(covered: Words, clear: Words) -> Words:
    covered[1::2] = clear[1::2]
    return covered


def _bits_in_clear(bits: int) -> Callable[[Words, Words], Words]:
    return lambda covered, clear: covered & covered.dtype.type(0xFFFFFFFF ^ bits) | clear & clear.dtype.type(bits)


# --- keys and seeds ---------------------------------------------------------------------------------------------------


def _short_seeds(bits: int) -> tuple[Measure, ...]:
    def shortened(whole: Callable[..., Secret]) -> Callable[..., Secret]:
        def short(*arguments: Any) -> Secret:
            number = int.from_bytes(whole(*arguments).expose(), "big") % (1 << bits)
            return Secret(number.to_bytes(16, "big"))

        return short

    return (Measure(masks, "_mask_key", shortened),)


def _unbound_masks(round_: Round, label: bytes, material: Secret, *ids: ParticipantId) -> Secret:
    info = frame(label, *(i.encode() for i in ids))
    return derive(material, salt=b"", info=info, size=round_.config.suite.key_size)


def _lasting_masks(round_: Round, label: bytes, _material: Secret, *ids: ParticipantId) -> Secret:
    return _unbound_masks(round_, label, Secret(b"a long-term secret"), *ids)


def _group_seed(round_: Round, _one: ParticipantId, _other: ParticipantId, _shared: Secret) -> Secret:
    return derive(Secret(round_.context), salt=b"", info=b"everyone", size=round_.config.suite.key_size)


def _fallback(made: Callable[..., tuple[Mask, ...]]) -> Callable[..., tuple[Mask, ...]]:
    return lambda self, delivery: made(self, delivery) if self.checked.own_index % 2 else ()


# --- ciphertexts ------------------------------------------------------------------------------------------------------


def _truncated_values(parts: Any) -> U64:
    values: U64 = np.trunc(np.concatenate([parts.real, parts.imag], axis=-1)).astype(np.int64).astype(np.uint64)
    return values


def _same_noise(encrypt: Callable[..., U64]) -> Callable[..., U64]:
    made: dict[bytes, U64] = {}

    def once(self: object, how: object, values: U64) -> U64:
        key = values.tobytes()
        if key not in made:
            made[key] = encrypt(self, how, values)
        return made[key]

    return once


def _one_stream(_seed: bytes, salt: bytes, _purpose: bytes, prime: int) -> Secret:
    return derive(Secret(salt or b"reference"), salt=b"", info=prime.to_bytes(8, "big"), size=32)


def _unsmudged(_profile: Profile, key: SecretKey, c1: U64, _rng: Rng) -> U64:
    return fallen_part(key, c1)


def _smudged_alike(profile: Profile, key: SecretKey, c1: U64, _rng: Rng) -> U64:
    return partial_decryption(profile, key, c1, SeededRng(bytes(32)))


_SAME_NOISE: Final = (Measure(_Seal, "encrypt_blocks", _same_noise),)
_KEY_FOR_ITS_DIGEST: Final = tuple(
    Measure(phase, "dealt_key_digest", lambda _: lambda _context, seed: seed.expose())
    for phase in (share_keys, confirm_key, encrypted_input)
)


# --- noise, logs, sizes -----------------------------------------------------------------------------------------------


def _half_the_noise(law: Law, variance: Fraction) -> NoiseTable:
    return noise_table(law, variance / 4)


def _seeded_noise(table: NoiseTable, _seed: Secret) -> NoiseStream:
    return NoiseStream(table, Secret(bytes(32)))


def _log_line(chunk: Callable[..., MaskedInputChunk]) -> Callable[..., MaskedInputChunk]:
    def talkative(self: MaskedVector, number: int) -> MaskedInputChunk:
        first = self._vector.read(0, 64, np.dtype("<u4")).tolist()
        logging.getLogger("secagg").debug("masking %s", first)
        return chunk(self, number)

    return talkative


def _talkative_server(receive: Callable[..., Any]) -> Callable[..., Any]:
    import structlog  # noqa: PLC0415, an extra

    def talkative(self: Any, sender: ParticipantId, claim: int, chunk: Any, now: float) -> Any:
        structlog.get_logger().debug("chunk", first=np.frombuffer(chunk.payload[:256], "<u4").tolist())
        return receive(self, sender, claim, chunk, now)

    return talkative


def _telling_sizes(each: Callable[..., Iterator[MaskedInputChunk]]) -> Callable[..., Iterator[MaskedInputChunk]]:
    def shorter(self: MaskedVector) -> Iterator[MaskedInputChunk]:
        flat = int(self._vector.read(0, 60, np.dtype("<u4")).var() < 1e6)
        for made in each(self):
            yield MaskedInputChunk(made.number, made.payload[: len(made.payload) - flat])

    return shorter


# --- defences against attacks on rounds -------------------------------------------------------------------------------


def _undefended(name: str, title: str, game: str) -> Mutant:
    """What the game names as the defence against its attack is gone."""
    return Mutant(name, title, GAMES[game].defences, game)


MUTANTS: Final = (
    _undefended("no-self-mask", "no self mask", "late-message"),
    Mutant("unbound-seed", "mask seeds are not bound to the round",
           _instead(masks, "_mask_key", _unbound_masks), "restored-snapshot"),
    Mutant("seed-16", "mask keys of 16 bits", _short_seeds(16), "seeds"),
    Mutant("seed-20", "mask keys of 20 bits", _short_seeds(20), "seeds"),
    Mutant("mersenne-twister", "masks from MT19937", _instead(masks, "MaskStream", _Twister), "masks"),
    Mutant("24-bit-masks", "24-bit masks in a 32-bit ring", _words(lambda w: w & w.dtype.type(0xFFFFFF)), "masks"),
    Mutant("modulo-3e9", "masks are rand32 mod 3·10⁹", _words(lambda w: w % w.dtype.type(3_000_000_000)), "masks"),
    Mutant("modulo-mersenne", "masks modulo 2³¹ − 1", _words(lambda w: w % w.dtype.type(2**31 - 1)), "masks"),
    Mutant("gaussian-masks", "float Gaussian masks", _words(_gaussian), "masks"),
    Mutant("stream-reused", "each chunk is masked from the start of the stream",
           (Measure(MaskStream, "stride", _from_the_start),), "mask-chunks"),
    Mutant("layer-in-clear", "one layer in clear", _uncovered(_last_layer), "masks"),
    Mutant("every-second", "every second coordinate in clear", _uncovered(_every_second), "masks"),
    Mutant("low-byte", "low byte in clear", _uncovered(_bits_in_clear(0xFF)), "masks"),
    Mutant("sign-bit", "sign bit in clear", _uncovered(_bits_in_clear(0x80000000)), "masks"),
    Mutant("group-seed", "one seed for the group", _instead(masked_input, "pairwise_mask_key", _group_seed), "seeds"),
    Mutant(
        "fallback", "half the updates unmasked as a fallback",
        (Measure(AwaitingShares, "_masks", _fallback),), "masks",
    ),
    Mutant("lasting-keys", "mask keys reused over rounds", _instead(masks, "_mask_key", _lasting_masks), "two-rounds"),
    _undefended("low-threshold", "threshold ≤ colluders is allowed", "threshold-of-colluders"),
    _undefended("all-but-one-collude", "n_C may leave one honest update in a sum", "all-but-one-collude"),
    _undefended("rings-unsafe", "any ring will do, however many collude", "ring-ground"),
    _undefended("ring-chosen", "the ring does not follow from the members' keys", "ring-foreseen"),
    _undefended("committee-silent", "nobody waits for the committee's signatures", "ring-two-stories"),
    _undefended("half-of-a-key", "keys of the hybrid suite come from X25519 alone", "recorded-hybrid"),
    _undefended("any-suite", "who demands the hybrid suite takes any other", "downgrade-hybrid"),
    _undefended("both-shares", "both kinds of share are answered", "both-shares"),
    _undefended("state-restored-twice", "a saved state can be restored again", "restored-twice"),
    _undefended("survivors-unchecked", "any number of survivors will do", "cohort-of-one"),
    _undefended("signature-unchecked", "signatures of keys unchecked", "key-substitution"),
    _undefended("consistency-unchecked", "one signature on the survivors will do", "two-survivor-sets"),
    _undefended("context-unchecked", "keys are not bound to the round", "replay-keys"),
    _undefended("model-unchecked", "the context leaves the model out", "different-models"),
    Mutant("ckks-unrounded", "CKKS sums are cut off instead of rounded",
           _instead(slots, "ckks_values", _truncated_values), "release-ckks"),
    Mutant("ckks-same-noise", "CKKS noise is the same every time", _SAME_NOISE, "encryption-noise-ckks"),
    Mutant("bfv-same-noise", "BFV noise is the same every time", _SAME_NOISE, "encryption-noise-bfv"),
    Mutant("equal-streams", "everyone's c1 is the same stream",
           _instead(streams, "_stream_key", _one_stream), "ciphertexts-ckks"),
    Mutant("key-at-coordinator", "the coordinator is sent the secret key", _KEY_FOR_ITS_DIGEST, "secrets-bfv"),
    Mutant("unsmudged", "partial decryptions without smudging noise",
           _instead(decrypting, "partial_decryption", _unsmudged), "smudging-bfv-threshold"),
    Mutant("smudged-alike", "the same smudging noise for everyone",
           _instead(decrypting, "partial_decryption", _smudged_alike), "smudging-bfv-threshold"),
    Mutant("noise-of-everyone", "noise is sized for all, dropouts too",
           _instead(RoundConfig, "guaranteed_honest", property(lambda self: self.max_participants)), "released-noise"),
    Mutant("half-the-noise", "noise of half the deviation",
           _instead(noisy, "noise_table", _half_the_noise), "released-noise"),
    Mutant("seeded-noise", "noise from a generator with a fixed seed",
           _instead(noisy, "NoiseStream", _seeded_noise), "fresh-noise"),
    Mutant("log-line", "a log line with values of an update",
           (Measure(MaskedVector, "chunk", _log_line),), "values-in-sight"),
    Mutant("server-log", "the server logs words of an upload",
           (Measure("secagg_server.rounds.hosted:HostedRound", "_receive_chunk", _talkative_server),),
           "shell-in-sight"),
    _undefended("forgotten-claims", "a participant forgets which sums it opened", "hidden-receipt"),
    _undefended("shared-update", "an update that changed is sent", "changed-update"),
    _undefended("blamed-unsigned", "who did not sign a share is blamed for it", "framing"),
    _undefended("certified-by-few", "any number of signatures certifies a result", "two-results"),
    Mutant("telling-sizes", "the size of an upload follows the data",
           (Measure(MaskedVector, "__iter__", _telling_sizes),), "taint-masked-active"),
)  # fmt: skip
"""Every flaw of the design's list that the product could have, and some more."""
