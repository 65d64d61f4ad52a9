"""How a round begins and who is waited for: deadlines, who is expected, excluded, leaves, comes again or has expired.

The coordinator's engine alone, with a clock that the test moves.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from secagg.config import Deadlines, RoundConfig, ThreatModel
from secagg.context import Round
from secagg.crypto.authority import Authority, create_authority, issue_participant
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import SystemRng
from secagg.errors import AbortReason, ConfigError, NotInRoundError, ProtocolViolation, RoundAborted
from secagg.events import DropReason, Event, MessageAccepted, ParticipantDropped, PhaseStarted, RoundFailed
from secagg.lattice.parameters import Custody, Scheme
from secagg.masked import scheme as masked
from secagg.masked.ranges import one_after_the_other
from secagg.messages import AdvertiseKeys, Leave, LeaveReason, ParticipantId, Phase
from secagg.policy import Policy
from secagg.rounds import advertise_keys
from secagg.rounds.advertise_keys import EXPIRY_MARGIN, MAX_COMINGS, AdvertiseKeysPhase
from secagg.rounds.engine import Engine
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.releases import nothing_before
from secagg.rounds.uploads import MemorySpool
from secagg.schemes import coordinate
from secagg.tools.simulation.cohort import participant_names
from tests.encrypted_rounds import encrypted_config
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment, make_config, start

NAMES = participant_names(8)
ADVERTISE = Phase.ADVERTISE_KEYS
DEADLINES = Deadlines(10.0, 20.0, 30.0, 40.0, 50.0)


def config_of(participants: int = 5, threshold: int = 3, *, join_s: float = 0.0) -> RoundConfig:
    made = make_config(participants, SEMI_HONEST, threshold=threshold, max_colluding=0)
    return replace(made, deadlines=replace(DEADLINES, join_s=join_s))


class Stage:
    """A semi-honest round's coordinator and the keys of participants that follow the protocol."""

    def __init__(self, config: RoundConfig) -> None:
        self.run = start(config, people=min(config.max_participants + 2, 8))
        self.round: Round = self.run.coordinator.round
        self.engine: Engine = masked.coordinator(self.round, now=NOW, spool=MemorySpool())
        self.now = NOW

    def keys(self, name: ParticipantId) -> AdvertiseKeys:
        return self.run.participants[name].advertisement

    def come(self, *names: ParticipantId) -> list[Event]:
        return [event for name in names for event in self.engine.receive(name, self.keys(name), self.now)]

    def leave(self, *names: ParticipantId) -> list[Event]:
        leave = Leave(LeaveReason.CANCELLED)
        return [event for name in names for event in self.engine.receive(name, leave, self.now)]

    def share(self, *names: ParticipantId) -> None:
        for name in names:
            roster = self.engine.answer(name, ADVERTISE)
            reply = self.run.participants[name].receive(roster, NOW)
            self.engine.receive(name, reply, self.now)  # type: ignore[arg-type]

    def pass_deadline(self) -> list[Event]:
        self.now = self.engine.deadline
        return self.engine.tick(self.now)


def dropped(events: Iterable[Event]) -> dict[ParticipantId, DropReason]:
    return {e.participant: e.reason for e in events if isinstance(e, ParticipantDropped)}


# --- deadlines --------------------------------------------------------------------------------------------------------


def test_the_first_phase_begins_with_the_first_participant() -> None:
    stage = Stage(config_of(join_s=3600.0))
    assert stage.engine.started() == PhaseStarted(ADVERTISE, NOW + 3600, 5)
    stage.now = NOW + 3000
    assert stage.engine.tick(stage.now) == []
    assert stage.come(NAMES[0]) == [
        PhaseStarted(ADVERTISE, NOW + 3010, 5),
        MessageAccepted(ADVERTISE, NAMES[0]),
    ]
    stage.now += 5
    assert stage.come(NAMES[1]) == [MessageAccepted(ADVERTISE, NAMES[1])]
    assert stage.engine.deadline == NOW + 3010
    stage.come(NAMES[2])
    assert stage.engine.tick(NOW + 3009.9) == []
    stage.pass_deadline()
    assert stage.engine.phase is Phase.SHARE_KEYS


