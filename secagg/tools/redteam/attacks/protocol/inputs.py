"""Games about what goes in and what is told: weights, arrays that change, and more than one result for a round."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from secagg.encoding.code import BoundedCode
from secagg.encoding.fixedpoint import FixedPoint, FixedPointUpdate
from secagg.encoding.schema import ArraySpec, Schema
from secagg.encoding.sources import BLOCK, SteadyArray
from secagg.encoding.steps.clip import Clip, Clipped, norm
from secagg.errors import InputError, LocalError, RemoteError
from secagg.masked.vector import MaskedVector
from secagg.messages import ConsistencyProof, Dealt, Index, Roster, ShareDelivery, ShareKeys
from secagg.rounds import dealing
from secagg.rounds.certification import Result
from secagg.tools.redteam.adversary import Adversary, truth
from secagg.tools.redteam.arena import deployment, random_updates, rng_of, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Measure, Outcome, Refusal, settle
from secagg.tools.redteam.attacks.protocol.releases import NAMES
from secagg.tools.redteam.modes import MASKED_ACTIVE, MASKED_SEMI_HONEST
from secagg.tools.simulation.cohort import Contribution, set_up
from secagg.tools.simulation.network import Down, Envelope, Up


def changed_update() -> Outcome:
    """Training goes on in the arrays that were handed over: what is sent must be what was looked at. The clip bounds
    the norm that was there at first, and noise is sized for it.
    """
    from secagg_client.participation.terms import Contribution as Brought  # noqa: PLC0415, the shell's own

    def attack() -> bool:
        live = random_updates(_BLOCKS, NAMES[:1], 3)[NAMES[0]]
        brought = Brought(update=live, weight=1, model_digest=bytes(32))
        sent = Clipped(_BLOCKS.check(brought.update), Clip(l2=1.0), [_BLOCKS.size])
        live["values"] *= 100
        return norm(sent, 0, sent.size) > 1 + 2.0**-20

    return settle(attack, got="an update beyond the clip")


def limb_sums() -> Outcome:
    """Weights are wider than a value, so that they are sent in parts: each part's sum tells more than their total."""

    def attack() -> bool:
        names, weights = NAMES[:4], (64, 64, 3, 1)
        config = MASKED_ACTIVE.config(_VALUES, 4, encoding=FixedPoint(1.0, 4, 100))
        updates = random_updates(_VALUES, names, 3)
        brought = {name: Contribution(updates[name], weight) for name, weight in zip(names, weights, strict=True)}
        run = set_up(config, brought, rng=rng_of(5, "limbs"), deployment=deployment())
        aggregate = run.play().aggregate
        if aggregate is None:
            raise LocalError(f"there is no sum to look at: {run.coordinator.failure}")
        beside = aggregate.sums[_VALUES.size :]
        return not (len(beside) == 1 and int(beside[0]) == sum(weights))

    return settle(attack, held="the total weight stands in one coordinate", got="sums of parts of the weights")


def two_results() -> Outcome:
    """Half of the survivors are given one result and half another, and everybody is to believe that t signed theirs."""

    def attack() -> bool:
        run = start(small_config(7))
        adversary = Adversary(run, NAMES[:2])
        adversary.collect_inputs()
        roster: Roster = adversary.roster
        names = list(run.participants)
        results = [Result.of(adversary.round, roster, names, bytes([digest]) * 32) for digest in (1, 2)]
        both, halves = names[:2], (names[2:5], names[5:])
        proofs = []
        for result, honest in zip(results, halves, strict=True):
            signers = [*both, *honest]
            signed = {Index(names.index(n) + 1): run.participants[n].membership.sign(result.to_sign) for n in signers}
            proofs.append(ConsistencyProof(signed))
        return all(result.is_certified(proof) for result, proof in zip(results, proofs, strict=True))

    return settle(attack, held="t signatures under one result: 2t > n + n_C", got="two results, both certified")


