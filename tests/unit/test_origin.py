"""Every page names its date, commit, configuration and versions."""

import re
from pathlib import Path

import pytest

from secagg import __version__
from secagg.tools.charts import origin
from secagg.tools.charts.origin import Origin
from secagg.tools.charts.page import fill

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in sorted((ROOT / "secagg/tools").rglob("*.html.j2"))
    if "{% extends" in (text := path.read_text(encoding="utf-8")) or "<footer>" in text
]


def test_an_origin_says_all_four() -> None:
    made = Origin.now("secagg x --seed <1>", "numpy", "no-such-package")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", made.date)
    assert made.commit
    assert made.versions["secagg"] == __version__
    assert set(made.versions) == {"secagg", "python", "numpy", "no-such-package"}
    assert made.versions["no-such-package"] == "not installed"
    shown = fill("commands/plan.html.j2", title="", heading="", lead="", style="", tiles=(), cards=("", ""), made=made)
    for wanted in (made.date, made.commit, "<code>secagg x --seed &lt;1&gt;</code>", f"numpy {made.versions['numpy']}"):
        assert wanted in shown


def test_without_a_checkout_the_commit_is_none_of_another_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(origin, "_HERE", tmp_path / "origin.py")
    assert Origin.now("x").commit == f"none: not a checkout, package {__version__}"
    monkeypatch.setattr(origin, "_HERE", ROOT / "untracked-file.py")
    assert Origin.now("x").commit.startswith("none")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_page_has_one(path: Path) -> None:
    assert len(PAGES) == 5
    if path.name == "drawing.html.j2":  # of several runs, each with its own
        assert '<p class="origin">' in path.read_text(encoding="utf-8")
        return
    assert "{{ origin(" in path.read_text(encoding="utf-8").replace("{{- origin(", "{{ origin(")
