"""A browser without a window, and what is asked of every page in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, Final
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.deployment.conftest import program

LOOKS: Final = tuple(product((500, 1200), ("light", "dark")))
"""Widths in pixels and colour schemes in which every page is looked at."""

_CONTRAST: Final = """
const channel = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = text => text.match(/[\\d.]+/g).map(Number);
function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
}
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (!node.textContent.trim() || element.closest("svg, style") || !element.getClientRects().length) continue;
  const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) found.push(ratio.toFixed(2) + ": " + node.textContent.trim().slice(0, 60));
}
return found;
"""


class Browser:
    """One window."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.requested: list[str] = []  # addresses, since the window was opened

    def look(self, width: int, scheme: str) -> None:
        """Be so wide (in CSS pixels) from now on, for a reader who likes light or dark pages."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        likes = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": likes})

    @property
    def text(self) -> str:
        """What the page shows, as one line."""
        return " ".join(self.run("return document.body.innerText").split())

    def run(self, script: str) -> Any:
        """What a script returns that is run in the page."""
        return self.driver.execute_script(script)

    def check(self) -> None:
        """Nothing is wider than the window or hard to read, in either width and either scheme, and nothing complains.

        What scrolls inside its own box is no wider than the window.
        """
        for width, scheme in LOOKS:
            self.look(width, scheme)
            looks = f"{width} pixels, {scheme}"
            assert self.run("return document.documentElement.scrollWidth") <= width, looks
            pale = self.run(_CONTRAST)
            assert not pale, f"{looks}: {pale[:5]}"
        assert self.complaints() == []

    def complaints(self) -> list[str]:
        """What the console said since it was asked last: errors of the page, and what its policy forbade."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def hosts(self) -> set[str]:
        """Whom the browser has asked for anything."""
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                self.requested.append(event["params"]["request"]["url"])
        return {urlsplit(url).netloc for url in self.requested}


@contextmanager
def browser(*arguments: str) -> Iterator[Browser]:
    """Open a window. Args: arguments: for the browser, beside the usual ones."""
    options = Options()
    options.binary_location = program("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server", *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
