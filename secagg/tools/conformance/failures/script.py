"""A failure vector: an honest round that is left at some step, and what comes there that must be refused."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from secagg.context import Context, Round, RoundId, bind
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.lattice.keyshares import dealt_key_digest
from secagg.masked import shares
from secagg.messages import Index, Member, ParticipantId, Roster, SurvivorSet
from secagg.rounds import peer_sealing
from secagg.tools.conformance import wire
from secagg.tools.conformance.document import Document, document
from secagg.tools.conformance.replay.archive import Pieces, abridged
from secagg.tools.conformance.replay.round import Replay
from secagg.tools.conformance.rounds.masked_intermediates import Insider, shown_to_all

SEMI_HONEST, ACTIVE = "round-semi-honest", "round-active"
LATER = "round-active-model-later"
SPARSE = "round-active-sparse"
HYBRID = "round-hybrid"
BFV, CKKS, JOINT = "round-bfv-participants", "round-ckks-participants", "round-bfv-threshold"
"""The rounds that failures depart from: masked, with the model named at once and later, with a sparse graph, and of
the hybrid suite; then homomorphic, with a dealt key and with a joint key.
"""

COORDINATOR = "coordinator"
ME, PEER = "dahlia", "ginkgo"
"""Whose checks are tried or whose messages are altered, and another participant. Both survive every round."""

DEALER = "amber-10"
"""Whose key counts where keys are dealt; the first of the roster drops out there."""

ACCEPTED: Document = {}
"""The outcome of a row of which nothing is refused: a variation."""

Vector = tuple[str, Document]


@dataclass(slots=True)
class Script:
    """A round of the vectors, with its messages in full, to depart from."""

    name: str
    vector: Document
    replay: Replay = field(init=False)
    members: dict[str, Member] = field(init=False)
    pieces: Pieces = field(init=False)

    def __post_init__(self) -> None:
        self.replay = Replay(self.vector)
        self.pieces = Pieces(self.vector["messages"])
        self.members = {m.participant_id: m for m in self.roster.members}

    @property
    def roster(self) -> Roster:
        """The roster that everybody was shown; with a sparse graph, all that they were shown together."""
        return shown_to_all(self.vector)

    @property
    def sets(self) -> SurvivorSet:
        """Who survived the honest round, and who dropped out."""
        known = self.vector["messages"]
        sets: SurvivorSet = (
            wire.decode(known["survivors"]) if "survivors" in known else wire.decode(known["encrypted-sum"]).sets
        )
        return sets

    @property
    def survivors(self) -> list[str]:
        """Their names, in the order of the roster."""
        return [m.participant_id for m in self.roster.members if m.index in self.sets.survivors]

    @property
    def context(self) -> Context:
        """What binds messages to this round, its configuration and its model."""
        return self.replay.round.context

    @property
    def key_digest(self) -> bytes:
        """The digest of the key that inputs are encrypted under."""
        if self.replay.kind == "participants":
            return dealt_key_digest(self.context, Secret(self.replay.random(DEALER)["key_seed"]))
        return bytes.fromhex(self.vector["intermediates"]["joint_key"]["digest"])

    @property
    def input_context(self) -> Context:
        """What binds masks and what comes after them to the round and its model."""
        return self.replay.named.input_context

    def read(self, slug: str) -> Any:
        """A message of the honest round."""
        return wire.decode(self.vector["messages"][slug])

    def index(self, name: str) -> Index:
        """A participant's place in the roster."""
        return self.members[name].index

    def elsewhere(self, *, round_id: bytes = b"", model: bytes = b"") -> Round:
        """The round under another id, or about another model."""
        honest = self.replay.round
        other = RoundId(round_id or honest.round_id)
        context = bind(other, bytes.fromhex(self.vector["config"]), model or self.replay.config.model_digest)
        return Round(other, honest.config, context)

    def insider(self, name: str) -> Insider:
        """Everything that a participant of a masked round knows."""
        return Insider(self.replay, self.members[name], self.roster)

    def seal(self, label: bytes, sender: str, receiver: str, plaintext: bytes) -> bytes:
        """What `sender` seals to `receiver`."""
        own, to = KeyPair.generate(self.replay.draws(sender)), self.members[receiver]
        return peer_sealing.seal(
            self.replay.round, label, own, sender=ParticipantId(sender), receiver=to, plaintext=plaintext
        )

    def share(self, sender: str, receiver: str, at: Round, self_mask_seed: Secret | None = None) -> bytes:
        """The pair of shares that `sender` of a masked round seals to `receiver`, and their digests."""
        insider, to = self.insider(sender), self.members[receiver]
        pair = insider.pairs[to.index]
        if self_mask_seed is not None:
            pair = shares.SharePair(pair.mask_key, self_mask_seed)
        return insider.entry(to, pair, at)

    def sign(self, name: str, message: bytes) -> bytes:
        """A participant's signature.

        Raises:
            ValueError: nothing is signed in this round.
        """
        credentials = self.replay.credentials(name)
        if credentials is None:
            raise ValueError("nothing is signed in this round")
        return credentials.identity.sign(message)

    def find(self, **wanted: str) -> int:
        """The number of the first step with these properties."""
        steps = self.vector["steps"]
        return next(i for i, step in enumerate(steps) if all(step.get(key) == value for key, value in wanted.items()))

    def received(self, slug: str) -> int:
        """The number of the first step in which the coordinator receives that message."""
        return self.find(at=COORDINATOR, do="receive", message=slug)

    def opening(self, phase: str) -> int:
        """The number of the step in which the coordinator opens that phase."""
        opened = [
            {event["phase"] for event in step["expect"].get("events", []) if event["event"] == "PhaseStarted"}
            for step in self.vector["steps"]
        ]
        return next(i for i, phases in enumerate(opened) if phase in phases)

    def now_ms(self, at: int) -> int:
        """What the clock showed last when step `at` was over."""
        return max(int(step.get("now_ms", 0)) for step in self.vector["steps"][: at + 1])


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of a table: something that must be refused.

    Attributes:
        slug: name of the file without `failure-` and ending.
        check: number in proto/PROTOCOL.md; empty for a variation.
        title: who is attacked or at fault, and how.
        change: what differs from the honest round.
        play: makes the vector (`stages`, `offers`, `endings`).
        expect: outcome of the last step, stated by hand: generation fails if the code says otherwise. It may depend on
            the round.
    """

    slug: str
    check: str
    title: str
    change: str
    play: "Play"
    expect: "Document | Callable[[Script], Document]"

    def vector(self, script: Script) -> Vector:
        """Name and content of the file, in the round of `script`."""
        kind = "variation" if self.expect is ACCEPTED else "failure"
        return f"{kind}-{self.slug}", self.play(script, self)

    def outcome(self, script: Script) -> Document:
        """What is expected in this round."""
        return self.expect(script) if callable(self.expect) else self.expect

    def document(self, kind: str, section: str = "Checks", **content: Any) -> Document:
        """The content of the file: what every failure states, and what this kind of vector adds."""
        about = {"change": self.change} | ({"check": self.check} if self.check else {})
        return document(kind, self.title, section, **about, **content)


Play = Callable[[Script, Failure], Document]
Row = tuple[str, str, str, str, Play, Document | Callable[[Script], Document]]
"""The attributes of a `Failure`, in this order."""

Table = dict[str, list[Row]]
"""By the name of the round that they depart from."""


@dataclass(frozen=True, slots=True)
class Departure:
    """Where an honest round is left, and how it goes on.

    Attributes:
        after: how many steps of the honest round come before.
        steps: what happens then; the last one must come out as the failure states.
        messages: those that no honest participant sent, by name.
        policy: of the participant.
        released: earlier sums of the same model, which everyone remembers.
    """

    after: int
    steps: list[Document]
    messages: dict[str, Document] = field(default_factory=dict)
    policy: Document | None = None
    released: list[Document] | None = None

    def played(self, script: Script, failure: Failure) -> Document:
        """Play it on the real code: the steps before the last must pass.

        Raises:
            AssertionError: it comes out otherwise than the failure states.
        """
        replay, known = Replay(script.vector, self.policy, self.released), script.vector["messages"] | self.messages
        replay.advance(script.vector["steps"][: self.after], known, self.steps[0]["at"])
        played: list[Document] = []
        for step in self.steps:
            honest = {key: value for key, value in step.items() if key != "expect"}
            outcome, _ = replay.play(honest, known)
            played.append(honest | {"expect": abridged(outcome)})
            if "error" in outcome or any(event["event"] == "RoundFailed" for event in outcome.get("events", [])):
                break
        if failure.expect is ACCEPTED:
            if "error" in played[-1]["expect"]:
                raise AssertionError(f"{failure.slug}: {played[-1]['expect']}")
        elif played[-1]["expect"] != failure.outcome(script):
            raise AssertionError(f"{failure.slug}: {played[-1]['expect']} instead of {failure.outcome(script)}")
        content: Document = {"policy": self.policy} if self.policy else {}
        content |= {"released": self.released} if self.released else {}
        content |= {"leave": replay.leave} if replay.leave else {}
        messages = {
            slug: {"type": m["type"], "parts": [script.pieces.express(part) for part in m["parts"]]}
            for slug, m in self.messages.items()
        }
        return failure.document(
            "variation" if failure.expect is ACCEPTED else "failure",
            round=script.name,
            after=self.after,
            messages=messages,
            steps=played,
            **content,
        )


def refused(error: str, culprit: str | None = COORDINATOR) -> Document:
    """The outcome of a refused message."""
    return {"error": error} | ({} if culprit is None else {"culprit": culprit})


def refusals(culprit: str = COORDINATOR) -> tuple[Document, Document, Document]:
    """The outcome of a violation, of something forged, and of something malformed."""
    violation, forged, malformed = ("ProtocolViolation", "AuthenticationError", "DecodeError")
    return refused(violation, culprit), refused(forged, culprit), refused(malformed, culprit)


def dropped_out(phase: str, name: str, reason: str = "DEADLINE") -> Document:
    """The event that somebody is done without."""
    return {"event": "ParticipantDropped", "phase": phase, "participant": name, "reason": reason}


def failed(reason: str, *before: Document, **more: list[str]) -> Document:
    """The outcome of a step with which the round ends without a sum."""
    return {"events": [*before, {"event": "RoundFailed", "reason": reason} | more]}


def without_fir(script: Script, *others: Document) -> list[Document]:
    """Earlier sums: one that differs from this round's by fir alone, after `others`."""
    cohort = [name for name in script.survivors if name != "fir"]
    return [*others, {"survivors": cohort, "threshold": script.replay.config.threshold - 1}]
