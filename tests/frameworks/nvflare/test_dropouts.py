"""Whoever fails drops out by name, and the job goes on: errors, silence, bad results, apps without the plug-in."""

import itertools
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel
from secagg_client.nvflare import channel, controllers
from secagg_client.nvflare import site as site_module
from secagg_client.nvflare.site import COMPONENT, MaskResult, SecAggSite

from secagg import Aggregate, ProtocolViolation
from secagg.tools.redteam.self_test.patches import without_check
from tests.frameworks.nvflare.job import Engine, Job, Site, Train
from tests.frameworks.nvflare.test_jobs import MODEL, SETTINGS, Kept, mean_of, moved_by, run, some, trains


def breaks(change: Callable[[dict[str, Any]], Any], **meta: Any) -> Train:
    """A site whose result is changed before it leaves its training script."""

    def train(parameters: dict[str, Any]) -> FLModel:
        result = trains(3)(parameters)
        assert isinstance(result, FLModel)
        result.meta |= meta
        change(result.params)
        return result

    return train


def raising(parameters: dict[str, Any]) -> FLModel:
    raise ValueError("patient 7 has no age")


BAD: dict[str, tuple[Train, str]] = {
    "an error of the script": (raising, "its task failed: EXECUTION_EXCEPTION"),
    "NaN": (breaks(lambda params: params["w"].fill(np.nan)), "its log says why"),
    "another shape": (breaks(lambda params: params.update(b=np.zeros(4))), "its log says why"),
    "a parameter less": (breaks(lambda params: params.pop("b")), "its log says why"),
    "an empty data set": (breaks(dict, NUM_STEPS_CURRENT_ROUND=0), "its log says why"),
    "half a step": (breaks(dict, NUM_STEPS_CURRENT_ROUND=1.5), "its log says why"),
    "too large a weight": (breaks(dict, NUM_STEPS_CURRENT_ROUND=101), "its log says why"),
    "no parameters": (lambda _: Shareable(), "its log says why"),
    "an error reply with data": (lambda _: make_reply(ReturnCode.BAD_TASK_DATA), "BAD_TASK_DATA"),
}


@pytest.mark.parametrize("name", BAD)
def test_who_brings_nothing_that_can_be_added_up_drops_out_by_name(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    train, reason = BAD[name]
    _, controller = run(some(5, tmp_path, s3=Site("site-3", train, tmp_path)), tmp_path)
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 4, 5]), abs=2e-4)
    assert moved_by(controller.models[1]) == pytest.approx(2 * mean_of([1, 2, 4, 5]), abs=4e-4)
    assert re.search(f"site-3 is out of the round of train: .*{reason}", caplog.text)


def test_nothing_of_a_failed_training_leaves_the_site(tmp_path: Path) -> None:
    job, _ = run(some(4, tmp_path, s3=Site("site-3", BAD["another shape"][0], tmp_path)), tmp_path, rounds=1)
    last = [message for name, message in job.engine.seen if name == "site-3"][-1]
    assert channel.told(last, "left") == "its log says why"
    assert channel.unpacked(last) == []
    assert set(last) <= {"secagg", "__headers__"}


def test_a_site_without_the_plug_in_gets_no_task(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sites = some(4, tmp_path, s3=Site("site-3", trains(3), tmp_path, missing=True))
    job, controller = run(sites, tmp_path)
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 4]), abs=2e-4)
    assert "site-3" not in job.engine.tasks
    assert "site-3 is out of the round of train: its app lacks the secagg plug-in" in caplog.text


