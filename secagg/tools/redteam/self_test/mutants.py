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

from secagg.config import RoundConfig
from secagg.context import Round
from secagg.crypto.kdf import derive
from secagg.crypto.prg import MaskStream, Words
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
from secagg.messages import MaskedInputChunk, ParticipantId, ShareDelivery
from secagg.noise.laws import Law
from secagg.noise.stream import NoiseStream
from secagg.noise.table import NoiseTable, noise_table
from secagg.tools.redteam.attacks.protocol import GAMES
from secagg.tools.redteam.self_test.patches import Patch, take_away


@dataclass(frozen=True, slots=True)
class Mutant:
    """One flaw.

    Attributes:
        name: for reports.
        title: what is wrong with the product.
        apply: breaks it, for as long as the patch lives.
        check: the check or game that must notice.
        encrypted: whether that needs TenSEAL.
        server: whether that needs the server.
    """

    name: str
    title: str
    apply: Callable[[Patch], None]
    check: str
    encrypted: bool = False
    server: bool = False


# --- mask streams -----------------------------------------------------------------------------------------------------


def _words(change: Callable[[Words], Words]) -> Callable[[Patch], None]:
    """Every mask word is changed alike wherever a stream is read."""

    def apply(patch: Patch) -> None:
        expand = MaskStream.next
        patch.setattr(MaskStream, "next", lambda self, count: change(expand(self, count)))

    return apply


def _gaussian(words: Words) -> Words:
    """What a float generator would give: Box–Muller of the two halves, rounded."""
    half = np.uint32(16)
    one, two = (words >> half).astype(np.float64), (words & np.uint32(0xFFFF)).astype(np.float64)
    normal = np.sqrt(-2 * np.log((one + 1) / 65536)) * np.cos(2 * np.pi * two / 65536)
    numbers: Words = np.rint(normal * 2.0**26).astype(np.int64).astype(words.dtype)
    return numbers


class _Twister(MaskStream):
    """A stream of the Mersenne Twister, seeded with the key."""

    __slots__ = ("_state",)

    def __init__(self, key: Secret, dtype: Any, start: int = 0, buffer: bytearray | None = None) -> None:
        super().__init__(key, dtype, start, buffer)
        self._state = np.random.RandomState(np.frombuffer(key.expose(), np.uint32))
        self._state.randint(0, 1 << 32, start, np.uint32)

    def next(self, count: int) -> Words:
        return self._state.randint(0, 1 << 32, count, np.uint32).astype(self._words.dtype)


def _always_from_the_start(patch: Patch) -> None:
    made = MaskStream.__init__

    def begin(self: MaskStream, key: Secret, dtype: Any, _start: int = 0, buffer: bytearray | None = None) -> None:
        made(self, key, dtype, 0, buffer)

    patch.setattr(MaskStream, "__init__", begin)


def _uncovered(keep: Callable[[Words, Words], Words]) -> Callable[[Patch], None]:
    """Part of each upload is in clear: `keep(covered, clear)` is what leaves."""

    def apply(patch: Patch) -> None:
        add = masks.add_masks

        def partly(values: Words, start: int, made: tuple[Mask, ...]) -> None:
            clear = values.copy()
            add(values, start, made)
            values[:] = keep(values.copy(), clear)

        patch.setattr(vector, "add_masks", partly)

    return apply


def _last_layer(covered: Words, clear: Words) -> Words:
    return np.concatenate([covered[:-65], clear[-65:]])


def _every_second(covered: Words, clear: Words) -> Words:
    covered[1::2] = clear[1::2]
    return covered


def _bits_in_clear(bits: int) -> Callable[[Words, Words], Words]:
    return lambda covered, clear: covered & covered.dtype.type(0xFFFFFFFF ^ bits) | clear & clear.dtype.type(bits)


# --- keys and seeds ---------------------------------------------------------------------------------------------------


def _short_seeds(bits: int) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        whole = masks._mask_key

        def short(round_: Round, label: bytes, material: Secret, *ids: ParticipantId) -> Secret:
            number = int.from_bytes(whole(round_, label, material, *ids).expose(), "big") % (1 << bits)
            return Secret(number.to_bytes(16, "big"))

        patch.setattr(masks, "_mask_key", short)

    return apply


def _unbound_masks(patch: Patch) -> None:
    def unbound(round_: Round, label: bytes, material: Secret, *ids: ParticipantId) -> Secret:
        info = frame(label, *(i.encode() for i in ids))
        return derive(material, salt=b"", info=info, size=round_.config.suite.key_size)

    patch.setattr(masks, "_mask_key", unbound)


def _lasting_masks(patch: Patch) -> None:
    def lasting(round_: Round, label: bytes, _material: Secret, *ids: ParticipantId) -> Secret:
        info = frame(label, *(i.encode() for i in ids))
        return derive(Secret(b"a long-term secret"), salt=b"", info=info, size=round_.config.suite.key_size)

    patch.setattr(masks, "_mask_key", lasting)


