"""The functions of Flower's SecAgg+ beside ours: sharing keys, masked input, unmasking.

Flower's are called as its client mod and its workflow call them, without their messages. Ours are in the semi-honest
threat model, which is Flower's; sharing keys is timed in the active one, too.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from secagg.config import Suite, ThreatModel
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding.arrays import FloatArray
from secagg.encoding.vector import EncodedUpdate
from secagg.errors import LocalError
from secagg.masked.vector import MaskedVector
from secagg.messages import Phase
from secagg.tools.bench.cohort import SEED, Cohort, bench_config
from secagg.tools.bench.encoding import sample_update
from secagg.tools.bench.measure import cpu_clock
from secagg.tools.bench.peers.works import Side, Work, timed
from secagg.tools.bench.stream import installed
from secagg.tools.simulation import stopwatch
from secagg.tools.simulation.scenario import Scenario, play

CLIP: Final = 1.0
VALUE_BITS: Final = 16
_RANGE: Final = 1 << VALUE_BITS
_MODULUS: Final = 1 << 32
_EXAMPLES: Final = 1

AIM_NEIGHBOURS: Final = 100
AIM_VALUES: Final = 1_000_000
_SHARED_AIM: Final = 100.0
_MASKED_AIM: Final = 8.0
_AEGIS_AIM: Final = 15.0
"""Ratios that are aimed at with so many neighbours and values."""


def works(neighbours: int, values: int, unmasked: int, dropped: int) -> Iterator[Work]:
    """Every work. Args: as those of `PeersSetting`."""
    peer = f"Flower {version('flwr')}"
    yield _share_keys(peer, neighbours)
    yield _masked_input(peer, neighbours, values)
    yield _unmask(peer, unmasked, dropped, values)


def _share_keys(peer: str, neighbours: int) -> Work:
    flowers = Flowers.gather(neighbours + 1, neighbours + 1)

    def ours(threat_model: ThreatModel) -> Callable[[], object]:
        threshold = flowers.threshold
        config = bench_config(neighbours + 1, 64, threat_model=threat_model, threshold=threshold)
        cohort = Cohort.gather(config)
        vector = config.code.encode(config.schema.check(sample_update(64)), 1, Secret(bytes(32)))
        return lambda: cohort.share_keys(vector)

    aim = _SHARED_AIM if neighbours == AIM_NEIGHBOURS else None
    return Work(
        name="share keys",
        size=f"k = {neighbours}, t = {flowers.threshold}",
        peer=peer,
        theirs=Side(run=timed(lambda: flowers.share_keys(1))),
        ours={
            "semi-honest": Side(run=timed(ours(ThreatModel.SEMI_HONEST)), at_least=aim),
            "active": Side(
                run=timed(ours(ThreatModel.ACTIVE)),
                note="certificates and signatures of all neighbours are verified, too, which the peer has not",
            ),
        },
    )


def _masked_input(peer: str, neighbours: int, values: int) -> Work:
    flowers, update = Flowers.gather(neighbours + 1, neighbours + 1), sample_update(values)
    flowers.share_keys(1)
    incoming = flowers.incoming(1)
    usual = (neighbours, values) == (AIM_NEIGHBOURS, AIM_VALUES)

    def ours(suite: Suite, aim: float) -> Side:
        masked = _our_masked_input(neighbours, update, suite)
        return Side(run=timed(masked), sent_bytes=masked(), at_least=aim if usual else None)

    return Work(
        name="masked input",
        size=f"m = {values:,}, k = {neighbours}",
        peer=peer,
        theirs=Side(
            run=timed(lambda: flowers.masked(1, incoming, update)),
            sent_bytes=sum(map(len, flowers.masked(1, incoming, update))),
        ),
        ours={title: ours(suite, aim) for title, (suite, aim) in _suites().items()},
    )


def _our_masked_input(neighbours: int, update: FloatArray, suite: Suite) -> Callable[[], int]:
    """From the delivery of sealed shares to the last chunk; gives the bytes of all chunks."""
    config = bench_config(neighbours + 1, len(update), threat_model=ThreatModel.SEMI_HONEST, suite=suite)
    cohort = Cohort.gather(config)

    def encoder() -> EncodedUpdate:
        return config.code.encode(config.schema.check(update), 1, Secret(bytes(32)))

    state, delivery = cohort.share_keys(encoder()), cohort.delivery()

    def send() -> int:
        masked: MaskedVector
        _, masked = state.receive(delivery, cohort.turn(encoder()))
        return sum(len(chunk.payload) for chunk in masked)

    return send


def _suites() -> dict[str, tuple[Suite, float]]:
    """The suites that are installed here, by the cipher of their masks, each with the ratio that is aimed at."""
    known = {"AES": (Suite.X25519_SHA256_AES128, _MASKED_AIM), "AEGIS": (Suite.X25519_SHA256_AEGIS128X4, _AEGIS_AIM)}
    return {title: chosen for title, chosen in known.items() if installed(chosen[0].mask_cipher)}


def _unmask(peer: str, participants: int, dropped: int, values: int) -> Work:
    scenario = Scenario(
        participants=participants,
        values=values,
        threat_model=ThreatModel.SEMI_HONEST,
        value_bits=VALUE_BITS,
        dropouts={Phase.MASKED_INPUT: dropped},
    )

    def ours() -> float:
        found = play(scenario, rng=SeededRng(SEED), clock=cpu_clock)
        if not found.exact:
            raise LocalError("our unmasked sum is not exact, so its time says nothing")
        return found.seconds[stopwatch.Side.COORDINATOR, Phase.UNMASK]

    return Work(
        name="unmask",
        size=f"m = {values:,}, n = {participants}, {dropped} dropped",
        peer=peer,
        theirs=Side(run=Flowers.gather(participants, participants).unmasking(dropped, values)),
        ours={"AES": Side(run=ours)},
    )


@dataclass(frozen=True, slots=True)
class Flowers:
    """Clients of Flower that have advertised keys, by node id from 1 on; everyone is everyone's neighbour.

    Attributes:
        states: of Flower's client mod.
        threshold: t.
    """

    states: dict[int, Any]
    threshold: int

    @classmethod
    def gather(cls, participants: int, shares: int) -> "Flowers":
        """All of them."""
        logging.getLogger("flwr").setLevel(logging.ERROR)
        mod, key = _mod(), _constants().Key
        threshold = 2 * shares // 3 + 1
        configs = {
            key.SAMPLE_NUMBER: participants,
            key.SHARE_NUMBER: shares,
            key.THRESHOLD: threshold,
            key.CLIPPING_RANGE: CLIP,
            key.TARGET_RANGE: _RANGE,
            key.MOD_RANGE: _MODULUS,
            key.MAX_WEIGHT: float(_EXAMPLES),
        }
        states = {}
        for node in range(1, participants + 1):
            states[node] = mod.SecAggPlusState(nid=node)
            mod._setup(states[node], configs)
        return cls(states, threshold)

    def share_keys(self, node: int) -> dict[int, bytes]:
        """Sealed shares by their receiver."""
        key = _constants().Key
        keys = {str(other): (state.pk1, state.pk2) for other, state in self.states.items()}
        sent = _mod()._share_keys(self.states[node], keys)
        return dict(zip(sent[key.DESTINATION_LIST], sent[key.CIPHERTEXT_LIST], strict=True))

    def incoming(self, node: int) -> dict[int, bytes]:
        """Sealed shares from everyone else to this client, by sender; all of them hold the same shares."""
        # Flower's own functions seal them, as `share_keys` of every other client would.
        mod, own = _mod(), self.states[node]
        found = {}
        for other, state in self.states.items():
            if other != node:
                shared = mod.generate_shared_key(mod.bytes_to_private_key(state.sk2), mod.bytes_to_public_key(own.pk2))
                pair = (own.rd_seed_share_dict[node], own.sk1_share_dict[node])
                found[other] = mod.encrypt(shared, mod.share_keys_plaintext_concat(other, node, *pair))
        return found

    def masked(self, node: int, incoming: dict[int, bytes], update: FloatArray) -> list[bytes]:
        """The masked arrays of a client, as they are sent."""
        from flwr.common import ndarrays_to_parameters  # noqa: PLC0415 - the package may be absent

        key = _constants().Key
        configs = {key.CIPHERTEXT_LIST: list(incoming.values()), key.SOURCE_LIST: list(incoming)}
        parameters = ndarrays_to_parameters([update])
        sent = _mod()._collect_masked_vectors(self.states[node], configs, _EXAMPLES, parameters)
        arrays: list[bytes] = sent[key.MASKED_PARAMETERS]
        return arrays

    def unmasking(self, dropped: int, values: int) -> Callable[[], float]:
        """The server's last stage, after the last `dropped` clients went away with their keys shared."""
        from flwr.common import bytes_to_ndarray  # noqa: PLC0415 - the package may be absent

        key = _constants().Key
        nodes = list(self.states)
        active, dead = nodes[: len(nodes) - dropped], nodes[len(nodes) - dropped :]
        sealed = {node: self.share_keys(node) for node in nodes}
        mean, total = np.zeros(values), None
        for node in active:
            update = sample_update(values, node)
            mean += np.clip(update, -CLIP, CLIP) / len(active)
            incoming = {other: shares[node] for other, shares in sealed.items() if other != node}
            arrays = [bytes_to_ndarray(array) for array in self.masked(node, incoming, update)]
            total = arrays if total is None else [a + b for a, b in zip(total, arrays, strict=True)]
        summed = [array % _MODULUS for array in total or ()]
        asked = {key.ACTIVE_NODE_ID_LIST: active, key.DEAD_NODE_ID_LIST: dead}
        told = {node: _mod()._unmask(self.states[node], asked) for node in active}
        return lambda: self._unmasked(summed, told, mean)

    def _unmasked(self, summed: list[Any], told: dict[int, Any], mean: Any) -> float:
        """CPU seconds of the stage on a fresh state, with a grid that has the answers already."""
        from flwr.common import parameters_to_ndarrays  # noqa: PLC0415 - the package may be absent
        from flwr.server.workflow.secure_aggregation import secaggplus_workflow as flows  # noqa: PLC0415
        from flwr.supercore.task_identity import TaskIdentity  # noqa: PLC0415

        # Flower's messages name the task of their process.
        TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
        constants, nodes = _constants(), set(self.states)
        result = SimpleNamespace(parameters=None)
        state = flows.WorkflowState(
            sampled_node_ids=set(nodes),
            active_node_ids=set(told),
            num_shares=len(nodes),
            threshold=self.threshold,
            clipping_range=CLIP,
            quantization_range=_RANGE,
            mod_range=_MODULUS,
            max_weight=float(_EXAMPLES),
            nid_to_neighbours={node: set(nodes) for node in nodes},
            nid_to_publickeys={node: [state.pk1, state.pk2] for node, state in self.states.items()},
            aggregate_ndarrays=[array.copy() for array in summed],
            legacy_results=[(None, result)],
        )
        answers = [_Answer(node, {constants.RECORD_KEY_CONFIGS: records}) for node, records in told.items()]
        grid = SimpleNamespace(send_and_receive=lambda _messages, timeout=None: answers)
        about = {flows.MAIN_CONFIGS_RECORD: {flows.WorkflowKey.CURRENT_ROUND: 1}}
        context = SimpleNamespace(
            state=SimpleNamespace(config_records=about),
            strategy=SimpleNamespace(aggregate_fit=lambda *_: (None, {})),
        )
        workflow = flows.SecAggPlusWorkflow(num_shares=len(nodes), reconstruction_threshold=self.threshold)
        start = cpu_clock()
        ended = workflow.unmask_stage(grid, context, state)
        spent = cpu_clock() - start
        found = parameters_to_ndarrays(result.parameters)[0] if ended else np.inf
        if not np.allclose(found, mean, atol=4 * CLIP / _RANGE):
            raise LocalError("Flower's unmasked mean is not that of the updates, so its time says nothing")
        return spent


@dataclass(frozen=True, slots=True)
class _Answer:
    """A client's answer, as Flower's server reads it."""

    node: int
    records: dict[str, Any]

    @property
    def metadata(self) -> Any:
        """Who sent it."""
        return SimpleNamespace(src_node_id=self.node)

    @property
    def content(self) -> Any:
        """What is in it."""
        return SimpleNamespace(config_records=self.records)

    def has_error(self) -> bool:
        """Never."""
        return False


def _mod() -> Any:
    """The module of Flower's client mod; a function of the same name hides it in its package."""
    from importlib import import_module  # noqa: PLC0415 - the package may be absent

    return import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")


def _constants() -> Any:
    from flwr.common.secure_aggregation import secaggplus_constants  # noqa: PLC0415 - the package may be absent

    return secaggplus_constants
