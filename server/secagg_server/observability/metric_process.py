"""The usual metrics of a process, read cheaply: prometheus-client lists every open file at each scrape, which takes
milliseconds for each thousand connections.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from secagg_server.observability.metric_table import METRICS

_FILES: Final = Path("/proc/self/fd")
_MEMORY: Final = Path("/proc/self/statm")


class Process(Collector):
    """Reads what the kernel says of this process; nothing where there is no /proc."""

    def __init__(self) -> None:
        theirs = {family.name: family.samples[0].value for family in ProcessCollector(registry=None).collect()}
        self._start_s = theirs.get("process_start_time_seconds")

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """Read it."""
        if self._start_s is None:
            return []
        pages = [int(number) for number in _MEMORY.read_bytes().split()[:2]]
        read = {
            "process_resident_memory_bytes": pages[1] * _page(),
            "process_virtual_memory_bytes": pages[0] * _page(),
            "process_start_time_seconds": self._start_s,
            "process_open_fds": open_files(),
            "process_max_fds": _most_files(),
        }
        cpu = "process_cpu_seconds_total"
        gauges = [GaugeMetricFamily(name, METRICS[name].help, value=value) for name, value in read.items()]
        return [CounterMetricFamily(cpu, METRICS[cpu].help, value=time.process_time()), *gauges]


def open_files() -> int:
    """How many files this process has open."""
    size = _FILES.stat().st_size  # their number since Linux 6.2, and 0 before
    return size or sum(1 for _ in _FILES.iterdir())


def _page() -> int:
    return os.sysconf("SC_PAGE_SIZE")


def _most_files() -> int:
    import resource  # noqa: PLC0415, not on every platform

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
