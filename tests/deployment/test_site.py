"""The site of the documentation in a browser: no page or table is wider than a narrow window or a wide one."""

from pathlib import Path

from tests.deployment.browser import browser
from tests.integration.test_site import built

WIDTHS = (500, 1200)
WIDE_TABLES = """
const scrolls = box => box !== document.body && box.clientWidth > 0
    && ((box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible")
        || scrolls(box.parentElement));
return Array.from(document.querySelectorAll("article table:not([class])")).filter(scrolls).length
"""


def test_no_page_is_wider_than_the_window(tmp_path: Path) -> None:
    """Code that needs more room scrolls in its own box. Tables need none."""
    site = built(tmp_path)
    wide = []
    with browser() as window:
        for page in sorted(site.rglob("*.html")):
            window.driver.get(page.as_uri())
            for width in WIDTHS:
                window.look(width, "light")
                if window.run("return document.documentElement.scrollWidth") > width or window.run(WIDE_TABLES):
                    wide.append(f"{page.relative_to(site)} at {width}")
    assert wide == []