def _group_seed(patch: Patch) -> None:
    def group(round_: Round, _one: ParticipantId, _other: ParticipantId, _shared: Secret) -> Secret:
        return derive(Secret(round_.context), salt=b"", info=b"everyone", size=round_.config.suite.key_size)

    patch.setattr(masked_input, "pairwise_mask_key", group)


def _some_masks(choose: Callable[[AwaitingShares, tuple[Mask, ...]], tuple[Mask, ...]]) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        made = AwaitingShares._masks

        def fewer(self: AwaitingShares, delivery: ShareDelivery) -> tuple[Mask, ...]:
            return choose(self, made(self, delivery))

        patch.setattr(AwaitingShares, "_masks", fewer)

    return apply


# --- ciphertexts ------------------------------------------------------------------------------------------------------


def _truncated_values(patch: Patch) -> None:
    def truncated(parts: Any) -> U64:
        values: U64 = np.trunc(np.concatenate([parts.real, parts.imag], axis=-1)).astype(np.int64).astype(np.uint64)
        return values

    patch.setattr(slots, "ckks_values", truncated)


def _same_noise(patch: Patch) -> None:
    encrypt, made = _Seal.encrypt_blocks, dict[bytes, U64]()

    def once(self: _Seal, how: Any, values: U64) -> U64:
        key = values.tobytes()
        if key not in made:
            made[key] = encrypt(self, how, values)
        return made[key]

    patch.setattr(_Seal, "encrypt_blocks", once)


def _one_stream(patch: Patch) -> None:
    def one(_seed: bytes, salt: bytes, _purpose: bytes, prime: int) -> Secret:
        return derive(Secret(salt or b"reference"), salt=b"", info=prime.to_bytes(8, "big"), size=32)

    patch.setattr(streams, "_stream_key", one)


def _unsmudged(patch: Patch) -> None:
    patch.setattr(decrypting, "partial_decryption", lambda _profile, key, c1, _rng: fallen_part(key, c1))


def _smudged_alike(patch: Patch) -> None:
    def alike(profile: Profile, key: SecretKey, c1: U64, _rng: Rng) -> U64:
        return partial_decryption(profile, key, c1, SeededRng(bytes(32)))

    patch.setattr(decrypting, "partial_decryption", alike)


def _key_for_its_digest(patch: Patch) -> None:
    for phase in (share_keys, confirm_key, encrypted_input):
        patch.setattr(phase, "dealt_key_digest", lambda _context, seed: seed.expose())


# --- noise, logs, sizes -----------------------------------------------------------------------------------------------


def _noise_of_everyone(patch: Patch) -> None:
    patch.setattr(RoundConfig, "guaranteed_honest", property(lambda self: self.max_participants))


def _half_the_noise(patch: Patch) -> None:
    def half(law: Law, variance: Fraction) -> NoiseTable:
        return noise_table(law, variance / 4)

    patch.setattr(noisy, "noise_table", half)


def _seeded_noise(patch: Patch) -> None:
    patch.setattr(noisy, "NoiseStream", lambda table, _seed: NoiseStream(table, Secret(bytes(32))))


def _log_line(patch: Patch) -> None:
    chunk = MaskedVector.chunk

    def talkative(self: MaskedVector, number: int) -> MaskedInputChunk:
        first = self._vector.read(0, 64, np.dtype("<u4")).tolist()
        logging.getLogger("secagg").debug("masking %s", first)
        return chunk(self, number)

    patch.setattr(MaskedVector, "chunk", talkative)


def _talkative_server(patch: Patch) -> None:
    import structlog  # noqa: PLC0415, an extra
    from secagg_server.rounds.hosted import HostedRound  # noqa: PLC0415

    receive = HostedRound._receive_chunk

    def talkative(self: Any, sender: ParticipantId, claim: int, chunk: Any, now: float) -> Any:
        structlog.get_logger().debug("chunk", first=np.frombuffer(chunk.payload[:256], "<u4").tolist())
        return receive(self, sender, claim, chunk, now)

    patch.setattr(HostedRound, "_receive_chunk", talkative)


def _telling_sizes(patch: Patch) -> None:
    each = MaskedVector.__iter__

    def shorter(self: MaskedVector) -> Iterator[MaskedInputChunk]:
        flat = int(self._vector.read(0, 60, np.dtype("<u4")).var() < 1e6)
        for made in each(self):
            yield MaskedInputChunk(made.number, made.payload[: len(made.payload) - flat])

    patch.setattr(MaskedVector, "__iter__", shorter)


# --- defences against attacks on rounds -------------------------------------------------------------------------------


