"""The commands of docs/operate.md work as they stand, in its order, on a machine as docs/deployment.md leaves it."""

import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from secagg_client import Client, ControlClient

from secagg import Pipeline, RoundConfig, RoundId, Schema, digest_model
from tests.machine import ROOT, Machine, until
from tests.pages import Code, blocks

PAGE = "docs/operate.md"
SITES = ("clinic-1", "clinic-2", "clinic-3")
MODEL = {"w": np.zeros(8, np.float32)}
NOISE = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=20.0)")


class Installed(Machine):
    """A machine as docs/deployment.md leaves it, with variables of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.variables: dict[str, str] = {}
        texts = blocks("docs/deployment.md", "sh")
        at = next(index for index, text in enumerate(texts) if text.startswith("secagg-server serve"))
        (folder / "deploy").mkdir()
        settings = (ROOT / "deploy/secagg-server.toml").read_text()
        (folder / "deploy/secagg-server.toml").write_text(self.placed(settings))
        self.shell("".join(texts[:at]).replace("pip install '.[server,dp]'\n", ""))
        found = re.search(r'^export SECAGG_CA_PASSPHRASE="(.*)"$', "".join(texts), re.MULTILINE)
        assert found
        self.variables["SECAGG_CA_PASSPHRASE"] = found[1]
        self.serve = texts[at]

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.variables

    def open_round(self) -> str:
        config = RoundConfig(
            task="heart", schema=Schema.of(MODEL), encoding=NOISE, max_participants=3,
            model_digest=digest_model(MODEL),
        )  # fmt: skip
        with ControlClient(f"unix:{self.folder}/run/secagg/control.sock") as control:
            return control.open_round(config).hex()

    def abort(self, round_id: str) -> None:
        with ControlClient(f"unix:{self.folder}/run/secagg/control.sock") as control:
            control.abort(RoundId(bytes.fromhex(round_id)), "only a test")

    def take_part(self, round_id: str) -> None:
        """Let the three sites take part in a round, and keep the receipts of two."""
        with ExitStack() as stack, ThreadPoolExecutor(len(SITES)) as pool:
            clients = [stack.enter_context(self.client(site)) for site in SITES]
            results = list(
                pool.map(
                    lambda c: c.participate(MODEL, weight=1, round_id=bytes.fromhex(round_id), model=MODEL), clients
                )
            )
        for name, result in zip(("ours", "theirs"), results, strict=False):
            (self.folder / f"{name}.receipt").write_bytes(result.receipt.export())

    def client(self, site: str) -> Client:
        place = self.folder / "secagg-ca/participants" / site
        files = {"certificate": place / "cert.pem", "key": place / "key.pem", "ca": place / "ca.pem"}
        return Client.from_files(f"localhost:{self.port}", **files)


@pytest.fixture
def machine(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


@pytest.mark.runs("docs/operate.md", "sh")
def test_operate(machine: Installed, page: Code) -> None:
    with machine.serving(machine.serve) as sidecar:
        machine.take_part(machine.open_round())
        assert "heart" in machine.shell(page.take("secagg-server --version"))
        machine.shell(page.take("secagg-server health"))

        before = (machine.folder / "etc/secagg/cert.pem").read_text()
        machine.shell(page.take("secagg ca issue server"))
        sidecar.send_signal(signal.SIGHUP)
        log = until(sidecar, "credentials_renewed")
        assert (machine.folder / "etc/secagg/cert.pem").read_text() != before
        machine.shell(page.take("secagg ca issue participant"))
        assert machine.shell(page.take("secagg ca init")).count("Heart study") >= 2

        assert "head of the ledger of heart: " in machine.shell(page.take("secagg-server backup"))
        assert "1 models are closed" in machine.shell(page.take("secagg-server restore"))
        assert "heart" in machine.shell(page.take("install -d -m 700 backup"))
        head = json.loads(re.findall(r'^.*"ledger_head".*$', log, re.MULTILINE)[-1])["head"]
        machine.variables["HEAD"] = head
        compared = page.take("secagg ledger verify /var/lib/secagg/ledger --task")
        machine.shell(compared)
        machine.variables["HEAD"] = head[:-1] + ("0" if head[-1] != "0" else "1")
        with pytest.raises(AssertionError):
            machine.shell(compared)

        issued = "secagg ca issue participant clinic-7 --organisation Seventh"
        machine.shell(issued)
        assert "revocation list 1: 1 certificates" in machine.shell(page.take("secagg ca revoke"))

        machine.variables["ROUND"] = machine.open_round()
        machine.shell(page.take("secagg round exclude"))
        machine.abort(machine.variables["ROUND"])
        machine.shell(page.take("secagg round watch"))
        assert "clinic-3" in (machine.folder / "round.json").read_text()
        assert "Heart study" in machine.shell(page.take("secagg ca show"))
        machine.shell(page.take("secagg ledger verify"))
        machine.shell(page.take("secagg round compare"))
        small = {"1000000": "100", "participants 100": "participants 10", "MaskedInput=10": "MaskedInput=2"}
        simulate = page.take("secagg simulate")
        for long, short in small.items():
            simulate = simulate.replace(long, short)
        machine.shell(simulate)
    for folder in machine.folder.glob("var/lib/secagg/ledger/*.jsonl"):
        size = max(len(line) for line in folder.read_bytes().splitlines())
        assert 1000 < size < 3000, size
