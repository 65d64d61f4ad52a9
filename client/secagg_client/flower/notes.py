"""Why a node left a round, in single words: its own words do not travel, as they could tell what is in its data."""

from collections.abc import Iterable
from typing import Final

RAISED: Final = "raised"
NO_REPLY: Final = "no-arrays"
NO_WEIGHT: Final = "no-weight"
WEIGHT: Final = "weight"
INPUT: Final = "input"
IDENTITY: Final = "identity"
MARKS: Final = "marks"
FOLDER: Final = "folder"
INTERNAL: Final = "internal"
NO_IDENTITY: Final = "no-identity"
POLICY: Final = "policy"
TURNS: Final = "turns"
COORDINATOR: Final = "coordinator"

EXPLAINED: Final = {
    RAISED: "its app raised an exception, or returned an error or no Message; the log of the node has it",
    NO_REPLY: "its app replied without exactly one ArrayRecord and one MetricRecord",
    NO_WEIGHT: "its app's reply has no number of examples: put it into the MetricRecord, as 'num-examples' or what "
    "the strategy's weighted_by_key says",
    WEIGHT: "its number of examples is no whole number from 1 to max_weight; an empty data set has nothing to add",
    INPUT: "its update has other arrays than the model, or a value that is NaN, infinite or 2^23 and more",
    IDENTITY: "its certificate, key or CA in node_config cannot be read; the log of the node says more",
    MARKS: "it takes part against an active server only with a folder for marks (secagg-marks in node_config)",
    FOLDER: "its folder for marks (secagg-marks in node_config) cannot be used; the log of the node says more",
    NO_IDENTITY: "it has no certificate, which rounds against an active server and the sidecar transport need: name it "
    "in node_config, or for the sidecar transport in a simulation give SecAggMod(identities=…)",
    POLICY: "its policy refuses the round: change the round, or SecAggMod(policy=…) there; its log says more",
    TURNS: "its pipeline says feedback, which is lost between the workers of a simulation: leave transport out there",
    COORDINATOR: "it lost the coordinator, cannot reach it, or does not trust its certificate; its log says more",
    INTERNAL: "SecAggMod failed there; the log of the node says more",
}


MAYBE_NO_MOD: Final = "(if its app lacks SecAggMod, add it to ClientApp(mods=[…]) there)"
"""Behind an error of a node that never answered with a record of ours."""


def explained(notes: Iterable[str]) -> str:
    """What the notes say, in one text; empty without notes."""
    return "; ".join(EXPLAINED.get(note, "it gave a reason we do not know") for note in notes)
