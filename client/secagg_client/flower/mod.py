"""The client app's side: a mod that answers the exchanges of rounds, and masks what the app's functions return.

`ClientApp(mods=[SecAggMod()])`, first in the list: mods behind it, such as one that clips, see plain updates.

Errors are returned and never raised. When an app raises, Flower sends the traceback to the server, in which data of the
client can stand, and its simulation keeps the state from before the message.
"""

from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, Final

from flwr.app import ConfigRecord, Context, Error, Message, MessageType, RecordDict

from secagg.config import TRAIN
from secagg.context import RoundId
from secagg.encoding.fixedpoint import MAX_WEIGHT
from secagg.errors import (
    DecodeError,
    IdentityError,
    InputError,
    PolicyViolation,
    SavedStateError,
    SecAggError,
    TransportError,
)
from secagg.policy import Policy
from secagg_client.carried.participant import CarriedParticipant
from secagg_client.flower import arrays as models
from secagg_client.flower import notes
from secagg_client.flower.node import node_of, with_identity
from secagg_client.flower.records import RECORD, Packet, VersionError, put, take
from secagg_client.flower.sidecar_node import HeldNode, is_held
from secagg_client.learning import clipping
from secagg_client.learning.changes import change
from secagg_client.learning.metrics import PURPOSES, Metrics
from secagg_client.learning.purposes import EVALUATION, TRAINING, answerable
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Contribution

REFUSED: Final = 200
"""Code of our errors; Flower's own are below 100."""
REMARKED: Final = "secagg.remarked"
NOT_IN_PLAIN: Final = (
    "SecAggMod sends no update and no metric in plain: the server app must wrap its strategy in SecAgg, or this app "
    "leave out the mod"
)
DEFAULT_WEIGHT_KEY: Final = "num-examples"
log = getLogger("flwr")

Call = Callable[[Message, Context], Message]


class SecAggMod:
    """Takes part in secure rounds for the functions of a client app, which stay as they are.

    A training function replies with one ArrayRecord, its model after training, and one MetricRecord, which holds
    `num-examples`. Neither leaves the node but in masked sums. Messages of training and evaluation that belong to no
    secure round are refused; queries pass.
    """

    def __init__(self, policy: Policy | None = None, identities: str | Path | None = None) -> None:
        """Args:
        policy: what this node demands of a round. None demands the active threat model where `node_config` names a
            certificate and a folder for marks, and wherever a coordinator holds the rounds; it allows the semi-honest
            one elsewhere.
        identities: for simulations, whose nodes have no `node_config` of their own: a folder that holds one folder for
            each node, which is named by its partition id and has cert.pem, key.pem and ca.pem.
        """
        self._policy = policy
        self._identities = None if identities is None else Path(identities)

    def __call__(self, message: Message, context: Context, call_next: Call) -> Message:
        """Answer one message."""
        try:
            return self._answer(message, context, call_next)
        except VersionError as error:
            log.error("SecAggMod: %s", error)
            return Message(Error(REFUSED, str(error)), reply_to=message)
        except Exception as error:  # at Flower's edge: raised, it would take the traceback to the server
            log.error("SecAggMod: out of the round", exc_info=error)
            return Message(put(Packet((), (_word(error),)), RecordDict()), reply_to=message)

    def _answer(self, message: Message, context: Context, call_next: Call) -> Message:
        if not message.has_content() or RECORD not in message.content:
            return self._plain(message, context, call_next)
        packet = take(message.content)
        if packet is None:
            raise DecodeError("the record of secagg is gone")
        config = with_identity(context.node_config, self._identities)
        if is_held(packet):
            task = _Task(message, context, call_next, packet.notes[0] if packet.notes else DEFAULT_WEIGHT_KEY)
            held = HeldNode(config, self._policy, context.state)
            steps = held.answer(packet.steps, task.contribute)
            return Message(put(Packet(tuple(steps), (*task.notes, *held.notes)), RecordDict()), reply_to=message)
        node = node_of(context.node_id, config, self._policy)
        _remark(context, node.remarks)
        states = context.state.config_records.get(RECORD)
        if states is None:
            states = context.state[RECORD] = ConfigRecord()
        task = _Task(message, context, call_next, packet.notes[0] if packet.notes else DEFAULT_WEIGHT_KEY)
        participant = CarriedParticipant(node.terms, states)
        steps = participant.answer(packet.steps, task.contribute)
        for round_id, error in participant.failed.items():
            log.warning("SecAggMod: out of round %s: %s", round_id.hex(), error)
            if isinstance(error, InputError):
                task.notes.append(notes.INPUT)
            elif isinstance(error, PolicyViolation):
                task.notes.append(node.refuses)
        return Message(put(Packet(tuple(steps), tuple(task.notes)), RecordDict()), reply_to=message)

    @staticmethod
    def _plain(message: Message, context: Context, call_next: Call) -> Message:
        if message.metadata.message_type.split(".")[0] != MessageType.QUERY:  # check: nothing-in-plain
            log.error(NOT_IN_PLAIN)
            return Message(Error(REFUSED, NOT_IN_PLAIN), reply_to=message)
        return call_next(message, context)


