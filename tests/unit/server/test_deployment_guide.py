"""What deploy/secagg-server.toml says of settings is what the coordinator has."""

import tomllib
from pathlib import Path

from secagg_server.settings import Settings

ROOT = Path(__file__).parents[3]


def test_the_settings_file_of_the_deployment_has_every_setting_and_the_usual_values() -> None:
    text = (ROOT / "deploy/secagg-server.toml").read_text()
    given = tomllib.loads(text)
    cluster = {"ray_address", "link", "ingress_status"}
    gateway = {"gateway", "gateway_certificate", "gateway_key", "gateway_token_key"}
    files = {"crl", "denied", "max_per_organisation", *cluster, *gateway}  # not every deployment has them
    assert set(given) == set(Settings.model_fields) - files
    for name in files:
        text = text.replace(f"\n# {name} =", f"\n{name} =")
    assert set(tomllib.loads(text)) >= files
    settings = Settings(**given)
    own = {"listen", "control", "status", "state_dir", "ledger_dir"}  # by default nothing leaves the machine or is kept
    for name, field in Settings.model_fields.items():
        if not field.is_required() and name not in own:
            assert getattr(settings, name) == field.default, name
