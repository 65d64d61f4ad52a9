"""The PyTorch loop with an adapter learns through the sidecar what it learns in plain."""

import re
from pathlib import Path

import pytest

from tests.machine import Machine, make_identities, play, serve_command
from tests.pages import Code, blocks


@pytest.mark.runs("docs/frameworks.md", "sh", "python docs/examples/lora")
def test_adapters(tmp_path: Path, page: Code) -> None:
    folder = "python docs/examples/lora/secure"
    played = [f"{folder}/server.py", *(f"{folder}/site.py {site}" for site in (1, 2, 3))]
    assert page.take("python docs/examples/lora").splitlines() == played
    machine, commands = Machine(tmp_path), blocks("docs/by-hand.md", "sh")
    make_identities(machine, commands)
    with machine.serving(serve_command(commands)):
        secure = accuracies(play(machine, "lora/secure"))
    plain = accuracies(play(machine, "lora/plain"))
    assert secure[0] == plain[0] < 0.2
    assert secure[-1] > 0.7
    assert max(abs(a - b) for a, b in zip(secure, plain, strict=True)) < 0.0115  # 3 of 297 images; both are rounded


def accuracies(told: str) -> list[float]:
    """Before the first round, and after each."""
    found = re.findall(r"accuracy (0\.\d+)", told)
    assert len(found) == 4, told
    return [float(number) for number in found]
