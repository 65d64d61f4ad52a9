"""The real server's view: coordinator and participants over TLS in this process, and what stays behind of updates.

The round has known updates on the grid of the encoding, so that raw, encoded and masked words are all known exactly.
They are looked for in everything that is logged or printed, in every file that appears, in the events that the FL
server watches, in the store but for the spool, which holds masked words by design, in all that the status port serves
while the round runs, and in traces. Keys, seeds and shares are looked for in logs, files, traces and on the status
port. Needs the extra `server`.
"""

import asyncio
import io
import json
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.crypto.authority import Authority, create_authority, issue_participant, issue_server
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.secret import Secret
from secagg.encoding.arrays import FloatArray
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import MissingExtraError
from secagg.messages import ParticipantId
from secagg.tools.redteam.adversary import Integers
from secagg.tools.redteam.arena import WIDE
from secagg.tools.redteam.modes import MASKED_ACTIVE
from secagg.tools.redteam.served import Served, secrets_in, secrets_made, traced
from secagg.tools.redteam.statistics import Battery, ring_tests
from secagg.tools.redteam.views import RememberingSpool, listening
from secagg.tools.simulation.cohort import participant_names

if TYPE_CHECKING:
    from secagg_server.storage.memory import MemoryStore
    from secagg_server.storage.records import RoundRecord
    from secagg_server.storage.store import Journal

VALUES: Final = 2048
_PEOPLE: Final = 3
_PATIENCE_S: Final = 60.0
_WINDOW: Final = 16
"""Bytes of a vector that are looked for together: no such piece is elsewhere by chance."""

_CHANGES: Final = frozenset({"round_id", "timestamp", "head"})
"""What differs between the log lines of two rounds anyway."""

Update = dict[str, FloatArray]


@dataclass(frozen=True, slots=True)
class Left:
    """What a round left behind.

    Attributes:
        log: everything logged or printed, at the most talkative level.
        files: every file that appeared, by name, but for certificates and the socket.
        told: events that the FL server saw, and what the store holds beside its spool, as text.
        spooled: everything that was ever put into the spool, by participant, in order.
        served: everything that the status port served, by path.
        traces: what a collector of traces was sent.
        ended: the last status that it served, without times.
        secrets: every key, seed and share of the coordinator and of all participants.
        sums: the released sum, in ring words.
        mean: of the updates.
    """

    log: str
    files: Mapping[str, bytes]
    told: str
    spooled: Mapping[int, bytes]
    served: Mapping[str, bytes]
    traces: str
    ended: object
    secrets: frozenset[bytes]
    sums: Integers
    mean: FloatArray


@dataclass(frozen=True, slots=True)
class _Site:
    """Certificates of a deployment, as a server and its participants load them."""

    ca: bytes
    certificate: bytes
    key: Secret
    identities: Mapping[ParticipantId, Identity]


@cache
def _site() -> _Site:
    now = datetime.fromtimestamp(time.time(), UTC)
    ca = create_authority(name="red team", now=now)
    authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
    people = {}
    for name in participant_names(_PEOPLE):
        made = issue_participant(authority, participant_id=name, organisation="north", now=now)
        people[name] = Identity.from_pem(made.certificate_pem, made.key_pem.expose())
    server = issue_server(authority, hosts=["localhost", "127.0.0.1"], now=now)
    return _Site(ca.certificate_pem, server.certificate_pem, server.key_pem, people)


def shell_available() -> bool:
    """Whether the extra `server` is installed."""
    try:
        import secagg_client  # noqa: F401, PLC0415
        import secagg_server.app  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def shell_in_sight(seed: int = 0) -> list[str]:
    """Nothing of an update or of the sum, raw, encoded or masked, and no key, seed or share is in what the running
    server leaves behind, traces or serves on its status port; log lines and the status are the same for other data;
    what waits in the spool is noise.

    Raises:
        MissingExtraError: the extra `server` is not installed.
    """
    if not shell_available():
        raise MissingExtraError("the server's own view", "server")
    config = MASKED_ACTIVE.config(Schema((ArraySpec("values", (VALUES,), "float64"),)), _PEOPLE, encoding=WIDE)
    names = participant_names(_PEOPLE)
    updates = {name: _on_grid(config, seed * _PEOPLE + i) for i, name in enumerate(names)}
    zeros = {name: {"values": np.full(VALUES, updates[name]["values"][0])} for name in names}
    left, other = _played(config, updates), _played(config, zeros)
    if len(left.spooled) != _PEOPLE or not _lines(left.log):
        return ["nothing was spooled or logged, so nothing could be found: this check saw no round"]
    if find_spec("opentelemetry") is not None and not left.traces:
        return ["no traces were made, so nothing could be found: this check saw no round"]
    if not all(b" 200 " in content for content in left.served.values()) or len(left.secrets) < 10 * _PEOPLE:
        return ["nothing was served, or nobody had secrets, so nothing could be found: this check saw no round"]
    said = list(_found(config, updates, left))
    said += secrets_in(_places(left), left.secrets)
    if _lines(left.log) != _lines(other.log):
        said.append("log lines differ from those of a round with other data")
    if left.ended != other.ended:
        said.append("the status differs from that of a round with other data")
    return said + _spool_battery(config, left).said()


