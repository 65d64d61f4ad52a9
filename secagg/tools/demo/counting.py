"""The demo's last round: how many images of each digit all sites together have, and nothing about any one of them.

No floats and no model: a histogram is a sum of whole numbers, and what comes out is exact.
"""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Final

from secagg_client import ControlClient

from secagg import Deadlines, RoundConfig, ThreatModel
from secagg.tools.demo import job
from secagg.tools.demo.participant import LABELS, Command
from secagg.tools.demo.results import Counted, Site
from secagg.tools.deployment.crew import Crew
from secagg.tools.deployment.sidecar import START_S
from secagg.variants import Variant

_TASK: Final = "labels"
_DEADLINE_S: Final = 60.0  # nobody drops out here: nothing waits for it


def label_config(participants: int, variant: Variant, threat_model: ThreatModel) -> RoundConfig:
    """Args: threat_model: where the scheme has it."""
    believed = variant.threat_model(threat_model)
    asked = LABELS.config(
        task=_TASK,
        max_participants=participants,
        threshold=variant.default_threshold(participants, believed),
        threat_model=believed,
        deadlines=Deadlines(*[_DEADLINE_S] * 5),
    )
    return variant.encrypting(asked, give_sum=True)


def count_labels(
    crew: Crew, control: ControlClient, sites: Mapping[str, Site], folder: Path, config: RoundConfig
) -> Counted:
    """One round over all sites, every one of them staying to its end.

    Args:
        crew: every participant's process, alive.
        control: of the sidecar.
        sites: what each site really has.
        folder: for files; what lies in it is never sent.
        config: of the round, from `label_config`.

    Raises:
        RoundAborted: it ended without a sum.
        ProcessError: a participant failed.
    """
    limit_s = START_S + 4 * _DEADLINE_S
    command = Command(0, _TASK, folder / "labels", folder, [], None, limit_s, counted=True)
    for name in sites:
        crew.order(name, command.as_json())
    crew.wait(dict.fromkeys(sites, ("trained",)), START_S)
    begin = monotonic()
    aggregate = control.result(control.open_round(config), config)
    seconds = monotonic() - begin
    crew.wait(dict.fromkeys(sites, ("finished",)), START_S)
    found = LABELS.read(aggregate.totals(config))
    have = [sum(site.labels[label] for site in sites.values()) for label in range(job.CLASSES)]
    return Counted(tuple(found.histogram.tolist()), tuple(have), len(aggregate.survivors), seconds)
