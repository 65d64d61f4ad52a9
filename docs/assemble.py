"""Gathers the pages of the documentation in build/docs, from where `make docs` builds the site.

Pages of the repository are copied, and their links turned to where the site has the page. What `references.py` writes
from the code comes on top.
"""

import re
import shutil
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import Final

from docs import references

ROOT: Final = Path(__file__).parents[1]
SETTINGS: Final = "reference/settings.md"
COMMANDS: Final = "reference/command-line.md"
CAUSES: Final = "reference/causes.md"
LOG_EVENTS: Final = "reference/log-events.md"
AUDIT: Final = "reference/audit-entries.md"
METRICS: Final = "reference/metrics.md"
ALERTS: Final = "reference/alerts.md"
STATUS: Final = "reference/status.md"
ELSEWHERE: Final = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "deploy/README.md": "deploy.md",
    "proto/PROTOCOL.md": "protocol.md",
    "deploy/secagg-server.toml": SETTINGS,
    "secagg/errors.py": CAUSES,
    "server/secagg_server/observability/log_events.py": LOG_EVENTS,
    "secagg/programs/audit/kinds.py": AUDIT,
    "server/secagg_server/observability/metric_table.py": METRICS,
    "server/secagg_server/observability/statuspage/values.py": STATUS,
    references.ALERTS: ALERTS,
}
"""Where the site has files that are not in docs/."""

WRITTEN: Final = {
    SETTINGS: references.settings,
    COMMANDS: references.command_line,
    CAUSES: references.errors,
    LOG_EVENTS: references.log_events,
    AUDIT: references.audit_entries,
    METRICS: references.metrics,
    ALERTS: references.alerts,
    STATUS: references.status,
}
"""Pages that are written from the code."""

_LINK: Final = re.compile(r"(!?)\[([^\]]+)\]\(([^)\s]+)\)")


def main(folder: Path = ROOT / "build/docs") -> None:
    """Write every page anew into `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    for page, text in pages():
        path = folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def pages() -> Iterator[tuple[str, str]]:
    """Every page of the site with its text."""
    inside = {
        str(path.relative_to(ROOT)): str(path.relative_to(ROOT / "docs"))
        for path in sorted((ROOT / "docs").rglob("*"))
        if path.suffix in {".md", ".svg", ".css"}
    }
    places = ELSEWHERE | inside
    for source, page in places.items():
        text = (ROOT / source).read_text()
        if source.endswith(".md"):
            yield page, turned(text, source, places)
        elif source.endswith((".svg", ".css")):
            yield page, text
    for page, lines in WRITTEN.items():
        yield page, "\n".join(lines())


def turned(text: str, source: str, places: dict[str, str]) -> str:
    """The page with links that lead to pages of the site. Of a link to any other file of the repository only its text
    stays: the site is read where there is no repository.

    Raises:
        ValueError: a link leads nowhere.
    """

    def link(match: re.Match[str]) -> str:
        image, words, target = match.groups()
        if "://" in target or target.startswith("#"):
            return match[0]
        path, hash_, anchor = target.partition("#")
        place = (ROOT / source).parent.joinpath(path).resolve()
        name = str(place.relative_to(ROOT))
        below = name.removeprefix("docs/")
        page = below if below in WRITTEN else places.get(name)
        if not (place.exists() or page):
            raise ValueError(f"{source}: the link to {target} leads nowhere")
        if page is None:
            return words
        return f"{image}[{words}]({relpath(page, Path(places[source]).parent)}{hash_}{anchor})"

    return _LINK.sub(link, text)


if __name__ == "__main__":
    main()
