"""The suite of a round: what it changes, who accepts it, and what happens where it is not installed."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from secagg_server.rounds.opening import RoundOpener

from secagg import schemes
from secagg.config import RoundConfig, Suite
from secagg.context import Round, RoundId, bind
from secagg.crypto.agreement import KeyPair
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.errors import ConfigError, MissingExtraError, PolicyViolation, SavedStateError
from secagg.lattice.parameters import Custody, Scheme
from secagg.masked import advertise_keys, scheme
from secagg.masked.masks import pairwise_mask_key, self_mask_key
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.tools.redteam.adversary import true_sum
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.configuration import decode_config, encode_config
from tests.encrypted_rounds import encrypted_config
from tests.rounds import ACTIVE, SEMI_HONEST, flat_schema, make_config, start
from tests.saving import brought_back, join_all, memory_keys

AES, AEGIS = Suite.X25519_SHA256_AES128, Suite.X25519_SHA256_AEGIS128X4
NAMES = participant_names(5)
ID = RoundId(bytes(16))
CONTEXT = bind(ID, b"", bytes(32))
MISSING = r"AEGIS128X4 needs the extra fast"


def aegis_config(threat_model=ACTIVE, size: int = 64) -> RoundConfig:  # type: ignore[no-untyped-def]
    return replace(make_config(5, threat_model, schema=flat_schema(size)), suite=AEGIS)


@pytest.fixture
def _without_aeg(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "aeg"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aeg", None)  # importing it fails


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
def test_a_round_of_the_suite_gives_the_exact_sum_over_several_strides(threat_model) -> None:  # type: ignore[no-untyped-def]
    run = start(aegis_config(threat_model, size=200_000))
    aggregate = run.play().aggregate
    assert aggregate is not None
    assert np.array_equal(aggregate.sums, true_sum(run, NAMES))


def test_the_suite_is_in_the_derivation_of_every_key_of_a_mask() -> None:
    """Of two rounds that differ in nothing but the suite's name, no mask key is the same."""
    keys = []
    for suite in Suite:
        round_ = Round(ID, replace(make_config(5), suite=suite), CONTEXT)
        keys.append(self_mask_key(round_, ParticipantId("a"), Secret(bytes(32))).expose())
        keys.append(pairwise_mask_key(round_, ParticipantId("a"), ParticipantId("b"), Secret(bytes(32))).expose())
    assert len(set(keys)) == 2 * len(Suite)


def test_aes_is_the_default_and_the_wire_keeps_the_suite() -> None:
    assert make_config(5).suite is AES
    assert decode_config(encode_config(aegis_config())).suite is AEGIS


def test_the_default_policy_takes_both_suites_and_another_policy_one() -> None:
    start(aegis_config(), policy=Policy())
    with pytest.raises(PolicyViolation, match="suite X25519_SHA256_AEGIS128X4 is not allowed"):
        start(aegis_config(), policy=Policy(suites=frozenset({AES})))


def test_a_homomorphic_round_has_no_masks_that_a_suite_could_make(monkeypatch: pytest.MonkeyPatch) -> None:
    config = encrypted_config(Scheme.BFV, Custody.PARTICIPANTS)
    with pytest.raises(ConfigError, match="a homomorphic round has no masks"):
        replace(config, suite=AEGIS)
    without_check(monkeypatch, RoundConfig, "_check_suite", "suite-without-masks")
    replace(config, suite=AEGIS)


@pytest.mark.usefixtures("_without_aeg")
def test_without_the_extra_a_participant_refuses_before_it_makes_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[KeyPair] = []
    generate = KeyPair.generate

    def counted(rng: Rng) -> KeyPair:
        made.append(generate(rng))
        return made[-1]

    monkeypatch.setattr(KeyPair, "generate", counted)
    without_check(monkeypatch, scheme, "coordinator", "suite-installed-at-coordinator")
    monkeypatch.setattr(schemes, "masked_coordinator", scheme.coordinator)
    with pytest.raises(MissingExtraError, match=MISSING):
        start(aegis_config())
    assert not made
    without_check(monkeypatch, advertise_keys, "join", "suite-installed")  # the twin: it joins, and fails late
    monkeypatch.setattr(scheme, "join", advertise_keys.join)
    run = start(aegis_config())
    assert len(made) == 2 * len(NAMES)
    with pytest.raises(MissingExtraError, match=MISSING):
        run.play()


def test_without_the_extra_a_saved_participant_is_refused_and_stays_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, run = memory_keys(), start(aegis_config())
    join_all(run, keys)
    participant = run.participants[NAMES[0]]
    membership, sealed = participant.membership, schemes.save(participant, keys)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "aeg.aegis128x4", None)  # importing it fails
        with pytest.raises(MissingExtraError, match=MISSING):
            brought_back(sealed, membership, keys)
        without_check(patch, schemes, "_check_ours", "restored-suite")
        assert brought_back(sealed, membership, keys).awaits  # the twin: its key is gone, and it fails late
    with pytest.raises(SavedStateError, match="restored before"):
        brought_back(sealed, membership, keys)


@pytest.mark.usefixtures("_without_aeg")
def test_without_the_extra_a_coordinator_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    round_ = Round(ID, aegis_config(SEMI_HONEST), CONTEXT)
    with pytest.raises(MissingExtraError, match=MISSING):
        schemes.coordinate(round_, now=0.0)
    without_check(monkeypatch, scheme, "coordinator", "suite-installed-at-coordinator")
    monkeypatch.setattr(schemes, "masked_coordinator", scheme.coordinator)
    schemes.coordinate(round_, now=0.0)  # the twin: nobody is told until the masks must be taken out


@pytest.mark.usefixtures("_without_aeg")
def test_without_the_extra_the_sidecar_does_not_open_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=rf"this coordinator cannot open the round: .*{MISSING}"):
        RoundOpener.read(encode_config(aegis_config()))
    RoundOpener.read(encode_config(make_config(5)))
    without_check(monkeypatch, RoundOpener, "read", "suite-to-open")
    RoundOpener.read(encode_config(aegis_config()))
