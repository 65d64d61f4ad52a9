"""Examples of the documentation that need no framework work, and print what their plain versions print."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.machine import ROOT, Machine, make_identities, play, serve_command
from tests.pages import Code, blocks


def test_histogram(tmp_path: Path) -> None:
    machine, commands = Machine(tmp_path), blocks("docs/by-hand.md", "sh")
    make_identities(machine, commands)
    plain = play(machine, "histogram/plain")
    with machine.serving(serve_command(commands)):
        secure = play(machine, "histogram/secure")
    counts, _ = np.histogram(load_digits().data.sum(axis=1), 16, (0, 1024))
    assert [int(line.split()[-2]) for line in secure.splitlines()[1:]] == counts.tolist()
    assert secure == plain


KERAS = """
import numpy as np
from types import SimpleNamespace
from secagg_client import Snapshot

class Model:
    weights = [np.zeros((2, 3), np.float32), np.array(7)]

    def get_weights(self):
        return [array.copy() for array in self.weights]

    def set_weights(self, arrays):
        self.weights = list(arrays)

    def fit(self, images, labels):
        self.weights = [self.weights[0] + np.float32(0.5), self.weights[1] + 1]

class Client:
    def participate(self, update, *, weight, task, model):
        return SimpleNamespace(mean={name: array / 2 for name, array in update.items()})

model, client, images, labels = Model(), Client(), [], [1]
"""
"""What stands before the lines about Keras: a model that has what they use of Keras, and a client without a round."""


@pytest.mark.runs("docs/frameworks.md", "python", "before = Snapshot(")
def test_a_list_of_arrays_as_keras_has_it(tmp_path: Path, page: Code) -> None:
    lines = page.take("before = Snapshot(")
    machine = Machine(tmp_path)
    told = machine.end(machine.python(f"{KERAS}{lines}\nprint([array.max() for array in model.get_weights()])"))
    assert re.findall(r"[\d.]+(?=[,)\]])", told)[:2] == ["0.25", "7"], told


@pytest.mark.runs("docs/frameworks.md", "python", "import numpy")
@pytest.mark.runs("docs/frameworks.md", "sh", "secagg plan")
def test_the_page_on_frameworks(tmp_path: Path, page: Code) -> None:
    machine = Machine(tmp_path)
    machine.end(machine.python(page.take("import numpy")))
    pipeline = machine.shell(page.take("secagg plan")).splitlines()[0]
    assert f'"{pipeline}"' in (ROOT / "docs/examples/flower/noise/digits/server_app.py").read_text()
