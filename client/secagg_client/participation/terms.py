"""What a client brings to every round, and what its caller brings to one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from secagg.config import TRAIN, RoundConfig, check_digest, check_purpose
from secagg.context import ROUND_ID_SIZE, Round, RoundId, bind, digest_model
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import Rng
from secagg.encoding.schema import ArraySpec, GivenUpdate, Schema
from secagg.encoding.sources import steady
from secagg.errors import ConfigError, LocalError, PolicyViolation
from secagg.homomorphic.vectors import Backend
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.programs.keyfiles import read_private, read_public
from secagg.roster import COORDINATOR
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.releases import Release
from secagg.sandbox.worker import Worker
from secagg.scalars import utf8
from secagg.wire.limits import MAX_SEEN
from secagg_client.calls.data_plane import FindRound
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.outputs import Out, Output, output_of
from secagg_client.participation.results import Offer
from secagg_client.released_sums.memory import Memory

Clock = Callable[[], float]
"""Seconds since 1970, UTC."""


class SeenRounds:
    """Rounds that a client took part in: keys are made once per round. Safe to use from several threads."""

    def __init__(self) -> None:
        self._ids: dict[RoundId, None] = {}  # in the order of joining
        self._lock = Lock()

    def latest(self) -> tuple[RoundId, ...]:
        """The latest of them, at most `MAX_SEEN`."""
        with self._lock:
            return tuple(self._ids)[-MAX_SEEN:]

    def add(self, round_id: RoundId) -> None:
        """Remember a round that another process of ours joined."""
        with self._lock:
            self._ids[round_id] = None

    def check(self, round_id: RoundId) -> None:
        """Raise `LocalError` if the client took part in this round before."""
        with self._lock:
            self._check(round_id)

    def claim(self, round_id: RoundId) -> None:
        """Remember the round for as long as the client lives.

        Raises:
            LocalError: the client took part in it before.
        """
        with self._lock:
            self._check(round_id)
            self._ids[round_id] = None

    def _check(self, round_id: RoundId) -> None:
        if round_id in self._ids:  # check: joined-once
            raise LocalError(f"this client took part in round {round_id.hex()} before; keys are made once per round")


class ClosableBackend(Backend, Protocol):
    """Where homomorphic rounds encrypt and decrypt."""

    def close(self) -> None:
        """Give back what it holds, such as its process; it is not used again."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What stays the same for a client over all rounds."""

    identity: Identity
    trust: TrustAnchors
    policy: Policy
    rng: Rng
    clock: Clock
    seen: SeenRounds = field(default_factory=SeenRounds)
    backend: Callable[[], ClosableBackend] = Worker
    feedback: Feedback = field(default_factory=Feedback)
    memory: Memory = field(default_factory=Memory)

    def check_own_validity(self) -> None:
        """Raise `IdentityError` if our certificate is expired or not yet valid."""
        self.identity.check_validity(datetime.fromtimestamp(self.clock(), UTC))  # check: own-validity

    def membership(self, offer: Offer, model_digest: bytes) -> Membership:
        """Our place in the offered round, bound to the model that we hold."""
        round_ = Round(offer.round_id, offer.config, bind(offer.round_id, offer.config_bytes, model_digest))
        credentials = Credentials(self.identity, self.trust)
        own = ParticipantId(self.identity.participant_id)

        def claim(release: Release) -> frozenset[ParticipantId]:
            return self.memory.claim(offer.round_id, release, self.policy)

        return Membership(round_, own, self.policy, self.rng, credentials, claim, self.memory.durable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What our caller brings. Checked here as far as that goes without knowing the round.

    Attributes:
        update: arrays or `Pieces` by name, or one alone. They are not copied: every value is looked at here, and each
            later read is held against what was there then. So the caller leaves them as they are until the round is
            over; if it does not (a training loop that goes on, for one), that is noticed, and we leave the round.
        weight: integer from 1 to the task's max_weight.
        model_digest: 32 bytes, over the model that the update belongs to.
        fetch_aggregate: whether to ask for the aggregate, where the round gives it to participants.
        purpose: what the update was computed for; the round must name the same.
        out: where the aggregate goes, if not into new arrays.
    """

    update: GivenUpdate
    weight: int
    model_digest: bytes
    fetch_aggregate: bool = True
    purpose: str = TRAIN
    out: Out | None = None

    def __post_init__(self) -> None:
        check_purpose(self.purpose)
        check_digest(self.model_digest)
        if self.output is not None and not self.fetch_aggregate:
            raise ConfigError("out says where the aggregate goes, and fetch_aggregate=False that none is wanted")
        looked_at = steady(self.update)
        Schema(tuple(ArraySpec(name, array.shape, array.dtype.name) for name, array in looked_at.items()))
        object.__setattr__(self, "update", looked_at)

    @property
    def output(self) -> Output | None:
        """What `out` stands for; raises `ConfigError` as `output_of`."""
        return None if self.out is None else output_of(self.out)

    def check_output(self, config: RoundConfig) -> None:
        """Refuse a round whose aggregate has no place in `out`.

        Raises:
            ConfigError: arrays are missing or do not fit; or the round gives its participants no aggregate.
        """
        output = self.output
        if output is None:
            return
        if not config.release_to_participants:
            raise ConfigError("this round gives its participants a receipt and no aggregate: leave out `out`")
        output.check(config)

    def check_asked(self, round_: Round) -> None:
        """Refuse a round that asks for something else than what was computed.

        Raises:
            ModelMismatch: it is about another model.
            PolicyViolation: it is for another purpose.
        """
        round_.about(self.model_digest)
        if round_.config.purpose != self.purpose:  # check: C87
            raise PolicyViolation(
                f"the round is to {round_.config.purpose}, our update was made to {self.purpose}; name the round's "
                "purpose in participate() if that is what the update is for",
                culprit=COORDINATOR,
            )


def digest_of(model: Mapping[str, np.ndarray[Any, np.dtype[Any]]] | None, model_digest: bytes | None) -> bytes:
    """The digest of the caller's model, given as arrays or as 32 bytes.

    Raises:
        ConfigError: neither or both, or no digest.
    """
    if model is not None and model_digest is None:
        return digest_model(model)
    if model is None and model_digest is not None:
        check_digest(model_digest)
        return model_digest
    raise ConfigError("pass either the model that the update belongs to, or its digest (secagg.digest_model)")


def find(
    terms: Terms, task: str | None, round_id: bytes | None, purpose: str = TRAIN, *, goes_on: bool = False
) -> FindRound:
    """The call that finds a round by exactly one of task and id. With `goes_on` we may be in that round already.

    Raises:
        ConfigError: neither or both, or no round id; or no purpose.
        LocalError: we took part in that round before.
    """
    if (task is None) == (round_id is None):
        raise ConfigError("name the round by either its task or its round_id")
    if round_id is None:
        utf8(task, "task")
        check_purpose(purpose)
        return FindRound(task=task, seen=terms.seen.latest(), purpose=purpose)
    if len(round_id) != ROUND_ID_SIZE:
        raise ConfigError(f"a round_id is {ROUND_ID_SIZE} bytes, not {len(round_id)}")
    if not goes_on:
        terms.seen.check(RoundId(round_id))
    return FindRound(round_id=RoundId(round_id))


def choose(
    terms: Terms,
    task: str | None,
    round_id: bytes | None,
    offer: Offer | None,
    purpose: str = TRAIN,
    *,
    goes_on: bool = False,
) -> FindRound | Offer:
    """The round that the caller named by exactly one of task, round id and offer; `goes_on` as of `find`."""
    if offer is None:
        return find(terms, task, round_id, purpose, goes_on=goes_on)
    if task is not None or round_id is not None:
        raise ConfigError("an offer names its round; pass no task and no round_id with it")
    if not goes_on:
        terms.seen.check(offer.round_id)
    return offer


def load(certificate: str | Path, key: str | Path, ca: str | Path) -> tuple[Identity, TrustAnchors]:
    """Our identity and the CA, from PEM files.

    Raises:
        IdentityError: a file is missing or unreadable, others can read the key, or the two do not match.
    """
    identity = Identity.from_pem(read_public(Path(certificate)), read_private(Path(key)).expose())
    return identity, TrustAnchors.from_pem(read_public(Path(ca)))