def test_without_join_s_the_first_phase_begins_with_the_round() -> None:
    stage = Stage(config_of())
    assert stage.engine.started() == PhaseStarted(ADVERTISE, NOW + 10, 5)
    stage.now += 5
    assert stage.come(NAMES[0]) == [MessageAccepted(ADVERTISE, NAMES[0])]
    assert stage.engine.deadline == NOW + 10


@pytest.mark.parametrize(
    ("join_s", "come", "limit"),
    [(0.0, 0, "advertise_keys_s is 10 s"), (7.0, 0, "join_s is 7 s"), (7.0, 2, "advertise_keys_s is 10 s")],
)
def test_a_round_that_ends_by_its_first_deadline_names_the_setting(join_s: float, come: int, limit: str) -> None:
    stage = Stage(config_of(join_s=join_s))
    stage.come(*NAMES[:come])
    (failed,) = stage.pass_deadline()
    assert isinstance(failed, RoundFailed)
    for text in (str(failed.error), str(refusal(stage, NAMES[4]))):  # the FL server's, and whoever comes too late
        assert text.startswith(f"{come} participants delivered in AdvertiseKeys, fewer than the threshold 3 when its ")
        assert limit in text
        assert "raise join_s or advertise_keys_s" in text


def refusal(stage: Stage, name: ParticipantId) -> Exception:
    with pytest.raises((RoundAborted, NotInRoundError)) as refused:
        stage.come(name)
    return refused.value


def test_whoever_comes_too_late_is_told_which_deadline_passed() -> None:
    stage = Stage(config_of())
    stage.come(*NAMES[:4])
    stage.pass_deadline()
    assert "it closed when its deadline passed (advertise_keys_s is 10 s)" in str(refusal(stage, NAMES[5]))
    stage.share(*NAMES[:3])
    stage.pass_deadline()
    with pytest.raises(NotInRoundError, match=r"did not deliver in ShareKeys .* \(share_keys_s is 20 s\)"):
        stage.share(NAMES[3])
    full = Stage(config_of())
    full.come(*NAMES[:5])
    assert "it closed when all had delivered" in str(refusal(full, NAMES[5]))


# --- who is expected --------------------------------------------------------------------------------------------------


def test_keys_are_advertised_until_all_expected_have_come_and_not_longer() -> None:
    stage = Stage(config_of())
    assert stage.engine.expect(NAMES[:4], NOW) == [PhaseStarted(ADVERTISE, NOW + 10, 4)]
    assert stage.engine.expect(NAMES[:4], NOW) == []
    stage.come(*NAMES[:3])
    assert stage.engine.phase is ADVERTISE
    assert stage.come(NAMES[3])[1:] == [PhaseStarted(Phase.SHARE_KEYS, NOW + 20, 4)]


def test_all_may_have_come_before_they_are_expected() -> None:
    stage = Stage(config_of())
    stage.come(*NAMES[:3])
    assert stage.engine.expect(NAMES[:3], NOW)[-1] == PhaseStarted(Phase.SHARE_KEYS, NOW + 20, 3)


def test_the_deadline_stands_whoever_is_expected() -> None:
    stage = Stage(config_of())
    stage.engine.expect(NAMES[:4], NOW)
    stage.come(*NAMES[:3])
    stage.pass_deadline()
    assert stage.engine.phase is Phase.SHARE_KEYS


def test_places_are_kept_for_whom_is_expected() -> None:
    stage = Stage(config_of())
    stage.engine.expect(NAMES[:4], NOW)
    stage.come(NAMES[5])  # room for five
    assert "no place for" in str(refusal(stage, NAMES[6]))
    stage.come(*NAMES[:4])
    assert stage.engine.phase is Phase.SHARE_KEYS


