"""What docs/comparison.md says of other frameworks is still in the versions that it names."""

import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/comparison.md").read_text()
SOURCES = re.findall(r"^\| ([A-Z]\d) \| .* \| `([^`]+)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)
INSTALLED = [source for source in SOURCES if not source[1].startswith("openfl")]


def text_of(path: str) -> str:
    package, _, rest = path.partition("/")
    spec = find_spec(package)
    assert spec
    assert spec.submodule_search_locations
    return (Path(spec.submodule_search_locations[0]) / rest).read_text()


def test_the_page_names_the_versions_that_are_tested_against() -> None:
    assert f"Flower {version('flwr')}, NVIDIA FLARE {version('nvflare')}," in PAGE


@pytest.mark.parametrize(("name", "path", "piece"), INSTALLED)
def test_every_source_has_its_piece(name: str, path: str, piece: str) -> None:
    assert piece in " ".join(re.sub(r'"\s*\n\s*"', "", text_of(path)).split()), name
