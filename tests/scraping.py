"""Asking the status port, and reading what it says of metrics."""

import asyncio
from collections.abc import Mapping

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from secagg_server.app import RunningServer
from secagg_server.ingress.worker import RunningWorker

PATIENCE_S = 20.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Series = tuple[str, ...]
"""Name of a metric, and `label=value` for each of its labels, sorted."""


async def ask(address: str, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of a GET."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(PATIENCE_S):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), {n.lower(): v for n, _, v in (line.partition(": ") for line in rest)}, body.decode()


async def metrics_text(server: RunningServer | RunningWorker, accept: str = OPENMETRICS) -> str:
    """What the port says of metrics."""
    assert server.status_address is not None
    status, _, body = await ask(server.status_address, "/metrics", Accept=accept)
    assert status == 200
    return body


async def scrape(server: RunningServer | RunningWorker) -> Mapping[Series, float]:
    """Every sample."""
    return samples(await metrics_text(server))


def samples(text: str) -> dict[Series, float]:
    """Every sample of an OpenMetrics text."""
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def rise(before: Mapping[Series, float], after: Mapping[Series, float]) -> dict[Series, float]:
    """How much each counter and each count of a histogram rose."""
    counts = {series: value for series, value in after.items() if series[0].endswith(("_total", "_count"))}
    changed = {series: value - before.get(series, 0) for series, value in counts.items()}
    return {series: by for series, by in changed.items() if by and not series[0].startswith("process_")}