def test_a_plain_result_is_dropped_unread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Such as of an app that has the component and lacks the filter."""
    caplog.set_level("INFO")

    class Unmasked(Site):
        def perform(self, task: Shareable) -> Shareable | None:
            self.missing = True
            return super().perform(task)

    sites = some(4, tmp_path, s3=Unmasked("site-3", trains(3), tmp_path))
    _, controller = run(sites, tmp_path, rounds=1)
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 4]), abs=2e-4)
    assert "it answered in plain, which was dropped unread" in caplog.text


def newer(answer: Shareable) -> Shareable:
    answer["secagg"] = {**answer["secagg"], "version": 2, "secagg": "9.9"}
    return answer


def test_another_version_of_the_plug_in_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sites = some(4, tmp_path, s3=Site("site-3", trains(3), tmp_path, alter=newer))
    job, _ = run(sites, tmp_path, rounds=1)
    assert "site-3 is out of the round of train: it has secagg 9.9, whose plug-in speaks version 2" in caplog.text
    assert "site-3" not in job.engine.tasks


def changed(**entries: Any) -> Callable[[Shareable], Shareable]:
    def alter(answer: Shareable) -> Shareable:
        answer["secagg"] |= entries
        return answer

    return alter


def headed(headers: Any) -> Callable[[Shareable], Shareable]:
    def alter(answer: Shareable) -> Shareable:
        answer[ReservedHeaderKey.HEADERS] = headers
        return answer

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        changed(version=np.ones(2)),
        changed(version=True),
        changed(left=np.ones(2)),
        changed(waits=np.ones(2), steps=7),
        headed("none"),
        headed({ReservedHeaderKey.RC: ["OK"]}),
        headed({ReservedHeaderKey.RC: np.ones(2)}),
        dict,
        lambda answer: "answer",
    ],
)
def test_an_answer_of_any_form_costs_its_sender_alone(
    alter: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sites = some(4, tmp_path, s4=Site("site-4", trains(4), tmp_path, alter=alter))
    _, controller = run(sites, tmp_path, replace(SETTINGS, threshold=3), rounds=1)
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 3]), abs=2e-4)
    assert "site-4 is out of the round of train" in caplog.text


def test_twin_without_the_check_another_version_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, channel, "_entry", "plug-in-version")
    sites = some(4, tmp_path, s3=Site("site-3", trains(3), tmp_path, alter=newer))
    job, _ = run(sites, tmp_path, rounds=1)
    assert job.engine.tasks["site-3"] == 1


def test_who_dies_in_training_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(controllers, "_ALIVE_S", 0.05)

    class Dies(Site):
        def perform(self, task: Shareable) -> None:
            self.answers = 0

    _, controller = run(some(4, tmp_path, s3=Dies("site-3", trains(3), tmp_path)), tmp_path)
    assert moved_by(controller.models[1]) == pytest.approx(2 * mean_of([1, 2, 4]), abs=4e-4)
    assert "site-3 is out of the round of train: its process is gone" in caplog.text


def test_who_is_only_slow_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "_ALIVE_S", 0.02)
    asked: list[int] = []

    class Slow(Site):
        def perform(self, task: Shareable) -> Shareable | None:
            while len(asked) < 5:
                time.sleep(0.001)
            return super().perform(task)

        def hear(self, topic: str, request: Shareable) -> Shareable:
            if not channel.unpacked(request):
                asked.append(1)
            return super().hear(topic, request)

    _, controller = run(some(3, tmp_path, s3=Slow("site-3", trains(3), tmp_path)), tmp_path, rounds=1)
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 3]), abs=2e-4)


def test_who_cannot_be_reached_once_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "_ALIVE_S", 0.02)

    class Blinks(Site):
        looks = 0

        def perform(self, task: Shareable) -> Shareable | None:
            while self.looks < 4:
                time.sleep(0.001)
            return super().perform(task)

        def hear(self, topic: str, request: Shareable) -> Shareable:
            if not channel.unpacked(request):
                self.looks += 1
                if self.looks % 2:
                    return make_reply(ReturnCode.COMMUNICATION_ERROR)
            return super().hear(topic, request)

    _, controller = run(some(4, tmp_path, s3=Blinks("site-3", trains(3), tmp_path)), tmp_path, rounds=1)
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 3, 4]), abs=2e-4)


def test_a_round_without_a_sum_keeps_the_model_and_the_job_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tries: list[int] = []

    def first_fails(parameters: dict[str, Any]) -> FLModel | Shareable | None:
        tries.append(1)
        return raising(parameters) if len(tries) == 1 else trains(3)(parameters)

    _, controller = run(some(3, tmp_path, s3=Site("site-3", first_fails, tmp_path)), tmp_path)
    assert np.array_equal(controller.models[0].params["w"], MODEL["w"])
    assert moved_by(controller.models[1]) == pytest.approx(mean_of([1, 2, 3]), abs=2e-4)
    assert "the round of train has no sum" in caplog.text
    assert "this round has no sum, and the model stays as it is" in caplog.text


def test_a_job_ends_when_nobody_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sites = [Site(f"site-{n}", trains(n), tmp_path, missing=True) for n in (1, 2, 3)]
    _, controller = run(sites, tmp_path, replace(SETTINGS, start_s=0.1))
    assert controller.models == []
    assert "no site answered; site-1: its app lacks the secagg plug-in" in caplog.text


def test_a_site_that_is_not_up_yet_is_asked_again(tmp_path: Path) -> None:
    class Late(Site):
        heard = 0

        def hear(self, topic: str, request: Shareable) -> Shareable:
            self.heard += 1
            codes = {1: ReturnCode.COMMUNICATION_ERROR, 2: ReturnCode.TOPIC_UNKNOWN}
            return make_reply(codes[self.heard]) if self.heard in codes else super().hear(topic, request)

    _, controller = run(
        some(3, tmp_path, s3=Late("site-3", trains(3), tmp_path)), tmp_path, replace(SETTINGS, start_s=5.0), rounds=1
    )
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 3]), abs=2e-4)


def test_who_has_answered_once_and_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    sites = some(4, tmp_path, s3=Site("site-3", trains(3), tmp_path, answers=1))
    job, _ = run(sites, tmp_path, replace(SETTINGS, start_s=30.0), rounds=1)
    assert job.engine.asked["site-3"] == 2


def test_who_never_comes_up_is_waited_for_once_a_job(tmp_path: Path) -> None:
    heard: list[int] = []
    rounds: list[int] = []

    class Never(Site):
        def hear(self, topic: str, request: Shareable) -> Shareable:
            heard.append(1)
            return make_reply(ReturnCode.COMMUNICATION_ERROR)

    def counting(parameters: dict[str, Any]) -> Any:
        rounds.append(len(heard))
        return trains(1)(parameters)

    sites = some(4, tmp_path, s1=Site("site-1", counting, tmp_path), s3=Never("site-3", trains(3), tmp_path))
    run(sites, tmp_path, replace(SETTINGS, start_s=0.6), rounds=3)
    assert rounds[0] > 1
    assert [after - before for before, after in itertools.pairwise(rounds)] == [1, 1]


def answered(root: Path) -> Shareable:
    """What leaves a site for a task that has another name than the training task, and so no filter."""
    result = DXO(DataKind.WEIGHTS, data={"w": MODEL["w"]}).to_shareable()
    site = SecAggSite(SETTINGS.as_json())
    with Engine("site-1", root).new_context() as fl_ctx:
        fl_ctx.set_prop(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        site.handle_event(EventType.AFTER_TASK_RESULT_FILTER, fl_ctx)
    return result


def test_a_task_of_another_name_is_answered_with_an_error_alone(tmp_path: Path) -> None:
    result = answered(tmp_path)
    assert set(result) == {"__headers__"}
    assert result.get_return_code() == ReturnCode.TASK_RESULT_FILTER_ERROR


def test_twin_without_the_check_a_task_of_another_name_is_answered_in_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_check(monkeypatch, site_module, "let_no_other_out", "other-tasks-result")
    assert from_shareable(answered(tmp_path)).data["w"] is MODEL["w"]


def test_an_error_reply_leaves_without_what_came_with_it(tmp_path: Path) -> None:
    reply = make_reply(ReturnCode.BAD_TASK_DATA)
    reply["patient"] = 7
    sites = some(4, tmp_path, s3=Site("site-3", lambda _: reply, tmp_path))
    job, _ = run(sites, tmp_path, rounds=1)
    assert not [message for _, message in job.engine.seen if "patient" in message]


def test_the_filter_itself_lets_nothing_through_with_an_error(tmp_path: Path) -> None:
    """Even where FLARE tells nobody of the result that it is about to send."""
    engine = Engine("site-1", tmp_path)
    reply = DXO(DataKind.WEIGHTS, data={"w": np.ones(3)}).to_shareable()
    reply.set_return_code(ReturnCode.EXECUTION_EXCEPTION)
    with engine.new_context() as fl_ctx:
        left = MaskResult().process(reply, fl_ctx)
    assert left == make_reply(ReturnCode.EXECUTION_EXCEPTION)


@pytest.mark.parametrize("broken", [False, True])
def test_why_a_site_is_out_is_no_event(broken: bool, tmp_path: Path) -> None:
    """FLARE makes an event of what a component logs, and may pass it on to the server.."""
    engine, heard = Engine("site-1", tmp_path), list[str]()
    engine.fire_event = lambda event, fl_ctx: heard.append(event)  # type: ignore[method-assign]
    engine.components[COMPONENT] = SecAggSite(SETTINGS.as_json())
    with engine.new_context() as fl_ctx:
        if broken:
            engine.get_component = lambda name: 1 / 0  # type: ignore[method-assign]
        left = MaskResult().process(Shareable(), fl_ctx)
    assert channel.told(left, "left") == "its log says why"
    assert heard == []


def test_the_task_has_the_timeout_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = WFCommServer.broadcast

    def broadcast(self: Any, *args: Any, **more: Any) -> None:
        sent.append((more | dict(zip(("task",), args, strict=False)))["task"].timeout)
        send(self, *args, **more)

    class Limited(Kept):
        def send_model(self, **more: Any) -> None:
            super().send_model(**more | {"timeout": 77})

    monkeypatch.setattr(WFCommServer, "broadcast", broadcast)
    model = {name: array.copy() for name, array in MODEL.items()}
    controller = Limited(num_clients=3, num_rounds=1, model=model, persistor_id="", secagg=SETTINGS.as_json())
    Job(controller, some(3, tmp_path), tmp_path).run()
    assert sent == [77]


def test_a_late_result_is_dropped_unread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job, controller = run(some(3, tmp_path), tmp_path, rounds=1)
    assert isinstance(controller, Kept)
    (client, *_) = job.engine.get_clients()
    fl_ctx = job.engine.new_context()
    controller.process_result_of_unknown_task(client, "train", "id", trains(1)(MODEL), fl_ctx)
    assert "a result of site-1 came when its round was over; it was dropped unread" in caplog.text


def test_sites_hear_in_the_next_round_how_the_last_one_ended(tmp_path: Path) -> None:
    heard: list[list[str]] = []

    class Listens(Site):
        def hear(self, topic: str, request: Shareable) -> Shareable:
            heard.append([step.kind for step in channel.unpacked(request)])
            return super().hear(topic, request)

    run(some(3, tmp_path, s3=Listens("site-3", trains(3), tmp_path)), tmp_path)
    assert heard[0] == ["open", "open"]
    assert ["over", "over", "open", "open"] in heard


def test_a_site_that_flare_has_given_up_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept, "get_client_disconnect_time", lambda _, name: 1.0 if name == "site-3" else None)
    job, controller = run(some(4, tmp_path), tmp_path, rounds=1)
    assert set(job.engine.asked) == {"site-1", "site-2", "site-4"}
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 4]), abs=2e-4)


@pytest.mark.parametrize(
    ("threshold", "count", "gone"), [(5, 5, {"site-5"}), (0, 3, {"site-3"}), (0, 3, {"site-1", "site-2"})]
)
def test_a_job_goes_on_when_flare_has_given_up_too_many_sites(
    threshold: int, count: int, gone: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are back in the last round."""
    caplog.set_level("INFO")

    class Missing(Kept):
        def get_client_disconnect_time(self, name: str) -> float | None:
            return 1.0 if name in gone and len(self.models) == 1 else None

    settings = replace(SETTINGS, threshold=threshold).as_json()
    model = {name: array.copy() for name, array in MODEL.items()}
    controller = Missing(num_clients=count, num_rounds=3, model=model, persistor_id="", secagg=settings)
    Job(controller, some(count, tmp_path), tmp_path).run()
    first, second, third = (kept.params["b"][0] for kept in controller.models)
    assert first == second
    assert third == pytest.approx(2 * first, abs=1e-3)
    assert f"{count - len(gone)} sites are there, and a sum holds at least {threshold or 3}" in caplog.text


