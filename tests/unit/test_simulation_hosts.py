"""Simulated rounds whose participants are in other processes: what passes between them is bytes, and nothing differs.

The processes are played here: arguments and results of each call are pickled, as on the way to another process.
"""

import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from secagg.cli.main import main
from secagg.config import ThreatModel
from secagg.crypto.rng import SeededRng
from secagg.errors import ConfigError, MissingExtraError, RemoteError, WorkerError
from secagg.messages import MASKED_PHASES, ConsistencyProof, MaskedInputChunk, ParticipantId, Phase, Roster, SurvivorSet
from secagg.sparse.ring import Ring
from secagg.tools.cluster import Cluster, joined
from secagg.tools.simulation import hosts
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.hosts import Host, Spread, Wait
from secagg.tools.simulation.network import Down, Envelope, Up
from secagg.tools.simulation.passing import Batch, Inbox, Outbox
from secagg.tools.simulation.scenario import Scenario, ScenarioResult, play
from secagg.tools.simulation.stopwatch import Clock, Side, standing_still

RING = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)
ON_RING = Scenario(participants=20, values=50, threshold=8, graph=RING, max_colluding=1)
SMALL = Scenario(participants=9, values=50, threshold=6)
SEED = bytes(32)


def carried(value: Any) -> Any:
    """As it arrives in another process."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301, which are our own


@dataclass
class Processes:
    """Hosts, each as far away as another process."""

    hosts: list[Host] = field(default_factory=list)
    under_way: int = 0
    most: int = 0
    batches: list[Batch] = field(default_factory=list)

    def make(self, names: Sequence[ParticipantId], ca: tuple[bytes, bytes] | None, clock: Clock) -> Callable[..., Wait]:
        host = Host(carried(names), carried(ca), clock)
        self.hosts.append(host)

        def ask(name: str, *arguments: Any) -> Wait:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            there = carried(arguments)
            if name == "deliver":
                self.batches.append(there[0])
            found = carried(getattr(host, name)(*there))

            def wait() -> Any:
                self.under_way -= 1
                return found

            return wait

        return ask

    def spread(self, scenario: Scenario, count: int = 3, **options: Any) -> Spread:
        signed = scenario.threat_model is ThreatModel.ACTIVE
        return Spread(participant_names(scenario.participants), self.make, count, signed=signed, **options)


def played(scenario: Scenario, **options: Any) -> ScenarioResult:
    return play(scenario, rng=SeededRng(SEED), **options)


def spread_out(scenario: Scenario, **options: Any) -> ScenarioResult:
    return played(scenario, spread=Processes().spread(scenario), **options)


def same(one: ScenarioResult, other: ScenarioResult) -> None:
    assert one.digest == other.digest
    assert (one.exact, one.survivors, one.dropped) == (other.exact, other.survivors, other.dropped)
    assert (one.largest_error, one.liars, one.named) == (other.largest_error, other.liars, other.named)
    assert str(one.aborted) == str(other.aborted)


@pytest.mark.parametrize("threat_model", ThreatModel)
def test_the_sum_is_the_same_to_the_bit_with_a_dropout_in_each_phase(threat_model: ThreatModel) -> None:
    order = MASKED_PHASES[threat_model]
    scenario = Scenario(
        participants=16, values=50, threshold=11, threat_model=threat_model, dropouts=dict.fromkeys(order, 1)
    )
    found = spread_out(scenario)
    assert found.exact is True
    assert found.dropped == dict.fromkeys(order, 1)
    same(found, played(scenario))


def test_the_sum_is_the_same_on_a_ring() -> None:
    scenario = replace(ON_RING, dropouts={Phase.MASKED_INPUT: 1})
    found = spread_out(scenario)
    assert found.exact is True
    same(found, played(scenario))


@pytest.mark.parametrize("liars", [1, 5], ids=["named", "too many"])
def test_liars_come_out_as_in_one_process(liars: int) -> None:
    scenario = replace(SMALL, wrong_shares=liars)
    same(spread_out(scenario), played(scenario))


def test_too_few_survivors_are_the_same_named_abort() -> None:
    scenario = replace(SMALL, dropouts={Phase.MASKED_INPUT: 5})
    found = spread_out(scenario)
    assert found.aborted is not None
    same(found, played(scenario))


def test_a_participant_that_refuses_gives_up_and_says_so() -> None:
    def forge(envelope: Envelope) -> Iterable[Envelope]:
        message = envelope.message
        if isinstance(envelope, Down) and isinstance(message, SurvivorSet):
            return (replace(envelope, message=SurvivorSet(message.survivors[:2], ())),)
        return (envelope,)

    here, there = played(SMALL, observe=forge), spread_out(SMALL, observe=forge)
    assert there.aborted is not None
    same(there, here)


def test_several_rounds_have_the_same_hosts() -> None:
    processes = Processes()
    spread, rng = processes.spread(SMALL), SeededRng(SEED)
    found = [play(SMALL, rng=rng, spread=spread) for _ in range(2)]
    assert [each.exact for each in found] == [True, True]
    assert found[0].digest != found[1].digest
    assert len(processes.hosts) == 3


def test_there_are_no_more_hosts_than_participants() -> None:
    processes = Processes()
    assert played(SMALL, spread=processes.spread(SMALL, 100)).exact is True
    assert len(processes.hosts) == 9


def test_what_an_altered_input_does_is_seen_there_too() -> None:
    def alter(envelope: Envelope) -> Iterable[Envelope]:
        message = envelope.message
        if isinstance(message, MaskedInputChunk) and envelope.participant.endswith("1"):
            flipped = MaskedInputChunk(message.number, bytes([message.payload[0] ^ 1]) + message.payload[1:])
            return (Up(envelope.participant, flipped, envelope.phase),)
        return (envelope,)

    assert spread_out(SMALL, observe=alter).exact is False


def test_the_work_of_hosts_is_that_of_participants() -> None:
    ticks = iter(range(10**9))
    found = played(SMALL, spread=Processes().spread(SMALL, clock=lambda: float(next(ticks))))
    assert found.seconds[Side.PARTICIPANT, Phase.MASKED_INPUT] > 0
    assert found.seconds[Side.COORDINATOR, Phase.MASKED_INPUT] == 0  # whose clock stands still


def test_no_more_batches_are_under_way_than_hosts_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "MOST_IN_BATCH", 1)
    processes = Processes()
    scenario = replace(SMALL, participants=30, threshold=20)
    assert played(scenario, spread=processes.spread(scenario)).exact is True
    assert processes.most == hosts.AT_A_HOST * 3


def test_a_batch_has_no_more_vectors_than_its_bytes_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "BATCH_BYTES", 300)
    processes = Processes()
    assert played(SMALL, spread=processes.spread(SMALL, 1)).exact is True
    assert max(len(batch.downs) for batch in processes.batches) == 2  # 50 values of 20 bits: 125 bytes


def test_what_many_are_shown_goes_to_a_process_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a ring: the list of all members, and each entry."""
    monkeypatch.setattr(hosts, "MOST_IN_BATCH", 3)
    processes = Processes()
    assert played(ON_RING, spread=processes.spread(ON_RING, 2)).exact is True
    assert sum(bool(batch.listing) for batch in processes.batches) == 2
    assert sum(len(batch.entries) for batch in processes.batches) <= 2 * ON_RING.participants


