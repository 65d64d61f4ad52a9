"""Games against masked rounds. Sources: [B17] Bonawitz et al. 2017, [P22] Pasquini et al. 2022 (ePrint 2021/1576)."""

import dataclasses
from collections.abc import Mapping
from typing import Final

import numpy as np

from secagg import roster as rosters
from secagg.context import bind
from secagg.crypto.agreement import KeyPair
from secagg.crypto.identity import Identity
from secagg.errors import ConfigError
from secagg.masked.participant import AwaitingRoster
from secagg.masked.session import Participant
from secagg.messages import AdvertiseKeys, ConsistencyProof, ParticipantId, ShareKeys, SurvivorSet
from secagg.policy import Policy
from secagg.tools.redteam.adversary import Adversary, Impostor, Integers, session_of, true_sum, truth
from secagg.tools.redteam.arena import deployment, rng_of, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Game, Kind, Outcome, settle
from secagg.tools.redteam.modes import MASKED_ACTIVE, MASKED_SEMI_HONEST, Mode
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Run
from secagg.wire.configuration import encode_config

SEVEN: Final = participant_names(7)
VICTIM: Final = SEVEN[3]
OTHERS: Final = [name for name in SEVEN if name != VICTIM]
COLLUDERS: Final = SEVEN[:2]
EXACT: Final = "the victim's exact update"


def exposed(adversary: Adversary, run: Run, victim: ParticipantId = VICTIM, *, self_mask: bool = True) -> bool:
    """Whether the adversary's view gives the victim's exact update."""
    stolen = adversary.expose(victim, run.participants, self_mask=self_mask)
    return stolen is not None and np.array_equal(stolen, truth(run, victim))


def late_message() -> Outcome:
    """The victim is declared dropped, so its mask key is rebuilt; then its input comes in all the same."""
    run = start(small_config(7))

    def attack() -> bool:
        adversary = Adversary(run)
        adversary.collect_inputs()
        adversary.unmask(dict.fromkeys(OTHERS, adversary.sets(OTHERS)))
        # With the pairwise masks gone the input is open unless the self mask is there and unknown.
        return exposed(adversary, run, self_mask=False) or exposed(adversary, run)

    return settle(attack, held="the self mask: nobody reveals its shares for someone who was called dropped", got=EXACT)


def both_shares(mode: Mode = MASKED_ACTIVE) -> Outcome:
    """Everyone unmasks; then everyone is asked again, with the victim among the dropped."""
    run = start(small_config(7, mode))

    def attack() -> bool:
        adversary = Adversary(run)
        adversary.collect_inputs()
        adversary.unmask(dict.fromkeys(SEVEN, adversary.sets(SEVEN)))
        adversary.unmask(dict.fromkeys(OTHERS, adversary.sets(OTHERS)))
        return exposed(adversary, run)

    return settle(attack, held="one answer a round", got=EXACT)


def overlapping_sets() -> Outcome:
    """The victim is called both a survivor and dropped in one and the same request."""
    run = start(small_config(7))

    def attack() -> bool:
        adversary = Adversary(run)
        adversary.collect_inputs()
        adversary.unmask(dict.fromkeys(SEVEN, adversary.sets(SEVEN, dropped=[VICTIM])))
        return exposed(adversary, run)

    return settle(attack, held="a reply holds one share of each owner", got=EXACT)


TEN: Final = participant_names(10)
BRIBED, KEPT, CUT = TEN[:3], TEN[3:5], TEN[5:]


def _split_views(adversary: Adversary) -> Mapping[ParticipantId, SurvivorSet]:
    """Each honest participant sees at most three dropped, but in all five are."""
    views = {name: {CUT[(i + 1) % 5], CUT[(i + 2) % 5], CUT[(i + 3) % 5]} for i, name in enumerate(CUT)}
    views |= {KEPT[0]: set(CUT[:3]), KEPT[1]: set(CUT[3:])}
    return {name: adversary.sets(set(TEN) - gone, gone) for name, gone in views.items()}


