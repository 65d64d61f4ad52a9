"""Plays a vector's steps against the real participants and coordinator, and says what came out."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np

from secagg import roster as rosters
from secagg.aggregates import Aggregate
from secagg.config import RoundConfig, Suite, ThreatModel
from secagg.context import Round, RoundId, bind
from secagg.crypto import xwing
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.secret import Secret
from secagg.crypto.xwing import Encapsulate
from secagg.encoding.arrays import FloatArray
from secagg.encoding.schema import Schema
from secagg.encoding.vector import EncodedUpdate
from secagg.errors import LocalError, NotInRoundError, RemoteError, RoundAborted, SecAggError
from secagg.events import Event, PhaseStarted, RoundFailed, SumReady
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.vectors import Backend, OnceVector
from secagg.lattice.parameters import Custody, Profile
from secagg.masked.vector import MaskedVector
from secagg.messages import AdvertiseKeys, Leave, ParticipantId, Phase
from secagg.policy import Policy
from secagg.rounds.engine import Engine
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.releases import Release, remembering
from secagg.schemes import Participant, coordinate, take_part
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document, plain
from secagg.tools.conformance.replay import encapsulations
from secagg.tools.conformance.replay.encryption import ReplayedBackend
from secagg.wire.configuration import decode_config
from secagg.wire.limits import MAX_ANSWER_FIELDS
from secagg.wire.results import sums_digest

REFUSALS = (RemoteError, NotInRoundError, RoundAborted)
"""What a step may end in, beside an answer."""


def draw_sizes(config: RoundConfig) -> dict[str, int]:
    """Bytes of a participant's random values, by name, in the order in which it draws them."""
    polynomial = 48 * (config.share_threshold - 1)
    if config.homomorphic is None:
        keys = dict.fromkeys(("channel_private_key", "mask_private_key", "self_mask_seed"), 32)
        return keys | dict.fromkeys(("mask_key_coefficients", "self_mask_coefficients"), polynomial)
    keys = {"channel_private_key": 32, "key_seed": 32}
    if config.homomorphic.custody is Custody.PARTICIPANTS:
        return keys | {"stream_seed": 16}
    return keys | {"key_seed_coefficients": polynomial, "flood_seed": 32}


class Draws:
    """An `Rng` that hands out stated values, each once and in the size that is asked for."""

    def __init__(self, values: Iterable[bytes]) -> None:
        self._values = iter(values)

    def token(self, size: int) -> bytes:
        """The next value.

        Raises:
            LocalError: there is none, or it has another size.
        """
        value = next(self._values, b"")
        if len(value) != size:
            raise LocalError(f"the vector holds {len(value)} random bytes where {size} are drawn")
        return value


