"""Detection speaks on malicious models and is silent on honest ones; each check alone, and its measured rates."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from secagg.encoding.arrays import FloatArray
from secagg.errors import LocalError
from secagg.tools.redteam.attacks.inversion.malicious import TRAP_WEIGHTS
from secagg.tools.redteam.detection import Sign, inspect_model
from secagg.tools.redteam.detection_rates import HONEST, MALICIOUS, disguised_imprint, rates, trained
from secagg.tools.redteam.fidelity import CANARIES, SUSPICIOUS, aggregate_fidelity, model_fidelity
from secagg.tools.redteam.observation import Observation
from secagg.tools.redteam.targets import target_named
from secagg.tools.redteam.trials import Case

TARGET = target_named("mlp-digits", 3)
WEIGHT, BIAS = TARGET.first_layer or ("", "")
CHOSEN = np.arange(500, 500 + CANARIES)
OWN = TARGET.records.features[CHOSEN[:48]]


def signs(model: dict[str, FloatArray], **given: object) -> set[Sign]:
    return {finding.sign for finding in inspect_model(model, **given)}  # type: ignore[arg-type]


def altered(name: str, change: Callable[[FloatArray], object]) -> dict[str, FloatArray]:
    model = {key: array.copy() for key, array in TARGET.parameters.items()}
    change(model[name])
    return model


@pytest.mark.parametrize("name", HONEST)
def test_honest_models_pass(name: str) -> None:
    target = target_named(name)
    for steps in (0, 30):
        model = trained(target, steps, np.random.default_rng(1))
        assert inspect_model(model, previous=model, records=target.records.features[:48]) == ()


@pytest.mark.parametrize(
    ("sign", "name", "change"),
    [
        (Sign.NOT_FINITE, WEIGHT, lambda a: a.__setitem__((0, 0), np.nan)),
        (Sign.NOT_FINITE, BIAS, lambda a: a.__setitem__(3, np.inf)),
        (Sign.EXTREME, BIAS, lambda a: a.__isub__(1000)),
        (Sign.ONE_DIRECTION, WEIGHT, lambda a: a.__iadd__(1)),
        (Sign.TWINS, WEIGHT, lambda a: a.__setitem__(slice(0, 60), a[60:120])),
        (Sign.SILENT, BIAS, lambda a: a.__isub__(5)),
        (Sign.CHANGED, WEIGHT, lambda a: a.__imul__(-1)),
    ],
)
def test_each_sign(sign: Sign, name: str, change: Callable[[FloatArray], object]) -> None:
    model = altered(name, change)
    found = {finding.sign: finding for finding in inspect_model(model, previous=TARGET.parameters, records=OWN)}
    assert str(found[sign]).startswith(f"{found[sign].array}: {sign.value} (")


def test_another_schema_is_a_sign() -> None:
    smaller = {name: array for name, array in TARGET.parameters.items() if name != BIAS}
    assert signs(smaller, previous=TARGET.parameters) == {Sign.SCHEMA}
    assert signs(dict(TARGET.parameters), previous=smaller) == {Sign.SCHEMA}


@pytest.mark.parametrize("name", MALICIOUS)
def test_malicious_models_are_found(name: str) -> None:
    assert inspect_model(MALICIOUS[name](TARGET, np.random.default_rng(2)), records=OWN)


def test_traps_are_found_by_records_alone() -> None:
    traps = MALICIOUS["trap weights"](TARGET, np.random.default_rng(2))
    assert signs(traps) == set()
    assert signs(traps, records=OWN) == {Sign.SELECTIVE}


def test_fidelity_tells_what_a_model_does_whatever_it_looks_like() -> None:
    rng = np.random.default_rng(4)
    assert model_fidelity(TARGET, TARGET.parameters, CHOSEN) < SUSPICIOUS
    assert model_fidelity(TARGET, disguised_imprint(TARGET, rng), CHOSEN) > SUSPICIOUS
    assert model_fidelity(TARGET, MALICIOUS["trap weights"](TARGET, rng), CHOSEN) > SUSPICIOUS
    assert model_fidelity(target_named("conv-digits"), target_named("conv-digits").parameters, CHOSEN) == 0


def test_fidelity_of_an_aggregate_with_canaries_in_it() -> None:
    case = Case.draw(TARGET, replace(TRAP_WEIGHTS, participants=CANARIES), CANARIES, 1)
    updates = case.updates()
    mean = {name: np.mean([u[name] for u in updates], axis=0) for name in TARGET.parameters}
    inside = aggregate_fidelity(TARGET, Observation(mean, CANARIES, case.models[0]), np.concatenate(case.members[:20]))
    outside = aggregate_fidelity(TARGET, Observation(mean, CANARIES, case.models[0]), case.others[:20])
    assert inside > SUSPICIOUS
    assert outside == 0
    with pytest.raises(LocalError, match="canaries"):
        aggregate_fidelity(TARGET, Observation(mean), np.empty(0, np.int64))


def test_rates() -> None:
    found = {(rate.check, rate.models): rate for rate in rates(1)}
    for name in MALICIOUS:
        assert (found["inspection", name].spoke, found["inspection", name].shown) == (1, 1)
        # A layer that is silent gives nothing away; its danger is to the one whose layer is not.
        assert (found["fidelity", name].spoke, found["fidelity", name].shown) == (name != "silenced", 1)
    honest = [rate for (_, models), rate in found.items() if models.startswith("honest")]
    assert len(honest) == 6
    assert sum(rate.spoke for rate in honest) == 0
    assert all(rate.malicious is (models in MALICIOUS) for (_, models), rate in found.items())
    assert found["inspection", "silenced"].interval == pytest.approx((0.025, 1), abs=1e-4)
