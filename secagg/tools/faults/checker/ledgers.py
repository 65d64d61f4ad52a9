"""What a task's privacy ledger must say of the rounds that were seen: section 21 of PROTOCOL."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from secagg.tools.faults.checker.seen import LedgerRead, Round, Seen, framed_digest
from secagg.tools.faults.checker.sums import is_noisy


def broken(seen: Seen) -> Iterator[tuple[bytes, str]]:
    """Rounds, and what is wrong with how they are charged; an empty id where it is about a ledger as a whole."""
    for task, readings in seen.ledgers.items():
        ordered = sorted((one for one in readings if one.shown.whole), key=lambda one: one.asked_at)
        yield from ((b"", facts) for facts in _chain(task, ordered))
        if ordered:
            yield from _charges(seen, task, ordered[-1])


def _chain(task: str, readings: Sequence[LedgerRead]) -> Iterator[str]:
    """Each reading goes on where the one before ended, and the digests of the last one are right."""
    for earlier, later in pairwise(readings):
        known = earlier.shown.value
        if later.asked_at > earlier.shown.at and later.shown.value[: len(known)] != known:
            yield f"the ledger of {task!r} in call {later.shown.call} does not go on from that in {earlier.shown.call}"
    previous = bytes(32)
    for line in readings[-1].shown.value if readings else ():
        if json.loads(line)["previous"] != previous.hex():
            yield f"the ledger of {task!r} in call {readings[-1].shown.call} is no chain"
            return
        previous = framed_digest(b"secagg/v1/privacy-ledger", line)


def _charges(seen: Seen, task: str, reading: LedgerRead) -> Iterator[tuple[bytes, str]]:
    entries: list[dict[str, Any]] = [json.loads(line) for line in reading.shown.value]
    charged: dict[bytes, list[str]] = {}
    for entry in entries:
        if "round" in entry:
            charged.setdefault(bytes.fromhex(entry["round"]), []).append(entry["kind"])
    for known in seen.rounds.values():
        config = known.config
        if config is None or config.task != task or known.parent or not is_noisy(config):
            continue
        for facts in _charge(seen, known, charged.get(known.round_id, []), reading):
            yield known.round_id, f"{facts} (call {reading.shown.call})"


def _charge(seen: Seen, known: Round, kinds: Sequence[str], reading: LedgerRead) -> Iterator[str]:
    ends = [end for end in known.ends if end.at < reading.asked_at]
    kinds = _last_plan(kinds, len(known.asked_open))
    if kinds not in (
        [],
        ["planned"],
        ["planned", "released"],
        ["planned", "withdrawn"],
    ):
        yield f"the ledger says {', '.join(kinds)} of it"
    if known.opened is not None and known.opened.at < reading.asked_at and not kinds:
        yield "it was opened, and the ledger does not know it"
    if any(end.failed is None for end in ends):
        if kinds[-1:] != ["released"]:
            yield f"its sum was released, and the ledger says {kinds[-1] if kinds else 'nothing'} of it"
    elif "released" in kinds and ends and not _shown_survivors(seen, known):
        yield "it ended before anybody was shown survivors, and is charged as a sum that was released"
    if "withdrawn" in kinds and _unmasking(seen, known):
        yield "participants were asked to open its sum, and its cost was given back"
    if kinds == ["planned"] and ends and ends[-1].failed and not seen.died and not _shown_survivors(seen, known):
        yield "it ended before anybody was shown survivors, and its cost was not given back"


def _last_plan(kinds: Sequence[str], tries: int) -> Sequence[str]:
    """Without plans that were given back before the last one, where the FL server asked for the round that often.

    A round that cannot be opened, for instance because the audit log is out of reach, costs nothing. The FL server may
    ask for it again under its id, and then it is planned again.
    """
    refused = 0
    while refused < tries - 1 and list(kinds[2 * refused : 2 * refused + 3]) == ["planned", "withdrawn", "planned"]:
        refused += 1
    return kinds[2 * refused :]


def _cohorts(seen: Seen, known: Round) -> list[Round]:
    return [one for one in seen.rounds.values() if one.parent == known.round_id] or [known]


def _shown_survivors(seen: Seen, known: Round) -> bool:
    return any(one.survivor_sets for one in _cohorts(seen, known))


def _unmasking(seen: Seen, known: Round) -> bool:
    """Whether somebody was told what they are asked for in the phase that opens the sum."""
    for one in _cohorts(seen, known):
        config = one.config
        active = config is not None and config.threat_model == 2
        if (one.proofs["Check"] if active else one.survivor_sets) and not (config and config.HasField("homomorphic")):
            return True
    return False