def two_survivor_sets() -> Outcome:
    """Every honest participant is shown another set of survivors, and only its own signature on it."""
    run = start(small_config(10))

    def attack() -> bool:
        adversary = Adversary(run, BRIBED)
        adversary.collect_inputs()
        views = _split_views(adversary)
        for name, sets in views.items():
            adversary.sign(name, sets)
        for name, sets in views.items():
            own = adversary.index(name)
            adversary.ask(name, ConsistencyProof({own: adversary.signatures[name, sets]}))
        pair = adversary.sum_over([*KEPT, *BRIBED], CUT)
        return pair is not None and np.array_equal(pair - true_sum(run, BRIBED), true_sum(run, KEPT))

    return settle(attack, held="signatures on one set", got="the sum of two, where the threshold promises four")


def vote_twice() -> Outcome:
    """Colluders sign two different survivor sets, so that two groups of honest participants each see a majority."""
    bribed = SEVEN[:2]
    run = start(small_config(7))

    def attack() -> bool:
        adversary = Adversary(run, bribed)
        adversary.collect_inputs()
        honest = [name for name in OTHERS if name not in bribed]
        alive, gone = [VICTIM, *honest[:1]], honest[1:]
        views = dict.fromkeys(alive, adversary.sets(SEVEN)) | dict.fromkeys(gone, adversary.sets(OTHERS))
        for sets in set(views.values()):
            message = rosters.survivors_to_sign(adversary.round.context, adversary.roster, sets)
            for name in bribed:
                adversary.signatures[name, sets] = run.participants[name].membership.sign(message)
        adversary.unmask(views)
        return exposed(adversary, run)

    return settle(attack, held="2t > n + n_C", got=EXACT)


def _substitute(run: Run, identity: Identity | None) -> bool:
    """Show the victim a roster of keys that are all the coordinator's own."""
    adversary = Adversary(run)
    impostor = Impostor(adversary, OTHERS)
    for name in OTHERS:
        impostor.advertise(name)
        if identity is not None:
            keys = adversary.advertised[name]
            signature = identity.sign(rosters.advertisement_to_sign(adversary.round.context, name, keys))
            chain = deployment().identities[name].chain
            impostor.advertise(name, signature=signature, certificates=chain)
    adversary.ask(VICTIM, adversary.roster)
    impostor.deal(VICTIM)
    adversary.deliver(VICTIM, SEVEN)
    return exposed(adversary, run)


def key_substitution() -> Outcome:
    """The others' keys are the coordinator's own, under their true certificates, signed by a colluder."""
    run = start(small_config(7))
    return settle(lambda: _substitute(run, deployment().identities[COLLUDERS[0]]), held="signed keys", got=EXACT)


def key_substitution_semi_honest() -> Outcome:
    """The same where keys are not signed: the semi-honest threat model, which a participant's policy must allow."""
    config = small_config(7, MASKED_SEMI_HONEST)
    return settle(lambda: _substitute(start(config), None), held="nothing", got=EXACT)


def downgrade() -> Outcome:
    """The coordinator opens a semi-honest round to get there; the participant has its default policy."""
    config = small_config(7, MASKED_SEMI_HONEST)
    return settle(lambda: _substitute(start(config, policy=Policy()), None), held="policy", got=EXACT)


def replay_keys() -> Outcome:
    """Signed keys of an earlier round, whose secrets came out since, stand in this round's roster."""
    last = Adversary(start(small_config(7), seed=1), colluders=OTHERS)
    run = start(small_config(7), seed=2)

    def attack() -> bool:
        adversary = Adversary(run)
        impostor = Impostor(adversary, OTHERS)
        adversary.channel_keys |= last.channel_keys
        adversary.mask_keys |= last.mask_keys
        for name in OTHERS:
            keys = last.advertised[name]
            impostor.advertise(name, signature=keys.signature, certificates=keys.certificates)
        adversary.ask(VICTIM, adversary.roster)
        impostor.deal(VICTIM)
        adversary.deliver(VICTIM, SEVEN)
        return exposed(adversary, run)

    return settle(attack, held="signatures bound to the round", got=EXACT)


def replay_proof() -> Outcome:
    """Everyone's signatures on last round's survivors open this round's masks."""

    def attack() -> bool:
        old, new = Adversary(start(small_config(7), seed=1)), Adversary(start(small_config(7), seed=2))
        for adversary in (old, new):
            adversary.collect_inputs()
            for name in SEVEN:
                adversary.sign(name, adversary.sets(SEVEN))
        new.signatures = old.signatures
        new.prove(VICTIM, new.sets(SEVEN))
        return bool(new.seed_shares)

    return settle(attack, held="signatures bound to the round", got="shares for a set that nobody signed in this round")


