"""How the phases of a round follow one another at the coordinator: who drops out, what closes, what opens, how it ends.

This is the inner half of the engine. What it does and why is told once, at the head of `secagg.rounds.engine`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from math import inf
from typing import Any

from secagg.aggregates import Aggregate
from secagg.context import Round
from secagg.crypto.identity import TrustAnchors
from secagg.errors import AbortReason, RoundAborted
from secagg.events import DropReason, Event, ParticipantDropped, PhaseStarted, RoundFailed, SumDelivered, SumReady
from secagg.messages import INPUT_PHASES, Index, ParticipantId, Phase, Roster
from secagg.phases import input_phase, phases, time_limit_s
from secagg.rounds.accusations import Accusations
from secagg.rounds.advertise_keys import AdvertiseKeysPhase
from secagg.rounds.coordinator_phase import CoordinatorPhase, DealingPhase, UploadPhase
from secagg.rounds.dropouts import Dropouts
from secagg.rounds.releases import Claim, Release, named
from secagg.rounds.shared_state import SharedState


class OpeningAndClosing:
    """The phases of one round in order, and who is expected in the open one.

    Attributes:
        phase: the open phase; None once the round is over.
        deadline: when the open phase closes at the latest, in seconds since 1970; infinite while the model is not named
            that the input belongs to.
        aggregate: the result, once there is one. None to the end where only participants learn it.
        delivered: what is known of the result where only participants learn it.
        failure: why there will be none.
        may_be_open: whether anybody may know the sum, or counts it as opened, even if the round ends without one: under
            a dealt key once it was given out, else once a participant has accepted the survivors.
    """

    def __init__(
        self,
        state: SharedState,
        dealing: DealingPhase,
        units: Iterable[CoordinatorPhase[Any]],
        *,
        now: float,
        trust: TrustAnchors | None,
        claim: Claim,
    ) -> None:
        """Open the round in its first phase.

        Args:
            state: what the units share.
            dealing: the unit of SHARE_KEYS.
            units: of the phases that follow. Some of them may not be in this round: its configuration says which are.
            now: seconds since 1970.
            trust: the deployment's CA; None where keys are not signed.
            claim: the memory of what other rounds released.
        """
        config = state.round.config
        self.phase: Phase | None = Phase.ADVERTISE_KEYS
        self.deadline = now + (config.deadlines.join_s or config.deadlines.advertise_keys_s)
        self.aggregate: Aggregate | None = None
        self.delivered: SumDelivered | None = None
        self.failure: RoundAborted | None = None
        self.may_be_open = False
        self._order = phases(config)
        self._after_input = frozenset(self._order[self._order.index(input_phase(config)) + 1 :])
        self._units = {unit.phase: unit for unit in (dealing, *units) if unit.phase in self._order}
        self._uploading = [unit for unit in self._units.values() if isinstance(unit, UploadPhase)]
        self._members = state.members
        self._joining = AdvertiseKeysPhase(state.round, state.members, trust)
        self._awaits_first = config.deadlines.join_s > 0
        self._claim = claim
        self._state = state
        self._accusations = Accusations(state, dealing)
        self._dropouts = Dropouts()
        self._expected: set[Index] = set()  # who may deliver in the open phase
        self._missing: set[Index] = set()  # who of them has not, so that nobody has to be asked for each message
        self._going_on: list[Index] = []  # who wait for what comes next; where one is enough, in the order of asking
        self._last: Phase | None = None  # the phase in which the round ended with a sum
        self._lost: set[Index] = set()  # whose vectors went with a door, and have not come again
        self._forgotten = False

    @property
    def round(self) -> Round:
        """The round, and the model that it is about once that is named."""
        return self._state.round

    @property
    def awaits_model(self) -> bool:
        """Whether shares are exchanged and the model is not named yet: until then nobody gets its shares."""
        unnamed = self.round.config.model_later and not self.round.named
        return unnamed and self.phase is input_phase(self.round.config)

    @property
    def roster(self) -> Roster:
        """Everyone who could take part; empty until the first phase is over."""
        return self._members.roster

    @property
    def finishers(self) -> frozenset[Index]:
        """Who delivered in the last phase and has not left: those who wait for the result."""
        return frozenset(set(self._going_on) - set(self._dropouts.left))

    @property
    def over(self) -> bool:
        """Whether the round has ended, with a sum or without."""
        return self.phase is None

    # --- dropping out -------------------------------------------------------------------------------------------------

    def _miss(self, name: ParticipantId, reason: DropReason) -> list[Event]:
        """Do without a participant: at once, or from the next phase on if it has delivered in this one."""
        if self.phase is None:
            return []
        if self.phase is Phase.ADVERTISE_KEYS:
            self._joining.forget(name)
            return [self._dropouts.drop(self.phase, name, reason)]
        index = self._members.index.get(name)
        if index in self._going_on[1:] and self._units[self.phase].one_is_enough:  # its turn has not come
            self._going_on = [i for i in self._going_on if i != index]
            return [self._dropouts.drop(self.phase, name, reason)]
        if index not in self._expected or index in self._dropouts.left:
            return []
        if index not in self._missing:
            self._dropouts.left[index] = reason  # what it delivered stands
            return []
        self._expected.discard(index)
        self._missing.discard(index)
        return [self._dropouts.drop(self.phase, name, reason)]

    def _return(self, lost: set[Index]) -> list[Event]:
        """What these delivered in the open phase went with a door: wait for them again, but not for who has left."""
        events: list[Event] = []
        for index in sorted(lost & self._expected):
            self._lost.add(index)
            if self.phase is not None and index in self._dropouts.left:
                self._expected.discard(index)
                events.append(self._dropouts.drop(self.phase, self._members.name(index), self._dropouts.left[index]))
            else:
                self._missing.add(index)
        return events

    def _left_over(self) -> int:
        """The most that can deliver in the open phase. Where one is enough, nobody is counted."""
        if self.phase is None or self.phase is Phase.ADVERTISE_KEYS:
            return self._joining.awaited
        return self.round.config.threshold if self._units[self.phase].one_is_enough else len(self._expected)

    # --- closing phases and opening the next --------------------------------------------------------------------------

    def _close_if_complete(self, now: float) -> list[Event]:
        phase = self.phase
        if phase is None:
            return []
        if phase is Phase.ADVERTISE_KEYS:
            if self._joining.awaited < self.round.config.fewest_members:
                return self._fail(self._below_threshold(phase, self._joining.awaited, "are left"))
            complete = self._joining.complete
        elif complete := not self._missing:
            returned = self._return(self._units[phase].gather())
            return returned if self._missing else returned + self._close(phase, now)
        return self._close(phase, now) if complete else []

    def _close(self, phase: Phase, now: float) -> list[Event]:
        """Declare who dropped; go on with the rest, or end the round."""
        if phase is Phase.ADVERTISE_KEYS:
            return self._close_joining(now)
        unit = self._units[phase]
        if unit.one_is_enough:
            return self._close_turn(unit, now)
        events: list[Event] = self._return(unit.gather())
        alive = {i for i in self._expected if unit.delivered(i)}
        if self._following(unit) is None:
            events += [told for _, told in sorted(self._state.wrong_holders.items())]
        late = [self._members.name(i) for i in sorted(self._expected - alive)]
        events += [self._dropouts.drop(phase, name, DropReason.DEADLINE) for name in late]
        alone = unit.isolated(alive)
        events += [self._dropouts.drop(phase, self._members.name(i), DropReason.ISOLATED) for i in sorted(alone)]
        alive -= alone
        if len(alive) < self.round.config.threshold:  # check: C47
            return events + self._fail(self._below_threshold(phase, len(alive), "delivered"))
        self._expected = alive
        try:
            if phase in INPUT_PHASES:
                self._claim_release(alive)
            events += unit.close(alive)
            self._going_on = sorted(unit.going_on(alive))
            following = self._following(unit)
            return events + (self._finish(unit) if following is None else self._open(following, now))
        except RoundAborted as error:
            return events + self._fail(error)

    def _close_joining(self, now: float) -> list[Event]:
        """Fix the roster, without those whose certificates expire too soon for the others to check them."""
        phase = Phase.ADVERTISE_KEYS
        expired = self._joining.expire(datetime.fromtimestamp(now, UTC))
        events: list[Event] = [self._dropouts.drop(phase, name, DropReason.EXPIRED) for name in expired]
        self._joining.fix()
        self._state.round = self.round.of_members(self._members.digest)
        self._expected = set(self._members.at)
        if len(self._expected) < self.round.config.fewest_members:  # check: C47, C109-members
            return events + self._fail(self._below_threshold(phase, len(self._expected), "delivered"))
        return events + self._open(self._order[1], now)

    def _claim_release(self, survivors: set[Index]) -> None:
        """In one step. Nobody has seen who survived yet, and nothing can be opened without that."""
        config = self.round.config
        names = frozenset(self._members.name(i) for i in survivors)
        if exposed := self._claim(
            Release(self.round.model_digest, names, config.threshold, config.purpose)
        ):  # check: C85
            raise RoundAborted(
                AbortReason.DIFFERENCING,
                f"this sum and those of the same model that may have been opened before it would show the updates of "
                f"{len(exposed)} participants alone ({named(exposed)}); ask exactly the same cohort again, another one "
                "that shares nobody with it, or about another model",
            )

    def _following(self, unit: CoordinatorPhase[Any]) -> Phase | None:
        """The phase after the unit's; None to finish."""
        position = self._order.index(unit.phase) + 1
        return None if unit.ends_the_round or position == len(self._order) else self._order[position]

    def _open(self, phase: Phase, now: float) -> list[Event]:
        """Open `phase` for everyone who has not left."""
        unit, left = self._units[phase], self._dropouts.left
        self.may_be_open |= unit.opens_the_sum
        if unit.one_is_enough:
            gone = [i for i in self._going_on if i in left]
            self._going_on = [i for i in self._going_on if i not in left]
            dropped: list[Event] = [ParticipantDropped(phase, self._members.name(i), left[i]) for i in gone]
            return dropped + self._ask_next(unit, now)
        self.phase = phase
        gone = sorted(self._expected & set(left))
        self._expected -= set(gone)
        self._missing = set(self._expected)
        events: list[Event] = self._begin_phase(phase, now)
        events += [self._dropouts.drop(phase, self._members.name(i), left[i]) for i in gone]
        return events + self._close_if_complete(now)

    def _begin_phase(self, phase: Phase, now: float) -> list[Event]:
        """The time limit of the open phase begins, unless participants cannot deliver yet: that waits for the model."""
        if self.awaits_model:
            self.deadline = inf
            return []
        self.deadline = now + time_limit_s(phase, self.round.config.deadlines)
        return [PhaseStarted(phase, self.deadline, len(self._expected))]

    # --- where one delivery is enough ---------------------------------------------------------------------------------

    def _ask_next(self, unit: CoordinatorPhase[Any], now: float) -> list[Event]:
        if not self._going_on:
            return self._fail(unit.nobody_left())
        asked = self._going_on[0]
        unit.ask(asked)
        self.phase = unit.phase
        self._expected, self._missing = {asked}, {asked}
        self.deadline = now + time_limit_s(unit.phase, self.round.config.deadlines)
        return [PhaseStarted(unit.phase, self.deadline, 1)]

    def _close_turn(self, unit: CoordinatorPhase[Any], now: float) -> list[Event]:
        """Finish with what the one who was asked has delivered, or ask the next one."""
        asked = self._going_on[0]
        if unit.delivered(asked):
            return self._finish(unit)
        dropped: list[Event] = []
        if asked in self._missing:  # else its end was told when it came
            dropped.append(ParticipantDropped(unit.phase, self._members.name(asked), DropReason.DEADLINE))
        del self._going_on[0]
        return dropped + self._ask_next(unit, now)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _finish(self, unit: CoordinatorPhase[Any]) -> list[Event]:
        events, result = unit.finish()
        self.phase = None
        self._last = unit.phase
        if isinstance(result, SumDelivered):
            self.delivered = result
            return [*events, result]
        self.aggregate = result
        return [*events, SumReady(result.survivors)]

    def _fail(self, error: RoundAborted) -> list[Event]:
        self.phase = None
        self.failure = self._accusations.name_culprits(error)
        return [RoundFailed(self.failure)]

    def _below_threshold(self, phase: Phase, count: int, did: str) -> RoundAborted:
        config = self.round.config
        least = config.fewest_members if phase is Phase.ADVERTISE_KEYS else config.threshold
        return self._dropouts.below_threshold(phase, least, count, did)
