"""Which suites rounds can have on this machine, and which of the classical ones masks faster."""

from secagg.cli.doctor import machine
from secagg.cli.doctor.findings import Finding, fine
from secagg.config import Suite
from secagg.crypto.mask_stream import MaskCipher
from secagg.errors import ConfigError, MissingExtraError

_FASTER: dict[bool | None, str] = {
    True: "its masks are made faster here, since the processor has VAES",
    False: "AES-128 may be faster here, since the processor has no VAES; `secagg bench core` measures both",
    None: "`secagg bench core` measures which is faster here",
}


def suites() -> Finding:
    """Nothing is wrong where the extra is missing: rounds of the default suite need none."""
    other, known = Suite.X25519_SHA256_AEGIS128X4.name, f"{Suite.X25519_SHA256_AES128.name}, the default"
    try:
        Suite.XWING_SHA256_AES256.require()
        known += f"; {Suite.XWING_SHA256_AES256.name}, against quantum computers"
    except ConfigError as error:
        known += f"; {error}"
    try:
        MaskCipher.AEGIS_128X4.require()
    except MissingExtraError as error:
        return fine("suite", f"{known}; {error}")
    return fine("suite", f"{known}; and {other}: {_FASTER[machine.has_vaes()]}")
