"""What the coordinator as a whole writes into its audit log: starts and stops, who called, who was given a sum."""

import asyncio
from collections.abc import Callable, Collection
from hashlib import sha256
from time import monotonic
from typing import Any, Final

import structlog

from secagg import __version__
from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors
from secagg.errors import AbortReason, RoundAborted, StoreError
from secagg.messages import ParticipantId
from secagg.privacy.ledger import Head
from secagg.programs.audit.log import AuditLog, Draft
from secagg.programs.ledgers.budgets import Charge
from secagg_server.audit.people import People
from secagg_server.audit.rounds import RoundAudit
from secagg_server.network.peers import network_of
from secagg_server.observability.facts import CallEnded, ConnectionCause, ConnectionClosed, Fact
from secagg_server.observability.logs import Throttle, shortened
from secagg_server.settings import Settings
from secagg_server.storage.records import RoundRecord

PAUSE_S: Final = 3600.0
"""Between two entries about calls or connections that were refused alike."""

MOST_IN_PAUSE: Final = 100
"""Entries of one kind about calls or connections that were refused, within `PAUSE_S`."""

LOOK_EVERY_S: Final = 15.0

MOST_GIVEN: Final = 100_000
"""Of whom it is remembered that they were given a sum, so that it is written once."""


class CoordinatorAudit:
    """Writes into the audit log, or nowhere if there is none."""

    def __init__(self, log: AuditLog | None, clock: Callable[[], float]) -> None:
        """Args:
        log: None without `state_dir`.
        clock: seconds since 1970.
        """
        self.people = People()
        self._log = log
        self._clock = clock
        self._throttle = Throttle(monotonic, PAUSE_S, MOST_IN_PAUSE)
        self._given: dict[tuple[RoundId, str], None] = {}
        self._told: Head | None = None
        self._signing: asyncio.Task[None] | None = None

    @property
    def head(self) -> str:
        """Number and digest of the last checkpoint; empty without a log."""
        return "" if self._log is None else self._log.signed.text

    # --- starts and stops ---------------------------------------------------------------------------------------------

    async def start(self, settings: Settings, identity: CoordinatorIdentity, trust: TrustAnchors) -> None:
        """The coordinator is about to serve. From now on checkpoints are signed when it is time.

        Raises:
            AuditError: the disk refuses.
        """
        await asyncio.to_thread(self._started, settings, identity, trust)
        self._signing = asyncio.create_task(self._run())

    async def stop(self, open_rounds: Collection[RoundId]) -> None:
        """It stops in order. A disk that refuses does not keep it from that."""
        if self._signing is not None:
            self._signing.cancel()
        await asyncio.to_thread(self._stopped, open_rounds)

    def _started(self, settings: Settings, identity: CoordinatorIdentity, trust: TrustAnchors) -> None:
        if self._log is None:
            return
        now, drafts = self._clock(), []
        if self._log.cut is not None:
            size, digest = self._log.cut
            drafts.append(Draft("tail_cut", now, {"bytes": size, "digest": digest.hex()}))
        facts = {"release": __version__, **_credentials(identity, trust), "settings": _limits(settings)}
        self._log.write([*drafts, Draft("coordinator_started", now, facts)], sign=True)
        self._tell_head()

    def _stopped(self, open_rounds: Collection[RoundId]) -> None:
        if self._log is None:
            return
        facts = {"open_rounds": sorted(round_id.hex() for round_id in open_rounds)}
        try:
            self._log.write([Draft("coordinator_stopped", self._clock(), facts)], sign=True)
        except StoreError as error:
            structlog.get_logger().error("audit_not_written", detail=str(error))
        self._tell_head()

    def renewed(self, identity: CoordinatorIdentity, trust: TrustAnchors, refused: Collection[ParticipantId]) -> None:
        """Certificates or lists of who is refused were read again; `refused` may take part no longer."""
        self.note("certificates_changed", **_credentials(identity, trust), refused=sorted(refused))

    async def _run(self) -> None:
        """Sign what was written, now and then, and tell the log of the process how far the audit log goes."""
        while self._log is not None:
            await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        if self._log is None:
            return
        try:
            self._log.sign_if_due()
        except StoreError as error:
            structlog.get_logger().error("audit_not_written", detail=str(error))
        self._tell_head()

    def _tell_head(self) -> None:
        if self._log is not None and self._log.signed != self._told:
            self._told = self._log.signed
            structlog.get_logger().info("audit_checkpoint", head=self._told.text)

    # --- rounds -------------------------------------------------------------------------------------------------------

    def round(
        self, record: RoundRecord, config: RoundConfig, *, charge: Charge | None = None, groups: tuple[str, ...] = ()
    ) -> RoundAudit:
        """What writes for one round. Arguments as of `RoundAudit`."""
        return RoundAudit(self._log, record, config, people=self.people, charge=charge, groups=groups)

    def recall(self, rounds: Collection[RoundId]) -> None:
        """Find out what is written already of rounds that an earlier process left.

        Raises:
            AuditError: the disk refuses.
        """
        if self._log is not None:
            self._log.recall([round_id.hex() for round_id in rounds])

    def recalled(self) -> None:
        """Every round of an earlier process was taken up: one that is opened from now on is new, whatever its id."""
        if self._log is not None:
            self._log.recalled()

    def lost(self, round_id: RoundId, why: str) -> None:
        """Nobody can go on with a round of an earlier process. It was looked for with `recall`."""
        if self._log is None or self._log.is_over(round_id.hex()):
            return
        failure = RoundAborted(AbortReason.INTERNAL, why)
        facts: dict[str, Any] = {"reason": failure.reason.name, "detail": shortened(why), "culprits": [], "accused": []}
        step, _ = self._log.steps(round_id.hex())
        place = {"round": round_id.hex(), "step": step + 1}
        self._log.write([Draft("round_failed", self._clock(), {**facts, "known": True, **place})])

    async def give(self, round_id: RoundId, who: str) -> None:
        """Somebody is about to be given the sum of a round.

        Raises:
            AuditError: the disk refuses.
        """
        key = round_id, who
        if self._log is None or key in self._given:
            return
        facts = {"round": round_id.hex(), "who": who}
        await asyncio.to_thread(self._log.write, [Draft("sum_given", self._clock(), facts)])
        if len(self._given) >= MOST_GIVEN:
            del self._given[next(iter(self._given))]
        self._given[key] = None

    async def forgive(self, participant: ParticipantId, forgiven: int) -> None:
        """An operator let a participant in again whose fault was proven.

        Raises:
            AuditError: the disk refuses.
        """
        if self._log is not None:
            facts = {"participant": participant, "strikes": forgiven}
            await asyncio.to_thread(self._log.write, [Draft("strikes_forgiven", self._clock(), facts)])

    def quarantined(self, participant: ParticipantId, strikes: int) -> None:
        """A participant is kept out of rounds from now on."""
        self.note("quarantined", participant=participant, strikes=strikes)

    # --- connections and calls ----------------------------------------------------------------------------------------

    def see(self, participant: ParticipantId, organisation: str, fingerprint: str, *, fresh: bool) -> None:
        """A participant called with a certificate; `fresh` if it never did before."""
        self.people.see(participant, organisation, fingerprint)
        if fresh:
            self.note("identity_seen", participant=participant, organisation=organisation, fingerprint=fingerprint)

    def __call__(self, fact: Fact) -> None:
        """Hear of a call or a connection that was refused. What peers choose to do is throttled."""
        match fact:
            case CallEnded(error=RoundAborted()):
                pass  # the round's own entry says so
            case CallEnded(error=error) if error is not None:
                name, network = type(error).__name__, network_of(fact.address)
                self._note_refusal(
                    "call_refused",
                    (fact.caller or network, name),
                    method=fact.method,
                    participant=fact.caller,
                    address=network,
                    error=name,
                    detail=shortened(str(error)),
                )
            case ConnectionClosed(cause=ConnectionCause.TLS_REFUSED | ConnectionCause.TOO_MANY as cause):
                network = network_of(fact.address)
                self._note_refusal(
                    "connection_refused",
                    (fact.participant or network, fact.reason),
                    participant=fact.participant,
                    address=network,
                    reason=fact.reason or cause.name,
                    detail=shortened(fact.detail),
                )
            case _:
                pass

    def note(self, kind: str, **facts: Any) -> None:
        """Note something that nothing follows from; it is written with the next entry that something does."""
        if self._log is not None:
            self._log.note(Draft(kind, self._clock(), facts))

    def _note_refusal(self, kind: str, key: tuple[str, str], **facts: Any) -> None:
        left_out = self._throttle.pass_over(kind, key)
        if left_out is not None:
            self.note(kind, **facts, **({"unlogged": left_out} if left_out else {}))


def _credentials(identity: CoordinatorIdentity, trust: TrustAnchors) -> dict[str, str]:
    return {"certificate": sha256(identity.chain[0]).hexdigest(), "ca": trust.digest.hex()}


def _limits(settings: Settings) -> dict[str, str]:
    """The settings that are limits: no path, no address."""
    limits = [name for name, field in Settings.model_fields.items() if field.json_schema_extra]
    return {name: str(getattr(settings, name)) for name in limits}
