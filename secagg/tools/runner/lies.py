"""The lies of a live coordinator: a program with random values of its own must refuse each, and send nothing more.

Most are the rows from which the failure vectors are made, told in a live round. The rest are below: what takes the
signatures, or the other participants, of this very round.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from secagg import roster as rosters
from secagg.crypto.agreement import KeyPair
from secagg.messages import Index, ParticipantId, Roster
from secagg.rounds.graph import neighbourhoods
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures import masked_participant, sparse
from secagg.tools.conformance.failures.changes import Edit, dropped, every_entry, honest, member, put
from secagg.tools.conformance.failures.forgeries import signed_keys, signs_sets
from secagg.tools.conformance.failures.script import (
    ACTIVE,
    ME,
    PEER,
    SEMI_HONEST,
    SPARSE,
    Departure,
    Failure,
    Script,
    Table,
    refused,
)
from secagg.tools.conformance.failures.stages import Departing, shown, shown_again
from secagg.tools.runner import requests
from secagg.tools.runner.cases import Case, Programs, Unlike, refused_as, said
from secagg.tools.runner.lines import Feature, Refuses, Sends
from secagg.tools.runner.live import LiveRound, round_of
from secagg.tools.runner.needs import needs_of_round
from secagg.tools.runner.program import Program

VIOLATION, FORGED = refused("ProtocolViolation"), refused("AuthenticationError")
MALFORMED = refused("DecodeError", None)
BY_SOMEBODY = refused("AuthenticationError", None)

GROUP: Final = "group-active"

TRIES: Final = 400
"""How often a program joins before a ring has everybody where a lie needs them; about one ring in ten has."""

Play = Callable[[Programs], None]

# --- edits that take a message apart ------------------------------------------------------------------------------


_UNKNOWN: Final = "f80100"
"""A field that no message has."""


def _parts(change: Callable[[list[str]], list[str]]) -> Edit:
    """A message whose parts are changed in hex, whatever they then say."""

    def edit(message: Any, _: Script) -> Document:
        encoded = wire.encode(message)
        return {"type": encoded["type"], "parts": change(encoded["parts"])}

    return edit


MANY_FIELDS: Final = _parts(lambda parts: [*parts[:-1], parts[-1] + _UNKNOWN * 300_000])
CUT: Final = _parts(lambda parts: [*parts[:-1], parts[-1][:-2]])
NO_PARTS: Final = _parts(lambda _: [])
DOUBLED: Final = _parts(lambda parts: [*parts, parts[-1]])


def _repeated(message: Any, _: Script) -> Document:
    """The first signature as often as there were signatures, and no other."""
    [part] = wire.parts(wire.encode(message))
    first, count = part.signatures[0], len(part.signatures)
    del part.signatures[:]
    part.signatures.extend([first] * count)
    return wire.altered("ConsistencyProof", part)


def _and_again(message: Any, _: Script) -> Document:
    """The first signature stands at the end once more."""
    [part] = wire.parts(wire.encode(message))
    part.signatures.append(part.signatures[0])
    return wire.altered("ConsistencyProof", part)


def _all_of(name: str) -> Edit:
    """Everybody's signature is that of one."""
    return lambda entries, script: every_entry(lambda *_: entries[script.index(name)])(entries, script)


def _all_saw(seen: Edit) -> Edit:
    """Everybody else signed other sets: the other story of a coordinator that tells two."""

    def edit(entries: Any, script: Script) -> Any:
        names = {m.index: m.participant_id for m in script.roster.members}
        return {at: own if names[at] == ME else signs_sets(names[at], seen)(own, script) for at, own in entries.items()}

    return edit


def _shown_after(kind: str, edit: Edit) -> Departing:
    """ME receives a message, and then the same one changed."""

    def depart(script: Script) -> Departure:
        at = script.find(at=ME, do="receive", message=kind)
        step = script.vector["steps"][at] | {"message": "altered"}
        return Departure(at + 1, [step], {"altered": wire.encode(edit(script.read(kind), script))})

    return Departing(depart)


