"""What must hold in every history, a law each, as PROTOCOL says it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Any, Final

import numpy as np

from secagg.tools.faults.checker import audits, ledgers
from secagg.tools.faults.checker.seen import LATER, ONCE, PROOFS, UPLOADS, Round, Said, Seen, Shown
from secagg.tools.faults.checker.sums import Bounds, expected, pack, shape, unpack
from secagg.tools.faults.history import Fault, History
from secagg.wire.v1 import control_plane_pb2 as control
from secagg.wire.v1 import data_plane_pb2 as data


class Law(Enum):
    """What must hold. The value says it to people."""

    SUM = "a sum is the sum of its survivors' updates"
    ONE_SUM = "a round has one sum"
    ONE_OFFER = "a round has one configuration"
    ONE_GROUP = "a participant is in one group of a grouped round"
    ONE_ROSTER = "the roster never changes"
    ONE_DELIVERY = "a participant is given the same shares each time"
    ONE_SURVIVOR_SET = "a round shows one survivor set"
    ONE_PROOF = "everyone is given the same signatures"
    ONE_RECEIPT = "the coordinator signs once a round"
    ONE_END = "a round that ended without a sum never has one"
    ONE_MESSAGE = "a participant says one thing in a step"
    NOBODY_SHOWN = "the sums of a model, taken together, show nobody"
    BUDGET = "a sum is charged once, and nothing else is"
    SUM_KEPT = "a sum that was ready can be fetched"
    REASON_KEPT = "a round fails for one reason"
    ROUND_KNOWN = "a round that was opened is known"
    EVENTS_KEPT = "what happened is told again as it was told"
    PROGRESS_KEPT = "chunks that were acknowledged need not be sent again"
    INPUT_COUNTS = "an input that was acknowledged as a whole counts"
    GONE_STAYS_GONE = "who left or was excluded is gone"
    HONEST = "an honest coordinator gives nobody a reason to refuse"
    UNDAMAGED = "a disk that keeps its word leaves nothing damaged"
    AUDIT = "the audit log says once what was decided, before anybody is told"
    ENDS = "a round ends, with a sum or an error that says why"
    NAMED = "every error has a name"


LOSSES: Final = frozenset(
    {
        Law.SUM_KEPT,
        Law.REASON_KEPT,
        Law.ROUND_KNOWN,
        Law.EVENTS_KEPT,
        Law.PROGRESS_KEPT,
        Law.INPUT_COUNTS,
        Law.GONE_STAYS_GONE,
        Law.UNDAMAGED,
        Law.AUDIT,
        Law.ENDS,
    }
)
"""Whoever breaks one of these has lost something. Whoever breaks another did something wrong."""

BY_PARTICIPANTS: Final = frozenset({Law.SUM, Law.ONE_MESSAGE, Law.NOBODY_SHOWN, Law.NAMED})
"""These hold even at a coordinator that forgets: participants see to them, or they need no memory."""

_DISK_FAULTS: Final = frozenset({Fault.DISK_FULL, Fault.DISK_ERROR, Fault.FLUSH_LIED, Fault.BIT_ROT})


@dataclass(frozen=True, slots=True)
class Finding:
    """A law that was broken.

    Attributes:
        law: which.
        round_id: where; empty if it is about no round.
        facts: what was seen, for people.
    """

    law: Law
    round_id: bytes
    facts: str

    def __str__(self) -> str:
        where = f"round {self.round_id.hex()[:8]}: " if self.round_id else ""
        return f"{where}{self.facts}; but {self.law.value}"


def findings(history: History, seen: Seen) -> Iterator[Finding]:
    """Every law that was broken, whatever excuses it."""
    for known in seen.rounds.values():
        for law, broken in _OF_A_ROUND.items():
            for facts in broken(known, seen, history):
                yield Finding(law, known.round_id, facts)
    for round_id, facts in _nobody_shown(seen):
        yield Finding(Law.NOBODY_SHOWN, round_id, facts)
    for round_id, facts in ledgers.broken(seen):
        yield Finding(Law.BUDGET, round_id, facts)
    for round_id, facts in audits.broken(history.audit, seen) if history.audit is not None else ():
        yield Finding(Law.AUDIT, round_id, facts)
    for facts in _damages(seen):
        yield Finding(Law.UNDAMAGED, b"", facts)
    for facts in _named(seen):
        yield Finding(Law.NAMED, b"", facts)


# --- one of each ------------------------------------------------------------------------------------------------------


def _one(shown: Iterable[Shown], what: str, part_of: Callable[[Any, Any], bool] | None = None) -> Iterator[str]:
    """What was shown is the same each time; an answer that broke off is a beginning of the others."""
    first: Shown | None = None
    for one in sorted(shown, key=lambda one: not one.whole):
        if not one.whole:
            if first is not None and part_of is not None and not part_of(one.value, first.value):
                yield _differ(what, first, one)
        elif first is None:
            first = one
        elif one.value != first.value:
            yield _differ(what, first, one)


def _differ(what: str, one: Shown, other: Shown) -> str:
    return f"call {one.call} was given {what} at {one.at:.3f} s, and call {other.call} another at {other.at:.3f} s"


def _begins(part: Sequence[Any], whole: Sequence[Any]) -> bool:
    return whole[: len(part)] == part


def _one_offer(known: Round, _: Seen, __: History) -> Iterator[str]:
    yield from _one(known.offers, "a configuration", lambda part, whole: whole.startswith(part))
    offered = next((offer for offer in known.offers if offer.whole), None)
    if offered is not None and known.asked_open and offered.value not in known.asked_open:
        yield f"call {offered.call} was offered a configuration that the FL server did not open"


def _one_group(known: Round, _: Seen, __: History) -> Iterator[str]:
    for participant, offers in known.groups.items():
        yield from _one(offers, f"{participant}'s group")


def _one_roster(known: Round, _: Seen, __: History) -> Iterator[str]:
    yield from _one(known.rosters, "a roster", _begins)
    for index, entries in sorted(known.entries.items()):
        yield from _one(entries, f"entry {index} of the roster")


def _one_delivery(known: Round, _: Seen, __: History) -> Iterator[str]:
    for participant, deliveries in known.deliveries.items():
        yield from _one(deliveries, f"shares for {participant}")


def _one_survivor_set(known: Round, _: Seen, __: History) -> Iterator[str]:
    yield from _one(known.survivor_sets, "a survivor set")
    yield from _one(known.fallen, "a set of those who fell")
    for shown in known.sums:
        if shown.whole and known.survivor_sets:
            first = known.survivor_sets[0]
            named = known.names(first.value[0])
            if named is not None and named != frozenset(shown.value[0]):
                yield _differ("a survivor set", first, shown)


def _one_proof(known: Round, _: Seen, __: History) -> Iterator[str]:
    for call in PROOFS:
        yield from _one(known.proofs[call], f"the signatures of {call}")


def _one_receipt(known: Round, _: Seen, __: History) -> Iterator[str]:
    yield from _one(known.receipts, "a receipt")


# --- sums -------------------------------------------------------------------------------------------------------------


def _one_sum(known: Round, _: Seen, __: History) -> Iterator[str]:
    def part_of(part: tuple[Any, ...], whole: tuple[Any, ...]) -> bool:
        return _begins(part[0], whole[0]) and part[1] == whole[1] and _begins(part[2], whole[2])

    yield from _one(known.sums, "a sum", part_of)
    told = [end for end in known.ends if end.failed is None and end.digest]
    for end in told:
        if end.digest != told[0].digest:
            yield (
                f"call {told[0].call} was told of a sum at {told[0].at:.3f} s, and call {end.call} of another at "
                f"{end.at:.3f} s"
            )
            return


def _sum(known: Round, _: Seen, __: History) -> Iterator[str]:
    config = known.config
    if config is None:
        return
    for shown in {one.value: one for one in known.sums if one.whole}.values():
        survivors, digest, payloads = shown.value
        if sha256(b"".join(payloads)).digest() != digest:
            yield f"the sum that call {shown.call} was given has another digest than the one beside it"
        if len(survivors) < config.threshold:
            yield f"call {shown.call} was given a sum of {len(survivors)}, and the threshold is {config.threshold}"
        form = shape(config)
        if form is None:
            continue
        found = unpack(payloads, form)
        if found is None:
            yield f"the sum that call {shown.call} was given is not packed as its round demands"
            continue
        bounds = _expected(known, survivors)
        if isinstance(bounds, str):
            yield bounds
        elif bounds is not None and not ((bounds.least <= found) & (found <= bounds.most)).all():
            at = int(np.argmin((bounds.least <= found) & (found <= bounds.most)))
            yield (
                f"coordinate {at} of the sum that call {shown.call} was given is {found[at]}, and that of its "
                f"{len(survivors)} survivors' updates is {bounds.least[at]}"
                + (f" to {bounds.most[at]}" if bounds.most[at] != bounds.least[at] else "")
            )
    yield from _digest_alone(known)


def _digest_alone(known: Round) -> Iterator[str]:
    """Where nobody fetched the sum, its digest must be that of the only sum that there can be."""
    told = next((end for end in known.ends if end.failed is None and end.digest), None)
    config = known.config
    if known.sums or told is None or not known.survivor_sets or config is None:
        return
    survivors, form = known.names(known.survivor_sets[0].value[0]), shape(config)
    if survivors is None or form is None:
        return
    bounds = _expected(known, sorted(survivors))
    if isinstance(bounds, str):
        yield bounds
        return
    exact = bounds is not None and (bounds.least == bounds.most).all()
    if bounds is not None and exact and sha256(b"".join(pack(bounds.least, form))).digest() != told.digest:
        yield f"call {told.call} was told of another sum than that of the survivors' updates"


def _expected(known: Round, survivors: Sequence[str]) -> Bounds | str | None:
    absent = [name for name in survivors if name not in known.contributed]
    if absent:
        return f"{absent[0]} is in the sum and put nothing in"
    config = known.config
    return None if config is None else expected(config, [known.contributed[name] for name in survivors])


# --- how rounds end ---------------------------------------------------------------------------------------------------


def _one_end(known: Round, _: Seen, __: History) -> Iterator[str]:
    failed = next((end for end in known.ends if end.failed is not None), None)
    if failed is not None:
        later = next((end for end in known.ends if end.failed is None and end.at > failed.at), None)
        if later is not None:
            yield (
                f"call {failed.call} was told at {failed.at:.3f} s that the round failed ({failed.failed}), and call "
                f"{later.call} at {later.at:.3f} s of its sum"
            )


def _sum_kept(known: Round, _: Seen, __: History) -> Iterator[str]:
    ready = next((end for end in known.ends if end.failed is None), None)
    if ready is None:
        return
    later = next((end for end in known.ends if end.failed is not None and end.at > ready.at), None)
    if later is not None:
        yield (
            f"call {ready.call} was told of a sum at {ready.at:.3f} s, and call {later.call} at {later.at:.3f} s that "
            f"the round failed ({later.failed})"
        )


def _reason_kept(known: Round, _: Seen, __: History) -> Iterator[str]:
    reasons = [end for end in known.ends if end.failed]
    for end in reasons:
        if end.failed != reasons[0].failed:
            yield (
                f"call {reasons[0].call} was told {reasons[0].failed} at {reasons[0].at:.3f} s, and call {end.call} "
                f"{end.failed} at {end.at:.3f} s"
            )
            return


def _ends(known: Round, seen: Seen, _: History) -> Iterator[str]:
    if known.opened is not None and not known.ends and not known.unknown and seen.running:
        yield "nobody was ever told how it ended"


def _undamaged(known: Round, seen: Seen, _: History) -> Iterator[str]:
    told = next((end for end in known.ends if end.failed == "INTERNAL"), None)
    if told is not None and not seen.faults & _DISK_FAULTS:
        yield f"call {told.call} was told at {told.at:.3f} s that the coordinator failed"


def _honest(known: Round, _: Seen, __: History) -> Iterator[str]:
    for refusal in known.refusals:
        yield f"{refusal.caller} left at {refusal.at:.3f} s (call {refusal.call}) and blames the coordinator"


def _round_known(known: Round, seen: Seen, history: History) -> Iterator[str]:
    if known.opened is None:
        return
    for reply in known.unknown:
        if reply.asked_at > known.opened.at and not _may_be_forgotten(known, reply.asked_at, seen, history):
            yield f"call {reply.call} ({reply.name}) was told at {reply.at:.3f} s that there is no such round"
    for asked_at, shown in seen.lists:
        task, states = shown.value
        if not shown.whole or asked_at < known.opened.at or known.config is None or task not in {"", known.config.task}:
            continue
        damaged = any(end.failed == "INTERNAL" for end in known.ends)  # who asks by its id is told so
        if known.round_id not in states and not damaged and not _may_be_forgotten(known, asked_at, seen, history):
            yield f"the list that call {shown.call} was given at {shown.at:.3f} s lacks it"


def _may_be_forgotten(known: Round, at: float, seen: Seen, history: History) -> bool:
    ended = known.ends[0].at if known.ends else None
    if ended is None or ended > at:
        return False
    fetched = any(shown.at < at for shown in known.sums) or known.ends[0].failed is not None
    others = sum(1 for other in seen.rounds.values() if other.ends and ended < other.ends[0].at < at)
    too_many = fetched and others >= history.keep_finished_rounds
    jumped = Fault.CLOCK_JUMPED in seen.faults and history.keep_finished_s < float("inf")
    return too_many or jumped or at - ended >= history.keep_finished_s - 1


# --- what was acknowledged --------------------------------------------------------------------------------------------


def _events_kept(known: Round, seen: Seen, _: History) -> Iterator[str]:
    if known.config is not None and known.config.HasField("groups"):
        return  # those of groups come in whatever order they happen
    watched = [shown for shown in known.watched if not _end_alone(shown, seen)]
    if len(watched) < 2:
        return
    told = [(shown, _lasting(shown.value)) for shown in watched]
    first, longest = max(told, key=lambda one: len(one[1]))
    for shown, events in told:
        if longest[: len(events)] != events:
            at = next(at for at, pair in enumerate(zip(events, longest, strict=False)) if pair[0] != pair[1])
            yield f"event {at + 1} is another one in call {first.call} than in call {shown.call}"
        elif shown.whole and len(events) < len(longest):
            yield f"call {shown.call} was told of {len(events)} events, and call {first.call} of {len(longest)}"


def _lasting(told: Sequence[tuple[float, Any]]) -> list[bytes]:
    """The events that a restart leaves as they are: a message that merely waited may have to be sent again."""
    return [event.SerializeToString() for _, event in told if not event.HasField("message_accepted")]


def _end_alone(shown: Shown, seen: Seen) -> bool:
    """Whether only the failure is known of a round that a disk refused to keep."""
    refused = not {Fault.DISK_FULL, Fault.DISK_ERROR}.isdisjoint(seen.faults)
    return refused and len(shown.value) == 1 and shown.value[0][1].HasField("round_failed")


def _progress_kept(known: Round, _: Seen, __: History) -> Iterator[str]:
    config = known.config
    if config is None or config.HasField("homomorphic"):  # several uploads, each with its own numbers
        return
    for participant, answers in known.progress.items():
        highest: Shown | None = None
        for asked_at, shown in sorted(answers, key=lambda answer: answer[1].at):
            if known.survivor_sets and shown.at >= known.survivor_sets[0].at:
                break
            if highest is not None and asked_at > highest.at and shown.value < highest.value:
                yield (
                    f"{participant} was told of {highest.value} chunks at {highest.at:.3f} s, and of {shown.value} at "
                    f"{shown.at:.3f} s"
                )
            if highest is None or shown.value > highest.value:
                highest = shown


def _input_counts(known: Round, _: Seen, __: History) -> Iterator[str]:
    config = known.config
    form = None if config is None or config.HasField("homomorphic") else shape(config)
    if form is None or not known.survivor_sets:
        return
    first = known.survivor_sets[0]
    survivors, chunks = known.names(first.value[0]), len(form.lengths)
    for participant, answers in known.progress.items():
        whole = next((shown for _, shown in answers if shown.value >= chunks and shown.at < first.at), None)
        if whole is not None and survivors is not None and participant not in survivors:
            yield f"{participant} was told at {whole.at:.3f} s that all of its input is there, and does not survive"


def _gone(known: Round, seen: Seen, __: History) -> Iterator[str]:
    events = _events(known, seen)
    offset = min((at - event.time_ms / 1000 for at, event in events), default=None)
    for gone, how in ((known.left, "left"), (known.excluded, "was excluded")):
        for participant, shown in gone.items():
            again = _heard_again(known, participant, shown)
            if again is not None:
                yield f"{participant} {how} at {shown.at:.3f} s, and call {again} of it was answered all the same"
            if offset is None or Fault.CLOCK_JUMPED in seen.faults:
                continue
            for _, event in events:
                dropped = event.participant_dropped
                late = event.time_ms / 1000 + offset > shown.at + 1.0
                if dropped.participant_id == participant and dropped.reason == control.DROP_REASON_DEADLINE and late:
                    yield f"{participant} {how} at {shown.at:.3f} s, and was waited for until a later deadline"


def _heard_again(known: Round, participant: str, gone: Shown) -> int | None:
    """A call in which something new was sent after that, and which was answered as if nothing had been.

    Whoever is in the sum may sign the result: that it is not waited for changes nothing about what it was told.
    """
    answered = {reply.call: reply for reply in known.replies if reply.ok}
    for name in (*(call for call in ONCE if call != "Certify"), *UPLOADS, "Advertise"):
        said = known.said.get((participant, name), [])
        before = {message for one in said if one.at <= gone.at for message in one.messages}
        for one in said:
            if one.at > gone.at and not set(one.messages) <= before and one.call in answered:
                return one.call
    return None


def _events(known: Round, seen: Seen) -> list[tuple[float, Any]]:
    """The longest list of events that anybody was given, those of this group alone."""
    of = seen.rounds.get(known.parent, known) if known.parent else known
    longest: Sequence[tuple[float, Any]] = max((shown.value for shown in of.watched), key=len, default=())
    return [(at, event) for at, event in longest if event.group == known.number]


# --- participants -----------------------------------------------------------------------------------------------------


def _one_message(known: Round, _: Seen, __: History) -> Iterator[str]:
    for (participant, call), said in known.said.items():
        if call in ONCE:
            yield from _same(participant, call, said)
        elif call in UPLOADS:
            yield from _same_chunks(participant, call, said)
        elif call == "Advertise":
            for process in {one.process for one in said}:
                yield from _same(participant, call, [one for one in said if one.process == process])


def _same(participant: str, call: str, said: Sequence[Said]) -> Iterator[str]:
    longest = max(said, key=lambda one: len(one.messages))
    for one in said:
        if one.messages != longest.messages[: len(one.messages)]:
            yield f"{participant} said in {call} (call {one.call}) something else than before (call {longest.call})"
            return


def _same_chunks(participant: str, call: str, said: Sequence[Said]) -> Iterator[str]:
    chunks: dict[int, bytes] = {}
    for one in said:
        for message in one.messages:
            number = data.MaskedInputChunk.FromString(message).number  # every chunk has it in the same field
            if chunks.setdefault(number, message) != message:
                yield f"{participant} sent another chunk {number} in {call} (call {one.call}) than before"
                return


def _nobody_shown(seen: Seen) -> Iterator[tuple[bytes, str]]:
    """Each cell of the sums of a model has as many as the largest threshold of the sums that it is in (section 12)."""
    questions: dict[tuple[bytes, str], list[Round]] = defaultdict(list)
    for known in seen.rounds.values():
        config = known.config
        if config is not None and known.survivors is not None and _may_be_open(known):
            purpose = config.purpose or "train"
            together = "train" if purpose == "metrics" else purpose
            questions[known.model, together].append(known)
    for rounds in questions.values():
        yield from _small_cells(rounds)


def _may_be_open(known: Round) -> bool:
    return any(end.failed is None for end in known.ends) or any(
        reply.ok and reply.name in LATER for reply in known.replies
    )


def _small_cells(rounds: Sequence[Round]) -> Iterator[tuple[bytes, str]]:
    distinct = {(known.survivors, known.purpose): known for known in rounds}
    members = {name for known in rounds for name in known.survivors or ()}
    sums = list(distinct.values())
    cells = Counter(tuple(name in (known.survivors or ()) for known in sums) for name in members)
    for cell, size in cells.items():
        within = [known for known, inside in zip(sums, cell, strict=True) if inside]
        largest: Mapping[str, int] = {
            known.purpose: max(one.threshold for one in within if one.purpose == known.purpose) for known in within
        }
        if size < min(largest.values()):
            yield within[-1].round_id, f"{size} are in exactly {len(within)} of {len(sums)} sums of one model"


# --- names ------------------------------------------------------------------------------------------------------------


def _named(seen: Seen) -> Iterator[str]:
    for one in seen.nameless:
        yield f"call {one.call} ({one.name}) ended with {one.status} at {one.at:.3f} s, and nothing says why"
    for shown in seen.malformed:
        yield f"the answer to call {shown.call} is no message: {shown.value}"
    yield from seen.crashes


def _damages(seen: Seen) -> Iterator[str]:
    """What is told of damage where no disk did anything that it must not."""
    if not seen.faults & _DISK_FAULTS:
        yield from seen.refusals
        for reply in seen.damages:
            yield f"call {reply.call} ({reply.name}) was told at {reply.at:.3f} s of damage ({reply.kind})"


_Broken = Callable[[Round, Seen, History], Iterator[str]]

_OF_A_ROUND: Final[dict[Law, _Broken]] = {
    Law.SUM: _sum,
    Law.ONE_SUM: _one_sum,
    Law.ONE_OFFER: _one_offer,
    Law.ONE_GROUP: _one_group,
    Law.ONE_ROSTER: _one_roster,
    Law.ONE_DELIVERY: _one_delivery,
    Law.ONE_SURVIVOR_SET: _one_survivor_set,
    Law.ONE_PROOF: _one_proof,
    Law.ONE_RECEIPT: _one_receipt,
    Law.ONE_END: _one_end,
    Law.ONE_MESSAGE: _one_message,
    Law.SUM_KEPT: _sum_kept,
    Law.REASON_KEPT: _reason_kept,
    Law.ROUND_KNOWN: _round_known,
    Law.EVENTS_KEPT: _events_kept,
    Law.PROGRESS_KEPT: _progress_kept,
    Law.INPUT_COUNTS: _input_counts,
    Law.GONE_STAYS_GONE: _gone,
    Law.HONEST: _honest,
    Law.UNDAMAGED: _undamaged,
    Law.ENDS: _ends,
}
