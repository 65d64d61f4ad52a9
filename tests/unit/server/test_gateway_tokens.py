"""Tokens of the gateway: what is believed, and what is not."""

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secagg_server.cli import build
from secagg_server.gateway import tokens
from secagg_server.gateway.tokens import issue, read_keys, verify
from typer.testing import CliRunner

from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError, IdentityError
from secagg.messages import ParticipantId
from secagg.tools.redteam.self_test.patches import without_check

KEY, OTHER = Secret(bytes([2] * 32)), Secret(bytes([1] * 32))
NOW = 1_800_000_000.0
ALICE = ParticipantId("alice")
GOOD = {"sub": "alice", "aud": "secagg", "exp": NOW + 60}


def made(claims: Any, header: Any = None, key: Secret = KEY, digest: str = "sha256") -> bytes:
    """A token of another implementation."""

    def encoded(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = b".".join(encoded(json.dumps(part).encode()) for part in (header or {"alg": "HS256"}, claims))
    return signed + b"." + encoded(hmac.digest(key.expose(), signed, digest)[:32])


def test_a_token_says_who_it_is() -> None:
    token = issue(KEY, ALICE, NOW + 60).encode()
    assert tokens.verify(token, [KEY], NOW) == ALICE
    assert verify(token, [OTHER, KEY], NOW) == ALICE, "keys are rotated: each of them is believed"
    assert verify(made(GOOD), [KEY], NOW) == ALICE, "anybody's library makes such tokens"
    assert verify(made({**GOOD, "nbf": NOW - 1, "iat": NOW, "more": [1]}), [KEY], NOW) == ALICE


BAD: dict[str, tuple[str, bytes]] = {
    "another key": ("token-code", made(GOOD, key=OTHER)),
    "no code": ("token-code", made(GOOD).rpartition(b".")[0] + b"." + b"A" * 43),
    "for others": ("token-audience", made({**GOOD, "aud": "others"})),
    "for several": ("token-audience", made({**GOOD, "aud": ["secagg", "others"]})),
    "expired": ("token-time", made({**GOOD, "exp": NOW})),
    "not yet good": ("token-time", made({**GOOD, "nbf": NOW + 1})),
    "good for a year": ("token-life", made({**GOOD, "exp": NOW + 365 * 86_400})),
}


@pytest.mark.parametrize(("check", "token"), BAD.values(), ids=BAD)
def test_each_check_refuses_and_its_twin_does_not(monkeypatch: pytest.MonkeyPatch, check: str, token: bytes) -> None:
    with pytest.raises(AuthenticationError):
        verify(token, [KEY], NOW)
    without_check(monkeypatch, tokens, "verify", check)
    assert tokens.verify(token, [KEY], NOW) == ALICE


NONE = {
    "empty": b"",
    "words": b"Bearer me",
    "two parts": b"eyJhbGciOiJIUzI1NiJ9.e30",
    "too long": made({**GOOD, "more": "x" * 1000}),
    "another digest": made(GOOD, digest="sha512"),
    "alg none": made(GOOD, header={"alg": "none"}, key=Secret(b"")),
    "no claims": made([1]),
    "no end": made({"sub": "alice", "aud": "secagg"}),
    "end is text": made({**GOOD, "exp": "tomorrow"}),
    "end is true": made({**GOOD, "exp": True}),
    "end is no number": made({**GOOD, "exp": float("nan")}),
    "end is huge": made({**GOOD, "exp": 10**400}),
    "nobody": made({"aud": "secagg", "exp": NOW + 60}),
    "no id": made({**GOOD, "sub": "al ice"}),
    "sub is a number": made({**GOOD, "sub": 7}),
}


@pytest.mark.parametrize("token", NONE.values(), ids=NONE)
def test_what_is_no_token_is_refused_by_name(token: bytes) -> None:
    with pytest.raises(AuthenticationError):
        verify(token, [KEY], NOW)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_the_error_is_named(claims: bytes) -> None:
    """Also when whoever has the key signs something else than claims."""
    signed = b"e30." + base64.urlsafe_b64encode(claims).rstrip(b"=")
    code = base64.urlsafe_b64encode(hmac.digest(KEY.expose(), signed, "sha256")).rstrip(b"=")
    for token in (claims, signed + b"." + code):
        with pytest.raises(AuthenticationError):
            verify(token, [KEY], NOW)


@pytest.mark.parametrize("content", [b"", b"00" * 31, b"xx" * 32, b"\n".join([b"00" * 32] * 5), bytes(32)])
def test_a_file_that_is_half_understood_is_refused(content: bytes) -> None:
    with pytest.raises(IdentityError, match="hexadecimal digits"):
        read_keys(Secret(content))


@pytest.mark.parametrize("content", [b"00", b"\n".join([b"00" * 32] * 5)], ids=["short", "many"])
def test_without_the_check_half_a_key_makes_tokens(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    without_check(monkeypatch, tokens, "read_keys", "whole-token-keys")
    assert tokens.read_keys(Secret(content))


def test_the_first_key_of_a_file_makes_tokens(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.touch(mode=0o600)
    file.write_text("01" * 32 + "\n" + "02" * 32 + "\n")
    assert read_keys(Secret(file.read_bytes())) == (OTHER, KEY)
    run = CliRunner().invoke(build(), ["token", "alice", "--key", str(file), "--minutes", "5"])
    token = run.output.strip().encode()
    assert verify(token, [OTHER], time.time() + 290) == ALICE
    with pytest.raises(AuthenticationError, match="expired"):
        verify(token, [OTHER], time.time() + 301)


def test_the_command_issues_none_that_would_be_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.touch(mode=0o644)
    file.write_text("01" * 32)
    run = CliRunner().invoke(build(), ["token", "alice", "--key", str(file)])
    assert isinstance(run.exception, IdentityError), "others can read the file"
    file.chmod(0o600)
    assert CliRunner().invoke(build(), ["token", "al ice", "--key", str(file)]).exit_code == 1
    assert CliRunner().invoke(build(), ["token", "alice", "--key", str(file), "--minutes", "1441"]).exit_code == 2
