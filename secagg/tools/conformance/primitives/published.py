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


def _x_wing() -> Document:
    """Seed and coins are 96 bytes of SHAKE128 of nothing."""
    return {
        "kind": "x-wing",
        "provenance": "draft-connolly-cfrg-xwing-kem, appendix C, first test vector; the public key by its SHA-256",
        "encapsulations": _rows(
            "seed coins public_key_sha256 ciphertext secret",
            (
                "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26",
                (
                    "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e2"
                    "35b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2"
                ),
                "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb",
                (
                    "b83aa828d4d62b9a83ceffe1d3d3bb1ef31264643c070c5798927e41fb07914a273f8f96e7826cd5375a283d7da885304c5de051"
                    "6a0f0654243dc5b97f8bfeb831f68251219aabdd723bc6512041acbaef8af44265524942b902e68ffd23221cda70b1b55d776a92"
                    "d1143ea3a0c475f63ee6890157c7116dae3f62bf72f60acd2bb8cc31ce2ba0de364f52b8ed38c79d719715963a5dd3842d8e8b43"
                    "ab704e4759b5327bf027c63c8fa857c4908d5a8a7b88ac7f2be394d93c3706ddd4e698cc6ce370101f4d0213254238b4a2e8821b"
                    "6e414a1cf20f6c1244b699046f5a01caa0a1a55516300b40d2048c77cc73afba79afeea9d2c0118bdf2adb8870dc328c5516cc45"
                    "b1a2058141039e2c90a110a9e16b318dfb53bd49a126d6b73f215787517b8917cc01cabd107d06859854ee8b4f9861c226d3764c"
                    "87339ab16c3667d2f49384e55456dd40414b70a6af841585f4c90c68725d57704ee8ee7ce6e2f9be582dbee985e038ffc346ebfb"
                    "4e22158b6c84374a9ab4a44e1f91de5aac5197f89bc5e5442f51f9a5937b102ba3beaebf6e1c58380a4a5fedce4a4e5026f88f52"
                    "8f59ffd2db41752b3a3d90efabe463899b7d40870c530c8841e8712b733668ed033adbfafb2d49d37a44d4064e5863eb0af0a08d"
                    "47b3cc888373bc05f7a33b841bc2587c57eb69554e8a3767b7506917b6b70498727f16eac1a36ec8d8cfaf751549f2277db277e8"
                    "a55a9a5106b23a0206b4721fa9b3048552c5bd5b594d6e247f38c18c591aea7f56249c72ce7b117afcc3a8621582f9cf71787e18"
                    "3dee09367976e98409ad9217a497df888042384d7707a6b78f5f7fb8409e3b535175373461b776002d799cbad62860be70573ecb"
                    "e13b246e0da7e93a52168e0fb6a9756b895ef7f0147a0dc81bfa644b088a9228160c0f9acf1379a2941cd28c06ebc80e44e17aa2"
                    "f8177010afd78a97ce0868d1629ebb294c5151812c583daeb88685220f4da9118112e07041fcc24d5564a99fdbde28869fe07223"
                    "87d7a9a4d16e1cc8555917e09944aa5ebaaaec2cf62693afad42a3f518fce67d273cc6c9fb5472b380e8573ec7de06a3ba2fd5f9"
                    "31d725b493026cb0acbd3fe62d00e4c790d965d7a03a3c0b4222ba8c2a9a16e2ac658f572ae0e746eafc4feba023576f08942278"
                    "a041fb82a70a595d5bacbf297ce2029898a71e5c3b0d1c6228b485b1ade509b35fbca7eca97b2132e7cb6bc465375146b7dceac9"
                    "69308ac0c2ac89e7863eb8943015b24314cafb9c7c0e85fe543d56658c213632599efabfc1ec49dd8c88547bb2cc40c9d38cbd30"
                    "99b4547840560531d0188cd1e9c23a0ebee0a03d5577d66b1d2bcb4baaf21cc7fef1e03806ca96299df0dfbc56e1b2b43e4fc20c"
                    "37f834c4af62127e7dae86c3c25a2f696ac8b589dec71d595bfbe94b5ed4bc07d800b330796fda89edb77be0294136139354eb8c"
                    "d37591578f9c600dd9be8ec6219fdd507adf3397ed4d68707b8d13b24ce4cd8fb22851bfe9d632407f31ed6f7cb1600de56f1757"
                    "6740ce2a32fc5145030145cfb97e63e0e41d354274a079d3e6fb2e15"
                ),
                "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384",
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
    "published-x-wing": ("X-Wing: keys, encapsulation and decapsulation", SECTION, _x_wing),
    "published-ecdsa-p256": ("ECDSA over P-256 with SHA-256 and deterministic nonces", SECTION, _ecdsa),
}