def test_uninvited_participants_take_all_places_without_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin."""
    monkeypatch.setattr(AdvertiseKeysPhase, "_check_room", lambda *_: None)
    stage = Stage(config_of(threshold=3))
    stage.engine.expect(NAMES[:3], NOW)
    stage.come(*NAMES[3:7], NAMES[0])
    assert set(stage.engine._members.index) & set(NAMES[:3]) == {NAMES[0]}


@pytest.mark.parametrize("count", [2, 6])
def test_expecting_fewer_than_the_threshold_or_more_than_the_room_is_refused(count: int) -> None:
    stage = Stage(config_of())
    with pytest.raises(ConfigError, match=f"{count} participants are expected; the round needs 3 and admits 5"):
        stage.engine.expect(NAMES[:count], NOW)
    assert stage.engine._joining.expected == frozenset()


def test_nobody_is_expected_once_the_list_is_closed() -> None:
    stage = Stage(config_of())
    stage.come(*NAMES[:5])
    with pytest.raises(ProtocolViolation, match="the list of members is closed"):
        stage.engine.expect(NAMES[:3], NOW)


# --- who is gone ------------------------------------------------------------------------------------------------------


def test_nobody_waits_for_the_excluded_in_the_first_phase() -> None:
    stage = Stage(config_of())
    stage.engine.expect(NAMES[:5], NOW)
    stage.come(*NAMES[:4])
    events = stage.engine.exclude([NAMES[4], NAMES[3]], NOW)  # one who has not come, and one who came and died
    assert dropped(events) == {NAMES[3]: DropReason.EXCLUDED, NAMES[4]: DropReason.EXCLUDED}
    assert events[-1] == PhaseStarted(Phase.SHARE_KEYS, NOW + 20, 3)
    assert set(stage.engine._members.index) == set(NAMES[:3])
    assert stage.engine.exclude([NAMES[3]], NOW) == []


def test_the_excluded_are_told_so_in_every_phase() -> None:
    stage = Stage(config_of())
    stage.engine.exclude([NAMES[0]], NOW)
    with pytest.raises(NotInRoundError, match="was excluded from this round: its FL server says that it is gone"):
        stage.come(NAMES[0])
    stage.come(*NAMES[1:5])
    assert stage.engine.phase is Phase.SHARE_KEYS  # 4 of 5, and the fifth is known to be gone
    reply = stage.run.participants[NAMES[1]].receive(stage.engine.answer(NAMES[1], ADVERTISE), NOW)
    stage.engine.exclude([NAMES[1]], NOW)
    with pytest.raises(NotInRoundError, match="was excluded"):
        stage.engine.answer(NAMES[1], ADVERTISE)
    with pytest.raises(NotInRoundError, match="was excluded"):
        stage.engine.receive(NAMES[1], reply, NOW)  # type: ignore[arg-type]
    stage.share(NAMES[2])


def test_nobody_waits_for_the_excluded_in_later_phases() -> None:
    stage = Stage(config_of())
    stage.come(*NAMES[:5])
    stage.share(*NAMES[:3])
    events = stage.engine.exclude(NAMES[3:5], NOW)
    assert dropped(events) == {NAMES[3]: DropReason.EXCLUDED, NAMES[4]: DropReason.EXCLUDED}
    assert events[-1] == PhaseStarted(Phase.MASKED_INPUT, NOW + 30, 3)


def test_what_the_excluded_delivered_stands() -> None:
    stage = Stage(config_of())
    stage.come(*NAMES[:5])
    stage.share(*NAMES[:4])
    assert stage.engine.exclude([NAMES[0]], NOW) == []
    stage.now += 1
    stage.share(NAMES[4])
    assert stage.engine.phase is Phase.MASKED_INPUT
    assert stage.engine._expected == {stage.engine._members.index[name] for name in NAMES[1:5]}
    assert stage.engine._units[Phase.SHARE_KEYS].delivered(stage.engine._members.index[NAMES[0]])


@pytest.mark.parametrize("phase", [ADVERTISE, Phase.SHARE_KEYS])
def test_a_round_with_too_few_left_ends_at_once(phase: Phase) -> None:
    stage = Stage(config_of())
    if phase is ADVERTISE:
        stage.engine.expect(NAMES[:5], NOW)
        stage.come(NAMES[0])
    else:
        stage.come(*NAMES[:5])
    events = stage.engine.exclude(NAMES[2:5], NOW)
    assert isinstance(events[-1], RoundFailed)
    assert events[-1].error.reason is AbortReason.BELOW_THRESHOLD
    assert str(events[-1].error) == f"2 participants are left in {phase}, fewer than the threshold 3"
    assert stage.engine.over


@pytest.mark.parametrize("custody", list(Custody))
def test_excluding_works_in_homomorphic_rounds(custody: Custody) -> None:
    config = replace(encrypted_config(Scheme.BFV, custody, threshold=4, max_colluding=0), deadlines=DEADLINES)
    run_names = NAMES[: config.max_participants]
    made = deployment()
    round_ = start(make_config(config.max_participants)).coordinator.round
    round_ = replace(round_, config=config)
    engine = coordinate(
        round_, now=NOW, trust=made.trust, spool=MemorySpool(), workers=one_after_the_other, claim=nothing_before
    )
    engine.expect(run_names, NOW)
    events = engine.exclude(run_names[: config.max_participants - config.threshold + 1], NOW)
    assert isinstance(events[-1], RoundFailed)


# --- who leaves -------------------------------------------------------------------------------------------------------


def test_who_has_left_is_not_waited_for() -> None:
    stage = Stage(config_of(4))
    stage.come(NAMES[0])
    assert dropped(stage.leave(NAMES[0])) == {NAMES[0]: DropReason.CANCELLED}
    stage.come(*NAMES[1:3])
    assert stage.engine.phase is ADVERTISE
    stage.come(NAMES[3])
    assert stage.engine.phase is Phase.SHARE_KEYS


def test_who_leaves_last_is_not_waited_for_either() -> None:
    stage = Stage(config_of(4))
    stage.come(*NAMES[:3])
    events = stage.leave(NAMES[3])  # refuses the round: it never came
    assert events[-1] == PhaseStarted(Phase.SHARE_KEYS, NOW + 20, 3)


def test_too_few_are_waited_for_though_some_have_left() -> None:
    """Others may take the places."""
    stage = Stage(config_of(4))
    stage.come(*NAMES[:2])
    stage.leave(NAMES[2], NAMES[3])
    assert stage.engine.phase is ADVERTISE
    stage.come(NAMES[4])
    assert stage.engine.phase is Phase.SHARE_KEYS


def test_who_left_before_the_fl_server_says_who_will_come_is_not_waited_for() -> None:
    stage = Stage(config_of())
    stage.leave(NAMES[3])
    stage.engine.expect(NAMES[:4], NOW)
    assert stage.engine._joining.to_come == set(NAMES[:3])
    stage.come(*NAMES[:3])
    assert stage.engine.phase is Phase.SHARE_KEYS


def test_a_round_waits_for_who_has_left_without_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: counted by places alone, three of four wait for the deadline."""
    full = property(lambda self: len(self.advertised) == self.round.config.max_participants)
    monkeypatch.setattr(AdvertiseKeysPhase, "complete", full)
    stage = Stage(config_of(4))
    stage.come(NAMES[0])
    stage.leave(NAMES[0])
    stage.come(*NAMES[1:4])
    assert stage.engine.phase is ADVERTISE


