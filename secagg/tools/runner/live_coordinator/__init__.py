"""A live coordinator is joined by participants that behave, drop out, and misbehave: `secagg conformance coordinator`.

It must end every round with the exact sum of those who did their part, or with a named failure; refuse what is wrong
with the right error, and blame the right one.

    live.py     a round on the coordinator, and its participants over real gRPC
    script.py   what a participant does otherwise than an honest one, and how a round must end
    scenes.py   the rounds
    edits.py    what is sent in them that is wrong
    looking.py  what is looked at when they are over
"""

from collections.abc import Iterator
from functools import partial

from secagg.errors import ConfigError, SecAggError
from secagg.messages import ParticipantId
from secagg.tools.runner.cases import Case, Programs, Unlike
from secagg.tools.runner.lines import Description
from secagg.tools.runner.live_coordinator.live import Deployment, Failed, make
from secagg.tools.runner.live_coordinator.scenes import SCENES
from secagg.tools.runner.live_coordinator.script import Scene
from secagg.tools.runner.over_grpc.site import Site
from secagg.wire.calls import DESCRIBE
from secagg.wire.v1 import data_plane_pb2 as pb


def cases(deployment: Deployment) -> Iterator[Case]:
    """Each scene as a case."""
    for scene in SCENES:
        yield Case(scene.number, scene.title, scene.check, frozenset(), partial(_play, scene, deployment))


def _play(scene: Scene, deployment: Deployment, _: Programs) -> None:
    try:
        scene.play(deployment)
    except SecAggError as error:  # of the control plane, where rounds are opened and watched
        raise Unlike(f"the control plane fails: {type(error).__name__}: {error}") from error


def describe(deployment: Deployment) -> Description:
    """What the coordinator says of itself.

    Raises:
        ConfigError: it cannot be reached, or does not let in a participant of the CA.
    """
    name = ParticipantId("conformance")
    site = Site({name: "conformance"}, deployment.ca)
    with deployment.channel(site.ca_pem, site.credentials(name)) as channel:
        outcome = make(channel, DESCRIBE, [pb.DescribeRequest().SerializeToString()]).outcome()
    if isinstance(outcome, Failed):
        raise ConfigError(
            f"the coordinator at {deployment.address} does not describe itself to a participant of this CA "
            f"({outcome.status.name}); look at the address, the CA and the name in the coordinator's certificate"
        )
    told = pb.Description.FromString(b"".join(outcome))
    return Description(f"coordinator at {deployment.address}", told.version, frozenset())
