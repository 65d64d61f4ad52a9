"""A coordinator that lies, over real gRPC: cases for a program that takes part in a whole round by itself.

The coordinator is honest but for one lie, or one fault of the network. Its other participants are in this process. What
the program says of the end counts little: the verdict is made from what arrived here, such as shares after the lie.

    site.py     certificates: of the deployment, of a foreign CA, and of servers that are not the right one
    cohort.py   the honest round: the coordinator's engine and the other participants
    host.py     the server: records what arrives, answers honestly, or as a lie says
    lie.py      one lie, and the case that it makes
    offers.py rosters.py deliveries.py endings.py network.py
                the lies, by what they are told in
"""

from collections.abc import Iterator

from secagg.tools.runner.cases import Case
from secagg.tools.runner.over_grpc import deliveries, endings, network, offers, rosters


def cases() -> Iterator[Case]:
    """Each lie as a case."""
    for module in (network, offers, rosters, deliveries, endings):
        for lie in module.LIES:
            yield lie.case()