def test_a_message_for_all_is_one_object_for_all() -> None:
    sets = SurvivorSet((), ())
    outbox, inbox = Outbox(), Inbox()
    name = participant_names(2)
    first = inbox.unpack(outbox.pack([Down(each, sets, Phase.MASKED_INPUT) for each in name]))
    (again,) = inbox.unpack(outbox.pack([Down(name[0], SurvivorSet((), ()), Phase.MASKED_INPUT)]))
    assert first[0].message is first[1].message is again.message
    (proof,) = inbox.unpack(outbox.pack([Down(name[0], ConsistencyProof({}), Phase.CONSISTENCY_CHECK)]))
    assert proof.message == ConsistencyProof({})
    (empty,) = inbox.unpack(outbox.pack([Down(name[0], Roster(()), Phase.ADVERTISE_KEYS)]))
    assert empty.message == Roster(())


# --- on a cluster, without Ray ----------------------------------------------------------------------------------------


class RayError(Exception):
    """What went wrong on the cluster."""


class RayTaskError(RayError):
    """What a program of ours raised there."""


class FakeRay:
    """As much of the module `ray` as a simulation needs. Calls are made when somebody waits for their answers."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, cpus: float = 2, fails: Exception | None = None) -> None:
        self.cpus = cpus
        self.fails = fails
        self.shared: list[Any] = []

    def available_resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} if self.cpus else {}

    def put(self, value: Any) -> Any:
        self.shared.append(value)
        return value

    def get(self, answer: Callable[[], Any]) -> Any:
        if self.fails is not None:
            raise self.fails
        return answer()

    def remote(self, **asked: float) -> Callable[[type], Any]:
        assert asked == {"num_cpus": 1}
        return self._actor_of

    def _actor_of(self, kind: type) -> Any:
        def made(*arguments: Any) -> Any:
            host = kind(*arguments)

            def method(name: str) -> Any:
                return SimpleNamespace(remote=lambda *given: partial(getattr(host, name), *given))

            return SimpleNamespace(**{name: method(name) for name in ("enter", "deliver", "expected")})

        def options(**given: str) -> Any:
            assert given == {"scheduling_strategy": "SPREAD"}
            return SimpleNamespace(remote=made)

        return SimpleNamespace(options=options)


def on_cluster(ray: FakeRay) -> ScenarioResult:
    cluster = Cluster(ray)  # type: ignore[arg-type]
    return played(SMALL, spread=cluster.spread(participant_names(9), standing_still, signed=True))


def test_a_cluster_has_a_process_on_each_cpu() -> None:
    ray = FakeRay(cpus=2.5)
    assert Cluster(ray).processes == 2  # type: ignore[arg-type]
    same(on_cluster(ray), played(SMALL))
    assert len(ray.shared) == 1  # what updates are windows on, once for all processes


@pytest.mark.parametrize("cpus", [0, 0.5])
def test_a_cluster_without_a_free_cpu_is_refused(cpus: float) -> None:
    with pytest.raises(ConfigError, match="--num-cpus"):
        on_cluster(FakeRay(cpus))


def test_a_lost_process_ends_the_simulation_by_name() -> None:
    with pytest.raises(WorkerError, match=r"5 participants .* same --seed"):
        on_cluster(FakeRay(fails=RayError("the actor died\nwith its node")))
    with pytest.raises(RayTaskError):
        on_cluster(FakeRay(fails=RayTaskError()))


@pytest.mark.parametrize("half", [["--engine", "ray"], ["--ray-address", "auto"]])
def test_the_engine_and_its_cluster_go_together(half: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "-n", "4", *half])
    assert ended.value.code == 1
    assert "go together" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_extra_is_named() -> None:
    with pytest.raises(MissingExtraError, match="cluster"), joined("auto"):
        pass


def test_an_error_keeps_its_name_on_the_way() -> None:
    error = carried(RemoteError("no", culprit="coordinator"))
    assert (str(error), error.culprit) == ("no", "coordinator")
