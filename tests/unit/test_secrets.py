"""Key material that does not leak by accident, and the primitives that take it."""

import copy
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from secagg.crypto import labels, sealing, signing, transcript
from secagg.crypto.agreement import KeyPair, check_public_key
from secagg.crypto.kdf import derive
from secagg.crypto.rng import SeededRng, SystemRng
from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError

SECRET = Secret(b"0123456789abcdef" * 2)


def test_a_secret_does_not_print() -> None:
    for shown in (repr(SECRET), str(SECRET), f"{SECRET}", f"{[SECRET]!r}", f"{KeyPair.from_private(SECRET)!r}"):
        assert "redacted" in shown
        assert "0123" not in shown


def test_a_secret_is_not_pickled_nor_copied_nor_hashed() -> None:
    for act in (pickle.dumps, copy.copy, copy.deepcopy, hash):
        with pytest.raises(TypeError):
            act(SECRET)
    with pytest.raises(TypeError, match="secrets are not pickled"):
        pickle.dumps([KeyPair.from_private(SECRET)])


def test_a_secret_has_no_attributes_to_look_at() -> None:
    assert not hasattr(SECRET, "__dict__")
    assert b"0123" not in repr(dir(SECRET)).encode()


def test_secrets_compare_by_value_and_with_secrets_only() -> None:
    assert Secret(b"a") == Secret(b"a")
    assert Secret(b"a") != Secret(b"b")
    assert Secret(b"a") != b"a"
    assert len(SECRET) == 32
    assert SECRET.expose() == b"0123456789abcdef" * 2


def test_seeded_randomness_repeats_and_the_systems_does_not() -> None:
    one, other = SeededRng(bytes(32)), SeededRng(bytes(32))
    assert one.token(7) + one.token(9) == other.token(16)
    assert SeededRng(b"\1" * 32).token(16) != SeededRng(bytes(32)).token(16)
    assert SystemRng().token(32) != SystemRng().token(32)
    assert len(SystemRng().token(5)) == 5


def test_a_seal_opens_for_the_same_key_and_data_only() -> None:
    key, other = Secret(bytes(16)), Secret(b"\1" * 16)
    sealed = sealing.seal(key, b"share", b"from 1 to 2")
    assert len(sealed) == 5 + sealing.TAG_SIZE
    assert sealing.unseal(key, sealed, b"from 1 to 2", sender="one") == b"share"
    altered = bytes([sealed[0] ^ 1]) + sealed[1:]
    for attempt in ((other, sealed, b"from 1 to 2"), (key, sealed, b"from 1 to 3"), (key, altered, b"from 1 to 2")):
        with pytest.raises(AuthenticationError, match="sealed message of one") as caught:
            sealing.unseal(*attempt, sender="one")
        assert caught.value.culprit == "one"
    for length in range(sealing.TAG_SIZE):
        with pytest.raises(AuthenticationError):
            sealing.unseal(key, sealed[:length], b"from 1 to 2", sender="one")


def test_agreement_is_mutual() -> None:
    one, other = KeyPair.generate(SeededRng(bytes(32))), KeyPair.generate(SeededRng(b"\1" * 32))
    assert one.agree(other.public, peer="other") == other.agree(one.public, peer="one")
    assert one.agree(one.public, peer="one") != one.agree(other.public, peer="other")


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33), bytes(32), (1).to_bytes(32, "little")])
def test_a_public_key_of_wrong_size_or_low_order_gives_no_secret(bad: bytes) -> None:
    pair = KeyPair.generate(SeededRng(bytes(32)))
    with pytest.raises(AuthenticationError, match="peer-1") as caught:
        pair.agree(bad, peer="peer-1")
    assert caught.value.culprit == "peer-1"
    with pytest.raises(AuthenticationError, match="peer-1"):
        check_public_key(bad, owner="peer-1")


def test_a_public_key_has_one_encoding() -> None:
    """X25519 ignores the top bit: the same point, other bytes."""
    one, pair = KeyPair.generate(SeededRng(bytes(32))), KeyPair.generate(SeededRng(b"\1" * 32))
    twin = pair.public[:31] + bytes([pair.public[31] | 0x80])
    assert one.agree(twin, peer="x") == one.agree(pair.public, peer="x")
    check_public_key(pair.public, owner="x")
    with pytest.raises(AuthenticationError, match="reduced"):
        check_public_key(twin, owner="x")
    with pytest.raises(AuthenticationError, match="reduced"):
        check_public_key((2**255 - 19 + 9).to_bytes(32, "little"), owner="x")


def test_derived_keys_depend_on_everything() -> None:
    base = derive(SECRET, salt=b"round", info=b"label", size=16)
    others = [
        derive(Secret(bytes(32)), salt=b"round", info=b"label", size=16),
        derive(SECRET, salt=b"other", info=b"label", size=16),
        derive(SECRET, salt=b"round", info=b"other", size=16),
    ]
    assert len({key.expose() for key in [base, *others]}) == 4
    assert [len(derive(SECRET, salt=b"", info=b"", size=size)) for size in (16, 32)] == [16, 32]


def test_a_signature_verifies_for_its_message_and_key_only() -> None:
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    signature = signing.sign(key, b"message")
    assert signature == signing.sign(key, b"message"), "deterministic nonces"
    signing.verify(key.public_key(), b"message", signature, culprit=None)
    for public, message, given in (
        (key.public_key(), b"another", signature),
        (other.public_key(), b"message", signature),
        (key.public_key(), b"message", b""),
        (key.public_key(), b"message", signature[:-1]),
        (key.public_key(), b"message", bytes(72)),
    ):
        with pytest.raises(AuthenticationError, match="signature of someone") as caught:
            signing.verify(public, message, given, culprit="someone")
        assert caught.value.culprit == "someone"


def test_frames_are_unambiguous() -> None:
    assert transcript.frame(b"l", b"ab", b"c") != transcript.frame(b"l", b"a", b"bc")
    assert transcript.frame(b"l", b"a", b"") != transcript.frame(b"l", b"a")
    assert transcript.frame(b"l") == b"\0\0\0\1l"
    assert transcript.digest(b"l", b"a") != transcript.digest(b"la")


def test_labels_are_distinct_and_versioned() -> None:
    values = [value for name, value in vars(labels).items() if name.isupper()]
    assert len(values) == len(set(values)) > 10
    assert all(value.startswith(b"secagg/v1/") for value in values)
