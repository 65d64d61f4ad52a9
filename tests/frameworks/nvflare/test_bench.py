"""What the benchmark of FLARE takes as a site's update, and a job that it measures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from nvflare.apis.dxo import DXO, DataKind

from secagg.tools.bench.frameworks.flare_watch import update_in
from secagg.tools.redteam.statistics import Battery, ring_tests
from tests.frameworks.nvflare.test_jobs import MODEL, SETTINGS, run, some


def test_an_update_in_plain_is_its_parameters() -> None:
    values = {"w": MODEL["w"], "b": MODEL["b"]}
    assert update_in(DXO(DataKind.WEIGHTS, data=values).to_shareable()) == MODEL["w"].tobytes() + MODEL["b"].tobytes()


def test_what_the_server_sees_of_a_site_passes_the_tests_of_randomness(tmp_path: Path) -> None:
    """Of a model of 12 + 3 values the update has few bytes, so those of many rounds are judged together."""
    job, _ = run(some(3, tmp_path), tmp_path, replace(SETTINGS, metrics={}), rounds=20)
    seen = b"".join(update_in(message) for name, message in job.engine.seen if name == "site-1")
    assert len(seen) > 500
    assert not alarms(seen)
    assert alarms(MODEL["w"].tobytes() * 20)


def alarms(data: bytes) -> bool:
    battery = Battery()
    battery.add("upload", ring_tests(np.frombuffer(data, np.uint8).astype(np.uint64), 8))
    return bool(battery.alarms)
