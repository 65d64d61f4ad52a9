"""Plays a whole round and writes down every step, every message and the outcome."""

import re
from itertools import pairwise
from typing import Any

from secagg.aggregates import Aggregate
from secagg.context import Round
from secagg.messages import ConsistencyProof, Leave, LeaveReason, Listing, Phase, ReleaseOrder, Roster, ShareDelivery
from secagg.phases import phases
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document, named_hexes, plain
from secagg.tools.conformance.replay.round import Replay
from secagg.tools.conformance.rounds.inputs import Attendance
from secagg.wire.results import PackedAggregate

_CALLED = {
    "PartialChunk": "partial-decryption",
    "SurvivorSet": "survivors",
    "FallenSet": "fallen",
    "ReleaseOrder": "no-order",
}
"""What messages are called in the files; any other by the name of its class."""

_PROOFS = {
    Phase.CONFIRM_KEY: "key-proof",
    Phase.CONSISTENCY_CHECK: "consistency-proof",
    Phase.RECOVERY_CHECK: "recovery-proof",
}


def _called(message: wire.Protocol) -> str:
    name = type(message).__name__
    return _CALLED.get(name) or re.sub("(?<=[a-z])(?=[A-Z])", "-", name.removesuffix("Chunk")).lower()


class Recorder:
    """Plays a round and writes down every step with what came of it."""

    def __init__(self, replay: Replay, attendance: Attendance) -> None:
        self.replay = replay
        self.messages: dict[str, Document] = {}
        self.steps: list[Document] = []
        self._attendance = attendance
        self._now_ms = fixtures.NOW_S * 1000

    def play(self) -> None:
        """The whole round. What a participant that drops would have sent is made, and does not arrive."""
        leaving = self._attendance.leaves_first
        for name in self._attendance.everyone:
            self._up(name, self._participant({"at": name, "do": "join"}))
            if name == leaving:
                self._leave(name, LeaveReason.CANCELLED)
        self._close(Phase.ADVERTISE_KEYS)
        alive = [name for name in self._attendance.everyone if name != leaving]
        order = phases(self.replay.config)
        for before, phase in pairwise(order):
            self._phase(before, phase, alive)
            alive.remove(self._attendance.drops[phase])
        if Phase.REPORT_SUM in order:
            asked = min(alive) if order[-1] is Phase.RELEASE_SUM else ""
            for name in alive:
                if name != asked:
                    self._receive(name, Phase.REPORT_SUM)  # nothing more is asked of it

    def _phase(self, before: Phase, phase: Phase, alive: list[str]) -> None:
        """Answer everyone with what closed `before`, and deliver the replies in `phase`."""
        if phase is Phase.RELEASE_SUM:
            self._release(before, alive)
            return
        for name in alive:
            replies = self._receive(name, before)
            if name != self._attendance.drops[phase]:
                self._up(name, replies)
        if phase is Phase.SHARE_KEYS:
            self._up(alive[-1], [f"{alive[-1]}/share-keys"])  # repeated: changes nothing
        if phase is Phase.CONSISTENCY_CHECK:
            self._leave(self._attendance.drops[phase], LeaveReason.FAILED)  # and the phase is over without its deadline
        self._close(phase)
        if self.replay.coordinator.awaits_model:
            digest = self.replay.model_digest.hex()
            self._coordinator({"at": "coordinator", "do": "name", "model_digest": digest, "now_ms": self._tick()})

    def _release(self, before: Phase, alive: list[str]) -> None:
        """One after the other is asked for the sum. The first stays silent."""
        silent = self._attendance.drops[Phase.RELEASE_SUM]
        self._receive(silent, before)
        self._close(Phase.RELEASE_SUM)
        asked = min(name for name in alive if name != silent)
        self._up(asked, self._receive(asked, before))

    def _receive(self, name: str, before: Phase) -> list[str]:
        """Answer a participant with what closed `before`; the names of its replies."""
        return self._participant(
            {"at": name, "do": "receive", "message": self._answer(name, before), "now_ms": self._tick()}
        )

    def _close(self, phase: Phase) -> None:
        """Let the deadline of `phase` pass if it is still open."""
        if self.replay.coordinator.phase is phase:
            self._now_ms = round(self.replay.coordinator.deadline * 1000)
            self._coordinator({"at": "coordinator", "do": "tick", "now_ms": self._now_ms})

    def _answer(self, name: str, phase: Phase) -> str:
        step = {"at": "coordinator", "do": "answer", "participant": name, "phase": phase.name}
        _, [message] = self.replay.play(step, self.messages)
        match message:
            case ConsistencyProof():
                slug = _PROOFS[phase]
            case ShareDelivery():
                slug = f"{name}/share-delivery"
            case Roster(listing=Listing()):
                slug = f"{name}/roster"
            case ReleaseOrder(upload=True):
                slug = "order"
            case _:
                slug = _called(message)
        self._keep(slug, wire.encode(message))
        self.steps.append(step | {"expect": {"answer": slug}})
        return slug

    def _participant(self, step: Document) -> list[str]:
        _, replies = self.replay.play(step, self.messages)
        slugs = []
        for number, reply in enumerate(replies):
            slug = f"{step['at']}/{_called(reply)}"
            slugs.append(slug if len(replies) == 1 else f"{slug}-{number}")
            self._keep(slugs[-1], wire.encode(reply))
        self.steps.append(step | {"expect": {"replies": slugs}})
        return slugs

    def _up(self, name: str, slugs: list[str]) -> None:
        for slug in slugs:
            step = {"at": "coordinator", "do": "receive", "sender": name, "message": slug, "now_ms": self._tick()}
            self._coordinator(step)

    def _leave(self, name: str, reason: LeaveReason) -> None:
        self._keep(f"{name}/leave", wire.encode(Leave(reason)))
        self._up(name, [f"{name}/leave"])

    def _coordinator(self, step: Document) -> None:
        outcome, _ = self.replay.play(step, self.messages)
        if "events" not in outcome:
            raise AssertionError(f"the round of the vectors broke: {outcome}")
        self.steps.append(step | {"expect": outcome})

    def _keep(self, slug: str, message: Document) -> None:
        if self.messages.setdefault(slug, message) != message:
            raise AssertionError(f"two messages called {slug}")

    def _tick(self) -> int:
        self._now_ms += 10
        return self._now_ms


def finished(vector: Document, attendance: Attendance) -> Replay:
    """Play the round of `vector` and put its messages, steps and outcome into it."""
    record = Recorder(Replay(vector), attendance)
    record.play()
    replay = record.replay
    aggregate = replay.coordinator.aggregate or replay.learned(attendance.everyone[-1])
    if aggregate is None:
        raise AssertionError("the round of the vectors did not end with a sum")
    vector |= {"messages": record.messages, "steps": record.steps, "outcome": plain(outcome(aggregate, replay.named))}
    return replay


def outcome(aggregate: Aggregate, round_: Round) -> dict[str, Any]:
    """The sum and what it means."""
    config = round_.config
    packed, mean = PackedAggregate.of(aggregate, config), aggregate.mean(config, round_.input_context)
    return {
        "survivors": aggregate.survivors,
        "sums": aggregate.sums,
        "sums_digest": packed.digest,
        "aggregate": [part.SerializeToString() for part in packed.parts()],
        "weight": mean.weight,
        "error_bound": mean.error_bound.hex(),
        "mean": named_hexes(mean.arrays),
    }
