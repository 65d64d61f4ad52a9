"""Vectors of the protocol's own derivations: framing, hashes, keys, mask streams and secret sharing."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from secagg.config import RoundConfig, Suite
from secagg.context import RoundId, bind, bind_model, digest_model
from secagg.crypto import labels, polynomial, sealing, shamir, signing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.kdf import derive
from secagg.crypto.mask_stream import stride_words
from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest, frame
from secagg.encoding.integers import Integers
from secagg.encoding.packing import chunk_values
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import AuthenticationError, Exhibit
from secagg.masked.masks import Mask, add_masks
from secagg.masked.vector import MaskedVector
from secagg.messages import Dealt, ParticipantId
from secagg.rounds import dealing
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document, little_endian
from secagg.tools.conformance.fixtures import ALICE, BOB, CONTEXT
from secagg.wire.configuration import encode_config

SUITE = b"X25519_SHA256_AES128"
PRIME = polynomial.PRIME.to_bytes(33, "big")
STREAM_KEY = fixtures.seed("mask stream")
TO_CORRECT = fixtures.seed("secret to correct")
ROUND_ID = RoundId(fixtures.seed("round id")[:16])


def _framing() -> Document:
    inputs = [(b"label",), (b"label", b""), (b"label", b"a", b"bc"), (b"label", b"ab", b"c"), (b"", bytes(300))]
    cases = [{"parts": parts, "frame": frame(*parts), "digest": digest(*parts)} for parts in inputs]
    return {"cases": cases}


def _model_digest() -> Document:
    models: dict[str, dict[str, np.ndarray[Any, np.dtype[Any]]]] = {
        "two arrays, out of order": {
            "weight": np.array([[1, -2, 0.5], [3, 4, -0.0]], np.float32),
            "bias": np.array([1e-3, -1e300], np.float64),
        },
        "a scalar": {"scale": np.array(1.5, np.float32)},
        "an array of one": {"scale": np.array([1.5], np.float32)},
        "integers and flags": {"steps": np.array([1, 2**40], np.int64), "frozen": np.array([True, False])},
        "nothing": {},
    }
    cases = [
        {
            "title": title,
            "arrays": {
                name: {"dtype": a.dtype.name, "shape": list(a.shape), "little_endian": little_endian(a)}
                for name, a in model.items()
            },
            "hashed": _hashed_model(model),
            "digest": digest_model(model),
        }
        for title, model in models.items()
    ]
    return {"cases": cases}


def _hashed_model(model: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> bytes:
    parts = [frame(labels.MODEL_DIGEST)]
    for name in sorted(model):
        shape = ",".join(map(str, model[name].shape)).encode()
        parts += [frame(name.encode(), model[name].dtype.name.encode(), shape), little_endian(model[name])]
    return b"".join(parts)


def _context() -> Document:
    config, model = b"the configuration, as received", fixtures.seed("model")
    config_digest = hashlib.sha256(config).digest()
    return {
        "round_id": ROUND_ID,
        "config": config,
        "config_digest": config_digest,
        "model_digest": model,
        "frame": frame(labels.CONTEXT, ROUND_ID, config_digest, model),
        "context": bind(ROUND_ID, config, model),
    }


def _input_context() -> Document:
    model = fixtures.seed("model")
    return {
        "context": CONTEXT,
        "model_digest": model,
        "frame": frame(labels.INPUT_CONTEXT, CONTEXT, model),
        "input_context": bind_model(CONTEXT, model),
    }


def _commitment() -> Document:
    seed = fixtures.seed("b_u")
    fields = (labels.SELF_MASK_COMMITMENT, CONTEXT, ALICE.encode(), seed)
    return {
        "context": CONTEXT,
        "participant_id": ALICE,
        "self_mask_seed": seed,
        "frame": frame(*fields),
        "commitment": digest(*fields),
    }


SHARE_DIGESTS = (labels.MASK_KEY_SHARE_DIGEST, labels.SELF_MASK_SHARE_DIGEST)


def _sealing() -> Iterator[Document]:
    sender, receiver = (KeyPair.from_private(Secret(fixtures.seed(f"channel key of {name}"))) for name in (ALICE, BOB))
    for a, b, own, peer in ((ALICE, BOB, sender, receiver), (BOB, ALICE, receiver, sender)):
        shared = own.agree(peer.public, peer=b)
        ends = (CONTEXT, a.encode(), b.encode())
        info = frame(labels.SHARE_SEALING, SUITE, *ends)
        key = derive(shared, salt=ROUND_ID, info=info, size=16)
        shares = tuple(b"\0" + fixtures.seed(f"share {k} from {a} to {b}") for k in ("s", "b"))
        plaintext, associated_data = b"".join(shares), frame(labels.SHARE_ASSOCIATED_DATA, *ends)
        yield {
            "sender": a,
            "receiver": b,
            "sender_private_key": own.private.expose(),
            "sender_public_key": own.public,
            "receiver_public_key": peer.public,
            "shared_secret": shared.expose(),
            "info": info,
            "key": key.expose(),
            "nonce": bytes(12),
            "associated_data": associated_data,
            "mask_key_share": shares[0],
            "self_mask_share": shares[1],
            "plaintext": plaintext,
            "sealed": sealing.seal(key, plaintext, associated_data),
            "digests": [
                dealing.share_digest(label, CONTEXT, ParticipantId(a), ParticipantId(b), Secret(share))
                for label, share in zip(SHARE_DIGESTS, shares, strict=True)
            ],
        }


def _dealing() -> Document:
    """What ALICE signed of two entries, and what somebody who refuses one of them makes of what it is shown."""
    key, members = fixtures.signing_key(ALICE), digest(b"a roster")
    holders = (ParticipantId(BOB), ParticipantId("carol"))
    entries = [fixtures.rng(f"an entry for {name}").token(dealing.MASKED.size) for name in holders]
    digests = [dealing.entry_digest(*dealt) for dealt in zip(holders, entries, strict=True)]
    covered = dealing.to_sign(CONTEXT, members, ParticipantId(ALICE), b"".join(digests))
    signature = signing.sign(key, covered)
    honest, garbled = Dealt(b"".join(digests), signature), bytes(dealing.MASKED.size)
    begun = dealing.to_sign(CONTEXT, members, ParticipantId(ALICE), b"")[:-4]
    point = signing.encode_public_key(key.public_key())
    cases = []
    for title, refused, shown in (
        ("an entry that was signed", entries[0], honest),
        ("another entry", garbled, honest),
        ("the entry of somebody else", entries[1], honest),
        ("a list that was not signed", garbled, Dealt(dealing.entry_digest(holders[0], garbled), signature)),
        ("a list that is cut short", entries[0], Dealt(digests[0], signature)),
        ("no signature", entries[0], Dealt(honest.digests, b"")),
        ("nothing", entries[0], None),
    ):
        error = AuthenticationError(title).about(
            Exhibit(ALICE, dealing.entry_digest(holders[0], refused), public_key=point, covered=begun)
        )
        dealing.judge(error, shown)
        case: Document = {"title": title, "entry": refused}
        case |= {} if shown is None else {"shown": {"digests": shown.digests, "signature": shown.signature}}
        cases.append(case | ({} if error.culprit is None else {"culprit": error.culprit}))
    return {
        "context": CONTEXT,
        "roster_digest": members,
        "sender": ALICE,
        "public_key": point,
        "entries": [
            {"receiver": name, "entry": entry, "digest": made}
            for name, entry, made in zip(holders, entries, digests, strict=True)
        ],
        "signed": covered,
        "signature": signature,
        "refused_by": holders[0],
        "cases": cases,
    }


def _mask_keys() -> Document:
    one, other = (KeyPair.from_private(Secret(fixtures.seed(f"mask key of {name}"))) for name in (ALICE, BOB))
    shared, seed = one.agree(other.public, peer=BOB), Secret(fixtures.seed("b_u"))
    pairwise = frame(labels.PAIRWISE_MASK, SUITE, CONTEXT, ALICE.encode(), BOB.encode())
    own = frame(labels.SELF_MASK, SUITE, CONTEXT, ALICE.encode())
    return {
        "round_id": ROUND_ID,
        "context": CONTEXT,
        "suite": SUITE.decode(),
        "pairwise": {
            "ids": (ALICE, BOB),
            "private_keys": (one.private.expose(), other.private.expose()),
            "public_keys": (one.public, other.public),
            "shared_secret": shared.expose(),
            "info": pairwise,
            "key": derive(shared, salt=ROUND_ID, info=pairwise, size=16).expose(),
        },
        "self_mask": {
            "participant_id": ALICE,
            "seed": seed.expose(),
            "info": own,
            "key": derive(seed, salt=ROUND_ID, info=own, size=16).expose(),
        },
    }


def _mask_stream(suite: Suite) -> Document:
    key, cases = STREAM_KEY[: suite.key_size], []
    for word_bits in (8, 16, 32, 64):
        dtype = np.dtype(f"<u{word_bits // 8}")
        stride = stride_words(dtype)
        for start in (0, 64, stride - 6, stride - 5, stride, 3 * stride + 64, 2**32):
            words: Words = np.zeros(5, dtype)
            add_masks(words, start, [Mask(Secret(key), negative=False)], suite)
            cases.append(
                {"word_bits": word_bits, "start": start, "stride": start // stride}
                | {"bytes": words.tobytes(), "words": words}
            )
    return {"suite": suite.name, "key": key, "cases": cases}


@dataclass(frozen=True, slots=True)
class Multiples:
    """A vector that needs no room: coordinate i is i · `step` mod 2^`bits`."""

    vector_len: int
    step: int
    bits: int

    def read(self, start: int, stop: int, dtype: np.dtype[np.unsignedinteger[Any]]) -> Words:
        """As of every vector that is masked."""
        return np.array([i * self.step % 2**self.bits for i in range(start, stop)], dtype)


def _masked_chunks() -> Document:
    """The second chunk goes on in every stream where the first one ended."""
    most = 2**59 - 1
    config = RoundConfig(
        task="chunks",
        schema=Schema((ArraySpec("values", (2**17 + 70,), "int64"),)),
        encoding=Integers(max=most),
        max_participants=3,
        model_digest=bytes(32),
    )
    vector = Multiples(config.vector_len, 0x9E3779B97F4A7C15, most.bit_length())
    masks = [Mask(Secret(fixtures.seed(f"stream {i}")[:16]), negative=i == 2) for i in range(3)]
    chunks = list(MaskedVector(vector, config, tuple(masks)))
    size = chunk_values(config.ring_bits)
    return {
        "config": encode_config(config),
        "suite": config.suite.name,
        "ring_bits": config.ring_bits,
        "vector_len": vector.vector_len,
        "step": str(vector.step),
        "value_bits": vector.bits,
        "first": [int(value) for value in vector.read(0, 4, config.ring_dtype)],
        "masks": [{"key": mask.key.expose(), "negative": mask.negative} for mask in masks],
        "chunks": [
            {
                "number": chunk.number,
                "count": min(size, vector.vector_len - chunk.number * size),
                "size": len(chunk.payload),
                "sha256": hashlib.sha256(chunk.payload).digest(),
                "begins": chunk.payload[:32],
                "ends": chunk.payload[-32:],
            }
            for chunk in chunks
        ],
    }


def _secret_sharing() -> Iterator[Document]:
    for threshold, holders in ((1, (1,)), (2, (1, 2, 3)), (3, (1, 2, 5, 8, 10_000))):
        secret, noise = fixtures.seed(f"secret {threshold}"), fixtures.rng(f"coefficients {threshold}")
        drawn = fixtures.rng(f"coefficients {threshold}").token(48 * (threshold - 1))
        shares = shamir.share(Secret(secret), threshold, holders, noise)
        points = list(shares)[-threshold:]
        yield {
            "secret": secret,
            "threshold": threshold,
            "coefficient_bytes": [drawn[i : i + 48] for i in range(0, len(drawn), 48)],
            "coefficients": [
                (int.from_bytes(drawn[i : i + 48], "big") % polynomial.PRIME).to_bytes(33, "big")
                for i in range(0, len(drawn), 48)
            ],
            "shares": {x: share.expose() for x, share in shares.items()},
            "reconstruction": {
                "holders": points,
                "lagrange_at_zero": [a.to_bytes(33, "big") for a in polynomial.lagrange_at_zero(points)],
            },
        }


def _share_correction() -> Iterator[Document]:
    threshold, holders = 3, tuple(range(1, 8))
    honest = shamir.share(Secret(TO_CORRECT), threshold, holders, fixtures.rng("coefficients to correct"))
    for title, liars, used in (
        ("no wrong share", (), holders),
        ("as many as unique decoding corrects: (7 - 3) / 2", (2, 6), holders),
        ("one more: nothing is searched for", (1, 4, 7), holders),
        ("behind the first t shares: not needed, so not looked for", (4, 6), holders),
        ("one wrong share among threshold + 2", (3,), holders[:5]),
        ("one wrong share among threshold + 1: a decoding needs two more", (3,), holders[:4]),
        ("as few shares as the threshold, one wrong: nothing to correct with", (3,), holders[:3]),
        ("fewer right shares than the threshold", (1, 2, 4, 5, 7), holders),
    ):
        shares = {x: honest[x].expose() for x in used}
        shares |= {x: bytes(1) + fixtures.seed(f"wrong share {x}") for x in liars}
        found = shamir.Decoder(used, threshold).recover(
            {x: shamir.decode_share(share) for x, share in shares.items()},
            lambda s: hashlib.sha256(s.expose()).digest() == hashlib.sha256(TO_CORRECT).digest(),
        )
        outcome = found and {"secret": found.secret.expose(), "consistent": found.consistent, "wrong": found.wrong}
        yield {"title": title, "shares": shares, "outcome": outcome}


# fmt: off
VECTORS: Contents = {
    "framing": ("Parts with their lengths, and the SHA-256 of the frame", "Framing", _framing),
    "model-digest": ("The digest of a model", "Model digest", _model_digest),
    "context": ("What binds everything to one round, one configuration and one model", "Context", _context),
    "input-context": ("What binds masks to the model, where it is named later", "Input context", _input_context),
    "commitment": ("The commitment to a self-mask seed", "Self-mask commitment", _commitment),
    "sealing": ("A pair of shares sealed in each direction", "Sealed shares",
        lambda: {"round_id": ROUND_ID, "context": CONTEXT, "suite": SUITE.decode(), "directions": _sealing()}),
    "dealing": ("What a member signs of all that it deals, and who is to blame for an entry", "Sealed shares",
        _dealing),
    "mask-keys": ("Keys of the two kinds of mask streams", "Mask keys", _mask_keys),
    "mask-stream": ("Words of one stream at several places", "Mask stream",
        lambda: _mask_stream(Suite.X25519_SHA256_AES128)),
    "mask-stream-aegis": ("Words of one stream of AEGIS-128X4 at several places", "Mask stream",
        lambda: {"kind": "mask-stream", **_mask_stream(Suite.X25519_SHA256_AEGIS128X4)}),
    "mask-stream-aes-256": ("Words of one stream of AES-256 at several places", "Mask stream",
        lambda: {"kind": "mask-stream", **_mask_stream(Suite.XWING_SHA256_AES256)}),
    "masked-chunks": ("A masked vector of two chunks, through which the streams go on", "Chunks", _masked_chunks),
    "secret-sharing": ("Shares of a secret, and the secret from as many as the threshold", "Secret sharing",
        lambda: {"prime": PRIME, "not_a_share": [PRIME, b"\xff" * 33, bytes(32), bytes(34)],
                 "cases": _secret_sharing()}),
    "share-correction": ("Wrong shares: corrected and told, or nothing at all", "Wrong shares",
        lambda: {"threshold": 3, "secret_sha256": hashlib.sha256(TO_CORRECT).digest(), "cases": _share_correction()}),
}
# fmt: on
