"""The cases after a live round: its receipt, the signatures of its result, and its sum.

A coordinator that lies there lies with its own signature, so these are whole results that fit together, but for one
thing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from secagg.crypto import signing
from secagg.encoding.integers import Integers
from secagg.errors import AuthenticationError
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures import endings
from secagg.tools.conformance.failures.changes import put
from secagg.tools.conformance.failures.script import ACCEPTED, ACTIVE, ME, SPARSE, Failure
from secagg.tools.runner import requests
from secagg.tools.runner.cases import Case, Programs, Unlike, refused_as, said
from secagg.tools.runner.lines import Answer, Believes, Feature, Signs
from secagg.tools.runner.live import LiveRound, round_of
from secagg.tools.runner.needs import needs_of_round
from secagg.wire.receipts import encode_receipt
from secagg.wire.results import PackedAggregate
from secagg.wire.v1 import data_plane_pb2 as pb

NOW_MS: Final = fixtures.NOW_S * 1000
YEARS_MS: Final = 10 * 365 * 24 * 3600 * 1000
"""After so long no certificate of these rounds is valid."""

TRIES: Final = 40
"""How often a ring is made before the program is not in the committee; more than every second one is such."""

COUNTS: Final = "integers-active"
Change = Callable[[Any, LiveRound], None]
"""Changes the words of a sum."""


class Ended:
    """A live round with the program in ME's place, over but for its result."""

    def __init__(self, name: str, programs: Programs) -> None:
        """Play it to its end; raises as `LiveRound.go`."""
        [self.program] = programs.take(1)
        self.live = LiveRound(name, round_of(name), {ME: self.program})
        self.live.go()
        self.script = self.live.script()

    def receipt(self, **changes: Any) -> pb.Receipt:
        """What the coordinator signs; `changes` of its statement."""
        return encode_receipt(endings.receipt(put(**changes))(self.script))

    def hand(self, receipt: pb.Receipt, proof: list[bytes] | None = None, now_ms: int = NOW_MS) -> Answer:
        """What the program says to a receipt, and to signatures of the result."""
        signatures = None if proof is None else [part.hex() for part in proof]
        encoded = receipt.SerializeToString(deterministic=True).hex()
        return self.program.ask(requests.believe_receipt(encoded, signatures, now_ms))

    def sum(self, change: Change = lambda *_: None) -> PackedAggregate:
        """The sum of the round, with words that are changed."""
        aggregate = self.live.coordinator.aggregate
        if aggregate is None:
            raise Unlike(f"{self.live.name}: the round ended without a sum: {self.live.coordinator.failure}")
        sums = aggregate.sums.copy()
        change(sums, self.live)
        return PackedAggregate.of(replace(aggregate, sums=sums), self.live.config)

    def hand_sum(self, packed: PackedAggregate) -> Answer:
        """What the program says to a sum."""
        parts = [part.SerializeToString(deterministic=True).hex() for part in packed.parts()]
        return self.program.ask(requests.believe_aggregate(parts))

    def believed(self, answer: Answer, certified: bool | None = None) -> None:
        """Hold that an honest receipt was believed, and its signatures to certify it or not.

        Raises:
            Unlike: it was not.
        """
        if answer != (wanted := Believes(None, certified)):
            raise Unlike(f"the receipt of the live round: {said(answer)}; the specification says: {said(wanted)}")


# --- honest results -----------------------------------------------------------------------------------------------


def _result(name: str, programs: Programs) -> None:
    ended = Ended(name, programs)
    ended.believed(ended.hand(ended.receipt()))
    answer, sums = ended.hand_sum(ended.sum()), ended.live.coordinator.aggregate
    if sums is None or answer != Believes(tuple(sums.sums.tolist())):
        raise Unlike(f"the sum of the live round: {said(answer)}; or its numbers are others")


def _signature(ended: Ended) -> str:
    """What the program signs at the end; it is held to what it was given."""
    ended.believed(ended.hand(ended.receipt()))
    answer, result = ended.program.ask(requests.certify()), endings.result(ended.script)
    if not isinstance(answer, Signs):
        raise Unlike(f"asked for its signature of the result, the program {said(answer)}")
    if ME in result.others:
        if answer.signature:
            raise Unlike("it signed the result, and is not in the committee")
        return ""
    try:
        _, key = result.signers[ended.script.index(ME)]
        signing.verify(key, result.to_sign, bytes.fromhex(answer.signature), culprit=ME)
    except AuthenticationError as error:
        raise Unlike("what the program signed is not the result that it was given") from error
    return answer.signature


