"""One participant of the demo, in a process of its own: `python -m secagg.tools.demo.participant`.

It reads one JSON command a line from standard input, one for each round, and answers with JSON events on standard
output. That pipe stands for the FL platform's own channel: it brings the model and the news that a round is on. All of
secure aggregation goes through the client, over TLS.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from secagg_client import Client, Column, RoundResult, Worker

from secagg import Custody, Phase, Policy, Scheme, SecAggError, ThreatModel, find_profile
from secagg.crypto.rng import SystemRng
from secagg.lattice.jobs import OpenDecryption
from secagg.lattice.rlwe import KEY_SEED_SIZE
from secagg.tools.demo.job import CLASSES, MAX_EXAMPLES, Examples, Model, local_update
from secagg.tools.demo.plan import Dropout, Moment
from secagg.tools.demo.relay import CutRelay
from secagg.tools.demo.tap import Tap
from secagg.tools.deployment.crew import tell
from secagg.tools.simulation.grid import on_grid

LABELS: Final = Column(name="label", low=0, high=CLASSES - 1, max_rows=MAX_EXAMPLES, bins=CLASSES)
"""What the last round counts: a bin for each digit."""

_ENCRYPTED: Final = frozenset(scheme.value for scheme in Scheme)


@dataclass(frozen=True, slots=True)
class Command:
    """One round to take part in.

    Attributes:
        round: 1, 2, …
        task: the round is known by it.
        model: file of the global model.
        folder: where the demo finds what it compares afterwards; none of it is ever sent.
        seed: of the local training.
        dropout: when to die.
        timeout_s: longest time for the round.
        compared: the scheme of a round that is compared with the same one in other schemes; None for a round that
            trains.
        counted: whether the round counts labels instead of training: `model` and `seed` are then not read.
    """

    round: int
    task: str
    model: Path
    folder: Path
    seed: list[int]
    dropout: Dropout | None
    timeout_s: float
    compared: str | None = None
    counted: bool = False

    def as_json(self) -> str:
        """The command as one line of JSON, as the participant reads it."""
        dropout = self.dropout and [self.dropout.phase.name, self.dropout.moment.name]
        fields = {"model": str(self.model), "folder": str(self.folder), "dropout": dropout}
        return json.dumps({name: fields.get(name, getattr(self, name)) for name in self.__slots__})

    @classmethod
    def from_json(cls, line: str) -> "Command":
        """The command that a line of `as_json` holds."""
        fields = json.loads(line)
        dropout = fields["dropout"] and Dropout(Phase[fields["dropout"][0]], Moment[fields["dropout"][1]])
        return cls(**{**fields, "model": Path(fields["model"]), "folder": Path(fields["folder"]), "dropout": dropout})


def load_arrays(path: Path) -> dict[str, Any]:
    """The arrays of an npz file, by name."""
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays into an npz file, which `load_arrays` reads."""
    contents: dict[str, Any] = dict(arrays)
    np.savez(path, **contents)


