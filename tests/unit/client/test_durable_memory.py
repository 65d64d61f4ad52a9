"""A participant says whether its memory of released sums outlives the process: a saved state must not go without."""

from pathlib import Path

from secagg_client import Memory
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Terms

from secagg.crypto.rng import SystemRng
from secagg.policy import Policy
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.configuration import encode_config
from tests.rounds import NOW, deployment, make_config, start


def test_a_memory_in_a_file_is_durable_and_one_without_is_not(tmp_path: Path) -> None:
    config, made = make_config(5), deployment()
    offer = Offer(start(config).coordinator.round.round_id, config, encode_config(config))
    for memory, durable in ((Memory(), False), (Memory(tmp_path / "sums"), True)):
        assert memory.durable is durable
        identity = made.identities[participant_names(1)[0]]
        terms = Terms(identity, made.trust, Policy(), SystemRng(), lambda: NOW, memory=memory)
        assert terms.membership(offer, config.model_digest).durable_claim is durable