def framing() -> Outcome:
    """The coordinator spoils what one participant dealt, on its way to the others, and has them name the dealer: it
    shows them the digest of what they got, under the signature that the dealer gave for something else.
    """

    def attack() -> bool:
        run, dealer, hit, signatures = start(small_config(7)), Index(1), [], list[bytes]()

        def spoil(envelope: Envelope) -> tuple[Envelope, ...]:
            message = envelope.message
            if isinstance(envelope, Up) and isinstance(message, ShareKeys) and envelope.participant == NAMES[0]:
                signatures.append(message.signature)
            if not (isinstance(envelope, Down) and isinstance(message, ShareDelivery) and dealer in message.sealed):
                return (envelope,)
            hit.append(envelope.participant)
            spoiled = {**message.sealed, dealer: bytes(len(message.sealed[dealer]))}
            return (replace(envelope, message=ShareDelivery(spoiled)),)

        run.hook = spoil
        run.showing = lambda _, leave: Dealt(leave.refused_entry, b"".join(signatures[:1]))
        run.play()
        if not hit:
            raise LocalError("nobody was delivered anything that could be spoiled")
        named = {error.culprit for error in run.errors.values() if isinstance(error, RemoteError)}
        failure = run.coordinator.failure
        return bool(run.errors) and NAMES[0] in named | set(failure.culprits if failure else ())

    return settle(attack, held="what was dealt is signed: nobody is named who did not sign it", got="an honest culprit")


def chunk_sent_again() -> Outcome:
    """A caller trains on in place while its update is sent: a chunk that is asked for again shows how far it moved."""

    def attack() -> bool:
        config, names = MASKED_SEMI_HONEST.config(_BLOCKS, 5), NAMES[:5]
        updates = random_updates(_BLOCKS, names, 3)
        run = set_up(config, {name: Contribution(updates[name]) for name in names}, rng=rng_of(5, "again"))
        adversary = Adversary(run)
        adversary.collect_shares()
        masked = adversary.deliver(names[0], names)
        if not isinstance(masked, MaskedVector):
            raise LocalError("no input came")
        first, before = adversary.inputs[names[0]], truth(run, names[0])
        updates[names[0]]["values"] *= 0.5
        moved, ring = adversary.read(masked) - first, np.uint64((1 << config.ring_bits) - 1)
        return np.array_equal(moved & ring, (truth(run, names[0]) - before) & ring)

    return settle(attack, got="the difference of two updates")


def weights_in_limbs(one: Any) -> Any:
    """A code with two coordinates for the weight."""
    return property(lambda self: one.fget(self) + 1)


def longer_encoder(begin: Callable[..., None]) -> Callable[..., None]:
    """Of an encoder with two coordinates for the weight."""

    def longer(self: FixedPointUpdate, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        self.vector_len += 1

    return longer


def limbs_of_weight(read: Callable[..., Any]) -> Callable[..., Any]:
    """The weight in two coordinates of four bits each, instead of in one that is wide enough."""

    def limbs(self: FixedPointUpdate, start: int, stop: int, dtype: Any = None) -> Any:
        whole = read(self, start, stop - 1, dtype)
        weight = int(whole[-1])
        return np.array([*whole[:-1].tolist(), weight & 15, weight >> 4], whole.dtype)

    return limbs


_VALUES: Final = Schema((ArraySpec("values", (64,), "float64"),))
_BLOCKS: Final = Schema((ArraySpec("values", (BLOCK + 64,)),))  # the block that was read last is not read again

INPUT_GAMES: Final = (
    Game(
        "limb-sums", "Weights that are wider than a value", "curious coordinator", "threat model", True,
        "only the total weight comes out, in one coordinate", limb_sums, Kind.READING,
        defences=(Measure(BoundedCode, "vector_len", weights_in_limbs),
                  Measure(FixedPointUpdate, "__init__", longer_encoder),
                  Measure(FixedPointUpdate, "read", limbs_of_weight)),
    ),
    Game(
        "changed-update", "An update that changes after participation began", "the participant's own training loop",
        "threat model", True, "every block is held against what it was when it was checked", changed_update,
        Kind.READING, defences=(Check(SteadyArray, "block", "same-update"),), refused=Refusal(InputError, None),
    ),
    Game(
        "chunk-sent-again", "A chunk is asked for again when the update has changed", "curious coordinator",
        "threat model", True, "a chunk is the same whenever it is sent", chunk_sent_again, Kind.READING,
        MASKED_SEMI_HONEST.name,
        defences=(Check(SteadyArray, "block", "same-update"), Check(MaskedVector, "chunk", "same-chunk-again")),
        refused=Refusal(InputError, None),
    ),
    Game(
        "framing", "What an honest participant dealt is spoiled on its way, so that others blame it",
        "malicious coordinator", "threat model", True, "a culprit is named only by what it signed", framing, Kind.LYING,
        defences=(Measure(dealing, "made_by", lambda _: lambda *_: True),),
    ),
    Game(
        "two-results", "Another result for each half of the survivors", "malicious coordinator, 2 of 7 collude",
        "threat model", True, "survivors sign the result, and t must have signed the same", two_results, Kind.LYING,
        defences=(Measure(Result, "is_certified", lambda _: lambda *_: True),),
    ),
)  # fmt: skip
