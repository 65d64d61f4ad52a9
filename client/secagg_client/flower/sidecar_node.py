"""The node's side of the transport "sidecar": it trains, and takes part over its own connection to the coordinator.

A SuperNode runs one process for each message. There the reply waits until the rounds are over. A simulation has fewer
workers than nodes, so whoever waited in its worker would keep those from training whom it waits for: there nodes take
part in threads of the worker, and the reply only says that they do.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np
from flwr.app import Array, ArrayRecord

from secagg.context import RoundId
from secagg.errors import (
    AuthenticationError,
    DecodeError,
    InputError,
    LocalError,
    PolicyViolation,
    RemoteError,
    RoundAborted,
    SecAggError,
    TransportError,
)
from secagg.policy import Policy
from secagg_client.carried.steps import Step
from secagg_client.flower import notes
from secagg_client.flower.node import MARKS, SUMS, identity_of
from secagg_client.flower.records import Packet
from secagg_client.flower.sidecar import COME, LEFT, MEET
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.results import Offer
from secagg_client.participation.terms import Contribution
from secagg_client.sidecar.participants import Contribute, Participations, TakenPart
from secagg_client.sync.client import Client

FEEDBACK: Final = "secagg.feedback"
"""Key of the context's state, with the task behind it: what earlier rounds lost of this node's updates."""

MAX_ADDRESS_BYTES: Final = 300
TIMEOUT_S: Final = 3600.0
"""Longest time for the rounds of one message, after training. The coordinator's time limits come before that."""

log = getLogger("flwr")


def is_held(packet: Packet) -> bool:
    """Whether a message is about rounds at a coordinator."""
    return any(step.kind in {MEET, COME} for step in packet.steps)


class HeldNode:
    """A node that takes part in rounds at a coordinator.

    Attributes:
        notes: why it does not take part, for the server.
    """

    def __init__(self, config: Mapping[str, Any], policy: Policy | None, state: Any) -> None:
        """Args:
        config: the node's configuration.
        policy: None demands the active threat model.
        state: what Flower keeps for this node between two messages.
        """
        self.notes: list[str] = []
        self._config = config
        self._policy = policy
        self._state = state

    def answer(self, steps: Sequence[Step], contribute: Contribute) -> list[Step]:
        """Answer the steps of one message.

        Args:
            steps: all of one kind.
            contribute: trains; called once at most.

        Raises:
            DecodeError: the steps are malformed.
            IdentityError: a file of the node's identity cannot be read.
            SecAggError: the coordinator cannot be reached, or offers what this node refuses.
        """
        identity, trust = identity_of(self._config)
        if identity is None or trust is None:
            self.notes.append(notes.NO_IDENTITY)
            return []
        kinds = {step.kind for step in steps}
        if kinds == {MEET}:
            return [Step(step.round_id, MEET, (identity.participant_id.encode(),)) for step in steps[:1]]
        if kinds != {COME}:
            raise DecodeError("steps of several kinds in one message about rounds at a coordinator")
        feedback = Feedback()
        marks = self._config.get(MARKS)
        with ExitStack() as stack:
            client = Client(
                _address(steps),
                identity=identity,
                trust=trust,
                policy=self._policy,
                feedback=feedback,
                memory=Path(str(marks)) / SUMS if marks else None,
            )
            stack.callback(client.close)
            return self._come(client, feedback, [step.round_id for step in steps], contribute, stack)

    def _come(
        self, client: Client, feedback: Feedback, round_ids: list[RoundId], contribute: Contribute, stack: ExitStack
    ) -> list[Step]:
        takes_turns = in_a_simulation()
        tasks: set[str] = set()

        def train(offers: Sequence[Offer]) -> Mapping[RoundId, Contribution]:
            tasks.update(offer.config.task for offer in offers if offer.config.code.feedback)
            if tasks and takes_turns:
                self.notes.append(notes.TURNS)
                raise LocalError("feedback is lost between the workers of a simulation")
            for task in tasks:
                feedback.restore(task, self._carried(task))
            return {of: replace(mine, fetch_aggregate=False) for of, mine in contribute(offers).items()}

        try:
            mine = Participations(client, round_ids, train)
        except (LocalError, RemoteError) as error:
            log.warning("SecAggMod: in no round: %s", error)
            self._note(error)
            return []
        if takes_turns:
            closing = stack.pop_all()
            Thread(target=_in_the_background, args=(mine, closing), daemon=True).start()
            return [Step(round_id, COME, ()) for round_id in round_ids]
        done = mine.take_part(TIMEOUT_S)
        _tell(done)
        for task in tasks:
            self._carry(task, feedback.arrays(task))
        for why in done.failed.values():
            self._note(why)
        became = {round_id: _became(done.failed.get(round_id)) for round_id in round_ids}
        return [Step(round_id, kind, ()) for round_id, kind in became.items() if kind]

    def _note(self, error: SecAggError) -> None:
        """Say in one word why we are not in a round."""
        match error:
            case InputError():
                self.notes.append(notes.INPUT)
            case PolicyViolation():
                self.notes.append(notes.POLICY)
            case TransportError() | AuthenticationError():
                self.notes.append(notes.COORDINATOR)
            case RemoteError():
                self.notes.append(notes.INTERNAL)

    def _carried(self, task: str) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
        record = self._state.array_records.get(f"{FEEDBACK}.{task}")
        return {} if record is None else {name: array.numpy() for name, array in record.items()}

    def _carry(self, task: str, arrays: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]) -> None:
        self._state[f"{FEEDBACK}.{task}"] = ArrayRecord({name: Array(array) for name, array in arrays.items()})


def in_a_simulation() -> bool:
    """Whether this process is a worker of Flower's simulation, which is an actor of Ray: there nodes take turns."""
    ray: Any = sys.modules.get("ray")
    return ray is not None and ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None


def _became(error: SecAggError | None) -> str:
    """Kind of step that says what became of us in a round; empty if we, or this round, are at fault."""
    match error:
        case None | RoundAborted():
            return COME
        case LocalError() | RemoteError():
            return ""
    return LEFT


def _in_the_background(mine: Participations, closing: ExitStack) -> None:
    with closing:
        _tell(mine.take_part(TIMEOUT_S))


def _tell(done: TakenPart) -> None:
    for round_id, error in done.failed.items():
        log.warning("SecAggMod: out of round %s: %s", round_id.hex(), error)


def _address(steps: Sequence[Step]) -> str:
    """Where the coordinator is, as the steps say.

    Raises:
        DecodeError: not one address.
    """
    told = {step.parts for step in steps}
    if len(told) != 1 or len(steps[0].parts) != 1 or len(steps[0].parts[0]) > MAX_ADDRESS_BYTES:
        raise DecodeError("a message names not one address of the coordinator")
    try:
        return steps[0].parts[0].decode()
    except UnicodeDecodeError:
        raise DecodeError("the address of the coordinator is no UTF-8") from None
