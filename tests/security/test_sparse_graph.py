"""What a coordinator may not do on a ring (C102 to C108), and what a member may not (C110): each with a twin."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from secagg import roster as rosters
from secagg.config import RoundConfig
from secagg.context import Round, RoundId, bind
from secagg.crypto.agreement import KeyPair
from secagg.crypto.rng import SeededRng
from secagg.errors import AuthenticationError, LocalError, ProtocolViolation, SecAggError
from secagg.events import Accused
from secagg.masked import consistency_check, masked_input, survivors, unmask
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    CoordinatorMessage,
    Index,
    Leave,
    LeaveReason,
    Member,
    ParticipantId,
    Phase,
    Roster,
    ShareDelivery,
    SurvivorSet,
)
from secagg.policy import Policy
from secagg.rounds import checked_roster
from secagg.rounds.accusations import Accusations, most_liars
from secagg.rounds.certification import Certification, Result
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.graph import neighbourhoods
from secagg.rounds.members import shown_to
from secagg.rounds.membership import Membership
from secagg.sparse.finder import find_ring
from secagg.sparse.ring import Ring
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Down, Envelope, Run, Up
from secagg.wire.configuration import encode_config
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, make_config, start

PEOPLE = 20
NAMES = participant_names(PEOPLE)
VICTIM, OWN = NAMES[6], Index(7)
RING = Ring(degree=12, neighbour_threshold=8, committee=9, committee_threshold=5, min_participants=14)
FOLLOWING = Ring(degree=8, neighbour_threshold=4, min_participants=14)
TAKEN = "taken"


def active(**changed: Any) -> RoundConfig:
    return replace(make_config(PEOPLE, ACTIVE, threshold=13, max_colluding=0, graph=RING), **changed)


# --- the roster -------------------------------------------------------------------------------------------------------


@dataclass
class Cohort:
    """Members with fresh keys, and the roster that one of them is shown."""

    people: int = PEOPLE

    def __post_init__(self) -> None:
        self.config = make_config(PEOPLE, SEMI_HONEST, threshold=13, max_colluding=0, graph=FOLLOWING)
        rng, round_id = SeededRng(b"c" * 32), RoundId(bytes(16))
        self.round = Round(round_id, self.config, bind(round_id, encode_config(self.config), bytes(32)))
        self.keys = {
            name: AdvertiseKeys(KeyPair.generate(rng).public, KeyPair.generate(rng).public)
            for name in NAMES[: self.people]
        }
        self.rng = rng

    def whole(self) -> Roster:
        roster = rosters.assign(self.keys)
        return replace(roster, listing=rosters.listing_of(roster.members))

    def shown(self, whole: Roster) -> Roster:
        """What the victim is shown of a roster: the entries of the ring that follows from its list."""
        return shown_to(OWN, self.graph(whole), whole)

    def graph(self, whole: Roster) -> Any:
        return neighbourhoods(self.round.of_members(rosters.roster_digest(whole)), len(rosters.names_of(whole)))

    def check(self, roster: Roster) -> str:
        """What comes of it when the victim checks the roster: the text of the refusal, or TAKEN."""
        policy = Policy(threat_models=frozenset({SEMI_HONEST}), min_colluding_share=0.0)
        membership = Membership(self.round, VICTIM, policy, self.rng, None)
        try:
            CheckedRoster.check(membership, roster, self.keys[VICTIM], NOW, signed=False)
        except ProtocolViolation as error:
            return f"{error.culprit}: {error}"
        return TAKEN


def honest() -> tuple[Cohort, Roster]:
    cohort = Cohort()
    return cohort, cohort.shown(cohort.whole())


def too_small() -> tuple[Cohort, Roster]:
    cohort = Cohort(people=13)
    return cohort, cohort.shown(cohort.whole())


def an_id_twice() -> tuple[Cohort, Roster]:
    """Whoever stands on the ring in two places may count twice."""
    cohort = Cohort()
    members = list(cohort.whole().members)
    members[1] = replace(members[1], participant_id=members[0].participant_id)
    whole = Roster(tuple(members), rosters.listing_of(members))
    return cohort, cohort.shown(whole)


def one_entry_more() -> tuple[Cohort, Roster]:
    cohort = Cohort()
    whole = cohort.whole()
    shown = cohort.shown(whole)
    extra = next(m for m in whole.members if m not in shown.members)
    return cohort, replace(shown, members=(*shown.members, extra))


def one_entry_fewer() -> tuple[Cohort, Roster]:
    cohort, shown = honest()
    return cohort, replace(shown, members=tuple(m for m in shown.members if m.index != shown.members[0].index))


def other_neighbours() -> tuple[Cohort, Roster]:
    """The coordinator chooses who surrounds the victim."""
    cohort = Cohort()
    whole = cohort.whole()
    wanted = [m for m in whole.members if m.index == OWN or m not in cohort.shown(whole).members][:9]
    return cohort, Roster(tuple(wanted), whole.listing)


def other(change: Callable[[Member], Member]) -> tuple[Cohort, Roster]:
    """The entry of the first neighbour is changed, and the list is not."""
    cohort, shown = honest()
    first, *rest = shown.members if shown.members[0].index != OWN else shown.members[::-1]
    return cohort, replace(shown, members=(change(first), *rest))


def keys_of_the_coordinator() -> tuple[Cohort, Roster]:
    made = KeyPair.generate(SeededRng(b"m" * 32)).public
    return other(lambda m: replace(m, keys=replace(m.keys, mask_public_key=made)))


def under_another_name() -> tuple[Cohort, Roster]:
    """The list says one name, and the entry whose digest stands beside it another."""
    cohort = Cohort()
    members = list(cohort.whole().members)
    listing = rosters.listing_of(members)
    for place in range(PEOPLE):
        names = tuple(ParticipantId(f"{name}-x") if i == place else name for i, name in enumerate(listing.ids))
        whole = Roster(tuple(members), replace(listing, ids=names))
        shown = cohort.shown(whole)
        if place + 1 != OWN and any(m.index == place + 1 for m in shown.members):
            return cohort, shown
    raise AssertionError("nobody is a neighbour")


def an_entry_twice() -> tuple[Cohort, Roster]:
    cohort, shown = honest()
    signed_again = replace(shown.members[0], keys=replace(shown.members[0].keys, signature=b"again"))
    return cohort, replace(shown, members=(*shown.members, signed_again))


CASES: list[tuple[Callable[[], tuple[Cohort, Roster]], tuple[object, str, str], str]] = [
    (too_small, (rosters, "check", "C102-size"), "a roster of 13; the round wants at least 14"),
    (an_id_twice, (rosters, "check", "C102-ids"), "not distinct and sorted"),
    (one_entry_more, (checked_roster, "_check_entries", "C103"), "not those of our neighbours"),
    (one_entry_fewer, (checked_roster, "_check_entries", "C103"), "not those of our neighbours"),
    (other_neighbours, (checked_roster, "_check_entries", "C103"), "not those of our neighbours"),
    (keys_of_the_coordinator, (rosters, "_check_listed", "C104"), "is not the one in the list"),
    (under_another_name, (rosters, "_check_listed", "C104-ids"), "in the place of another member"),
]


def test_an_honest_roster_is_taken() -> None:
    cohort, shown = honest()
    assert cohort.check(shown) == TAKEN


@pytest.mark.parametrize(("make", "check", "says"), CASES)
def test_a_bad_roster_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], tuple[Cohort, Roster]],
    check: tuple[object, str, str],
    says: str,
) -> None:
    """And without its check it is taken."""
    cohort, shown = make()
    told = cohort.check(shown)
    assert told.startswith("coordinator: ")
    assert says in told
    without_check(monkeypatch, *check)
    assert cohort.check(shown) == TAKEN


def test_an_entry_twice_is_refused_before_its_keys_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, shown = an_entry_twice()
    assert "not distinct places" in cohort.check(shown)
    without_check(monkeypatch, rosters, "_check_listed", "C104-indices")
    assert "stands twice" in cohort.check(shown)


def test_an_index_outside_of_the_list_is_refused() -> None:
    cohort, shown = honest()
    for index in (0, PEOPLE + 1):
        far = replace(shown, members=(*shown.members, replace(shown.members[0], index=Index(index))))
        assert "not distinct places" in cohort.check(far)


def test_a_roster_of_another_graph_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, _ = honest()
    whole = cohort.whole()
    assert "another graph" in cohort.check(Roster(whole.members))
    cohort.config = replace(cohort.config, graph=make_config(PEOPLE).graph)
    cohort.round = replace(cohort.round, config=cohort.config)
    assert cohort.check(Roster(whole.members)) == TAKEN
    assert "another graph" in cohort.check(whole)
    without_check(monkeypatch, rosters, "check", "C102-listing")
    assert cohort.check(whole) == TAKEN


def test_a_signature_changes_no_ring() -> None:
    """Whoever signs can make many signatures of the same keys: none of them is another try."""
    cohort = Cohort()
    before = cohort.whole()
    again = [replace(m, keys=replace(m.keys, signature=b"another")) for m in before.members]
    assert rosters.roster_digest(Roster(tuple(again), rosters.listing_of(again))) == rosters.roster_digest(before)


@pytest.mark.parametrize("field", ["channel_public_key", "mask_public_key", "certificates"])
def test_everything_else_of_an_entry_does(field: str) -> None:
    cohort = Cohort()
    before = cohort.whole()
    change: dict[str, Any] = {field: (b"x",) if field == "certificates" else bytes(31) + b"\x09"}
    members = (replace(before.members[0], keys=replace(before.members[0].keys, **change)), *before.members[1:])
    after = Roster(members, rosters.listing_of(members))
    assert rosters.roster_digest(after) != rosters.roster_digest(before)
    assert cohort.graph(after) != cohort.graph(before)


def test_two_lists_of_members_share_no_mask_and_open_no_seal() -> None:
    round_ = Cohort().round
    one, two = round_.of_members(bytes(32)), round_.of_members(b"x" * 32)
    assert one.seal_context != two.seal_context
    assert one.mask_context != two.mask_context
    complete = replace(round_, config=make_config(4, SEMI_HONEST))
    assert complete.of_members(bytes(32)).seal_context == complete.context


# --- later messages of the coordinator --------------------------------------------------------------------------------


def told(change: Callable[[CoordinatorMessage, Run], CoordinatorMessage], seed: int = 0) -> Run:
    """A played round in which the victim is told something else than the others."""
    run = start(active(), seed=seed)

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Down) and envelope.participant == VICTIM:
            return (replace(envelope, message=change(envelope.message, run)),)
        return (envelope,)

    run.hook = hook
    run.play()
    return run


def refusal(run: Run) -> SecAggError | None:
    return run.errors.get(VICTIM)


def few_shares(message: CoordinatorMessage, run: Run) -> CoordinatorMessage:
    if isinstance(message, ShareDelivery):
        return replace(message, sealed=dict(list(message.sealed.items())[:6]))
    return message


def test_fewer_shares_than_open_a_secret_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = refusal(told(few_shares))
    assert isinstance(found, ProtocolViolation)
    assert "shares of 7 participants are below threshold 8" in str(found)
    without_check(monkeypatch, masked_input.AwaitingShares, "receive", "C106")
    assert "those who shared keys" in str(refusal(told(few_shares))), "it masks its input with six neighbours alone"


def a_neighbour_forgotten(message: CoordinatorMessage, run: Run) -> CoordinatorMessage:
    """One neighbour that shared keys is neither a survivor nor dropped."""
    if not isinstance(message, SurvivorSet):
        return message
    near = run.coordinator._state.graph.of(OWN)[0]
    return replace(message, survivors=tuple(i for i in message.survivors if i != near))


def test_survivors_without_a_neighbour_that_shared_keys_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = refusal(told(a_neighbour_forgotten))
    assert isinstance(found, ProtocolViolation)
    assert "not those who shared keys" in str(found)
    without_check(monkeypatch, survivors.AwaitingSurvivors, "check", "C107")
    assert "not those who shared keys" not in str(refusal(told(a_neighbour_forgotten)))


def a_stranger_survived(message: CoordinatorMessage, run: Run) -> CoordinatorMessage:
    if isinstance(message, SurvivorSet):
        return replace(message, survivors=(*message.survivors, Index(PEOPLE + 1)))
    return message


def test_survivors_are_members_of_the_whole_list() -> None:
    assert "are not on the roster" in str(refusal(told(a_stranger_survived)))


def few_signatures(message: CoordinatorMessage, run: Run) -> CoordinatorMessage:
    if isinstance(message, ConsistencyProof):
        return ConsistencyProof(dict(list(message.signatures.items())[:4]))
    return message


def signed_by_another(message: CoordinatorMessage, run: Run) -> CoordinatorMessage:
    """A survivor that is not in the committee stands among the signers."""
    if not isinstance(message, ConsistencyProof):
        return message
    stranger = next(i for i in range(1, PEOPLE + 1) if i not in run.coordinator._state.graph.committee)
    return ConsistencyProof({**message.signatures, Index(stranger): next(iter(message.signatures.values()))})


def of_other_sets(message: CoordinatorMessage, run: Run) -> CoordinatorMessage:
    """The victim is told that a far member dropped, and the committee signed that it survived."""
    if isinstance(message, SurvivorSet):
        gone = far(run)[0]
        return SurvivorSet(tuple(i for i in message.survivors if i != gone), (gone,))
    return message


def far(run: Run) -> list[Index]:
    """Who is neither a neighbour of the victim nor in the committee."""
    graph = run.coordinator._state.graph
    return [i for i in graph.order if i not in {OWN, *graph.of(OWN), *graph.committee}]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (few_signatures, ProtocolViolation, "4 signatures are below threshold 5"),
        (signed_by_another, ProtocolViolation, "signed, who are no survivors"),
    ],
)
def test_a_proof_that_is_not_the_committees_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[CoordinatorMessage, Run], CoordinatorMessage],
    error: type[SecAggError],
    says: str,
) -> None:
    run = told(change)
    assert isinstance(refusal(run), error)
    assert says in str(refusal(run))
    without_check(monkeypatch, unmask.AwaitingProof, "receive", "C108")
    assert refusal(told(change)) is None, "it reveals its shares"


def test_who_was_told_other_sets_reveals_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its neighbours it is told the truth, so nothing that it knows itself shows the lie: the committee does."""
    for seed in range(20):
        run = start(active(), seed=seed)
        if OWN not in run.play()._state.graph.committee and far(run):
            break
    assert isinstance(refusal(told(of_other_sets, seed)), AuthenticationError)
    without_check(monkeypatch, unmask.AwaitingProof, "receive", "C108")
    assert refusal(told(of_other_sets, seed)) is None


