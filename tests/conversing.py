"""Client participations and a coordinator that exchange bytes in memory: the client's own code without a network."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from google.protobuf.message import Message
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.calls.data_plane import Certify, FindRound, LeaveRound, SendMessage, UploadCall
from secagg_client.participation.results import RoundResult
from secagg_client.participation.session import Participation
from secagg_client.participation.terms import Contribution, SeenRounds, Terms

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig, ThreatModel
from secagg.context import Round, RoundId, bind
from secagg.crypto.rng import Rng, SystemRng
from secagg.errors import SecAggError
from secagg.masked import scheme as masked
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.receipts import Receipt, Statement
from secagg.rounds.certification import Certification, Result
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.agreement import decode_leave, encode_proof
from secagg.wire.calls import REVEAL, Call, PhaseCall
from secagg.wire.configuration import encode_config
from secagg.wire.receipts import encode_receipt
from secagg.wire.results import PackedAggregate
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.rounds import NOW, deployment, random_update

Tamper = Callable[[PreparedCall[Any], ParticipantId, Parts], Parts]
"""Sees every answer on its way to a participant, and may change it."""

ROUND_ID = RoundId(bytes(range(16)))
LENIENT = Policy(threat_models=frozenset(ThreatModel), allow_experimental=True, min_colluding_share=0.0)


def honest(call: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
    del call, name
    return parts


def in_bytes(messages: Iterable[Message]) -> Parts:
    return deque(message.SerializeToString() for message in messages)


def make_terms(name: ParticipantId, policy: Policy = LENIENT, rng: Rng | None = None) -> Terms:
    made = deployment()
    return Terms(made.identities[name], made.trust, policy, rng or SystemRng(), lambda: NOW, SeenRounds())


def make_contribution(config: RoundConfig, seed: int, weight: int = 1) -> Contribution:
    return Contribution(update=random_update(config.schema, seed), weight=weight, model_digest=config.model_digest)


@dataclass
class Conversation:
    """One round.

    Attributes:
        made: the calls of each participant, in order.
        errors: what each gave up for.
        leave_calls: what they told the coordinator then.
    """

    config: RoundConfig
    tamper: Tamper = honest
    round_id: RoundId = ROUND_ID
    offered: bytes = b""  # the configuration's bytes, if not those of `config`
    made: dict[ParticipantId, list[PreparedCall[Any]]] = field(default_factory=dict)
    errors: dict[ParticipantId, SecAggError] = field(default_factory=dict)
    leave_calls: dict[ParticipantId, LeaveRound | None] = field(default_factory=dict)
    results: dict[ParticipantId, RoundResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        data = self.offered = self.offered or encode_config(self.config)
        round_ = Round(self.round_id, self.config, bind(self.round_id, data, self.config.model_digest))
        self.coordinator = masked.coordinator(round_, now=NOW, trust=deployment().trust)

    def people(self) -> dict[ParticipantId, Participation]:
        """As many as the round has room for, each looking for the round by its task."""
        names = participant_names(self.config.max_participants)
        find = FindRound(task=self.config.task)
        return {
            name: Participation(make_terms(name), make_contribution(self.config, i, 1 + i), find)
            for i, name in enumerate(names)
        }

    def play(self, people: dict[ParticipantId, Participation] | None = None) -> None:
        """Everything to the end. Whenever nobody can go on, the open phase's deadline passes."""
        people = people or self.people()
        waiting: dict[ParticipantId, PreparedCall[Any]] = {}
        for name, participation in people.items():
            self._advance(name, participation, None, waiting)
        while waiting:
            stuck = True
            for name, call in list(waiting.items()):
                answer = self._answer(name, call)
                if answer is not None:
                    stuck = False
                    del waiting[name]
                    if isinstance(answer, SecAggError):
                        self._give_up(name, people[name], answer)
                    else:
                        self._advance(name, people[name], self.tamper(call, name, answer), waiting)
            if stuck and self.coordinator.over:
                self.certification.close()
            elif stuck:
                self.coordinator.tick(self.coordinator.deadline)

    def methods(self, name: ParticipantId) -> list[str]:
        return [call.method for call in self.made[name]]

    def _advance(
        self,
        name: ParticipantId,
        participation: Participation,
        answer: Parts | None,
        waiting: dict[Any, PreparedCall[Any]],
    ) -> None:
        try:
            call = participation.advance(answer)
        except SecAggError as error:
            self._give_up(name, participation, error)
            return
        if call is None:
            self.results[name] = participation.result
            participation.close()
            return
        self.made.setdefault(name, []).append(call)
        waiting[name] = call
        try:
            self._deliver(name, call)
        except SecAggError as error:
            del waiting[name]
            self._give_up(name, participation, error)

    def _give_up(self, name: ParticipantId, participation: Participation, error: SecAggError) -> None:
        self.errors[name] = error
        leave = self.leave_calls[name] = participation.leave_call(error)
        participation.close()
        if leave is not None:
            message = decode_leave(pb.LeaveRequest.FromString(next(leave.requests())).leave)
            self.coordinator.receive(name, message, NOW)

    def _deliver(self, name: ParticipantId, call: PreparedCall[Any]) -> None:
        """What the coordinator makes of the bytes that go up."""
        data = list(call.requests())
        if isinstance(call, SendMessage):
            self.coordinator.receive(name, brought(call.row, data), NOW)
        elif isinstance(call, UploadCall):
            for d in data:
                self.coordinator.receive(name, brought(call.row, [d]), NOW)
        elif isinstance(call, Certify):
            self.certification.receive(name, pb.CertifyRequest.FromString(data[0]).signature)

    def _answer(self, name: ParticipantId, call: PreparedCall[Any]) -> Parts | SecAggError | None:
        """The honest answer; None while it is not there."""
        engine = self.coordinator
        if engine.failure is not None:
            return engine.failure
        if isinstance(call, FindRound):
            return in_bytes([pb.RoundOfferPart(round_id=self.round_id, config=self.offered)])
        if isinstance(call, SendMessage | UploadCall) and not call.row.ends_round:
            return self._closing(name, call.row)
        return None if engine.aggregate is None else self._ending(call, engine.aggregate)

    def _ending(self, call: PreparedCall[Any], aggregate: Aggregate) -> Parts | None:
        if isinstance(call, Certify):
            return in_bytes(encode_proof(self.certification.proof())) if self.certification.closed else None
        packed = PackedAggregate.of(aggregate, self.config)
        if makes(call, REVEAL):
            return in_bytes([encode_receipt(self.receipt(packed.survivors, packed.digest))])
        return in_bytes(packed.parts())

    @cached_property
    def certification(self) -> Certification:
        """Of the true result."""
        assert self.coordinator.aggregate is not None
        packed = PackedAggregate.of(self.coordinator.aggregate, self.config)
        result = Result.of(self.coordinator.round, self.coordinator.roster, packed.survivors, packed.digest)
        return Certification(result, self.coordinator.finishers)

    def receipt(self, survivors: tuple[str, ...], sums_digest: bytes) -> Receipt:
        """What the coordinator can sign, be it true or not."""
        statement = Statement.of(self.coordinator.round, self.coordinator.roster, survivors, sums_digest)
        return Receipt.sign(statement, deployment().coordinator, NOW)

    def _closing(self, name: ParticipantId, row: PhaseCall[Any]) -> Parts | SecAggError | None:
        if not self.coordinator.ready(name, row.phase):
            return None
        try:
            message = self.coordinator.answer(name, row.phase)
        except SecAggError as error:
            return error
        return in_bytes(row.answers.parts(message))


def brought(row: PhaseCall[Any], data: Sequence[bytes]) -> Any:
    """What the coordinator makes of a participant's requests: the message of the phase, or a chunk."""
    parts: list[Any] = [row.request.FromString(d) for d in data]
    if row.brings.in_parts:
        return row.brings.decode(parts)
    (part,) = parts
    return row.brings.decode(getattr(part, row.field) if row.field else part)


def makes(call: PreparedCall[Any] | None, row: Call[Any]) -> bool:
    """Whether `call` is of this row of the table of calls."""
    return call is not None and call.row is row


def weighted_mean(config: RoundConfig, names: Iterable[ParticipantId]) -> dict[str, np.ndarray[Any, Any]]:
    """Of what `Conversation.people` bring."""
    everyone = participant_names(config.max_participants)
    chosen = [(i, 1 + i) for i, name in enumerate(everyone) if name in set(names)]
    total = sum(weight for _, weight in chosen)
    updates = [(random_update(config.schema, i), weight) for i, weight in chosen]
    return {
        a.name: np.sum([u[a.name].astype(np.float64) * w for u, w in updates], axis=0) / total
        for a in config.schema.arrays
    }
