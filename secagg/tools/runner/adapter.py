"""secagg's own participant as a program for the runner: `python -m secagg.tools.runner.adapter`.

It shows what an adapter is: it reads a line, does what it says with the participant, and writes a line.
"""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from secagg_client import Client, Memory
from secagg_client.participation.terms import Contribution

from secagg import __version__
from secagg.config import RoundConfig, Suite
from secagg.context import Round, RoundId, bind
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.rng import Rng, SystemRng
from secagg.crypto.secret import Secret
from secagg.encoding.integers import Integers
from secagg.errors import (
    AuthenticationError,
    LocalError,
    MissingExtraError,
    NotInRoundError,
    ProtocolViolation,
    RemoteError,
    SavedStateError,
    SecAggError,
)
from secagg.homomorphic.vectors import Backend
from secagg.masked.vector import MaskedVector
from secagg.messages import ParticipantId, Roster, SurvivorSet
from secagg.policy import Policy
from secagg.programs.state_keys import FolderStateKeys
from secagg.receipts import Receipt, Statement
from secagg.roster import COORDINATOR, names_of
from secagg.rounds.certification import Result
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.releases import Release
from secagg.schemes import Participant, restore, save, take_part
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.replay import encapsulations
from secagg.tools.conformance.replay.round import Draws, draw_sizes, read_arrays, read_policy, refusal
from secagg.tools.runner.lines import VERSION, Feature
from secagg.wire.agreement import decode_proof
from secagg.wire.configuration import decode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.limits import MAX_ANSWER_FIELDS
from secagg.wire.parsing import parse
from secagg.wire.receipts import decode_receipt
from secagg.wire.results import decode_aggregate, sums_digest
from secagg.wire.v1 import data_plane_pb2 as pb


def features() -> frozenset[Feature]:
    """What this adapter has here: no homomorphic rounds, and AEGIS where its package is installed."""
    left_out = {Feature.HOMOMORPHIC}
    try:
        Suite.X25519_SHA256_AEGIS128X4.require()
    except MissingExtraError:
        left_out.add(Feature.AEGIS)
    return frozenset(Feature) - left_out


def main(source: IO[str] = sys.stdin, sink: IO[str] = sys.stdout) -> None:
    """Answer every line of `source` with one in `sink`, until there is no more."""
    adapter = Adapter()
    for line in source:
        print(json.dumps(adapter.answer(json.loads(line)), separators=(",", ":")), file=sink, flush=True)


class Adapter:
    """One participant at a time."""

    def __init__(self) -> None:
        self._joined: Joined | None = None

    def answer(self, request: Document) -> Document:
        """What comes of a request, as a line says it.

        Raises:
            LocalError: there is no such request, or it comes before a participant joined.
        """
        try:
            return participate(request) if request["do"] == "participate" else self._step(request)
        except (RemoteError, NotInRoundError, SavedStateError) as error:
            if self._joined is not None:
                self._joined.participant.abort()  # whatever was refused, and wherever: our part is over
            told = refusal(error)
            return {"refuses": told.pop("error"), "text": str(error)[:200]} | told

    def _step(self, request: Document) -> Document:
        match request["do"]:
            case "describe":
                has = sorted(feature.value for feature in features())
                return {"version": VERSION, "name": "secagg", "release": __version__, "features": has}
            case "join" | "restore":
                self._joined = None
                self._joined = Joined(request)
                return _sends([] if "state" in request else [self._joined.participant.advertisement])
            case "save":
                return {"saves": self._joins.save().hex()}
            case "receive":
                return _sends(self._joins.receive(request))
            case "receipt" | "certify" | "aggregate":
                return self._end(request)
            case other:
                raise LocalError(f"the runner asks for {other!r}, which this adapter does not know")

    def _end(self, request: Document) -> Document:
        match request["do"]:
            case "receipt":
                return {"believes": True} | self._joins.believe(request)
            case "certify":
                return {"signs": self._joins.sign().hex()}
            case _:
                return {"believes": True, "sums": self._joins.sums(request["parts"])}

    @property
    def _joins(self) -> "Joined":
        if self._joined is None:
            raise LocalError("the runner hands over a message before it asked to join")
        return self._joined