# --- who comes again --------------------------------------------------------------------------------------------------


def other_keys(stage: Stage, name: ParticipantId) -> AdvertiseKeys:
    """What another process of the participant makes."""
    return (
        start(stage.round.config, people=len(stage.run.participants), rng=SystemRng()).participants[name].advertisement
    )


def test_a_second_process_is_refused_by_name_and_the_first_stays() -> None:
    stage = Stage(config_of())
    stage.come(*NAMES[:2])
    other = other_keys(stage, NAMES[0])
    assert stage.engine.replaces(NAMES[0], other)
    assert not stage.engine.replaces(NAMES[0], stage.keys(NAMES[0]))
    assert not stage.engine.replaces(NAMES[2], stage.keys(NAMES[2]))
    with pytest.raises(ProtocolViolation, match="another process with its certificate takes part") as refused:
        stage.engine.receive(NAMES[0], other, NOW)
    assert refused.value.culprit == NAMES[0]
    assert stage.engine.receive(NAMES[0], stage.keys(NAMES[0]), NOW) == []  # its own retry changes nothing
    assert stage.engine._joining.advertised[NAMES[0]] == stage.keys(NAMES[0])


def test_new_keys_of_a_restarted_process_take_the_place_of_the_old() -> None:
    stage = Stage(config_of(3))
    stage.come(*NAMES[:2])
    new = other_keys(stage, NAMES[0])
    assert stage.engine.rejoin(NAMES[0], new, NOW) == [
        ParticipantDropped(ADVERTISE, NAMES[0], DropReason.FAILED),
        MessageAccepted(ADVERTISE, NAMES[0]),
    ]
    with pytest.raises(ProtocolViolation):
        stage.come(NAMES[0])  # the old process, late
    with pytest.raises(NotInRoundError, match="left this round with these keys"):
        stage.engine.rejoin(NAMES[0], stage.keys(NAMES[0]), NOW)  # and that it comes back when the new one is gone
    stage.come(NAMES[2])
    roster = stage.engine._members.roster
    assert {m.participant_id: m.keys for m in roster.members}[NAMES[0]] == new
    assert stage.engine.phase is Phase.SHARE_KEYS
    with pytest.raises(NotInRoundError):
        stage.engine.rejoin(NAMES[0], other_keys(stage, NAMES[0]), NOW)


