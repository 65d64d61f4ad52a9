"""A deployment in a folder: CA, the sidecar's certificate, participants' identities, each with its own examples."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from secagg.tools.demo.job import Examples
from secagg.tools.demo.participant import save_arrays
from secagg.tools.demo.processes import Recruit
from secagg.tools.deployment.identities import create_identities


@dataclass(frozen=True, slots=True)
class DemoDeployment:
    """Where everything lies.

    Attributes:
        server: the sidecar's identity folder.
        recruits: the participants.
    """

    server: Path
    recruits: Mapping[str, Recruit]


def participant_names(count: int) -> list[str]:
    """Ids that sort in the order of their numbers."""
    return [f"site-{number:02d}" for number in range(1, count + 1)]


def build_deployment(folder: Path, examples: Mapping[str, Examples]) -> DemoDeployment:
    """Make the keys and hand out the data."""
    made = create_identities(folder, examples)
    recruits = {}
    for name, own in examples.items():
        recruits[name] = Recruit(made.participants[name], made.participants[name] / "examples.npz")
        save_arrays(recruits[name].data, {"images": own.images, "labels": own.labels})
    return DemoDeployment(made.server, recruits)