class Replay:
    """One round of a vector, at some point of its steps. Whoever no step needs is never set up."""

    def __init__(
        self, vector: Document, policy: Document | None = None, released: Sequence[Document] | None = None
    ) -> None:
        """Args:
        vector: of kind `round`.
        policy: of every participant; the most permissive if None.
        released: earlier sums of the same model, which everyone remembers; none if None.
        """
        self._vector = vector
        self._policy = read_policy(policy or {})
        self._participants: dict[str, Participant] = {}
        config_bytes = bytes.fromhex(vector["config"])
        self.config: RoundConfig = decode_config(config_bytes)
        round_id = RoundId(bytes.fromhex(vector["round_id"]))
        self.model_digest = bytes.fromhex(vector["model_digest"])
        named = self.config.model_digest if self.config.model_later else self.model_digest
        self.round = Round(round_id, self.config, bind(round_id, config_bytes, named))
        before = (read_release(told, self.config, self.model_digest) for told in released or ())
        self._memory = remembering(*before)
        self.leave: Document | None = None
        """What the last participant that refused something leaves with."""

    @cached_property
    def trust(self) -> TrustAnchors | None:
        """The deployment's CA; None where nothing is signed."""
        if not self.config.signed:
            return None
        return TrustAnchors.from_pem(fixtures.pem(bytes.fromhex(self._vector["authority"]["certificate"])))

    @cached_property
    def coordinator(self) -> Engine:
        """Before its first message."""
        return coordinate(self.round, now=float(fixtures.NOW_S), trust=self.trust, claim=self._memory)

    @property
    def named(self) -> Round:
        """The round about its model, also where that is named later."""
        return self.round.about(self.model_digest)

    @property
    def kind(self) -> str:
        """`masked`, or the custody of the key."""
        return "masked" if self.config.homomorphic is None else self.config.homomorphic.custody.value

    def random(self, name: str) -> dict[str, bytes]:
        """A participant's random values by name. The flood is stated as a seed that SHAKE-256 expands."""
        stated = {key: bytes.fromhex(value) for key, value in self._vector["participants"][name]["random"].items()}
        if self.kind == "threshold":
            size = 8 * self.profile.ring_degree * self.profile.blocks(self.config.vector_len)
            stated["flood_seed"] = hashlib.shake_256(stated["flood_seed"]).digest(size)
        return stated

    def draws(self, name: str) -> "Draws":
        """The same in the order in which they are drawn."""
        stated = self.random(name)
        return Draws(stated[draw] for draw in draw_sizes(self.config))

    def encapsulate(self, name: str) -> Encapsulate:
        """What a participant of the hybrid suite encapsulates, as the vector states it."""
        of = self._vector["participants"][name].get("encapsulations")
        if of is None:
            return xwing.encapsulate
        privates = encapsulations.privates_of(self._vector["participants"])
        return encapsulations.replaying(encapsulations.by_public_key(of, name, privates))

    def learned(self, name: str) -> Aggregate | None:
        """The sum that a participant decrypted itself."""
        return self._participants[name].aggregate

    def backend(self, name: str) -> Backend:
        """What encrypts and decrypts for a participant, without TenSEAL."""
        return ReplayedBackend(self.encryption(name), name)

    def encryption(self, name: str) -> Document:
        """Where a participant's ciphertext comes from, as the vector states it."""
        stated: Document = self._vector["participants"][name]["encryption"]
        return stated

    @property
    def profile(self) -> Profile:
        """The profile of a homomorphic round."""
        return profile_of(self.config)

    def encoder(self, name: str) -> EncodedUpdate:
        """The participant's encoded update."""
        mine = self._vector["participants"][name]
        update = read_arrays(mine["update"], self.config.schema)
        flat = self.config.schema.check(update)
        seed = Secret(bytes.fromhex(mine["rounding_seed"]))
        return self.config.code.encode(flat, mine["weight"], seed, self.named.input_context)

    def credentials(self, name: str) -> Credentials | None:
        """The participant's certificate and key; None if semi-honest."""
        if self.trust is None:
            return None
        mine = self._vector["participants"][name]["identity"]
        identity = fixtures.identity(bytes.fromhex(mine["certificate"]), mine["private_scalar_test_only"])
        return Credentials(identity, self.trust)

    def play(self, step: Document, messages: Mapping[str, Document]) -> tuple[Document, list[wire.Protocol]]:
        """Do one step. What came out, as a vector says it, and the messages behind it."""
        try:
            if step["at"] == "coordinator":
                return self._at_coordinator(step, messages)
            replies = self._at_participant(step, messages)
            return {"replies": [wire.encode(reply)["parts"] for reply in replies]}, replies
        except REFUSALS as error:
            if step["at"] != "coordinator":
                self.leave = farewell(rosters.refusal(error))
            return refusal(error), []

    def advance(self, steps: Sequence[Document], messages: Mapping[str, Document], only: str) -> None:
        """Play those of `steps` that change the state of `only`: `coordinator` or a participant."""
        for step in steps:
            if step["at"] == only and step["do"] != "answer":
                self.play(step, messages)

    def _at_coordinator(self, step: Document, messages: Mapping[str, Document]) -> tuple[Document, list[wire.Protocol]]:
        now = step.get("now_ms", 0) / 1000
        match step["do"]:
            case "tick":
                events = self.coordinator.tick(now)
            case "expect":
                events = self.coordinator.expect([ParticipantId(name) for name in step["participants"]], now)
            case "exclude":
                events = self.coordinator.exclude([ParticipantId(name) for name in step["participants"]], now)
            case "name":
                events = self.coordinator.name_model(bytes.fromhex(step["model_digest"]), now)
            case "rejoin":
                message = wire.decode(messages[step["message"]])
                if not isinstance(message, AdvertiseKeys):
                    raise TypeError("who comes again advertises keys")
                events = self.coordinator.rejoin(ParticipantId(step["sender"]), message, now)
            case "answer":
                answer = self.coordinator.answer(ParticipantId(step["participant"]), Phase[step["phase"]])
                return {"answer": wire.encode(answer)["parts"]}, [answer]
            case _:
                message = wire.decode(messages[step["message"]])
                events = self.coordinator.receive(ParticipantId(step["sender"]), message, now)
        return {"events": [describe(event, self.config, self.coordinator.aggregate) for event in events]}, []

    def _at_participant(self, step: Document, messages: Mapping[str, Document]) -> list[wire.Protocol]:
        name = step["at"]
        if step["do"] == "join":
            own, draws = ParticipantId(name), self.draws(name)
            membership = Membership(
                self.round,
                own,
                self._policy,
                draws,
                self.credentials(name),
                self._memory,
                encapsulate=self.encapsulate(name),
            )
            vector = None if self.config.model_later else self.encoder(name)
            self._participants[name] = take_part(membership, vector, lambda: self.backend(name))
            return [self._participants[name].advertisement]
        if self._participants[name].needs_vector:
            self._participants[name].provide(self.encoder(name), self.model_digest)
        reply = self._participants[name].receive(
            wire.decode(messages[step["message"]], MAX_ANSWER_FIELDS), step["now_ms"] / 1000
        )
        if reply is None:
            return []
        return list(reply) if isinstance(reply, MaskedVector | OnceVector) else [reply]  # type: ignore[list-item]


