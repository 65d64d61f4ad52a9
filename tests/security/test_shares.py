"""Round 2: what a participant checks before its masked input leaves, and what binds shares and masks to the round (T7,
T13).

Adversary: a malicious coordinator, with colluders where a test says so.
"""

from collections.abc import Iterable

import numpy as np
import pytest

from secagg.context import Context, RoundId, bind
from secagg.errors import AuthenticationError, ProtocolViolation
from secagg.masked import shares
from secagg.masked.share_keys import AwaitingRoster
from secagg.messages import Index, MaskedInputChunk, Member, ParticipantId, ShareDelivery, ShareKeys
from secagg.tools.redteam.adversary import Adversary
from secagg.tools.redteam.attacks.protocol.shares import difference_of_inputs, give_another_model
from secagg.tools.simulation import cohort
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Run
from tests.rounds import SEMI_HONEST, Integers, flat_schema, make_config, session_of, start, true_sum, truth
from tests.security.refusals import holds_nothing, refusal
from tests.security.uniformity import looks_uniform

NAMES = participant_names(7)
VICTIM = NAMES[3]
COLLUDERS = NAMES[:2]
HONEST = [name for name in NAMES if name not in (VICTIM, *COLLUDERS)]


def test_shares_of_strangers_are_refused() -> None:
    adversary = Adversary(start(make_config(7)))
    adversary.collect_shares()
    sealed = {Index(99): bytes(82), **{adversary.index(n): bytes(82) for n in NAMES if n != VICTIM}}
    error = refusal(lambda: adversary.ask(VICTIM, ShareDelivery(sealed)))
    assert isinstance(error, ProtocolViolation)
    assert "not our neighbours" in str(error)


# --- a share under another sender's name ------------------------------------------------------------------------------


def swap_senders(run: Run) -> Adversary:
    """Hand out the victim's shares as if colluder A had dealt them, and declare A dropped.

    Honest holders then reveal b of the victim, who survived, and "A's" mask key, which is the victim's.
    """
    adversary = Adversary(run, COLLUDERS)
    impersonated = COLLUDERS[0]
    adversary.collect_shares()
    true = adversary.shared[impersonated]
    for name in NAMES:
        if name in HONEST:
            sealed = {**true.sealed, adversary.index(name): adversary.shared[VICTIM].sealed[adversary.index(name)]}
            adversary.shared[impersonated] = ShareKeys(true.commitment, sealed)
        else:
            adversary.shared[impersonated] = true
        adversary.deliver(name, NAMES)
    alive = [name for name in NAMES if name != impersonated]
    adversary.key_shares[adversary.index(impersonated)].clear()
    adversary.unmask(dict.fromkeys([VICTIM, *HONEST, COLLUDERS[1]], adversary.sets(alive)))
    passed_off = adversary.key_shares[adversary.index(impersonated)]
    honest = {adversary.index(name) for name in HONEST}
    adversary.key_shares[adversary.index(VICTIM)] |= {h: y for h, y in passed_off.items() if h in honest}
    return adversary


def test_a_share_from_the_wrong_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(7)
    with monkeypatch.context() as patch:
        run = start(config)
        members = Adversary(run).roster.members
        opened = shares.open_sealed

        def from_anyone(round_, channel, _sender, receiver, sealed):  # type: ignore[no-untyped-def]
            """Takes whatever opens under any peer's key: nothing says who sealed it."""
            for member in members:
                try:
                    return opened(round_, channel, member, receiver, sealed)
                except AuthenticationError:
                    continue
            raise AssertionError

        patch.setattr(shares, "open_sealed", from_anyone)
        adversary = swap_senders(run)
        adversary.mask_keys.clear()  # what the colluders know is not even needed
        stolen = adversary.expose(VICTIM, NAMES)
        assert stolen is not None
        assert np.array_equal(stolen, truth(run, VICTIM))
    run = start(config)
    error = refusal(lambda: swap_senders(run))
    assert isinstance(error, AuthenticationError)
    assert error.culprit is None  # the coordinator or that sender: the signature is not on this entry


# --- shares are opened before the input leaves ------------------------------------------------------------------------


