"""What a participant's part in a round costs in the hybrid suite, beside the default one."""

from collections.abc import Callable

from secagg.config import Suite, ThreatModel
from secagg.crypto.secret import Secret
from secagg.encoding.vector import EncodedUpdate
from secagg.masked.advertise_keys import join
from secagg.masked.vector import MaskedVector
from secagg.tools.bench.cohort import Cohort, bench_config
from secagg.tools.bench.encoding import sample_update
from secagg.tools.bench.measure import take_turns
from secagg.tools.bench.report import Figure, Section, at_most

VALUES = 100_000


def measure(values: int, neighbours: int, repeats: int) -> Section:
    """Time of all steps of one participant from its keys to the last chunk, against a coordinator that may lie."""
    parts = {
        "default": _part(Suite.X25519_SHA256_AES128, values, neighbours),
        "hybrid": _part(Suite.XWING_SHA256_AES256, values, neighbours),
    }
    turns = take_turns(parts, repeats)
    figures = (
        Figure(
            "hybrid_client_s",
            turns.median("hybrid"),
            at_most(0.2),
            "keys, shares, shares opened, update encoded, masked and packed; suite XWING_SHA256_AES256",
        ),
        Figure("default_client_s", turns.median("default"), note="the same, suite X25519_SHA256_AES128"),
    )
    return Section("suites", f"Suites ({values:,} values, {neighbours} neighbours, active, one core)", figures)


def _part(suite: Suite, values: int, neighbours: int) -> Callable[[], object]:
    config = bench_config(neighbours + 1, values, threat_model=ThreatModel.ACTIVE, suite=suite)
    cohort, update = Cohort.gather(config), sample_update(values)
    delivery = cohort.delivery()

    def encoder() -> EncodedUpdate:
        return config.code.encode(config.schema.check(update), 1, Secret(bytes(32)))

    def play() -> int:
        join(cohort.own.membership)
        masked: MaskedVector
        _, masked = cohort.share_keys(encoder()).receive(delivery, cohort.turn(encoder()))
        return sum(len(chunk.payload) for chunk in masked)

    return play
