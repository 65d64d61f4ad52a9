"""Attacks on round 2, and on what binds shares, masks and context to one round and one model.

Sources: [B17] Bonawitz et al. 2017, [P22] Pasquini et al. 2022 (ePrint 2021/1576).
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from secagg import context
from secagg.config import RoundConfig
from secagg.context import bind
from secagg.errors import AuthenticationError, LocalError, ModelMismatch
from secagg.masked import masked_input, masks
from secagg.masked.masked_input import AwaitingShares
from secagg.masked.scheme import Participant
from secagg.masked.share_keys import AwaitingRoster
from secagg.messages import ParticipantId, ShareDelivery
from secagg.rounds.coordinator_phase import SignaturePhase
from secagg.tools.redteam.adversary import Adversary, Integers, session_of, true_sum, truth
from secagg.tools.redteam.arena import COLLUDERS, EXACT, OTHERS, SEVEN, VICTIM, rng_of, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Measure, Outcome, Refusal, settle
from secagg.tools.redteam.modes import MASKED_ACTIVE, MASKED_SEMI_HONEST, Mode
from secagg.tools.simulation import cohort
from secagg.tools.simulation.network import MODEL, Down, Envelope, Run
from secagg.wire.configuration import encode_config

_OTHER_MODEL: Final = b"\1" * 32


def ring_fence_shares() -> Outcome:
    """The victim is told that one colluder alone shared keys, so that it masks against nobody else."""
    run = start(small_config(7))

    def attack() -> bool:
        adversary = Adversary(run, COLLUDERS)
        adversary.collect_shares()
        for name in OTHERS:
            adversary.deliver(name, SEVEN)
        # The others have no reason to refuse: the victim's self mask is out.
        adversary.unmask(dict.fromkeys(OTHERS, adversary.sets(SEVEN)))
        adversary.deliver(VICTIM, [COLLUDERS[0]])
        stolen = adversary.expose(VICTIM, [COLLUDERS[0]])
        return stolen is not None and np.array_equal(stolen, truth(run, VICTIM))

    return settle(attack, held="at least t share keys", got=EXACT, refusing=session_of(run, VICTIM))


def keep_channel_keys(old: Run, new: Run) -> None:
    """Participants that keep their channel keys over rounds. They must not; the context must hold all the same."""
    for name in new.participants:
        participant = session_of(new, name)
        before, state = session_of(old, name)._state, participant._state
        if isinstance(before, AwaitingRoster) and isinstance(state, AwaitingRoster):
            keys = dataclasses.replace(state.keys, channel_public_key=before.keys.channel_public_key)
            participant._state = dataclasses.replace(state, channel=before.channel, keys=keys)
            participant.advertisement = keys


def replay_shares() -> Outcome:
    """Everyone survives round 1, so that the victim's seed is known. In round 2 its shares of round 1 are handed out
    again, and it is declared dropped: holders reveal what they take for its mask key of round 2.
    """

    def attack() -> bool:
        config = small_config(7, MASKED_SEMI_HONEST)
        first_run, second_run = start(config, seed=1), start(config, seed=2)
        keep_channel_keys(first_run, second_run)
        first, second = Adversary(first_run), Adversary(second_run)
        first.collect_inputs()
        first.unmask(dict.fromkeys(SEVEN, first.sets(SEVEN)))
        second.collect_shares()
        second.shared[VICTIM] = first.shared[VICTIM]
        for name in OTHERS:
            second.deliver(name, SEVEN)
        second.unmask(dict.fromkeys(OTHERS, second.sets(OTHERS)))
        first.key_shares[first.index(VICTIM)] |= second.key_shares[second.index(VICTIM)]
        stolen = first.expose(VICTIM, SEVEN)
        return stolen is not None and np.array_equal(stolen, truth(first_run, VICTIM))

    return settle(attack, got=EXACT)


def give_another_model(run: Run, name: ParticipantId, model_digest: bytes) -> None:
    """`name` computes its context over the model that it was given."""
    participant = session_of(run, name)
    round_ = participant.membership.round
    bound = bind(round_.round_id, encode_config(round_.config), model_digest)
    membership = dataclasses.replace(
        participant.membership, rng=rng_of(7, "another model"), round=dataclasses.replace(round_, context=bound)
    )
    run.participants[name] = Participant(membership, run.vectors[name])


def different_models(mode: Mode = MASKED_SEMI_HONEST) -> Outcome:
    """Everyone else gets a model that silences its update, so that the "sum" is the victim's."""
    run = start(small_config(7, mode))
    give_another_model(run, VICTIM, b"\1" * 32)

    def attack() -> bool:
        aggregate = run.play().aggregate
        if run.refused:  # the coordinator looks before the victim does
            raise run.refused[0][1]
        if VICTIM in run.errors:
            raise run.errors[VICTIM]
        silent = true_sum(run, OTHERS)
        return aggregate is not None and np.array_equal(aggregate.sums - silent, truth(run, VICTIM))

    return settle(attack, held="keys and masks are bound to the model", got=EXACT)