def ring_fence_shares() -> Outcome:
    """The victim is told that one colluder alone shared keys, so that it masks against nobody else."""
    run = start(small_config(7))

    def attack() -> bool:
        adversary = Adversary(run, COLLUDERS)
        adversary.collect_shares()
        for name in OTHERS:
            adversary.deliver(name, SEVEN)
        adversary.unmask(dict.fromkeys(OTHERS, adversary.sets(SEVEN)))
        adversary.deliver(VICTIM, [COLLUDERS[0]])
        stolen = adversary.expose(VICTIM, [COLLUDERS[0]])
        return stolen is not None and np.array_equal(stolen, truth(run, VICTIM))

    return settle(attack, held="at least t share keys", got=EXACT)


def _sybils(policy: Policy | None) -> bool:
    """Everyone but the victim belongs to the coordinator, with genuine certificates; the round is played honestly."""
    config = small_config(4)
    run = start(config, policy=policy)
    names = participant_names(4)
    adversary = Adversary(run, names[1:])
    adversary.collect_inputs()
    adversary.unmask(dict.fromkeys(names, adversary.sets(names)))
    total = adversary.sum_over(names, [])
    return total is not None and np.array_equal(total - true_sum(run, names[1:]), truth(run, names[0]))


def sybils() -> Outcome:
    """All others are Sybils with genuine certificates of the deployment's CA."""
    return settle(lambda: _sybils(None), held="nothing", got=f"{EXACT}: the sum less what the Sybils put in")


def sybils_of_one_organisation() -> Outcome:
    """The same, and the victim's policy demands two organisations."""
    return settle(lambda: _sybils(Policy(min_organisations=2)), held="policy", got=EXACT)


def one_name_many_times() -> Outcome:
    """One colluder stands in the roster under every name but the victim's, with its own true certificate."""
    run = start(small_config(7))

    def attack() -> bool:
        adversary = Adversary(run)
        impostor = Impostor(adversary, OTHERS)
        identity = deployment().identities[COLLUDERS[0]]
        for name in OTHERS:
            impostor.advertise(name)
            signed = rosters.advertisement_to_sign(adversary.round.context, name, adversary.advertised[name])
            impostor.advertise(name, signature=identity.sign(signed), certificates=identity.chain)
        adversary.ask(VICTIM, adversary.roster)
        impostor.deal(VICTIM)
        adversary.deliver(VICTIM, SEVEN)
        return exposed(adversary, run)

    return settle(attack, held="certificates name their owner", got=EXACT)


FIVE: Final = participant_names(5)


def cohort_of_one() -> Outcome:
    """A "sum" over the victim and one colluder; everyone else is called dropped. Two collude, one more than the round
    stands: with as many as it stands, the shares would not do either.
    """
    config = small_config(5, MASKED_SEMI_HONEST, threshold=3, max_colluding=1)
    run, loner, bribed = start(config), FIVE[2], FIVE[:2]

    def attack() -> bool:
        adversary = Adversary(run, bribed)
        adversary.collect_inputs()
        adversary.ask(loner, adversary.sets([loner, bribed[0]]))
        return exposed(adversary, run, loner)

    return settle(attack, held="at least t survivors", got=EXACT)


def threshold_of_colluders() -> Outcome:
    """A round whose threshold the colluders reach among themselves: they open every secret without asking anyone."""

    def attack() -> bool:
        run = start(small_config(7, MASKED_SEMI_HONEST, threshold=3, max_colluding=3))
        adversary = Adversary(run, SEVEN[:3])
        adversary.collect_inputs()
        return exposed(adversary, run)

    return settle(attack, held="more than n_C shares are needed", got=EXACT)


def all_but_one_collude() -> Outcome:
    """A round that "stands" so many colluders that one honest update is left in its sum: the sum less their own."""

    def attack() -> bool:
        three = participant_names(3)
        run = start(small_config(3, threshold=3, max_colluding=2))
        aggregate = run.play().aggregate
        return aggregate is not None and np.array_equal(
            aggregate.sums - truth(run, three[0]) - truth(run, three[1]), truth(run, three[2])
        )

    return settle(attack, held="t − n_C ≥ 2", got=EXACT)


def threshold_of_two_majorities() -> Outcome:
    """An active round with 2t ≤ n + n_C, in which two survivor sets can both gather t signatures."""

    def attack() -> bool:
        small_config(7, MASKED_ACTIVE, threshold=4, max_colluding=2)
        return True

    return settle(attack, held="2t > n + n_C", got="a configuration in which the victim can be both dropped and alive")


