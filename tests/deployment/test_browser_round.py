"""A round of participants in Python, in TypeScript on Node, and in a page of Chromium, which calls over the gateway."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np
import pytest

from secagg.encoding.integers import Integers
from secagg.encoding.schema import ArraySpec, Schema
from secagg.messages import ParticipantId
from tests.deployment.browser import Browser, browser
from tests.gateway import address_of, token_of, with_gateway
from tests.serving import NAMES, make_config, site, stage
from tests.taking_part import lenient, take_part
from tests.typescript.people import person, scene

ROOT: Final = Path(__file__).parents[2]
CLIENT: Final = ROOT / "client/typescript"
LARGE: Final = 2**40
COUNTS: Final = Schema((ArraySpec("n", (40,), "int64"),))
PATIENCE_S: Final = 180.0

PARTICIPATE: Final = """
const done = arguments[arguments.length - 1];
const { url, token, pem, round_id, values } = arguments[0];
const hex = text => Uint8Array.from(text.match(/../g) ?? [], pair => parseInt(pair, 16));
const client = new secagg.Client({
  pem,
  transport: new secagg.GatewayTransport({ url, token: () => token, certificate: pem.certificate }),
  policy: { minColludingShare: "0" },
});
const update = { n: BigInt64Array.from(values, BigInt) };
client.participate({ roundId: hex(round_id), update, modelDigest: new Uint8Array(32), timeoutMs: 50000 }).then(
  ({ result, survivors, certified }) =>
    done({ totals: Array.from(result.arrays.n, String), survivors, certified }),
  error => done({ error: String(error) }),
);
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, the name of the base class
        pass


@contextmanager
def page(folder: Path) -> Iterator[str]:
    """The origin of a page that has the client in it."""
    folder.mkdir()
    tools = CLIENT / "node_modules/.bin"
    subprocess.run([tools / "tsc", "-p", CLIENT / "tsconfig.json"], check=True)
    entry, bundle = CLIENT / "build/src/index.js", folder / "client.js"
    made = ["--bundle", "--platform=browser", "--format=iife", "--global-name=secagg", f"--outfile={bundle}"]
    subprocess.run([tools / "esbuild", entry, *made, "--log-level=warning"], check=True)
    (folder / "index.html").write_text(
        "<!doctype html><title>round</title><link rel=icon href=data:,><script src=client.js></script>"
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    serving = Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture
def window() -> Iterator[Browser]:
    # The test's CA is not among those that the browser believes.
    with browser("--ignore-certificate-errors") as opened:
        opened.driver.set_script_timeout(PATIENCE_S)
        yield opened


async def test_python_node_and_a_page_get_one_exact_sum(window: Browser, tmp_path: Path) -> None:
    """One on Node drops out after the shares are dealt."""
    config = replace(
        make_config(5, threshold=4, deadline_s=PATIENCE_S),
        schema=COUNTS,
        encoding=Integers(min=-LARGE, max=LARGE),
        certify=True,
    )
    in_page, on_node, leaver, in_python = NAMES[0], NAMES[1], NAMES[2], NAMES[3:5]
    rng = np.random.default_rng(11)
    counts = {name: rng.integers(-LARGE, LARGE, 40, dtype=np.int64) for name in NAMES}

    def data(name: ParticipantId) -> str:
        return counts[name].tobytes().hex()

    with page(tmp_path / "page") as origin:
        async with stage(tmp_path, **with_gateway(tmp_path, gateway_origins=[origin])) as s:
            round_id = await s.director.open(config)
            identity = site().people[in_page]
            told = {
                "url": f"https://{address_of(s)}",
                "token": token_of(in_page),
                "pem": {
                    "certificate": identity.certificate_pem.decode(),
                    "key": identity.key_pem.expose().decode(),
                    "ca": site().ca_pem.decode(),
                },
                "round_id": round_id.hex(),
                "values": [str(value) for value in counts[in_page]],
            }
            await asyncio.to_thread(window.driver.get, f"{origin}/index.html")
            nodes = [
                {**person(tmp_path, name, config, **spoilt), "arrays": {"n": {"dtype": "int64", "data": data(name)}}}
                for name, spoilt in ((on_node, {}), (leaver, {"leaves": "SendInput"}))
            ]
            given: dict[str, Any] = {
                "round_id": round_id,
                "policy": lenient(config),
                "weight": 1,
                "timeout_s": PATIENCE_S,
            }
            shown, said, *results = await asyncio.gather(
                asyncio.to_thread(window.driver.execute_async_script, PARTICIPATE, told),
                scene(s.server.data_address, tmp_path, nodes, round_id=round_id.hex()),
                *(take_part(s.server.data_address, n, config, update={"n": counts[n]}, **given) for n in in_python),
            )
    summed = [name for name in NAMES[:5] if name != leaver]
    total = np.sum([counts[name] for name in summed], axis=0)
    assert shown == {"totals": [str(value) for value in total], "survivors": sorted(summed), "certified": True}
    by_id = {line["id"]: line for line in said}
    np.testing.assert_array_equal(np.frombuffer(bytes.fromhex(by_id[on_node]["arrays"]["n"]), np.int64), total)
    assert by_id[leaver]["error"] == "Cancelled"
    for result in results:
        np.testing.assert_array_equal(result.totals.arrays["n"], total)
    assert window.complaints() == []