# fmt: off
OWN: Table = {
    ACTIVE: [
        ("one-signer-counts-for-all", "C5", "One survivor's signature, as often as signatures are due",
         "the first signature stands in the place of every other", shown("consistency-proof", _repeated), MALFORMED),
        ("one-signer-twice", "C5", "A signer who stands there twice", "the first signature comes again at the end",
         shown("consistency-proof", _and_again), MALFORMED),
        ("one-signature-for-all", "C28", "One survivor's signature under every name", f"all signatures are {PEER}'s",
         shown("consistency-proof", put(signatures=_all_of(PEER))), FORGED),
        ("two-stories-of-survivors", "C28", "Everybody else was shown other survivors",
         "all others signed sets in which hazel dropped",
         shown("consistency-proof", put(signatures=_all_saw(dropped("hazel")))), FORGED),
        ("two-stories-of-dropped", "C28", "Everybody else was shown that we dropped",
         f"all others signed sets in which {ME} dropped",
         shown("consistency-proof", put(signatures=_all_saw(dropped(ME)))), FORGED),
        ("no-signatures", "C27", "A proof without signatures", "there is none",
         shown("consistency-proof", put(signatures={})), VIOLATION),
        ("restarted-with-the-roster", "C6", "After a restart the coordinator begins anew",
         "the roster comes a second time", shown_again("roster"), VIOLATION),
        ("restarted-with-the-shares", "C6", "After a restart the coordinator hands out the shares again",
         "the shares come a second time", shown_again(f"{ME}/share-delivery"), VIOLATION),
        ("restarted-with-the-survivors", "C6", "After a restart the coordinator shows the survivors again",
         "the survivors come a second time, after we signed", shown_again("survivors"), VIOLATION),
        ("proof-for-the-roster", "C6", "A message of another phase", "a proof comes where the roster is awaited",
         shown("roster", honest("consistency-proof")), VIOLATION),
        ("survivors-for-the-roster", "C6", "A message of another phase",
         "the survivors come where the roster is awaited", shown("roster", honest("survivors")), VIOLATION),
        ("proof-for-the-shares", "C6", "A message of another phase", "a proof comes where the shares are awaited",
         shown("share-delivery", honest("consistency-proof")), VIOLATION),
        ("proof-for-the-survivors", "C6", "The survivors are left out", "a proof comes where the survivors are awaited",
         shown("survivors", honest("consistency-proof")), VIOLATION),
        ("survivors-for-the-proof", "C6", "The signatures are left out",
         "other survivors come where the proof is awaited", shown("consistency-proof", honest("survivors")), VIOLATION),
        *((f"{kind}-cut", "C5", f"A message that is cut off: {kind}", "its last byte is missing",
           shown(kind, CUT), MALFORMED) for kind in ("roster", "share-delivery", "survivors", "consistency-proof")),
        *((f"{kind}-of-too-many-fields", "C98", f"More fields than an answer may have: {kind}",
           "300,000 unknown ones follow", shown(kind, MANY_FIELDS), MALFORMED)
          for kind in ("roster", "share-delivery", "survivors", "consistency-proof")),
        ("survivors-in-no-part", "C5", "Fewer parts than the message has", "there is none",
         shown("survivors", NO_PARTS), MALFORMED),
        ("survivors-in-two-parts", "C5", "More parts than the message has", "the one part comes twice",
         shown("survivors", DOUBLED), MALFORMED),
    ],
    SEMI_HONEST: [
        ("asked-twice", "C29", "Shares asked for a second time", "the survivors again, after the shares were revealed",
         shown_again("survivors"), VIOLATION),
        ("asked-for-the-other-share", "C29", "Other shares asked for after the first",
         f"{PEER} is called dropped, after the share of its seed was revealed",
         _shown_after("survivors", dropped(PEER)), VIOLATION),
    ],
}
# fmt: on


# --- playing them -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lie:
    """A row in the live round that it departs from."""

    name: str
    failure: Failure

    def __call__(self, programs: Programs) -> None:
        """Tell it to a program; raises as `Case.play`."""
        [program] = programs.take(1)
        planned = _departure(self.failure, _honest(self.name))
        live = _joined(self.name, program, {"policy": planned.policy or {}, "released": planned.released or []})
        live.go(planned.after)
        lie = _departure(self.failure, live.script())
        [step] = lie.steps
        expect = self.failure.outcome(live.script())
        refused_as(live.ask(step, lie.messages.get(step["message"])), expect["error"], expect.get("culprit"))
        told = step["message"]
        _nothing_more(live, step, told if told in live.known else live.vector["steps"][planned.after]["message"])


def _departure(failure: Failure, script: Script) -> Departure:
    play = failure.play
    if not isinstance(play, Departing):
        raise TypeError(f"{failure.slug} does not leave an honest round")
    return play.depart(script)