class Joined:
    """A participant in its round, and what it was shown there."""

    def __init__(self, request: Document) -> None:
        """Errors as of `decode_config`, `Contribution.check_asked`, `GroupedRoundId.of`, `take_part` and `restore`."""
        self._request = request
        config_bytes = bytes.fromhex(request["config"])
        self.config: RoundConfig = decode_config(config_bytes)
        round_id = RoundId(bytes.fromhex(request["round_id"]))
        self._model_digest = bytes.fromhex(request["model_digest"])
        self.round = Round(round_id, self.config, bind(round_id, config_bytes, self.config.model_digest))
        self._roster: Roster | None = None
        self._survivors: SurvivorSet | None = None
        self._result: Result | None = None
        self._receipt: Receipt | None = None
        self._own = ParticipantId(request["participant_id"])
        self._keys = FolderStateKeys(Path(request["folder"]) / "keys") if "folder" in request else None
        self._policy = read_policy(request["policy"])
        self._memory = _remembered(request, self._model_digest)
        self._membership = self._member(request)
        self._contribution(request["purpose"]).check_asked(self.round)
        if self.config.groups is not None:
            GroupedRoundId.of(round_id, config_bytes, self.config.groups)
        if not self.config.model_later:
            self._check_past()
        self.participant: Participant = self._begin(self._membership, request)

    def _check_past(self) -> None:
        """Errors as of `Memory.check`."""
        self._memory.check((self._model_digest, self.config.purpose), self._policy)

    def _member(self, request: Document) -> Membership:
        """Ours in the round."""
        claim = partial(_claimed, self._memory, self.round.round_id, self._policy)
        durable = self._memory.durable
        ours = Membership(self.round, self._own, self._policy, self._rng(), self._credentials, claim, durable)
        return replace(ours, encapsulate=encapsulations.replaying(request.get("encapsulations", {})))

    def _begin(self, membership: Membership, request: Document) -> Participant:
        if self._keys is not None and "state" in request:
            return restore(
                bytes.fromhex(request["state"]),
                self._keys,
                round_id=self.round.round_id,
                participant_id=self._own,
                membership_of=lambda round_: replace(membership, round=round_),
                backend=_no_backend,
            )
        vector = None if self.config.model_later else self._encoded()
        if self._keys is not None:
            self._keys.join(self.round.round_id, self._own)
        return take_part(membership, vector, _no_backend)

    def save(self) -> bytes:
        """Our sealed state, which we give up; errors as of `secagg.schemes.save`."""
        if self._keys is None:
            raise LocalError("the runner asks for the state of a participant that has no folder for its keys")
        return save(self.participant, self._keys)

    def _contribution(self, purpose: str) -> Contribution:
        update = read_arrays(self._request["update"], self.config.schema)
        return Contribution(update=update, weight=1, model_digest=self._model_digest, purpose=purpose)

    def _rng(self) -> Rng:
        if "random" not in self._request:
            return SystemRng()
        stated = self._request["random"]
        return Draws(bytes.fromhex(stated[name]) for name in draw_sizes(self.config))

    @cached_property
    def _credentials(self) -> Credentials | None:
        told = self._request.get("identity")
        if told is None or not self.config.signed:
            return None
        own, *issuers = map(bytes.fromhex, told["certificates"])
        identity = fixtures.identity(own, told["private_scalar"], *issuers)
        return Credentials(identity, TrustAnchors.from_pem(fixtures.pem(bytes.fromhex(told["ca"]))))

    def _encoded(self) -> Any:
        flat = self.config.schema.check(read_arrays(self._request["update"], self.config.schema))
        seed = Secret(bytes.fromhex(self._request["rounding_seed"]))
        context = self.round.about(self._model_digest).input_context
        return self.config.code.encode(flat, self._request["weight"], seed, context)

    def receive(self, request: Document) -> list[wire.Protocol]:
        """What is sent in answer to a message; errors as of `Session.receive`."""
        message = wire.decode(request, MAX_ANSWER_FIELDS)
        if self.participant.needs_vector:
            self._check_past()
            self.participant.provide(self._encoded(), self._model_digest)
        reply = self.participant.receive(message, request["now_ms"] / 1000)
        if isinstance(message, Roster):
            self._roster = message
        elif isinstance(message, SurvivorSet):
            self._survivors = message
        if reply is None:
            return []
        return list(reply) if isinstance(reply, MaskedVector) else [reply]  # type: ignore[list-item]

    def believe(self, request: Document) -> Document:
        """Whether the result is certified, where there are signatures.

        Raises:
            ProtocolViolation: the receipt speaks of more or fewer survivors than we were shown, or somebody signed the
                result who is none.
            AuthenticationError: the coordinator did not sign the receipt, or signed something else; or so did somebody
                who signed the result.
        """
        if self._roster is None or self._survivors is None or self._credentials is None:
            raise LocalError("the runner hands over a receipt before the survivors, or in a round that signs nothing")
        roster, now = self._roster, datetime.fromtimestamp(request["now_ms"] / 1000, UTC)
        names = names_of(roster)
        survivors = tuple(sorted(names[index - 1] for index in self._survivors.survivors))
        told = decode_receipt(parse(pb.Receipt, bytes.fromhex(request["receipt"])))
        if told.survivors != len(survivors):
            raise ProtocolViolation(
                f"a receipt of {told.survivors} survivors, not {len(survivors)}", culprit=COORDINATOR
            )
        round_ = self._membership.round.about(self._model_digest)
        receipt = Receipt(Statement.of(round_, roster, survivors, told.sums_digest), told.signed)
        receipt.verify(self._credentials.trust, now)
        self._receipt, self._result = receipt, Result.of(round_, roster, survivors, told.sums_digest)
        if "proof" not in request:
            return {}
        parts = [parse(pb.ConsistencyProofPart, bytes.fromhex(part)) for part in request["proof"]]
        return {"certified": self._result.is_certified(decode_proof(parts))}

    def sign(self) -> bytes:
        """Our signature of the result; empty where others sign for us."""
        if self._result is None:
            raise LocalError("the runner asks for a signature of the result before there is one")
        return self._result.signature(self._own, self._membership.sign)

    def sums(self, parts: list[str]) -> list[str]:
        """The numbers of the aggregate; errors as of `decode_aggregate`, `Aggregate.mean` and `Aggregate.totals`.

        Raises:
            ProtocolViolation: it names other survivors than we were shown.
            AuthenticationError: it is not the one of the receipt.
        """
        if self._receipt is None:
            raise LocalError("the runner hands over a sum before its receipt")
        read = [parse(pb.AggregatePart, bytes.fromhex(part)) for part in parts]
        aggregate = decode_aggregate(read, self.config)
        if aggregate.survivors != self._receipt.statement.survivors:
            raise ProtocolViolation("the sum is of others than we agreed on", culprit=COORDINATOR)
        if sums_digest(aggregate, self.config) != self._receipt.sums_digest:
            raise AuthenticationError("the sum is not the one of the receipt", culprit=COORDINATOR)
        if isinstance(self.config.encoding, Integers):
            aggregate.totals(self.config)
        else:
            aggregate.mean(self.config, self.round.context)
        return [str(number) for number in aggregate.sums.tolist()]


