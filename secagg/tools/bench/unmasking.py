"""The coordinator's work at the end of a round: secrets reconstructed, masks expanded, the sum unmasked."""

from collections.abc import Iterable
from statistics import median

from secagg.config import ThreatModel
from secagg.crypto.rng import SeededRng
from secagg.errors import LocalError
from secagg.messages import Phase
from secagg.tools.bench.cohort import SEED
from secagg.tools.bench.measure import cpu_clock
from secagg.tools.bench.report import Figure, Section
from secagg.tools.simulation.scenario import Scenario, play
from secagg.tools.simulation.stopwatch import Side


def measure(participants: int, dropped: int, lengths: Iterable[int], repeats: int) -> Section:
    """Seconds of the unmasking phase for vectors of these lengths, from simulated rounds that must come out exact.

    Raises:
        LocalError: a sum was not exact.
    """
    figures = tuple(_measure_length(participants, dropped, values, repeats) for values in lengths)
    title = f"Unmasking at the coordinator (n = {participants}, {dropped} dropped after sharing keys, one core)"
    return Section("unmasking", title, figures)


def _measure_length(participants: int, dropped: int, values: int, repeats: int) -> Figure:
    scenario = Scenario(
        participants=participants,
        values=values,
        threat_model=ThreatModel.SEMI_HONEST,
        dropouts={Phase.MASKED_INPUT: dropped},
    )
    return Figure(
        f"unmask_{values}_values_s",
        median(_unmask_s(scenario) for _ in range(repeats)),
        note=f"{participants - dropped} self masks and {dropped * (participants - dropped)} pairwise masks",
    )


def _unmask_s(scenario: Scenario) -> float:
    findings = play(scenario, rng=SeededRng(SEED), clock=cpu_clock)
    if not findings.exact:
        raise LocalError("the simulated round did not come out exact")
    return findings.seconds[Side.COORDINATOR, Phase.UNMASK]
