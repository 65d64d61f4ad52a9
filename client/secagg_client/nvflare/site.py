"""A site's side: a component that answers the server's aux messages, and two filters around the training task.

The component keeps the participant's state in memory, because FLARE runs a site's part of a job in one process from
its beginning to its end. The first filter notes the model that the task brings. The second one puts the masked input in
place of what the training script returned: parameters, weight and metrics. When anything goes wrong there, the site
answers that it leaves the round, and its own log says why. It never raises, because FLARE would end the whole job, and
it never lets a result through as it was.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from time import time
from typing import Any, Final

from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE
from nvflare.apis.event_type import EventType
from nvflare.apis.filter import Filter
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FedEventHeader, FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply

from secagg.config import ThreatModel
from secagg.context import RoundId, digest_model
from secagg.encoding.schema import Update
from secagg.errors import IdentityError, LocalError, SecAggError
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg_client import Client
from secagg_client.carried.participant import CarriedParticipant, Contribute
from secagg_client.carried.steps import Step
from secagg_client.carried.terms import CarriedTerms
from secagg_client.learning import clipping
from secagg_client.learning.metrics import PURPOSES, Metrics
from secagg_client.learning.purposes import TRAINING, answerable
from secagg_client.nvflare import channel, models
from secagg_client.nvflare.identities import FOLDER, Kit
from secagg_client.nvflare.settings import SIDECAR, Settings
from secagg_client.nvflare.sidecar import rounds_told
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Contribution
from secagg_client.released_sums.memory import Memory, memory_of
from secagg_client.sidecar.participants import Participations

RELEASED: Final = "released-sums"
"""File of what the site remembers of released sums, in the folder `local/secagg` of its kit."""

_TRACKED: Final = f"fed.{ANALYTIC_EVENT_TYPE}"
COMPONENT: Final = "secagg"
"""Id of the component in the site's app, by which the filters find it."""


