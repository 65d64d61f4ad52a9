"""Wrong participants, each with the case of `secagg conformance` that notices it: one check or one habit is spoilt.

    python -m tests.conformance.runner_mutants        # the table, each mutant played

A mutant is our own adapter with something taken out of it. It is spoilt only while it answers, so that the coordinator
and the other participants of a live round, which are ours too, stay as they are. Those that vectors notice as well are
in `test_teeth.py`; here they meet a coordinator that lies to them live, without stated random values.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any, Final
from weakref import WeakKeyDictionary

from rich.console import Console
from rich.table import Table
from secagg_client import Memory

from secagg import receipts
from secagg.aggregates import Aggregate
from secagg.context import RoundId
from secagg.crypto import shamir
from secagg.crypto.rng import SeededRng, SystemRng
from secagg.crypto.secret import Secret
from secagg.encoding import code
from secagg.errors import LocalError, RemoteError, SavedStateError
from secagg.masked import masked_input, masks, shares, unmask, vector
from secagg.masked.masked_input import AwaitingShares
from secagg.masked.scheme import Participant
from secagg.masked.unmask import AwaitingProof
from secagg.messages import ConsistencyProof, MaskKeyShare, ParticipantId, SurvivorSet, Unmask
from secagg.policy import Policy
from secagg.programs.state_keys import FolderStateKeys
from secagg.receipts import Receipt
from secagg.rounds.certification import Result
from secagg.rounds.membership import Membership
from secagg.rounds.releases import Release
from secagg.rounds.session import Ended, Session
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.redteam.self_test.patches import Patch, without_check
from secagg.tools.runner import adapter, lines
from secagg.tools.runner.cases import Case, Verdict, judge
from secagg.tools.runner.every import cases
from secagg.tools.runner.lines import Description, Feature
from secagg.wire.counting import Budget
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.results import IncomingAggregate
from tests.conformance.test_teeth import CHECKS, FUNCTIONS

NOW: Final = datetime.fromtimestamp(fixtures.NOW_S, UTC)

Spoil = Callable[[Patch], None]

CRASHES: Final = (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError, LocalError)
"""By which a spoilt participant ends; a process would be gone."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One wrong participant.

    Attributes:
        name: what it does wrong.
        spoil: makes it so.
        case: number of the case that must fail.
    """

    name: str
    spoil: Spoil
    case: str


class Place:
    """Our adapter without a process, spoilt while it answers. It stands for `Programs` and for one program."""

    described: Final = Description("mutant", "1", frozenset(Feature))

    def __init__(self, spoil: Spoil = lambda _: None) -> None:
        self._adapter, self._spoil = adapter.Adapter(), spoil

    def take(self, count: int) -> list["Place"]:
        """As of `Programs`."""
        return [self, *(Place(self._spoil) for _ in range(1, count))]

    def restart(self) -> None:
        """As of `Programs`."""
        self._adapter = adapter.Adapter()

    def ask(self, request: Document) -> lines.Answer:
        """As of `Program`."""
        with Patch() as patch:
            self._spoil(patch)
            try:
                return lines.read_answer(self._adapter.answer(request))
            except CRASHES as error:
                raise RemoteError(f"the program ended: {error!r}", culprit="program") from error


# --- what is spoilt -----------------------------------------------------------------------------------------------


def _unchecked(owner: Any, function: str, marker: str) -> Spoil:
    return lambda patch: without_check(patch, owner, function, marker)


def _instead(owner: Any, name: str, value: Any) -> Spoil:
    return lambda patch: patch.setattr(owner, name, value)


def _changed(owner: Any, name: str, change: Callable[[Any], Any]) -> Spoil:
    """What a function gives is changed."""
    honest = getattr(owner, name)

    @wraps(honest)
    def made(*given: Any, **named: Any) -> Any:
        return change(honest(*given, **named))

    return _instead(owner, name, made)


def _every(*spoils: Spoil) -> Spoil:
    def spoil(patch: Patch) -> None:
        for each in spoils:
            each(patch)

    return spoil


class Counted(dict[Any, Any]):
    """Signatures by signer, counted as often as they came."""

    def __init__(self, signatures: Mapping[Any, Any], came: int) -> None:
        super().__init__(signatures)
        self._came = came

    def __len__(self) -> int:
        return self._came


def _counting_repeats(message: Document) -> Any:
    """Reads a proof as a list of signatures."""
    if message["type"] != "ConsistencyProof":
        return _DECODE(message)
    items = [item for part in wire.parts(message) for item in part.signatures]
    return ConsistencyProof(Counted({item.signer: item.signature for item in items}, len(items)))


def _first_part(message: Document) -> Any:
    """Looks at the first part alone, and takes none for an empty message."""
    parts = message["parts"][:1] or [""]
    return _DECODE(message | {"parts": parts})


def _stays(self: Session[Any], message: Any, now: float) -> Any:
    """After an error the state is what it was."""
    state = self._state
    try:
        return _RECEIVE(self, message, now)
    except RemoteError:
        self._state = state
        raise


def _answers_again(self: Session[Any], message: Any, now: float) -> Any:
    """Takes any message that it took before, as after a restart of the coordinator."""
    taken = _TAKEN.setdefault(self, {})
    if type(message) in taken:
        self._state = taken[type(message)]
    if not isinstance(self._state, Ended):
        taken[type(message)] = self._state
    return _RECEIVE(self, message, now)


def _skips_ahead(self: Session[Any], message: Any, now: float) -> Any:
    """In the state that awaits a proof, other survivors are looked at instead."""
    if isinstance(message, SurvivorSet) and isinstance(self._state, AwaitingProof):
        revealed = unmask.reveal(self._state.held, message)
        self._state = Ended.DONE
        return revealed
    return _RECEIVE(self, message, now)


def _proof_unseen(self: AwaitingProof, proof: ConsistencyProof, turn: Any) -> tuple[Ended, Unmask]:
    """Whatever is signed, shares are revealed."""
    return Ended.DONE, unmask.reveal(self.held, self.survivors)


class Repeating:
    """Draws its keys, and what else comes `after` some draws, from a stream that never changes."""

    def __init__(self, after: int = 0) -> None:
        self._left, self._fixed, self._fresh = after, SeededRng(bytes(32)), SystemRng()

    def token(self, size: int) -> bytes:
        """The next value."""
        self._left -= 1
        return self._fixed.token(size) if self._left < 0 else self._fresh.token(size)


class OneSeed(Repeating):
    """Has one b_u for ever."""

    def token(self, size: int) -> bytes:
        """The next value; the third one is b_u."""
        self._left -= 1
        return bytes(range(32)) if self._left == -3 else self._fresh.token(size)


def _constant(secret: Secret, threshold: int, _: Any) -> list[int]:
    return [int.from_bytes(secret.expose(), "big")] + [0] * (threshold - 1)


def _same_noise(first: Secret, second: Secret, threshold: int, holders: Any, rng: Any) -> Any:
    """Both polynomials have the same coefficients but for the secret."""
    seed = rng.token(32)
    one, other = (shamir.share(each, threshold, holders, SeededRng(seed)) for each in (first, second))
    return {x: (one[x], other[x]) for x in one}


def _too_high(secret: Secret, threshold: int, rng: Any) -> list[int]:
    return _POLYNOMIAL(secret, threshold + 1, rng)


def _both_of_one(revealed: Unmask) -> Unmask:
    """The other kind of share for the first owner."""
    (owner, share), *rest = revealed.shares.items()
    return Unmask({owner: MaskKeyShare(share.share), **dict(rest)})


def _one_less(revealed: Unmask) -> Unmask:
    return Unmask(dict(list(revealed.shares.items())[1:]))


def _louder(update: Any) -> Any:
    """Every value is one step larger."""
    honest = update.read
    update.read = lambda start, stop, dtype: honest(start, stop, dtype) + dtype.type(1)
    return update


class _Anything(bytes):
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__


def _in_one(told: Document) -> Document:
    """Messages of one type as the parts of one."""
    first, *others = told["sends"]
    return {"sends": [first | {"parts": [part for each in (first, *others) for part in each["parts"]]}]}


class _Anybody(tuple[str, ...]):
    """As many names, equal to all others."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = tuple.__hash__


