"""What a registry of metrics looks like on the wire, in OpenMetrics 1.0.0 and in the text format 0.0.4 before it.

prometheus-client can write both, but makes every name and label anew each time. That takes most of what a scrape costs,
so the beginnings of lines are kept here. Tests compare the texts with those of prometheus-client, byte for byte.
"""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.utils import floatToGoString

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"

_KEPT: Final = 10_000  # beginnings; the FL server names tasks as it likes
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Exposition:
    """Writes the metrics of one registry, none of which has exemplars, units or times of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._beginnings: dict[tuple[str, ...], str] = {}

    def text(self, *, openmetrics: bool) -> bytes:
        """All metrics as they are now, in the one format or the other."""
        lines = []
        for family in self._registry.collect():
            name = family.name if openmetrics or family.type != "counter" else f"{family.name}_total"
            lines.append(f"# HELP {name} {family.documentation}\n# TYPE {name} {family.type}\n")
            lines += [
                f"{self._beginning(sample.name, sample.labels)} {floatToGoString(sample.value)}\n"  # type: ignore[no-untyped-call]
                for sample in family.samples
            ]
        if openmetrics:
            lines.append("# EOF\n")
        return "".join(lines).encode()

    def _beginning(self, name: str, labels: Mapping[str, str]) -> str:
        key = (name, *labels.values())
        known = self._beginnings.get(key)
        if known is None:
            if len(self._beginnings) >= _KEPT:
                self._beginnings.clear()
            pairs = ",".join(f'{label}="{value.translate(_ESCAPES)}"' for label, value in sorted(labels.items()))
            known = self._beginnings[key] = f"{name}{{{pairs}}}" if labels else name
        return known
