"""Certificate, key and CA of the data plane, and who is refused: read again when their files change. What expires is
warned of before.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import grpc
import structlog

from secagg.errors import IdentityError
from secagg.transport.tls import server_credentials
from secagg_server.certificates.files import Loaded, load, read_denied
from secagg_server.notifier import Notifier
from secagg_server.rounds.hosted import Clock
from secagg_server.settings import Settings

LOOK_EVERY_S: Final = 5.0
"""Files are read once they have looked the same twice in a row, so a certificate and its key may be replaced one after
the other.
"""

WARN_AHEAD_S: Final = (14 * 86_400.0, 86_400.0, 3600.0, 0.0)

Stamp = tuple[tuple[int, int, int] | None, ...]
"""Of each file: when it was changed, its length, and which file it is; None where there is none."""


class Renewal:
    """Keeps what is in force, and exchanges it. If anything is wrong with new files, the old content stays in force.

    Attributes:
        loaded: what is in force.
        fault: why new files are not in force, until they are; empty if nothing is wrong.
    """

    def __init__(
        self, settings: Settings, loaded: Loaded, clock: Clock, apply: Callable[[Loaded], Awaitable[None]]
    ) -> None:
        """Args:
        settings: name the files.
        loaded: what they held when the coordinator started.
        clock: seconds since 1970.
        apply: called on the event loop with what is in force from then on.
        """
        self.loaded = loaded
        self.fault = ""
        self._settings = settings
        self._clock = clock
        self._apply = apply
        gateway = (settings.gateway_token_key, settings.gateway_certificate, settings.gateway_key)
        others = (settings.crl, settings.denied, *gateway)
        self._files = (settings.certificate, settings.key, settings.participant_ca, *filter(None, others))
        self._read = self._seen = self._stamp()
        self._shown = loaded  # by grpc
        self._told: dict[tuple[str, float], float] = {}  # how far ahead each expiry was told last
        self._wanted = False
        self._woken = Notifier()
        self._log = structlog.get_logger()

    def credentials(self) -> grpc.ServerCredentials:
        """Mutual TLS for grpc: each new connection gets what is in force then."""
        return server_credentials(self.loaded.for_grpc(), self._changed)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked by a thread of grpc before each handshake; None where nothing has changed since it last asked."""
        loaded = self.loaded
        if loaded is self._shown:
            return None
        self._shown = loaded
        return loaded.for_grpc()

    def wake(self) -> None:
        """Read the files now, whether they have changed or not."""
        self._wanted = True
        self._woken.notify()

    async def run(self) -> None:
        """Look at the files every few seconds, or when woken, until the task is cancelled."""
        self.tell_expiry()
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._woken.wait()
            except TimeoutError:
                pass
            await self.look()

    async def look(self) -> None:
        """Read the files if somebody woke us, or if they have changed and no longer change."""
        stamp = await asyncio.to_thread(self._stamp)
        wanted, rested = self._wanted, stamp == self._seen != self._read
        self._wanted, self._seen = False, stamp
        if wanted or rested:
            self._read = stamp
            await self._renew()
        self.tell_expiry()

    async def _renew(self) -> None:
        try:
            loaded = await asyncio.to_thread(self._load)
        except (IdentityError, OSError) as error:
            self.fault = f"the files of certificate, key, CA and who is refused have changed and are not used: {error}"
            self._log.error("credentials_kept", detail=str(error))
            await self._deny()
            return
        self.loaded, self.fault = loaded, ""
        await self._apply(loaded)
        self._log.info("credentials_renewed", expiries=[(name, at.isoformat()) for name, at in loaded.expiries])

    def _load(self) -> Loaded:
        loaded = load(self._settings, self._clock())
        loaded.trust.check_follows(self.loaded.trust)
        return loaded

    async def _deny(self) -> None:
        """Put the deny list into force alone: an operator has to be able to keep somebody out at once, whatever is
        wrong with the other files.
        """
        try:
            denied = await asyncio.to_thread(read_denied, self._settings)
        except (IdentityError, OSError):
            return  # the fault names it once it is what is wrong
        if denied != self.loaded.denied:
            self.loaded = replace(self.loaded, denied=denied)
            await self._apply(self.loaded)

    def tell_expiry(self) -> None:
        """Log what expires within 14 days, a day or an hour, or has expired: each once."""
        now = self._clock()
        for name, at in self.loaded.expiries:
            left_s = at.timestamp() - now
            within = min((limit for limit in WARN_AHEAD_S if left_s <= limit), default=None)
            known = (name, at.timestamp())
            if within is None or self._told.get(known, float("inf")) <= within:
                continue
            self._told[known] = within
            when, hours = at.isoformat(), round(left_s / 3600, 1)
            if within:
                self._log.warning("expires_soon", what=name, at=when, hours=hours)
            else:
                self._log.error("expired", what=name, at=when, hours=hours)

    def _stamp(self) -> Stamp:
        return tuple(map(_stamp_of, self._files))


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