class _AnyNumber(int):
    """Equal to every number."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def _all_came_out(memory: Memory) -> Memory:
    """Takes every sum that it remembers for one that came out."""
    for round_id in memory._sums.rounds:
        memory.receive(round_id)
    return memory


def _joins_again(self: FolderStateKeys, round_id: RoundId, participant_id: ParticipantId) -> None:
    """Joins a round that it joined before."""
    with suppress(SavedStateError):
        _JOIN(self, round_id, participant_id)


_ADD_MASKS: Final = masks.add_masks
_IDENTITY: Final = fixtures.identity
_JOIN: Final = FolderStateKeys.join
_DECODE: Final = wire.decode
_RECEIVE: Final = Session.receive
_POLYNOMIAL: Final = shamir._polynomial
_TAKEN: Final[WeakKeyDictionary[Session[Any], dict[Any, Any]]] = WeakKeyDictionary()
_SILENT_ABORT: Final = _instead(Participant, "abort", lambda _: None)

HABITS: Final = (
    # What only a live coordinator sees: it has signatures of others, and programs draw for themselves.
    Mutant(
        "counts one signature t times", _instead(wire, "decode", _counting_repeats), "lie-one-signer-counts-for-all"
    ),
    Mutant(
        "takes a signer who stands there twice", _instead(wire, "decode", _counting_repeats), "lie-one-signer-twice"
    ),
    Mutant(
        "reveals without a look at the signatures",
        _instead(AwaitingProof, "receive", _proof_unseen),
        "lie-two-stories-of-survivors",
    ),
    Mutant(
        "reveals for other survivors while it awaits signatures",
        _instead(Session, "receive", _skips_ahead),
        "lie-survivors-for-the-proof",
    ),
    Mutant(
        "goes on after a refusal",
        _every(_SILENT_ABORT, _instead(Session, "receive", _stays)),
        "lie-signature-on-other-survivors",
    ),
    Mutant("goes on after a message that it could not read", _SILENT_ABORT, "lie-consistency-proof-cut"),
    Mutant(
        "shows its keys for two rosters", _instead(Session, "receive", _answers_again), "lie-restarted-with-the-roster"
    ),
    Mutant("masks its input twice", _instead(Session, "receive", _answers_again), "lie-restarted-with-the-shares"),
    Mutant("signs two sets", _instead(Session, "receive", _answers_again), "lie-restarted-with-the-survivors"),
    Mutant("reveals twice", _instead(Session, "receive", _answers_again), "lie-asked-twice"),
    Mutant(
        "reveals both shares of one owner",
        _instead(Session, "receive", _answers_again),
        "lie-asked-for-the-other-share",
    ),
    Mutant(
        "reads the first part of a message alone", _instead(wire, "decode", _first_part), "lie-survivors-in-two-parts"
    ),
    Mutant("takes no part for a message", _instead(wire, "decode", _first_part), "lie-survivors-in-no-part"),
    Mutant("has the same keys in every round", _instead(adapter, "SystemRng", Repeating), "live-fresh-semi-honest"),
    Mutant("has one self-mask seed for ever", _instead(adapter, "SystemRng", OneSeed), "live-fresh-active"),
    Mutant(
        "deals with the same polynomials in every round",
        _instead(adapter, "SystemRng", partial(Repeating, 3)),
        "live-fresh-semi-honest",
    ),
    Mutant("deals its secrets themselves", _instead(shamir, "_polynomial", _constant), "live-fresh-active"),
    Mutant("deals both secrets with one noise", _instead(shamir, "share_both", _same_noise), "live-fresh-semi-honest"),
    Mutant("deals with a polynomial of degree t", _instead(shamir, "_polynomial", _too_high), "live-fresh-semi-honest"),
    Mutant(
        "deals shares that no digest fits",
        _changed(shares, "pair_digests", lambda digests: digests[::-1]),
        "live-active/1",
    ),
    Mutant(
        "adds another mask of its own",
        _changed(masked_input, "self_mask_key", lambda _: Secret(bytes(32))),
        "live-semi-honest/1",
    ),
    Mutant(
        "adds other masks of pairs",
        _changed(masked_input, "pairwise_mask_key", lambda _: Secret(bytes(32))),
        "live-active/1",
    ),
    Mutant(
        "adds no masks",
        _changed(AwaitingShares, "_masks", lambda _: ()),
        "live-semi-honest/1",
    ),
    Mutant("commits to another seed", _changed(shares, "commit", lambda _: bytes(32)), "live-active/1"),
    Mutant("reveals the other kind of share", _changed(unmask, "reveal", _both_of_one), "live-semi-honest/1"),
    Mutant("reveals no share of one owner", _changed(unmask, "reveal", _one_less), "live-semi-honest/1"),
    Mutant("signs nothing", _instead(Membership, "sign", lambda *_: b""), "live-active/1"),
    Mutant("adds one to every value of noise", _changed(adapter.Joined, "_encoded", _louder), "live-noise/1"),
    Mutant("adds one to every value", _changed(adapter.Joined, "_encoded", _louder), "live-integers-semi-honest/1"),
    Mutant(
        "believes that every id is a group's",
        _instead(GroupedRoundId, "of", classmethod(lambda *_: None)),
        "lie-group-of-another",
    ),
    Mutant(
        "begins its masks anew in each chunk",
        _instead(vector, "add_masks", lambda values, _, masks, suite: _ADD_MASKS(values, 0, masks, suite)),
        "live-integers-chunks/1",
    ),
    Mutant(
        "calls all chunks the parts of one message",
        _changed(adapter, "_sends", _in_one),
        "live-integers-chunks/1",
    ),
    # What the coordinator signs at the end, and what the survivors sign.
    Mutant(
        "does not count the survivors of a receipt",
        _changed(adapter, "decode_receipt", lambda told: replace(told, survivors=_AnyNumber(told.survivors))),
        "lie-receipt-miscounted",
    ),
    Mutant(
        "looks at a receipt's certificate as of its signature alone",
        _unchecked(Receipt, "verify", "C88-now"),
        "lie-receipt-years-later",
    ),
    Mutant(
        "looks at a receipt's certificate as of now alone",
        _instead(receipts, "_signed_at", lambda _: NOW),
        "lie-receipt-from-the-future",
    ),
    Mutant(
        "believes a sum of others",
        _changed(adapter, "decode_aggregate", lambda told: replace(told, survivors=_Anybody(told.survivors))),
        "lie-aggregate-of-another",
    ),
    Mutant(
        "believes a sum of fewer",
        _changed(adapter, "decode_aggregate", lambda told: replace(told, survivors=_Anybody(told.survivors))),
        "lie-aggregate-of-fewer",
    ),
    Mutant(
        "believes a sum that fits its own digest",
        _instead(adapter, "sums_digest", lambda *_: _Anything()),
        "lie-aggregate-that-fits-itself",
    ),
    Mutant("decodes no sum", _instead(Aggregate, "mean", lambda *_: None), "lie-sum-beyond-the-clip"),
    Mutant(
        "takes any weight",
        _unchecked(code, "total_weight", "C32"),
        "lie-sum-of-too-little-weight",
    ),
    Mutant(
        "takes any large weight",
        _unchecked(code, "total_weight", "C32"),
        "lie-sum-of-too-much-weight",
    ),
    Mutant("decodes no counts", _instead(Aggregate, "totals", lambda *_: None), "lie-sum-of-cells-beyond-the-bound"),
    Mutant(
        "looks at no bounds of an array of its own",
        _instead(Aggregate, "totals", lambda *_: None),
        "lie-sum-of-visits-beyond-the-bound",
    ),
    Mutant("signs another result", _instead(Result, "signature", lambda _, __, sign: sign(b"")), "live-signed-result"),
    Mutant(
        "signs a result without being in the committee",
        _instead(Result, "signature", lambda self, _, sign: sign(self.to_sign)),
        "live-signed-by-the-committee",
    ),
    Mutant("calls every result certified", _changed(Result, "is_certified", lambda _: True), "live-certified"),
    Mutant("calls no result certified", _changed(Result, "is_certified", lambda _: False), "live-certified"),
    # What is remembered of earlier sums.
    Mutant("has two sums in one round", _unchecked(Memory, "claim", "second-sum"), "lie-second-sum"),
    Mutant("asks for no sum that came out", _instead(Policy, "check_past", lambda *_: None), "lie-model-again"),
    Mutant("goes with any people", _instead(Policy, "check_cohorts", lambda *_: None), "lie-model-to-others"),
    Mutant(
        "has a sum for one that came out",
        _changed(adapter, "_remembered", _all_came_out),
        "live-model-to-the-same",
    ),
    Mutant(
        "makes no difference between purposes",
        _instead(Release, "question", property(lambda release: (release.model_digest, "train"))),
        "live-model-for-another-purpose",
    ),
    Mutant(
        "takes part once whatever its policy",
        _changed(adapter, "read_policy", lambda policy: replace(policy, once_per_model=True)),
        "live-model-to-more",
    ),
    # Messages of unusual sizes and forms.
    *(
        Mutant(
            f"counts no fields of a {kind}",
            _instead(Budget, "spend", lambda *_: None),
            f"lie-{kind}-of-too-many-fields",
        )
        for kind in ("roster", "share-delivery", "survivors", "consistency-proof")
    ),
    Mutant(
        "sends its own certificate alone",
        _instead(fixtures, "identity", lambda own, scalar, *_: _IDENTITY(own, scalar)),
        "live-chain-of-two",
    ),
    Mutant("restores a state twice", _unchecked(adapter, "restore", "restored-once"), "lie-state-restored-twice"),
    Mutant("restores an older state", _unchecked(adapter, "restore", "restored-once"), "lie-state-older"),
    Mutant("joins a round twice", _instead(FolderStateKeys, "join", _joins_again), "lie-state-joined-twice"),
    Mutant(
        "believes every sum",
        _every(
            _unchecked(IncomingAggregate, "finish", "C31"), _instead(adapter, "sums_digest", lambda *_: _Anything())
        ),
        "lie-aggregate-altered",
    ),
)


def _lies() -> Iterator[Mutant]:
    """The checks that `test_teeth.py` takes out, where the same lie is told live."""
    told = EVERY.keys()
    for slug, owner, function, marker in CHECKS:
        if f"lie-{slug}" in told and marker != "C31":  # the adapter has it a second time
            yield Mutant(f"no check {marker} ({slug})", _unchecked(owner, function, marker), f"lie-{slug}")
    for slug, owner, function, instead in FUNCTIONS:
        if f"lie-{slug}" in told:
            yield Mutant(f"no {function} ({slug})", _instead(owner, function, instead), f"lie-{slug}")


EVERY: Final[Mapping[str, Case]] = {case.number: case for case in cases()}
MUTANTS: Final = (*HABITS, *_lies())


def verdict(case: str, spoil: Spoil) -> tuple[Verdict, str]:
    """What comes of a case that is played on a participant that is spoilt so."""
    [judged] = judge([EVERY[case]], Place(spoil), frozenset(Feature), {})  # type: ignore[arg-type]
    return judged.verdict, judged.text


def main() -> int:
    """Print the table; how many mutants nobody noticed."""
    table, passed = Table("Mutant", "Case", "What the runner says"), 0
    for mutant in MUTANTS:
        found, text = verdict(mutant.case, mutant.spoil)
        passed += found is not Verdict.FAILED
        table.add_row(mutant.name, mutant.case, text if found is Verdict.FAILED else f"[red]{found.value}")
    console = Console(width=180)
    console.print(table)
    console.print(f"{len(MUTANTS) - passed} of {len(MUTANTS)} mutants were noticed.")
    return passed


if __name__ == "__main__":
    sys.exit(main() > 0)
