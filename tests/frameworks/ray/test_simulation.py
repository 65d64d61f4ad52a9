"""Participants of a simulation on a Ray cluster of two nodes: the sum is that of one process, losses have a name."""

import time
from collections.abc import Iterator

import pytest
import ray
from ray.cluster_utils import Cluster as RayCluster

from secagg.config import ThreatModel
from secagg.crypto.rng import SeededRng
from secagg.errors import WorkerError
from secagg.messages import MASKED_PHASES
from secagg.tools.cluster import Cluster, joined
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope
from secagg.tools.simulation.scenario import Scenario, ScenarioResult, play
from secagg.tools.simulation.stopwatch import standing_still
from tests.frameworks.ray.settings import NOTICED_SOON

SCENARIO = Scenario(
    participants=16, values=2000, threshold=11, dropouts=dict.fromkeys(MASKED_PHASES[ThreatModel.ACTIVE], 1)
)


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayCluster]:
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": NOTICED_SOON}
    cluster = RayCluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def played(cluster: Cluster | None, **options: object) -> ScenarioResult:
    spread = None
    if cluster is not None:
        spread = cluster.spread(participant_names(SCENARIO.participants), standing_still, signed=True)
    return play(SCENARIO, rng=SeededRng(bytes(32)), spread=spread, **options)  # type: ignore[arg-type]


def test_the_sum_is_the_same_to_the_bit_and_a_lost_process_ends_by_name(nodes: RayCluster) -> None:
    with joined(nodes.address) as cluster:
        assert cluster.processes == 2
        found = played(cluster)
        assert found.exact is True
        assert found.digest == played(None).digest
        assert found.dropped == SCENARIO.dropouts

        killed: list[Envelope] = []

        def kill(envelope: Envelope) -> tuple[Envelope, ...]:
            if not killed:
                killed.append(envelope)
                nodes.remove_node(nodes.worker_nodes.copy().pop(), allow_graceful=False)
                while sum(node["Alive"] for node in ray.nodes()) > 1:
                    time.sleep(0.1)  # else the round may be over before Ray knows
            return (envelope,)

        with pytest.raises(WorkerError, match="participants of the simulation"):
            played(cluster, observe=kill)