def _on_grid(config: RoundConfig, seed: int) -> Update:
    """Values that encoding does not round: what is encoded is known without the participant's randomness."""
    levels = np.random.default_rng([seed, 23]).integers(1 << 20, (1 << 30) - 1, VALUES)
    return {"values": levels / WIDE.levels * 2 * WIDE.clip - WIDE.clip}


def _encoded(config: RoundConfig, update: Update, rounding: int) -> Integers:
    """uint64[values], on either side of each value: float64 may miss the grid by a hair."""
    encoder = config.code.encode(config.schema.check(update), 1, Secret(bytes([rounding]) * 32))
    words: Integers = encoder.read(0, VALUES, np.dtype(np.uint64))
    return words


def _played(config: RoundConfig, updates: Mapping[ParticipantId, Update]) -> Left:
    with TemporaryDirectory(prefix="secagg-redteam-") as name, listening() as heard, secrets_made() as secrets:
        folder = Path(name)
        with traced() as spans:
            told, spools, served, aggregate = asyncio.run(_round(config, updates, folder, heard))
        known = {"cert.pem", "key.pem", "ca.pem"}
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name not in known
        }
        mean = np.mean([update["values"] for update in updates.values()], axis=0)
        sums = aggregate.sums.astype(np.uint64)
        key = frozenset({_site().key.expose()})
        known_secrets = frozenset(secrets) | key
        return Left(
            log=heard.getvalue(),
            files=files,
            told=told,
            spooled=spools,
            served=served.contents,
            traces="\n".join(spans),
            ended=served.ended,
            secrets=known_secrets,
            sums=sums,
            mean=mean,
        )


async def _round(
    config: RoundConfig, updates: Mapping[ParticipantId, Update], folder: Path, heard: io.StringIO
) -> tuple[str, dict[int, bytes], Served, Aggregate]:
    """The real server, the real clients, TLS on loopback."""
    from secagg_client import AsyncClient, AsyncControlClient  # noqa: PLC0415, an extra
    from secagg_server.app import running_server  # noqa: PLC0415
    from secagg_server.observability.logs import configure_logs  # noqa: PLC0415
    from secagg_server.settings import load_settings  # noqa: PLC0415

    site, store = _site(), _remembering()
    for name, content in (("cert.pem", site.certificate), ("ca.pem", site.ca), ("key.pem", site.key.expose())):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    settings = load_settings(None, {
        "listen": "127.0.0.1:0", "control": f"unix:{folder}/control.sock", "certificate": folder / "cert.pem",
        "key": folder / "key.pem", "participant_ca": folder / "ca.pem", "log_level": "debug", "shutdown_grace_s": 1.0,
        "status": "127.0.0.1:0", "state_dir": folder / "state",
    })  # fmt: skip
    trust = TrustAnchors.from_pem(site.ca)
    with _own_logs():
        configure_logs(settings, heard)
        async with running_server(settings, store=store) as server, AsyncControlClient(server.control_address) as fl:
            round_id = await fl.open_round(config)

            async def take_part(name: ParticipantId) -> None:
                async with AsyncClient(server.data_address, identity=site.identities[name], trust=trust) as client:
                    await client.participate(
                        updates[name], round_id=round_id, model_digest=config.model_digest, timeout_s=_PATIENCE_S
                    )

            served = Served(server.status_address or "")
            async with served.always():
                await asyncio.gather(*map(take_part, updates))
            aggregate = await fl.fetch(round_id, config)
            events = [repr(event) async for _, event in fl.watch(round_id)]
            journal = store.journals[round_id]
            kept = repr((journal.record, journal.entries))
    spool = journal.spool
    written = dict(spool.written) if isinstance(spool, RememberingSpool) else {}
    return "\n".join([*events, kept]), written, served, aggregate


