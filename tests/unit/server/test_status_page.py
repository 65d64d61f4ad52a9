"""The status page: what it keeps of facts, what becomes HTML and JSON of that, and that peers' words stay words."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from hashlib import sha256
from html.parser import HTMLParser
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from secagg_server.observability.facts import (
    CallEnded,
    CallOutcome,
    ConnectionCause,
    ConnectionClosed,
    GroupAnomaly,
    GroupsCombined,
    GroupsOpened,
    RoundBroken,
    RoundEvent,
    RoundName,
    RoundOpened,
)
from secagg_server.observability.statuspage import reading, values
from secagg_server.observability.statuspage.attention import attention
from secagg_server.observability.statuspage.document import document
from secagg_server.observability.statuspage.memory import FINISHED_KEPT, TROUBLES_KEPT, Memory
from secagg_server.observability.statuspage.page import amount, page, span
from secagg_server.observability.statuspage.serving import FRESH_S, StatusPage
from secagg_server.observability.statuspage.values import (
    Expiry,
    FinishedRound,
    Names,
    Status,
    TaskBudget,
    Trouble,
    Use,
)

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.errors import AbortReason, DecodeError, NotInRoundError, RoundAborted, UnknownRoundError
from secagg.events import (
    Accused,
    DropReason,
    Event,
    MasksRemoved,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    SumDelivered,
    Verdict,
    WrongShares,
)
from secagg.messages import ParticipantId, Phase
from secagg.privacy.ledger import Budget
from secagg.programs.ledgers.budgets import Spent
from secagg.robust.combining import Anomaly
from secagg.robust.grouping import Groups
from tests.metering import quiet_state
from tests.serving import make_config

NOW = 1_800_000_000.0
DAY = 86_400.0
CONFIG = make_config(10, threshold=7)
NAMES = [ParticipantId(f"clinic-{i}") for i in range(10)]
KEYS, SHARES, INPUT = Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT
NOBODY: frozenset[ParticipantId] = frozenset()


class Remembering:
    """A memory that is told of rounds, one second after the other."""

    def __init__(self) -> None:
        self.now = NOW
        self.memory = Memory(lambda: self.now)

    def name(self, number: int = 1, parent: int | None = None) -> RoundName:
        above = None if parent is None else RoundId(parent.to_bytes(16))
        return RoundName(RoundId(number.to_bytes(16)), CONFIG.task, CONFIG.scheme, above)

    def open(self, number: int = 1, config: RoundConfig = CONFIG, parent: int | None = None) -> RoundName:
        name = self.name(number, parent)
        self.memory(RoundOpened(name, self.now, config))
        return name

    def tell(self, name: RoundName, *events: Event) -> None:
        for event in events:
            self.now += 1
            self.memory(RoundEvent(name, self.now, event))

    def live(self) -> tuple[values.LiveRound, ...]:
        return self.memory.live(lambda _: NOBODY)


def to_input() -> Iterator[Event]:
    """A round to its third phase: one dropped out in the second, two of nine have sent their update."""
    yield PhaseStarted(KEYS, NOW + 60, 10)
    yield from (MessageAccepted(KEYS, name) for name in NAMES)
    yield PhaseStarted(SHARES, NOW + 120, 10)
    yield from (MessageAccepted(SHARES, name) for name in NAMES[1:])
    yield ParticipantDropped(SHARES, NAMES[0], DropReason.DEADLINE)
    yield PhaseStarted(INPUT, NOW + 180, 9)
    yield from (MessageAccepted(INPUT, name) for name in NAMES[1:3])


def test_a_round_under_way_says_where_it_stands() -> None:
    told = Remembering()
    told.tell(told.open(), *to_input())
    (one,) = told.live()
    assert (one.about.task, one.about.purpose, one.about.scheme) == ("digits", "train", "masked")
    assert (one.about.threat_model, one.about.threshold, one.about.max_participants) == ("active", 7, 10)
    assert (one.about.round_id, one.about.opened, one.about.group_of) == (f"{1:032x}", NOW, None)
    assert [(p.name, p.delivered, p.expected, p.closed is None) for p in one.phases] == [
        ("AdvertiseKeys", 10, 10, False),
        ("ShareKeys", 9, 10, False),
        ("MaskedInput", 2, 9, True),
    ]
    assert one.to_come == ("ConsistencyCheck", "Unmask")
    assert one.deadline == NOW + 180
    assert one.missing == Names(tuple(NAMES[3:]))
    assert (one.missing_count, one.dropped_count) == (7, 1)
    assert [(d.participant, d.phase, d.reason) for d in one.dropped] == [("clinic-0", "ShareKeys", "deadline")]


def test_a_long_unmasking_is_shown_while_it_lasts() -> None:
    told = Remembering()
    name = told.open()
    told.tell(name, *to_input(), PhaseStarted(Phase.UNMASK, NOW + 240, 9))
    assert told.live()[0].removed_percent is None
    assert "of the masks" not in page(status(live=told.live()))
    told.tell(name, MasksRemoved(1, 4), MasksRemoved(3, 4))
    assert told.live()[0].removed_percent == 75
    assert "<b>75 %</b> of the masks are out of the sum" in page(status(live=told.live()))


def test_whom_the_fl_server_expects_is_missing_by_name() -> None:
    told = Remembering()
    told.tell(told.open(), PhaseStarted(KEYS, NOW + 60, 4), MessageAccepted(KEYS, NAMES[0]))
    (one,) = told.memory.live(lambda round_id: frozenset(NAMES[:4]) if round_id == bytes(15) + b"\1" else NOBODY)
    assert (one.missing.shown, one.missing_count) == (tuple(NAMES[1:4]), 3)


def test_a_round_that_ended_is_remembered_with_its_reason() -> None:
    told = Remembering()
    for number, end in ((1, SumDelivered(tuple(NAMES[1:]), bytes(32))), (2, failed())):
        told.tell(told.open(number), *to_input(), WrongShares(NAMES[9], ((NAMES[9], NAMES[1]),)), end)
    assert told.live() == ()
    bad, good = told.memory.finished
    assert (good.survivors, good.reason, good.told, good.joined, good.dropped_count) == (9, None, "", 10, 1)
    assert (bad.survivors, bad.reason, bad.told) == (None, "below_threshold", "2 participants delivered")
    assert [(b.participant, b.proven, b.told) for b in bad.blame] == [("clinic-9", True, "dealt wrong shares")]
    assert bad.ended > good.ended > NOW
    assert (told.memory.sums, told.memory.failures) == (1, 1)


def failed() -> RoundFailed:
    return RoundFailed(RoundAborted(AbortReason.BELOW_THRESHOLD, "2 participants delivered"))


def test_groups_are_shown_and_counted_as_one_round() -> None:
    told = Remembering()
    whole = told.name(9)
    plan = replace(CONFIG, groups=Groups.parse(3, "median"))
    groups = [
        told.open(n, replace(plan, groups=replace(plan.groups, parent=whole.round_id, number=n)), parent=9)  # type: ignore[type-var]
        for n in (1, 2, 3)
    ]
    told.memory(GroupsOpened(whole, NOW, "median", tuple(g.round_id for g in groups)))
    for group in groups:
        told.tell(group, PhaseStarted(KEYS, NOW + 60, 10))
    assert [(one.about.group, one.about.groups, one.about.group_of) for one in told.live()] == [
        (n, 3, f"{9:032x}") for n in (3, 2, 1)
    ]
    for group in groups:
        told.tell(group, *to_input(), SumDelivered(tuple(NAMES[1:]), bytes(32)))
    assert (told.memory.sums, len(told.memory.finished)) == (0, 3)
    told.memory(GroupsCombined(whole, told.now, (1, 2, 3), 27))
    assert (told.memory.sums, told.memory.failures) == (1, 0)
    last = told.memory.finished[0]
    assert (last.survivors, last.about.group, last.about.groups, last.about.round_id) == (27, None, 3, f"{9:032x}")


def test_groups_without_a_result_are_one_failure() -> None:
    told = Remembering()
    whole, plan = told.name(9), replace(CONFIG, groups=Groups.parse(3, "median"))
    group = told.open(1, plan, parent=9)
    told.memory(GroupsOpened(whole, NOW, "median", (group.round_id,)))
    told.tell(group, *to_input(), failed())
    told.tell(whole, failed())
    assert (told.memory.sums, told.memory.failures) == (0, 1)
    assert told.memory.finished[0].reason == "below_threshold"


def test_what_is_remembered_is_bounded() -> None:
    told = Remembering()
    for number in range(1, FINISHED_KEPT + 20):
        name = told.open(number)
        told.tell(name, PhaseStarted(KEYS, NOW, 10), failed())
    assert len(told.memory.finished) == FINISHED_KEPT
    assert told.memory.finished[0].about.round_id == f"{FINISHED_KEPT + 19:032x}"
    crowd = [ParticipantId(f"{'x' * 60}{i:04}") for i in range(1000)]
    name = told.open(999)
    told.tell(name, PhaseStarted(KEYS, NOW, 1000), *(MessageAccepted(KEYS, one) for one in crowd))
    told.tell(name, PhaseStarted(SHARES, NOW, 1000))
    told.tell(name, *(ParticipantDropped(SHARES, one, DropReason.FAILED) for one in crowd[:500]))
    told.tell(name, *(Accused(one, crowd[0], Verdict.HEARSAY) for one in crowd))
    (one,) = told.live()
    assert (len(one.missing.shown), one.missing.more) == (values.NAMES_SHOWN, 500 - values.NAMES_SHOWN)
    assert (len(one.dropped), one.dropped_count) == (values.DROPS_SHOWN, 500)
    assert one.dropped[0].participant == crowd[499]
    assert len(one.blame) == values.BLAME_SHOWN


# --- what went wrong --------------------------------------------------------------------------------------------------


def call(error: Any = None, outcome: CallOutcome = CallOutcome.REFUSED, **more: Any) -> CallEnded:
    given = {"caller": "clinic-1", "address": "10.0.0.1:5", "method": "Share", "plane": "data", **more}
    return CallEnded(began_s=NOW, seconds=0.1, bytes_in=1, bytes_out=2, outcome=outcome, error=error, **given)


def test_refusals_of_one_kind_are_counted_with_their_latest() -> None:
    told = Remembering()
    told.memory(call(DecodeError("first")))
    told.now += 10
    told.memory(call(DecodeError("last")))
    told.memory(call(NotInRoundError("late")))
    told.memory(call(RoundAborted(AbortReason.CANCELLED, "the round says so itself")))
    told.memory(call(outcome=CallOutcome.ANSWERED))
    late, decode = sorted(told.memory.troubles, key=lambda trouble: trouble.count)
    assert decode == Trouble("call_refused Share DecodeError", "refusal", "Share of clinic-1: last", 2, NOW, NOW + 10)
    assert late.count == 1


def test_what_is_the_coordinators_own_trouble_is_an_error_and_says_where_to_look() -> None:
    told = Remembering()
    told.memory(call(outcome=CallOutcome.BROKEN, traceback="ValueError: secret stuff"))
    told.memory(RoundBroken(told.name(), "secret stuff"))
    assert {(one.event, one.severity) for one in told.memory.troubles} == {
        ("internal_error", "error"),
        ("round_broken", "error"),
    }
    assert "secret" not in str(told.memory.troubles)


@pytest.mark.parametrize("cause", ConnectionCause)
def test_every_end_of_a_connection_has_words(cause: ConnectionCause) -> None:
    told = Remembering()
    told.memory(ConnectionClosed(cause, "10.0.0.1:5", "clinic-1", "no descriptors", "expired"))
    (one,) = told.memory.troubles
    assert one.event == f"connection {cause.name.lower()} expired"
    assert one.told.endswith("; expired; clinic-1; 10.0.0.1:5; no descriptors")


def test_an_anomaly_is_told_without_its_norm() -> None:
    told = Remembering()
    told.memory(GroupAnomaly(told.name(), Anomaly(2, 1234.5, 6.75)))
    (one,) = told.memory.troubles
    assert "group 2" in one.told
    assert "1234" not in one.told
    assert "6.75" not in one.told


def test_refusals_do_not_push_out_the_coordinators_own_trouble() -> None:
    told = Remembering()
    told.memory(call(outcome=CallOutcome.BROKEN))
    for number in range(3 * TROUBLES_KEPT):
        told.now += 1
        told.memory(call(DecodeError("x"), method=f"M{number}"))
    kept = told.memory.troubles
    assert len(kept) == TROUBLES_KEPT
    assert "internal_error" in {one.event for one in kept}
    assert kept[0].event == f"call_refused M{3 * TROUBLES_KEPT - 1} DecodeError"


# --- the page and the document ----------------------------------------------------------------------------------------


def status(**changes: Any) -> Status:
    told = Remembering()
    told.tell(told.open(1), *to_input())
    told.tell(told.open(2), *to_input(), failed())
    told.memory(call(DecodeError("x")))
    given: dict[str, Any] = {
        "at": NOW + 100,
        "started": NOW - 3600,
        "state": "serving",
        "versions": {"secagg": "1.2.3", "protocol": "1"},
        "addresses": {"data plane": "0.0.0.0:7443"},
        "live": told.live(),
        "finished": tuple(told.memory.finished),
        "sums": 3,
        "failures": 1,
        "faults": (),
        "troubles": told.memory.troubles,
        "budgets": (TaskBudget("digits", 3.0, 1e-5, 1.25),),
        "expiries": (Expiry("server certificate", NOW + 90 * DAY),),
        "uses": (Use("calls", 3, 100, setting="max_calls"), Use("memory", 64 << 20, None, "bytes")),
    }
    return Status(**{**given, **changes})


class Outline(HTMLParser):
    """What matters of a page to whoever does not see it, or does not trust it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] != "style":
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_the_page_says_what_an_operator_asks() -> None:
    text = Outline(page(status())).text
    for wanted in (
        "serving secagg 1.2.3, up for 1 h 1 min",
        "2 of 9 have delivered in MaskedInput, 7 missing; 1 min 20 s left, until 08:03:00 UTC",
        "Missing clinic-3 clinic-4",
        "clinic-0: ShareKeys, the deadline passed",
        "no sum below_threshold 2 participants delivered",
        "refusal call_refused Share DecodeError Share of clinic-1: x 1",
        "digits δ = 1e-05 1.25 1.75 of 3",
        "server certificate 2027-04-15 08:00:00 UTC 89",
        "calls max_calls 3 100",
        "memory 64 MiB no limit",
        "data plane 0.0.0.0:7443",
    ):
        assert wanted in text, wanted