def _signed(programs: Programs) -> None:
    _signature(Ended(ACTIVE, programs))


def _left_to_the_committee(programs: Programs) -> None:
    """On a ring in whose committee the program is not. It is played until there is one."""
    for _ in range(TRIES):
        ended = Ended(SPARSE, programs)
        if ME in endings.result(ended.script).others:
            _signature(ended)
            return
    raise Unlike(f"the program was in the committee {TRIES} times: its keys are not fresh")


def _certified(programs: Programs) -> None:
    """As many signatures as are needed, the program's own among them; and one less."""
    ended = Ended(ACTIVE, programs)
    result, own = endings.result(ended.script), bytes.fromhex(_signature(ended))
    others = [name for name in ended.script.survivors if name != ME][: result.threshold - 1]
    few = endings.proof(ended.script, others, result.to_sign)
    mine = pb.SignedBy(signer=ended.script.index(ME), signature=own)
    enough = [*few, pb.ConsistencyProofPart(signatures=[mine]).SerializeToString(deterministic=True)]
    for proof, certified in ((few, False), (enough, True), ([b""], False)):
        ended.believed(ended.hand(ended.receipt(), proof), certified)


# --- lies ---------------------------------------------------------------------------------------------------------


def _told(name: str, failure: Failure, programs: Programs) -> None:
    """What a vector has as well, after this very round."""
    ended = Ended(name, programs)
    told: Document = failure.play(ended.script, failure)
    if told["kind"] == "ending":
        now_ms = told.get("now_ms", NOW_MS)
        request = requests.believe_receipt(told["receipt"], told.get("proof"), now_ms)
    else:
        ended.believed(ended.hand(ended.receipt()))
        request = requests.believe_aggregate(told["parts"])
    refused_as(ended.program.ask(request), told["expect"]["error"], told["expect"].get("culprit"))


def _impossible(name: str, change: Change, programs: Programs) -> None:
    """The coordinator signs a sum that no updates have."""
    ended = Ended(name, programs)
    packed = ended.sum(change)
    ended.believed(ended.hand(ended.receipt(sums_digest=packed.digest)))
    refused_as(ended.hand_sum(packed), "ProtocolViolation", None)


def _weight(weight: Callable[[int, LiveRound], int]) -> Change:
    """The sum of the weights is what follows from the number of survivors."""

    def change(sums: Any, live: LiveRound) -> None:
        sums[-1] = weight(len(live.vector["outcome"]["survivors"]), live)

    return change


def _most_weight(count: int, live: LiveRound) -> int:
    return count * live.config.encoding.max_weight + 1


def _beyond_the_clip(sums: Any, live: LiveRound) -> None:
    """The first value is the largest of all, under the smallest weight."""
    count = len(live.vector["outcome"]["survivors"])
    sums[-1] = count
    sums[0] = np.uint64((1 << live.config.ring_bits) - 1)


def _beyond_the_bound(at: int) -> Change:
    """The sum of one array is one more than all survivors can have."""

    def change(sums: Any, live: LiveRound) -> None:
        encoding, count = live.config.encoding, len(live.vector["outcome"]["survivors"])
        if not isinstance(encoding, Integers):
            raise TypeError(f"{live.name} counts nothing")
        array = live.config.schema.arrays[at]
        low, high = array.bounds or (encoding.min, encoding.max)
        sums[sum(int(np.prod(each.shape)) for each in live.config.schema.arrays[:at])] = count * (high - low) + 1

    return change


def _of_another(programs: Programs) -> None:
    """The sum names somebody who dropped out in the place of a survivor."""
    ended = Ended(ACTIVE, programs)
    ended.believed(ended.hand(ended.receipt()))
    packed = ended.sum()
    names = tuple(sorted({*packed.survivors[1:], endings.DROPPED}))
    refused_as(ended.hand_sum(replace(packed, survivors=names)), "ProtocolViolation", "coordinator")


def _of_fewer(programs: Programs) -> None:
    """The sum does not name the last survivor."""
    ended = Ended(ACTIVE, programs)
    ended.believed(ended.hand(ended.receipt()))
    packed = ended.sum()
    refused_as(ended.hand_sum(replace(packed, survivors=packed.survivors[:-1])), "ProtocolViolation", "coordinator")


