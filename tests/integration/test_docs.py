"""What README and docs tell people to type works as it stands: only addresses and system folders are put elsewhere."""

import re
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from secagg_client import Client

from secagg.errors import ParticipationCancelled, SecAggError
from tests.machine import Machine, make_identities, serve_command
from tests.pages import PAGES, Code, blocks, session

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.runs("docs/by-hand.md", "sh", "secagg")
@pytest.mark.runs("docs/by-hand.md", "python")
def test_by_hand(machine: Machine, page: Code) -> None:
    participant, fl_server = page.rest("python")
    machine.shell(page.take("secagg ca init"))
    with machine.serving(page.take("secagg-server serve")):
        running = [machine.python(participant, f"site-{number}") for number in (1, 2, 3)]
        told = machine.end(machine.python(fl_server))
        for process in running:
            assert "mean over 3 participants" in machine.end(process)
    assert "total weight 360" in told
    bias = np.array(re.findall(r"[\d.]+", told.rsplit("[", 1)[1]), np.float64)
    assert np.abs(bias - 0.25).max() < 1e-3


def test_examples_are_short() -> None:
    for example in blocks("docs/by-hand.md", "python"):
        assert len([line for line in example.splitlines() if line.strip()]) <= 16


class Crew:
    """Two more participants, who join every round of a task."""

    def __init__(self, machine: Machine, task: str) -> None:
        self._task = task
        self._clients = []
        for name in ("site-2", "site-3"):
            place = machine.folder / "secagg-ca/participants" / name
            files = {"certificate": place / "cert.pem", "key": place / "key.pem", "ca": place / "ca.pem"}
            self._clients.append(Client.from_files(f"localhost:{machine.port}", **files))
        self._threads = [Thread(target=self._join_all, args=(client,)) for client in self._clients]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        for thread in self._threads:
            thread.join()

    def _join_all(self, client: Client) -> None:
        try:
            while True:
                offer = client.find_round(task=self._task)
                update = {spec.name: np.ones(spec.shape, np.float32) / 100 for spec in offer.config.schema.arrays}
                weight = min(100, offer.config.encoding.max_weight)
                client.participate(update, weight=weight, offer=offer, model_digest=offer.config.model_digest)
        except ParticipationCancelled:
            return
        except SecAggError as error:
            print(f"the crew gave up: {error!r}")  # noqa: T201, pytest shows it if the test fails


@pytest.mark.runs("docs/guide.md", "python")
@pytest.mark.runs("docs/guide.md", "sh")
@pytest.mark.runs("docs/guide.md", "console")
def test_guide(machine: Machine, page: Code) -> None:
    texts = blocks("docs/by-hand.md", "sh")
    make_identities(machine, texts)
    with machine.serving(serve_command(texts)), Crew(machine, "guide"):
        told = machine.end(machine.python("\n".join(page.rest("python"))))
    assert "3 updates of total weight 320" in told
    assert "'head.weight' is nan at index (3, 1)" in told
    assert told.strip().endswith("320")
    for text in page.rest("sh"):
        machine.shell(text.replace("200000", "100"))
    command, output = session(page.take("$ secagg plan"))
    refused = machine.start("bash", "-c", command)
    assert refused.communicate()[0].split() == output.split()
    assert refused.returncode == 1


@pytest.mark.runs("deploy/README.md", "sh", "secagg-server check-config")
@pytest.mark.runs("docs/deployment.md", "sh")
def test_deployment(machine: Machine, page: Code) -> None:
    page.take("secagg-server check-config")  # of deploy/README.md: the page on deployment has the same
    (machine.folder / "deploy").mkdir()
    settings = machine.placed((ROOT / "deploy/secagg-server.toml").read_text())
    (machine.folder / "deploy/secagg-server.toml").write_text(settings)
    texts = page.rest("sh")
    serve = serve_command(texts)
    before, after = texts[: texts.index(serve)], texts[texts.index(serve) + 1 :]
    machine.shell("".join(before).replace("pip install '.[server,dp]'\n", ""))
    with machine.serving(serve):
        told = machine.shell("".join(after))
        assert "SERVING" in told
        assert "Protocol version: TLSv1.3" in told
        assert told.count("ok       versions") == 3  # a doctor on each side
        [handshake] = [text for text in after if "-tls1_3" in text]
        with pytest.raises(AssertionError):
            machine.shell(handshake.replace("-tls1_3", "-tls1_2"))


LINK = re.compile(r"\]\(([^)\s]+)\)")
HERE = [page for page in PAGES if not page.startswith("docs/reference/")]  # that one links to pages that are generated


@pytest.mark.parametrize("page", [page for page in HERE if LINK.search((ROOT / page).read_text())])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in (target for target in LINK.findall(text) if "://" not in target):
        path, _, anchor = target.partition("#")
        place = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", place.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])  # which names what is gone, too
def test_files_that_a_page_names_exist(page: str) -> None:
    text = re.sub(r"`secagg/v1/[a-z0-9-]+`", "", (ROOT / page).read_text())  # labels of the protocol
    named = re.findall(r"`((?:secagg|server|client|tests|proto|docs|deploy|\.ci)/[\w./-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_modules_and_spans_that_a_page_names_exist() -> None:
    code = "".join(path.read_text() for folder in ("server", "client") for path in (ROOT / folder).rglob("*.py"))
    spans = set(re.findall(r"""span\("(secagg[a-z.]+)\"""", code))
    assert "secagg.round" in spans
    for page in PAGES:
        named = re.findall(r"`(?:python -m )?(secagg(?:\.[a-z_]+)+)`", (ROOT / page).read_text())
        gone = [name for name in named if page != "CHANGELOG.md" and name not in spans and not is_module(name)]
        assert gone == [], page


def is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").exists()


def test_the_readme_compares_by_rows_of_the_whole_comparison() -> None:
    def rows(page: str, heading: str) -> list[str]:
        table = (ROOT / page).read_text().partition(f"\n{heading}\n")[2].partition("\n## ")[0]
        return re.findall(r"^\| ([A-Z][^|]+) \|", table, re.MULTILINE)

    short, whole = (
        rows("README.md", "## Compared with what frameworks bring"),
        rows("docs/comparison.md", "## In short"),
    )
    assert short == [row for row in whole if row in short]
    assert len(short) >= 6