def models_named_later(mode: Mode) -> Outcome:
    """Keys and shares are exchanged, and then everyone else is given a model that silences its update. Each is told the
    digest of the model that it was given, so nobody notices.
    """
    run = start(replace(small_config(7, mode), model_later=True))
    run.models = {VICTIM: _OTHER_MODEL}

    def tell(envelope: Envelope) -> Iterable[Envelope]:
        if (
            isinstance(envelope, Down)
            and isinstance(envelope.message, ShareDelivery)
            and envelope.participant == VICTIM
        ):
            return (replace(envelope, message=replace(envelope.message, model_digest=_OTHER_MODEL)),)
        return (envelope,)

    run.hook = tell

    def attack() -> bool:
        aggregate = run.play().aggregate
        if run.refused:
            raise run.refused[0][1]
        if aggregate is None:
            raise LocalError("the round has no sum, so there is nothing to attack")
        return np.array_equal(aggregate.sums - true_sum(run, OTHERS), truth(run, VICTIM))

    return settle(attack, held="masks and signatures are bound to the model that was named", got=EXACT)


def names_a_model_that_nobody_holds() -> Outcome:
    """The coordinator collects keys and shares, gives the victim a model of its own, and names it to everybody: whoever
    does not look masks an update of another model for it.
    """
    run = start(replace(small_config(7, MASKED_SEMI_HONEST), model_later=True))
    run.models = dict.fromkeys(OTHERS, _OTHER_MODEL)

    def attack() -> bool:
        aggregate = run.play().aggregate
        if OTHERS[0] in run.errors:
            raise run.errors[OTHERS[0]]
        return aggregate is not None and np.array_equal(aggregate.sums - true_sum(run, OTHERS), truth(run, VICTIM))

    return settle(attack, got=EXACT)


def without_named_model(made: Any) -> Any:
    """An input context that leaves the model out."""
    return lambda context, _digest: made(context, bytes(32))


def without_model(made: Any) -> Any:
    """A context that leaves the model out."""
    return lambda round_id, config_bytes, _digest: made(round_id, config_bytes, bytes(32))


class _Resumed:
    """Randomness after a restored snapshot: all but the round id is the same again."""

    def __init__(self, round_id: bytes) -> None:
        self._first = [round_id]
        self._rest = rng_of(3, "resumed")

    def token(self, size: int) -> bytes:
        return self._first.pop() if self._first else self._rest.token(size)


def difference_of_inputs(
    config: RoundConfig, *round_ids: bytes, models: tuple[bytes, ...] = (MODEL, MODEL)
) -> tuple[Integers, Integers]:
    """Two rounds with other updates and the same secrets: the victim's difference of inputs, and that of updates.

    Both modulo 2^b: uint64[vector_len].
    """
    seen, real = [], []
    for seed, (round_id, model) in enumerate(zip(round_ids, models, strict=True), start=1):
        run = start(config, seed=seed, rng=_Resumed(round_id))
        run.model = model
        adversary = Adversary(run)
        adversary.collect_inputs()
        seen.append(adversary.inputs[VICTIM])
        real.append(truth(run, VICTIM))
    ring = np.uint64((1 << config.ring_bits) - 1)
    return (seen[1] - seen[0]) & ring, (real[1] - real[0]) & ring


def restored_snapshot() -> Outcome:
    """A participant's machine is reset, and repeats its secrets in a second round with another update."""
    config = small_config(5, MASKED_SEMI_HONEST)

    def attack() -> bool:
        return np.array_equal(*difference_of_inputs(config, bytes([1]) * 16, bytes([2]) * 16))

    return settle(attack, held="mask keys are bound to the round", got="the difference of two updates")