def give_another_model(run: Run, name: ParticipantId, model_digest: bytes) -> None:
    """`name` computes its context over the model that it was given."""
    participant = session_of(run, name)
    round_ = participant.membership.round
    context = bind(round_.round_id, encode_config(round_.config), model_digest)
    membership = dataclasses.replace(
        participant.membership, rng=rng_of(7, "another model"), round=dataclasses.replace(round_, context=context)
    )
    run.participants[name] = Participant(membership, run.vectors[name])


def different_models(mode: Mode = MASKED_SEMI_HONEST) -> Outcome:
    """Everyone else gets a model that silences its update, so that the "sum" is the victim's."""
    run = start(small_config(7, mode))
    give_another_model(run, VICTIM, b"\1" * 32)

    def attack() -> bool:
        aggregate = run.play().aggregate
        if VICTIM in run.errors:
            raise run.errors[VICTIM]
        silent = true_sum(run, OTHERS)
        return aggregate is not None and np.array_equal(aggregate.sums - silent, truth(run, VICTIM))

    return settle(attack, held="keys and masks are bound to the model", got=EXACT)


class _Resumed:
    """Randomness after a restored snapshot: all but the round id is the same again."""

    def __init__(self, round_id: bytes) -> None:
        self._first = [round_id]
        self._rest = rng_of(3, "resumed")

    def token(self, size: int) -> bytes:
        return self._first.pop() if self._first else self._rest.token(size)


def restored_snapshot() -> Outcome:
    """A participant's machine is reset, and repeats its secrets in a second round with another update."""
    config = small_config(5, MASKED_SEMI_HONEST)

    def attack() -> bool:
        inputs: list[Integers] = []
        truths: list[Integers] = []
        for number in (1, 2):
            run = start(config, seed=number, rng=_Resumed(bytes([number]) * 16))
            adversary = Adversary(run)
            adversary.collect_inputs()
            inputs.append(adversary.inputs[FIVE[3]])
            truths.append(truth(run, FIVE[3]))
        ring = np.uint64((1 << config.ring_bits) - 1)
        return np.array_equal((inputs[1] - inputs[0]) & ring, (truths[1] - truths[0]) & ring)

    return settle(attack, held="mask keys are bound to the round", got="the difference of two updates")


def low_order_key() -> Outcome:
    """Colluders advertise points of low order, so that every agreement with them gives a secret that all know."""
    config = small_config(3, MASKED_SEMI_HONEST, threshold=3, max_colluding=0)
    names = participant_names(3)
    run = start(config)

    def attack() -> bool:
        adversary = Adversary(run)
        points = [bytes(32), (1).to_bytes(32, "little"), (2**255 - 20).to_bytes(32, "little")]
        state = session_of(run, names[2])._state
        if not isinstance(state, AwaitingRoster):
            raise ConfigError("the round has begun")
        honest = KeyPair.generate(rng_of(1, "low order"))
        adversary.advertised[names[0]] = AdvertiseKeys(points[0], points[1])
        adversary.advertised[names[1]] = AdvertiseKeys(points[2], honest.public)
        adversary.reassign()
        return isinstance(adversary.ask(names[2], adversary.roster), ShareKeys)

    return settle(attack, held="points of low order are refused", got="shares sealed under a secret that all know")


