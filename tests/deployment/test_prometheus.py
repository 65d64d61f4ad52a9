"""Prometheus itself scrapes a running coordinator, and reads the alerts that are shipped."""

import asyncio
import json
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from tests.deployment.conftest import ROOT, program
from tests.machine import free_port
from tests.scraping import ask
from tests.serving import PATIENCE_S, make_config, stage


async def asked(address: str, query: str) -> list[dict[str, Any]]:
    """What Prometheus answers; nothing while it starts."""
    try:
        _, _, body = await ask(address, f"/api/v1/query?query={quote(query)}", Connection="close")
    except OSError:
        return []
    text = body[body.index("{") : body.rindex("}") + 1] if "{" in body else "{}"
    return list(json.loads(text).get("data", {}).get("result", ()))


async def test_prometheus_scrapes_the_status_port(tmp_path: Path) -> None:
    async with stage(tmp_path, status="127.0.0.1:0") as s:
        _, people = await s.open(make_config(5))
        await asyncio.gather(*(p.play() for p in people))
        scraped = {"job_name": "secagg", "static_configs": [{"targets": [s.server.status_address]}]}
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "deploy/prometheus/secagg.rules.yml")],
            "scrape_configs": [scraped],
        }
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
        address = f"127.0.0.1:{free_port()}"
        command = [program("prometheus"), f"--config.file={tmp_path}/prometheus.yml", f"--web.listen-address={address}"]
        command.append(f"--storage.tsdb.path={tmp_path}/data")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                async with asyncio.timeout(3 * PATIENCE_S):
                    query = 'secagg_rounds_total{outcome="sum", scheme="masked"}'
                    while not (found := await asked(address, query)):
                        await asyncio.sleep(0.2)
                    assert found[0]["metric"]["job"] == "secagg"
                    assert found[0]["value"][1] == "1"
                    [up] = await asked(address, 'up{job="secagg"}')
                    assert up["value"][1] == "1"
                    _, _, rules = await ask(address, "/api/v1/rules", Connection="close")
                    assert (
                        rules.count('"health":"ok"') + rules.count('"health":"unknown"') == rules.count('"query":') > 0
                    )
            finally:
                process.send_signal(signal.SIGTERM)
