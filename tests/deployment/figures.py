"""Measures the image and a container of it: `python -m tests.deployment.figures`, as root, prints JSON.

ready_s is from the start of the container to the log line `ready`, stop_s from SIGTERM to its end, both by the engine's
clock and the sidecar's, which are the same. ready_cpu_s is the processor's time for that, which depends less on what
else the machine does. memory_bytes is the container's, without the kernel's cache of files.
"""

import json
import os
import zlib
from datetime import datetime
from statistics import median
from typing import Any

from docker.models.images import Image

from tests.deployment.containers import accounting_image, running, sidecar_image

TIMES = 5
"""How often a container is started and stopped; the median counts."""


def main() -> None:
    """Print the figures of both images."""
    images = {"server": sidecar_image(), "server-dp": accounting_image()}
    measured = {name: figures(image) for name, image in images.items()}
    print(json.dumps({"processors": os.cpu_count(), **measured}, indent=2))  # noqa: T201


def figures(image: Image) -> dict[str, float]:
    """Sizes in bytes, and times in seconds."""
    pack = zlib.compressobj(6)
    packed = sum(len(pack.compress(part)) for part in image.save()) + len(pack.flush())
    starts, work, stops, memory = [], [], [], []
    for _ in range(TIMES):
        with running(image) as sidecar:
            (ready,) = sidecar.events("ready")
            starts.append(seconds(sidecar.state["StartedAt"], ready["timestamp"]))
            stats = sidecar.container.stats(stream=False)
            assert isinstance(stats, dict)
            work.append(stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9)
            memory.append(resident(stats["memory_stats"]))
            sidecar.container.stop(timeout=60)
            (stopping,) = sidecar.events("stopping")
            stops.append(seconds(stopping["timestamp"], sidecar.state["FinishedAt"]))
    return {
        "size_bytes": image.attrs["Size"],
        "compressed_bytes": packed,
        "layers": len(image.attrs["RootFS"]["Layers"]),
        "ready_s": round(median(starts), 3),
        "ready_cpu_s": round(median(work), 3),
        "stop_s": round(median(stops), 3),
        "memory_bytes": median(memory),
    }


def resident(memory: dict[str, Any]) -> int:
    """Bytes in use without the cache of files, as `docker stats` shows them."""
    kept = memory["stats"]
    return int(memory["usage"]) - int(kept.get("total_inactive_file") or kept.get("inactive_file") or 0)


def seconds(begin: str, end: str) -> float:
    """Between two times in ISO 8601, which may have nanoseconds."""
    first, last = (datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00") for text in (begin, end))
    return (last - first).total_seconds()


if __name__ == "__main__":
    main()