def test_new_keys_that_are_refused_leave_the_old_ones() -> None:
    stage = Stage(config_of())
    stage.come(*NAMES[:2])
    with pytest.raises(ProtocolViolation):
        stage.engine.rejoin(NAMES[0], stage.keys(NAMES[1]), NOW)
    assert stage.engine._joining.advertised[NAMES[0]] == stage.keys(NAMES[0])


def test_keys_are_in_use_as_long_as_they_are_advertised() -> None:
    """A new key is compared with one set, whatever became of those that came before."""
    stage = Stage(config_of())
    joining = stage.engine._joining

    def advertised() -> set[bytes]:
        return {key for keys in joining.advertised.values() for key in (keys.channel_public_key, keys.mask_public_key)}

    stage.come(*NAMES[:3])
    assert joining.in_use == advertised()
    assert len(joining.in_use) == 6
    new = other_keys(stage, NAMES[0])
    stage.engine.rejoin(NAMES[0], new, NOW)
    assert joining.in_use == advertised()
    with pytest.raises(ProtocolViolation, match="stands twice"):
        stage.engine.rejoin(NAMES[0], stage.keys(NAMES[1]), NOW)
    assert joining.in_use == advertised()
    stage.leave(NAMES[0], NAMES[2])
    assert joining.in_use == advertised()
    with pytest.raises(ProtocolViolation, match="stands twice"):
        stage.engine.receive(NAMES[3], stage.keys(NAMES[1]), NOW)
    assert joining.in_use == advertised()


def test_keys_that_were_taken_back_do_not_return() -> None:
    """A retry that arrives after the leave would bring back a participant that nobody is behind."""
    stage = Stage(config_of())
    stage.come(NAMES[0])
    stage.leave(NAMES[0])
    assert "left this round with these keys" in str(refusal(stage, NAMES[0]))
    new = other_keys(stage, NAMES[0])
    assert stage.engine.receive(NAMES[0], new, NOW) == [MessageAccepted(ADVERTISE, NAMES[0])]
    assert stage.engine._joining.gone == set()


def test_nobody_comes_again_and_again_for_ever() -> None:
    stage = Stage(config_of())
    for _ in range(MAX_COMINGS):
        stage.engine.receive(NAMES[0], other_keys(stage, NAMES[0]), NOW)
        stage.leave(NAMES[0])
    with pytest.raises(NotInRoundError, match="came into this round 8 times"):
        stage.engine.receive(NAMES[0], other_keys(stage, NAMES[0]), NOW)