def test_a_job_ends_when_flare_has_given_up_all_sites(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Missing(Kept):
        def get_client_disconnect_time(self, name: str) -> float:
            return 1.0

    controller = Missing(num_clients=3, num_rounds=3, model=dict(MODEL), persistor_id="", secagg=SETTINGS.as_json())
    Job(controller, some(3, tmp_path), tmp_path).run()
    assert controller.models == []
    assert "NobodyThere: no site is there" in caplog.text


def test_a_site_that_flare_gives_up_in_training_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[str] = []
    monkeypatch.setattr(Kept, "get_client_disconnect_time", lambda _, name: 1.0 if name in gone else None)

    def dies(parameters: dict[str, Any]) -> None:
        gone.append("site-3")

    _, controller = run(some(4, tmp_path, s3=Site("site-3", dies, tmp_path)), tmp_path, rounds=1)
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 4]), abs=2e-4)


def test_an_aborted_job_asks_nobody(tmp_path: Path) -> None:
    model = {name: array.copy() for name, array in MODEL.items()}
    controller = Kept(num_clients=3, num_rounds=2, model=model, persistor_id="", secagg=SETTINGS.as_json())
    job = Job(controller, some(3, tmp_path), tmp_path)
    job.abort.trigger(True)
    job.run()
    assert job.engine.asked == {}


def test_a_sum_that_no_updates_can_have_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as of a site that masked nonsense."""
    caplog.set_level("INFO")

    def nonsense(*_: object) -> None:
        raise ProtocolViolation("the weights add up to nothing")

    monkeypatch.setattr(Aggregate, "mean", nonsense)
    _, controller = run(some(3, tmp_path), tmp_path, rounds=1)
    assert np.array_equal(controller.models[0].params["w"], MODEL["w"])
    assert "a sum came out that no updates can have: the weights add up to nothing" in caplog.text


def test_sums_of_metrics_that_cannot_be_read_leave_the_mean_of_the_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def nonsense(*_: object) -> None:
        raise ProtocolViolation("a sum is larger than any")

    monkeypatch.setattr(Aggregate, "totals", nonsense)
    _, controller = run(some(3, tmp_path), tmp_path, rounds=1)
    assert moved_by(controller.models[0]) == pytest.approx(mean_of([1, 2, 3]), abs=2e-4)
    assert "the sums of metrics cannot be read, and this round has none: a sum is larger than any" in caplog.text
