"""How a failure vector is made: a round of the vectors up to some step, then something that must be refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from secagg import roster as rosters
from secagg.crypto.agreement import KeyPair
from secagg.messages import Index, Member, ParticipantId, Roster
from secagg.rounds import dealing, peer_sealing
from secagg.tools.conformance import wire
from secagg.tools.conformance.document import Document, document
from secagg.tools.conformance.replay.archive import Pieces, abridged
from secagg.tools.conformance.replay.stage import Stage
from secagg.tools.conformance.rounds.masked_intermediates import Insider

COORDINATOR = "coordinator"


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that must be refused.

    Attributes:
        slug: name of the file without `failure-` and ending.
        check: number in proto/PROTOCOL.md.
        title: who is attacked or at fault, and how.
        change: what differs from the honest round.
        expect: outcome of the last step, stated by hand: generation fails if the code says otherwise.
    """

    slug: str
    check: str
    title: str
    change: str
    expect: Document


@dataclass(slots=True)
class Script:
    """A round of the vectors, with its messages in full, to depart from."""

    name: str
    vector: Document
    stage: Stage = field(init=False)
    members: dict[str, Member] = field(init=False)
    pieces: Pieces = field(init=False)

    def __post_init__(self) -> None:
        self.stage = Stage(self.vector)
        self.pieces = Pieces(self.vector["messages"])
        roster: Roster = wire.decode(self.message("roster"))
        self.members = {m.participant_id: m for m in roster.members}

    def message(self, slug: str) -> Document:
        """A message of the honest round."""
        message: Document = self.vector["messages"][slug]
        return message

    def index(self, name: str) -> Index:
        """A participant's place in the roster."""
        return self.members[name].index

    def channel(self, name: str) -> KeyPair:
        """A participant's channel key."""
        return KeyPair.generate(self.stage.draws(name))

    def seal(self, label: bytes, sender: str, receiver: str, plaintext: bytes) -> bytes:
        """What `sender` seals to `receiver`."""
        ends = {"sender": ParticipantId(sender), "receiver": self.members[receiver]}
        own = self.channel(sender)
        return peer_sealing.seal(self.stage.round, label, own, plaintext=plaintext, **ends)  # type: ignore[arg-type]

    def signed_entry(self, sender: str, receiver: str, entry: bytes) -> bytes:
        """Seal and digests with the sender's signature behind them."""
        members = rosters.roster_digest(Roster(tuple(self.members.values())))
        ends = ParticipantId(sender), ParticipantId(receiver)
        return entry + self.sign(sender, dealing.entry_to_sign(self.stage.round.context, members, *ends, entry))

    def sign(self, name: str, message: bytes) -> bytes:
        """A participant's signature.

        Raises:
            ValueError: nothing is signed in this round.
        """
        credentials = self.stage.credentials(name)
        if credentials is None:
            raise ValueError("nothing is signed in this round")
        return credentials.identity.sign(message)

    def insider(self, name: str) -> Insider:
        """Everything that a participant of a masked round knows."""
        return Insider(self.stage, self.members[name], [m.index for m in self.members.values()])

    def find(self, **wanted: str) -> int:
        """The number of the first step with these properties."""
        steps = self.vector["steps"]
        return next(i for i, step in enumerate(steps) if all(step.get(key) == value for key, value in wanted.items()))

    def at_participant(
        self, failure: Failure, name: str, original: str, altered: Document, policy: Document | None = None
    ) -> tuple[str, Document]:
        """`altered` reaches participant `name` where the honest round delivers `original`."""
        at = self.find(at=name, do="receive", message=original)
        step = self.vector["steps"][at] | {"message": "altered"}
        return self.write(failure, at, [step], {"altered": altered}, policy)

    def at_coordinator(
        self, failure: Failure, at: int, sender: str, altered: Document | str, now_ms: int | None = None
    ) -> tuple[str, Document]:
        """`sender` sends `altered`, or the honest round's message of that name, to the coordinator before step `at`."""
        slug = altered if isinstance(altered, str) else "altered"
        now_ms = now_ms or max(step.get("now_ms", 0) for step in self.vector["steps"][: at + 1])
        step = {"at": COORDINATOR, "do": "receive", "sender": sender, "message": slug, "now_ms": now_ms}
        return self.write(failure, at, [step], {} if isinstance(altered, str) else {slug: altered})

    def replaced(
        self,
        failure: Failure,
        altered: Mapping[str, Document],
        *,
        missing: str = "",
        joined: tuple[str, str] = ("", ""),
    ) -> tuple[str, Document]:
        """The coordinator's whole round from the first of the `altered` messages on.

        Args:
            failure: what is made.
            altered: by name of the honest message.
            missing: a message that never comes.
            joined: sender and a message of the honest round that got lost there, and here arrives before the deadline.
        """
        at = min(self.find(at=COORDINATOR, message=slug) for slug in [*altered, *filter(None, [missing])])
        steps = [s for s in self.vector["steps"][at:] if s["at"] == COORDINATOR and s["do"] != "answer"]
        steps = [s for s in steps if s.get("message") != missing]
        if joined[0]:
            last = {"at": COORDINATOR, "do": "receive", "sender": joined[0], "message": joined[1]}
            steps[-1:] = [last | {"now_ms": steps[-1]["now_ms"] - 1}]
        names = {slug: f"altered/{slug}" for slug in altered}
        steps = [s | {"message": names.get(s["message"], s["message"])} if "message" in s else s for s in steps]
        return self.write(failure, at, steps, {names[slug]: message for slug, message in altered.items()})

    def write(
        self,
        failure: Failure,
        after: int,
        steps: list[Document],
        messages: dict[str, Document],
        policy: Document | None = None,
        *,
        released: list[Document] | None = None,
    ) -> tuple[str, Document]:
        """Play it: the steps before the last must pass, the last must come out as stated."""
        stage, known = Stage(self.vector, policy, released), self.vector["messages"] | messages
        stage.rehearse(self.vector["steps"][:after], known, steps[0]["at"])
        played: list[Document] = []
        for step in steps:
            honest = {key: value for key, value in step.items() if key != "expect"}
            outcome, _ = stage.play(honest, known)
            played.append(honest | {"expect": abridged(outcome)})
            if "error" in outcome or any(event["event"] == "RoundFailed" for event in outcome.get("events", [])):
                break
        if played[-1]["expect"] != failure.expect:
            raise AssertionError(f"{failure.slug}: {played[-1]['expect']} instead of {failure.expect}")
        content: Document = {"policy": policy} if policy else {}
        content |= {"released": released} if released else {}
        return f"failure-{failure.slug}", document(
            "failure",
            failure.title,
            "Checks",
            check=failure.check,
            change=failure.change,
            round=self.name,
            after=after,
            messages={
                slug: {"type": m["type"], "parts": [self.pieces.express(part) for part in m["parts"]]}
                for slug, m in messages.items()
            },
            steps=played,
            **content,
        )


def refused(error: str, culprit: str | None = COORDINATOR) -> Document:
    """The outcome of a refused message."""
    return {"error": error} | ({} if culprit is None else {"culprit": culprit})


def participant(name: str) -> ParticipantId:
    """`name` as a participant id."""
    return ParticipantId(name)
