"""What of the Helm chart is written by a program: the schema of settings, versions, alerts, and the default.

python -m tests.deployment.chart   # or: make chart
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from secagg_server.settings import Settings

from secagg import __version__

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy/kubernetes/secagg"
SCHEMA: Final = CHART / "values.schema.json"
RENDERED: Final = ROOT / "deploy/kubernetes/rendered.yaml"
ALERTS: Final = ROOT / "deploy/prometheus/secagg.rules.yml"
OWN_ALERTS: Final = CHART / "files/secagg.rules.yml"
"""A chart reads no file outside of it."""
HELM: Final = ROOT / "build/deployment/bin/helm"

OF_THE_CHART: Final = frozenset(
    {"listen", "control", "control_access", "status", "certificate", "key", "participant_ca", "state_dir", "ledger_dir"}
)
"""Settings that are the chart's own: addresses, files and folders inside the pod."""

OF_A_GATEWAY: Final = frozenset({"gateway", "gateway_token_key", "gateway_certificate", "gateway_key"})
"""As well, where the values have a gateway."""


def settings_schema() -> dict[str, Any]:
    """The JSON schema of `settings` in the values: every setting that is not the chart's own, without defaults."""
    schema = Settings.model_json_schema()
    kept = {name: _plain(field, schema["$defs"]) for name, field in schema["properties"].items()}
    return {
        "description": "Settings of the coordinator, from server/secagg_server/settings.py.",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: field for name, field in kept.items() if name not in OF_THE_CHART | OF_A_GATEWAY},
    }


def _plain(field: Any, definitions: dict[str, Any]) -> Any:
    """A schema without references, defaults and titles, which say nothing to whoever writes values."""
    if isinstance(field, list):
        return [_plain(item, definitions) for item in field]
    if not isinstance(field, dict):
        return field
    if "$ref" in field:
        field = definitions[field["$ref"].rpartition("/")[2]] | {k: v for k, v in field.items() if k != "$ref"}
    properties = field.get("properties")
    plain = {k: _plain(v, definitions) for k, v in field.items() if k not in {"default", "title", "properties"}}
    if properties is not None:
        plain["properties"] = {name: _plain(each, definitions) for name, each in properties.items()}
    return plain


def chart_version(version: str) -> str:
    """A semantic version for a Python one: 0.1.0.dev0 is 0.1.0-dev0, and 0.1.0rc1 is 0.1.0-rc1."""
    return re.sub(r"^(\d+\.\d+\.\d+)\.?(\D.*)$", r"\1-\2", version)


def with_settings(schema: str) -> str:
    """The text of the values' schema with `settings` as the coordinator has them."""
    values = json.loads(schema)
    values["properties"]["settings"] = settings_schema()
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def with_versions(chart: str) -> str:
    """The text of Chart.yaml with the version of this tree."""
    chart = re.sub(r"^version: .*$", f"version: {chart_version(__version__)}", chart, flags=re.MULTILINE)
    return re.sub(r"^appVersion: .*$", f"appVersion: {__version__}", chart, flags=re.MULTILINE)


def rendered() -> str:
    """The chart with its default values, as release and namespace `secagg`."""
    done = subprocess.run(
        [HELM, "template", "secagg", CHART, "--namespace", "secagg"], check=True, capture_output=True, text=True
    )
    return (
        "# `make chart` writes this: the chart with its default values. Install the chart and not this file.\n"
        + done.stdout
    )


def main() -> None:
    """Write them all."""
    SCHEMA.write_text(with_settings(SCHEMA.read_text(encoding="utf-8")), encoding="utf-8")
    chart = CHART / "Chart.yaml"
    chart.write_text(with_versions(chart.read_text(encoding="utf-8")), encoding="utf-8")
    OWN_ALERTS.parent.mkdir(exist_ok=True)
    OWN_ALERTS.write_bytes(ALERTS.read_bytes())
    RENDERED.write_text(rendered(), encoding="utf-8")


if __name__ == "__main__":
    main()