def keys_for_two_models() -> Outcome:
    """A participant's machine is reset between shares and model. It masks two updates with the same secrets, in one
    round, for the two models that the coordinator names.
    """
    config = replace(small_config(5, MASKED_SEMI_HONEST), model_later=True)

    def attack() -> bool:
        return np.array_equal(*difference_of_inputs(config, bytes(16), bytes(16), models=(MODEL, _OTHER_MODEL)))

    return settle(attack, held="mask keys are bound to the model", got="the difference of two updates")


_UNOPENED: Final = "does not open"
_NO_MODEL: Final = (Measure(__name__, "bind", without_model),)
_NO_NAMED_MODEL: Final = (Measure(context, "bind_model", without_named_model),)

SHARE_GAMES: Final = (
    Game(
        "ring-fence", "The victim is told that only a colluder shared keys", "malicious coordinator, 2 of 7 collude",
        "[B17] §6.2", True, "fewer than t shares end the round for the victim", ring_fence_shares, Kind.LYING,
        defences=(Check(AwaitingShares, "receive", "C17"),), refused=Refusal(),
    ),
    Game(
        "replay-shares", "Shares of an earlier round, to participants who kept their channel keys",
        "malicious coordinator", "threat model", True, "a sealed share is bound to the round's context", replay_shares,
        Kind.LYING, "masked-semi-honest",
        defences=(Measure(cohort, "RoundId", lambda _: lambda _: bytes(16)),),
        refused=Refusal(AuthenticationError, VICTIM, _UNOPENED),
    ),
    Game(
        "different-models", "Another model for the victim than for the others", "malicious coordinator", "[P22]", True,
        "the context is bound to the model that each participant holds", different_models, Kind.MODELS,
        "masked-semi-honest", defences=_NO_MODEL, refused=Refusal(AuthenticationError, SEVEN[0], _UNOPENED),
    ),
    Game(
        f"different-models-{MASKED_ACTIVE.name}",
        f"{MASKED_ACTIVE.title}: another model for the victim than for the others", "malicious coordinator",
        "[P22]", True, "the context is bound to the model that each participant holds",
        partial(different_models, MASKED_ACTIVE), Kind.MODELS, MASKED_ACTIVE.name, defences=_NO_MODEL,
        refused=Refusal(AuthenticationError, VICTIM, f"the signature of {VICTIM} does not verify"),
    ),
    Game(
        "restored-snapshot", "A participant repeats its secrets in another round", "coordinator; snapshot restored",
        "threat model", True, "mask keys are derived for one round", restored_snapshot, Kind.SUMS,
        "masked-semi-honest",
        defences=(Measure(masks, "derive", lambda _: lambda material, **_: type(material)(material.expose()[:16])),),
    ),
    Game(
        "models-named-later", "Another model for the victim, named when keys and shares are exchanged",
        "malicious coordinator", "[P22]", True, "masks are bound to the model that was named",
        partial(models_named_later, MASKED_SEMI_HONEST), Kind.MODELS, "masked-semi-honest",
        defences=_NO_NAMED_MODEL,
    ),
    Game(
        f"models-named-later-{MASKED_ACTIVE.name}",
        f"{MASKED_ACTIVE.title}: another model for the victim, named when keys and shares are exchanged",
        "malicious coordinator", "[P22]", True, "what survivors sign is bound to the model that was named",
        partial(models_named_later, MASKED_ACTIVE), Kind.MODELS, MASKED_ACTIVE.name, defences=_NO_NAMED_MODEL,
        refused=Refusal(AuthenticationError, VICTIM, Check(SignaturePhase, "check", "C43")),
    ),
    Game(
        "model-that-nobody-holds", "A model that only the victim was given, named to everybody",
        "malicious coordinator", "[P22]", True, "each compares the model that is named with its own",
        names_a_model_that_nobody_holds, Kind.MODELS, "masked-semi-honest",
        defences=(Check(masked_input, "named", "C100"),), refused=Refusal(ModelMismatch),
    ),
    Game(
        "keys-for-two-models", "A participant repeats its secrets for another model of the same round",
        "coordinator; snapshot restored", "threat model", True, "mask keys are derived for one model",
        keys_for_two_models, Kind.SUMS, "masked-semi-honest", defences=_NO_NAMED_MODEL,
    ),
)  # fmt: skip
