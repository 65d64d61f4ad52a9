"""One lie, and the case that it makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from secagg.crypto.secret import Secret
from secagg.messages import LeaveReason, ParticipantId, Phase
from secagg.roster import COORDINATOR
from secagg.rounds import dealing
from secagg.tools.conformance.document import Document
from secagg.tools.runner import requests
from secagg.tools.runner.cases import Case, Programs, Unlike, refused_as, said
from secagg.tools.runner.lines import Believes, Feature, Refuses
from secagg.tools.runner.over_grpc.cohort import ME, NAMES, ORGANISATIONS, UPDATE, Cohort, configuration
from secagg.tools.runner.over_grpc.host import HARMLESS, Change, Host, delivered
from secagg.tools.runner.over_grpc.site import Site
from secagg.wire.agreement import decode_leave
from secagg.wire.v1 import data_plane_pb2 as pb

FOREVER: Final = 1 << 30
ANYBODY: Final = "anybody"
"""As a culprit: whoever the program names."""

TIMEOUT_MS: Final = 20_000


def same(_: Cohort, parts: list[Any]) -> list[Any]:
    """The honest answer."""
    return parts


@dataclass(frozen=True, kw_only=True)
class Lie:
    """One departure from the honest round.

    Attributes:
        number: of the case.
        check: number in PROTOCOL.md.
        title: what happens, in words.
        at: the call whose answer is changed; empty for none.
        change: what is told in its place.
        error: classes one of which the program must refuse with; empty where it must end with the sum.
        culprit: whom it must name; None for nobody, `ANYBODY` where that is free.
        entry_of: whose entry of ShareDelivery the goodbye must accuse, whoever the program names.
        leaves: whether the program may say goodbye for another reason than that it refused something.
        config: what is otherwise in the configuration, as of `configuration`.
        policy: of the program.
        released: earlier sums of the model, which the program remembers: the survivors of each.
        gone: who sends nothing any more from a phase on.
        times: how many answers are changed.
        breaks_after: the first upload breaks after so many chunks; 0 for none.
        server: which certificate the server shows, as `Site.wrong_server` names them; empty for the right one.
        request: what is otherwise in the request to the program.
    """

    number: str
    check: str
    title: str
    at: str = ""
    change: Change = same
    error: tuple[str, ...] = ()
    culprit: str | None = COORDINATOR
    entry_of: ParticipantId | None = None
    leaves: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    policy: Document = field(default_factory=dict)
    released: tuple[tuple[ParticipantId, ...], ...] = ()
    gone: Mapping[ParticipantId, Phase] = field(default_factory=dict)
    times: int = FOREVER
    breaks_after: int = 0
    server: str = ""
    request: Document = field(default_factory=dict)

    def case(self) -> Case:
        """The case that it makes."""
        needs = frozenset({Feature.GRPC, Feature.SIGNED})
        return Case(self.number, self.title, self.check, needs, partial(_play, self))


@lru_cache(maxsize=1)
def site() -> Site:
    """The deployment of this run."""
    return Site(ORGANISATIONS)


def _play(lie: Lie, programs: Programs) -> None:
    [program] = programs.take(1)
    cohort = Cohort(site(), configuration(**lie.config), lie.gone)
    tls = (site().server.certificate_pem, site().server.key_pem.expose())
    if lie.server:
        tls = site().wrong_server(lie.server)
    host = Host(cohort, lie.at, lie.change, times=lie.times, breaks_after=lie.breaks_after, tls=tls)
    with host, TemporaryDirectory(prefix="secagg-conformance-") as folder:
        answer = program.ask(_request(lie, cohort, host.address, Path(folder)))
    if host.unanswered:
        raise RuntimeError(f"the runner could not make its answer to {host.unanswered}")
    if host.wrong:
        raise Unlike(host.wrong[0])
    if not lie.error:
        _hold_sum(cohort, answer)
        return
    if lie.server and host.arrivals:
        raise Unlike(f"it called {host.arrivals[0].name} on a server whose certificate is not the coordinator's")
    if showing := [arrival.name for arrival in host.arrivals if arrival.after and arrival.name not in HARMLESS]:
        raise Unlike(f"after the lie it called {', '.join(showing)}")
    wanted = lie.error[0]
    if isinstance(answer, Refuses) and answer.error in lie.error:
        wanted = answer.error
    culprit = answer.culprit if isinstance(answer, Refuses) and lie.culprit is ANYBODY else lie.culprit
    refused_as(answer, wanted, culprit)
    if not lie.leaves:
        _hold_leave(lie, host)


def _request(lie: Lie, cohort: Cohort, address: str, folder: Path) -> Document:
    update = np.full(cohort.config.schema.arrays[0].shape, UPDATE, "<f4")
    return {
        "do": "participate",
        "address": address,
        **site().write(ME, folder),
        "participant_id": ME,
        "round_id": cohort.round.round_id.hex(),
        "model_digest": cohort.config.model_digest.hex(),
        "purpose": "train",
        "policy": lie.policy,
        "released": requests.numbered([{"survivors": [*names], "threshold": len(names)} for names in lie.released]),
        "update": {"values": update.tobytes().hex()},
        "weight": 1,
        "timeout_ms": TIMEOUT_MS,
    } | lie.request


def _hold_sum(cohort: Cohort, answer: object) -> None:
    """The program has the sum, and its own update is in it."""
    if cohort.engine.aggregate is None:
        raise Unlike(f"{said(answer)}, and the round has no sum")  # type: ignore[arg-type]
    aggregate = cohort.engine.aggregate
    if ME not in aggregate.survivors:
        raise Unlike("its update is not in the sum")
    update = cohort.config.schema.check({"values": np.full(cohort.config.schema.arrays[0].shape, UPDATE, np.float32)})
    one = cohort.config.code.encode(update, 1, Secret(bytes(32)), cohort.round.context)
    values = one.read(0, cohort.config.vector_len, cohort.config.ring_dtype).astype(np.int64)
    off = np.abs(aggregate.sums.astype(np.int64) - len(aggregate.survivors) * values).max()
    if off > len(aggregate.survivors):
        raise Unlike("the sum of the round is not that of the updates: the masked input is wrong")
    if not isinstance(answer, Believes) or answer.sums is None:
        raise Unlike(f"{said(answer)}; the specification says that it ends with the sum")  # type: ignore[arg-type]
    if answer.sums != tuple(aggregate.sums.tolist()):
        raise Unlike("it ends with another sum than that of the round")


def _hold_leave(lie: Lie, host: Host) -> None:
    """A goodbye says that something was refused, and names the entry, or who the program blames."""
    for arrival in host.arrivals:
        if arrival.name != "LeaveRound":
            continue
        leave = decode_leave(pb.LeaveRequest.FromString(arrival.requests[0]).leave)
        if leave.reason is not LeaveReason.REFUSED:
            raise Unlike(f"it left the round with {leave.reason.name}, and it refused something")
        accused = lie.entry_of or (None if lie.culprit == COORDINATOR else lie.culprit)
        if accused not in (ANYBODY, leave.accused):
            raise Unlike(f"it left the round and accused {leave.accused or 'nobody'}, not {accused or 'nobody'}")
        if lie.entry_of is not None and leave.refused_entry != dealing.entry_digest(
            ME, _entry_told(lie.entry_of, host)
        ):
            raise Unlike("it left the round with the digest of another entry than it refused")


def _entry_told(sender: ParticipantId, host: Host) -> bytes:
    return delivered(list(host.told))[NAMES.index(sender) + 1]
