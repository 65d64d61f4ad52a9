"""How a configuration becomes a round, or several if it is in groups, in a thread: all of it or nothing."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Final

from secagg.config import RoundConfig
from secagg.context import Round, RoundId, bind
from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors
from secagg.crypto.prg import Words
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.errors import ConfigError, LimitError, MissingExtraError, ProtocolViolation, RoundAborted, StoreError
from secagg.masked.ranges import Workers
from secagg.messages import Index, ParticipantId
from secagg.programs.ledgers.budgets import Budgets, Charge
from secagg.rounds.doors import Door, HandOver
from secagg.rounds.engine import Engine
from secagg.rounds.finished import FinishedRound
from secagg.rounds.uploads import Spool
from secagg.schemes import coordinate
from secagg.wire.configuration import decode_config
from secagg.wire.grouping import GroupedRoundId
from secagg_server.audit.coordinator import CoordinatorAudit
from secagg_server.audit.rounds import RoundAudit
from secagg_server.ingress.keeper import DoorKeeper
from secagg_server.limits.capacity import Capacity, Demand
from secagg_server.limits.quota import Quota
from secagg_server.observability.observer import Observer
from secagg_server.rounds.grouped import GroupedRound, OpenedRound
from secagg_server.rounds.hosted import Clock, HostedRound
from secagg_server.rounds.journalled import RoundSpool
from secagg_server.rounds.unmasking import Unmasking
from secagg_server.storage.records import Ended, RoundRecord
from secagg_server.storage.store import Journal, Store

SEED_SIZE: Final = 32


class RoundOpener:
    """Makes rounds of configurations, with all that is set aside and stored for them.

    Attributes:
        budgets: what tasks with noise have spent.
        trust: the CA of participants, for rounds that are opened from now on.
    """

    def __init__(
        self,
        store: Store,
        identity: Callable[[], CoordinatorIdentity],
        budgets: Budgets,
        trust: TrustAnchors,
        *,
        workers: Workers,
        clock: Clock,
        rng: Rng,
        observer: Observer,
        on_cohort_end: Callable[[RoundId], None],
        on_round_end: Callable[[RoundId], None],
        on_room: Callable[[ParticipantId], None],
        capacity: Capacity,
        quota: Quota,
        audit: CoordinatorAudit,
        doors: DoorKeeper,
    ) -> None:
        """Args:
        store: what must not be forgotten.
        identity: gives the certificate and key that are in force; receipts are signed with them.
        budgets: plan what noise costs.
        trust: the CA of participants.
        workers: make the pieces of unmasking.
        clock: seconds since 1970.
        rng: the seeds of noise that the coordinator adds come from it, and the draw of groups.
        observer: hears what happens in rounds.
        on_cohort_end: called with the id of a round or of a group when it is over.
        on_round_end: called with the id of a round in groups when all of its groups are over.
        on_room: called when another process of a participant may join a round in place of one that is gone.
        capacity: memory and disk for sums and vectors.
        quota: of organisations in a cohort.
        audit: writes into the audit log.
        doors: other doors of the coordinator.
        """
        self.budgets = budgets
        self.trust = trust
        self._store = store
        self._identity = identity
        self._workers = workers
        self._clock = clock
        self._rng = rng
        self._observer = observer
        self._on_cohort_end = on_cohort_end
        self._on_round_end = on_round_end
        self._on_room = on_room
        self._capacity = capacity
        self._quota = quota
        self._audit = audit
        self._doors = doors

    @staticmethod
    def read(config_bytes: bytes) -> RoundConfig:
        """The configuration in these bytes.

        Raises:
            ConfigError: it is unsafe, names what the coordinator alone may name, or leaves the model for later; or its
                suite needs what is not installed here.
            DecodeError: it is no configuration.
        """
        try:
            config = decode_config(config_bytes)
        except ProtocolViolation as error:  # the wording for participants; here the caller itself chose the parameters
            raise ConfigError(str(error)) from None
        if config.groups is not None and config.groups.number:  # check: groups-named-by-us
            raise ConfigError("the coordinator names and numbers groups; leave parent and number out")
        if config.model_later:  # check: model-later-opened
            raise ConfigError(
                "this coordinator has no call by which a model could be named later: put the model's digest into "
                "model_digest and leave model_later out"
            )
        try:
            config.suite.require()  # check: suite-to-open
        except MissingExtraError as error:
            raise ConfigError(f"this coordinator cannot open the round: {error}") from None
        return config

    def prepare(self, round_id: RoundId, config: RoundConfig, config_bytes: bytes) -> Callable[[], OpenedRound]:
        """Store a new round; what is returned starts it, on the event loop. If anything fails, nothing is left."""
        record = self._record(round_id, config_bytes, self._clock(), config)
        with ExitStack() as undo:
            start = self._prepare_all(record, config, undo)
            undo.pop_all()
            return start

    def demand(self, config: RoundConfig) -> Demand:
        """What a round with `config` needs of this machine."""
        return Demand.of(config, doors=self._doors.possible)

    def _record(self, round_id: RoundId, config_bytes: bytes, opened_s: float, config: RoundConfig) -> RoundRecord:
        one_cohort = config.groups is None or config.groups.number > 0
        seed = Secret(self._rng.token(SEED_SIZE)) if config.central_noise and one_cohort else None
        return RoundRecord(round_id, config_bytes, opened_s, self.trust.pem, seed)

    def _prepare_all(self, record: RoundRecord, config: RoundConfig, undo: ExitStack) -> Callable[[], OpenedRound]:
        """The round is stored first, and its cost planned then: after a crash in between nobody was told of the round,
        and it costs nothing. The audit log has it last, when nothing can fail any more.
        """
        self._capacity.reserve(record.round_id, self.demand(config))
        undo.callback(self._capacity.release, record.round_id)
        groups = {} if config.groups is None else self._groups_of(record, config.groups.count)
        records = [record, *(made for made, _ in groups.values())]
        journals = self._store.open_rounds(records)
        undo.callback(self._store.forget_rounds, [made.round_id for made in records])
        charge = self.budgets.plan(record.round_id, config)
        if charge is not None:
            undo.callback(charge.withdraw)
        if config.groups is None:
            audit = self._audit.round(record, config, charge=charge)
            begin = self.cohort(record, config, journals[0], charge, audit)
            audit.write()
            return begin
        audit = self._audit.round(record, config, groups=tuple(made.round_id.hex() for made in records[1:]))
        audits = [self._audit.round(made, decoded, charge=charge) for made, decoded in groups.values()]
        starts = {
            number: self.cohort(made, decoded, journal, charge, of_group)
            for (number, (made, decoded)), journal, of_group in zip(groups.items(), journals[1:], audits, strict=True)
        }
        audit.write(*audits)

        def start() -> GroupedRound:
            groups = {number: begin() for number, begin in starts.items()}
            grouped = self.in_groups(record, config, groups, journals[0], audit)
            grouped.start()
            return grouped

        return start

    def _groups_of(self, record: RoundRecord, count: int) -> dict[int, tuple[RoundRecord, RoundConfig]]:
        ids = GroupedRoundId(record.round_id, record.config_bytes)
        made: dict[int, tuple[RoundRecord, RoundConfig]] = {}
        for number in range(1, count + 1):
            config_bytes = ids.group_config(number)
            config = decode_config(config_bytes)
            made[number] = self._record(ids.round_id(number), config_bytes, record.opened_s, config), config
        return made

    def cohort(
        self, record: RoundRecord, config: RoundConfig, journal: Journal, charge: Charge | None, audit: RoundAudit
    ) -> Callable[[], HostedRound]:
        """A round of one cohort, in its first phase; what is returned starts it, on the event loop.

        Raises:
            LimitError: there is no memory for its sum.
        """
        unmasking = Unmasking(self._workers)
        hand_over = partial(self._doors.hand_over, record.round_id)
        engine = self._engine(record, config, journal.spool, audit, unmasking=unmasking, hand_over=hand_over)

        def start() -> HostedRound:
            hosted = self._hosted(record, engine, journal, audit, charge=charge, unmasking=unmasking)
            hosted.start()
            return hosted

        return start

    def again(
        self, record: RoundRecord, config: RoundConfig, journal: Journal, charge: Charge | None
    ) -> Callable[[], HostedRound]:
        """The round of one cohort that an earlier process opened, in its first phase, for `HostedRound.recover`.

        Raises:
            LimitError: there is no memory for its sum.
            IdentityError: the CA of its participants cannot be read.
        """
        spool, unmasking = RoundSpool(journal.spool, writes=False), Unmasking(self._workers)
        audit = self._audit.round(record, config, charge=charge)

        def hand_over(door: Door, members: frozenset[Index]) -> Words | None:
            if not spool.writes:  # check: sums-of-another-life
                raise StoreError("its inputs were with ingress workers, whose sums ended with the process before")
            return self._doors.hand_over(record.round_id, door, members)

        engine = self._engine(record, config, spool, audit, unmasking=unmasking, hand_over=hand_over)
        return lambda: self._hosted(record, engine, journal, audit, charge=charge, spool=spool, unmasking=unmasking)

    def over(self, record: RoundRecord, config: RoundConfig, journal: Journal, ended: Ended | None) -> HostedRound:
        """The round of one cohort that was over when an earlier process ended, or is lost, for `HostedRound.restore`
        or `HostedRound.lose`. `ended` is None if it is lost.
        """
        events = [] if ended is None else [event for _, event in ended.events]
        failure = ended.outcome if ended is not None and isinstance(ended.outcome, RoundAborted) else None
        last = None if ended is None else ended.last
        finished = FinishedRound(self._round(record, config), last, events, failure)
        audit = RoundAudit(None, record, config, people=self._audit.people)  # all of it is written
        return self._hosted(record, finished, journal, audit)

    @staticmethod
    def _round(record: RoundRecord, config: RoundConfig) -> Round:
        return Round(record.round_id, config, bind(record.round_id, record.config_bytes, config.model_digest))

    def _engine(
        self,
        record: RoundRecord,
        config: RoundConfig,
        spool: Spool,
        audit: RoundAudit,
        *,
        unmasking: Unmasking,
        hand_over: HandOver,
    ) -> Engine:
        try:
            return coordinate(
                self._round(record, config),
                now=record.opened_s,
                trust=TrustAnchors.from_pem(record.trust_pem),
                spool=spool,
                workers=unmasking,
                claim=audit.claiming(partial(self._store.claim_release, record.round_id)),
                noise_seed=record.noise_seed,
                hand_over=hand_over,
            )
        except MemoryError:
            raise LimitError(f"no memory for a sum of {config.vector_len} coordinates") from None

    def _hosted(
        self,
        record: RoundRecord,
        engine: Engine | FinishedRound,
        journal: Journal,
        audit: RoundAudit,
        *,
        charge: Charge | None = None,
        spool: RoundSpool | None = None,
        unmasking: Unmasking | None = None,
    ) -> HostedRound:
        return HostedRound(
            record,
            engine,
            journal,
            self._clock,
            on_end=partial(self._on_cohort_end, record.round_id),
            on_room=self._on_room,
            identity=self._identity,
            observer=self._observer,
            settle=partial(self._store.settle_release, record.round_id),
            audit=audit,
            charge=charge,
            durable=self._store.durable,
            spool=spool,
            unmasking=unmasking,
            quota=self._quota,
            doors=self._doors,
        )

    def in_groups(
        self,
        record: RoundRecord,
        config: RoundConfig,
        groups: Mapping[int, HostedRound],
        journal: Journal,
        audit: RoundAudit | None = None,
    ) -> GroupedRound:
        """The round that consists of these groups, for `GroupedRound.start` or `GroupedRound.recover`."""
        ids = tuple(hosted.record.round_id.hex() for hosted in groups.values())
        return GroupedRound(
            record,
            config,
            groups,
            journal,
            audit or self._audit.round(record, config, groups=ids),
            rng=self._rng,
            clock=self._clock,
            observer=self._observer,
            on_end=partial(self._on_round_end, record.round_id),
        )
