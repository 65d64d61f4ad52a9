"""What docs/deployment.md and deploy/secagg-server.toml say of settings is what the coordinator has."""

import re
import tomllib
from pathlib import Path

from secagg_server.settings import Settings

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/deployment.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table behind a line of the guide, without its head."""
    lines = GUIDE[GUIDE.index(heading) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    found = []
    for line in lines[first + 1 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def names(cell: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", cell)


def test_the_guide_lists_every_setting_with_its_default() -> None:
    told: dict[str, str] = {}
    for which, defaults, *_ in rows("| Setting |"):
        listed = names(which)
        each = (
            defaults.replace("`", "").split(", ") if len(listed) > 1 and "," in defaults else [defaults] * len(listed)
        )
        told |= dict(zip(listed, each, strict=True))
    assert set(told) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        said = told[name].strip("`")
        if field.is_required():
            assert said == "required"
        elif name == "budget":
            assert said == f"ε = {field.default.epsilon:g}, δ = {field.default.delta:.0e}".replace("e-05", "e-5")
        else:
            plain = f"{field.default:g}" if isinstance(field.default, float) else str(field.default or "none")
            assert said == ("0" if field.default == 0 else plain)


def test_the_settings_file_of_the_deployment_has_every_setting_and_the_usual_values() -> None:
    given = tomllib.loads((ROOT / "deploy/secagg-server.toml").read_text())
    assert set(given) == set(Settings.model_fields)
    settings = Settings(**given)
    own = {"listen", "control", "status", "ledger_dir"}  # by default nothing leaves the machine or is kept
    for name, field in Settings.model_fields.items():
        if not field.is_required() and name not in own:
            assert getattr(settings, name) == field.default, name