def test_the_page_needs_nothing_but_itself_and_every_table_has_a_caption() -> None:
    found = Outline(page(status()))
    assert not {"script", "link", "img", "iframe", "form", "base", "object"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "style"]
    assert {value for name, value in found.attributes if name in {"href", "src"}} == {
        "/paused",
        "/status.json",
        "/metrics",
    }
    assert "http-equiv" in dict(found.attributes)
    assert found.tags.count("table") == found.tags.count("caption") == 6
    assert not re.search(r"url\(|@import|https?:", page(status()))


def test_the_paused_page_stays_as_it_is() -> None:
    found = Outline(page(status(), paused=True))
    assert "http-equiv" not in dict(found.attributes)
    assert ("href", "/") in found.attributes


EVIL = "<script>alert(1)</script>\x1b[31m\u202e'\"&"


def test_what_peers_chose_is_text_and_one_line() -> None:
    told = Remembering()
    name = ParticipantId(EVIL)
    round_ = told.open(1, replace(CONFIG, task=EVIL))
    told.tell(round_, PhaseStarted(KEYS, NOW, 10), MessageAccepted(KEYS, name), PhaseStarted(SHARES, NOW, 1))
    told.tell(round_, Accused(name, name, Verdict.HEARSAY))
    shown = told.live()
    told.tell(round_, ParticipantDropped(SHARES, name, DropReason.FAILED))
    told.tell(round_, RoundFailed(RoundAborted(AbortReason.CANCELLED, EVIL + "\n" + "z" * 10_000)))
    told.memory(call(DecodeError(EVIL), caller=EVIL))
    found = status(live=shown, finished=tuple(told.memory.finished), troubles=told.memory.troubles)
    for text in (page(found), document(found)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", text)
        assert "zzz" * 200 not in text
    assert "<script" not in page(found)
    assert page(found).count("&lt;script&gt;") >= 8
    assert json.loads(document(found))["live"][0]["about"]["task"].startswith("<script>")


def test_the_document_has_what_its_description_says() -> None:
    """A program that reads it must find the same tomorrow: a field that goes away or is renamed turns this red."""
    told = json.loads(document(status()))
    assert told.pop("version") == 1
    assert set(told) == {
        *("at", "started", "state", "versions", "addresses", "live", "finished", "sums", "failures", "faults"),
        *("troubles", "budgets", "expiries", "uses", "audit_head"),
    }
    assert set(told) == {field.name for field in fields(Status)}
    (one,) = told["live"]
    assert set(one) == {
        *("about", "phases", "to_come", "deadline", "missing", "missing_count", "dropped", "dropped_count", "blame"),
        "removed_percent",
    }
    assert set(one["about"]) == {
        *("round_id", "group_of", "group", "groups", "task", "purpose", "scheme", "threat_model", "threshold"),
        *("max_participants", "opened"),
    }
    assert one["missing"] == {"shown": [f"clinic-{i}" for i in range(3, 10)], "more": 0}
    assert set(one["phases"][0]) == {"name", "opened", "closed", "expected", "delivered"}
    assert set(one["dropped"][0]) == {"participant", "phase", "reason", "told"}
    assert set(told["finished"][0]) == {
        *("about", "ended", "survivors", "reason", "told", "joined", "dropped", "dropped_count", "blame", "phases"),
    }
    assert set(told["troubles"][0]) == {"event", "severity", "told", "count", "first", "last"}
    assert set(told["budgets"][0]) == {"task", "epsilon", "delta", "spent"}
    assert set(told["expiries"][0]) == {"what", "at"}
    assert set(told["uses"][0]) == {"what", "used", "limit", "unit", "setting"}


@pytest.mark.parametrize("kind", [value for value in vars(values).values() if is_dataclass(value)])
def test_every_field_of_the_document_is_described(kind: Any) -> None:
    described = set(re.findall(r"^    +(\w+): ", kind.__doc__, re.MULTILINE))
    assert {field.name for field in fields(kind)} <= described


# --- what somebody should look at -------------------------------------------------------------------------------------

CALM = {"live": (), "finished": (), "troubles": (), "budgets": (), "expiries": (), "uses": ()}


def ended(at: float, survivors: int | None) -> FinishedRound:
    (known, *_) = status().finished
    return replace(known, ended=at, survivors=survivors)


@pytest.mark.parametrize(
    ("changes", "urgent", "words"),
    [
        ({"state": "shutting down"}, True, "takes no calls: shutting down"),
        ({"faults": ("the ledger of t was rolled back",)}, True, "The ledger of t was rolled back."),
        ({"expiries": (Expiry("server certificate", NOW),)}, True, "server certificate has expired"),
        ({"budgets": (TaskBudget("t", 3.0, 1e-5, None),)}, False, "Task t has ε = 0 left of 3"),
        ({"expiries": (Expiry("CA", NOW + 9 * DAY + 100),)}, False, "CA expires in 9 days"),
        ({"budgets": (TaskBudget("t", 3.0, 1e-5, 2.8),)}, False, "Task t has ε = 0.2 left of 3"),
        (
            {"uses": (Use("calls", 80, 100, setting="max_calls"),)},
            False,
            "calls: 80% of the limit are in use. Raise max",
        ),
        ({"troubles": (Trouble("e", "error", "x", 1, NOW, NOW),)}, True, "errors of its own"),
        ({"finished": (ended(NOW, None), ended(NOW, 9))}, False, "1 of 2 rounds that ended within the last hour"),
    ],
)
def test_what_is_not_as_it_should_be_stands_at_the_top(changes: Any, urgent: bool, words: str) -> None:
    (notice,) = attention(status(**{**CALM, **changes}))
    assert notice.urgent is urgent
    assert words in notice.told
    assert words in Outline(page(status(**{**CALM, **changes}))).text


def test_where_all_is_well_the_page_says_so() -> None:
    group = ended(NOW, None)  # that one group of a round has no sum is not for the round to say
    group = replace(group, about=replace(group.about, group_of=f"{9:032x}", group=1, groups=3))
    calm = status(
        **{
            **CALM,
            "expiries": (Expiry("server certificate", NOW + 15 * DAY),),
            "budgets": (TaskBudget("t", 3.0, 1e-5, 2.6),),
            "uses": (Use("calls", 79, 100), Use("memory", 1 << 40, None)),
            "troubles": (
                Trouble("e", "error", "x", 1, NOW - 9999, NOW - 3601),
                Trouble("e", "refusal", "x", 1, NOW, NOW),
            ),
            "finished": (ended(NOW - 3601, None), ended(NOW, 9), group),
        }
    )
    assert attention(calm) == ()
    assert "Nothing needs attention" in page(calm)


def test_numbers_are_for_people() -> None:
    assert [span(s) for s in (-1, 0, 0.44, 9.96, 10, 61, 3600, 3725, 90_000, 86_400 * 3 + 60)] == [
        *("0.0 s", "0.0 s", "0.4 s", "10.0 s", "10 s", "1 min 1 s", "1 h", "1 h 2 min", "1 d 1 h", "3 d"),
    ]
    assert [amount(1234567), amount(61 << 20, "bytes")] == ["1,234,567", "61 MiB"]


# --- the paths --------------------------------------------------------------------------------------------------------


def asked_twice(after_s: float) -> int:
    """How many pictures are taken for two requests, so many seconds apart, of each path."""
    times = iter([0.0] * 3 + [after_s] * 3)
    taken = []

    def picture() -> Status:
        taken.append(1)
        return status()

    served = StatusPage(picture, lambda: next(times))
    for _ in range(2):
        for route in served.routes.values():
            assert route("").status == 200
    return len(taken)


def test_a_page_is_made_anew_once_a_second_however_often_it_is_asked_for() -> None:
    assert asked_twice(FRESH_S / 2) == 3
    assert asked_twice(FRESH_S) == 6


def test_each_path_has_its_kind_of_answer() -> None:
    served = StatusPage(status)
    found = {path: route("") for path, route in served.routes.items()}
    assert {path: answer.content_type for path, answer in found.items()} == {
        "/": "text/html; charset=utf-8",
        "/paused": "text/html; charset=utf-8",
        "/status.json": "application/json",
    }
    assert b"http-equiv" in found["/"].body
    assert b"http-equiv" not in found["/paused"].body
    assert json.loads(found["/status.json"].body)["state"] == "serving"
    sheet = found["/"].body.decode().split("<style>")[1].split("</style>")[0]
    digest = b64encode(sha256(sheet.encode()).digest()).decode()
    assert found["/"].style == found["/paused"].style == f"'sha256-{digest}'"
    assert found["/status.json"].style == ""


def test_the_budgets_that_have_least_left_are_shown_and_none_is_infinite() -> None:
    """JSON knows no infinity, and the FL server names as many tasks as it likes."""
    spent = [Spent(f"task-{i:03}", i / 100, Budget(3.0, 1e-5)) for i in range(reading.TASKS_SHOWN + 9)]
    state = quiet_state(spent=[*spent, Spent("all", inf, Budget(3.0, 1e-5))], max_open_rounds=9)
    told = Remembering()

    def find(_: bytes) -> Any:
        raise UnknownRoundError("no such round")

    rounds: Any = SimpleNamespace(find=find)
    told.open(2)  # its first phase has not begun: not shown yet
    told.tell(told.open(), *to_input())
    reader = reading.Reader(state, told.memory, rounds, {"data plane": "x"}, clock=lambda: NOW, why=lambda: "serving")
    taken = reader.picture()
    assert len(taken.budgets) == reading.TASKS_SHOWN
    assert taken.budgets[0] == TaskBudget("all", 3.0, 1e-5, None)
    assert [one.task for one in taken.budgets[1:]] == [f"task-{i:03}" for i in range(10, reading.TASKS_SHOWN + 9)]
    assert json.loads(document(taken))["budgets"][0]["spent"] is None
    assert "∞" in page(taken)
    assert [(use.what, use.used, use.limit) for use in taken.uses[:4]] == [
        ("rounds under way", 1, 9),
        ("calls of participants", 6, 2),
        ("calls of the FL server", 7, 1000),
        ("connections of participants", 9, 3),
    ]
    assert [one.used > 0 for one in taken.uses[4:]] == [True, True]
