"""What is fuzzed: everything that reads bytes which a peer, or a disk, may have spoilt."""

from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from zlib import crc32

from secagg_client.released_sums import file as memory_file
from secagg_server.certificates.denied import DenyList
from secagg_server.gateway import tokens
from secagg_server.settings import load_settings
from secagg_server.storage.sqlite import entries
from secagg_server.storage.sqlite.entries import Columns, decode_entry, encode_entry
from secagg_server.storage.sqlite.seals import PlainEnvelope

from secagg.audit import entries as audit_entries
from secagg.audit.entries import BEGINNING
from secagg.context import RoundId
from secagg.crypto import labels
from secagg.crypto.authority import Authority, create_authority, issue_revocation_list
from secagg.crypto.revocation import RevocationList
from secagg.crypto.secret import Secret
from secagg.errors import (
    AuditError,
    AuthenticationError,
    ConfigError,
    IdentityError,
    LedgerError,
    MemoryFileError,
    RemoteError,
    StoreError,
)
from secagg.messages import ParticipantId
from secagg.privacy.ledger import Budget, Ledger, follow, task_of
from secagg.rounds.releases import Release
from secagg.tools.simulation.network import Envelope
from secagg.wire.calls import CODECS
from secagg.wire.parsing import parse
from secagg.wire.strikes import Record, Strike, decode_record, encode_record
from secagg.wire.v1 import control_plane_pb2
from tests.properties.decoders import Decoder, all_decoders
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment, flat_schema, make_config, start
from tests.stores import ENTRIES

_LENGTH = 2


@dataclass(frozen=True)
class Target:
    """Something that reads bytes.

    Attributes:
        name: of its folder in the corpus.
        seeds: inputs to begin with.
        read: reads an input; any exception but `named` is a fault.
        named: errors that an input may end with.
    """

    name: str
    seeds: Callable[[], Iterable[bytes]]
    read: Callable[[bytes], object]
    named: tuple[type[Exception], ...] = (RemoteError,)

    def run(self, data: bytes) -> bool:
        """Whether the input was taken.

        Raises:
            Exception: it ended with an error that is not named.
        """
        try:
            self.read(data)
        except self.named:
            return False
        return True


def joined(parts: Sequence[bytes]) -> bytes:
    """Parts of a message in one input: each but the last behind its length."""
    head = b"".join(len(part).to_bytes(_LENGTH, "big") + part for part in parts[:-1])
    return bytes([len(parts)]) + head + b"".join(parts[-1:])


def cut(data: bytes) -> list[bytes]:
    """The parts of any input; `joined` backwards."""
    count, at, parts = (data[0] if data else 0), 1, []
    for _ in range(count - 1):
        end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "big")
        parts.append(data[at + _LENGTH : end])
        at = end
    return [*parts, data[at:]] if count else parts


# --- the wire ---------------------------------------------------------------------------------------------------------


def _of_decoder(decoder: Decoder) -> Target:
    def read(data: bytes) -> None:
        decoder.decode(cut(data))

    return Target(decoder.name.replace(" ", "_"), lambda: map(joined, decoder.valid), read)


# --- whole rounds, in which one message is another one ----------------------------------------------------------------

_MODELS = (SEMI_HONEST, ACTIVE)


def _round(data: bytes, seen: Callable[[int, Envelope], None] = lambda *_: None) -> None:
    """Play a round; byte 0 says in which threat model, byte 1 which message becomes what the rest says."""
    config = make_config(4, _MODELS[data[0] % 2 if data else 0], schema=flat_schema(4))
    number = -1

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        nonlocal number
        number += 1
        seen(number, envelope)
        if len(data) < _LENGTH + 1 or number != data[1]:
            return (envelope,)
        codec, parts = CODECS[type(envelope.message)], cut(data[2:])
        with suppress(RemoteError):  # refused by the shell: as if it never came
            messages = [parse(codec.kind, part) for part in parts]
            message = codec.decode(messages) if codec.in_parts else codec.decode(parse(codec.kind, b"".join(parts)))
            return (type(envelope)(envelope.participant, message, envelope.phase),)
        return ()

    start(config, hook=hook).play()


def _round_seeds() -> Iterable[bytes]:
    for model in range(len(_MODELS)):
        found: dict[type, bytes] = {}

        def note(number: int, envelope: Envelope, model: int = model, found: dict[type, bytes] = found) -> None:
            codec = CODECS[type(envelope.message)]
            encoded = codec.encode(envelope.message)
            parts = [part.SerializeToString() for part in (encoded if codec.in_parts else [encoded])]
            if number < 256:
                found.setdefault(type(envelope.message), bytes([model, number]) + joined(parts))

        _round(bytes([model]), note)
        yield from found.values()


# --- files ------------------------------------------------------------------------------------------------------------


def _ledger_line(data: bytes) -> None:
    follow(data, None, task_of([data]))


def _memory_line(data: bytes) -> None:
    """With the right checksum, since no tool guesses one."""
    memory_file.MemoryFile(Path("memory"))._entry(b"%08x " % crc32(data) + data)