# --- messages of members ----------------------------------------------------------------------------------------------


def spoken(change: Callable[[Envelope, Run], Envelope], config: RoundConfig | None = None) -> Run:
    run = start(config or active())
    run.hook = lambda envelope: (change(envelope, run),)
    run.play()
    return run


def an_outsider_signs(envelope: Envelope, run: Run) -> Envelope:
    if isinstance(envelope, Up) and isinstance(envelope.message, ConsistencyCheck) and not envelope.message.signature:
        return replace(envelope, message=ConsistencyCheck(b"\x30\x00"))
    return envelope


def test_only_the_committee_signs_survivors(monkeypatch: pytest.MonkeyPatch) -> None:
    run = spoken(an_outsider_signs)
    assert {str(error).partition(" ")[2] for _, error in run.refused} == {"signed, and is not in the committee"}
    without_check(monkeypatch, consistency_check.ConsistencyCheckPhase, "check", "C110")
    assert not spoken(an_outsider_signs).refused


def a_member_keeps_silent(envelope: Envelope, run: Run) -> Envelope:
    if isinstance(envelope, Up) and isinstance(envelope.message, ConsistencyCheck):
        return replace(envelope, message=ConsistencyCheck(b""))
    return envelope


def test_the_committee_does_not_send_an_empty_signature() -> None:
    run = spoken(a_member_keeps_silent)
    assert len(run.refused) == 9
    assert run.coordinator.aggregate is None


