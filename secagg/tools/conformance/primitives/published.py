"""Values that others published, for the primitives that the protocol stands on."""

from typing import Any

from secagg.tools.conformance.document import Contents, Document

SECTION = "Primitives"


def _rows(names: str, *rows: tuple[Any, ...]) -> list[Document]:
    """One object a row, with these names."""
    return [dict(zip(names.split(), row, strict=True)) for row in rows]


def _x25519() -> Document:
    return {
        "kind": "x25519",
        "provenance": "RFC 7748, sections 5.2 and 6.1",
        "multiplications": _rows(
            "scalar u result",
            (
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ),
            (
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ),
        ),
        "iterated": _rows(
            "times result",
            (1, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"),
            (1000, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"),
        ),
        "agreement": {
            "private_a": "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "public_a": "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "private_b": "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "public_b": "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "shared": "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        },
    }


def _hkdf() -> Document:
    short = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    long = (
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
    )
    bare = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    return {
        "kind": "hkdf",
        "provenance": "RFC 5869, appendices A.1, A.2 and A.3",
        "derivations": _rows(
            "key_material salt info size result",
            ("0b" * 22, "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9", 42, short),
            (bytes(range(0x50)), bytes(range(0x60, 0xB0)), bytes(range(0xB0, 0x100)), 82, long),
            ("0b" * 22, "", "", 42, bare),
        ),
    }


def _aes_ctr() -> Document:
    return {
        "kind": "aes-ctr",
        "provenance": "NIST SP 800-38A, appendix F.5.1",
        "encryptions": [
            {
                "key": "2b7e151628aed2a6abf7158809cf4f3c",
                "counter": "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
                "plaintext": "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
                "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
                "ciphertext": "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
                "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
            }
        ],
    }


def _aes_gcm() -> Document:
    key, nonce = "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888"
    zero, associated = "00" * 16, "feedfacedeadbeeffeedfacedeadbeefabaddad2"
    plaintext = (
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
    )
    ciphertext = (
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
    )
    return {
        "kind": "aes-gcm",
        "provenance": "McGrew and Viega, The Galois/Counter Mode of Operation (GCM), appendix B, test cases 1 to 4",
        "encryptions": _rows(
            "key nonce associated_data plaintext ciphertext tag",
            (zero, "00" * 12, "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
            (zero, "00" * 12, "", zero, "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"),
            (key, nonce, "", plaintext, ciphertext, "4d5c2af327cd64a62cf35abd2ba6fab4"),
            (key, nonce, associated, plaintext[:120], ciphertext[:120], "5bc94fbc3221a5db94fae95ae7121a47"),
        ),
    }


def _aegis() -> Document:
    """The draft's other cases have no message. Its ciphertext of zeros is what masks are made of."""
    return {
        "kind": "aegis-128x4",
        "provenance": "draft-irtf-cfrg-aegis-aead, AEGIS-128X4, test vector 2",
        "encryptions": _rows(
            "key nonce associated_data plaintext ciphertext tag",
            (
                "000102030405060708090a0b0c0d0e0f",
                "101112131415161718191a1b1c1d1e1f",
                "0102030401020304",
                "04050607" * 30,
                (
                    "e836118562f4479c9d35c17356a833114c21f9aa39e4dda5e5c87f4152a00fce"
                    "9a7c38f832eafe8b1c12f8a7cf12a81a1ad8a9c24ba9dedfbdaa586ffea67ddc"
                    "801ea97d9ab4a872f42d0e352e2713dacd609f9442c17517c5a29daf3e2a3fac"
                    "4ff6b1380c4e46df7b086af6ce6bc1ed594b8dd64aed2a7e"
                ),
                "0e56ab94e2e85db80f9d54010caabfb4",
            ),
        ),
    }


def _ecdsa() -> Document:
    return {
        "kind": "ecdsa",
        "provenance": "RFC 6979, appendix A.2.5",
        "private_scalar": "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
        "public_x": "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
        "public_y": "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
        "signatures": _rows(
            "message r s",
            (
                b"sample",
                "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
                "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
            ),
            (
                b"test",
                "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
                "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
            ),
        ),
    }


VECTORS: Contents = {
    "published-x25519": ("X25519: scalar multiplication and Diffie-Hellman", SECTION, _x25519),
    "published-hkdf-sha256": ("HKDF with SHA-256", SECTION, _hkdf),
    "published-aes-128-ctr": ("AES-128 in counter mode", SECTION, _aes_ctr),
    "published-aes-128-gcm": ("AES-128-GCM with a 96-bit nonce", SECTION, _aes_gcm),
    "published-aegis-128x4": ("AEGIS-128X4", SECTION, _aegis),
    "published-ecdsa-p256": ("ECDSA over P-256 with SHA-256 and deterministic nonces", SECTION, _ecdsa),
}