def _undefended(name: str, title: str, game: str) -> Mutant:
    """What the game names as the defence against its attack is gone."""
    return Mutant(name, title, lambda patch: take_away(patch, GAMES[game].defences), game)


MUTANTS: Final = (
    _undefended("no-self-mask", "no self mask", "late-message"),
    Mutant("unbound-seed", "mask seeds are not bound to the round", _unbound_masks, "restored-snapshot"),
    Mutant("seed-16", "mask keys of 16 bits", _short_seeds(16), "seeds"),
    Mutant("seed-20", "mask keys of 20 bits", _short_seeds(20), "seeds"),
    Mutant("mersenne-twister", "masks from MT19937", lambda p: p.setattr(masks, "MaskStream", _Twister), "masks"),
    Mutant("24-bit-masks", "24-bit masks in a 32-bit ring", _words(lambda w: w & w.dtype.type(0xFFFFFF)), "masks"),
    Mutant("modulo-3e9", "masks are rand32 mod 3·10⁹", _words(lambda w: w % w.dtype.type(3_000_000_000)), "masks"),
    Mutant("modulo-mersenne", "masks modulo 2³¹ − 1", _words(lambda w: w % w.dtype.type(2**31 - 1)), "masks"),
    Mutant("gaussian-masks", "float Gaussian masks", _words(_gaussian), "masks"),
    Mutant("stream-reused", "each chunk is masked from the start of the stream", _always_from_the_start, "mask-chunks"),
    Mutant("layer-in-clear", "one layer in clear", _uncovered(_last_layer), "masks"),
    Mutant("every-second", "every second coordinate in clear", _uncovered(_every_second), "masks"),
    Mutant("low-byte", "low byte in clear", _uncovered(_bits_in_clear(0xFF)), "masks"),
    Mutant("sign-bit", "sign bit in clear", _uncovered(_bits_in_clear(0x80000000)), "masks"),
    Mutant("group-seed", "one seed for the group", _group_seed, "seeds"),
    Mutant(
        "fallback", "half the updates unmasked as a fallback",
        _some_masks(lambda state, made: made if state.checked.own_index % 2 else ()), "masks",
    ),
    Mutant("lasting-keys", "mask keys reused over rounds", _lasting_masks, "two-rounds"),
    _undefended("low-threshold", "threshold ≤ colluders is allowed", "threshold-of-colluders"),
    _undefended("all-but-one-collude", "n_C may leave one honest update in a sum", "all-but-one-collude"),
    _undefended("both-shares", "both kinds of share are answered", "both-shares"),
    _undefended("survivors-unchecked", "any number of survivors will do", "cohort-of-one"),
    _undefended("signature-unchecked", "signatures of keys unchecked", "key-substitution"),
    _undefended("consistency-unchecked", "one signature on the survivors will do", "two-survivor-sets"),
    _undefended("context-unchecked", "keys are not bound to the round", "replay-keys"),
    _undefended("model-unchecked", "the context leaves the model out", "different-models"),
    Mutant("ckks-unrounded", "CKKS sums are cut off instead of rounded", _truncated_values, "release-ckks", True),
    Mutant("ckks-same-noise", "CKKS noise is the same every time", _same_noise, "encryption-noise-ckks", True),
    Mutant("bfv-same-noise", "BFV noise is the same every time", _same_noise, "encryption-noise-bfv", True),
    Mutant("equal-streams", "everyone's c1 is the same stream", _one_stream, "ciphertexts-ckks", True),
    Mutant("key-at-coordinator", "the coordinator is sent the secret key", _key_for_its_digest, "secrets-bfv", True),
    Mutant("unsmudged", "partial decryptions without smudging noise", _unsmudged, "smudging-bfv-threshold", True),
    Mutant("smudged-alike", "the same smudging noise for everyone", _smudged_alike, "smudging-bfv-threshold", True),
    Mutant("noise-of-everyone", "noise is sized for all, dropouts too", _noise_of_everyone, "released-noise"),
    Mutant("half-the-noise", "noise of half the deviation", _half_the_noise, "released-noise"),
    Mutant("seeded-noise", "noise from a generator with a fixed seed", _seeded_noise, "fresh-noise"),
    Mutant("log-line", "a log line with values of an update", _log_line, "values-in-sight"),
    Mutant("server-log", "the server logs words of an upload", _talkative_server, "shell-in-sight", server=True),
    _undefended("forgotten-claims", "a participant forgets which sums it opened", "hidden-receipt"),
    _undefended("shared-update", "the update is not copied when participation begins", "changed-update"),
    _undefended("blamed-unsigned", "who did not sign a share is blamed for it", "framing"),
    _undefended("certified-by-few", "any number of signatures certifies a result", "two-results"),
    Mutant("telling-sizes", "the size of an upload follows the data", _telling_sizes, "taint-masked-active"),
)  # fmt: skip
"""Every flaw of the design's list that the product could have, and some more."""