@contextmanager
def _own_logs() -> Iterator[None]:
    """structlog's settings are the process's: they are put back."""
    import structlog  # noqa: PLC0415

    before = structlog.get_config()
    try:
        yield
    finally:
        structlog.configure(**before)


def _remembering() -> "MemoryStore":
    """The server's own store, with a spool that forgets nothing."""
    from secagg_server.storage.memory import MemoryJournal, MemoryStore  # noqa: PLC0415

    class Store(MemoryStore):
        def open_rounds(self, records: "Sequence[RoundRecord]") -> "Sequence[Journal]":
            made = {record.round_id: MemoryJournal(record, spool=RememberingSpool()) for record in records}
            self.journals |= made
            return list(made.values())

    return Store()


def _found(config: RoundConfig, updates: Mapping[ParticipantId, Update], left: Left) -> Iterator[str]:
    places = {"events and journal": left.told.encode(), **_places(left)}
    released = {"the sum": left.sums, "the mean": left.mean, "the mean, float32": left.mean.astype(np.float32)}
    for kind, words in released.items():
        wanted = {*_texts(words), *_pieces(words)}
        for place, content in places.items():
            count = sum(needle in content for needle in wanted)
            if count:
                yield f"{count} pieces of {kind} are in {place}"
    for name, update in updates.items():
        needles = {kind: set(_texts(words)) | set(_pieces(words)) for kind, words in _words(config, update).items()}
        for owner, payload in left.spooled.items():
            masked = np.frombuffer(payload[: len(payload) // 4 * 4], "<u4").astype(np.uint64)
            needles[f"masked, of number {owner}"] = set(_texts(masked)) | set(_pieces(masked))
        for place, content in places.items():
            for kind, wanted in needles.items():
                hits = [needle for needle in wanted if needle in content]
                if hits:
                    yield f"{len(hits)} pieces of the update of {name} ({kind}) are in {place}"
    clear = [kind for update in updates.values() for kind in _in_spool(config, update, left)]
    if clear:
        yield f"the spool holds values that are not masked: {', '.join(sorted(set(clear)))}"


def _places(left: Left) -> dict[str, bytes]:
    """Where an operator looks."""
    texts = {"the log": left.log.encode(), "the traces": left.traces.encode()}
    return {**texts, **left.files, **{f"what {p} served": c for p, c in left.served.items()}}


def _words(config: RoundConfig, update: Update) -> dict[str, Any]:
    return {
        "raw": update["values"], "raw, float32": update["values"].astype(np.float32),
        "encoded": _encoded(config, update, 0), "encoded, rounded otherwise": _encoded(config, update, 255),
    }  # fmt: skip


def _texts(words: Any) -> Iterator[bytes]:
    """As logs would print them: decimal, hexadecimal, shortened floats. Short numbers are everywhere by chance."""
    for value in words[:256].tolist():
        if isinstance(value, float):
            yield repr(abs(value))[:10].encode()
        elif value > 1 << 28:
            yield from (str(value).encode(), f"{value:x}".encode())


def _pieces(words: Any) -> Iterator[bytes]:
    """As they lie in memory, and as 32-bit words, and both in hexadecimal and base64."""
    forms = [words.tobytes()] + ([words.astype("<u4").tobytes()] if words.dtype.kind == "u" else [])
    for form in forms:
        for at in range(0, len(form) - _WINDOW, 8 * _WINDOW):
            piece = form[at : at + _WINDOW]
            yield from (piece, piece.hex().encode(), b64encode(piece)[:-4])


def _in_spool(config: RoundConfig, update: Update, left: Left) -> Iterator[str]:
    spooled = b"\0".join(left.spooled.values())
    for kind, words in _words(config, update).items():
        if any(piece in spooled for piece in _pieces(words)):
            yield kind


def _spool_battery(config: RoundConfig, left: Left) -> Battery:
    """Ring words of 32 bits: that is how many `WIDE` fills among three."""
    battery = Battery()
    for owner, payload in left.spooled.items():
        words = np.frombuffer(payload[: 4 * VALUES], "<u4").astype(np.uint64)
        battery.add(f"what the spool holds of number {owner}", ring_tests(words, config.ring_bits))
    return battery


def _lines(log: str) -> list[str]:
    """The server's lines without times and round ids, in no order: messages cross."""
    lines = []
    for line in log.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            lines.append(json.dumps({k: v for k, v in event.items() if k not in _CHANGES}, sort_keys=True))
    return sorted(lines)
