"""Drawings: values are where their axis says, labels keep apart, pages need nothing but themselves."""

import html
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.tools.charts.axes import Axis, Frame, spread_out
from secagg.tools.charts.lines import Note, Point, Series, line_chart
from secagg.tools.charts.origin import Origin
from secagg.tools.charts.page import page, parts, style
from secagg.tools.charts.svg import Box

ROOT = Path(__file__).parents[2]

X = Axis("bits", 8, 16, ((8, "8"), (12, "12"), (16, "16")))
Y = Axis("accuracy", 0, 1, ((0, "0 %"), (1, "100 %")))
LOG = Axis("rounds", 1, 1000, ((1, "1"), (1000, "1000")), log=True)
SERIES = (
    Series("one", (Point(8, 0.5, 0.1, "a story"), Point(16, 0.9)), "s1"),
    Series("two", (Point(8, 0.4), Point(12, 0.895, 0.02)), "s2", dashed=True),
    Series("curve", (Point(8, 0.3), Point(16, 0.89)), "s3", dots=False),
)


def drawn() -> ET.Element:
    notes = (Note(12, 0.5, "here"), Note(8, 0, "too narrow", "refused", "middle"))
    return ET.fromstring(line_chart("Accuracy by bits", X, Y, SERIES, notes, size=(520, 300)))  # noqa: S314 - our own


def test_an_axis_gives_shares() -> None:
    assert [X.share(value) for value in (8, 12, 16)] == [0, 0.5, 1]
    assert [LOG.share(value) for value in (1, 10, 1000)] == pytest.approx([0, 1 / 3, 1])


def test_values_beyond_an_axis_stay_at_its_end() -> None:
    frame = Frame(X, Y, 520, 300, 80)
    assert frame.up(7) == frame.up(1) < frame.up(0) == frame.up(-3)
    assert frame.across(16) == frame.end == 440


def test_a_drawing_has_every_series_and_its_words() -> None:
    root = drawn()
    words = [element.text for element in root.iter("text")]
    assert {"bits", "accuracy", "one", "two", "curve", "here", "too narrow", "8", "100 %"} <= set(words)
    assert root.findtext("title") == root.get("aria-label") == "Accuracy by bits"
    classes = [element.get("class") for element in root.iter("circle")]
    assert classes == ["dot s1", "dot s1", "ring s2", "ring s2", "chosen"]
    assert [title.text for title in root.iter("title")] == ["Accuracy by bits", "a story"]


def test_names_of_lines_that_end_together_do_not_overlap() -> None:
    names = [element for element in drawn().iter("text") if "name" in str(element.get("class"))]
    heights = sorted(float(str(name.get("y"))) for name in names)
    assert all(b - a >= 14.9 for a, b in pairwise(heights))


@given(st.lists(st.floats(0, 300), min_size=1, max_size=12))
def test_labels_keep_apart_in_order_and_inside(wanted: list[float]) -> None:
    places = spread_out(wanted, 15, 0, 300)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    lined_up = [places[i] for i in order]
    assert all(b - a >= 15 - 1e-9 for a, b in pairwise(lined_up))
    assert lined_up[0] >= -1e-9
    assert lined_up[-1] <= 300


def test_labels_with_room_stay_where_they_belong() -> None:
    assert spread_out([100, 20, 60], 15, 0, 300) == [100, 20, 60]


def test_every_class_of_a_drawing_has_a_style() -> None:
    used = {name for element in drawn().iter() for name in str(element.get("class", "")).split()}
    assert used <= set(re.findall(r"\.([a-z0-9]+)", style()))
    assert "prefers-color-scheme: dark" in style()


def test_words_of_a_drawing_are_escaped() -> None:
    axis = Axis("<script>x", 8, 16, ((8, "<script>tick"),))
    series = (Series("<script>name", (Point(8, 0.5, story="<script>story"), Point(16, 0.5)), "s1"),)
    notes = (Note(12, 0.5, "<script>note"),)
    drawing = line_chart("<script>title", axis, Y, series, notes, size=(520, 300))
    assert drawing.count("&lt;script&gt;") == 7  # the title stands twice
    assert "<script" not in drawing
    assert "<script" not in Box(0, 0, 1, 1).drawn(story="<script>", fill="<script>")


def test_a_page_needs_nothing_but_itself_and_escapes_what_it_is_told() -> None:
    p, head = parts(), ["<column>", "n"]
    rows = p.row(head, ["x > y", p.mark("good", "<fine>")], 1, True) + p.row(
        head, ["1", "a & b" + p.whys(["<why>"])], 1
    )
    body = p.card("a < b", "<p>", p.table(head, rows, 1) + p.fold("<more>", "<all>") + p.takes(["<take>"]))
    made = Origin("<date>", "<commit>", "<what>", {"<package>": "1"})
    values: dict[str, Any] = {"tiles": [("1 & 2", "<l>")], "cards": (body, p.items(["<item>"])), "made": made}
    document = page("commands/plan.html.j2", title="<t>", heading="h <b>", lead="lead & more", **values)
    escaped = ("<t>", "h <b>", "lead & more", "a < b", "1 & 2", "<l>", "<p>", "<column>", "x > y", "<fine>", "a & b")
    for told in (*escaped, "<why>", "<take>", "<more>", "<all>", "<item>", "<date>", "<commit>", "<what>", "<package>"):
        assert html.escape(told) in document
        assert told == "<p>" or told not in document
    assert not re.search(r"<script|<link|https?:|url\(|@import", document)


def test_every_page_escapes_what_it_is_told() -> None:
    """All go through the templates of `secagg.programs.pages`, which escape; what says `safe` says so of itself."""
    found = sorted(path for folder in ("secagg", "server") for path in (ROOT / folder).rglob("*.html.j2"))
    assert len(found) >= 8
    for path in found:
        safe = re.findall(r"(\S+?)\|safe", path.read_text(encoding="utf-8"))
        assert all(one.endswith("'") for one in safe), path
        assert "autoescape" not in path.read_text(encoding="utf-8"), path


def test_without_jinja_the_error_names_an_extra() -> None:
    hidden = "import sys; sys.modules['jinja2'] = None; import secagg.tools.charts.page"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False)
    assert "pip install '.[demo]'" in done.stderr
