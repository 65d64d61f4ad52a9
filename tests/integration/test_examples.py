"""Examples of the documentation that need no framework work, and print what their plain versions print."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tests.machine import ROOT, Machine, blocks, make_identities, play, serve_command


def test_histogram(tmp_path: Path) -> None:
    machine, commands = Machine(tmp_path), blocks("README.md", "sh")
    make_identities(machine, commands)
    plain = play(machine, "histogram/plain")
    with machine.serving(serve_command(commands)):
        secure = play(machine, "histogram/secure")
    counts, _ = np.histogram(load_digits().data.sum(axis=1), 16, (0, 1024))
    assert [int(line.split()[-2]) for line in secure.splitlines()[1:]] == counts.tolist()
    assert secure == plain


def test_the_page_on_frameworks(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.end(machine.python("\n".join(blocks("docs/frameworks.md", "python"))))
    (plan,) = blocks("docs/frameworks.md", "sh")
    pipeline = machine.shell(plan).splitlines()[0]
    assert f'"{pipeline}"' in (ROOT / "docs/examples/flower/noise/digits/server_app.py").read_text()