# --- certificates that expire -----------------------------------------------------------------------------------------


class Signed:
    """An active round of up to six whose participants have certificates of their own validity, in seconds from now."""

    def __init__(self, validity_s: dict[ParticipantId, float]) -> None:
        at = datetime.fromtimestamp(NOW, UTC)
        made = create_authority(name="CA", now=at)
        authority = Authority.from_pem(made.certificate_pem, made.key_pem.expose())
        self.trust = TrustAnchors.from_pem(made.certificate_pem)
        config = replace(make_config(6, ACTIVE, threshold=4, max_colluding=1), deadlines=DEADLINES)
        run = start(config)
        self.engine = masked.coordinator(run.coordinator.round, now=NOW, trust=self.trust, spool=MemorySpool())
        policy = Policy(threat_models=frozenset(ThreatModel), min_colluding_share=0.0)
        self.memberships: dict[ParticipantId, Membership] = {}
        for name, seconds in validity_s.items():
            issued = issue_participant(
                authority, participant_id=name, organisation="o", now=at, validity=timedelta(seconds=seconds)
            )
            identity = Identity.from_pem(issued.certificate_pem, issued.key_pem.expose())
            credentials = Credentials(identity, self.trust)
            self.memberships[name] = Membership(run.coordinator.round, name, policy, SystemRng(), credentials)
        self.run = run

    def play(self) -> list[Event]:
        for name, membership in self.memberships.items():
            keys = membership.signed_keys(self.run.participants[name].advertisement)
            self.engine.receive(name, keys, NOW)
        return self.engine.tick(self.engine.deadline)


DAY = 86_400.0
SHORT = {**dict.fromkeys(NAMES[:4], DAY), NAMES[4]: 5.0}


def test_an_expired_certificate_costs_its_owners_place_and_not_the_round() -> None:
    signed = Signed(SHORT)
    events = signed.play()
    assert events[0] == ParticipantDropped(ADVERTISE, NAMES[4], DropReason.EXPIRED)
    assert signed.engine.phase is Phase.SHARE_KEYS
    assert [m.participant_id for m in signed.engine._members.roster.members] == NAMES[:4]
    with pytest.raises(NotInRoundError, match="its certificate expired, or was about to"):
        signed.engine.answer(NAMES[4], ADVERTISE)


def test_an_expired_certificate_in_the_list_makes_everybody_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: whoever checks the list finds it."""
    monkeypatch.setattr(AdvertiseKeysPhase, "expire", lambda *_: [])
    signed = Signed(SHORT)
    signed.play()
    (bad,) = [m for m in signed.engine._members.roster.members if m.participant_id == NAMES[4]]
    with pytest.raises(Exception, match="expired"):
        signed.trust.verify_participant(bad.keys.certificates, datetime.fromtimestamp(signed.engine.deadline, UTC))


def test_a_certificate_outlasts_the_list_by_a_margin_for_clocks() -> None:
    until = DEADLINES.advertise_keys_s + EXPIRY_MARGIN.total_seconds()
    signed = Signed({**dict.fromkeys(NAMES[:4], DAY), NAMES[4]: until - 1, NAMES[5]: DAY})
    signed.play()  # six came: the list was closed long before
    assert NAMES[4] in signed.engine._members.index
    late = Signed({**dict.fromkeys(NAMES[:4], DAY), NAMES[4]: until - 1})
    assert dropped(late.play()) == {NAMES[4]: DropReason.EXPIRED}
    in_time = Signed({**dict.fromkeys(NAMES[:4], DAY), NAMES[4]: until})
    assert dropped(in_time.play()) == {}


def test_too_few_certificates_that_last_end_the_round_by_name() -> None:
    failed = Signed({**dict.fromkeys(NAMES[:3], DAY), NAMES[4]: 5.0}).play()[-1]
    assert isinstance(failed, RoundFailed)
    assert failed.error.reason is AbortReason.BELOW_THRESHOLD


def test_the_margin_is_what_the_specification_says() -> None:
    assert timedelta(minutes=1) == advertise_keys.EXPIRY_MARGIN