def participate(request: Document) -> Document:
    """Take part in a whole round over gRPC. Whatever the client raises is what it says of the end."""
    policy, model_digest = read_policy(request["policy"]), bytes.fromhex(request["model_digest"])
    memory = _remembered(request, model_digest)
    update = {name: np.frombuffer(bytes.fromhex(data), "<f4") for name, data in request["update"].items()}
    files = {name: request[name] for name in ("certificate", "key", "ca")}
    with Client.from_files(request["address"], **files, policy=policy, memory=memory) as client:
        try:
            result = client.participate(
                update,
                weight=request["weight"],
                round_id=bytes.fromhex(request["round_id"]),
                model_digest=model_digest,
                purpose=request["purpose"],
                timeout_s=request["timeout_ms"] / 1000,
            )
        except SecAggError as error:
            told = refusal(error)
            return {"refuses": told.pop("error"), "text": str(error)[:200]} | _culprit(told)
    sums = [] if result.aggregate is None else result.aggregate.sums.tolist()
    return {"believes": True, "sums": [str(number) for number in sums]}


def _culprit(told: Document) -> Document:
    return {"culprit": told["culprit"]} if "culprit" in told else {}


def _sends(messages: "list[wire.Protocol]") -> Document:
    encoded = map(wire.encode, messages)
    return {"sends": [{"type": message["type"], "parts": message["parts"]} for message in encoded]}


def _remembered(request: Document, model_digest: bytes) -> Memory:
    """The sums that may hold our update: in the folder if there is one, and otherwise as long as this round."""
    memory = Memory(Path(request["folder"]) / "sums") if "folder" in request else Memory()
    for told in request["released"]:
        round_id, survivors = RoundId(bytes.fromhex(told["round_id"])), frozenset(map(ParticipantId, told["survivors"]))
        release = Release(model_digest, survivors, told["threshold"], told.get("purpose", request["purpose"]))
        memory._sums.record(round_id, release)  # some show somebody together, and no memory of ours would let that be
        if told.get("received", False):
            memory.receive(round_id)
    return memory


def _claimed(memory: Memory, round_id: RoundId, policy: Policy, release: Release) -> frozenset[ParticipantId]:
    return memory.claim(round_id, release, policy)


def _no_backend() -> Backend:
    raise LocalError("this adapter takes part in no homomorphic round")


if __name__ == "__main__":
    main()
