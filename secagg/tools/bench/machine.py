"""What a figure was measured on: it means little without."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend

import secagg

CPUINFO = Path("/proc/cpuinfo")

Machine = dict[str, str | int | float]


def describe() -> Machine:
    """CPU, cores that this process may use, load before the run, and the versions that matter."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1_min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "cryptography": version("cryptography"),
        "openssl": backend.openssl_version_text(),
        "grpcio": version("grpcio"),
        "secagg": secagg.__version__,
    }


def _cpu_model() -> str:
    """The processor as the kernel names it, or its architecture where the kernel does not."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