def _nothing_more(live: LiveRound, step: Document, stood_for: str) -> None:
    """Hold that the program answers not even the honest message after it refused another."""
    answer = live.ask(step, live.known[stood_for])
    if not isinstance(answer, Refuses):
        raise Unlike(f"after the refusal it {said(answer)}; the round is over for who refused")


def _joined(name: str, program: Program, terms: Document) -> LiveRound:
    """A live round whose roster is known. On a ring it is tried until everybody stands where the lies need them."""
    for _ in range(TRIES):
        live = LiveRound(name, round_of(name), {ME: program}, terms)
        if name != SPARSE:
            return live
        live.go(live.find(do="answer"))
        live.show_all_entries()
        roster = live.script().roster
        if _stands_well(live, roster):
            return live
    raise Unlike(f"the program made the same ring {TRIES} times: its keys are not fresh")


def _stands_well(live: LiveRound, roster: Roster) -> bool:
    """PEER and cedar are our neighbours, oak signs and iris does not; we verify hazel, the last of the third
    organisation, and somebody is shown to us by no means.
    """
    at = {name: Index(place) for place, name in enumerate(rosters.names_of(roster), 1)}
    us, neighbour, gone, signs, silent, third = (
        at[ParticipantId(who)] for who in (ME, PEER, "cedar", "oak", "iris", "hazel")
    )
    graph = neighbourhoods(live.round.of_members(rosters.roster_digest(roster)), len(at))
    around = {*graph.of(us), us}
    return (
        {neighbour, gone} <= around
        and third in around | graph.committee
        and signs in graph.committee
        and silent not in graph.committee
        and len(around | graph.committee) < len(at)
    )


def _two_rosters(programs: Programs) -> None:
    """PEER, which works with the coordinator, signs other keys for us than for everybody else."""
    [program] = programs.take(1)
    live = LiveRound(ACTIVE, round_of(ACTIVE), {ME: program})
    at = live.find(at=ME, do="receive", message="roster")
    live.go(at)
    other = signed_keys(PEER, channel_public_key=KeyPair.generate(fixtures.rng("another key")).public)
    live.show(wire.encode(member(PEER, other)(live.script().read("roster"), live.script())))
    live.silent.add(PEER)  # it cannot open what we seal to the other key, and its part is over
    delivered = live.find(at=ME, do="receive", message=f"{ME}/share-delivery")
    live.go(delivered)
    refused_as(live.ask(live.vector["steps"][delivered]), "AuthenticationError", None)


def _group_of_another(programs: Programs) -> None:
    """The offer of a group whose round id follows from another parent."""
    [program], round_ = programs.take(1), round_of(GROUP)
    request = requests.join(round_, ME, replayed=False)
    if not isinstance(answer := program.ask(request), Sends):
        raise Unlike(f"the group as it is: {said(answer)}; the offer was honest")
    other = fixtures.seed("another parent")[:16].hex()
    refused_as(program.ask(request | {"round_id": other}), "ProtocolViolation", "coordinator")


@lru_cache(maxsize=8)
def _honest(name: str) -> Script:
    return Script(name, round_of(name))


def _told(tables: Iterable[Table]) -> Iterator[tuple[str, Failure]]:
    for table in tables:
        for name, rows in table.items():
            yield from ((name, Failure(*row)) for row in rows)


def _can_be_told(name: str, failure: Failure) -> bool:
    """Whether it is one message to ME; where it is several, the vector alone shows it."""
    if not isinstance(failure.play, Departing):
        return False
    steps = _departure(failure, _honest(name)).steps
    return len(steps) == 1 and steps[0]["at"] == ME


def cases() -> Iterator[Case]:
    """All of them."""
    for name, failure in _told((OWN, *masked_participant.TABLES, *sparse.TABLES)):
        if _can_be_told(name, failure):
            yield _case(name, failure, Lie(name, failure))
    title = "A colluder signs other keys for us than for everybody else"
    yield Case("lie-two-rosters", title, "C18", _needs(ACTIVE), _two_rosters)
    title = "A group whose round id is not the one that follows from its grouped round"
    yield Case("lie-group-of-another", title, "C2", _needs(GROUP), _group_of_another)


def _case(name: str, failure: Failure, play: Play) -> Case:
    return Case(f"lie-{failure.slug}", failure.title, failure.check, _needs(name), play)


@lru_cache(maxsize=8)
def _needs(name: str) -> frozenset[Feature]:
    return needs_of_round(round_of(name))
