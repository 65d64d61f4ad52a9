"""Rounds that are played live: programs take some of the participants' places, with random values of their own.

The script of such a round is that of a vector of kind `round`: who comes when, who drops out where, when a deadline
passes. Everybody else is our own participant, and the coordinator is ours too. So every message that depends on a
program's keys is made anew, and nothing but the outcome is known before.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from secagg.errors import LocalError, NotInRoundError, RemoteError, RoundAborted
from secagg.messages import Phase
from secagg.tools.conformance import vectors, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.script import Script
from secagg.tools.conformance.replay import archive
from secagg.tools.conformance.replay.round import Replay
from secagg.tools.runner import requests, settings
from secagg.tools.runner.cases import Unlike, said
from secagg.tools.runner.lines import Answer, Feature, Sends
from secagg.tools.runner.program import Program
from secagg.wire.results import PackedAggregate

REFUSALS = (RemoteError, NotInRoundError, RoundAborted, LocalError)
"""What the coordinator may say to a message of a program."""


class LiveRound(Replay):
    """One live round, at some point of its script."""

    def __init__(
        self, name: str, vector: Document, programs: dict[str, Program], terms: Document | None = None
    ) -> None:
        """Args:
        name: of the round.
        vector: of kind `round`, with its messages in full.
        programs: by the participant whose place they take.
        terms: `policy`, `released` and `folder` of the programs, as of `requests.join`.

        Whoever is in `silent` does and says nothing from then on.
        """
        super().__init__(vector)
        self.name, self.vector, self.programs, self._terms = name, vector, programs, terms
        self.silent: set[str] = set()
        # Rosters of a sparse graph are each member's own, and all of them depend on everybody's keys.
        self.known: dict[str, Document] = {
            slug: message for slug, message in vector["messages"].items() if not slug.endswith("/roster")
        }
        self._done = 0

    def go(self, until: int | None = None) -> None:
        """Play the steps before number `until`, or all of them.

        Raises:
            Unlike: a program refused an honest message, or sent something else than it must, or something that the
                coordinator refuses.
            RemoteError: a program gave no answer.
        """
        steps = self.vector["steps"]
        for step in steps[self._done : until]:
            self._step(step)
        self._done = len(steps) if until is None else until

    def show(self, message: Document) -> None:
        """Play the next step, which is a program's, with another message; raises as `go`."""
        step = self.vector["steps"][self._done]
        self._take(step, self.ask(step, message))
        self._done += 1

    def find(self, **wanted: str) -> int:
        """The number of the first step with these properties."""
        found = (i for i, step in enumerate(self.vector["steps"]) if all(step.get(k) == v for k, v in wanted.items()))
        return next(found)

    def show_all_entries(self) -> None:
        """Once a sparse roster is fixed: know what each member is shown of it."""
        for member in self.coordinator.roster.members:
            entries = self.coordinator.answer(member.participant_id, Phase.ADVERTISE_KEYS)
            self.known[f"{member.participant_id}/roster"] = wire.encode(entries)

    def ask(self, step: Document, message: Document | None = None) -> Answer:
        """A program's answer to the step of a participant; `message` in place of the one that the step names."""
        program = self.programs[step["at"]]
        if step["do"] == "join":
            return program.ask(self.joining(step["at"]))
        return program.ask(requests.receive(message or self.known[step["message"]], step["now_ms"]))

    def joining(self, name: str) -> Document:
        """The request by which a program joins in the place of `name`."""
        return requests.join(self.vector, name, replayed=False, terms=self._terms)

    def script(self) -> Script:
        """What is known of the round by now, for edits of messages."""
        outcome = {"outcome": self._outcome()} if self.coordinator.aggregate is not None else {}
        return Script(self.name, self.vector | {"messages": self.known} | outcome)

    def _step(self, step: Document) -> None:
        if self.silent & {step["at"], step.get("sender")}:
            return
        if step["at"] in self.programs:
            self._take(step, self.ask(step))
        elif step["at"] != "coordinator":
            try:
                replies = self._at_participant(step, self.known)
            except RemoteError as error:
                raise Unlike(f"{self.name}: {step['at']} refuses {step['message']}: {error}") from error
            self._keep(step["expect"]["replies"], map(wire.encode, replies))
        else:
            self._coordinate(step)

    def _take(self, step: Document, answer: Answer) -> None:
        stated = [self.vector["messages"][slug]["type"] for slug in step["expect"]["replies"]]
        where = f"{step['at']} in {self.name}, after {step.get('message', 'the offer')}"
        if not isinstance(answer, Sends):
            raise Unlike(f"{where}: {said(answer)}; the message was honest")
        if [message["type"] for message in answer.messages] != stated:
            raise Unlike(f"{where}: {said(answer)}; due: {', '.join(stated) or 'nothing'}")
        self._keep(step["expect"]["replies"], answer.messages)

    def _coordinate(self, step: Document) -> None:
        try:
            _, answer = self._at_coordinator(step, self.known)
        except REFUSALS as error:
            raise Unlike(f"{self.name}: the coordinator refuses {step.get('message', step['do'])}: {error}") from error
        self._keep([step["expect"]["answer"]] if answer else [], map(wire.encode, answer))

    def _keep(self, slugs: Iterable[str], messages: Iterable[Document]) -> None:
        self.known |= dict(zip(slugs, messages, strict=True))

    def _outcome(self) -> Document:
        """The sum in the words of a vector."""
        aggregate = self.coordinator.aggregate
        if aggregate is None:
            raise Unlike(f"{self.name}: the round ended without a sum: {self.coordinator.failure}")
        packed = PackedAggregate.of(aggregate, self.config)
        return {
            "survivors": list(aggregate.survivors),
            "sums_digest": packed.digest.hex(),
            "aggregate": [part.SerializeToString(deterministic=True).hex() for part in packed.parts()],
        }

    def check_sum(self) -> None:
        """Hold the sum to that of the vector. A program whose rounding follows from the seed that it is given gives
        it exactly; any other may round each value up or down.

        Raises:
            Unlike: there is no sum, or another one.
        """
        stated, aggregate = self.vector["outcome"], self.coordinator.aggregate
        if aggregate is None:
            raise Unlike(f"{self.name}: the round ended without a sum: {self.coordinator.failure}")
        if list(aggregate.survivors) != stated["survivors"]:
            raise Unlike(f"{self.name}: the sum is of {', '.join(aggregate.survivors)}")
        got = aggregate.sums.astype(np.uint64)
        wanted = np.array([int(number) for number in stated["sums"]], np.uint64)
        off = got - wanted & np.uint64((1 << self.config.ring_bits) - 1)
        off = np.minimum(off, np.uint64(1 << self.config.ring_bits if self.config.ring_bits < 64 else 0) - off)
        loose = self._loose
        if loose and self.config.noise is not None:
            return  # its noise is its own
        wrong = off > loose
        wrong[-1] = off[-1] != 0  # the sum of the weights, which nobody rounds
        if wrong.any():
            raise Unlike(
                f"{self.name}: {wrong.sum()} values of the sum differ from those that the updates have, the first one "
                f"at place {np.argmax(wrong)}"
            )

    @property
    def _loose(self) -> int:
        """How far a value of the sum may be from that of the vector."""
        exact = [Feature.REPLAY in program.described.features for program in self.programs.values()]
        return exact.count(False)


@lru_cache(maxsize=16)
def round_of(name: str) -> Document:
    """A round of the vectors, or one of `settings`, with its messages in full; do not change it."""
    if name in settings.NAMES:
        return settings.made(name)
    return vectors.load(name) | {"messages": archive.messages(name)}