def _memory_seeds() -> Iterable[bytes]:
    names = frozenset(map(ParticipantId, "abc"))
    yield memory_file.encode(memory_file.Claimed(RoundId(bytes(16)), Release(bytes(32), names, 2)))[9:-1]
    yield memory_file.encode(memory_file.Received(RoundId(bytes(16))))[9:-1]


def _certificate_seeds() -> Iterable[bytes]:
    made = deployment()
    yield from (joined(identity.chain) for identity in list(made.identities.values())[:2])


def _certificate(data: bytes) -> None:
    deployment().trust.verify_participant(tuple(cut(data)), datetime.fromtimestamp(NOW, UTC))


_SETTINGS = b"listen = '127.0.0.1:0'\ncertificate = 'c'\nkey = 'k'\nparticipant_ca = 'a'\n[budget]\nepsilon = 1\n"
_RECORD = Record(ParticipantId("a"), True, (Strike(ParticipantId("a"), RoundId(bytes(16)), 1.5, "why"),))


def _settings(data: bytes) -> None:
    with NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        load_settings(Path(file.name), {})


def _denied(data: bytes) -> None:
    with suppress(UnicodeDecodeError):
        DenyList.parse(data.decode())


_LIST = b"-----BEGIN X509 CRL-----\n%b\n-----END X509 CRL-----\n"


def _revocation_seeds() -> Iterable[bytes]:
    made = create_authority(name="one CA", now=datetime.fromtimestamp(NOW, UTC))
    authority = Authority.from_pem(made.certificate_pem, made.key_pem.expose())
    pem = issue_revocation_list(
        authority, [(7, datetime.fromtimestamp(NOW, UTC))], number=1, now=datetime.fromtimestamp(NOW, UTC)
    )
    yield b64decode(b"".join(pem.splitlines()[1:-1]))


def _revocations(data: bytes) -> None:
    RevocationList.all_in(_LIST % b64encode(data))


def _strikes(data: bytes) -> None:
    decode_record(parse(control_plane_pb2.Strikes, data))


def _audit_seeds() -> Iterable[bytes]:
    yield audit_entries.write("round_failed", 1, {"round": "00" * 16, "step": 3, "culprits": ["a"]}, BEGINNING)[0]


_TOKEN_KEY = Secret(bytes(32))


def _token(data: bytes) -> None:
    """Whole tokens, and claims with the right code, since no tool guesses one."""
    with suppress(AuthenticationError):
        tokens.verify(data, [_TOKEN_KEY], NOW)
    signed = b"e30." + urlsafe_b64encode(data).rstrip(b"=")
    tokens.verify(signed + b"." + urlsafe_b64encode(tokens._code(_TOKEN_KEY, signed)).rstrip(b"="), [_TOKEN_KEY], NOW)


def _token_seeds() -> Iterable[bytes]:
    yield b'{"sub":"a","aud":"secagg","exp":%d}' % (NOW + 60)
    yield b'{"sub":"a","aud":"secagg","exp":%d,"nbf":0.5}' % (NOW + 60)


def _token_keys(data: bytes) -> None:
    tokens.read_keys(Secret(data))


_KEPT = PlainEnvelope(RoundId(bytes(16)))


def _journal_seeds() -> Iterable[bytes]:
    for entry in ENTRIES:
        kept = encode_entry(0, entry, _KEPT)
        yield joined([kept.kind.encode(), kept.sender.encode(), kept.what.encode(), kept.body[:-16]])


def _journal_entry(data: bytes) -> None:
    """With the right checksum, since no tool guesses one."""
    kind, sender, what, body, *_ = [*cut(data), b"", b"", b"", b""]
    texts = [part.decode("latin-1") for part in (kind, sender, what)]
    sealed = _KEPT.seal(labels.JOURNAL_ENTRY, body, *entries._fixed(0, texts[0], 1.0, texts[1], texts[2]))
    decode_entry(0, Columns(texts[0], 1.0, texts[1], texts[2], sealed), _KEPT)


@cache
def targets() -> dict[str, Target]:
    """Every target by name."""
    made = [
        *map(_of_decoder, all_decoders()),
        Target("round", _round_seeds, _round),
        Target("ledger_line", lambda: Ledger.open("digits", Budget(2.5, 1e-5)).lines, _ledger_line, (LedgerError,)),
        Target("memory_line", _memory_seeds, _memory_line, (MemoryFileError,)),
        Target("certificate", _certificate_seeds, _certificate),
        Target("settings", lambda: (_SETTINGS,), _settings, (ConfigError,)),
        Target("deny_list", lambda: (b"participant a # left\norganisation B\n",), _denied, (IdentityError,)),
        Target("revocation_list", _revocation_seeds, _revocations, (IdentityError,)),
        Target("strikes", lambda: (encode_record(_RECORD).SerializeToString(),), _strikes),
        Target("token", _token_seeds, _token),
        Target("token_keys", lambda: (b"01" * 32, b"0B" * 32 + b"\n" + b"0a" * 32), _token_keys, (IdentityError,)),
        Target("audit_line", _audit_seeds, audit_entries.read, (AuditError,)),
        Target("journal_entry", _journal_seeds, _journal_entry, (StoreError,)),
    ]
    return {target.name: target for target in made}
