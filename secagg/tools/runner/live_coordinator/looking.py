"""What is looked at when a round is over, beside its sum; and who calls that is no member."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc

from secagg.events import Accused, Verdict
from secagg.messages import Index, Leave, LeaveReason, ParticipantId, Phase
from secagg.rounds import dealing
from secagg.tools.runner.cases import Unlike
from secagg.tools.runner.live_coordinator.live import Failed, LiveRound, Member, Outcome, make
from secagg.tools.runner.live_coordinator.script import Scene, Wrong, hold_refused, same
from secagg.wire.calls import AWAIT_RECEIPT, CERTIFY, DESCRIBE, FETCH_AGGREGATE, FIND_ROUND, INPUT_PROGRESS
from secagg.wire.v1 import data_plane_pb2 as pb


def accused(verdict: Verdict) -> Callable[[LiveRound], None]:
    """Who accused whom, and what the coordinator made of it."""

    def look(live: LiveRound) -> None:
        told = [event for event in live.events if isinstance(event, Accused)]
        if [(e.accused[-1], e.accuser[-1], e.verdict) for e in told] != [("a", "b", verdict)]:
            raise Unlike(f"WatchRound was to tell once that b accused a, {verdict.name}: {told}")

    return look


def accuses_a(digest: bytes | None = None) -> Callable[[LiveRound, Member], Leave]:
    """b says that the entry that a dealt to it is bad."""

    def leave(live: LiveRound, member: Member) -> Leave:
        entry = member.answers[Phase.SHARE_KEYS].sealed[Index(1)] if Phase.SHARE_KEYS in member.answers else b""
        found = digest or dealing.entry_digest(member.name, entry)
        return Leave(LeaveReason.REFUSED, ParticipantId(live.members[0].name), found)

    return leave


def _ask(live: LiveRound, credentials: tuple[bytes, bytes] | None) -> Outcome:
    with live.deployment.channel(live.site.ca_pem, credentials) as channel:
        return make(channel, DESCRIBE, [pb.DescribeRequest().SerializeToString()]).outcome()


def stranger(kind: str) -> Callable[[LiveRound], None]:
    """Somebody whose certificate is not to be believed gets no answer at all."""

    def look(live: LiveRound) -> None:
        name = live.members[0].name
        credentials = None
        if kind == "foreign":
            credentials = live.site.foreign.credentials(name)
        elif kind:
            credentials = live.site.participant_pem(name, kind)
        outcome = _ask(live, credentials)
        if not isinstance(outcome, Failed):
            raise Unlike("a call of somebody without a certificate of the deployment was answered")

    return look


def no_member(live: LiveRound) -> None:
    """The receipt and the sum are for members."""
    guest = live.guest()
    for row in (AWAIT_RECEIPT, FETCH_AGGREGATE):
        request = row.request(round_id=live.round_id).SerializeToString()
        hold_refused(guest.call(row, [request]).outcome(), Wrong(same, "NotInRoundError", None), guest)


def no_sum_for_participants(live: LiveRound) -> None:
    """Members get a receipt alone."""
    member = live.members[0]
    request = FETCH_AGGREGATE.request(round_id=live.round_id).SerializeToString()
    hold_refused(member.call(FETCH_AGGREGATE, [request]).outcome(), Wrong(same, "ProtocolViolation"), member)


def no_certification(live: LiveRound) -> None:
    """A round that does not say `certify` takes no signatures of the result."""
    member = live.members[0]
    request = CERTIFY.request(round_id=live.round_id, signature=b"x" * 70).SerializeToString()
    hold_refused(member.call(CERTIFY, [request]).outcome(), Wrong(same, "ProtocolViolation"), member)


def describes(live: LiveRound) -> None:
    """Release, versions and clock."""
    outcome = _ask(live, live.site.credentials(live.members[0].name))
    if isinstance(outcome, Failed):
        raise Unlike(f"Describe failed: {outcome.status.name}")
    told = pb.Description.FromString(outcome[0])
    if not told.version or 1 not in told.protocols or not told.time_ms:
        raise Unlike("Describe lacks the release, version 1 of the protocol, or the time")


def compressed(live: LiveRound) -> None:
    """Nothing is decompressed."""
    member = live.members[0]
    stream: Any = member.channel.stream_stream(INPUT_PROGRESS.path)
    request = INPUT_PROGRESS.request(round_id=live.round_id).SerializeToString()
    call = stream(iter([request]), timeout=30, compression=grpc.Compression.Gzip)
    try:
        list(call)
    except grpc.RpcError as error:
        failure: grpc.Call = error  # type: ignore[assignment]
        if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
            return
        raise Unlike(f"a compressed message ends with {failure.code().name}, not with UNIMPLEMENTED") from error
    raise Unlike("a compressed message was taken")


def both_searched(live: LiveRound) -> None:
    """FindRound with a round id of 15 bytes, and with more rounds than may be left out."""
    member = live.members[0]
    for request in (
        pb.FindRoundRequest(round_id=bytes(15)),
        pb.FindRoundRequest(task="conformance", seen=[bytes(16)] * 1001),
        pb.FindRoundRequest(task="conformance", seen=[bytes(15)]),
        pb.FindRoundRequest(),
    ):
        outcome = member.call(FIND_ROUND, [request.SerializeToString()]).outcome()
        hold_refused(outcome, Wrong(same, "DecodeError", None), member)


def once_more_without_one(live: LiveRound) -> None:
    """The same people but one in a second round of the same model: its sum and the first would show the one."""
    names = [member.name for member in live.members[:-1]]
    again = LiveRound(live.deployment, replace(live.config, max_participants=len(names)), live.site, names)
    try:
        Scene(number="", check="", title="", ends="DIFFERENCING").run(again)
    finally:
        again.close()
