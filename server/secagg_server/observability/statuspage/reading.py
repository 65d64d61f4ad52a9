"""Takes a picture of the coordinator: what the page's memory has kept, and what can be asked of its parts now."""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Final

import google.protobuf
import grpc

from secagg import __version__
from secagg.context import RoundId
from secagg.errors import UnknownRoundError
from secagg.messages import ParticipantId
from secagg.programs.ledgers.budgets import Spent
from secagg.wire.describing import PROTOCOLS
from secagg_server.limits import open_files
from secagg_server.limits.call_limiter import MAX_CONTROL_CALLS
from secagg_server.limits.memory import resident
from secagg_server.observability.state import State
from secagg_server.observability.statuspage.memory import Memory
from secagg_server.observability.statuspage.values import Expiry, Status, TaskBudget, Use, words
from secagg_server.rounds.hosted import Clock
from secagg_server.rounds.registry import Rounds

TASKS_SHOWN: Final = 50

VERSIONS: Final = {
    "secagg": __version__,
    "protocol": ", ".join(map(str, PROTOCOLS)),
    "Python": platform.python_version(),
    "grpc": grpc.__version__,
    "protobuf": google.protobuf.__version__,
}


class Reader:
    """Knows where everything is that the status page shows."""

    def __init__(
        self,
        state: State,
        memory: Memory,
        rounds: Rounds,
        addresses: Mapping[str, object],
        *,
        clock: Clock,
        why: Callable[[], str],
    ) -> None:
        """Args:
        state: of the coordinator.
        memory: has heard of everything since the start.
        rounds: that the coordinator knows.
        addresses: where the coordinator listens, by what is there.
        clock: seconds since 1970.
        why: `serving`, or why the coordinator does not serve.
        """
        self._state = state
        self._memory = memory
        self._rounds = rounds
        self._addresses = {what: str(address) for what, address in addresses.items()}
        self._clock = clock
        self._why = why
        self._started = clock()

    def picture(self) -> Status:
        """The coordinator as it is now. Runs on its event loop."""
        memory, state = self._memory, self._state
        live = memory.live(self._expected)
        expiries = (Expiry(words(what), at.timestamp()) for what, at in state.expiries())
        return Status(
            at=self._clock(),
            started=self._started,
            state=self._why(),
            versions=VERSIONS,
            addresses=self._addresses,
            live=live,
            finished=tuple(memory.finished),
            sums=memory.sums,
            failures=memory.failures,
            faults=tuple(map(words, state.faults()[:TASKS_SHOWN])),
            troubles=memory.troubles,
            budgets=tuple(_budgets(state.spent())),
            expiries=tuple(sorted(expiries, key=lambda expiry: expiry.at)),
            uses=tuple(_uses(state, len(live))),
            audit_head=state.audit_head(),
        )

    def _expected(self, round_id: RoundId) -> frozenset[ParticipantId]:
        try:
            return self._rounds.find(round_id).expected
        except UnknownRoundError:  # a group whose sisters could not be started: the page must not break over it
            return frozenset()


def _budgets(spent: Sequence[Spent]) -> Iterator[TaskBudget]:
    """Of the tasks that have least left, if there are too many to show."""
    scarce = sorted(spent, key=lambda one: one.budget.epsilon - one.epsilon)[:TASKS_SHOWN]
    for one in sorted(scarce, key=lambda one: one.task):
        epsilon = one.epsilon if isfinite(one.epsilon) else None
        yield TaskBudget(words(one.task), one.budget.epsilon, one.budget.delta, epsilon)


def _uses(state: State, live: int) -> Iterator[Use]:
    files, most_files = open_files.in_use()
    yield Use("rounds under way", live, state.max_open_rounds, setting="max_open_rounds")
    yield Use("calls of participants", state.calls["data"](), state.max_calls, setting="max_calls")
    yield Use("calls of the FL server", state.calls["control"](), MAX_CONTROL_CALLS)
    yield Use("connections of participants", sum(state.connections()), state.max_connections, setting="LimitNOFILE")
    yield Use("open files", files, most_files, setting="LimitNOFILE")
    yield Use("memory", resident(), None, "bytes")
