"""A participant's masked input, from the delivery of its neighbours' shares to the last packed chunk."""

from secagg.config import ThreatModel
from secagg.crypto.secret import Secret
from secagg.encoding.vector import EncodedUpdate
from secagg.masked.vector import MaskedVector
from secagg.tools.bench.cohort import Cohort, bench_config
from secagg.tools.bench.encoding import sample_update
from secagg.tools.bench.measure import take_turns
from secagg.tools.bench.report import Figure, Section, at_most


def measure(values: int, neighbours: int, repeats: int) -> Section:
    """Time and size of the masked input of `values` coordinates among `neighbours` neighbours, on one core."""
    config = bench_config(neighbours + 1, values, threat_model=ThreatModel.SEMI_HONEST)
    cohort, update = Cohort.gather(config), sample_update(values)

    def encoder() -> EncodedUpdate:
        flat = config.schema.check(update)
        return config.code.encode(flat, 1, Secret(bytes(32)))

    state, delivery = cohort.share_keys(encoder()), cohort.delivery()

    def open_shares() -> MaskedVector:
        masked: MaskedVector
        _, masked = state.receive(delivery, cohort.turn(encoder()))
        return masked

    masked = open_shares()
    turns = take_turns(
        {
            "open": open_shares,
            "vector": lambda: _send(masked),
            "all": lambda: _send(open_shares()),
        },
        repeats,
    )
    size, words = _send(masked), config.ring_dtype.itemsize * config.vector_len
    masks_gigabytes = (neighbours + 1) * words / 1e9
    figures = (
        Figure(
            "masked_input_s",
            turns.median("all"),
            at_most(0.25),
            "shares opened, keys agreed, update encoded, masked and packed",
        ),
        Figure("open_shares_and_agree_s", turns.median("open"), note="of it: shares opened, keys agreed"),
        Figure("encode_mask_pack_s", turns.median("vector"), note="of it: the vector"),
        Figure(
            "masks_added_gb_per_s",
            masks_gigabytes / turns.median("vector"),
            note="mask bytes over the time of the vector; the limit is add_masks_limit_gb_per_s",
        ),
        Figure(
            "masked_input_bytes_per_value",
            size / values,
            note=f"ring of {config.ring_bits} bits",
        ),
    )
    return Section("masked_input", f"Masked input ({values:,} values, {neighbours} neighbours, one core)", figures)


def _send(masked: MaskedVector) -> int:
    """Make every chunk; bytes of all of them."""
    return sum(len(chunk.payload) for chunk in masked)
