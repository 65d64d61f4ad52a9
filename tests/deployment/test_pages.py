"""The pages that people look at, in a browser: the status page during a real round, the reports of the tools."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from secagg_server.observability.statuspage import values
from secagg_server.observability.statuspage.page import REFRESH_S, page

from secagg.config import ThreatModel
from secagg.errors import AbortReason, RoundAborted
from secagg.events import DropReason, Event, MessageAccepted, ParticipantDropped, PhaseStarted, RoundFailed
from secagg.messages import MASKED_PHASES, ParticipantId, Phase
from secagg.tools.demo.report import render as render_demo
from secagg.tools.demo.results import Counted, Dropped, Traffic
from tests.deployment.browser import Browser, browser
from tests.serving import PATIENCE_S, make_config, stage
from tests.unit.server.test_status_page import NOW, Remembering, status
from tests.unit.test_demo import schemes, some_findings

LONG = "x" * 64  # a participant's name can be so long
TASK = "t" * 128


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


async def until(window: Browser, holds: Callable[[str], bool]) -> str:
    """Wait until the page, which refreshes itself, shows something; what it shows then."""
    ends = time.monotonic() + PATIENCE_S + 3 * REFRESH_S
    while time.monotonic() < ends:
        text = await asyncio.to_thread(lambda: window.text)
        if holds(text):
            return text
        await asyncio.sleep(0.2)
    raise AssertionError(text)


async def test_the_status_page_follows_a_round_by_itself(window: Browser, tmp_path: Path) -> None:
    """The page is loaded once. It shows the phases change, the missing become fewer, a dropout, and the outcome."""
    async with stage(tmp_path, status="127.0.0.1:0") as s:
        await asyncio.to_thread(window.driver.get, f"http://{s.server.status_address}/")
        assert "No round is open." in window.text

        _, people = await s.open(make_config(5, threshold=3, deadline_s=600))
        names = [p.name for p in people]
        keys = [asyncio.create_task(p.say()) for p in people[:4]]
        await until(window, lambda text: "4 of 5 have joined in AdvertiseKeys" in text)
        await asyncio.gather(*keys, people[4].say())
        shares = [asyncio.create_task(p.say()) for p in people[:2]]
        shown = await until(window, lambda text: "2 of 5 have delivered in ShareKeys" in text)
        assert f"Missing {' '.join(names[2:])}" in shown
        await asyncio.to_thread(window.check)
        await people[4].leave()
        shares += [asyncio.create_task(people[2].say())]
        shown = await until(window, lambda text: "3 of 5 have delivered in ShareKeys, 1 missing" in text)
        assert f"{names[4]}: ShareKeys, left: its caller gave up" in shown
        await asyncio.to_thread(window.check)

        await asyncio.gather(*shares, people[3].say())
        await asyncio.gather(*(p.play() for p in people[:4]))
        shown = await until(window, lambda text: "sum of 4 updates" in text)
        assert "No round is open." in shown
        await asyncio.to_thread(window.check)
        assert window.hosts() == {s.server.status_address}


async def test_the_page_can_be_paused(window: Browser, tmp_path: Path) -> None:
    async with stage(tmp_path, status="127.0.0.1:0") as s:
        await asyncio.to_thread(window.driver.get, f"http://{s.server.status_address}/")
        assert window.run("return document.querySelector('meta[http-equiv=refresh]').content") == str(REFRESH_S)
        await asyncio.to_thread(window.driver.find_element("link text", "Pause").click)
        assert window.run("return document.querySelector('meta[http-equiv=refresh]')") is None
        assert window.driver.current_url.endswith("/paused")
        await asyncio.to_thread(window.check)
        back = window.driver.find_element("partial link text", "Refresh it")
        await asyncio.to_thread(back.click)
        assert window.run("return document.querySelector('meta[http-equiv=refresh]').content") == str(REFRESH_S)


def crowded() -> values.Status:
    """As much as the page ever shows, each name and text as long as it may be."""
    told = Remembering()
    crowd = [ParticipantId(f"{LONG[:60]}{i:04}") for i in range(1000)]
    config = make_config(1000, threshold=700, task=TASK)
    for number in range(1, 33):
        name = told.open(number, config)
        told.tell(name, *opening(crowd))
    live = told.live()
    for number in range(100, 100 + 50):
        name = told.open(number, config)
        told.tell(name, *opening(crowd[:20]), failing())
    blame = tuple(values.BlameFacts(LONG, True, f"accused by {LONG}: its word alone") for _ in range(6))
    return status(
        live=tuple(replace(one, blame=blame) for one in live),
        finished=tuple(replace(one, blame=blame) for one in told.memory.finished),
        troubles=tuple(
            values.Trouble(f"call_refused {'M' * 60}{i}", "refusal", "w" * 300, 10**9, NOW, NOW) for i in range(40)
        ),
        budgets=tuple(values.TaskBudget(TASK, 3.0, 1e-5, 2.9) for _ in range(50)),
        expiries=tuple(values.Expiry(f"CA {LONG}", NOW + i * 86_400) for i in range(-2, 20)),
        addresses={"control plane": "unix:/" + "d" * 100},
    )


def opening(crowd: list[ParticipantId]) -> Iterator[Event]:
    yield PhaseStarted(Phase.ADVERTISE_KEYS, NOW + 60, 1000)
    yield from (MessageAccepted(Phase.ADVERTISE_KEYS, name) for name in crowd)
    yield PhaseStarted(Phase.SHARE_KEYS, NOW + 99_999, 1000)
    yield from (ParticipantDropped(Phase.SHARE_KEYS, name, DropReason.FAILED) for name in crowd[:10])


def failing() -> RoundFailed:
    return RoundFailed(RoundAborted(AbortReason.BELOW_THRESHOLD, "w" * 1000))


@pytest.mark.parametrize("shown", [crowded, status, lambda: status(state="shutting down", live=(), finished=())])
def test_the_status_page_fits_whatever_it_shows(
    window: Browser, tmp_path: Path, shown: Callable[[], values.Status]
) -> None:
    (tmp_path / "page.html").write_text(page(shown(), paused=True))
    window.driver.get(f"file://{tmp_path}/page.html")
    window.check()


def test_a_page_that_is_too_wide_or_too_pale_is_found(window: Browser, tmp_path: Path) -> None:
    plain = page(status(), paused=True)
    for broken in (
        plain.replace("<main>", '<main><p style="width: 501px">x</p>'),
        plain.replace("<main>", '<main><p style="color: #888">x</p>'),
        plain.replace("<main>", "<main><script>nothing.there</script>"),
    ):
        (tmp_path / "page.html").write_text(broken)
        window.driver.get(f"file://{tmp_path}/page.html")
        with pytest.raises(AssertionError):
            window.check()


def test_the_demos_report_fits(window: Browser, tmp_path: Path) -> None:
    found, have = some_findings(), tuple(range(100, 110))
    (played,) = found.rounds
    dropped = tuple(Dropped(f"site-{i:02}", "ConsistencyCheck", "half-way through the upload", True) for i in range(3))
    traffic = {**played.traffic, **{one.participant: Traffic(9_159, 15_794) for one in dropped}}
    rounds = tuple(replace(played, number=number, dropped=dropped, traffic=traffic) for number in range(1, 7))
    report = replace(
        found,
        rounds=rounds,
        phases=tuple(str(phase) for phase in MASKED_PHASES[ThreatModel.ACTIVE]),
        sites={**{f"site-{i:02}": found.sites["a"] for i in range(3)}, **found.sites},
        side_by_side=schemes("a" * 64, "a" * 64, "a" * 64),
        counted=Counted(have, have, 10, 0.5),
    )
    (tmp_path / "demo.html").write_text(render_demo(report))
    window.driver.get(f"file://{tmp_path}/demo.html")
    window.check()
