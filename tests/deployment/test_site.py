"""The site of the documentation in a browser: no page is wider than a narrow window or a wide one."""

from pathlib import Path

from tests.deployment.browser import browser
from tests.integration.test_site import built

WIDTHS = (500, 1200)


def test_no_page_is_wider_than_the_window(tmp_path: Path) -> None:
    """Tables and code that need more room scroll in their own box."""
    site = built(tmp_path)
    wide = []
    with browser() as window:
        for page in sorted(site.rglob("*.html")):
            window.driver.get(page.as_uri())
            for width in WIDTHS:
                window.look(width, "light")
                if window.run("return document.documentElement.scrollWidth") > width:
                    wide.append(f"{page.relative_to(site)} at {width}")
    assert wide == []
