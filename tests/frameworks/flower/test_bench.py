"""The benchmark of frameworks over one small simulation with a processor for each client, and so fewer workers."""

from secagg.tools.bench.frameworks.measure import measure
from secagg.tools.bench.frameworks.setting import Setting
from secagg.tools.commands.bench import _judged


def test_a_simulation_with_fewer_workers_than_clients() -> None:
    """Five clients take turns on two processors; one of them dies in training. Every round has its sum."""
    setting = Setting(way="plain", clients=5, rounds=3, dying=((4, 3),))
    report = measure(setting, ("flower", "sidecar"), judge=_judged)
    assert report.exact
    found = report.as_json()["figures"]
    assert found["sidecar"]["sidecar_messages"] == 1
    assert found["flower"]["flower_messages"] <= 3
    for way in ("flower", "sidecar"):
        assert found[way][f"{way}_alarms"] == 0
        assert found[way][f"{way}_accuracy"] > 0.4
        assert report.setting["views"][way]["in_clear"].keys() <= {"secagg/format"}