class _Task:
    """What the app is asked to do in one message.

    Attributes:
        notes: why it contributes nothing, for the server.
    """

    def __init__(self, message: Message, context: Context, call_next: Call, weight_key: str) -> None:
        self.notes: list[str] = []
        self._message = message
        self._context = context
        self._call_next = call_next
        self._weight_key = weight_key

    def contribute(self, offers: Sequence[Offer]) -> Mapping[RoundId, Contribution]:
        """Call the app's function; what it gives to each round. Nothing, if it fails."""
        sent = list(self._message.content.array_records.values())
        if len(sent) != 1:
            raise DecodeError(f"the server sent {len(sent)} ArrayRecords to work on, instead of one")
        evaluates = self._message.metadata.message_type.split(".")[0] == MessageType.EVALUATE
        offers = answerable(offers, EVALUATION if evaluates else TRAINING)
        if not offers:
            return {}
        digest, before = models.digest(sent[0]), models.floats(sent[0])
        reply = self._call()
        if reply is None:
            return {}
        try:
            return self._contributions(offers, reply, before, digest)
        except SecAggError as error:
            log.warning("SecAggMod: %s", error)
            self.notes.append(notes.INPUT)
            return {}

    def _call(self) -> RecordDict | None:
        try:
            reply = self._call_next(self._message, self._context)
        except Exception as error:  # the app's own; raised, it would take data to the server
            log.error("SecAggMod: the app's function failed", exc_info=error)
            self.notes.append(notes.RAISED)
            return None
        if not isinstance(reply, Message):
            log.error("SecAggMod: the app's function returned %s, and no Message", type(reply).__name__)
            self.notes.append(notes.RAISED)
            return None
        if reply.has_error():
            log.error("SecAggMod: the app replied with an error: %s", reply.error)
            self.notes.append(notes.RAISED)
            return None
        return reply.content

    def _contributions(
        self, offers: Sequence[Offer], reply: RecordDict, before: dict[str, models.Numbers], digest: bytes
    ) -> Mapping[RoundId, Contribution]:
        purposes = {offer.config.purpose for offer in offers}
        records = list(reply.metric_records.values())
        arrays = list(reply.array_records.values())
        if len(records) != 1 or (purposes & {TRAIN, clipping.PURPOSE} and len(arrays) != 1):
            log.error("SecAggMod: the app's reply holds %d ArrayRecords, %d MetricRecords", len(arrays), len(records))
            self.notes.append(notes.NO_REPLY)
            return {}
        weight = self._weight(records[0], _most(offers))
        if weight is None:
            return {}
        update = _difference(models.floats(arrays[0]), before) if purposes & {TRAIN, clipping.PURPOSE} else {}
        made: dict[RoundId, Contribution] = {}
        for offer in offers:
            config = offer.config
            own = weight if config.encoding.max_weight > 1 else 1
            match config.purpose:
                case "train":
                    made[offer.round_id] = Contribution(update=update, weight=own, model_digest=digest)
                case clipping.PURPOSE:
                    made[offer.round_id] = Contribution(
                        update=clipping.update(update), weight=1, model_digest=digest, purpose=clipping.PURPOSE
                    )
                case "metrics" | "evaluate":
                    metrics = Metrics.of(config.schema)
                    made[offer.round_id] = Contribution(
                        update=metrics.update(records[0], weight),
                        weight=1,
                        model_digest=digest,
                        purpose=config.purpose,
                    )
                    _tell_unnamed(records[0], {*metrics.ranges, self._weight_key})
                case _:
                    log.warning("SecAggMod: a round asks for %r, which this version does not know", config.purpose)
        return made

    def _weight(self, record: Any, most: int) -> int | None:
        if self._weight_key not in record:
            log.error("SecAggMod: the app's reply has no %r in its MetricRecord", self._weight_key)
            self.notes.append(notes.NO_WEIGHT)
            return None
        value = record[self._weight_key]
        if isinstance(value, bool | list) or not 1 <= value <= most or value != int(value):
            log.error("SecAggMod: %r is %r, and not a whole number from 1 to %d", self._weight_key, value, most)
            self.notes.append(notes.WEIGHT)
            return None
        return int(value)


def _word(error: Exception) -> str:
    """Why the mod fails, for the server."""
    match error:
        case IdentityError():
            return notes.IDENTITY
        case SavedStateError():
            return notes.FOLDER
        case TransportError():
            return notes.COORDINATOR
    return notes.INTERNAL


def _most(offers: Sequence[Offer]) -> int:
    """The largest weight that all of these rounds take."""
    encodings = [offer.config.encoding.max_weight for offer in offers]
    metrics = [Metrics.of(offer.config.schema).max_weight for offer in offers if offer.config.purpose in PURPOSES]
    return min([most for most in encodings if most > 1] + metrics, default=MAX_WEIGHT)


def _difference(after: dict[str, models.Numbers], before: dict[str, models.Numbers]) -> dict[str, models.Numbers]:
    """The update.

    Raises:
        InputError: the app returned other arrays than it was given.
    """
    if after.keys() != before.keys():
        raise InputError(f"the app returned other arrays than it was given: {sorted(after.keys() ^ before.keys())[:5]}")
    for name, array in after.items():
        if array.shape != before[name].shape:
            raise InputError(f"array {name!r} has shape {array.shape}; it came as {before[name].shape}", array=name)
    return {name: change(array, after[name]) for name, array in before.items()}


def _tell_unnamed(record: Any, known: set[str]) -> None:
    if unnamed := sorted(set(record) - known):
        log.info("SecAggMod: metrics %s stay here; name them in SecAgg(metrics=…) to have their means", unnamed)


def _remark(context: Context, remarks: Sequence[str]) -> None:
    """Tell each remark once a job."""
    told = context.state.config_records.get(REMARKED)
    if told is None:
        told = context.state[REMARKED] = ConfigRecord({"remarks": []})
    for remark in remarks:
        if remark not in told["remarks"]:
            told["remarks"] = [*told["remarks"], remark]
            log.warning(remark)