def test_only_the_committee_signs_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(active(certify=True))
    engine = run.play()
    result = Result.of(engine.round, engine.roster, NAMES, bytes(32))
    outsider = next(name for name in NAMES if name in result.others)
    assert len(result.signers) == 9
    assert result.threshold == 5
    certification = Certification(result, result.signers)
    certification.receive(outsider, b"")
    with pytest.raises(ProtocolViolation, match="not in the committee"):
        certification.receive(outsider, b"\x30\x00")
    without_check(monkeypatch, Certification, "check", "C110-result")
    certification.receive(outsider, b"\x30\x00")
    assert not certification.proof().signatures
    with pytest.raises(LocalError):
        result.signature(next(iter(result.signers.values()))[0], _refusing)
    assert result.signature(outsider, _refusing) == b""


def test_a_result_waits_for_no_signature_of_who_does_not_sign() -> None:
    engine = start(active(certify=True)).play()
    result = Result.of(engine.round, engine.roster, NAMES, bytes(32))
    everyone = {Index(i) for i in range(1, PEOPLE + 1)}
    assert not Certification(result, everyone).closed
    assert Certification(result, everyone - set(result.signers)).closed


def _refusing(message: bytes) -> bytes:
    raise LocalError("signed")


def test_of_neighbours_fewer_are_liars_than_of_all() -> None:
    """Only k members can accuse one on a ring: as many as n_C of them would never be there."""
    for active in (True, False):
        ring = find_ring(max_participants=1000, max_colluding=100, threshold=700, active=active)
        model = ACTIVE if active else SEMI_HONEST
        config = make_config(1000, model, threshold=700, max_colluding=100, graph=ring)
        assert 1 <= most_liars(config) < min(100, ring.degree)
        assert most_liars(replace(config, max_colluding=1)) == 1
    assert most_liars(make_config(1000, max_colluding=100)) == 100


