"""What docs/deployment.md and deploy/secagg-server.toml say of settings and logs is what the coordinator has."""

import re
import tomllib
from pathlib import Path

import secagg_server
from secagg_server.settings import Settings

import secagg.programs.ledgers
from secagg.events import DropReason

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/deployment.md").read_text()
LOGGED = re.compile(r'\.(?:info|warning|error)\(\s*"([a-z_]+)"|_(?:log|log_event)\w*\.\w+, "([a-z_]+)"')


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
    own = {"listen", "control", "ledger_dir"}  # of a deployment; by default nothing leaves the machine or is kept
    for name, field in Settings.model_fields.items():
        if not field.is_required() and name not in own:
            assert getattr(settings, name) == field.default, name


def test_the_guide_lists_every_line_of_the_log() -> None:
    told = {name for which, *_ in rows("| event | level |") for name in names(which)}
    ledgers = Path(secagg.programs.ledgers.__file__).parent  # of programs of both sides; they log here, too
    files = [*Path(secagg_server.__file__).parent.rglob("*.py"), *ledgers.rglob("*.py")]
    source = "\n".join(path.read_text() for path in files)
    logged = {name for pair in LOGGED.findall(source) for name in pair if name} | {"ready"}
    assert logged == told


def test_the_guide_lists_every_reason_to_drop() -> None:
    [[_, _, text]] = [row for row in rows("| event | level |") if "participant_dropped" in row[0]]
    assert set(re.findall(r"`([A-Z]+)`", text)) == {reason.name for reason in DropReason}