class SecAggSite(FLComponent):
    """The participant of one site in one job."""

    def __init__(self, secagg: dict[str, Any]) -> None:
        """Args: secagg: the job's settings, as `Settings.as_json` writes them."""
        super().__init__()
        self.secagg = secagg
        self._settings = Settings.from_json(secagg)
        self._lock = Lock()
        self._participant: CarriedParticipant | None = None
        self._waiting: list[Step] | list[RoundId] | None = None
        self._model: models.Arrays | None = None
        self._client: Client | None = None

    # --- FLARE's events -----------------------------------------------------------------------------------------------

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """FLARE's events."""
        if event_type == EventType.START_RUN:
            try:
                self._start(fl_ctx)
            except SecAggError as error:
                tell(self, fl_ctx, f"this site can take part in no round: {error}")
            finally:  # not before: until now FLARE tells the server that nobody hears, and the server asks again
                fl_ctx.get_engine().register_aux_message_handler(channel.TOPIC, self.hear)
        elif event_type == _TRACKED:
            keep_here(fl_ctx)
        elif event_type == EventType.AFTER_TASK_RESULT_FILTER:
            let_no_other_out(fl_ctx)

    def _start(self, fl_ctx: FLContext) -> None:
        engine = fl_ctx.get_engine()
        kit = Kit.of(Path(engine.get_workspace().get_startup_kit_dir()), fl_ctx.get_identity_name())
        if kit is None and self._settings.active:
            raise IdentityError(
                "the job is in the active threat model, and the start-up kit holds no identity; provision the project "
                "with SecAggBuilder"
            )
        terms = CarriedTerms(
            name=fl_ctx.get_identity_name(),
            clock=time,
            policy=policy_of(kit),
            identity=kit.identity if kit else None,
            trust=kit.trust if kit else None,
            memory=memory_in(Path(engine.get_workspace().get_site_config_dir()), kit),
        )
        self._participant = CarriedParticipant(terms, None)
        if kit is not None and self._settings.transport == SIDECAR:
            self._client = Client(
                self._settings.coordinator,
                identity=kit.identity,
                trust=kit.trust,
                policy=terms.policy,
                memory=terms.memory,
            )
        if kit is None:
            self.log_info(
                fl_ctx,
                "secagg: the start-up kit holds no identity, so this site takes part in the semi-honest model alone: "
                "a server that follows the protocol sees sums, a server that lies can see this site's update",
            )
        else:
            self.log_info(
                fl_ctx,
                "secagg: this site takes part in the active model alone. That holds for this job; a FLARE server can "
                "also send a job without secagg, so take jobs from those whom you trust",
            )

    # --- aux messages -------------------------------------------------------------------------------------------------

    def hear(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        """Answer a message of the server's. FLARE calls this in threads of its own."""
        try:
            steps, rounds = channel.unpacked(request), rounds_told(request)
            waits = channel.told(request, "wait") is True
        except SecAggError as error:
            tell(self, fl_ctx, f"{error}")
            return channel.packed(left=str(error))
        if self._participant is None:
            return channel.packed(left="it could not begin; its log says why")
        if not steps and not rounds:  # the server asks whether this process is there
            return channel.packed()
        with self._lock:
            if waits:
                self._waiting = rounds or steps
                return channel.packed(waits=True)
            replies = self._answer(steps, fl_ctx, _nothing_yet)
            return channel.packed(replies)

    def _answer(self, steps: Sequence[Step], fl_ctx: FLContext, contribute: Contribute) -> list[Step]:
        if self._participant is None:
            raise LocalError("the job has not begun")
        replies = self._participant.answer(steps, contribute)
        self._tell(self._participant.failed, fl_ctx)
        return replies

    def _tell(self, failed: Mapping[RoundId, SecAggError], fl_ctx: FLContext) -> None:
        for round_id, error in failed.items():
            tell(self, fl_ctx, f"this site left round {round_id.hex()}: {error}")

    # --- the training task --------------------------------------------------------------------------------------------

    def note(self, task: Shareable) -> None:
        """Remember the model that a task brings.

        Raises:
            InputError: there is none in it.
        """
        self._model = None
        self._model = models.averaged(models.content(task).data)

    def mask(self, trained: Shareable, fl_ctx: FLContext) -> Shareable:
        """What leaves the site in place of what training gave."""
        with self._lock:
            model, waiting = self._model, self._waiting
            self._model = self._waiting = None
        if model is None or waiting is None:
            raise LocalError("the server has asked for no input, or sent no model")
        dxo = models.content(trained)

        def contribute(offers: Sequence[Offer]) -> Mapping[RoundId, Contribution]:
            return contributions(offers, dxo, model)

        if self._client is not None:
            rounds = [one for one in waiting if isinstance(one, bytes)]
            done = Participations(self._client, rounds, contribute).take_part()
            self._tell(done.failed, fl_ctx)
            return channel.packed(left="its log says why") if done.failed else channel.packed()
        with self._lock:
            steps = [one for one in waiting if isinstance(one, Step)]
            return channel.packed(self._answer(steps, fl_ctx, contribute))


class NoteModel(Filter):
    """Notes the model of a task on its way to the training script."""

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """The task as it came."""
        try:
            _site(fl_ctx).note(shareable)
        except SecAggError as error:
            tell(self, fl_ctx, f"{error}")
        return shareable


class MaskResult(Filter):
    """Puts the masked input in place of a training result."""

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """What leaves the site. An error of FLARE's own passes, without anything else that came with it."""
        code = shareable.get_return_code(ReturnCode.OK)
        if code != ReturnCode.OK:
            return make_reply(code)
        try:
            return _site(fl_ctx).mask(shareable, fl_ctx)
        except SecAggError as error:
            tell(self, fl_ctx, f"this site is out of the round: {error}")
        except Exception as error:  # whatever it is: raised here it ends the job, passed over it shows the update
            self.log_exception(fl_ctx, f"secagg: this site is out of the round: {error}", fire_event=False)
        return channel.packed(left="its log says why")


def tell(component: FLComponent, fl_ctx: FLContext, line: str) -> None:
    """Write an error to the site's log, and to nothing that FLARE may pass on to the server."""
    component.log_error(fl_ctx, f"secagg: {line}", fire_event=False)


def contributions(offers: Sequence[Offer], dxo: Any, model: models.Arrays) -> Mapping[RoundId, Contribution]:
    """What a site brings to the rounds that ask for its input.

    Raises:
        InputError: a parameter is missing or has another shape, there is nothing to train on, or a value is no number.
    """
    changed, digest, weight = models.difference(dxo, model), digest_model(model), models.weight(dxo)
    brought = {}
    for offer in answerable(offers, TRAINING):
        config = offer.config
        mine: Update
        if config.purpose == clipping.PURPOSE:
            mine, counts = clipping.update(changed), 1
        elif config.purpose in PURPOSES:
            metrics = Metrics.of(config.schema)
            mine, counts = metrics.update(models.metrics(dxo), _counted(weight, metrics.max_weight)), 1
        else:
            mine, counts = changed, _counted(weight, config.encoding.max_weight)
        brought[offer.round_id] = Contribution(
            update=mine, weight=counts, model_digest=digest, purpose=config.purpose, fetch_aggregate=False
        )
    return brought


def _counted(weight: int, most: int) -> int:
    """A site's weight in a round; where the largest one is 1, every site counts once."""
    return weight if most > 1 else 1


def policy_of(kit: Kit | None) -> Policy:
    """What a site demands: with an identity the active threat model, without one what is possible then."""
    return Policy() if kit else policy_without_identity()


def policy_without_identity() -> Policy:
    """What is possible without one: rounds against a server that follows the protocol."""
    return Policy(threat_models=frozenset({ThreatModel.SEMI_HONEST}))


def memory_in(local: Path, kit: Kit | None) -> Memory:
    """What the site remembers of released sums: with an identity in a file, which outlasts the job."""
    if kit is None:
        return Memory()
    folder = local / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return memory_of(folder / RELEASED, ParticipantId(kit.identity.participant_id))


def keep_here(fl_ctx: FLContext) -> None:
    """Keep at the site what its training script logs for an experiment tracker: FLARE sends it to the server in clear.

    FLARE passes on what goes "out", and asks this component before it asks the one that sends.
    """
    data = fl_ctx.get_prop(FLContextKey.EVENT_DATA)
    if isinstance(data, Shareable):
        data.set_header(FedEventHeader.DIRECTION, "kept at the site")


def let_no_other_out(fl_ctx: FLContext) -> None:
    """Empty a result that is not ours, of whatever task: the filters are there for the training task alone, and a
    training script also answers tasks of other names.

    FLARE sends the very object that its event shows.
    """
    result = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
    if isinstance(result, Shareable) and not channel.is_ours(result):  # check: other-tasks-result
        code = result.get_return_code(ReturnCode.OK)
        result.clear()
        result.update(make_reply(ReturnCode.TASK_RESULT_FILTER_ERROR if code == ReturnCode.OK else code))


def _site(fl_ctx: FLContext) -> SecAggSite:
    site = fl_ctx.get_engine().get_component(COMPONENT)
    if not isinstance(site, SecAggSite):
        raise LocalError("the site's app lacks the secagg component")
    return site


def _nothing_yet(offers: Sequence[Offer]) -> Mapping[RoundId, Contribution]:
    return {}
