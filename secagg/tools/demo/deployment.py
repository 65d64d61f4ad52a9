"""The participants of the demo on this machine: their names, their data, and how each of them is started."""

from collections.abc import Mapping

from secagg.config import ThreatModel
from secagg.tools.demo.job import Examples
from secagg.tools.demo.participant import save_arrays
from secagg.tools.deployment.identities import Identities
from secagg.variants import Variant


def participant_names(count: int) -> list[str]:
    """Ids that sort in the order of their numbers."""
    return [f"site-{number:02d}" for number in range(1, count + 1)]


def hand_out(identities: Identities, examples: Mapping[str, Examples]) -> None:
    """Write the examples of each participant into the folder of its identity."""
    for name, own in examples.items():
        save_arrays(identities.participants[name] / "examples.npz", {"images": own.images, "labels": own.labels})


def commands(
    identities: Identities, target: str, threat_model: ThreatModel, variant: Variant
) -> dict[str, tuple[str, ...]]:
    """How each participant is started. Args: target: the coordinator's data plane."""
    shared = ("secagg.tools.demo.participant", "--target", target, "--threat-model", threat_model.name)
    custody = () if variant.custody is None else ("--custody", variant.custody.value)
    return {
        name: (*shared, *custody, "--identity", str(folder), "--data", str(folder / "examples.npz"))
        for name, folder in identities.participants.items()
    }
