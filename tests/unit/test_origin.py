"""Every page names its date, commit, configuration and versions."""

import re
from pathlib import Path

import pytest

from secagg import __version__
from secagg.tools.charts import origin
from secagg.tools.charts.origin import Origin

ROOT = Path(__file__).parents[2]
PAGES = (
    "secagg/tools/redteam/report.py", "secagg/tools/demo/report.py",
    "secagg/tools/bench/accuracy_page.py", "secagg/tools/commands/plan_page.py",
)  # fmt: skip


def test_an_origin_says_all_four() -> None:
    made = Origin.now("secagg x --seed <1>", "numpy", "no-such-package")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", made.date)
    assert made.commit
    assert made.versions["secagg"] == __version__
    assert set(made.versions) == {"secagg", "python", "numpy", "no-such-package"}
    assert made.versions["no-such-package"] == "not installed"
    for wanted in (made.date, made.commit, "<code>secagg x --seed &lt;1&gt;</code>", f"numpy {made.versions['numpy']}"):
        assert wanted in made.html


def test_without_a_checkout_the_commit_is_none_of_another_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(origin, "_HERE", tmp_path / "origin.py")
    assert Origin.now("x").commit == f"none: not a checkout, package {__version__}"
    monkeypatch.setattr(origin, "_HERE", ROOT / "untracked-file.py")
    assert Origin.now("x").commit.startswith("none")


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_one(path: str) -> None:
    assert "origin" in (ROOT / path).read_text(encoding="utf-8").lower()