MASKED_GAMES: Final = (
    Game(
        "late-message", "An input that comes after its sender was declared dropped", "malicious coordinator",
        "[B17] §6.1", True, "double masking", late_message,
        kind=Kind.LYING,
    ),
    Game(
        "both-shares", "Both kinds of share of one participant, one request after the other", "malicious coordinator",
        "[B17] §6.2", True, "a participant answers once", both_shares,
        kind=Kind.LYING,
    ),
    Game(
        "overlapping-sets", "Both kinds of share of one participant, in one request", "malicious coordinator",
        "[B17] §6.2", True, "disjoint sets are demanded; a reply cannot hold both", overlapping_sets,
        kind=Kind.LYING,
    ),
    Game(
        "two-survivor-sets", "Different survivor sets for different participants",
        "malicious coordinator, 3 of 10 collude", "[B17] §6.2", True, "t signatures on one's own set",
        two_survivor_sets,
        kind=Kind.LYING,
    ),
    Game(
        "vote-twice", "Colluders sign two survivor sets", "malicious coordinator, 2 of 7 collude", "[B17] §6.2", True,
        "the threshold: 2t > n + n_C", vote_twice,
        kind=Kind.COLLUDING,
    ),
    Game(
        "key-substitution", "The others' keys are the coordinator's own", "malicious coordinator, 1 colludes",
        "[B17] §6.2", True, "keys are signed under the deployment's CA", key_substitution,
        kind=Kind.LYING,
    ),
    Game(
        "key-substitution-unsigned", "The same in a round of the semi-honest threat model", "malicious coordinator",
        "[B17] §6.1", False, "the active threat model: semi-honest rounds trust the coordinator to follow the rules",
        key_substitution_semi_honest,
        kind=Kind.LYING, mode="masked-semi-honest",
    ),
    Game(
        "downgrade", "A semi-honest round where an active one is wanted", "malicious coordinator", "threat model", True,
        "the participant's own policy", downgrade,
        kind=Kind.LYING, mode="masked-semi-honest",
    ),
    Game(
        "replay-keys", "Signed keys of an earlier round", "malicious coordinator, secrets of an earlier round leaked",
        "threat model", True, "signatures cover the round's context", replay_keys,
        kind=Kind.LYING,
    ),
    Game(
        "replay-proof", "Signatures of an earlier round on its survivors", "malicious coordinator", "threat model",
        True, "signatures cover the round's context", replay_proof,
        kind=Kind.LYING,
    ),
    Game(
        "ring-fence", "The victim is told that only a colluder shared keys", "malicious coordinator, 2 of 7 collude",
        "[B17] §6.2", True, "fewer than t shares end the round for the victim", ring_fence_shares,
        kind=Kind.LYING,
    ),
    Game(
        "one-name-many-times", "One colluder stands for the whole cohort", "malicious coordinator, 1 colludes",
        "Douceur 2002", True, "certificates name their owner", one_name_many_times,
        kind=Kind.SYBILS,
    ),
    Game(
        "sybils", "All others are Sybils with genuine certificates", "coordinator and n − 1 participants",
        "Douceur 2002", False, "whom the CA certifies; a policy with min_organisations", sybils,
        kind=Kind.SYBILS,
    ),
    Game(
        "sybils-one-organisation", "The same, and all are of one organisation, the victim's own",
        "coordinator and n − 1 participants", "Douceur 2002", True,
        "the participant's policy: min_organisations=2 (it counts the victim's own)", sybils_of_one_organisation,
        kind=Kind.SYBILS,
    ),
    Game(
        "cohort-of-one", "A sum over the victim and a colluder", "malicious coordinator, 2 of 5 collude",
        "[P22] §4", True, "fewer than t survivors end the round", cohort_of_one,
        kind=Kind.LYING, mode="masked-semi-honest",
    ),
    Game(
        "threshold-of-colluders", "A threshold that colluders reach alone", "coordinator, t participants collude",
        "[B17] §6.1", True, "such a configuration is refused", threshold_of_colluders,
        kind=Kind.COLLUDING, mode="masked-semi-honest",
    ),
    Game(
        "all-but-one-collude", "A round that stands all participants but one",
        "coordinator, n − 1 participants collude", "[B17] §6.1", True, "such a configuration is refused",
        all_but_one_collude, kind=Kind.COLLUDING,
    ),
    Game(
        "two-majorities", "A threshold that two disjoint views reach", "malicious coordinator with colluders",
        "[B17] §6.2", True, "such a configuration is refused", threshold_of_two_majorities,
        kind=Kind.COLLUDING,
    ),
    Game(
        "different-models", "Another model for the victim than for the others", "malicious coordinator", "[P22]", True,
        "the context is bound to the model that each participant holds", different_models,
        kind=Kind.MODELS, mode="masked-semi-honest",
    ),
    Game(
        "restored-snapshot", "A participant repeats its secrets in another round", "coordinator; snapshot restored",
        "threat model", True, "mask keys are derived for one round", restored_snapshot,
        kind=Kind.SUMS, mode="masked-semi-honest",
    ),
    Game(
        "low-order-key", "Public keys that give no secret", "malicious coordinator", "RFC 7748 §6.1", True,
        "points of low order are refused", low_order_key,
        kind=Kind.LYING, mode="masked-semi-honest",
    ),
)  # fmt: skip
"""In the order of the report."""
