"""`secagg bench load`: every round is counted, and what goes wrong is."""

from collections import Counter

import pytest

from secagg.tools.bench.load import LoadSetting, _Heard, _sections, measure


@pytest.mark.parametrize("durable", [True, False])
def test_rounds_at_once_all_end_with_their_sum(durable: bool) -> None:
    report = measure(LoadSetting(participants=3, values=8, rounds=4, in_flight=2, workers=1, durable=durable))
    assert report.exact
    assert report.setting["rounds"] == 4
    found = {figure.name: figure.value for section in report.sections for figure in section.figures}
    assert found["failures"] == 0
    assert found["round_median_s"] > 0
    assert found["unmask_median_s"] > 0
    assert found["peak_mib"] >= found["at_rest_mib"] > 0


def test_errors_and_other_sums_are_failures() -> None:
    heard_of = _Heard(errors=Counter({"RoundAborted: no": 2}), inexact=1, memory=[1 << 20, 1 << 20, 3 << 20, 5 << 20])
    found = {f.name: f.value for s in _sections(4, 2.0, 1.0, (0, 0), heard_of) for f in s.figures}
    assert (found["failures"], found["per_s"], found["growth_mib"]) == (3, 2.0, 4.0)