class DemoParticipant:
    """Holds its own data and its own identity."""

    def __init__(self, target: str, identity: Path, data: Path, threat_model: ThreatModel, custody: str | None) -> None:
        """Args: identity: folder with cert.pem, key.pem and ca.pem. custody: of the key, if rounds are homomorphic."""
        arrays = load_arrays(data)
        self._examples = Examples(arrays["images"], arrays["labels"])
        self._target = target
        self._identity = identity
        self._policy = Policy(threat_models=frozenset({threat_model}))
        if custody is not None:
            self._policy = _encrypting(Custody(custody))
        self._encrypts = custody is not None
        self._workers: list[Worker] = []  # started before the round, whose clock they would delay
        self._tap = Tap(lambda sent: tell("dying", bytes_sent=sent))
        self._client = self._connect(target, self._policy)

    @property
    def bytes_sent(self) -> int:
        """How many bytes went up in the round so far."""
        return self._tap.bytes_sent

    def take_part(self, command: Command) -> None:
        """Train, then give the update to secure aggregation."""
        if (self._encrypts or command.compared in _ENCRYPTED) and not self._workers:
            self._workers.append(_warm_worker())
        if command.counted:
            self._count(command)
            return
        model: Model = load_arrays(command.model)
        update, weight = local_update(model, self._examples, command.seed), len(self._examples)
        if command.compared is not None:  # nothing to round, and everyone alike
            update, weight = {name: on_grid(array) for name, array in update.items()}, 1
        save_arrays(command.folder / f"{self._identity.name}.update.npz", update)
        client = self._client_for(command)
        tell("trained")
        result = client.participate(update, weight=weight, task=command.task, model=model, timeout_s=command.timeout_s)
        sent = {f"{number:06d}": np.frombuffer(data, np.uint8) for number, data in enumerate(self._tap.uploaded)}
        save_arrays(command.folder / f"{self._identity.name}.sent.npz", sent)
        _tell_finished(result)

    def _count(self, command: Command) -> None:
        """Give how many images we have of each label to secure aggregation."""
        update, client = LABELS.update(self._examples.labels), self._client_for(command)
        tell("trained")
        _tell_finished(
            client.participate(update, task=command.task, model_digest=LABELS.digest, timeout_s=command.timeout_s)
        )

    def _client_for(self, command: Command) -> Client:
        """Through a relay that will cut the connection, if the upload is to break off."""
        dropout = command.dropout
        if dropout is None or dropout.moment is not Moment.HALF_SENT:
            self._tap.begin(dropout, None)
            if command.compared in _ENCRYPTED:
                return self._connect(self._target, _encrypting(Custody.PARTICIPANTS))
            return self._client
        relay = CutRelay(self._target)
        self._tap.begin(dropout, relay)
        return self._connect(relay.address, self._policy)

    def _connect(self, target: str, policy: Policy) -> Client:
        return Client.from_files(
            target,
            certificate=self._identity / "cert.pem",
            key=self._identity / "key.pem",
            ca=self._identity / "ca.pem",
            policy=policy,
            backend=lambda: self._workers.pop() if self._workers else Worker(),
            interceptors=[self._tap],
        )


def _tell_finished(result: RoundResult) -> None:
    tell(
        "finished",
        survivors=len(result.survivors),
        sums_digest=result.receipt.sums_digest.hex(),
        bytes_sent=result.bytes_sent,
        bytes_received=result.bytes_received,
    )


def _encrypting(custody: Custody) -> Policy:
    """The policy for rounds that encrypt, which stand against a semi-honest coordinator only. All are trusted where all
    hold the key; where they share it, the participant also takes part in what is experimental.
    """
    shared = custody is Custody.THRESHOLD
    return Policy(
        threat_models=frozenset({ThreatModel.SEMI_HONEST}),
        custodies=frozenset({custody}),
        allow_experimental=shared,
        min_colluding_share=0.3 if shared else 0.0,
    )


def _warm_worker() -> Worker:
    """A worker that has loaded TenSEAL: a throwaway key of any profile does that."""
    worker = Worker()
    profile = find_profile(Scheme.BFV, Custody.PARTICIPANTS, summands=3, value_bits=16)
    worker.do(OpenDecryption(profile, SystemRng().token(KEY_SEED_SIZE), context=bytes(32)))
    return worker


def main() -> None:
    """Run until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--identity", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threat-model", choices=[model.name for model in ThreatModel], required=True)
    parser.add_argument("--custody", choices=[custody.value for custody in Custody])
    arguments = parser.parse_args()
    participant = DemoParticipant(
        arguments.target,
        arguments.identity,
        arguments.data,
        ThreatModel[arguments.threat_model],
        arguments.custody,
    )
    tell("ready")
    for line in sys.stdin:
        try:
            participant.take_part(Command.from_json(line))
        except SecAggError as error:
            sent = participant.bytes_sent
            tell("failed", error=type(error).__name__, message=str(error), bytes_sent=sent)


if __name__ == "__main__":
    main()