def _another_sum(programs: Programs) -> None:
    """The sum has one other bit, and the digest that fits it."""

    def one_bit(sums: Any, _: LiveRound) -> None:
        sums[0] ^= sums.dtype.type(1)

    ended = Ended(ACTIVE, programs)
    ended.believed(ended.hand(ended.receipt()))
    refused_as(ended.hand_sum(ended.sum(one_bit)), "AuthenticationError", "coordinator")


def _miscounted(programs: Programs) -> None:
    ended = Ended(ACTIVE, programs)
    receipt = ended.receipt()
    receipt.survivors -= 1
    refused_as(ended.hand(receipt), "ProtocolViolation", "coordinator")


def _years_later(programs: Programs) -> None:
    ended = Ended(ACTIVE, programs)
    refused_as(ended.hand(ended.receipt(), now_ms=NOW_MS + YEARS_MS), "AuthenticationError", "coordinator")


def _from_the_future(programs: Programs) -> None:
    """Signed at a time at which its certificate is valid no more."""
    ended = Ended(ACTIVE, programs)
    late = endings.receipt(at_s=(NOW_MS + YEARS_MS) / 1000)(ended.script)
    refused_as(ended.hand(encode_receipt(late)), "AuthenticationError", "coordinator")


@dataclass(frozen=True, slots=True)
class Row:
    """One lie: the end of its number, the checks that it is about, what is told, and the round behind which."""

    slug: str
    check: str
    title: str
    play: Callable[[Programs], None]
    round_: str = ACTIVE


# fmt: off
ROWS: Final = (
    Row("receipt-miscounted", "C89", "A receipt that speaks of one survivor less", _miscounted),
    Row("receipt-years-later", "C88", "A receipt whose certificate has expired since it was signed", _years_later),
    Row("receipt-from-the-future", "C88", "A receipt signed when its certificate was valid no more", _from_the_future),
    Row("aggregate-of-another", "C31", "A sum that names somebody who dropped out for a survivor", _of_another),
    Row("aggregate-of-fewer", "C31", "A sum that does not name one survivor", _of_fewer),
    Row("aggregate-that-fits-itself", "C31", "Another sum than that of the receipt, with its own digest",
        _another_sum),
    Row("sum-of-too-little-weight", "C32", "A signed sum whose weight is below one for each survivor",
        partial(_impossible, ACTIVE, _weight(lambda count, _: count - 1))),
    Row("sum-of-no-weight", "C32", "A signed sum whose weight is 0",
        partial(_impossible, ACTIVE, _weight(lambda *_: 0))),
    Row("sum-of-too-much-weight", "C32", "A signed sum whose weight is above the largest of every survivor",
        partial(_impossible, ACTIVE, _weight(_most_weight))),
    Row("sum-beyond-the-clip", "C32", "A signed sum whose mean is beyond the clip",
        partial(_impossible, ACTIVE, _beyond_the_clip)),
    *(Row(f"sum-of-{array}-beyond-the-bound", "C97", f"A signed sum that no counts of the survivors have: {array}",
          partial(_impossible, COUNTS, _beyond_the_bound(at)), COUNTS) for at, array in enumerate(("cells", "visits"))),
)
# fmt: on


def cases() -> Iterator[Case]:
    """All of them."""
    for slug, name in (("", ACTIVE), ("-integers", COUNTS)):
        yield _case(f"live-result{slug}", "The receipt and the sum of a live round", "", name, partial(_result, name))
    title = "The program's signature of a live round's result"
    yield _case("live-signed-result", title, "", ACTIVE, _signed)
    title = "The signatures of a result that are left to the committee"
    yield _case("live-signed-by-the-committee", title, "", SPARSE, _left_to_the_committee)
    title = "A live round's result is certified by t signatures, and by fewer it is not"
    yield _case("live-certified", title, "C90", ACTIVE, _certified)
    for table in endings.TABLES:
        for name, rows in table.items():
            for failure in (Failure(*row) for row in rows if row[-1] is not ACCEPTED):
                yield _case(f"lie-{failure.slug}", failure.title, failure.check, name, partial(_told, name, failure))
    for row in ROWS:
        yield _case(f"lie-{row.slug}", row.title, row.check, row.round_, row.play)


def _case(number: str, title: str, check: str, name: str, play: Callable[[Programs], None]) -> Case:
    return Case(number, title, check, needs_of_round(round_of(name)) | {Feature.RESULTS}, play)