def test_garbage_for_shares_keeps_the_input_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened later, bad shares would show only when inputs are out and nobody can unmask: a round lost
    to one dealer.
    """

    def poisoned(run: Run) -> Adversary:
        adversary = Adversary(run)
        adversary.collect_shares()
        dealt = adversary.shared[COLLUDERS[0]]
        sealed = {i: bytes(len(s)) for i, s in dealt.sealed.items()}
        adversary.shared[COLLUDERS[0]] = ShareKeys(dealt.commitment, sealed)
        adversary.deliver(VICTIM, NAMES)
        return adversary

    with monkeypatch.context() as patch:
        opened = shares.open_sealed

        def later(round_, channel, sender, receiver, sealed):  # type: ignore[no-untyped-def]
            try:
                return opened(round_, channel, sender, receiver, sealed)
            except AuthenticationError:
                return None

        patch.setattr(shares, "open_sealed", later)
        assert VICTIM in poisoned(start(make_config(7))).inputs
    run = start(make_config(7))
    error = refusal(lambda: poisoned(run))
    assert isinstance(error, AuthenticationError)
    assert error.culprit is None
    assert holds_nothing(run, VICTIM)


# --- T7: different models ---------------------------------------------------------------------------------------------

LARGE = flat_schema(4096)


@pytest.mark.parametrize("threat_model", ["active", "semi-honest"])
def test_different_models_are_noticed_before_any_input_leaves(threat_model: str) -> None:
    run = start(make_config(7) if threat_model == "active" else make_config(7, SEMI_HONEST))
    give_another_model(run, VICTIM, b"\1" * 32)
    inputs: set[ParticipantId] = set()

    def watch(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope.message, MaskedInputChunk):
            inputs.add(envelope.participant)
        return (envelope,)

    run.hook = watch
    run.play()
    assert VICTIM not in inputs
    # Signed keys are turned away at the coordinator's door; without signatures the sealed shares do not open.
    turned_away = [error for up, error in run.refused if up.participant == VICTIM]
    noticed = turned_away[0] if threat_model == "active" else run.errors[VICTIM]
    assert isinstance(noticed, AuthenticationError)


def trust_any_context(patch: pytest.MonkeyPatch, run: Run) -> None:
    """Seals and commitments as they would be without the context; masks stay bound to it."""
    common, seal, opened, commit = run.coordinator.round, shares.seal, shares.open_sealed, shares.commit

    def sealed_for(_round, channel, sender, receiver: Member, pair, **more):  # type: ignore[no-untyped-def]
        return seal(common, channel, sender, receiver, pair, **more)

    def opened_from(_round, channel, sender: Member, receiver, sealed):  # type: ignore[no-untyped-def]
        return opened(common, channel, sender, receiver, sealed)

    patch.setattr(shares, "seal", sealed_for)
    patch.setattr(shares, "open_sealed", opened_from)
    patch.setattr(shares, "commit", lambda _round, owner, seed: commit(common, owner, seed))


def test_masks_of_different_models_do_not_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pasquini et al. 2022: others get a model that silences their updates, so the "sum" is the victim's alone."""
    config = make_config(5, SEMI_HONEST, schema=LARGE)
    names = participant_names(5)

    def play(run: Run) -> Integers:
        aggregate = run.play().aggregate
        assert aggregate is not None
        return aggregate.sums.astype(np.uint64)

    with monkeypatch.context() as patch:
        # Nothing is bound to the model: the attack works.
        patch.setattr(cohort, "bind", lambda *_: Context(bytes(32)))
        run = start(config)
        silent = sum(truth(run, name) for name in names if name != VICTIM)  # known: the gradient there is zero
        assert np.array_equal(play(run) - silent, truth(run, VICTIM))
    with monkeypatch.context() as patch:
        # Masks alone are bound to it: the sum is noise.
        run = start(config)
        give_another_model(run, VICTIM, b"\1" * 32)
        trust_any_context(patch, run)
        sums = play(run)
        assert not looks_uniform(true_sum(run, names), config.ring_bits)
        assert looks_uniform(sums, config.ring_bits)


def test_the_context_is_over_round_configuration_and_model() -> None:
    base = bind(RoundId(bytes(16)), b"config", bytes(32))
    others = [
        bind(RoundId(b"\1" * 16), b"config", bytes(32)),
        bind(RoundId(bytes(16)), b"other", bytes(32)),
        bind(RoundId(bytes(16)), b"config", b"\1" * 32),
    ]
    assert len({base, *others}) == 4


# --- T14: secrets of one round in another -----------------------------------------------------------------------------


def test_secrets_reused_in_another_round() -> None:
    """The same masks twice show the difference of two updates; the round id in every derivation makes them others."""
    config = make_config(7, SEMI_HONEST, schema=LARGE)
    seen, real = difference_of_inputs(config, bytes(16), bytes(16))
    assert np.array_equal(seen, real)
    seen, real = difference_of_inputs(config, bytes(16), b"\1" * 16)
    assert not np.array_equal(seen, real)
    assert looks_uniform(seen, config.ring_bits)


def test_a_participant_draws_new_secrets_for_every_round() -> None:
    run, again = start(make_config(7), seed=1), start(make_config(7), seed=2)
    for name in NAMES:
        one, other = run.participants[name].advertisement, again.participants[name].advertisement
        assert {one.channel_public_key, one.mask_public_key}.isdisjoint(
            {other.channel_public_key, other.mask_public_key}
        )


def test_states_print_without_their_secrets() -> None:
    state = session_of(start(make_config(7)), VICTIM)._state
    assert isinstance(state, AwaitingRoster)
    shown = repr(state)
    assert "redacted" in shown
    for pair in (state.channel, state.mask):
        assert repr(pair.private.expose())[2:-1] not in shown