def read_release(told: Document, config: RoundConfig, model_digest: bytes) -> Release:
    """An earlier sum of the same model, as a vector states it; for the same purpose, unless it says so."""
    survivors = frozenset(map(ParticipantId, told["survivors"]))
    return Release(model_digest, survivors, told["threshold"], told.get("purpose", config.purpose))


def read_policy(policy: Document) -> Policy:
    """A policy as a vector states it: what it does not name is as permissive as can be."""
    return Policy(
        min_cohort=policy.get("min_cohort", 3),
        min_honest=policy.get("min_honest", 2),
        min_colluding_share=policy.get("min_colluding_share", 0.0),
        min_organisations=policy.get("min_organisations", 1),
        threat_models=frozenset(ThreatModel[name] for name in policy.get("threat_models", ThreatModel.__members__)),
        schemes=frozenset(policy.get("schemes", ("masked", "ckks", "bfv"))),
        custodies=frozenset(Custody(name) for name in policy.get("custodies", [custody.value for custody in Custody])),
        allow_experimental=policy.get("allow_experimental", True),
        suites=frozenset(Suite[name] for name in policy.get("suites", Suite.__members__)),
        min_noise_multiplier=policy.get("min_noise_multiplier", 0.0),
        max_epsilon=policy.get("max_epsilon"),
        tasks=None if policy.get("tasks") is None else frozenset(policy["tasks"]),
        once_per_model=policy.get("once_per_model", False),
        require_distributed_noise=policy.get("require_distributed_noise", False),
        require_hybrid=policy.get("require_hybrid", False),
        require_complete_graph=policy.get("require_complete_graph", False),
    )


def read_arrays(arrays: Mapping[str, str], schema: Schema) -> dict[str, FloatArray]:
    """Named arrays from the little-endian bytes of each."""
    return {
        spec.name: np.frombuffer(bytes.fromhex(arrays[spec.name]), np.dtype(spec.dtype).newbyteorder("<"))
        .astype(spec.dtype)
        .reshape(spec.shape)
        for spec in schema.arrays
    }


def refusal(error: SecAggError) -> Document:
    """How a vector states an error: class, and culprit or reason where there is one."""
    told: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, RoundAborted):
        return told | {"reason": error.reason.name}
    if isinstance(error, RemoteError) and error.culprit is not None:
        told["culprit"] = error.culprit
    return told


def farewell(leave: Leave) -> Document:
    """How a vector states what a participant leaves with: the fields that are not empty."""
    told: Document = {"reason": leave.reason.name}
    told |= {"accused": leave.accused} if leave.accused else {}
    return told | ({"refused_entry": leave.refused_entry.hex()} if leave.refused_entry else {})


def describe(event: Event, config: RoundConfig, aggregate: Aggregate | None) -> Document:
    """How a vector states an event: its fields by name, members of enumerations by theirs; and the round's sum by its
    digest.
    """
    match event:
        case PhaseStarted(phase, deadline, expected):
            told: Document = {"phase": phase, "deadline_ms": round(deadline * 1000), "expected": expected}
        case SumReady(survivors) if aggregate is not None:
            told = {"survivors": survivors, "sums_digest": sums_digest(aggregate, config)}
        case RoundFailed(error):
            told = {"reason": error.reason} | ({"culprits": error.culprits} if error.culprits else {})
        case _:
            told = {field.name: getattr(event, field.name) for field in fields(event)}
    stated = {name: value.name if isinstance(value, Enum) else plain(value) for name, value in told.items()}
    return {"event": type(event).__name__} | stated