def accused_in_masked_input(*, by_neighbours: bool) -> Run:
    """Everyone near the victim, or everyone else, leaves with an accusation in place of its input."""
    run = start(make_config(PEOPLE, ACTIVE, threshold=13, max_colluding=0, graph=RING))

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and envelope.phase is Phase.MASKED_INPUT and envelope.participant != VICTIM:
            near_victim = {NAMES[i - 1] for i in run.coordinator._state.graph.of(OWN)}
            if (envelope.participant in near_victim) is by_neighbours:
                return (replace(envelope, message=Leave(LeaveReason.REFUSED, VICTIM)),)
        return (envelope,)

    run.hook = hook
    run.play()
    return run


def test_more_accusers_than_can_be_liars_name_a_member() -> None:
    run = accused_in_masked_input(by_neighbours=True)
    failure = run.coordinator.failure
    assert failure is not None
    assert len([event for event in run.events if isinstance(event, Accused)]) == 12
    assert failure.accused == (VICTIM,)


def test_nobody_accuses_a_member_that_dealt_nothing_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all colluders of a cohort more may be liars than of one member's neighbours."""
    run = accused_in_masked_input(by_neighbours=False)
    failure = run.coordinator.failure
    assert failure is not None
    assert not [event for event in run.events if isinstance(event, Accused)]
    assert failure.accused == ()
    without_check(monkeypatch, Accusations, "hear", "accused-dealt-to-accuser")
    failure = accused_in_masked_input(by_neighbours=False).coordinator.failure
    assert failure is not None
    assert failure.accused == (VICTIM,)
