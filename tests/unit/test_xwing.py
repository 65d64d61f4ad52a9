"""X-Wing key pairs: what their owner finds in a ciphertext, and which public keys are refused."""

import pickle

import pytest
from cryptography.hazmat.backends.openssl.backend import backend

from secagg.crypto import xwing
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.crypto.xwing import CIPHERTEXT_SIZE, PUBLIC_KEY_SIZE, HybridKeyPair
from secagg.errors import AuthenticationError, ConfigError
from tests.conformance import xwing as reference

ONE, OTHER = (HybridKeyPair.generate(SeededRng(seed * 32)) for seed in (b"1", b"2"))


def test_the_owner_of_a_key_finds_the_secret_and_nobody_else_does() -> None:
    secret, ciphertext = xwing.encapsulate(ONE.public)
    assert (len(ONE.public), len(ciphertext), len(secret)) == (PUBLIC_KEY_SIZE, CIPHERTEXT_SIZE, 32)
    assert ONE.decapsulate(ciphertext, sender="x") == secret
    assert OTHER.decapsulate(ciphertext, sender="x") != secret
    assert xwing.encapsulate(ONE.public)[1] != ciphertext


@pytest.mark.parametrize("at", [0, CIPHERTEXT_SIZE - 33, CIPHERTEXT_SIZE - 32, CIPHERTEXT_SIZE - 1])
def test_an_altered_ciphertext_gives_another_secret(at: int) -> None:
    """ML-KEM rejects implicitly. What it gives then, a second implementation gives, too."""
    secret, ciphertext = xwing.encapsulate(ONE.public)
    altered = ciphertext[:at] + bytes([ciphertext[at] ^ 1]) + ciphertext[at + 1 :]
    found = ONE.decapsulate(altered, sender="x")
    assert found != secret
    assert found.expose() == reference.decapsulated(ONE.private.expose(), altered)


@pytest.mark.parametrize(
    "ciphertext", [b"", bytes(CIPHERTEXT_SIZE - 1), bytes(CIPHERTEXT_SIZE + 1), bytes(CIPHERTEXT_SIZE)]
)
def test_a_ciphertext_that_is_none_names_its_sender(ciphertext: bytes) -> None:
    """Too short, too long, and with an X25519 half of low order."""
    with pytest.raises(AuthenticationError, match="ciphertext of mallory gives no secret") as refused:
        ONE.decapsulate(ciphertext, sender="mallory")
    assert refused.value.culprit == "mallory"


def test_a_pair_is_its_seed_and_its_halves_agree() -> None:
    again = HybridKeyPair.from_private(ONE.private)
    assert again == ONE
    assert ONE.public == reference.public_key(ONE.private.expose())
    shared = ONE.agree(OTHER.public, peer="other")
    assert shared == OTHER.agree(ONE.public, peer="one")
    assert shared.expose() == reference.static_agreement(ONE.private.expose(), OTHER.public)


def test_nothing_of_a_pair_is_shown_or_pickled() -> None:
    assert ONE.private.expose().hex() not in repr(ONE)
    with pytest.raises(TypeError, match=r"pickle|cannot"):
        pickle.dumps(ONE)


BAD = {
    "of X25519 alone": OTHER.public[-32:],
    "too long": OTHER.public + b"\0",
    "a coefficient that is not reduced": b"\xff\xff\xff" + OTHER.public[3:],
    "an X25519 half that is not reduced": OTHER.public[:-1] + bytes([OTHER.public[-1] | 0x80]),
    "an X25519 half of low order": OTHER.public[:-32] + bytes(32),
}


@pytest.mark.parametrize("public", BAD.values(), ids=BAD)
def test_a_public_key_that_nobody_makes_is_refused(public: bytes) -> None:
    xwing.check_public_key(OTHER.public, owner="peer")
    with pytest.raises(AuthenticationError, match="public key of peer") as refused:
        xwing.check_public_key(public, owner="peer")
    assert refused.value.culprit == "peer"


def test_without_ml_kem_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    xwing.require()
    monkeypatch.setattr(type(backend), "mlkem_supported", lambda _: False)
    with pytest.raises(ConfigError, match=r"OpenSSL 3\.5 or later"):
        xwing.require()


def test_a_seed_gives_what_the_second_implementation_gives() -> None:
    coins = bytes(range(64))
    secret, ciphertext = reference.encapsulated(ONE.public, coins)
    assert ONE.decapsulate(ciphertext, sender="x") == Secret(secret)
