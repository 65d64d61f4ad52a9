"""The documentation site: all that is offered is in it, every link leads somewhere, and nothing comes from outside."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest
import secagg_client

import secagg

ROOT = Path(__file__).parents[2]
LOADED = {"script", "link", "img", "iframe", "source", "video", "object", "embed"}


class Page(HTMLParser):
    """The places that a page has, and the links that it holds, each with its tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places = {""}
        self.links: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.places.add(value)
            if name in {"href", "src", "data", "srcset"} and value:
                self.links.append((tag, value))


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program that finds `docs`, and the modules in docs/."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'docs'); {program}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def built(folder: Path) -> Path:
    """The site, built in a folder of its own."""
    settings = (ROOT / "mkdocs.yml").read_text()
    settings = settings.replace("paths: [., client]", f"paths: [{ROOT}, {ROOT}/client]")
    (folder / "mkdocs.yml").write_text(settings.replace("[docs/docstrings.py]", f"[{ROOT}/docs/docstrings.py]"))
    gathered = run(
        "import docs.assemble, pathlib; docs.assemble.main(pathlib.Path(sys.argv[1]))", str(folder / "build/docs")
    )
    assert gathered.returncode == 0, gathered.stderr
    made = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--strict"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    assert "No issues found" in made.stdout + made.stderr
    return folder / "build/site"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


@pytest.mark.parametrize("package", [secagg, secagg_client])
def test_every_name_that_is_offered_has_an_entry(package: ModuleType, pages: dict[Path, Page]) -> None:
    places = set().union(*(page.places for path, page in pages.items() if path.parent.name == "reference"))
    assert places >= {f"{package.__name__}.{name}" for name in package.__all__}


def test_every_link_leads_to_a_place_of_the_site(site: Path, pages: dict[Path, Page]) -> None:
    links = 0
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links are written for the root of a web server
        for _, link in page.links:
            target, _, anchor = unquote(link).partition("#")
            if "://" in target or target.startswith("data:"):
                continue
            place = (path.parent / target).resolve() if target else path
            assert place.is_relative_to(site), f"{path.name}: {link}"
            assert place.is_file(), f"{path.name}: {link}"
            if place in pages:
                assert anchor in pages[place].places, f"{path.name}: {link}"
            links += 1
    assert links > 1000


def test_nothing_is_loaded_from_outside(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for tag, link in page.links:
            assert tag not in LOADED or "//" not in link or link.startswith("data:"), f"{path.name}: <{tag}> {link}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text()), sheet


def test_a_docstring_that_does_not_fit_its_code_stops_the_build() -> None:
    done = run("import docstrings, logging; logging.getLogger('griffe.docstrings').warning('no %s', 'x')")
    assert done.returncode == 1
    assert "ValueError: no x" in done.stderr


def test_a_dead_link_stops_the_build() -> None:
    places = {"docs/guide.md": "guide.md", "README.md": "index.md"}
    program = f"from docs import assemble; print(assemble.turned(sys.argv[1], 'docs/guide.md', {places}))"
    turned = run(program, "[a](../README.md#b) [c](#d) [`e`](../proto/vectors)")
    assert turned.stdout == "[a](index.md#b) [c](#d) `e`\n"
    refused = run(program, "[a](../nowhere.md)")
    assert refused.returncode == 1
    assert "docs/guide.md: the link to ../nowhere.md leads nowhere" in refused.stderr
