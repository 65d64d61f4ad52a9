"""Bearer tokens: they say for a while that a request is a participant's, who has no client certificate in its TLS.

A token is a JSON Web Token (RFC 7519) with HMAC-SHA256, so that whatever knows a deployment's users can issue tokens
with a library that it has. Nothing of a token is believed, nor even parsed, before its code is found to be right: not
the header either, so no token chooses another algorithm.
"""

import base64
import binascii
import hmac
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final

from secagg.crypto.identity import is_participant_id
from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError, IdentityError
from secagg.messages import ParticipantId

AUDIENCE: Final = "secagg"
"""The claim `aud`: a key that somebody uses for other tokens, too, makes none for us by accident."""

MAX_TOKEN_CHARS: Final = 1024

MAX_LIFE_S: Final = 86_400.0
"""A token that is good for longer than a day from now is refused: it would be a password."""

KEY_SIZE: Final = 32
MAX_KEYS: Final = 4

_HEADER: Final = {"alg": "HS256", "typ": "JWT"}
_TOKEN: Final = re.compile(rb"([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})")
_KEY: Final = re.compile(rb"[0-9a-fA-F]{64}")


def read_keys(content: Secret) -> tuple[Secret, ...]:
    """The keys in a file, one a line in hexadecimal digits. The first makes tokens, and each of them is believed.

    Raises:
        IdentityError: there is none, more than `MAX_KEYS`, or something else.
    """
    lines = content.expose().split()
    if not 1 <= len(lines) <= MAX_KEYS or not all(map(_KEY.fullmatch, lines)):  # check: whole-token-keys
        raise IdentityError(
            f"it holds no keys of tokens: 1 to {MAX_KEYS} lines of {2 * KEY_SIZE} hexadecimal digits"
        ).mended_by("openssl rand -hex 32")
    return tuple(Secret(bytes.fromhex(line.decode())) for line in lines)


def issue(key: Secret, participant: ParticipantId, expires_s: float) -> str:
    """A token for a participant.

    Args:
        key: of tokens.
        participant: whose requests it is for.
        expires_s: until when, in seconds since 1970.
    """
    claims = {"sub": participant, "aud": AUDIENCE, "exp": int(expires_s)}
    signed = b".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (_HEADER, claims))
    return (signed + b"." + _encoded(_code(key, signed))).decode()


def verify(token: bytes, keys: Sequence[Secret], now: float) -> ParticipantId:
    """Whose token it is.

    Args:
        token: as it came.
        keys: that are believed.
        now: seconds since 1970.

    Raises:
        AuthenticationError: it was not made with one of the keys, is not for us, not good now or for too long.
    """
    found = _TOKEN.fullmatch(token) if len(token) <= MAX_TOKEN_CHARS else None
    if found is None:
        raise AuthenticationError("the token is no JSON Web Token with HMAC-SHA256")
    given = Secret(_decoded(found[2]))
    if not any([given == Secret(_code(key, found[1])) for key in keys]):  # noqa: C419, all take the time  # check: token-code
        raise AuthenticationError("the token was not made with this deployment's key")
    claims = _claims(found[1])
    if claims.get("aud") != AUDIENCE:  # check: token-audience
        raise AuthenticationError(f"the token is for others: its aud must be {AUDIENCE!r}")
    begin, end = _time(claims.get("nbf", -math.inf)), _time(claims.get("exp"))
    if not begin <= now < end:  # check: token-time
        raise AuthenticationError("the token has expired, or is not yet good; ask for a new one, and look at the clock")
    if end - now > MAX_LIFE_S:  # check: token-life
        raise AuthenticationError(f"the token is good for longer than {MAX_LIFE_S:g} seconds; ask for a shorter one")
    participant = claims.get("sub")
    if not isinstance(participant, str) or not is_participant_id(participant):
        raise AuthenticationError("the token's sub is no participant's id")
    return ParticipantId(participant)


def _claims(signed: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(_decoded(signed.partition(b".")[2]))
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise AuthenticationError("the token has no claims")
    return claims


def _time(value: object) -> float:
    """A claim that is a time; not a number if it is none, which is neither before nor after anything."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _code(key: Secret, signed: bytes) -> bytes:
    return hmac.digest(key.expose(), signed, "sha256")


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        raise AuthenticationError("the token is no JSON Web Token with HMAC-SHA256") from None
